//! One shard: its part of every database, and who watches keys in it.
//!
//! An entry is one cache line. A database's table keeps 32 bits of each key's hash, so growing
//! never touches the keys; the same bits give `SCAN` an order that growth does not change.

use core::cell::Cell;
use core::cmp::Reverse;
use core::sync::atomic::{AtomicBool, Ordering};
use std::collections::BinaryHeap;
use std::sync::Arc;

use hashbrown::{HashMap, HashTable};

use super::key::Key;
use super::object::Value;
use crate::waiting::Queue;

/// The deadline of a key without one.
pub const NEVER: i64 = i64::MAX;

/// A key with its value: 64 bytes, in one cache line.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// The value.
    pub value: Value,
    /// Unix time in ms at which the key expires, or [`NEVER`].
    pub expire_at: i64,
    /// The key's [`super::KeyHash::table`].
    pub hash: u32,
    /// Seconds (of the engine's clock) at which the value was last used.
    pub used_at: Cell<u32>,
}

/// Spreads the 32 kept bits over the 64 that the table wants; one-to-one in the low bits.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// A shard's part of one database.
#[derive(Default)]
#[repr(C)]
pub struct Db {
    /// In front: it is what a look-up reads.
    table: HashTable<Entry>,
    /// Keys with a deadline.
    expires: usize,
    /// Deadlines, earliest first. Holds stale ones too: an entry counts only if its key still
    /// has that deadline.
    deadlines: BinaryHeap<Reverse<(i64, u32)>>,
    /// The hashes of all keys in order, while a `SCAN` walks here.
    scan_order: Option<Vec<u32>>,
    /// A `SCAN` has passed here since the last [`Shard::expire`].
    scanned: bool,
}

