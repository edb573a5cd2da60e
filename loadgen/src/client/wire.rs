//! Frames in and out: one header template, checksums in software, ARP.
//!
//! Source: RFC 826, RFC 791, RFC 9293 §3.1.

use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::{Duration, Frame, FramePool, FrameQueue, Instant, RxChecksum};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::tcp::{self, Flags, Options, SeqNumber, TIMESTAMPS_LEN, Timestamps};
use protocol::{arp, ipv4};

use super::ClientConfig;
use super::ports::Local;
use crate::results::WireCounters;

/// Frames that may wait for the port.
pub(super) const TX_QUEUE: usize = 1024;
const IP_AT: usize = ethernet::HEADER_LEN;
const TCP_AT: usize = IP_AT + ipv4::HEADER_LEN;
const TEMPLATE_LEN: usize = TCP_AT + tcp::HEADER_LEN + TIMESTAMPS_LEN;
/// How often an unanswered ARP request is sent again.
const ARP_INTERVAL: Duration = Duration::from_millis(250);

/// What goes out and changes from segment to segment.
pub(super) struct Outgoing<'a> {
    pub(super) local: Local,
    pub(super) seq: SeqNumber,
    pub(super) ack: SeqNumber,
    pub(super) flags: Flags,
    pub(super) window: u16,
    pub(super) timestamps: Option<Timestamps>,
    pub(super) payload: &'a [u8],
}

/// A segment from the target, checked.
pub(super) struct Incoming<'a> {
    pub(super) addr: Ipv4Addr,
    pub(super) header: tcp::Header,
    pub(super) options: Options,
    pub(super) payload: &'a [u8],
}

pub(super) struct Wire<F> {
    mac: Mac,
    pub(super) target: SocketAddrV4,
    next_hop: Ipv4Addr,
    next_hop_mac: Option<Mac>,
    ask_at: Instant,
    partial_checksums: bool,
    /// Ethernet, IPv4 and TCP with timestamps, for the target.
    template: [u8; TEMPLATE_LEN],
    pub(super) tx: FrameQueue<F>,
    pub(super) counters: WireCounters,
}

