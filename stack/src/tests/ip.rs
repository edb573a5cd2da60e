//! Under TCP: ARP, ICMP, and what is not for us.

use alloc::vec;
use alloc::vec::Vec;

use protocol::arp::{Operation, Packet};
use protocol::checksum::Sum;
use protocol::ethernet::{self, BROADCAST, EtherType, Mac};
use protocol::ipv4;
use protocol::tcp::Options;

use super::harness::*;
use crate::{Config, Next};

fn arp(operation: Operation, target: core::net::Ipv4Addr) -> Vec<u8> {
    let mut bytes = vec![0; 60];
    ethernet::Header { dst: BROADCAST, src: PEER_MAC, ether_type: EtherType::Arp }.emit(&mut bytes);
    Packet {
        operation,
        sender_mac: PEER_MAC,
        sender_addr: PEER,
        target_mac: Mac::default(),
        target_addr: target,
    }
    .emit(&mut bytes[14..]);
    bytes
}

#[test]
fn arp_is_answered_for_our_address_only() {
    let mut h = Harness::new(config());
    h.put_frame(&arp(Operation::Request, US));
    h.put_frame(&arp(Operation::Request, PEER));
    h.put_frame(&arp(Operation::Reply, US)[..20]);
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1);
    let reply = Packet::parse(&frames[0][14..]).unwrap();
    assert_eq!((reply.operation, reply.sender_mac, reply.sender_addr), (Operation::Reply, OUR_MAC, US));
    assert_eq!((reply.target_mac, reply.target_addr), (PEER_MAC, PEER));
    assert_eq!(frames[0][..6], PEER_MAC.0);
    assert_eq!(h.stack.counters().arp_malformed, 1);
}

pub(super) fn icmp(message: &[u8], src: core::net::Ipv4Addr) -> Vec<u8> {
    let mut message = message.to_vec();
    message[2..4].fill(0);
    let checksum = Sum::new().add(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    let mut bytes = vec![0; 34];
    ethernet::Header { dst: OUR_MAC, src: PEER_MAC, ether_type: EtherType::Ipv4 }.emit(&mut bytes);
    ipv4::Header::outgoing(src, US, 1, message.len()).emit(&mut bytes[14..]);
    bytes.extend_from_slice(&message);
    bytes
}

#[test]
fn echo_is_answered_but_not_to_a_group() {
    let mut h = Harness::new(config());
    h.put_frame(&icmp(b"\x08\0\0\0\x12\x34\0\x01ping", PEER));
    for src in ["198.18.0.255", "255.255.255.255", "224.0.0.1", "0.0.0.0", "198.18.0.2"] {
        h.put_frame(&icmp(b"\x08\0\0\0\x12\x34\0\x01ping", src.parse().unwrap()));
    }
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1);
    let ip = ipv4::Header::parse(&frames[0][14..]).unwrap();
    assert_eq!((ip.src, ip.dst), (US, PEER));
    assert_eq!(frames[0][34], 0);
    assert_eq!(&frames[0][38..], b"\x12\x34\0\x01ping");
    assert_eq!((h.stack.counters().icmp_echo, h.stack.counters().ip_bad_source), (1, 5));
}

#[test]
fn a_router_can_make_segments_smaller_but_a_stranger_cannot() {
    let mut h = Harness::open_with(config(), Options { mss: Some(1460), ..Options::default() });
    h.write(&[b'z'; 2920], Next::Continue);
    let sent = h.take_frames();
    assert_eq!(sent.len(), 2);
    let quote = |frame: &[u8], mtu: u16| {
        let mut message = vec![3, 4, 0, 0, 0, 0, 0, 0];
        message[6..8].copy_from_slice(&mtu.to_be_bytes());
        message.extend_from_slice(&frame[14..42]);
        message
    };
    let mut forged = sent[0].clone();
    forged[38] ^= 0x40;
    h.put_frame(&icmp(&quote(&forged, 1000), PEER));
    h.put_frame(&icmp(&quote(&sent[0], 67), PEER));
    h.poll();
    h.expect(&[]);
    assert_eq!(h.stack.counters().icmp_ignored, 2);
    h.put_frame(&icmp(&quote(&sent[0], 1000), PEER));
    h.poll();
    h.expect(&["A 1+960 1", "A 961+960 1", "A 1921+960 1", "PA 2881+40 1"]);
    assert_eq!(h.stack.counters().icmp_mtu_lowered, 1);
}

