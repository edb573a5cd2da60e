//! Odd clients: honest, but with manners that a server seldom meets. They half-close, write byte
//! by byte, stop reading, cut pipelines anywhere, use a port again at once, and wait for each
//! other. Every byte that they hear is foretold ([`solo`], [`play`]).

mod group;
mod play;
mod ports;
mod solo;
mod speaker;
mod tcp;

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address};
use protocol::ipv4;
use protocol::tcp::{self as wire_tcp, Flags, Options, SeqNumber, Timestamps};

use crate::belief::Belief;
use crate::packet::{self, Route};
use crate::wire::WirePort;
use group::{Group, Part};
use play::Play;
use ports::Ports;
use solo::Solo;
use speaker::{Ending, Habits, Speaker};
use tcp::{Endpoint, Manners};

/// Who they are and how many.
#[derive(Clone, Copy, Debug)]
pub struct OddConfig {
    /// Hardware address.
    pub mac: Mac,
    /// Address.
    pub address: Address,
    /// The server's addresses, of the same version.
    pub server: (Mac, Address),
    /// The server's port.
    pub server_port: u16,
    /// Clients that ask alone.
    pub solos: usize,
    /// Groups of clients that do something together.
    pub plays: usize,
    /// Local ports.
    pub ports: u16,
    /// Connections may break: then an actor of a play may miss another, and hear something else.
    pub breaks: bool,
    /// Largest IP packet that they send.
    pub mtu: usize,
}

/// All of them.
pub struct OddClients {
    config: OddConfig,
    wire: WirePort,
    groups: Vec<Group>,
    ports: Ports,
    ts_offset: u32,
    failure: Option<String>,
    broken: u64,
    first_loss: Option<String>,
    turned_away: u64,
    heard_hash: u64,
    heard_bytes: u64,
}

impl OddClients {
    /// `wire`: their end of it.
    pub fn new(config: OddConfig, wire: WirePort, mut rng: SeededRng) -> Self {
        let mut groups = Vec::new();
        for number in 0..config.solos {
            let mut own = SeededRng::new(rng.next_u64());
            let more = own.below(3);
            let solo = Solo::draw(SeededRng::new(own.next_u64()), format!("odd:{number}"));
            groups.push(Group::new(Part::Solo(solo, more), own));
        }
        for number in 0..config.plays {
            let mut own = SeededRng::new(rng.next_u64());
            let play = Play::draw(&mut own, &format!("play:{number}"));
            groups.push(Group::new(Part::Play(play), own));
        }
        Self {
            ports: Ports::new(config.ports),
            ts_offset: rng.next_u64() as u32,
            config,
            wire,
            groups,
            failure: None,
            broken: 0,
            first_loss: None,
            turned_away: 0,
            heard_hash: 0,
            heard_bytes: 0,
        }
    }

    /// One round; true when something moved.
    pub fn poll(&mut self, now: Instant) -> bool {
        let mut any = false;
        while let Some(frame) = self.wire.receive_bytes() {
            any = true;
            self.received(&frame, now);
        }
        for at in 0..self.groups.len() {
            if !self.groups[at].done {
                any |= self.open(at, now);
                any |= self.speak(at, now);
                any |= self.direct(at, now);
            }
        }
        any
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let groups = self.groups.iter().filter(|group| !group.done);
        groups.flat_map(|group| group.speakers.iter().filter_map(Speaker::next_at).chain(group.open_at)).min()
    }

    /// True when nobody has anything to say any more and no connection is left.
    pub fn idle(&self) -> bool {
        self.groups.iter().all(|group| group.done)
    }

