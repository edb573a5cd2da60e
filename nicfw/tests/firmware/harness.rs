//! A firmware, a client on its wire and a host on its queues, frame by frame.

use std::net::{Ipv4Addr, Ipv6Addr};

use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FrameQueue, HeapFrame, HeapPool, Instant};
use nicfw::{Config, Event, Firmware, State};
use protocol::channel::{
    self, Abort, AcceptPolicy, Close, Closed, ClosedEntry, ClosedReason, Established, FlowId, Header, Hello,
    Kind, Listen, ListenStatus, MessageFlags, Refusal,
};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address};
use protocol::ipv4;
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};

pub const NIC_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub const SERVER: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 2));
pub const CLIENT: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 1));
pub const SERVER_V6: Address = Address::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2));
pub const CLIENT_V6: Address = Address::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1));
pub const PORT: u16 = 6379;
pub const HANDLE: u32 = 77;

pub const SYN: Flags = Flags::SYN;
pub const ACK: Flags = Flags::ACK;
pub const PSH_ACK: Flags = Flags(0x18);
pub const FIN_ACK: Flags = Flags(0x11);
pub const SYN_ACK: Flags = Flags(0x12);
pub const RST: Flags = Flags::RST;
pub const RST_ACK: Flags = Flags(0x14);

/// A segment, from or to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seg {
    pub flags: Flags,
    pub seq: u32,
    pub ack: u32,
    pub window: u16,
    pub options: Options,
    pub data: Vec<u8>,
    pub client: Address,
    pub client_port: u16,
    pub client_mac: Mac,
}

impl Seg {
    pub fn new(flags: Flags, seq: u32, ack: u32) -> Self {
        Self {
            flags,
            seq,
            ack,
            window: 1000,
            options: Options::default(),
            data: Vec::new(),
            client: CLIENT,
            client_port: 40_000,
            client_mac: CLIENT_MAC,
        }
    }
    pub fn data(mut self, data: &[u8]) -> Self {
        self.data = data.to_vec();
        self
    }
    pub fn ts(mut self, value: u32, echo: u32) -> Self {
        self.options.timestamps = Some(Timestamps { value, echo });
        self
    }
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
    pub fn window(mut self, window: u16) -> Self {
        self.window = window;
        self
    }
    pub fn port(mut self, port: u16) -> Self {
        self.client_port = port;
        self
    }
    pub fn from(mut self, client: Address) -> Self {
        self.client = client;
        self
    }
    fn packet(&self, from_client: bool) -> Vec<u8> {
        let server = if self.client.is_v4() { SERVER } else { SERVER_V6 };
        let (src, dst) = if from_client { (self.client, server) } else { (server, self.client) };
        let (src_port, dst_port) =
            if from_client { (self.client_port, PORT) } else { (PORT, self.client_port) };
        let len = tcp::HEADER_LEN + self.options.emitted_len() + self.data.len();
        let ip_len = ip::header_len(src.version());
        let mut out = vec![0; ip_len + len];
        ip::emit(&src, &dst, ipv4::PROTOCOL_TCP, 0, len, &mut out);
        let header = tcp::Header {
            src_port,
            dst_port,
            seq: SeqNumber(self.seq),
            ack: SeqNumber(self.ack),
            flags: self.flags,
            window: self.window,
            urgent: 0,
            header_len: 0,
        };
        let segment = &mut out[ip_len..];
        let at = header.emit(&self.options, segment);
        segment[at..].copy_from_slice(&self.data);
        tcp::fill_checksum(src, dst, segment);
        out
    }
    /// As it comes from the client, padded to Ethernet's minimum.
    pub fn frame(&self) -> Vec<u8> {
        let mut out = vec![0; 14];
        let ether_type = ip::ether_type(self.client.version());
        ethernet::Header { dst: NIC_MAC, src: self.client_mac, ether_type }.emit(&mut out);
        out.extend(self.packet(true));
        out.resize(out.len().max(60), 0);
        out
    }
}

