//! A client that means no good, or is merely odd.
//!
//! It floods with SYNs from addresses that are not its own, sends segments that fit nothing,
//! repeats what others have sent long ago, and opens connections of its own ([`talk`]) on which
//! it does what the RFCs allow but nobody expects. Of other clients' connections it knows only
//! addresses and ports: it never changes their bytes, so nothing that it does may harm them.

mod talk;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};
use protocol::channel::{self, Kind};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::Address;
use protocol::ipv4;
use protocol::tcp::{self, Flags, Options, SeqNumber};

use crate::packet::{self, Route};
use crate::wire::{Wire, WirePort};
use talk::Talk;

/// Connections of its own at a time.
const TALKS_MAX: usize = 40;
/// A replayed frame comes at most so much later: within that time no sequence number comes again.
const REPLAY_MAX: Duration = Duration::from_secs(90);

/// Whom it attacks and whom it pretends to be.
#[derive(Clone, Debug)]
pub struct HostileConfig {
    /// Its own hardware address.
    pub mac: Mac,
    /// Its own address.
    pub address: Ipv4Addr,
    /// The server.
    pub target: SocketAddrV4,
    /// The server's hardware address.
    pub target_mac: Mac,
    /// Others' addresses, hardware and IP.
    pub others: Vec<(Mac, Address)>,
    /// The server's other address, where those are who have such.
    pub target_v6: Address,
    /// Actions per second.
    pub per_second: u64,
    /// When it begins nothing new any more.
    pub until: Instant,
}

/// The hostile client.
pub struct Hostile {
    config: HostileConfig,
    rng: SeededRng,
    wire: Wire,
    port: WirePort,
    next_at: Instant,
    talks: Vec<Talk>,
    next_port: u16,
    replays: BTreeMap<(Instant, u64), Vec<u8>>,
    serial: u64,
    /// After its end it answers with RST; otherwise it is just gone.
    resets_at_end: bool,
}

impl Hostile {
    /// `wire`: where it listens to others.
    pub fn new(config: HostileConfig, wire: Wire, port: WirePort, mut rng: SeededRng) -> Self {
        let resets_at_end = rng.chance(500_000);
        Self {
            config,
            wire,
            port,
            next_at: Instant::ZERO,
            talks: Vec::new(),
            next_port: 20_000 + rng.below(10_000) as u16,
            replays: BTreeMap::new(),
            serial: 0,
            resets_at_end,
            rng,
        }
    }

    /// One round; true when it received or sent something.
    pub fn poll(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(frame) = self.port.receive_bytes() {
            self.received(&frame, now);
            any = true;
        }
        while let Some(entry) = self.replays.first_entry() {
            if entry.key().0 > now {
                break;
            }
            self.port.send_bytes(&entry.remove());
            any = true;
        }
        if now < self.config.until {
            while self.config.per_second > 0 && self.next_at <= now {
                self.act(now);
                let pause = 1 + self.rng.below(2_000_000 / self.config.per_second);
                self.next_at = now + Duration::from_micros(pause);
                any = true;
            }
            for talk in &mut self.talks {
                any |= talk.poll(&mut self.port, &mut self.rng, now);
            }
            self.talks.retain(|talk| !talk.over());
        } else {
            // Time may have stepped over its last moment.
            self.next_at = self.next_at.max(self.config.until);
            self.talks.clear();
        }
        any
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let active = self.next_at < self.config.until && self.config.per_second > 0;
        let replay = self.replays.first_key_value().map(|((at, _), _)| *at);
        let talks = self.talks.iter().filter_map(Talk::next_at).filter(|at| *at < self.config.until);
        replay.into_iter().chain(active.then_some(self.next_at)).chain(talks).min()
    }

    /// True when it will do nothing more.
    pub fn idle(&self, now: Instant) -> bool {
        now >= self.config.until && self.replays.is_empty()
    }

    fn received(&mut self, frame: &[u8], now: Instant) {
        let Ok(link) = ethernet::Header::parse(frame) else { return };
        if link.dst != self.config.mac && !link.dst.is_multicast() {
            return;
        }
        match link.ether_type {
            EtherType::Arp => {
                if let Some(reply) = packet::arp_reply(frame, self.config.mac, self.config.address) {
                    self.port.send_bytes(&reply);
                }
            }
            EtherType::Ipv4 => self.received_packet(&frame[ethernet::HEADER_LEN..], now),
            _ => {}
        }
    }

