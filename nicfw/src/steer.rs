//! The way of a segment: from the wire to the host queue that has the flow, and back.

use netcore::toeplitz::{STANDARD_KEY, SYMMETRIC_KEY, Toeplitz};
use netcore::{FourTuple, Frame, FramePool};
use protocol::channel::{self, ClosedReason, Established, Header, Kind, MessageFlags};
use protocol::ethernet;
use protocol::resp::first_key::first_key_slot;
use protocol::tcp::Flags;

use crate::config::Steer;
use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{Flow, FlowFlags, Listed, State};
use crate::packet::Segment;

/// Entries of the indirection table, as cards have it.
pub const INDIRECTION: usize = 128;

/// Why a table from hash to queue is not taken. The one in force stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IndirectionError {
    /// It has this many entries instead of [`INDIRECTION`].
    Length(usize),
    /// This queue takes no part: there is none of this number, or it has not said HELLO.
    Queue(u16),
}

impl core::fmt::Display for IndirectionError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Length(len) => write!(f, "{len} entries; the table has {INDIRECTION}"),
            Self::Queue(queue) => write!(f, "queue {queue} takes no part"),
        }
    }
}

impl core::error::Error for IndirectionError {}

/// Bytes from what the host has acknowledged beyond which no segment is the peer's: behind, where
/// nothing is worth the host's answer; ahead, unless the host's window is larger still.
const FAR: u32 = 1 << 24;

/// From a connection to the queue that it belongs to.
#[derive(Debug)]
pub(crate) struct Steering {
    toeplitz: Toeplitz,
    table: [u16; INDIRECTION],
    /// The queues that take part, one bit each.
    members: u128,
    /// All entries of the table are one queue: no need to hash.
    single: bool,
}

impl Steering {
    pub(crate) fn new(steer: Steer) -> Self {
        let key = match steer {
            Steer::Rss | Steer::Key => &STANDARD_KEY,
            Steer::SymmetricRss => &SYMMETRIC_KEY,
        };
        Self { toeplitz: Toeplitz::new(key), table: [0; INDIRECTION], members: 0, single: true }
    }

    /// Spreads evenly over these queues from now on, over queue 0 when there are none. While they
    /// are the same ones the table stays as it is.
    pub(crate) fn set_members(&mut self, members: u128) {
        if core::mem::replace(&mut self.members, members) == members {
            return;
        }
        let mut around = (0..u128::BITS as u16).filter(|&queue| members & 1 << queue != 0).cycle();
        for queue in &mut self.table {
            *queue = around.next().unwrap_or(0);
        }
        self.single = members.count_ones() <= 1;
    }

    fn set_table(&mut self, table: &[u16]) -> Result<(), IndirectionError> {
        let table: [u16; INDIRECTION] =
            table.try_into().map_err(|_| IndirectionError::Length(table.len()))?;
        let takes_part = |queue: u16| u32::from(queue) < u128::BITS && self.members & 1 << queue != 0;
        if let Some(&queue) = table.iter().find(|&&queue| !takes_part(queue)) {
            return Err(IndirectionError::Queue(queue));
        }
        self.single = table.iter().all(|&queue| queue == table[0]);
        self.table = table;
        Ok(())
    }

    /// The queue for what has no four-tuple.
    pub(crate) fn first(&self) -> u16 {
        self.table[0]
    }

    #[inline]
    pub(crate) fn queue(&self, tuple: &FourTuple) -> u16 {
        if self.single {
            return self.table[0];
        }
        self.table[self.toeplitz.hash(tuple) as usize % INDIRECTION]
    }

    /// The queue for the keys of a hash slot: through the same table, so that it moves both.
    fn queue_of_slot(&self, slot: u16) -> u16 {
        self.table[usize::from(slot) % INDIRECTION]
    }
}

