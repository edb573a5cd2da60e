//! `cargo xtask bench`: starts the programs that measure.

use std::process::Command;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::{build, setup, step};

#[derive(Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Host cycles per transaction, by offload, kind of connection, who closes and where the firmware runs
    Lifecycle(LifecycleOptions),
    /// Memory per idle connection, at each offload level
    Idle(IdleOptions),
    /// The firmware alone: cycles by stage of a connection's life, from 1,000 to 1,000,000 flows
    Firmware(FirmwareOptions),
    /// Goodput over an emulated link with losses, beside the real Redis on Linux's TCP
    Goodput(GoodputOptions),
}

#[derive(Args)]
struct LifecycleOptions {
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Further arguments for the measuring program (see `mayfly-bench --help`)
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Args)]
struct IdleOptions {
    /// Connections that are idle at the end
    #[arg(long, default_value_t = 1_000_000)]
    connections: usize,
}

#[derive(Args)]
struct FirmwareOptions {
    /// Arguments for the measuring program (see `mayfly-bench firmware --help`)
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Args)]
struct GoodputOptions {
    /// Arguments for the measuring program (see `mayfly-goodput --help`)
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    match &options.what {
        What::Lifecycle(options) => lifecycle(options),
        What::Idle(options) => idle(options),
        What::Firmware(options) => measure(bench()?.arg("firmware").args(&options.rest)),
        What::Goodput(options) => goodput(options),
    }
}

/// The program for what needs no network.
fn bench() -> Result<Command> {
    step("Building the measuring program (release)")?;
    build::run_cargo(&["build", "--release", "-p", "bench", "--bins"])?;
    Ok(Command::new(e2e::programs::ours("mayfly-bench")?))
}

fn idle(options: &IdleOptions) -> Result<()> {
    measure(bench()?.args(["idle", "--connections", &options.connections.to_string()]))
}

fn lifecycle(options: &LifecycleOptions) -> Result<()> {
    let mut command = bench()?;
    command.arg("lifecycle");
    if let Some(file) = &options.json {
        command.args(["--json", file]);
    }
    measure(command.args(&options.rest))
}

fn goodput(options: &GoodputOptions) -> Result<()> {
    step("Building server and measuring program (release)")?;
    build::run_cargo(&["build", "--release", "-p", "server", "-p", "goodput", "--bins"])?;
    // Namespaces need root; building does not.
    let mut command = setup::privileged(&e2e::programs::ours("mayfly-goodput")?)?;
    measure(command.args(&options.rest))
}

fn measure(command: &mut Command) -> Result<()> {
    let status = command.status()?;
    if !status.success() {
        bail!("the benchmark failed ({status}); its messages stand above");
    }
    Ok(())
}
