//! Messages from and to the host, and whose life they belong to (docs/channel.md).
//!
//! Each side draws an epoch when it starts, and every message carries the epoch of the side it
//! is meant for. The queues of a host may share an epoch (one stack over all of them) or have one
//! each (one stack per core). A new epoch on a queue is a new life of whoever served it, on that
//! queue and on all that had the same epoch: what the old life held is reset, a bounded number
//! of flows per round.

use alloc::boxed::Box;

use netcore::frame::complete_segment;
use netcore::{Duration, Frame, FramePool, FrameQueue, Instant};
use protocol::channel::{
    self, Abort, ChannelError, Close, Closed, ClosedEntry, ClosedReason, FlowId, Header, Hello, Kind, Listen,
    ListenStatus, MessageFlags, NO_HANDLE,
};
use protocol::ethernet;
use protocol::ip;
use protocol::tcp::Flags;

use crate::config::Offload;
use crate::counters::Event;
use crate::firmware::{Firmware, is_held};
use crate::flow_table::{FlowFlags, FlowList, NO_SLOT, State};
use crate::listen::Listener;
use crate::packet;
use crate::teardown::LastSegment;

/// Where the header of a message begins, and where its body does.
const HEADER_AT: usize = ethernet::HEADER_LEN;
const BODY_AT: usize = HEADER_AT + channel::HEADER_LEN;
/// Slots looked at per round after a restart of the host, and flows reset per round and listener.
const SWEEP_PER_ROUND: u32 = 256;
/// Least time between two HELLOs that tell a host that its messages are stale.
const HELLO_INTERVAL: Duration = Duration::from_millis(100);
/// Answers "unknown flow" that wait to be sent; more are dropped, the host will ask again.
const UNKNOWN_MAX: usize = 64;

/// A HELLO that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HelloDue {
    No,
    Ask,
    Reply,
}

/// What is kept for a queue of the host.
#[derive(Debug)]
pub(crate) struct HostQueue<F> {
    pub(crate) out: FrameQueue<F>,
    /// Flows whose end is to be reported.
    pub(crate) closed: FlowList,
    /// Flows that wait for room to be announced.
    pub(crate) announce: FlowList,
    /// Flows announced with their first data that the host has not answered yet.
    pub(crate) untaken: u32,
    /// Flows that the host has, or is about to be told of.
    pub(crate) held: u32,
    unknown: [ClosedEntry; UNKNOWN_MAX],
    unknown_len: usize,
    /// News put into the queue, and heard from there: what HELLO counts.
    pub(crate) news_sent: u32,
    news_heard: u32,
    /// When a frame came from there last.
    pub(crate) heard_at: Instant,
    /// It is known that nobody serves the queue; over with the next HELLO.
    pub(crate) deserted: bool,
    /// Epoch of whoever serves the queue; 0 before the first HELLO.
    pub(crate) epoch: u32,
    previous_epoch: u32,
    /// Counts the lives that have served the queue; flows carry it.
    pub(crate) life: u8,
    /// The queue has said HELLO in its present life.
    pub(crate) joined: bool,
    hello: HelloDue,
    asked_at: Option<Instant>,
}

impl<F> HostQueue<F> {
    /// True when it is known that nobody serves the queue, who may have before.
    pub(crate) fn is_gone(&self) -> bool {
        self.deserted || (self.epoch == 0 && self.previous_epoch != 0)
    }

    /// Says HELLO as soon as somebody is there to hear it.
    pub(crate) fn greet(&mut self) {
        self.hello = HelloDue::Ask;
    }
}

/// Both ends' lives, and the host's queues.
#[derive(Debug)]
pub(crate) struct Channel<F> {
    /// Ours.
    pub(crate) epoch: u32,
    /// Next slot to look at for flows of an earlier life.
    sweep: u32,
    sweeping: bool,
    draining: bool,
    /// When silent hosts are looked for again.
    pub(crate) silence_due: Instant,
    pub(crate) queues: Box<[HostQueue<F>]>,
}