impl<F: Frame> Firmware<F> {
    /// Changes which queue each hash leads to, while everything runs.
    ///
    /// Flows that exist stay with their queue, so that nothing is lost; new ones follow the table.
    /// At level `none` there are no flows: frames of connections that exist go where the table says
    /// at once, as on any card, and a host that has a stack for each queue does not know them there.
    /// The table is the even one again when a queue joins or leaves.
    ///
    /// `table`: [`INDIRECTION`] queues, by the lowest bits of the hash.
    ///
    /// # Errors
    /// [`IndirectionError`]; nothing has changed then.
    pub fn set_indirection(&mut self, table: &[u16]) -> Result<(), IndirectionError> {
        self.steering.set_table(table)?;
        self.counters.add(Event::IndirectionChanged);
        Ok(())
    }

    /// The queues that take part: those to which the table may lead.
    pub fn queues_steered_to(&self) -> impl Iterator<Item = u16> + '_ {
        (0..u128::BITS as u16).filter(|&queue| self.steering.members & 1 << queue != 0)
    }

    /// Connections that the host has on a queue, wherever new ones go.
    ///
    /// # Panics
    /// There is no such queue.
    pub fn flows_held_by(&self, queue: u16) -> u32 {
        self.channel.queues[usize::from(queue)].held
    }

    /// The table in force, see [`Self::set_indirection`].
    pub fn indirection(&self) -> &[u16; INDIRECTION] {
        &self.steering.table
    }

    /// Has the key of the first request choose the queue of a flow that the host has not heard of,
    /// where there is a choice and a key.
    fn steer_by_key(&mut self, slot: u32, segment: &Segment, bytes: &[u8]) {
        let flow = &self.flows[slot];
        let is_start = segment.tcp.seq == flow.rcv_nxt && !segment.has(Flags::URG);
        if self.steering.single || flow.state != State::Waiting || !is_start {
            return;
        }
        let Some(listener) = self.listeners.get(flow.listener) else { return };
        let data = &bytes[segment.tcp_at + segment.tcp.header_len..segment.end];
        let Some(key_slot) = first_key_slot(data) else {
            return self.counters.add(Event::SteeredByTuple);
        };
        let queue = self.queue_for(listener, self.steering.queue_of_slot(key_slot));
        let host_life = self.channel.queues[usize::from(queue)].life;
        let flow = &mut self.flows[slot];
        (flow.queue, flow.host_life) = (queue, host_life);
        self.counters.add(Event::SteeredByKey);
    }

    /// Hands a frame to the host as it came.
    pub(crate) fn raw_to_host(&mut self, queue: u16, frame: F) {
        self.counters.add(Event::RawToHost);
        self.data_to_host(queue, frame);
    }

    /// A segment for a flow that the host holds.
    pub(crate) fn established<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        if segment.has(Flags::RST | Flags::SYN) || !segment.has(Flags::ACK) {
            return self.unusual(slot, segment, frame, pool);
        }
        let flow = &mut self.flows[slot];
        if segment.tcp.seq.distance_from(flow.rcv_nxt - FAR) >= FAR + flow.rcv_wnd.max(FAR) {
            return self.far_off(slot, frame, pool);
        }
        if flow.remote_mac != segment.src_mac {
            self.established_elsewhere(slot, segment, &frame);
        }
        let flow = &mut self.flows[slot];
        let data_end = segment.data_end();
        let ack = segment.tcp.ack;
        if ack.after(flow.snd_una)
            && !ack.after(flow.snd_nxt)
            && segment.tcp.seq.in_window(flow.rcv_nxt, flow.rcv_wnd.max(1))
        {
            // For a hand-over that is on its way already.
            flow.snd_una = ack;
            flow.snd_wnd = u32::from(segment.tcp.window) << flow.snd_scale;
        }
        if segment.has(Flags::FIN) {
            // The firmware may finish alone only what it knows to be finished: everything that
            // the peer sent is acknowledged by the host, and the other way round.
            let nothing_open = flow.flags.has(FlowFlags::IDLE)
                && data_end == flow.rcv_nxt
                && segment.tcp.seq.before_eq(flow.rcv_nxt)
                && segment.tcp.ack == flow.snd_nxt;
            if nothing_open && !segment.has(Flags::URG) {
                return self.passive_close(slot, segment, frame, pool);
            }
            if segment.tcp.seq.before_eq(flow.rcv_seen) {
                flow.flags.set(FlowFlags::FIN_SEEN, true);
            }
        }
        let end = data_end + u32::from(segment.has(Flags::FIN));
        if segment.tcp.seq.before_eq(flow.rcv_seen) && end.after(flow.rcv_seen) {
            flow.rcv_seen = end;
        }
        self.segment_to_host(slot, segment, frame);
    }

    /// The host's peer seems to have moved.
    #[cold]
    fn established_elsewhere(&mut self, slot: u32, segment: &Segment, frame: &F) {
        if !self.lacks_timestamps(slot, segment.options(frame.bytes()).timestamps) {
            self.note_move(slot, segment);
        }
    }

    /// A number that no segment of this peer can have: somebody guesses. What answers an honest peer
    /// that is lost (RFC 9293 §3.10.7.4, first) is a challenge ACK, now and then.
    #[cold]
    fn far_off<P: FramePool<Frame = F>>(&mut self, slot: u32, frame: F, pool: &mut P) {
        self.counters.add(Event::Unacceptable);
        self.challenge(slot, Some(frame), pool);
    }

    #[cold]
    fn unusual<P: FramePool<Frame = F>>(&mut self, slot: u32, segment: &Segment, frame: F, pool: &mut P) {
        if segment.has(Flags::RST) {
            self.reset_received(slot, segment, Some(frame), pool);
        } else if segment.has(Flags::SYN) {
            self.challenge(slot, Some(frame), pool);
        } else {
            self.counters.add(Event::Unacceptable);
        }
    }

    fn passive_close<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let timestamps = segment.options(frame.bytes()).timestamps;
        if self.lacks_timestamps(slot, timestamps) || !self.passes_paws(slot, timestamps) {
            // The host answers as it has to.
            return self.segment_to_host(slot, segment, frame);
        }
        if let Some(timestamps) = timestamps {
            self.flows[slot].ts_recent = timestamps.value;
        }
        self.note(slot, Event::PassiveClose);
        self.report_end(slot, ClosedReason::PeerClosed);
        self.finish_passively(slot, segment, frame, pool);
    }

    /// Turns a frame from the wire into a SEGMENT message.
    #[inline]
    fn segment_to_host(&mut self, slot: u32, segment: &Segment, mut frame: F) {
        let flow = &self.flows[slot];
        let header = Header {
            kind: Kind::Segment,
            flags: MessageFlags::CHECKSUM_GOOD,
            epoch: self.channel.queues[usize::from(flow.queue)].epoch,
            flow: self.flows.id(slot),
            handle: flow.handle,
        };
        let queue = flow.queue;
        frame.truncate(segment.end);
        let len_behind = segment.end - ethernet::HEADER_LEN;
        if !self.put_header(&mut frame, &header, len_behind, 0) {
            return;
        }
        self.counters.add(Event::SegmentToHost);
        self.data_to_host(queue, frame);
    }

    /// Puts the channel's headers, and `body_len` bytes to be filled, in front of the IP packet
    /// whose Ethernet header they swallow.
    #[inline]
    pub(crate) fn put_header(
        &mut self,
        frame: &mut F,
        header: &Header,
        len_behind: usize,
        body_len: usize,
    ) -> bool {
        if frame.prepend(channel::HEADER_LEN + body_len).is_none() {
            self.counters.add(Event::HostQueueFull);
            return false;
        }
        let out = frame.bytes_mut();
        channel::emit_ethernet(self.config.mac, self.config.mac, out);
        header.emit(len_behind, &mut out[ethernet::HEADER_LEN..]);
        true
    }

    /// Tells the host of a connection, with its first data if there is any, or turns it away. When
    /// the host's queue is full, the data is dropped (the peer sends it again) and the news kept.
    pub(crate) fn announce<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        first: Option<(&Segment, F)>,
        pool: &mut P,
    ) {
        if self.config.steer == Steer::Key
            && let Some((segment, frame)) = &first
        {
            self.steer_by_key(slot, segment, frame.bytes());
        }
        if let Some(why) = self.turned_away(slot) {
            return self.refuse(slot, why, first, pool);
        }
        let flow = self.flows[slot];
        let queue = usize::from(flow.queue);
        let (frame, packet_len, data_at) = match first {
            Some((segment, mut frame)) => {
                frame.truncate(segment.end);
                if segment.tcp.seq.before_eq(flow.rcv_seen) {
                    self.flows[slot].rcv_seen = segment.data_end() + u32::from(segment.has(Flags::FIN));
                }
                (Some(frame), segment.end - ethernet::HEADER_LEN, expected_data_at(&flow, segment))
            }
            None => (None, 0, 0),
        };
        let has_room = !self.channel.queues[queue].out.is_full();
        let made = if has_room { frame.or_else(|| self.empty_message(pool)) } else { None };
        let Some(mut frame) = made else {
            self.counters.add(Event::EstablishedDelayed);
            // With data, the peer's retransmission tries again.
            if packet_len == 0 && flow.state == State::Waiting {
                self.unlist(slot);
                self.enter(slot, State::Announcing);
                self.flows.push(&mut self.channel.queues[queue].announce, slot, Listed::Announce);
            }
            return;
        };
        let mut flags = MessageFlags::default();
        if packet_len > 0 {
            flags = MessageFlags::CHECKSUM_GOOD | MessageFlags::FIRST_DATA;
        }
        let header = Header {
            flags,
            flow: self.flows.id(slot),
            ..Header::new(Kind::Established, self.channel.queues[queue].epoch)
        };
        if !self.put_header(&mut frame, &header, Established::LEN + packet_len, Established::LEN) {
            return;
        }
        let body = self.established_body(slot, data_at);
        body.emit(&mut frame.bytes_mut()[ethernet::HEADER_LEN + channel::HEADER_LEN..]);
        self.unlist(slot);
        self.timers.cancel(slot);
        self.enter(slot, State::Established);
        if packet_len > 0 {
            self.untaken(slot);
        }
        self.counters.add(Event::EstablishedSent);
        self.news_to_host(queue, frame);
    }

    /// A frame that is just an Ethernet header, for a message to be prepended to.
    fn empty_message<P: FramePool<Frame = F>>(&mut self, pool: &mut P) -> Option<F> {
        let mut frame = self.allocate(pool)?;
        frame.append(ethernet::HEADER_LEN)?;
        Some(frame)
    }

    fn established_body(&mut self, slot: u32, data_at: u16) -> Established {
        let ts_value = self.timestamp();
        let flow = &mut self.flows[slot];
        flow.ts_sent = ts_value;
        Established {
            local_addr: flow.tuple.local_addr,
            remote_addr: flow.tuple.remote_addr,
            local_port: flow.tuple.local_port,
            remote_port: flow.tuple.remote_port,
            timestamps: flow.flags.has(FlowFlags::TIMESTAMPS),
            sack: flow.flags.has(FlowFlags::SACK),
            window_scaling: flow.flags.has(FlowFlags::WINDOW_SCALE),
            snd_scale: flow.snd_scale,
            rcv_scale: flow.rcv_scale,
            snd_nxt: flow.snd_nxt,
            rcv_nxt: flow.rcv_nxt,
            snd_wnd: flow.snd_wnd,
            mss: flow.mss,
            remote_mac: flow.remote_mac,
            ts_recent: flow.ts_recent,
            ts_value,
            data_at,
        }
    }
}

/// Where the data of a waiting flow's first segment begins in its packet, when the flow's state says all
/// else that the segment says; else 0.
#[inline]
fn expected_data_at(flow: &Flow, segment: &Segment) -> u16 {
    let is_expected = segment.tcp.seq == flow.rcv_nxt
        && segment.tcp.ack == flow.snd_nxt
        && segment.tcp.flags.0 & !Flags::PSH.0 == Flags::ACK.0;
    let data_at = segment.tcp_at + segment.tcp.header_len - ethernet::HEADER_LEN;
    if is_expected { data_at as u16 } else { 0 }
}
