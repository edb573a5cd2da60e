//! ICMP errors of both versions: whom they are about, what they mean to TCP, and how we complain
//! ourselves (RFC 792, RFC 1122 §3.2.2, RFC 4443 §3, RFC 5927).

use core::net::Ipv4Addr;

use crate::checksum::Sum;
use crate::ip::{self, Address, Version};
use crate::ipv4::PROTOCOL_TCP;
use crate::tcp::{self, SeqNumber};
use crate::{be16, be32, icmp, icmpv6, ipv4, ipv6};

/// What an error means to a connection (RFC 1122 §4.2.3.9, RFC 5461 §2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A packet was too large for some link, whose MTU in bytes may be known.
    TooBig {
        /// IPv4 packets of old routers: `None` (RFC 1191 §5).
        mtu: Option<usize>,
    },
    /// There is no such port or protocol there, or it is forbidden.
    Hard,
    /// It may pass.
    Soft,
}

/// An error about a TCP segment that seems to have come from us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IcmpError {
    /// What it means.
    pub meaning: Meaning,
    /// Type of the message.
    pub kind: u8,
    /// Code of the message.
    pub code: u8,
    /// Sender of the segment.
    pub src: Address,
    /// Its receiver.
    pub dst: Address,
    /// Sender's port.
    pub src_port: u16,
    /// Receiver's port.
    pub dst_port: u16,
    /// SEG.SEQ of the segment.
    pub seq: SeqNumber,
    /// Bytes of the packet that the segment was in.
    pub packet_len: usize,
}

/// Reads and verifies an IP packet of either version; `None`: it holds no error, or none about TCP.
pub fn read(packet: &[u8]) -> Option<IcmpError> {
    let ip = ip::Header::parse(packet).ok().filter(|ip| !ip.fragment)?;
    let message = &packet[ip.header_len..ip.total_len];
    match (ip.src.version(), ip.protocol) {
        (Version::V4, ipv4::PROTOCOL_ICMP) => {
            let is_error = icmp::parse(message) == Ok(icmp::Message::Error);
            read_v4(message).filter(|_| is_error)
        }
        (Version::V6, ipv6::NEXT_ICMP) => {
            let is_error = icmpv6::parse(ip.src, ip.dst, message) == Ok(icmpv6::Message::Error);
            read_v6(message).filter(|_| is_error)
        }
        _ => None,
    }
}

/// Reads a verified ICMP message ([`icmp::parse`]) of IPv4; `None`: it is no error, or not about TCP.
pub fn read_v4(message: &[u8]) -> Option<IcmpError> {
    let &[kind, code, ..] = message.first_chunk::<{ icmp::HEADER_LEN }>()?;
    let mtu = usize::from(be16(message, 6));
    let meaning = match (kind, code) {
        (3, 4) => Meaning::TooBig { mtu: (mtu != 0).then_some(mtu) },
        // RFC 5461 §2: no such protocol, no such port.
        (3, 2 | 3) => Meaning::Hard,
        (3 | 11 | 12, _) => Meaning::Soft,
        // RFC 9293 §3.9.2.2 MUST-55: source quench is nothing to us (RFC 6633 §3), nor are redirects.
        _ => return None,
    };
    let quoted = &message[icmp::HEADER_LEN..];
    let first = quoted.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let header_len = usize::from(first[0] & 0xf) * 4;
    let is_first = be16(first, 6) & 0x1fff == 0;
    if first[0] >> 4 != 4 || first[9] != PROTOCOL_TCP || header_len < ipv4::HEADER_LEN || !is_first {
        return None;
    }
    let addr = |at: usize| Ipv4Addr::new(first[at], first[at + 1], first[at + 2], first[at + 3]).into();
    about((meaning, kind, code), (addr(12), addr(16)), usize::from(be16(first, 2)), quoted.get(header_len..)?)
}

