//! `mayfly-sim`: plays seeds, and shows one in detail.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use sim::scenario::Scenario;
use sim::trace::Trace;
use sim::world;

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
    /// Go on after a failure
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    name_seed_on_panic();
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
    let outcome = guarded(seed, &trace);
    trace.flush().map_err(|error| format!("cannot write the trace: {error}"))?;
    let report = outcome.map_err(|error| failure(seed, &error))?;
    println!("seed {seed}: {report:?}");
    Ok(())
}

fn many(options: &Options) -> Result<(), String> {
    if options.pcap.is_some() || options.trace == Some(true) {
        return Err("--trace and --pcap show one seed: add --seeds 1".to_owned());
    }
    let progress = ProgressBar::new(options.seeds);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {per_sec}, {eta} left {msg}");
    progress.set_style(style.map_err(|error| error.to_string())?);
    let began = Instant::now();
    let (mut frames, mut requests, mut virtual_us, mut failed) = (0, 0, 0, 0);
    for seed in options.seed..options.seed.saturating_add(options.seeds) {
        match guarded(seed, &Trace::default()) {
            Ok(report) => {
                frames += report.frames;
                requests += report.requests;
                virtual_us += report.time.micros();
            }
            Err(error) => {
                failed += 1;
                progress.suspend(|| eprintln!("{}", failure(seed, &error)));
                if !options.keep_going {
                    progress.abandon();
                    return Err("a seed failed".to_owned());
                }
            }
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "{} seeds, {failed} failed, {:.1} seeds/s; {frames} frames, {requests} requests, {} h of virtual time",
        options.seeds,
        options.seeds as f64 / seconds,
        virtual_us / 3_600_000_000
    );
    if failed == 0 { Ok(()) } else { Err(format!("{failed} seeds failed")) }
}

/// The seed that is being played, for the panic hook.
static PLAYING: AtomicU64 = AtomicU64::new(0);

/// Plays a seed. A panic of an engine is a failure of its seed like any other; where panics abort
/// (release builds), the hook has named the seed before.
fn guarded(seed: u64, trace: &Trace) -> Result<world::Report, String> {
    PLAYING.store(seed, Ordering::Relaxed);
    let play = std::panic::AssertUnwindSafe(|| world::play(seed, trace));
    std::panic::catch_unwind(play).unwrap_or_else(|_| Err("by a panic, see above".to_owned()))
}

fn name_seed_on_panic() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        eprintln!("{}", failure(PLAYING.load(Ordering::Relaxed), "by this panic"));
    }));
}

fn failure(seed: u64, error: &str) -> String {
    format!("seed {seed} failed {error}\n  replay: cargo xtask sim --seeds 1 --seed {seed}")
}
