//! ICMPv6 (RFC 4443): echo, and the messages by which neighbours find each other (RFC 4861).
//! Errors are read and written in [`crate::icmp_error`].

use crate::checksum::{Sum, pseudo_header};
use crate::ethernet::Mac;
use crate::ip::Address;
use crate::ipv6::{self, NEXT_ICMP};
use crate::{Malformed, be16};

/// Bytes of the header that all messages share, with the word that most of them use.
pub const HEADER_LEN: usize = 8;
/// Bytes of a neighbour message with one hardware address, as we send it.
pub const NEIGHBOUR_LEN: usize = 32;
/// Hop limit of neighbour messages: nobody from beyond the link can send it (RFC 4861 §3.1).
pub const NEIGHBOUR_HOP_LIMIT: u8 = 255;

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const SOURCE_LINK_LAYER: u8 = 1;
const TARGET_LINK_LAYER: u8 = 2;

/// A message, as far as we act on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// Type 128: send the same data back.
    EchoRequest,
    /// Types below 128: an error, to be read by [`crate::icmp_error::read_v6`].
    Error,
    /// Type 135: who has the target?
    Solicitation(Neighbour),
    /// Type 136: the target is there.
    Advertisement(Neighbour),
    /// Anything else.
    Other(u8),
}

/// What a neighbour message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// Of whom it speaks.
    pub target: Address,
    /// The sender's (solicitation) or the target's (advertisement) hardware address, if it says so.
    pub mac: Option<Mac>,
    /// Advertisement: it answers a solicitation.
    pub solicited: bool,
}

/// Reads and verifies a message.
///
/// # Errors
/// `Truncated`; `Checksum`; `Length` or `Value`: a neighbour message that RFC 4861 §7.1 refuses.
pub fn parse(src: Address, dst: Address, bytes: &[u8]) -> Result<Message, Malformed> {
    let Some(b) = bytes.first_chunk::<HEADER_LEN>() else { return Err(Malformed::Truncated) };
    if pseudo_header(src, dst, NEXT_ICMP, bytes.len()).add(bytes).fold() != 0xffff {
        return Err(Malformed::Checksum);
    }
    Ok(match b[0] {
        0..=127 => Message::Error,
        128 => Message::EchoRequest,
        SOLICITATION => Message::Solicitation(neighbour(bytes, SOURCE_LINK_LAYER)?),
        ADVERTISEMENT => Message::Advertisement(neighbour(bytes, TARGET_LINK_LAYER)?),
        other => Message::Other(other),
    })
}

/// RFC 4861 §4.3, §4.4, §7.1.1, §7.1.2.
fn neighbour(bytes: &[u8], wanted: u8) -> Result<Neighbour, Malformed> {
    let Some(b) = bytes.first_chunk::<24>() else { return Err(Malformed::Truncated) };
    let target = Address::from(core::array::from_fn::<u8, 16, _>(|n| b[8 + n]));
    if b[1] != 0 || target.is_group() || target.is_v4() {
        return Err(Malformed::Value);
    }
    let mut mac = None;
    let mut options = &bytes[24..];
    while let [kind, len, ..] = *options {
        let len = usize::from(len) * 8;
        let (Some(option), true) = (options.get(..len), len > 0) else { return Err(Malformed::Length) };
        if kind == wanted && len == 8 {
            mac = Some(Mac([option[2], option[3], option[4], option[5], option[6], option[7]]));
        }
        options = &options[len..];
    }
    Ok(Neighbour { target, mac, solicited: b[4] & 0x40 != 0 })
}

/// Writes a solicitation of [`NEIGHBOUR_LEN`] bytes to the front of `out`; panics when it is
/// shorter. `mac`: the sender's.
pub fn emit_solicitation(src: Address, dst: Address, target: &Address, mac: Mac, out: &mut [u8]) {
    emit_neighbour((SOLICITATION, 0, SOURCE_LINK_LAYER), (src, dst), target, mac, out);
}

/// Writes an advertisement of [`NEIGHBOUR_LEN`] bytes to the front of `out`; panics when it is
/// shorter. `mac`: the target's, which is the sender's.
///
/// Source: RFC 4861 §7.2.4: always with the override flag, since the target is nobody's proxy.
pub fn emit_advertisement(
    src: Address,
    dst: Address,
    target: &Address,
    mac: Mac,
    solicited: bool,
    out: &mut [u8],
) {
    let flags = 0x20 | if solicited { 0x40 } else { 0 };
    emit_neighbour((ADVERTISEMENT, flags, TARGET_LINK_LAYER), (src, dst), target, mac, out);
}

fn emit_neighbour(
    (kind, flags, option): (u8, u8, u8),
    (src, dst): (Address, Address),
    target: &Address,
    mac: Mac,
    out: &mut [u8],
) {
    let out = &mut out[..NEIGHBOUR_LEN];
    out[..8].copy_from_slice(&[kind, 0, 0, 0, flags, 0, 0, 0]);
    out[8..24].copy_from_slice(target.octets());
    out[24..26].copy_from_slice(&[option, 1]);
    out[26..32].copy_from_slice(&mac.0);
    fill_checksum(src, dst, out);
}

