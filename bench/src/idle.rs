//! `mayfly-bench idle`: the memory that idle connections take.
//!
//! Each of the connections is accepted, makes one GET, has its reply acknowledged, and then stays
//! open without a word. The host is the real stack with the real server engine; at `lifecycle`
//! the real firmware stands in front of it. The peers keep nothing: what they send follows from
//! the frame that they got, so that only the server's memory grows. Counted is the process's own
//! resident memory, as the operating system tells it, before the host is made and after.
//!
//! Memory that was given back may stay with the allocator, so each level has a process of its own.

use std::process::Command;
use std::sync::Arc;

use clap::Args;
use netcore::port::{BURST, Capabilities};
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FrameQueue, HeapFrame, HeapPool, Instant, Port};
use nicfw::{Firmware, Offload};
use protocol::ethernet;
use protocol::tcp::{Flags, Options as TcpOptions, SeqNumber, Timestamps};
use server::{CoreApp, Engine, config::Config};
use stack::{AcceptPolicy, Stack};

use crate::segment::{self, PORT, SERVER, SERVER_MAC, Text};

/// Connections that are being opened at a time.
const OPENING: usize = 128;
/// A round that brings nobody further may happen, but not so often.
const STALLED_ROUNDS: usize = 10_000;
const VALUE: [u8; 64] = [b'v'; 64];

#[derive(Args)]
pub(crate) struct Options {
    /// Connections that are idle at the end
    #[arg(long, default_value_t = 1_000_000)]
    connections: usize,
    /// Only this offload level: none or lifecycle
    #[arg(long, value_parser = ["none", "lifecycle"])]
    offload: Option<String>,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    if let Some(level) = &options.offload {
        let offload = level.parse().map_err(|error: nicfw::UnknownOffload| error.to_string())?;
        return measure(offload, options.connections);
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for level in ["none", "lifecycle"] {
        let count = options.connections.to_string();
        let status = Command::new(&program)
            .args(["idle", "--offload", level, "--connections", &count])
            .status()
            .map_err(|error| format!("{}: {error}", program.display()))?;
        if !status.success() {
            return Err(format!("the measurement at {level} failed ({status})"));
        }
    }
    Ok(())
}

/// The process's own resident memory in bytes.
fn resident() -> Result<u64, String> {
    server::front::memory_use().map(|memory| memory.used).ok_or("no /proc/self/status to read".into())
}

fn measure(offload: Offload, connections: usize) -> Result<(), String> {
    let start = server::front::engine_start(1).map_err(|error| error.to_string())?;
    let before = resident()?;
    let mut world = World::new(offload, connections, start)?;
    let firmware = world.firmware_bytes;
    world.open_all(connections)?;
    world.rest(Duration::from_secs(10));
    let after = resident()?;
    world.check(connections)?;
    let per = |bytes: u64| bytes as f64 / connections as f64;
    let host = after.saturating_sub(before).saturating_sub(firmware);
    println!("{offload}: {connections} idle connections");
    println!("  host: {:.0} bytes per connection ({} MiB resident)", per(host), host >> 20);
    let memory = world.stack.memory();
    let parts = [
        ("stack: slots with the server's sessions", memory.slots),
        ("stack: finding them by name", memory.table),
        ("stack: timers", memory.timers),
        ("stack: bytes that wait", memory.waiting),
    ];
    for (name, bytes) in parts {
        println!("    {name}: {:.1}", per(bytes as u64));
    }
    let known: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    println!("    server: list of clients; and the rest: {:.1}", per(host) - per(known as u64));
    if offload == Offload::Lifecycle {
        println!(
            "  firmware: {:.0} bytes per flow, for {connections} flows, taken at its start ({} MiB resident)",
            per(firmware),
            firmware >> 20
        );
    }
    Ok(())
}

struct World {
    peers: Peers,
    wire: RingPort<HeapFrame>,
    firmware: Option<Box<Nic>>,
    /// What the firmware's tables took.
    firmware_bytes: u64,
    stack: Stack<HeapFrame, CoreApp>,
    app: CoreApp,
    port: RingPort<HeapFrame>,
    pool: HeapPool,
    now: Instant,
}

struct Nic {
    firmware: Firmware<HeapFrame>,
    wire: RingPort<HeapFrame>,
    hosts: [RingPort<HeapFrame>; 1],
}

impl World {
    fn new(offload: Offload, connections: usize, start: server::EngineStart) -> Result<Self, String> {
        let mut rng = SeededRng::new(0x6964_6c65);
        let capabilities = Capabilities::new(SERVER_MAC.0, 1500);
        let (wire, mut port) = ring::pair(1024, capabilities);
        let mut firmware = None;
        let mut firmware_bytes = 0;
        if offload == Offload::Lifecycle {
            let mut config = nicfw::Config::new(SERVER_MAC);
            config.flows_max = connections;
            // Nobody leaves here: remembered connections are not what is measured.
            config.time_wait_max = 1;
            config.retained_max = 1;
            let (nic_host, host_port) = ring::pair(1024, capabilities);
            let wire = std::mem::replace(&mut port, host_port);
            let before = resident()?;
            let made = Firmware::new(config, &mut rng);
            firmware_bytes = resident()?.saturating_sub(before);
            firmware = Some(Box::new(Nic { firmware: made, wire, hosts: [nic_host] }));
        }
        let mut config = stack::Config::new(SERVER_MAC, SERVER, 15);
        config.connections_max = connections;
        config.offload = match offload {
            Offload::None => stack::Offload::None,
            Offload::Lifecycle => stack::Offload::Lifecycle,
        };
        let mut stack = Stack::new(config, &mut rng);
        stack.listen(PORT, AcceptPolicy::Deferred).map_err(|error| error.to_string())?;
        let config = Config { maxclients: connections, protected_mode: false, ..Config::default() };
        let engine = Arc::new(Engine::new(config, start));
        Ok(Self {
            peers: Peers::default(),
            wire,
            firmware,
            firmware_bytes,
            stack,
            app: CoreApp::new(engine, 0),
            port,
            pool: HeapPool::new(2048, usize::MAX),
            now: Instant::from_micros(1),
        })
    }

