//! The load generator's clients and a real server (host stack and engine), with somebody between
//! them: the input says for every frame what becomes of it. Frames are dropped, doubled, held
//! back, and changed with their checksums made right again. At the end the network is honest;
//! the clients, who ask nothing any more, must come to rest.

use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;

use loadgen::{ClientConfig, Clients, ClosesFirst, WorkloadConfig};
use netcore::ring::{RingPort, pair};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, Frame, FrameQueue, Instant, Port};
use protocol::tcp;
use server::{CoreApp, Engine, EngineStart};
use sim::frame::{Pool, SimFrame};
use sim::packet::{TCP_AT, fix_checksums};
use stack::{AcceptPolicy, Config, Stack};

use crate::input::Input;
use crate::peer::{OUR_MAC, PEER_MAC, US_V4};

/// Decisions of one input.
const STEPS_MAX: usize = 400;
/// Frames that may be held back at a time.
const HELD_MAX: usize = 8;

/// A program of what the network does.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    input.steps(STEPS_MAX, |input| world.step(input));
    world.end();
}

/// A frame under way.
struct Flying {
    to_server: bool,
    bytes: Vec<u8>,
}

struct World {
    clients: Clients<SimFrame>,
    client_port: RingPort<SimFrame>,
    client_wire: RingPort<SimFrame>,
    stack: Stack<SimFrame, CoreApp>,
    app: CoreApp,
    server_port: RingPort<SimFrame>,
    server_wire: RingPort<SimFrame>,
    pool: Pool,
    now: Instant,
    flying: VecDeque<Flying>,
    held: Vec<Flying>,
}

