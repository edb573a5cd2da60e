mod server;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use netcore::rng::SeededRng;
use netcore::{Capabilities, HeapFrame, HeapPool};
use protocol::ethernet::Mac;
use protocol::icmpv6;

use self::server::{Fault, Server};
use super::*;
use crate::results::ErrorKind;
use crate::workload::ClosesFirst;

const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// A port whose two queues are in the test's hands.
#[derive(Default)]
struct TestPort {
    to_client: VecDeque<HeapFrame>,
    from_client: VecDeque<HeapFrame>,
    /// Takes nothing while this is set.
    blocked: bool,
}

impl Port for TestPort {
    type Frame = HeapFrame;
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(MAC, 1500)
    }
    fn receive(&mut self, into: &mut FrameQueue<HeapFrame>, max: usize) -> usize {
        let count = max.min(self.to_client.len());
        for frame in self.to_client.drain(..count) {
            into.push(frame).expect("room");
        }
        count
    }
    fn send(&mut self, from: &mut FrameQueue<HeapFrame>) -> usize {
        let count = if self.blocked { 0 } else { from.len() };
        for _ in 0..count {
            self.from_client.extend(from.pop());
        }
        count
    }
}

/// Clients, a server and the wire between them.
struct World {
    clients: Clients<HeapFrame>,
    server: Server,
    port: TestPort,
    pool: HeapPool,
    now: Instant,
    rng: SeededRng,
    /// Lost, doubled, and put behind the next frame; each per million.
    loss: u32,
    /// What the clients sent, while `record` is set.
    seen: Vec<Vec<u8>>,
    record: bool,
}

fn config() -> ClientConfig {
    let network = "198.18.0.1/24".parse().expect("an address");
    let target = SocketAddr::from((server::ADDR, server::PORT));
    ClientConfig { connections: 4, epoch_us: 0xffff_ff00 * 1000, ..ClientConfig::new(MAC, network, target) }
}

fn config_v6() -> ClientConfig {
    let network = "2001:2::1:0/64".parse().expect("an address");
    let target = SocketAddr::from((server::ADDR_V6, server::PORT));
    ClientConfig { address: network, target, ..config() }
}

fn short() -> WorkloadConfig {
    WorkloadConfig { keys: 50, get_percent: 80, ..WorkloadConfig::default() }
}

impl World {
    fn new(config: ClientConfig, workload: WorkloadConfig) -> Self {
        let server = Server::new(config.target_addr());
        let mut clients = Clients::new(config, workload);
        clients.allow(0);
        Self {
            clients,
            server,
            port: TestPort::default(),
            pool: HeapPool::new(1514, usize::MAX),
            now: Instant::ZERO,
            rng: SeededRng::new(5),
            loss: 0,
            seen: Vec::new(),
            record: false,
        }
    }

    /// One exchange; time goes on by 10 us, or to the next deadline when nobody has anything.
    fn step(&mut self) {
        let _ = self.clients.poll(&mut self.port, &mut self.pool, self.now);
        let sent = std::mem::take(&mut self.port.from_client);
        let quiet = sent.is_empty() && self.port.to_client.is_empty();
        for frame in sent {
            if self.record {
                self.seen.push(frame.bytes().to_vec());
            }
            if self.rng.chance(self.loss) {
                continue;
            }
            let answers = self.server.frame(frame.bytes(), self.now);
            self.deliver(answers);
        }
        let answers = self.server.time(Mac(MAC), self.now);
        self.deliver(answers);
        self.now += Duration::from_micros(10);
        if quiet && self.port.to_client.is_empty() {
            let due = self.clients.next_deadline();
            let due = self.server.next_deadline().map_or(due, |other| due.min(other));
            if due != Instant::FAR_FUTURE {
                self.now = self.now.max(due);
            }
        }
    }

