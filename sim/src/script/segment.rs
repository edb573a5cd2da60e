//! A segment as a script writes it, and as bytes.

use std::net::IpAddr;

use protocol::ethernet::{self, EtherType, Mac};
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};
use protocol::{ip, ipv4};

use crate::packet::{Route, fix_checksums, tcp_at, tcp_frame, tcp_frame_with};

/// A number that the script gives or leaves open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// This one.
    Is(u32),
    /// `*`: any; injected, the last one that the subject sent.
    Any,
}

/// An option as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TcpOption {
    /// `mss N`
    Mss(u16),
    /// `wscale N`
    WindowScale(Number),
    /// `sackOK`
    SackPermitted,
    /// `TS val N ecr N`
    Timestamps(Number, Number),
    /// `sack L:R`, relative to the peer's (injected: the subject's) initial number.
    Sack(u32, u32),
}

/// The options of a segment as written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionList {
    /// In the order of the script.
    pub options: Vec<TcpOption>,
    /// `...` at the end: there may be more.
    pub more: bool,
    /// `bytes HEX`: injected behind the others as they are.
    pub bytes: Vec<u8>,
}

/// A segment as written. Numbers are relative to the initial ones of their side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The peer's TCP port.
    pub peer_port: u16,
    /// The subject's port, where it is not the connection's.
    pub port: Option<u16>,
    /// Control bits.
    pub flags: Flags,
    /// First number, relative.
    pub seq: u32,
    /// Bytes of payload.
    pub len: usize,
    /// Relative; `None` without ACK.
    pub ack: Option<u32>,
    /// As in the header; `None`: injected, the largest; expected, any.
    pub window: Option<u16>,
    /// Urgent pointer.
    pub urgent: u16,
    /// `None`: injected, none; expected, any.
    pub options: Option<OptionList>,
    /// The payload if it is not the pattern.
    pub literal: Option<Vec<u8>>,
    /// `offset N`: a data offset of N words, whatever the options are.
    pub data_offset: Option<u8>,
    /// `badsum`: with a wrong checksum.
    pub bad_checksum: bool,
    /// `may-fragment`: expected without "don't fragment".
    pub may_fragment: bool,
}

/// Byte `at` of the stream that scripts send and expect where they spell nothing out; `at`
/// counts from the first byte behind the SYN.
pub fn pattern(at: u32) -> u8 {
    b'a' + (at % 23) as u8
}

impl Segment {
    /// The payload: the literal, or the pattern from the segment's place in the stream on.
    pub fn payload(&self) -> Vec<u8> {
        match &self.literal {
            Some(literal) => literal.clone(),
            None => (0..self.len as u32).map(|n| pattern(self.seq.wrapping_sub(1).wrapping_add(n))).collect(),
        }
    }
}

/// Addresses of the two sides.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// The script's side.
    pub peer_mac: Mac,
    /// The script's address.
    pub peer: IpAddr,
    /// The subject's side.
    pub subject_mac: Mac,
    /// The subject's address, of the same version.
    pub subject: IpAddr,
    /// The subject's port.
    pub port: u16,
}

/// What has to be known to turn relative numbers into real ones.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin {
    /// Initial number of the peer.
    pub peer: SeqNumber,
    /// Initial number of the subject, once it has shown one; 0 before.
    pub subject: SeqNumber,
    /// The subject's port, when it opened the connection; otherwise the one it listens on.
    pub port: Option<u16>,
    /// The last TSval of the subject.
    pub last_timestamp: u32,
}

