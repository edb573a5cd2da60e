//! One stack, a port that the test holds the other end of, and an application that does what
//! the test tells it.

use alloc::string::String;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};

use netcore::port::BURST;
use netcore::ring::{RingPort, pair};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, FourTuple, Frame, FrameQueue, HeapFrame, HeapPool, Instant, Port};
use protocol::ethernet::{self, Mac};
use protocol::ip::{self, Address, Version};
use protocol::tcp::{Flags, Header, Options, SeqNumber, fill_checksum, verify_checksum};

use crate::{AcceptPolicy, App, Config, ConnectionId, EndReason, Next, Output, Report, Stack};

pub(crate) const US: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const US_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);
pub(crate) const PEER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1);
pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(crate) const PORT: u16 = 6379;
pub(crate) const PEER_PORT: u16 = 40_000;
/// The peer's initial sequence number.
pub(crate) const IRS: u32 = 1000;

pub(crate) const S: Flags = Flags::SYN;
pub(crate) const A: Flags = Flags::ACK;
pub(crate) const F: Flags = Flags::FIN;
pub(crate) const R: Flags = Flags::RST;
pub(crate) const P: Flags = Flags::PSH;

/// An application whose every session does what `commands` say. Input "!close", "!abort",
/// "!wait" asks for that; everything else is kept in `seen`.
#[derive(Default)]
pub(crate) struct TestApp {
    pub(crate) opened: Vec<ConnectionId>,
    pub(crate) seen: Vec<u8>,
    pub(crate) ended: Vec<EndReason>,
    pub(crate) peer_closed: usize,
    /// Written as the answer to the next input.
    pub(crate) reply: Vec<u8>,
    /// What to answer to the peer's FIN.
    pub(crate) keep_half_open: bool,
    pub(crate) refuse: bool,
    pub(crate) greeting: Vec<u8>,
    pub(crate) wake: Vec<ConnectionId>,
    /// What a resumed connection writes, and answers.
    pub(crate) resumed: Option<(Vec<u8>, Next)>,
    pub(crate) sessions: usize,
    /// Sessions that were left by an earlier connection.
    pub(crate) used_again: usize,
    pub(crate) reports: Vec<Report>,
    /// What waited for the peer when input came last.
    pub(crate) waiting: usize,
}

impl App for TestApp {
    type Session = u32;

    fn begin(&mut self, _: Instant) {}

    fn connected(
        &mut self,
        id: ConnectionId,
        _: &FourTuple,
        session: &mut Option<u32>,
        output: &mut Output,
    ) -> bool {
        output.put(&self.greeting);
        if self.refuse {
            return false;
        }
        self.opened.push(id);
        self.sessions += 1;
        self.used_again += usize::from(session.is_some());
        *session = Some(id.slot);
        true
    }

    fn received(&mut self, _: &mut u32, input: &[u8], output: &mut Output) -> Next {
        self.seen.extend_from_slice(input);
        self.waiting = output.waiting();
        output.put(&core::mem::take(&mut self.reply));
        match input {
            b"!close" => Next::Close,
            b"!abort" => Next::Abort,
            b"!wait" => Next::Wait,
            _ => Next::Continue,
        }
    }

    fn resumed(&mut self, _: &mut u32, output: &mut Output) -> Next {
        let (bytes, next) = self.resumed.clone().unwrap_or((Vec::new(), Next::Continue));
        output.put_shared(&bytes.into());
        next
    }

    fn peer_closed(&mut self, _: &mut u32, _: &mut Output) -> Next {
        self.peer_closed += 1;
        if self.keep_half_open { Next::Continue } else { Next::Close }
    }

    fn reported(&mut self, _: &mut u32, report: Report) {
        self.reports.push(report);
    }

    fn closed(&mut self, session: &mut Option<u32>, reason: EndReason) {
        assert!(session.is_some());
        self.sessions -= 1;
        self.ended.push(reason);
    }

    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.wake);
    }
}

/// A segment as a test writes or reads it. Numbers are relative: `seq` to the sender's initial
/// number, `ack` to the receiver's.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Seg {
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) window: u16,
    pub(crate) options: Options,
    pub(crate) urgent: u16,
    pub(crate) payload: Vec<u8>,
}

impl core::fmt::Debug for Seg {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{:?} {}+{} ack {}", self.flags, self.seq, self.payload.len(), self.ack)?;
        let sack: Vec<_> = self.options.sack_blocks().to_vec();
        if !sack.is_empty() {
            write!(f, " sack {sack:?}")?;
        }
        Ok(())
    }
}

