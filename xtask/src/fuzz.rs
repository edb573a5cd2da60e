//! Coverage-guided fuzzing with libFuzzer, on the stable toolchain: the compiler's coverage pass
//! is switched on by flags that stable has, and libFuzzer is linked from source.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::ProgressBar;

use crate::{build, setup, step};

/// What makes the compiler count edges and show comparisons to libFuzzer.
const RUSTFLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];
/// An input that takes longer counts as a failure, in seconds.
const INPUT_TIMEOUT_S: u32 = 20;
/// Memory above which a run counts as a failure, in MiB.
const MEMORY_MAX_MIB: u32 = 2048;

#[derive(Args)]
pub(crate) struct Options {
    /// Which targets; all of them when none is named
    targets: Vec<String>,
    /// How long each target runs, such as 60s, 10m or 1h
    #[arg(long, default_value = "60s", value_parser = parse_time)]
    time: Duration,
    /// Runs one input (a file in fuzz/crashes, or any other) and nothing else
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Puts what was found into fuzz/corpus: the smallest set of inputs with the same coverage
    #[arg(long)]
    minimise: bool,
    /// Shows the targets
    #[arg(long)]
    list: bool,
}

fn parse_time(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        unit => return Err(format!("'{unit}' is no unit; use s, m or h")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("'{digits}' is not a number"))?;
    match count.checked_mul(factor) {
        Some(0) | None => Err("at least a second, at most some years".into()),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let known = targets()?;
    if options.list {
        for (name, about) in &known {
            println!("{name:<16} {about}");
        }
        return Ok(());
    }
    for name in &options.targets {
        if !known.iter().any(|(known, _)| known == name) {
            let names: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
            bail!("'{name}' is no target; there are: {}", names.join(", "));
        }
    }
    let chosen: Vec<&str> = match options.targets.is_empty() {
        true => known.iter().map(|(name, _)| name.as_str()).collect(),
        false => options.targets.iter().map(String::as_str).collect(),
    };
    let program = program()?;
    if let Some(input) = &options.input {
        let [target] = chosen[..] else { bail!("--input needs the target that the input is for") };
        return replay(&program, target, input);
    }
    let mut failed = Vec::new();
    for target in chosen {
        if options.minimise {
            minimise(&program, target)?;
        } else if !fuzz(&program, target, options.time)? {
            failed.push(target);
        }
    }
    if !failed.is_empty() {
        bail!("failures in: {}", failed.join(", "));
    }
    Ok(())
}

/// Names and purposes, as they stand in the table of `fuzz/src/lib.rs`: this program links
/// nothing that needs DPDK.
fn targets() -> Result<Vec<(String, String)>> {
    let path = folder("src/lib.rs");
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let quoted = |line: &str| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<(String, String)> = text
        .lines()
        .filter(|line| line.starts_with("    target(\""))
        .filter_map(|line| <[String; 2]>::try_from(quoted(line)).ok())
        .map(|[name, about]| (name, about))
        .collect();
    if rows.is_empty() {
        bail!("{} has no table of targets any more", path.display());
    }
    Ok(rows)
}

/// A path in the folder of crate `fuzz`.
fn folder(name: &str) -> PathBuf {
    e2e::programs::workspace().join("fuzz").join(name)
}

/// Where libFuzzer collects what it finds.
fn found(target: &str) -> PathBuf {
    e2e::programs::target().join("fuzz/corpus").join(target)
}

/// Builds the program that holds all targets.
fn program() -> Result<PathBuf> {
    setup::ensure_for_fuzzing()?;
    step("Building the fuzz targets with coverage")?;
    let rustc = Command::new("rustc").arg("-vV").output()?;
    let version = String::from_utf8_lossy(&rustc.stdout).into_owned();
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let folder = e2e::programs::target().join("fuzz");
    // With an explicit target the flags do not reach build scripts.
    let status = build::cargo(&["build", "-p", "fuzz", "--features", "libfuzzer", "--profile", "fuzz"])
        .args(["--target", host, "--target-dir"])
        .arg(&folder)
        .env("CARGO_ENCODED_RUSTFLAGS", RUSTFLAGS.join("\x1f"))
        .status()?;
    if !status.success() {
        bail!("the fuzz targets do not build with coverage ({status})");
    }
    Ok(folder.join(host).join("fuzz/mayfly-fuzz"))
}

fn command(program: &Path, target: &str) -> Result<Command> {
    let corpus = folder("corpus").join(target);
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(found(target))?;
    let mut command = Command::new(program);
    command.env("MAYFLY_FUZZ_TARGET", target).current_dir(e2e::programs::workspace());
    command.arg(format!("-timeout={INPUT_TIMEOUT_S}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"));
    Ok(command)
}

fn replay(program: &Path, target: &str, input: &Path) -> Result<()> {
    let input = input.canonicalize().with_context(|| input.display().to_string())?;
    let status = command(program, target)?.env("RUST_BACKTRACE", "1").arg(&input).status()?;
    if !status.success() {
        bail!("{} makes target {target} fail", input.display());
    }
    println!("{} passes target {target}", input.display());
    Ok(())
}

/// Runs a target for so long; false when it failed, which is told.
fn fuzz(program: &Path, target: &str, time: Duration) -> Result<bool> {
    let crashes = folder("crashes");
    fs::create_dir_all(&crashes)?;
    let mut child = command(program, target)?
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/{target}-", crashes.display()))
        .args(["-use_value_profile=1", "-len_control=0", "-reload=0"])
        .arg(format!("-max_len={}", len_max(target)?))
        .arg(found(target))
        .arg(folder("corpus").join(target))
        .stderr(Stdio::piped())
        .spawn()?;
    let output = child.stderr.take().context("no output")?;
    let bar = ProgressBar::new_spinner();
    bar.enable_steady_tick(Duration::from_millis(200));
    let started = Instant::now();
    let mut told = Vec::new();
    let mut last = String::new();
    for line in BufReader::new(output).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        match line.strip_prefix('#').and_then(Progress::parse) {
            Some(progress) => {
                let left = time.saturating_sub(started.elapsed()).as_secs();
                last = progress.text();
                bar.set_message(format!("{target}: {last}, {left} s left"));
            }
            None => told.push(line),
        }
    }
    let status = child.wait()?;
    bar.finish_and_clear();
    let mut out = std::io::stdout().lock();
    if status.success() {
        writeln!(out, "   {target:<16} {last}, no failure in {} s", started.elapsed().as_secs())?;
        return Ok(true);
    }
    writeln!(out, "   {target:<16} FAILED after {} s; the end of its output:", started.elapsed().as_secs())?;
    for line in told.iter().rev().take(40).rev() {
        writeln!(out, "     {line}")?;
    }
    let written = told.iter().rev().find_map(|line| line.split("Test unit written to ").nth(1));
    if let Some(file) = written {
        writeln!(out, "\n   The input is {file}\n   Replay: cargo xtask fuzz {target} --input {file}")?;
    }
    Ok(false)
}

