//! Neighbour discovery (RFC 4861 §7): who asks for our IPv6 addresses is answered, and our own
//! questions are asked. Other nodes' duplicate address detection is answered too (RFC 4862 §5.4.3).

use netcore::{Frame, FramePool};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Asker, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN, Neighbour};
use protocol::ip::{self, Address};
use protocol::ipv6::{self, NEXT_ICMP};

use super::neighbour;
use crate::env::{Control, Env};
use crate::output::Blocked;

/// Takes a solicitation; `src_mac`: where the frame came from.
pub(super) fn solicited<F: Frame>(env: &mut Env<F>, ip: &ip::Header, neighbour: &Neighbour, src_mac: Mac) {
    let Some(local) = env.config.local(neighbour.target) else {
        env.counters.icmp_ignored += 1;
        return;
    };
    let asker = icmpv6::asker(ip.src, ip.dst, neighbour, src_mac);
    let Some(asker) = asker.filter(|asker| !asker.solicited || env.config.is_unicast_source(ip.src)) else {
        env.counters.icmp_malformed += 1;
        return;
    };
    let Asker { addr: to, mac, solicited } = asker;
    env.control(Control::Advertise { local, to, mac, solicited });
}

/// Takes an advertisement; true when a neighbour became known that connections may wait for.
pub(super) fn advertised<F: Frame>(env: &mut Env<F>, ip: &ip::Header, neighbour: &Neighbour) -> bool {
    if env.config.local(neighbour.target).is_some() {
        // RFC 4862 §5.4.4: somebody else has our address.
        env.counters.address_conflicts += 1;
        return false;
    }
    let Some(mac) = neighbour.mac.filter(|_| env.config.is_unicast_source(ip.src)) else {
        env.counters.icmp_ignored += 1;
        return false;
    };
    env.config.is_on_link(neighbour.target) && neighbour::answered(env, neighbour.target, mac)
}

/// Tells where one of our addresses is.
pub(crate) fn advertise<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    (local, to, mac, solicited): (u16, Address, Mac, bool),
) -> Result<(), Blocked> {
    let us = env.config.address(local);
    let our_mac = env.config.mac;
    let sent = message(env, pool, (us, to), mac, |out| {
        icmpv6::emit_advertisement(us, to, &us, our_mac, solicited, out);
    });
    env.counters.neighbours_told += u64::from(sent.is_some());
    sent.ok_or(Blocked)
}

/// Asks for `addr`, an IPv6 address; `None`: no frame, or no room.
pub(super) fn solicit<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    addr: Address,
) -> Option<()> {
    let us = env.config.address(env.config.source_for(addr)?);
    let our_mac = env.config.mac;
    let group = ipv6::solicited_node(&addr);
    message(env, pool, (us, group), ipv6::group_mac(&group), |out| {
        icmpv6::emit_solicitation(us, group, &addr, our_mac, out);
    })
}

fn message<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    (src, dst): (Address, Address),
    dst_mac: Mac,
    emit: impl FnOnce(&mut [u8]),
) -> Option<()> {
    if env.tx.is_full() {
        env.counters.tx_queue_full += 1;
        return None;
    }
    const ICMP_AT: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;
    let mut frame = env.frame(pool, ICMP_AT + NEIGHBOUR_LEN)?;
    let out = frame.append(ICMP_AT + NEIGHBOUR_LEN)?;
    ethernet::Header { dst: dst_mac, src: env.config.mac, ether_type: EtherType::Ipv6 }.emit(out);
    let packet = &mut out[ethernet::HEADER_LEN..];
    ipv6::emit(&src, &dst, NEXT_ICMP, 0, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN, packet);
    emit(&mut out[ICMP_AT..]);
    env.tx.push(frame).ok()
}
