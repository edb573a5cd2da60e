//! A host in another process: it dies, hangs, is cut off, and comes again.

use netcore::Duration;
use nicfw::{Config, Event, Offload, State};
use protocol::channel::{AcceptPolicy, Header, Hello, Kind, Listen, MessageFlags, Refusal};
use protocol::ethernet::{self, BROADCAST, EtherType, Mac};
use protocol::ip::Address;
use protocol::{arp, checksum, icmpv6, ipv6};

use crate::harness::*;

const SILENCE: Duration = Duration::from_secs(2);

fn watching() -> World {
    World::with(Config { host_silence: Some(SILENCE), ..config() }, listen_body())
}

/// The only message is a HELLO that knows no life of the host.
fn asks_whoever_is_there(world: &mut World) {
    let messages = world.host_messages();
    let [Msg::Hello(header, _)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((header.flags, header.epoch), (MessageFlags::default(), 0));
}

#[test]
fn a_host_whose_port_has_lost_its_other_end_is_gone() {
    let mut world = World::new();
    let held = world.connect(1);
    let closing = world.connect(2);
    world.host_close(&closing, b"bye", 1000, false);
    world.wire_segments();
    world.nic.host_link(0, true);
    world.silent();
    world.nic.host_link(0, false);
    world.pass(Duration::ZERO);
    let reset = world.one();
    assert_eq!((reset.flags, reset.client_port, reset.seq), (RST_ACK, 1, held.seq));
    assert_eq!(world.flows_in(State::FinWait1), 1, "what was handed over goes on");
    assert_eq!(world.host_messages(), [], "HELLO waits until somebody is there");
    assert!(world.nic.next_deadline().is_none_or(|at| at > world.now), "and is no work until then");
    world.nic.host_link(0, false);
    assert_eq!(world.count(Event::HostGone), 1);
    world.nic.host_link(0, true);
    world.pass(Duration::ZERO);
    asks_whoever_is_there(&mut world);
    // Started again, with a life of its own.
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(3);
    world.all_but_established_gone();
}

/// RFC 9293 §3.10.7.1 (CLOSED).
#[test]
fn while_nobody_is_there_newcomers_are_refused() {
    let mut world = World::new();
    world.nic.host_link(0, false);
    world.client(&Seg::new(SYN, 100, 0).port(7));
    let refused = world.one();
    assert_eq!((refused.flags, refused.seq, refused.ack, refused.client_port), (RST_ACK, 0, 101, 7));
    world.client(&Seg::new(PSH_ACK, 100, 5555).data(b"x"));
    let refused = world.one();
    assert_eq!((refused.flags, refused.seq), (RST, 5555));
    assert_eq!((world.count(Event::HostAbsentRefused), world.count(Event::CookieRefused)), (1, 1));
    world.client(&Seg::new(RST, 100, 0));
    let mut damaged = Seg::new(SYN, 100, 0).frame();
    damaged[50] ^= 1;
    world.wire(&damaged);
    world.silent();
    assert_eq!(world.count(Event::BadChecksum), 1);
    // What is not TCP to us waits a moment and goes.
    let mut arp = vec![0; 60];
    ethernet::Header { dst: BROADCAST, src: CLIENT_MAC, ether_type: EtherType::Arp }.emit(&mut arp);
    world.wire(&arp);
    world.nic.host_link(0, false);
    assert_eq!(world.count(Event::HostAbsentDropped), 1);
    world.silent();
    world.all_gone();
}

/// A port on which the last host did not listen.
#[test]
fn while_nobody_is_there_other_ports_are_refused_by_rst() {
    let elsewhere = Listen { port: PORT + 1, refusal: Refusal::Error, ..listen_body() };
    let mut world = World::with(config(), elsewhere);
    world.nic.host_link(0, false);
    world.client(&Seg::new(SYN, 100, 0));
    assert_eq!(world.one().flags, RST_ACK);
    assert_eq!(world.count(Event::HostAbsentRefused), 1);
}

/// docs/admission.md: `refuse error`, also for those who come while the server is away.
#[test]
fn who_comes_while_nobody_is_there_is_refused_as_the_last_host_wanted_it() {
    let told = b"-LOADING The server is away, try again later\r\n";
    let mut world = World::with(config(), Listen { refusal: Refusal::Error, ..listen_body() });
    world.connect(1);
    world.nic.host_link(0, false);
    world.pass(Duration::ZERO);
    assert_eq!(world.one().flags, RST_ACK, "what the host held");
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(2)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(2));
    world.silent();
    world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(2).data(b"PING\r\n"));
    let error = world.one();
    assert_eq!((&error.data[..], error.ack), (&told[..], 107));
    assert!(error.flags.has(FIN_ACK));
    // Kept until it is taken.
    world.pass(Duration::from_secs(1));
    assert_eq!(world.one().data, told);
    let end = iss + 2 + told.len() as u32;
    world.client(&Seg::new(FIN_ACK, 107, end).port(2));
    assert_eq!(world.one().flags, ACK);
    assert_eq!((world.count(Event::HostAbsentRefused), world.count(Event::RefusedWithError)), (1, 1));
    // The tuple is in TIME_WAIT, and used again.
    world.pass(Duration::from_secs(1));
    let again = world.syn(&Seg::new(SYN, 90_000, 0).port(2));
    world.client(&Seg::new(PSH_ACK, 90_001, again.seq + 1).port(2).data(b"PING\r\n"));
    assert_eq!(world.one().data, told);
    assert_eq!(world.host_messages(), []);

    for refusal in [Refusal::Reset, Refusal::Silence] {
        let mut world = World::with(config(), Listen { refusal, ..listen_body() });
        world.nic.host_link(0, false);
        world.client(&Seg::new(SYN, 100, 0));
        let answers: Vec<_> = world.wire_segments().iter().map(|answer| answer.flags).collect();
        let expected: &[_] = if refusal == Refusal::Reset { &[RST_ACK] } else { &[] };
        assert_eq!(answers, expected);
        // One that has shaken hands before the server went.
        world.nic.host_link(0, true);
        world.host_epoch = 501;
        world.join();
        world.listen(Listen { refusal, ..listen_body() });
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(3)).seq;
        world.nic.host_link(0, false);
        world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(3).data(b"PING\r\n"));
        let answers: Vec<_> = world.wire_segments().iter().map(|answer| answer.flags).collect();
        assert_eq!(answers, expected, "{refusal:?}");
        world.all_gone();
    }
}

