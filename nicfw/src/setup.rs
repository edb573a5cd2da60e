//! How a connection begins: SYN, cookie, ACK, and the wait for the first data.
//!
//! No memory is used before a valid ACK. RFC 9293 §3.10.7.2 (LISTEN), RFC 4987 §3.6 (cookies),
//! RFC 5961 (blind attacks), RFC 7323 (timestamps, window scale).

use netcore::cookie::{NO_CONNECTION_BEFORE, SynOptions};
use netcore::{Duration, Frame, FramePool};
use protocol::channel::{AcceptPolicy, Refusal};
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};

use crate::budget::Verdict;
use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{Flow, FlowFlags, Listed, State};
use crate::packet::{Outgoing, Segment};
use crate::time_wait::{Entry, Kind};

/// What an ACK without flow proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The end of a handshake with a peer of this MSS.
    Good(u16),
    /// It belongs to a handshake, but the first data was lost on the way or is late. Neither
    /// safe to open a connection on nor a reason to reset one: the peer sends the first data
    /// again.
    Later,
    Bad,
}

impl<F: Frame> Firmware<F> {
    /// A segment for a listener, from a peer that has no flow.
    pub(crate) fn listening<P: FramePool<Frame = F>>(
        &mut self,
        listener: u16,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        if segment.has(Flags::RST) {
            return self.counters.add(Event::NoFlowDropped);
        }
        if segment.has(Flags::ACK) {
            return match self.first_ack(segment, NO_CONNECTION_BEFORE) {
                Cookie::Good(mss) => self.open_by(listener, segment, mss, None, frame, pool),
                Cookie::Later => self.counters.add(Event::FirstDataMissing),
                Cookie::Bad => {
                    if let Some(ack) = acknowledgment_in(segment)
                        && let Cookie::Good(mss) = self.first_ack(&ack, NO_CONNECTION_BEFORE)
                    {
                        return self.open_by(listener, &ack, mss, None, frame, pool);
                    }
                    self.counters.add(Event::CookieRefused);
                    if self.wire_has_room_for_newcomers() && segment.may_be_answered() {
                        self.reset_unknown(segment, Some(frame), pool);
                    }
                }
            };
        }
        if segment.has(Flags::SYN) {
            return self.syn(listener, segment, None, frame, pool);
        }
        self.counters.add(Event::NoFlowDropped);
    }

    /// Answers a SYN with a cookie. Data in it is not acknowledged: the peer sends it again.
    ///
    /// `ended`: the record of the last connection of the same four-tuple.
    pub(crate) fn syn<P: FramePool<Frame = F>>(
        &mut self,
        listener: u16,
        segment: &Segment,
        ended: Option<u32>,
        frame: F,
        pool: &mut P,
    ) {
        if segment.has(Flags::FIN) || !segment.may_be_answered() {
            return self.counters.add(Event::SynUnusable);
        }
        let Some(listener) = self.listeners.get(listener) else { return };
        let listen = listener.listen;
        if let Some(why) = self.closed_door(listener)
            && listen.refusal != Refusal::Error
        {
            return self.refuse_syn(listen.refusal, why, segment, frame, pool);
        }
        if !self.wire_has_room_for_newcomers() || !self.syn_is_within_budget(segment) {
            return;
        }
        let offered = segment.options(frame.bytes());
        let mss = offered.mss.unwrap_or(tcp::default_mss(segment.tuple.local_addr.version()));
        let mut options = Options { mss: Some(listen.mss), ..Options::default() };
        // Without timestamps there is no place for the other options to travel in: not announced.
        if let Some(theirs) = offered.timestamps {
            let kept = SynOptions { window_scale: offered.window_scale, sack: offered.sack_permitted };
            let value = kept.into_timestamp(self.timestamp());
            options.timestamps = Some(Timestamps { value, echo: theirs.value });
            options.sack_permitted = kept.sack;
            options.window_scale = kept.window_scale.map(|_| listen.window_scale);
        }
        let answer = Outgoing {
            ttl: self.config.ttl,
            ident: None,
            from: self.config.mac,
            to: segment.src_mac,
            tuple: segment.tuple,
            seq: self.initial_number(segment, mss, ended),
            ack: segment.tcp.seq + 1,
            flags: Flags::SYN | Flags::ACK,
            window: listen.window,
            options,
            data: &[],
        };
        self.counters.add(Event::SynReceived);
        self.send(Some(frame), &answer, pool);
    }

