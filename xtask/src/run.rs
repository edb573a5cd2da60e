//! The main job: the server with embedded firmware in one namespace, real clients in the other.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};
use clap::Args;
use e2e::lab::{
    CLIENT_INTERFACE, LOADGEN_ADDRESS, Lab, PREFIX, SERVER_ADDRESS, SERVER_INTERFACE, Side, run as execute,
};
use e2e::{Process, programs};
use serde_json::Value;

use crate::table::{Table, thousands};
use crate::{build, setup, step};

const PORT: &str = "6379";
/// Requests that each redis-benchmark run makes.
const BENCHMARK_REQUESTS: &str = "100000";
/// Time that each run of the load generator takes.
const LOADGEN_TIME: &str = "4s";

#[derive(Args)]
pub(crate) struct Options {
    /// End after the table; the exit status is 0 only if every reply was right
    #[arg(long)]
    once: bool,
    /// Device scheme to use (xdp, packet or tap) instead of the best that works
    #[arg(long)]
    net: Option<String>,
    /// The programs are built already (used when going on with sudo)
    #[arg(long, hide = true)]
    built: bool,
}

/// What one offload level showed.
struct Column {
    offload: &'static str,
    benchmarks: Vec<f64>,
    persistent: Measured,
    short: Measured,
}

/// One run of the load generator.
struct Measured {
    transactions_per_second: f64,
    latency_p50_us: f64,
    latency_p99_us: f64,
    host_cycles: f64,
    errors: u64,
}

const BENCHMARKS: [(&str, &[&str]); 3] = [
    ("redis-benchmark GET, keep-alive (requests/s)", &["-t", "get"]),
    ("redis-benchmark SET, keep-alive (requests/s)", &["-t", "set"]),
    ("redis-benchmark GET, -k 0 (connections/s)", &["-t", "get", "-k", "0"]),
];

pub(crate) fn run(options: &Options) -> Result<()> {
    if !options.built {
        setup::ensure()?;
        build::programs()?;
    }
    setup::become_root()?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked_to_stop = Arc::clone(&stop);
    ctrlc::set_handler(move || asked_to_stop.store(true, Ordering::SeqCst))
        .context("cannot watch for Ctrl-C")?;

    step("Two network namespaces, joined by a veth pair")?;
    let lab = Lab::new()?;
    eprintln!("   {lab}; nothing outside them is touched");
    let scheme = pick_device(&lab, options.net.as_deref())?;

    let mut columns = Vec::new();
    let mut serving = None;
    for offload in ["none", "lifecycle"] {
        drop(serving.take());
        step(&format!("mayfly-server --net {scheme}:{SERVER_INTERFACE} --offload {offload}"))?;
        let server = start_server(&lab, &scheme, offload)?;
        check_with_redis_cli(&lab)?;
        columns.push(measure(&lab, &scheme, offload, &stop)?);
        serving = Some(server);
    }
    println!("\n{}", render(&columns, &scheme));
    let errors: u64 = columns.iter().map(|column| column.persistent.errors + column.short.errors).sum();
    if errors > 0 {
        bail!("{errors} transactions had a wrong or missing reply");
    }
    if !options.once && !stop.load(Ordering::SeqCst) {
        serve(&lab, &stop, serving.as_mut());
    }
    Ok(())
}

/// Finds a device scheme that works here, saying why a better one does not.
fn pick_device(lab: &Lab, wanted: Option<&str>) -> Result<String> {
    let schemes = wanted.map_or_else(|| vec!["xdp", "packet", "tap"], |scheme| vec![scheme]);
    let mut last = None;
    for scheme in schemes {
        match start_server(lab, scheme, "none") {
            Ok(_server) => return Ok(scheme.to_string()),
            Err(error) => {
                eprintln!("   {scheme}: does not work here: {error:#}");
                last = Some(error);
            }
        }
    }
    Err(last.expect("at least one scheme was tried"))
}

