//! What IPv4 and IPv6 have in common: an address type for both, and the choice between the two.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Malformed, ipv4, ipv6};

/// Which IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// RFC 791
    V4,
    /// RFC 8200
    V6,
}

/// An address of either version in 16 bytes: an IPv4 address as its IPv4-mapped IPv6 address
/// (RFC 4291 §2.5.5.2). No packet may carry such an address itself: [`crate::ipv6`] refuses them,
/// so that one value never means two hosts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 16]);

/// The 96 bits in front of an IPv4 address, in the lower part of a number whose lowest byte is the first of the 16.
const MAPPED: u128 = 0xffff << 80;

impl Address {
    /// 0.0.0.0
    pub const UNSPECIFIED_V4: Self = Self::v4(Ipv4Addr::UNSPECIFIED);

    /// An IPv4 address.
    #[inline]
    pub const fn v4(addr: Ipv4Addr) -> Self {
        Self((MAPPED | (u32::from_le_bytes(addr.octets()) as u128) << 96).to_le_bytes())
    }

    /// An IPv6 address; an IPv4-mapped one becomes the IPv4 address that it stands for.
    #[inline]
    pub const fn v6(addr: Ipv6Addr) -> Self {
        Self(addr.octets())
    }

    /// Which version it belongs to.
    #[inline]
    pub fn version(&self) -> Version {
        if self.is_v4() { Version::V4 } else { Version::V6 }
    }

    /// True for an IPv4 address.
    #[inline]
    pub fn is_v4(&self) -> bool {
        u128::from_le_bytes(self.0) << 32 == MAPPED << 32
    }

    /// The IPv4 address, if it is one.
    #[inline]
    pub fn to_v4(&self) -> Option<Ipv4Addr> {
        self.is_v4().then(|| self.low_v4())
    }

    /// The last four bytes as an IPv4 address; meaningful when it is one.
    #[inline]
    pub fn low_v4(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.to_bits() as u32)
    }

    /// The 16 bytes in network order.
    #[inline]
    pub const fn octets(&self) -> &[u8; 16] {
        &self.0
    }

    /// The address as a number.
    #[inline]
    pub const fn to_bits(&self) -> u128 {
        u128::from_be_bytes(self.0)
    }

    /// The two halves as numbers, for hashes.
    #[inline]
    pub const fn words(&self) -> [u64; 2] {
        let bits = self.to_bits();
        [(bits >> 64) as u64, bits as u64]
    }

    /// As the standard library has it.
    #[inline]
    pub fn to_ip_addr(&self) -> IpAddr {
        match self.to_v4() {
            Some(addr) => IpAddr::V4(addr),
            None => IpAddr::V6(Ipv6Addr::from(self.0)),
        }
    }

    /// True for a group of hosts: multicast of either version, or 255.255.255.255.
    #[inline]
    pub fn is_group(&self) -> bool {
        let [high, low] = self.words();
        match self.version() {
            Version::V4 => low as u32 >> 28 == 0xe || low as u32 == u32::MAX,
            Version::V6 => high >> 56 == 0xff,
        }
    }

    /// True for what can never be one host on a network: groups, loopback, "unspecified", and in
    /// IPv4 all of 0/8 and 240/4 (RFC 1122 §3.2.1.3, RFC 4291 §2.5).
    #[inline]
    pub fn is_never_a_host(&self) -> bool {
        let [high, low] = self.words();
        match self.version() {
            Version::V4 => matches!(low as u32 >> 24, 0 | 127 | 224..),
            Version::V6 => high >> 56 == 0xff || high == 0 && low <= 1,
        }
    }

    /// True for an IPv6 address that means something on its link only (fe80::/10).
    pub fn is_link_local_v6(&self) -> bool {
        self.0[0] == 0xfe && self.0[1] & 0xc0 == 0x80
    }

    /// True when the first `prefix_len` bits of both are the same. `prefix_len` counts in the
    /// version's own length (0..=32 or 0..=128); more counts as all. Addresses of different
    /// versions share nothing.
    #[inline]
    pub fn shares_prefix(&self, other: &Self, prefix_len: u8) -> bool {
        if self.version() != other.version() {
            return false;
        }
        let skipped = if self.is_v4() { 96 } else { 0 };
        let bits = (u32::from(prefix_len) + skipped).min(128);
        let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
        (self.to_bits() ^ other.to_bits()) & mask == 0
    }
}

impl Default for Address {
    fn default() -> Self {
        Self::UNSPECIFIED_V4
    }
}

impl From<Ipv4Addr> for Address {
    #[inline]
    fn from(addr: Ipv4Addr) -> Self {
        Self::v4(addr)
    }
}

impl From<Ipv6Addr> for Address {
    #[inline]
    fn from(addr: Ipv6Addr) -> Self {
        Self::v6(addr)
    }
}

impl From<IpAddr> for Address {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => Self::v4(addr),
            IpAddr::V6(addr) => Self::v6(addr),
        }
    }
}

