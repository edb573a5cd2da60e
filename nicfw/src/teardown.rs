//! How a connection ends: FIN from either side, retransmission of what was last, RST.
//!
//! RFC 9293 §3.6 and §3.10.7.4, RFC 6298 (timeouts), RFC 5961 (RST and SYN within the window).
//! The host has forgotten a flow in these states, or will when it reads CLOSED.

use netcore::{Duration, Frame, FramePool};
use protocol::channel::{Abort, Close, ClosedReason};
use protocol::ethernet;
use protocol::ip;
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{Flow, FlowFlags, Listed, State};
use crate::hand_over::Asks;
use crate::last_data::Acked;
use crate::packet::{Outgoing, Segment};
use crate::retain::NO_PLACE;
use crate::time_wait::Kind;

/// What a host hands over with CLOSE.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LastSegment {
    pub(crate) close: Close,
    pub(crate) peer_finished: bool,
    pub(crate) tcp: tcp::Header,
    /// Routers may fragment it.
    pub(crate) may_be_fragmented: bool,
    /// Where the IP packet begins and where its data begins and ends, in the frame.
    pub(crate) packet_at: usize,
    pub(crate) data_at: usize,
    pub(crate) end: usize,
}

impl LastSegment {
    /// Notes the TSval of a segment that goes to the wire as it is. `bytes`: the frame.
    #[inline]
    pub(crate) fn note_timestamp(&self, flow: &mut Flow, bytes: &[u8]) {
        if let Some(timestamps) = self.tcp.options(&bytes[self.data_at - self.tcp.header_len..]).timestamps {
            flow.ts_sent = timestamps.value;
        }
    }
}

