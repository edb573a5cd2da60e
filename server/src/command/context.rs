//! What a command may touch while it runs: its locked part of the keyspace, its client, time.

use core::cell::Cell;
use std::sync::Arc;

use parking_lot::MutexGuard;

use crate::args::Args;
use crate::core_state::CoreState;
use crate::engine::Engine;
use crate::error::{self, Error};
use crate::keyspace::key::KeyHash;
use crate::keyspace::{Container, Db, Entry, NEVER, Shard, Value};
use crate::session::Session;
use crate::waiting::Waiter;

type Guard<'a> = MutexGuard<'a, Shard>;

/// The shards that are locked for the running command or transaction.
pub(crate) enum Held<'a> {
    None,
    One(usize, Guard<'a>),
    /// In ascending order.
    Some(Vec<(usize, Guard<'a>)>),
    All(Vec<Guard<'a>>),
}

/// A running command's surroundings.
///
/// Lookups take the key as it stands in the arguments; only keys that the command's row names
/// are locked, and only they may be asked for (anything else panics in tests).
pub struct Context<'a> {
    /// What all clients share.
    pub engine: &'a Engine,
    /// The client.
    pub session: &'a mut Session,
    /// What this core owns: its clock reading, randomness, counters.
    pub core: &'a mut CoreState,
    pub(crate) held: Held<'a>,
    /// Address, length and hash of the first key, so that it is hashed once.
    pub(crate) first_key: (usize, usize, KeyHash),
    /// A lookup met a key past its deadline: the dispatcher removes it after the command.
    pub(crate) met_expired: Cell<bool>,
    /// In `EXEC`.
    pub(crate) in_exec: bool,
    /// The command is run again on behalf of a client that waits, and
    pub(crate) for_waiter: bool,
    /// has found nothing again.
    pub(crate) still_waits: bool,
    /// Changed keys that somebody waits for.
    pub(crate) ready: Vec<(u32, Box<[u8]>)>,
}

impl<'a> Context<'a> {
    /// Nothing is locked yet.
    #[inline]
    pub(crate) fn new(engine: &'a Engine, session: &'a mut Session, core: &'a mut CoreState) -> Self {
        Self {
            engine,
            session,
            core,
            held: Held::None,
            first_key: (0, 0, KeyHash { shard: 0, table: 0 }),
            met_expired: Cell::new(false),
            in_exec: false,
            for_waiter: false,
            still_waits: false,
            ready: Vec::new(),
        }
    }
    /// Unix time in milliseconds, the same during a burst.
    #[inline]
    pub fn now_ms(&self) -> i64 {
        self.core.now_ms
    }
    /// 64 random bits.
    pub fn random(&mut self) -> u64 {
        self.core.random()
    }
    /// A random number in `0..bound` (0 for 0).
    pub fn random_below(&mut self, bound: usize) -> usize {
        if bound == 0 { 0 } else { (self.core.random() % bound as u64) as usize }
    }

    // ---- lookups -----------------------------------------------------------------------

    /// The value of `key` for a command that reads. Counts as a use and as a hit or miss.
    #[inline]
    pub fn read(&self, key: &[u8]) -> Option<&Value> {
        let found = self.entry(self.session.db, key);
        match found {
            Some(entry) => {
                self.core.stats.hits.add(1);
                if !self.session.no_touch {
                    entry.used_at.set(self.core.now_s);
                }
                Some(&entry.value)
            }
            None => {
                self.core.stats.misses.add(1);
                None
            }
        }
    }
    /// The same for a value that must be of type `T`.
    ///
    /// # Errors
    /// [`error::WRONG_TYPE`].
    #[inline]
    pub fn read_as<T: Container>(&self, key: &[u8]) -> Result<Option<&T>, Error> {
        match self.read(key) {
            None => Ok(None),
            Some(value) => T::of(value).map(Some).ok_or(error::WRONG_TYPE),
        }
    }
    /// The entry of `key` without counting as a use (`TTL`, `TYPE`, `OBJECT`).
    pub fn peek(&self, key: &[u8]) -> Option<&Entry> {
        self.entry(self.session.db, key)
    }
    /// The same in database `db`.
    pub fn peek_in(&self, db: u32, key: &[u8]) -> Option<&Entry> {
        self.entry(db, key)
    }
    /// The value of `key`, to change in place. After a change call [`Context::modified`].
    #[inline]
    pub fn write(&mut self, key: &[u8]) -> Option<&mut Value> {
        let (now_ms, now_s) = (self.core.now_ms, self.core.now_s);
        let db = self.session.db;
        let hash = self.hash(key);
        if self.db(db, hash).find(hash.table, key).is_some_and(|entry| entry.expire_at <= now_ms) {
            self.expire(db, key);
            return None;
        }
        let entry = self.db_mut(db, hash).find_mut(hash.table, key)?;
        entry.used_at.set(now_s);
        Some(&mut entry.value)
    }
    /// The same for a value that must be of type `T`.
    ///
    /// # Errors
    /// [`error::WRONG_TYPE`].
    #[inline]
    pub fn write_as<T: Container>(&mut self, key: &[u8]) -> Result<Option<&mut T>, Error> {
        match self.write(key) {
            None => Ok(None),
            Some(value) => T::of_mut(value).map(Some).ok_or(error::WRONG_TYPE),
        }
    }
    /// The same, and an empty `T` is stored first when there is nothing. The caller puts
    /// something in, or calls [`Context::remove_if_empty`].
    ///
    /// # Errors
    /// [`error::WRONG_TYPE`].
    pub fn write_or_default<T: Container + Default>(&mut self, key: &[u8]) -> Result<&mut T, Error> {
        if self.write(key).is_none() {
            let (db, hash, now_s) = (self.session.db, self.hash(key), self.core.now_s);
            self.db_mut(db, hash).insert_new(hash.table, key, T::default().into_value(), now_s);
        }
        let (db, hash) = (self.session.db, self.hash(key));
        let entry = self.db_mut(db, hash).find_mut(hash.table, key).expect("found or inserted above");
        T::of_mut(&mut entry.value).ok_or(error::WRONG_TYPE)
    }

    // ---- changes -----------------------------------------------------------------------

    /// Stores `value` under `key`, whatever was there; the key has no deadline afterwards.
    #[inline]
    pub fn insert(&mut self, key: &[u8], value: Value) {
        self.insert_in(self.session.db, key, value, NEVER);
    }
    /// Stores `value` under `key` in database `db` with the deadline `expire_at` (Unix ms or
    /// [`NEVER`]).
    pub fn insert_in(&mut self, db: u32, key: &[u8], value: Value, expire_at: i64) {
        let now_s = self.core.now_s;
        let hash = self.hash(key);
        let table = self.db_mut(db, hash);
        match table.find_mut(hash.table, key) {
            Some(entry) => {
                entry.value = value;
                entry.used_at.set(now_s);
                if entry.expire_at != expire_at {
                    table.set_expire(hash.table, key, expire_at);
                }
            }
            None => {
                table.insert_new(hash.table, key, value, now_s);
                if expire_at != NEVER {
                    table.set_expire(hash.table, key, expire_at);
                }
            }
        }
        self.modified_in(db, key);
    }
    /// Removes `key`; what it held.
    pub fn remove(&mut self, key: &[u8]) -> Option<Value> {
        self.remove_in(self.session.db, key).map(|entry| entry.value)
    }
    /// Removes `key` from database `db`; its whole entry.
    pub fn remove_in(&mut self, db: u32, key: &[u8]) -> Option<Entry> {
        let hash = self.hash(key);
        let now_ms = self.core.now_ms;
        let entry = self.db_mut(db, hash).remove(hash.table, key)?;
        self.modified_in(db, key);
        if entry.expire_at <= now_ms {
            self.core.stats.expired_keys.add(1);
            return None;
        }
        Some(entry)
    }
    /// Removes `key` when its container has become empty. Says whether it did. Call after
    /// [`Context::modified`] or before, as you like.
    pub fn remove_if_empty<T: Container>(&mut self, key: &[u8]) -> bool {
        let (db, hash) = (self.session.db, self.hash(key));
        let empty = self
            .db(db, hash)
            .find(hash.table, key)
            .and_then(|entry| T::of(&entry.value))
            .is_some_and(T::is_empty);
        if empty {
            self.db_mut(db, hash).remove(hash.table, key);
        }
        empty
    }
    /// Sets or clears ([`NEVER`]) the deadline of `key` (Unix ms). Does not count as a change.
    pub fn set_expire(&mut self, key: &[u8], expire_at: i64) -> bool {
        let (db, hash) = (self.session.db, self.hash(key));
        self.db_mut(db, hash).set_expire(hash.table, key, expire_at)
    }
    /// `key` has been changed in place: clients that watch it are told.
    /// [`Context::insert`] and [`Context::remove`] do this themselves.
    #[inline]
    pub fn modified(&mut self, key: &[u8]) {
        self.modified_in(self.session.db, key);
    }
    /// The same in database `db`.
    #[inline]
    pub fn modified_in(&mut self, db: u32, key: &[u8]) {
        let hash = self.hash(key);
        if self.shard_mut(hash).touch(db, key) {
            self.ready.push((db, key.into()));
        }
        self.core.stats.changes.add(1);
    }
    /// `waiter` waits for `key`.
    pub(crate) fn add_waiter(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let (db, hash) = (self.session.db, self.hash(key));
        self.shard_mut(hash).add_waiter(db, key, waiter);
    }
    /// And no longer does.
    pub(crate) fn remove_waiter(&mut self, key: &[u8], waiter: &Arc<Waiter>) {
        let (db, hash) = (self.session.db, self.hash(key));
        self.shard_mut(hash).remove_waiter(db, key, waiter);
    }

    // ---- whole shards ------------------------------------------------------------------

    /// Calls `with` for shard after shard, locking each unless it is locked already, until it
    /// returns false. For rows with `LOCK_ALL` or `LOCK_EACH`.
    pub fn each_shard(&mut self, mut with: impl FnMut(usize, &mut Shard) -> bool) {
        for index in 0..self.engine.shard_count() {
            if !self.with_shard(index, |shard| with(index, shard)) {
                return;
            }
        }
    }
    /// Calls `with` for one shard, locking it unless it is locked already.
    pub fn with_shard<R>(&mut self, index: usize, with: impl FnOnce(&mut Shard) -> R) -> R {
        match &mut self.held {
            Held::All(guards) => with(&mut guards[index]),
            Held::None => with(&mut self.engine.lock(index)),
            _ => unreachable!("rows that walk over shards say LOCK_ALL or LOCK_EACH"),
        }
    }

    // ---- inside ------------------------------------------------------------------------

    #[inline]
    fn entry(&self, db: u32, key: &[u8]) -> Option<&Entry> {
        let hash = self.hash(key);
        let entry = self.db(db, hash).find(hash.table, key)?;
        if entry.expire_at <= self.core.now_ms {
            self.met_expired.set(true);
            return None;
        }
        Some(entry)
    }
    /// Removes a key that is past its deadline.
    #[cold]
    pub(crate) fn expire(&mut self, db: u32, key: &[u8]) {
        let (hash, now_ms) = (self.hash(key), self.core.now_ms);
        let due = self.db(db, hash).find(hash.table, key).is_some_and(|entry| entry.expire_at <= now_ms);
        if due {
            self.db_mut(db, hash).remove(hash.table, key);
            self.shard_mut(hash).touch(db, key);
            self.core.stats.expired_keys.add(1);
        }
    }
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let (address, len, hash) = self.first_key;
        if address == key.as_ptr() as usize && len == key.len() { hash } else { self.engine.hash(key) }
    }
    #[inline]
    fn shard(&self, hash: KeyHash) -> &Shard {
        let wanted = self.engine.shard_of(hash);
        match &self.held {
            Held::One(index, guard) if *index == wanted => guard,
            Held::Some(guards) => match guards.binary_search_by_key(&wanted, |(index, _)| *index) {
                Ok(at) => &guards[at].1,
                Err(_) => unlocked(),
            },
            Held::All(guards) => &guards[wanted],
            _ => unlocked(),
        }
    }
    #[inline]
    fn shard_mut(&mut self, hash: KeyHash) -> &mut Shard {
        let wanted = self.engine.shard_of(hash);
        match &mut self.held {
            Held::One(index, guard) if *index == wanted => guard,
            Held::Some(guards) => match guards.binary_search_by_key(&wanted, |(index, _)| *index) {
                Ok(at) => &mut guards[at].1,
                Err(_) => unlocked(),
            },
            Held::All(guards) => &mut guards[wanted],
            _ => unlocked(),
        }
    }
    #[inline]
    fn db(&self, db: u32, hash: KeyHash) -> &Db {
        &self.shard(hash).dbs[db]
    }
    #[inline]
    fn db_mut(&mut self, db: u32, hash: KeyHash) -> &mut Db {
        &mut self.shard_mut(hash).dbs[db]
    }

    // ---- locking -----------------------------------------------------------------------

    /// Locks what the command in `args` needs. Not called when a transaction holds its locks.
    #[inline]
    pub(crate) fn lock_for(&mut self, command: &super::Command, args: Args<'_>) {
        use super::table::{Flags, Keys};
        if let Keys::Range { first: 1, last: 1, .. } = command.keys
            && args.len() > 1
        {
            let key = args.at(1);
            let hash = self.engine.hash(key);
            self.first_key = (key.as_ptr() as usize, key.len(), hash);
            let index = self.engine.shard_of(hash);
            self.held = Held::One(index, self.engine.lock(index));
        } else if command.flags.has(Flags::LOCK_ALL) {
            self.lock_all();
        } else if !matches!(command.keys, Keys::None) {
            let mut shards = Vec::new();
            self.shards_of(command, args, &mut shards);
            self.lock_shards(shards);
        }
    }
    /// Adds the shards of the keys in `args`.
    pub(crate) fn shards_of(&self, command: &super::Command, args: Args<'_>, shards: &mut Vec<usize>) {
        command
            .keys
            .each(args, &mut |index| shards.push(self.engine.shard_of(self.engine.hash(args.at(index)))));
    }
    /// Locks `shards` in ascending order, so that nobody waits in a circle.
    pub(crate) fn lock_shards(&mut self, mut shards: Vec<usize>) {
        shards.sort_unstable();
        shards.dedup();
        self.held = match shards[..] {
            [] => Held::None,
            [one] => Held::One(one, self.engine.lock(one)),
            _ => Held::Some(shards.into_iter().map(|index| (index, self.engine.lock(index))).collect()),
        };
    }
    pub(crate) fn lock_all(&mut self) {
        self.held = Held::All((0..self.engine.shard_count()).map(|index| self.engine.lock(index)).collect());
    }
    pub(crate) fn unlock(&mut self) {
        self.held = Held::None;
    }
    /// The watch of this client, made when needed.
    pub(crate) fn watch_key(&mut self, key: &[u8]) {
        let db = self.session.db;
        let hash = self.hash(key);
        // A key that has expired already must not trip the watch when it is removed.
        self.expire(db, key);
        let watching = self.session.watching.get_or_insert_default();
        if !watching.keys.iter().any(|(of, name)| *of == db && **name == *key) {
            watching.keys.push((db, key.into()));
            let watch = Arc::clone(&watching.watch);
            self.shard_mut(hash).watch(db, key, &watch);
        }
    }
}

#[cold]
fn unlocked() -> ! {
    unreachable!("a command asks for a key that its row in the table does not name")
}
