//! Members with a value each, in a dense array: what hashes, sets and sorted sets share.
//!
//! A small dictionary is the array alone and is searched from end to end; a larger one has an
//! index of 8 bytes per member beside it. The array keeps the order of insertion as long as its
//! owner wants it, makes a random member one access, and gives `SCAN` its guarantee without any
//! state: see [`Dict::scan`].

use hashbrown::HashTable;

use super::key::{Key, KeyHasher};

/// Up to this many members are searched without an index.
const UNINDEXED_MAX: usize = 16;

/// A member and what belongs to it.
#[derive(Clone, Debug)]
pub struct Member<V> {
    /// The member.
    pub key: Key,
    /// Its value.
    pub value: V,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    position: u32,
}

/// Members by name. All methods that look one up must be given the same hasher.
#[derive(Clone, Debug)]
pub struct Dict<V> {
    members: Vec<Member<V>>,
    index: Option<HashTable<Slot>>,
}

impl<V> Default for Dict<V> {
    fn default() -> Self {
        Self { members: Vec::new(), index: None }
    }
}

/// Spreads the kept 32 bits over the 64 that the table wants.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl<V> Dict<V> {
    /// How many members.
    #[inline]
    pub fn len(&self) -> usize {
        self.members.len()
    }
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }
    /// All members; in the order of insertion until the first [`Dict::swap_remove`].
    #[inline]
    pub fn members(&self) -> &[Member<V>] {
        &self.members
    }
    /// The member at `position`, below [`Dict::len`].
    #[inline]
    pub fn at(&self, position: usize) -> &Member<V> {
        &self.members[position]
    }
    /// The value of the member at `position`, to change.
    #[inline]
    pub fn value_mut(&mut self, position: usize) -> &mut V {
        &mut self.members[position].value
    }
    /// Where `key` stands.
    #[inline]
    pub fn find(&self, hasher: &KeyHasher, key: &[u8]) -> Option<usize> {
        match &self.index {
            None => self.members.iter().position(|member| member.key.as_bytes() == key),
            Some(index) => {
                let hash = hasher.hash(key).table;
                let same = |slot: &Slot| {
                    slot.hash == hash && self.members[slot.position as usize].key.as_bytes() == key
                };
                index.find(spread(hash), same).map(|slot| slot.position as usize)
            }
        }
    }
    /// The value of `key`.
    #[inline]
    pub fn get(&self, hasher: &KeyHasher, key: &[u8]) -> Option<&V> {
        self.find(hasher, key).map(|position| &self.members[position].value)
    }
    /// Adds a member that is not there yet, at the end.
    pub fn push_new(&mut self, hasher: &KeyHasher, key: &[u8], value: V) {
        let position = self.members.len();
        if let Some(index) = &mut self.index {
            let hash = hasher.hash(key).table;
            index.insert_unique(spread(hash), Slot { hash, position: position as u32 }, |slot| {
                spread(slot.hash)
            });
        }
        self.members.push(Member { key: Key::new(key), value });
        if self.index.is_none() && self.members.len() > UNINDEXED_MAX {
            self.build_index(hasher);
        }
    }
    fn build_index(&mut self, hasher: &KeyHasher) {
        let mut index = HashTable::with_capacity(2 * self.members.len());
        for (position, member) in self.members.iter().enumerate() {
            let hash = hasher.hash(member.key.as_bytes()).table;
            let slot = Slot { hash, position: position as u32 };
            index.insert_unique(spread(hash), slot, |slot| spread(slot.hash));
        }
        self.index = Some(index);
    }
    /// Takes out the member at `position`: the last one moves there, others stay.
    pub fn swap_remove(&mut self, hasher: &KeyHasher, position: usize) -> Member<V> {
        let last = self.members.len() - 1;
        if let Some(index) = &mut self.index {
            let hash_of = |at: usize| spread(hasher.hash(self.members[at].key.as_bytes()).table);
            if let Ok(gone) = index.find_entry(hash_of(position), |slot| slot.position as usize == position) {
                gone.remove();
            }
            if position != last
                && let Some(moved) = index.find_mut(hash_of(last), |slot| slot.position as usize == last)
            {
                moved.position = position as u32;
            }
        }
        let gone = self.members.swap_remove(position);
        self.give_back();
        gone
    }
    /// Takes out the member at `position`; the others keep their order. O(N), for small ones.
    pub fn remove(&mut self, hasher: &KeyHasher, position: usize) -> Member<V> {
        if let Some(index) = &mut self.index {
            let hash = spread(hasher.hash(self.members[position].key.as_bytes()).table);
            if let Ok(gone) = index.find_entry(hash, |slot| slot.position as usize == position) {
                gone.remove();
            }
            for slot in index.iter_mut().filter(|slot| slot.position as usize > position) {
                slot.position -= 1;
            }
        }
        self.members.remove(position)
    }
    /// Shows members, about `count` of them. `cursor` 0 begins; returns the next one, 0 at the
    /// end.
    ///
    /// The walk goes from the end of the array to its start, and the cursor counts what is left.
    /// A removal moves a member only towards the start and an addition moves none, so a member
    /// that is there during the whole walk cannot slip past the cursor.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut show: impl FnMut(&'a Member<V>)) -> u64 {
        let len = self.members.len();
        let end = if cursor == 0 { len } else { usize::try_from(cursor).unwrap_or(len).min(len) };
        let start = end.saturating_sub(count);
        self.members[start..end].iter().rev().for_each(&mut show);
        start as u64
    }
    /// Bytes held by the array and the index.
    pub fn heap_bytes(&self) -> usize {
        let index = self.index.as_ref().map_or(0, |index| index.num_buckets() * (size_of::<Slot>() + 1));
        self.members.capacity() * size_of::<Member<V>>() + index
    }

    /// After many removals the memory shrinks with the members.
    fn give_back(&mut self) {
        let len = self.members.len();
        if self.members.capacity() > 64 && len < self.members.capacity() / 8 {
            self.members.shrink_to(len * 2);
            if let Some(index) = &mut self.index {
                index.shrink_to(len * 2, |slot| spread(slot.hash));
            }
        }
    }
}

