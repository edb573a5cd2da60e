//! What a person types: `cargo xtask run`, `test`, `bench`, `sim`, `fuzz`, `setup`.
//!
//! This program must build before DPDK is installed, so it links nothing of the workspace but
//! the laboratory of `e2e`; everything else it starts as programs.

mod check;

mod bench;
mod build;
mod fuzz;
mod run;
mod setup;
mod table;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "Sets up, runs, tests and measures Mayfly")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Installs what is missing (Debian and Ubuntu packages) and says what it installs
    Setup,
    /// Runs the main job: server, real Redis clients and load generator in two network namespaces
    Run(run::Options),
    /// Runs every test: format, lints, unit tests, simulator, whole-system tests
    Test(test::Options),
    /// Checks citations of RFCs, the documents made from them, and leftovers
    Check(check::Options),
    /// Measures: `lifecycle` host cycles per transaction, `goodput` what gets through a bad link
    Bench(bench::Options),
    /// Runs the deterministic simulator over many seeds
    Sim(test::SimOptions),
    /// Fuzzes parsers and engines, guided by coverage; docs/fuzzing.md tells more
    Fuzz(fuzz::Options),
}

fn main() {
    let outcome = match Arguments::parse().task {
        Task::Setup => setup::ensure(),
        Task::Run(options) => run::run(&options),
        Task::Test(options) => test::run(&options),
        Task::Check(options) => check::run(&options),
        Task::Bench(options) => bench::run(&options),
        Task::Sim(options) => test::sim(&options),
        Task::Fuzz(options) => fuzz::run(&options),
    };
    if let Err(error) = outcome {
        eprintln!("error: {error:#}");
        std::process::exit(1);
    }
}

/// The banner in front of each step.
fn step(what: &str) -> Result<()> {
    use std::io::Write;
    writeln!(std::io::stderr(), "\n== {what}")?;
    Ok(())
}