impl<F: Frame> Channel<F> {
    /// `greet`: say HELLO to every queue first.
    pub(crate) fn new(epoch: u32, queues: usize, queue_frames: usize, greet: bool) -> Self {
        let no_entry = ClosedEntry {
            flow: FlowId { slot: 0, generation: 0 },
            handle: NO_HANDLE,
            reason: ClosedReason::Unknown,
        };
        let queue = |_| HostQueue {
            out: FrameQueue::with_capacity(queue_frames),
            closed: FlowList::EMPTY,
            announce: FlowList::EMPTY,
            untaken: 0,
            held: 0,
            unknown: [no_entry; UNKNOWN_MAX],
            unknown_len: 0,
            news_sent: 0,
            news_heard: 0,
            heard_at: Instant::ZERO,
            deserted: false,
            epoch: 0,
            previous_epoch: 0,
            life: 0,
            joined: false,
            hello: if greet { HelloDue::Ask } else { HelloDue::No },
            asked_at: None,
        };
        Self {
            epoch: epoch.max(1),
            sweep: 0,
            sweeping: false,
            draining: false,
            silence_due: Instant::ZERO,
            queues: (0..queues).map(queue).collect(),
        }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(queues: usize, queue_frames: usize) -> usize {
        queues * (size_of::<HostQueue<F>>() + FrameQueue::<F>::memory(queue_frames))
    }

    /// True when a round without new frames would still do something.
    pub(crate) fn has_work(&self) -> bool {
        let busy = |queue: &HostQueue<F>| {
            queue.closed.len > 0
                || queue.announce.len > 0
                || queue.unknown_len > 0
                || (queue.hello != HelloDue::No && !queue.deserted)
                || !queue.out.is_empty()
        };
        self.sweeping || self.draining || self.queues.iter().any(busy)
    }
}

impl<F: Frame> Firmware<F> {
    /// A message of the host.
    pub(crate) fn message<P: FramePool<Frame = F>>(&mut self, queue: usize, frame: F, pool: &mut P) {
        let (header, len) = match Header::parse(&frame.bytes()[HEADER_AT..]) {
            Ok((header, rest)) => (header, rest.len()),
            Err(ChannelError::Version(_)) => return self.counters.add(Event::ChannelVersion),
            Err(ChannelError::Kind(_) | ChannelError::Malformed(_)) => {
                return self.counters.add(Event::ChannelMalformed);
            }
        };
        if header.kind == Kind::Hello {
            return self.hello(queue, &header, len, &frame);
        }
        if header.kind.is_news() {
            let heard = &mut self.channel.queues[queue].news_heard;
            *heard = heard.wrapping_add(1);
        }
        if self.config.offload == Offload::None {
            return self.counters.add(Event::ChannelMalformed);
        }
        let known = self.channel.queues[queue].joined && header.epoch == self.channel.epoch;
        if !known {
            return self.stale(queue);
        }
        match header.kind {
            Kind::Segment => self.segment_from_host(queue, &header, len, frame),
            Kind::Close => self.close_from_host(queue, &header, len, frame, pool),
            Kind::Abort => self.abort_from_host(queue, &header, len, frame, pool),
            Kind::Listen => self.listen(queue, len, frame),
            Kind::Unlisten => self.unlisten(queue, len, &frame),
            Kind::Hello | Kind::Established | Kind::Closed | Kind::IcmpError => {
                self.counters.add(Event::ChannelMalformed)
            }
        }
    }

    #[cold]
    fn stale(&mut self, queue: usize) {
        self.counters.add(Event::ChannelStale);
        let host = &mut self.channel.queues[queue];
        if host.asked_at.is_none_or(|at| self.now.since(at) >= HELLO_INTERVAL) && host.hello == HelloDue::No {
            host.hello = HelloDue::Ask;
            host.asked_at = Some(self.now);
        }
    }

