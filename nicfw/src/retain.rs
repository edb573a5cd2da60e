//! Frames whose data the peer has not acknowledged yet.
//!
//! A flow's last data is one frame in most cases: for that there is a place per flow, so that it is
//! never refused. More than one frame, or what was sent before already, stands in *pieces*: places
//! of a pool that all flows share, chained, with what the sender has to know ([`Sender`]) in the
//! first. All memory is taken at the start.

use alloc::boxed::Box;

use netcore::Frame;
use protocol::tcp::SeqNumber;

/// Names no place.
pub(crate) const NO_PLACE: u32 = u32::MAX;

/// RFC 5681 §3.2: this many acknowledgments of the same mean that the next segment is lost.
const DUP_ACKS: u8 = 3;

/// How far the sending of a chain has come (RFC 9293 §3.3.1, RFC 5681, RFC 6582).
///
/// ```text
///   start ... next ... end          SND.UNA is `start`; SND.NXT is the flow's
///   in flight | to be sent
/// ```
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sender {
    /// The first byte that is kept.
    pub(crate) start: SeqNumber,
    /// Behind the last one: where the FIN stands.
    pub(crate) end: SeqNumber,
    /// What is to be sent next; behind SND.NXT after a timeout. One beyond `end`: the FIN is out.
    pub(crate) next: SeqNumber,
    /// SND.NXT when the last loss was noticed.
    pub(crate) recover: SeqNumber,
    /// Bytes.
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
    /// Where the hand-over began: what all its messages say.
    pub(crate) began: SeqNumber,
    last: u32,
    pub(crate) dup_acks: u8,
    /// In fast recovery.
    pub(crate) recovering: bool,
}

impl Sender {
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

    /// Of pieces that begin at `start`.
    pub(crate) fn new(start: SeqNumber) -> Self {
        Self {
            start,
            end: start,
            next: start,
            recover: start - 1,
            cwnd: 0,
            ssthresh: u32::MAX,
            began: start,
            last: NO_PLACE,
            dup_acks: 0,
            recovering: false,
        }
    }
}

#[derive(Debug)]
struct Place<F> {
    frame: Option<F>,
    /// The next piece, or the next free place.
    next: u32,
    /// In the first place of a chain.
    sender: Sender,
}

// `Config::retained_max` says what a piece costs.
const _: () = assert!(size_of::<Place<core::ptr::NonNull<u8>>>() == 48);

/// One frame at most for each flow, and chains of pieces.
#[derive(Debug)]
pub(crate) struct Retained<F> {
    frames: Box<[Option<F>]>,
    places: Box<[Place<F>]>,
    free: u32,
    kept: usize,
}

impl<F: Frame> Retained<F> {
    /// `places`: pieces of all flows together.
    pub(crate) fn new(flows_max: usize, places: usize) -> Self {
        let place = |at| Place {
            frame: None,
            next: if at + 1 < places { at as u32 + 1 } else { NO_PLACE },
            sender: Sender::new(SeqNumber(0)),
        };
        Self {
            frames: (0..flows_max).map(|_| None).collect(),
            places: (0..places).map(place).collect(),
            free: if places > 0 { 0 } else { NO_PLACE },
            kept: 0,
        }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(flows_max: usize, places: usize) -> usize {
        flows_max * size_of::<Option<F>>() + places * size_of::<Place<F>>()
    }

    /// Keeps a frame for a flow that has none.
    pub(crate) fn put(&mut self, slot: u32, frame: F) {
        let old = self.frames[slot as usize].replace(frame);
        debug_assert!(old.is_none(), "flow {slot} keeps a frame already");
        self.kept += 1;
    }

    pub(crate) fn frame_mut(&mut self, slot: u32) -> Option<&mut F> {
        self.frames[slot as usize].as_mut()
    }

    /// Lets a flow's frame go, if it has one.
    pub(crate) fn drop(&mut self, slot: u32) {
        if self.frames[slot as usize].take().is_some() {
            self.kept -= 1;
        }
    }

    /// Frames that are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept
    }

