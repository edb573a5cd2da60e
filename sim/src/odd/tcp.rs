//! A small TCP of its own, written from RFC 9293 and sharing no code with the stack or the load
//! generator: honest in everything it says, odd in its manners.
//!
//! It sends go-back-N under a fixed window of segments, takes data in order only, and keeps what
//! the application has not read, so that its window closes when nobody reads. Places in the two
//! streams are counted from 0 at the first byte; the FIN takes the place behind the last one.

use std::net::SocketAddr;

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};

use crate::belief::Belief;
use crate::packet::{Route, tcp_frame};
use crate::wire::WirePort;

/// First retransmission timeout; it doubles up to [`RTO_MAX`].
const RTO: Duration = Duration::from_millis(600);
const RTO_MAX: Duration = Duration::from_secs(15);
/// Between two answers to what does not fit: two that disagree must not answer each other for ever.
const ANSWER_INTERVAL: Duration = Duration::from_millis(200);

/// Who has waited so long asks whether the peer is still there (RFC 9293 §3.8.4).
const KEEPALIVE: Duration = Duration::from_secs(30);

/// So many bytes of a stream are sent in the small pieces that were drawn.
pub(super) const ODD_BYTES: u64 = 3_000;

/// How a connection behaves, within what the RFCs allow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manners {
    /// The MSS option; `None`: not sent.
    pub(super) mss: Option<u16>,
    /// The window scale option.
    pub(super) window_scale: Option<u8>,
    /// The timestamps option.
    pub(super) timestamps: bool,
    /// The SACK-permitted option; SACKs are never sent.
    pub(super) sack_permitted: bool,
    /// Longest segment sent, whatever the peer would take.
    pub(super) segment_max: usize,
    /// Segments in flight.
    pub(super) segments_max: usize,
    /// Bytes kept for the application.
    pub(super) buffer: usize,
    /// How long an acknowledgment may wait for company; at most 500 ms (RFC 9293 §3.8.6.3 MUST-40).
    pub(super) ack_delay: Duration,
}

impl Manners {
    /// `mss_max`: bytes of a segment that fit into a packet.
    pub(super) fn draw(rng: &mut SeededRng, mss_max: usize) -> Self {
        let pick = |rng: &mut SeededRng, of: &[u64]| of[rng.below(of.len() as u64) as usize];
        Self {
            mss: rng.chance(900_000).then(|| (100 + rng.below(mss_max as u64 - 99)) as u16),
            window_scale: rng.chance(600_000).then(|| rng.below(9) as u8),
            timestamps: rng.chance(500_000),
            sack_permitted: rng.chance(500_000),
            segment_max: (pick(rng, &[1, 7, 100, 536, 1460, 1460, 1460]) as usize).min(mss_max),
            segments_max: 1 + rng.below(20) as usize,
            buffer: pick(rng, &[600, 3_000, 20_000, 65_535, 65_535, 300_000]) as usize,
            ack_delay: Duration::from_micros(pick(rng, &[0, 0, 1_000, 40_000, 400_000])),
        }
    }
}

/// How a connection came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Both directions in order.
    Closed,
    /// By the peer's RST.
    Reset,
    /// The peer's RST answered the SYN.
    Refused,
    /// By our RST.
    Aborted,
}

/// One end of a connection.
pub(super) struct Endpoint {
    route: Route,
    pub(super) port: u16,
    target_port: u16,
    manners: Manners,
    /// Added to the millisecond clock.
    ts_offset: u32,
    /// Bytes of a segment that fit into a packet, options among them.
    mss_max: usize,
    iss: SeqNumber,
    /// The peer's, once its SYN has come.
    irs: Option<SeqNumber>,
    /// Longest segment that the peer takes.
    peer_mss: usize,
    peer_shift: u8,
    our_shift: u8,
    timestamps: bool,
    ts_recent: u32,

    out: Vec<u8>,
    fin_wanted: bool,
    /// Places in `out`; behind its end stands the FIN.
    una: u64,
    nxt: u64,
    max: u64,
    /// The peer's window, from `una` on.
    wnd: u64,
    wl: (SeqNumber, u64),
    dup_acks: u32,
    rto: Duration,
    rto_at: Option<Instant>,
    /// Send one segment whatever the window.
    force: bool,

