//! ICMP of both versions: echo, errors about our segments, and our own complaints.

use netcore::Frame;
use protocol::ethernet::{self, Mac};
use protocol::icmp_error::{self, Complaint, IcmpError};
use protocol::ip::{self, Version};
use protocol::ipv4::PROTOCOL_ICMP;
use protocol::ipv6::NEXT_ICMP;
use protocol::{icmp, icmpv6};

use super::ndp;
use crate::env::Env;

/// What follows from an ICMP message beyond this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    /// It is about a segment of ours.
    Error(IcmpError),
    /// A neighbour became known.
    NeighbourFound,
}

/// Takes an ICMP packet of IPv4 that is for us.
pub(super) fn arrived_v4<F: Frame>(env: &mut Env<F>, frame: F, ip: &ip::Header, src_mac: Mac) -> Verdict {
    let message = &frame.bytes()[ethernet::HEADER_LEN + ip.header_len..ethernet::HEADER_LEN + ip.total_len];
    match icmp::parse(message) {
        Err(_) => env.counters.icmp_malformed += 1,
        Ok(icmp::Message::EchoRequest) => echo(env, frame, ip, ip.dst, src_mac),
        Ok(icmp::Message::Error) => {
            if let Some(error) = icmp_error::read_v4(message) {
                return Verdict::Error(error);
            }
            env.counters.icmp_ignored += 1;
        }
        Ok(icmp::Message::Other(_)) => env.counters.icmp_ignored += 1,
    }
    Verdict::Nothing
}

/// Takes an ICMPv6 packet, which may be for a group. `fragmented`: it came in pieces.
pub(super) fn arrived_v6<F: Frame>(
    env: &mut Env<F>,
    frame: F,
    ip: &ip::Header,
    src_mac: Mac,
    fragmented: bool,
) -> Verdict {
    let message = &frame.bytes()[ethernet::HEADER_LEN + ip.header_len..ethernet::HEADER_LEN + ip.total_len];
    let to_us = env.config.local(ip.dst).is_some();
    let from_one = env.config.is_unicast_source(ip.src) && !src_mac.is_multicast();
    // RFC 4861 §7.1 and RFC 6980 §5: only from this link, and never in pieces.
    let from_link = ip.hop_limit == icmpv6::NEIGHBOUR_HOP_LIMIT && !fragmented;
    match icmpv6::parse(ip.src, ip.dst, message) {
        Err(_) => env.counters.icmp_malformed += 1,
        Ok(icmpv6::Message::EchoRequest) if from_one => {
            // RFC 4443 §4.2: who asks a group is answered from an address of one host.
            let ours = if to_us {
                Some(ip.dst)
            } else {
                env.config.source_for(ip.src).map(|at| env.config.address(at))
            };
            match ours {
                Some(us) => echo(env, frame, ip, us, src_mac),
                None => env.counters.icmp_ignored += 1,
            }
        }
        Ok(icmpv6::Message::Error) if to_us && from_one => {
            if let Some(error) = icmp_error::read_v6(message) {
                return Verdict::Error(error);
            }
            env.counters.icmp_ignored += 1;
        }
        Ok(icmpv6::Message::Solicitation(neighbour)) if from_link => {
            ndp::solicited(env, ip, &neighbour, src_mac);
        }
        Ok(icmpv6::Message::Advertisement(neighbour)) if from_link => {
            if ndp::advertised(env, ip, &neighbour) {
                return Verdict::NeighbourFound;
            }
        }
        Ok(
            icmpv6::Message::EchoRequest
            | icmpv6::Message::Error
            | icmpv6::Message::Solicitation(_)
            | icmpv6::Message::Advertisement(_)
            | icmpv6::Message::Other(_),
        ) => env.counters.icmp_ignored += 1,
    }
    Verdict::Nothing
}

/// Turns an echo request into its reply from `us`, in its own frame.
fn echo<F: Frame>(env: &mut Env<F>, mut frame: F, ip: &ip::Header, us: ip::Address, src_mac: Mac) {
    let version = ip.src.version();
    let len = ip.total_len - ip.header_len;
    frame.truncate(ethernet::HEADER_LEN + ip.total_len);
    // The reply has a header without options.
    frame.advance(ip.header_len - ip::header_len(version));
    let them = ip.src;
    let out = frame.bytes_mut();
    ethernet::Header { dst: src_mac, src: env.config.mac, ether_type: ip::ether_type(version) }.emit(out);
    let protocol = match version {
        Version::V4 => PROTOCOL_ICMP,
        Version::V6 => NEXT_ICMP,
    };
    let message_at = ethernet::HEADER_LEN + ip::header_len(version);
    ip::emit_with_ttl(&us, &them, protocol, (0, env.config.ttl), len, &mut out[ethernet::HEADER_LEN..]);
    match version {
        Version::V4 => icmp::make_echo_reply(&mut out[message_at..]),
        Version::V6 => icmpv6::make_echo_reply(us, them, &mut out[message_at..]),
    }
    match env.tx.push(frame) {
        Ok(()) => env.counters.icmp_echo += 1,
        Err(_) => env.counters.tx_queue_full += 1,
    }
}

/// Complains to the sender of the packet in `frame`, in its own frame.
#[cold]
pub(super) fn complain<F: Frame>(
    env: &mut Env<F>,
    mut frame: F,
    (us, them): (ip::Address, ip::Address),
    complaint: Complaint,
    src_mac: Mac,
) {
    if !env.may_complain() {
        return;
    }
    let mut packet = [0; icmp_error::QUOTED_MAX];
    let quoted = &frame.bytes()[ethernet::HEADER_LEN..];
    let quoted_len = quoted.len().min(packet.len());
    packet[..quoted_len].copy_from_slice(&quoted[..quoted_len]);
    let version = us.version();
    let len = icmp_error::emitted_len(quoted_len);
    let message_at = ethernet::HEADER_LEN + ip::header_len(version);
    frame.reset();
    let Some(out) = frame.append(message_at + len) else { return };
    ethernet::Header { dst: src_mac, src: env.config.mac, ether_type: ip::ether_type(version) }.emit(out);
    let protocol = match version {
        Version::V4 => PROTOCOL_ICMP,
        Version::V6 => NEXT_ICMP,
    };
    ip::emit_with_ttl(&us, &them, protocol, (0, env.config.ttl), len, &mut out[ethernet::HEADER_LEN..]);
    icmp_error::emit(complaint, us, them, &packet[..quoted_len], &mut out[message_at..]);
    match env.tx.push(frame) {
        Ok(()) => env.counters.icmp_errors_sent += 1,
        Err(_) => env.counters.tx_queue_full += 1,
    }
}