    /// The cookie that answers a SYN.
    fn initial_number(&mut self, segment: &Segment, mss: u16, ended: Option<u32>) -> SeqNumber {
        let make = |before| self.cookies.make(&segment.tuple, segment.tcp.seq, before, mss);
        let Some(ended) = ended else { return make(NO_CONNECTION_BEFORE) };
        let entry = self.time_wait.get(ended);
        let mut all = entry.names().map(make).zip(0..);
        let first = all.next();
        let above = match entry.kind() {
            // RFC 9293 §3.6.1 MAY-2 (1): larger than the largest number of the connection before. (All
            // eight are not, once in 256 connections: then it is as good as any random number.)
            Kind::TimeWait => first.into_iter().chain(all).find(|(iss, _)| iss.after(entry.snd_nxt)),
            Kind::Spent => None,
        };
        let (iss, name) = above.or(first).unwrap_or((make(entry.iss), 0));
        if name > 0 {
            self.time_wait.get_mut(ended).has_several_names();
        }
        iss
    }

    /// What the cookie in an ACK behind an ended connection is worth, as [`Self::first_ack`] says it.
    pub(crate) fn first_ack_behind(&self, entry: &Entry, segment: &Segment) -> Cookie {
        let mut worth = Cookie::Bad;
        for name in entry.names_given() {
            match self.first_ack(segment, name) {
                Cookie::Bad => {}
                Cookie::Later => worth = Cookie::Later,
                good @ Cookie::Good(_) => return good,
            }
        }
        worth
    }

    /// What the cookie in an ACK without flow is worth.
    pub(crate) fn first_ack(&self, segment: &Segment, before: SeqNumber) -> Cookie {
        if segment.has(Flags::SYN) {
            return Cookie::Bad;
        }
        let (iss, irs) = (segment.tcp.ack - 1, segment.tcp.seq - 1);
        match self.cookies.check(&segment.tuple, irs, before, iss) {
            Some(mss) => Cookie::Good(mss),
            None if self.cookies.check_later(&segment.tuple, irs, before, iss) => Cookie::Later,
            None => Cookie::Bad,
        }
    }

    /// Opens the connection of a good cookie. `ended`: the record of the last one of the same
    /// four-tuple, which gives way.
    pub(crate) fn open_by<P: FramePool<Frame = F>>(
        &mut self,
        listener: u16,
        segment: &Segment,
        mss: u16,
        ended: Option<u32>,
        frame: F,
        pool: &mut P,
    ) {
        let remote_addr = segment.tuple.remote_addr;
        let counted = match self.count_flow(remote_addr) {
            Verdict::Within => true,
            Verdict::Uncounted => false,
            Verdict::Over => return self.refuse_unopened(listener, segment, frame, pool),
        };
        let Some(slot) = self.open(listener, segment, mss, ended, frame.bytes(), pool) else {
            if counted {
                self.budgets.let_go(remote_addr);
            }
            return self.counters.add(Event::FlowTableFull);
        };
        self.flows[slot].flags.set(FlowFlags::COUNTED, counted);
        self.counters.add(Event::CookieAccepted);
        self.waiting(slot, segment, frame, pool);
    }

