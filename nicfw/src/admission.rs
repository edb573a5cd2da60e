//! The door: whom the firmware lets in, and what those hear whom it does not.
//!
//! A limit is asked twice: when a SYN comes, where turning away costs least, and when a connection
//! is to be announced to the host, since others may have come in between. What is refused never
//! reaches the host. Established flows are asked nothing. (docs/admission.md)

use netcore::{Frame, FramePool};
use protocol::channel::{Close, Refusal};
use protocol::ip::Address;
use protocol::tcp::{Flags, Options, Timestamps};
use protocol::{ethernet, ip, tcp};

use crate::budget::Verdict;
use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{FlowFlags, State};
use crate::listen::Listener;
use crate::packet::{Outgoing, Segment};
use crate::teardown::LastSegment;

/// Why somebody is turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The port has as many connections as its listener wants.
    ConnectionsMax,
    /// The host has been told of many connections and has not answered them.
    HostBehind,
    /// No host is there; the last one has listened on this port.
    HostAway,
}

impl Why {
    fn event(self) -> Event {
        match self {
            Self::ConnectionsMax => Event::ConnectionsMax,
            Self::HostBehind => Event::HostBehind,
            Self::HostAway => Event::HostAbsentRefused,
        }
    }

    /// What a client of Redis reads: an error of RESP, in Redis' words where Redis has some. It fits
    /// the smallest segment that a peer may ask for (64 bytes with timestamps).
    const fn error(self) -> &'static [u8] {
        match self {
            Self::ConnectionsMax => b"-ERR max number of clients reached\r\n",
            Self::HostBehind => b"-LOADING The server is behind, try again later\r\n",
            Self::HostAway => b"-LOADING The server is away, try again later\r\n",
        }
    }
}

impl<F: Frame> Firmware<F> {
    /// Why nobody new is let in on a listener's port now, if so.
    #[inline]
    pub(crate) fn closed_door(&self, listener: &Listener) -> Option<Why> {
        if !listener.is_open() && self.is_nobody_there() {
            return Some(Why::HostAway);
        }
        let listen = &listener.listen;
        let full = listen.connections_max > 0 && self.listeners.held(listen.port) >= listen.connections_max;
        full.then_some(Why::ConnectionsMax)
    }

    /// Why a connection that is to be announced cannot be, if so. One that waits for room in the
    /// host's queue has been let in already.
    #[inline]
    pub(crate) fn turned_away(&self, slot: u32) -> Option<Why> {
        let flow = &self.flows[slot];
        if flow.state == State::Announcing {
            return None;
        }
        let max = self.config.untaken_max;
        if max > 0 && self.channel.queues[usize::from(flow.queue)].untaken >= max {
            return Some(Why::HostBehind);
        }
        let listener = self.listeners.get(flow.listener)?;
        self.closed_door(listener)
    }

    /// The host has been told of a flow and its first data.
    #[inline]
    pub(crate) fn untaken(&mut self, slot: u32) {
        let flow = &mut self.flows[slot];
        flow.flags.set(FlowFlags::UNTAKEN, true);
        self.channel.queues[usize::from(flow.queue)].untaken += 1;
    }

    /// The host has answered, or the flow is not its any more.
    #[inline]
    pub(crate) fn taken(&mut self, slot: u32) {
        let flow = &mut self.flows[slot];
        if flow.flags.has(FlowFlags::UNTAKEN) {
            flow.flags.set(FlowFlags::UNTAKEN, false);
            self.channel.queues[usize::from(flow.queue)].untaken -= 1;
        }
    }

    /// Whether those who have no flow may be answered: the last quarter of the wire's queue is for
    /// flows, so that no storm of newcomers keeps established connections from being served.
    #[inline]
    pub(crate) fn wire_has_room_for_newcomers(&mut self) -> bool {
        let has_room = self.wire_room() > self.config.queue_frames / 4;
        if !has_room {
            self.counters.add(Event::NewcomerDropped);
        }
        has_room
    }

    /// Takes a SYN from the budget of its source network.
    #[inline]
    pub(crate) fn syn_is_within_budget(&mut self, segment: &Segment) -> bool {
        if !self.budgets.limits_syns() {
            return true;
        }
        match self.budgets.take_syn(segment.tuple.remote_addr, self.now) {
            Verdict::Within => true,
            Verdict::Over => {
                self.counters.add(Event::NetworkSynRate);
                false
            }
            Verdict::Uncounted => {
                self.counters.add(Event::NetworkUncounted);
                true
            }
        }
    }

    /// Takes a place among the flows of a source network.
    #[inline]
    pub(crate) fn count_flow(&mut self, remote_addr: Address) -> Verdict {
        if !self.budgets.limits_flows() {
            return Verdict::Uncounted;
        }
        let verdict = self.budgets.take_flow(remote_addr, self.now);
        if verdict == Verdict::Uncounted {
            self.counters.add(Event::NetworkUncounted);
        }
        verdict
    }

