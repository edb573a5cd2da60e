//! Two stacks joined by a link that drops, reorders, duplicates and corrupts, on virtual time.
//! Every byte arrives, in order, both ways, and nothing is left behind; the seed is in the message.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use bytes::Bytes;
use netcore::ring::RingPort;
use netcore::rng::SeededRng;
use netcore::{Duration, FourTuple, Frame, FrameQueue, HeapFrame, HeapPool, Instant, Port};
use protocol::ethernet::Mac;
use protocol::ipv4;
use protocol::tcp::{Flags, Header, fill_checksum};

use super::harness::ring;
use crate::{
    AcceptPolicy, App, Config, CongestionControl, ConnectionId, EndReason, Next, Output, Stack, State,
};

/// What the link does to frames, each per million.
#[derive(Clone, Copy)]
struct Faults {
    drop: u32,
    reorder: u32,
    duplicate: u32,
    corrupt: u32,
}

/// Takes options out of a SYN, as some routers do, and makes its checksum right again. `kinds`:
/// 4 for "SACK permitted", 8 for timestamps.
pub(super) fn strip_options(frame: &mut [u8], kinds: &[u8]) {
    let ip = ipv4::Header::parse(&frame[14..]).unwrap();
    let segment = &mut frame[14 + ip.header_len..14 + ip.total_len];
    let header = Header::parse(segment).unwrap();
    if !header.flags.has(Flags::SYN) || kinds.is_empty() {
        return;
    }
    let mut at = 20;
    while at < header.header_len && segment[at] != 0 {
        let len = if segment[at] == 1 { 1 } else { usize::from(segment[at + 1]) };
        if kinds.contains(&segment[at]) {
            segment[at..at + len].fill(1);
        }
        at += len;
    }
    fill_checksum(ip.src.into(), ip.dst.into(), segment);
}

const NONE: Faults = Faults { drop: 0, reorder: 0, duplicate: 0, corrupt: 0 };
const BAD: Faults = Faults { drop: 10_000, reorder: 10_000, duplicate: 5000, corrupt: 2000 };

/// Sends `to_send` when the connection stands, takes what comes, closes when it has `expected`
/// bytes (or when the peer does, if it is the second to close).
pub(super) struct Side {
    to_send: Bytes,
    expected: Bytes,
    pub(super) got: usize,
    closes_first: bool,
    pub(super) wrong: bool,
    ended: Vec<EndReason>,
    sessions: usize,
    /// Answers each input with "wait" now and then.
    waits: bool,
    waiting: Vec<ConnectionId>,
    id: Option<ConnectionId>,
    calls: usize,
}

impl Side {
    pub(super) fn new(to_send: &Bytes, expected: &Bytes, closes_first: bool) -> Self {
        Self {
            to_send: to_send.clone(),
            expected: expected.clone(),
            got: 0,
            closes_first,
            wrong: false,
            ended: Vec::new(),
            sessions: 0,
            waits: false,
            waiting: Vec::new(),
            id: None,
            calls: 0,
        }
    }

    fn next(&self) -> Next {
        let all = self.got >= self.expected.len();
        if all && self.closes_first { Next::Close } else { Next::Continue }
    }
}

// RFC 9293 §3.9.1.8 SHLD-20: this application wants no reports, and so writes nothing about them.
impl App for Side {
    type Session = ();

    fn begin(&mut self, _: Instant) {}
    fn connected(
        &mut self,
        id: ConnectionId,
        _: &FourTuple,
        session: &mut Option<()>,
        output: &mut Output,
    ) -> bool {
        self.sessions += 1;
        self.id = Some(id);
        output.put_shared(&self.to_send);
        *session = Some(());
        true
    }
    fn received(&mut self, _: &mut (), input: &[u8], _: &mut Output) -> Next {
        let to = self.got + input.len();
        self.wrong |= self.expected.get(self.got..to) != Some(input);
        self.got = to;
        self.calls += 1;
        if self.waits && self.calls.is_multiple_of(50) && self.next() == Next::Continue {
            return Next::Wait;
        }
        self.next()
    }
    fn resumed(&mut self, _: &mut (), _: &mut Output) -> Next {
        self.next()
    }
    fn peer_closed(&mut self, _: &mut (), _: &mut Output) -> Next {
        Next::Close
    }
    fn closed(&mut self, _: &mut Option<()>, reason: EndReason) {
        self.sessions -= 1;
        self.ended.push(reason);
    }
    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.waiting);
    }
}

