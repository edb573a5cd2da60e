//! Frames of peers that remember nothing but numbers: written and read in one place for every
//! measurement that needs no TCP of its own at the other end.

use std::net::Ipv4Addr;

use protocol::ethernet::{self, EtherType, Mac};
use protocol::ipv4::{self, PROTOCOL_TCP};
use protocol::tcp::{self, Flags, Header, Options, SeqNumber, fill_checksum};

/// Our end.
pub(crate) const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const PORT: u16 = 6379;
/// Peers have the addresses behind this one, [`PORTS`] connections each.
const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 1, 0);
const PEERS_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const PORTS: u32 = 50_000;
const FIRST_PORT: u32 = 10_000;

/// The peer's end of the connection of this number.
pub(crate) fn peer(number: u32) -> (Ipv4Addr, u16) {
    let address = Ipv4Addr::from(u32::from(FIRST_PEER) + number / PORTS);
    (address, (FIRST_PORT + number % PORTS) as u16)
}

/// The connection's number, back from [`peer`].
pub(crate) fn number_of(address: Ipv4Addr, port: u16) -> u32 {
    u32::from(address).wrapping_sub(u32::from(FIRST_PEER)).wrapping_mul(PORTS)
        + u32::from(port).wrapping_sub(FIRST_PORT)
}

/// The peer's initial sequence number.
pub(crate) fn first_seq(number: u32) -> SeqNumber {
    SeqNumber(number.wrapping_mul(0x9e37_79b9))
}

/// What changes from segment to segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    pub(crate) payload: &'a [u8],
}

/// The IP packet of a segment; `inbound`: from the peer to us.
pub(crate) fn packet(number: u32, inbound: bool, text: &Text<'_>, options: &Options) -> Vec<u8> {
    let (address, port) = peer(number);
    let (src, src_port, dst, dst_port) =
        if inbound { (address, port, SERVER, PORT) } else { (SERVER, PORT, address, port) };
    let header = Header {
        src_port,
        dst_port,
        seq: text.seq,
        ack: text.ack,
        flags: text.flags,
        window: 65_535,
        urgent: 0,
        header_len: 0,
    };
    let tcp_len = tcp::HEADER_LEN + options.emitted_len() + text.payload.len();
    let mut bytes = vec![0; ipv4::HEADER_LEN + tcp_len];
    ipv4::Header::outgoing(src, dst, PROTOCOL_TCP, tcp_len).emit(&mut bytes);
    let segment = &mut bytes[ipv4::HEADER_LEN..];
    let at = header.emit(options, segment);
    segment[at..].copy_from_slice(text.payload);
    fill_checksum(src.into(), dst.into(), segment);
    bytes
}

/// A frame from the peer to us.
pub(crate) fn from_peer(number: u32, text: &Text<'_>, options: &Options) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::Header { dst: SERVER_MAC, src: PEERS_MAC, ether_type: EtherType::Ipv4 }.emit(&mut frame);
    frame.extend_from_slice(&packet(number, true, text, options));
    frame
}

/// A segment that was read.
#[derive(Debug)]
pub(crate) struct Read<'a> {
    pub(crate) number: u32,
    pub(crate) header: Header,
    pub(crate) options: Options,
    pub(crate) payload: &'a [u8],
}

/// Reads an IP packet that we sent to a peer.
pub(crate) fn to_peer(packet: &[u8]) -> Option<Read<'_>> {
    let ip = ipv4::Header::parse(packet).ok()?;
    let segment = packet.get(ip.header_len..ip.total_len)?;
    let header = Header::parse(segment).ok()?;
    Some(Read {
        number: number_of(ip.dst, header.dst_port),
        options: header.options(segment),
        payload: &segment[header.header_len..],
        header,
    })
}
