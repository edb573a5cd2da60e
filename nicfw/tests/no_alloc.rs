//! After it has been made, the firmware allocates nothing, whatever happens to it: counted, over
//! every stage of a connection's life, full tables and new lives of the host, over IPv4 and IPv6.
//! And what it takes at its start is what it says.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::{Ipv4Addr, Ipv6Addr};

use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FramePool, HeapFrame, Instant};
use nicfw::{Config, Event, Firmware, State};
use protocol::channel::{
    self, AcceptPolicy, FlowId, Header, Hello, Kind, Listen, ListenStatus, MessageFlags, Refusal,
};
use protocol::ethernet::{self, Mac};
use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, Options, SeqNumber};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static BYTES: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        BYTES.with(|bytes| bytes.set(bytes.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames made before the count begins. What the firmware drops is made anew, uncounted.
struct Stock {
    frames: Vec<HeapFrame>,
    /// There are none at the moment.
    empty: bool,
}

impl Stock {
    fn refill(&mut self) {
        let kept = ALLOCATIONS.with(Cell::get);
        self.frames.resize_with(self.frames.capacity(), || HeapFrame::with_capacity(2048));
        ALLOCATIONS.with(|count| count.set(kept));
    }
}

impl FramePool for Stock {
    type Frame = HeapFrame;
    fn allocate(&mut self) -> Option<HeapFrame> {
        if self.empty {
            return None;
        }
        let mut frame = self.frames.pop()?;
        frame.reset();
        Some(frame)
    }
}

const NIC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const FIN_ACK: Flags = Flags(0x11);

fn addresses(v6: bool) -> (Address, Address) {
    if v6 {
        let addr = |n| Address::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, n));
        (addr(1), addr(2))
    } else {
        (Address::v4(Ipv4Addr::new(198, 18, 0, 1)), Address::v4(Ipv4Addr::new(198, 18, 0, 2)))
    }
}

/// A segment of client or server, without options.
#[derive(Clone, Copy)]
struct Seg<'a> {
    flags: Flags,
    seq: u32,
    ack: u32,
    window: u16,
    data: &'a [u8],
}

impl<'a> Seg<'a> {
    fn new(flags: Flags, seq: u32, ack: u32, data: &'a [u8]) -> Self {
        Self { flags, seq, ack, window: 1000, data }
    }
    fn len(&self, v6: bool) -> usize {
        if v6 { 60 + self.data.len() } else { 40 + self.data.len() }
    }
}

fn write_packet(out: &mut [u8], v6: bool, inbound: bool, port: u16, segment: Seg<'_>) {
    let (client, server) = addresses(v6);
    let (src, dst) = if inbound { (client, server) } else { (server, client) };
    let (src_port, dst_port) = if inbound { (port, 6379) } else { (6379, port) };
    let ip_len = ip::emit(&src, &dst, 6, 0, 20 + segment.data.len(), out);
    let header = tcp::Header {
        src_port,
        dst_port,
        seq: SeqNumber(segment.seq),
        ack: SeqNumber(segment.ack),
        flags: segment.flags,
        window: segment.window,
        urgent: 0,
        header_len: 20,
    };
    header.emit(&Options::default(), &mut out[ip_len..]);
    out[ip_len + 20..].copy_from_slice(segment.data);
    tcp::fill_checksum(src, dst, &mut out[ip_len..]);
}

struct Bench {
    nic: Firmware<HeapFrame>,
    stock: Stock,
    now: Instant,
    v6: bool,
    nic_epoch: u32,
    host_epoch: u32,
    /// Port of the connection that is played.
    port: u16,
    /// What the host knows of it: flow, next number of ours, next of the peer's.
    flow: FlowId,
    seq: u32,
    ack: u32,
}

impl Bench {
    fn frame(&mut self) -> HeapFrame {
        let (empty, _) = (std::mem::take(&mut self.stock.empty), ());
        if self.stock.frames.len() < 50 {
            self.stock.refill();
        }
        let frame = self.stock.allocate().unwrap();
        self.stock.empty = empty;
        frame
    }

    fn wire(&mut self, segment: Seg<'_>) {
        let (v6, port) = (self.v6, self.port);
        let mut frame = self.frame();
        let out = frame.append(14 + segment.len(v6)).unwrap();
        let ether_type = ip::ether_type(addresses(v6).0.version());
        ethernet::Header { dst: NIC, src: PEER, ether_type }.emit(out);
        write_packet(&mut out[14..], v6, true, port, segment);
        self.nic.wire_frame(frame, &mut self.stock, self.now);
    }