impl From<[u8; 16]> for Address {
    #[inline]
    fn from(octets: [u8; 16]) -> Self {
        Self(octets)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_ip_addr().fmt(f)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Both ends of a packet and what it carries, whichever IP it came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Source.
    pub src: Address,
    /// Destination.
    pub dst: Address,
    /// Bytes in front of the payload, options and extension headers included.
    pub header_len: usize,
    /// Bytes of the whole packet; what follows in the frame is link-layer padding.
    pub total_len: usize,
    /// Protocol of the payload: TCP, ICMP, ICMPv6 or another.
    pub protocol: u8,
    /// True for every piece of a fragmented packet.
    pub fragment: bool,
    /// No router may fragment it: "don't fragment", and always so in IPv6.
    pub dont_fragment: bool,
    /// TTL or hop limit.
    pub hop_limit: u8,
    /// Differentiated services and ECN bits.
    pub tos: u8,
}

impl Header {
    /// Reads and checks the header of a packet of either version.
    ///
    /// # Errors
    /// As [`ipv4::Header::parse`] and [`ipv6::parse`]; `Version`: neither 4 nor 6.
    #[inline(always)]
    pub fn parse(packet: &[u8]) -> Result<Self, Malformed> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => ipv4::Header::parse(packet).map(|header| header.into()),
            Some(6) => ipv6::parse(packet),
            Some(_) => Err(Malformed::Version),
            None => Err(Malformed::Truncated),
        }
    }
}

impl From<ipv4::Header> for Header {
    #[inline]
    fn from(header: ipv4::Header) -> Self {
        Self {
            src: header.src.into(),
            dst: header.dst.into(),
            header_len: header.header_len,
            total_len: header.total_len,
            protocol: header.protocol,
            fragment: header.fragment,
            dont_fragment: header.dont_fragment,
            hop_limit: header.ttl,
            tos: header.tos,
        }
    }
}

/// Bytes of the header that [`emit`] writes between hosts of this version.
#[inline]
pub fn header_len(version: Version) -> usize {
    match version {
        Version::V4 => ipv4::HEADER_LEN,
        Version::V6 => ipv6::HEADER_LEN,
    }
}

/// The EtherType of this version.
#[inline]
pub fn ether_type(version: Version) -> crate::ethernet::EtherType {
    match version {
        Version::V4 => crate::ethernet::EtherType::Ipv4,
        Version::V6 => crate::ethernet::EtherType::Ipv6,
    }
}

/// Writes the header of a packet that we send (no options, "don't fragment", the usual time to
/// live) to the front of `out` and returns its length; panics when `out` is shorter.
///
/// `src`, `dst`: of the same version. `tos`: traffic class of IPv6. `payload_len`: bytes behind the
/// header.
#[inline]
pub fn emit(
    src: &Address,
    dst: &Address,
    protocol: u8,
    tos: u8,
    payload_len: usize,
    out: &mut [u8],
) -> usize {
    emit_with_ttl(src, dst, protocol, (tos, ipv4::DEFAULT_TTL), payload_len, out)
}

/// [`emit`] with a time to live (hop limit of IPv6).
#[inline]
pub fn emit_with_ttl(
    src: &Address,
    dst: &Address,
    protocol: u8,
    (tos, ttl): (u8, u8),
    payload_len: usize,
    out: &mut [u8],
) -> usize {
    if src.is_v4() {
        let header = ipv4::Header::outgoing(src.low_v4(), dst.low_v4(), protocol, payload_len);
        ipv4::Header { tos, ttl, ..header }.emit(out);
        ipv4::HEADER_LEN
    } else {
        ipv6::emit(src, dst, protocol, tos, ttl, payload_len, out);
        ipv6::HEADER_LEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn one_value_for_both_versions() {
        for text in ["198.18.0.2", "255.255.255.255", "2001:2::1", "fe80::1", "::1", "::"] {
            let addr: IpAddr = text.parse().unwrap();
            assert_eq!(Address::from(addr).to_ip_addr(), addr);
        }
        assert_eq!(a("::ffff:198.18.0.2"), a("198.18.0.2"));
        assert_eq!(a("198.18.0.2").to_v4(), Some(Ipv4Addr::new(198, 18, 0, 2)));
        assert_eq!(a("2001:2::1").to_v4(), None);
        assert!(a("fe80::1").is_link_local_v6() && !a("fec0::1").is_link_local_v6());
    }

    #[test]
    fn prefixes() {
        assert!(a("198.18.0.2").shares_prefix(&a("198.18.0.9"), 24));
        assert!(!a("198.18.0.2").shares_prefix(&a("198.18.1.2"), 24));
        assert!(a("198.18.0.2").shares_prefix(&a("1.2.3.4"), 0));
        assert!(!a("198.18.0.2").shares_prefix(&a("::1"), 0));
        assert!(a("2001:2::1").shares_prefix(&a("2001:2::ffff"), 64));
        assert!(!a("2001:2::1").shares_prefix(&a("2001:2:0:1::1"), 64));
        assert!(a("2001:2::1").shares_prefix(&a("2001:2::1"), 128));
        assert!(!a("2001:2::1").shares_prefix(&a("2001:2::2"), 128));
    }

    #[test]
    fn who_can_be_a_host() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "ff02::1",
        ] {
            assert!(a(text).is_never_a_host(), "{text}");
        }
        for text in ["198.18.0.2", "1.0.0.1", "2001:2::1", "fe80::1"] {
            assert!(!a(text).is_never_a_host(), "{text}");
        }
    }

    #[test]
    fn headers_of_both_versions_round_trip() {
        for (src, dst) in [("198.18.0.1", "198.18.0.2"), ("2001:2::1", "2001:2::2")] {
            let mut bytes = [0; 60];
            let len = emit_with_ttl(&a(src), &a(dst), 6, (2, 33), 4, &mut bytes);
            let header = Header::parse(&bytes[..len + 4]).unwrap();
            assert_eq!((header.src, header.dst, header.header_len), (a(src), a(dst), len));
            assert_eq!(
                (header.total_len, header.protocol, header.tos, header.hop_limit),
                (len + 4, 6, 2, 33)
            );
            assert_eq!(len, header_len(a(src).version()));
        }
        assert_eq!(Header::parse(&[0x50; 60]), Err(Malformed::Version));
        assert_eq!(Header::parse(&[]), Err(Malformed::Truncated));
    }
}