/// A segment from the peer.
pub(crate) fn seg(flags: Flags, seq: u32, ack: u32, payload: &[u8]) -> Seg {
    Seg { flags, seq, ack, window: 60_000, options: Options::default(), urgent: 0, payload: payload.to_vec() }
}

impl Seg {
    pub(crate) fn window(self, window: u16) -> Self {
        Self { window, ..self }
    }
    pub(crate) fn options(self, options: Options) -> Self {
        Self { options, ..self }
    }
    /// With URG set and this urgent pointer.
    pub(crate) fn urgent(self, urgent: u16) -> Self {
        Self { flags: self.flags | Flags::URG, urgent, ..self }
    }
    /// Flags, numbers and payload length in one line, for comparison.
    pub(crate) fn line(&self) -> String {
        alloc::format!("{:?} {}+{} {}", self.flags, self.seq, self.payload.len(), self.ack)
    }
}

pub(crate) struct Harness {
    pub(crate) stack: Stack<HeapFrame, TestApp>,
    pub(crate) app: TestApp,
    pub(crate) now: Instant,
    pub(crate) pool: HeapPool,
    port: RingPort<HeapFrame>,
    pub(crate) wire: RingPort<HeapFrame>,
    /// Our initial sequence number, once a SYN of ours was seen.
    pub(crate) iss: u32,
    pub(crate) irs: u32,
    pub(crate) our_port: u16,
    pub(crate) peer_port: u16,
    pub(crate) us: Address,
    pub(crate) peer: Address,
}

pub(crate) fn config() -> Config {
    Config::new(OUR_MAC, US, 24)
}

pub(crate) fn config_v6() -> Config {
    Config::new(OUR_MAC, US_V6, 64)
}

pub(crate) fn ring() -> (RingPort<HeapFrame>, RingPort<HeapFrame>) {
    let capabilities = Capabilities::new(OUR_MAC.0, 1500);
    pair(1024, capabilities)
}

impl Harness {
    pub(crate) fn new(config: Config) -> Self {
        let (port, wire) = ring();
        let us = config.networks[0].address;
        let peer = match us.version() {
            Version::V4 => PEER.into(),
            Version::V6 => PEER_V6.into(),
        };
        let mut stack = Stack::new(config, &mut SeededRng::new(42));
        stack.listen(PORT, AcceptPolicy::Deferred).unwrap();
        Self {
            stack,
            app: TestApp::default(),
            now: Instant::from_micros(1_000_000),
            pool: HeapPool::new(2048, usize::MAX),
            port,
            wire,
            iss: 0,
            irs: IRS,
            our_port: PORT,
            peer_port: PEER_PORT,
            us,
            peer,
        }
    }

    /// With an open connection, no options agreed.
    pub(crate) fn open(config: Config) -> Self {
        Self::open_with(config, Options::default())
    }

    pub(crate) fn open_with(config: Config, options: Options) -> Self {
        let mut h = Self::new(config);
        h.inject(&seg(S, 0, 0, b"").options(options));
        let answer = h.take();
        assert_eq!(answer.len(), 1);
        h.iss = answer[0].seq;
        let mut ack = seg(A, 1, 1, b"");
        if options.timestamps.is_some() {
            ack = ack.options(Options { timestamps: options.timestamps, ..Options::default() });
        }
        h.inject(&ack);
        assert!(h.take().is_empty());
        assert_eq!(h.app.opened.len(), 1);
        h
    }

    pub(crate) fn encode(&self, seg: &Seg) -> Vec<u8> {
        let header = Header {
            src_port: self.peer_port,
            dst_port: self.our_port,
            seq: SeqNumber(self.irs.wrapping_add(seg.seq)),
            ack: SeqNumber(if seg.flags.has(A) { self.iss.wrapping_add(seg.ack) } else { 0 }),
            flags: seg.flags,
            window: seg.window,
            urgent: seg.urgent,
            header_len: 0,
        };
        let mut options = seg.options;
        for block in &mut options.sack[..usize::from(seg.options.sack_count)] {
            *block = (block.0 + self.iss, block.1 + self.iss);
        }
        let tcp_len = 20 + options.emitted_len() + seg.payload.len();
        let mut segment = alloc::vec![0; tcp_len];
        let at = header.emit(&options, &mut segment);
        segment[at..].copy_from_slice(&seg.payload);
        fill_checksum(self.peer, self.us, &mut segment);
        self.packet(6, &segment)
    }

