//! Connections in TIME_WAIT: a compact table of their own (RFC 9293 §3.3.2, §3.6.1).
//!
//! All wait equally long, so the table is a queue; a retransmitted FIN that starts the wait anew
//! only writes the later time into its entry, and the entry is queued again, at the end, when its
//! turn comes. Such an entry may wait up to twice as long; it never makes others wait.
//! 48 bytes per entry, and 12 for finding and ordering it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::HashTable;
use netcore::rng::Rng;
use netcore::{Duration, Instant};
use protocol::tcp::{Header, Options, SeqNumber};

use crate::table::KeyHash;
use crate::tcb::Key;

/// What is remembered of a closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) expires: Instant,
    pub(crate) timestamps: bool,
    stand: Stand,
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
}

/// How an entry's place in the queue is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stand {
    /// It ends when its turn comes.
    Queued,
    /// The wait was started anew since the entry was queued.
    Restarted,
    /// It has ended before its time.
    Removed,
}

#[derive(Debug)]
pub(crate) struct TimeWait {
    length: Duration,
    max: usize,
    hash: KeyHash,
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    oldest_first: VecDeque<u32>,
}

impl TimeWait {
    pub(crate) fn new(length: Duration, max: usize, rng: &mut impl Rng) -> Self {
        Self {
            length,
            max,
            hash: KeyHash::new(rng),
            entries: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            oldest_first: VecDeque::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    /// Adds a connection; true when the oldest had to go for it. With room for none, none waits.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        key: Key,
        (snd_nxt, rcv_nxt): (SeqNumber, SeqNumber),
        timestamps: Option<(u32, u32)>,
    ) -> bool {
        if self.max == 0 {
            return true;
        }
        let evict = self.len() >= self.max;
        if evict {
            self.drop_oldest();
        }
        let (ts_recent, ts_offset) = timestamps.unwrap_or_default();
        let expires = now + self.length;
        let timestamps = timestamps.is_some();
        let entry =
            Entry { key, expires, timestamps, stand: Stand::Queued, snd_nxt, rcv_nxt, ts_recent, ts_offset };
        let index = match self.free.pop() {
            Some(index) => {
                self.entries[index as usize] = entry;
                index
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        let (hash, entries) = (self.hash, &self.entries);
        self.by_key.insert_unique(hash.of(key), index, |&i| hash.of(entries[i as usize].key));
        self.oldest_first.push_back(index);
        evict
    }

    #[inline]
    pub(crate) fn find(&mut self, key: Key) -> Option<&mut Entry> {
        if self.by_key.is_empty() {
            return None;
        }
        let entries = &mut self.entries;
        let index = *self.by_key.find(self.hash.of(key), |&i| entries[i as usize].key == key)?;
        Some(&mut self.entries[index as usize])
    }

    /// Starts the wait of `entry` anew.
    pub(crate) fn restart(&mut self, key: Key, now: Instant) {
        let expires = now + self.length;
        if let Some(entry) = self.find(key) {
            entry.expires = expires;
            entry.stand = Stand::Restarted;
        }
    }

    /// Forgets a connection before its time.
    pub(crate) fn remove(&mut self, key: Key) {
        let entries = &mut self.entries;
        let found = self.by_key.find_entry(self.hash.of(key), |&i| entries[i as usize].key == key);
        if let Ok(found) = found {
            // Its place in the queue is given back when its turn comes.
            let (index, _) = found.remove();
            self.entries[index as usize].stand = Stand::Removed;
        }
    }

    /// Forgets those whose time is over.
    #[inline]
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some(&index) = self.oldest_first.front() {
            let entry = &mut self.entries[index as usize];
            match entry.stand {
                Stand::Removed => {
                    self.oldest_first.pop_front();
                    self.free.push(index);
                    continue;
                }
                Stand::Restarted => {
                    // Not the oldest any more: those behind it must not wait for it.
                    entry.stand = Stand::Queued;
                    self.oldest_first.pop_front();
                    self.oldest_first.push_back(index);
                    continue;
                }
                Stand::Queued if entry.expires > now => return,
                Stand::Queued => {}
            }
            self.drop_oldest();
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.oldest_first.front().map(|&index| self.entries[index as usize].expires)
    }

    fn drop_oldest(&mut self) {
        while let Some(index) = self.oldest_first.pop_front() {
            self.free.push(index);
            let entry = self.entries[index as usize];
            if entry.stand != Stand::Removed {
                self.remove(entry.key);
                return;
            }
        }
    }
}

impl Entry {
    /// Whether a SYN may open the connection anew.
    ///
    /// Source: RFC 6191 §2, RFC 9293 §3.6.1 MAY-2.
    pub(crate) fn may_be_reused_by(&self, header: &Header, options: &Options) -> bool {
        match options.timestamps {
            Some(ts) if self.timestamps && ts.value != self.ts_recent => {
                SeqNumber(ts.value).after(SeqNumber(self.ts_recent))
            }
            _ => header.seq.after(self.rcv_nxt),
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use core::net::Ipv4Addr;

    use super::*;
    use netcore::rng::SeededRng;

    fn key(n: u16) -> Key {
        Key::new(0, 6379, Ipv4Addr::new(198, 18, 0, 1).into(), n)
    }

    fn table(max: usize) -> TimeWait {
        TimeWait::new(Duration::from_secs(60), max, &mut SeededRng::new(3))
    }

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    fn add(table: &mut TimeWait, now: Instant, n: u16) -> bool {
        table.insert(now, key(n), (SeqNumber(1), SeqNumber(2)), None)
    }

    #[test]
    fn entries_are_small_and_end_in_time() {
        assert_eq!(size_of::<Entry>(), 48);
        let mut table = table(100);
        for n in 0..50 {
            add(&mut table, at(u64::from(n)), n);
        }
        table.restart(key(0), at(30));
        table.expire(at(60));
        assert_eq!(table.len(), 50, "0 was started anew, 1 has a second left");
        table.expire(at(61));
        assert_eq!(table.len(), 49);
        table.remove(key(10));
        table.expire(at(90));
        assert!(table.find(key(30)).is_none() && table.find(key(31)).is_some());
        table.expire(at(1000));
        assert_eq!((table.len(), table.oldest_first.len()), (0, 0));
        assert!(table.next_deadline().is_none());
        assert_eq!(table.free.len(), table.entries.len());
    }

    #[test]
    fn the_oldest_gives_way() {
        let mut table = table(3);
        assert!(!add(&mut table, at(0), 0));
        assert!(!add(&mut table, at(1), 1));
        table.remove(key(0));
        assert!(!add(&mut table, at(2), 2));
        assert!(!add(&mut table, at(3), 3));
        assert!(add(&mut table, at(4), 4));
        assert!(table.find(key(1)).is_none());
        assert!(table.find(key(2)).is_some() && table.find(key(4)).is_some());
    }

    #[test]
    fn two_that_are_started_anew_do_not_hold_up_those_behind_them() {
        let mut table = table(100);
        for n in 0..10 {
            add(&mut table, at(0), n);
        }
        table.restart(key(0), at(30));
        table.restart(key(1), at(31));
        table.expire(at(60));
        assert_eq!(table.len(), 2);
        assert_eq!(table.next_deadline(), Some(at(90)));
        table.expire(at(91));
        assert_eq!((table.len(), table.next_deadline()), (0, None));
    }

    #[test]
    fn behaves_like_a_map_with_deadlines() {
        const MAX: usize = 20;
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let mut table = table(MAX);
            // By name: when it ends at the earliest, and at the latest.
            let mut model: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
            let mut now = 0;
            for _ in 0..1500 {
                let n = rng.below(40) as u16;
                match rng.below(6) {
                    0..3 if !model.contains_key(&n) => {
                        let full = model.len() == MAX;
                        assert_eq!(add(&mut table, at(now), n), full);
                        // Which one has to go is the table's to say; exactly one does.
                        let gone: Vec<u16> =
                            model.keys().filter(|&&n| table.find(key(n)).is_none()).copied().collect();
                        assert_eq!(gone.len(), usize::from(full));
                        gone.iter().for_each(|n| drop(model.remove(n)));
                        model.insert(n, (now + 60, now + 60));
                    }
                    3 => {
                        table.restart(key(n), at(now));
                        model.entry(n).and_modify(|ends| *ends = (now + 60, now + 120));
                    }
                    4 => {
                        table.remove(key(n));
                        model.remove(&n);
                    }
                    _ => {
                        now += rng.below(20);
                        table.expire(at(now));
                        model.retain(|&n, (earliest, latest)| {
                            let there = table.find(key(n)).is_some();
                            assert!(there || *earliest <= now, "too early");
                            assert!(!there || *latest > now, "too late");
                            there
                        });
                        let next = table.next_deadline();
                        assert!(next.is_some() || model.is_empty());
                        let latest = model.values().map(|(_, latest)| at(*latest));
                        assert!(latest.min().is_none_or(|latest| next.is_some_and(|next| next <= latest)));
                    }
                }
                assert_eq!(table.len(), model.len());
                assert!((0..40).all(|n| table.find(key(n)).is_some() == model.contains_key(&n)), "{seed}");
            }
            table.expire(at(now + 200));
            assert_eq!((table.len(), table.free.len()), (0, table.entries.len()));
        }
    }
}
