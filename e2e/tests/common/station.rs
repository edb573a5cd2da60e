//! A host of its own in the client's network, made of frames: it finds the server as any host does,
//! and sends it packets whole or in pieces.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::PacketSocket;
use e2e::lab::CLIENT_INTERFACE;
use protocol::checksum::{Sum, pseudo_header};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Message, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN};
use protocol::ip::{self, Address};
use protocol::ipv6::{self, NEXT_FRAGMENT, NEXT_ICMP};
use protocol::{arp, ipv4};

/// The station's own hardware address.
const MAC: Mac = Mac([2, 0, 0, 0, 0, 0x57]);
/// When to send again what was not answered: frames get lost when a machine is busy.
const AGAIN: Duration = Duration::from_millis(300);
const IP_AT: usize = ethernet::HEADER_LEN;

pub struct Station {
    socket: PacketSocket,
    addr: Address,
    server: Address,
    server_mac: Mac,
}

impl Station {
    /// Has `addr`, in the network of the server at `server`, and asks for the server's hardware
    /// address; lives in the calling thread's namespace.
    pub fn new(addr: Address, server: Address) -> Result<Self> {
        let socket = PacketSocket::open(CLIENT_INTERFACE)?;
        let mut station = Self { socket, addr, server, server_mac: ethernet::BROADCAST };
        let question = station.question();
        station.server_mac = station.ask(&[question], |frame| answer(frame, server))?;
        Ok(station)
    }