    /// A frame of the peer with this in an IP packet for us.
    pub(crate) fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let ether_type = ip::ether_type(self.us.version());
        let ip_len = ip::header_len(self.us.version());
        let mut bytes = alloc::vec![0; 14 + ip_len + payload.len()];
        ethernet::Header { dst: OUR_MAC, src: PEER_MAC, ether_type }.emit(&mut bytes);
        ip::emit(&self.peer, &self.us, protocol, 0, payload.len(), &mut bytes[14..]);
        bytes[14 + ip_len..].copy_from_slice(payload);
        bytes
    }

    /// Puts a segment on the wire without letting the stack run.
    pub(crate) fn put(&mut self, seg: &Seg) {
        let bytes = self.encode(seg);
        self.put_frame(&bytes);
    }

    pub(crate) fn put_frame(&mut self, bytes: &[u8]) {
        let mut queue = FrameQueue::with_capacity(1);
        queue.push(HeapFrame::from_bytes(bytes)).unwrap();
        assert_eq!(self.wire.send(&mut queue), 1);
    }

    /// The same in a frame that has room for more, as those of devices have.
    pub(crate) fn put_frame_with_room(&mut self, bytes: &[u8]) {
        let mut frame = HeapFrame::with_capacity(2048);
        frame.append(bytes.len()).unwrap().copy_from_slice(bytes);
        let mut queue = FrameQueue::with_capacity(1);
        queue.push(frame).unwrap();
        assert_eq!(self.wire.send(&mut queue), 1);
    }

    pub(crate) fn inject(&mut self, seg: &Seg) {
        self.put(seg);
        self.poll();
    }

    pub(crate) fn poll(&mut self) {
        while self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, self.now).frames_received
            == BURST
        {}
    }

    /// Lets time pass, deadline by deadline.
    pub(crate) fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        while let Some(next) = self.stack.next_deadline().filter(|&next| next <= end) {
            self.now = self.now.max(next);
            self.poll();
        }
        self.now = end;
        self.poll();
    }

    pub(crate) fn take_frames(&mut self) -> Vec<Vec<u8>> {
        let mut queue = FrameQueue::with_capacity(4096);
        self.wire.receive(&mut queue, 4096);
        queue.iter().map(|frame| frame.bytes().to_vec()).collect()
    }

    /// The TCP segments that the stack has sent.
    ///
    /// RFC 9293 §3.1 MUST-2: every checksum is right.
    pub(crate) fn take(&mut self) -> Vec<Seg> {
        let frames = self.take_frames();
        let is_ip = |frame: &&Vec<u8>| frame[12..14] != [8, 6];
        frames.iter().filter(is_ip).map(|frame| self.decode(&frame[14..], true)).collect()
    }

    pub(crate) fn decode(&self, packet: &[u8], checksum: bool) -> Seg {
        let ip = ip::Header::parse(packet).unwrap();
        assert_eq!((ip.src, ip.dst), (self.us, self.peer));
        let bytes = &packet[ip.header_len..ip.total_len];
        assert!(!checksum || verify_checksum(self.us, self.peer, bytes, false));
        let header = Header::parse(bytes).unwrap();
        assert_eq!((header.src_port, header.dst_port), (self.our_port, self.peer_port));
        let mut options = header.options(bytes);
        for block in &mut options.sack[..usize::from(options.sack_count)] {
            *block = (block.0 - self.irs, block.1 - self.irs);
        }
        Seg {
            flags: header.flags,
            seq: header.seq.0.wrapping_sub(self.iss),
            ack: if header.flags.has(A) { header.ack.0.wrapping_sub(self.irs) } else { 0 },
            window: header.window,
            options,
            urgent: header.urgent,
            payload: bytes[header.header_len..].to_vec(),
        }
    }

    /// What the stack has sent, a line each.
    pub(crate) fn lines(&mut self) -> Vec<String> {
        self.take().iter().map(Seg::line).collect()
    }

    pub(crate) fn expect(&mut self, lines: &[&str]) {
        assert_eq!(self.lines(), lines);
    }

    /// Makes the application write on its first connection.
    pub(crate) fn write(&mut self, bytes: &[u8], next: Next) {
        self.app.resumed = Some((bytes.to_vec(), next));
        self.app.wake.push(self.app.opened[0]);
        self.poll();
        self.app.resumed = None;
    }

    /// Nothing is left of any connection, timer or session.
    pub(crate) fn assert_empty(&mut self) {
        assert!(self.stack.has_no_leftovers(), "{:?}", self.stack.gauges());
        assert_eq!(self.app.sessions, 0);
    }
}