    unread: Vec<u8>,
    /// Bytes received in order.
    rcv: u64,
    peer_finished: bool,
    /// The right edge that was announced, as a place; it never moves left.
    edge: u64,
    ack_at: Option<Instant>,
    answer_at: Instant,
    /// When to ask whether the peer is still there.
    probe_at: Instant,
    end: Option<End>,
}

impl Endpoint {
    /// Sends the SYN when it is polled. `iss`: later than anything sent before on these ports.
    pub(super) fn new(
        (route, port, target_port): (Route, u16, u16),
        manners: Manners,
        iss: SeqNumber,
        (ts_offset, mss_max): (u32, usize),
        now: Instant,
    ) -> Self {
        Self {
            route,
            port,
            target_port,
            manners,
            ts_offset,
            mss_max,
            iss,
            irs: None,
            peer_mss: 0,
            peer_shift: 0,
            our_shift: 0,
            timestamps: manners.timestamps,
            ts_recent: 0,
            out: Vec::new(),
            fin_wanted: false,
            una: 0,
            nxt: 0,
            max: 0,
            wnd: 0,
            wl: (SeqNumber(0), 0),
            dup_acks: 0,
            rto: RTO,
            rto_at: Some(now),
            force: false,
            unread: Vec::new(),
            rcv: 0,
            peer_finished: false,
            edge: 0,
            ack_at: None,
            answer_at: Instant::ZERO,
            probe_at: Instant::FAR_FUTURE,
            end: None,
        }
    }

    // ---- the application's side ----

    pub(super) fn write(&mut self, bytes: &[u8]) {
        debug_assert!(!self.fin_wanted, "nothing may follow the FIN");
        self.out.extend_from_slice(bytes);
    }

    /// FIN behind what was written; receiving goes on.
    pub(super) fn finish(&mut self) {
        self.fin_wanted = true;
    }

    pub(super) fn has_finished(&self) -> bool {
        self.fin_wanted
    }

    /// What has come in order, which makes room for more.
    pub(super) fn read(&mut self, now: Instant) -> Vec<u8> {
        let bytes = core::mem::take(&mut self.unread);
        // RFC 9293 §3.8.6.2.2 SHLD: tell of room once it is worth a segment.
        if !bytes.is_empty() && self.irs.is_some() && self.edge < self.rcv + self.buffer() as u64 / 2 {
            self.ack_at = Some(now);
        }
        bytes
    }

    pub(super) fn peer_finished(&self) -> bool {
        self.peer_finished && self.unread.is_empty()
    }

    pub(super) fn end(&self) -> Option<End> {
        self.end
    }

    /// RST, and it is over.
    pub(super) fn abort(&mut self, wire: &mut WirePort, now: Instant) {
        if self.irs.is_some() && self.end.is_none() {
            self.send(wire, Flags::RST | Flags::ACK, self.seq(self.max), &[], now);
        }
        self.end = Some(End::Aborted);
    }

    /// The number behind everything that was ever sent.
    pub(super) fn next_seq(&self) -> SeqNumber {
        self.seq(self.max)
    }

    pub(super) fn has_timestamps(&self) -> bool {
        self.timestamps
    }

    /// What this side believes.
    pub(super) fn belief(&self) -> Option<Belief> {
        let irs = self.irs.filter(|_| self.end.is_none())?;
        Some(Belief {
            client: SocketAddr::new(self.route.src.to_ip_addr(), self.port),
            snd_una: self.seq(self.una),
            snd_max: self.seq(self.max),
            rcv_nxt: self.rcv_nxt(irs),
        })
    }

    // ---- the wire's side ----

    pub(super) fn next_at(&self) -> Option<Instant> {
        if self.end.is_some() {
            return None;
        }
        self.rto_at.into_iter().chain(self.ack_at).chain([self.probe_at]).min()
    }

