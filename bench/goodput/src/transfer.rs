//! One run: a fresh laboratory, a server, one connection that moves as much as it can.

use std::fmt;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use e2e::lab::{CLIENT_ADDRESS, Lab, PREFIX, SERVER_ADDRESS, SERVER_INTERFACE, Side};
use e2e::{Faults, Process, programs};

const PORT: u16 = 6379;
/// Bytes of a value.
const VALUE_LEN: usize = 256 * 1024;
/// GETs that are on their way at a time: so much that the server always has something to send.
const GETS: usize = 16;
/// Bytes of a value of a SET: what the client learns of its progress by.
const SET_LEN: usize = 32 * 1024;
/// Width of the steps in which a run's course is kept.
pub(crate) const STEP: Duration = Duration::from_millis(200);

/// Somebody wants it to end: what was made is taken down in order.
pub(crate) static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Who serves, and on whose TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Redis,
    None,
    Lifecycle,
}

impl Server {
    pub(crate) const ALL: [Self; 3] = [Self::Redis, Self::None, Self::Lifecycle];
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Redis => "Redis on Linux",
            Self::None => "Mayfly, none",
            Self::Lifecycle => "Mayfly, lifecycle",
        })
    }
}

/// Which way the values go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Direction {
    /// The server sends.
    Get,
    /// The client sends.
    Set,
}

impl Direction {
    pub(crate) const ALL: [Self; 2] = [Self::Get, Self::Set];
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Get => "GET",
            Self::Set => "SET",
        })
    }
}

/// What a run is made of.
pub(crate) struct Plan<'a> {
    pub(crate) server: Server,
    pub(crate) direction: Direction,
    pub(crate) faults: Faults,
    pub(crate) duration: Duration,
    /// Of Linux's TCP, at both ends.
    pub(crate) congestion: &'a str,
    pub(crate) scheme: &'a str,
}

/// What a run showed.
pub(crate) struct Sample {
    /// Bytes of values that arrived, and were right.
    pub(crate) mbit_per_s: f64,
    /// The same for each [`STEP`].
    pub(crate) course: Vec<f64>,
    /// Segments that the sender sent again, and expiries of its retransmission timer.
    pub(crate) again: u64,
    pub(crate) timeouts: u64,
    /// Frames that came to the wire: from the server, from the client.
    pub(crate) frames: [u64; 2],
    pub(crate) queue_full: u64,
    pub(crate) late_p99_us: u64,
    pub(crate) missed: u64,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:.1} Mbit/s ({} sent again, {} timeouts; {} frames from the server, {} from the client, \
             {} dropped by the queue; wire p99 {} µs late, {} missed)",
            self.mbit_per_s,
            self.again,
            self.timeouts,
            self.frames[0],
            self.frames[1],
            self.queue_full,
            self.late_p99_us,
            self.missed
        )
    }
}

/// Runs it.
///
/// # Errors
/// The laboratory or the server could not be made, or a reply was wrong.
pub(crate) fn run(plan: &Plan<'_>) -> Result<Sample> {
    let lab = Lab::with_faults(plan.faults)?;
    lab.set_congestion_control(Side::Client, CLIENT_ADDRESS, plan.congestion)?;
    let server = start(&lab, plan)?;
    let mut course = Course::new(plan.duration);
    let (before, after) = lab
        .within(Side::Client, || {
            if plan.direction == Direction::Get {
                let mut stream = connect()?;
                stream.write_all(&set(&pattern(VALUE_LEN)))?;
                expect(&mut stream, b"+OK\r\n")?;
            }
            let before = sender(&lab, plan)?;
            let mut stream = connect()?;
            match plan.direction {
                Direction::Get => get_until(&mut stream, &mut course)?,
                Direction::Set => set_until(&mut stream, &mut course)?,
            }
            check_congestion_control(&lab, plan)?;
            stream.shutdown(Shutdown::Both).ok();
            Ok((before, sender(&lab, plan)?))
        })
        .with_context(|| format!("{}; the server printed:\n{}", plan.server, server.output()))?;
    ensure!(!INTERRUPTED.load(Ordering::Relaxed), "interrupted");
    let wire = lab.wire().context("the laboratory has a wire")?.report();
    Ok(Sample {
        mbit_per_s: course.total as f64 * 8.0 / 1e6 / plan.duration.as_secs_f64(),
        course: course.steps.iter().map(|bytes| *bytes as f64 * 8.0 / 1e6 / STEP.as_secs_f64()).collect(),
        again: after.again - before.again,
        timeouts: after.timeouts - before.timeouts,
        frames: wire.counts.map(|counts| counts.entered),
        queue_full: wire.counts.iter().map(|counts| counts.queue_full).sum(),
        late_p99_us: wire.lateness.quantile_us(0.99),
        missed: wire.counts.iter().map(|counts| counts.missed).sum(),
    })
}