    fn deliver(&mut self, frames: Vec<HeapFrame>) {
        for frame in frames {
            if self.rng.chance(self.loss) {
                continue;
            }
            if self.rng.chance(self.loss) {
                self.port.to_client.push_back(frame.clone());
            }
            self.port.to_client.push_back(frame);
            let len = self.port.to_client.len();
            if len > 1 && self.rng.chance(self.loss) {
                self.port.to_client.swap(len - 1, len - 2);
            }
        }
    }

    fn until(&mut self, steps: usize, done: impl Fn(&Self) -> bool) {
        for _ in 0..steps {
            if done(self) {
                return;
            }
            self.step();
        }
        panic!("not reached after {steps} steps at {} us: {:?}", self.now.micros(), self.clients.results());
    }

    /// Loads and lets the loading connections end.
    fn load(&mut self) {
        self.until(200_000, |world| world.clients.loaded() && world.clients.idle());
        self.drain();
    }

    /// What is still under way arrives.
    fn drain(&mut self) {
        for _ in 0..10 {
            self.step();
        }
    }

    /// Loads, measures `requests` and lets all connections end.
    fn complete(&mut self, requests: u64) {
        self.load();
        self.clients.begin_measuring();
        self.clients.allow(requests);
        self.until(2_000_000, |world| world.clients.settled() && world.clients.idle());
        self.drain();
    }

    fn results(&self) -> &Results {
        self.clients.results()
    }

    fn assert_clean(&self, requests: u64) {
        let results = self.results();
        assert_eq!(results.errors.total(), 0, "{:?}", results.first_error);
        assert_eq!(results.transactions, requests);
        assert_eq!(self.server.connections(), 0, "no connection is left at the server");
        assert_eq!(self.server.resets, 0);
    }
}

#[test]
fn short_connections_closed_by_the_client() {
    for config in [config(), config_v6()] {
        closed_by_the_client(config);
    }
}

fn closed_by_the_client(config: ClientConfig) {
    let mut world = World::new(config, short());
    world.complete(500);
    world.assert_clean(500);
    let results = world.results();
    assert_eq!(results.connections, 500);
    assert!(results.gets > 350 && results.sets > 50 && results.gets + results.sets == 500);
    assert_eq!(results.wire.retransmissions() + results.wire.stray + results.wire.out_of_order, 0);
    assert_eq!(world.server.time_wait.len(), 0);
    assert!(results.latency_us.max() > 0);
}

/// SYN, request with the handshake's ACK, FIN with the ACK of the reply, ACK of the server's FIN.
#[test]
fn a_short_connection_costs_four_frames() {
    let mut world = World::new(ClientConfig { connections: 1, ..config() }, short());
    world.load();
    world.clients.allow(1);
    world.record = true;
    world.until(1000, |world| world.clients.settled() && world.clients.idle());
    let flags: Vec<_> = world.seen.iter().map(|frame| Flags(frame[47])).collect();
    assert_eq!(flags, [Flags::SYN, Flags::ACK | Flags::PSH, Flags::ACK | Flags::FIN, Flags::ACK]);
}

#[test]
fn a_separate_handshake_ack_is_one_frame_more() {
    let config = ClientConfig { connections: 1, separate_ack: true, ..config() };
    let mut world = World::new(config, WorkloadConfig { load: false, get_percent: 0, ..short() });
    world.clients.allow(1);
    world.record = true;
    world.until(1000, |world| world.results().transactions == 1 && world.clients.idle());
    world.drain();
    assert_eq!(world.seen.len(), 6, "ARP and five segments");
    world.assert_clean(1);
}

#[test]
fn short_connections_closed_by_the_server_reuse_ports_in_time_wait() {
    for config in [config(), config_v6()] {
        let config = ClientConfig { ports: (40_000, 40_009), source_addresses: 2, ..config };
        let workload = WorkloadConfig { closes: ClosesFirst::Server, password: Some("x".into()), ..short() };
        let mut world = World::new(config, workload);
        world.complete(500);
        world.assert_clean(500);
        assert!(world.server.reused > 400, "{}", world.server.reused);
        assert!(world.server.time_wait.len() > 10);
    }
}

