//! Frames whose data the peer has not acknowledged yet.
//!
//! A flow's last data is one frame in most cases. More than one frame, or what was sent before
//! already, stands in *pieces*: chained, with what the sender has to know ([`Sender`]) in the first.
//! All flows share a fixed number of places, taken at the start, so that what is kept can never take
//! more frames from a device's pool than that. The flows that keep something are in the order in which
//! their peers took something of it: who has taken nothing for the longest is found at once.

use alloc::boxed::Box;

use netcore::rto::RttEstimator;
use netcore::{Duration, Frame};
use protocol::tcp::SeqNumber;

use crate::flow_table::NO_SLOT;

/// Names no place.
pub(crate) const NO_PLACE: u32 = u32::MAX;

/// RFC 5681 §3.2: this many acknowledgments of the same mean that the next segment is lost.
const DUP_ACKS: u8 = 3;

/// How far the sending of a chain has come (RFC 9293 §3.3.1, RFC 5681, RFC 6582, RFC 6298).
///
/// ```text
///   start ... next ... end          SND.UNA is the chain's start; SND.NXT is the flow's
///   in flight | to be sent
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// What is to be sent next; behind SND.NXT after a timeout. One beyond the end: the FIN is out.
    pub(crate) next: SeqNumber,
    /// SND.NXT when the last loss was noticed.
    pub(crate) recover: SeqNumber,
    /// Bytes.
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    /// What the round trips so far say; the host's estimates are not known here.
    pub(crate) rtt: RttEstimator,
    /// The end of the segment whose round trip is being measured. Not beyond SND.UNA: of none.
    timed: SeqNumber,
    /// When that was sent, or when something was last sent again, in milliseconds; a round trip takes no
    /// minute.
    timed_at_ms: u16,
    pub(crate) dup_acks: u8,
    /// In fast recovery.
    pub(crate) recovering: bool,
}

impl Sender {
    /// A segment was sent, up to `end`; `again`: not for the first time.
    ///
    /// RFC 6298 §3: of what was sent twice nothing is measured, nor of what is in flight beside it.
    pub(crate) fn sent(&mut self, end: SeqNumber, again: bool, snd_una: SeqNumber, now_ms: u32) {
        if again {
            (self.timed, self.timed_at_ms) = (snd_una, now_ms as u16);
        } else if !self.timed.after(snd_una) {
            (self.timed, self.timed_at_ms) = (end, now_ms as u16);
        }
    }

    /// New data is acknowledged, from `before` up to `ack`. True when that was a measurement: one for
    /// each segment that is timed, or by the timestamp that was echoed, after which time it was sent.
    ///
    /// Source: RFC 6298 §3, §4; RFC 7323 §4.1.
    pub(crate) fn measure(
        &mut self,
        (before, ack): (SeqNumber, SeqNumber),
        echoed_ms: Option<u32>,
        now_ms: u32,
    ) -> bool {
        let is_timed = self.timed.after(before);
        if is_timed && ack.before(self.timed) {
            return false;
        }
        let passed_ms = u32::from((now_ms as u16).wrapping_sub(self.timed_at_ms));
        // Whose acknowledgments were lost may have had the data for long, and echoes what it came with.
        let echoed_ms = echoed_ms.filter(|&ms| is_timed || ms <= passed_ms);
        let Some(rtt_ms) = echoed_ms.or(is_timed.then_some(passed_ms)) else { return false };
        self.rtt.sample(Duration::from_millis(u64::from(rtt_ms)));
        true
    }

    /// New data is acknowledged, up to `snd_una`: the congestion window opens. True when that was
    /// only a part of what was in flight when a loss was noticed, so that more is lost.
    pub(crate) fn grow(&mut self, newly: u32, snd_una: SeqNumber, snd_nxt: SeqNumber, mss: u32) -> bool {
        if self.recovering {
            if snd_una.before(self.recover) {
                // RFC 6582 §3.2 step 5: a partial acknowledgment.
                let deflated = self.cwnd.saturating_sub(newly);
                self.cwnd = (if newly >= mss { deflated + mss } else { deflated }).max(mss);
                return true;
            }
            // Step 3: all of it.
            self.recovering = false;
            let flight = snd_nxt.distance_from(snd_una);
            self.cwnd = self.ssthresh.min(flight.max(mss) + mss);
        } else if self.cwnd < self.ssthresh {
            // RFC 5681 §3.1 eqn. 2
            self.cwnd = self.cwnd.saturating_add(newly.min(mss));
        } else {
            // Eqn. 3
            self.cwnd = self.cwnd.saturating_add((mss * mss / self.cwnd).max(1));
        }
        self.dup_acks = 0;
        false
    }