impl Db {
    /// Keys in it, those included that have expired and are not removed yet.
    pub fn len(&self) -> usize {
        self.table.len()
    }
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }
    /// Keys with a deadline.
    pub fn expires(&self) -> usize {
        self.expires
    }
    /// The entry of `key`, expired or not.
    #[inline]
    pub fn find(&self, hash: u32, key: &[u8]) -> Option<&Entry> {
        self.table.find(spread(hash), |entry| entry.hash == hash && entry.key.as_bytes() == key)
    }
    /// The same, to change; deadlines are changed by [`Db::set_expire`] only.
    #[inline]
    pub fn find_mut(&mut self, hash: u32, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_mut(spread(hash), |entry| entry.hash == hash && entry.key.as_bytes() == key)
    }
    /// Adds a key that is not there yet.
    pub fn insert_new(&mut self, hash: u32, key: &[u8], value: Value, used_at: u32) -> &mut Entry {
        if let Some(order) = &mut self.scan_order {
            let at = order.partition_point(|&other| other < hash);
            order.insert(at, hash);
        }
        let entry = Entry { key: Key::new(key), value, expire_at: NEVER, hash, used_at: Cell::new(used_at) };
        self.table.insert_unique(spread(hash), entry, |entry| spread(entry.hash)).into_mut()
    }
    /// Takes a key out.
    pub fn remove(&mut self, hash: u32, key: &[u8]) -> Option<Entry> {
        let found =
            self.table.find_entry(spread(hash), |entry| entry.hash == hash && entry.key.as_bytes() == key);
        let (entry, _) = found.ok()?.remove();
        if entry.expire_at != NEVER {
            self.expires -= 1;
        }
        Some(entry)
    }
    /// Sets or clears ([`NEVER`]) a key's deadline. False: no such key.
    pub fn set_expire(&mut self, hash: u32, key: &[u8], expire_at: i64) -> bool {
        let Some(entry) = self.find_mut(hash, key) else { return false };
        let before = core::mem::replace(&mut entry.expire_at, expire_at);
        match (before != NEVER, expire_at != NEVER) {
            (false, true) => self.expires += 1,
            (true, false) => self.expires -= 1,
            _ => {}
        }
        if expire_at != NEVER && expire_at != before {
            self.deadlines.push(Reverse((expire_at, hash)));
            if self.deadlines.len() > 2 * self.expires + 64 {
                self.rebuild_deadlines();
            }
        }
        true
    }
    /// Takes out one key whose deadline is not after `now_ms`.
    pub fn take_expired(&mut self, now_ms: i64) -> Option<Entry> {
        while let Some(&Reverse((deadline, hash))) = self.deadlines.peek() {
            if deadline > now_ms {
                return None;
            }
            let due =
                self.table.find_entry(spread(hash), |entry| entry.hash == hash && entry.expire_at <= now_ms);
            match due {
                Ok(found) => {
                    self.expires -= 1;
                    return Some(found.remove().0);
                }
                Err(_) => drop(self.deadlines.pop()),
            }
        }
        None
    }
    /// All entries, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.table.iter()
    }
    /// A random entry: `random` draws 64 bits. Fair between keys, except that a table that is
    /// nearly empty is searched in order after some draws.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<&Entry> {
        if self.is_empty() {
            return None;
        }
        let buckets = self.table.num_buckets() as u64;
        for _ in 0..128 {
            if let Some(entry) = self.table.get_bucket((random() % buckets) as usize) {
                return Some(entry);
            }
        }
        self.table.iter().nth((random() % self.len() as u64) as usize)
    }
    /// Forgets every key, giving the memory back.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Shows the entries whose hash is at least `from`, in the order of their hashes, until
    /// `count` have been shown. Returns where to go on, `None` at the end. A key that is there
    /// during the whole walk is shown at least once, however the table grows meanwhile: its
    /// hash does not change.
    pub fn scan(&mut self, from: u32, count: usize, mut show: impl FnMut(&Entry)) -> Option<u32> {
        if from == 0 && self.table.len() <= count {
            self.table.iter().for_each(show);
            self.scan_order = None;
            return None;
        }
        self.scanned = true;
        let order = self.scan_order.get_or_insert_with(|| {
            let mut order: Vec<u32> = self.table.iter().map(|entry| entry.hash).collect();
            order.sort_unstable();
            order
        });
        let mut shown = 0;
        let mut at = order.partition_point(|&hash| hash < from);
        while let Some(&hash) = order.get(at) {
            if shown >= count {
                return Some(hash);
            }
            for entry in self.table.iter_hash(spread(hash)).filter(|entry| entry.hash == hash) {
                show(entry);
                shown += 1;
            }
            at += order[at..].partition_point(|&other| other <= hash);
        }
        self.scan_order = None;
        None
    }

    fn rebuild_deadlines(&mut self) {
        self.deadlines = self
            .table
            .iter()
            .filter(|entry| entry.expire_at != NEVER)
            .map(|entry| Reverse((entry.expire_at, entry.hash)))
            .collect();
    }
}

/// Set when a key that the client watches has changed.
#[derive(Debug, Default)]
pub struct Watch(AtomicBool);

