//! From received bytes to a segment, and from a decision to the bytes of a frame.

use netcore::frame::complete_segment;
use netcore::{FourTuple, Frame};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, Options, SeqNumber};
use protocol::{Malformed, ipv4, ipv6};

/// A TCP segment from the wire; offsets count from the start of the frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) tuple: FourTuple,
    pub(crate) tcp: tcp::Header,
    pub(crate) src_mac: Mac,
    pub(crate) dst_mac: Mac,
    pub(crate) tcp_at: usize,
    /// Where the IP packet ends; link-layer padding may follow.
    pub(crate) end: usize,
}

impl Segment {
    /// Bytes of data.
    #[inline]
    pub(crate) fn data_len(&self) -> u32 {
        (self.end - self.tcp_at - self.tcp.header_len) as u32
    }

    #[inline]
    pub(crate) fn has(&self, flags: Flags) -> bool {
        self.tcp.flags.any(flags)
    }

    /// The sequence number behind the data; a FIN stands there.
    #[inline]
    pub(crate) fn data_end(&self) -> SeqNumber {
        self.tcp.seq + self.data_len()
    }

    #[inline]
    pub(crate) fn options(&self, bytes: &[u8]) -> Options {
        self.tcp.options(&bytes[self.tcp_at..self.end])
    }

    /// False for a source that nothing may be sent to (RFC 1122 §3.2.1.3), or that claims to be us.
    pub(crate) fn may_be_answered(&self) -> bool {
        let FourTuple { remote_addr: addr, local_addr, .. } = self.tuple;
        addr != local_addr && !addr.is_never_a_host() && !self.src_mac.is_multicast()
    }

    pub(crate) fn checksum_is_good(&self, bytes: &[u8], allow_partial: bool) -> bool {
        let FourTuple { local_addr, remote_addr, .. } = self.tuple;
        tcp::verify_checksum(remote_addr, local_addr, &bytes[self.tcp_at..self.end], allow_partial)
    }
}

/// What a frame is.
#[derive(Debug)]
pub(crate) enum Parsed {
    Tcp(Segment),
    /// A piece of an IP packet.
    Fragment,
    /// ICMP of either version: perhaps news of a flow.
    Icmp,
    /// ARP, ICMP and whatever else is not TCP over IP.
    Other,
    /// A message of the host's channel, which nobody on the wire has any business to send.
    Channel,
    Malformed,
}

/// Looks at a frame as it came from the wire.
// Always in place: as a call its result goes through memory twice, and waits there.
#[inline(always)]
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    let Ok(link) = ethernet::Header::parse(bytes) else { return Parsed::Malformed };
    match link.ether_type {
        EtherType::Ipv4 | EtherType::Ipv6 => {}
        EtherType::Channel => return Parsed::Channel,
        EtherType::Arp | EtherType::Other(_) => return Parsed::Other,
    }
    match parse_packet(&bytes[ethernet::HEADER_LEN..]) {
        Ok(Some((ip, tcp))) => Parsed::Tcp(Segment {
            tuple: FourTuple {
                local_addr: ip.dst,
                remote_addr: ip.src,
                local_port: tcp.dst_port,
                remote_port: tcp.src_port,
            },
            tcp,
            src_mac: link.src,
            dst_mac: link.dst,
            tcp_at: ethernet::HEADER_LEN + ip.header_len,
            end: ethernet::HEADER_LEN + ip.total_len,
        }),
        Ok(None) => parse_other(&bytes[ethernet::HEADER_LEN..]),
        // The host answers what is wrong with IPv6's extension headers.
        Err(Malformed::Value) => Parsed::Other,
        Err(_) => Parsed::Malformed,
    }
}

