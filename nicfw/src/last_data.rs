//! The sending of last data that was handed over in pieces: within the peer's window and a
//! congestion window, repeated until it is acknowledged or given up.
//!
//! RFC 5681 (slow start, congestion avoidance, fast retransmit), RFC 6582 (fast recovery without
//! SACK), RFC 3042 (limited transmit), RFC 6298 (timeouts), RFC 9293 §3.8.6.1 (closed windows).
//! When all data is acknowledged the chain is gone, and the FIN is as any other flow's.

use netcore::{Frame, FramePool};
use protocol::tcp::{Flags, SeqNumber};

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::packet::{Outgoing, Segment};
use crate::retain::NO_PLACE;
use crate::teardown::whole_ms;

/// What an acknowledgment says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    /// Bytes that are acknowledged for the first time, the FIN counted.
    pub(crate) newly: u32,
    /// RFC 5681 §2: a duplicate, nothing else.
    pub(crate) duplicate: bool,
    /// It opens a window that was closed.
    pub(crate) opened: bool,
    /// How long ago the segment was sent whose timestamp it echoes, in milliseconds, if that is known.
    pub(crate) echoed_ms: Option<u32>,
}

impl Acked {
    /// Of a segment that is not older than SND.UNA. `before`, `after`: the peer's windows.
    pub(crate) fn of(segment: &Segment, snd_una: SeqNumber, before: u32, after: u32) -> Self {
        let newly = segment.tcp.ack.distance_from(snd_una);
        let empty = segment.data_len() == 0 && !segment.has(Flags::FIN | Flags::SYN);
        // The answers to probes of a closed window are no signs of loss.
        let duplicate = newly == 0 && empty && before == after && after > 0;
        Self { newly, duplicate, opened: before == 0 && after > 0, echoed_ms: None }
    }
}

