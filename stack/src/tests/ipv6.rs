//! IPv6: neighbours, ICMPv6, extension headers, and TCP over it.

use alloc::vec::Vec;
use core::net::{Ipv6Addr, SocketAddrV6};

use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Message, NEIGHBOUR_LEN, Neighbour};
use protocol::ip::{self, Address};
use protocol::ipv6::{self, NEXT_ICMP};
use protocol::tcp::Options;

use super::harness::*;
use crate::{EndReason, Next, State};

fn us() -> Address {
    US_V6.into()
}

fn peer() -> Address {
    PEER_V6.into()
}

/// A frame with an ICMPv6 message, whatever its checksum was.
fn icmp(src: Address, dst: Address, hop_limit: u8, message: &[u8]) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let sum = protocol::checksum::pseudo_header(src, dst, NEXT_ICMP, message.len()).add(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut bytes = alloc::vec![0; 54];
    let to = if dst.is_group() { ipv6::group_mac(&dst) } else { OUR_MAC };
    ethernet::Header { dst: to, src: PEER_MAC, ether_type: EtherType::Ipv6 }.emit(&mut bytes);
    ipv6::emit(&src, &dst, NEXT_ICMP, 0, hop_limit, message.len(), &mut bytes[14..]);
    bytes.extend_from_slice(&message);
    bytes
}

fn solicitation(src: Address, target: Address, mac: Option<Mac>) -> Vec<u8> {
    let group = ipv6::solicited_node(&target);
    let mut message = [0; NEIGHBOUR_LEN];
    icmpv6::emit_solicitation(src, group, &target, mac.unwrap_or_default(), &mut message);
    let len = if mac.is_some() { NEIGHBOUR_LEN } else { 24 };
    icmp(src, group, 255, &message[..len])
}

fn advertisement(target: Address, mac: Mac) -> Vec<u8> {
    let mut message = [0; NEIGHBOUR_LEN];
    icmpv6::emit_advertisement(target, us(), &target, mac, true, &mut message);
    icmp(target, us(), 255, &message)
}

/// What an ICMPv6 frame of ours says: to which MAC and address, and the message.
fn read(frame: &[u8]) -> (Mac, Address, Message) {
    let link = ethernet::Header::parse(frame).unwrap();
    assert_eq!((link.src, link.ether_type), (OUR_MAC, EtherType::Ipv6));
    let ip = ip::Header::parse(&frame[14..]).unwrap();
    assert_eq!(ip.protocol, NEXT_ICMP);
    (link.dst, ip.dst, icmpv6::parse(ip.src, ip.dst, &frame[14 + ip.header_len..]).unwrap())
}