    /// The same in two fragments of an IPv4 packet.
    fn wire_in_fragments(&mut self, segment: Seg<'_>) {
        let mut whole = [0; 256];
        let len = segment.len(false);
        write_packet(&mut whole[..len], false, true, self.port, segment);
        for (from, to) in [(0, 24), (24, len - 20)] {
            let mut frame = self.frame();
            let out = frame.append(14 + 20 + to - from).unwrap();
            ethernet::Header {
                dst: NIC,
                src: PEER,
                ether_type: ip::ether_type(addresses(false).0.version()),
            }
            .emit(out);
            out[14..34].copy_from_slice(&whole[..20]);
            out[34..].copy_from_slice(&whole[20 + from..20 + to]);
            let ip = &mut out[14..34];
            ip[2..4].copy_from_slice(&((20 + to - from) as u16).to_be_bytes());
            let more = if to < len - 20 { 0x2000 } else { 0 };
            ip[6..8].copy_from_slice(&(more | (from / 8) as u16).to_be_bytes());
            ip[10..12].fill(0);
            let sum = ip.chunks_exact(2).map(|b| u32::from(u16::from_be_bytes([b[0], b[1]]))).sum::<u32>();
            let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            self.nic.wire_frame(frame, &mut self.stock, self.now);
        }
    }

    fn host(&mut self, header: &Header, body: &[u8], packet: Option<Seg<'_>>) {
        let (v6, port) = (self.v6, self.port);
        let mut frame = self.frame();
        let packet_len = packet.map_or(0, |segment| segment.len(v6));
        let out = frame.append(38 + body.len() + packet_len).unwrap();
        channel::emit_ethernet(NIC, NIC, out);
        header.emit(body.len() + packet_len, &mut out[14..]);
        out[38..38 + body.len()].copy_from_slice(body);
        if let Some(segment) = packet {
            write_packet(&mut out[38 + body.len()..], v6, false, port, segment);
        }
        self.nic.host_frame(0, frame, &mut self.stock, self.now);
    }

    /// Sends nothing anywhere: frames go back to the stock. Returns the last to wire and host.
    fn round(&mut self) -> (Option<SeqNumber>, Option<Header>) {
        self.nic.timer(&mut self.stock, self.now);
        let tcp_at = if self.v6 { 54 } else { 34 };
        let (mut seq, mut header) = (None, None);
        while let Some(frame) = self.nic.wire_output().pop() {
            seq = tcp::Header::parse(&frame.bytes()[tcp_at..]).ok().map(|tcp| tcp.seq);
            self.keep(frame);
        }
        while let Some(frame) = self.nic.host_output(0).pop() {
            header = Header::parse(&frame.bytes()[14..]).ok().map(|(header, _)| header);
            self.keep(frame);
        }
        (seq, header)
    }

    fn keep(&mut self, frame: HeapFrame) {
        if self.stock.frames.len() < self.stock.frames.capacity() {
            self.stock.frames.push(frame);
        }
    }

    /// Time passes, in steps that let one timer follow the other.
    fn pass(&mut self, ms: u64) {
        let mut left = ms;
        while left > 0 {
            let step = left.min(5000);
            self.now += Duration::from_millis(step);
            self.round();
            left -= step;
        }
    }

    /// A new life of the host: HELLO and LISTEN.
    fn join(&mut self, backlog: u32, policy: AcceptPolicy) {
        self.host_epoch += 1;
        let mut body = [0; Hello::LEN];
        Hello::new(self.host_epoch, 1).emit(&mut body);
        self.host(&Header::new(Kind::Hello, self.nic_epoch), &body, None);
        self.nic.timer(&mut self.stock, self.now);
        while let Some(frame) = self.nic.host_output(0).pop() {
            let (header, body) = Header::parse(&frame.bytes()[14..]).unwrap();
            if header.kind == Kind::Hello {
                self.nic_epoch = Hello::parse(body).unwrap().epoch;
            }
            self.keep(frame);
        }
        for v6 in [false, true] {
            let listen = Listen {
                addr: addresses(v6).1,
                port: 6379,
                policy,
                mss: 1440,
                window_scale: 7,
                status: ListenStatus::Unanswered,
                window: 60_000,
                backlog,
                connections_max: 0,
                refusal: Refusal::Reset,
            };
            let mut body = [0; Listen::LEN];
            listen.emit(&mut body);
            self.host(&Header::new(Kind::Listen, self.nic_epoch), &body, None);
        }
        self.round();
    }

    fn header(&self, kind: Kind, flags: MessageFlags) -> Header {
        Header { flags, flow: self.flow, handle: 5, ..Header::new(kind, self.nic_epoch) }
    }

