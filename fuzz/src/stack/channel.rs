//! The host stack's end of the channel: the input plays the firmware.
//!
//! It knows the protocol (HELLO, LISTEN answered, connections announced, their segments, their
//! end) and sends what no firmware should: fields of every message near something that matters,
//! or anywhere. At the end it comes up new, which ends all connections.

use netcore::ring::{RingPort, pair};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, Frame, FrameQueue, Instant, Port};
use protocol::channel::{
    self, Abort, Close, Closed, ClosedEntry, ClosedReason, Established, FlowId, Header, Hello, Kind, Listen,
    ListenStatus, MessageFlags, NO_HANDLE,
};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::tcp::{Options, SeqNumber, Timestamps};
use sim::frame::{Pool, SimFrame};
use stack::{AcceptPolicy, Config, Offload, Stack};

use super::app::{Mood, TestApp};
use super::check::{self, Limits};
use crate::input::Input;
use crate::peer::{OUR_MAC, PEER, PEER_MAC, Peer, Seen, US};

const STEPS_MAX: usize = 200;
const PEERS: usize = 3;
const PORT: u16 = 6379;
/// Bytes of a connection's first data.
const FIRST_LEN: usize = 10;
const NIC_MAC: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// A program against a stack whose firmware does setup and teardown.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    input.steps(STEPS_MAX, |input| {
        world.step(input);
        world.poll();
    });
    world.end();
}

struct World {
    stack: Stack<SimFrame, TestApp>,
    app: TestApp,
    now: Instant,
    pool: Pool,
    port: RingPort<SimFrame>,
    nic: RingPort<SimFrame>,
    limits: Limits,
    peers: Vec<Peer>,
    flows: Vec<Flow>,
    nic_epoch: u32,
    host_epoch: u32,
    /// What HELLO says that the firmware takes over.
    last_data_max: u32,
    /// News that the firmware has sent.
    news: u32,
}