#[test]
fn a_connection_from_its_beginning_to_its_end() {
    let mut h = Harness::new(config_v6());
    h.inject(&seg(S, 0, 0, b"").options(Options { mss: Some(1440), ..Options::default() }));
    let answer = h.take();
    assert_eq!(answer[0].options.mss, Some(1440), "an MTU of 1500 without 60 bytes of headers");
    h.iss = answer[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    h.app.reply = b"pong".to_vec();
    h.inject(&seg(A | P, 1, 1, b"ping"));
    h.expect(&["PA 1+4 5"]);
    h.inject(&seg(A | F, 5, 5, b""));
    h.expect(&["FA 5+0 6"]);
    h.inject(&seg(A, 6, 6, b""));
    assert_eq!(h.app.seen, b"ping");
    h.assert_empty();
}

#[test]
fn neighbours_are_told_where_our_addresses_are() {
    let mut h = Harness::new(config_v6());
    let link_local = ipv6::link_local(OUR_MAC);
    for target in [us(), link_local] {
        h.put_frame(&solicitation(peer(), target, Some(PEER_MAC)));
        h.poll();
        let frames = h.take_frames();
        let told = Neighbour { target, mac: Some(OUR_MAC), solicited: true };
        assert_eq!(frames.len(), 1, "{target}");
        assert_eq!(read(&frames[0]), (PEER_MAC, peer(), Message::Advertisement(told)));
    }
    // Somebody looks whether the address is free (RFC 4862 §5.4.3): all nodes are told.
    h.put_frame(&solicitation(Ipv6Addr::UNSPECIFIED.into(), us(), None));
    h.poll();
    let all_nodes: Address = "ff02::1".parse::<Ipv6Addr>().unwrap().into();
    let told = Neighbour { target: us(), mac: Some(OUR_MAC), solicited: false };
    let expected = (Mac([0x33, 0x33, 0, 0, 0, 1]), all_nodes, Message::Advertisement(told));
    assert_eq!(read(&h.take_frames()[0]), expected);
}

#[test]
fn nobody_from_beyond_the_link_and_nothing_malformed_is_answered() {
    let mut h = Harness::new(config_v6());
    let good = solicitation(peer(), us(), Some(PEER_MAC));
    let mut far = good.clone();
    far[14 + 7] = 254;
    h.put_frame(&far);
    h.put_frame(&solicitation(peer(), peer(), Some(PEER_MAC)));
    h.put_frame(&solicitation(us(), us(), Some(PEER_MAC)));
    h.put_frame(&solicitation(peer(), us(), Some(Mac([3; 6]))));
    h.put_frame(&solicitation(Ipv6Addr::UNSPECIFIED.into(), us(), Some(PEER_MAC)));
    h.poll();
    assert!(h.take_frames().is_empty());
}

#[test]
fn an_active_open_asks_for_its_neighbour() {
    let mut h = Harness::new(config_v6());
    (h.our_port, h.peer_port) = (50_000, 7);
    let remote = SocketAddrV6::new(PEER_V6, 7, 0, 0);
    h.stack.connect_from(50_000, remote, h.now).unwrap();
    h.poll();
    let frames = h.take_frames();
    let group = ipv6::solicited_node(&peer());
    let asked = Neighbour { target: peer(), mac: Some(OUR_MAC), solicited: false };
    assert_eq!(read(&frames[0]), (ipv6::group_mac(&group), group, Message::Solicitation(asked)));
    // Answers about others, and the same one twice, change nothing.
    h.put_frame(&advertisement("2001:2::66".parse::<Ipv6Addr>().unwrap().into(), Mac([6; 6])));
    h.poll();
    assert!(h.take_frames().is_empty());
    h.put_frame(&advertisement(peer(), PEER_MAC));
    h.put_frame(&advertisement(peer(), Mac([6; 6])));
    h.poll();
    let frames = h.take_frames();
    assert_eq!((frames.len(), &frames[0][..6]), (1, &PEER_MAC.0[..]), "the SYN");
    assert_eq!(h.stack.counters().neighbours_ignored, 2);
}

#[test]
fn silence_of_the_neighbour_ends_an_active_open() {
    let mut h = Harness::new(config_v6());
    let id = h.stack.connect(SocketAddrV6::new(PEER_V6, 7, 0, 0), h.now).unwrap();
    h.pass(netcore::Duration::from_secs(10));
    assert_eq!(h.take_frames().len(), 3, "three questions (RFC 4861 §10)");
    assert_eq!(h.stack.failed_opens().collect::<Vec<_>>(), [(id, EndReason::TimedOut)]);
    h.assert_empty();
}

/// An ICMPv6 error of this kind about the segment of ours with number `seq`.
fn error(h: &Harness, head: [u8; 8], seq: u32) -> Vec<u8> {
    let mut message = alloc::vec![0; 8 + 48];
    message[..8].copy_from_slice(&head);
    ip::emit(&us(), &peer(), 6, 0, 1460, &mut message[8..]);
    message[48..50].copy_from_slice(&h.our_port.to_be_bytes());
    message[50..52].copy_from_slice(&h.peer_port.to_be_bytes());
    message[52..56].copy_from_slice(&h.iss.wrapping_add(seq).to_be_bytes());
    icmp("2001:2::fe".parse::<Ipv6Addr>().unwrap().into(), us(), 64, &message)
}

fn too_big(h: &Harness, mtu: u32, seq: u32) -> Vec<u8> {
    let [a, b, c, d] = mtu.to_be_bytes();
    error(h, [2, 0, 0, 0, a, b, c, d], seq)
}

#[test]
fn packet_too_big_makes_segments_smaller_for_this_and_later_connections() {
    let mut h = Harness::open_with(config_v6(), Options { mss: Some(1440), ..Options::default() });
    h.write(&[1; 2880], Next::Continue);
    h.expect(&["A 1+1440 1", "PA 1441+1440 1"]);
    h.put_frame(&too_big(&h, 1279, 1));
    h.put_frame(&too_big(&h, 1300, 5000));
    h.poll();
    assert_eq!(h.stack.counters().icmp_ignored, 2, "below IPv6's least, and about what is not in flight");
    h.expect(&[]);
    h.put_frame(&too_big(&h, 1300, 1));
    h.poll();
    // 1300 without 60 bytes of headers, and all of it at once: nothing in flight can arrive.
    h.expect(&["A 1+1240 1", "A 1241+1240 1", "PA 2481+400 1"]);
    assert_eq!(h.stack.counters().icmp_mtu_lowered, 1);
    // RFC 8201 §5.2: what was learned is good for the next connection.
    h.peer_port += 1;
    h.inject(&seg(S, 0, 0, b"").options(Options { mss: Some(1440), ..Options::default() }));
    h.iss = h.take().last().unwrap().seq.wrapping_add(h.iss);
    h.inject(&seg(A, 1, 1, b""));
    h.app.opened.remove(0);
    h.write(&[1; 1300], Next::Continue);
    h.expect(&["A 1+1240 1", "PA 1241+60 1"]);
}

#[test]
fn errors_end_only_what_is_being_opened() {
    let mut h = Harness::open(config_v6());
    h.write(b"x", Next::Continue);
    h.take();
    h.put_frame(&error(&h, [1, 4, 0, 0, 0, 0, 0, 0], 1));
    h.put_frame(&error(&h, [1, 0, 0, 0, 0, 0, 0, 0], 1));
    h.poll();
    assert_eq!(h.stack.counters().icmp_soft, 2);
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);

    let mut h = Harness::new(config_v6());
    (h.our_port, h.peer_port) = (50_000, 7);
    let id = h.stack.connect_from(50_000, SocketAddrV6::new(PEER_V6, 7, 0, 0), h.now).unwrap();
    h.poll();
    h.put_frame(&advertisement(peer(), PEER_MAC));
    h.poll();
    h.iss =
        h.take_frames().last().map(|syn| u32::from_be_bytes([syn[58], syn[59], syn[60], syn[61]])).unwrap();
    h.put_frame(&error(&h, [1, 4, 0, 0, 0, 0, 0, 0], 77));
    h.poll();
    assert_eq!(h.stack.gauges().in_state(State::SynSent), 1, "not our number");
    h.put_frame(&error(&h, [1, 4, 0, 0, 0, 0, 0, 0], 0));
    h.poll();
    assert_eq!(h.stack.failed_opens().collect::<Vec<_>>(), [(id, EndReason::Reset)]);
    h.assert_empty();
}

