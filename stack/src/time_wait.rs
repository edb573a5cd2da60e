//! What is remembered of ended connections, in a compact table of their own.
//!
//! Two kinds. *TIME_WAIT* (RFC 9293 §3.3.2, §3.6.1): we closed first; the last ACK may have to be
//! sent again. *Spent*: the connection is over, but the SYN cookie that opened it is still good,
//! so that a late duplicate of its first segment could open it again and have a request executed
//! twice; this record prevents that.
//!
//! All of a kind wait equally long, so each kind is a queue; a retransmitted FIN that starts the
//! wait anew only writes the later time into its entry, and the entry is queued again when its
//! turn comes. Who has waited in TIME_WAIT while cookies are good is spent from then on. 48 bytes
//! per entry, and 24 for finding and ordering it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use hashbrown::{HashTable, hash_table};
use netcore::rng::Rng;
use netcore::{Duration, Instant};
use protocol::tcp::{Header, Options, SeqNumber};

use crate::table::KeyHash;
use crate::tcb::Key;

/// Why a connection is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    TimeWait = 0,
    Spent = 1,
    /// It is not any more; its place is given back when its turn in the queue comes.
    Forgotten = 2,
}

/// What is remembered of a closed connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    pub(crate) key: Key,
    pub(crate) expires: Instant,
    pub(crate) kind: Kind,
    /// Shift of the window that we announced; the highest bit says that there are timestamps.
    scale_and_timestamps: u8,
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) ts_recent: u32,
    pub(crate) ts_offset: u32,
}

#[derive(Debug)]
pub(crate) struct TimeWait {
    /// How long each kind is remembered.
    lengths: [Duration; 2],
    max: usize,
    hash: KeyHash,
    entries: Vec<Entry>,
    free: Vec<u32>,
    by_key: HashTable<u32>,
    /// Entries, and when their turn comes.
    oldest_first: [VecDeque<(u32, Instant)>; 2],
    counts: [usize; 2],
}

impl TimeWait {
    /// `time_wait`, `spent`: how long each kind is remembered. `max`: entries of both.
    pub(crate) fn new(time_wait: Duration, spent: Duration, max: usize, rng: &mut impl Rng) -> Self {
        Self {
            lengths: [time_wait, spent],
            max,
            hash: KeyHash::new(rng),
            entries: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            oldest_first: [VecDeque::new(), VecDeque::new()],
            counts: [0; 2],
        }
    }

    /// Entries of one kind.
    pub(crate) fn count(&self, kind: Kind) -> usize {
        self.counts[kind as usize]
    }

    /// Adds a connection, in place of one of its name; true when the oldest had to go for it, a spent
    /// one if there is any. With room for none, none is remembered.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        kind: Kind,
        key: Key,
        (snd_nxt, rcv_nxt): (SeqNumber, SeqNumber),
        rcv_scale: u8,
        timestamps: Option<(u32, u32)>,
    ) -> bool {
        if self.max == 0 {
            return true;
        }
        let evict = self.by_key.len() >= self.max;
        if evict {
            self.drop_oldest(if self.count(Kind::Spent) > 0 { Kind::Spent } else { Kind::TimeWait });
        }
        let (ts_recent, ts_offset) = timestamps.unwrap_or_default();
        let entry = Entry {
            key,
            expires: now + self.lengths[kind as usize],
            kind,
            scale_and_timestamps: rcv_scale | if timestamps.is_some() { TIMESTAMPS } else { 0 },
            snd_nxt,
            rcv_nxt,
            ts_recent,
            ts_offset,
        };
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
        let (hash, entries) = (self.hash, &mut self.entries);
        let slot = self.by_key.entry(
            hash.of(key),
            |&i| entries[i as usize].key == key,
            |&i| hash.of(entries[i as usize].key),
        );
        match slot {
            hash_table::Entry::Vacant(slot) => {
                slot.insert(index);
            }
            hash_table::Entry::Occupied(mut slot) => {
                let before = &mut entries[core::mem::replace(slot.get_mut(), index) as usize];
                self.counts[before.kind as usize] -= 1;
                before.kind = Kind::Forgotten;
            }
        }
        self.oldest_first[kind as usize].push_back((index, entry.expires));
        self.counts[kind as usize] += 1;
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
        let lengths = self.lengths;
        if let Some(entry) = self.find(key) {
            entry.expires = now + lengths[entry.kind as usize];
        }
    }

    /// A new connection takes the name of one that is remembered; should that never come about,
    /// the cookies of the one before must still open nothing.
    pub(crate) fn spend(&mut self, key: Key, now: Instant) {
        let expires = now + self.lengths[Kind::Spent as usize];
        let Some(entry) = self.find(key) else { return };
        let before = core::mem::replace(&mut entry.kind, Kind::Spent);
        // Its turn in the queue that it is in finds it a place in the other.
        entry.expires = expires;
        self.counts[before as usize] -= 1;
        self.counts[Kind::Spent as usize] += 1;
    }

    /// Forgets a connection before its time.
    pub(crate) fn remove(&mut self, key: Key) {
        let entries = &mut self.entries;
        let found = self.by_key.find_entry(self.hash.of(key), |&i| entries[i as usize].key == key);
        if let Ok(found) = found {
            // Its place in the queue is given back when its turn comes.
            let (index, _) = found.remove();
            let entry = &mut self.entries[index as usize];
            self.counts[entry.kind as usize] -= 1;
            entry.kind = Kind::Forgotten;
        }
    }

    /// Forgets those whose time is over. `cookies_good`: who has waited in TIME_WAIT is then spent,
    /// since a cookie may have opened the connection.
    #[inline]
    pub(crate) fn expire(&mut self, now: Instant, cookies_good: bool) {
        self.expire_kind(Kind::TimeWait, now, cookies_good);
        self.expire_kind(Kind::Spent, now, false);
    }

    #[inline]
    fn expire_kind(&mut self, kind: Kind, now: Instant, becomes_spent: bool) {
        while let Some(&(index, turn)) = self.oldest_first[kind as usize].front()
            && turn <= now
        {
            self.oldest_first[kind as usize].pop_front();
            let entry = self.entries[index as usize];
            if entry.kind == Kind::TimeWait && entry.expires <= now && becomes_spent {
                self.spend(entry.key, now);
            }
            let entry = &self.entries[index as usize];
            if entry.kind != Kind::Forgotten && entry.expires > now {
                // Started anew, so not the oldest any more; or it is of another kind now.
                self.oldest_first[entry.kind as usize].push_back((index, entry.expires));
                continue;
            }
            if entry.kind != Kind::Forgotten {
                self.remove(entry.key);
            }
            self.free.push(index);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let oldest = self.oldest_first.iter().filter_map(VecDeque::front);
        oldest.map(|&(_, turn)| turn).min()
    }

    fn drop_oldest(&mut self, kind: Kind) {
        while let Some((index, _)) = self.oldest_first[kind as usize].pop_front() {
            self.free.push(index);
            let entry = self.entries[index as usize];
            if entry.kind != Kind::Forgotten {
                self.remove(entry.key);
                return;
            }
        }
    }
}