/// Builds the frame of an injected segment.
pub fn build(segment: &Segment, origin: &Origin, addresses: &Addresses) -> Vec<u8> {
    let mut options = Options::default();
    for option in segment.options.iter().flat_map(|list| &list.options) {
        match *option {
            TcpOption::Mss(mss) => options.mss = Some(mss),
            TcpOption::WindowScale(Number::Is(shift)) => options.window_scale = Some(shift as u8),
            TcpOption::WindowScale(Number::Any) => {}
            TcpOption::SackPermitted => options.sack_permitted = true,
            TcpOption::Timestamps(value, echo) => {
                let number = |number, any| match number {
                    Number::Is(is) => is,
                    Number::Any => any,
                };
                let echo = number(echo, origin.last_timestamp);
                options.timestamps = Some(Timestamps { value: number(value, 0), echo });
            }
            TcpOption::Sack(left, right) => {
                let at = usize::from(options.sack_count);
                if let Some(slot) = options.sack.get_mut(at) {
                    *slot = (origin.subject + left, origin.subject + right);
                    options.sack_count += 1;
                }
            }
        }
    }
    let payload = segment.payload();
    let header = tcp::Header {
        src_port: segment.peer_port,
        dst_port: segment.port.or(origin.port).unwrap_or(addresses.port),
        seq: origin.peer + segment.seq,
        ack: segment.ack.map_or(SeqNumber(0), |ack| origin.subject + ack),
        flags: segment.flags,
        window: segment.window.unwrap_or(u16::MAX),
        urgent: segment.urgent,
        header_len: 0,
    };
    let route = Route {
        src_mac: addresses.peer_mac,
        dst_mac: addresses.subject_mac,
        src: addresses.peer.into(),
        dst: addresses.subject.into(),
    };
    let bytes = segment.options.as_ref().map_or(&[][..], |list| &list.bytes);
    let mut frame = tcp_frame_with(&route, &header, &options, bytes, &payload);
    let tcp_at = tcp_at(route.src.version());
    if let Some(words) = segment.data_offset {
        frame[tcp_at + 12] = words << 4;
        fix_checksums(&mut frame);
    }
    if segment.bad_checksum {
        frame[tcp_at + 16] ^= 0x55;
    }
    frame
}

/// Builds the frame of a segment as the subject has sent it, as far as its first eight bytes.
pub fn build_sent(segment: &Segment, origin: &Origin, addresses: &Addresses) -> Vec<u8> {
    let header = tcp::Header {
        src_port: segment.port.or(origin.port).unwrap_or(addresses.port),
        dst_port: segment.peer_port,
        seq: origin.subject + segment.seq,
        ack: segment.ack.map_or(SeqNumber(0), |ack| origin.peer + ack),
        flags: segment.flags,
        window: segment.window.unwrap_or(u16::MAX),
        urgent: segment.urgent,
        header_len: 0,
    };
    let route = Route {
        src_mac: addresses.subject_mac,
        dst_mac: addresses.peer_mac,
        src: addresses.subject.into(),
        dst: addresses.peer.into(),
    };
    tcp_frame(&route, &header, &Options::default(), &segment.payload())
}

/// A segment that the subject has sent.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The header.
    pub header: tcp::Header,
    /// Its options.
    pub options: Options,
    /// The payload.
    pub payload: Vec<u8>,
    /// Routers may fragment it.
    pub may_fragment: bool,
}

/// Reads a frame of the subject; `None` when it is no TCP segment (ARP and the like).
///
/// # Errors
/// What is wrong with it: a subject must never send a malformed packet.
pub fn read(frame: &[u8], addresses: &Addresses) -> Result<Option<Sent>, String> {
    let link = ethernet::Header::parse(frame).map_err(|error| format!("Ethernet header: {error:?}"))?;
    if !matches!(link.ether_type, EtherType::Ipv4 | EtherType::Ipv6) {
        return Ok(None);
    }
    let packet = &frame[ethernet::HEADER_LEN..];
    let ip = ip::Header::parse(packet).map_err(|error| format!("IP header: {error:?}"))?;
    if ip.protocol != ipv4::PROTOCOL_TCP {
        return Ok(None);
    }
    if link.dst != addresses.peer_mac {
        return Err(format!("sent to {} instead of {}", link.dst, addresses.peer_mac));
    }
    if link.ether_type != ip::ether_type(ip.src.version()) {
        return Err(format!("a packet of {} as {:?}", ip.src, link.ether_type));
    }
    if (ip.src, ip.dst) != (addresses.subject.into(), addresses.peer.into()) {
        return Err(format!("from {} to {}", ip.src, ip.dst));
    }
    let segment = &packet[ip.header_len..ip.total_len];
    let header = tcp::Header::parse(segment).map_err(|error| format!("TCP header: {error:?}"))?;
    if !tcp::verify_checksum(ip.src, ip.dst, segment, false) {
        return Err("its TCP checksum is wrong".to_owned());
    }
    let options = header.options(segment);
    let payload = segment[header.header_len..].to_vec();
    Ok(Some(Sent { payload, header, options, may_fragment: !ip.dont_fragment }))
}