    /// What somebody heard that was wrong.
    pub fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }

    /// Groups that lost a connection.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// How the first of them did.
    pub fn first_loss(&self) -> Option<&str> {
        self.first_loss.as_deref()
    }

    /// Groups of which somebody was told that there are too many clients.
    pub fn turned_away(&self) -> u64 {
        self.turned_away
    }

    /// A number made from all bytes that were heard, whichever group was first, and how many
    /// there were.
    pub fn heard(&self) -> (u64, u64) {
        (self.heard_hash, self.heard_bytes)
    }

    /// What each open connection believes.
    pub fn beliefs(&self) -> impl Iterator<Item = Belief> {
        self.groups.iter().flat_map(|group| &group.speakers).filter_map(|speaker| speaker.tcp.belief())
    }

    /// What the first group that is not done waits for.
    pub fn waiting_for(&self) -> String {
        let Some((at, group)) = self.groups.iter().enumerate().find(|(_, group)| !group.done) else {
            return String::new();
        };
        let what = match &group.part {
            Part::Solo(..) => "alone".to_owned(),
            Part::Play(play) => format!("in a play with {} acts left", play.acts.len()),
        };
        let speakers: Vec<_> = group.speakers.iter().map(Speaker::describe).collect();
        format!("; odd client {at} ({what}): {}", speakers.join(", "))
    }

    // ---- the wire ----

    fn received(&mut self, frame: &[u8], now: Instant) {
        let Ok(link) = ethernet::Header::parse(frame) else { return };
        if link.dst != self.config.mac && !link.dst.is_multicast() {
            return;
        }
        match link.ether_type {
            EtherType::Arp => {
                let asked = self.config.address.to_v4();
                if let Some(reply) = asked.and_then(|us| packet::arp_reply(frame, self.config.mac, us)) {
                    self.wire.send_bytes(&reply);
                }
            }
            EtherType::Ipv4 | EtherType::Ipv6 => self.packet(&frame[ethernet::HEADER_LEN..], now),
            EtherType::Channel | EtherType::Other(_) => {}
        }
    }

    fn packet(&mut self, bytes: &[u8], now: Instant) {
        let Ok(ip) = ip::Header::parse(bytes) else { return };
        let from_server = ip.src == self.config.server.1 && ip.dst == self.config.address;
        if ip.protocol != ipv4::PROTOCOL_TCP || ip.fragment || !from_server {
            return;
        }
        let segment = &bytes[ip.header_len..ip.total_len];
        // What the wire has damaged is dropped here as everywhere.
        if !wire_tcp::verify_checksum(ip.src, ip.dst, segment, false) {
            return;
        }
        let Ok(tcp) = wire_tcp::Header::parse(segment) else { return };
        if tcp.src_port != self.config.server_port {
            return;
        }
        let (options, payload) = (tcp.options(segment), &segment[tcp.header_len..]);
        let speakers = self.groups.iter_mut().flat_map(|group| &mut group.speakers);
        let mut open = speakers.filter(|speaker| speaker.tcp.end().is_none());
        match open.find(|speaker| speaker.tcp.port == tcp.dst_port) {
            Some(speaker) => speaker.tcp.received(&tcp, &options, payload, &mut self.wire, now),
            None => self.at_rest(&tcp, &options, payload.len() as u32, now),
        }
    }

    /// A segment for a port without a connection.
    fn at_rest(&mut self, tcp: &wire_tcp::Header, options: &Options, len: u32, now: Instant) {
        if tcp.flags.has(Flags::RST) || !tcp.flags.has(Flags::ACK) {
            return;
        }
        let closed = self.ended_in_order(tcp.dst_port);
        let mut with = Options::default();
        let (flags, ack) = match (closed, tcp.flags.has(Flags::FIN)) {
            // RFC 9293 §3.10.7.4, TIME_WAIT: the last acknowledgment was lost.
            (true, true) => {
                let value = (now.millis() as u32).wrapping_add(self.ts_offset);
                with.timestamps = options.timestamps.map(|theirs| Timestamps { value, echo: theirs.value });
                (Flags::ACK, tcp.seq + len + 1)
            }
            (true, false) if !tcp.flags.has(Flags::SYN) => return,
            // RFC 9293 §3.10.7.1
            (true | false, _) => (Flags::RST, SeqNumber(0)),
        };
        let answer = wire_tcp::Header {
            src_port: tcp.dst_port,
            dst_port: tcp.src_port,
            seq: tcp.ack,
            ack,
            flags,
            window: 1_000,
            urgent: 0,
            header_len: 0,
        };
        self.wire.send_bytes(&packet::tcp_frame(&self.config.route(), &answer, &with, &[]));
    }

    /// A connection of a group that has others still counts as one at rest.
    fn ended_in_order(&self, port: u16) -> bool {
        let mut speakers = self.groups.iter().flat_map(|group| &group.speakers);
        match speakers.find(|speaker| speaker.tcp.port == port) {
            Some(speaker) => speaker.tcp.end() == Some(tcp::End::Closed),
            None => self.ports.ended_in_order(port),
        }
    }

    // ---- the groups ----

    /// Opens the connections that a group needs now.
    fn open(&mut self, at: usize, now: Instant) -> bool {
        let group = &mut self.groups[at];
        if group.open_at.is_none_or(|open_at| open_at > now) {
            return false;
        }
        group.open_at = None;
        // A second attempt draws the same.
        let before = group.rng.clone();
        let headers = ip::header_len(self.config.address.version()) + wire_tcp::HEADER_LEN;
        let mss_max = self.config.mtu - headers;
        for ending in group.endings() {
            let mut rng = SeededRng::new(group.rng.next_u64());
            let manners = Manners::draw(&mut rng, mss_max);
            let habits = Habits::draw(&mut rng);
            let Some((port, iss)) = self.ports.take(manners.timestamps, &mut rng, now) else {
                // All ports are in use or at rest: later.
                group.open_at = Some(now + Duration::from_millis(100));
                group.rng = before;
                for speaker in group.speakers.drain(..) {
                    self.ports.give_back(&speaker.tcp, now);
                }
                break;
            };
            let ends = (self.config.route(), port, self.config.server_port);
            let tcp = Endpoint::new(ends, manners, iss, (self.ts_offset, mss_max), now);
            group.speakers.push(Speaker::new(tcp, habits, ending, rng));
        }
        true
    }

    /// Lets the connections of a group write, read and send.
    fn speak(&mut self, at: usize, now: Instant) -> bool {
        let mut any = false;
        let in_doubt = self.config.breaks && matches!(self.groups[at].part, Part::Play(_));
        for (actor, speaker) in self.groups[at].speakers.iter_mut().enumerate() {
            match speaker.poll(&mut self.wire, now) {
                Ok(moved) => any |= moved,
                Err(error) => {
                    let text = format!("odd client {at}.{actor} (port {}): {error}", speaker.tcp.port);
                    if !in_doubt {
                        self.failure.get_or_insert(text);
                    }
                    speaker.cut_short(error);
                    speaker.give_up(&mut self.wire, now);
                }
            }
        }
        any
    }

    /// Tells a group's connections what is next.
    fn direct(&mut self, at: usize, now: Instant) -> bool {
        let group = &mut self.groups[at];
        if group.open_at.is_some() {
            return false;
        }
        let lost =
            group.speakers.iter().find_map(|speaker| Some((speaker.tcp.port, speaker.verdict().err()?)));
        let turned_away = group.speakers.iter().any(|speaker| speaker.turned_away);
        if (lost.is_some() || turned_away) && !group.broken {
            if let Some((port, text)) = lost.filter(|_| !turned_away) {
                let seconds = now.micros() as f64 / 1e6;
                self.first_loss
                    .get_or_insert(format!("odd client {at} (port {port}) at {seconds} s: {text}"));
            }
            group.broken = true;
            self.turned_away += u64::from(turned_away);
            self.broken += u64::from(!turned_away);
            // The others would wait in vain.
            for speaker in group.speakers.iter_mut().filter(|speaker| !speaker.turned_away) {
                speaker.give_up(&mut self.wire, now);
            }
            return true;
        }
        if !group.speakers.iter().all(|speaker| speaker.tcp.end().is_some()) {
            return group.go_on(now);
        }
        for speaker in group.speakers.drain(..) {
            if speaker.ending == Ending::AbortEarly {
                // How much it heard is luck, and whether its last requests were run.
                group.broken = true;
            } else {
                self.heard_hash = self.heard_hash.wrapping_add(speaker.heard_hash());
                self.heard_bytes += speaker.heard_bytes();
            }
            self.ports.give_back(&speaker.tcp, now);
        }
        group.connections_ended(now);
        true
    }
}

impl OddConfig {
    fn route(&self) -> Route {
        Route { src_mac: self.mac, dst_mac: self.server.0, src: self.address, dst: self.server.1 }
    }
}
