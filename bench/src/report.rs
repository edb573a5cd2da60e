//! Medians with their spread, as a table and as JSON.

use nicfw::Offload;
use serde::Serialize;

use crate::world::{Connection, Outcome};

/// One run.
pub(crate) struct Sample {
    pub(crate) arrangement: &'static str,
    pub(crate) offload: Offload,
    pub(crate) connection: Connection,
    pub(crate) outcome: Outcome,
}

/// All runs.
#[derive(Default)]
pub(crate) struct Report {
    samples: Vec<Sample>,
    /// Core-to-core round trips of the two-core runs, in cycles.
    pub(crate) round_trips: Vec<u64>,
}

/// One line of the result: medians over the runs of one combination.
#[derive(Serialize)]
struct Row {
    arrangement: &'static str,
    offload: String,
    connection: &'static str,
    host_cycles_per_txn: f64,
    host_cycles_per_txn_min: f64,
    host_cycles_per_txn_max: f64,
    txn_per_s: f64,
    nic_cycles_per_txn: f64,
    client_cycles_per_txn: f64,
    bottleneck: &'static str,
    errors: u64,
    runs: usize,
}

#[derive(Serialize)]
struct Json {
    results: Vec<Row>,
    tsc_hz: u64,
    core_to_core_round_trip_cycles: Vec<u64>,
    nic: &'static str,
}

impl Report {
    pub(crate) fn add(&mut self, sample: Sample) {
        self.samples.push(sample);
    }

    pub(crate) fn errors(&self) -> u64 {
        self.samples.iter().map(|sample| sample.outcome.errors).sum()
    }

    fn rows(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for arrangement in ["one-core", "two-cores"] {
            for offload in [Offload::None, Offload::Lifecycle] {
                for connection in [Connection::Short, Connection::Persistent] {
                    let outcomes: Vec<&Outcome> = self
                        .samples
                        .iter()
                        .filter(|s| {
                            s.arrangement == arrangement && s.offload == offload && s.connection == connection
                        })
                        .map(|s| &s.outcome)
                        .collect();
                    if !outcomes.is_empty() {
                        rows.push(row(arrangement, offload, connection, &outcomes));
                    }
                }
            }
        }
        rows
    }

    pub(crate) fn print(&self) {
        let rows = self.rows();
        println!(
            "{:<10} {:<10} {:<11} {:>12} {:>17} {:>10} {:>8} {:>8}  {:<10} {:>6}",
            "cores",
            "offload",
            "connection",
            "host cyc/txn",
            "(min-max)",
            "txn/s",
            "NIC cyc",
            "client",
            "bottleneck",
            "errors"
        );
        for row in &rows {
            println!(
                "{:<10} {:<10} {:<11} {:>12.0} {:>17} {:>10.0} {:>8.0} {:>8.0}  {:<10} {:>6}",
                row.arrangement,
                row.offload,
                row.connection,
                row.host_cycles_per_txn,
                format!("({:.0}-{:.0})", row.host_cycles_per_txn_min, row.host_cycles_per_txn_max),
                row.txn_per_s,
                row.nic_cycles_per_txn,
                row.client_cycles_per_txn,
                row.bottleneck,
                row.errors
            );
        }
        for arrangement in ["one-core", "two-cores"] {
            let host = |offload: &str, connection: &str| {
                rows.iter()
                    .find(|r| {
                        r.arrangement == arrangement && r.offload == offload && r.connection == connection
                    })
                    .map(|r| r.host_cycles_per_txn)
            };
            if let (Some(none), Some(lifecycle), Some(persistent)) =
                (host("none", "short"), host("lifecycle", "short"), host("lifecycle", "persistent"))
            {
                println!(
                    "{arrangement}: short-lived costs the host {:.2}x less at lifecycle than at none, and {:.2}x a persistent request",
                    none / lifecycle,
                    lifecycle / persistent
                );
            }
        }
        if let (Some(min), Some(max)) = (self.round_trips.iter().min(), self.round_trips.iter().max()) {
            println!(
                "core-to-core round trip, before and after each two-core round: {min} to {max} cycles: {:?}",
                self.round_trips
            );
        }
        println!("the NIC is emulated: the firmware runs on a core of this machine");
    }
}

pub(crate) fn write_json(report: &Report, file: &str) -> Result<(), String> {
    let json = Json {
        results: report.rows(),
        tsc_hz: dpdk::tsc_hz(),
        core_to_core_round_trip_cycles: report.round_trips.clone(),
        nic: "emulated: the firmware runs on a core of this machine",
    };
    let text = serde_json::to_string_pretty(&json).map_err(|error| error.to_string())?;
    if file == "-" {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(file, text + "\n").map_err(|error| format!("cannot write {file}: {error}"))
}

fn row(arrangement: &'static str, offload: Offload, connection: Connection, outcomes: &[&Outcome]) -> Row {
    let per_transaction = |cycles: &dyn Fn(&Outcome) -> u64| -> Vec<f64> {
        sorted(outcomes.iter().map(|o| cycles(o) as f64 / o.transactions as f64).collect())
    };
    let host = per_transaction(&|o| o.cycles.host);
    let nic = median(&per_transaction(&|o| o.cycles.nic));
    let client = median(&per_transaction(&|o| o.cycles.client));
    let shares = if arrangement == "one-core" {
        [("host", median(&host)), ("NIC", nic), ("client", client)]
    } else {
        // Two threads: the one that is busy for more of the time holds the other up.
        let busy = |cycles: &dyn Fn(&Outcome) -> u64| {
            median(&sorted(outcomes.iter().map(|o| cycles(o) as f64 / o.elapsed_cycles as f64).collect()))
        };
        let outside = busy(&|o| o.cycles.nic + o.cycles.client);
        let outside_name = if nic > client { "NIC" } else { "client" };
        [("host", busy(&|o| o.cycles.host)), (outside_name, outside), ("", 0.0)]
    };
    let bottleneck = shares.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |share| share.0);
    Row {
        arrangement,
        offload: offload.to_string(),
        connection: connection.name(),
        host_cycles_per_txn: median(&host),
        host_cycles_per_txn_min: host[0],
        host_cycles_per_txn_max: host[host.len() - 1],
        txn_per_s: median(&sorted(outcomes.iter().map(|o| o.transactions as f64 / o.seconds).collect())),
        nic_cycles_per_txn: nic,
        client_cycles_per_txn: client,
        bottleneck,
        errors: outcomes.iter().map(|o| o.errors).sum(),
        runs: outcomes.len(),
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn median(sorted: &[f64]) -> f64 {
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}
