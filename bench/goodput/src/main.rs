//! `mayfly-goodput`: what a client gets out of an emulated link, from Mayfly and from the real
//! Redis on Linux's TCP, side by side.
//!
//! The link is the laboratory's bad wire between two namespaces. The client is always Linux's
//! TCP; the server, and so the TCP under test, changes from run to run, and all of them take
//! turns. GET shows a TCP as a sender, SET as a receiver. Start reading at [`transfer`].

mod plot;
mod report;
mod transfer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Parser;
use e2e::{Faults, Link};

use report::Report;
use transfer::{Direction, Plan, Server};

#[derive(Parser)]
#[command(name = "mayfly-goodput", version, about = "Measures goodput over an emulated link")]
struct Options {
    /// Runs of each combination; they alternate, and medians are shown
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Seconds of each run, from the connection's first packet on
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Delay of each direction in milliseconds
    #[arg(long, default_value_t = 10)]
    delay_ms: u64,
    /// Rate of each direction in Mbit/s
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    rate_mbit: u64,
    /// Packets that wait in front of the link, in each direction
    #[arg(long, default_value_t = 200)]
    queue: usize,
    /// Only conditions whose name contains this text
    #[arg(long, default_value = "")]
    only: String,
    /// Only this direction
    #[arg(long)]
    direction: Option<Direction>,
    /// Congestion control of Linux's TCP
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// Mayfly's device
    #[arg(long, default_value = "packet")]
    scheme: String,
    /// The first seed of the link's faults
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Also write the figures to this file, as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value_os_t = e2e::programs::target().join("goodput.svg"))]
    svg: PathBuf,
}

/// A state that the link can be in.
struct Condition {
    name: &'static str,
    lost_per_million: u32,
    /// Frames in a million that are late, and that come twice: each.
    disordered_per_million: u32,
}

const CONDITIONS: [Condition; 4] = [
    Condition { name: "no loss", lost_per_million: 0, disordered_per_million: 0 },
    Condition { name: "loss 0.1 %", lost_per_million: 1_000, disordered_per_million: 0 },
    Condition { name: "loss 1 %", lost_per_million: 10_000, disordered_per_million: 0 },
    Condition {
        name: "loss 1 %, reordered 1 %, twice 1 %",
        lost_per_million: 10_000,
        disordered_per_million: 10_000,
    },
];

impl Condition {
    fn link(&self, options: &Options) -> Link {
        let delay = Duration::from_millis(options.delay_ms);
        Link {
            delay,
            bits_per_second: options.rate_mbit * 1_000_000,
            queue_frames: options.queue,
            lost_per_million: self.lost_per_million,
            duplicated_per_million: self.disordered_per_million,
            late_per_million: self.disordered_per_million,
            late_by: delay / 4,
            corrupted_per_million: 0,
        }
    }
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-goodput: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    e2e::lab::require_root()?;
    ctrlc::set_handler(|| transfer::INTERRUPTED.store(true, Ordering::Relaxed))?;
    let conditions: Vec<_> = CONDITIONS.iter().filter(|one| one.name.contains(&options.only)).collect();
    ensure!(!conditions.is_empty(), "--only {:?} leaves no condition", options.only);
    let directions = options.direction.map_or_else(|| Direction::ALL.to_vec(), |one| vec![one]);
    let mut report = Report::new(&options.congestion);
    for condition in conditions {
        for &direction in &directions {
            for round in 0..options.rounds {
                // Every server gets the same dice in a round, other ones in the next.
                let seed = options.seed + u64::from(round);
                for server in Server::ALL {
                    let plan = Plan {
                        server,
                        direction,
                        faults: Faults::both(condition.link(options), seed),
                        duration: Duration::from_secs(options.seconds),
                        congestion: &options.congestion,
                        scheme: &options.scheme,
                    };
                    let sample = transfer::run(&plan)?;
                    eprintln!("   {}, {direction}, {server}, round {}: {sample}", condition.name, round + 1);
                    report.add(condition.name, direction, server, sample);
                }
            }
        }
    }
    println!(
        "\n{} Mbit/s, {} ms each way, {} packets of queue, {} rounds of {} s, {}",
        options.rate_mbit,
        options.delay_ms,
        options.queue,
        options.rounds,
        options.seconds,
        report.wire()
    );
    println!("{report}");
    if let Some(file) = &options.json {
        std::fs::write(file, report.json()?)?;
    }
    plot::write(&report, &options.svg, Duration::from_secs(options.seconds))?;
    println!("picture: {}", options.svg.display());
    Ok(())
}
