//! Frames in and out: one header template, checksums in software.
//!
//! Source: RFC 791, RFC 8200, RFC 9293 §3.1.

use netcore::{Frame, FramePool, FrameQueue, Instant, RxChecksum};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address, Version};
use protocol::tcp::{self, Flags, Options, SeqNumber, TIMESTAMPS_LEN, Timestamps};
use protocol::{ipv4, ipv6};

use super::ClientConfig;
use super::ports::Local;
use crate::results::WireCounters;

/// Frames that may wait for the port.
pub(super) const TX_QUEUE: usize = 1024;
pub(super) const IP_AT: usize = ethernet::HEADER_LEN;
/// The longest template: with IPv6 and timestamps.
const TEMPLATE_LEN: usize = IP_AT + ipv6::HEADER_LEN + tcp::HEADER_LEN + TIMESTAMPS_LEN;

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
    pub(super) addr: Address,
    pub(super) header: tcp::Header,
    pub(super) options: Options,
    pub(super) payload: &'a [u8],
}

pub(super) struct Wire<F> {
    pub(super) mac: Mac,
    target: Address,
    target_port: u16,
    version: Version,
    pub(super) next_hop: Address,
    next_hop_mac: Option<Mac>,
    pub(super) ask_at: Instant,
    partial_checksums: bool,
    /// Ethernet, IP and TCP with timestamps, for the target.
    template: [u8; TEMPLATE_LEN],
    /// Where TCP begins in a frame.
    tcp_at: usize,
    pub(super) tx: FrameQueue<F>,
    pub(super) counters: WireCounters,
}

impl<F: Frame> Wire<F> {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let target = config.target_addr();
        let version = target.version();
        let mut wire = Self {
            mac: config.mac,
            target,
            target_port: config.target.port(),
            version,
            next_hop: config.next_hop(),
            next_hop_mac: None,
            ask_at: Instant::ZERO,
            partial_checksums: config.rx_partial_checksum,
            template: [0; TEMPLATE_LEN],
            tcp_at: IP_AT + ip::header_len(version),
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

    /// The EtherType that segments come with.
    #[inline]
    pub(super) fn segments_in(&self) -> EtherType {
        ip::ether_type(self.version)
    }

    /// The next hop is there: frames can be made.
    pub(super) fn resolved(&mut self, mac: Mac) {
        self.next_hop_mac = Some(mac);
        let (target, tcp_at) = (self.target, self.tcp_at);
        ethernet::Header { dst: mac, src: self.mac, ether_type: self.segments_in() }.emit(&mut self.template);
        // Its source and length are filled in for each frame.
        ip::emit(&target, &target, ipv4::PROTOCOL_TCP, 0, 0, &mut self.template[IP_AT..]);
        let header = tcp::Header {
            src_port: 0,
            dst_port: self.target_port,
            seq: SeqNumber(0),
            ack: SeqNumber(0),
            flags: Flags::ACK,
            window: 0,
            urgent: 0,
            header_len: 0,
        };
        let options = Options { timestamps: Some(Timestamps::default()), ..Options::default() };
        header.emit(&options, &mut self.template[tcp_at..]);
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

    /// Checks a frame with an IP packet and finds the segment in it, if it comes from the target.
    #[inline]
    pub(super) fn segment<'a>(&mut self, frame: &'a F) -> Option<Incoming<'a>> {
        let packet = &frame.bytes()[IP_AT..];
        let ip = match ip::Header::parse(packet) {
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
        if ip.src != self.target || ip.protocol != ipv4::PROTOCOL_TCP {
            self.counters.foreign += 1;
            return None;
        }
        let segment = &packet[ip.header_len..ip.total_len];
        let Ok(header) = tcp::Header::parse(segment) else {
            self.counters.malformed += 1;
            return None;
        };
        if header.src_port != self.target_port {
            self.counters.foreign += 1;
            return None;
        }
        let good = match frame.rx_checksum() {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => tcp::verify_checksum(ip.src, ip.dst, segment, self.partial_checksums),
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
        let (target, tcp_at) = (self.target, self.tcp_at);
        let segment_len = tcp::HEADER_LEN + options.emitted_len();
        let template = &self.template;
        let header = tcp::Header {
            src_port: local.port,
            dst_port: self.target_port,
            seq,
            ack: SeqNumber(0),
            flags: Flags::SYN,
            window,
            urgent: 0,
            header_len: 0,
        };
        queue(&mut self.tx, &mut self.counters, pool, tcp_at + segment_len, |bytes| {
            bytes[..IP_AT].copy_from_slice(&template[..IP_AT]);
            ip::emit(&local.addr, &target, ipv4::PROTOCOL_TCP, 0, segment_len, &mut bytes[IP_AT..]);
            header.emit(options, &mut bytes[tcp_at..]);
            tcp::fill_checksum(local.addr, target, &mut bytes[tcp_at..]);
        });
    }

    /// Sends a segment; false when there was no frame for it.
    #[inline]
    pub(super) fn send<L>(&mut self, out: &Outgoing<'_>, pool: &mut L) -> bool
    where
        L: FramePool<Frame = F>,
    {
        let options_len = if out.timestamps.is_some() { TIMESTAMPS_LEN } else { 0 };
        let (target, tcp_at, version) = (self.target, self.tcp_at, self.version);
        let headers = tcp_at + tcp::HEADER_LEN + options_len;
        let template = &self.template;
        queue(&mut self.tx, &mut self.counters, pool, headers + out.payload.len(), |bytes| {
            let ip_len = (bytes.len() - IP_AT) as u16;
            let (head, payload) = bytes.split_at_mut(headers);
            head.copy_from_slice(&template[..headers]);
            match version {
                Version::V4 => finish_ipv4(&mut head[IP_AT..tcp_at], out.local.addr, ip_len),
                Version::V6 => finish_ipv6(&mut head[IP_AT..tcp_at], out.local.addr, ip_len),
            }
            let tcp = &mut head[tcp_at..];
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
            tcp::fill_checksum(out.local.addr, target, &mut bytes[tcp_at..]);
        })
    }
}

/// Puts length, source and checksum into a header from the template. `total_len`: of the packet.
#[inline]
fn finish_ipv4(header: &mut [u8], src: Address, total_len: u16) {
    header[2..4].copy_from_slice(&total_len.to_be_bytes());
    header[12..16].copy_from_slice(&src.octets()[12..]);
    header[10..12].copy_from_slice(&[0, 0]);
    let checksum = protocol::checksum::Sum::new().add(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Puts length and source into a header from the template. `total_len`: of the packet.
#[inline]
fn finish_ipv6(header: &mut [u8], src: Address, total_len: u16) {
    header[4..6].copy_from_slice(&(total_len - ipv6::HEADER_LEN as u16).to_be_bytes());
    header[8..24].copy_from_slice(src.octets());
}

/// Queues a frame of `len` bytes, filled by `write`; false when there is none or no room for it.
#[inline]
pub(super) fn queue<F: Frame, L: FramePool<Frame = F>>(
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
