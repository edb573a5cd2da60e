//! A peer: one TCP port of one host, its knowledge of the connection, and its segments.

use std::net::{Ipv4Addr, Ipv6Addr};

use protocol::ethernet::{EtherType, Mac};
use protocol::ip::Address;
use protocol::ipv4::PROTOCOL_TCP;
use protocol::ipv6;
use protocol::tcp::{self, Flags, Header, Options, SeqNumber, Timestamps};
use sim::packet::{Route, raw_frame, tcp_frame};

use crate::input::Input;

pub(crate) const US_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(crate) const PEER_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
pub(crate) const US: Address = Address::v4(US_V4);
pub(crate) const PEER: Address = Address::v4(PEER_V4);
pub(crate) const US_V6: Address = Address::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2));
pub(crate) const PEER_V6: Address = Address::v6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 1));
pub(crate) const OUR_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(crate) const PEER_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// From the peer to us.
pub(crate) const ROUTE: Route = Route { src_mac: PEER_MAC, dst_mac: OUR_MAC, src: PEER, dst: US };

/// What the peer has seen of the stack on one connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen {
    /// Our initial sequence number.
    pub(crate) iss: SeqNumber,
    /// The peer's, as we acknowledged it; `None` before we did.
    pub(crate) irs: Option<SeqNumber>,
    /// One past the highest number that we sent.
    pub(crate) snd_max: SeqNumber,
    /// What the peer acknowledges.
    pub(crate) rcv_nxt: SeqNumber,
    /// Our newest acknowledgment.
    pub(crate) acked: SeqNumber,
    /// The right edge that we announced last.
    pub(crate) right: Option<SeqNumber>,
    /// Our newest timestamp.
    pub(crate) ts_value: Option<u32>,
    /// Timestamps and window scale were agreed on.
    pub(crate) timestamps: bool,
    pub(crate) scale: u8,
    /// We sent a SYN without ACK.
    pub(crate) active: bool,
}

impl Seen {
    /// What a SYN or SYN-ACK tells the peer that offered this.
    pub(crate) fn of_syn(header: &Header, options: &Options, offer: &Options) -> Self {
        let answers = header.flags.has(Flags::ACK);
        let agreed = offer.window_scale.is_some() && options.window_scale.is_some();
        Self {
            iss: header.seq,
            irs: answers.then(|| header.ack - 1),
            snd_max: header.seq + 1,
            rcv_nxt: header.seq + 1,
            acked: header.ack,
            right: None,
            ts_value: options.timestamps.map(|timestamps| timestamps.value),
            timestamps: options.timestamps.is_some() && offer.timestamps.is_some(),
            scale: if agreed { options.window_scale.unwrap_or(0) } else { 0 },
            active: !answers,
        }
    }
}

/// What was sent since a SYN with one number.
#[derive(Clone, Copy, Debug)]
struct Life {
    isn: SeqNumber,
    /// One past the highest number that was sent since.
    sent_max: SeqNumber,
    /// What the SYN offered.
    offer: Options,
    /// There were SYNs with this number that offered other things.
    ambiguous: bool,
}

/// One port of the peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) port: u16,
    pub(crate) our_port: u16,
    /// It speaks IPv6.
    pub(crate) v6: bool,
    /// Its initial sequence number.
    pub(crate) isn: SeqNumber,
    /// What its next SYN offers.
    pub(crate) offer: Options,
    /// Its next new byte.
    pub(crate) snd_nxt: SeqNumber,
    /// One for each number that a SYN of its began with.
    lives: Vec<Life>,
    pub(crate) window: u16,
    pub(crate) ts_value: u32,
    pub(crate) seen: Option<Seen>,
    /// A FIN was sent at this number.
    pub(crate) fin: bool,
}

impl Peer {
    pub(crate) fn new(port: u16, our_port: u16, input: &mut Input<'_>) -> Self {
        let isn = SeqNumber(input.pick(&[1000, 0xffff_ff00, 0x7fff_ff80, 0, 0xffff_ffff, 0x8000_0000]));
        let mut peer = Self {
            port,
            our_port,
            v6: false,
            isn,
            offer: Options::default(),
            snd_nxt: isn,
            lives: Vec::new(),
            window: 60_000,
            ts_value: input.pick(&[1, 0x7fff_ffff, 0xffff_fff0]),
            seen: None,
            fin: false,
        };
        peer.offer = peer.draw_offer(input);
        peer
    }