    fn received_packet(&mut self, bytes: &[u8], now: Instant) {
        let Ok(ip) = ipv4::Header::parse(bytes) else { return };
        // A damaged hardware address may bring it what is meant for the honest. Who hears them can end
        // their connections; that is no fault of the server, and not what is tried here.
        let overheard = self.config.others.iter().any(|&(_, other)| other == ip.dst.into());
        if ip.protocol != ipv4::PROTOCOL_TCP || overheard {
            return;
        }
        let segment = &bytes[ip.header_len..ip.total_len];
        let Ok(header) = tcp::Header::parse(segment) else { return };
        let payload = &segment[header.header_len..];
        if now >= self.config.until {
            if self.resets_at_end && !header.flags.has(Flags::RST) {
                self.send_flags(ip.dst, header.dst_port, Flags::RST, header.ack, SeqNumber(0));
            }
            return;
        }
        let talk = self.talks.iter_mut().find(|talk| talk.is(ip.dst, header.dst_port));
        if let Some(talk) = talk {
            return talk.received(&header, payload, &mut self.port, &mut self.rng, now);
        }
        // An answer to a forged SYN: usually silence, sometimes an answer that is wrong.
        if header.flags.has(Flags::SYN) {
            match self.rng.below(6) {
                0 => self.send_flags(ip.dst, header.dst_port, Flags::RST, header.ack, SeqNumber(0)),
                1 => {
                    let wrong = header.seq + self.rng.below(1 << 20) as u32;
                    self.send_flags(ip.dst, header.dst_port, Flags::ACK, header.ack, wrong);
                }
                2 => self.send_flags(ip.dst, header.dst_port, Flags::ACK, header.ack, header.seq + 1),
                _ => {}
            }
        }
    }

    fn route(&self, src: Ipv4Addr) -> Route {
        Route {
            src_mac: self.config.mac,
            dst_mac: self.config.target_mac,
            src: src.into(),
            dst: (*self.config.target.ip()).into(),
        }
    }

    fn header(&self, src_port: u16, flags: Flags, seq: SeqNumber, ack: SeqNumber) -> tcp::Header {
        tcp::Header {
            src_port,
            dst_port: self.config.target.port(),
            seq,
            ack,
            flags,
            window: 0xffff,
            urgent: 0,
            header_len: 0,
        }
    }

    fn send_flags(&mut self, src: Ipv4Addr, src_port: u16, flags: Flags, seq: SeqNumber, ack: SeqNumber) {
        let header = self.header(src_port, flags, seq, ack);
        self.port.send_bytes(&packet::tcp_frame(&self.route(src), &header, &Options::default(), &[]));
    }

    fn act(&mut self, now: Instant) {
        match self.rng.below(12) {
            0 => self.flood(),
            1 => self.noise(),
            2 => self.forge(),
            3 => self.mutate(),
            4 | 5 => self.replay(now),
            6 => self.odd_packet(),
            _ => self.open(now),
        }
    }

    /// SYNs from addresses that are not ours.
    fn flood(&mut self) {
        for _ in 0..1 + self.rng.below(40) {
            let src = Ipv4Addr::from(0xc612_8000 | self.rng.below(0x7fff) as u32);
            let port = 1 + self.rng.below(0xffff) as u16;
            let seq = self.random_seq();
            let options = Options {
                mss: self.rng.chance(800_000).then(|| self.rng.below(65_536) as u16),
                window_scale: self.rng.chance(500_000).then(|| self.rng.below(16) as u8),
                sack_permitted: self.rng.chance(500_000),
                ..Options::default()
            };
            let header = self.header(port, Flags::SYN, seq, SeqNumber(0));
            self.port.send_bytes(&packet::tcp_frame(&self.route(src), &header, &options, &[]));
        }
    }

    /// Bytes that are hardly a frame.
    fn noise(&mut self) {
        let len = self.rng.below(200) as usize;
        let payload: Vec<u8> = (0..len).map(|_| self.rng.next_u64() as u8).collect();
        let ether_type = [
            EtherType::Ipv4,
            EtherType::Arp,
            EtherType::Ipv6,
            EtherType::Other(self.rng.below(65_536) as u16),
        ][self.rng.below(4) as usize];
        let route = self.route(self.config.address);
        self.port.send_bytes(&packet::raw_frame(&route, ether_type, &payload));
    }

    /// A segment in the name of somebody else, with numbers made up.
    fn forge(&mut self) {
        let Some(&(mac, src)) =
            self.config.others.get(self.rng.below(self.config.others.len() as u64) as usize)
        else {
            return;
        };
        let known = self.wire.recorded(self.rng.next_u64()).and_then(|frame| packet::tcp_header(&frame));
        let known = known.map(|header| header.src_port);
        let port = known.unwrap_or(1024 + self.rng.below(60_000) as u16);
        let flags = Flags(self.rng.below(256) as u8);
        let (seq, ack) = (self.random_seq(), self.random_seq());
        let header = tcp::Header {
            window: self.rng.below(65_536) as u16,
            urgent: self.rng.below(65_536) as u16,
            ..self.header(port, flags, seq, ack)
        };
        let payload = vec![b'!'; self.rng.below(100) as usize];
        let target = Address::from(*self.config.target.ip());
        let dst = if src.is_v4() { target } else { self.config.target_v6 };
        let route = Route { src_mac: mac, src, dst, ..self.route(self.config.address) };
        self.port.send_bytes(&packet::tcp_frame(&route, &header, &Options::default(), &payload));
    }