fn start(lab: &Lab, plan: &Plan<'_>) -> Result<Process> {
    let address = format!("{SERVER_ADDRESS}/{PREFIX}");
    let port = PORT.to_string();
    let offload = match plan.server {
        Server::None => "none",
        Server::Lifecycle => "lifecycle",
        Server::Redis => {
            lab.add_address(Side::Server, SERVER_ADDRESS)?;
            lab.set_congestion_control(Side::Server, SERVER_ADDRESS, plan.congestion)?;
            let mut command = lab.command(Side::Server, programs::redis_server()?);
            command.args(["--bind", SERVER_ADDRESS, "--port", &port, "--protected-mode", "no"]);
            command.args(["--save", "", "--appendonly", "no"]);
            return ready(command);
        }
    };
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(["--net", &format!("{}:{SERVER_INTERFACE}", plan.scheme), "--address", &address]);
    command.args(["--offload", offload, "--port", &port]);
    ready(command)
}

fn ready(command: Command) -> Result<Process> {
    let server = Process::start(command)?;
    server.wait_for("eady to accept connections")?;
    Ok(server)
}

/// Whether the kernels that send use what they were told to.
fn check_congestion_control(lab: &Lab, plan: &Plan<'_>) -> Result<()> {
    let side = match (plan.direction, plan.server) {
        (Direction::Set, _) => Side::Client,
        (Direction::Get, Server::Redis) => Side::Server,
        (Direction::Get, Server::None | Server::Lifecycle) => return Ok(()),
    };
    let mut ss = lab.command(side, "ss");
    let output = e2e::lab::run(ss.args(["-tinH", "state", "connected"]))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut connections = said.lines().filter(|line| line.contains("cwnd:")).peekable();
    ensure!(connections.peek().is_some(), "ss shows no connection: {said}");
    let wrong = connections.find(|line| !line.split_whitespace().any(|word| word == plan.congestion));
    ensure!(wrong.is_none(), "a connection does not use {}: {said}", plan.congestion);
    Ok(())
}

fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect((SERVER_ADDRESS, PORT)).context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Bytes that arrived, by the time at which they did.
struct Course {
    begin: Instant,
    duration: Duration,
    total: u64,
    steps: Vec<u64>,
}

impl Course {
    fn new(duration: Duration) -> Self {
        let steps = duration.as_nanos().div_ceil(STEP.as_nanos()) as usize;
        Self { begin: Instant::now(), duration, total: 0, steps: vec![0; steps] }
    }

    /// Notes bytes that arrived now; false when the time is over.
    fn note(&mut self, bytes: usize) -> bool {
        let since = self.begin.elapsed();
        let Some(step) = self.steps.get_mut((since.as_nanos() / STEP.as_nanos()) as usize) else {
            return false;
        };
        if since < self.duration {
            *step += bytes as u64;
            self.total += bytes as u64;
        }
        since < self.duration && !INTERRUPTED.load(Ordering::Relaxed)
    }
}