/// The four-tuple of a plain TCP frame, read without most checks: when [`parse`] finds a segment there,
/// it has this one.
#[inline]
pub(crate) fn peek_tuple(bytes: &[u8]) -> Option<FourTuple> {
    let b = bytes.first_chunk::<38>()?;
    let port = |b: &[u8], at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    if b[12..15] == [0x08, 0x00, 0x45] && b[23] == ipv4::PROTOCOL_TCP {
        let addr = |at: usize| Address::v4(core::net::Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]));
        return Some(FourTuple {
            local_addr: addr(30),
            remote_addr: addr(26),
            local_port: port(b, 36),
            remote_port: port(b, 34),
        });
    }
    let b = bytes.first_chunk::<58>()?;
    if b[12..14] != [0x86, 0xdd] || b[20] != ipv4::PROTOCOL_TCP {
        return None;
    }
    let addr = |at: usize| Address::from(core::array::from_fn::<u8, 16, _>(|n| b[at + n]));
    Some(FourTuple {
        local_addr: addr(38),
        remote_addr: addr(22),
        local_port: port(b, 56),
        remote_port: port(b, 54),
    })
}

/// The flow's slot in a message of the host, read without any check: a hint only.
#[inline]
pub(crate) fn peek_slot(bytes: &[u8]) -> Option<u32> {
    let b = bytes.first_chunk::<{ ethernet::HEADER_LEN + 12 }>()?;
    (b[12..14] == [0x88, 0xb5]).then(|| u32::from_le_bytes([b[22], b[23], b[24], b[25]]))
}

/// Headers of an IP packet; `None` when it is not a whole TCP segment.
#[inline(always)] // As `parse`.
pub(crate) fn parse_packet(packet: &[u8]) -> Result<Option<(ip::Header, tcp::Header)>, Malformed> {
    let ip = ip::Header::parse(packet)?;
    if ip.protocol != ipv4::PROTOCOL_TCP || ip.fragment {
        return Ok(None);
    }
    let tcp = tcp::Header::parse(&packet[ip.header_len..ip.total_len])?;
    Ok(Some((ip, tcp)))
}

/// What an IP packet is that holds no whole TCP segment.
#[cold]
fn parse_other(packet: &[u8]) -> Parsed {
    match ip::Header::parse(packet) {
        Ok(ip) if ip.fragment => Parsed::Fragment,
        Ok(ip) if matches!(ip.protocol, ipv4::PROTOCOL_ICMP | ipv6::NEXT_ICMP) => Parsed::Icmp,
        Ok(_) => Parsed::Other,
        Err(_) => Parsed::Malformed,
    }
}

/// A segment of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) from: Mac,
    pub(crate) to: Mac,
    pub(crate) tuple: FourTuple,
    pub(crate) seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    /// Time to live.
    pub(crate) ttl: u8,
    /// The identification, where routers may fragment it (IPv4).
    pub(crate) ident: Option<u16>,
    pub(crate) options: Options,
    pub(crate) data: &'a [u8],
}

impl Outgoing<'_> {
    /// Writes the segment into a frame, in place of what is there; false when it has no room.
    /// `tx_checksum`: the device computes its checksum.
    #[inline]
    pub(crate) fn write(&self, frame: &mut impl Frame, tx_checksum: bool) -> bool {
        frame.reset();
        let FourTuple { local_addr: src, remote_addr: dst, local_port, remote_port } = self.tuple;
        let version = src.version();
        let tcp_at = ethernet::HEADER_LEN + ip::header_len(version);
        let tcp_len = tcp::HEADER_LEN + self.options.emitted_len() + self.data.len();
        let Some(out) = frame.append(tcp_at + tcp_len) else { return false };
        ethernet::Header { dst: self.to, src: self.from, ether_type: ip::ether_type(version) }.emit(out);
        ip::emit_with_ttl(
            &src,
            &dst,
            ipv4::PROTOCOL_TCP,
            (0, self.ttl),
            tcp_len,
            &mut out[ethernet::HEADER_LEN..],
        );
        if let Some(ident) = self.ident {
            ipv4::allow_fragments(&mut out[ethernet::HEADER_LEN..], ident);
        }
        let header = tcp::Header {
            src_port: local_port,
            dst_port: remote_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            header_len: tcp::HEADER_LEN,
        };
        let segment = &mut out[tcp_at..];
        let header_len = header.emit(&self.options, segment);
        segment[header_len..].copy_from_slice(self.data);
        complete_segment(frame, tx_checksum, (src, dst), tcp_at..tcp_at + tcp_len);
        true
    }
}
