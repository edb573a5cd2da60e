//! IPv4 (RFC 791).

use core::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::{Malformed, be16};

/// Bytes of a header without options, the only kind that we send.
pub const HEADER_LEN: usize = 20;
/// Protocol number of ICMP.
pub const PROTOCOL_ICMP: u8 = 1;
/// Protocol number of TCP.
pub const PROTOCOL_TCP: u8 = 6;
/// Time to live of what we send (RFC 1700's default).
pub const DEFAULT_TTL: u8 = 64;

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of this header, options included: 20..=60.
    pub header_len: usize,
    /// Bytes of the whole packet, at least `header_len`, at most what was received.
    pub total_len: usize,
    /// Identification.
    pub ident: u16,
    /// "Don't fragment".
    pub dont_fragment: bool,
    /// True for every piece of a fragmented packet (offset not zero, or more to come).
    pub fragment: bool,
    /// Time to live.
    pub ttl: u8,
    /// Protocol of the payload.
    pub protocol: u8,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Differentiated services and ECN bits.
    pub tos: u8,
}

impl Header {
    /// Reads and verifies a header. Bytes behind `total_len` are link-layer padding.
    ///
    /// # Errors
    /// `Truncated`: fewer bytes than the header or than `total_len` say. `Version`: not 4.
    /// `Length`: a header below 20 bytes or above the packet. `Checksum`: header checksum wrong.
    // Always in place: as a call its result goes through memory.
    #[inline(always)]
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(b) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
        if b[0] >> 4 != 4 {
            return Err(Malformed::Version);
        }
        // RFC 9293 §3.9.2 MUST-50: options are only counted, so that what follows is found.
        let header_len = usize::from(b[0] & 0xf) * 4;
        let total_len = usize::from(be16(b, 2));
        if header_len < HEADER_LEN || total_len < header_len {
            return Err(Malformed::Length);
        }
        if bytes.len() < total_len {
            return Err(Malformed::Truncated);
        }
        let mut sum = Sum::new().add(b);
        if header_len > HEADER_LEN {
            sum = with_options(sum, &bytes[HEADER_LEN..header_len]);
        }
        if sum.fold() != 0xffff {
            return Err(Malformed::Checksum);
        }
        let fragment_field = be16(b, 6);
        Ok(Self {
            header_len,
            total_len,
            ident: be16(b, 4),
            dont_fragment: fragment_field & 0x4000 != 0,
            fragment: fragment_field & 0x3fff != 0,
            ttl: b[8],
            protocol: b[9],
            src: Ipv4Addr::new(b[12], b[13], b[14], b[15]),
            dst: Ipv4Addr::new(b[16], b[17], b[18], b[19]),
            tos: b[1],
        })
    }

    /// A header for what we send: no options, "don't fragment", default TTL.
    ///
    /// `payload_len`: bytes behind the header, at most 65,515.
    pub fn outgoing(src: Ipv4Addr, dst: Ipv4Addr, protocol: u8, payload_len: usize) -> Self {
        debug_assert!(payload_len <= 65_535 - HEADER_LEN);
        Self {
            header_len: HEADER_LEN,
            total_len: HEADER_LEN + payload_len,
            ident: 0,
            dont_fragment: true,
            fragment: false,
            ttl: DEFAULT_TTL,
            protocol,
            src,
            dst,
            tos: 0,
        }
    }

    /// Writes [`HEADER_LEN`] bytes with their checksum to the front of `out`; panics when `out`
    /// is shorter.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) {
        let out = &mut out[..HEADER_LEN];
        out[0] = 0x45;
        out[1] = self.tos;
        out[2..4].copy_from_slice(&(self.total_len as u16).to_be_bytes());
        out[4..6].copy_from_slice(&self.ident.to_be_bytes());
        out[6..8].copy_from_slice(&if self.dont_fragment { [0x40, 0] } else { [0, 0] });
        out[8] = self.ttl;
        out[9] = self.protocol;
        out[10..12].copy_from_slice(&[0, 0]);
        out[12..16].copy_from_slice(&self.src.octets());
        out[16..20].copy_from_slice(&self.dst.octets());
        let checksum = Sum::new().add(out).finish();
        out[10..12].copy_from_slice(&checksum.to_be_bytes());
    }
}

/// Lets routers fragment a packet with a header that [`Header::emit`] wrote, the front of `packet`.
///
/// RFC 6864 §4.3: unlike one that may not be fragmented, it needs an identification of its own.
pub fn allow_fragments(packet: &mut [u8], ident: u16) {
    let header = &mut packet[..HEADER_LEN];
    header[4..6].copy_from_slice(&ident.to_be_bytes());
    header[6..8].fill(0);
    header[10..12].fill(0);
    let checksum = Sum::new().add(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

/// Apart, so that the usual header's sum needs no loop.
#[cold]
fn with_options(sum: Sum, options: &[u8]) -> Sum {
    sum.add(options)
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// In bytes.
    pub offset: usize,
    /// More pieces follow it.
    pub more: bool,
    /// The same for all pieces of a packet.
    pub ident: u16,
}

impl Fragment {
    /// Reads the fields of a header that was parsed before; panics on fewer than [`HEADER_LEN`]
    /// bytes.
    pub fn parse(packet: &[u8]) -> Self {
        let field = be16(packet, 6);
        Self { offset: usize::from(field & 0x1fff) * 8, more: field & 0x2000 != 0, ident: be16(packet, 4) }
    }
}

/// Makes the header of a first fragment, behind which now stands the whole payload, that of a
/// packet that was never in pieces. Panics when `packet` is shorter than its header says.
pub fn make_whole(packet: &mut [u8]) {
    let header_len = usize::from(packet[0] & 0xf) * 4;
    let total_len = packet.len() as u16;
    packet[2..4].copy_from_slice(&total_len.to_be_bytes());
    packet[6..8].fill(0);
    packet[10..12].fill(0);
    let checksum = Sum::new().add(&packet[..header_len]).finish();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let header = Header::outgoing(Ipv4Addr::new(198, 18, 0, 1), Ipv4Addr::new(198, 18, 0, 2), 6, 4);
        let mut bytes = [0; 24];
        header.emit(&mut bytes);
        assert_eq!(Header::parse(&bytes), Ok(header));
        assert_eq!(Header::parse(&bytes[..19]), Err(Malformed::Truncated));
        assert_eq!(Header::parse(&bytes[..23]), Err(Malformed::Truncated), "shorter than total_len");
        let broken = |at: usize, value: u8| {
            let mut bad = bytes;
            bad[at] = value;
            Header::parse(&bad)
        };
        assert_eq!(broken(0, 0x65), Err(Malformed::Version));
        assert_eq!(broken(0, 0x44), Err(Malformed::Length));
        assert_eq!(broken(3, 19), Err(Malformed::Length));
        assert_eq!(broken(8, 63), Err(Malformed::Checksum));
    }
}