#[test]
fn echo_is_answered() {
    let mut h = Harness::new(config_v6());
    h.put_frame(&icmp(peer(), us(), 64, b"\x80\0\0\0\x12\x34\0\x01ping"));
    h.put_frame(&icmp(Ipv6Addr::LOCALHOST.into(), us(), 64, b"\x80\0\0\0\x12\x34\0\x01ping"));
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1);
    assert_eq!(read(&frames[0]), (PEER_MAC, peer(), Message::Other(129)));
    assert_eq!(frames[0][58..], *b"\x12\x34\0\x01ping");
}

#[test]
fn echo_to_all_nodes_is_answered_from_our_address() {
    let mut h = Harness::new(config_v6());
    let all_nodes = Address::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
    h.put_frame(&icmp(peer(), all_nodes, 64, b"\x80\0\0\0\x12\x34\0\x01ping"));
    h.put_frame(&icmp(all_nodes, all_nodes, 64, b"\x80\0\0\0\x12\x34\0\x01ping"));
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1, "not to a group");
    // Its checksum covers our address.
    assert_eq!(read(&frames[0]), (PEER_MAC, peer(), Message::Other(129)));
    assert_eq!(ip::Header::parse(&frames[0][14..]).unwrap().src, us());
    assert_eq!(frames[0][58..], *b"\x12\x34\0\x01ping");
}

