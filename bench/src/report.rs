//! Medians with their spread, as a table and as JSON.

use nicfw::Offload;
use serde::Serialize;

use loadgen::workload::ClosesFirst;

use crate::world::{Connection, Outcome, Place};

/// Who shares a core with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrangement {
    /// "one-core" or "two-cores".
    pub(crate) cores: &'static str,
    /// Of the firmware.
    pub(crate) place: Place,
}

/// As the tables and options name it.
pub(crate) fn closer_name(closes: ClosesFirst) -> &'static str {
    match closes {
        ClosesFirst::Client => "client",
        ClosesFirst::Server => "server",
    }
}

/// One run.
pub(crate) struct Sample {
    pub(crate) arrangement: Arrangement,
    pub(crate) offload: Offload,
    pub(crate) connection: Connection,
    pub(crate) closes: ClosesFirst,
    pub(crate) outcome: Outcome,
}

impl Sample {
    /// What its combination is called.
    fn case(&self) -> (Arrangement, Offload, Connection, ClosesFirst) {
        (self.arrangement, self.offload, self.connection, self.closes)
    }
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
    /// Where the firmware runs: "embedded", "inline" or "external".
    place: &'static str,
    offload: String,
    connection: &'static str,
    /// Who closes: "client" or "server", "-" for persistent connections.
    closes: &'static str,
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

    /// One row for each combination, in the order of their first runs.
    fn rows(&self) -> Vec<Row> {
        let mut cases = Vec::new();
        for sample in &self.samples {
            if !cases.contains(&sample.case()) {
                cases.push(sample.case());
            }
        }
        let outcomes = |case| -> Vec<&Outcome> {
            self.samples.iter().filter(|sample| sample.case() == case).map(|sample| &sample.outcome).collect()
        };
        cases.into_iter().map(|case| row(case, &outcomes(case))).collect()
    }

    pub(crate) fn print(&self) {
        let rows = self.rows();
        println!(
            "{:<9} {:<8} {:<9} {:<10} {:<6} {:>12} {:>15} {:>9} {:>8} {:>7}  {:<10} {:>6}",
            "cores",
            "firmware",
            "offload",
            "connection",
            "closes",
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
                "{:<9} {:<8} {:<9} {:<10} {:<6} {:>12.0} {:>15} {:>9.0} {:>8.0} {:>7.0}  {:<10} {:>6}",
                row.arrangement,
                row.place,
                row.offload,
                row.connection,
                row.closes,
                row.host_cycles_per_txn,
                format!("({:.0}-{:.0})", row.host_cycles_per_txn_min, row.host_cycles_per_txn_max),
                row.txn_per_s,
                row.nic_cycles_per_txn,
                row.client_cycles_per_txn,
                row.bottleneck,
                row.errors
            );
        }
        for short in rows.iter().filter(|row| row.offload == "lifecycle" && row.connection == "short") {
            let host = |offload: &str, connection: &str, closes: &str| {
                rows.iter()
                    .find(|row| {
                        (row.arrangement, row.place) == (short.arrangement, short.place)
                            && (row.offload.as_str(), row.connection, row.closes)
                                == (offload, connection, closes)
                    })
                    .map(|row| row.host_cycles_per_txn)
            };
            if let (Some(none), Some(persistent)) =
                (host("none", "short", short.closes), host("lifecycle", "persistent", "-"))
            {
                println!(
                    "{} {}, closed by the {}: short-lived costs the host {:.2}x less at lifecycle than at none, and \
                     {:.2}x a persistent request",
                    short.arrangement,
                    short.place,
                    short.closes,
                    none / short.host_cycles_per_txn,
                    short.host_cycles_per_txn / persistent
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
    write(&json, file)
}

/// Writes figures to a file, or to standard output for `-`.
pub(crate) fn write(figures: &impl Serialize, file: &str) -> Result<(), String> {
    let text = serde_json::to_string_pretty(figures).map_err(|error| error.to_string())?;
    if file == "-" {
        println!("{text}");
        return Ok(());
    }
    std::fs::write(file, text + "\n").map_err(|error| format!("cannot write {file}: {error}"))
}

fn row(
    (arrangement, offload, connection, closes): (Arrangement, Offload, Connection, ClosesFirst),
    outcomes: &[&Outcome],
) -> Row {
    let per_transaction = |cycles: &dyn Fn(&Outcome) -> u64| -> Vec<f64> {
        sorted(outcomes.iter().map(|o| cycles(o) as f64 / o.transactions as f64).collect())
    };
    let host = per_transaction(&|o| o.cycles.host);
    let nic = median(&per_transaction(&|o| o.cycles.nic));
    let client = median(&per_transaction(&|o| o.cycles.client));
    let shares = if arrangement.cores == "one-core" {
        [("host", median(&host)), ("NIC", nic), ("client", client)]
    } else {
        // Two threads: the one that is busy for more of the time holds the other up.
        let busy = |cycles: &dyn Fn(&Outcome) -> u64| {
            median(&sorted(outcomes.iter().map(|o| cycles(o) as f64 / o.elapsed_cycles as f64).collect()))
        };
        let name = |with_nic: &'static str, cycles: f64| if nic > cycles { "NIC" } else { with_nic };
        match arrangement.place {
            Place::Inline => [
                (name("host", median(&host)), busy(&|o| o.cycles.host + o.cycles.nic)),
                ("client", busy(&|o| o.cycles.client)),
                ("", 0.0),
            ],
            Place::Embedded | Place::External => [
                ("host", busy(&|o| o.cycles.host)),
                (name("client", client), busy(&|o| o.cycles.nic + o.cycles.client)),
                ("", 0.0),
            ],
        }
    };
    let bottleneck = shares.iter().max_by(|a, b| a.1.total_cmp(&b.1)).map_or("", |share| share.0);
    Row {
        arrangement: arrangement.cores,
        place: arrangement.place.name(),
        offload: offload.to_string(),
        connection: connection.name(),
        closes: if connection == Connection::Short { closer_name(closes) } else { "-" },
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
