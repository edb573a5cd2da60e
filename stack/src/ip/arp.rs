//! ARP (RFC 826): questions for our IPv4 addresses are answered, our own asked.

use netcore::{Frame, FramePool};
use protocol::arp::{Operation, PACKET_LEN, Packet};
use protocol::ethernet::{self, BROADCAST, EtherType, Mac};
use protocol::ip::Address;

use super::neighbour;
use crate::env::Env;

/// Takes an ARP frame; returns true when a neighbour became known that connections may wait for.
pub(crate) fn arrived<F: Frame>(env: &mut Env<F>, mut frame: F) -> bool {
    let Ok(packet) = Packet::parse(&frame.bytes()[ethernet::HEADER_LEN..]) else {
        env.counters.arp_malformed += 1;
        return false;
    };
    let sender = Address::from(packet.sender_addr);
    if env.config.local(sender).is_some() && packet.sender_mac != env.config.mac {
        // RFC 5227 §2.4: we defend it by answering as ever, and tell.
        env.counters.address_conflicts += 1;
        return false;
    }
    let for_us = env.config.local(packet.target_addr.into()).is_some();
    if !for_us || packet.sender_mac.is_multicast() {
        return false;
    }
    match packet.operation {
        Operation::Reply => {
            let can_be = env.config.is_unicast_source(sender) && env.config.is_on_link(sender);
            can_be && neighbour::answered(env, sender, packet.sender_mac)
        }
        Operation::Request => {
            frame.truncate(ethernet::HEADER_LEN + PACKET_LEN);
            emit(&packet.reply(env.config.mac), packet.sender_mac, frame.bytes_mut());
            match env.tx.push(frame) {
                Ok(()) => env.counters.neighbours_told += 1,
                Err(_) => env.counters.tx_queue_full += 1,
            }
            false
        }
    }
}

/// Asks for `addr`, an IPv4 address; `None`: no frame, or no room.
pub(super) fn request<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    addr: Address,
) -> Option<()> {
    let source = env.config.source_for(addr)?;
    let len = ethernet::HEADER_LEN + PACKET_LEN;
    let mut frame = env.frame(pool, len)?;
    let request = Packet {
        operation: Operation::Request,
        sender_mac: env.config.mac,
        sender_addr: env.config.address(source).low_v4(),
        target_mac: Mac::default(),
        target_addr: addr.low_v4(),
    };
    emit(&request, BROADCAST, frame.append(len)?);
    env.tx.push(frame).ok()
}

fn emit(packet: &Packet, dst: Mac, out: &mut [u8]) {
    ethernet::Header { dst, src: packet.sender_mac, ether_type: EtherType::Arp }.emit(out);
    packet.emit(&mut out[ethernet::HEADER_LEN..]);
}
