//! Shows a run: live progress, the table at the end, JSON.
//!
//! The JSON has this form, all figures of the measuring window except `errors`, `first_error` and
//! `wire`, which are of the whole run:
//!
//! ```json
//! {
//!   "version": 1,
//!   "target": "198.18.0.2:6379", "net": "packet:veth-b",
//!   "connections": 50, "requests_per_connection": 1, "closes": "client", "pipeline": 1,
//!   "keys": 10000, "value_bytes": 32, "get_percent": 100,
//!   "ok": true, "interrupted": false, "gave_up": false,
//!   "elapsed_s": 10.0, "transactions": 1000000, "gets": 1000000, "sets": 0,
//!   "connections_ended": 1000000, "txn_per_s": 100000.0, "conn_per_s": 100000.0,
//!   "client_cycles_per_txn": 900.0, "client_busy_share": 0.4, "tsc_hz": 2450000000,
//!   "latency_us": {"p50": 80, "p90": 120, "p99": 300, "p99.9": 900, "max": 1500, "mean": 85.1},
//!   "errors": {"total": 0, "wrong_reply": 0, "error_reply": 0, "timeout": 0, "connect_timeout": 0,
//!              "refused": 0, "reset": 0, "closed_early": 0, "close_timeout": 0, "local": 0},
//!   "first_error": null, "port_waits": 0,
//!   "wire": {"received": 0, "sent": 0, "retransmitted_syn": 0, "retransmitted_data": 0,
//!            "retransmitted_fin": 0, "out_of_order": 0, "duplicates": 0, "bad_checksum": 0,
//!            "malformed": 0, "foreign": 0, "stray": 0, "no_frame": 0}
//! }
//! ```
//!
//! `requests_per_connection` is 0 for persistent connections. `wire` is null with kernel sockets.

use std::fmt::Write as _;
use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};
use netcore::{Duration, Instant};
use serde_json::{Map, Value, json};

use crate::results::{ErrorKind, Results, WireCounters};
use crate::run::{Limit, Outcome, Plan, Stage, Status};
use crate::workload::{ClosesFirst, WorkloadConfig};

/// How often a line is printed where no bar can be drawn.
const LINE_INTERVAL_S: u64 = 2;

/// What was run, for the reports.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The server.
    pub target: String,
    /// The device, as given.
    pub net: String,
    /// Connections at a time.
    pub connections: usize,
    /// What was asked.
    pub workload: WorkloadConfig,
    /// Ticks of the processor's clock per second.
    pub tsc_hz: u64,
    /// Kernel sockets: the wire's counters are unknown.
    pub kernel: bool,
}

/// Shows progress on standard error: a bar on a terminal, else a line every few seconds.
pub struct Progress {
    bar: Option<ProgressBar>,
    plan: Plan,
    quiet: bool,
    last_line: Option<(Stage, u64)>,
    last: Option<(Stage, Duration, u64)>,
}

impl Progress {
    /// `quiet`: show nothing.
    pub fn new(plan: Plan, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{prefix:>9} [{bar:30}] {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1000).with_style(style)
        });
        Self { bar, plan, quiet, last_line: None, last: None }
    }

    /// Takes what the run shows.
    pub fn observe(&mut self, status: &Status<'_>) {
        if self.quiet {
            return;
        }
        let (name, share, text) = self.describe(status);
        if let Some(bar) = &self.bar {
            bar.set_prefix(name);
            bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
            bar.set_message(text);
            return;
        }
        let seconds = status.elapsed.micros() / 1_000_000;
        let due = match self.last_line {
            Some((stage, at)) => stage != status.stage || seconds >= at + LINE_INTERVAL_S,
            None => true,
        };
        if due {
            self.last_line = Some((status.stage, seconds));
            eprintln!("{name}: {text}");
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn describe(&mut self, status: &Status<'_>) -> (&'static str, f64, String) {
        let elapsed = seconds(status.elapsed);
        let part = |whole: Duration| elapsed / seconds(whole).max(1e-6);
        let (done, errors) = (status.results.transactions, status.results.errors.total());
        let rate = self.rate(status.stage, status.elapsed, done);
        let mut text = format!("{elapsed:.1} s  {} txn/s", thousands(rate));
        if errors > 0 {
            let _ = write!(text, "  {errors} errors");
        }
        match status.stage {
            Stage::Load => {
                let (loaded, keys) = status.load;
                let share = loaded as f64 / keys.max(1) as f64;
                ("loading", share, format!("{} of {} keys", thousands(loaded), thousands(keys)))
            }
            Stage::WarmUp => ("warm-up", part(self.plan.warmup), text),
            Stage::Settle => ("warm-up", 1.0, text),
            Stage::Measure => {
                let share = match self.plan.limit {
                    Limit::Time(time) => part(time),
                    Limit::Requests(requests) => done as f64 / requests.max(1) as f64,
                };
                ("measuring", share, text)
            }
            Stage::Drain => ("closing", 1.0, "waiting for connections to end".to_owned()),
        }
    }

    /// Transactions per second since the last look.
    fn rate(&mut self, stage: Stage, elapsed: Duration, done: u64) -> u64 {
        let (since, before) = match self.last {
            Some((last, at, count)) if last == stage && done >= count => (at, count),
            _ => (Duration::ZERO, 0),
        };
        let due = self.last.is_none_or(|(last, at, _)| last != stage || (elapsed - at).micros() > 900_000);
        if due {
            self.last = Some((stage, elapsed, done));
        }
        let span = (Instant::ZERO + elapsed).since(Instant::ZERO + since);
        ((done - before) * 1_000_000).checked_div(span.micros()).unwrap_or(0)
    }
}

fn seconds(span: Duration) -> f64 {
    span.micros() as f64 / 1e6
}

/// A number with commas.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn per_second(count: u64, outcome: &Outcome) -> f64 {
    if outcome.elapsed == Duration::ZERO { 0.0 } else { count as f64 / seconds(outcome.elapsed) }
}

