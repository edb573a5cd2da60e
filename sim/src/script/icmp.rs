//! ICMP errors that scripts inject: each quotes a segment that the subject has sent (RFC 792).

use protocol::checksum::Sum;
use protocol::{ethernet, icmp, ipv4};

use super::segment::{self, Addresses, Origin, Segment};
use crate::packet::{Route, TCP_AT, ip_frame};

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
    let quoted = &sent[ethernet::HEADER_LEN..TCP_AT + QUOTED_BYTES];
    let (kind, code, word) = error.kind.numbers();
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend_from_slice(quoted);
    let checksum = Sum::new().add(&message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
    debug_assert!(icmp::parse(&message).is_ok());
    ip_frame(&route, ipv4::PROTOCOL_ICMP, &message)
}