fn start_server(lab: &Lab, scheme: &str, offload: &str) -> Result<Process> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    let device = format!("{scheme}:{SERVER_INTERFACE}");
    let address = format!("{SERVER_ADDRESS}/{PREFIX}");
    command.args(["--net", &device, "--address", &address, "--port", PORT, "--offload", offload]);
    command.args(["--nic", "embedded"]);
    let server = Process::start(command)?;
    server.wait_for("Ready to accept connections")?;
    Ok(server)
}

/// One client program in the client's namespace, its output as text.
fn client(lab: &Lab, program: &str, args: &[&str]) -> Result<String> {
    let mut command: Command = lab.command(Side::Client, program);
    command.args(args);
    Ok(String::from_utf8_lossy(&execute(&mut command)?.stdout).into_owned())
}

fn redis_cli(lab: &Lab, args: &[&str]) -> Result<String> {
    let mut all = vec!["-h", SERVER_ADDRESS, "-p", PORT];
    all.extend(args);
    Ok(client(lab, "redis-cli", &all)?.trim_end().to_string())
}

/// A short conversation with the real redis-cli, every answer compared.
fn check_with_redis_cli(lab: &Lab) -> Result<()> {
    let conversation: [(&[&str], &str); 9] = [
        (&["PING"], "PONG"),
        (&["SET", "greeting", "hello"], "OK"),
        (&["GET", "greeting"], "hello"),
        (&["-3", "HGETALL", "nobody"], ""),
        (&["INCR", "visits"], "1"),
        (&["RPUSH", "queue", "a", "b", "c"], "3"),
        (&["LRANGE", "queue", "0", "-1"], "a\nb\nc"),
        (&["ZADD", "board", "2", "two", "1", "one"], "2"),
        (&["FLUSHALL"], "OK"),
    ];
    for (command, expected) in conversation {
        let got = redis_cli(lab, command)?;
        if got != expected {
            bail!("redis-cli {}: expected {expected:?}, got {got:?}", command.join(" "));
        }
    }
    eprintln!("   redis-cli: {} commands answered as they should be", conversation.len());
    Ok(())
}

fn measure(lab: &Lab, scheme: &str, offload: &'static str, stop: &AtomicBool) -> Result<Column> {
    let mut benchmarks = Vec::new();
    for (name, args) in BENCHMARKS {
        check_stop(stop)?;
        let mut all = vec!["-h", SERVER_ADDRESS, "-p", PORT, "-n", BENCHMARK_REQUESTS, "--csv"];
        all.extend(args);
        let csv = client(lab, "redis-benchmark", &all)?;
        let rate = requests_per_second(&csv).with_context(|| format!("redis-benchmark printed:\n{csv}"))?;
        eprintln!("   {name}: {}", thousands(rate));
        benchmarks.push(rate);
    }
    check_stop(stop)?;
    let persistent = loadgen(lab, scheme, "0")?;
    check_stop(stop)?;
    let short = loadgen(lab, scheme, "1")?;
    Ok(Column { offload, benchmarks, persistent, short })
}

fn check_stop(stop: &AtomicBool) -> Result<()> {
    if stop.load(Ordering::SeqCst) {
        bail!("interrupted");
    }
    Ok(())
}

/// The first figure of redis-benchmark's CSV: `"test","rps",…` or `"GET","12345.67",…`.
fn requests_per_second(csv: &str) -> Option<f64> {
    csv.lines().rev().find_map(|line| line.split(',').nth(1)?.trim_matches('"').parse().ok())
}