    /// Sends `frames`, and again while nothing happens, until `wanted` takes one that comes.
    pub fn ask<T>(&mut self, frames: &[Vec<u8>], wanted: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        loop {
            for frame in frames {
                self.socket.send(frame).context("sending a frame")?;
            }
            let begin = Instant::now();
            while begin.elapsed() < AGAIN {
                match self.socket.receive() {
                    Some(received) => {
                        if let Some(found) = wanted(&received.frame) {
                            return Ok(found);
                        }
                    }
                    None => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        }
    }

    /// Where is the server?
    fn question(&self) -> Vec<u8> {
        if let (Some(sender_addr), Some(target_addr)) = (self.addr.to_v4(), self.server.to_v4()) {
            let mut frame = frame(ethernet::BROADCAST, EtherType::Arp, arp::PACKET_LEN);
            let operation = arp::Operation::Request;
            let target_mac = Mac::default();
            arp::Packet { operation, sender_mac: MAC, sender_addr, target_mac, target_addr }
                .emit(&mut frame[IP_AT..]);
            return frame;
        }
        let group = ipv6::solicited_node(&self.server);
        let (src, len) = (self.addr, NEIGHBOUR_LEN);
        let mut frame = frame(ipv6::group_mac(&group), EtherType::Ipv6, ipv6::HEADER_LEN + len);
        ipv6::emit(&src, &group, NEXT_ICMP, 0, NEIGHBOUR_HOP_LIMIT, len, &mut frame[IP_AT..]);
        icmpv6::emit_solicitation(src, group, &self.server, MAC, &mut frame[IP_AT + ipv6::HEADER_LEN..]);
        frame
    }

    /// A frame for the server with `payload` in an IP packet.
    pub fn packet(&self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let version = self.addr.version();
        let header_len = ip::header_len(version);
        let mut frame = frame(self.server_mac, ip::ether_type(version), header_len + payload.len());
        ip::emit(&self.addr, &self.server, protocol, 0, payload.len(), &mut frame[IP_AT..]);
        frame[IP_AT + header_len..].copy_from_slice(payload);
        frame
    }

    /// The same in pieces of `piece` bytes, a multiple of eight.
    pub fn fragments(&self, protocol: u8, payload: &[u8], piece: usize, ident: u16) -> Vec<Vec<u8>> {
        let pieces = payload.chunks(piece).enumerate();
        let fragment = |(number, bytes): (usize, &[u8])| {
            let offset = number * piece;
            let more = offset + bytes.len() < payload.len();
            match self.addr.is_v4() {
                true => self.fragment_v4(protocol, bytes, offset, more, ident),
                false => self.fragment_v6(protocol, bytes, offset, more, ident),
            }
        };
        pieces.map(fragment).collect()
    }

    /// RFC 791 §3.1: the offset counts in units of eight bytes.
    fn fragment_v4(&self, protocol: u8, bytes: &[u8], offset: usize, more: bool, ident: u16) -> Vec<u8> {
        let mut frame = self.packet(protocol, bytes);
        let header = &mut frame[IP_AT..IP_AT + ipv4::HEADER_LEN];
        let field = (offset / 8) as u16 | if more { 0x2000 } else { 0 };
        header[4..6].copy_from_slice(&ident.to_be_bytes());
        header[6..8].copy_from_slice(&field.to_be_bytes());
        header[10..12].fill(0);
        let checksum = Sum::new().add(header).finish();
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        frame
    }

    /// RFC 8200 §4.5: the offset stands in the upper 13 bits, so that bytes can stay bytes.
    fn fragment_v6(&self, protocol: u8, bytes: &[u8], offset: usize, more: bool, ident: u16) -> Vec<u8> {
        let field = offset as u16 | u16::from(more);
        let mut piece = vec![protocol, 0];
        piece.extend_from_slice(&field.to_be_bytes());
        piece.extend_from_slice(&u32::from(ident).to_be_bytes());
        piece.extend_from_slice(bytes);
        self.packet(NEXT_FRAGMENT, &piece)
    }

    /// The protocol of an echo request and the request itself, with `len` bytes of data.
    pub fn echo_request(&self, len: usize) -> (u8, Vec<u8>) {
        let v4 = self.addr.is_v4();
        let mut message = vec![if v4 { 8 } else { 128 }, 0, 0, 0, 0x57, 0x57, 0, 1];
        message.extend((0..len).map(|at| at as u8));
        let (protocol, sum) = match v4 {
            true => (ipv4::PROTOCOL_ICMP, Sum::new()),
            false => (NEXT_ICMP, pseudo_header(self.addr, self.server, NEXT_ICMP, message.len())),
        };
        let checksum = sum.add(&message).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        (protocol, message)
    }

    /// What comes back to `request` (see [`Self::echo_request`]), sent as `frames`, is its reply.
    pub fn echoed(&mut self, frames: &[Vec<u8>], request: &[u8]) -> Result<()> {
        let (us, server) = (self.addr, self.server);
        let kind = if us.is_v4() { 0 } else { 129 };
        self.ask(frames, |frame| {
            let header = ethernet::Header::parse(frame).ok()?;
            let packet = &frame[IP_AT..];
            let ip = ip::Header::parse(packet).ok()?;
            let message = packet.get(ip.header_len..ip.total_len)?;
            let ours = header.dst == MAC && (ip.src, ip.dst) == (server, us);
            (ours && message.first() == Some(&kind) && message.get(4..) == request.get(4..)).then_some(())
        })
    }
}

fn frame(dst: Mac, ether_type: EtherType, len: usize) -> Vec<u8> {
    let mut frame = vec![0; IP_AT + len];
    ethernet::Header { dst, src: MAC, ether_type }.emit(&mut frame);
    frame
}

/// The hardware address in an answer to [`Station::question`].
fn answer(frame: &[u8], server: Address) -> Option<Mac> {
    let header = ethernet::Header::parse(frame).ok()?;
    let packet = &frame[IP_AT..];
    match header.ether_type {
        _ if header.dst != MAC => None,
        EtherType::Arp => {
            let packet = arp::Packet::parse(packet).ok()?;
            (server == packet.sender_addr.into()).then_some(packet.sender_mac)
        }
        EtherType::Ipv6 => {
            let ip = ipv6::parse(packet).ok()?;
            match icmpv6::parse(ip.src, ip.dst, &packet[ip.header_len..ip.total_len]).ok()? {
                Message::Advertisement(found) if found.target == server => found.mac,
                Message::Advertisement(_)
                | Message::Solicitation(_)
                | Message::EchoRequest
                | Message::Error
                | Message::Other(_) => None,
            }
        }
        EtherType::Ipv4 | EtherType::Channel | EtherType::Other(_) => None,
    }
}