/// Whether `sent` is the first part of what was expected, where a host may send two segments
/// instead of one: an acknowledgment before what could have carried it, or data before its FIN.
/// What is left to come stays in `expected`.
pub fn takes_apart(expected: &mut Segment, sent: &Sent, origin: &Origin) -> bool {
    let carries = expected.len > 0 || expected.flags.has(Flags::FIN);
    let connected = expected.flags.has(Flags::ACK) && !expected.flags.any(Flags::SYN | Flags::RST);
    if !carries || !connected {
        return false;
    }
    let without_fin = Flags(expected.flags.0 & !Flags::FIN.0);
    let ack = Segment { flags: without_fin, len: 0, literal: None, ..expected.clone() };
    if difference(&ack, sent, origin, false).is_none() {
        return true;
    }
    let data = Segment { flags: without_fin, ..expected.clone() };
    if expected.flags.has(Flags::FIN) && difference(&data, sent, origin, false).is_none() {
        expected.seq = expected.seq.wrapping_add(expected.len as u32);
        (expected.len, expected.literal) = (0, None);
        return true;
    }
    false
}

/// How `sent` differs from what was expected; `None` when it does not. `windows`: compare them
/// exactly, not only whether they are closed, and whether routers may fragment it.
pub fn difference(expected: &Segment, sent: &Sent, origin: &Origin, windows: bool) -> Option<String> {
    let differs = |what: &str, wanted: &dyn std::fmt::Display, got: &dyn std::fmt::Display| {
        Some(format!("{what} {got} instead of {wanted}"))
    };
    let header = &sent.header;
    // PSH is a hint about the sender's buffers (RFC 9293 §3.9.1.2), so it is not compared.
    let essential = |flags: Flags| Flags(flags.0 & !Flags::PSH.0);
    if essential(expected.flags) != essential(header.flags) {
        let show = netcore::decode::flags;
        return differs("flags", &show(expected.flags), &show(header.flags));
    }
    // Without a connection numbers are what the injected segment said.
    if let Some(port) = expected.port
        && port != header.src_port
    {
        return differs("from port", &port, &header.src_port);
    }
    let seq = header.seq.distance_from(origin.subject);
    if seq != expected.seq {
        return differs("seq", &expected.seq, &seq);
    }
    if sent.payload.len() != expected.len {
        return differs("length", &expected.len, &sent.payload.len());
    }
    if let Some(wanted) = expected.ack {
        let ack = header.ack.distance_from(origin.peer);
        if ack != wanted {
            return differs("ack", &wanted, &ack);
        }
    }
    if let Some(wanted) = expected.window
        && if windows { wanted != header.window } else { (wanted == 0) != (header.window == 0) }
    {
        return differs("win", &wanted, &header.window);
    }
    if windows && expected.may_fragment != sent.may_fragment {
        return differs("may be fragmented:", &expected.may_fragment, &sent.may_fragment);
    }
    let payload = expected.payload();
    if payload != sent.payload {
        return differs("payload", &payload.escape_ascii(), &sent.payload.escape_ascii());
    }
    options_difference(expected.options.as_ref()?, &sent.options, origin)
}

fn options_difference(expected: &OptionList, sent: &Options, origin: &Origin) -> Option<String> {
    let matches = |number: Number, is: u32| number == Number::Any || number == Number::Is(is);
    let mut left = *sent;
    let mut sacks = sent.sack_blocks().iter();
    for option in &expected.options {
        let found = match *option {
            TcpOption::Mss(mss) => left.mss.take() == Some(mss),
            TcpOption::WindowScale(wanted) => {
                left.window_scale.take().is_some_and(|shift| matches(wanted, u32::from(shift)))
            }
            TcpOption::SackPermitted => std::mem::take(&mut left.sack_permitted),
            TcpOption::Timestamps(value, echo) => left
                .timestamps
                .take()
                .is_some_and(|timestamps| matches(value, timestamps.value) && matches(echo, timestamps.echo)),
            TcpOption::Sack(from, to) => {
                left.sack_count = left.sack_count.saturating_sub(1);
                sacks.next() == Some(&(origin.peer + from, origin.peer + to))
            }
        };
        if !found {
            return Some(format!("{option:?} is not among its options{}", netcore::decode::options(sent)));
        }
    }
    let rest = netcore::decode::options(&left);
    (!expected.more && !rest.is_empty()).then(|| format!("options{rest} were not expected"))
}
