//! One connection: what RFC 9293 asks of a client that opens, asks, reads in order and closes.
//!
//! ```text
//!  out:  | acked | in flight       | to be sent          |
//!      start   snd_una          snd_nxt   (<= snd_max)  end, then the FIN
//! ```
//!
//! Left out on purpose, because a client that asks and reads needs none of it: simultaneous
//! open, urgent data, reassembly (out-of-order data is dropped and sent again by the peer),
//! TIME_WAIT (see [`super::Clients`]).

mod output;

use netcore::{Duration, Frame, FramePool, Instant};
use protocol::ip::Address;
use protocol::tcp::{Flags, SeqNumber, TIMESTAMPS_LEN};

use super::ports::Local;
use super::rto::Rto;
use super::wire::{Incoming, Wire};
use crate::results::ErrorKind;
use crate::workload::{Progress, Session, Workload};

/// Our receive window in bytes; received bytes are used at once, so it never changes.
const WINDOW: u32 = 64_128;
/// Our window scale, as Linux has it by default.
const WINDOW_SCALE: u8 = 7;
/// Segments that may be in flight at first (RFC 6928).
const INITIAL_SEGMENTS: u32 = 10;
/// Bytes in flight beyond which the congestion window does not grow.
const CWND_MAX: u32 = 1 << 20;
/// Between two answers to empty segments that do not fit: the server may answer in the same way,
/// and two that disagree would never stop (Linux: `tcp_invalid_ratelimit`).
const ANSWER_INTERVAL: Duration = Duration::from_millis(500);

/// RFC 9293 §3.3.2, without those that a client of this kind never sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Closed,
    SynSent,
    Established,
    FinWait1,
    FinWait2,
    Closing,
    LastAck,
}

/// What a connection does not own: the wire, frames, the workload and the time.
pub(super) struct Context<'a, F, L> {
    pub(super) wire: &'a mut Wire<F>,
    pub(super) pool: &'a mut L,
    pub(super) workload: &'a mut Workload,
    pub(super) settings: &'a Settings,
    pub(super) now: Instant,
}

/// What holds for all connections of an engine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) mtu: usize,
    /// Bytes of the IP and TCP headers without options.
    pub(super) headers_len: usize,
    /// What a peer takes that offers no MSS.
    pub(super) default_mss: u16,
    pub(super) timestamps: bool,
    pub(super) sack_permitted: bool,
    pub(super) window_scale: bool,
    pub(super) separate_ack: bool,
    pub(super) timeout: Duration,
    pub(super) epoch_us: u64,
}

impl Settings {
    /// TSval: milliseconds, as Linux counts them.
    #[inline]
    pub(super) fn timestamp(&self, now: Instant) -> u32 {
        ((self.epoch_us + now.micros()) / 1000) as u32
    }

    /// A clock that is ahead of any sequence number sent before on the same four-tuple, as long
    /// as the connection sent less than 16 bytes per microsecond (RFC 9293 §3.4.1).
    #[inline]
    pub(super) fn isn_clock(&self, now: Instant) -> SeqNumber {
        SeqNumber(((self.epoch_us + now.micros()) << 4) as u32)
    }
}

/// What a segment or a timer has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing to send.
    Keep,
    /// Call [`Connection::output`] at the end of the burst.
    Output,
    /// Both directions have ended; the connection is over.
    Ended,
    /// It is over otherwise.
    Failed(ErrorKind, &'static str),
}