    fn draw_offer(&self, input: &mut Input<'_>) -> Options {
        let kinds = input.u8();
        Options {
            mss: (kinds & 1 != 0).then(|| input.pick(&[1460, 536, 64, 0, 1, 65_535, 8960])),
            window_scale: (kinds & 2 != 0).then(|| input.pick(&[7, 0, 14, 1])),
            sack_permitted: kinds & 4 != 0,
            timestamps: (kinds & 8 != 0).then_some(Timestamps { value: self.ts_value, echo: 0 }),
            ..Options::default()
        }
    }

    /// Begins anew with other numbers, later or earlier than the last.
    pub(crate) fn new_life(&mut self, input: &mut Input<'_>) {
        let ahead = input.pick(&[1000, 1, 0, 0x7fff_fff0, 0x8000_0000, 0xffff_f000]);
        self.isn = self.sent_max(self.isn) + ahead;
        self.snd_nxt = self.isn;
        self.fin = false;
        self.offer = self.draw_offer(input);
    }

    /// A SYN with this number was sent.
    pub(crate) fn begin(&mut self, isn: SeqNumber, offer: &Options) {
        let kinds = |offer: &Options| (offer.timestamps.is_some(), offer.window_scale);
        match self.lives.iter_mut().find(|life| life.isn == isn) {
            Some(life) => life.ambiguous |= kinds(&life.offer) != kinds(offer),
            None => self.lives.push(Life { isn, sent_max: isn + 1, offer: *offer, ambiguous: false }),
        }
    }

    fn life(&self, isn: SeqNumber) -> Option<&Life> {
        self.lives.iter().find(|life| life.isn == isn)
    }

    /// One past the highest number that was sent since the SYN with this one.
    pub(crate) fn sent_max(&self, isn: SeqNumber) -> SeqNumber {
        self.life(isn).map_or(isn, |life| life.sent_max)
    }

    /// What the SYN with this number offered; `None` when there were several that differed.
    pub(crate) fn offered(&self, isn: SeqNumber) -> Option<Options> {
        self.life(isn).filter(|life| !life.ambiguous).map(|life| life.offer)
    }

    /// The byte with this sequence number, whenever it is sent.
    pub(crate) fn byte(&self, seq: SeqNumber) -> u8 {
        (seq.0.wrapping_mul(0x9e37_79b1) >> 24) as u8 ^ self.port as u8
    }

    pub(crate) fn syn(&mut self) -> Vec<u8> {
        let mut offer = self.offer;
        if let Some(timestamps) = &mut offer.timestamps {
            timestamps.value = self.ts_value;
        }
        // Half of the ports offer explicit congestion notification (RFC 3168 §6.1.1).
        let ecn = if self.port.is_multiple_of(2) { Flags::ECE | Flags::CWR } else { Flags::default() };
        self.segment(self.isn, SeqNumber(0), Flags::SYN | ecn, self.window, &offer, 0)
    }

    pub(crate) fn syn_ack(&mut self, ack: SeqNumber) -> Vec<u8> {
        let offer = self.usual_options(self.offer);
        self.segment(self.isn, ack, Flags::SYN | Flags::ACK, self.window, &offer, 0)
    }

    /// The options of an ordinary segment, on top of `base`.
    pub(crate) fn usual_options(&self, base: Options) -> Options {
        let echo = self.seen.and_then(|seen| seen.ts_value).unwrap_or(0);
        let agreed = self.seen.is_some_and(|seen| seen.timestamps) || base.timestamps.is_some();
        Options { timestamps: agreed.then_some(Timestamps { value: self.ts_value, echo }), ..base }
    }

    /// A frame with `len` bytes of the stream from `seq` on.
    pub(crate) fn segment(
        &mut self,
        seq: SeqNumber,
        ack: SeqNumber,
        flags: Flags,
        window: u16,
        options: &Options,
        len: usize,
    ) -> Vec<u8> {
        let header = Header {
            src_port: self.port,
            dst_port: self.our_port,
            seq,
            ack,
            flags,
            window,
            urgent: 0,
            header_len: 0,
        };
        let syn = u32::from(flags.has(Flags::SYN));
        let payload: Vec<u8> = (0..len as u32).map(|at| self.byte(seq + syn + at)).collect();
        let end = seq + syn + len as u32 + u32::from(flags.has(Flags::FIN));
        if syn == 1 {
            self.begin(seq, options);
        }
        for life in &mut self.lives {
            // What lies half the space ahead of where a life began is older than it.
            if end.distance_from(life.isn) < 1 << 31 && end.after(life.sent_max) {
                life.sent_max = end;
            }
        }
        self.fin |= flags.has(Flags::FIN);
        match self.v6 {
            true => tcp_frame_v6(&header, options, &payload),
            false => tcp_frame(&ROUTE, &header, options, &payload),
        }
    }

