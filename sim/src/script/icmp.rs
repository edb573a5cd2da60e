//! ICMP errors that scripts inject: each quotes a segment that the subject has sent (RFC 792).

use protocol::checksum::{self, Sum};
use protocol::ip::Version;
use protocol::{ethernet, icmp, icmp_error, ipv4, ipv6};

use super::segment::{self, Addresses, Origin, Segment};
use crate::packet::{Route, ip_frame, tcp_at};

/// Bytes of the quoted segment: what every router quotes (RFC 792), ports and sequence number.
const QUOTED_BYTES: usize = 8;

/// What went wrong, in words that both versions of ICMP have a number for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpKind {
    /// `net-unreachable`
    NetUnreachable,
    /// `host-unreachable`
    HostUnreachable,
    /// `protocol-unreachable`
    ProtocolUnreachable,
    /// `port-unreachable`
    PortUnreachable,
    /// `too-big MTU`; 0: an old router that does not say how much would fit.
    TooBig(u32),
    /// `source-route-failed`
    SourceRouteFailed,
    /// `prohibited`
    Prohibited,
    /// `time-exceeded`
    TimeExceeded,
    /// `parameter-problem`
    ParameterProblem,
    /// `source-quench`
    SourceQuench,
}

impl IcmpKind {
    /// Type, code and second word of the message (RFC 792, RFC 1191 §4, RFC 1812 §5.2.7.1).
    fn numbers(self) -> (u8, u8, u32) {
        match self {
            Self::NetUnreachable => (3, 0, 0),
            Self::HostUnreachable => (3, 1, 0),
            Self::ProtocolUnreachable => (3, 2, 0),
            Self::PortUnreachable => (3, 3, 0),
            Self::TooBig(mtu) => (3, 4, mtu & 0xffff),
            Self::SourceRouteFailed => (3, 5, 0),
            Self::Prohibited => (3, 13, 0),
            Self::SourceQuench => (4, 0, 0),
            Self::TimeExceeded => (11, 0, 0),
            Self::ParameterProblem => (12, 0, 0),
        }
    }
}

/// Bytes that a header of IPv6 is longer than one of IPv4. What scripts say of sizes of packets is
/// meant for IPv4; over IPv6 segments are the same, and packets are so much longer.
pub const LONGER_V6: usize = ipv6::HEADER_LEN - ipv4::HEADER_LEN;

impl IcmpKind {
    /// The same of ICMPv6 (RFC 4443 §3); `None`: it has no such error.
    fn numbers_v6(self) -> Option<(u8, u8, u32)> {
        Some(match self {
            Self::NetUnreachable => (1, 0, 0),
            Self::HostUnreachable => (1, 3, 0),
            Self::PortUnreachable => (1, 4, 0),
            Self::Prohibited => (1, 1, 0),
            // RFC 8201 §4: no packet need be smaller than the least MTU of IPv6.
            Self::TooBig(mtu) if mtu as usize + LONGER_V6 >= icmp_error::mtu_min(Version::V6) => {
                (2, 0, mtu + LONGER_V6 as u32)
            }
            Self::TimeExceeded => (3, 0, 0),
            Self::ParameterProblem => (4, 0, 0),
            // "Unrecognized next header", which is where that number stands.
            Self::ProtocolUnreachable => (4, 1, 6),
            Self::TooBig(_) | Self::SourceRouteFailed | Self::SourceQuench => return None,
        })
    }

    /// Whether this version of ICMP can say it.
    pub fn exists_in(self, version: Version) -> bool {
        version == Version::V4 || self.numbers_v6().is_some()
    }
}

/// An error and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What went wrong.
    pub kind: IcmpKind,
    /// The segment of the subject; numbers as in a `>` line.
    pub quoted: Segment,
}

/// Builds the frame of an injected error; the peer's address is its sender.
pub fn build(error: &IcmpError, origin: &Origin, addresses: &Addresses) -> Vec<u8> {
    let route = Route {
        src_mac: addresses.peer_mac,
        dst_mac: addresses.subject_mac,
        src: addresses.peer.into(),
        dst: addresses.subject.into(),
    };
    let sent = segment::build_sent(&error.quoted, origin, addresses);
    let version = route.src.version();
    let quoted = &sent[ethernet::HEADER_LEN..tcp_at(version) + QUOTED_BYTES];
    let (kind, code, word) = match version {
        Version::V4 => error.kind.numbers(),
        Version::V6 => error.kind.numbers_v6().unwrap_or_else(|| error.kind.numbers()),
    };
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend_from_slice(quoted);
    let pseudo_header = match version {
        Version::V4 => Sum::new(),
        Version::V6 => checksum::pseudo_header(route.src, route.dst, ipv6::NEXT_ICMP, message.len()),
    };
    let sum = pseudo_header.add(&message).finish();
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    debug_assert!(version == Version::V6 || icmp::parse(&message).is_ok());
    let protocol = if version == Version::V4 { ipv4::PROTOCOL_ICMP } else { ipv6::NEXT_ICMP };
    ip_frame(&route, protocol, &message)
}