pub(super) struct Connection {
    pub(super) state: State,
    pub(super) queued: bool,
    need_ack: bool,
    fin_wanted: bool,
    timestamps: bool,
    /// Our window is scaled: both sides sent the option.
    scaled: bool,
    snd_wnd_shift: u8,
    dup_acks: u8,
    mss: u32,
    pub(super) local: Local,
    out_start: SeqNumber,
    snd_una: SeqNumber,
    snd_nxt: SeqNumber,
    pub(super) snd_max: SeqNumber,
    snd_wnd: u32,
    rcv_nxt: SeqNumber,
    last_ack_sent: SeqNumber,
    ts_recent: u32,
    cwnd: u32,
    ssthresh: u32,
    recover: Option<SeqNumber>,
    rto: Rto,
    /// The segment ending here is measured, since this time.
    timed: Option<(SeqNumber, Instant)>,
    rto_at: Instant,
    limit_at: Instant,
    /// When an empty segment that does not fit may be answered again.
    answer_at: Instant,
    out: Vec<u8>,
    pub(super) session: Session,
}

impl Connection {
    pub(super) fn new() -> Self {
        let zero = SeqNumber(0);
        Self {
            state: State::Closed,
            queued: false,
            need_ack: false,
            fin_wanted: false,
            timestamps: false,
            scaled: false,
            snd_wnd_shift: 0,
            dup_acks: 0,
            mss: 0,
            local: Local { addr: Address::UNSPECIFIED_V4, port: 0, entry: 0 },
            out_start: zero,
            snd_una: zero,
            snd_nxt: zero,
            snd_max: zero,
            snd_wnd: 0,
            rcv_nxt: zero,
            last_ack_sent: zero,
            ts_recent: 0,
            cwnd: 0,
            ssthresh: u32::MAX,
            recover: None,
            rto: Rto::new(),
            timed: None,
            rto_at: Instant::FAR_FUTURE,
            limit_at: Instant::FAR_FUTURE,
            answer_at: Instant::ZERO,
            out: Vec::new(),
            session: Session::default(),
        }
    }

    /// Prepares the first batch; false when nothing is to be asked.
    pub(super) fn begin(&mut self, workload: &mut Workload, now: Instant) -> bool {
        self.out.clear();
        workload.begin(&mut self.session, &mut self.out, now)
    }