fn clients(input: &mut Input<'_>) -> Clients<SimFrame> {
    let address = "198.18.0.1/24".parse().expect("an address");
    let config = ClientConfig {
        connections: input.pick(&[1, 4]),
        ports: (40_000, 40_007),
        timestamps: input.flag(),
        sack_permitted: input.flag(),
        window_scale: input.flag(),
        separate_ack: input.flag(),
        ..ClientConfig::new(PEER_MAC.0, address, SocketAddrV4::new(US_V4, 6379).into())
    };
    let workload = WorkloadConfig {
        keys: 4,
        value_bytes: input.pick(&[32, 5000]),
        get_percent: input.pick(&[100, 50, 0]),
        pipeline: input.pick(&[1, 3]),
        requests_per_connection: input.pick(&[Some(1), None, Some(4)]),
        closes: input.pick(&[ClosesFirst::Client, ClosesFirst::Server]),
        load: input.flag(),
        ..WorkloadConfig::default()
    };
    Clients::new(config, workload)
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let capabilities = |mac| Capabilities::new(mac, 1500);
        let (client_port, client_wire) = pair(256, capabilities(PEER_MAC.0));
        let (server_port, server_wire) = pair(256, capabilities(OUR_MAC.0));
        let mut config = Config::new(OUR_MAC, US_V4, 24);
        config.connections_max = 64;
        config.time_wait = Duration::from_secs(2);
        config.retransmissions_max = 4;
        config.keepalive = Some(Duration::from_secs(10));
        config.keepalive_probes = 2;
        let mut stack = Stack::new(config, &mut SeededRng::new(42));
        stack.listen(6379, AcceptPolicy::Deferred).expect("a fresh stack");
        let start =
            EngineStart { unix_us_at_zero: 1 << 50, secret: [7; 16], seed: 7, cores: 1, stopwatch: None };
        let engine = Arc::new(Engine::new(server::Config::default(), start));
        let mut clients = clients(input);
        clients.allow(40);
        Self {
            clients,
            client_port,
            client_wire,
            stack,
            app: CoreApp::new(engine, 0),
            server_port,
            server_wire,
            pool: Pool::new(2048, usize::MAX),
            now: Instant::from_micros(1_000_000),
            flying: VecDeque::new(),
            held: Vec::new(),
        }
    }

    /// Both ends have their turn.
    fn poll(&mut self) {
        self.clients.poll(&mut self.client_port, &mut self.pool, self.now);
        self.stack.poll(&mut self.server_port, &mut self.pool, &mut self.app, self.now);
        for (to_server, wire) in [(true, &mut self.client_wire), (false, &mut self.server_wire)] {
            let mut sent = FrameQueue::with_capacity(256);
            wire.receive(&mut sent, 256);
            let frames = sent.iter().map(|frame| Flying { to_server, bytes: frame.bytes().to_vec() });
            self.flying.extend(frames);
        }
    }

    fn deliver(&mut self, frame: &Flying) {
        let Some(packed) = self.pool.frame_with(&frame.bytes) else { return };
        let mut queue = FrameQueue::with_capacity(1);
        let _ = queue.push(packed);
        let wire = if frame.to_server { &mut self.server_wire } else { &mut self.client_wire };
        wire.send(&mut queue);
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let choice = input.u8();
        if choice >= 245 {
            self.pass(Duration::from_micros(input.pick(&[1000, 50_000, 300_000, 6_000_000])));
            return;
        }
        if choice >= 235 && !self.held.is_empty() {
            let at = input.below(self.held.len());
            let frame = self.held.swap_remove(at);
            self.deliver(&frame);
            return self.poll();
        }
        let Some(mut frame) = self.flying.pop_front() else {
            self.pass(Duration::from_millis(1));
            return;
        };
        match choice % 16 {
            0 => return,
            1 => self.deliver(&frame),
            2 if self.held.len() < HELD_MAX => return self.held.push(frame),
            3..8 => changed(&mut frame.bytes, input),
            _ => {}
        }
        self.deliver(&frame);
        self.poll();
    }

    /// Time passes, deadline by deadline.
    fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        for _ in 0..50 {
            self.poll();
            let next = self.next_deadline().filter(|&next| next <= end);
            let Some(next) = next.filter(|_| self.flying.is_empty()) else { break };
            self.now = next.max(self.now + Duration::from_micros(100));
        }
        self.now = self.now.max(end);
        self.poll();
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.stack.next_deadline().into_iter().chain([self.clients.next_deadline()]).min()
    }

    fn end(mut self) {
        self.clients.stop_issuing();
        self.held.clear();
        for _ in 0..20_000 {
            self.poll();
            while let Some(frame) = self.flying.pop_front() {
                self.deliver(&frame);
            }
            self.poll();
            let at_rest = self.clients.idle() && self.stack.gauges().connections() == 0;
            if at_rest && self.flying.is_empty() {
                break;
            }
            let next = self.next_deadline().unwrap_or(self.now);
            self.now = if self.flying.is_empty() {
                next.clamp(self.now + Duration::from_micros(100), self.now + Duration::from_secs(1))
            } else {
                self.now + Duration::from_micros(100)
            };
        }
        assert!(self.clients.idle(), "a client never comes to rest");
        assert_eq!(self.stack.gauges().connections(), 0, "{:?}", self.stack.gauges());
        assert_eq!(self.app.engine().connected(), 0);
    }
}

/// Changes one field of a segment to something near it, or any byte to anything.
fn changed(frame: &mut Vec<u8>, input: &mut Input<'_>) {
    let whole = frame.len() >= TCP_AT + tcp::HEADER_LEN && frame[12..14] == [8, 0];
    let (kind, by) = (input.below(8), input.pick(&[1, u32::MAX, 1000, 1 << 31, 0x8000, 7]));
    let add = |frame: &mut [u8], at: usize| {
        let old = u32::from_be_bytes([frame[at], frame[at + 1], frame[at + 2], frame[at + 3]]);
        frame[at..at + 4].copy_from_slice(&old.wrapping_add(by).to_be_bytes());
    };
    match kind {
        0 if whole => add(frame, TCP_AT + 4),
        1 if whole => add(frame, TCP_AT + 8),
        2 if whole => frame[TCP_AT + 13] = input.u8(),
        3 if whole => frame[TCP_AT + 14..TCP_AT + 16].copy_from_slice(&by.to_le_bytes()[..2]),
        4 if whole => {
            // The end is cut off, and the IP header says so.
            let len = TCP_AT + input.below(frame.len() - TCP_AT + 1);
            frame.truncate(len);
            frame[16..18].copy_from_slice(&((len - 14) as u16).to_be_bytes());
        }
        _ => {
            let at = 14 + input.below(frame.len() - 14);
            frame[at] = input.u8();
        }
    }
    fix_checksums(frame);
}
