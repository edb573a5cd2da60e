//! Every check there is, in one command; what CI runs.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{build, check, setup, step};

/// Seeds of the simulator in every test run.
const SEEDS: &str = "2000";
/// No test says nothing for so long, however slow the machine: who does waits for something that will not come.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

#[derive(Args)]
pub(crate) struct Options {
    /// Only the whole-system tests, as root (used when going on with sudo)
    #[arg(long, hide = true)]
    built: bool,
}

#[derive(Args)]
pub(crate) struct SimOptions {
    /// How many seeds
    #[arg(long, default_value = "1000")]
    seeds: String,
    /// The first seed; with `--seeds 1`, replays one with its trace
    #[arg(long)]
    seed: Option<String>,
}

/// What the test runner printed at its ends.
#[derive(Default)]
struct Counts {
    passed: u64,
    failed: u64,
    skipped: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let mut counts = Counts::default();
    if !options.built {
        setup::ensure()?;
        step("Format")?;
        build::run_cargo(&["fmt", "--all", "--check"])?;
        step("Lints")?;
        build::run_cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
        step("Citations, documents, leftovers")?;
        check::run(&check::Options { write: false })?;
        step("protocol, netcore and nicfw without the standard library")?;
        no_std()?;
        step("Unit tests")?;
        counts.cargo_test(&["test", "--workspace", "--exclude", "e2e"])?;
        build::programs()?;
        step("Simulator")?;
        simulate(&["--seeds", SEEDS])?;
        counts.passed += 1;
        step("Building the whole-system tests")?;
        build::run_cargo(&["test", "--quiet", "-p", "e2e", "--no-run"])?;
    }
    if e2e::lab::require_root().is_err() {
        counts.report()?;
        return setup::become_root();
    }
    step("Whole-system tests")?;
    // One at a time: each drives a server, its NIC and clients on what may be two cores.
    counts.cargo_test(&["test", "-p", "e2e", "--", "--test-threads=1"])?;
    counts.report()
}

/// Runs the simulator.
///
/// # Errors
/// It does not build, or a seed failed (printed with how to replay it).
pub(crate) fn sim(options: &SimOptions) -> Result<()> {
    setup::ensure()?;
    let mut args = vec!["--seeds", &options.seeds];
    if let Some(seed) = &options.seed {
        args.extend(["--seed", seed]);
    }
    simulate(&args)
}

fn simulate(args: &[&str]) -> Result<()> {
    // A profile of its own: fast, with assertions, and a panic fails its seed only.
    build::run_cargo(&["build", "--profile", "sim", "-p", "sim", "--bins"])?;
    let status = Command::new(e2e::programs::target().join("sim/mayfly-sim")).args(args).status()?;
    if !status.success() {
        bail!("the simulator found a failure; the seed and how to replay it stand above");
    }
    Ok(())
}

/// Proves that the three crates need no standard library.
///
/// Where a bare target is installed they are built for it. Everywhere they are linked into a
/// program that has its own panic handler: were `std` anywhere below it, that handler would be
/// defined twice and the link would fail.
fn no_std() -> Result<()> {
    let manifest = e2e::programs::workspace().join("xtask/no_std/Cargo.toml");
    let manifest = manifest.to_str().context("the workspace's path is not UTF-8")?;
    let target = e2e::programs::target().join("no_std");
    let target = target.to_str().context("the target folder's path is not UTF-8")?;
    build::run_cargo(&["build", "--quiet", "--manifest-path", manifest, "--target-dir", target])?;
    let rustc = Command::new("rustc").args(["--print", "sysroot"]).output()?;
    let sysroot = String::from_utf8_lossy(&rustc.stdout).trim().to_string();
    // The first for the proof, the others because the firmware may run on a card's Arm cores.
    const TARGETS: [&str; 3] = ["x86_64-unknown-none", "aarch64-unknown-none", "aarch64-unknown-linux-gnu"];
    eprintln!("   linked without std");
    for target in TARGETS {
        if std::path::Path::new(&sysroot).join("lib/rustlib").join(target).exists() {
            build::run_cargo(&[
                "build", "--quiet", "-p", "protocol", "-p", "netcore", "-p", "nicfw", "--lib", "--target",
                target,
            ])?;
            eprintln!("   built for {target}");
        } else {
            eprintln!("   {target} is not installed, so not built for it");
        }
    }
    Ok(())
}

impl Counts {
    /// Runs `cargo test …`, showing its output as it comes and adding up what it says. A test that waits for ever
    /// is shown and ended.
    fn cargo_test(&mut self, args: &[&str]) -> Result<()> {
        let mut command = build::cargo(args);
        command.env("PATH", path_with_tools()?).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let mut output = child.stdout.take().context("no output")?;
        let (sender, chunks) = mpsc::channel();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(len @ 1..) = output.read(&mut chunk) {
                if sender.send(chunk[..len].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut line = Vec::new();
        let mut waits = None;
        loop {
            match chunks.recv_timeout(PATIENCE) {
                Ok(chunk) => {
                    std::io::stdout().write_all(&chunk)?;
                    std::io::stdout().flush()?;
                    for byte in chunk {
                        if byte == b'\n' {
                            self.add(&String::from_utf8_lossy(&line));
                            line.clear();
                        } else {
                            line.push(byte);
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) if waits.is_some() => {
                    child.kill()?;
                    bail!("the tests cannot be ended: `ps` shows what of them is left");
                }
                // Nothing runs that was begun and not ended: still building.
                Err(RecvTimeoutError::Timeout) if line.is_empty() => {}
                Err(RecvTimeoutError::Timeout) => {
                    let minutes = PATIENCE.as_secs() / 60;
                    let test = String::from_utf8_lossy(&line).into_owned();
                    eprintln!("\nfor {minutes} minutes there is nothing new of `{test}`; what goes on:");
                    e2e::watch::show_and_end(child.id())?;
                    waits = Some(test);
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        let status = child.wait()?;
        if let Some(test) = waits {
            self.report()?;
            bail!("`{test}` waited for something that did not come; what went on stands above");
        }
        if !status.success() {
            self.report()?;
            bail!("`cargo {}` failed ({status})", args.join(" "));
        }
        Ok(())
    }

    /// Adds a line like `test result: ok. 3 passed; 0 failed; 1 ignored; …`.
    fn add(&mut self, line: &str) {
        let Some(rest) = line.strip_prefix("test result: ") else { return };
        for part in rest.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(Ok(number)), Some(what)) = (words.next().map(str::parse::<u64>), words.next()) else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.skipped += number,
                _ => {}
            }
        }
    }

    fn report(&self) -> Result<()> {
        println!("\n{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.failed > 0 {
            bail!("{} tests failed", self.failed);
        }
        Ok(())
    }
}

/// PATH with a folder that holds `redis-server` in front (see [`e2e::programs::redis_server`]).
fn path_with_tools() -> Result<std::ffi::OsString> {
    e2e::programs::redis_server()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    Ok(std::env::join_paths(std::iter::once(e2e::programs::tools()).chain(std::env::split_paths(&path)))?)
}