const TIMESTAMPS: u8 = 0x80;

impl Entry {
    pub(crate) fn timestamps(&self) -> bool {
        self.scale_and_timestamps & TIMESTAMPS != 0
    }

    pub(crate) fn rcv_scale(&self) -> u8 {
        self.scale_and_timestamps & !TIMESTAMPS
    }

    /// Whether a SYN may open the connection anew: always, when it does not wait for anything.
    ///
    /// RFC 9293 §3.6.1 MAY-2, SHLD-4: by the timestamps of RFC 6191 §2 or by its number.
    pub(crate) fn may_be_reused_by(&self, header: &Header, options: &Options) -> bool {
        if self.kind == Kind::Spent {
            return true;
        }
        match options.timestamps {
            Some(ts) if self.timestamps() && ts.value != self.ts_recent => {
                SeqNumber(ts.value).after(SeqNumber(self.ts_recent))
            }
            _ => header.seq.after(self.rcv_nxt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;
    use netcore::rng::SeededRng;

    fn key(n: u16) -> Key {
        Key::new(0, 6379, Ipv4Addr::new(198, 18, 0, 1).into(), n)
    }

    fn table(max: usize) -> TimeWait {
        TimeWait::new(Duration::from_secs(60), Duration::from_secs(64), max, &mut SeededRng::new(3))
    }

    fn at(s: u64) -> Instant {
        Instant::from_micros(s * 1_000_000)
    }

    fn add(table: &mut TimeWait, now: Instant, n: u16) -> bool {
        add_kind(table, now, Kind::TimeWait, n)
    }

    fn add_kind(table: &mut TimeWait, now: Instant, kind: Kind, n: u16) -> bool {
        table.insert(now, kind, key(n), (SeqNumber(1), SeqNumber(2)), 0, None)
    }

    fn len(table: &TimeWait) -> usize {
        assert_eq!(table.by_key.len(), table.count(Kind::TimeWait) + table.count(Kind::Spent));
        table.by_key.len()
    }

    #[test]
    fn entries_are_small_and_end_in_time() {
        assert_eq!(size_of::<Entry>(), 48);
        let mut table = table(100);
        for n in 0..50 {
            add(&mut table, at(u64::from(n)), n);
        }
        table.restart(key(0), at(30));
        table.expire(at(60), false);
        assert_eq!(len(&table), 50, "0 was started anew, 1 has a second left");
        table.expire(at(61), false);
        assert_eq!(len(&table), 49);
        table.remove(key(10));
        table.expire(at(90), false);
        assert!(table.find(key(30)).is_none() && table.find(key(31)).is_some());
        table.expire(at(1000), false);
        assert_eq!((len(&table), table.oldest_first[0].len()), (0, 0));
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
    fn spent_ones_have_their_own_time_and_give_way_first() {
        let mut table = table(3);
        assert!(!add(&mut table, at(0), 0));
        assert!(!add_kind(&mut table, at(1), Kind::Spent, 1));
        assert!(!add_kind(&mut table, at(2), Kind::Spent, 2));
        assert!(add(&mut table, at(3), 3));
        assert!(table.find(key(0)).is_some() && table.find(key(1)).is_none());
        assert_eq!(table.next_deadline(), Some(at(60)));
        table.expire(at(65), false);
        assert_eq!(len(&table), 1);
        assert_eq!(table.find(key(2)).unwrap().kind, Kind::Spent);
        table.expire(at(66), false);
        assert_eq!(len(&table), 0);
    }

    #[test]
    fn who_starts_anew_holds_up_nobody() {
        let mut table = table(10);
        for n in 0..5 {
            add(&mut table, at(0), n);
        }
        table.restart(key(0), at(50));
        table.restart(key(1), at(50));
        table.expire(at(60), false);
        assert_eq!(len(&table), 2, "those behind the two have gone in time");
        table.expire(at(110), false);
        assert_eq!(len(&table), 0);
    }

    #[test]
    fn after_time_wait_comes_spent_while_cookies_are_good() {
        let mut table = table(10);
        add(&mut table, at(0), 1);
        table.expire(at(60), true);
        assert_eq!(table.find(key(1)).unwrap().kind, Kind::Spent);
        table.expire(at(123), true);
        assert_eq!(len(&table), 1);
        table.expire(at(124), true);
        assert_eq!(len(&table), 0);
        assert_eq!(table.free.len(), table.entries.len());
    }
}