    /// One more acknowledgment of what is known. True when it says that the first segment is lost.
    pub(crate) fn duplicate(&mut self, snd_una: SeqNumber, snd_nxt: SeqNumber, mss: u32) -> bool {
        self.dup_acks = self.dup_acks.saturating_add(1);
        if self.recovering {
            // RFC 5681 §3.2 step 4: a segment has left the network.
            self.cwnd = self.cwnd.saturating_add(mss);
            return false;
        }
        // RFC 6582 §3.2 step 1: not for what was sent before the last loss.
        if self.dup_acks != DUP_ACKS || !snd_una.after(self.recover) {
            return false;
        }
        self.ssthresh = (snd_nxt.distance_from(snd_una) / 2).max(2 * mss);
        self.cwnd = self.ssthresh + u32::from(DUP_ACKS) * mss;
        self.recover = snd_nxt;
        self.recovering = true;
        true
    }

    /// Of data from `start` on that was sent up to `next`.
    fn new(start: SeqNumber, next: SeqNumber, cwnd: u32) -> Self {
        Self {
            next,
            recover: start - 1,
            cwnd,
            ssthresh: u32::MAX,
            rtt: RttEstimator::new(),
            timed: start,
            timed_at_ms: 0,
            dup_acks: 0,
            recovering: false,
        }
    }
}

/// What a flow keeps.
#[derive(Clone, Copy, Debug)]
enum Kept {
    /// One frame that holds nothing but data; whose it is sends all of it as one segment.
    Single,
    /// Pieces, more of which may come; the last place so far.
    Pieces { last: u32 },
    /// Pieces that are being sent.
    Sending(Sender),
}

#[derive(Debug)]
struct Place<F> {
    frame: Option<F>,
    /// The next piece, or the next free place.
    next: u32,
    /// From here on in the first place of what a flow keeps. The flow:
    slot: u32,
    /// Who has taken nothing for longer, and for less long.
    staler: u32,
    fresher: u32,
    /// Of pieces: the first byte that is kept, and behind the last one: where the FIN stands.
    start: SeqNumber,
    end: SeqNumber,
    kept: Kept,
}

// `Config::retained_max` says what a place costs.
const _: () = assert!(size_of::<Place<core::ptr::NonNull<u8>>>() == 64);

/// Single frames and chains of pieces, at most one of them for each flow.
#[derive(Debug)]
pub(crate) struct Retained<F> {
    places: Box<[Place<F>]>,
    free: u32,
    kept: usize,
    stalest: u32,
    freshest: u32,
}

impl<F: Frame> Retained<F> {
    /// `places`: frames of all flows together.
    pub(crate) fn new(places: usize) -> Self {
        let place = |at| Place {
            frame: None,
            next: if at + 1 < places { at as u32 + 1 } else { NO_PLACE },
            slot: NO_SLOT,
            staler: NO_PLACE,
            fresher: NO_PLACE,
            start: SeqNumber(0),
            end: SeqNumber(0),
            kept: Kept::Single,
        };
        Self {
            places: (0..places).map(place).collect(),
            free: if places > 0 { 0 } else { NO_PLACE },
            kept: 0,
            stalest: NO_PLACE,
            freshest: NO_PLACE,
        }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(places: usize) -> usize {
        places * size_of::<Place<F>>()
    }

    /// Frames that are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free == NO_PLACE
    }

    /// The flow whose peer has taken nothing of what is kept for the longest.
    pub(crate) fn stalest(&self) -> Option<u32> {
        self.places.get(self.stalest as usize).map(|place| place.slot)
    }

    /// Keeps a flow's only frame, which holds nothing but data; `None` when all places are taken.
    pub(crate) fn put(&mut self, slot: u32, frame: F) -> Option<u32> {
        let place = self.take(frame)?;
        self.append(place, slot);
        Some(place)
    }

    /// What is kept in one place, which the flow's peer has not all of; `None` when there is nothing.
    pub(crate) fn single(&self, place: u32) -> Option<&F> {
        let place = self.places.get(place as usize)?;
        matches!(place.kept, Kept::Single).then_some(place.frame.as_ref()?)
    }

    /// True when pieces begin at `head`.
    pub(crate) fn is_chain(&self, head: u32) -> bool {
        self.places.get(head as usize).is_some_and(|place| !matches!(place.kept, Kept::Single))
    }

