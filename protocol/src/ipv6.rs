//! IPv6 (RFC 8200): the fixed header, and the way past extension headers.

use core::net::Ipv6Addr;

use crate::ip::{self, Address};
use crate::{Malformed, be16};

/// Bytes of the fixed header, the only kind that we send.
pub const HEADER_LEN: usize = 40;
/// Bytes of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// Next header: ICMPv6.
pub const NEXT_ICMP: u8 = 58;
/// Next header: a piece of a packet (RFC 8200 §4.5).
pub const NEXT_FRAGMENT: u8 = 44;
/// Next header: nothing follows, and what does is ignored (RFC 8200 §4.7).
pub const NEXT_NONE: u8 = 59;
/// Hop limit of what we send (RFC 1700's default).
pub const DEFAULT_HOP_LIMIT: u8 = 64;

const NEXT_HOP_BY_HOP: u8 = 0;
const NEXT_ROUTING: u8 = 43;
const NEXT_DESTINATION: u8 = 60;
/// Extension headers that are looked through; nobody honest has more (RFC 8504 §5.3 lets a host
/// set such limits).
const EXTENSIONS_MAX: usize = 8;
/// Options that are looked through in one extension header, likewise.
const OPTIONS_MAX: usize = 32;

/// Why a packet is answered with ICMPv6 "parameter problem" (RFC 4443 §3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterProblem {
    /// 0: wrong field; 1: unknown next header; 2: unknown option.
    pub code: u8,
    /// Byte of the packet where the trouble lies.
    pub pointer: u32,
    /// Also to be sent when the packet was for a group.
    pub also_to_groups: bool,
}

enum Refused {
    Malformed(Malformed),
    Problem(ParameterProblem),
    /// To be dropped silently.
    Silently,
}

/// Reads and checks the fixed header and walks over the extension headers behind it. Bytes behind
/// the stated length are link-layer padding.
///
/// A piece of a packet comes back with `fragment`; its `header_len` ends in front of the fragment
/// header, and `protocol` is [`NEXT_FRAGMENT`].
///
/// # Errors
/// `Truncated`: fewer bytes than a header says. `Version`: not 6. `Value`: an address that cannot
/// be, or a header that must be refused (see [`parameter_problem`]).
///
/// Source: RFC 8200 §3, §4.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<ip::Header, Malformed> {
    let Some(b) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
    if b[0] >> 4 != 6 {
        return Err(Malformed::Version);
    }
    let total_len = HEADER_LEN + usize::from(be16(b, 4));
    let Some(packet) = bytes.get(..total_len) else { return Err(Malformed::Truncated) };
    let address = |at: usize| Address::from(core::array::from_fn::<u8, 16, _>(|n| b[at + n]));
    let (src, dst) = (address(8), address(24));
    if src.is_v4() || dst.is_v4() {
        // RFC 4942 §2.2: an IPv4-mapped address on the wire can only mean harm.
        return Err(Malformed::Value);
    }
    let mut header = ip::Header {
        src,
        dst,
        header_len: HEADER_LEN,
        total_len,
        protocol: b[6],
        dont_fragment: true,
        fragment: b[6] == NEXT_FRAGMENT,
        hop_limit: b[7],
        tos: b[0] << 4 | b[1] >> 4,
    };
    if matches!(b[6], NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION) {
        match walk(packet) {
            Ok(upper) => {
                header.protocol = upper.protocol;
                header.header_len = upper.at;
                header.fragment = upper.protocol == NEXT_FRAGMENT;
            }
            Err(Refused::Malformed(malformed)) => return Err(malformed),
            Err(Refused::Problem(_) | Refused::Silently) => return Err(Malformed::Value),
        }
    }
    Ok(header)
}

/// Source and destination of a packet that [`parse`] refused.
pub fn ends(bytes: &[u8]) -> Option<(Address, Address)> {
    let b = bytes.first_chunk::<HEADER_LEN>()?;
    let address = |at: usize| Address::from(core::array::from_fn::<u8, 16, _>(|n| b[at + n]));
    Some((address(8), address(24)))
}

