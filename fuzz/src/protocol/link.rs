//! Ethernet and ARP.

use protocol::{arp, ethernet};

/// What is read is written back as it was.
pub fn run(bytes: &[u8]) {
    if let Ok(header) = ethernet::Header::parse(bytes) {
        let mut out = [0; ethernet::HEADER_LEN];
        header.emit(&mut out);
        assert_eq!(out, bytes[..ethernet::HEADER_LEN]);
    } else {
        assert!(bytes.len() < ethernet::HEADER_LEN);
    }
    if let Ok(packet) = arp::Packet::parse(bytes) {
        let mut out = [0; arp::PACKET_LEN];
        packet.emit(&mut out);
        assert_eq!(out, bytes[..arp::PACKET_LEN]);
    }
}