/// Longest input of a target, as its row says.
fn len_max(target: &str) -> Result<usize> {
    let text = fs::read_to_string(folder("src/lib.rs"))?;
    let row = text.lines().find(|line| line.starts_with(&format!("    target(\"{target}\"")));
    let number = row.and_then(|row| row.trim_end_matches("),").rsplit(", ").nth(1)?.parse().ok());
    number.with_context(|| format!("no length in the row of target {target}"))
}

/// What a line of libFuzzer says of how far it has come.
struct Progress<'a> {
    runs: &'a str,
    edges: &'a str,
    inputs: &'a str,
    per_second: &'a str,
}

impl<'a> Progress<'a> {
    /// Reads `1234 NEW cov: 567 ft: 890 corp: 12/345b … exec/s: 678 …`.
    fn parse(line: &'a str) -> Option<Self> {
        let after = |word: &str| line.split(word).nth(1)?.split_whitespace().next();
        Some(Self {
            runs: line.split_whitespace().next()?,
            edges: after("cov: ")?,
            inputs: after("corp: ")?.split('/').next()?,
            per_second: after("exec/s: ")?,
        })
    }

    fn text(&self) -> String {
        let Self { runs, edges, inputs, per_second } = self;
        format!("{runs} runs, {per_second}/s, {edges} edges, {inputs} inputs")
    }
}

/// Replaces the committed corpus by the smallest set that covers what both it and the inputs
/// found so far cover.
fn minimise(program: &Path, target: &str) -> Result<()> {
    let corpus = folder("corpus").join(target);
    let fresh = e2e::programs::target().join("fuzz/minimised").join(target);
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    fs::create_dir_all(&fresh)?;
    let output = command(program, target)?
        .arg("-set_cover_merge=1")
        .arg(format!("-max_len={}", len_max(target)?))
        .args([&fresh, &corpus, &found(target)])
        .output()?;
    if !output.status.success() {
        bail!("{}\nthe corpus of {target} cannot be minimised", String::from_utf8_lossy(&output.stderr));
    }
    fs::remove_dir_all(&corpus)?;
    fs::create_dir_all(&corpus)?;
    let (mut count, mut bytes) = (0, 0);
    for entry in fs::read_dir(&fresh)? {
        let entry = entry?;
        bytes += fs::copy(entry.path(), corpus.join(entry.file_name()))?;
        count += 1;
    }
    println!("   {target:<16} {count} inputs, {bytes} bytes in fuzz/corpus");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_progress_are_read() {
        assert_eq!(parse_time("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_time("10m"), Ok(Duration::from_secs(600)));
        assert!(parse_time("0s").is_err() && parse_time("5d").is_err() && parse_time("m").is_err());
        let line = "2048\tpulse  cov: 303 ft: 412 corp: 38/1200b lim: 21 exec/s: 1024 rss: 41Mb";
        let text = Progress::parse(line).map(|progress| progress.text());
        assert_eq!(text.as_deref(), Some("2048 runs, 1024/s, 303 edges, 38 inputs"));
        assert!(Progress::parse("0 READ units: 1").is_none());
    }

    #[test]
    fn the_table_of_targets_is_read() {
        let targets = targets().expect("the table");
        assert!(targets.iter().any(|(name, _)| name == "stack"));
        for (name, about) in targets {
            assert!(!about.is_empty());
            assert!(len_max(&name).expect("a length") > 0);
        }
    }
}