#[test]
fn persistent_connections_with_pipelining() {
    for closes in [ClosesFirst::Client, ClosesFirst::Server] {
        let workload = WorkloadConfig { pipeline: 16, requests_per_connection: None, closes, ..short() };
        let mut world = World::new(config(), workload);
        world.complete(1000);
        world.assert_clean(1000);
        assert!(world.server.accepted <= 8, "{} connections", world.server.accepted);
    }
}

#[test]
fn several_requests_per_connection() {
    let workload = WorkloadConfig { requests_per_connection: Some(5), pipeline: 2, ..short() };
    let mut world = World::new(config(), workload);
    world.complete(500);
    world.assert_clean(500);
    assert_eq!(world.results().connections, 100);
}

/// Requests and replies of many segments, a window that closes, small MSS, no options at all.
#[test]
fn large_values_both_ways() {
    for (config, mss, options, window) in [
        (config(), 1460, true, 60_000),
        (config(), 536, false, 3000),
        (config(), 100, true, 700),
        (config_v6(), 1440, true, 60_000),
        (config_v6(), 1220, false, 3000),
    ] {
        let workload = WorkloadConfig { keys: 3, value_bytes: 40_000, get_percent: 50, ..short() };
        let mut world = World::new(config, workload);
        world.server.mss = mss;
        world.server.options = options;
        world.server.window = window;
        world.complete(20);
        world.assert_clean(20);
        let headers = if options { 12 } else { 0 };
        assert_eq!(world.server.largest_payload, usize::from(mss) - headers);
    }
}

#[test]
fn loss_doubling_and_reordering_are_survived() {
    let workloads = [
        short(),
        WorkloadConfig { closes: ClosesFirst::Server, ..short() },
        WorkloadConfig { requests_per_connection: None, pipeline: 4, ..short() },
        WorkloadConfig { value_bytes: 20_000, requests_per_connection: Some(3), ..short() },
    ];
    for (at, workload) in workloads.into_iter().enumerate() {
        // Rare ports, so that they come again soon.
        let version = if at % 2 == 0 { config() } else { config_v6() };
        let config = ClientConfig { ports: (40_000, 40_015), timeout: Duration::from_secs(60), ..version };
        let mut world = World::new(config, workload);
        world.loss = 30_000;
        world.complete(400);
        let results = world.results();
        assert_eq!(results.errors.total(), 0, "workload {at}: {:?}", results.first_error);
        assert_eq!(results.transactions, 400);
        assert!(results.wire.retransmissions() > 0);
        assert!(results.wire.duplicates + results.wire.out_of_order > 0);
    }
}

fn faulty(fault: Fault) -> World {
    let mut world = World::new(config(), short());
    world.load();
    world.server.fault = fault;
    world.clients.begin_measuring();
    world.clients.allow(8);
    world.until(100_000, |world| world.clients.settled() && world.clients.idle());
    world.drain();
    world
}

#[test]
fn every_fault_is_counted_as_what_it_is() {
    for (fault, kind) in [
        (Fault::ErrorReply, ErrorKind::ErrorReply),
        (Fault::ResetOnRequest, ErrorKind::Reset),
        (Fault::CloseOnRequest, ErrorKind::ClosedEarly),
        (Fault::NoReply, ErrorKind::Timeout),
        (Fault::RefuseSyn, ErrorKind::Refused),
        (Fault::NoSynAck, ErrorKind::ConnectTimeout),
    ] {
        let world = faulty(fault);
        let results = world.results();
        assert_eq!((results.errors.of(kind), results.errors.total()), (8, 8), "{fault:?}: {results:?}");
        assert_eq!(results.transactions, 0);
        assert!(results.first_error.is_some());
        assert_eq!(world.server.connections(), 0, "{fault:?}: a RST cleans up");
    }
    let world = faulty(Fault::WrongByte);
    let results = world.results();
    assert!(results.gets == 0 && results.errors.of(ErrorKind::WrongReply) > 0);
    assert_eq!(results.errors.total() + results.sets, 8);
}

