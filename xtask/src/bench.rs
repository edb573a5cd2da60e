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
    /// Host cycles per transaction: {none, lifecycle} x {short, persistent}, alternating
    Lifecycle(LifecycleOptions),
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
struct GoodputOptions {
    /// Arguments for the measuring program (see `mayfly-goodput --help`)
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    match &options.what {
        What::Lifecycle(options) => lifecycle(options),
        What::Goodput(options) => goodput(options),
    }
}

fn lifecycle(options: &LifecycleOptions) -> Result<()> {
    step("Building the measuring program (release)")?;
    build::run_cargo(&["build", "--release", "-p", "bench", "--bins"])?;
    let mut command = Command::new(e2e::programs::ours("mayfly-bench")?);
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