pub(super) struct Host {
    pub(super) stack: Stack<HeapFrame, Side>,
    pub(super) app: Side,
    pub(super) port: RingPort<HeapFrame>,
    pub(super) wire: RingPort<HeapFrame>,
    pub(super) pool: HeapPool,
}

pub(super) fn addr(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 18, 0, n)
}

pub(super) fn host(n: u8, seed: u64, app: Side, change: fn(&mut Config)) -> Host {
    let (port, wire) = ring();
    let mut config = Config::new(Mac([2, 0, 0, 0, 0, n]), addr(n), 24);
    config.time_wait = Duration::from_secs(2);
    change(&mut config);
    let stack = Stack::new(config, &mut SeededRng::new(seed ^ u64::from(n) << 32));
    Host { stack, app, port, wire, pool: HeapPool::new(2048, usize::MAX) }
}

struct World {
    hosts: [Host; 2],
    now: Instant,
    rng: SeededRng,
    faults: Faults,
    /// Options that do not get through.
    stripped: &'static [u8],
    /// Frames under way by time of arrival.
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
}

impl World {
    fn poll(&mut self) {
        for from in 0..2 {
            let host = &mut self.hosts[from];
            host.stack.poll(&mut host.port, &mut host.pool, &mut host.app, self.now);
            let mut sent = FrameQueue::with_capacity(2048);
            host.wire.receive(&mut sent, 2048);
            while let Some(frame) = sent.pop() {
                self.fly(1 - from, frame.bytes().to_vec());
            }
        }
    }

    fn fly(&mut self, to: usize, mut bytes: Vec<u8>) {
        if bytes[12..14] == [8, 6] {
            // ARP gives up after three questions; that has a test of its own.
            self.flying.insert((self.now, 0), (to, bytes));
            return;
        }
        strip_options(&mut bytes, self.stripped);
        if self.rng.chance(self.faults.drop) {
            return;
        }
        if self.rng.chance(self.faults.corrupt) {
            // Behind the Ethernet header, which has a checksum of its own on a real wire.
            let at = 14 + self.rng.below(bytes.len() as u64 - 14) as usize;
            bytes[at] ^= 1 << self.rng.below(8);
        }
        let mut delay = 100;
        if self.rng.chance(self.faults.reorder) {
            delay += self.rng.below(2000);
        }
        let copies = 1 + u64::from(self.rng.chance(self.faults.duplicate));
        for _ in 0..copies {
            self.count += 1;
            self.flying.insert((self.now + Duration::from_micros(delay), self.count), (to, bytes.clone()));
        }
    }

    /// Runs until nothing will happen any more; false when that takes too long.
    fn run(&mut self) -> bool {
        let end = self.now + Duration::from_secs(4000);
        while self.now < end {
            self.poll();
            let next_frame = self.flying.first_key_value().map(|((at, _), _)| *at);
            let timers = self.hosts.iter().filter_map(|host| host.stack.next_deadline());
            let Some(next) = timers.chain(next_frame).min() else { return true };
            self.now = self.now.max(next);
            for host in &mut self.hosts {
                // Whoever waits is woken a step later.
                if host.app.waits
                    && let Some(id) = host.app.id
                {
                    host.app.waiting = vec![id];
                }
            }
            for to in 0..2 {
                let mut arrived = FrameQueue::with_capacity(1024);
                while let Some(entry) = self.flying.first_entry() {
                    if entry.key().0 > self.now || entry.get().0 != to || arrived.is_full() {
                        break;
                    }
                    arrived.push(HeapFrame::from_bytes(&entry.remove().1)).unwrap();
                }
                self.hosts[to].wire.send(&mut arrived);
            }
        }
        false
    }
}

pub(super) fn bytes(len: usize, seed: u64) -> Bytes {
    let mut rng = SeededRng::new(seed);
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        out.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    out.truncate(len);
    out.into()
}

/// Runs one exchange; `lens`: what the client sends, what the server sends.
fn exchange(seed: u64, faults: Faults, lens: (usize, usize), change: fn(&mut Config), adjust: fn(&mut Side)) {
    exchange_without(&[], seed, faults, lens, change, adjust);
}