fn cycles_per_txn(outcome: &Outcome) -> f64 {
    if outcome.results.transactions == 0 {
        0.0
    } else {
        outcome.busy_ticks as f64 / outcome.results.transactions as f64
    }
}

fn busy_share(outcome: &Outcome, scenario: &Scenario) -> f64 {
    let whole = seconds(outcome.elapsed) * scenario.tsc_hz as f64;
    if whole == 0.0 { 0.0 } else { (outcome.busy_ticks as f64 / whole).min(1.0) }
}

const fn closes_name(closes: ClosesFirst) -> &'static str {
    match closes {
        ClosesFirst::Client => "client",
        ClosesFirst::Server => "server",
    }
}

/// The table for people.
pub fn table(scenario: &Scenario, outcome: &Outcome) -> String {
    let results = &outcome.results;
    let workload = &scenario.workload;
    let mut rows: Vec<(&str, String)> = Vec::new();
    let kind = match workload.requests_per_connection {
        None => "persistent connections".to_owned(),
        Some(1) => format!("1 request per connection, {} closes first", closes_name(workload.closes)),
        Some(n) => format!("{n} requests per connection, {} closes first", closes_name(workload.closes)),
    };
    rows.push(("scenario", format!("{} at a time, {kind}", scenario.connections)));
    rows.push((
        "requests",
        format!(
            "{} % GET, {} keys, values of {} bytes, pipeline {}",
            workload.get_percent,
            thousands(workload.keys),
            thousands(workload.value_bytes as u64),
            workload.pipeline
        ),
    ));
    rows.push((
        "transactions",
        format!("{} in {:.2} s", thousands(results.transactions), seconds(outcome.elapsed)),
    ));
    rows.push((
        "throughput",
        format!("{} txn/s", thousands(per_second(results.transactions, outcome) as u64)),
    ));
    rows.push((
        "connections",
        format!(
            "{} ended, {} conn/s",
            thousands(results.connections),
            thousands(per_second(results.connections, outcome) as u64)
        ),
    ));
    let latency = |quantile: f64| thousands(results.latency_us.value_at_quantile(quantile));
    rows.push((
        "latency (us)",
        format!(
            "p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            latency(0.5),
            latency(0.9),
            latency(0.99),
            latency(0.999),
            thousands(results.latency_us.max())
        ),
    ));
    rows.push((
        "client cost",
        format!(
            "{} cycles/txn, busy {:.0} % of the time",
            thousands(cycles_per_txn(outcome) as u64),
            100.0 * busy_share(outcome, scenario)
        ),
    ));
    if !scenario.kernel {
        let wire = &results.wire;
        rows.push((
            "retransmitted",
            format!(
                "{} SYN, {} data, {} FIN; {} out of order",
                wire.retransmitted_syn, wire.retransmitted_data, wire.retransmitted_fin, wire.out_of_order
            ),
        ));
    }
    rows.push(("errors", errors_line(results)));
    let mut text = String::new();
    for (name, value) in rows {
        let _ = writeln!(text, "{name:>14}  {value}");
    }
    for remark in remarks(scenario, outcome) {
        let _ = writeln!(text, "{remark}");
    }
    text
}

fn errors_line(results: &Results) -> String {
    if results.errors.total() == 0 {
        return "none; every reply was checked byte for byte".to_owned();
    }
    let kinds = ErrorKind::ALL
        .into_iter()
        .filter(|&kind| results.errors.of(kind) > 0)
        .map(|kind| format!("{} {}", thousands(results.errors.of(kind)), kind.name()))
        .collect::<Vec<_>>();
    kinds.join(", ")
}