    /// Makes a flow in state Waiting.
    fn open<P: FramePool<Frame = F>>(
        &mut self,
        place: u16,
        segment: &Segment,
        mss: u16,
        ended: Option<u32>,
        bytes: &[u8],
        pool: &mut P,
    ) -> Option<u32> {
        let hash = self.hasher.hash(&segment.tuple);
        let listener = self.listeners.get(place)?;
        let (listen, oldest) = (listener.listen, listener.waiting.head);
        if listener.waiting.len >= listen.backlog.max(1) {
            self.note(oldest, Event::BacklogEvicted);
            self.reset_flow(oldest, None, pool);
        }
        let slot = self.flows.allocate()?;
        // Who had to leave the backlog may have pushed the record out already.
        if let Some(ended) = ended.filter(|&ended| self.time_wait.get(ended).tuple == segment.tuple) {
            self.forget_ended(ended);
        }
        let chosen = self.steering.queue(&segment.tuple);
        let queue = self.listeners.get(place).map_or(0, |listener| self.queue_for(listener, chosen));
        let host_life = self.channel.queues[usize::from(queue)].life;
        let flow = &mut self.flows[slot];
        *flow = Flow {
            tuple: segment.tuple,
            hash,
            remote_mac: segment.src_mac,
            queue,
            host_life,
            listener: place,
            mss,
            iss: segment.tcp.ack - 1,
            snd_una: segment.tcp.ack,
            snd_nxt: segment.tcp.ack,
            rcv_nxt: segment.tcp.seq,
            rcv_seen: segment.tcp.seq,
            rcv_wnd: u32::from(listen.window),
            ts_sent: self.ts_now,
            ..*flow
        };
        // RFC 7323 §3.2: what the SYN did not offer is ignored; only a SYN-ACK with the option can be echoed.
        let (clock, lifetime_ms) = (self.ts_now, self.cookies.lifetime().millis());
        let echoes = |echo: u32| u64::from(clock.wrapping_sub(echo)) <= lifetime_ms;
        let timestamps = segment.options(bytes).timestamps;
        if let Some(timestamps) = timestamps.filter(|timestamps| echoes(timestamps.echo)) {
            let kept = SynOptions::from_timestamp(timestamps.echo);
            flow.ts_recent = timestamps.value;
            flow.flags.set(FlowFlags::TIMESTAMPS, true);
            flow.flags.set(FlowFlags::SACK, kept.sack);
            if let Some(shift) = kept.window_scale {
                flow.flags.set(FlowFlags::WINDOW_SCALE, true);
                (flow.snd_scale, flow.rcv_scale) = (shift, listen.window_scale);
            }
        }
        self.index.insert(hash, slot);
        self.enter_first(slot, State::Waiting);
        if let Some(listener) = self.listeners.get_mut(place) {
            self.flows.push(&mut listener.waiting, slot, Listed::Waiting);
        }
        Some(slot)
    }

