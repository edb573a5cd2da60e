//! Frames built by hand, for those who send what no stack would.

use std::net::Ipv4Addr;

use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address, Version};
use protocol::tcp::{self, Options};
use protocol::{arp, ipv4, ipv6};

/// Where the TCP header of an IPv4 frame without options begins.
pub const TCP_AT: usize = ethernet::HEADER_LEN + ipv4::HEADER_LEN;

/// The same in a packet of this version of IP.
pub fn tcp_at(version: Version) -> usize {
    ethernet::HEADER_LEN + ip::header_len(version)
}

/// Sender and receiver of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Sender's hardware address.
    pub src_mac: Mac,
    /// Receiver's hardware address.
    pub dst_mac: Mac,
    /// Sender.
    pub src: Address,
    /// Receiver, of the same version.
    pub dst: Address,
}

/// A frame with this segment and right checksums.
pub fn tcp_frame(route: &Route, header: &tcp::Header, options: &Options, payload: &[u8]) -> Vec<u8> {
    tcp_frame_with(route, header, options, &[], payload)
}

/// The same with bytes behind the options, as they are; end-of-list fills the last word up.
/// Panics when they are too many for a header.
pub fn tcp_frame_with(
    route: &Route,
    header: &tcp::Header,
    options: &Options,
    more_options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let options_len = options.emitted_len() + more_options.len().next_multiple_of(4);
    assert!(tcp::HEADER_LEN + options_len <= tcp::HEADER_LEN_MAX, "{options_len} bytes of options");
    let tcp_len = tcp::HEADER_LEN + options_len + payload.len();
    let mut frame = packet_frame(route, ipv4::PROTOCOL_TCP, tcp_len);
    let tcp_at = frame.len() - tcp_len;
    let more_at = tcp_at + header.emit(options, &mut frame[tcp_at..]);
    frame[more_at..more_at + more_options.len()].copy_from_slice(more_options);
    frame[tcp_at + 12] = ((tcp::HEADER_LEN + options_len) as u8 / 4) << 4;
    frame[tcp_at + tcp::HEADER_LEN + options_len..].copy_from_slice(payload);
    tcp::fill_checksum(route.src, route.dst, &mut frame[tcp_at..]);
    frame
}

/// A frame of this type with these bytes.
pub fn raw_frame(route: &Route, ether_type: EtherType, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN + payload.len()];
    ethernet::Header { dst: route.dst_mac, src: route.src_mac, ether_type }.emit(&mut frame);
    frame[ethernet::HEADER_LEN..].copy_from_slice(payload);
    frame
}

/// A frame with the headers of a packet with so many bytes, which are 0.
fn packet_frame(route: &Route, protocol: u8, len: usize) -> Vec<u8> {
    let version = route.src.version();
    let mut frame = vec![0; ethernet::HEADER_LEN + ip::header_len(version) + len];
    ethernet::Header { dst: route.dst_mac, src: route.src_mac, ether_type: ip::ether_type(version) }
        .emit(&mut frame);
    ip::emit(&route.src, &route.dst, protocol, 0, len, &mut frame[ethernet::HEADER_LEN..]);
    frame
}

/// The TCP header of a frame, if it has one.
pub fn tcp_header(frame: &[u8]) -> Option<tcp::Header> {
    let packet = frame.get(ethernet::HEADER_LEN..)?;
    let ip = ip::Header::parse(packet).ok().filter(|ip| ip.protocol == ipv4::PROTOCOL_TCP)?;
    tcp::Header::parse(&packet[ip.header_len..ip.total_len]).ok()
}

/// A frame with a packet of this protocol.
pub fn ip_frame(route: &Route, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = packet_frame(route, protocol, payload.len());
    let at = frame.len() - payload.len();
    frame[at..].copy_from_slice(payload);
    frame
}

/// The answer of `mac` at `address` to an ARP request that asks for it.
pub fn arp_reply(frame: &[u8], mac: Mac, address: Ipv4Addr) -> Option<Vec<u8>> {
    let request = arp::Packet::parse(frame.get(ethernet::HEADER_LEN..)?).ok()?;
    if request.operation != arp::Operation::Request || request.target_addr != address {
        return None;
    }
    let reply = arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender_addr: address,
        target_mac: request.sender_mac,
        target_addr: request.sender_addr,
    };
    let mut bytes = [0; arp::PACKET_LEN];
    reply.emit(&mut bytes);
    let route = Route {
        src_mac: mac,
        dst_mac: request.sender_mac,
        src: address.into(),
        dst: request.sender_addr.into(),
    };
    Some(raw_frame(&route, EtherType::Arp, &bytes))
}

/// A router's "fragmentation needed" (RFC 1191 §4) for a packet that is longer than `mtu`.
pub fn fragmentation_needed(packet: &[u8], mtu: usize, route: &Route) -> Vec<u8> {
    let mut message = vec![3, 4, 0, 0, 0, 0];
    message.extend_from_slice(&(mtu as u16).to_be_bytes());
    message.extend_from_slice(&packet[..packet.len().min(ipv4::HEADER_LEN + 8)]);
    let checksum = protocol::checksum::Sum::new().add(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    ip_frame(route, ipv4::PROTOCOL_ICMP, &message)
}

/// Makes the checksums right again after the frame was changed. What is no whole TCP segment any
/// more is left alone.
pub fn fix_checksums(frame: &mut [u8]) {
    if frame.len() < TCP_AT + tcp::HEADER_LEN {
        return;
    }
    if frame[ethernet::HEADER_LEN] >> 4 == 6 {
        return fix_checksum_v6(&mut frame[ethernet::HEADER_LEN..]);
    }
    let header_len = usize::from(frame[ethernet::HEADER_LEN] & 0xf) * 4;
    let packet = &mut frame[ethernet::HEADER_LEN..];
    if !(ipv4::HEADER_LEN..=packet.len()).contains(&header_len) {
        return;
    }
    packet[10..12].fill(0);
    let checksum = protocol::checksum::Sum::new().add(&packet[..header_len]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    if let Ok(ip) = ipv4::Header::parse(packet)
        && ip.total_len >= ip.header_len + tcp::HEADER_LEN
    {
        tcp::fill_checksum(ip.src.into(), ip.dst.into(), &mut packet[ip.header_len..ip.total_len]);
    }
}

fn fix_checksum_v6(packet: &mut [u8]) {
    if let Ok(ip) = ipv6::parse(packet)
        && ip.protocol == ipv4::PROTOCOL_TCP
        && ip.total_len >= ip.header_len + tcp::HEADER_LEN
    {
        tcp::fill_checksum(ip.src, ip.dst, &mut packet[ip.header_len..ip.total_len]);
    }
}