fn exchange_without(
    stripped: &'static [u8],
    seed: u64,
    faults: Faults,
    lens: (usize, usize),
    change: fn(&mut Config),
    adjust: fn(&mut Side),
) {
    let (there, back) = (bytes(lens.0, seed), bytes(lens.1, seed + 1));
    let client_first = seed.is_multiple_of(2);
    let mut client = Side::new(&there, &back, client_first);
    let mut server = Side::new(&back, &there, !client_first);
    adjust(&mut client);
    adjust(&mut server);
    let mut world = World {
        hosts: [host(1, seed, client, change), host(2, seed, server, change)],
        now: Instant::from_micros(5),
        rng: SeededRng::new(seed),
        faults,
        stripped,
        flying: BTreeMap::new(),
        count: 0,
    };
    world.hosts[1].stack.listen(6379, AcceptPolicy::Immediate).unwrap();
    let remote = SocketAddrV4::new(addr(2), 6379);
    world.hosts[0].stack.connect(remote, world.now).unwrap();
    assert!(world.run(), "seed {seed}: no end; {:?}", world.hosts[0].stack.gauges());
    for host in &world.hosts {
        let side = &host.app;
        assert!(!side.wrong, "seed {seed}: wrong bytes");
        assert_eq!(side.got, side.expected.len(), "seed {seed}: {:?}", side.ended);
        assert_eq!((side.sessions, side.ended.len()), (0, 1), "seed {seed}");
        assert!(host.stack.has_no_leftovers(), "seed {seed}: {:?}", host.stack.gauges());
        assert_eq!(host.stack.gauges().in_state(State::TimeWait), 0);
    }
}

fn plain(_: &mut Config) {}
fn as_is(_: &mut Side) {}

#[test]
fn ten_mebibytes_each_way_over_a_good_link() {
    exchange(2, NONE, (10 << 20, 10 << 20), plain, as_is);
}

#[test]
fn ten_mebibytes_each_way_over_a_bad_link() {
    for seed in 0..4 {
        exchange(seed, BAD, (10 << 20, 10 << 20), plain, as_is);
    }
}

#[test]
fn ten_mebibytes_one_way_over_a_bad_link() {
    for seed in 10..13 {
        exchange(seed, BAD, (10 << 20, 5), plain, as_is);
        exchange(seed, BAD, (5, 10 << 20), plain, as_is);
    }
}

#[test]
fn without_sack_or_timestamps_and_with_new_reno() {
    let new_reno: fn(&mut Config) = |config| config.congestion = CongestionControl::NewReno;
    for stripped in [&[4][..], &[8], &[4, 8]] {
        for seed in 20..24 {
            exchange_without(stripped, seed, BAD, (1 << 20, 1 << 20), plain, as_is);
            exchange_without(stripped, seed, BAD, (1 << 20, 5), new_reno, as_is);
        }
    }
}

#[test]
fn many_small_exchanges_over_a_terrible_link() {
    let terrible = Faults { drop: 200_000, reorder: 200_000, duplicate: 100_000, corrupt: 20_000 };
    for seed in 0..300 {
        let len = (seed as usize * 977) % 20_000;
        let patient = |config: &mut Config| config.syn_retransmissions_max = 30;
        let stripped = [&[][..], &[], &[4], &[8], &[4, 8]][seed as usize % 5];
        exchange_without(stripped, seed, terrible, (len + 1, 20_001 - len), patient, as_is);
    }
}

#[test]
fn small_windows_and_an_application_that_waits() {
    for seed in 0..20 {
        exchange(
            seed,
            BAD,
            (300_000, 300_000),
            |config| config.receive_window = 10_000,
            |side| side.waits = true,
        );
    }
}

#[test]
fn small_mtu_on_both_sides() {
    for seed in 0..10 {
        exchange(seed, BAD, (200_000, 200_000), |config| config.mtu = 576, as_is);
    }
}

#[test]
fn keepalive_and_tiny_tables_do_not_disturb_a_transfer() {
    for seed in 0..10 {
        exchange(
            seed,
            BAD,
            (100_000, 100_000),
            |config| {
                config.keepalive = Some(Duration::from_millis(300));
                config.connections_max = 1;
                config.time_wait_max = 0;
                config.tx_queue_frames = 1;
            },
            as_is,
        );
    }
}