    fn hello(&mut self, queue: usize, header: &Header, len: usize, frame: &F) {
        self.counters.add(Event::HelloReceived);
        let Ok(hello) = Hello::parse(&frame.bytes()[BODY_AT..BODY_AT + len]) else {
            return self.counters.add(Event::ChannelMalformed);
        };
        let is_reply = header.flags.has(MessageFlags::REPLY);
        if !is_reply {
            self.channel.queues[queue].hello = HelloDue::Reply;
        }
        if !(hello.version_min..=hello.version_max).contains(&channel::VERSION) {
            // The answer carries our versions, so that the host can say what is wrong.
            return self.counters.add(Event::ChannelVersion);
        }
        let host = &mut self.channel.queues[queue];
        if hello.epoch == host.previous_epoch {
            host.hello = HelloDue::No;
            if host.epoch == 0 {
                // Whoever was given up is back. The epoch 0 in our HELLO says that nothing is
                // left of that life, and that it takes a new one.
                return self.stale(queue);
            }
            // Left over in a ring from before the restart.
            return self.counters.add(Event::ChannelStale);
        }
        if hello.epoch != host.epoch {
            let old = core::mem::replace(&mut host.epoch, hello.epoch);
            host.news_heard = hello.news;
            if old != 0 {
                self.counters.add(Event::HostRestarted);
                self.host_life_over(queue, old);
            }
        } else if hello.news != host.news_heard {
            // Flows that the host has closed, and we have not: neither side can tell which.
            self.counters.add(Event::HostNewsLost);
            return self.host_is_gone(queue);
        }
        if is_reply && header.epoch != self.channel.epoch {
            // It answers an earlier life of ours.
            return self.stale(queue);
        }
        let host = &mut self.channel.queues[queue];
        host.deserted = false;
        if core::mem::replace(&mut host.joined, true) {
            return;
        }
        if self.channel.queues.iter().filter(|host| host.joined).count() == 1 {
            self.listeners.forget_remembered();
            self.channel.draining = self.config.offload == Offload::Lifecycle;
        }
        self.spread();
    }

    /// Spreads flows over the queues that take part.
    fn spread(&mut self) {
        let queues = &self.channel.queues;
        let joined = queues.iter().enumerate().filter(|(_, queue)| queue.joined);
        self.steering.set_members(joined.map(|(queue, _)| 1 << queue).sum());
    }

    /// The life with epoch `old` is over, on `queue` and wherever else it served.
    pub(crate) fn host_life_over(&mut self, queue: usize, old: u32) {
        for other in 0..self.channel.queues.len() {
            let host = &mut self.channel.queues[other];
            if other != queue {
                if host.epoch != old {
                    continue;
                }
                host.epoch = 0;
            }
            host.previous_epoch = old;
            host.life = host.life.wrapping_add(1);
            host.joined = false;
            host.unknown_len = 0;
            while let Some(slot) = first(&self.channel.queues[other].closed) {
                self.closed_reported(other, slot);
            }
            for place in self.listeners.places() {
                self.listeners.leave(place, other);
            }
        }
        // A plain card has neither flows nor listeners.
        let any = self.config.offload == Offload::Lifecycle;
        (self.channel.sweep, self.channel.sweeping, self.channel.draining) = (0, any, any);
        self.spread();
    }

    /// The queue for a new flow: the one that steering chose, unless whoever serves it does not
    /// listen there.
    #[inline]
    pub(crate) fn queue_for(&self, listener: &Listener, chosen: u16) -> u16 {
        if listener.queues & 1 << chosen != 0 {
            return chosen;
        }
        let queues = &self.channel.queues;
        let epoch = queues[usize::from(chosen)].epoch;
        let listens = |queue: usize| listener.queues & 1 << queue != 0;
        if (0..queues.len()).any(|queue| listens(queue) && queues[queue].epoch == epoch) {
            return chosen;
        }
        (0..queues.len()).find(|&queue| listens(queue)).unwrap_or(0) as u16
    }

