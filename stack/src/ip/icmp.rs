//! Echo, and the errors that TCP listens to (RFC 792, RFC 1191, RFC 5927).

use core::net::Ipv4Addr;

use netcore::Frame;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmp::{self, Message};
use protocol::ipv4::{HEADER_LEN, Header, PROTOCOL_ICMP, PROTOCOL_TCP};
use protocol::tcp::SeqNumber;

use crate::app::NetworkError;
use crate::env::Env;
use crate::tcb::Key;

/// Least MTU that an ICMP message can bring us to (RFC 791's 576; less is an attack).
const MTU_MIN: usize = 576;
/// Sizes that links have, for routers that do not say theirs.
///
/// RFC 1191 §7.1: the table of plateaus.
const PLATEAUS: [usize; 7] = [32_000, 17_914, 8166, 4352, 2002, 1492, 1006];

/// What an ICMP message means for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Nothing,
    /// Packets to this peer must not be larger than `mtu` bytes.
    LowerMtu {
        key: Key,
        seq: SeqNumber,
        mtu: usize,
    },
    /// A packet came to nothing.
    Error {
        key: Key,
        seq: SeqNumber,
        error: NetworkError,
        /// It says of itself that it will not pass.
        is_hard: bool,
    },
}

/// Of a packet of ours, what ICMP quotes.
struct Quoted {
    key: Key,
    seq: SeqNumber,
    total_len: usize,
}

/// Takes an ICMP packet: `packet` is where the IP header stands in the frame.
pub(crate) fn arrived<F: Frame>(env: &mut Env<F>, mut frame: F, ip: &Header, src_mac: Mac) -> Verdict {
    let start = ethernet::HEADER_LEN + ip.header_len;
    let end = ethernet::HEADER_LEN + ip.total_len;
    let message = &frame.bytes()[start..end];
    let quotation = message.get(icmp::HEADER_LEN..).unwrap_or_default();
    match icmp::parse(message) {
        Err(_) => {
            env.counters.icmp_malformed += 1;
            Verdict::Nothing
        }
        Ok(Message::EchoRequest) => {
            frame.truncate(end);
            // The reply has a header without options.
            frame.advance(start - ethernet::HEADER_LEN - HEADER_LEN);
            let (local, remote) = (env.config.address, ip.src);
            let out = frame.bytes_mut();
            icmp::make_echo_reply(&mut out[ethernet::HEADER_LEN + HEADER_LEN..]);
            let len = end - start;
            let ttl = env.config.ttl;
            Header { ttl, ..Header::outgoing(local, remote, PROTOCOL_ICMP, len) }
                .emit(&mut out[ethernet::HEADER_LEN..]);
            ethernet::Header { dst: src_mac, src: env.config.mac, ether_type: EtherType::Ipv4 }.emit(out);
            match env.tx.push(frame) {
                Ok(()) => env.counters.icmp_echo += 1,
                Err(_) => env.counters.tx_queue_full += 1,
            }
            Verdict::Nothing
        }
        Ok(Message::Unreachable { code: 4, mtu }) => {
            let verdict = too_big(env.config.address, quotation, mtu);
            count_nothing(env, verdict)
        }
        // RFC 9293 §3.9.2.2 MUST-56, SHLD-26: protocol and port unreachable are hard errors, the
        // others soft (RFC 5461 §2).
        Ok(Message::Unreachable { code, .. }) => {
            let verdict = error(env.config.address, quotation, (3, code), matches!(code, 2 | 3));
            count_nothing(env, verdict)
        }
        Ok(Message::TimeExceeded { code }) => {
            let verdict = error(env.config.address, quotation, (11, code), false);
            count_nothing(env, verdict)
        }
        Ok(Message::ParameterProblem { code }) => {
            let verdict = error(env.config.address, quotation, (12, code), false);
            count_nothing(env, verdict)
        }
        // RFC 9293 §3.9.2.2 MUST-55: source quench is nothing to us (RFC 6633 §3).
        Ok(Message::SourceQuench | Message::EchoReply | Message::Other(_)) => {
            env.counters.icmp_ignored += 1;
            Verdict::Nothing
        }
    }
}

fn count_nothing<F>(env: &mut Env<F>, verdict: Verdict) -> Verdict {
    if verdict == Verdict::Nothing {
        env.counters.icmp_ignored += 1;
    }
    verdict
}

/// RFC 9293 §3.9.2.2 MUST-54: which connection the quoted packet belongs to.
fn quoted(local: Ipv4Addr, quotation: &[u8]) -> Option<Quoted> {
    let first = quotation.first_chunk::<HEADER_LEN>()?;
    let header_len = usize::from(first[0] & 0xf) * 4;
    let tcp = quotation.get(header_len..header_len + 8)?;
    let addr = |at: usize| Ipv4Addr::new(first[at], first[at + 1], first[at + 2], first[at + 3]);
    if first[0] >> 4 != 4 || first[9] != PROTOCOL_TCP || addr(12) != local {
        return None;
    }
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Quoted {
        key: Key::new(addr(16), port(2), port(0)),
        seq: SeqNumber(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])),
        total_len: usize::from(u16::from_be_bytes([first[2], first[3]])),
    })
}

/// The packet did not fit; `mtu`: what would, 0 from routers that do not say.
fn too_big(local: Ipv4Addr, quotation: &[u8], mtu: u16) -> Verdict {
    let Some(Quoted { key, seq, total_len }) = quoted(local, quotation) else { return Verdict::Nothing };
    let mtu = match mtu {
        // RFC 1191 §5: the next smaller size that a link has.
        0 => PLATEAUS.into_iter().find(|&plateau| plateau < total_len).unwrap_or(MTU_MIN),
        mtu => usize::from(mtu),
    };
    if mtu < MTU_MIN { Verdict::Nothing } else { Verdict::LowerMtu { key, seq, mtu } }
}

fn error(local: Ipv4Addr, quotation: &[u8], (kind, code): (u8, u8), is_hard: bool) -> Verdict {
    match quoted(local, quotation) {
        Some(Quoted { key, seq, .. }) => {
            Verdict::Error { key, seq, error: NetworkError { kind, code }, is_hard }
        }
        None => Verdict::Nothing,
    }
}
