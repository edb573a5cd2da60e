//! The stack, its port, three ports of a peer, and the steps of a program.

use std::net::{Ipv4Addr, SocketAddr};

use netcore::ring::{RingPort, pair};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, Frame, FrameQueue, Instant, Port};
use protocol::ethernet::{self, EtherType};
use protocol::tcp::{Flags, Options, SeqNumber};
use protocol::{arp, checksum, ipv4, ipv6};
use sim::frame::{Pool, SimFrame};
use sim::packet::{fix_checksums, ip_frame, raw_frame};
use stack::{AcceptPolicy, Config, CongestionControl, EcnPolicy, Network, Stack, State};

use super::app::{Mood, TestApp};
use super::check::{self, Limits};
use crate::input::Input;
use crate::peer::{OUR_MAC, PEER_MAC, PEER_V4, PEER_V6, Peer, ROUTE, US, US_V4, US_V6, frame_v6};

/// Where the stack listens.
const PORT: u16 = 6379;
/// From where it opens connections itself, to the last of the peer's ports and to no other.
const ACTIVE_PORT: u16 = 50_000;
/// Our end of each of the peer's ports.
const OUR_PORTS: [u16; 3] = [PORT, PORT, ACTIVE_PORT];
/// Frames that the network remembers, to bring them again.
const KEPT: usize = 16;

pub(super) struct World {
    stack: Stack<SimFrame, TestApp>,
    app: TestApp,
    now: Instant,
    pool: Pool,
    port: RingPort<SimFrame>,
    wire: RingPort<SimFrame>,
    peers: Vec<Peer>,
    limits: Limits,
    kept: Vec<Vec<u8>>,
    /// The wire takes nothing at the moment.
    stuck: bool,
}

fn config(input: &mut Input<'_>) -> Config {
    let mut config = Config::new(OUR_MAC, US, 24);
    config.mtu = input.pick(&[1500, 576, 1400]);
    config.receive_window = input.pick(&[1 << 20, 65_535, 4000, 1 << 16]);
    config.connections_max = input.pick(&[4, 1]);
    config.backlog_max = input.pick(&[4, 1]);
    config.tx_queue_frames = input.pick(&[256, 32]);
    config.time_wait = Duration::from_secs(2);
    config.time_wait_max = input.pick(&[4, 1]);
    config.retransmissions_max = 3;
    config.syn_retransmissions_max = 2;
    config.fin_wait_2 = Duration::from_secs(3);
    config.keepalive = input.flag().then_some(Duration::from_secs(1));
    config.keepalive_probes = 2;
    config.neighbours_max = 2;
    config.networks.push(Network { address: US_V6, prefix_len: 64 });
    config.challenge_acks_per_second = input.pick(&[1000, 1]);
    config.nagle = input.flag();
    config.ecn = input.pick(&[EcnPolicy::Accept, EcnPolicy::Off, EcnPolicy::Offer]);
    config.congestion = input.pick(&[CongestionControl::Cubic, CongestionControl::NewReno]);
    config.user_timeout = input.flag().then_some(Duration::from_secs(2));
    config
}