    fn shake_hands(&mut self, port: u16) -> bool {
        self.port = port;
        self.wire(Seg::new(Flags::SYN, 100, 0, b""));
        let Some(iss) = self.round().0 else { return false };
        self.wire(Seg::new(Flags::ACK, 101, iss.0 + 1, b""));
        (self.seq, self.ack) = (iss.0 + 1, 101);
        true
    }

    /// A connection whose request has arrived; false when it could not be opened.
    fn connect(&mut self, port: u16) -> bool {
        if !self.shake_hands(port) {
            return false;
        }
        self.wire(Seg::new(Flags::ACK, 101, self.seq, b"GET"));
        self.ack = 104;
        let Some(header) = self.round().1.filter(|header| header.kind == Kind::Established) else {
            return false;
        };
        self.flow = header.flow;
        true
    }

    fn reply(&mut self, data: &[u8], flags: MessageFlags) {
        let segment = Seg::new(Flags::ACK, self.seq, self.ack, data);
        self.host(&self.header(Kind::Segment, flags), &[], Some(segment));
        self.seq += data.len() as u32;
    }

    /// CLOSE with all of this, in pieces of 300 bytes when there are flags for it.
    fn close(&mut self, data: &[u8], snd_wnd: u32, flags: MessageFlags) {
        let close = channel::Close {
            snd_wnd,
            rto_us: 200_000,
            rcv_nxt: SeqNumber(self.ack),
            ts_recent: 0,
            cwnd: 600,
            snd_una: SeqNumber(self.seq),
        };
        let mut body = [0; channel::Close::LEN];
        close.emit(&mut body);
        let pieces = data.len().div_ceil(300).max(1);
        for at in 0..pieces {
            let piece = &data[at * 300..data.len().min((at + 1) * 300)];
            let is_last = at + 1 == pieces;
            let more = if is_last { flags } else { flags | MessageFlags::MORE };
            let tcp_flags = if is_last && !flags.has(MessageFlags::MORE) { FIN_ACK } else { Flags::ACK };
            let segment = Seg::new(tcp_flags, self.seq, self.ack, piece);
            self.host(&self.header(Kind::Close, more), &body, Some(segment));
            self.seq += piece.len() as u32;
        }
    }

    fn client(&mut self, flags: Flags, seq: u32, ack: u32) {
        self.wire(Seg::new(flags, seq, ack, b""));
    }