/// What to answer to a packet that [`parse`] refused for its extension headers, if anything.
#[cold]
pub fn parameter_problem(bytes: &[u8]) -> Option<ParameterProblem> {
    let b = bytes.first_chunk::<HEADER_LEN>()?;
    let packet = bytes.get(..HEADER_LEN + usize::from(be16(b, 4)))?;
    match walk(packet) {
        Err(Refused::Problem(problem)) => Some(problem),
        Ok(_) | Err(Refused::Malformed(_) | Refused::Silently) => None,
    }
}

/// The byte of a packet that [`parse`] took where `protocol` stands: one of the fixed header, or of the
/// last extension header (RFC 4443 §3.4: where a complaint about it points).
#[cold]
pub fn protocol_at(packet: &[u8]) -> Option<u32> {
    walk(packet).ok().map(|upper| upper.number_at as u32)
}

/// What follows the last extension header.
struct Upper {
    protocol: u8,
    /// Where that number stands.
    number_at: usize,
    /// Where what it names begins.
    at: usize,
}

/// Walks over extension headers, to the next header that is none.
#[cold]
fn walk(packet: &[u8]) -> Result<Upper, Refused> {
    let mut next = packet[6];
    let mut next_at = 6;
    let mut at = HEADER_LEN;
    for seen in 0..=EXTENSIONS_MAX {
        match next {
            // RFC 8200 §4.3: only directly behind the fixed header.
            NEXT_HOP_BY_HOP if seen > 0 => return Err(problem(1, next_at)),
            NEXT_HOP_BY_HOP | NEXT_ROUTING | NEXT_DESTINATION => {}
            _ => return Ok(Upper { protocol: next, number_at: next_at, at }),
        }
        let Some(&[after, len]) = packet.get(at..at + 2).and_then(|two| two.first_chunk::<2>()) else {
            return Err(Refused::Malformed(Malformed::Truncated));
        };
        let len = (usize::from(len) + 1) * 8;
        let Some(body) = packet.get(at..at + len) else {
            return Err(Refused::Malformed(Malformed::Truncated));
        };
        if next == NEXT_ROUTING {
            // RFC 8200 §4.4, RFC 5095 §3: at its end a route is skipped; we lead on nobody's.
            if body[3] != 0 {
                return Err(problem(0, at + 2));
            }
        } else {
            options(body, at)?;
        }
        (next, next_at) = (after, at);
        at += len;
    }
    Err(Refused::Silently)
}

/// RFC 8200 §4.2: what the highest two bits of an unknown option ask for.
fn options(body: &[u8], body_at: usize) -> Result<(), Refused> {
    let mut at = 2;
    for _ in 0..OPTIONS_MAX {
        let Some(&kind) = body.get(at) else { return Ok(()) };
        if kind == 0 {
            at += 1;
            continue;
        }
        let Some(&len) = body.get(at + 1) else { return Err(Refused::Malformed(Malformed::Truncated)) };
        let end = at + 2 + usize::from(len);
        if end > body.len() {
            return Err(Refused::Malformed(Malformed::Length));
        }
        // PadN and router alert (RFC 2711) are known, and mean nothing to a host.
        if !matches!(kind, 1 | 5) {
            let pointer = (body_at + at) as u32;
            match kind >> 6 {
                0 => {}
                1 => return Err(Refused::Silently),
                action => {
                    let also_to_groups = action == 2;
                    return Err(Refused::Problem(ParameterProblem { code: 2, pointer, also_to_groups }));
                }
            }
        }
        at = end;
    }
    Err(Refused::Silently)
}

fn problem(code: u8, pointer: usize) -> Refused {
    Refused::Problem(ParameterProblem { code, pointer: pointer as u32, also_to_groups: false })
}

/// Writes a fixed header to the front of `out`; panics when `out` is shorter.
///
/// `payload_len`: bytes behind the header, at most 65,535. `tos`: traffic class.
#[inline]
pub fn emit(
    src: &Address,
    dst: &Address,
    next: u8,
    tos: u8,
    hop_limit: u8,
    payload_len: usize,
    out: &mut [u8],
) {
    debug_assert!(payload_len <= 65_535);
    let out = &mut out[..HEADER_LEN];
    out[0] = 0x60 | tos >> 4;
    out[1] = tos << 4;
    out[2..4].copy_from_slice(&[0, 0]);
    out[4..6].copy_from_slice(&(payload_len as u16).to_be_bytes());
    out[6] = next;
    out[7] = hop_limit;
    out[8..24].copy_from_slice(src.octets());
    out[24..40].copy_from_slice(dst.octets());
}