/// A frame that the firmware sent to the wire: everything about it is checked.
pub fn sent(bytes: &[u8]) -> Seg {
    let link = ethernet::Header::parse(bytes).unwrap();
    let (client, client_port, segment, header) = packet(&bytes[14..], false);
    assert_eq!((link.src, link.ether_type), (NIC_MAC, ip::ether_type(client.version())));
    Seg { client_mac: link.dst, ..seg_of(client, client_port, &segment, &header) }
}

fn packet(bytes: &[u8], from_client: bool) -> (Address, u16, Vec<u8>, tcp::Header) {
    let ip = ip::Header::parse(bytes).unwrap();
    assert_eq!(ip.total_len, bytes.len(), "padding behind the packet");
    let segment = &bytes[ip.header_len..];
    assert!(tcp::verify_checksum(ip.src, ip.dst, segment, false), "TCP checksum");
    let header = tcp::Header::parse(segment).unwrap();
    let (client, server, client_port, port) = if from_client {
        (ip.src, ip.dst, header.src_port, header.dst_port)
    } else {
        (ip.dst, ip.src, header.dst_port, header.src_port)
    };
    assert_eq!((server, port), (if client.is_v4() { SERVER } else { SERVER_V6 }, PORT));
    (client, client_port, segment.to_vec(), header)
}

fn seg_of(client: Address, client_port: u16, segment: &[u8], header: &tcp::Header) -> Seg {
    Seg {
        flags: header.flags,
        seq: header.seq.0,
        ack: header.ack.0,
        window: header.window,
        options: header.options(segment),
        data: segment[header.header_len..].to_vec(),
        client,
        client_port,
        client_mac: CLIENT_MAC,
    }
}

/// A frame that the firmware sent to the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Msg {
    Raw(Vec<u8>),
    Hello(Header, Hello),
    Listen(Header, Listen),
    Established(Header, Established, Option<Seg>),
    Segment(Header, Seg),
    Closed(Vec<ClosedEntry>),
    IcmpError(Header, Vec<u8>),
}

pub fn message(bytes: &[u8]) -> Msg {
    let link = ethernet::Header::parse(bytes).unwrap();
    if link.ether_type != EtherType::Channel {
        return Msg::Raw(bytes.to_vec());
    }
    let (header, body) = Header::parse(&bytes[14..]).unwrap();
    assert_eq!(bytes.len(), 14 + channel::HEADER_LEN + body.len());
    let segment = |bytes: &[u8]| {
        assert!(header.flags.has(MessageFlags::CHECKSUM_GOOD));
        let (client, client_port, segment, tcp) = packet(bytes, true);
        seg_of(client, client_port, &segment, &tcp)
    };
    match header.kind {
        Kind::Hello => Msg::Hello(header, Hello::parse(body).unwrap()),
        Kind::Listen => Msg::Listen(header, Listen::parse(body).unwrap()),
        Kind::Established => {
            let (established, rest) = Established::parse(body).unwrap();
            assert_eq!(header.flags.has(MessageFlags::FIRST_DATA), !rest.is_empty());
            Msg::Established(header, established, (!rest.is_empty()).then(|| segment(rest)))
        }
        Kind::Segment => Msg::Segment(header, segment(body)),
        Kind::Closed => Msg::Closed(Closed::parse(body).unwrap().entries().collect()),
        Kind::IcmpError => Msg::IcmpError(header, body.to_vec()),
        Kind::Unlisten | Kind::Close | Kind::Abort => panic!("{header:?} to the host"),
    }
}

