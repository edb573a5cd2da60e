//! Runs cargo for the parts that need DPDK.

use std::process::Command;

use anyhow::{Result, bail};

/// A cargo command in the workspace, with the cargo that started us.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(e2e::programs::workspace()).args(args);
    command
}

/// Runs it and fails when it does.
///
/// # Errors
/// cargo could not be started or ended with another status than 0.
pub(crate) fn run_cargo(args: &[&str]) -> Result<()> {
    let status = cargo(args).status()?;
    if !status.success() {
        bail!("`cargo {}` failed ({status})", args.join(" "));
    }
    Ok(())
}

/// Builds the programs with optimisation.
///
/// # Errors
/// They do not build.
pub(crate) fn programs() -> Result<()> {
    crate::step("Building the programs (release)")?;
    run_cargo(&["build", "--release", "--bins", "-p", "server", "-p", "nic", "-p", "loadgen", "-p", "bench"])
}
