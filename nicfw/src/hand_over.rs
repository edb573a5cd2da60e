//! How the host hands over a connection with last data that one segment does not hold, or that is
//! in flight: piece by piece, and it keeps the flow until it hears what became of it.
//!
//! The pieces follow each other without a gap from SND.UNA on. Only the last one, which has the
//! FIN, makes the flow ours; before, the flow is the host's as if nothing had been said. What does
//! not fit (a gap, more than a flow may hand over, no place left) is thrown away whole, and refused.

use netcore::{Frame, FramePool};
use protocol::channel::ClosedReason;
use protocol::tcp::Flags;

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{FlowFlags, Listed, State};
use crate::retain::NO_PLACE;
use crate::teardown::LastSegment;

impl<F: Frame> Firmware<F> {
    /// A piece of what the host hands over. `more`: not the last one.
    pub(crate) fn piece<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        piece: &LastSegment,
        more: bool,
        mut frame: F,
        pool: &mut P,
    ) {
        self.taken(slot);
        if piece.tcp.seq == piece.close.snd_una {
            // The host begins, perhaps anew.
            self.throw_pieces_away(slot);
        }
        let has_form = piece.data_at < piece.end && more != piece.tcp.flags.any(Flags::FIN);
        frame.truncate(piece.end);
        frame.advance(piece.data_at);
        if !has_form || !self.keep_piece(slot, piece, frame) {
            return self.refuse_hand_over(slot);
        }
        if more {
            return;
        }
        // Where the host's sending stands lies within what is handed over.
        let flow = &self.flows[slot];
        let end = self.retained.end(flow.chain);
        if flow.snd_nxt.after(end) || flow.snd_nxt.before(piece.close.snd_una) {
            return self.refuse_hand_over(slot);
        }
        self.take_over(slot, piece, pool);
    }

    /// Adds a piece to those that are here; false when it does not continue them, or there is no
    /// room for it.
    fn keep_piece(&mut self, slot: u32, piece: &LastSegment, frame: F) -> bool {
        let began = piece.close.snd_una;
        let end = piece.tcp.seq + frame.bytes().len() as u32;
        if end.distance_from(began) > self.config.last_data_max {
            return false;
        }
        let head = self.flows[slot].chain;
        if head != NO_PLACE {
            let sender = self.retained.sender(head);
            return sender.began == began && sender.end == piece.tcp.seq && self.retained.extend(head, frame);
        }
        if piece.tcp.seq != began {
            return false;
        }
        let Some(head) = self.retained.begin(began, frame) else {
            return false;
        };
        let flow = &mut self.flows[slot];
        flow.chain = head;
        flow.flags.set(FlowFlags::PIECES, true);
        true
    }

    /// Forgets the pieces of a hand-over that came to nothing.
    #[inline]
    pub(crate) fn throw_pieces_away(&mut self, slot: u32) {
        if self.flows[slot].flags.has(FlowFlags::PIECES) {
            self.flows[slot].flags.set(FlowFlags::PIECES, false);
            self.note(slot, Event::HandOverIncomplete);
            self.drop_chain(slot);
        }
    }

    /// Lets a flow's pieces go.
    #[cold]
    pub(crate) fn drop_chain(&mut self, slot: u32) {
        let head = core::mem::replace(&mut self.flows[slot].chain, NO_PLACE);
        self.retained.drop_chain(head);
    }

    /// The host keeps the flow, and is told so.
    #[cold]
    pub(crate) fn refuse_hand_over(&mut self, slot: u32) {
        self.flows[slot].flags.set(FlowFlags::PIECES, false);
        self.drop_chain(slot);
        self.note(slot, Event::HandOverRefused);
        self.report_hand_over(slot, ClosedReason::Refused);
    }

    /// The last piece is here: from now on the flow is ours.
    fn take_over<P: FramePool<Frame = F>>(&mut self, slot: u32, last: &LastSegment, pool: &mut P) {
        self.note(slot, Event::HandOverTaken);
        self.note(slot, Event::ActiveClose);
        let peer_finished = self.take_state(slot, last);
        let mss = self.segment_max(slot);
        let flow = &mut self.flows[slot];
        flow.flags.set(FlowFlags::PIECES, false);
        flow.snd_una = last.close.snd_una;
        // What the host has sent of it is in flight.
        let (head, snd_nxt) = (flow.chain, flow.snd_nxt);
        let sender = self.retained.sender(head);
        sender.next = snd_nxt;
        sender.cwnd = last.close.cwnd.max(mss);
        self.report_hand_over(slot, ClosedReason::HandedOver);
        self.enter(slot, if peer_finished { State::LastAck } else { State::FinWait1 });
        self.start_timer(slot);
        self.send_more(slot, pool);
    }

    /// Has the host told what became of its hand-over.
    fn report_hand_over(&mut self, slot: u32, reason: ClosedReason) {
        let flow = &mut self.flows[slot];
        flow.reason = reason;
        if flow.list == Listed::No {
            let queue = usize::from(flow.queue);
            self.flows.push(&mut self.channel.queues[queue].closed, slot, Listed::Closed);
        }
    }
}