impl<F: Frame> Firmware<F> {
    /// An acknowledgment for a flow with a chain; its SND.UNA has moved already. When all data is
    /// acknowledged, the flow has no chain any more, and SND.NXT stands behind the FIN.
    pub(crate) fn chain_acknowledged<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        acked: Acked,
        pool: &mut P,
    ) {
        let mss = self.segment_max(slot);
        let flow = &self.flows[slot];
        let (head, snd_una, snd_nxt) = (flow.kept, flow.snd_una, flow.snd_nxt);
        let end = self.retained.end(head);
        let now_ms = self.now.millis() as u32;
        let Some(sender) = self.retained.sender(head) else { return };
        if acked.newly > 0 && sender.measure((snd_una - acked.newly, snd_una), acked.echoed_ms, now_ms) {
            let rto = sender.rtt.rto().clamp(self.config.rto_min, self.config.rto_max);
            self.flows[slot].rto_ms = whole_ms(rto);
        }
        if !snd_una.before(end) {
            return self.only_fin_left(slot, pool);
        }
        if acked.newly > 0 {
            sender.next = sender.next.later(snd_una);
            let partial = sender.grow(acked.newly, snd_una, snd_nxt, mss);
            self.flows[slot].kept = self.retained.acknowledge(head, snd_una);
            self.start_timer(slot);
            if partial {
                // RFC 6582 §3.2 step 5: the next hole.
                self.send_first(slot, pool);
            }
        } else if acked.opened {
            // The peer had no room for what it was probed with.
            sender.next = snd_una;
            self.start_timer(slot);
        } else if acked.duplicate && snd_nxt.after(snd_una) && sender.duplicate(snd_una, snd_nxt, mss) {
            self.note(slot, Event::FastRetransmitted);
            self.send_first(slot, pool);
            self.start_timer(slot);
        }
        self.send_more(slot, pool);
    }

    /// All data is acknowledged.
    fn only_fin_left<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        let flow = &mut self.flows[slot];
        let head = core::mem::replace(&mut flow.kept, NO_PLACE);
        let end = self.retained.end(head);
        self.retained.drop(head);
        let flow = &mut self.flows[slot];
        let fin_sent = flow.snd_nxt.after(end);
        flow.snd_nxt = end + 1;
        if flow.snd_una != flow.snd_nxt {
            self.start_timer(slot);
            if !fin_sent {
                self.transmit(slot, false, pool);
            }
        }
    }

    /// The retransmission timer of a flow with a chain fired (RFC 6298 §5.4, RFC 5681 §3.1), or a
    /// closed window is to be probed (RFC 9293 §3.8.6.1 MUST-36).
    pub(crate) fn chain_timed_out<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        let mss = self.segment_max(slot);
        let flow = &self.flows[slot];
        let (head, first_time) = (flow.kept, flow.retries == 1);
        let flight = flow.snd_nxt.distance_from(flow.snd_una);
        if flow.snd_wnd > 0 && flight > 0 {
            let (snd_una, snd_nxt) = (flow.snd_una, flow.snd_nxt);
            let Some(sender) = self.retained.sender(head) else { return };
            if first_time {
                sender.ssthresh = (flight / 2).max(2 * mss);
            }
            sender.cwnd = mss;
            sender.next = snd_una;
            sender.recover = snd_nxt;
            (sender.dup_acks, sender.recovering) = (0, false);
        }
        self.send_first(slot, pool);
    }

    /// The path takes only smaller segments: what is in flight was lost to that, not to congestion
    /// (RFC 1191 §6.3).
    pub(crate) fn chain_path_narrowed<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        let flow = &self.flows[slot];
        let (head, snd_una) = (flow.kept, flow.snd_una);
        let Some(sender) = self.retained.sender(head) else { return };
        sender.next = snd_una;
        self.send_more(slot, pool);
    }

    /// Sends the first unacknowledged segment, at least one byte of it.
    pub(crate) fn send_first<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        let flow = &self.flows[slot];
        let most = flow.snd_wnd.max(1).min(self.segment_max(slot));
        let start = flow.snd_una;
        self.send_piece(slot, start, most, pool);
    }

    /// Sends what was not sent yet, as far as both windows let it.
    pub(crate) fn send_more<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        while let Some((seq, most)) = self.next_piece(slot) {
            if !self.send_piece(slot, seq, most, pool) {
                return;
            }
        }
    }

    /// Where the next segment begins and what it may hold; `None`: nothing may be sent now.
    fn next_piece(&mut self, slot: u32) -> Option<(SeqNumber, u32)> {
        let mss = self.segment_max(slot);
        let flow = &self.flows[slot];
        let (head, snd_una, snd_wnd) = (flow.kept, flow.snd_una, flow.snd_wnd);
        let end = self.retained.end(head);
        let sender = self.retained.sender(head)?;
        if sender.next.after(end) {
            return None;
        }
        let flight = sender.next.distance_from(snd_una);
        // RFC 3042: the first two duplicates let new segments out.
        let limited = if sender.recovering { 0 } else { u32::from(sender.dup_acks.min(2)) * mss };
        let room = snd_wnd.min(sender.cwnd.saturating_add(limited)).saturating_sub(flight);
        let left = end.distance_from(sender.next);
        if left == 0 {
            return (flight < snd_wnd).then_some((sender.next, 0));
        }
        let wanted = left.min(mss);
        // RFC 9293 §3.8.6.2.1 MUST-38: no small segments only because the window is small.
        let most = if wanted <= room { wanted } else { room };
        (most == wanted || (most > 0 && flight == 0)).then_some((sender.next, most))
    }

    /// Sends the data from `seq` on: one segment, at most `most` bytes. The FIN goes with the last
    /// of them when the window has room for it. False when no frame was left.
    fn send_piece<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        seq: SeqNumber,
        most: u32,
        pool: &mut P,
    ) -> bool {
        let Some(mut frame) = self.allocate(pool) else { return false };
        let flow = self.flows[slot];
        let data = self.retained.data_from(flow.kept, seq);
        let data_len = data.len().min(most as usize);
        let data_end = seq + data_len as u32;
        let is_last = data_end == self.retained.end(flow.kept);
        let fin = is_last && data_end.distance_from(flow.snd_una) < flow.snd_wnd;
        let mut flags = Flags::ACK;
        if is_last && data_len > 0 {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        let segment = self.outgoing(slot, flags, seq);
        let data = &self.retained.data_from(flow.kept, seq)[..data_len];
        let segment = Outgoing { data, ..segment };
        if !segment.write(&mut frame, self.config.tx_checksum) {
            return false;
        }
        let end = data_end + u32::from(fin);
        self.put_on_wire(frame);
        let again = seq.before(flow.snd_nxt);
        if again {
            self.note(slot, Event::Retransmitted);
        }
        let now_ms = self.now.millis() as u32;
        let Some(sender) = self.retained.sender(flow.kept) else { return false };
        sender.next = sender.next.later(end);
        sender.sent(end, again, flow.snd_una, now_ms);
        let flow = &mut self.flows[slot];
        flow.snd_nxt = flow.snd_nxt.later(end);
        true
    }
}