    fn listen(&mut self, queue: usize, len: usize, mut frame: F) {
        let Ok(mut listen) = Listen::parse(&frame.bytes()[BODY_AT..BODY_AT + len]) else {
            return self.counters.add(Event::ChannelMalformed);
        };
        let added = self.listeners.add(listen, queue);
        self.counters.add(if added { Event::ListenAccepted } else { Event::ListenRefused });
        listen.status = if added { ListenStatus::Accepted } else { ListenStatus::TableFull };
        let epoch = self.channel.queues[queue].epoch;
        let header = Header { flags: MessageFlags::REPLY, ..Header::new(Kind::Listen, epoch) };
        frame.truncate(BODY_AT + Listen::LEN);
        let out = frame.bytes_mut();
        channel::emit_ethernet(self.config.mac, self.config.mac, out);
        header.emit(Listen::LEN, &mut out[HEADER_AT..]);
        listen.emit(&mut out[BODY_AT..]);
        self.event_to_host(queue, frame);
    }

    fn unlisten(&mut self, queue: usize, len: usize, frame: &F) {
        let Ok(listen) = Listen::parse(&frame.bytes()[BODY_AT..BODY_AT + len]) else {
            return self.counters.add(Event::ChannelMalformed);
        };
        if let Some(place) = self.listeners.find(listen.addr, listen.port) {
            self.listeners.leave(place, queue);
            self.channel.draining = true;
        }
    }

    /// The flow that a message is about, if the host may still speak of it.
    #[inline]
    fn held_flow(&mut self, queue: usize, header: &Header) -> Result<u32, Gone> {
        let Some(slot) = self.flows.resolve(header.flow) else { return Err(Gone::Unknown) };
        let flow = &self.flows[slot];
        let queues = &self.channel.queues;
        let home = &queues[usize::from(flow.queue)];
        if home.epoch != queues[queue].epoch {
            // Another stack's.
            return Err(Gone::Unknown);
        }
        match flow.state {
            State::Established if flow.host_life == home.life => Ok(slot),
            // CLOSED is on its way.
            State::Established
            | State::LastAck
            | State::Ended
            | State::FinWait1
            | State::FinWait2
            | State::Closing => Err(Gone::Closing),
            State::Waiting | State::Announcing => Err(Gone::Unknown),
        }
    }

    /// A segment of the host: noted, and sent.
    #[inline]
    fn segment_from_host(&mut self, queue: usize, header: &Header, len: usize, mut frame: F) {
        let slot = match self.held_flow(queue, header) {
            Ok(slot) => slot,
            Err(Gone::Closing) => return self.counters.add(Event::ChannelUnknownFlow),
            Err(Gone::Unknown) => return self.unknown_flow(queue, header),
        };
        let Some(last) = self.host_packet(slot, &frame, BODY_AT, len) else {
            return self.counters.add(Event::ChannelMalformed);
        };
        if header.flags.has(MessageFlags::CHECKSUM_NEEDED) {
            self.fill_checksum(slot, &mut frame, &last);
        }
        if self.flows[slot].flags.has(FlowFlags::UNTAKEN | FlowFlags::PIECES) {
            self.taken(slot);
            // The host waits no longer for an answer.
            self.throw_pieces_away(slot);
        }
        let flow = &mut self.flows[slot];
        let (tcp, data_len) = (&last.tcp, (last.end - last.data_at) as u32);
        flow.handle = header.handle;
        flow.snd_nxt = flow.snd_nxt.later(tcp.seq + data_len + u32::from(tcp.flags.any(Flags::FIN)));
        if tcp.flags.has(Flags::ACK) {
            flow.rcv_nxt = flow.rcv_nxt.later(tcp.ack);
            flow.rcv_seen = flow.rcv_seen.later(tcp.ack);
        }
        flow.rcv_wnd = u32::from(tcp.window) << flow.rcv_scale;
        last.note_timestamp(flow, frame.bytes());
        flow.flags.set(FlowFlags::IDLE, header.flags.has(MessageFlags::IDLE));
        frame.truncate(last.end);
        frame.advance(last.packet_at - ethernet::HEADER_LEN);
        let version = flow.tuple.local_addr.version();
        let link = ethernet::Header {
            dst: flow.remote_mac,
            src: self.config.mac,
            ether_type: ip::ether_type(version),
        };
        link.emit(frame.bytes_mut());
        self.counters.add(Event::SegmentToWire);
        self.put_on_wire(frame);
        if last.tcp.flags.any(Flags::RST) {
            self.end(slot);
        }
    }