    /// Sends what may be sent, after the timers.
    pub(super) fn poll(&mut self, wire: &mut WirePort, now: Instant) -> bool {
        if self.end.is_some() {
            return false;
        }
        let mut any = false;
        if self.rto_at.is_some_and(|at| at <= now) {
            any = true;
            if self.irs.is_none() {
                self.send_syn(wire, now);
            }
            self.nxt = self.una;
            self.force = true;
            self.rto_at = Some(now + self.rto);
            self.rto = Duration::from_micros((self.rto.micros() * 2).min(RTO_MAX.micros()));
        }
        if self.irs.is_some() {
            any |= self.transmit(wire, now);
        }
        if self.probe_at <= now {
            self.probe_at = now + KEEPALIVE;
            self.send(wire, Flags::ACK, self.seq(self.una) - 1, &[], now);
            any = true;
        }
        if self.ack_at.is_some_and(|at| at <= now) {
            self.send(wire, Flags::ACK, self.seq(self.nxt), &[], now);
            any = true;
        }
        any
    }

    /// One segment for this connection.
    pub(super) fn received(
        &mut self,
        header: &tcp::Header,
        options: &Options,
        payload: &[u8],
        wire: &mut WirePort,
        now: Instant,
    ) {
        self.probe_at = now + KEEPALIVE;
        match self.irs {
            _ if self.end.is_some() => {}
            None => self.received_in_syn_sent(header, options, wire, now),
            Some(irs) => self.received_synchronized(irs, header, options, payload, wire, now),
        }
        // Both directions have ended: RFC 9293 §3.6, the last acknowledgment goes at once.
        if self.end.is_none() && self.peer_finished && self.fin_wanted && self.una > self.out.len() as u64 {
            if self.ack_at.is_some() {
                self.send(wire, Flags::ACK, self.seq(self.max), &[], now);
            }
            self.end = Some(End::Closed);
        }
    }

    /// RFC 9293 §3.10.7.3
    fn received_in_syn_sent(
        &mut self,
        header: &tcp::Header,
        options: &Options,
        wire: &mut WirePort,
        now: Instant,
    ) {
        let flags = header.flags;
        let ours = flags.has(Flags::ACK) && header.ack == self.iss + 1;
        if flags.has(Flags::ACK) && !ours {
            if !flags.has(Flags::RST) {
                // Of an earlier connection: it goes away, our SYN comes again.
                self.send(wire, Flags::RST, header.ack, &[], now);
            }
            return;
        }
        if flags.has(Flags::RST) {
            if ours {
                self.end = Some(End::Refused);
            }
            return;
        }
        if !ours || !flags.has(Flags::SYN) {
            return;
        }
        self.irs = Some(header.seq);
        self.peer_mss = usize::from(options.mss.unwrap_or(tcp::default_mss(self.route.src.version())));
        if let (Some(ours), Some(theirs)) = (self.manners.window_scale, options.window_scale) {
            (self.our_shift, self.peer_shift) = (ours, theirs);
        }
        self.timestamps &= options.timestamps.is_some();
        self.ts_recent = options.timestamps.map_or(0, |timestamps| timestamps.value);
        self.wnd = u64::from(header.window);
        self.wl = (header.seq, 0);
        self.rto = RTO;
        self.rto_at = None;
        self.ack_at = Some(now);
    }

