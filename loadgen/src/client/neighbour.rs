//! Where the next hop is, and answers to those who ask where we are: ARP and neighbour discovery.
//!
//! Source: RFC 826; RFC 4861 §7.2.

use netcore::{Duration, Frame, FramePool, Instant};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Asker, Message, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN, Neighbour};
use protocol::ip::{self, Address};
use protocol::ipv6::{self, NEXT_ICMP};
use protocol::{Malformed, arp};

use super::wire::{IP_AT, Wire, queue};

/// How often an unanswered question is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(250);
/// Where an IPv6 packet without extension headers says what it carries.
const NEXT_HEADER_AT: usize = IP_AT + 6;
const ICMP_AT: usize = IP_AT + ipv6::HEADER_LEN;

/// True for a frame with ICMPv6; `frame` has the EtherType of IPv6.
#[inline]
pub(super) fn is_icmpv6(frame: &[u8]) -> bool {
    frame.get(NEXT_HEADER_AT) == Some(&NEXT_ICMP)
}

impl<F: Frame> Wire<F> {
    /// Asks for the next hop's hardware address when an answer is overdue.
    pub(super) fn resolve<L: FramePool<Frame = F>>(&mut self, from: Address, pool: &mut L, now: Instant) {
        if now < self.ask_at {
            return;
        }
        self.ask_at = now + ASK_INTERVAL;
        let (target, mac) = (self.next_hop, self.mac);
        if target.is_v4() {
            let request = arp::Packet {
                operation: arp::Operation::Request,
                sender_mac: mac,
                sender_addr: from.low_v4(),
                target_mac: Mac::default(),
                target_addr: target.low_v4(),
            };
            self.send_arp(&request, ethernet::BROADCAST, pool);
        } else {
            let group = ipv6::solicited_node(&target);
            self.send_neighbour((from, group), ipv6::group_mac(&group), pool, |out| {
                icmpv6::emit_solicitation(from, group, &target, mac, out);
            });
        }
    }

    fn send_arp<L: FramePool<Frame = F>>(&mut self, packet: &arp::Packet, to: Mac, pool: &mut L) {
        let header = ethernet::Header { dst: to, src: self.mac, ether_type: EtherType::Arp };
        let len = ethernet::HEADER_LEN + arp::PACKET_LEN;
        queue(&mut self.tx, &mut self.counters, pool, len, |bytes| {
            header.emit(bytes);
            packet.emit(&mut bytes[ethernet::HEADER_LEN..]);
        });
    }

    fn send_neighbour<L: FramePool<Frame = F>>(
        &mut self,
        (src, dst): (Address, Address),
        dst_mac: Mac,
        pool: &mut L,
        emit: impl FnOnce(&mut [u8]),
    ) {
        let header = ethernet::Header { dst: dst_mac, src: self.mac, ether_type: EtherType::Ipv6 };
        queue(&mut self.tx, &mut self.counters, pool, ICMP_AT + NEIGHBOUR_LEN, |bytes| {
            header.emit(bytes);
            let packet = &mut bytes[IP_AT..];
            ipv6::emit(&src, &dst, NEXT_ICMP, 0, NEIGHBOUR_HOP_LIMIT, NEIGHBOUR_LEN, packet);
            emit(&mut bytes[ICMP_AT..]);
        });
    }

    /// Takes an ARP packet; `owned` tells which addresses are ours.
    #[cold]
    pub(super) fn received_arp<L: FramePool<Frame = F>>(
        &mut self,
        bytes: &[u8],
        owned: impl Fn(Address) -> bool,
        pool: &mut L,
    ) {
        let Ok(packet) = arp::Packet::parse(bytes) else {
            self.counters.malformed += 1;
            return;
        };
        let ours = owned(packet.target_addr.into());
        if ours && self.next_hop == packet.sender_addr.into() && !packet.sender_mac.is_multicast() {
            self.resolved(packet.sender_mac);
        }
        if ours && packet.operation == arp::Operation::Request {
            self.send_arp(&packet.reply(self.mac), packet.sender_mac, pool);
        }
    }

    /// Takes a frame with ICMPv6; `owned` tells which addresses are ours.
    #[cold]
    pub(super) fn received_icmpv6<L: FramePool<Frame = F>>(
        &mut self,
        frame: &[u8],
        owned: impl Fn(Address) -> bool,
        pool: &mut L,
    ) {
        let packet = &frame[IP_AT..];
        let parsed = ipv6::parse(packet).and_then(|ip| {
            let message = &packet[ip.header_len..ip.total_len];
            icmpv6::parse(ip.src, ip.dst, message).map(|message| (ip, message))
        });
        let (ip, message) = match parsed {
            Ok(parsed) => parsed,
            Err(Malformed::Checksum) => {
                self.counters.bad_checksum += 1;
                return;
            }
            Err(_) => {
                self.counters.malformed += 1;
                return;
            }
        };
        // RFC 4861 §7.1: nobody from beyond the link speaks of neighbours.
        let from_link = ip.hop_limit == NEIGHBOUR_HOP_LIMIT;
        match message {
            Message::Solicitation(asked) if from_link && owned(asked.target) => {
                // The frame was long enough for an IPv6 header.
                let src_mac = Mac([frame[6], frame[7], frame[8], frame[9], frame[10], frame[11]]);
                self.solicited(&ip, &asked, src_mac, pool);
            }
            Message::Advertisement(Neighbour { target, mac: Some(mac), .. })
                if from_link && target == self.next_hop && !mac.is_multicast() =>
            {
                self.resolved(mac);
            }
            Message::Solicitation(_)
            | Message::Advertisement(_)
            | Message::EchoRequest
            | Message::Error
            | Message::Other(_) => self.counters.foreign += 1,
        }
    }

    /// Answers who asks for one of our addresses. RFC 4861 §7.2.4.
    fn solicited<L: FramePool<Frame = F>>(
        &mut self,
        ip: &ip::Header,
        asked: &Neighbour,
        src_mac: Mac,
        pool: &mut L,
    ) {
        let (us, our_mac) = (asked.target, self.mac);
        let Some(Asker { addr: to, mac, solicited }) = icmpv6::asker(ip.src, ip.dst, asked, src_mac) else {
            self.counters.malformed += 1;
            return;
        };
        if ip.src == self.next_hop {
            self.resolved(mac);
        }
        self.send_neighbour((us, to), mac, pool, |out| {
            icmpv6::emit_advertisement(us, to, &us, our_mac, solicited, out);
        });
    }
}
