//! From four-tuple to place: a hash table of fixed memory that never rehashes.
//!
//! Linear probing over 8-byte entries, at most three quarters of them in use (with fewer, the
//! table would be larger, and each look-up misses the cache and the page table already); removal
//! shifts followers back, so that there are no tombstones and the cost stays constant for ever.
//! One look-up is one cache line nearly always. The key itself is compared by the caller, where
//! it stands.

use alloc::boxed::Box;
use alloc::vec;

use netcore::FourTuple;

/// A hash under a secret key: whoever does not know it cannot choose tuples that collide.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TupleHasher([u64; 2]);

impl TupleHasher {
    pub(crate) fn new(secret: [u8; 16]) -> Self {
        let key = u128::from_le_bytes(secret);
        Self([key as u64, (key >> 64) as u64])
    }

    #[inline]
    pub(crate) fn hash(&self, tuple: &FourTuple) -> u32 {
        let ([local_high, local], [remote_high, remote]) =
            (tuple.local_addr.words(), tuple.remote_addr.words());
        let ports = u64::from(tuple.local_port) << 16 | u64::from(tuple.remote_port);
        let near = fold(local ^ self.0[0], local_high ^ self.0[1]);
        let far = fold(remote ^ self.0[1], remote_high ^ self.0[0] ^ 0x9e37_79b9_7f4a_7c15);
        let second = fold(near.rotate_left(32) ^ far ^ ports, self.0[0] | 1);
        (second ^ second >> 32) as u32
    }
}

#[inline]
pub(crate) fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// No value. Not zero, so that all pages are there from the start and not at their first use.
const EMPTY: u64 = u64::MAX;

/// Hash in the upper half, value in the lower.
#[derive(Debug)]
pub(crate) struct Index {
    entries: Box<[u64]>,
    mask: usize,
}

impl Index {
    /// Room for `entries` values, each below `u32::MAX`.
    pub(crate) fn new(entries: usize) -> Self {
        let size = Self::size(entries);
        Self { entries: vec![EMPTY; size].into_boxed_slice(), mask: size - 1 }
    }

    const fn size(entries: usize) -> usize {
        let size = (entries + entries / 3 + 1).next_power_of_two();
        if size < 16 { 16 } else { size }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(entries: usize) -> usize {
        Self::size(entries) * size_of::<u64>()
    }

    /// The first value under `hash` for which `is_it` holds.
    #[inline]
    pub(crate) fn find(&self, hash: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut at = hash as usize & self.mask;
        loop {
            let entry = self.entries[at];
            if entry == EMPTY {
                return None;
            }
            if (entry >> 32) as u32 == hash {
                let value = entry as u32;
                if is_it(value) {
                    return Some(value);
                }
            }
            at = (at + 1) & self.mask;
        }
    }

    /// Reads the place where the search for `hash` begins, so that it is in the cache.
    #[inline]
    pub(crate) fn touch(&self, hash: u32) -> u64 {
        self.entries[hash as usize & self.mask]
    }

    /// Adds a value. The caller keeps the count below what [`Index::new`] was told.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u32, value: u32) {
        let mut at = hash as usize & self.mask;
        while self.entries[at] != EMPTY {
            at = (at + 1) & self.mask;
        }
        self.entries[at] = u64::from(hash) << 32 | u64::from(value);
    }

    /// Puts `new` in the place of `old`.
    #[inline]
    pub(crate) fn replace(&mut self, hash: u32, old: u32, new: u32) {
        if let Some(at) = self.place(hash, old) {
            self.entries[at] = u64::from(hash) << 32 | u64::from(new);
        }
    }

    /// Takes a value out.
    #[inline]
    pub(crate) fn remove(&mut self, hash: u32, value: u32) {
        let Some(mut hole) = self.place(hash, value) else { return };
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let entry = self.entries[at];
            if entry == EMPTY {
                break;
            }
            let home = (entry >> 32) as usize & self.mask;
            // Move it back unless its home lies behind the hole.
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.entries[hole] = entry;
                hole = at;
            }
        }
        self.entries[hole] = EMPTY;
    }

    fn place(&self, hash: u32, value: u32) -> Option<usize> {
        let wanted = u64::from(hash) << 32 | u64::from(value);
        let mut at = hash as usize & self.mask;
        loop {
            let entry = self.entries[at];
            if entry == wanted {
                return Some(at);
            }
            if entry == EMPTY {
                debug_assert!(false, "value {value} is not in the index");
                return None;
            }
            at = (at + 1) & self.mask;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use netcore::rng::SeededRng;

    use super::*;

    #[test]
    fn behaves_like_a_map() {
        let mut rng = SeededRng::new(3);
        let mut index = Index::new(100);
        let mut model: BTreeMap<u32, u32> = BTreeMap::new();
        for round in 0..50_000u32 {
            let key = rng.below(300) as u32;
            // Few distinct homes: long runs and wrap-around.
            let hash = (key % 7).wrapping_mul(0x4000_0003) ^ 0xff;
            if model.contains_key(&key) {
                if round % 3 == 0 {
                    index.replace(hash, key, key + 1000);
                    index.replace(hash, key + 1000, key);
                }
                index.remove(hash, key);
                model.remove(&key);
            } else if model.len() < 100 {
                index.insert(hash, key);
                model.insert(key, hash);
            }
            for probe in [key, (key + 1) % 300, (key + 7) % 300] {
                let hash = (probe % 7).wrapping_mul(0x4000_0003) ^ 0xff;
                assert_eq!(index.find(hash, |value| value == probe).is_some(), model.contains_key(&probe));
            }
        }
        for (key, hash) in model {
            index.remove(hash, key);
        }
        assert!(index.entries.iter().all(|&entry| entry == EMPTY));
    }
}