    fn round(&mut self) -> bool {
        self.now += Duration::from_micros(10);
        let mut worked = self.peers.poll(&mut self.wire);
        if let Some(nic) = &mut self.firmware {
            worked |= nic.firmware.poll(&mut nic.wire, &mut nic.hosts, &mut self.pool, self.now).any();
        }
        worked | self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, self.now).any()
    }

    fn open_all(&mut self, connections: usize) -> Result<(), String> {
        while !self.stack.is_ready() {
            self.round();
        }
        let mut stalled = 0;
        while self.peers.answered < connections {
            let before = self.peers.answered;
            let room = connections.min(self.peers.answered + OPENING);
            while self.peers.opened < room {
                self.peers.open();
            }
            self.round();
            stalled = if self.peers.answered == before { stalled + 1 } else { 0 };
            if stalled > STALLED_ROUNDS || self.peers.wrong > 0 {
                return Err(format!("stuck: {:?}, {:?}", self.peers, self.stack.gauges()));
            }
        }
        Ok(())
    }

    /// Lets time pass until nothing is left to do but to be idle.
    fn rest(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            if !self.round() {
                self.now += Duration::from_millis(1);
            }
        }
    }

    fn check(&self, connections: usize) -> Result<(), String> {
        let there = self.stack.gauges().in_state(stack::State::Established) as usize;
        if there != connections || self.app.engine().connected() != connections {
            return Err(format!("{there} connections are there instead of {connections}"));
        }
        Ok(())
    }
}

/// All peers together. They remember how many they are, and nothing of each.
#[derive(Debug, Default)]
struct Peers {
    opened: usize,
    answered: usize,
    /// Frames that were not what was to come next.
    wrong: usize,
    waiting: FrameQueueOfHeap,
}

/// Frames that the wire has not taken.
#[derive(Default)]
struct FrameQueueOfHeap(Option<FrameQueue<HeapFrame>>);

impl std::fmt::Debug for FrameQueueOfHeap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl Peers {
    /// Sends the SYN of the next connection.
    fn open(&mut self) {
        let number = self.opened as u32;
        self.opened += 1;
        let options = TcpOptions {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: 1, echo: 0 }),
            ..TcpOptions::default()
        };
        let text =
            Text { seq: segment::first_seq(number), ack: SeqNumber(0), flags: Flags::SYN, payload: b"" };
        self.send(number, &text, &options);
    }

    /// Answers what has come and sends what waits; true when there was anything.
    fn poll(&mut self, wire: &mut RingPort<HeapFrame>) -> bool {
        let mut received = FrameQueue::with_capacity(BURST);
        let mut any = wire.receive(&mut received, BURST) > 0;
        while let Some(frame) = received.pop() {
            self.arrived(frame.bytes());
        }
        if let Some(queue) = &mut self.waiting.0 {
            any |= wire.send(queue) > 0;
        }
        any
    }

    fn arrived(&mut self, bytes: &[u8]) {
        let Some(read) = bytes.get(ethernet::HEADER_LEN..).and_then(segment::to_peer) else {
            self.wrong += 1;
            return;
        };
        let stamp = read.options.timestamps.map(|ours| Timestamps { value: 2, echo: ours.value });
        let answer = TcpOptions { timestamps: stamp, ..TcpOptions::default() };
        let (seq, payload) = (read.header.ack, read.payload);
        if read.header.flags == Flags::SYN | Flags::ACK {
            // The first connection puts there what the others ask for.
            let set = [b"SET key ".as_slice(), &VALUE, b"\r\n"].concat();
            let payload = if read.number == 0 { set.as_slice() } else { b"GET key\r\n" };
            let text = Text { seq, ack: read.header.seq + 1, flags: Flags::ACK | Flags::PSH, payload };
            self.send(read.number, &text, &answer);
        } else if payload == b"+OK\r\n" || payload == [b"$64\r\n".as_slice(), &VALUE, b"\r\n"].concat() {
            self.answered += 1;
            let ack = read.header.seq + payload.len() as u32;
            self.send(read.number, &Text { seq, ack, flags: Flags::ACK, payload: b"" }, &answer);
        } else if !payload.is_empty() || read.header.flags != Flags::ACK {
            self.wrong += 1;
        }
    }

    fn send(&mut self, number: u32, text: &Text<'_>, options: &TcpOptions) {
        let frame = HeapFrame::from_bytes(&segment::from_peer(number, text, options));
        let queue = self.waiting.0.get_or_insert_with(|| FrameQueue::with_capacity(4 * OPENING));
        if queue.push(frame).is_err() {
            self.wrong += 1;
        }
    }
}
