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
use crate::last_data::Acked;
use crate::retain::NO_PLACE;
use crate::teardown::LastSegment;

/// Who wants room for a frame of last data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// A flow that the host has handed over and forgotten: one of the others gives way in any case.
    Only,
    /// A flow that the host can keep: only who has been repeated already, in vain, gives way.
    ToTakeOver,
}

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
        if !has_form || !self.keep_piece(slot, piece, frame, pool) {
            return self.refuse_hand_over(slot);
        }
        if more {
            return;
        }
        // Where the host's sending stands lies within what is handed over.
        let flow = &self.flows[slot];
        let end = self.retained.end(flow.kept);
        if flow.snd_nxt.after(end) || flow.snd_nxt.before(piece.close.snd_una) {
            return self.refuse_hand_over(slot);
        }
        self.take_over(slot, piece, pool);
    }

    /// Adds a piece to those that are here; false when it does not continue them, or there is no
    /// room for it.
    fn keep_piece<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        piece: &LastSegment,
        frame: F,
        pool: &mut P,
    ) -> bool {
        let began = piece.close.snd_una;
        let end = piece.tcp.seq + frame.bytes().len() as u32;
        if end.distance_from(began) > self.config.last_data_max {
            return false;
        }
        let head = self.flows[slot].kept;
        let continues = match head {
            NO_PLACE => piece.tcp.seq == began,
            head => self.retained.start(head) == began && self.retained.end(head) == piece.tcp.seq,
        };
        if !continues || !self.make_room(Asks::ToTakeOver, pool) {
            return false;
        }
        if head != NO_PLACE {
            return self.retained.extend(head, frame);
        }
        let Some(head) = self.retained.begin(slot, began, frame) else { return false };
        let flow = &mut self.flows[slot];
        flow.kept = head;
        flow.flags.set(FlowFlags::PIECES, true);
        true
    }

    /// Forgets the pieces of a hand-over that came to nothing.
    #[inline]
    pub(crate) fn throw_pieces_away(&mut self, slot: u32) {
        if self.flows[slot].flags.has(FlowFlags::PIECES) {
            self.flows[slot].flags.set(FlowFlags::PIECES, false);
            self.note(slot, Event::HandOverIncomplete);
            self.let_go_of_data(slot);
        }
    }

    /// Lets go what is kept of a flow's last data, if anything is.
    #[inline]
    pub(crate) fn let_go_of_data(&mut self, slot: u32) {
        let head = core::mem::replace(&mut self.flows[slot].kept, NO_PLACE);
        if head != NO_PLACE {
            self.retained.drop(head);
        }
    }

    /// Makes room for one more frame of last data; false when nobody gives way.
    ///
    /// When as many are kept as may be, it is for the flow whose peer has taken nothing for the longest
    /// to give way. Of a single frame only the frame is let go: perhaps the peer has it, and says so. If
    /// not, the flow ends when the frame would be needed again ([`Self::give_up`]).
    #[inline]
    pub(crate) fn make_room<P: FramePool<Frame = F>>(&mut self, who: Asks, pool: &mut P) -> bool {
        !self.retained.is_full() || self.push_out_stalest(who, pool)
    }

    #[cold]
    fn push_out_stalest<P: FramePool<Frame = F>>(&mut self, who: Asks, pool: &mut P) -> bool {
        let Some(slot) = self.retained.stalest() else { return false };
        let flow = &self.flows[slot];
        let is_the_hosts = flow.flags.has(FlowFlags::PIECES);
        if who == Asks::ToTakeOver && (is_the_hosts || flow.unanswered == 0) {
            return false;
        }
        if is_the_hosts {
            self.refuse_hand_over(slot);
        } else if self.retained.is_chain(flow.kept) {
            self.give_up(slot, pool);
        } else {
            self.note(slot, Event::RetainLetGo);
            self.let_go_of_data(slot);
        }
        true
    }

    /// Resets a flow whose last data would be needed and is not kept any more.
    #[cold]
    pub(crate) fn give_up<P: FramePool<Frame = F>>(&mut self, slot: u32, pool: &mut P) {
        self.note(slot, Event::RetainGivenUp);
        self.reset_flow(slot, None, pool);
    }

    /// The host keeps the flow, and is told so.
    #[cold]
    pub(crate) fn refuse_hand_over(&mut self, slot: u32) {
        self.flows[slot].flags.set(FlowFlags::PIECES, false);
        self.let_go_of_data(slot);
        self.note(slot, Event::HandOverRefused);
        self.report_hand_over(slot, ClosedReason::Refused);
    }

    /// The last piece is here: from now on the flow is ours.
    fn take_over<P: FramePool<Frame = F>>(&mut self, slot: u32, last: &LastSegment, pool: &mut P) {
        self.note(slot, Event::HandOverTaken);
        self.note(slot, Event::ActiveClose);
        let flow = &self.flows[slot];
        let (heard, window) = (flow.snd_una, flow.snd_wnd);
        let peer_finished = self.take_state(slot, last);
        let mss = self.segment_max(slot);
        let flow = &mut self.flows[slot];
        flow.flags.set(FlowFlags::PIECES, false);
        flow.snd_una = last.close.snd_una;
        // What the host has sent of it is in flight.
        let snd_nxt = flow.snd_nxt;
        self.retained.begin_sending(flow.kept, snd_nxt, last.close.cwnd.max(mss));
        self.report_hand_over(slot, ClosedReason::HandedOver);
        self.enter(slot, if peer_finished { State::LastAck } else { State::FinWait1 });
        self.start_timer(slot);
        let began = last.close.snd_una;
        if heard.after(began) && !heard.after(snd_nxt) {
            // An acknowledgment that the host had not read when it said CLOSE. The peer does not repeat it.
            (self.flows[slot].snd_una, self.flows[slot].snd_wnd) = (heard, window);
            let newly = heard.distance_from(began);
            let acked = Acked { newly, duplicate: false, opened: false, echoed_ms: None };
            return self.chain_acknowledged(slot, acked, pool);
        }
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
