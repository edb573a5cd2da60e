//! Received bytes that wait for a gap before them to be filled (RFC 9293 §3.10.7.4, seventh
//! step), and the SACK blocks that tell the peer of them (RFC 2018).
//!
//! Pieces are sorted, do not overlap and do not touch. All lie in the receive window, so its size
//! bounds their bytes; [`PIECES_MAX`] bounds their number.

use alloc::vec::Vec;

use protocol::tcp::SeqNumber;

use crate::held::PIECE_OVERHEAD;

/// Gaps that are kept track of.
const PIECES_MAX: usize = 512;
/// SACK blocks that fit into one header, at most.
const BLOCKS_MAX: usize = 4;

#[derive(Debug)]
struct Piece {
    seq: SeqNumber,
    bytes: Vec<u8>,
}

impl Piece {
    fn end(&self) -> SeqNumber {
        self.seq + self.bytes.len() as u32
    }
    fn memory(&self) -> usize {
        self.bytes.capacity()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    pieces: Vec<Piece>,
    /// Numbers that lie in the pieces that grew last, the last one first: the order in which
    /// their blocks are told.
    recent: [Option<SeqNumber>; BLOCKS_MAX],
    /// Where the peer's FIN stands, when it came ahead of its turn.
    fin: Option<SeqNumber>,
    /// Memory of all pieces' bytes.
    bytes: usize,
}

impl Reassembly {
    pub(crate) fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.fin.is_none()
    }

    /// Whether bytes wait here that lie behind `rcv_nxt`: not those that came in another way since.
    pub(crate) fn has_bytes_from(&self, rcv_nxt: SeqNumber) -> bool {
        self.pieces.last().is_some_and(|piece| piece.end().after(rcv_nxt))
    }

    /// Bytes of memory, with what each piece costs beside its bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.pieces.len() * PIECE_OVERHEAD
    }

    pub(crate) fn set_fin(&mut self, seq: SeqNumber) {
        self.fin.get_or_insert(seq);
    }

    /// Takes the FIN out when it stands at `rcv_nxt`.
    pub(crate) fn take_fin(&mut self, rcv_nxt: SeqNumber) -> bool {
        self.fin.take_if(|fin| *fin == rcv_nxt).is_some()
    }

    /// Keeps `bytes` that begin at `seq`; false when there are too many gaps already. What was
    /// there before stays as it was.
    pub(crate) fn insert(&mut self, seq: SeqNumber, bytes: &[u8]) -> bool {
        let end = seq + bytes.len() as u32;
        // Pieces first..last overlap or touch the new bytes.
        let first = self.pieces.partition_point(|piece| piece.end().before(seq));
        let last = first + self.pieces[first..].partition_point(|piece| piece.seq.before_eq(end));
        if first == last {
            if self.pieces.len() == PIECES_MAX {
                return false;
            }
            self.pieces.insert(first, Piece { seq, bytes: bytes.to_vec() });
            self.bytes += self.pieces[first].memory();
            self.note_growth(first);
            return true;
        }
        self.bytes -= self.pieces[first..last].iter().map(Piece::memory).sum::<usize>();
        if seq.before(self.pieces[first].seq) {
            let missing = self.pieces[first].seq.distance_from(seq) as usize;
            let piece = &mut self.pieces[first];
            piece.bytes.splice(..0, bytes[..missing].iter().copied());
            piece.seq = seq;
        }
        let (front, back) = self.pieces.split_at_mut(first + 1);
        let grown = &mut front[first];
        for piece in &back[..last - first - 1] {
            grown.extend_to(piece.seq, seq, bytes);
            grown.bytes.extend_from_slice(&piece.bytes);
        }
        grown.extend_to(end, seq, bytes);
        self.bytes += grown.memory();
        self.pieces.drain(first + 1..last);
        self.note_growth(first);
        true
    }

    /// The first part of `seq..end` that is here already.
    pub(crate) fn duplicate(&self, seq: SeqNumber, end: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let at = self.pieces.partition_point(|piece| piece.end().before_eq(seq));
        let piece = self.pieces.get(at).filter(|piece| piece.seq.before(end))?;
        Some((piece.seq.later(seq), piece.end().earlier(end)))
    }

    /// A piece grew: it goes to the front of the order of blocks, once.
    fn note_growth(&mut self, index: usize) {
        let piece = &self.pieces[index];
        let others = self.recent.iter().flatten().filter(|seq| !piece.contains(**seq));
        let mut recent = [Some(piece.seq), None, None, None];
        for (slot, other) in recent[1..].iter_mut().zip(others) {
            *slot = Some(*other);
        }
        self.recent = recent;
    }

    /// Takes out the bytes that follow `rcv_nxt` without a gap.
    pub(crate) fn take(&mut self, rcv_nxt: SeqNumber) -> Option<Vec<u8>> {
        let behind = self.pieces.partition_point(|piece| piece.end().before_eq(rcv_nxt));
        self.bytes -= self.pieces[..behind].iter().map(Piece::memory).sum::<usize>();
        self.pieces.drain(..behind);
        let first = self.pieces.first()?;
        if first.seq.after(rcv_nxt) {
            return None;
        }
        let mut piece = self.pieces.remove(0);
        self.bytes -= piece.memory();
        piece.bytes.drain(..rcv_nxt.distance_from(piece.seq) as usize);
        Some(piece.bytes)
    }

    /// Writes SACK blocks to `blocks` and returns how many there are.
    pub(crate) fn sack_blocks(&self, blocks: &mut [(SeqNumber, SeqNumber)]) -> usize {
        // RFC 2018 §4: first the block with the segment that caused this acknowledgment, then
        // those that were told last: each is told several times, should acknowledgments be lost.
        let holder = |seq: &SeqNumber| self.pieces.iter().find(|piece| piece.contains(*seq));
        let recent = self.recent.iter().flatten().filter_map(holder);
        let mut count = 0;
        for piece in recent.chain(&self.pieces) {
            let block = (piece.seq, piece.end());
            if count == blocks.len() {
                break;
            }
            if !blocks[..count].contains(&block) {
                blocks[count] = block;
                count += 1;
            }
        }
        count
    }
}