    /// One connection in each of the ways to live and end.
    fn every_way(&mut self, first_port: u16) {
        let kept = MessageFlags::KEPT;
        let none = MessageFlags::default();
        for way in 0..16 {
            if way == 15 {
                self.shake_hands(first_port + way);
            } else {
                assert!(self.connect(first_port + way), "way {way}");
            }
            let (seq, ack) = (self.seq, self.ack);
            match way {
                // The peer closes: at once, after its FIN was lost for us, and never with its ACK.
                0 => {
                    self.reply(b"reply", MessageFlags::IDLE);
                    self.client(FIN_ACK, ack, seq + 5);
                    self.client(FIN_ACK, ack, seq + 5);
                    self.pass(1100);
                    self.client(Flags::ACK, ack + 1, seq + 6);
                }
                1 => {
                    self.reply(b"reply", MessageFlags::IDLE);
                    self.client(FIN_ACK, ack, seq + 5);
                    self.pass(200_000);
                }
                // Half-close: the host answers, and closes.
                2 => {
                    self.reply(b"reply", none);
                    self.client(FIN_ACK, ack, seq);
                    self.round();
                    self.ack += 1;
                    self.client(Flags::ACK, ack + 1, seq + 5);
                    self.close(b"rest", 1000, MessageFlags::PEER_FINISHED);
                    self.client(Flags::ACK, ack + 1, seq + 10);
                }
                // The host closes; data lost, part taken, then TIME_WAIT and what comes in it.
                3 => {
                    self.close(b"reply", 1000, none);
                    self.pass(250);
                    self.client(Flags::ACK, ack, seq + 2);
                    self.client(Flags::ACK, ack, seq + 6);
                    self.client(FIN_ACK, ack, seq + 6);
                    self.client(FIN_ACK, ack, seq + 6);
                    self.client(Flags::RST, ack + 1, 0);
                    self.client(Flags::SYN, 100, 0);
                }
                // Both at once.
                4 => {
                    self.close(b"", 1000, none);
                    self.client(FIN_ACK, ack, seq);
                    self.client(Flags::ACK, ack + 1, seq + 1);
                }
                // In pieces, with a loss that three duplicates tell of, and one of a timeout.
                5 => {
                    self.close(&[7; 1700], 60_000, kept);
                    for _ in 0..4 {
                        self.client(Flags::ACK, ack, seq);
                        self.round();
                    }
                    self.client(Flags::ACK, ack, seq + 300);
                    self.pass(300);
                    self.pass(600);
                    self.client(Flags::ACK, ack, seq + 1700);
                    self.client(FIN_ACK, ack, seq + 1701);
                }
                // In pieces that nobody takes, into a closed window.
                6 => {
                    self.close(&[7; 900], 0, kept);
                    self.wire(Seg { window: 0, ..Seg::new(Flags::ACK, ack, seq, b"") });
                    self.pass(200_000);
                }
                // Pieces that do not fit, are too many, or come to nothing.
                7 => {
                    self.seq += 1;
                    self.close(&[7; 900], 1000, kept);
                    self.seq = seq;
                    self.close(&[7; 300 * 12], 1000, kept);
                    self.seq = seq;
                    self.close(&[7; 300], 1000, kept | MessageFlags::MORE);
                    self.reply(b"by itself", none);
                    self.host(&self.header(Kind::Abort, none), &[0; 8], None);
                }
                // Given up in FIN_WAIT_2, by data after the close, and by RST.
                8 => {
                    self.close(b"", 1000, none);
                    self.client(Flags::ACK, ack, seq + 1);
                    self.pass(61_000);
                }
                9 => {
                    self.close(b"", 1000, none);
                    self.wire(Seg::new(Flags::ACK, ack, seq + 1, b"more"));
                }
                10 => {
                    self.reply(b"reply", none);
                    self.client(Flags::RST, ack + 1, 0);
                    self.client(Flags::SYN, ack, 0);
                    self.client(Flags::RST, ack, 0);
                }
                // No frames: data is kept, news waits.
                11 => {
                    self.stock.empty = true;
                    self.close(b"reply", 1000, none);
                    self.client(Flags::ACK, ack, seq);
                    self.pass(250);
                    self.stock.empty = false;
                    self.pass(1000);
                    self.client(FIN_ACK, ack, seq + 6);
                }
                // Broken and stale messages.
                12 => {
                    self.host(&self.header(Kind::Close, none), &[0; 24], None);
                    let stale = Header { epoch: self.nic_epoch ^ 1, ..self.header(Kind::Segment, none) };
                    self.host(&stale, &[], None);
                    let unknown = FlowId { generation: 77, ..self.flow };
                    let unknown = Header { flow: unknown, ..self.header(Kind::Segment, none) };
                    self.host(&unknown, &[], None);
                }
                // Fragments.
                13 if !self.v6 => {
                    self.wire_in_fragments(Seg::new(Flags::ACK, ack, seq, b"a request in two pieces"));
                    assert_eq!(self.round().1.map(|header| header.kind), Some(Kind::Segment));
                    self.host(&self.header(Kind::Abort, none), &[0; 8], None);
                }
                13 | 14 => self.host(&self.header(Kind::Abort, none), &[0; 8], None),
                // Never any data: probed, and given up.
                _ => self.pass(200_000),
            }
            self.round();
        }
    }
}

