//! `mayfly-sim`: plays seeds, and shows one in detail.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::scenario::Scenario;
use sim::series;
use sim::trace::Trace;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plays clients, wire, firmware, host stack and Redis engine from seeds, on virtual time
#[derive(Parser)]
#[command(name = "mayfly-sim", version)]
struct Options {
    /// How many seeds to play
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// With --seeds 1: show every frame (on unless output is not wanted: --trace=false)
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    trace: Option<bool>,
    /// With --seeds 1: write every frame to this file
    #[arg(long, value_name = "FILE")]
    pcap: Option<PathBuf>,
    /// How many seeds to play at a time (default: one per core)
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    series::catch_panics();
    let outcome = if options.seeds == 1 { one(&options) } else { many(&options) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn one(options: &Options) -> Result<(), String> {
    let seed = options.seed;
    let trace = Trace::default();
    if options.trace.unwrap_or(true) {
        println!("{:#?}", Scenario::draw(seed));
        trace.write_lines(Box::new(std::io::BufWriter::new(std::io::stdout())));
    }
    if let Some(path) = &options.pcap {
        trace.write_pcap(path).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let outcome = series::play(seed, &trace);
    trace.flush().map_err(|error| format!("cannot write the trace: {error}"))?;
    let report = outcome.map_err(|error| series::failure(seed, &error))?;
    println!("seed {seed}: {report:?}");
    Ok(())
}

fn many(options: &Options) -> Result<(), String> {
    if options.pcap.is_some() || options.trace == Some(true) {
        return Err("--trace and --pcap show one seed: add --seeds 1".to_owned());
    }
    let threads = options.threads.map_or_else(std::thread::available_parallelism, Ok);
    let threads = threads.map_err(|error| format!("cannot count cores, say --threads: {error}"))?.get();
    let progress = ProgressBar::new(options.seeds);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}");
    progress.set_style(style.map_err(|error| error.to_string())?);
    let began = Instant::now();
    let (mut frames, mut requests, mut virtual_us, mut played, mut failed) = (0, 0, 0, 0, 0);
    let seeds = options.seed..options.seed.saturating_add(options.seeds);
    series::play_all(seeds, threads, |seed, outcome| {
        played += 1;
        progress.inc(1);
        match outcome {
            Ok(report) => {
                frames += report.frames;
                requests += report.requests;
                virtual_us += report.time.micros();
                true
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprintln!("{}", series::failure(seed, &error)));
                options.keep_going
            }
        }
    });
    progress.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{played} seeds, {failed} failed, {:.1} seeds/s on {threads} threads; {frames} frames, {requests} requests, \
         {} h of virtual time",
        f64::from(played) / seconds,
        virtual_us / 3_600_000_000
    );
    if failed == 0 { Ok(()) } else { Err(format!("{failed} of {played} seeds failed")) }
}
