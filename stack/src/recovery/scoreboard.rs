//! What the peer holds beyond SND.UNA, as its SACK blocks tell (RFC 2018, RFC 6675).
//!
//! ```text
//!  SND.UNA        |sacked|      |sacked|       SND.NXT
//!     |--- hole ---|      |-hole-|      |--------|
//! ```

use alloc::vec::Vec;

use protocol::tcp::SeqNumber;

/// Ranges that are kept; more, and the highest are forgotten (they are only sent once more).
const RANGES_MAX: usize = 256;

/// Sorted ranges that do not overlap or touch.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    ranges: Vec<(SeqNumber, SeqNumber)>,
}

impl Scoreboard {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.ranges.clear();
    }

    /// Takes one block; returns how many of its bytes are news. Blocks outside
    /// `snd_una..snd_nxt` are no sense and ignored.
    pub(crate) fn insert(
        &mut self,
        (left, right): (SeqNumber, SeqNumber),
        snd_una: SeqNumber,
        snd_nxt: SeqNumber,
    ) -> u32 {
        if !(left.before(right) && left.after_eq(snd_una) && right.before_eq(snd_nxt)) {
            return 0;
        }
        let first = self.ranges.partition_point(|range| range.1.before(left));
        let last = first + self.ranges[first..].partition_point(|range| range.0.before_eq(right));
        if first == last {
            if self.ranges.len() == RANGES_MAX {
                return 0;
            }
            self.ranges.insert(first, (left, right));
            return right.distance_from(left);
        }
        let known: u32 = self.ranges[first..last].iter().map(|(l, r)| r.distance_from(*l)).sum();
        let merged = (self.ranges[first].0.earlier(left), self.ranges[last - 1].1.later(right));
        self.ranges[first] = merged;
        self.ranges.drain(first + 1..last);
        merged.1.distance_from(merged.0) - known
    }

    /// SND.UNA moved on.
    pub(crate) fn acknowledged(&mut self, snd_una: SeqNumber) {
        let behind = self.ranges.partition_point(|range| range.1.before_eq(snd_una));
        self.ranges.drain(..behind);
        if let Some(first) = self.ranges.first_mut() {
            first.0 = first.0.later(snd_una);
        }
    }

    /// The first hole that ends behind `from`, cut to begin there: start and end, up to the end
    /// of the highest range. `None`: nothing is missing below what the peer holds.
    pub(crate) fn hole(&self, snd_una: SeqNumber, from: SeqNumber) -> Option<(SeqNumber, SeqNumber)> {
        let mut start = snd_una;
        for &(left, right) in &self.ranges {
            if start.later(from).before(left) {
                return Some((start.later(from), left));
            }
            start = right;
        }
        None
    }

    /// The end of the highest range.
    pub(crate) fn highest(&self) -> Option<SeqNumber> {
        self.ranges.last().map(|range| range.1)
    }

    /// Where loss ends: bytes below this with more than two segments sacked above them count as
    /// lost (RFC 6675 §4, IsLost).
    pub(crate) fn lost_below(&self, snd_una: SeqNumber, mss: u16) -> SeqNumber {
        let enough = 2 * u32::from(mss);
        let mut above = 0;
        for &(left, right) in self.ranges.iter().rev() {
            above += right.distance_from(left);
            if above > enough {
                return left;
            }
        }
        snd_una
    }

    /// Bytes of `from..to` that are not sacked.
    pub(crate) fn missing_between(&self, from: SeqNumber, to: SeqNumber) -> u32 {
        if to.before_eq(from) {
            return 0;
        }
        let held: u32 = self
            .ranges
            .iter()
            .filter(|(l, r)| l.before(to) && r.after(from))
            .map(|(l, r)| r.earlier(to).distance_from(l.later(from)))
            .sum();
        to.distance_from(from) - held
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s(n: u32) -> SeqNumber {
        SeqNumber(0xffff_ff00) + n
    }

    #[test]
    fn blocks_merge_and_nonsense_is_ignored() {
        let mut board = Scoreboard::default();
        assert_eq!(board.insert((s(200), s(300)), s(0), s(1000)), 100);
        assert_eq!(board.insert((s(200), s(300)), s(0), s(1000)), 0);
        assert_eq!(board.insert((s(400), s(500)), s(0), s(1000)), 100);
        assert_eq!(board.insert((s(250), s(450)), s(0), s(1000)), 100);
        assert_eq!(board.insert((s(900), s(1001)), s(0), s(1000)), 0, "beyond SND.NXT");
        assert_eq!(board.insert((s(600), s(600)), s(0), s(1000)), 0);
        assert_eq!(board.insert((s(700), s(600)), s(0), s(1000)), 0);
        assert_eq!(board.missing_between(s(0), s(1000)), 700);
        assert_eq!(board.insert((s(700), s(800)), s(0), s(1000)), 100);
        assert_eq!(board.hole(s(0), s(0)), Some((s(0), s(200))));
        assert_eq!(board.hole(s(0), s(100)), Some((s(100), s(200))));
        assert_eq!(board.hole(s(0), s(200)), Some((s(500), s(700))));
        assert_eq!(board.hole(s(0), s(700)), None);
        assert_eq!(board.missing_between(s(100), s(600)), 200);
        assert_eq!(board.lost_below(s(0), 100), s(200));
        assert_eq!(board.lost_below(s(0), 20), s(700));
        board.acknowledged(s(450));
        assert_eq!(board.missing_between(s(450), s(1000)), 400);
        assert_eq!(board.highest(), Some(s(800)));
    }
}