    /// A segment for a flow that the host has not heard of. (RFC 9293 §3.10.7.4, ESTABLISHED.)
    pub(crate) fn waiting<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        if segment.has(Flags::RST) {
            return self.reset_received(slot, segment, Some(frame), pool);
        }
        if segment.has(Flags::SYN)
            || (segment.has(Flags::ACK) && !self.ack_is_possible(slot, segment.tcp.ack))
        {
            return self.challenge(slot, Some(frame), pool);
        }
        if !segment.has(Flags::ACK) {
            return self.counters.add(Event::Unacceptable);
        }
        self.taken_in_waiting(slot, segment, frame, pool);
        if matches!(self.flows[slot].state, State::Waiting | State::Announcing) {
            // The peer lives.
            self.flows[slot].retries = 0;
            self.start_waiting_timer(slot, self.config.waiting_idle);
        }
    }

    fn taken_in_waiting<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let (seq, data_len) = (segment.tcp.seq, segment.data_len());
        let flow = self.flows[slot];
        let timestamps = segment.options(frame.bytes()).timestamps;
        if self.lacks_timestamps(slot, timestamps) {
            return self.counters.add(Event::TimestampMissing);
        }
        let starts_in_window = seq.in_window(flow.rcv_nxt, flow.rcv_wnd.max(1));
        let ends_in_window =
            data_len > 0 && (segment.data_end() - 1).in_window(flow.rcv_nxt, flow.rcv_wnd.max(1));
        if !self.passes_paws(slot, timestamps) || !(starts_in_window || ends_in_window) {
            // A keep-alive too: its answer is this ACK.
            self.counters.add(Event::Unacceptable);
            return self.acknowledge_unacceptable(slot, segment, frame, pool);
        }
        self.note_move(slot, segment);
        let flow = &mut self.flows[slot];
        if segment.tcp.ack == flow.snd_nxt {
            flow.snd_wnd = u32::from(segment.tcp.window) << flow.snd_scale;
        }
        if let Some(timestamps) = timestamps
            && seq.before_eq(flow.rcv_nxt)
        {
            flow.ts_recent = timestamps.value;
        }
        if data_len > 0 {
            return self.announce(slot, Some((segment, frame)), pool);
        }
        if segment.has(Flags::FIN) {
            if seq == flow.rcv_nxt {
                self.note(slot, Event::WaitingClosed);
                return self.finish_passively(slot, segment, frame, pool);
            }
            return self.send_ack(slot, Some(frame), pool);
        }
        let policy = self.listeners.get(flow.listener).map(|listener| listener.listen.policy);
        if policy == Some(AcceptPolicy::Immediate) && flow.state == State::Waiting {
            self.announce(slot, None, pool);
        }
    }

    /// Asks a peer that has long been silent whether it is still there, as a keep-alive does
    /// (RFC 9293 §3.8.4): without this, whoever goes away after the handshake would hold a place
    /// for ever.
    pub(crate) fn probe_waiting<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        if self.waiting_left(slot) == Some(Duration::ZERO) {
            self.note(slot, Event::WaitingExpired);
            return self.reset_flow(slot, None, pool);
        }
        let flow = &mut self.flows[slot];
        if flow.retries >= self.config.waiting_probes {
            self.note(slot, Event::WaitingTimedOut);
            return self.reset_flow(slot, None, pool);
        }
        flow.retries += 1;
        let before_all = flow.snd_nxt - 1;
        self.note(slot, Event::WaitingProbed);
        self.start_waiting_timer(slot, self.config.waiting_probe_interval);
        self.send_for(slot, Flags::ACK, before_all, None, pool);
    }

    /// How long the first data may still take, if that is limited.
    fn waiting_left(&self, slot: u32) -> Option<Duration> {
        self.left_of(self.config.waiting_max, self.flows[slot].ts_sent.wrapping_sub(self.ts_offset))
    }

    /// The next look at a silent peer: after `span`, or sooner when its time is over then.
    fn start_waiting_timer(&mut self, slot: u32, span: Duration) {
        let span = self.waiting_left(slot).map_or(span, |left| span.min(left));
        self.timers.insert(slot, self.now + span);
    }

    /// True for a segment without the timestamps that were agreed on (RFC 7323 §3.2: dropped).
    #[inline]
    pub(crate) fn lacks_timestamps(&self, slot: u32, timestamps: Option<Timestamps>) -> bool {
        timestamps.is_none() && self.flows[slot].flags.has(FlowFlags::TIMESTAMPS)
    }

    /// RFC 5961 §5.2: whether an honest peer may acknowledge this. The largest window that it has
    /// announced is not kept; the largest that it could have stands for it.
    pub(crate) fn ack_is_possible(&self, slot: u32, ack: SeqNumber) -> bool {
        let flow = &self.flows[slot];
        !ack.after(flow.snd_nxt)
            && (!ack.before(flow.snd_una) || flow.snd_una.distance_from(ack) <= 0xffff << flow.snd_scale)
    }

    /// Answers go where the peer's segments come from, also where it repeats what we have: its network may
    /// have moved, and our acknowledgments with it.
    ///
    /// RFC 5961 §5: its numbers have to be such as this peer could send, so that nobody who does not see the
    /// connection can turn it away.
    #[inline]
    pub(crate) fn note_move(&mut self, slot: u32, segment: &Segment) {
        let flow = &mut self.flows[slot];
        let standing = tcp::Standing {
            snd_una: flow.snd_una,
            snd_nxt: flow.snd_nxt,
            snd_wnd: flow.snd_wnd,
            rcv_nxt: flow.rcv_nxt,
            rcv_wnd: flow.rcv_wnd,
        };
        if standing.may_come_from_peer(&segment.tcp) {
            flow.remote_mac = segment.src_mac;
        }
    }

    /// RFC 9293 §3.10.7.4 (first): what is unacceptable is answered with an ACK. Empty segments
    /// only now and then, or two hosts that disagree would answer each other for ever.
    pub(crate) fn acknowledge_unacceptable<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        if segment.data_len() == 0 && !segment.has(Flags::FIN) {
            return self.challenge(slot, Some(frame), pool);
        }
        self.send_ack(slot, Some(frame), pool);
    }

    /// True unless the segment is older than what has been seen (RFC 7323 §5.3).
    #[inline]
    pub(crate) fn passes_paws(&self, slot: u32, timestamps: Option<Timestamps>) -> bool {
        let flow = &self.flows[slot];
        match timestamps {
            Some(timestamps) if flow.flags.has(FlowFlags::TIMESTAMPS) => {
                !SeqNumber(timestamps.value).before(SeqNumber(flow.ts_recent))
            }
            _ => true,
        }
    }
}

/// A keep-alive as the ACK of a handshake that it repeats: the peer whose ACK was lost believes
/// that the connection stands, and when both sides wait for the other, the first that is heard of
/// it is its keep-alive, one number below (RFC 9293 §3.8.4).
fn acknowledgment_in(segment: &Segment) -> Option<Segment> {
    let is_probe = segment.data_len() <= 1 && !segment.has(Flags::SYN | Flags::FIN | Flags::RST | Flags::URG);
    let tcp = tcp::Header { seq: segment.tcp.seq + 1, ..segment.tcp };
    is_probe.then_some(Segment { tcp, end: segment.tcp_at + segment.tcp.header_len, ..*segment })
}
