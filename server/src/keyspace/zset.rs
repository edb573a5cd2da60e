//! Sorted sets: members with scores, and their order by score, then by member.

use super::dict::{Dict, key_heap_bytes};
use super::key::{Key, KeyHasher};
use super::order::Sequence;

/// A sorted set. Scores are never NaN.
#[derive(Clone, Debug, Default)]
pub struct ZSet {
    scores: Dict<f64>,
    order: Sequence<Place>,
    /// Has outgrown a listpack.
    skiplist: bool,
}

/// A member in the order.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The member's score.
    score: f64,
    /// Where it stands in `scores`.
    position: u32,
}

impl ZSet {
    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        self.scores.len()
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.scores.is_empty()
    }
    /// The score of `member`.
    #[inline]
    pub fn score(&self, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        self.scores.get(hasher, member).copied()
    }
    /// The rank (from 0, lowest score first) and the score of `member`.
    pub fn rank(&self, hasher: &KeyHasher, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(hasher, member)?;
        Some((self.rank_of(score, member), score))
    }
    /// The member at `rank`, below [`ZSet::len`], and its score.
    pub fn at(&self, rank: usize) -> Option<(&[u8], f64)> {
        self.order.get(rank).map(|place| self.show(place))
    }
    /// The members from rank `start` on, at most `count`.
    pub fn range(
        &self,
        start: usize,
        count: usize,
    ) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        self.order.range(start, count).map(|place| self.show(place))
    }
    /// A member by its place in no particular order, below [`ZSet::len`]: for fair draws.
    pub fn any(&self, position: usize) -> (&[u8], f64) {
        let member = self.scores.at(position);
        (member.key.as_bytes(), member.value)
    }
    /// The number of members at the start for which `before` holds; it must not hold again
    /// after it has not.
    pub fn partition_point(&self, mut before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        self.order.partition_point(|place| before(place.score, self.key(*place)))
    }
    /// One that is no listpack from the start: for results that are shown and not kept.
    pub fn unlimited() -> Self {
        Self { skiplist: true, ..Self::default() }
    }
    /// Sets the score of `member` (not NaN). `Some(true)`: it is new; `Some(false)`: the score
    /// has changed; `None`: nothing has.
    pub fn set(&mut self, hasher: &KeyHasher, member: &[u8], score: f64) -> Option<bool> {
        self.skiplist |= member.len() > hasher.limits.zset_value_bytes.now();
        if let Some(position) = self.scores.find(hasher, member) {
            let score = self.kept(score);
            let before = self.scores.at(position).value;
            if before == score {
                return None;
            }
            let rank = self.rank_of(before, member);
            self.order.remove(rank);
            *self.scores.value_mut(position) = score;
            self.place(position, score, member);
            return Some(false);
        }
        self.skiplist |= self.len() >= hasher.limits.zset_entries.now();
        let score = self.kept(score);
        self.scores.push_new(hasher, member, score);
        self.place(self.scores.len() - 1, score, member);
        Some(true)
    }
    /// Removes `member`. True: it was there.
    pub fn remove(&mut self, hasher: &KeyHasher, member: &[u8]) -> bool {
        let found = self.rank(hasher, member);
        found.map(|(rank, _)| self.remove_rank(hasher, rank)).is_some()
    }
    /// Takes out the member at `rank`, below [`ZSet::len`].
    pub fn remove_rank(&mut self, hasher: &KeyHasher, rank: usize) -> (Key, f64) {
        let gone = self.order.remove(rank);
        let last = self.scores.len() - 1;
        if gone.position as usize != last {
            // The last member will move to the free position.
            let moved = self.scores.at(last);
            let rank = self.rank_of(moved.value, moved.key.as_bytes());
            self.order.replace(rank, Place { score: moved.value, position: gone.position });
        }
        let member = self.scores.swap_remove(hasher, gone.position as usize);
        (member.key, member.value)
    }
    /// Shows some members, see [`Dict::scan`]; a small set is shown whole, in order.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut show: impl FnMut(&'a [u8], f64)) -> u64 {
        if !self.skiplist {
            self.range(0, usize::MAX).for_each(|(member, score)| show(member, score));
            return 0;
        }
        self.scores.scan(cursor, count, |member| show(member.key.as_bytes(), member.value))
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        if self.skiplist { "skiplist" } else { "listpack" }
    }
    /// About how many bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        let keys = self.scores.members().iter().map(|member| key_heap_bytes(&member.key));
        size_of::<Self>() + self.scores.heap_bytes() + self.order.heap_bytes() + keys.sum::<usize>()
    }

    /// A listpack keeps whole numbers as integers and so forgets the sign of zero.
    #[inline]
    fn kept(&self, score: f64) -> f64 {
        if score == 0.0 && !self.skiplist { 0.0 } else { score }
    }
    #[inline]
    fn key(&self, place: Place) -> &[u8] {
        self.scores.at(place.position as usize).key.as_bytes()
    }
    #[inline]
    fn show(&self, place: Place) -> (&[u8], f64) {
        (self.key(place), place.score)
    }
    /// How many members stand before this score and member.
    #[inline]
    fn rank_of(&self, score: f64, member: &[u8]) -> usize {
        self.order
            .partition_point(|place| place.score < score || place.score == score && self.key(*place) < member)
    }
    #[inline]
    fn place(&mut self, position: usize, score: f64, member: &[u8]) {
        let rank = self.rank_of(score, member);
        self.order.insert(rank, Place { score, position: position as u32 });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn agrees_with_a_plain_model() {
        let hasher = KeyHasher::new([3; 16]);
        let mut rng = netcore::rng::SeededRng::new(1);
        let (mut zset, mut model) = (ZSet::default(), BTreeMap::<Vec<u8>, i64>::new());
        for step in 0..30_000 {
            let member = format!("m{}", rng.next_u64() % 900).into_bytes();
            match rng.next_u64() % if step < 15_000 { 4 } else { 2 } {
                0 => assert_eq!(zset.remove(&hasher, &member), model.remove(&member).is_some()),
                _ => {
                    // Few scores, so that many are equal.
                    let score = (rng.next_u64() % 50) as i64 - 25;
                    let before = model.insert(member.clone(), score);
                    let expected = match before {
                        None => Some(true),
                        Some(before) => (before != score).then_some(false),
                    };
                    assert_eq!(zset.set(&hasher, &member, score as f64), expected);
                }
            }
            if step % 1000 == 0 {
                let mut order: Vec<_> =
                    model.iter().map(|(member, score)| (*score, member.clone())).collect();
                order.sort();
                let ours: Vec<_> = zset
                    .range(0, usize::MAX)
                    .map(|(member, score)| (score as i64, member.to_vec()))
                    .collect();
                assert_eq!(ours, order);
                for (rank, (score, member)) in order.iter().enumerate() {
                    assert_eq!(zset.rank(&hasher, member), Some((rank, *score as f64)));
                }
            }
        }
    }
}
