//! Echo, and the errors that TCP listens to (RFC 792, RFC 1191, RFC 5927).

use core::net::Ipv4Addr;

use netcore::Frame;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmp::{self, Message};
use protocol::ipv4::{HEADER_LEN, Header, PROTOCOL_ICMP, PROTOCOL_TCP};
use protocol::tcp::SeqNumber;

use crate::env::Env;
use crate::tcb::Key;

/// Least MTU that an ICMP message can bring us to (RFC 791's 576; less is an attack).
const MTU_MIN: usize = 576;

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
}

/// Takes an ICMP packet: `packet` is where the IP header stands in the frame.
pub(crate) fn arrived<F: Frame>(env: &mut Env<F>, mut frame: F, ip: &Header, src_mac: Mac) -> Verdict {
    let start = ethernet::HEADER_LEN + ip.header_len;
    let end = ethernet::HEADER_LEN + ip.total_len;
    let message = &frame.bytes()[start..end];
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
            let verdict = too_big(env.config.address, &message[icmp::HEADER_LEN..], mtu);
            if verdict == Verdict::Nothing {
                env.counters.icmp_ignored += 1;
            }
            verdict
        }
        // RFC 1122 §4.2.3.9, RFC 5927 §6: the other errors are soft; timers decide.
        Ok(Message::EchoReply | Message::Unreachable { .. } | Message::TimeExceeded | Message::Other(_)) => {
            env.counters.icmp_ignored += 1;
            Verdict::Nothing
        }
    }
}

/// Reads the packet that did not fit, of which ICMP quotes the header and eight bytes more.
fn too_big(local: Ipv4Addr, quoted: &[u8], mtu: u16) -> Verdict {
    let Some(first) = quoted.first_chunk::<HEADER_LEN>() else { return Verdict::Nothing };
    let header_len = usize::from(first[0] & 0xf) * 4;
    let Some(tcp) = quoted.get(header_len..header_len + 8) else { return Verdict::Nothing };
    let addr = |at: usize| Ipv4Addr::new(first[at], first[at + 1], first[at + 2], first[at + 3]);
    if first[0] >> 4 != 4 || first[9] != PROTOCOL_TCP || addr(12) != local || usize::from(mtu) < MTU_MIN {
        return Verdict::Nothing;
    }
    let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    let seq = SeqNumber(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]));
    Verdict::LowerMtu { key: Key::new(addr(16), port(2), port(0)), seq, mtu: usize::from(mtu) }
}