    /// The next `len` bytes in order, with everything as it should be.
    pub(crate) fn next_bytes(&mut self, len: usize) -> Vec<u8> {
        let seq = self.snd_nxt;
        self.snd_nxt += len as u32;
        let options = self.usual_options(Options::default());
        self.segment(seq, self.acknowledges(), Flags::ACK | Flags::PSH, self.window, &options, len)
    }

    /// A bare acknowledgment.
    pub(crate) fn ack(&mut self) -> Vec<u8> {
        let options = self.usual_options(Options::default());
        self.segment(self.snd_nxt, self.acknowledges(), Flags::ACK, self.window, &options, 0)
    }

    /// FIN in its place.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        let options = self.usual_options(Options::default());
        let seq = self.snd_nxt;
        self.snd_nxt += 1;
        self.segment(seq, self.acknowledges(), Flags::ACK | Flags::FIN, self.window, &options, 0)
    }

    pub(crate) fn acknowledges(&self) -> SeqNumber {
        self.seen.map_or(SeqNumber(0), |seen| seen.rcv_nxt)
    }

    /// Any segment: each field near something that matters, or anywhere.
    pub(crate) fn any_segment(&mut self, input: &mut Input<'_>) -> Vec<u8> {
        let flags = Flags(input.u8());
        let seen = self.seen;
        let seq = match input.below(8) {
            0 | 1 => self.snd_nxt,
            2 => seen.map_or(self.isn, |seen| seen.acked),
            3 => seen.and_then(|seen| seen.right).unwrap_or(self.isn),
            4 => self.isn,
            5 => self.snd_nxt + (1 << 31),
            6 => seen.map_or(self.isn, |seen| seen.acked) + u32::from(input.u16()),
            _ => SeqNumber(input.u32()),
        };
        let seq = seq + u32::from(input.u8()) - 128;
        let ack = match (seen, input.below(6)) {
            (Some(seen), 0 | 1) => seen.rcv_nxt,
            (Some(seen), 2) => seen.snd_max,
            (Some(seen), 3) => seen.iss,
            (Some(seen), 4) => seen.snd_max + (1 << 31),
            _ => SeqNumber(input.u32()),
        };
        let ack = ack + u32::from(input.u8() % 16) - 8;
        let window = input.pick(&[60_000, 0, 1, 100, 0xffff, 1460]);
        let mut options = self.usual_options(Options::default());
        let kinds = input.u8();
        if kinds & 1 != 0
            && let Some(timestamps) = &mut options.timestamps
        {
            timestamps.value = timestamps.value.wrapping_add(input.pick(&[0, 1, u32::MAX, 1 << 31, 1000]));
            timestamps.echo = timestamps.echo.wrapping_sub(input.pick(&[0, 1, u32::MAX, 1 << 31, 1000]));
        }
        if kinds & 2 != 0 {
            options.timestamps = None;
        }
        if kinds & 4 != 0 {
            options.sack_count = if options.timestamps.is_some() { 3 } else { 4 };
            let base = seen.map_or(SeqNumber(0), |seen| seen.rcv_nxt);
            for block in &mut options.sack[..usize::from(options.sack_count)] {
                let left = base + u32::from(input.u16()) - 64;
                *block = (left, left + u32::from(input.u16()));
            }
        }
        if kinds & 8 != 0 && options.emitted_len() < 36 {
            options.mss = Some(input.u16());
        }
        let len = input.pick(&[0, 0, 1, 5, 100, 536, 1400]);
        self.segment(seq, ack, flags, window, &options, len)
    }
}

/// As [`tcp_frame`], by IPv6.
fn tcp_frame_v6(header: &Header, options: &Options, payload: &[u8]) -> Vec<u8> {
    let mut segment = vec![0; tcp::HEADER_LEN + options.emitted_len() + payload.len()];
    let header_len = header.emit(options, &mut segment);
    segment[header_len..].copy_from_slice(payload);
    tcp::fill_checksum(PEER_V6, US_V6, &mut segment);
    frame_v6(PROTOCOL_TCP, &segment)
}

/// A frame with an IPv6 packet from the peer.
pub(crate) fn frame_v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0; ipv6::HEADER_LEN + payload.len()];
    ipv6::emit(&PEER_V6, &US_V6, next, 0, 255, payload.len(), &mut packet);
    packet[ipv6::HEADER_LEN..].copy_from_slice(payload);
    raw_frame(&ROUTE, EtherType::Ipv6, &packet)
}