impl World {
    /// Drawn from the input; the first peer has shaken hands unless the input says otherwise.
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let config = config(input);
        let limits = Limits { mtu: config.mtu, receive_window: config.receive_window, headers: 40 };
        let capabilities = Capabilities::new(OUR_MAC.0, config.mtu);
        let (port, wire) = pair(input.pick(&[512, 8]), capabilities);
        let mut stack = Stack::new(config, &mut SeededRng::new(42));
        stack.listen(PORT, AcceptPolicy::Deferred).expect("a fresh stack");
        let mut peers: Vec<Peer> =
            (40_000..).zip(OUR_PORTS).map(|(port, our_port)| Peer::new(port, our_port, input)).collect();
        peers[1].v6 = true;
        let mut world = Self {
            stack,
            app: TestApp::default(),
            // The millisecond clock of timestamps wraps after 49 days.
            now: Instant::from_micros(input.pick(&[1_000_000, 4_294_966_000_000, 2_147_483_000_000])),
            pool: Pool::new(2048, usize::MAX),
            port,
            wire,
            peers,
            limits,
            kept: Vec::new(),
            stuck: false,
        };
        if !input.flag() {
            world.shake_hands(0);
        }
        world
    }

    fn shake_hands(&mut self, at: usize) {
        let syn = self.peers[at].syn();
        self.peers[at].snd_nxt = self.peers[at].isn + 1;
        self.put(&syn);
        self.poll();
        if self.peers[at].seen.is_some() {
            let ack = self.peers[at].ack();
            self.put(&ack);
            self.poll();
        }
    }

    /// Puts a frame on the wire, unless it is full.
    fn put(&mut self, bytes: &[u8]) {
        let mut queue = FrameQueue::with_capacity(1);
        if let Some(frame) = self.pool.frame_with(bytes)
            && queue.push(frame).is_ok()
        {
            self.wire.send(&mut queue);
        }
        if self.kept.len() < KEPT {
            self.kept.push(bytes.to_vec());
        }
    }

    /// A round of the stack, and a look at all that came of it.
    pub(super) fn poll(&mut self) {
        for _ in 0..20 {
            let work = self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, self.now);
            if !self.stuck {
                self.take();
            }
            self.compare();
            if !work.any() {
                break;
            }
        }
    }

    fn take(&mut self) {
        let mut sent = FrameQueue::with_capacity(1024);
        self.wire.receive(&mut sent, 1024);
        while let Some(frame) = sent.pop() {
            check::frame(frame.bytes(), &mut self.peers, &self.app, self.limits);
        }
    }

    /// What was delivered is what the peer sent, from its first byte on.
    fn compare(&mut self) {
        for (port, open) in &mut self.app.open {
            let Some(peer) = self.peers.iter().find(|peer| peer.port == *port) else { continue };
            // Not told yet where the stream began: a frame that waits in the ring will.
            let irs = match peer.seen {
                Some(seen) if seen.active => peer.isn,
                Some(seen) => match seen.irs {
                    Some(irs) => irs,
                    None => continue,
                },
                None => continue,
            };
            let first = irs + 1 + open.compared as u32;
            for (at, byte) in open.delivered.drain(..).enumerate() {
                assert_eq!(byte, peer.byte(first + at as u32), "byte {} of {port}", open.compared + at);
                open.compared += 1;
            }
        }
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(OUR_PORTS.len());
        match input.below(24) {
            0..4 => {
                let len = input.pick(&[1, 10, 100, 536, 1400]);
                let frame = self.peers[at].next_bytes(len);
                self.put(&frame);
            }
            4..6 => {
                self.peers[at].window = input.pick(&[60_000, 0, 100, 1460, 0xffff]);
                let frame = self.peers[at].ack();
                self.put(&frame);
            }
            6..9 => {
                let frame = self.peers[at].any_segment(input);
                self.put(&frame);
            }
            9 => {
                let frame = self.peers[at].finish();
                self.put(&frame);
            }
            10 => self.gap(at, input),
            11 => self.shake_hands(at),
            12 => {
                self.peers[at].new_life(input);
                let syn = self.peers[at].syn();
                self.put(&syn);
            }
            13 | 14 => self.application(input),
            15 => self.write(at, input),
            16 | 17 => self.pass(input),
            18 => self.again(input),
            19 if input.flag() => self.marked(at),
            19 => self.broken(at, input),
            20 => self.strange(at, input),
            21 => self.connect(),
            22 => self.answer_open(input),
            _ => self.trouble(input),
        }
    }

    /// Bytes ahead of those that are due; the gap may be filled later.
    fn gap(&mut self, at: usize, input: &mut Input<'_>) {
        let peer = &mut self.peers[at];
        let (skip, len) = (u32::from(input.u16() % 3000), input.pick(&[1, 50, 500]));
        let options = peer.usual_options(Options::default());
        let (seq, ack) = (peer.snd_nxt + skip, peer.acknowledges());
        let fin = if input.u8() < 20 { Flags::FIN } else { Flags::default() };
        let frame = peer.segment(seq, ack, Flags::ACK | fin, peer.window, &options, len);
        self.put(&frame);
    }

    fn application(&mut self, input: &mut Input<'_>) {
        self.app.mood = Some(match input.below(8) {
            0 | 1 => Mood::Read,
            2..5 => Mood::Answer(input.pick(&[1, 100, 1000, 20_001, 5000])),
            5 => Mood::Wait,
            6 => Mood::Close,
            _ => Mood::Abort,
        });
        self.app.refuse = input.u8() > 240;
        self.app.half_open = input.flag();
    }

    /// The application writes, closes or resets of its own accord.
    fn write(&mut self, at: usize, input: &mut Input<'_>) {
        let Some(id) = self.app.open.get(&self.peers[at].port).map(|open| open.id) else { return };
        self.app.resumed = input.pick(&[0, 1, 100, 3000, 70_001]);
        match input.below(8) {
            0 => drop(self.stack.close(id)),
            1 => drop(self.stack.abort(&mut self.app, id)),
            _ => self.app.wake.push(id),
        }
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        let span = input.pick(&[100, 10_000, 41_000, 500_000, 3_000_000, 70_000_000]);
        let end = self.now + Duration::from_micros(span);
        self.advance(end);
        for peer in &mut self.peers {
            peer.ts_value = peer.ts_value.wrapping_add((span / 1000) as u32);
        }
    }

    /// Time passes, deadline by deadline.
    fn advance(&mut self, end: Instant) {
        for _ in 0..200 {
            let Some(next) = self.stack.next_deadline().filter(|&next| next <= end) else { break };
            if next <= self.now && self.stuck {
                break;
            }
            self.now = self.now.max(next);
            self.poll();
        }
        self.now = self.now.max(end);
        self.poll();
    }

    /// The network brings a frame once more.
    fn again(&mut self, input: &mut Input<'_>) {
        let at = input.below(KEPT);
        if let Some(frame) = self.kept.get(at).cloned() {
            self.put(&frame);
        }
        if input.flag() {
            self.kept.clear();
        }
    }

    /// A router marks a segment instead of dropping it (RFC 3168 §5).
    fn marked(&mut self, at: usize) {
        let mut frame = self.peers[at].next_bytes(20);
        frame[ethernet::HEADER_LEN + 1] |= 3;
        fix_checksums(&mut frame);
        self.put(&frame);
    }

    /// One bit of a good segment flips on the way; the checksums find it.
    fn broken(&mut self, at: usize, input: &mut Input<'_>) {
        let mut frame = self.peers[at].next_bytes(40);
        self.peers[at].snd_nxt = self.peers[at].snd_nxt - 40;
        // The Ethernet header has a checksum of its own on a real wire.
        let bit = 14 * 8 + input.below((frame.len() - 14) * 8);
        frame[bit / 8] ^= 1 << (bit % 8);
        self.put(&frame);
        self.kept.retain(|kept| *kept != frame);
    }

    /// What is no TCP, or not for us.
    fn strange(&mut self, at: usize, input: &mut Input<'_>) {
        let frame = match input.below(8) {
            6 => frame_v6(input.u8(), input.bytes()),
            7 => {
                let mut message =
                    [&[input.pick(&[135, 136, 128, 1, 2, 3, 4]), 0, 0, 0], input.bytes()].concat();
                let sum = checksum::pseudo_header(PEER_V6, US_V6, ipv6::NEXT_ICMP, message.len());
                let sum = sum.add(&message).finish();
                message[2..4].copy_from_slice(&sum.to_be_bytes());
                frame_v6(ipv6::NEXT_ICMP, &message)
            }
            0 => raw_frame(&ROUTE, EtherType::from(input.u16()), input.bytes()),
            1 => ip_frame(&ROUTE, input.u8(), input.bytes()),
            2 => self.too_big(at, input),
            3 => {
                let mut echo = [&[8, 0, 0, 0], input.bytes()].concat();
                echo.resize(echo.len().max(8), 0);
                let sum = checksum::Sum::new().add(&echo).finish();
                echo[2..4].copy_from_slice(&sum.to_be_bytes());
                ip_frame(&ROUTE, ipv4::PROTOCOL_ICMP, &echo)
            }
            _ => {
                let mut payload = [0; arp::PACKET_LEN];
                let packet = arp::Packet {
                    operation: input.pick(&[arp::Operation::Request, arp::Operation::Reply]),
                    sender_mac: PEER_MAC,
                    sender_addr: Ipv4Addr::new(198, 18, 0, input.pick(&[1, 2, 3, 4, 255])),
                    target_mac: OUR_MAC,
                    target_addr: input.pick(&[US_V4, PEER_V4]),
                };
                packet.emit(&mut payload);
                raw_frame(&ROUTE, EtherType::Arp, &payload)
            }
        };
        self.put(&frame);
    }

    /// ICMP says that a segment near what is in flight was too large (RFC 1191).
    fn too_big(&mut self, at: usize, input: &mut Input<'_>) -> Vec<u8> {
        let peer = &self.peers[at];
        let mut message = vec![3, input.pick(&[4, 0, 3]), 0, 0, 0, 0];
        message.extend(input.u16().to_be_bytes());
        let mut quoted = vec![0; 28];
        ipv4::Header::outgoing(US_V4, PEER_V4, ipv4::PROTOCOL_TCP, 1000).emit(&mut quoted);
        quoted[20..22].copy_from_slice(&peer.our_port.to_be_bytes());
        quoted[22..24].copy_from_slice(&peer.port.to_be_bytes());
        let seq = peer.seen.map_or(SeqNumber(0), |seen| seen.rcv_nxt) - u32::from(input.u8());
        quoted[24..28].copy_from_slice(&seq.0.to_be_bytes());
        message.extend(quoted);
        let sum = checksum::Sum::new().add(&message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
        ip_frame(&ROUTE, ipv4::PROTOCOL_ICMP, &message)
    }

    /// We open a connection.
    fn connect(&mut self) {
        let Some(peer) = self.peers.last_mut() else { return };
        let remote = SocketAddr::from((PEER_V4, peer.port));
        if self.stack.connect_from(peer.our_port, remote, self.now).is_ok() {
            peer.seen = None;
            peer.snd_nxt = peer.isn;
        }
    }

    /// The peer answers our SYN, or sends its own at the same time.
    fn answer_open(&mut self, input: &mut Input<'_>) {
        let Some(peer) = self.peers.last_mut() else { return };
        let Some(seen) = peer.seen.filter(|seen| seen.active) else { return };
        let frame = if input.u8() < 180 { peer.syn_ack(seen.iss + 1) } else { peer.syn() };
        peer.snd_nxt = peer.isn + 1;
        self.put(&frame);
    }

    /// Frames run out or come back, the wire gets stuck or free.
    fn trouble(&mut self, input: &mut Input<'_>) {
        match input.below(4) {
            0 => self.pool.set_limit(self.pool.out()),
            1 => self.stuck = true,
            _ => {
                self.pool.set_limit(usize::MAX);
                self.stuck = false;
            }
        }
    }

    /// The peer is silent from here on, the application has gone: nothing may be left.
    pub(super) fn end(mut self) {
        self.stuck = false;
        self.pool.set_limit(usize::MAX);
        self.poll();
        self.app.mood = Some(Mood::Close);
        self.stack.shutdown();
        let mut rounds = 0;
        self.poll();
        while let Some(next) = self.stack.next_deadline() {
            self.now = self.now.max(next);
            self.poll();
            rounds += 1;
            assert!(rounds < 10_000, "it never ends: {:?}", self.stack.gauges());
        }
        let gauges = self.stack.gauges();
        assert_eq!((gauges.connections(), gauges.in_state(State::TimeWait)), (0, 0), "{gauges:?}");
        assert_eq!((self.app.sessions, self.app.open.len()), (0, 0));
        drop(self.kept);
        check::nothing_out(&mut self.pool);
    }
}
