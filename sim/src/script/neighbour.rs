//! The peer says where it is: answers to ARP requests for its address.

use protocol::arp;
use protocol::ethernet::{self, EtherType};

use super::segment::Addresses;

/// The answer to a frame that asks for the peer's hardware address; `None` to any other.
pub fn answer(frame: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    let link = ethernet::Header::parse(frame).ok()?;
    if link.ether_type != EtherType::Arp {
        return None;
    }
    let request = arp::Packet::parse(&frame[ethernet::HEADER_LEN..]).ok()?;
    if request.operation != arp::Operation::Request || request.target_addr != addresses.peer {
        return None;
    }
    let reply = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: addresses.peer_mac,
        sender_addr: addresses.peer,
        target_mac: request.sender_mac,
        target_addr: request.sender_addr,
    };
    let mut answer = vec![0; ethernet::HEADER_LEN + arp::PACKET_LEN];
    let link =
        ethernet::Header { dst: addresses.subject_mac, src: addresses.peer_mac, ether_type: EtherType::Arp };
    link.emit(&mut answer);
    reply.emit(&mut answer[ethernet::HEADER_LEN..]);
    Some(answer)
}