fn remarks(scenario: &Scenario, outcome: &Outcome) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(first) = &outcome.results.first_error {
        remarks.push(format!("first error: {first}"));
    }
    if outcome.interrupted {
        remarks.push("interrupted before its end".to_owned());
    }
    if outcome.gave_up {
        remarks.push("given up after too many errors (--max-errors)".to_owned());
    }
    if outcome.results.port_waits > 0 || ports_run_short(scenario, outcome) {
        remarks.push(
            "the kernel's local ports ran short, because closed connections rest in TIME_WAIT: the client is the \
             bottleneck (sysctl -w net.ipv4.tcp_tw_reuse=1, --closes server or a DPDK device help)"
                .to_owned(),
        );
    }
    if outcome.results.transactions == 0 && outcome.results.errors.total() == 0 {
        remarks.push("no transaction was completed".to_owned());
    }
    remarks
}

/// Connections beyond which a kernel that does not reuse ports begins to search for free ones: it
/// prefers every second port of its range.
const PORTS_SHORT: u64 = 10_000;

/// True when closed connections may have kept the kernel from opening new ones.
fn ports_run_short(scenario: &Scenario, outcome: &Outcome) -> bool {
    if !scenario.kernel || outcome.results.connections < PORTS_SHORT {
        return false;
    }
    match std::fs::read_to_string("/proc/sys/net/ipv4/tcp_tw_reuse") {
        Ok(reuse) if reuse.trim() == "1" => false,
        Ok(reuse) if reuse.trim() == "2" && scenario.target.starts_with("127.") => false,
        _ => scenario.workload.closes == ClosesFirst::Client,
    }
}

/// The report for programs; see the module's head.
pub fn json(scenario: &Scenario, outcome: &Outcome) -> Value {
    let results = &outcome.results;
    let workload = &scenario.workload;
    let mut errors = Map::new();
    errors.insert("total".to_owned(), results.errors.total().into());
    for kind in ErrorKind::ALL {
        errors.insert(kind.name().to_owned(), results.errors.of(kind).into());
    }
    let latency = &results.latency_us;
    json!({
        "version": 1,
        "target": scenario.target,
        "net": scenario.net,
        "connections": scenario.connections,
        "requests_per_connection": workload.requests_per_connection.unwrap_or(0),
        "closes": closes_name(workload.closes),
        "pipeline": workload.pipeline,
        "keys": workload.keys,
        "value_bytes": workload.value_bytes,
        "get_percent": workload.get_percent,
        "ok": outcome.good(),
        "interrupted": outcome.interrupted,
        "gave_up": outcome.gave_up,
        "elapsed_s": seconds(outcome.elapsed),
        "transactions": results.transactions,
        "gets": results.gets,
        "sets": results.sets,
        "connections_ended": results.connections,
        "txn_per_s": per_second(results.transactions, outcome),
        "conn_per_s": per_second(results.connections, outcome),
        "client_cycles_per_txn": cycles_per_txn(outcome),
        "client_busy_share": busy_share(outcome, scenario),
        "tsc_hz": scenario.tsc_hz,
        "latency_us": {
            "p50": latency.value_at_quantile(0.5),
            "p90": latency.value_at_quantile(0.9),
            "p99": latency.value_at_quantile(0.99),
            "p99.9": latency.value_at_quantile(0.999),
            "max": latency.max(),
            "mean": latency.mean(),
        },
        "errors": errors,
        "first_error": results.first_error,
        "port_waits": results.port_waits,
        "wire": if scenario.kernel { Value::Null } else { wire(&results.wire) },
    })
}

fn wire(wire: &WireCounters) -> Value {
    json!({
        "received": wire.received,
        "sent": wire.sent,
        "retransmitted_syn": wire.retransmitted_syn,
        "retransmitted_data": wire.retransmitted_data,
        "retransmitted_fin": wire.retransmitted_fin,
        "out_of_order": wire.out_of_order,
        "duplicates": wire.duplicates,
        "bad_checksum": wire.bad_checksum,
        "malformed": wire.malformed,
        "foreign": wire.foreign,
        "stray": wire.stray,
        "no_frame": wire.no_frame,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1000), "1,000");
        assert_eq!(thousands(12_345_678), "12,345,678");
    }

    #[test]
    fn an_empty_run_is_not_good_and_divides_by_nothing() {
        let scenario = Scenario {
            target: "198.18.0.2:6379".to_owned(),
            net: "kernel".to_owned(),
            connections: 1,
            workload: WorkloadConfig::default(),
            tsc_hz: 1,
            kernel: true,
        };
        let outcome = Outcome {
            results: Results::default(),
            elapsed: Duration::ZERO,
            busy_ticks: 0,
            interrupted: false,
            gave_up: false,
        };
        assert!(table(&scenario, &outcome).contains("no transaction"));
        let json = json(&scenario, &outcome);
        assert_eq!(json["ok"], false);
        assert_eq!(json["wire"], Value::Null);
        assert_eq!(json["errors"]["total"], 0);
    }
}