    fn received_synchronized(
        &mut self,
        irs: SeqNumber,
        header: &tcp::Header,
        options: &Options,
        payload: &[u8],
        wire: &mut WirePort,
        now: Instant,
    ) {
        let flags = header.flags;
        let nxt = self.rcv_nxt(irs);
        if flags.has(Flags::RST) {
            // RFC 5961 §3.2: exactly the next number, or it is answered.
            if header.seq == nxt {
                self.end = Some(End::Reset);
            } else if header.seq.in_window(nxt, self.window() as u32) {
                self.answer(wire, now);
            }
            return;
        }
        let stale = self.timestamps
            && options.timestamps.is_none_or(|theirs| (theirs.value.wrapping_sub(self.ts_recent) as i32) < 0);
        if stale || flags.has(Flags::SYN) || !flags.has(Flags::ACK) {
            return self.answer(wire, now);
        }
        let len = payload.len() as u32 + u32::from(flags.has(Flags::FIN));
        // How much of it came before.
        let old = nxt.distance_from(header.seq);
        let fits = if len == 0 { header.seq == nxt || header.seq.in_window(nxt, 1 << 30) } else { old < len };
        let ahead = len > 0 && header.seq.after(nxt);
        if !fits && !ahead {
            // A probe or something that came before: RFC 9293 §3.10.7.4, first step.
            return if len > 0 { self.ack_at = Some(now) } else { self.answer(wire, now) };
        }
        if let (true, Some(theirs)) = (self.timestamps && old <= 1 << 30, options.timestamps) {
            self.ts_recent = theirs.value;
        }
        if !self.acknowledged(header, len, now) {
            return self.answer(wire, now);
        }
        if ahead {
            // Behind a gap: it has to come again.
            self.ack_at = Some(now);
        } else if len > 0 {
            self.text(header, payload, old as usize, now);
        }
    }

    /// RFC 9293 §3.10.7.4, fifth step; false: it acknowledges what was never sent.
    fn acknowledged(&mut self, header: &tcp::Header, len: u32, now: Instant) -> bool {
        let ahead = header.ack.distance_from(self.seq(self.una));
        if ahead >= 1 << 31 {
            return true;
        }
        if u64::from(ahead) > self.max - self.una {
            return false;
        }
        let wnd = u64::from(header.window) << self.peer_shift;
        if ahead > 0 {
            self.una += u64::from(ahead);
            self.nxt = self.nxt.max(self.una);
            self.dup_acks = 0;
            self.rto = RTO;
            self.rto_at = None;
        } else if len == 0 && wnd == self.wnd && self.max > self.una {
            self.dup_acks += 1;
            if self.dup_acks == 3 {
                self.nxt = self.una;
            }
        }
        let (seq, ack) = self.wl;
        if seq.before(header.seq) || (seq == header.seq && ack <= self.una) {
            if wnd > self.wnd && ahead == 0 {
                self.rto_at = self.rto_at.map(|_| now + self.rto);
            }
            self.wnd = wnd;
            self.wl = (header.seq, self.una);
        }
        true
    }

    /// Seventh and eighth step. `old`: bytes at the front that came before.
    fn text(&mut self, header: &tcp::Header, payload: &[u8], old: usize, now: Instant) {
        if self.peer_finished {
            self.ack_at = Some(now);
            return;
        }
        let new = &payload[old.min(payload.len())..];
        let room = (self.edge - self.rcv) as usize;
        let taken = new.len().min(room);
        self.unread.extend_from_slice(&new[..taken]);
        self.rcv += taken as u64;
        if header.flags.has(Flags::FIN) && taken == new.len() {
            self.peer_finished = true;
        }
        // RFC 9293 §3.8.6.3: what is not plain new data is acknowledged at once.
        let plain = old == 0 && taken == payload.len() && taken > 0 && !self.peer_finished;
        let wait = if plain && self.ack_at.is_none() { self.manners.ack_delay } else { Duration::ZERO };
        self.ack_at = Some(now + wait);
    }

    // ---- output ----

    fn buffer(&self) -> usize {
        self.manners.buffer.min(65_535 << self.our_shift)
    }

    fn rcv_nxt(&self, irs: SeqNumber) -> SeqNumber {
        irs + 1 + self.rcv as u32 + u32::from(self.peer_finished)
    }

    /// The number of a place.
    fn seq(&self, place: u64) -> SeqNumber {
        self.iss + 1 + place as u32
    }

    /// Bytes that may be announced, a multiple of what the scale can express.
    fn window(&self) -> u64 {
        let room = (self.buffer() - self.unread.len().min(self.buffer())) as u64;
        // RFC 9293 §3.8.6.2.2: small steps are not worth telling of.
        let worth = room >= (self.buffer() as u64 / 2).min(1460);
        let fresh = if worth { room >> self.our_shift << self.our_shift } else { 0 };
        fresh.max(self.edge.saturating_sub(self.rcv))
    }