/// About how many bytes `key` holds outside itself.
pub fn key_heap_bytes(key: &Key) -> usize {
    match key {
        Key::Inline { .. } => 0,
        Key::Heap(bytes) => bytes.len(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn name(number: u32) -> Vec<u8> {
        format!("member:{number}").into_bytes()
    }

    #[test]
    fn every_lasting_member_is_scanned_while_others_come_and_go() {
        let hasher = KeyHasher::new([7; 16]);
        let mut dict = Dict::default();
        for number in 0..1000 {
            dict.push_new(&hasher, &name(number), ());
        }
        let mut rng = netcore::rng::SeededRng::new(5);
        let (mut seen, mut cursor, mut next) = (HashSet::new(), 0, 1000);
        loop {
            cursor = dict.scan(cursor, 7, |member| {
                seen.insert(member.key.as_bytes().to_vec());
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..20 {
                // Even numbers below 1000 last; all others may go.
                let victim = (rng.next_u64() % next as u64) as u32;
                if (victim >= 1000 || victim % 2 == 1)
                    && let Some(position) = dict.find(&hasher, &name(victim))
                {
                    assert_eq!(dict.swap_remove(&hasher, position).key.as_bytes(), name(victim));
                }
                if rng.next_u64().is_multiple_of(3) {
                    dict.push_new(&hasher, &name(next), ());
                    next += 1;
                }
            }
        }
        for number in (0..1000).step_by(2) {
            assert!(seen.contains(&name(number)), "{number} was never shown");
            assert!(dict.find(&hasher, &name(number)).is_some());
        }
    }

    #[test]
    fn agrees_with_a_plain_map() {
        let hasher = KeyHasher::new([9; 16]);
        let (mut dict, mut model) = (Dict::default(), std::collections::HashMap::new());
        let mut rng = netcore::rng::SeededRng::new(11);
        for step in 0..20_000u64 {
            let number = (rng.next_u64() % 700) as u32;
            let found = dict.find(&hasher, &name(number));
            assert_eq!(found.map(|at| dict.at(at).value), model.get(&number).copied());
            match (found, rng.next_u64() % 2) {
                (Some(at), 0) => {
                    if step % 100 < 50 {
                        dict.remove(&hasher, at)
                    } else {
                        dict.swap_remove(&hasher, at)
                    };
                    model.remove(&number);
                }
                (Some(at), _) => {
                    *dict.value_mut(at) = step;
                    model.insert(number, step);
                }
                (None, _) => {
                    dict.push_new(&hasher, &name(number), step);
                    model.insert(number, step);
                }
            }
            assert_eq!(dict.len(), model.len());
        }
    }
}