/// The next SYN's retransmission after a timeout, with backoff, is counted.
#[test]
fn an_unanswered_syn_is_sent_again_with_backoff() {
    let world = faulty(Fault::NoSynAck);
    // At 1 s and 3 s of 5 s.
    assert_eq!(world.results().wire.retransmitted_syn, 16);
}

#[test]
fn a_full_port_and_an_empty_pool_lose_nothing_for_good() {
    let workload = WorkloadConfig { value_bytes: 5000, requests_per_connection: None, ..short() };
    let mut world = World::new(config(), workload);
    world.load();
    world.clients.begin_measuring();
    world.clients.allow(u64::MAX);
    for round in 0..3000 {
        world.port.blocked = round % 7 < 5;
        world.pool.set_limit(if round % 50 == 0 { 0 } else { usize::MAX });
        world.step();
    }
    world.port.blocked = false;
    world.pool.set_limit(usize::MAX);
    world.clients.stop_issuing();
    world.until(100_000, |world| world.clients.settled() && world.clients.idle());
    let results = world.results();
    assert_eq!(results.errors.total(), 0, "{:?}", results.first_error);
    assert!(results.transactions > 100 && results.wire.no_frame > 0);
}

/// Without an ARP answer nothing but ARP is sent, again and again.
#[test]
fn it_asks_for_the_gateway_and_answers_for_all_its_addresses() {
    let network = "198.18.5.1/24".parse().expect("an address");
    let config = ClientConfig {
        address: network,
        gateway: Some(Ipv4Addr::new(198, 18, 5, 254).into()),
        source_addresses: 3,
        ..config()
    };
    let mut clients = Clients::<HeapFrame>::new(config, short());
    let (mut port, mut pool) = (TestPort::default(), HeapPool::new(1514, usize::MAX));
    let _ = clients.poll(&mut port, &mut pool, Instant::ZERO);
    let _ = clients.poll(&mut port, &mut pool, Instant::from_micros(249_999));
    assert_eq!(port.from_client.len(), 1);
    assert_eq!(clients.next_deadline(), Instant::from_micros(250_000));
    let _ = clients.poll(&mut port, &mut pool, Instant::from_micros(250_000));
    let asked = port.from_client.drain(..).next_back().expect("asked again");
    let asked = protocol::arp::Packet::parse(&asked.bytes()[14..]).expect("ARP");
    assert_eq!(asked.target_addr, Ipv4Addr::new(198, 18, 5, 254));

    for (last, answered) in [(1, true), (3, true), (4, false)] {
        let request = protocol::arp::Packet {
            operation: protocol::arp::Operation::Request,
            sender_mac: Mac([2, 0, 0, 0, 0, 9]),
            sender_addr: Ipv4Addr::new(198, 18, 5, 77),
            target_mac: Mac::default(),
            target_addr: Ipv4Addr::new(198, 18, 5, last),
        };
        let mut bytes = [0xff; 42];
        let header = protocol::ethernet::Header {
            dst: protocol::ethernet::BROADCAST,
            src: request.sender_mac,
            ether_type: EtherType::Arp,
        };
        header.emit(&mut bytes);
        request.emit(&mut bytes[14..]);
        port.to_client.push_back(HeapFrame::from_bytes(&bytes));
        let _ = clients.poll(&mut port, &mut pool, Instant::from_micros(250_001));
        assert_eq!(port.from_client.pop_front().is_some(), answered, "198.18.5.{last}");
        assert!(!clients.resolved());
    }
}

