//! ICMP for IPv4 (RFC 792): echo, and the errors that TCP listens to.

use crate::checksum::Sum;
use crate::{Malformed, be16};

/// Bytes of the header that all messages share.
pub const HEADER_LEN: usize = 8;

/// A message, as far as we act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 8: send the same data back.
    EchoRequest,
    /// Type 0.
    EchoReply,
    /// Type 3, destination unreachable; code 4 ("fragmentation needed") carries the next hop's
    /// MTU in bytes (RFC 1191), 0 when an old router does not say.
    Unreachable {
        /// Code field.
        code: u8,
        /// Next hop's MTU in bytes.
        mtu: u16,
    },
    /// Type 4, source quench, which nobody may act on (RFC 6633 §3).
    SourceQuench,
    /// Type 11, time exceeded.
    TimeExceeded {
        /// Code field.
        code: u8,
    },
    /// Type 12, parameter problem.
    ParameterProblem {
        /// Code field.
        code: u8,
    },
    /// Anything else.
    Other(u8),
}

/// Reads and verifies a message; what follows the first [`HEADER_LEN`] bytes is its data.
///
/// # Errors
/// `Truncated`, `Checksum`.
pub fn parse(bytes: &[u8]) -> Result<Message, Malformed> {
    let Some(b) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
    if Sum::new().add(bytes).fold() != 0xffff {
        return Err(Malformed::Checksum);
    }
    Ok(match b[0] {
        0 => Message::EchoReply,
        3 => Message::Unreachable { code: b[1], mtu: be16(b, 6) },
        4 => Message::SourceQuench,
        8 => Message::EchoRequest,
        11 => Message::TimeExceeded { code: b[1] },
        12 => Message::ParameterProblem { code: b[1] },
        other => Message::Other(other),
    })
}

/// Turns an echo request (a whole ICMP message) into its reply in place; panics on fewer than
/// [`HEADER_LEN`] bytes.
pub fn make_echo_reply(message: &mut [u8]) {
    message[0] = 0;
    message[1] = 0;
    message[2..4].copy_from_slice(&[0, 0]);
    let checksum = Sum::new().add(message).finish();
    message[2..4].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echo_becomes_its_reply() {
        let mut message = *b"\x08\x00\x00\x00\x12\x34\x00\x01ping!";
        let checksum = Sum::new().add(&message).finish();
        message[2..4].copy_from_slice(&checksum.to_be_bytes());
        assert_eq!(parse(&message), Ok(Message::EchoRequest));
        make_echo_reply(&mut message);
        assert_eq!(parse(&message), Ok(Message::EchoReply));
        assert_eq!(&message[4..], b"\x12\x34\x00\x01ping!");
        message[5] ^= 1;
        assert_eq!(parse(&message), Err(Malformed::Checksum));
        assert_eq!(parse(&message[..7]), Err(Malformed::Truncated));
    }
}