    /// Begins a chain with a frame that holds nothing but data; `None` when all places are taken.
    pub(crate) fn begin(&mut self, start: SeqNumber, frame: F) -> Option<u32> {
        let mut sender = Sender::new(start);
        sender.end += frame.bytes().len() as u32;
        let place = self.take(frame)?;
        sender.last = place;
        self.places[place as usize].sender = sender;
        Some(place)
    }

    /// Adds the next piece to the chain that begins at `head`; false when all places are taken.
    pub(crate) fn extend(&mut self, head: u32, frame: F) -> bool {
        let len = frame.bytes().len() as u32;
        let Some(place) = self.take(frame) else { return false };
        let sender = &mut self.places[head as usize].sender;
        sender.end += len;
        let last = core::mem::replace(&mut sender.last, place);
        self.places[last as usize].next = place;
        true
    }

    /// What the sender of a chain knows.
    pub(crate) fn sender(&mut self, head: u32) -> &mut Sender {
        &mut self.places[head as usize].sender
    }

    /// Behind the last byte of a chain.
    pub(crate) fn end(&self, head: u32) -> SeqNumber {
        self.places[head as usize].sender.end
    }

    /// The peer has the data before `ack`, which lies in the chain or at its end. Returns the new
    /// first place, or [`NO_PLACE`] when nothing is left.
    pub(crate) fn acknowledge(&mut self, mut head: u32, ack: SeqNumber) -> u32 {
        let mut sender = self.places[head as usize].sender;
        let mut newly = ack.distance_from(sender.start) as usize;
        sender.start = ack;
        while let Some(frame) = &mut self.places[head as usize].frame {
            let len = frame.bytes().len();
            if newly < len {
                frame.advance(newly);
                self.places[head as usize].sender = sender;
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
        let mut offset = seq.distance_from(self.places[head as usize].sender.start) as usize;
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

    /// Lets a whole chain go.
    pub(crate) fn drop_chain(&mut self, head: u32) {
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
        self.kept += 1;
        Some(at)
    }

    fn give_back(&mut self, at: u32) {
        let place = &mut self.places[at as usize];
        place.frame = None;
        place.next = core::mem::replace(&mut self.free, at);
        self.kept -= 1;
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use netcore::HeapFrame;
    use netcore::rng::SeededRng;

    use super::*;

    /// Two chains in one pool, against plain vectors of bytes.
    #[test]
    fn chains_behave_like_vectors_of_bytes() {
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let mut retained: Retained<HeapFrame> = Retained::new(1, 6);
            // Wraps on its way.
            let mut chains = [0; 2].map(|_| (NO_PLACE, SeqNumber(u32::MAX - 20), Vec::<u8>::new()));
            for _ in 0..500 {
                let chain = &mut chains[rng.below(2) as usize];
                let (head, start, bytes) = chain;
                match rng.below(4) {
                    0 | 1 => {
                        let piece = vec![rng.below(256) as u8; 1 + rng.below(9) as usize];
                        let frame = HeapFrame::from_bytes(&piece);
                        let has_room = retained.len() < 6;
                        let kept = if *head == NO_PLACE {
                            *head = retained.begin(*start, frame).unwrap_or(NO_PLACE);
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
                    }
                    _ if rng.below(20) == 0 => {
                        retained.drop_chain(*head);
                        *head = NO_PLACE;
                        bytes.clear();
                    }
                    _ => {}
                }
                for (head, start, bytes) in &chains {
                    if *head == NO_PLACE {
                        continue;
                    }
                    assert_eq!(retained.sender(*head).end, *start + bytes.len() as u32);
                    let mut read = Vec::<u8>::new();
                    while read.len() < bytes.len() {
                        read.extend(retained.data_from(*head, *start + read.len() as u32));
                    }
                    assert_eq!(read, *bytes, "seed {seed}");
                    assert!(retained.data_from(*head, *start + read.len() as u32).is_empty());
                }
            }
            for (head, ..) in chains {
                retained.drop_chain(head);
            }
            assert_eq!(retained.len(), 0);
        }
    }
}