fn pattern(len: usize) -> Vec<u8> {
    let mut x = 0x1234_5678u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

fn set(value: &[u8]) -> Vec<u8> {
    let mut request = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", value.len()).into_bytes();
    request.extend(value);
    request.extend(b"\r\n");
    request
}

fn expect(stream: &mut TcpStream, reply: &[u8]) -> Result<()> {
    let mut got = vec![0; reply.len()];
    stream.read_exact(&mut got)?;
    ensure!(got == reply, "expected {:?}, got {:?}", reply.escape_ascii(), got.escape_ascii());
    Ok(())
}

/// What is there, or nothing after a while, so that the end of the time is not slept through.
fn read_some(stream: &mut TcpStream, into: &mut [u8]) -> Result<usize> {
    match stream.read(into) {
        Ok(0) => bail!("the server closed the connection"),
        Ok(len) => Ok(len),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(0),
        Err(error) => Err(error).context("reading"),
    }
}

fn get_until(stream: &mut TcpStream, course: &mut Course) -> Result<()> {
    let mut reply = format!("${VALUE_LEN}\r\n").into_bytes();
    reply.extend(pattern(VALUE_LEN));
    reply.extend(b"\r\n");
    const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n";
    stream.set_read_timeout(Some(STEP))?;
    stream.write_all(&GET.repeat(GETS))?;
    let mut buffer = vec![0; 64 * 1024];
    let mut at = 0;
    course.begin = Instant::now();
    loop {
        let len = read_some(stream, &mut buffer)?;
        if !course.note(len) {
            return Ok(());
        }
        let mut got = &buffer[..len];
        while !got.is_empty() {
            let part = got.len().min(reply.len() - at);
            ensure!(got[..part] == reply[at..at + part], "a reply differs near its byte {at}");
            got = &got[part..];
            at += part;
            if at == reply.len() {
                at = 0;
                stream.write_all(GET)?;
            }
        }
    }
}

fn set_until(stream: &mut TcpStream, course: &mut Course) -> Result<()> {
    let request = set(&pattern(SET_LEN));
    stream.set_read_timeout(Some(STEP))?;
    let mut writer = stream.try_clone()?;
    course.begin = Instant::now();
    std::thread::scope(|scope| {
        // It ends when nothing more may be written.
        scope.spawn(move || while writer.write_all(&request).is_ok() {});
        let counted = count_ok(stream, course);
        stream.shutdown(Shutdown::Write).context("shutting down")?;
        counted
    })
}

fn count_ok(stream: &mut TcpStream, course: &mut Course) -> Result<()> {
    const OK: &[u8] = b"+OK\r\n";
    let mut buffer = vec![0; 4096];
    let mut at = 0;
    loop {
        let len = read_some(stream, &mut buffer)?;
        let mut replies = 0;
        for &byte in &buffer[..len] {
            ensure!(byte == OK[at], "a SET was answered with something else than OK");
            at = (at + 1) % OK.len();
            replies += usize::from(at == 0);
        }
        if !course.note(replies * SET_LEN) {
            return Ok(());
        }
    }
}

/// What the sending TCP has counted.
struct Sender {
    again: u64,
    timeouts: u64,
}

/// Reads the sender's counters; called in the client's namespace.
fn sender(lab: &Lab, plan: &Plan<'_>) -> Result<Sender> {
    match (plan.direction, plan.server) {
        (Direction::Set, _) => linux_sender(),
        (Direction::Get, Server::Redis) => lab.within(Side::Server, linux_sender),
        (Direction::Get, Server::None | Server::Lifecycle) => mayfly_sender(),
    }
}

/// Of the calling thread's namespace.
fn linux_sender() -> Result<Sender> {
    Ok(Sender {
        again: kernel_counter("snmp", "Tcp:", "RetransSegs")?,
        timeouts: kernel_counter("netstat", "TcpExt:", "TCPTimeouts")?,
    })
}

/// A field of a table of /proc/net: a line of names, then a line of values.
fn kernel_counter(table: &str, group: &str, name: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/thread-self/net/{table}"))?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group));
    let (Some(names), Some(values)) = (lines.next(), lines.next()) else {
        bail!("/proc/net/{table} has no {group}");
    };
    let at = names.split_whitespace().position(|one| one == name);
    let value = at.and_then(|at| values.split_whitespace().nth(at));
    Ok(value.with_context(|| format!("/proc/net/{table} has no {name}"))?.parse()?)
}

fn mayfly_sender() -> Result<Sender> {
    let mut stream = connect()?;
    stream.write_all(b"INFO mayfly\r\n")?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head);
    let len: usize = head.trim().trim_start_matches('$').parse().with_context(|| head.to_string())?;
    let mut info = vec![0; len];
    stream.read_exact(&mut info)?;
    let info = String::from_utf8_lossy(&info);
    let field = |name: &str| -> Result<u64> {
        let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.with_context(|| format!("INFO mayfly has no {name}"))?.trim().parse()?)
    };
    Ok(Sender { again: field("stack_retransmissions")?, timeouts: field("stack_retransmission_timeouts")? })
}