    /// One of our own old frames with some bytes changed and right checksums.
    fn mutate(&mut self) {
        let Some(mut frame) = self.wire.recorded(self.rng.next_u64()) else { return };
        let ours = ethernet::Header::parse(&frame).is_ok_and(|link| link.src == self.config.mac);
        let from_us = frame.get(26..30) == Some(&self.config.address.octets()[..]);
        if !ours || !from_us {
            return;
        }
        for _ in 0..1 + self.rng.below(4) {
            let at =
                ethernet::HEADER_LEN + self.rng.below((frame.len() - ethernet::HEADER_LEN) as u64) as usize;
            // Addresses stay ours.
            if !(26..34).contains(&at) {
                frame[at] = self.rng.next_u64() as u8;
            }
        }
        if self.rng.chance(200_000) {
            frame.truncate(ethernet::HEADER_LEN + self.rng.below(60) as usize);
        }
        packet::fix_checksums(&mut frame);
        self.port.send_bytes(&frame);
    }

    /// Anybody's old frame, as it was, some time later.
    fn replay(&mut self, now: Instant) {
        let Some(frame) = self.wire.recorded(self.rng.next_u64()) else { return };
        if ethernet::Header::parse(&frame).is_ok_and(|link| link.ether_type == EtherType::Arp) {
            return;
        }
        let span = [10_000, 1_000_000, 20_000_000, REPLAY_MAX.micros()][self.rng.below(4) as usize];
        self.serial += 1;
        let at = now + Duration::from_micros(self.rng.below(span));
        self.replays.insert((at, self.serial), frame);
    }

    /// Packets of other protocols that try to have an effect on TCP or on the channel.
    fn odd_packet(&mut self) {
        let route = self.route(self.config.address);
        let seq = self.random_seq();
        let frame = match self.rng.below(4) {
            0 => {
                // ICMP "fragmentation needed" for a connection that does not exist.
                let mut message = vec![3, 4, 0, 0, 0, 0, 0, 68];
                let inner = self.header(6379, Flags::ACK, seq, SeqNumber(0));
                let back = Route { src: route.dst, dst: route.src, ..route };
                message.extend_from_slice(
                    &packet::tcp_frame(&back, &inner, &Options::default(), &[])[ethernet::HEADER_LEN..],
                );
                let checksum = protocol::checksum::Sum::new().add(&message).finish();
                message[2..4].copy_from_slice(&checksum.to_be_bytes());
                packet::ip_frame(&route, ipv4::PROTOCOL_ICMP, &message)
            }
            1 => {
                // A message of the channel, which must never be taken from the wire.
                let kind = Kind::ALL[self.rng.below(8) as usize];
                let mut message = vec![0; channel::HEADER_LEN + 100];
                let epoch = self.rng.next_u64() as u32;
                channel::Header::new(kind, epoch).emit(100, &mut message);
                for byte in &mut message[channel::HEADER_LEN..] {
                    *byte = self.rng.next_u64() as u8;
                }
                if kind == Kind::Hello {
                    message[channel::HEADER_LEN + 4..channel::HEADER_LEN + 6].copy_from_slice(&[1, 1]);
                    message[4..8].fill(0);
                }
                packet::raw_frame(&route, EtherType::Channel, &message)
            }
            2 => {
                // A fragment.
                let header = self.header(5, Flags::SYN, seq, SeqNumber(0));
                let mut frame = packet::tcp_frame(&route, &header, &Options::default(), &[]);
                frame[ethernet::HEADER_LEN + 6] = 0x20 | self.rng.below(32) as u8;
                packet::fix_checksums(&mut frame);
                frame
            }
            _ => packet::ip_frame(&route, self.rng.below(256) as u8, &[0x55; 40]),
        };
        self.port.send_bytes(&frame);
    }

    fn open(&mut self, now: Instant) {
        if self.talks.len() >= TALKS_MAX {
            return;
        }
        self.next_port = self.next_port.wrapping_add(1).max(1024);
        let port = if self.rng.chance(100_000) { self.next_port - 1 } else { self.next_port };
        if self.talks.iter().any(|talk| talk.is(self.config.address, port)) {
            return;
        }
        let route = self.route(self.config.address);
        let talk = Talk::open(route, port, self.config.target.port(), &mut self.port, &mut self.rng, now);
        self.talks.push(talk);
    }

    fn random_seq(&mut self) -> SeqNumber {
        SeqNumber(self.rng.next_u64() as u32)
    }
}
