//! `mayfly-nic`: the firmware in a process of its own.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use dpdk::{Clock, DevicePort, Eal, EalConfig, OpenConfig};
use netcore::Port;
use nic::cli::{Arguments, CommandLine};
use nic::control::{Control, DEFAULT_PATH};
use nic::{NicCore, READ_AHEAD, Shown};
use protocol::ethernet::Mac;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let CommandLine { ask, run: arguments, control } = CommandLine::parse();
    let done = match (ask, arguments) {
        (Some(what), None) => {
            let path = control.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
            let mut out = std::io::stdout();
            let is_terminal = out.is_terminal();
            nic::ask::run(&what, path, &mut out, is_terminal).map_err(Into::into)
        }
        (None, Some(arguments)) => run(&arguments, control.as_deref()),
        _ => Err("a command asks one that runs already, and takes none of the settings to run".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-nic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments, control: Option<&Path>) -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let host = &arguments.host;
    if arguments.wire == host.device {
        return Err(format!("{} cannot be both the wire and the host", host.device).into());
    }
    let share = arguments.share(&dpdk::kernel_addresses()?)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::SeqCst))?;
    let retained = arguments.retained;
    let mut environment = EalConfig::for_devices(&[&arguments.wire, &host.device]);
    // Frames that the firmware makes are from the wire's pool, the host's own from the other.
    environment.memory_mb += 2 * dpdk::frames_mb(retained) + dpdk::frames_mb(READ_AHEAD);
    let eal = Eal::init(&environment)?;
    let open = OpenConfig { share: share.clone(), ..nic::open_config(1, retained + READ_AHEAD) };
    let wire = arguments.wire.open(eal, &open)?;
    let hosts = host.device.open_queues(eal, &nic::open_config(host.queues, retained))?;
    for note in wire.notes().iter().chain(hosts.iter().take(1).flat_map(DevicePort::notes)) {
        tracing::info!("{note}");
    }
    if let Some(share) = &share {
        tracing::info!("{share} (--address and --port choose otherwise)");
    }
    let shown = Arc::<Shown>::default();
    // Before this thread is bound to its core: the other one must not share it.
    let _control = serve(arguments, control, share.is_some(), &shown)?;
    if let Some(core) = arguments.core {
        dpdk::pin_to_cpu(core)?;
    }
    let device = wire.capabilities().in_vlan(arguments.vlan);
    let config = arguments.firmware(nic::config(&device));
    let core = NicCore::new(config, wire, arguments.vlan, hosts, &shown).with_share(share);
    let place = arguments.core.map_or_else(|| "a core".to_owned(), |core| format!("core {core}"));
    tracing::info!(
        "Emulated NIC on {place} of this machine: wire {}, address {}, host {} with {} queues, --offload {}",
        arguments.wire,
        Mac(device.mac),
        host.device,
        host.queues,
        arguments.offload
    );
    tracing::info!("Ready for the host");
    core.run(eal, Clock::start(), || stop.load(Ordering::Relaxed));
    shown.end_captures();
    tracing::info!("Bye");
    Ok(())
}

/// Lets others look in. The place that nobody asked for may be taken or out of reach: then it is said,
/// and the firmware runs unseen.
fn serve(
    arguments: &Arguments,
    control: Option<&Path>,
    is_shared: bool,
    shown: &Arc<Shown>,
) -> Result<Option<Control>, String> {
    let fact = |name: &str, value: String| (name.to_owned(), value);
    let facts = vec![
        fact("mayfly_version", env!("CARGO_PKG_VERSION").into()),
        fact("process_id", std::process::id().to_string()),
        fact("wire", arguments.wire.to_string()),
        fact("wire_shared_with_kernel", u8::from(is_shared).to_string()),
        fact("host", arguments.host.device.to_string()),
        fact("host_queues", arguments.host.queues.to_string()),
        fact("offload", arguments.offload.to_string()),
        fact("core", arguments.core.map_or_else(|| "any".into(), |core| core.to_string())),
        fact("tsc_hz", dpdk::tsc_hz().to_string()),
    ];
    let path = control.unwrap_or(Path::new(DEFAULT_PATH));
    match Control::serve(path, facts, Arc::clone(shown)) {
        Ok(served) => {
            tracing::info!("Control socket {}", path.display());
            Ok(Some(served))
        }
        Err(problem) if control.is_none() => {
            tracing::warn!("{problem}; nobody can look into this one. Choose a place with --control PATH");
            Ok(None)
        }
        Err(problem) => Err(format!("{problem}; choose another place with --control PATH")),
    }
}
