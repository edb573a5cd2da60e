//! What it does below TCP, over both versions of IP: lies about hardware addresses, fragments that
//! fit nothing, ICMP in anybody's name, extension headers.
//!
//! All of it goes to the server alone. Nothing of it may change what honest clients are served.

use std::net::Ipv4Addr;

use netcore::rng::SeededRng;
use protocol::checksum::{Sum, pseudo_header};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, NEIGHBOUR_LEN};
use protocol::ip::Address;
use protocol::ipv6::{NEXT_FRAGMENT, NEXT_ICMP};
use protocol::{arp, ipv4};

use super::HostileConfig;
use crate::packet::{self, Route};

/// Pieces that one action sends at most: more than a receiver remembers.
const PIECES_MAX: u64 = 80;

/// The frames of one action.
pub(super) fn action(config: &HostileConfig, rng: &mut SeededRng) -> Vec<Vec<u8>> {
    match rng.below(7) {
        0 => lies_by_arp(config, rng),
        1 => vec![lie_by_ndp(config, rng)],
        2 => (0..1 + rng.below(PIECES_MAX)).map(|_| fragment_v4(config, rng)).collect(),
        3 => (0..1 + rng.below(PIECES_MAX)).map(|_| fragment_v6(config, rng)).collect(),
        4 => vec![too_big(config, rng)],
        5 => vec![icmpv6_noise(config, rng)],
        _ => vec![extension_headers(config, rng)],
    }
}

fn pick<T: Copy>(rng: &mut SeededRng, of: &[T]) -> T {
    of[rng.below(of.len() as u64) as usize]
}

fn bytes(rng: &mut SeededRng, len_max: u64) -> Vec<u8> {
    (0..rng.below(len_max + 1)).map(|_| rng.next_u64() as u8).collect()
}

fn macs(config: &HostileConfig) -> (Mac, Mac) {
    (config.mac, config.target_mac)
}

/// Somebody's address, or the server's own, is said to be here.
fn lies_by_arp(config: &HostileConfig, rng: &mut SeededRng) -> Vec<Vec<u8>> {
    let server = *config.target.ip();
    let mut addresses: Vec<Ipv4Addr> = config.others.iter().map(|other| other.1).collect();
    addresses.push(server);
    let lie = |operation| {
        let sender_addr = pick(rng, &addresses);
        let packet = arp::Packet {
            operation,
            sender_mac: config.mac,
            sender_addr,
            target_mac: config.target_mac,
            target_addr: pick(rng, &[server, sender_addr]),
        };
        let mut payload = [0; arp::PACKET_LEN];
        packet.emit(&mut payload);
        let (src_mac, dst_mac) = macs(config);
        let route = Route { src_mac, dst_mac, src: sender_addr, dst: server };
        packet::raw_frame(&route, EtherType::Arp, &payload)
    };
    [arp::Operation::Reply, arp::Operation::Request].map(lie).into()
}

/// The same by neighbour discovery, now and then as if from beyond the link.
fn lie_by_ndp(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let server = config.ipv6.server;
    let victim = pick(rng, &config.ipv6.others);
    let target = pick(rng, &[victim, server]);
    let src = pick(rng, &[victim, config.ipv6.own, server]);
    let mut message = [0; NEIGHBOUR_LEN];
    if rng.chance(500_000) {
        icmpv6::emit_advertisement(src, server, &target, config.mac, rng.chance(500_000), &mut message);
    } else {
        icmpv6::emit_solicitation(src, server, &target, config.mac, &mut message);
    }
    let hop_limit = if rng.chance(800_000) { 255 } else { 64 };
    packet::ipv6_frame(macs(config), (src, server), NEXT_ICMP, hop_limit, &message)
}