    fn close_from_host<P: FramePool<Frame = F>>(
        &mut self,
        queue: usize,
        header: &Header,
        len: usize,
        mut frame: F,
        pool: &mut P,
    ) {
        // A flow that has ended meanwhile needs no closing; the host forgets it in any case.
        let Ok(slot) = self.held_flow(queue, header) else {
            return self.counters.add(Event::ChannelUnknownFlow);
        };
        self.flows[slot].handle = header.handle;
        let close = Close::parse(&frame.bytes()[BODY_AT..BODY_AT + len]).ok().map(|(close, _)| close);
        let packet = len.checked_sub(Close::LEN);
        let last = packet.and_then(|len| self.host_packet(slot, &frame, BODY_AT + Close::LEN, len));
        let kept = header.flags.has(MessageFlags::KEPT);
        let peer_finished = header.flags.has(MessageFlags::PEER_FINISHED);
        if kept && let (Some(close), Some(last)) = (close, last) {
            let piece = LastSegment { close, peer_finished, ..last };
            return self.piece(slot, &piece, header.flags.has(MessageFlags::MORE), frame, pool);
        }
        if kept {
            self.counters.add(Event::ChannelMalformed);
            return self.refuse_hand_over(slot);
        }
        self.throw_pieces_away(slot);
        // All of it, and nothing before it is open.
        let is_whole = |close: &Close, last: &LastSegment| {
            last.tcp.flags.any(Flags::FIN) && last.tcp.seq == close.snd_una
        };
        let (Some(close), Some(last)) = (close, last) else { return self.malformed_close(slot, frame, pool) };
        if header.flags.has(MessageFlags::MORE) || !is_whole(&close, &last) {
            return self.malformed_close(slot, frame, pool);
        }
        if header.flags.has(MessageFlags::CHECKSUM_NEEDED) {
            self.fill_checksum(slot, &mut frame, &last);
        }
        self.close(slot, &LastSegment { close, peer_finished, ..last }, frame, pool);
    }

    /// The host has forgotten the flow; nobody else can end it.
    #[cold]
    fn malformed_close<P: FramePool<Frame = F>>(&mut self, slot: u32, frame: F, pool: &mut P) {
        self.counters.add(Event::ChannelMalformed);
        self.reset_flow(slot, Some(frame), pool);
    }

    fn abort_from_host<P: FramePool<Frame = F>>(
        &mut self,
        queue: usize,
        header: &Header,
        len: usize,
        frame: F,
        pool: &mut P,
    ) {
        let Ok(abort) = Abort::parse(&frame.bytes()[BODY_AT..BODY_AT + len]) else {
            return self.counters.add(Event::ChannelMalformed);
        };
        match self.held_flow(queue, header) {
            Ok(slot) => self.abort(slot, abort, frame, pool),
            Err(Gone::Unknown | Gone::Closing) => self.counters.add(Event::ChannelUnknownFlow),
        }
    }

    /// The TCP segment in a message of the host, if it is one of this flow.
    #[inline]
    fn host_packet(&self, slot: u32, frame: &F, packet_at: usize, len: usize) -> Option<LastSegment> {
        let (ip, tcp) = packet::parse_packet(&frame.bytes()[packet_at..packet_at + len]).ok()??;
        let tuple = &self.flows[slot].tuple;
        let is_ours = ip.src == tuple.local_addr
            && ip.dst == tuple.remote_addr
            && tcp.src_port == tuple.local_port
            && tcp.dst_port == tuple.remote_port;
        let no_close =
            Close { snd_wnd: 0, rto_us: 0, rcv_nxt: tcp.ack, ts_recent: 0, cwnd: 0, snd_una: tcp.seq };
        is_ours.then_some(LastSegment {
            close: no_close,
            peer_finished: false,
            tcp,
            may_be_fragmented: !ip.dont_fragment,
            packet_at,
            data_at: packet_at + ip.header_len + tcp.header_len,
            end: packet_at + ip.total_len,
        })
    }

