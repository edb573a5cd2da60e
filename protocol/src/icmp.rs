//! ICMP for IPv4 (RFC 792): echo. Errors are read and written in [`crate::icmp_error`].

use crate::Malformed;
use crate::checksum::Sum;

/// Bytes of the header that all messages share.
pub const HEADER_LEN: usize = 8;

/// A message, as far as we act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 8: send the same data back.
    EchoRequest,
    /// Types 3, 4, 5, 11 and 12: an error, to be read by [`crate::icmp_error::read_v4`].
    Error,
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
        3 | 4 | 5 | 11 | 12 => Message::Error,
        8 => Message::EchoRequest,
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
        assert_eq!(parse(&message), Ok(Message::Other(0)));
        assert_eq!(&message[4..], b"\x12\x34\x00\x01ping!");
        message[5] ^= 1;
        assert_eq!(parse(&message), Err(Malformed::Checksum));
        assert_eq!(parse(&message[..7]), Err(Malformed::Truncated));
    }
}