    /// The peer has `newly` bytes more of a single frame, which is let go when that is all. Returns
    /// its place, or [`NO_PLACE`].
    pub(crate) fn acknowledge_single(&mut self, place: u32, newly: usize) -> u32 {
        let Some(frame) = &mut self.places[place as usize].frame else { return NO_PLACE };
        frame.advance(newly);
        if frame.bytes().is_empty() {
            self.drop(place);
            return NO_PLACE;
        }
        let slot = self.remove(place);
        self.append(place, slot);
        place
    }

    /// Begins a chain with a frame that holds nothing but data; `None` when all places are taken.
    pub(crate) fn begin(&mut self, slot: u32, start: SeqNumber, frame: F) -> Option<u32> {
        let end = start + frame.bytes().len() as u32;
        let head = self.take(frame)?;
        let place = &mut self.places[head as usize];
        (place.start, place.end, place.kept) = (start, end, Kept::Pieces { last: head });
        self.append(head, slot);
        Some(head)
    }

    /// Adds the next piece to the chain that begins at `head`; false when all places are taken, or it
    /// is being sent.
    pub(crate) fn extend(&mut self, head: u32, frame: F) -> bool {
        let Kept::Pieces { last } = self.places[head as usize].kept else { return false };
        let len = frame.bytes().len() as u32;
        let Some(place) = self.take(frame) else { return false };
        self.places[last as usize].next = place;
        let head = &mut self.places[head as usize];
        head.end += len;
        head.kept = Kept::Pieces { last: place };
        true
    }

    /// All pieces are here, and were sent up to `next`: the sending begins.
    pub(crate) fn begin_sending(&mut self, head: u32, next: SeqNumber, cwnd: u32) {
        let place = &mut self.places[head as usize];
        place.kept = Kept::Sending(Sender::new(place.start, next, cwnd));
    }

    /// What the sender of a chain knows; `None` before [`Self::begin_sending`].
    pub(crate) fn sender(&mut self, head: u32) -> Option<&mut Sender> {
        match &mut self.places[head as usize].kept {
            Kept::Sending(sender) => Some(sender),
            Kept::Single | Kept::Pieces { .. } => None,
        }
    }

    /// The first byte of a chain.
    pub(crate) fn start(&self, head: u32) -> SeqNumber {
        self.places[head as usize].start
    }

    /// Behind the last byte of a chain.
    pub(crate) fn end(&self, head: u32) -> SeqNumber {
        self.places[head as usize].end
    }

    /// The peer has the data before `ack`, which lies in the chain or at its end. Returns the new
    /// first place, or [`NO_PLACE`] when nothing is left.
    pub(crate) fn acknowledge(&mut self, mut head: u32, ack: SeqNumber) -> u32 {
        let Place { start, end, kept, .. } = self.places[head as usize];
        let mut newly = ack.distance_from(start) as usize;
        let slot = self.remove(head);
        while let Some(frame) = &mut self.places[head as usize].frame {
            let len = frame.bytes().len();
            if newly < len {
                frame.advance(newly);
                let place = &mut self.places[head as usize];
                (place.start, place.end, place.kept) = (ack, end, kept);
                self.append(head, slot);
                return head;
            }
            newly -= len;
            let next = self.places[head as usize].next;
            self.give_back(head);
            if next == NO_PLACE {
                break;
            }
            head = next;
        }
        NO_PLACE
    }

    /// The data of the piece that holds `seq`, from there to the piece's end. Empty at the end of
    /// the chain.
    pub(crate) fn data_from(&self, head: u32, seq: SeqNumber) -> &[u8] {
        let mut offset = seq.distance_from(self.places[head as usize].start) as usize;
        let mut place = head;
        while place != NO_PLACE {
            let data = self.places[place as usize].frame.as_ref().map_or(&[][..], Frame::bytes);
            if offset < data.len() {
                return &data[offset..];
            }
            offset -= data.len();
            place = self.places[place as usize].next;
        }
        &[]
    }

    /// Lets go what a flow keeps; `head`: its first place.
    pub(crate) fn drop(&mut self, head: u32) {
        self.remove(head);
        let mut place = head;
        while place != NO_PLACE {
            let next = self.places[place as usize].next;
            self.give_back(place);
            place = next;
        }
    }

    fn take(&mut self, frame: F) -> Option<u32> {
        let at = self.free;
        let place = self.places.get_mut(at as usize)?;
        self.free = core::mem::replace(&mut place.next, NO_PLACE);
        place.frame = Some(frame);
        place.kept = Kept::Single;
        self.kept += 1;
        Some(at)
    }

    fn give_back(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        place.frame = None;
        place.next = core::mem::replace(&mut self.free, at);
        self.kept -= 1;
    }