impl<F: Frame> Wire<F> {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let mut wire = Self {
            mac: config.mac,
            target: config.target,
            next_hop: config.next_hop(),
            next_hop_mac: None,
            ask_at: Instant::ZERO,
            partial_checksums: config.rx_partial_checksum,
            template: [0; TEMPLATE_LEN],
            tx: FrameQueue::with_capacity(TX_QUEUE),
            counters: WireCounters::default(),
        };
        if let Some(mac) = config.next_hop_mac {
            wire.resolved(mac);
        }
        wire
    }

    pub(super) fn next_hop_mac(&self) -> Option<Mac> {
        self.next_hop_mac
    }

    /// When [`Self::resolve`] is due.
    pub(super) fn ask_at(&self) -> Instant {
        self.ask_at
    }

    fn resolved(&mut self, mac: Mac) {
        self.next_hop_mac = Some(mac);
        let ethernet = ethernet::Header { dst: mac, src: self.mac, ether_type: EtherType::Ipv4 };
        ethernet.emit(&mut self.template);
        ipv4::Header::outgoing(Ipv4Addr::UNSPECIFIED, *self.target.ip(), ipv4::PROTOCOL_TCP, 0)
            .emit(&mut self.template[IP_AT..]);
        let header = tcp::Header {
            src_port: 0,
            dst_port: self.target.port(),
            seq: SeqNumber(0),
            ack: SeqNumber(0),
            flags: Flags::ACK,
            window: 0,
            urgent: 0,
            header_len: 0,
        };
        let options = Options { timestamps: Some(Timestamps::default()), ..Options::default() };
        header.emit(&options, &mut self.template[TCP_AT..]);
    }

    /// Asks for the next hop's hardware address when an answer is overdue.
    pub(super) fn resolve<L: FramePool<Frame = F>>(&mut self, from: Ipv4Addr, pool: &mut L, now: Instant) {
        if now >= self.ask_at {
            self.ask_at = now + ARP_INTERVAL;
            let request = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: self.mac,
                sender_addr: from,
                target_mac: Mac::default(),
                target_addr: self.next_hop,
            };
            self.send_arp(&request, ethernet::BROADCAST, pool);
        }
    }

    fn send_arp<L: FramePool<Frame = F>>(&mut self, packet: &arp::Packet, to: Mac, pool: &mut L) {
        let header = ethernet::Header { dst: to, src: self.mac, ether_type: EtherType::Arp };
        let len = ethernet::HEADER_LEN + arp::PACKET_LEN;
        queue(&mut self.tx, &mut self.counters, pool, len, |bytes| {
            header.emit(bytes);
            packet.emit(&mut bytes[ethernet::HEADER_LEN..]);
        });
    }

    /// Takes an ARP packet; `owned` tells which addresses are ours.
    pub(super) fn received_arp<L: FramePool<Frame = F>>(
        &mut self,
        bytes: &[u8],
        owned: impl Fn(Ipv4Addr) -> bool,
        pool: &mut L,
    ) {
        let Ok(packet) = arp::Packet::parse(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        if packet.sender_addr == self.next_hop
            && owned(packet.target_addr)
            && !packet.sender_mac.is_multicast()
        {
            self.resolved(packet.sender_mac);
        }
        if packet.operation == arp::Operation::Request && owned(packet.target_addr) {
            let reply = arp::Packet {
                operation: arp::Operation::Reply,
                sender_mac: self.mac,
                sender_addr: packet.target_addr,
                target_mac: packet.sender_mac,
                target_addr: packet.sender_addr,
            };
            self.send_arp(&reply, packet.sender_mac, pool);
        }
    }

    /// Finds the payload type of a frame that is for us.
    #[inline]
    pub(super) fn ether_type(&mut self, frame: &[u8]) -> Option<EtherType> {
        match ethernet::Header::parse(frame) {
            Ok(header) if header.dst == self.mac || header.dst.is_multicast() => Some(header.ether_type),
            Ok(_) => {
                self.counters.foreign += 1;
                None
            }
            Err(_) => {
                self.counters.malformed += 1;
                None
            }
        }
    }

    /// Checks an IPv4 frame and finds the segment in it, if it comes from the target.
    #[inline]
    pub(super) fn segment<'a>(&mut self, frame: &'a F) -> Option<Incoming<'a>> {
        let packet = &frame.bytes()[IP_AT..];
        let ip = match ipv4::Header::parse(packet) {
            Ok(ip) if !ip.fragment => ip,
            Err(protocol::Malformed::Checksum) => {
                self.counters.bad_checksum += 1;
                return None;
            }
            _ => {
                self.counters.malformed += 1;
                return None;
            }
        };
        if ip.src != *self.target.ip() || ip.protocol != ipv4::PROTOCOL_TCP {
            self.counters.foreign += 1;
            return None;
        }
        let segment = &packet[ip.header_len..ip.total_len];
        let Ok(header) = tcp::Header::parse(segment) else {
            self.counters.malformed += 1;
            return None;
        };
        if header.src_port != self.target.port() {
            self.counters.foreign += 1;
            return None;
        }
        let good = match frame.rx_checksum() {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => {
                tcp::verify_checksum(ip.src.into(), ip.dst.into(), segment, self.partial_checksums)
            }
        };
        if !good {
            self.counters.bad_checksum += 1;
            return None;
        }
        let options = header.options(segment);
        Some(Incoming { addr: ip.dst, options, payload: &segment[header.header_len..], header })
    }

    /// Sends a SYN with its options.
    pub(super) fn send_syn<L>(
        &mut self,
        local: Local,
        seq: SeqNumber,
        window: u16,
        options: &Options,
        pool: &mut L,
    ) where
        L: FramePool<Frame = F>,
    {
        let target = self.target;
        let segment_len = tcp::HEADER_LEN + options.emitted_len();
        let template = &self.template;
        let header = tcp::Header {
            src_port: local.port,
            dst_port: target.port(),
            seq,
            ack: SeqNumber(0),
            flags: Flags::SYN,
            window,
            urgent: 0,
            header_len: 0,
        };
        queue(&mut self.tx, &mut self.counters, pool, TCP_AT + segment_len, |bytes| {
            bytes[..IP_AT].copy_from_slice(&template[..IP_AT]);
            ipv4::Header::outgoing(local.addr, *target.ip(), ipv4::PROTOCOL_TCP, segment_len)
                .emit(&mut bytes[IP_AT..]);
            header.emit(options, &mut bytes[TCP_AT..]);
            tcp::fill_checksum(local.addr.into(), (*target.ip()).into(), &mut bytes[TCP_AT..]);
        });
    }

    /// Sends a segment; false when there was no frame for it.
    #[inline]
    pub(super) fn send<L>(&mut self, out: &Outgoing<'_>, pool: &mut L) -> bool
    where
        L: FramePool<Frame = F>,
    {
        let options_len = if out.timestamps.is_some() { TIMESTAMPS_LEN } else { 0 };
        let headers = TCP_AT + tcp::HEADER_LEN + options_len;
        let template = &self.template;
        let target = *self.target.ip();
        queue(&mut self.tx, &mut self.counters, pool, headers + out.payload.len(), |bytes| {
            let total_len = (bytes.len() - IP_AT) as u16;
            let (head, payload) = bytes.split_at_mut(headers);
            head.copy_from_slice(&template[..headers]);
            head[IP_AT + 2..IP_AT + 4].copy_from_slice(&total_len.to_be_bytes());
            head[IP_AT + 12..IP_AT + 16].copy_from_slice(&out.local.addr.octets());
            head[IP_AT + 10..IP_AT + 12].copy_from_slice(&[0, 0]);
            let checksum = protocol::checksum::Sum::new().add(&head[IP_AT..TCP_AT]).finish();
            head[IP_AT + 10..IP_AT + 12].copy_from_slice(&checksum.to_be_bytes());
            let tcp = &mut head[TCP_AT..];
            tcp[0..2].copy_from_slice(&out.local.port.to_be_bytes());
            tcp[4..8].copy_from_slice(&out.seq.0.to_be_bytes());
            tcp[8..12].copy_from_slice(&out.ack.0.to_be_bytes());
            tcp[12] = ((tcp::HEADER_LEN + options_len) as u8 / 4) << 4;
            tcp[13] = out.flags.0;
            tcp[14..16].copy_from_slice(&out.window.to_be_bytes());
            if let Some(timestamps) = out.timestamps {
                tcp[24..28].copy_from_slice(&timestamps.value.to_be_bytes());
                tcp[28..32].copy_from_slice(&timestamps.echo.to_be_bytes());
            }
            payload.copy_from_slice(out.payload);
            tcp::fill_checksum(out.local.addr.into(), target.into(), &mut bytes[TCP_AT..]);
        })
    }
}

/// Queues a frame of `len` bytes, filled by `write`; false when there is none or no room for it.
#[inline]
fn queue<F: Frame, L: FramePool<Frame = F>>(
    tx: &mut FrameQueue<F>,
    counters: &mut WireCounters,
    pool: &mut L,
    len: usize,
    write: impl FnOnce(&mut [u8]),
) -> bool {
    let Some(mut frame) = pool.allocate() else {
        counters.no_frame += 1;
        return false;
    };
    let Some(bytes) = frame.append(len) else {
        counters.no_frame += 1;
        return false;
    };
    write(bytes);
    let queued = tx.push(frame).is_ok();
    counters.sent += u64::from(queued);
    queued
}