    /// Sends as much as windows and manners allow; at least one segment when forced.
    fn transmit(&mut self, wire: &mut WirePort, now: Instant) -> bool {
        let mut any = false;
        let options = if self.timestamps { tcp::TIMESTAMPS_LEN } else { 0 };
        let segment_max = (self.peer_mss - options.min(self.peer_mss - 1)).max(1);
        // One byte at a time is slow: only at first.
        let segment_max =
            if self.max < ODD_BYTES { self.manners.segment_max } else { self.mss_max }.min(segment_max);
        let segment_max = segment_max.min(self.mss_max - options);
        loop {
            let end = self.out.len() as u64;
            let all = end + u64::from(self.fin_wanted);
            let limit =
                (self.una + self.wnd).min(self.una + (segment_max * self.manners.segments_max) as u64);
            let limit = if self.force { limit.max(self.una + 1) } else { limit };
            if self.nxt >= all.min(limit) {
                break;
            }
            let to = end.min(limit).min(self.nxt + segment_max as u64).max(self.nxt.min(end));
            let data = self.out[self.nxt.min(end) as usize..to as usize].to_vec();
            let fin = self.fin_wanted && to == end && limit > end;
            let mut flags = Flags::ACK;
            if to == end && !data.is_empty() {
                flags = flags | Flags::PSH;
            }
            if fin {
                flags = flags | Flags::FIN;
            }
            self.send(wire, flags, self.seq(self.nxt), &data, now);
            self.nxt = to + u64::from(fin);
            self.max = self.max.max(self.nxt);
            self.force = false;
            any = true;
        }
        self.force = false;
        let waiting = (self.out.len() as u64 + u64::from(self.fin_wanted)) > self.una;
        if !waiting {
            self.rto_at = None;
        } else if self.rto_at.is_none() {
            self.rto_at = Some(now + self.rto);
        }
        any
    }

    fn send_syn(&mut self, wire: &mut WirePort, now: Instant) {
        let options = Options {
            mss: self.manners.mss,
            window_scale: self.manners.window_scale,
            sack_permitted: self.manners.sack_permitted,
            timestamps: self.manners.timestamps.then(|| self.timestamp(now)),
            ..Options::default()
        };
        let window = self.manners.buffer.min(65_535) as u16;
        self.edge = u64::from(window);
        let header = self.header(Flags::SYN, self.iss, window);
        wire.send_bytes(&tcp_frame(&self.route, &header, &options, &[]));
    }

    fn send(&mut self, wire: &mut WirePort, flags: Flags, seq: SeqNumber, data: &[u8], now: Instant) {
        let window = self.window();
        self.edge = self.edge.max(self.rcv + window);
        // What the edge promises may be no multiple of the scale any more: never less than that.
        let shown = (window >> self.our_shift) as u16;
        self.ack_at = None;
        let options = Options {
            timestamps: (self.timestamps && self.irs.is_some()).then(|| self.timestamp(now)),
            ..Options::default()
        };
        let header = self.header(flags, seq, shown);
        wire.send_bytes(&tcp_frame(&self.route, &header, &options, data));
    }

    fn header(&self, flags: Flags, seq: SeqNumber, window: u16) -> tcp::Header {
        tcp::Header {
            src_port: self.port,
            dst_port: self.target_port,
            seq,
            ack: self.irs.map_or(SeqNumber(0), |irs| self.rcv_nxt(irs)),
            flags,
            window,
            urgent: 0,
            header_len: 0,
        }
    }

    fn timestamp(&self, now: Instant) -> Timestamps {
        Timestamps { value: (now.millis() as u32).wrapping_add(self.ts_offset), echo: self.ts_recent }
    }

    fn answer(&mut self, wire: &mut WirePort, now: Instant) {
        if now >= self.answer_at {
            self.answer_at = now + ANSWER_INTERVAL;
            self.send(wire, Flags::ACK, self.seq(self.nxt), &[], now);
        }
    }
}