/// Pieces of few packets, so that they overlap, repeat and contradict each other.
fn fragment_v4(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let (src_mac, dst_mac) = macs(config);
    let route = Route { src_mac, dst_mac, src: config.address, dst: *config.target.ip() };
    let protocol = pick(rng, &[ipv4::PROTOCOL_TCP, ipv4::PROTOCOL_ICMP, 17, 99]);
    let mut frame = packet::ip_frame(&route, protocol, &bytes(rng, 100));
    let header = &mut frame[ethernet::HEADER_LEN..ethernet::HEADER_LEN + ipv4::HEADER_LEN];
    let fresh = rng.next_u64() as u16;
    let ident = pick(rng, &[1, 2, fresh]);
    let more: u16 = if rng.chance(700_000) { 0x2000 } else { 0 };
    let offset: u16 = pick(rng, &[0, 1, 2, 3, 8, 0x1ffe, 0x1fff]);
    header[4..6].copy_from_slice(&ident.to_be_bytes());
    header[6..8].copy_from_slice(&(more | offset).to_be_bytes());
    header[10..12].fill(0);
    let checksum = Sum::new().add(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    frame
}

fn fragment_v6(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let more = u16::from(rng.chance(700_000));
    let offset: u16 = pick(rng, &[0, 8, 16, 24, 64, 0xfff0, 0xfff8]);
    let fresh = rng.next_u64() as u32;
    let ident = pick(rng, &[1, 2, fresh]);
    let mut piece = vec![pick(rng, &[6, NEXT_ICMP, 17, NEXT_FRAGMENT, 0, 60]), 0];
    piece.extend_from_slice(&(offset | more).to_be_bytes());
    piece.extend_from_slice(&ident.to_be_bytes());
    piece.extend(bytes(rng, 100));
    let ends = (config.ipv6.own, config.ipv6.server);
    packet::ipv6_frame(macs(config), ends, NEXT_FRAGMENT, 64, &piece)
}

/// "Packet too big" about a segment that the server never sent.
fn too_big(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let (server, victim) = (config.ipv6.server, pick(rng, &config.ipv6.others));
    let mut segment = vec![0; 20];
    segment[..2].copy_from_slice(&config.target.port().to_be_bytes());
    segment[2..4].copy_from_slice(&(10_000 + rng.below(1_000) as u16).to_be_bytes());
    segment[4..8].copy_from_slice(&(rng.next_u64() as u32).to_be_bytes());
    segment[12] = 5 << 4;
    let quoted = packet::ipv6_frame(macs(config), (server, victim), 6, 64, &segment);
    let mtu = pick(rng, &[0, 68, 1279, 1280, 1400, 65_535]);
    packet::packet_too_big(&quoted[ethernet::HEADER_LEN..], mtu, macs(config), (config.ipv6.own, server))
}

/// A message of any type with any content and a right checksum.
fn icmpv6_noise(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let (src, dst): (Address, Address) = (config.ipv6.own, config.ipv6.server);
    let mut message: Vec<u8> =
        vec![pick(rng, &[1, 2, 3, 4, 128, 129, 133, 134, 135, 136, 137, 200]), 0, 0, 0];
    message.extend(bytes(rng, 120));
    let sum = pseudo_header(src, dst, NEXT_ICMP, message.len()).add(&message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    packet::ipv6_frame(macs(config), (src, dst), NEXT_ICMP, pick(rng, &[64, 255]), &message)
}

/// Extension headers in an order and with options of their own.
fn extension_headers(config: &HostileConfig, rng: &mut SeededRng) -> Vec<u8> {
    let kinds: [u8; 8] = [0, 43, 60, 60, 135, 6, 59, NEXT_ICMP];
    let first = pick(rng, &kinds);
    let mut payload: Vec<u8> = Vec::new();
    for _ in 0..rng.below(12) {
        payload.extend([pick(rng, &kinds), pick(rng, &[0, 0, 0, 1, 31])]);
        payload.extend((0..6).map(|_| rng.next_u64() as u8));
    }
    let ends = (config.ipv6.own, config.ipv6.server);
    packet::ipv6_frame(macs(config), ends, first, 64, &payload)
}