    fn fill_checksum(&self, slot: u32, frame: &mut F, last: &LastSegment) {
        let tuple = &self.flows[slot].tuple;
        let tcp_at = last.data_at - last.tcp.header_len;
        let ends = (tuple.local_addr, tuple.remote_addr);
        complete_segment(frame, self.config.tx_checksum, ends, tcp_at..last.end);
    }

    #[cold]
    fn unknown_flow(&mut self, queue: usize, header: &Header) {
        self.counters.add(Event::ChannelUnknownFlow);
        let host = &mut self.channel.queues[queue];
        if let Some(entry) = host.unknown.get_mut(host.unknown_len) {
            *entry = ClosedEntry { flow: header.flow, handle: header.handle, reason: ClosedReason::Unknown };
            host.unknown_len += 1;
        }
    }

    /// What is done once per round, after all frames.
    pub(crate) fn finish_round<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        if self.channel.sweeping {
            self.sweep(pool);
        }
        if self.channel.draining {
            self.drain_listeners(pool);
        }
        self.greet(pool);
        for queue in 0..self.channel.queues.len() {
            self.report_closed(queue, pool);
            self.announce_waiting(queue, pool);
        }
    }

    /// Sends the HELLOs that are due.
    pub(crate) fn greet<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        for queue in 0..self.channel.queues.len() {
            let host = &self.channel.queues[queue];
            if host.hello != HelloDue::No && !host.deserted {
                self.send_hello(queue, pool);
            }
        }
    }

    /// Resets flows of an earlier life of the host.
    fn sweep<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        let end = self.flows.slots_used().min(self.channel.sweep + SWEEP_PER_ROUND);
        for slot in self.channel.sweep..end {
            if self.flows.is_used(slot) && self.is_of_earlier_life(slot) {
                self.note(slot, Event::RestartReset);
                self.reset_flow(slot, None, pool);
            }
        }
        self.channel.sweep = end;
        self.channel.sweeping = end < self.flows.slots_used();
    }

    /// True when the host that held the flow is gone. What is being closed goes on: the host has
    /// no part in it any more.
    #[inline]
    pub(crate) fn is_of_earlier_life(&self, slot: u32) -> bool {
        let flow = &self.flows[slot];
        flow.host_life != self.channel.queues[usize::from(flow.queue)].life
            && matches!(flow.state, State::Waiting | State::Announcing | State::Established)
    }

    /// Resets what waits at listeners that are no longer.
    fn drain_listeners<P: FramePool<Frame = F>>(&mut self, pool: &mut P) {
        self.channel.draining = false;
        // Who comes while no host is there is refused as the last one's listener wants it; who had come
        // before is of an earlier life.
        if self.is_nobody_there() {
            return;
        }
        for place in self.listeners.places() {
            let mut budget = SWEEP_PER_ROUND;
            while let Some(listener) = self.listeners.get(place).filter(|listener| !listener.is_open()) {
                let Some(slot) = first(&listener.waiting) else {
                    self.listeners.free_if_over(place);
                    break;
                };
                if budget == 0 {
                    self.channel.draining = true;
                    break;
                }
                budget -= 1;
                self.reset_flow(slot, None, pool);
            }
        }
    }

    fn send_hello<P: FramePool<Frame = F>>(&mut self, queue: usize, pool: &mut P) {
        if self.channel.queues[queue].out.is_full() {
            return;
        }
        let Some(mut frame) = self.allocate(pool) else { return };
        let Some(out) = frame.append(BODY_AT + Hello::LEN) else { return };
        let host = &mut self.channel.queues[queue];
        let due = core::mem::replace(&mut host.hello, HelloDue::No);
        let flags = if due == HelloDue::Reply { MessageFlags::REPLY } else { MessageFlags::default() };
        let header = Header { flags, ..Header::new(Kind::Hello, host.epoch) };
        let mut features = match self.config.offload {
            Offload::None => 0,
            Offload::Lifecycle => Hello::LIFECYCLE,
        };
        if self.config.rx_partial_checksum {
            features |= Hello::PARTIAL_CHECKSUM;
        }
        let hello = Hello {
            features,
            mac: self.config.mac,
            mtu: self.config.mtu.min(usize::from(u16::MAX)) as u16,
            last_data_max: self.config.last_data_max,
            news: host.news_sent,
            ..Hello::new(self.channel.epoch, self.config.queues as u16)
        };
        channel::emit_ethernet(self.config.mac, self.config.mac, out);
        header.emit(Hello::LEN, &mut out[HEADER_AT..]);
        hello.emit(&mut out[BODY_AT..]);
        self.counters.add(Event::HelloSent);
        self.event_to_host(queue, frame);
    }

    /// Reports ends in batches. What cannot be sent now stays.
    fn report_closed<P: FramePool<Frame = F>>(&mut self, queue: usize, pool: &mut P) {
        loop {
            let host = &self.channel.queues[queue];
            let count = (host.closed.len as usize + host.unknown_len).min(Closed::ENTRIES_MAX);
            if count == 0 || host.out.is_full() {
                return;
            }
            let epoch = host.epoch;
            let body_len = Closed::LEN + count * Closed::ENTRY_LEN;
            let Some(mut frame) = self.allocate(pool) else { return };
            let Some(out) = frame.append(BODY_AT + body_len) else { return };
            channel::emit_ethernet(self.config.mac, self.config.mac, out);
            let header = Header::new(Kind::Closed, epoch);
            header.emit(body_len, &mut out[HEADER_AT..]);
            Closed::emit_count(count, &mut out[BODY_AT..]);
            for at in out[BODY_AT + Closed::LEN..].chunks_exact_mut(Closed::ENTRY_LEN) {
                let host = &mut self.channel.queues[queue];
                if let Some(slot) = first(&host.closed) {
                    let flow = &self.flows[slot];
                    let entry =
                        ClosedEntry { flow: self.flows.id(slot), handle: flow.handle, reason: flow.reason };
                    entry.emit(at);
                    self.closed_reported(queue, slot);
                    self.counters.add(Event::ClosedSent);
                } else {
                    host.unknown_len -= 1;
                    host.unknown[host.unknown_len].emit(at);
                }
            }
            self.news_to_host(queue, frame);
        }
    }

    /// The host knows, or is no more: the slot may be used again when nothing else holds it.
    fn closed_reported(&mut self, queue: usize, slot: u32) {
        self.flows.unlink(&mut self.channel.queues[queue].closed, slot);
        if !is_held(self.flows[slot].state) {
            self.listeners.let_go(self.flows[slot].listener);
        }
        if self.flows[slot].state == State::Ended {
            self.leave(slot);
        }
    }

    fn announce_waiting<P: FramePool<Frame = F>>(&mut self, queue: usize, pool: &mut P) {
        while let Some(slot) = first(&self.channel.queues[queue].announce) {
            if self.is_of_earlier_life(slot) {
                self.note(slot, Event::RestartReset);
                self.reset_flow(slot, None, pool);
                continue;
            }
            if self.channel.queues[queue].out.is_full() {
                return;
            }
            self.announce(slot, None, pool);
            if self.flows[slot].state == State::Announcing {
                return;
            }
        }
    }
}

/// Why a message's flow is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gone {
    /// No flow has this id.
    Unknown,
    /// The flow is ending without the host, which has been or will be told.
    Closing,
}

#[inline]
fn first(list: &FlowList) -> Option<u32> {
    (list.head != NO_SLOT).then_some(list.head)
}
