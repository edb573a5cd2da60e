//! `mayfly-bench`: host cycles per transaction, by offload level and kind of connection; what an
//! idle connection takes ([`idle`]); and what the firmware alone costs ([`firmware`]).
//!
//! The figure of the former is the TSC cycles that the host side spent in poll rounds that did work, divided
//! by completed transactions. It is taken in two arrangements: *one-core*, where client,
//! firmware and host take turns on one thread and each one's cycles are counted apart, and
//! *two-cores*, where client and firmware share one thread and the host has another. Start
//! reading at [`world`].

mod cores;
mod firmware;
mod idle;
mod lifecycle;
mod report;
mod segment;
mod world;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    name = "mayfly-bench",
    version,
    about = "Measures host cycles per transaction, memory per connection, and the firmware alone"
)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// {none, lifecycle} x {short, persistent}, alternating, in both arrangements
    Lifecycle(lifecycle::Options),
    /// Memory per idle connection, at each offload level
    Idle(idle::Options),
    /// The firmware alone: cycles by stage of a connection's life, from few flows to many
    Firmware(firmware::Options),
}

fn main() -> std::process::ExitCode {
    let outcome = match Arguments::parse().what {
        What::Lifecycle(options) => lifecycle::run(&options),
        What::Idle(options) => idle::run(&options),
        What::Firmware(options) => firmware::run(&options),
    };
    match outcome {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