/// The fragment header (RFC 8200 §4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentHeader {
    /// What the whole packet carries.
    pub next: u8,
    /// Where this piece belongs, in bytes.
    pub offset: usize,
    /// More pieces follow it.
    pub more: bool,
    /// The same for all pieces of a packet.
    pub ident: u32,
}

impl FragmentHeader {
    /// Reads the header at the front of `bytes`.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(b) = bytes.first_chunk::<FRAGMENT_HEADER_LEN>() else { return Err(Malformed::Truncated) };
        let field = be16(b, 2);
        Ok(Self {
            next: b[0],
            offset: usize::from(field & 0xfff8),
            more: field & 1 != 0,
            ident: crate::be32(b, 4),
        })
    }
}

/// Makes the headers of a first fragment, behind which now stands the whole payload, those of a
/// packet that was never in pieces, all but for one thing: the fragment header is still there. It
/// begins at the returned byte, and the caller closes the gap. `None`: there is no such header.
pub fn make_whole(packet: &mut [u8]) -> Option<usize> {
    let (mut next_at, mut at) = (6, HEADER_LEN);
    while *packet.get(next_at)? != NEXT_FRAGMENT {
        let len = (usize::from(*packet.get(at + 1)?) + 1) * 8;
        (next_at, at) = (at, at + len);
    }
    packet[next_at] = *packet.get(at)?;
    let payload_len = packet.len().checked_sub(HEADER_LEN + FRAGMENT_HEADER_LEN)? as u16;
    packet[4..6].copy_from_slice(&payload_len.to_be_bytes());
    Some(at)
}

/// The link-local address of a hardware address (RFC 4291 §2.5.6, appendix A).
pub fn link_local(mac: crate::ethernet::Mac) -> Address {
    let [a, b, c, d, e, f] = mac.0;
    Address::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

/// The group in which a neighbour is asked for `addr` (RFC 4291 §2.7.1).
pub fn solicited_node(addr: &Address) -> Address {
    let [.., x, y, z] = *addr.octets();
    Address::from(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(x), u16::from_be_bytes([y, z])))
}