    /// Sends the SYN of a connection that has begun.
    pub(super) fn open<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        local: Local,
        iss: SeqNumber,
        cx: &mut Context<'_, F, L>,
    ) {
        self.state = State::SynSent;
        self.need_ack = false;
        self.fin_wanted = false;
        self.timestamps = cx.settings.timestamps;
        self.dup_acks = 0;
        self.local = local;
        self.out_start = iss + 1;
        self.snd_una = iss;
        self.snd_nxt = iss + 1;
        self.snd_max = iss + 1;
        self.rcv_nxt = SeqNumber(0);
        self.ts_recent = 0;
        self.ssthresh = u32::MAX;
        self.recover = None;
        self.rto = Rto::new();
        self.timed = Some((iss + 1, cx.now));
        self.rto_at = cx.now + Duration::from_micros(self.rto.micros());
        self.limit_at = cx.now + cx.settings.timeout;
        self.answer_at = Instant::ZERO;
        self.send_syn(cx);
    }

    /// When [`Self::on_time`] wants to be called.
    #[inline]
    pub(super) fn deadline(&self) -> Instant {
        self.rto_at.min(self.limit_at)
    }

    pub(super) fn snd_una(&self) -> SeqNumber {
        self.snd_una
    }

    pub(super) fn rcv_nxt(&self) -> SeqNumber {
        self.rcv_nxt
    }

    fn data_end(&self) -> SeqNumber {
        self.out_start + self.out.len() as u32
    }

    /// RFC 9293 §3.10.7.
    #[inline]
    pub(super) fn on_segment<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
    ) -> After {
        if self.state == State::SynSent {
            return self.on_syn_sent(seg, cx);
        }
        if let Some(after) = self.unacceptable(seg, cx) {
            return after;
        }
        if let Some(after) = self.on_ack(seg, cx) {
            return after;
        }
        let after = self.on_text(seg, cx);
        if matches!(after, After::Failed(..)) { after } else { self.on_fin(seg, cx, after) }
    }

    /// RFC 9293 §3.10.7.3
    fn on_syn_sent<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
    ) -> After {
        let flags = seg.header.flags;
        let ours = flags.has(Flags::ACK) && seg.header.ack == self.snd_max;
        if flags.has(Flags::ACK) && !ours {
            if !flags.has(Flags::RST) {
                // What the peer still has of an earlier connection goes away; our SYN comes again.
                self.send_rst(seg.header.ack, cx);
            }
            return After::Keep;
        }
        if flags.has(Flags::RST) {
            return if ours {
                After::Failed(ErrorKind::Refused, "the SYN was answered with a RST")
            } else {
                After::Keep
            };
        }
        if !ours || !flags.has(Flags::SYN) {
            return After::Keep;
        }
        let options = &seg.options;
        self.state = State::Established;
        self.timestamps = cx.settings.timestamps && options.timestamps.is_some();
        self.ts_recent = options.timestamps.map_or(0, |timestamps| timestamps.value);
        let Settings { mtu, headers_len, default_mss, .. } = *cx.settings;
        let options_len = if self.timestamps { TIMESTAMPS_LEN } else { 0 };
        let peer_mss = usize::from(options.mss.unwrap_or(default_mss)).max(64);
        self.mss = ((mtu - headers_len).min(peer_mss) - options_len) as u32;
        self.scaled = cx.settings.window_scale && options.window_scale.is_some();
        self.snd_wnd_shift = if self.scaled { options.window_scale.unwrap_or(0) } else { 0 };
        self.snd_wnd = u32::from(seg.header.window);
        self.cwnd = INITIAL_SEGMENTS * self.mss;
        self.rcv_nxt = seg.header.seq + 1;
        self.snd_una = seg.header.ack;
        self.measure(cx.now);
        self.rto_at = Instant::FAR_FUTURE;
        self.need_ack = true;
        if cx.settings.separate_ack {
            self.send_ack(cx);
        }
        After::Output
    }

    /// The first steps of RFC 9293 §3.10.7.4: sequence number (with RFC 7323 §5.3), RST, SYN.
    /// `None`: go on.
    #[inline]
    fn unacceptable<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
    ) -> Option<After> {
        let (seq, flags) = (seg.header.seq, seg.header.flags);
        let rst = flags.has(Flags::RST);
        let mut ts_recent = self.ts_recent;
        if self.timestamps
            && !rst
            && let Some(timestamps) = seg.options.timestamps
        {
            if (timestamps.value.wrapping_sub(self.ts_recent) as i32) < 0 {
                cx.wire.counters.duplicates += 1;
                return Some(self.answer(seg, cx.now));
            }
            if seq.before_eq(self.last_ack_sent) {
                ts_recent = timestamps.value;
            }
        }
        let seg_len = seg.payload.len() as u32 + u32::from(flags.any(Flags::SYN | Flags::FIN));
        let acceptable = seq.in_window(self.rcv_nxt, WINDOW)
            || (seg_len > 0 && (seq + (seg_len - 1)).in_window(self.rcv_nxt, WINDOW));
        if !acceptable {
            cx.wire.counters.duplicates += u64::from(seg_len > 0);
            if rst || (seg_len == 0 && seq.before(self.rcv_nxt)) {
                return Some(After::Keep);
            }
            return Some(self.answer(seg, cx.now));
        }
        // RFC 7323 §5.3 (R2, R3): of an acceptable segment only, or an old one could shut out what is new.
        self.ts_recent = ts_recent;
        if rst {
            // RFC 5961 §3.2: only the exact number counts, others are asked for again.
            if seq == self.rcv_nxt && matches!(self.state, State::Closing | State::LastAck) {
                // Everything was said and answered; only our FIN's acknowledgment was missing.
                return Some(After::Ended);
            }
            if seq == self.rcv_nxt {
                return Some(After::Failed(ErrorKind::Reset, "the server sent a RST"));
            }
            return Some(self.answer(seg, cx.now));
        }
        if flags.has(Flags::SYN) {
            // RFC 5961 §4.2
            return Some(self.answer(seg, cx.now));
        }
        if flags.has(Flags::ACK) { None } else { Some(After::Keep) }
    }

    /// Acknowledges a segment that does not fit: always when it has data or a FIN, whose sender
    /// waits for it, otherwise once in [`ANSWER_INTERVAL`].
    #[cold]
    fn answer(&mut self, seg: &Incoming<'_>, now: Instant) -> After {
        if seg.payload.is_empty() && !seg.header.flags.has(Flags::FIN) {
            if now < self.answer_at {
                return After::Keep;
            }
            self.answer_at = now + ANSWER_INTERVAL;
        }
        self.need_ack = true;
        After::Output
    }

    /// `None`: go on.
    #[inline]
    fn on_ack<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
    ) -> Option<After> {
        let ack = seg.header.ack;
        let window = u32::from(seg.header.window) << self.snd_wnd_shift;
        if ack.after(self.snd_max) {
            return Some(self.answer(seg, cx.now));
        }
        if ack.before(self.out_start) {
            // RFC 5961 §5.2, narrower: a batch begins when the one before it is answered, so this is
            // an old duplicate, perhaps of the connection that had this port before. Ports are used
            // again without TIME_WAIT here, and the server's numbers may overlap.
            cx.wire.counters.duplicates += 1;
            return Some(self.answer(seg, cx.now));
        }
        if ack.after(self.snd_una) {
            self.acked(ack, cx);
        } else if ack == self.snd_una
            && self.snd_una != self.snd_max
            && seg.payload.is_empty()
            && window == self.snd_wnd
            && !seg.header.flags.has(Flags::FIN)
        {
            self.duplicate_ack(cx);
        }
        if ack.after_eq(self.snd_una) {
            self.snd_wnd = window;
        }
        if self.fin_wanted && self.snd_una.after(self.data_end()) {
            match self.state {
                State::FinWait1 => self.state = State::FinWait2,
                State::Closing | State::LastAck => return Some(After::Ended),
                State::Closed | State::SynSent | State::Established | State::FinWait2 => {}
            }
        }
        None
    }

    #[inline]
    fn acked<F: Frame, L: FramePool<Frame = F>>(&mut self, ack: SeqNumber, cx: &mut Context<'_, F, L>) {
        self.snd_una = ack;
        if self.snd_nxt.before(ack) {
            self.snd_nxt = ack;
        }
        self.dup_acks = 0;
        self.measure(cx.now);
        match self.recover {
            // RFC 6582 §3.2: a partial acknowledgment tells of the next missing segment.
            Some(recover) if ack.before(recover) => self.resend_first(cx),
            Some(_) => self.recover = None,
            None if self.cwnd < self.ssthresh => self.cwnd = (self.cwnd + self.mss).min(CWND_MAX),
            None => self.cwnd = (self.cwnd + (self.mss * self.mss / self.cwnd).max(1)).min(CWND_MAX),
        }
        self.rto_at = if self.snd_una == self.snd_max {
            Instant::FAR_FUTURE
        } else {
            cx.now + Duration::from_micros(self.rto.micros())
        };
    }

    /// RFC 5681 §3.2
    #[cold]
    fn duplicate_ack<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) {
        self.dup_acks = self.dup_acks.saturating_add(1);
        if self.dup_acks == 3 && self.recover.is_none() {
            let flight = self.snd_max.distance_from(self.snd_una);
            self.ssthresh = (flight / 2).max(2 * self.mss);
            self.cwnd = self.ssthresh;
            self.recover = Some(self.snd_max);
            self.resend_first(cx);
        }
    }

    #[inline]
    fn measure(&mut self, now: Instant) {
        if let Some((seq, since)) = self.timed
            && self.snd_una.after_eq(seq)
        {
            self.rto.measured(now.since(since).micros());
            self.timed = None;
        }
    }

    #[inline]
    fn on_text<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
    ) -> After {
        let idle =
            if self.snd_nxt == self.data_end() && !self.fin_wanted { After::Keep } else { After::Output };
        if seg.payload.is_empty() {
            return idle;
        }
        let seq = seg.header.seq;
        self.need_ack = true;
        if seq.after(self.rcv_nxt) {
            // RFC 5681 §4.2: at once, so that the peer notices.
            cx.wire.counters.out_of_order += 1;
            self.send_ack(cx);
            return idle;
        }
        let known = self.rcv_nxt.distance_from(seq) as usize;
        if known >= seg.payload.len() {
            cx.wire.counters.duplicates += 1;
            return After::Output;
        }
        let text = &seg.payload[known..];
        let text = &text[..text.len().min(WINDOW as usize)];
        self.rcv_nxt += text.len() as u32;
        match cx.workload.received(&mut self.session, text, cx.now) {
            Progress::More => {}
            Progress::Done => self.go_on(cx),
            Progress::Wrong(kind) => return After::Failed(kind, "the reply is wrong"),
        }
        After::Output
    }

    /// Everything asked is answered: the next batch, or the end.
    #[inline]
    fn go_on<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) {
        let acked = self.snd_una.distance_from(self.out_start) as usize;
        if acked >= self.out.len() {
            self.out.clear();
        } else {
            self.out.drain(..acked);
        }
        self.out_start = self.snd_una;
        self.limit_at = cx.now + cx.settings.timeout;
        if !cx.workload.next(&mut self.session, &mut self.out, cx.now) && !self.session.quit_sent() {
            self.fin_wanted = true;
            self.state = State::FinWait1;
        }
    }

    #[inline]
    fn on_fin<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        cx: &mut Context<'_, F, L>,
        after: After,
    ) -> After {
        let fin_seq = seg.header.seq + seg.payload.len() as u32;
        if !seg.header.flags.has(Flags::FIN) || fin_seq != self.rcv_nxt {
            return after;
        }
        match self.state {
            State::Established if self.session.waiting() => {
                return After::Failed(ErrorKind::ClosedEarly, "the server closed before it had answered");
            }
            State::Established => {
                self.fin_wanted = true;
                self.state = State::LastAck;
            }
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => {
                self.rcv_nxt += 1;
                self.send_ack(cx);
                return After::Ended;
            }
            State::Closing | State::LastAck | State::Closed | State::SynSent => return After::Output,
        }
        self.rcv_nxt += 1;
        self.need_ack = true;
        After::Output
    }

    /// The deadline has come.
    #[cold]
    pub(super) fn on_time<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) -> After {
        if cx.now >= self.limit_at {
            return match self.state {
                State::SynSent => After::Failed(ErrorKind::ConnectTimeout, "no answer to the SYN"),
                _ if self.session.waiting() => After::Failed(ErrorKind::Timeout, "no reply in time"),
                _ => After::Failed(ErrorKind::CloseTimeout, "the connection's end did not come in time"),
            };
        }
        if cx.now < self.rto_at {
            return After::Keep;
        }
        self.rto.back_off();
        self.rto_at = cx.now + Duration::from_micros(self.rto.micros());
        // RFC 6298 §3: what was sent twice measures nothing.
        self.timed = None;
        if self.state == State::SynSent {
            cx.wire.counters.retransmitted_syn += 1;
            self.send_syn(cx);
            return After::Keep;
        }
        let flight = self.snd_max.distance_from(self.snd_una);
        self.ssthresh = (flight / 2).max(2 * self.mss);
        self.cwnd = self.mss;
        self.recover = None;
        self.dup_acks = 0;
        // Everything from the first unacknowledged byte on goes out again as the window opens. A
        // closed window is probed with one byte (RFC 9293 §3.8.6.1).
        self.snd_nxt = self.snd_una;
        self.snd_wnd = self.snd_wnd.max(1);
        After::Output
    }
}