impl Watch {
    /// A watched key has changed.
    pub fn trip(&self) {
        self.0.store(true, Ordering::Release);
    }
    /// Has one?
    pub fn tripped(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// A key with the number of its database.
type DbKey = (u32, Box<[u8]>);

/// A shard's part of every database, by the database's number. Database 0 lies in the shard itself: nearly every key is
/// there, and a look-up finds its table beside the lock that it has just taken.
#[repr(C)]
pub struct Dbs {
    first: Db,
    others: Box<[Db]>,
}

impl Dbs {
    /// `count` empty ones, at least one.
    fn new(count: usize) -> Self {
        Self { first: Db::default(), others: (1..count).map(|_| Db::default()).collect() }
    }
    /// How many.
    fn count(&self) -> usize {
        1 + self.others.len()
    }
    fn swap(&mut self, a: u32, b: u32) {
        let of_a = core::mem::take(&mut self[a]);
        let of_b = core::mem::take(&mut self[b]);
        // Where both are one it was taken first, and comes back last.
        self[a] = of_b;
        self[b] = of_a;
    }
    /// All of them, from number 0.
    pub fn iter(&self) -> impl Iterator<Item = &Db> {
        core::iter::once(&self.first).chain(&self.others)
    }
}

impl core::ops::Index<u32> for Dbs {
    type Output = Db;

    #[inline]
    fn index(&self, number: u32) -> &Db {
        match number {
            0 => &self.first,
            other => &self.others[other as usize - 1],
        }
    }
}

impl core::ops::IndexMut<u32> for Dbs {
    #[inline]
    fn index_mut(&mut self, number: u32) -> &mut Db {
        match number {
            0 => &mut self.first,
            other => &mut self.others[other as usize - 1],
        }
    }
}

/// A part of the keyspace behind one lock.
#[repr(C)]
pub struct Shard {
    /// One per database.
    pub dbs: Dbs,
    /// Watched keys (by database and key) and who watches them.
    watchers: HashMap<DbKey, Vec<Arc<Watch>>>,
    /// Keys that clients wait for, and those clients: see [`crate::waiting`].
    pub(crate) waiting: HashMap<DbKey, Queue>,
}

impl Shard {
    /// Empty, with `databases` databases.
    pub fn new(databases: usize) -> Self {
        Self { dbs: Dbs::new(databases), watchers: HashMap::new(), waiting: HashMap::new() }
    }
    /// Removes up to `most` keys whose deadline is not after `now_ms`; how many.
    pub fn expire(&mut self, now_ms: i64, most: usize) -> usize {
        let mut removed = 0;
        for db in 0..self.dbs.count() as u32 {
            // The order that a SCAN left behind when it stopped halfway is given back.
            if !core::mem::take(&mut self.dbs[db].scanned) {
                self.dbs[db].scan_order = None;
            }
            while removed < most {
                let Some(entry) = self.dbs[db].take_expired(now_ms) else { break };
                self.touch(db, entry.key.as_bytes());
                removed += 1;
            }
        }
        removed
    }
    /// Forgets all keys of database `db`; those that were there and are watched count as changed.
    pub fn flush(&mut self, db: u32, hash: impl Fn(&[u8]) -> u32) {
        for key in self.watched_keys(db) {
            if self.dbs[db].find(hash(&key), &key).is_some() {
                self.touch(db, &key);
            }
        }
        self.dbs[db].clear();
    }
    /// Exchanges databases `a` and `b`; watched keys that exist in either count as changed.
    pub fn swap(&mut self, a: u32, b: u32, hash: impl Fn(&[u8]) -> u32) {
        for db in [a, b] {
            for key in self.watched_keys(db) {
                let there = |db: u32| self.dbs[db].find(hash(&key), &key).is_some();
                if a != b && (there(a) || there(b)) {
                    self.touch(db, &key);
                }
            }
        }
        self.dbs.swap(a, b);
    }
    /// Somebody has changed `key`. True: somebody else waits for it to be filled.
    #[inline]
    pub fn touch(&mut self, db: u32, key: &[u8]) -> bool {
        let heeded = !self.watchers.is_empty() || !self.waiting.is_empty();
        heeded && self.trip(db, key)
    }
    #[cold]
    fn trip(&mut self, db: u32, key: &[u8]) -> bool {
        let name = (db, Box::from(key));
        if let Some(watchers) = self.watchers.get(&name) {
            watchers.iter().for_each(|watch| watch.trip());
        }
        self.waiting.contains_key(&name)
    }
    /// Keys that are watched in database `db`.
    pub fn watched_keys(&self, db: u32) -> Vec<Box<[u8]>> {
        self.watchers.keys().filter(|(of, _)| *of == db).map(|(_, key)| key.clone()).collect()
    }
    /// `watch` wants to know of changes to `key`.
    pub fn watch(&mut self, db: u32, key: &[u8], watch: &Arc<Watch>) {
        self.watchers.entry((db, key.into())).or_default().push(watch.clone());
    }
    /// And no longer does.
    pub fn unwatch(&mut self, db: u32, key: &[u8], watch: &Arc<Watch>) {
        let name = (db, Box::from(key));
        if let Some(watchers) = self.watchers.get_mut(&name) {
            watchers.retain(|other| !Arc::ptr_eq(other, watch));
            if watchers.is_empty() {
                self.watchers.remove(&name);
            }
        }
    }
}

#[cfg(test)]
#[path = "shard_tests.rs"]
mod tests;