#[test]
fn a_host_that_wants_to_speak_first_has_its_clients_told_at_once() {
    let listen = Listen { refusal: Refusal::Error, policy: AcceptPolicy::Immediate, ..listen_body() };
    let mut world = World::with(config(), listen);
    world.nic.host_link(0, false);
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1));
    assert!(world.one().data.starts_with(b"-LOADING"));
    world.all_gone();
}

#[test]
fn who_waits_when_the_host_comes_back_begins_anew() {
    let mut world = World::with(config(), Listen { refusal: Refusal::Error, ..listen_body() });
    world.nic.host_link(0, false);
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(4)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(4));
    world.pass(Duration::from_millis(10));
    assert_eq!((world.flows_in(State::Waiting), world.wire_segments()), (1, vec![]));
    world.nic.host_link(0, true);
    world.host_epoch = 501;
    world.join();
    assert_eq!(world.one().flags, RST_ACK);
    world.listen(listen_body());
    world.connect(4);
    world.all_but_established_gone();
}

fn arp(world: &mut World, target: core::net::Ipv4Addr) -> Vec<Vec<u8>> {
    let mut frame = vec![0; 60];
    ethernet::Header { dst: BROADCAST, src: CLIENT_MAC, ether_type: EtherType::Arp }.emit(&mut frame);
    let request = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: CLIENT_MAC,
        sender_addr: CLIENT.low_v4(),
        target_mac: Mac::default(),
        target_addr: target,
    };
    request.emit(&mut frame[ethernet::HEADER_LEN..]);
    world.wire(&frame);
    world.wire_frames()
}

/// `unspecified`: it looks whether the address is free.
fn solicit(world: &mut World, target: Address, unspecified: bool, hop_limit: u8) -> Vec<Vec<u8>> {
    let group = ipv6::solicited_node(&target);
    let src = if unspecified { core::net::Ipv6Addr::UNSPECIFIED.into() } else { CLIENT_V6 };
    let len = if unspecified { icmpv6::NEIGHBOUR_LEN - 8 } else { icmpv6::NEIGHBOUR_LEN };
    let mut message = [0; icmpv6::NEIGHBOUR_LEN];
    icmpv6::emit_solicitation(src, group, &target, CLIENT_MAC, &mut message);
    // RFC 4861 §7.1.1: nobody has no hardware address to name.
    message[2..4].fill(0);
    let sum = checksum::pseudo_header(src, group, ipv6::NEXT_ICMP, len).add(&message[..len]).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = vec![0; ethernet::HEADER_LEN + ipv6::HEADER_LEN];
    let link =
        ethernet::Header { dst: ipv6::group_mac(&group), src: CLIENT_MAC, ether_type: EtherType::Ipv6 };
    link.emit(&mut frame);
    let packet = &mut frame[ethernet::HEADER_LEN..];
    ipv6::emit(&src, &group, ipv6::NEXT_ICMP, 0, hop_limit, len, packet);
    frame.extend(&message[..len]);
    world.wire(&frame);
    world.wire_frames()
}

