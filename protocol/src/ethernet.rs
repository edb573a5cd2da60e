//! Ethernet II (IEEE 802.3).

use crate::{Malformed, be16};

/// Bytes of the header.
pub const HEADER_LEN: usize = 14;
/// The broadcast address.
pub const BROADCAST: Mac = Mac([0xff; 6]);

/// A hardware address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Group bit: multicast or broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }
}

impl core::fmt::Display for Mac {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// What the frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtherType {
    /// 0x0800
    Ipv4,
    /// 0x0806
    Arp,
    /// 0x86DD
    Ipv6,
    /// 0x88B5, local experimental: the host–NIC channel.
    Channel,
    /// Anything else.
    Other(u16),
}

impl From<u16> for EtherType {
    fn from(code: u16) -> Self {
        match code {
            0x0800 => Self::Ipv4,
            0x0806 => Self::Arp,
            0x86dd => Self::Ipv6,
            0x88b5 => Self::Channel,
            other => Self::Other(other),
        }
    }
}

impl From<EtherType> for u16 {
    fn from(ether_type: EtherType) -> Self {
        match ether_type {
            EtherType::Ipv4 => 0x0800,
            EtherType::Arp => 0x0806,
            EtherType::Ipv6 => 0x86dd,
            EtherType::Channel => 0x88b5,
            EtherType::Other(other) => other,
        }
    }
}

/// A parsed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Destination.
    pub dst: Mac,
    /// Source.
    pub src: Mac,
    /// Payload type.
    pub ether_type: EtherType,
}

impl Header {
    /// Reads the first [`HEADER_LEN`] bytes.
    ///
    /// # Errors
    /// `Truncated`: fewer bytes.
    #[inline]
    pub fn parse(frame: &[u8]) -> Result<Self, Malformed> {
        let Some(bytes) = frame.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
        let [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5, ..] = *bytes;
        Ok(Self {
            dst: Mac([d0, d1, d2, d3, d4, d5]),
            src: Mac([s0, s1, s2, s3, s4, s5]),
            ether_type: be16(bytes, 12).into(),
        })
    }

    /// Writes [`HEADER_LEN`] bytes to the front of `out`; panics when `out` is shorter.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) {
        out[..6].copy_from_slice(&self.dst.0);
        out[6..12].copy_from_slice(&self.src.0);
        out[12..14].copy_from_slice(&u16::from(self.ether_type).to_be_bytes());
    }
}