    /// Puts a first place at the end of the order.
    fn append(&mut self, head: u32, slot: u32) {
        let staler = core::mem::replace(&mut self.freshest, head);
        let place = &mut self.places[head as usize];
        (place.slot, place.staler, place.fresher) = (slot, staler, NO_PLACE);
        match self.places.get_mut(staler as usize) {
            Some(place) => place.fresher = head,
            None => self.stalest = head,
        }
    }

    /// Takes a first place out of the order; returns whose it is.
    fn remove(&mut self, head: u32) -> u32 {
        let Place { slot, staler, fresher, .. } = self.places[head as usize];
        match self.places.get_mut(staler as usize) {
            Some(place) => place.fresher = fresher,
            None => self.stalest = fresher,
        }
        match self.places.get_mut(fresher as usize) {
            Some(place) => place.staler = staler,
            None => self.freshest = staler,
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use netcore::HeapFrame;
    use netcore::rng::SeededRng;

    use super::*;

    /// Two chains and single frames in one pool, against plain vectors of bytes.
    #[test]
    fn chains_behave_like_vectors_of_bytes_in_the_order_of_progress() {
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let mut retained: Retained<HeapFrame> = Retained::new(6);
            // Wraps on its way.
            let mut chains = [0; 2].map(|_| (NO_PLACE, SeqNumber(u32::MAX - 20), Vec::<u8>::new()));
            let mut single = (NO_PLACE, Vec::<u8>::new());
            // Whose peer has taken nothing for the longest.
            let mut order = Vec::<u32>::new();
            for _ in 0..500 {
                let slot = rng.below(2) as u32;
                let (head, start, bytes) = &mut chains[slot as usize];
                let was_kept = *head != NO_PLACE;
                match rng.below(6) {
                    0 | 1 => {
                        let piece = vec![rng.below(256) as u8; 1 + rng.below(9) as usize];
                        let frame = HeapFrame::from_bytes(&piece);
                        let has_room = retained.len() < 6;
                        let kept = if *head == NO_PLACE {
                            *head = retained.begin(slot, *start, frame).unwrap_or(NO_PLACE);
                            order.extend((*head != NO_PLACE).then_some(slot));
                            *head != NO_PLACE
                        } else {
                            retained.extend(*head, frame)
                        };
                        assert_eq!(kept, has_room);
                        bytes.extend(if kept { &piece[..] } else { &[] });
                    }
                    2 if *head != NO_PLACE => {
                        let count = rng.below(bytes.len() as u64 + 1) as usize;
                        *start += count as u32;
                        *head = retained.acknowledge(*head, *start);
                        bytes.drain(..count);
                        assert_eq!(*head == NO_PLACE, bytes.is_empty());
                        order.retain(|&other| other != slot);
                        order.extend((*head != NO_PLACE).then_some(slot));
                    }
                    3 if single.0 == NO_PLACE && !retained.is_full() => {
                        single.1 = vec![7; 1 + rng.below(9) as usize];
                        single.0 = retained.put(2, HeapFrame::from_bytes(&single.1)).unwrap();
                        order.push(2);
                    }
                    3 if single.0 != NO_PLACE => {
                        let count = 1 + rng.below(single.1.len() as u64) as usize;
                        single.1.drain(..count);
                        single.0 = retained.acknowledge_single(single.0, count);
                        order.retain(|&other| other != 2);
                        order.extend((single.0 != NO_PLACE).then_some(2));
                    }
                    _ if was_kept && rng.below(20) == 0 => {
                        retained.drop(*head);
                        *head = NO_PLACE;
                        bytes.clear();
                        order.retain(|&other| other != slot);
                    }
                    _ => {}
                }
                assert_eq!(retained.stalest(), order.first().copied(), "seed {seed}");
                assert_eq!(retained.single(single.0).map_or(&[][..], Frame::bytes), single.1);
                for (head, start, bytes) in &chains {
                    if *head == NO_PLACE {
                        continue;
                    }
                    assert_eq!(retained.start(*head), *start);
                    assert_eq!(retained.end(*head), *start + bytes.len() as u32);
                    let mut read = Vec::<u8>::new();
                    while read.len() < bytes.len() {
                        read.extend(retained.data_from(*head, *start + read.len() as u32));
                    }
                    assert_eq!(read, *bytes, "seed {seed}");
                    assert!(retained.data_from(*head, *start + read.len() as u32).is_empty());
                }
            }
            for head in chains.iter().map(|chain| chain.0).chain([single.0]) {
                if head != NO_PLACE {
                    retained.drop(head);
                }
            }
            assert_eq!(retained.stalest(), None);
            assert_eq!(retained.len(), 0);
        }
    }
}