    /// Turns away the end of a handshake whose source network has flows enough. No flow is made, so
    /// there is nobody to say an error to.
    #[cold]
    pub(crate) fn refuse_unopened<P: FramePool<Frame = F>>(
        &mut self,
        listener: u16,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        self.counters.add(Event::NetworkFlowsMax);
        let listener = self.listeners.get(listener);
        if listener.is_some_and(|listener| listener.listen.refusal == Refusal::Silence) {
            return self.counters.add(Event::RefusedSilently);
        }
        self.counters.add(Event::RefusedReset);
        if self.wire_has_room_for_newcomers() {
            self.reset_unknown(segment, Some(frame), pool);
        }
    }

    /// Turns a SYN away. Nothing was kept for it.
    #[cold]
    pub(crate) fn refuse_syn<P: FramePool<Frame = F>>(
        &mut self,
        refusal: Refusal,
        why: Why,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        self.counters.add(why.event());
        if refusal == Refusal::Silence {
            return self.counters.add(Event::RefusedSilently);
        }
        self.counters.add(Event::RefusedReset);
        if !self.wire_has_room_for_newcomers() {
            return;
        }
        // RFC 9293 §3.10.7.1: as if nobody listened.
        self.reset_unknown(segment, Some(frame), pool);
    }

    /// Turns a flow away that the host has not heard of, as its listener wants it.
    ///
    /// `first`: its first data, unless it is to be announced without.
    #[cold]
    pub(crate) fn refuse<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        why: Why,
        first: Option<(&Segment, F)>,
        pool: &mut P,
    ) {
        let listener = self.listeners.get(self.flows[slot].listener);
        let refusal = listener.map_or(Refusal::Reset, |listener| listener.listen.refusal);
        match (refusal, first) {
            (Refusal::Silence, Some(_)) => {
                self.counters.add(why.event());
                self.counters.add(Event::RefusedSilently);
            }
            // Of a peer that waits for the server to speak nothing will come again.
            (Refusal::Silence | Refusal::Reset, first) => {
                self.counters.add(why.event());
                self.counters.add(Event::RefusedReset);
                self.reset_flow(slot, first.map(|(_, frame)| frame), pool);
            }
            (Refusal::Error, first) => self.refuse_with_error(slot, why, first, pool),
        }
    }

    /// Sends an error and the FIN, as if the host had handed them over by CLOSE.
    fn refuse_with_error<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        why: Why,
        first: Option<(&Segment, F)>,
        pool: &mut P,
    ) {
        let flow = self.flows[slot];
        let mut peer_finished = false;
        let mut rcv_nxt = flow.rcv_nxt;
        if let Some((segment, _)) = &first {
            if segment.tcp.seq.after(rcv_nxt) {
                // The answer would acknowledge what is not there.
                return self.counters.add(Event::FirstDataMissing);
            }
            peer_finished = segment.has(Flags::FIN);
            rcv_nxt = segment.data_end() + u32::from(peer_finished);
        }
        let has_timestamps = flow.flags.has(FlowFlags::TIMESTAMPS);
        let timestamps =
            has_timestamps.then_some(Timestamps { value: self.timestamp(), echo: flow.ts_recent });
        let answer = Outgoing {
            ttl: self.config.ttl,
            ident: None,
            from: self.config.mac,
            to: flow.remote_mac,
            tuple: flow.tuple,
            seq: flow.snd_nxt,
            ack: rcv_nxt,
            flags: Flags::ACK | Flags::PSH | Flags::FIN,
            window: flow.window_field(),
            options: Options { timestamps, ..Options::default() },
            data: why.error(),
        };
        // In the frame of the request if that has room. Without a frame the peer tries again.
        let tx_checksum = self.config.tx_checksum;
        let written = |mut frame: F| answer.write(&mut frame, tx_checksum).then_some(frame);
        let reused = first.and_then(|(_, frame)| written(frame));
        let Some(frame) = reused.or_else(|| self.allocate(pool).and_then(written)) else { return };
        self.counters.add(why.event());
        self.counters.add(Event::RefusedWithError);
        let tcp_at = ethernet::HEADER_LEN + ip::header_len(flow.tuple.local_addr.version());
        let last = LastSegment {
            close: Close {
                snd_wnd: flow.snd_wnd,
                rto_us: self.config.rto_initial.micros() as u32,
                rcv_nxt,
                ts_recent: flow.ts_recent,
                cwnd: 0,
                snd_una: answer.seq,
            },
            peer_finished,
            tcp: tcp::Header {
                src_port: flow.tuple.local_port,
                dst_port: flow.tuple.remote_port,
                seq: answer.seq,
                ack: answer.ack,
                flags: answer.flags,
                window: answer.window,
                urgent: 0,
                header_len: tcp::HEADER_LEN + answer.options.emitted_len(),
            },
            may_be_fragmented: false,
            packet_at: ethernet::HEADER_LEN,
            data_at: tcp_at + tcp::HEADER_LEN + answer.options.emitted_len(),
            end: frame.bytes().len(),
        };
        self.unlist(slot);
        self.close(slot, &last, frame, pool);
    }
}