/// Reads a verified ICMPv6 message ([`icmpv6::parse`]); `None`: it is no error, or not about TCP.
pub fn read_v6(message: &[u8]) -> Option<IcmpError> {
    let &[kind, code, ..] = message.first_chunk::<{ icmpv6::HEADER_LEN }>()?;
    let meaning = match (kind, code) {
        // RFC 5461 §2.1: forbidden, and no such port.
        (1, 1 | 4) => Meaning::Hard,
        (1 | 3 | 4, _) => Meaning::Soft,
        (2, _) => Meaning::TooBig { mtu: Some(be32(message, 4) as usize) },
        _ => return None,
    };
    let quoted = &message[icmpv6::HEADER_LEN..];
    let first = quoted.first_chunk::<{ ipv6::HEADER_LEN }>()?;
    // We send no extension headers.
    if first[0] >> 4 != 6 || first[6] != PROTOCOL_TCP {
        return None;
    }
    let addr = |at: usize| Address::from(core::array::from_fn::<u8, 16, _>(|n| first[at + n]));
    let len = ipv6::HEADER_LEN + usize::from(be16(first, 4));
    about((meaning, kind, code), (addr(8), addr(24)), len, &quoted[ipv6::HEADER_LEN..])
}

fn about(
    (meaning, kind, code): (Meaning, u8, u8),
    (src, dst): (Address, Address),
    len: usize,
    tcp: &[u8],
) -> Option<IcmpError> {
    let tcp = tcp.first_chunk::<8>()?;
    Some(IcmpError {
        meaning,
        kind,
        code,
        src,
        dst,
        src_port: be16(tcp, 0),
        dst_port: be16(tcp, 2),
        seq: SeqNumber(be32(tcp, 4)),
        packet_len: len,
    })
}

/// What we complain of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// Nobody speaks this protocol here (IPv4; IPv6 has a parameter problem for it).
    Protocol,
    /// Nobody listens on this port (of a protocol that cannot say so itself).
    Port,
    /// IPv6 only (RFC 4443 §3.4).
    Parameter {
        /// Which kind of problem.
        code: u8,
        /// Where in the packet.
        pointer: u32,
    },
}

/// Bytes of the packet complained of that are quoted. RFC 1812 §4.3.2.3 and RFC 4443 §3.1 want as
/// much as fits into 576 and 1280 bytes; an attacker who forges a source shall gain nothing.
pub const QUOTED_MAX: usize = 128;

/// Bytes that [`emit`] writes for a packet of `packet_len` bytes.
pub fn emitted_len(packet_len: usize) -> usize {
    icmp::HEADER_LEN + packet_len.min(QUOTED_MAX)
}

/// Writes the ICMP message that complains to `dst` of `packet` to the front of `out`, and returns
/// its length; panics when `out` is shorter than [`emitted_len`]. `src`: us.
pub fn emit(complaint: Complaint, src: Address, dst: Address, packet: &[u8], out: &mut [u8]) -> usize {
    let quoted = &packet[..packet.len().min(QUOTED_MAX)];
    let len = emitted_len(packet.len());
    let out = &mut out[..len];
    out[..8].fill(0);
    out[8..].copy_from_slice(quoted);
    match (complaint, src.version()) {
        (Complaint::Protocol, _) => out[..2].copy_from_slice(&[3, 2]),
        (Complaint::Port, Version::V4) => out[..2].copy_from_slice(&[3, 3]),
        (Complaint::Port, Version::V6) => out[..2].copy_from_slice(&[1, 4]),
        (Complaint::Parameter { code, pointer }, _) => {
            out[..2].copy_from_slice(&[4, code]);
            out[4..8].copy_from_slice(&pointer.to_be_bytes());
        }
    }
    match src.version() {
        Version::V4 => {
            let sum = Sum::new().add(out).finish();
            out[2..4].copy_from_slice(&sum.to_be_bytes());
        }
        Version::V6 => icmpv6::fill_checksum(src, dst, out),
    }
    len
}

/// Least MTU in bytes that an ICMP message can bring us to. IPv6 has no links below 1280; in IPv4 few are
/// below 576, and the least usual one is this (RFC 1191 §7). Smaller segments would cost us more
/// than they are worth, and an attacker may ask for them (RFC 5927 §7.2).
pub const fn mtu_min(version: Version) -> usize {
    match version {
        Version::V4 => 296,
        Version::V6 => 1280,
    }
}

/// RFC 791 §3.2: what every link of IPv4 takes.
const MTU_LEAST_V4: usize = 68;

/// What follows from the MTU of a path that a router has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathMtu {
    /// Bytes that our packets may have.
    pub mtu: usize,
    /// Some are larger than the path takes all the same, so that routers have to fragment them.
    pub fragmented: bool,
}

