//! TCP headers (RFC 9293 §3.1).
//!
//! ```text
//!  0                   1                   2                   3
//! |          Source Port          |       Destination Port        |
//! |                        Sequence Number                        |
//! |                    Acknowledgment Number                      |
//! | Offset| Rsrvd |C E U A P R S F|            Window             |
//! |           Checksum            |         Urgent Pointer        |
//! ```

mod options;
mod seq;

use core::ops::BitOr;

pub use options::{Options, TIMESTAMPS_LEN, Timestamps, WINDOW_SCALE_MAX};
pub use seq::SeqNumber;

use crate::checksum::{Sum, pseudo_header};
use crate::ip::{Address, Version};
use crate::ipv4::PROTOCOL_TCP;
use crate::{Malformed, be16, be32};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Bytes of the longest header.
pub const HEADER_LEN_MAX: usize = 60;
/// MSS to assume when a SYN does not carry the option (RFC 9293 §3.7.1 MUST-15).
#[inline]
pub const fn default_mss(version: Version) -> u16 {
    match version {
        Version::V4 => 536,
        Version::V6 => 1220,
    }
}

/// Where a connection stands, as far as it tells its peer's segments from somebody's guesses.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// SND.UNA
    pub snd_una: SeqNumber,
    /// SND.NXT
    pub snd_nxt: SeqNumber,
    /// The largest window that the peer is known to have announced, in bytes.
    pub snd_wnd: u32,
    /// RCV.NXT
    pub rcv_nxt: SeqNumber,
    /// RCV.WND, in bytes.
    pub rcv_wnd: u32,
}

impl Standing {
    /// Whether the peer may have sent this, now or when it repeats what has long arrived: both numbers lie
    /// no further off than a window, or 64 KiB (RFC 5961 §5). With windows of 64 KiB, one guess in 2·10^9 does.
    #[inline]
    pub fn may_come_from_peer(&self, header: &Header) -> bool {
        let (sent, got) = (self.snd_wnd.max(0xffff), self.rcv_wnd.max(0xffff));
        header.flags.has(Flags::ACK)
            && header.seq.distance_from(self.rcv_nxt - got) <= 2 * got
            && !header.ack.after(self.snd_nxt)
            && !header.ack.before(self.snd_una - sent)
    }
}

/// Control bits.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Flags(pub u8);

impl Flags {
    /// No more data from the sender.
    pub const FIN: Self = Self(0x01);
    /// Synchronise sequence numbers.
    pub const SYN: Self = Self(0x02);
    /// Reset the connection.
    pub const RST: Self = Self(0x04);
    /// Push.
    pub const PSH: Self = Self(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Self = Self(0x10);
    /// The urgent pointer is significant.
    pub const URG: Self = Self(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Self = Self(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Self = Self(0x80);

    /// True when all bits of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// True when any bit of `other` is set.
    #[inline]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl BitOr for Flags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl core::fmt::Debug for Flags {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (bit, name) in "FSRPAUEC".chars().enumerate() {
            if self.0 & (1 << bit) != 0 {
                write!(f, "{name}")?;
            }
        }
        if self.0 == 0 { f.write_str("-") } else { Ok(()) }
    }
}

/// A parsed header, options apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// SEG.SEQ
    pub seq: SeqNumber,
    /// SEG.ACK; meaningful with [`Flags::ACK`].
    pub ack: SeqNumber,
    /// Control bits.
    pub flags: Flags,
    /// SEG.WND as it stands in the header, not yet scaled.
    pub window: u16,
    /// Urgent pointer; meaningful with [`Flags::URG`].
    pub urgent: u16,
    /// Bytes of the header, options included: 20..=60.
    pub header_len: usize,
}

impl Header {
    /// Reads the header at the front of a segment. The checksum is not looked at: see
    /// [`verify_checksum`].
    ///
    /// # Errors
    /// `Truncated`: fewer bytes than the header says. `Length`: a data offset below 5.
    #[inline]
    pub fn parse(segment: &[u8]) -> Result<Self, Malformed> {
        let Some(b) = segment.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
        let header_len = usize::from(b[12] >> 4) * 4;
        if header_len < HEADER_LEN {
            return Err(Malformed::Length);
        }
        if segment.len() < header_len {
            return Err(Malformed::Truncated);
        }
        Ok(Self {
            src_port: be16(b, 0),
            dst_port: be16(b, 2),
            seq: SeqNumber(be32(b, 4)),
            ack: SeqNumber(be32(b, 8)),
            flags: Flags(b[13]),
            // RFC 9293 §3.1 MUST-1: a u16 has no sign.
            window: be16(b, 14),
            urgent: be16(b, 18),
            header_len,
        })
    }

    /// The options of the segment that this header was parsed from.
    #[inline]
    pub fn options(&self, segment: &[u8]) -> Options {
        Options::parse(&segment[HEADER_LEN..self.header_len])
    }