impl<F: Frame> Firmware<F> {
    /// Answers the peer's FIN with ours: CLOSE_WAIT is left at once for LAST_ACK.
    pub(crate) fn finish_passively<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        self.unlist(slot);
        self.enter(slot, State::LastAck);
        let rto_ms = whole_ms(self.config.rto_initial);
        let flow = &mut self.flows[slot];
        flow.rcv_nxt = segment.data_end() + 1;
        flow.rcv_seen = flow.rcv_nxt;
        flow.snd_una = flow.snd_nxt;
        flow.snd_nxt += 1;
        flow.snd_wnd = (u32::from(segment.tcp.window) << flow.snd_scale).max(1);
        flow.rto_ms = rto_ms;
        (flow.retries, flow.unanswered) = (0, 0);
        flow.progress_ms = self.now.millis() as u32;
        let seq = flow.snd_una;
        self.start_timer(slot);
        self.send_for(slot, Flags::FIN | Flags::ACK, seq, Some(frame), pool);
    }

    /// The host's last data and its FIN: sent, and kept until the peer has them.
    pub(crate) fn close<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        last: &LastSegment,
        mut frame: F,
        pool: &mut P,
    ) {
        self.note(slot, Event::ActiveClose);
        let peer_finished = self.take_state(slot, last);
        let LastSegment { close, tcp, .. } = *last;
        let data_len = (last.end - last.data_at) as u32;
        let flow = &mut self.flows[slot];
        flow.snd_una = tcp.seq;
        flow.snd_nxt = tcp.seq + data_len + 1;
        let (to, version) = (flow.remote_mac, flow.tuple.local_addr.version());
        self.enter(slot, if peer_finished { State::LastAck } else { State::FinWait1 });
        self.start_timer(slot);

        // As it is, unless the window is too small for it, or it does not acknowledge enough.
        let fits = (data_len < close.snd_wnd || data_len == 0) && peer_finished == last.peer_finished;
        if data_len > 0 {
            self.make_room(Asks::Only, pool);
        }
        if fits && (data_len == 0 || self.retain_copy(slot, &frame.bytes()[last.data_at..last.end], pool)) {
            last.note_timestamp(&mut self.flows[slot], frame.bytes());
            frame.truncate(last.end);
            frame.advance(last.packet_at - ethernet::HEADER_LEN);
            let link =
                ethernet::Header { dst: to, src: self.config.mac, ether_type: ip::ether_type(version) };
            link.emit(frame.bytes_mut());
            return self.put_on_wire(frame);
        }
        // Otherwise, or when no frame was left for a copy: keep the original.
        frame.truncate(last.end);
        frame.advance(last.data_at);
        if data_len > 0 {
            self.keep(slot, frame);
        }
        self.transmit(slot, false, pool);
    }

    /// Keeps a flow's last data; there is room.
    fn keep(&mut self, slot: u32, frame: F) {
        let place = self.retained.put(slot, frame);
        debug_assert!(place.is_some(), "room was made");
        self.flows[slot].kept = place.unwrap_or(NO_PLACE);
    }

    /// True when pieces of last data are kept for a flow.
    #[inline]
    pub(crate) fn has_chain(&self, slot: u32) -> bool {
        let kept = self.flows[slot].kept;
        kept != NO_PLACE && self.retained.is_chain(kept)
    }

    /// Takes the state of a connection from the host's CLOSE. Returns whether the peer has finished:
    /// its FIN may be on its way to the host, which has not read it and never will.
    pub(crate) fn take_state(&mut self, slot: u32, last: &LastSegment) -> bool {
        let LastSegment { close, tcp, .. } = *last;
        let rto =
            Duration::from_micros(u64::from(close.rto_us)).clamp(self.config.rto_min, self.config.rto_max);
        let flow = &mut self.flows[slot];
        let crossed =
            !last.peer_finished && flow.flags.has(FlowFlags::FIN_SEEN) && flow.rcv_seen == close.rcv_nxt + 1;
        flow.snd_wnd = close.snd_wnd;
        flow.rcv_nxt = close.rcv_nxt + u32::from(crossed);
        flow.rcv_seen = flow.rcv_nxt;
        flow.rcv_wnd = u32::from(tcp.window) << flow.rcv_scale;
        flow.ts_recent = close.ts_recent;
        // The host knows the path.
        flow.may_be_fragmented = last.may_be_fragmented;
        flow.rto_ms = whole_ms(rto);
        (flow.retries, flow.unanswered) = (0, 0);
        flow.challenged_ms = 0;
        flow.progress_ms = self.now.millis() as u32;
        if crossed {
            self.counters.add(Event::FinCrossed);
        }
        crossed || last.peer_finished
    }

    /// Keeps a copy of the data; false when there is no frame for it.
    fn retain_copy<P: FramePool<Frame = F>>(&mut self, slot: u32, data: &[u8], pool: &mut P) -> bool {
        let Some(mut copy) = self.allocate(pool) else { return false };
        let Some(out) = copy.append(data.len()) else { return false };
        out.copy_from_slice(data);
        self.keep(slot, copy);
        true
    }

    /// The host resets a connection.
    pub(crate) fn abort<P: FramePool<Frame = F>>(&mut self, slot: u32, abort: Abort, frame: F, pool: &mut P) {
        self.note(slot, Event::Aborted);
        let flow = &mut self.flows[slot];
        flow.snd_nxt = abort.snd_nxt;
        flow.rcv_nxt = abort.rcv_nxt;
        self.reset_flow(slot, Some(frame), pool);
    }

    /// A segment for a flow that is being closed.
    pub(crate) fn closing<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let timestamps = segment.options(frame.bytes()).timestamps;
        let is_rst = segment.has(Flags::RST);
        // A SYN is of another connection: it is challenged with any options (RFC 5961 §4.2).
        if !segment.has(Flags::RST | Flags::SYN) && self.lacks_timestamps(slot, timestamps) {
            return self.counters.add(Event::TimestampMissing);
        }
        if !self.is_acceptable(slot, segment) || (!is_rst && !self.passes_paws(slot, timestamps)) {
            self.counters.add(if is_rst { Event::ResetIgnored } else { Event::Unacceptable });
            if is_rst {
                return;
            }
            self.note_move(slot, segment);
            if segment.has(Flags::FIN) && self.flows[slot].state == State::LastAck {
                // The peer has not seen our FIN either: no need to wait for the timer.
                return self.transmit(slot, true, pool);
            }
            return self.acknowledge_unacceptable(slot, segment, frame, pool);
        }
        if is_rst {
            return self.reset_received(slot, segment, Some(frame), pool);
        }
        if segment.has(Flags::SYN) {
            return self.challenge(slot, Some(frame), pool);
        }
        if !segment.has(Flags::ACK) {
            return self.counters.add(Event::Unacceptable);
        }
        if !self.ack_is_possible(slot, segment.tcp.ack) {
            self.counters.add(Event::Unacceptable);
            return self.challenge(slot, Some(frame), pool);
        }
        self.note_move(slot, segment);
        let flow = &mut self.flows[slot];
        if let Some(timestamps) = timestamps
            && segment.tcp.seq.before_eq(flow.rcv_nxt)
        {
            flow.ts_recent = timestamps.value;
        }
        let echo = timestamps.map(|timestamps| timestamps.echo);
        if !self.acknowledged(slot, segment, echo, pool) {
            return;
        }
        self.text_and_fin(slot, segment, frame, pool);
    }

    /// RFC 9293 §3.10.7.4, first step.
    fn is_acceptable(&self, slot: u32, segment: &Segment) -> bool {
        let flow = &self.flows[slot];
        let len = segment.data_len() + u32::from(segment.has(Flags::FIN));
        let seq = segment.tcp.seq;
        if len == 0 || flow.rcv_wnd == 0 {
            return seq == flow.rcv_nxt || seq.in_window(flow.rcv_nxt, flow.rcv_wnd);
        }
        seq.in_window(flow.rcv_nxt, flow.rcv_wnd) || (seq + (len - 1)).in_window(flow.rcv_nxt, flow.rcv_wnd)
    }

    /// Fifth step, ACK; `echo`: its TSecr. Returns false when the flow is gone.
    fn acknowledged<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        echo: Option<u32>,
        pool: &mut P,
    ) -> bool {
        let ack = segment.tcp.ack;
        let echoed_ms = echo.and_then(|echo| self.flows[slot].since_echoed(echo, self.ts_now));
        let flow = &mut self.flows[slot];
        if ack.before(flow.snd_una) {
            return true;
        }
        let newly = ack.distance_from(flow.snd_una);
        let old_window =
            core::mem::replace(&mut flow.snd_wnd, u32::from(segment.tcp.window) << flow.snd_scale);
        let opened = flow.snd_wnd > old_window;
        let acked = Acked { echoed_ms, ..Acked::of(segment, flow.snd_una, old_window, flow.snd_wnd) };
        flow.unanswered = 0;
        if newly > 0 || acked.opened {
            // RFC 6298 §5, RFC 9293 §3.8.6.1 SHLD-30: otherwise the timeout goes on doubling, answers or not.
            flow.retries = 0;
        }
        flow.snd_una = ack;
        if newly > 0 {
            flow.progress_ms = self.now.millis() as u32;
        }
        if self.has_chain(slot) {
            self.chain_acknowledged(slot, acked, pool);
            let flow = &self.flows[slot];
            if ack != flow.snd_nxt || flow.kept != NO_PLACE {
                return true;
            }
        }
        let flow = &mut self.flows[slot];
        let (state, all) = (flow.state, ack == flow.snd_nxt);
        if newly > 0 && flow.kept != NO_PLACE {
            flow.kept = self.retained.acknowledge_single(flow.kept, newly as usize);
        }
        if !all {
            if newly > 0 || acked.opened {
                self.start_timer(slot);
            }
            if newly > 0 || opened {
                self.transmit(slot, false, pool);
            }
            return self.flows[slot].state != State::Ended;
        }
        match state {
            State::FinWait1 => {
                self.enter(slot, State::FinWait2);
                self.timers.insert(slot, self.now + self.config.fin_wait_2);
            }
            State::Closing => {
                self.forget(slot, Kind::TimeWait);
                return false;
            }
            State::LastAck => {
                self.end(slot);
                return false;
            }
            State::FinWait2 => {}
            State::Waiting | State::Announcing | State::Established | State::Ended => {
                debug_assert!(false, "{state:?} is not a closing state");
            }
        }
        true
    }

    /// Seventh and eighth step.
    fn text_and_fin<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let flow = &self.flows[slot];
        if !matches!(flow.state, State::FinWait1 | State::FinWait2) {
            return;
        }
        if segment.data_len() > 0 && segment.data_end().after(flow.rcv_nxt) {
            if self.has_chain(slot) {
                // A RST would cost the peer what is still to come: first it gets all of it.
                self.counters.add(Event::DataHeldOff);
                return self.challenge(slot, Some(frame), pool);
            }
            // RFC 9293 §3.6.1: nobody is left to read it.
            self.note(slot, Event::DataAfterClose);
            self.reset_unknown(segment, Some(frame), pool);
            return self.end(slot);
        }
        if !segment.has(Flags::FIN) {
            if segment.data_len() > 0 {
                self.send_ack(slot, Some(frame), pool);
            }
            return;
        }
        if segment.data_end() != flow.rcv_nxt {
            return self.send_ack(slot, Some(frame), pool);
        }
        let state = flow.state;
        let flow = &mut self.flows[slot];
        flow.rcv_nxt += 1;
        flow.rcv_seen = flow.rcv_nxt;
        self.send_ack(slot, Some(frame), pool);
        if state == State::FinWait2 {
            self.forget(slot, Kind::TimeWait);
        } else {
            self.enter(slot, State::Closing);
        }
    }

    /// The timer of a flow fired.
    pub(crate) fn flow_timer<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        let flow = &mut self.flows[slot];
        match flow.state {
            State::FinWait1 | State::Closing | State::LastAck => {}
            State::FinWait2 => {
                self.note(slot, Event::TimedOut);
                return self.end(slot);
            }
            State::Waiting | State::Announcing => return self.probe_waiting(slot, pool),
            State::Established | State::Ended => return,
        }
        let progress_ms = flow.progress_ms;
        // RFC 9293 §3.8.3 MUST-20: by time where that is configured, and by count.
        if self.left_of(self.config.user_timeout, progress_ms) == Some(Duration::ZERO) {
            self.note(slot, Event::UserTimedOut);
            return self.reset_flow(slot, None, pool);
        }
        let flow = &mut self.flows[slot];
        flow.retries = flow.retries.saturating_add(1);
        flow.unanswered = flow.unanswered.saturating_add(1);
        if flow.unanswered > self.config.retries {
            self.note(slot, Event::TimedOut);
            return self.reset_flow(slot, None, pool);
        }
        self.start_timer(slot);
        if self.has_chain(slot) {
            return self.chain_timed_out(slot, pool);
        }
        self.transmit(slot, true, pool);
    }

    /// Restarts the retransmission timer (RFC 6298 §5: doubled with every retry).
    pub(crate) fn start_timer(&mut self, slot: u32) {
        let flow = &self.flows[slot];
        let ms = u64::from(flow.rto_ms.max(1)) << u32::from(flow.retries).min(16);
        let rto = Duration::from_millis(ms).min(self.config.rto_max);
        let left = self.left_of(self.config.user_timeout, flow.progress_ms);
        self.timers.insert(slot, self.now + left.map_or(rto, |left| rto.min(left)));
    }

    /// What is left of a limit that counts from `since_ms`; `None` without one.
    pub(crate) fn left_of(&self, limit: Option<Duration>, since_ms: u32) -> Option<Duration> {
        let passed = (self.now.millis() as u32).wrapping_sub(since_ms);
        limit.map(|limit| Duration::from_millis(limit.millis().saturating_sub(u64::from(passed))))
    }

    /// Sends what is unacknowledged, as far as the peer's window allows.
    ///
    /// `probe`: send at least something, to learn whether the window has opened
    /// (RFC 9293 §3.8.6.1). Ends the flow when its data had to be let go.
    pub(crate) fn transmit<P: FramePool<Frame = F>>(&mut self, slot: u32, probe: bool, pool: &mut P) {
        let flow = self.flows[slot];
        if self.has_chain(slot) {
            return self.send_first(slot, pool);
        }
        let left = flow.snd_nxt.distance_from(flow.snd_una) - 1;
        if left > 0 && flow.kept == NO_PLACE {
            return self.give_up(slot, pool);
        }
        if probe {
            self.note(slot, Event::Retransmitted);
        }
        let mut data_len = left.min(flow.snd_wnd).min(self.segment_max(slot));
        if data_len == 0 && left > 0 && probe {
            data_len = 1;
        }
        let fin = data_len == left && (flow.snd_wnd > left || probe);
        if data_len == 0 && !fin {
            return;
        }
        let Some(mut frame) = self.allocate(pool) else { return };
        let mut flags = Flags::ACK;
        if data_len > 0 {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        let segment = self.outgoing(slot, flags, flow.snd_una);
        let data =
            self.retained.single(flow.kept).map_or(&[][..], |frame| &frame.bytes()[..data_len as usize]);
        let segment = Outgoing { data, ..segment };
        if segment.write(&mut frame, self.config.tx_checksum) {
            self.put_on_wire(frame);
        }
    }

    /// A RST for a flow (RFC 5961 §3: exactly the expected number, or a challenge).
    pub(crate) fn reset_received<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: Option<F>,
        pool: &mut P,
    ) {
        let flow = &self.flows[slot];
        let seq = segment.tcp.seq;
        // While the host holds the flow, its last ACK may be behind what it has been given.
        if seq == flow.rcv_nxt || seq == flow.rcv_seen {
            self.note(slot, Event::ResetReceived);
            self.report_end(slot, ClosedReason::Reset);
            self.end(slot);
        } else if seq.in_window(flow.rcv_nxt, flow.rcv_wnd) {
            self.challenge(slot, frame, pool);
        } else {
            self.counters.add(Event::ResetIgnored);
        }
    }

    /// An ACK that makes a real peer show itself (RFC 5961 §3.2, §4.2).
    pub(crate) fn challenge<P: FramePool<Frame = F>>(&mut self, slot: u32, frame: Option<F>, pool: &mut P) {
        let now_ms = (self.now.millis() as u32).max(1);
        let interval_ms = self.config.challenge_interval.millis() as u32;
        let flow = &mut self.flows[slot];
        if flow.challenged_ms != 0 && now_ms.wrapping_sub(flow.challenged_ms) < interval_ms {
            return self.counters.add(Event::ChallengeLimited);
        }
        flow.challenged_ms = now_ms;
        self.note(slot, Event::ChallengeSent);
        self.send_ack(slot, frame, pool);
    }

    /// Sends an ACK for a flow.
    pub(crate) fn send_ack<P: FramePool<Frame = F>>(&mut self, slot: u32, frame: Option<F>, pool: &mut P) {
        let flow = &self.flows[slot];
        let sent_all = flow.snd_nxt.distance_from(flow.snd_una) <= flow.snd_wnd;
        let held_back = matches!(flow.state, State::FinWait1 | State::Closing | State::LastAck) && !sent_all;
        let seq = if held_back { flow.snd_una } else { flow.snd_nxt };
        self.send_for(slot, Flags::ACK, seq, frame, pool);
    }

    /// Sends RST for a flow and ends it. The host is not told.
    pub(crate) fn reset_flow<P: FramePool<Frame = F>>(&mut self, slot: u32, frame: Option<F>, pool: &mut P) {
        self.note(slot, Event::ResetSent);
        let seq = self.flows[slot].snd_nxt;
        self.send_for(slot, Flags::RST | Flags::ACK, seq, frame, pool);
        self.end(slot);
    }

    /// Answers a segment that belongs to nothing with RST, which whoever sent it accepts
    /// (RFC 9293 §3.10.7.1).
    pub(crate) fn reset_unknown<P: FramePool<Frame = F>>(
        &mut self,
        segment: &Segment,
        frame: Option<F>,
        pool: &mut P,
    ) {
        self.counters.add(Event::ResetSent);
        let (seq, ack, flags) = if segment.has(Flags::ACK) {
            (segment.tcp.ack, SeqNumber(0), Flags::RST)
        } else {
            let end =
                segment.data_end() + u32::from(segment.has(Flags::SYN)) + u32::from(segment.has(Flags::FIN));
            (SeqNumber(0), end, Flags::RST | Flags::ACK)
        };
        let reset = Outgoing {
            ttl: self.config.ttl,
            ident: None,
            from: self.config.mac,
            to: segment.src_mac,
            tuple: segment.tuple,
            seq,
            ack,
            flags,
            window: 0,
            options: Options::default(),
            data: &[],
        };
        self.send(frame, &reset, pool);
    }

    pub(crate) fn send_for<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        flags: Flags,
        seq: SeqNumber,
        frame: Option<F>,
        pool: &mut P,
    ) {
        let segment = self.outgoing(slot, flags, seq);
        self.send(frame, &segment, pool);
    }

    /// A segment for a flow, without data.
    pub(crate) fn outgoing(&mut self, slot: u32, flags: Flags, seq: SeqNumber) -> Outgoing<'static> {
        let flow = &self.flows[slot];
        let timestamps = flow
            .flags
            .has(FlowFlags::TIMESTAMPS)
            .then(|| Timestamps { value: flow.ts_value(self.ts_now), echo: flow.ts_recent });
        let ident = flow.may_be_fragmented.then(|| {
            // RFC 6864 §4.3: not the same again soon.
            self.ident = self.ident.wrapping_add(1);
            self.ident
        });
        Outgoing {
            ttl: self.config.ttl,
            ident,
            from: self.config.mac,
            to: flow.remote_mac,
            tuple: flow.tuple,
            seq,
            ack: flow.rcv_nxt,
            flags,
            window: flow.window_field(),
            options: Options { timestamps, ..Options::default() },
            data: &[],
        }
    }

    /// Has the host told that a flow has ended, if it knows the flow.
    pub(crate) fn report_end(&mut self, slot: u32, reason: ClosedReason) {
        let flow = &mut self.flows[slot];
        if flow.state != State::Established {
            return;
        }
        // In place of a refusal that the host has not read yet.
        flow.reason = reason;
        if flow.list != Listed::No {
            return;
        }
        let queue = usize::from(flow.queue);
        self.flows.push(&mut self.channel.queues[queue].closed, slot, Listed::Closed);
    }

    /// Ends a flow; its cookie counts as spent.
    #[inline]
    pub(crate) fn end(&mut self, slot: u32) {
        self.forget(slot, Kind::Spent);
    }

    /// Takes a flow out of the table and remembers it. Its slot is free when the host has been
    /// told.
    pub(crate) fn forget(&mut self, slot: u32, kind: Kind) {
        self.unlist(slot);
        self.timers.cancel(slot);
        self.throw_pieces_away(slot);
        self.let_go_of_data(slot);
        self.note_end(slot, kind);
        self.remember(slot, kind);
        if self.flows[slot].list == Listed::Closed {
            self.enter(slot, State::Ended);
        } else {
            self.leave(slot);
        }
    }
}

/// A timeout as a flow keeps it.
pub(crate) fn whole_ms(timeout: Duration) -> u16 {
    u16::try_from(timeout.millis()).unwrap_or(u16::MAX)
}