/// Asked by an address, for the detection of duplicates, from beyond the link, for somebody else.
#[test]
fn it_asks_for_an_ipv6_gateway_and_answers_for_all_its_addresses() {
    let a = |text: &str| Address::from(text.parse::<std::net::Ipv6Addr>().expect(text));
    let gateway = a("fe80::fe");
    let network = "2001:2:0:5::ffff/64".parse().expect("an address");
    let config =
        ClientConfig { address: network, gateway: Some(gateway), source_addresses: 2, ..config_v6() };
    let mut clients = Clients::<HeapFrame>::new(config, short());
    let (mut port, mut pool) = (TestPort::default(), HeapPool::new(1514, usize::MAX));
    let message = |frame: &HeapFrame| {
        let ip = protocol::ipv6::parse(&frame.bytes()[14..]).expect("IPv6");
        let message = icmpv6::parse(ip.src, ip.dst, &frame.bytes()[54..]).expect("ICMPv6");
        (ip.dst, ip.hop_limit, message)
    };
    let _ = clients.poll(&mut port, &mut pool, Instant::ZERO);
    let asked = port.from_client.pop_front().expect("asked");
    assert_eq!(asked.bytes()[..6], [0x33, 0x33, 0xff, 0, 0, 0xfe]);
    let target = icmpv6::Neighbour { target: gateway, mac: Some(Mac(MAC)), solicited: false };
    let group = a("ff02::1:ff00:fe");
    assert_eq!(message(&asked), (group, 255, icmpv6::Message::Solicitation(target)));

    let them = Mac([2, 0, 0, 0, 0, 9]);
    let mut arrives = |src: Address, target: &str, hop_limit: u8, from: usize| {
        let target = a(target);
        let group = protocol::ipv6::solicited_node(&target);
        let mut bytes = [0; 54 + icmpv6::NEIGHBOUR_LEN];
        // RFC 4861 §7.1.1: nobody has no hardware address to name.
        let len = if src == a("::") { icmpv6::NEIGHBOUR_LEN - 8 } else { icmpv6::NEIGHBOUR_LEN };
        let dst = protocol::ipv6::group_mac(&group);
        protocol::ethernet::Header { dst, src: them, ether_type: EtherType::Ipv6 }.emit(&mut bytes);
        protocol::ipv6::emit(&src, &group, 58, 0, hop_limit, len, &mut bytes[14..]);
        if from == 0 {
            icmpv6::emit_solicitation(src, group, &target, them, &mut bytes[54..]);
        } else {
            icmpv6::emit_advertisement(src, group, &target, them, true, &mut bytes[54..]);
        }
        let body = &mut bytes[54..54 + len];
        body[2..4].fill(0);
        let sum = protocol::checksum::pseudo_header(src, group, 58, len).add(body).finish();
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        port.to_client.push_back(HeapFrame::from_bytes(&bytes[..54 + len]));
        let _ = clients.poll(&mut port, &mut pool, Instant::from_micros(1));
        let answer = port.from_client.pop_front().filter(|frame| neighbour::is_icmpv6(frame.bytes()));
        let answer = answer.map(|frame| message(&frame));
        (answer, clients.resolved())
    };
    let (neighbour, nobody, all) = (a("2001:2:0:5::77"), a("::"), a("ff02::1"));
    let told = |to: Address, target: &str, solicited: bool| {
        let neighbour = icmpv6::Neighbour { target: a(target), mac: Some(Mac(MAC)), solicited };
        Some((to, 255, icmpv6::Message::Advertisement(neighbour)))
    };
    let (first, second, third) = ("2001:2:0:5::ffff", "2001:2:0:5::1:0", "2001:2:0:5::1:1");
    assert_eq!(arrives(neighbour, first, 255, 0), (told(neighbour, first, true), false));
    assert_eq!(arrives(neighbour, second, 255, 0), (told(neighbour, second, true), false));
    assert_eq!(arrives(nobody, second, 255, 0), (told(all, second, false), false));
    assert_eq!(arrives(neighbour, third, 255, 0), (None, false), "not ours");
    assert_eq!(arrives(neighbour, first, 254, 0), (None, false), "from beyond the link");
    assert_eq!(arrives(gateway, "fe80::fe", 254, 1), (None, false), "from beyond the link");
    assert_eq!(arrives(neighbour, "fe80::fd", 255, 1), (None, false), "of somebody else");
    assert!(arrives(gateway, "fe80::fe", 255, 1).1);
}

#[test]
fn garbage_is_counted_and_changes_nothing() {
    garbage(config(), 10);
    // No checksum over its header: fewer are found to be malformed, more to be foreign.
    garbage(config_v6(), 0);
}

