//! `mayfly-bench lifecycle`: the levels against each other, alternating.

use std::sync::Arc;

use clap::Args;
use dpdk::{Device, DevicePort, Eal, EalConfig, Mempool, OpenConfig};
use loadgen::workload::ClosesFirst;
use nicfw::Offload;
use server::{Engine, config::Config};

use crate::report::{Report, Sample};
use crate::world::{Connection, Load, Place, one_core, ring_link, two_cores};
use crate::{cores, report};

/// Frames of the pool that all sides share, and the room of each in bytes.
const POOL_FRAMES: u32 = 8191;
const FRAME_BYTES: u16 = 2048;

#[derive(Args)]
pub(crate) struct Options {
    /// Times that every combination runs
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Transactions of one run
    #[arg(long, default_value_t = 200_000)]
    transactions: u64,
    /// Connections open at a time
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Different keys; few enough for the keyspace to stay in the cache, since connections are measured
    #[arg(long, default_value_t = 100)]
    keys: u64,
    /// Bytes of a value
    #[arg(long, default_value_t = 64)]
    value_bytes: usize,
    /// Only this arrangement: one-core or two-cores
    #[arg(long, value_parser = ["one-core", "two-cores"])]
    arrangement: Option<String>,
    /// Only this offload level: none or lifecycle
    #[arg(long, value_parser = ["none", "lifecycle"])]
    offload: Option<String>,
    /// Only this kind of connection: short or persistent
    #[arg(long, value_parser = ["short", "persistent"])]
    connection: Option<String>,
    /// Only short-lived connections closed by this side: client or server (by a QUIT behind the GET)
    #[arg(long, value_parser = ["client", "server"])]
    closes: Option<String>,
    /// Only this place of the firmware: embedded (with two cores: on the client's), inline (on the
    /// host's, with two cores only) or external (joined to the host by vhost and virtio)
    #[arg(long, value_parser = ["embedded", "inline", "external"])]
    place: Option<String>,
    /// Also write the figures to this file, as JSON (- for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let eal = Eal::init(&EalConfig::default()).map_err(|error| error.to_string())?;
    // One pool for all runs: pools last as long as the process.
    let pool = Mempool::new(eal, POOL_FRAMES, FRAME_BYTES).map_err(|error| error.to_string())?;
    let _lcore = dpdk::register_thread(eal).map_err(|error| error.to_string())?;
    let mut devices = DeviceLink { eal, open: None };
    let mut report = Report::default();
    let wanted = |name: &str| options.arrangement.as_deref().is_none_or(|only| only == name);
    for arrangement in ["one-core", "two-cores"].into_iter().filter(|name| wanted(name)) {
        measure(options, eal, &pool, &mut devices, arrangement, &mut report)?;
    }
    report.print();
    if let Some(file) = &options.json {
        report::write_json(&report, file)?;
    }
    match report.errors() {
        0 => Ok(()),
        errors => Err(format!("{errors} transactions had a wrong or missing reply")),
    }
}

/// Both sides of a vhost-user socket, as they join the firmware's process to the server's. Opened when
/// first needed, and used again: a device's pool lasts as long as the process.
struct DeviceLink {
    eal: &'static Eal,
    open: Option<(DevicePort, DevicePort)>,
}

impl DeviceLink {
    /// The firmware's end and the host's.
    fn ends(&mut self) -> Result<(&mut DevicePort, &mut DevicePort), String> {
        if self.open.is_none() {
            let socket = std::env::temp_dir().join(format!("mayfly-bench-{}.sock", std::process::id()));
            let config = OpenConfig { frames: POOL_FRAMES, ..OpenConfig::default() };
            let open = |scheme: &str| {
                let device: Device =
                    format!("{scheme}:{}", socket.display()).parse().map_err(|error| format!("{error}"))?;
                device.open(self.eal, &config).map_err(|error| error.to_string())
            };
            let nic = open("vhost")?;
            self.open = Some((nic, open("virtio")?));
        }
        let (nic, host) = self.open.as_mut().ok_or("the link is not open")?;
        Ok((nic, host))
    }
}

/// One combination.
#[derive(Clone, Copy)]
struct Case {
    place: Place,
    offload: Offload,
    connection: Connection,
    closes: ClosesFirst,
}

/// What is asked for, in the order of the table.
fn cases(options: &Options, arrangement: &str) -> Vec<Case> {
    let asked = |only: &Option<String>, name: &str| only.as_deref().is_none_or(|only| only == name);
    let kinds = [
        (Connection::Short, ClosesFirst::Client),
        (Connection::Short, ClosesFirst::Server),
        (Connection::Persistent, ClosesFirst::Client),
    ];
    let mut cases = Vec::new();
    for place in [Place::Embedded, Place::Inline, Place::External] {
        for offload in [Offload::None, Offload::Lifecycle] {
            for (connection, closes) in kinds {
                let closer = connection == Connection::Persistent
                    || asked(&options.closes, report::closer_name(closes));
                let possible = arrangement == "two-cores" || place != Place::Inline;
                if possible
                    && asked(&options.place, place.name())
                    && closer
                    && asked(&options.offload, &offload.to_string())
                    && asked(&options.connection, connection.name())
                {
                    cases.push(Case { place, offload, connection, closes });
                }
            }
        }
    }
    cases
}

fn measure(
    options: &Options,
    eal: &Eal,
    pool: &Mempool,
    devices: &mut DeviceLink,
    arrangement: &'static str,
    report: &mut Report,
) -> Result<(), String> {
    let cases = cases(options, arrangement);
    let progress = indicatif::ProgressBar::new((options.rounds * cases.len()) as u64);
    progress.set_style(
        indicatif::ProgressStyle::with_template("{prefix:>10} {bar:30} {pos}/{len} {msg}")
            .map_err(|error| error.to_string())?,
    );
    progress.set_prefix(arrangement);
    for _ in 0..options.rounds {
        if arrangement == "two-cores" {
            report.round_trips.push(cores::round_trip_cycles());
        }
        for &Case { place, offload, connection, closes } in &cases {
            let load = Load {
                offload,
                connection,
                closes,
                connections: options.connections,
                keys: options.keys,
                value_bytes: options.value_bytes,
                transactions: options.transactions,
            };
            progress.set_message(format!("{offload}, {}", connection.name()));
            let start = server::front::engine_start(1).map_err(|error| error.to_string())?;
            let engine = Arc::new(Engine::new(Config::default(), start));
            let outcome = match (arrangement, place) {
                ("one-core", Place::External) => one_core(pool, &load, devices.ends()?, &engine),
                ("one-core", _) => one_core(pool, &load, ring_link(), &engine),
                (_, Place::External) => two_cores(eal, pool, &load, place, devices.ends()?, &engine),
                _ => two_cores(eal, pool, &load, place, ring_link(), &engine),
            }
            .map_err(|error| format!("{arrangement}, {offload}, {}: {error}", connection.name()))?;
            let arrangement = report::Arrangement { cores: arrangement, place };
            report.add(Sample { arrangement, offload, connection, closes, outcome });
            progress.inc(1);
        }
        if arrangement == "two-cores" {
            report.round_trips.push(cores::round_trip_cycles());
        }
    }
    progress.finish_and_clear();
    Ok(())
}
