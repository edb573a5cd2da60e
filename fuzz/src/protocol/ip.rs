//! IPv4 and IPv6, ICMP and ICMPv6, and the checksum under them.

use protocol::checksum::{Sum, pseudo_header};
use protocol::{Malformed, icmp, icmp_error, icmpv6, ip, ipv4, ipv6};

use crate::input::Input;

/// The first byte says whether checksums are made right; the rest is a packet.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let repair = input.flag();
    let mut packet = input.rest().to_vec();
    checksum(&packet);
    if repair {
        repair_header(&mut packet);
    }
    header(&packet);
    if repair && packet.len() >= icmp::HEADER_LEN {
        packet[2..4].fill(0);
        let sum = Sum::new().add(&packet).finish();
        packet[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    version_6(&packet, repair);
    message(packet);
}

/// IPv6 with its extension headers, ICMPv6, and what an ICMP error quotes.
fn version_6(packet: &[u8], repair: bool) {
    for error in [icmp_error::read_v4(packet), icmp_error::read_v6(packet)].into_iter().flatten() {
        assert_eq!(error.src.version(), error.dst.version());
    }
    let mut packet = packet.to_vec();
    if repair && packet.len() >= ipv6::HEADER_LEN {
        packet[0] = 0x60 | packet[0] & 0xf;
        let payload_len = (packet.len() - ipv6::HEADER_LEN) as u16;
        packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
    }
    let parsed = ipv6::parse(&packet);
    assert!(parsed.is_err() || ip::Header::parse(&packet) == parsed);
    let Ok(header) = parsed else {
        if let (Some(problem), Some((src, dst))) = (ipv6::parameter_problem(&packet), ipv6::ends(&packet)) {
            assert!(src.octets().len() == dst.octets().len() && problem.pointer < packet.len() as u32);
        }
        return;
    };
    assert!(ipv6::HEADER_LEN <= header.header_len && header.header_len <= header.total_len);
    assert!(header.total_len <= packet.len() && !header.src.is_v4() && !header.dst.is_v4());
    if header.header_len == ipv6::HEADER_LEN {
        let mut out = [0; ipv6::HEADER_LEN];
        let payload_len = header.total_len - ipv6::HEADER_LEN;
        let (next, tos, hops) = (header.protocol, header.tos, header.hop_limit);
        ipv6::emit(&header.src, &header.dst, next, tos, hops, payload_len, &mut out);
        // The flow label is not kept.
        assert_eq!((out[0], out[1] & 0xf0, &out[4..]), (packet[0], packet[1] & 0xf0, &packet[4..40]));
    }
    if header.fragment {
        let _ = ipv6::FragmentHeader::parse(&packet[header.header_len..header.total_len]);
        let gap = ipv6::make_whole(&mut packet[..header.total_len]);
        assert_eq!(gap, Some(header.header_len).filter(|at| at + 8 <= header.total_len));
    } else if header.protocol == ipv6::NEXT_ICMP {
        neighbours(&header, &mut packet);
    }
}

fn neighbours(header: &ip::Header, packet: &mut [u8]) {
    let (src, dst) = (header.src, header.dst);
    let message = &mut packet[header.header_len..header.total_len];
    if message.len() >= icmpv6::HEADER_LEN {
        message[2..4].fill(0);
        let sum = pseudo_header(src, dst, ipv6::NEXT_ICMP, message.len()).add(message).finish();
        message[2..4].copy_from_slice(&sum.to_be_bytes());
    }
    match icmpv6::parse(src, dst, message) {
        Ok(icmpv6::Message::EchoRequest) => {
            icmpv6::make_echo_reply(src, dst, message);
            assert_eq!(icmpv6::parse(src, dst, message), Ok(icmpv6::Message::Other(129)));
        }
        Ok(icmpv6::Message::Solicitation(asked)) => assert!(!asked.target.is_group()),
        Ok(icmpv6::Message::Advertisement(told)) => {
            let mac = told.mac.unwrap_or_default();
            let mut out = [0; icmpv6::NEIGHBOUR_LEN];
            icmpv6::emit_advertisement(src, dst, &told.target, mac, told.solicited, &mut out);
            let again = icmpv6::Neighbour { mac: Some(mac), ..told };
            assert_eq!(icmpv6::parse(src, dst, &out), Ok(icmpv6::Message::Advertisement(again)));
        }
        Ok(icmpv6::Message::Error | icmpv6::Message::Other(_)) => {}
        Err(error) => assert_ne!(error, Malformed::Version),
    }
}

fn repair_header(packet: &mut [u8]) {
    let len = packet.first().map_or(0, |first| usize::from(first & 0xf) * 4);
    if (ipv4::HEADER_LEN..=packet.len()).contains(&len) {
        packet[10..12].fill(0);
        let sum = Sum::new().add(&packet[..len]).finish();
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
}

fn header(packet: &[u8]) {
    let Ok(header) = ipv4::Header::parse(packet) else { return };
    assert!((ipv4::HEADER_LEN..=60).contains(&header.header_len));
    assert!(header.header_len <= header.total_len && header.total_len <= packet.len());
    let mut out = [0; ipv4::HEADER_LEN];
    header.emit(&mut out);
    let whole = header.header_len == ipv4::HEADER_LEN && !header.fragment;
    // The reserved bit is not kept; the checksum of zeros can be written in two ways.
    if whole && packet[6] & 0x80 == 0 && packet[10..12] != [0xff, 0xff] {
        assert_eq!(out, packet[..ipv4::HEADER_LEN]);
    }
    if whole {
        let mut padded = packet.to_vec();
        padded[..ipv4::HEADER_LEN].copy_from_slice(&out);
        assert_eq!(ipv4::Header::parse(&padded), Ok(header));
    }
}

fn message(mut packet: Vec<u8>) {
    match icmp::parse(&packet) {
        Ok(icmp::Message::EchoRequest) => {
            let before = packet.clone();
            icmp::make_echo_reply(&mut packet);
            assert_eq!(icmp::parse(&packet), Ok(icmp::Message::Other(0)));
            assert_eq!(packet[4..], before[4..]);
        }
        Ok(_) => assert!(packet.len() >= icmp::HEADER_LEN),
        Err(error) => assert!(matches!(error, Malformed::Truncated | Malformed::Checksum)),
    }
}

/// The sum is that of a plain loop over 16-bit words, however the bytes are cut.
fn checksum(bytes: &[u8]) {
    let mut plain = 0u64;
    for pair in bytes.chunks(2) {
        plain += u64::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while plain > 0xffff {
        plain = (plain & 0xffff) + (plain >> 16);
    }
    assert_eq!(u64::from(Sum::new().add(bytes).fold()), plain);
    let cut = bytes.len() / 4 * 2;
    let in_two = Sum::new().add(&bytes[..cut]).add(&bytes[cut..]);
    assert_eq!(u64::from(in_two.fold()), plain);
}
