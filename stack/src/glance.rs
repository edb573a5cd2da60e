//! Where a frame's payload lies, at a glance: nothing is verified, nothing is counted. Only good
//! for guessing what a burst is going to need.

use protocol::channel::{Established, HEADER_LEN, Kind};
use protocol::ethernet;

/// The bytes that the application will probably be given of this frame; `None`: none.
#[inline]
pub(crate) fn payload(frame: &[u8]) -> Option<&[u8]> {
    let behind = frame.get(ethernet::HEADER_LEN..)?;
    let packet = match frame[ethernet::HEADER_LEN - 2..ethernet::HEADER_LEN] {
        [0x08, 0x00] => behind,
        [0x88, 0xb5] if behind.get(1) == Some(&(Kind::Segment as u8)) => behind.get(HEADER_LEN..)?,
        [0x88, 0xb5] if behind.get(1) == Some(&(Kind::Established as u8)) => {
            behind.get(HEADER_LEN + Established::LEN..)?
        }
        _ => return None,
    };
    let ip = packet.first_chunk::<20>()?;
    let segment = packet.get(usize::from(ip[0] & 15) * 4..usize::from(u16::from_be_bytes([ip[2], ip[3]])))?;
    let payload = segment.get(usize::from(segment.get(12)? >> 4) * 4..)?;
    (!payload.is_empty()).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::payload;
    use crate::tests::harness::{A, Harness, P, config, seg};
    use alloc::vec;
    use protocol::channel::{Established, HEADER_LEN, Kind};

    #[test]
    fn payloads_are_found_and_nothing_is_believed() {
        let h = Harness::new(config());
        let plain = h.encode(&seg(A | P, 1, 1, b"PING\r\n"));
        let wrapped = |kind: Kind, body_len: usize| {
            let mut frame = vec![0; 14 + HEADER_LEN + body_len];
            frame[12..16].copy_from_slice(&[0x88, 0xb5, 1, kind as u8]);
            frame.extend_from_slice(&plain[14..]);
            frame
        };
        let frames = [plain.clone(), wrapped(Kind::Segment, 0), wrapped(Kind::Established, Established::LEN)];
        for mut frame in frames {
            assert_eq!(payload(&frame), Some(&b"PING\r\n"[..]));
            for len in 0..frame.len() {
                assert_eq!(payload(&frame[..len]), None, "cut to {len} bytes");
            }
            for at in 0..frame.len() {
                let byte = core::mem::replace(&mut frame[at], 0xff);
                let _ = payload(&frame);
                frame[at] = byte;
            }
        }
        assert_eq!(payload(&wrapped(Kind::Closed, 0)), None);
        assert_eq!(payload(&h.encode(&seg(A, 1, 1, b""))), None);
    }
}