fn loadgen(lab: &Lab, scheme: &str, requests_per_connection: &str) -> Result<Measured> {
    let program = programs::ours("mayfly-loadgen")?;
    let before = host_work(lab)?;
    let mut command = lab.command(Side::Client, program);
    let target = format!("{SERVER_ADDRESS}:{PORT}");
    // The kernel's own clients share this interface, and xdp: would take their frames as well.
    let scheme = if scheme == "tap" { "packet" } else { scheme };
    let device = format!("{scheme}:{CLIENT_INTERFACE}");
    let address = format!("{LOADGEN_ADDRESS}/{PREFIX}");
    command.args(["--target", &target, "--net", &device, "--address", &address]);
    command.args(["--requests-per-connection", requests_per_connection, "--duration", LOADGEN_TIME]);
    command.args(["--connections", "64", "--json", "-"]);
    let output = execute(&mut command)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let json: Value = serde_json::from_str(text.trim())
        .with_context(|| format!("mayfly-loadgen printed no JSON:\n{text}"))?;
    let after = host_work(lab)?;
    let figure = |name: &str| {
        json.pointer(name).and_then(Value::as_f64).with_context(|| format!("no {name} in {json}"))
    };
    let measured = Measured {
        transactions_per_second: figure("/txn_per_s")?,
        latency_p50_us: figure("/latency_us/p50")?,
        latency_p99_us: figure("/latency_us/p99")?,
        host_cycles: (after.0 - before.0) / (after.1 - before.1).max(1.0),
        errors: figure("/errors/total")? as u64,
    };
    let kind = if requests_per_connection == "0" { "persistent" } else { "short-lived" };
    eprintln!(
        "   mayfly-loadgen, {kind}: {} transactions/s, {} errors",
        thousands(measured.transactions_per_second),
        measured.errors
    );
    Ok(measured)
}

/// Host cycles spent and commands executed since the server started.
fn host_work(lab: &Lab) -> Result<(f64, f64)> {
    let info = redis_cli(lab, &["INFO", "everything"])?;
    let field = |name: &str| -> Result<f64> {
        let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let value = line.with_context(|| format!("INFO has no field {name}"))?;
        value.trim().parse().with_context(|| format!("INFO's {name} is {value:?}"))
    };
    Ok((field("host_busy_cycles")?, field("total_commands_processed")?))
}

fn render(columns: &[Column], scheme: &str) -> String {
    let mut headings = vec!["".to_string()];
    headings.extend(columns.iter().map(|column| format!("--offload {}", column.offload)));
    headings.push("ratio".to_string());
    let mut table = Table::new(&headings.iter().map(String::as_str).collect::<Vec<_>>());
    let mut row = |name: &str, value: &dyn Fn(&Column) -> f64| {
        let values: Vec<f64> = columns.iter().map(value).collect();
        let mut cells = vec![name.to_string()];
        cells.extend(values.iter().map(|value| thousands(*value)));
        cells.push(format!("{:.2}", values[1] / values[0]));
        table.row(cells);
    };
    for (at, (name, _)) in BENCHMARKS.iter().enumerate() {
        row(name, &|column| column.benchmarks[at]);
    }
    row("mayfly-loadgen, persistent (transactions/s)", &|column| column.persistent.transactions_per_second);
    row("mayfly-loadgen, short-lived (connections/s)", &|column| column.short.transactions_per_second);
    row("latency p50, short-lived (µs)", &|column| column.short.latency_p50_us);
    row("latency p99, short-lived (µs)", &|column| column.short.latency_p99_us);
    row("latency p50, persistent (µs)", &|column| column.persistent.latency_p50_us);
    row("host cycles per transaction, persistent", &|column| column.persistent.host_cycles);
    row("host cycles per transaction, short-lived", &|column| column.short.host_cycles);
    format!(
        "{table}\n  Over {scheme}: on a veth pair; the firmware runs on a core of this machine, as an emulated NIC.\n  \
         Transactions per second are bounded by that pair and by {} cores for everything; what offload\n  \
         saves the host stands in the last two rows. `cargo xtask bench lifecycle` measures it without a device.",
        std::thread::available_parallelism().map_or(1, usize::from)
    )
}

/// Goes on serving until Ctrl-C or until the server ends.
fn serve(lab: &Lab, stop: &AtomicBool, server: Option<&mut Process>) {
    let Some(server) = server else { return };
    let client = lab.namespace(Side::Client);
    println!("\nServing on {SERVER_ADDRESS}:{PORT}. In another terminal, as root:\n");
    println!("    ip netns exec {client} redis-cli -h {SERVER_ADDRESS}\n");
    println!("Ctrl-C ends it and removes the namespaces.");
    while !stop.load(Ordering::SeqCst) {
        if !server.is_running() {
            eprintln!("mayfly-server ended by itself; it printed:\n{}", server.output());
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    println!();
}