fn stocked(config: Config) -> Bench {
    let mut frames = Vec::with_capacity(400);
    frames.resize_with(400, || HeapFrame::with_capacity(2048));
    Bench {
        nic: Firmware::new(config, &mut SeededRng::new(1)),
        stock: Stock { frames, empty: false },
        now: Instant::from_micros(1_000_000),
        v6: false,
        nic_epoch: 0,
        host_epoch: 6,
        port: 0,
        flow: FlowId::default(),
        seq: 0,
        ack: 0,
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let config =
        Config { flows_max: 40, time_wait_max: 30, retained_max: 10, queue_frames: 64, ..Config::new(NIC) };
    let mut bench = stocked(config);
    let before = ALLOCATIONS.with(Cell::get);
    for life in 0..4 {
        bench.v6 = life % 2 == 1;
        bench.join(20, AcceptPolicy::Deferred);
        bench.every_way(1000 * life + 100);
        // Tables full: the host's queue, the backlog, then the flows.
        assert!(bench.connect(1000 * life + 180));
        for _ in 0..100 {
            let (ack, seq) = (bench.ack, bench.seq);
            bench.wire(Seg::new(Flags::ACK, ack, seq, b"more"));
        }
        bench.round();
        // More last data than may be kept, and nobody takes it.
        for port in 0..12 {
            if bench.connect(1000 * life + 150 + port) {
                bench.close(b"bye", 1000, MessageFlags::default());
            }
        }
        bench.pass(2_000);
        for port in 0..60 {
            bench.shake_hands(1000 * life + 200 + port);
        }
        for port in 0..60 {
            bench.connect(1000 * life + 300 + port);
        }
        // The host is gone, with all that it held and all that waits.
        bench.join(20, AcceptPolicy::Immediate);
        bench.pass(1);
        bench.shake_hands(1000 * life + 400);
        bench.pass(1);
        bench.join(20, AcceptPolicy::Deferred);
        bench.pass(200_000);
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    // All of it has happened.
    use Event::*;
    for event in [
        SynReceived,
        CookieAccepted,
        WaitingProbed,
        WaitingTimedOut,
        BacklogEvicted,
        FlowTableFull,
        EstablishedSent,
        SegmentToHost,
        SegmentToWire,
        HostQueueFull,
        PoolEmpty,
        Fragment,
        Reassembled,
        PassiveClose,
        ActiveClose,
        HandOverTaken,
        HandOverRefused,
        HandOverIncomplete,
        RetainLetGo,
        RetainGivenUp,
        Aborted,
        Retransmitted,
        FastRetransmitted,
        TimedOut,
        DataAfterClose,
        ResetReceived,
        ResetIgnored,
        ResetSent,
        ChallengeSent,
        TimeWaitEvicted,
        TimeWaitAnswered,
        TimeWaitLimited,
        ClosedSent,
        HostRestarted,
        RestartReset,
        ChannelMalformed,
        ChannelStale,
        ChannelUnknownFlow,
    ] {
        assert!(bench.nic.counters().count(event) > 0, "{event:?} never happened");
    }
    bench.pass(1_000_000);
    bench.pass(1_000_000);
    let counters = bench.nic.counters();
    assert_eq!((counters.held(), counters.flows_in(State::Established)), (0, 0));
}

#[test]
fn the_memory_of_a_firmware_is_what_it_says() {
    let small = Config { flows_max: 100, time_wait_max: 300, retained_max: 10, ..Config::new(NIC) };
    let large = Config { flows_max: 5000, queues: 3, queue_frames: 100, ..Config::new(NIC) };
    let with_budgets = Config { network_flows_max: 10, networks_max: 1000, ..small.clone() };
    for config in [small, large, with_budgets, Config::new(NIC)] {
        let said = Firmware::<HeapFrame>::memory(&config);
        let before = BYTES.with(Cell::get);
        let nic = Firmware::<HeapFrame>::new(config, &mut SeededRng::new(1));
        assert_eq!(BYTES.with(Cell::get) - before, said);
        drop(nic);
    }
}

/// A frame as a card has it: a pointer to a buffer. Nothing is ever done with it.
struct Pointer(#[expect(dead_code, reason = "its size is what counts")] Box<u8>);

impl Frame for Pointer {
    fn bytes(&self) -> &[u8] {
        &[]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut []
    }
    fn headroom(&self) -> usize {
        0
    }
    fn tailroom(&self) -> usize {
        0
    }
    fn prepend(&mut self, _: usize) -> Option<&mut [u8]> {
        None
    }
    fn append(&mut self, _: usize) -> Option<&mut [u8]> {
        None
    }
    fn advance(&mut self, _: usize) {}
    fn truncate(&mut self, _: usize) {}
    fn reset(&mut self) {}
    fn rx_checksum(&self) -> netcore::RxChecksum {
        netcore::RxChecksum::Unknown
    }
    fn set_rx_checksum(&mut self, _: netcore::RxChecksum) {}
    fn leave_checksum(&mut self, _: ip::Version) -> bool {
        false
    }
}

#[test]
fn a_million_flows_and_four_million_ended_ones_take_less_than_512_mib() {
    let config = Config { flows_max: 1_000_000, time_wait_max: 4_000_000, ..Config::new(NIC) };
    let said = Firmware::<Pointer>::memory(&config);
    let before = BYTES.with(Cell::get);
    let nic = Firmware::<Pointer>::new(config.clone(), &mut SeededRng::new(1));
    assert_eq!(BYTES.with(Cell::get) - before, said);
    drop(nic);
    assert!(said < 512 << 20, "{} MiB", said >> 20);
    // What an entry costs, index apart, is what `Config` says.
    let with = |change: fn(&mut Config)| {
        let mut more = config.clone();
        change(&mut more);
        Firmware::<Pointer>::memory(&more) - said
    };
    assert_eq!(with(|config| config.flows_max += 64_000), 64_000 * (128 + 16) + 64_000 / 8);
    assert_eq!(with(|config| config.time_wait_max += 1000), 72_000);
    assert_eq!(with(|config| config.retained_max += 1000), 64_000);
}