/// The flow of a peer's port: its slot is the port's place in the list.
#[derive(Clone, Copy, Debug)]
struct Flow {
    id: FlowId,
    handle: u32,
    /// ESTABLISHED was sent, and neither side has ended it.
    open: bool,
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let mut config = Config::new(OUR_MAC, US, 24);
        config.offload = Offload::Lifecycle;
        config.connections_max = input.pick(&[4, 1]);
        config.receive_window = input.pick(&[1 << 20, 65_535, 4000]);
        config.keepalive = input.flag().then_some(Duration::from_secs(1));
        config.keepalive_probes = 2;
        config.retransmissions_max = 3;
        let limits = Limits { mtu: config.mtu, receive_window: config.receive_window, headers: 40 };
        let capabilities = Capabilities::new(OUR_MAC.0, 1500);
        let (port, nic) = pair(input.pick(&[256, 8]), capabilities);
        let mut stack = Stack::new(config, &mut SeededRng::new(42));
        stack.listen(PORT, AcceptPolicy::Deferred).expect("a fresh stack");
        let flow = |slot| Flow { id: FlowId { slot, generation: 0 }, handle: NO_HANDLE, open: false };
        let mut world = Self {
            stack,
            app: TestApp::default(),
            now: Instant::from_micros(input.pick(&[1_000_000, 4_294_966_000_000, 2_147_483_000_000])),
            pool: Pool::new(2048, usize::MAX),
            port,
            nic,
            limits,
            peers: (0..PEERS as u16).map(|at| Peer::new(40_000 + at, PORT, input)).collect(),
            flows: (0..PEERS as u32).map(flow).collect(),
            nic_epoch: 7,
            host_epoch: 0,
            last_data_max: 100_000,
            news: 0,
        };
        world.poll();
        if !input.flag() {
            world.hello(true);
            world.poll();
            world.establish(0, input);
        }
        world
    }

    fn send(&mut self, header: &Header, body: &[&[u8]]) {
        let body = body.concat();
        let mut out = vec![0; ethernet::HEADER_LEN + channel::HEADER_LEN];
        channel::emit_ethernet(OUR_MAC, NIC_MAC, &mut out);
        header.emit(body.len(), &mut out[ethernet::HEADER_LEN..]);
        out.extend(body);
        let mut queue = FrameQueue::with_capacity(1);
        if let Some(frame) = self.pool.frame_with(&out)
            && queue.push(frame).is_ok()
        {
            let sent = self.nic.send(&mut queue) == 1;
            self.news += u32::from(sent && header.kind.is_news());
        }
    }

    fn hello(&mut self, reply: bool) {
        let mut body = [0; Hello::LEN];
        Hello { last_data_max: self.last_data_max, news: self.news, ..Hello::new(self.nic_epoch, 1) }
            .emit(&mut body);
        let flags = if reply { MessageFlags::REPLY } else { MessageFlags::default() };
        self.send(&Header { flags, ..Header::new(Kind::Hello, self.host_epoch) }, &[&body]);
    }

    fn header(&self, kind: Kind, at: usize) -> Header {
        let flow = &self.flows[at];
        Header { flow: flow.id, handle: flow.handle, ..Header::new(kind, self.host_epoch) }
    }

    /// A new connection of a port, with or without its first data.
    fn establish(&mut self, at: usize, input: &mut Input<'_>) {
        self.flows[at].id.generation += 1;
        self.flows[at].handle = NO_HANDLE;
        self.flows[at].open = true;
        let peer = &mut self.peers[at];
        let isn = peer.isn;
        let iss = SeqNumber(input.pick(&[5000, u32::MAX, 0x7fff_fff0]));
        let kinds = input.u8();
        let scaling = kinds & 4 != 0;
        let mut established = Established {
            local_addr: US,
            remote_addr: PEER,
            local_port: PORT,
            remote_port: peer.port,
            timestamps: kinds & 1 != 0,
            sack: kinds & 2 != 0,
            window_scaling: scaling,
            snd_scale: if scaling { input.pick(&[7, 0, 14]) } else { 0 },
            rcv_scale: if scaling { 5 } else { 0 },
            snd_nxt: iss + 1,
            rcv_nxt: isn + 1,
            snd_wnd: input.pick(&[60_000, 0, 1, u32::MAX]),
            mss: input.pick(&[1460, 0, 64, u16::MAX]),
            remote_mac: PEER_MAC,
            ts_recent: peer.ts_value,
            ts_value: input.pick(&[1, u32::MAX]),
            data_at: 0,
        };
        let tells_where = input.pick(&[true, false, true]);
        peer.snd_nxt = isn + 1;
        peer.offer = Options {
            timestamps: established.timestamps.then(Timestamps::default),
            window_scale: scaling.then_some(established.snd_scale),
            ..Options::default()
        };
        let offer = peer.offer;
        peer.begin(isn, &offer);
        peer.seen = Some(Seen {
            iss,
            irs: Some(isn),
            snd_max: iss + 1,
            rcv_nxt: iss + 1,
            acked: isn + 1,
            right: None,
            ts_value: None,
            timestamps: established.timestamps,
            scale: established.rcv_scale,
            active: false,
        });
        let packet = if input.flag() {
            peer.next_bytes(FIRST_LEN)[ethernet::HEADER_LEN..].to_vec()
        } else {
            Vec::new()
        };
        let mut flags = MessageFlags::CHECKSUM_GOOD;
        if !packet.is_empty() {
            flags = flags | MessageFlags::FIRST_DATA;
            if tells_where {
                established.data_at = (packet.len() - FIRST_LEN) as u16;
            }
        }
        let mut body = [0; Established::LEN];
        established.emit(&mut body);
        let header = Header { flags, handle: NO_HANDLE, ..self.header(Kind::Established, at) };
        self.send(&header, &[&body, &packet]);
    }

    fn poll(&mut self) {
        for _ in 0..20 {
            let work = self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, self.now);
            let mut sent = FrameQueue::with_capacity(512);
            self.nic.receive(&mut sent, 512);
            while let Some(frame) = sent.pop() {
                self.take(frame.bytes());
            }
            self.compare();
            if !work.any() {
                break;
            }
        }
    }

    /// What was delivered is what the peer sent.
    fn compare(&mut self) {
        for (port, open) in &mut self.app.open {
            let Some(peer) = self.peers.iter().find(|peer| peer.port == *port) else { continue };
            let Some(irs) = peer.seen.and_then(|seen| seen.irs) else { continue };
            for byte in open.delivered.drain(..) {
                assert_eq!(
                    byte,
                    peer.byte(irs + 1 + open.compared as u32),
                    "byte {} of {port}",
                    open.compared
                );
                open.compared += 1;
            }
        }
    }

    /// A frame from the host: a good message, or a raw frame.
    fn take(&mut self, bytes: &[u8]) {
        let link = ethernet::Header::parse(bytes).expect("a whole frame");
        assert_eq!(link.src, OUR_MAC);
        if link.ether_type != EtherType::Channel {
            return check::frame(bytes, &mut self.peers, &self.app, self.limits);
        }
        let (header, body) = Header::parse(&bytes[ethernet::HEADER_LEN..]).expect("a good header");
        let flow = self.flows.iter().position(|flow| flow.id == header.flow);
        match header.kind {
            Kind::Hello => {
                let hello = Hello::parse(body).expect("a good HELLO");
                assert!(self.host_epoch == 0 || self.host_epoch == hello.epoch, "one life, one epoch");
                self.host_epoch = hello.epoch;
            }
            Kind::Listen => {
                let listen = Listen::parse(body).expect("a good LISTEN");
                assert_eq!((listen.addr, listen.port, listen.status), (US, PORT, ListenStatus::Unanswered));
                let mut body = [0; Listen::LEN];
                Listen { status: ListenStatus::Accepted, ..listen }.emit(&mut body);
                let reply =
                    Header { flags: MessageFlags::REPLY, ..Header::new(Kind::Listen, self.host_epoch) };
                self.send(&reply, &[&body]);
            }
            Kind::Unlisten => drop(Listen::parse(body).expect("a good UNLISTEN")),
            Kind::Segment => {
                assert!(header.flags.has(MessageFlags::CHECKSUM_NEEDED));
                let Some(at) = flow else { return }; // Of a flow that has been replaced meanwhile.
                assert!(header.handle != NO_HANDLE);
                self.flows[at].handle = header.handle;
                check::packet(body, &mut self.peers, &self.app, self.limits, false);
            }
            Kind::Close => {
                let (close, packet) = Close::parse(body).expect("a good CLOSE");
                assert!(close.rto_us > 0);
                let Some(at) = flow else { return };
                check::packet(packet, &mut self.peers, &self.app, self.limits, false);
                let kept = header.flags.has(MessageFlags::KEPT);
                assert!(kept || !header.flags.has(MessageFlags::MORE));
                self.flows[at].open &= kept;
            }
            Kind::Abort => {
                Abort::parse(body).expect("a good ABORT");
                if let Some(at) = flow {
                    self.flows[at].open = false;
                }
            }
            Kind::Established | Kind::Closed | Kind::IcmpError => panic!("{header:?} from the host"),
        }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(PEERS);
        match input.below(20) {
            0..5 => {
                let len = input.pick(&[1, 10, 100, 1400]);
                let frame = self.peers[at].next_bytes(len);
                self.segment(at, &frame);
            }
            5 => {
                self.peers[at].window = input.pick(&[60_000, 0, 100, 0xffff]);
                let frame = self.peers[at].ack();
                self.segment(at, &frame);
            }
            6 | 7 => {
                let frame = self.peers[at].any_segment(input);
                self.segment(at, &frame);
            }
            8 => {
                let frame = self.peers[at].finish();
                self.segment(at, &frame);
            }
            9 | 10 => {
                if input.flag() {
                    self.peers[at].new_life(input);
                }
                self.establish(at, input);
            }
            11 => self.closed(input),
            12 | 13 => self.any(at, input),
            14 => self.restart(input),
            15 => self.application(at, input),
            16 | 17 => self.pass(input),
            18 => self.pool.set_limit(if input.flag() { self.pool.out() } else { usize::MAX }),
            _ => self.app.mood = Some(self.mood(input)),
        }
    }

    fn mood(&self, input: &mut Input<'_>) -> Mood {
        match input.below(6) {
            0 => Mood::Read,
            1 | 2 => Mood::Answer(input.pick(&[1, 100, 5000, 20_001])),
            3 => Mood::Wait,
            4 => Mood::Close,
            _ => Mood::Abort,
        }
    }

    /// Hands a frame's packet to the host.
    fn segment(&mut self, at: usize, frame: &[u8]) {
        let header = Header { flags: MessageFlags::CHECKSUM_GOOD, ..self.header(Kind::Segment, at) };
        self.send(&header, &[&frame[ethernet::HEADER_LEN..]]);
    }

    fn closed(&mut self, input: &mut Input<'_>) {
        let reasons = [
            ClosedReason::PeerClosed,
            ClosedReason::Finished,
            ClosedReason::Reset,
            ClosedReason::TimedOut,
            ClosedReason::Unknown,
            ClosedReason::HandedOver,
            ClosedReason::Refused,
        ];
        let mut body = vec![0; Closed::LEN];
        let count = 1 + input.below(PEERS);
        Closed::emit_count(count, &mut body);
        for _ in 0..count {
            let at = input.below(PEERS);
            let flow = &mut self.flows[at];
            let handle = input.pick(&[flow.handle, flow.handle, NO_HANDLE, 0, 1]);
            let reason = input.pick(&reasons);
            flow.open &= reason == ClosedReason::Refused;
            let mut entry = [0; Closed::ENTRY_LEN];
            ClosedEntry { flow: flow.id, handle, reason }.emit(&mut entry);
            body.extend(entry);
        }
        self.send(&Header::new(Kind::Closed, self.host_epoch), &[&body]);
    }

    /// Any message: fields near something that matters, and a body that may be a good one.
    fn any(&mut self, at: usize, input: &mut Input<'_>) {
        let known = self.flows[at];
        let header = Header {
            kind: input.pick(&Kind::ALL),
            flags: MessageFlags(input.u16()),
            epoch: input.pick(&[self.host_epoch, self.host_epoch, 0, self.nic_epoch]),
            flow: FlowId {
                slot: input.pick(&[known.id.slot, known.id.slot + 5, u32::MAX, 1 << 24]),
                generation: known.id.generation.wrapping_add(input.pick(&[0, 0, 1, u32::MAX])),
            },
            handle: input.pick(&[known.handle, NO_HANDLE, 0, 1, 1 << 30]),
        };
        let is_announcement = header.kind == Kind::Established;
        let mut body = input.bytes().to_vec();
        if is_announcement && body.len() >= Established::LEN {
            // Of ports that no peer has, so that what follows can be told apart.
            body[38..40].copy_from_slice(&[1, 1]);
        }
        // HELLO changes what is true of everything: that has a step of its own.
        if header.kind != Kind::Hello {
            self.send(&header, &[&body]);
        }
    }

    /// The firmware comes up new, or says HELLO again.
    fn restart(&mut self, input: &mut Input<'_>) {
        self.last_data_max = input.pick(&[100_000, 0, 3000]);
        if input.u8() < 100 {
            self.nic_epoch += 1;
            self.flows.iter_mut().for_each(|flow| flow.open = false);
        }
        self.hello(input.flag());
    }

    fn application(&mut self, at: usize, input: &mut Input<'_>) {
        let Some(id) = self.app.open.get(&self.peers[at].port).map(|open| open.id) else { return };
        self.app.resumed = input.pick(&[0, 1, 3000, 70_001]);
        match input.below(6) {
            0 => drop(self.stack.close(id)),
            1 => drop(self.stack.abort(&mut self.app, id)),
            _ => self.app.wake.push(id),
        }
        self.app.half_open = input.flag();
        self.app.refuse = input.u8() > 240;
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        let span = input.pick(&[100, 41_000, 500_000, 3_000_000, 70_000_000]);
        let end = self.now + Duration::from_micros(span);
        for _ in 0..200 {
            let Some(next) = self.stack.next_deadline().filter(|&next| next <= end) else { break };
            self.now = next.max(self.now + Duration::from_micros(1));
            self.poll();
        }
        self.now = self.now.max(end);
        for peer in &mut self.peers {
            peer.ts_value = peer.ts_value.wrapping_add((span / 1000) as u32);
        }
    }

    /// The firmware has forgotten everything: so must the host.
    fn end(mut self) {
        self.pool.set_limit(usize::MAX);
        for _ in 0..100 {
            self.poll();
        }
        // The first HELLO of all may make the host know us, the second that we are new.
        for _ in 0..2 {
            self.nic_epoch += 1;
            self.hello(false);
            self.poll();
        }
        let gauges = self.stack.gauges();
        assert_eq!((gauges.connections(), self.app.sessions, self.app.open.len()), (0, 0, 0), "{gauges:?}");
        for _ in 0..1000 {
            let Some(next) = self.stack.next_deadline() else { break };
            self.now = self.now.max(next);
            self.poll();
        }
        assert_eq!(self.stack.next_deadline(), None);
        assert!(self.stack.is_ready());
        check::nothing_out(&mut self.pool);
    }
}