fn is_raw(world: &mut World) {
    let messages = world.host_messages();
    assert!(matches!(&messages[..], [Msg::Raw(_)]), "{messages:?}");
}

/// RFC 826; RFC 4861 §7.2.4: a client that has to ask hears the refusal, not "host unreachable".
#[test]
fn neighbours_are_told_where_the_host_was_while_it_is_away_and_only_then() {
    let mut world = World::new();
    world.listen(Listen { addr: SERVER_V6, ..listen_body() });
    assert_eq!(arp(&mut world, SERVER.low_v4()), [[0u8; 0]; 0]);
    is_raw(&mut world);
    assert_eq!(solicit(&mut world, SERVER_V6, false, 255), [[0u8; 0]; 0]);
    is_raw(&mut world);
    world.nic.host_link(0, false);
    let frames = arp(&mut world, SERVER.low_v4());
    let link = ethernet::Header::parse(&frames[0]).unwrap();
    assert_eq!((link.src, link.dst, link.ether_type), (NIC_MAC, CLIENT_MAC, EtherType::Arp));
    let reply = arp::Packet::parse(&frames[0][ethernet::HEADER_LEN..]).unwrap();
    assert_eq!((reply.operation, reply.sender_mac), (arp::Operation::Reply, NIC_MAC));
    assert_eq!((reply.sender_addr, reply.target_addr), (SERVER.low_v4(), CLIENT.low_v4()));
    for unspecified in [false, true] {
        let frames = solicit(&mut world, SERVER_V6, unspecified, 255);
        let link = ethernet::Header::parse(&frames[0]).unwrap();
        let ip = ipv6::parse(&frames[0][ethernet::HEADER_LEN..]).unwrap();
        let message = &frames[0][ethernet::HEADER_LEN + ipv6::HEADER_LEN..];
        let told = icmpv6::Neighbour { target: SERVER_V6, mac: Some(NIC_MAC), solicited: !unspecified };
        assert_eq!(icmpv6::parse(ip.src, ip.dst, message), Ok(icmpv6::Message::Advertisement(told)));
        assert_eq!((ip.src, ip.hop_limit), (SERVER_V6, 255));
        let all_nodes = core::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1).into();
        let to = if unspecified { all_nodes } else { CLIENT_V6 };
        let to_mac = if unspecified { ipv6::group_mac(&all_nodes) } else { CLIENT_MAC };
        assert_eq!((ip.dst, link.dst), (to, to_mac));
    }
    assert_eq!(world.count(Event::NeighbourTold), 3);
    // Not for others, nor those who are not of this link.
    assert_eq!(arp(&mut world, core::net::Ipv4Addr::new(198, 18, 0, 9)), [[0u8; 0]; 0]);
    assert_eq!(solicit(&mut world, CLIENT_V6, false, 255), [[0u8; 0]; 0]);
    assert_eq!(solicit(&mut world, SERVER_V6, false, 64), [[0u8; 0]; 0]);
    // It is back, and speaks for itself.
    world.nic.host_link(0, true);
    world.host_epoch = 501;
    world.join();
    assert_eq!(arp(&mut world, SERVER.low_v4()), [[0u8; 0]; 0]);
    is_raw(&mut world);
    assert_eq!(world.count(Event::NeighbourTold), 3);
}

#[test]
fn a_host_that_says_goodbye_is_stood_in_for_too() {
    let mut world = World::with(Config { listeners_max: 1, ..config() }, listen_body());
    let mut body = [0; Listen::LEN];
    listen_body().emit(&mut body);
    world.tell(0, Header::new(Kind::Unlisten, world.nic_epoch), &[&body]);
    // As long as it is there, it is asked.
    arp(&mut world, SERVER.low_v4());
    is_raw(&mut world);
    world.nic.host_link(0, false);
    assert_eq!(arp(&mut world, SERVER.low_v4()).len(), 1);
    world.client(&Seg::new(SYN, 100, 0));
    assert_eq!(world.one().flags, RST_ACK);
    // What is only remembered is in nobody's way.
    world.nic.host_link(0, true);
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.tell(0, Header::new(Kind::Unlisten, world.nic_epoch), &[&body]);
    world.listen(Listen { port: PORT + 1, ..listen_body() });
    world.all_gone();
}

