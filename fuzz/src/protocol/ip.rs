//! IPv4 and ICMP, and the checksum under them.

use protocol::checksum::Sum;
use protocol::{Malformed, icmp, ipv4};

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
    message(packet);
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
            assert_eq!(icmp::parse(&packet), Ok(icmp::Message::EchoReply));
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