impl PathMtu {
    /// Of `said` bytes; `None`: there is no such link.
    ///
    /// RFC 1191 §3 lets a host send fragments where the path takes less than it likes; RFC 8201 §4 has
    /// less than 1280 bytes thrown away in IPv6.
    pub fn of(said: usize, version: Version) -> Option<Self> {
        let (least, mtu) = match version {
            Version::V4 => (MTU_LEAST_V4, said.max(mtu_min(version))),
            Version::V6 => (mtu_min(version), said),
        };
        (said >= least).then_some(Self { mtu, fragmented: mtu > said })
    }

    /// Makes a connection's segments fit, whose payload is now at most `mss` bytes beside `options` bytes of TCP
    /// options; false when they did already.
    pub fn narrow(
        self,
        version: Version,
        options: usize,
        mss: &mut u16,
        may_be_fragmented: &mut bool,
    ) -> bool {
        let headers = ip::header_len(version) + tcp::HEADER_LEN + options;
        let fits = self.mtu.saturating_sub(headers).min(usize::from(*mss)) as u16;
        let is_news = fits < *mss || (self.fragmented && !*may_be_fragmented);
        *mss = fits;
        *may_be_fragmented |= self.fragmented;
        is_news
    }
}

/// The next lower MTU to try when a router does not say one (RFC 1191 §7, table 7-1).
pub fn plateau_below(packet_len: usize) -> usize {
    const PLATEAUS: [usize; 10] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68];
    PLATEAUS.into_iter().find(|&plateau| plateau < packet_len).unwrap_or(68)
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::IpAddr;

    fn a(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    /// An ICMP message of this kind that quotes a segment of ours.
    fn error(src: &str, dst: &str, head: [u8; 8]) -> [u8; 8 + 48] {
        let mut bytes = [0; 8 + 48];
        bytes[..8].copy_from_slice(&head);
        let at = 8 + ip::emit(&a(src), &a(dst), PROTOCOL_TCP, 0, 1000, &mut bytes[8..]);
        bytes[at..at + 8].copy_from_slice(&[0x18, 0xeb, 0x9c, 0x40, 0xff, 0, 0, 7]);
        bytes
    }

    #[test]
    fn errors_name_the_segment() {
        let v4 = read_v4(&error("198.18.0.2", "198.18.0.1", [3, 4, 0, 0, 0, 0, 5, 0])).unwrap();
        assert_eq!(
            (v4.src, v4.dst, v4.src_port, v4.dst_port),
            (a("198.18.0.2"), a("198.18.0.1"), 6379, 40_000)
        );
        assert_eq!((v4.seq, v4.packet_len), (SeqNumber(0xff00_0007), 1020));
        assert_eq!(v4.meaning, Meaning::TooBig { mtu: Some(1280) });
        let v6 = read_v6(&error("2001:2::2", "2001:2::1", [2, 0, 0, 0, 0, 0, 5, 0])).unwrap();
        assert_eq!(v6.meaning, Meaning::TooBig { mtu: Some(1280) });
        assert_eq!((v6.src, v6.dst, v6.src_port, v6.seq), (a("2001:2::2"), a("2001:2::1"), 6379, v4.seq));
    }

    #[test]
    fn whole_packets_are_verified() {
        for (src, dst, protocol, head) in [
            ("198.18.0.2", "198.18.0.1", ipv4::PROTOCOL_ICMP, [3, 4, 0, 0, 0, 0, 5, 0]),
            ("2001:2::2", "2001:2::1", ipv6::NEXT_ICMP, [2, 0, 0, 0, 0, 0, 5, 0]),
        ] {
            let message = error(src, dst, head);
            let (router, us) = (a(dst), a(src));
            let mut packet = [0; 40 + 56];
            let at = ip::emit(&router, &us, protocol, 0, message.len(), &mut packet);
            let packet = &mut packet[..at + message.len()];
            packet[at..].copy_from_slice(&message);
            match us.version() {
                Version::V4 => {
                    let sum = Sum::new().add(&packet[at..]).finish();
                    packet[at + 2..at + 4].copy_from_slice(&sum.to_be_bytes());
                }
                Version::V6 => icmpv6::fill_checksum(router, us, &mut packet[at..]),
            }
            assert_eq!(read(packet).map(|error| error.meaning), Some(Meaning::TooBig { mtu: Some(1280) }));
            packet[at + 7] ^= 1;
            assert_eq!(read(packet), None, "a wrong checksum");
        }
    }

    #[test]
    fn meanings() {
        let v4 = |kind, code| {
            read_v4(&error("1.1.1.1", "2.2.2.2", [kind, code, 0, 0, 0, 0, 0, 0])).map(|e| e.meaning)
        };
        let v6 = |kind, code| {
            read_v6(&error("fd00::1", "fd00::2", [kind, code, 0, 0, 0, 0, 5, 0])).map(|e| e.meaning)
        };
        let (hard, soft) = (Some(Meaning::Hard), Some(Meaning::Soft));
        assert_eq!(
            [v4(3, 0), v4(3, 1), v4(3, 2), v4(3, 3), v4(11, 0), v4(12, 0)],
            [soft, soft, hard, hard, soft, soft]
        );
        assert_eq!(v4(3, 4), Some(Meaning::TooBig { mtu: None }));
        assert_eq!([v4(4, 0), v4(8, 0)], [None, None], "source quench means nothing (RFC 6633)");
        assert_eq!([v6(1, 0), v6(1, 1), v6(1, 4), v6(3, 0), v6(4, 1)], [soft, hard, hard, soft, soft]);
        assert_eq!(v6(128, 0), None);
    }

    #[test]
    fn what_is_not_about_tcp_is_nothing() {
        let good = error("198.18.0.2", "198.18.0.1", [3, 3, 0, 0, 0, 0, 0, 0]);
        assert!(read_v4(&good).is_some());
        assert!(read_v4(&good[..8 + 20 + 7]).is_none(), "fewer than eight bytes of TCP");
        for (at, value) in [(8, 0x65), (8, 0x44), (8 + 9, 17), (8 + 7, 1)] {
            let mut bad = good;
            bad[at] = value;
            assert!(read_v4(&bad).is_none(), "byte {at}");
        }
        let good = error("fd00::1", "fd00::2", [1, 4, 0, 0, 0, 0, 0, 0]);
        assert!(read_v6(&good).is_some() && read_v6(&good[..8 + 40 + 7]).is_none());
    }

    #[test]
    fn complaints_are_well_formed() {
        let packet = [0x42; 300];
        let mut out = [0; 300];
        let len = emit(Complaint::Port, a("198.18.0.2"), a("198.18.0.1"), &packet, &mut out);
        assert_eq!(len, 8 + QUOTED_MAX);
        assert_eq!(icmp::parse(&out[..len]), Ok(icmp::Message::Error));
        let complaint = Complaint::Parameter { code: 1, pointer: 40 };
        let len = emit(complaint, a("fd00::2"), a("fd00::1"), &packet[..50], &mut out);
        assert_eq!(icmpv6::parse(a("fd00::2"), a("fd00::1"), &out[..len]), Ok(icmpv6::Message::Error));
        assert_eq!(out[..2], [4, 1]);
        assert_eq!((out[7], len), (40, 58));
    }

    #[test]
    fn plateaus() {
        assert_eq!([1500, 1492, 68, 100_000].map(plateau_below), [1492, 1006, 68, 32_000]);
    }

    #[test]
    fn a_path_narrows_segments_once() {
        let (mut mss, mut may_be_fragmented) = (1460, false);
        let mut narrow = |said, options| {
            let path = PathMtu::of(said, Version::V4).unwrap();
            let is_news = path.narrow(Version::V4, options, &mut mss, &mut may_be_fragmented);
            (is_news, mss, may_be_fragmented)
        };
        assert_eq!(narrow(1500, 0), (false, 1460, false));
        assert_eq!(narrow(1400, 0), (true, 1360, false));
        assert_eq!(narrow(1400, 0), (false, 1360, false));
        assert_eq!(narrow(1400, 12), (true, 1348, false));
        // The least that we send: smaller paths are left to routers that fragment.
        assert_eq!(narrow(296, 12), (true, 244, false));
        assert_eq!(narrow(100, 12), (true, 244, true));
        assert_eq!(narrow(68, 12), (false, 244, true));
    }
}