impl Piece {
    fn contains(&self, seq: SeqNumber) -> bool {
        seq.in_window(self.seq, self.bytes.len() as u32)
    }

    /// Grows to `end` with what `bytes` (which begin at `seq`) have behind the piece's own end.
    fn extend_to(&mut self, end: SeqNumber, seq: SeqNumber, bytes: &[u8]) {
        if self.end().before(end) {
            let from = self.end().distance_from(seq) as usize;
            let to = end.distance_from(seq) as usize;
            self.bytes.extend_from_slice(&bytes[from..to]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcore::rng::SeededRng;

    #[test]
    fn behaves_like_a_map_of_bytes_across_the_wrap() {
        const SPAN: usize = 400;
        for seed in 0..200 {
            let mut rng = SeededRng::new(seed);
            let start = SeqNumber(u32::MAX - 150);
            let mut rcv_nxt = 0usize;
            let mut model = [None::<u8>; SPAN];
            let mut reassembly = Reassembly::default();
            let byte = |at: usize| (at * 7) as u8;
            for _ in 0..60 {
                let from = rcv_nxt + rng.below((SPAN - rcv_nxt) as u64 + 1) as usize;
                let to = (from + 1 + rng.below(40) as usize).min(SPAN);
                if from > rcv_nxt && from < to {
                    let bytes: Vec<u8> = (from..to).map(byte).collect();
                    assert!(reassembly.insert(start + from as u32, &bytes));
                    model[from..to].iter_mut().enumerate().for_each(|(n, m)| *m = Some(byte(from + n)));
                }
                let mut blocks = [(SeqNumber(0), SeqNumber(0)); 4];
                let count = reassembly.sack_blocks(&mut blocks);
                for (left, right) in &blocks[..count] {
                    let (l, r) = (left.distance_from(start) as usize, right.distance_from(start) as usize);
                    assert!(l < r && model[l..r].iter().all(Option::is_some));
                    assert!(model.get(r).is_none_or(Option::is_none) && model[l - 1].is_none(), "{seed}");
                }
                let sum: usize = reassembly.pieces.iter().map(Piece::memory).sum();
                assert_eq!(reassembly.memory(), sum + reassembly.pieces.len() * PIECE_OVERHEAD);
                if rng.chance(200_000) && rcv_nxt < SPAN {
                    // The gap's first byte arrives in order.
                    rcv_nxt += 1;
                    model[rcv_nxt - 1] = None;
                    let got = reassembly.take(start + rcv_nxt as u32).unwrap_or_default();
                    let expected: Vec<u8> = model[rcv_nxt..].iter().map_while(|m| *m).collect();
                    assert_eq!(got, expected, "seed {seed}");
                    model[rcv_nxt..rcv_nxt + got.len()].fill(None);
                    rcv_nxt += got.len();
                }
            }
        }
    }

    /// A receiver as `input/text.rs` is one, on a stream of six bytes and a FIN.
    #[derive(Default)]
    struct Receiver {
        reassembly: Reassembly,
        rcv_nxt: u32,
        got: Vec<u8>,
        finished: bool,
    }

    impl Receiver {
        fn arrives(&mut self, start: SeqNumber, (from, to, fin): (u32, u32, bool)) {
            let bytes: Vec<u8> = (from..to).map(|at| b'a' + at as u8).collect();
            if from > self.rcv_nxt {
                assert!(self.reassembly.insert(start + from, &bytes));
            } else if to > self.rcv_nxt {
                self.got.extend_from_slice(&bytes[(self.rcv_nxt - from) as usize..]);
                self.rcv_nxt = to;
                if let Some(more) = self.reassembly.take(start + to) {
                    self.rcv_nxt += more.len() as u32;
                    self.got.extend(more);
                }
            }
            if fin {
                self.reassembly.set_fin(start + to);
            }
            self.finished |= self.reassembly.take_fin(start + self.rcv_nxt);
        }
    }

    /// Lets `left` arrive in every order, behind what has arrived.
    fn every_order(
        start: SeqNumber,
        left: &[(u32, u32, bool)],
        before: &mut Vec<(u32, u32, bool)>,
        count: &mut u32,
    ) {
        let mut receiver = Receiver::default();
        let mut known = [false; 6];
        for &segment in before.iter() {
            receiver.arrives(start, segment);
            (segment.0..segment.1).for_each(|at| known[at as usize] = true);
            let contiguous = known.iter().take_while(|&&known| known).count();
            assert_eq!(receiver.got, &b"abcdef"[..contiguous], "{before:?}");
        }
        let fin = before.iter().any(|segment| segment.2);
        assert_eq!(receiver.finished, fin && receiver.rcv_nxt == 6, "{before:?}");
        assert!(!receiver.finished || receiver.reassembly.is_empty());
        *count += 1;
        for (at, &next) in left.iter().enumerate() {
            let mut rest = left.to_vec();
            rest.remove(at);
            before.push(next);
            every_order(start, &rest, before, count);
            before.pop();
        }
    }

    #[test]
    fn every_order_of_overlapping_segments_gives_the_stream() {
        let segments =
            [(0, 2, false), (1, 3, false), (2, 4, false), (3, 6, true), (4, 5, false), (0, 5, false)];
        for start in [0, 1, 0x7fff_fffc, 0x8000_0000, u32::MAX - 5, u32::MAX - 2, u32::MAX] {
            let mut count = 0;
            every_order(SeqNumber(start), &segments, &mut Vec::new(), &mut count);
            assert_eq!(count, 1957, "every order of every subset of six");
        }
    }

    #[test]
    fn blocks_are_told_newest_first_and_duplicates_are_found() {
        let s = |n: u32| SeqNumber(u32::MAX - 30) + n;
        let mut reassembly = Reassembly::default();
        for at in [10, 30, 50, 70, 90] {
            reassembly.insert(s(at), b"12345");
        }
        let told = |reassembly: &Reassembly| {
            let mut blocks = [(SeqNumber(0), SeqNumber(0)); 3];
            let count = reassembly.sack_blocks(&mut blocks);
            blocks[..count].iter().map(|block| block.0 - s(0).0).map(|seq| seq.0).collect::<Vec<_>>()
        };
        assert_eq!(told(&reassembly), [90, 70, 50]);
        reassembly.insert(s(35), b"678");
        assert_eq!(told(&reassembly), [30, 90, 70]);
        reassembly.insert(s(95), b"678");
        assert_eq!(told(&reassembly), [90, 30, 70]);
        assert_eq!(reassembly.duplicate(s(0), s(10)), None);
        assert_eq!(reassembly.duplicate(s(5), s(12)), Some((s(10), s(12))));
        assert_eq!(reassembly.duplicate(s(12), s(60)), Some((s(12), s(15))));
        assert_eq!(reassembly.duplicate(s(15), s(30)), None);
        reassembly.take(s(10));
        assert_eq!(told(&reassembly), [90, 30, 70]);
    }

    #[test]
    fn too_many_gaps_are_refused_and_a_fin_waits_for_its_turn() {
        let mut reassembly = Reassembly::default();
        for n in 0..PIECES_MAX as u32 {
            assert!(reassembly.insert(SeqNumber(10 + 2 * n), b"x"));
        }
        assert!(!reassembly.insert(SeqNumber(5), b"y"));
        assert!(reassembly.insert(SeqNumber(9), b"z"), "growing a piece is always possible");
        let mut fin = Reassembly::default();
        fin.set_fin(SeqNumber(7));
        assert!(!fin.is_empty() && !fin.take_fin(SeqNumber(6)) && fin.take_fin(SeqNumber(7)));
        assert!(fin.is_empty());
    }
}
