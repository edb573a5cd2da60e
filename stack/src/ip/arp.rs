//! Neighbours: a bounded cache of hardware addresses (RFC 826). Only active opens ask; replies to
//! connections from outside go where their packets came from.

use alloc::collections::VecDeque;
use core::net::Ipv4Addr;

use hashbrown::HashMap;
use netcore::{Duration, Frame, FramePool, Instant};
use protocol::arp::{Operation, PACKET_LEN, Packet};
use protocol::ethernet::{self, BROADCAST, EtherType, Mac};

use crate::env::Env;

/// How long an answer is good (RFC 1122 §2.3.2.1 wants a limit).
const ENTRY_LIFE: Duration = Duration::from_secs(300);
/// Between two questions (RFC 1122 §2.3.2.1: at most one per second and neighbour).
pub(crate) const REQUEST_INTERVAL: Duration = Duration::from_secs(1);
/// Unanswered questions before a connection gives up.
pub(crate) const REQUESTS_MAX: u8 = 3;

#[derive(Debug)]
pub(crate) struct Neighbours {
    max: usize,
    known: HashMap<Ipv4Addr, (Mac, Instant), core::hash::BuildHasherDefault<AddrHasher>>,
    oldest_first: VecDeque<Ipv4Addr>,
}

/// Addresses are few and bounded, and only neighbours whom we asked get in: mixing suffices.
#[derive(Debug, Default)]
pub(crate) struct AddrHasher(u64);

impl core::hash::Hasher for AddrHasher {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
        }
    }
}

impl Neighbours {
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max.max(1), known: HashMap::default(), oldest_first: VecDeque::new() }
    }

    pub(crate) fn find(&self, addr: Ipv4Addr, now: Instant) -> Option<Mac> {
        self.known.get(&addr).filter(|(_, until)| *until > now).map(|(mac, _)| *mac)
    }

    /// Forgets an address that does not seem to answer any more (RFC 1122 §3.3.1.4).
    pub(crate) fn forget(&mut self, addr: Ipv4Addr) {
        if self.known.remove(&addr).is_some() {
            self.oldest_first.retain(|known| *known != addr);
        }
    }

    /// Notes an address; true when an older one had to go.
    fn learn(&mut self, addr: Ipv4Addr, mac: Mac, now: Instant) -> bool {
        let until = now + ENTRY_LIFE;
        if self.known.insert(addr, (mac, until)).is_some() {
            return false;
        }
        self.oldest_first.push_back(addr);
        if self.oldest_first.len() <= self.max {
            return false;
        }
        if let Some(oldest) = self.oldest_first.pop_front() {
            self.known.remove(&oldest);
        }
        true
    }
}

/// Takes an ARP frame; returns true when a neighbour became known that connections may wait for.
pub(crate) fn arrived<F: Frame>(env: &mut Env<F>, mut frame: F) -> bool {
    let Ok(packet) = Packet::parse(&frame.bytes()[ethernet::HEADER_LEN..]) else {
        env.counters.arp_malformed += 1;
        return false;
    };
    let for_us = packet.target_addr == env.config.address;
    let from_neighbour = env.config.is_unicast_source(packet.sender_addr)
        && env.config.is_on_link(packet.sender_addr)
        && !packet.sender_mac.is_multicast();
    // RFC 826, packet reception: update what is known; add only when we are the target.
    let known = env.neighbours.known.contains_key(&packet.sender_addr);
    let learned = from_neighbour && (for_us || known);
    if learned && env.neighbours.learn(packet.sender_addr, packet.sender_mac, env.now) {
        env.counters.arp_evicted += 1;
    }
    if for_us && packet.operation == Operation::Request && !packet.sender_mac.is_multicast() {
        let reply = Packet {
            operation: Operation::Reply,
            sender_mac: env.config.mac,
            sender_addr: env.config.address,
            target_mac: packet.sender_mac,
            target_addr: packet.sender_addr,
        };
        frame.truncate(ethernet::HEADER_LEN + PACKET_LEN);
        emit(&reply, packet.sender_mac, frame.bytes_mut());
        match env.tx.push(frame) {
            Ok(()) => env.counters.arp_replies_sent += 1,
            Err(_) => env.counters.tx_queue_full += 1,
        }
    }
    learned
}

/// Asks for `addr`; false when there is no frame or no room now.
pub(crate) fn request<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    addr: Ipv4Addr,
) -> bool {
    let len = ethernet::HEADER_LEN + PACKET_LEN;
    let Some(mut frame) = env.frame(pool, len) else { return false };
    let request = Packet {
        operation: Operation::Request,
        sender_mac: env.config.mac,
        sender_addr: env.config.address,
        target_mac: Mac::default(),
        target_addr: addr,
    };
    let Some(out) = frame.append(len) else { return false };
    emit(&request, BROADCAST, out);
    env.counters.arp_requests_sent += 1;
    env.tx.push(frame).is_ok()
}

fn emit(packet: &Packet, dst: Mac, out: &mut [u8]) {
    ethernet::Header { dst, src: packet.sender_mac, ether_type: EtherType::Arp }.emit(out);
    packet.emit(&mut out[ethernet::HEADER_LEN..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_bounded_and_forgets() {
        let mut neighbours = Neighbours::new(2);
        let addr = |n| Ipv4Addr::new(198, 18, 0, n);
        assert!(!neighbours.learn(addr(1), Mac([1; 6]), Instant::ZERO));
        assert!(!neighbours.learn(addr(2), Mac([2; 6]), Instant::ZERO));
        assert!(!neighbours.learn(addr(1), Mac([4; 6]), Instant::ZERO));
        assert_eq!(neighbours.find(addr(1), Instant::ZERO), Some(Mac([4; 6])));
        assert!(neighbours.learn(addr(3), Mac([6; 6]), Instant::ZERO));
        assert_eq!(neighbours.find(addr(1), Instant::ZERO), None);
        assert_eq!(neighbours.known.len(), 2);
        assert_eq!(neighbours.find(addr(3), Instant::ZERO + ENTRY_LIFE), None);
    }
}