/// The hardware address of a group (RFC 2464 §7).
pub fn group_mac(group: &Address) -> crate::ethernet::Mac {
    let [.., a, b, c, d] = *group.octets();
    crate::ethernet::Mac([0x33, 0x33, a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Ipv6Addr = Ipv6Addr::new(0x2001, 0x2, 0, 0, 0, 0, 0, 1);
    const B: Ipv6Addr = Ipv6Addr::new(0x2001, 0x2, 0, 0, 0, 0, 0, 2);

    /// A packet with this first next-header value and these bytes behind the fixed header.
    fn packet(next: u8, behind: &[u8]) -> ([u8; 256], usize) {
        let mut bytes = [0; 256];
        emit(&A.into(), &B.into(), next, 0, 64, behind.len(), &mut bytes);
        bytes[HEADER_LEN..HEADER_LEN + behind.len()].copy_from_slice(behind);
        (bytes, HEADER_LEN + behind.len())
    }

    fn read(next: u8, behind: &[u8]) -> Result<ip::Header, Malformed> {
        let (bytes, len) = packet(next, behind);
        parse(&bytes[..len])
    }

    #[test]
    fn plain_header_and_refusals() {
        let header = read(6, &[9; 20]).unwrap();
        assert_eq!((header.src, header.dst), (A.into(), B.into()));
        assert_eq!((header.header_len, header.total_len, header.protocol), (40, 60, 6));
        assert_eq!((header.fragment, header.hop_limit, header.tos), (false, 64, 0));
        let (bytes, len) = packet(6, &[9; 20]);
        assert_eq!(parse(&bytes[..len - 1]), Err(Malformed::Truncated));
        assert_eq!(parse(&bytes[..39]), Err(Malformed::Truncated));
        let mut bad = bytes;
        bad[0] = 0x45;
        assert_eq!(parse(&bad[..len]), Err(Malformed::Version));
        let mut mapped = bytes;
        mapped[8..24].copy_from_slice(core::net::Ipv4Addr::LOCALHOST.to_ipv6_mapped().octets().as_slice());
        assert_eq!(parse(&mapped[..len]), Err(Malformed::Value));
    }

    #[test]
    fn extension_headers_are_skipped_or_refused() {
        // Destination options with PadN, then an unknown option that may be skipped.
        let header = read(60, &[6, 0, 1, 4, 0, 0, 0, 0, 1, 2]).unwrap();
        assert_eq!((header.protocol, header.header_len), (6, 48));
        assert_eq!(read(60, &[6, 0, 0x1e, 4, 0, 0, 0, 0]).unwrap().protocol, 6);
        // Hop-by-hop first, destination options, a finished route: all three are passed.
        let three = [[60, 0, 1, 4, 0, 0, 0, 0], [43, 0, 0, 0, 0, 0, 0, 0], [6, 0, 4, 0, 0, 0, 0, 0]];
        assert_eq!(read(0, three.as_flattened()).unwrap().header_len, 64);
        for (next, behind, problem) in [
            // Options that must not be skipped: silently, with an answer, with one except to groups.
            (60, [6, 0, 0x40, 4, 0, 0, 0, 0], None),
            (60, [6, 0, 0x80, 4, 0, 0, 0, 0], Some((2, 42, true))),
            (60, [6, 0, 0xc0, 4, 0, 0, 0, 0], Some((2, 42, false))),
            // A route that goes on (type 0, RFC 5095).
            (43, [6, 0, 0, 1, 0, 0, 0, 0], Some((0, 42, false))),
            // Hop-by-hop in the middle.
            (60, [0, 0, 1, 4, 0, 0, 0, 0], Some((1, 40, false))),
        ] {
            assert_eq!(read(next, &behind), Err(Malformed::Value), "{behind:?}");
            let (bytes, len) = packet(next, &behind);
            let found = parameter_problem(&bytes[..len]);
            assert_eq!(found.map(|p| (p.code, p.pointer, p.also_to_groups)), problem, "{behind:?}");
        }
        // The number of what is carried stands in the last of them.
        for (next, behind, at) in
            [(6, &[9; 20][..], 6), (60, &[99, 0, 1, 4, 0, 0, 0, 0], 40), (0, three.as_flattened(), 56)]
        {
            let (bytes, len) = packet(next, behind);
            assert_eq!(protocol_at(&bytes[..len]), Some(at), "{behind:?}");
        }
        assert_eq!(read(60, &[6, 1, 1, 4, 0, 0, 0, 0]), Err(Malformed::Truncated), "longer than the packet");
        assert_eq!(
            read(60, &[6, 0, 1, 9, 0, 0, 0, 0]),
            Err(Malformed::Length),
            "an option longer than its header"
        );
        assert_eq!(read(60, &[6]), Err(Malformed::Truncated));
        let endless = [[60, 0, 1, 4, 0, 0, 0, 0]; 9];
        assert_eq!(read(60, endless.as_flattened()), Err(Malformed::Value), "no end of extension headers");
    }

    #[test]
    fn fragments_are_told() {
        let header = read(44, &[6, 0, 0x05, 0xa9, 0, 0, 0, 7, 1]).unwrap();
        assert_eq!((header.fragment, header.header_len, header.protocol), (true, 40, 44));
        let fragment = FragmentHeader::parse(&[6, 0, 0x05, 0xa9, 0, 0, 0, 7]).unwrap();
        assert_eq!(fragment, FragmentHeader { next: 6, offset: 1448, more: true, ident: 7 });
        assert!(read(60, &[44, 0, 1, 4, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 7]).unwrap().fragment);
    }

    #[test]
    fn special_addresses() {
        let mac = crate::ethernet::Mac([2, 0, 0, 0, 0, 9]);
        assert_eq!(link_local(mac), "fe80::ff:fe00:9".parse::<Ipv6Addr>().unwrap().into());
        let group = solicited_node(&"2001:db8::12:3456".parse::<Ipv6Addr>().unwrap().into());
        assert_eq!(group, "ff02::1:ff12:3456".parse::<Ipv6Addr>().unwrap().into());
        assert_eq!(group_mac(&group).0, [0x33, 0x33, 0xff, 0x12, 0x34, 0x56]);
    }
}