#[test]
fn a_silent_host_is_given_up_and_may_come_back() {
    let mut world = watching();
    world.connect(1);
    for _ in 0..4 {
        world.pass(Duration::from_millis(1900));
        world.hello(0);
        world.host_messages();
    }
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (1, 0));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.one().flags, RST_ACK);
    assert_eq!((world.nic.counters().flows(), world.count(Event::HostSilent)), (0, 1));
    asks_whoever_is_there(&mut world);
    world.client(&Seg::new(SYN, 100, 0).port(7));
    assert_eq!(world.one().flags, RST_ACK, "refused");
    // It was only stopped, and does not know yet: its messages and its old epoch count for nothing.
    world.hello(0);
    asks_whoever_is_there(&mut world);
    world.pass(Duration::from_millis(100));
    world.hello(0);
    asks_whoever_is_there(&mut world);
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(2);
    assert_eq!(world.count(Event::HostRestarted), 0);
}

#[test]
fn time_away_is_not_the_hosts_silence() {
    let mut world = watching();
    world.connect(1);
    // The whole process was stopped: no round in all that time.
    world.now += Duration::from_secs(100);
    world.nic.timer(&mut world.pool, world.now);
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (1, 0));
    world.pass(Duration::from_secs(3));
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (0, 1));
}

/// Several queues of one stack are silent together, those of others alone.
#[test]
fn silence_is_of_a_life_not_of_a_queue() {
    let mut world = World::bare(Config { queues: 3, host_silence: Some(SILENCE), ..config() });
    world.hello(0);
    world.hello(1);
    world.host_epoch = 600;
    world.hello(2);
    for _ in 0..4 {
        world.pass(Duration::from_secs(1));
        world.host_epoch = 500;
        world.hello(1);
    }
    assert_eq!(world.count(Event::HostSilent), 1, "that of queue 2");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.count(Event::HostSilent), 2, "queues 0 and 1 are one life");
}

/// A CLOSE, or an ABORT, never came: the host has forgotten a flow that is still held here for it.
#[test]
fn a_host_whose_news_were_lost_begins_anew() {
    let mut world = watching();
    let held = world.connect(1);
    let closing = world.connect(2);
    world.host_close(&closing, b"bye", 1000, false);
    world.wire_segments();
    world.host_messages();
    // Nothing is missing.
    world.hello(0);
    world.host_messages();
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostNewsLost)), (1, 0));
    world.news += 1;
    world.hello(0);
    world.pass(Duration::ZERO);
    let reset = world.one();
    assert_eq!((reset.flags, reset.client_port, reset.seq), (RST_ACK, 1, held.seq));
    assert_eq!(world.flows_in(State::FinWait1), 1, "what was handed over goes on");
    asks_whoever_is_there(&mut world);
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(3);
    world.hello(0);
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostNewsLost)), (1, 1));
}

#[test]
fn the_firmware_says_how_much_news_there_was() {
    let mut world = World::new();
    world.connect(1);
    let news = |world: &mut World| {
        world.hello(0);
        let messages = world.host_messages();
        let hello = messages.iter().find_map(|message| match message {
            Msg::Hello(_, hello) => Some(hello.news),
            _ => None,
        });
        hello.unwrap()
    };
    assert_eq!(news(&mut world), 1, "ESTABLISHED");
    world.client(&Seg::new(RST, 106, 0).port(1));
    assert_eq!(news(&mut world), 2, "CLOSED");
}

#[test]
fn a_plain_card_says_hello_and_nothing_else() {
    let config = Config { offload: Offload::None, queues: 2, rx_partial_checksum: true, ..config() };
    let mut world = World::bare(config);
    let frames = |world: &mut World, queue| {
        for port in 1..=16 {
            world.client(&Seg::new(SYN, 100, 0).port(port));
        }
        world.queue_messages(queue).len()
    };
    assert_eq!(world.host_messages(), [], "it does not greet");
    let before = frames(&mut world, 0);
    assert!((1..16).contains(&before), "all queues take part while nobody has said anything: {before}");
    world.queue_messages(1);
    world.hello(0);
    let messages = world.host_messages();
    let [Msg::Hello(header, hello)] = &messages[..] else { panic!("{messages:?}") };
    assert!(header.flags.has(MessageFlags::REPLY));
    assert_eq!((hello.features, hello.mac, hello.mtu), (Hello::PARTIAL_CHECKSUM, NIC_MAC, 1500));
    assert_eq!(frames(&mut world, 0), 16, "from HELLO on a queue takes part, the other does not");
    let mut body = [0; protocol::channel::Listen::LEN];
    listen_body().emit(&mut body);
    world.tell(0, protocol::channel::Header::new(Kind::Listen, hello.epoch), &[&body]);
    world.silent();
    assert_eq!(world.count(Event::ChannelMalformed), 1);
    // A new life has nothing to be swept up after.
    world.host_epoch = 501;
    world.hello(0);
    world.host_messages();
    assert_eq!((world.count(Event::HostRestarted), world.nic.next_deadline()), (1, None));
}