/// Who a solicitation is to be answered to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Whom the advertisement goes to: who asked, or all nodes of the link.
    pub addr: Address,
    /// Their hardware address.
    pub mac: Mac,
    /// Somebody in particular has asked; otherwise it looks whether the address is free.
    pub solicited: bool,
}

/// All nodes of the link (RFC 4291 §2.7.1).
const ALL_NODES: Address = Address::v6(core::net::Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));

/// Who has asked by a solicitation that came from the link; `None`: it makes no sense. `src_mac`: where the
/// frame came from. That an unspecified source asks the group, and the source's own sense, is looked at here too.
///
/// Source: RFC 4861 §7.1.1, §7.2.4; RFC 4862 §5.4.3.
pub fn asker(src: Address, dst: Address, asked: &Neighbour, src_mac: Mac) -> Option<Asker> {
    let mac = asked.mac.unwrap_or(src_mac);
    if mac.is_multicast() {
        return None;
    }
    if src == Address::v6(core::net::Ipv6Addr::UNSPECIFIED) {
        // Without a source there is none to name either, and the question goes to the group.
        let to_group = asked.mac.is_none() && dst == ipv6::solicited_node(&asked.target);
        return to_group.then(|| Asker {
            addr: ALL_NODES,
            mac: ipv6::group_mac(&ALL_NODES),
            solicited: false,
        });
    }
    (!src.is_never_a_host()).then_some(Asker { addr: src, mac, solicited: true })
}

/// Turns an echo request (a whole message) into its reply in place; panics on fewer than
/// [`HEADER_LEN`] bytes. `src`: whom the reply comes from.
pub fn make_echo_reply(src: Address, dst: Address, message: &mut [u8]) {
    message[0] = 129;
    message[1] = 0;
    fill_checksum(src, dst, message);
}

/// Computes the checksum over a whole message and stores it.
pub(crate) fn fill_checksum(src: Address, dst: Address, message: &mut [u8]) {
    message[2..4].fill(0);
    let sum: Sum = pseudo_header(src, dst, NEXT_ICMP, message.len()).add(message);
    message[2..4].copy_from_slice(&sum.finish().to_be_bytes());
    debug_assert!(be16(message, 2) == sum.finish());
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    fn a(text: &str) -> Address {
        text.parse::<Ipv6Addr>().unwrap().into()
    }

    #[test]
    fn neighbours_ask_and_answer() {
        let (us, them, mac) = (a("fe80::1"), a("fe80::2"), Mac([2, 0, 0, 0, 0, 7]));
        let mut bytes = [0; NEIGHBOUR_LEN];
        emit_solicitation(us, them, &them, mac, &mut bytes);
        let asked = Neighbour { target: them, mac: Some(mac), solicited: false };
        assert_eq!(parse(us, them, &bytes), Ok(Message::Solicitation(asked)));
        assert_eq!(parse(us, us, &bytes), Err(Malformed::Checksum), "for somebody else");
        emit_advertisement(them, us, &them, mac, true, &mut bytes);
        let answer = Neighbour { solicited: true, ..asked };
        assert_eq!(parse(them, us, &bytes), Ok(Message::Advertisement(answer)));
        for (len, at, value, expected) in [
            (NEIGHBOUR_LEN, 1, 1, Malformed::Value),
            (NEIGHBOUR_LEN, 8, 0xff, Malformed::Value),
            (NEIGHBOUR_LEN, 25, 0, Malformed::Length),
            (NEIGHBOUR_LEN, 25, 2, Malformed::Length),
            (23, 0, ADVERTISEMENT, Malformed::Truncated),
        ] {
            let mut bad = bytes;
            bad[at] = value;
            fill_checksum(them, us, &mut bad[..len]);
            assert_eq!(parse(them, us, &bad[..len]), Err(expected), "byte {at} is {value}, length {len}");
        }
        fill_checksum(them, us, &mut bytes[..24]);
        let without = Neighbour { mac: None, ..answer };
        assert_eq!(parse(them, us, &bytes[..24]), Ok(Message::Advertisement(without)));
    }

    #[test]
    fn echo_becomes_its_reply() {
        let (us, them) = (a("2001:2::1"), a("2001:2::2"));
        let mut message = *b"\x80\x00\x00\x00\x12\x34\x00\x01ping!";
        fill_checksum(them, us, &mut message);
        assert_eq!(parse(them, us, &message), Ok(Message::EchoRequest));
        make_echo_reply(us, them, &mut message);
        assert_eq!(parse(us, them, &message), Ok(Message::Other(129)));
        assert_eq!(&message[4..], b"\x12\x34\x00\x01ping!");
    }
}
