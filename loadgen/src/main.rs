//! `mayfly-loadgen`: see [`loadgen`].

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use dpdk::{Clock, Device, tsc_hz};
use loadgen::cli::Arguments;
use loadgen::report::{self, Progress, Scenario};
use loadgen::{KernelClients, Outcome, run, run_dpdk};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match drive(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mayfly-loadgen: {error}");
            ExitCode::from(2)
        }
    }
}

/// Runs and reports; true when every reply was right.
fn drive(arguments: &Arguments) -> Result<bool, Box<dyn std::error::Error>> {
    let plan = arguments.plan()?;
    let workload = arguments.workload()?;
    if let Some(cpu) = arguments.cpu {
        dpdk::pin_to_cpu(cpu)?;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    ctrlc::set_handler(move || told.store(true, Ordering::Relaxed))?;
    let mut progress = Progress::new(plan, arguments.quiet);
    let mut observe = |status: &loadgen::run::Status<'_>| progress.observe(status);
    let kernel = arguments.net == Device::Kernel;
    let outcome = if kernel {
        if arguments.address.is_some() || arguments.gateway.is_some() || arguments.vlan.is_some() {
            return Err(
                "--address, --gateway and --vlan belong to a device; --net kernel has the kernel's".into()
            );
        }
        let mut clients = KernelClients::new(
            arguments.target,
            arguments.connections,
            arguments.timeout.0,
            workload.clone(),
        )?;
        run(&mut clients, &plan, &Clock::start(), &stop, &mut observe)?
    } else {
        let clients = arguments.clients()?;
        run_dpdk(&arguments.net, arguments.vlan, clients, workload.clone(), &plan, &stop, &mut observe)?
    };
    progress.finish();
    let scenario = Scenario {
        target: arguments.target.to_string(),
        net: arguments.net.to_string(),
        connections: arguments.connections,
        workload,
        tsc_hz: tsc_hz(),
        kernel,
    };
    show(arguments, &scenario, &outcome)?;
    Ok(outcome.good())
}

fn show(
    arguments: &Arguments,
    scenario: &Scenario,
    outcome: &Outcome,
) -> Result<(), Box<dyn std::error::Error>> {
    let Some(path) = &arguments.json else {
        print!("{}", report::table(scenario, outcome));
        return Ok(());
    };
    let json = serde_json::to_string_pretty(&report::json(scenario, outcome))?;
    if path.as_os_str() == "-" {
        println!("{json}");
        eprint!("{}", report::table(scenario, outcome));
    } else {
        std::fs::write(path, json + "\n")
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        print!("{}", report::table(scenario, outcome));
    }
    Ok(())
}