    /// Writes header and options to the front of `out` with a checksum field of zero, and
    /// returns the length of both; panics when `out` is shorter. `header_len` is not read.
    #[inline]
    pub fn emit(&self, options: &Options, out: &mut [u8]) -> usize {
        let (fixed, rest) = out.split_at_mut(HEADER_LEN);
        let header_len = HEADER_LEN + options.emit(rest);
        fixed[0..2].copy_from_slice(&self.src_port.to_be_bytes());
        fixed[2..4].copy_from_slice(&self.dst_port.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.seq.0.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ack.0.to_be_bytes());
        fixed[12] = (header_len as u8 / 4) << 4;
        fixed[13] = self.flags.0;
        fixed[14..16].copy_from_slice(&self.window.to_be_bytes());
        fixed[16..18].copy_from_slice(&[0, 0]);
        fixed[18..20].copy_from_slice(&self.urgent.to_be_bytes());
        header_len
    }
}

/// Computes the checksum over a whole segment and stores it (RFC 9293 §3.1 MUST-2).
#[inline]
pub fn fill_checksum(src: Address, dst: Address, segment: &mut [u8]) {
    segment[16..18].copy_from_slice(&[0, 0]);
    let checksum = pseudo_header(src, dst, PROTOCOL_TCP, segment.len()).add(segment).finish();
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
}

/// Stores the sum over the pseudo-header, which is what a device that computes the checksum wants
/// to find (and what `verify_checksum` calls partial).
#[inline]
pub fn fill_partial_checksum(src: Address, dst: Address, segment: &mut [u8]) {
    let sum = pseudo_header(src, dst, PROTOCOL_TCP, segment.len()).fold();
    segment[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// True when the checksum of a whole segment is right (RFC 9293 §3.1 MUST-3).
///
/// `allow_partial`: also take a checksum field that holds just the sum over the pseudo-header,
/// which is what a Linux kernel on the same machine leaves for a device to complete.
#[inline]
pub fn verify_checksum(src: Address, dst: Address, segment: &[u8], allow_partial: bool) -> bool {
    let pseudo = pseudo_header(src, dst, PROTOCOL_TCP, segment.len());
    pseudo.add(segment).fold() == 0xffff || (allow_partial && is_partial(segment, pseudo))
}

#[cold]
fn is_partial(segment: &[u8], pseudo: Sum) -> bool {
    segment.len() >= HEADER_LEN && be16(segment, 16) == pseudo.fold()
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const A: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 1));
    const B: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 2));

    fn segment() -> ([u8; 40], Header, Options) {
        let header = Header {
            src_port: 40_000,
            dst_port: 6379,
            seq: SeqNumber(0xfedc_ba98),
            ack: SeqNumber(17),
            flags: Flags::ACK | Flags::PSH,
            window: 512,
            urgent: 0,
            header_len: 32,
        };
        let options = Options { timestamps: Some(Timestamps { value: 1, echo: 2 }), ..Options::default() };
        let mut bytes = [0x55; 40];
        assert_eq!(header.emit(&options, &mut bytes), 32);
        fill_checksum(A, B, &mut bytes);
        (bytes, header, options)
    }

    #[test]
    fn round_trip_and_refusals() {
        let (bytes, header, options) = segment();
        assert_eq!(Header::parse(&bytes), Ok(header));
        assert_eq!(header.options(&bytes), options);
        assert_eq!(Header::parse(&bytes[..31]), Err(Malformed::Truncated));
        let mut bad = bytes;
        bad[12] = 0x40;
        assert_eq!(Header::parse(&bad), Err(Malformed::Length));
    }

    #[test]
    fn checksum_over_ipv6() {
        let (src, dst) =
            (Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2), Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
        let (mut bytes, ..) = segment();
        fill_checksum(src.into(), dst.into(), &mut bytes);
        // RFC 8200 §8.1: addresses, length, next header, then the segment.
        let mut plain = [0; 80];
        plain[..16].copy_from_slice(&src.octets());
        plain[16..32].copy_from_slice(&dst.octets());
        (plain[35], plain[39]) = (40, PROTOCOL_TCP);
        plain[40..].copy_from_slice(&bytes);
        assert_eq!(crate::checksum::Sum::new().add(&plain).fold(), 0xffff);
        assert!(verify_checksum(src.into(), dst.into(), &bytes, false));
        assert!(!verify_checksum(src.into(), src.into(), &bytes, true));
    }

    #[test]
    fn checksum_whole_partial_and_wrong() {
        // RFC 9293 §3.1 MUST-2, MUST-3: what is computed is verified, and a changed bit is found.
        let (mut bytes, ..) = segment();
        assert!(verify_checksum(A, B, &bytes, false));
        assert!(!verify_checksum(A, A, &bytes, true));
        bytes[39] ^= 1;
        assert!(!verify_checksum(A, B, &bytes, true));
        let partial = pseudo_header(A, B, PROTOCOL_TCP, 40).fold();
        bytes[16..18].copy_from_slice(&partial.to_be_bytes());
        assert!(verify_checksum(A, B, &bytes, true));
        assert!(!verify_checksum(A, B, &bytes, false));
    }
}