pub struct World {
    pub nic: Firmware<HeapFrame>,
    pub pool: HeapPool,
    pub now: Instant,
    pub host_epoch: u32,
    pub nic_epoch: u32,
    /// News that the host has said, all queues together: only one of them speaks.
    pub news: u32,
    /// Leave TCP checksums of the host's segments to the firmware.
    pub checksum_needed: bool,
    /// Everybody speaks IPv6, unless a segment says whom it is from.
    pub v6: bool,
    /// What was sent while time passed.
    wire_log: Vec<Vec<u8>>,
    host_logs: Vec<Vec<Vec<u8>>>,
}

fn drain(queue: &mut FrameQueue<HeapFrame>) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| queue.pop()).map(|frame| frame.bytes().to_vec()).collect()
}

/// Small tables, everything else as by default.
pub fn config() -> Config {
    Config { flows_max: 64, time_wait_max: 64, retained_max: 8, queue_frames: 64, ..Config::new(NIC_MAC) }
}

pub fn listen_body() -> Listen {
    Listen {
        addr: SERVER,
        port: PORT,
        policy: AcceptPolicy::Deferred,
        mss: 1460,
        window_scale: 7,
        status: ListenStatus::Unanswered,
        window: 64_000,
        backlog: 32,
        connections_max: 0,
        refusal: Refusal::Reset,
    }
}

impl World {
    /// Before any HELLO.
    pub fn bare(config: Config) -> Self {
        let queues = config.queues;
        let nic = Firmware::new(config, &mut SeededRng::new(42));
        let mut world = Self {
            nic,
            pool: HeapPool::new(2048, usize::MAX),
            now: Instant::from_micros(1_000_000_000),
            host_epoch: 500,
            nic_epoch: 0,
            news: 0,
            checksum_needed: false,
            v6: false,
            wire_log: Vec::new(),
            host_logs: vec![Vec::new(); queues],
        };
        world.pass(Duration::ZERO);
        world
    }

    /// Every queue has said HELLO and queue 0 listens.
    pub fn with(config: Config, listen: Listen) -> Self {
        let mut world = Self::bare(config);
        world.join();
        world.listen(listen);
        world
    }

    pub fn new() -> Self {
        Self::with(config(), listen_body())
    }

    /// The same over IPv6.
    pub fn new_v6() -> Self {
        let mut world = Self::with(config(), Listen { addr: SERVER_V6, mss: 1440, ..listen_body() });
        world.v6 = true;
        world
    }

    fn of_this_world(&self, segment: &Seg) -> Seg {
        let client = if self.v6 && segment.client == CLIENT { CLIENT_V6 } else { segment.client };
        segment.clone().from(client)
    }

    pub fn join(&mut self) {
        for queue in 0..self.nic.config().queues {
            self.hello(queue);
            let answer = self.queue_messages(queue).pop();
            let Some(Msg::Hello(header, hello)) = answer else { panic!("no answer to HELLO: {answer:?}") };
            assert!(header.flags.has(MessageFlags::REPLY));
            assert_eq!(header.epoch, self.host_epoch);
            self.nic_epoch = hello.epoch;
        }
    }

    pub fn hello(&mut self, queue: usize) {
        let mut body = [0; Hello::LEN];
        Hello { news: self.news, ..Hello::new(self.host_epoch, 1) }.emit(&mut body);
        self.tell(queue, Header::new(Kind::Hello, self.nic_epoch), &[&body]);
    }

    pub fn listen(&mut self, listen: Listen) {
        self.listen_on(0, listen);
    }

    pub fn listen_on(&mut self, queue: usize, listen: Listen) {
        let mut body = [0; Listen::LEN];
        listen.emit(&mut body);
        self.tell(queue, Header::new(Kind::Listen, self.nic_epoch), &[&body]);
        let answer = self.queue_messages(queue);
        let [Msg::Listen(header, listen)] = &answer[..] else { panic!("{answer:?}") };
        assert!(header.flags.has(MessageFlags::REPLY));
        assert_eq!(listen.status, ListenStatus::Accepted);
    }

