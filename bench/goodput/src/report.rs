//! Medians with their spread, as a table and as JSON.

use std::fmt;

use anyhow::Result;
use serde::Serialize;

use crate::transfer::{Direction, Sample, Server};

/// All runs.
pub(crate) struct Report {
    congestion: String,
    groups: Vec<Group>,
}

/// The runs of one condition and direction: what is compared.
pub(crate) struct Group {
    pub(crate) condition: &'static str,
    pub(crate) direction: Direction,
    pub(crate) rows: Vec<(Server, Vec<Sample>)>,
}

/// One line of the result.
#[derive(Serialize)]
struct Row {
    condition: &'static str,
    direction: String,
    server: String,
    mbit_per_s: f64,
    mbit_per_s_min: f64,
    mbit_per_s_max: f64,
    /// To the real Redis on Linux's TCP.
    ratio: f64,
    /// Medians of the sender's own counts.
    segments_sent_again: f64,
    timeouts: f64,
    runs: usize,
}

#[derive(Serialize)]
struct Json<'a> {
    linux_congestion_control: &'a str,
    results: Vec<Row>,
}

impl Report {
    pub(crate) fn new(congestion: &str) -> Self {
        Self { congestion: congestion.to_owned(), groups: Vec::new() }
    }

    pub(crate) fn add(
        &mut self,
        condition: &'static str,
        direction: Direction,
        server: Server,
        sample: Sample,
    ) {
        let same = |group: &Group| group.condition == condition && group.direction == direction;
        if !self.groups.last().is_some_and(same) {
            let rows = Server::ALL.map(|server| (server, Vec::new())).into();
            self.groups.push(Group { condition, direction, rows });
        }
        let mut rows = self.groups.iter_mut().rev().flat_map(|group| &mut group.rows);
        if let Some((_, samples)) = rows.find(|(of, _)| *of == server) {
            samples.push(sample);
        }
    }

    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// How well the wire did, over all runs.
    pub(crate) fn wire(&self) -> String {
        let samples = || self.groups.iter().flat_map(|group| &group.rows).flat_map(|(_, samples)| samples);
        let late = samples().map(|sample| sample.late_p99_us as f64).collect();
        let worst = samples().map(|sample| sample.late_p99_us).max().unwrap_or(0);
        let missed: u64 = samples().map(|sample| sample.missed).sum();
        format!(
            "Linux with {}; the wire delivered 99 % of the frames within {:.0} µs of their time (median of the \
             runs; {worst} µs in the worst) and missed {missed} frames",
            self.congestion,
            median(late)
        )
    }

    fn rows(&self) -> Vec<Row> {
        self.groups.iter().flat_map(Group::rows).collect()
    }

    pub(crate) fn json(&self) -> Result<String> {
        let json = Json { linux_congestion_control: &self.congestion, results: self.rows() };
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }
}

impl Group {
    fn rows(&self) -> Vec<Row> {
        let goodput = |samples: &[Sample]| median(samples.iter().map(|sample| sample.mbit_per_s).collect());
        let linux =
            self.rows.iter().find(|(server, _)| *server == Server::Redis).map(|(_, runs)| goodput(runs));
        let row = |(server, runs): &(Server, Vec<Sample>)| {
            let rates = || runs.iter().map(|run| run.mbit_per_s);
            Row {
                condition: self.condition,
                direction: self.direction.to_string(),
                server: server.to_string(),
                mbit_per_s: goodput(runs),
                mbit_per_s_min: rates().fold(f64::INFINITY, f64::min),
                mbit_per_s_max: rates().fold(0.0, f64::max),
                ratio: goodput(runs) / linux.unwrap_or(f64::NAN),
                segments_sent_again: median(runs.iter().map(|run| run.again as f64).collect()),
                timeouts: median(runs.iter().map(|run| run.timeouts as f64).collect()),
                runs: runs.len(),
            }
        };
        self.rows.iter().map(row).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<35} {:<4} {:<18} {:>7} {:>14} {:>6} {:>11} {:>8}",
            "link", "", "server", "Mbit/s", "(min-max)", "ratio", "sent again", "timeouts"
        )?;
        for row in self.rows() {
            writeln!(
                f,
                "{:<35} {:<4} {:<18} {:>7.1} {:>14} {:>6.2} {:>11.0} {:>8.0}",
                row.condition,
                row.direction,
                row.server,
                row.mbit_per_s,
                format!("({:.1}-{:.1})", row.mbit_per_s_min, row.mbit_per_s_max),
                row.ratio,
                row.segments_sent_again,
                row.timeouts,
            )?;
        }
        write!(
            f,
            "ratio: to the real Redis on Linux's TCP; of a GET the server is the sender, of a SET the client"
        )
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        len if len % 2 == 1 => values[len / 2],
        len => (values[len / 2 - 1] + values[len / 2]) / 2.0,
    }
}
