//! Who asks for the hardware address of a host that is away: ARP (RFC 826) and neighbour discovery (RFC 4861
//! §7.2.4).
//!
//! A host answers by itself as long as it is there. Then, and only then, the firmware does it, or a client that
//! has to ask would hear from its own system that the host is unreachable, instead of the refusal that is
//! to be had. It knows the addresses that the last host listened on; of others it says nothing.

use netcore::{Frame, FramePool};
use protocol::arp::{self, Operation};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Asker, Message, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN};
use protocol::ip::Address;
use protocol::ipv6;

use crate::counters::Event;
use crate::firmware::Firmware;

/// Where an IPv6 packet without extension headers has what it carries.
const ICMP_AT: usize = ethernet::HEADER_LEN + ipv6::HEADER_LEN;

impl<F: Frame> Firmware<F> {
    /// What is no TCP, nor about a flow: for the host, unless it is away.
    #[cold]
    pub(crate) fn other_to_host<P: FramePool<Frame = F>>(&mut self, frame: F, pool: &mut P) {
        if self.is_nobody_there() && self.answer_neighbour(&frame, pool) {
            return;
        }
        self.raw_to_host(self.steering.first(), frame);
    }

    /// Answers a question for an address of the last host; false when it is none.
    fn answer_neighbour<P: FramePool<Frame = F>>(&mut self, frame: &F, pool: &mut P) -> bool {
        let bytes = frame.bytes();
        let Ok(link) = ethernet::Header::parse(bytes) else { return false };
        if link.dst != self.config.mac && !link.dst.is_multicast() {
            return false;
        }
        let packet = &bytes[ethernet::HEADER_LEN..];
        match link.ether_type {
            EtherType::Arp => self.answer_arp(packet, pool),
            EtherType::Ipv6 => self.answer_solicitation(packet, link.src, pool),
            _ => false,
        }
    }

    fn answer_arp<P: FramePool<Frame = F>>(&mut self, packet: &[u8], pool: &mut P) -> bool {
        let Ok(asked) = arp::Packet::parse(packet) else { return false };
        let is_for_us = asked.operation == Operation::Request && !asked.sender_mac.is_multicast();
        if !is_for_us || !self.listeners.remembers(asked.target_addr.into()) {
            return false;
        }
        let src = self.config.mac;
        self.tell_neighbour(pool, ethernet::HEADER_LEN + arp::PACKET_LEN, |out| {
            ethernet::Header { dst: asked.sender_mac, src, ether_type: EtherType::Arp }.emit(out);
            asked.reply(src).emit(&mut out[ethernet::HEADER_LEN..]);
        });
        true
    }

    fn answer_solicitation<P: FramePool<Frame = F>>(
        &mut self,
        packet: &[u8],
        src_mac: Mac,
        pool: &mut P,
    ) -> bool {
        let Some((asked, asker)) = solicitation(packet, src_mac) else { return false };
        if !self.listeners.remembers(asked) {
            return false;
        }
        let (src, Asker { addr, mac, solicited }) = (self.config.mac, asker);
        self.tell_neighbour(pool, ICMP_AT + NEIGHBOUR_LEN, |out| {
            ethernet::Header { dst: mac, src, ether_type: EtherType::Ipv6 }.emit(out);
            let packet = &mut out[ethernet::HEADER_LEN..];
            ipv6::emit(&asked, &addr, ipv6::NEXT_ICMP, 0, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN, packet);
            icmpv6::emit_advertisement(asked, addr, &asked, src, solicited, &mut out[ICMP_AT..]);
        });
        true
    }

    /// Sends an answer, unless the wire has room for flows only.
    fn tell_neighbour<P: FramePool<Frame = F>>(
        &mut self,
        pool: &mut P,
        len: usize,
        emit: impl FnOnce(&mut [u8]),
    ) {
        if !self.wire_has_room_for_newcomers() {
            return;
        }
        let Some(mut frame) = self.allocate(pool) else { return };
        if let Some(out) = frame.append(len) {
            emit(out);
            self.counters.add(Event::NeighbourTold);
            self.put_on_wire(frame);
        }
    }
}

/// The address that is asked for, and who asks.
fn solicitation(packet: &[u8], src_mac: Mac) -> Option<(Address, Asker)> {
    let ip = ipv6::parse(packet).ok()?;
    let message = icmpv6::parse(ip.src, ip.dst, &packet[ip.header_len..ip.total_len]).ok()?;
    match message {
        // RFC 4861 §7.1.1: from this link.
        Message::Solicitation(asked) if ip.hop_limit == NEIGHBOUR_HOP_LIMIT => {
            icmpv6::asker(ip.src, ip.dst, &asked, src_mac).map(|asker| (asked.target, asker))
        }
        _ => None,
    }
}
