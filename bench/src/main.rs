//! `mayfly-bench`: host cycles per transaction, by offload level and kind of connection.
//!
//! The figure is the TSC cycles that the host side spent in poll rounds that did work, divided
//! by completed transactions. It is taken in two arrangements: *one-core*, where client,
//! firmware and host take turns on one thread and each one's cycles are counted apart, and
//! *two-cores*, where client and firmware share one thread and the host has another. Start
//! reading at [`world`].

mod cores;
mod lifecycle;
mod report;
mod world;

use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "mayfly-bench", version, about = "Measures host cycles per transaction")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// {none, lifecycle} x {short, persistent}, alternating, in both arrangements
    Lifecycle(lifecycle::Options),
}

fn main() -> std::process::ExitCode {
    let What::Lifecycle(options) = Arguments::parse().what;
    match lifecycle::run(&options) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-bench: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