/// RFC 1191 §3, RFC 6864 §4.3
#[test]
fn where_routers_have_to_fragment_each_packet_has_a_number_of_its_own() {
    let mut h = Harness::open_with(config(), Options { mss: Some(1460), ..Options::default() });
    h.write(&[b'z'; 2920], Next::Continue);
    let sent = h.take_frames();
    let header = |frame: &[u8]| ipv4::Header::parse(&frame[14..]).unwrap();
    assert!(sent.iter().all(|frame| header(frame).dont_fragment));
    let mut message = vec![3, 4, 0, 0, 0, 0, 0, 68];
    message.extend_from_slice(&sent[0][14..42]);
    h.put_frame(&icmp(&message, PEER));
    h.poll();
    let again = h.take_frames();
    assert_eq!(again.len(), 12);
    let first = header(&again[0]).ident;
    for (frame, ident) in again.iter().zip(0..) {
        assert_eq!((header(frame).dont_fragment, header(frame).total_len <= 296), (false, true));
        assert_eq!(header(frame).ident, first.wrapping_add(ident));
    }
    assert_eq!(h.stack.counters().icmp_mtu_lowered, 1);
}

#[test]
fn what_is_not_for_us_is_counted_and_ignored() {
    let mut h = Harness::new(config());
    let syn = h.encode(&seg(S, 0, 0, b""));
    let mut change = |at: usize, to: &[u8], fix: bool| {
        let mut bytes = syn.clone();
        bytes[at..at + to.len()].copy_from_slice(to);
        if fix {
            bytes[24..26].fill(0);
            let checksum = Sum::new().add(&bytes[14..34]).finish();
            bytes[24..26].copy_from_slice(&checksum.to_be_bytes());
        }
        h.put_frame(&bytes);
    };
    change(0, &[2, 9, 9, 9, 9, 9], false); // another MAC
    change(0, &[0xff; 6], false); // TCP by broadcast
    change(6, &[3, 0, 0, 0, 0, 1], false); // from a group
    change(12, &[0x86, 0xdd], false); // an IPv4 packet in IPv6's clothes
    change(12, &[0x88, 0xb5], false); // the channel, which is not used
    change(20, &[0x20, 0], true); // a fragment
    change(20, &[0, 5], true);
    change(23, &[17], true); // UDP
    change(30, &[198, 18, 0, 9], true); // another address
    change(24, &[0, 0], false); // header checksum
    change(50, &[0, 0], false); // TCP checksum
    change(46, &[0x40], false); // data offset
    h.put_frame(&syn[..10]);
    h.put_frame(&syn[..40]);
    h.poll();
    h.expect(&[]);
    let c = h.stack.counters();
    assert_eq!(c.frames_received, 14);
    assert_eq!((c.frames_other_destination, c.frames_other_type, c.frames_malformed), (1, 1, 1));
    assert_eq!((c.ip_other_destination, c.ip_bad_source, c.ip_fragments), (2, 1, 2));
    assert_eq!((c.ip_other_protocol, c.ip_malformed), (1, 3));
    assert_eq!((c.tcp_bad_checksum, c.tcp_malformed), (1, 1));
    h.assert_empty();
}

#[test]
fn partial_checksums_only_when_allowed() {
    for allowed in [false, true] {
        let mut h = Harness::new(Config { rx_partial_checksum: allowed, ..config() });
        let mut syn = h.encode(&seg(S, 0, 0, b""));
        let partial = protocol::checksum::pseudo_header(PEER.into(), US.into(), 6, syn.len() - 34).fold();
        syn[50..52].copy_from_slice(&partial.to_be_bytes());
        h.put_frame(&syn);
        h.poll();
        assert_eq!(h.take().len(), usize::from(allowed));
    }
}

#[test]
fn random_bytes_hurt_nobody() {
    let mut rng = netcore::rng::SeededRng::new(11);
    let mut h = Harness::open(config());
    for _ in 0..50_000 {
        let mut bytes = h.encode(&seg(A, 1 + rng.below(50) as u32, rng.below(5) as u32, b"random"));
        for _ in 0..rng.below(4) {
            let at = rng.below(bytes.len() as u64) as usize;
            bytes[at] = rng.next_u64() as u8;
        }
        if rng.chance(500_000) {
            bytes[24..26].fill(0);
            let ip = Sum::new().add(&bytes[14..34]).finish();
            bytes[24..26].copy_from_slice(&ip.to_be_bytes());
            protocol::tcp::fill_checksum(PEER.into(), US.into(), &mut bytes[34..]);
        }
        bytes.truncate(bytes.len() - rng.below(3) as usize * rng.below(20) as usize);
        h.put_frame(&bytes);
        h.poll();
        h.take_frames();
    }
    h.stack.abort_all(&mut h.app);
    h.poll();
    h.pass(netcore::Duration::from_secs(400));
    h.take_frames();
    h.assert_empty();
}
