//! TCP options (RFC 9293 §3.2; RFC 7323 for window scale and timestamps; RFC 2018 for SACK).

use super::SeqNumber;
use crate::be32;

/// The timestamps option (RFC 7323 §3.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub value: u32,
    /// TSecr: the newest clock value of the other side that the sender has seen.
    pub echo: u32,
}

/// Received options, all of them optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Maximum segment size in bytes (SYN only).
    pub mss: Option<u16>,
    /// Window scale shift (SYN only). More than 14 counts as 14 (RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// SACK permitted (SYN only).
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks: left edge, right edge; the first `sack_count` are valid.
    pub sack: [(SeqNumber, SeqNumber); 4],
    /// How many SACK blocks there are: 0..=4.
    pub sack_count: u8,
}

/// Largest window scale shift (RFC 7323 §2.3).
pub const WINDOW_SCALE_MAX: u8 = 14;
/// Bytes of a timestamps option padded to a multiple of four: NOP, NOP, option.
pub const TIMESTAMPS_LEN: usize = 12;

impl Options {
    /// Reads the options of a header: the bytes between its fixed 20 and its end.
    ///
    /// Never fails. RFC 9293 §3.1 MUST-5: any segment's options are read by this.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut options = Self::default();
        // What nearly every segment of an established connection carries.
        if let [1, 1, 8, 10, rest @ ..] = bytes
            && rest.len() == 8
        {
            options.timestamps = Some(Timestamps { value: be32(rest, 0), echo: be32(rest, 4) });
            return options;
        }
        options.parse_slowly(bytes);
        options
    }

    fn parse_slowly(&mut self, mut bytes: &[u8]) {
        while let [kind, rest @ ..] = bytes {
            // RFC 9293 §3.1 MUST-4, §3.2 MUST-64: end of list and no-operation are single bytes,
            // and what follows is read byte by byte wherever it stands.
            match kind {
                0 => return,
                1 => {
                    bytes = rest;
                    continue;
                }
                _ => {}
            }
            // RFC 9293 §3.1 MUST-68, MUST-7: every other kind has a length; one that cannot be ends
            // the list, and what was read before it counts.
            let Some(&len) = rest.first() else { return };
            let len = usize::from(len);
            if len < 2 || len > bytes.len() {
                return;
            }
            let body = &bytes[2..len];
            match (*kind, body.len()) {
                // RFC 9293 §3.7.1 MUST-14: the peer's MSS.
                (2, 2) => self.mss = Some(u16::from_be_bytes([body[0], body[1]])),
                (3, 1) => self.window_scale = Some(body[0].min(WINDOW_SCALE_MAX)),
                (4, 0) => self.sack_permitted = true,
                (5, 8 | 16 | 24 | 32) => {
                    for (slot, block) in self.sack.iter_mut().zip(body.as_chunks::<8>().0) {
                        *slot = (SeqNumber(be32(block, 0)), SeqNumber(be32(block, 4)));
                    }
                    self.sack_count = (body.len() / 8) as u8;
                }
                (8, 8) => self.timestamps = Some(Timestamps { value: be32(body, 0), echo: be32(body, 4) }),
                // RFC 9293 §3.1 MUST-6: skipped by its length.
                _ => {}
            }
            bytes = &bytes[len..];
        }
    }

    /// The SACK blocks as a slice.
    pub fn sack_blocks(&self) -> &[(SeqNumber, SeqNumber)] {
        &self.sack[..usize::from(self.sack_count.min(4))]
    }

    /// Bytes that [`Options::emit`] writes: a multiple of four, at most 40.
    #[inline]
    pub fn emitted_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += TIMESTAMPS_LEN;
        } else if self.sack_permitted {
            len += 4;
        }
        // With timestamps, SACK-permitted takes the place of the two NOPs in front of them.
        if self.sack_count > 0 {
            len += 4 + 8 * usize::from(self.sack_count);
        }
        len
    }

    /// Writes the options to the front of `out` and returns [`Options::emitted_len`]; panics
    /// when `out` is shorter.
    ///
    /// RFC 9293 §3.1 MUST-69: the gaps hold no-operations, never an end of list, so that nothing
    /// follows one.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) -> usize {
        // What nearly every segment of an established connection carries.
        if let Self { mss: None, window_scale: None, sack_permitted: false, sack_count: 0, .. } = self {
            let Some(timestamps) = self.timestamps else { return 0 };
            let out = &mut out[..TIMESTAMPS_LEN];
            out[..4].copy_from_slice(&[1, 1, 8, 10]);
            out[4..8].copy_from_slice(&timestamps.value.to_be_bytes());
            out[8..].copy_from_slice(&timestamps.echo.to_be_bytes());
            return TIMESTAMPS_LEN;
        }
        self.emit_slowly(out)
    }

    fn emit_slowly(&self, out: &mut [u8]) -> usize {
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            out[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            put(&[2, 4, high, low]);
        }
        if let Some(shift) = self.window_scale {
            put(&[1, 3, 3, shift]);
        }
        match (self.timestamps, self.sack_permitted) {
            (Some(timestamps), sack_permitted) => {
                put(if sack_permitted { &[4, 2, 8, 10] } else { &[1, 1, 8, 10] });
                put(&timestamps.value.to_be_bytes());
                put(&timestamps.echo.to_be_bytes());
            }
            (None, true) => put(&[1, 1, 4, 2]),
            (None, false) => {}
        }
        if self.sack_count > 0 {
            put(&[1, 1, 5, 2 + 8 * self.sack_count]);
            for (left, right) in self.sack_blocks() {
                put(&left.0.to_be_bytes());
                put(&right.0.to_be_bytes());
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let timestamps = Some(Timestamps { value: 0x0102_0304, echo: 0xa0b0_c0d0 });
        let mut sack = Options { timestamps, sack_count: 3, ..Options::default() };
        for n in 0..3 {
            sack.sack[n] = (SeqNumber(n as u32 * 100), SeqNumber(n as u32 * 100 + 50));
        }
        let syn = Options {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps,
            ..Options::default()
        };
        let no_timestamps = Options { timestamps: None, ..syn };
        for options in
            [Options::default(), Options { timestamps, ..Options::default() }, sack, syn, no_timestamps]
        {
            let mut bytes = [0; 40];
            let len = options.emit(&mut bytes);
            assert_eq!(len, options.emitted_len());
            // RFC 9293 §3.1 MUST-69: whole words, without an end of list.
            assert_eq!(len % 4, 0);
            assert!(is_without_end(&bytes[..len]));
            assert_eq!(Options::parse(&bytes[..len]), options);
        }
    }

    fn is_without_end(mut bytes: &[u8]) -> bool {
        while let [kind, rest @ ..] = bytes {
            match kind {
                0 => return false,
                1 => bytes = rest,
                _ => bytes = &bytes[usize::from(rest[0])..],
            }
        }
        true
    }

    #[test]
    fn broken_lists_end_quietly() {
        // RFC 9293 §3.1 MUST-7, MUST-68: no length, and lengths that cannot be.
        let none = Options::default();
        assert_eq!(Options::parse(&[]), none);
        assert_eq!(Options::parse(&[2]), none, "kind without length");
        assert_eq!(Options::parse(&[2, 0, 0, 0]), none, "length 0");
        assert_eq!(Options::parse(&[2, 1, 0, 0]), none, "length 1");
        assert_eq!(Options::parse(&[2, 5, 5, 180]), none, "length past the end");
        assert_eq!(Options::parse(&[2, 3, 5, 1]), none, "MSS of three bytes is skipped");
        // RFC 9293 §3.1 MUST-4, MUST-6, §3.2 MUST-64: end of list, no-operation, MSS; an unknown
        // kind, and MSS behind it at an odd place.
        assert_eq!(Options::parse(&[0, 2, 4, 5, 180]), none, "nothing behind the end of the list");
        assert_eq!(Options::parse(&[1, 2, 4, 5, 180, 0]).mss, Some(1460));
        assert_eq!(Options::parse(&[254, 3, 9, 2, 4, 5, 180]).mss, Some(1460), "unknown kinds are skipped");
        assert_eq!(Options::parse(&[3, 3, 99]).window_scale, Some(14));
        assert_eq!(Options::parse(&[5, 9, 0, 0, 0, 0, 0, 0, 0]).sack_count, 0);
    }

    #[test]
    fn any_bytes_are_taken_without_panic() {
        let mut x = 7u64;
        for _ in 0..20_000 {
            let mut bytes = [0u8; 40];
            for b in &mut bytes {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                *b = (x >> 60) as u8;
            }
            let len = (x >> 33) as usize % 41;
            let _ = Options::parse(&bytes[..len]);
        }
    }
}