/// A frame for us with room for an answer.
fn put_with_room(h: &mut Harness, next: u8, payload: &[u8]) {
    let bytes = h.packet(next, payload);
    h.put_frame_with_room(&bytes);
    h.poll();
}

#[test]
fn what_nobody_understands_is_refused_with_a_reason() {
    let mut h = Harness::new(config_v6());
    for (next, payload, answer) in [
        // UDP: no such port. An unknown protocol. An option that must be understood.
        (17, &[0; 8][..], [1, 4, 0, 0, 0, 0, 0, 0]),
        (99, &[0; 8], [4, 1, 0, 0, 0, 0, 0, 6]),
        (60, &[99, 0, 1, 4, 0, 0, 0, 0], [4, 1, 0, 0, 0, 0, 0, 40]),
        (60, &[6, 0, 0x80, 4, 0, 0, 0, 0], [4, 2, 0, 0, 0, 0, 0, 42]),
    ] {
        put_with_room(&mut h, next, payload);
        let frames = h.take_frames();
        assert_eq!(frames.len(), 1, "next header {next}");
        assert_eq!(read(&frames[0]), (PEER_MAC, peer(), Message::Error));
        let mut head = [0; 8];
        head.copy_from_slice(&frames[0][54..62]);
        head[2..4].fill(0);
        assert_eq!(head, answer, "next header {next}");
    }
    put_with_room(&mut h, 60, &[6, 0, 0x40, 4, 0, 0, 0, 0]);
    assert!(h.take_frames().is_empty(), "an option that asks for silence");
    put_with_room(&mut h, 59, &[0; 8]);
    put_with_room(&mut h, 60, &[59, 0, 1, 4, 0, 0, 0, 0]);
    assert!(h.take_frames().is_empty(), "RFC 8200 §4.7: nothing follows");
    // RFC 4443 §2.4 (f): not without end.
    for _ in 0..200 {
        put_with_room(&mut h, 17, &[0; 8]);
    }
    assert!(h.take_frames().len() < 100);
    assert!(h.stack.counters().icmp_errors_limited > 100);
}

#[test]
fn segments_behind_extension_headers_and_in_pieces_arrive() {
    let mut h = Harness::open(config_v6());
    h.app.reply = b"one".to_vec();
    let whole = h.encode(&seg(A | P, 1, 1, &[7; 100]));
    let tcp = &whole[54..];
    let options = [&[6, 0, 1, 4, 0, 0, 0, 0][..], tcp].concat();
    let frame = h.packet(60, &options);
    h.put_frame(&frame);
    h.poll();
    h.expect(&["PA 1+3 101"]);
    h.app.reply = b"two".to_vec();
    let whole = h.encode(&seg(A | P, 101, 4, &[8; 100]));
    let tcp = &whole[54..];
    for (offset, more, part) in [(80, 0, &tcp[80..]), (0, 1, &tcp[..80])] {
        let piece = [&[6, 0, 0, offset | more, 0, 0, 0, 9][..], part].concat();
        let frame = h.packet(44, &piece);
        h.put_frame_with_room(&frame);
    }
    h.poll();
    h.expect(&["PA 4+3 201"]);
    assert_eq!(h.stack.counters().ip_reassembled, 1);
}

#[test]
fn both_versions_at_once_are_two_peers() {
    let mut config = config();
    config.networks.push(crate::Network { address: us(), prefix_len: 64 });
    let mut h = Harness::open(config);
    let (us_v4, peer_v4, iss_v4) = (h.us, h.peer, h.iss);
    (h.us, h.peer) = (us(), peer());
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq.wrapping_add(h.iss);
    h.inject(&seg(A, 1, 1, b""));
    h.app.reply = b"six".to_vec();
    h.inject(&seg(A | P, 1, 1, b"x"));
    h.expect(&["PA 1+3 2"]);
    (h.us, h.peer, h.iss) = (us_v4, peer_v4, iss_v4);
    h.app.reply = b"four".to_vec();
    h.inject(&seg(A | P, 1, 1, b"y"));
    h.expect(&["PA 1+4 2"]);
    assert_eq!(h.stack.gauges().in_state(State::Established), 2);
}
