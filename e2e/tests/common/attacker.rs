//! Somebody in the client's network who sends whatever TCP segments he likes, in anybody's name.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context, Result};
use e2e::PacketSocket;
use e2e::lab::{CLIENT_INTERFACE, SERVER_ADDRESS};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ipv4::{self, PROTOCOL_TCP};
use protocol::tcp::{self, Flags, Header, Options, SeqNumber, fill_checksum};

/// The attacker's own hardware address: what the server answers to, and no kernel listens to.
const MAC: Mac = Mac([2, 0, 0, 0, 0xba, 0xd]);

pub struct Attacker {
    socket: PacketSocket,
    server_mac: Mac,
    server: Ipv4Addr,
    dice: u64,
}

/// A segment that is sent or that came.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub client: SocketAddrV4,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
}

impl Attacker {
    /// Lives in the calling thread's namespace, whose kernel must have spoken to the server.
    pub fn new(seed: u64) -> Result<Self> {
        let table = std::fs::read_to_string("/proc/thread-self/net/arp")?;
        let line = table.lines().find(|line| line.starts_with(&format!("{SERVER_ADDRESS} ")));
        let mac = line.and_then(|line| line.split_whitespace().nth(3)).context("no neighbour entry")?;
        let mut bytes = [0; 6];
        for (byte, text) in bytes.iter_mut().zip(mac.split(':')) {
            *byte = u8::from_str_radix(text, 16)?;
        }
        Ok(Self {
            socket: PacketSocket::open(CLIENT_INTERFACE)?,
            server_mac: Mac(bytes),
            server: SERVER_ADDRESS.parse()?,
            dice: seed,
        })
    }

    pub fn random(&mut self) -> u32 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 32) as u32
    }

    /// An address out of the whole Internet that one host can have, and a port.
    pub fn random_source(&mut self) -> SocketAddrV4 {
        loop {
            let address = Ipv4Addr::from(self.random());
            let first = address.octets()[0];
            // Not this network, not 127/8, not what is for groups or later.
            if (1..224).contains(&first) && first != 127 && first != 198 {
                return SocketAddrV4::new(address, (self.random() >> 16) as u16 | 1);
            }
        }
    }

    /// A segment from a random source with random numbers.
    pub fn random_segment(&mut self, flags: Flags) -> Segment {
        Segment { client: self.random_source(), seq: self.random(), ack: self.random(), flags }
    }

    /// Sends a segment to the server's port.
    pub fn send(&self, segment: &Segment) -> Result<()> {
        let syn = segment.flags.has(Flags::SYN);
        let options = Options { mss: syn.then_some(1460), ..Options::default() };
        let tcp_len = tcp::HEADER_LEN + options.emitted_len();
        let mut frame = vec![0; ethernet::HEADER_LEN + ipv4::HEADER_LEN + tcp_len];
        ethernet::Header { dst: self.server_mac, src: MAC, ether_type: EtherType::Ipv4 }.emit(&mut frame);
        let packet = &mut frame[ethernet::HEADER_LEN..];
        let (src, dst) = (*segment.client.ip(), self.server);
        ipv4::Header::outgoing(src, dst, PROTOCOL_TCP, tcp_len).emit(packet);
        let out = &mut packet[ipv4::HEADER_LEN..];
        Header {
            src_port: segment.client.port(),
            dst_port: 6379,
            seq: SeqNumber(segment.seq),
            ack: SeqNumber(segment.ack),
            flags: segment.flags,
            window: 0xffff,
            urgent: 0,
            header_len: tcp_len,
        }
        .emit(&options, out);
        fill_checksum(src.into(), dst.into(), out);
        self.socket.send(&frame).context("sending a forged segment")
    }

    /// The next segment that the server sent to the attacker's hardware address.
    pub fn receive(&mut self) -> Option<Segment> {
        loop {
            let frame = self.socket.receive()?.frame;
            let Ok(header) = ethernet::Header::parse(&frame) else { continue };
            if header.dst != MAC || header.ether_type != EtherType::Ipv4 {
                continue;
            }
            let packet = &frame[ethernet::HEADER_LEN..];
            let Ok(ip) = ipv4::Header::parse(packet) else { continue };
            let Ok(tcp) = Header::parse(&packet[ip.header_len..ip.total_len]) else { continue };
            return Some(Segment {
                client: SocketAddrV4::new(ip.dst, tcp.dst_port),
                seq: tcp.seq.0,
                ack: tcp.ack.0,
                flags: tcp.flags,
            });
        }
    }
}