    /// Gives the firmware a message of the host.
    pub fn tell(&mut self, queue: usize, header: Header, body: &[&[u8]]) {
        let body = body.concat();
        self.news += u32::from(header.kind.is_news());
        let mut out = vec![0; 14 + channel::HEADER_LEN];
        channel::emit_ethernet(NIC_MAC, NIC_MAC, &mut out);
        header.emit(body.len(), &mut out[14..]);
        out.extend(body);
        self.nic.host_frame(queue, HeapFrame::from_bytes(&out), &mut self.pool, self.now);
        self.nic.timer(&mut self.pool, self.now);
    }

    /// Gives the firmware a frame from the wire.
    pub fn wire(&mut self, bytes: &[u8]) {
        self.nic.wire_frame(HeapFrame::from_bytes(bytes), &mut self.pool, self.now);
        self.nic.timer(&mut self.pool, self.now);
    }

    pub fn client(&mut self, segment: &Seg) {
        self.wire(&self.of_this_world(segment).frame());
    }

    /// Time passes; whatever is due is done when it is due, and sent.
    pub fn pass(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.nic.timer(&mut self.pool, self.now);
            self.wire_log.extend(drain(self.nic.wire_output()));
            for (queue, log) in self.host_logs.iter_mut().enumerate() {
                log.extend(drain(self.nic.host_output(queue)));
            }
            let Some(next) = self.nic.next_deadline().filter(|&next| next <= end) else { break };
            // What can be done at once but is not done (no frames) is tried again later.
            let stuck = next <= self.now && span != Duration::ZERO;
            self.now = if stuck { self.now + Duration::from_millis(1) } else { next.max(self.now) };
            if span == Duration::ZERO {
                break;
            }
        }
        self.now = self.now.max(end);
        self.nic.timer(&mut self.pool, self.now);
    }

    pub fn wire_frames(&mut self) -> Vec<Vec<u8>> {
        let mut frames = std::mem::take(&mut self.wire_log);
        frames.extend(drain(self.nic.wire_output()));
        frames
    }

    pub fn wire_segments(&mut self) -> Vec<Seg> {
        self.wire_frames().iter().map(|bytes| sent(bytes)).collect()
    }

    /// Exactly one segment was sent to the wire.
    pub fn one(&mut self) -> Seg {
        let mut segments = self.wire_segments();
        assert_eq!(segments.len(), 1, "{segments:?}");
        segments.remove(0)
    }

    pub fn queue_messages(&mut self, queue: usize) -> Vec<Msg> {
        let mut frames = std::mem::take(&mut self.host_logs[queue]);
        frames.extend(drain(self.nic.host_output(queue)));
        frames.iter().map(|bytes| message(bytes)).collect()
    }

    pub fn host_messages(&mut self) -> Vec<Msg> {
        self.queue_messages(0)
    }

    pub fn count(&self, event: Event) -> u64 {
        self.nic.counters().count(event)
    }

    pub fn flows_in(&self, state: State) -> u64 {
        self.nic.counters().flows_in(state)
    }

    /// Nothing to anybody.
    pub fn silent(&mut self) {
        assert_eq!(self.wire_segments(), []);
        assert_eq!(self.host_messages(), []);
    }

    /// After long enough, nothing is left of anything.
    pub fn all_gone(&mut self) {
        self.pass(Duration::from_secs(1000));
        for queue in 0..self.nic.config().queues {
            self.queue_messages(queue);
        }
        self.wire_frames();
        let held: Vec<_> = self
            .nic
            .counters()
            .iter()
            .filter(|(name, _, value)| {
                *value != 0 && name.ends_with("_now") && *name != "listeners_now"
                    || name.starts_with("flows_") && *value != 0
            })
            .collect();
        assert_eq!(held, []);
        assert_eq!(self.nic.counters().held(), 0);
    }

    /// As [`Self::all_gone`], for connections that the host still holds.
    pub fn all_but_established_gone(&mut self) {
        self.pass(Duration::from_secs(1000));
        self.wire_frames();
        assert_eq!(self.nic.counters().held(), self.flows_in(State::Established));
    }

    /// SYN and SYN-ACK; returns our initial sequence number.
    pub fn syn(&mut self, syn: &Seg) -> Seg {
        self.client(syn);
        let answer = self.one();
        assert_eq!(answer.flags, SYN_ACK);
        assert_eq!(answer.ack, syn.seq.wrapping_add(1));
        answer
    }

    /// A connection without options in ESTABLISHED, after "hello" from the client (5 bytes from
    /// sequence 101 on).
    pub fn connect(&mut self, port: u16) -> Conn {
        let iss = self.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        self.client(&Seg::new(ACK, 101, iss + 1).port(port));
        assert_eq!(self.wire_segments(), []);
        self.client(&Seg::new(PSH_ACK, 101, iss + 1).port(port).data(b"hello"));
        let messages = self.host_messages();
        let [Msg::Established(header, established, Some(first))] = &messages[..] else {
            panic!("{messages:?}")
        };
        assert_eq!(first.data, b"hello");
        assert_eq!(established.snd_nxt, SeqNumber(iss + 1));
        Conn { flow: header.flow, seq: iss + 1, ack: 106, port }
    }

    /// [`Self::connect`], whatever was sent before.
    pub fn connect_quietly(&mut self, port: u16) -> Conn {
        self.wire_frames();
        self.host_messages();
        self.connect(port)
    }

    /// The host sends a segment.
    pub fn host_segment(&mut self, conn: &mut Conn, flags: Flags, data: &[u8], idle: bool) {
        let segment = Seg::new(flags, conn.seq, conn.ack).port(conn.port).window(500).data(data);
        let flags = if idle { MessageFlags::IDLE } else { MessageFlags::default() };
        let (flags, packet) = self.checksummed(flags, self.of_this_world(&segment).packet(false));
        let header = Header { flags, ..conn.header(Kind::Segment, self.nic_epoch) };
        self.tell(0, header, &[&packet]);
        conn.seq = conn.seq.wrapping_add(data.len() as u32);
    }

    /// The stack of a queue sends a segment that is not its last.
    pub fn host_segment_on(&mut self, queue: usize, conn: &Conn, segment: &Seg) {
        self.tell(queue, conn.header(Kind::Segment, self.nic_epoch), &[&segment.packet(false)]);
    }

    /// The host sends its last segment for now, and waits for the peer.
    pub fn host_segment_idle(&mut self, conn: &Conn, segment: &Seg) {
        let header = Header { flags: MessageFlags::IDLE, ..conn.header(Kind::Segment, self.nic_epoch) };
        self.tell(0, header, &[&segment.packet(false)]);
    }

    /// The host hands over its last data and FIN.
    pub fn host_close(&mut self, conn: &Conn, data: &[u8], snd_wnd: u32, peer_finished: bool) {
        let segment = Seg::new(FIN_ACK, conn.seq, conn.ack).port(conn.port).window(500).data(data);
        self.host_close_segment(conn, &segment, snd_wnd, peer_finished);
    }

    /// [`Self::host_close`] with any segment.
    pub fn host_close_segment(&mut self, conn: &Conn, segment: &Seg, snd_wnd: u32, peer_finished: bool) {
        let mut body = [0; Close::LEN];
        close_body(conn, snd_wnd).emit(&mut body);
        let flags = if peer_finished { MessageFlags::PEER_FINISHED } else { MessageFlags::default() };
        let (flags, packet) = self.checksummed(flags, self.of_this_world(segment).packet(false));
        let header = Header { flags, ..conn.header(Kind::Close, self.nic_epoch) };
        self.tell(0, header, &[&body, &packet]);
    }

    /// [`Self::host_close`] in a packet that routers may fragment, with this identification.
    pub fn host_close_fragmentable(&mut self, conn: &Conn, data: &[u8], ident: u16) {
        let mut packet =
            Seg::new(FIN_ACK, conn.seq, conn.ack).port(conn.port).window(500).data(data).packet(false);
        ipv4::allow_fragments(&mut packet, ident);
        let mut body = [0; Close::LEN];
        close_body(conn, 5000).emit(&mut body);
        self.tell(0, conn.header(Kind::Close, self.nic_epoch), &[&body, &packet]);
    }

    /// The host hands over a piece of what begins at `close.snd_una`, and keeps the flow.
    pub fn host_piece(&mut self, conn: &Conn, close: &Close, seq: u32, data: &[u8], more: bool) {
        self.host_piece_with(conn, close, seq, data, more, MessageFlags::default());
    }

    /// [`Self::host_piece`] with these flags too.
    pub fn host_piece_with(
        &mut self,
        conn: &Conn,
        close: &Close,
        seq: u32,
        data: &[u8],
        more: bool,
        extra: MessageFlags,
    ) {
        let flags = if more { ACK } else { FIN_ACK };
        let segment = Seg::new(flags, seq, conn.ack).port(conn.port).window(500).data(data);
        let mut body = [0; Close::LEN];
        close.emit(&mut body);
        let more = if more { MessageFlags::MORE } else { MessageFlags::default() };
        let flags = MessageFlags::KEPT | more | extra;
        let header = Header { flags, ..conn.header(Kind::Close, self.nic_epoch) };
        let packet = self.of_this_world(&segment).packet(false);
        self.tell(0, header, &[&body, &packet]);
    }

    /// [`Self::host_close`] with the checksum left to the firmware.
    pub fn host_close_unchecked(&mut self, conn: &Conn, data: &[u8], snd_wnd: u32) {
        self.checksum_needed = true;
        self.host_close(conn, data, snd_wnd, false);
        self.checksum_needed = false;
    }

    fn checksummed(&self, flags: MessageFlags, mut packet: Vec<u8>) -> (MessageFlags, Vec<u8>) {
        if !self.checksum_needed {
            return (flags, packet);
        }
        let tcp_at = ip::Header::parse(&packet).unwrap().header_len;
        packet[tcp_at + 16..tcp_at + 18].copy_from_slice(&[0xde, 0xad]);
        (flags | MessageFlags::CHECKSUM_NEEDED, packet)
    }

    pub fn host_abort(&mut self, conn: &Conn) {
        let mut body = [0; Abort::LEN];
        Abort { snd_nxt: SeqNumber(conn.seq), rcv_nxt: SeqNumber(conn.ack) }.emit(&mut body);
        self.tell(0, conn.header(Kind::Abort, self.nic_epoch), &[&body]);
    }

    pub fn closed(&mut self) -> Vec<(FlowId, u32, ClosedReason)> {
        let messages = self.host_messages();
        messages
            .iter()
            .flat_map(|message| match message {
                Msg::Closed(entries) => entries.clone(),
                other => panic!("{other:?}"),
            })
            .map(|entry| (entry.flow, entry.handle, entry.reason))
            .collect()
    }
}

/// The host's state of a connection with nothing in flight.
pub fn close_body(conn: &Conn, snd_wnd: u32) -> Close {
    Close {
        snd_wnd,
        rto_us: 250_000,
        rcv_nxt: SeqNumber(conn.ack),
        ts_recent: 0,
        cwnd: 14_600,
        snd_una: SeqNumber(conn.seq),
    }
}

/// A connection as the host sees it: what it will send and acknowledge next.
#[derive(Clone, Debug)]
pub struct Conn {
    pub flow: FlowId,
    pub seq: u32,
    pub ack: u32,
    pub port: u16,
}

impl Conn {
    pub fn header(&self, kind: Kind, epoch: u32) -> Header {
        Header { flow: self.flow, handle: HANDLE, ..Header::new(kind, epoch) }
    }
}