fn garbage(config: ClientConfig, malformed_min: u64) {
    let mut world = World::new(config, short());
    world.load();
    world.clients.allow(u64::MAX);
    let mut rng = SeededRng::new(9);
    for _ in 0..20_000 {
        if let Some(frame) = world.port.to_client.front() {
            // A broken copy of a real frame goes ahead of it.
            let mut bytes = frame.bytes().to_vec();
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] ^= 1 << rng.below(8);
            bytes.truncate(bytes.len() - rng.below(3) as usize);
            let harmless = bytes[6..12] != frame.bytes()[6..12];
            if !harmless {
                world.port.to_client.push_front(HeapFrame::from_bytes(&bytes));
            }
        }
        world.step();
    }
    world.clients.stop_issuing();
    world.until(100_000, |world| world.clients.settled() && world.clients.idle());
    let results = world.results();
    assert_eq!(results.errors.total(), 0, "{:?}", results.first_error);
    assert!(
        results.wire.bad_checksum > 100
            && results.wire.malformed > malformed_min
            && results.wire.foreign > 10
    );
}

#[test]
fn a_stray_segment_for_a_port_never_used_is_reset_and_a_late_fin_is_acknowledged() {
    // The server's last FIN comes again, as if our acknowledgment was lost.
    let mut world = World::new(ClientConfig { connections: 1, ..config() }, short());
    let mut fin = None;
    for _ in 0..1000 {
        let with_fin = world.port.to_client.iter().find(|frame| {
            frame.bytes().len() > 47 && frame.bytes()[12..14] == [8, 0] && frame.bytes()[47] & 1 == 1
        });
        fin = with_fin.cloned().or(fin);
        world.step();
    }
    assert!(world.clients.idle());
    let fin = fin.expect("the server sent a FIN");
    world.port.to_client.push_back(fin.clone());
    let _ = world.clients.poll(&mut world.port, &mut world.pool, world.now);
    let answer = world.port.from_client.pop_front().expect("an answer");
    assert_eq!(answer.bytes()[47], Flags::ACK.0);
    let seq = word(fin.bytes(), 38);
    let ack = word(answer.bytes(), 42);
    assert_eq!(ack, seq.wrapping_add(1));

    let mut unused = fin.bytes().to_vec();
    unused[36..38].copy_from_slice(&65_000u16.to_be_bytes());
    protocol::tcp::fill_checksum(server::ADDR.into(), Ipv4Addr::new(198, 18, 0, 1).into(), &mut unused[34..]);
    world.port.to_client.push_back(HeapFrame::from_bytes(&unused));
    let _ = world.clients.poll(&mut world.port, &mut world.pool, world.now);
    let answer = world.port.from_client.pop_front().expect("an answer");
    assert_eq!(answer.bytes()[47], Flags::RST.0);
}

/// A client that waits for the reply to the request in this frame. `timestamps`: whether they are used.
fn unanswered(timestamps: bool) -> (World, Vec<u8>) {
    let mut world = World::new(ClientConfig { connections: 1, ..config() }, short());
    world.load();
    world.server.options = timestamps;
    world.server.fault = Fault::NoReply;
    world.clients.allow(1);
    world.record = true;
    let asked = |frame: &Vec<u8>| frame[47] & Flags::PSH.0 != 0;
    world.until(1000, |world| world.seen.iter().any(asked));
    let request = world.seen.iter().find(|frame| asked(frame)).expect("a request").clone();
    world.port.from_client.clear();
    (world, request)
}

