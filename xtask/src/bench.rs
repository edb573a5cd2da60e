//! `cargo xtask bench`: starts the program that measures.

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

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    let What::Lifecycle(options) = &options.what;
    step("Building the measuring program (release)")?;
    build::run_cargo(&["build", "--release", "-p", "bench", "--bins"])?;
    let mut command = Command::new(e2e::programs::ours("mayfly-bench")?);
    command.arg("lifecycle");
    if let Some(file) = &options.json {
        command.args(["--json", file]);
    }
    let status = command.args(&options.rest).status()?;
    if !status.success() {
        bail!("the benchmark failed ({status}); its messages stand above");
    }
    Ok(())
}
