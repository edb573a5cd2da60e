//! `mayfly-nic`: the firmware in a process of its own.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use dpdk::{Clock, DevicePort, Eal, EalConfig};
use netcore::Port;
use nic::cli::Arguments;
use nic::{NicCore, Shown, Unseen};
use protocol::ethernet::Mac;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_target(false)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-nic: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let host = &arguments.host;
    if arguments.wire == host.device {
        return Err(format!("{} cannot be both the wire and the host", host.device).into());
    }
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::SeqCst))?;
    let retained = arguments.retained;
    let mut environment = EalConfig::for_devices(&[&arguments.wire, &host.device]);
    // Frames that the firmware makes are from the wire's pool, the host's own from the other.
    environment.memory_mb += 2 * dpdk::frames_mb(retained);
    let eal = Eal::init(&environment)?;
    let wire = arguments.wire.open(eal, &nic::open_config(1, retained))?;
    let hosts = host.device.open_queues(eal, &nic::open_config(host.queues, retained))?;
    for note in wire.notes().iter().chain(hosts.iter().take(1).flat_map(DevicePort::notes)) {
        tracing::info!("{note}");
    }
    if let Some(core) = arguments.core {
        dpdk::pin_to_cpu(core)?;
    }
    let device = wire.capabilities();
    let config = arguments.firmware(nic::config(&device));
    let shown = Shown::default();
    let core = NicCore::new(config, wire, arguments.vlan, hosts, &shown, &Unseen);
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
    tracing::info!("Bye");
    Ok(())
}