fn word(frame: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

/// A segment from the server to the client that sent `request`.
fn from_server(request: &[u8], seq: u32, ack: u32, payload: &[u8]) -> HeapFrame {
    segment_from_server(request, (seq, ack, Flags::ACK), &[], payload)
}

/// The same with other flags and with options, whole words.
fn segment_from_server(
    request: &[u8],
    (seq, ack, flags): (u32, u32, Flags),
    options: &[u8],
    payload: &[u8],
) -> HeapFrame {
    let mut frame = request[..54].to_vec();
    frame.extend_from_slice(options);
    frame.extend_from_slice(payload);
    protocol::ethernet::Header { dst: Mac(MAC), src: server::MAC, ether_type: EtherType::Ipv4 }
        .emit(&mut frame);
    let client = "198.18.0.1".parse().expect("an address");
    let len = frame.len() - 34;
    protocol::ipv4::Header::outgoing(server::ADDR, client, 6, len).emit(&mut frame[14..]);
    frame[34..36].copy_from_slice(&request[36..38]);
    frame[36..38].copy_from_slice(&request[34..36]);
    frame[38..42].copy_from_slice(&seq.to_be_bytes());
    frame[42..46].copy_from_slice(&ack.to_be_bytes());
    frame[46..48].copy_from_slice(&[(5 + options.len() as u8 / 4) << 4, flags.0]);
    protocol::tcp::fill_checksum(server::ADDR.into(), client.into(), &mut frame[34..]);
    HeapFrame::from_bytes(&frame)
}

#[test]
fn the_timestamp_of_a_segment_outside_of_the_window_counts_for_nothing() {
    let (mut world, request) = unanswered(true);
    let (seq, ack) = (word(&request, 38), word(&request, 42));
    assert_eq!(request[54..58], [1, 1, 8, 10], "the request has timestamps");
    let (value, echo) = (word(&request, 58), word(&request, 62));
    let options = |ahead: u32| {
        let mut options = vec![1, 1, 8, 10];
        options.extend_from_slice(&echo.wrapping_add(ahead).to_be_bytes());
        options.extend_from_slice(&value.to_be_bytes());
        options
    };
    // The SYN-ACK of another clock, which comes late; then the reply.
    let late = segment_from_server(
        &request,
        (ack.wrapping_sub(1), seq, Flags::SYN | Flags::ACK),
        &options(1000),
        b"",
    );
    let end = seq.wrapping_add(request.len() as u32 - 66);
    let reply = segment_from_server(&request, (ack, end, Flags::ACK), &options(0), b"$");
    for frame in [late, reply] {
        world.port.to_client.push_back(frame);
        let _ = world.clients.poll(&mut world.port, &mut world.pool, world.now);
    }
    let answer = world.port.from_client.pop_back().expect("an answer");
    assert_eq!(word(answer.bytes(), 42), ack.wrapping_add(1), "the reply was taken");
}

#[test]
fn data_for_the_ports_connection_before_is_not_taken() {
    let (mut world, request) = unanswered(false);
    let (seq, ack) = (word(&request, 38), word(&request, 42));
    // In the window, and it acknowledges what was sent before this connection's first number.
    let old = from_server(&request, ack, seq.wrapping_sub(2), b"+WRONG\r\n");
    world.port.to_client.push_back(old);
    let _ = world.clients.poll(&mut world.port, &mut world.pool, world.now);
    assert_eq!(world.results().errors.total(), 0, "{:?}", world.results().first_error);
    let answer = world.port.from_client.pop_front().expect("an answer");
    assert_eq!(answer.bytes()[47], Flags::ACK.0);
    assert_eq!(answer.bytes()[42..46], request[42..46], "RCV.NXT stays where it was");
}

#[test]
fn two_that_disagree_do_not_answer_each_other_for_ever() {
    let (mut world, request) = unanswered(false);
    let (seq, ack) = (word(&request, 38), word(&request, 42));
    // Outside of the window, and acknowledging what was never sent.
    let segment = |seq, ack| from_server(&request, seq, ack, b"");
    for _ in 0..100 {
        world.port.to_client.push_back(segment(ack.wrapping_add(1_000_000), seq));
        world.port.to_client.push_back(segment(ack, seq.wrapping_add(1_000_000)));
        let _ = world.clients.poll(&mut world.port, &mut world.pool, world.now);
        world.now += Duration::from_millis(1);
    }
    assert_eq!(world.port.from_client.len(), 1, "one answer in half a second");
}
