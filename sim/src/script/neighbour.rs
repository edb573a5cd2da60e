//! The peer says where it is: answers to ARP requests and neighbour solicitations for its address.

use std::net::IpAddr;

use protocol::ethernet::{self, EtherType};
use protocol::ip::{self, Address};
use protocol::{icmpv6, ipv6};

use super::segment::Addresses;
use crate::packet::{Route, arp_reply, ip_frame};

/// The answer to a frame that asks for the peer's hardware address; `None` to any other.
pub fn answer(frame: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    match addresses.peer {
        IpAddr::V4(peer) => {
            let asks = ethernet::Header::parse(frame).is_ok_and(|link| link.ether_type == EtherType::Arp);
            asks.then(|| arp_reply(frame, addresses.peer_mac, peer))?
        }
        IpAddr::V6(_) => advertisement(frame, addresses),
    }
}

/// RFC 4861 §7.2.4.
fn advertisement(frame: &[u8], addresses: &Addresses) -> Option<Vec<u8>> {
    let link = ethernet::Header::parse(frame).ok()?;
    let packet = &frame[ethernet::HEADER_LEN..];
    let ip = ip::Header::parse(packet).ok()?;
    if link.ether_type != EtherType::Ipv6 || ip.protocol != ipv6::NEXT_ICMP {
        return None;
    }
    let peer = Address::from(addresses.peer);
    let message = icmpv6::parse(ip.src, ip.dst, &packet[ip.header_len..ip.total_len]).ok()?;
    let icmpv6::Message::Solicitation(asked) = message else { return None };
    if asked.target != peer {
        return None;
    }
    let mut answer = [0; icmpv6::NEIGHBOUR_LEN];
    icmpv6::emit_advertisement(peer, ip.src, &peer, addresses.peer_mac, true, &mut answer);
    let route = Route { src_mac: addresses.peer_mac, dst_mac: link.src, src: peer, dst: ip.src };
    // RFC 4861 §7.1.2: a hop limit of 255 proves that it comes from the link.
    let mut frame = ip_frame(&route, ipv6::NEXT_ICMP, &answer);
    frame[ethernet::HEADER_LEN + 7] = 255;
    Some(frame)
}
