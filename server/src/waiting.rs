//! Clients that wait for a key to be filled: `BLPOP` and its like.
//!
//! A command that finds nothing leaves a [`Waiter`] in the shards of its keys, under the locks
//! it already holds, so no push slips through between. Whoever fills such a key serves the
//! waiters after its own command, first come first served, by running their commands on their
//! behalf; the replies go to the waiters' cores, which send them. So a pushed element never shows
//! up in the list when somebody waits for it, as in Redis.
//!
//! Exactly one side ends a waiter: the one that serves it, its core when the time is over or the
//! client leaves, or `CLIENT UNBLOCK`. The others see that it has ended and take it out of the
//! queues where they meet it.

use core::ops::Range;
use core::sync::atomic::{AtomicU8, Ordering};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use netcore::Instant;
use parking_lot::Mutex;
use stack::Output;

use crate::args::{Args, OwnedArgs, parse_strtod};
use crate::clients::ClientInfo;
use crate::command::table::{Group, TABLE};
use crate::command::{Command, Context};
use crate::core_state::CoreState;
use crate::engine::Engine;
use crate::error::{CommandResult, Error};
use crate::keyspace::{Shard, Value};
use crate::reply::Reply;
use crate::session::Session;

/// `CLIENT UNBLOCK id ERROR`.
const UNBLOCKED: Error = Error::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");

/// What has become of a waiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It waits.
    Waiting,
    /// Somebody is running its command right now.
    Serving,
    /// Its reply is there.
    Served,
    /// It gets the reply of a command that found nothing.
    TimedOut,
    /// It gets an error.
    Unblocked,
}

/// A client's command that waits.
pub struct Waiter {
    client: Arc<ClientInfo>,
    command: &'static Command,
    group: Group,
    args: OwnedArgs,
    /// Indexes of the arguments that are keys to wait for.
    keys: Range<usize>,
    db: u32,
    resp3: bool,
    /// Grows from waiter to waiter: the order in which they are served.
    ticket: u64,
    /// Unix µs, or `i64::MAX`.
    deadline_us: i64,
    state: AtomicU8,
    reply: Mutex<Output>,
}

impl Waiter {
    /// The order among waiters.
    pub fn ticket(&self) -> u64 {
        self.ticket
    }
    fn state(&self) -> State {
        match self.state.load(Ordering::Acquire) {
            0 => State::Waiting,
            1 => State::Serving,
            2 => State::Served,
            3 => State::TimedOut,
            _ => State::Unblocked,
        }
    }
    /// Makes it `new` if it waits. While another core serves it this waits for the outcome,
    /// which takes as long as a command; the caller holds no lock.
    fn change(&self, new: State) -> bool {
        loop {
            let seen = self.state.compare_exchange(
                State::Waiting as u8,
                new as u8,
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match seen {
                Ok(_) => return true,
                Err(seen) if seen == State::Serving as u8 => core::hint::spin_loop(),
                Err(_) => return false,
            }
        }
    }
    /// Ends the wait with an error or as if the time were over. False: it had ended already.
    pub fn end(&self, engine: &Engine, state: State) -> bool {
        let ended = self.change(state);
        if ended {
            engine.blocked.fetch_sub(1, Ordering::Relaxed);
            engine.wake(&self.client);
        }
        ended
    }
}

/// The waiters of one core that have a deadline, by deadline and ticket.
#[derive(Default)]
pub struct Deadlines(BTreeMap<(i64, u64), Arc<Waiter>>);

impl Deadlines {
    /// The earliest one, Unix µs.
    #[inline]
    pub fn next_us(&self) -> Option<i64> {
        self.0.first_key_value().map(|((deadline_us, _), _)| *deadline_us)
    }
}

/// Argument `index` as a timeout: how many ms, 0 for ever.
///
/// # Errors
/// Redis's texts.
pub(crate) fn timeout_ms(args: Args<'_>, index: usize) -> Result<i64, Error> {
    let text = args.at(index);
    let seconds = if text.is_empty() || text[0].is_ascii_whitespace() { None } else { parse_strtod(text) };
    let seconds = seconds.ok_or(Error::new("ERR timeout is not a float or out of range"))?;
    let ms = seconds * 1000.0;
    if ms > i64::MAX as f64 / 2.0 {
        return Err(Error::new("ERR timeout is out of range"));
    }
    if ms < 0.0 {
        return Err(Error::new("ERR timeout is negative"));
    }
    Ok(ms.ceil() as i64)
}

/// The running command has found nothing in the keys `keys` of `args`: its client waits.
/// In a transaction it does not, and `nothing` writes the reply.
pub(crate) fn wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    keys: Range<usize>,
    timeout_ms: i64,
    reply: &mut Reply<'_>,
    nothing: fn(&mut Reply<'_>),
) -> CommandResult {
    if cx.in_exec {
        nothing(reply);
        return Ok(());
    }
    if cx.for_waiter {
        cx.still_waits = true;
        return Ok(());
    }
    let row = TABLE.find(args.at(0)).expect("the row that is running");
    let deadline_us = match timeout_ms {
        0 => i64::MAX,
        ms => cx.core.now_us.saturating_add(ms.saturating_mul(1000)),
    };
    let waiter = Arc::new(Waiter {
        client: Arc::clone(&cx.session.info),
        command: row.command,
        group: row.group,
        args: args.to_owned(),
        keys: keys.clone(),
        db: cx.session.db,
        resp3: cx.session.resp3,
        ticket: cx.engine.new_ticket(),
        deadline_us,
        state: AtomicU8::new(State::Waiting as u8),
        reply: Mutex::default(),
    });
    for index in keys {
        cx.add_waiter(args.at(index), &waiter);
    }
    if deadline_us != i64::MAX {
        cx.core.deadlines.0.insert((deadline_us, waiter.ticket), Arc::clone(&waiter));
    }
    cx.engine.blocked.fetch_add(1, Ordering::Relaxed);
    *cx.session.info.waiter.lock() = Some(Arc::clone(&waiter));
    cx.session.waiter = Some(waiter);
    cx.session.keeps_info = true;
    Ok(())
}

/// Serves those who wait for the keys in `ready`. No shard may be locked by the caller.
#[cold]
pub(crate) fn serve(engine: &Engine, core: &mut CoreState, ready: Vec<(u32, Box<[u8]>)>) {
    let mut ready = VecDeque::from(ready);
    while let Some((db, key)) = ready.pop_front() {
        let hash = engine.hash(&key);
        let mut after = 0;
        loop {
            let waiter = {
                let shard = engine.lock(engine.shard_of(hash));
                let filled = shard.dbs[db].find(hash.table, &key).and_then(|entry| group(&entry.value));
                match filled.and_then(|group| shard.waiter_after(db, &key, after, group)) {
                    Some(waiter) => waiter,
                    None => break,
                }
            };
            after = waiter.ticket;
            if waiter.change(State::Serving) {
                serve_one(engine, core, &waiter, &mut ready);
            } else {
                engine.lock(engine.shard_of(hash)).remove_waiter(db, &key, &waiter);
            }
        }
    }
}

/// The group of the commands that wait for such a value.
fn group(value: &Value) -> Option<Group> {
    match value {
        Value::List(_) => Some(Group::List),
        Value::ZSet(_) => Some(Group::SortedSet),
        Value::String(_) | Value::Hash(_) | Value::Set(_) => None,
    }
}

/// Runs the command of a waiter that has been claimed.
fn serve_one(
    engine: &Engine,
    core: &mut CoreState,
    waiter: &Arc<Waiter>,
    ready: &mut VecDeque<(u32, Box<[u8]>)>,
) {
    let mut session = Session::new(Arc::clone(&waiter.client), true);
    session.db = waiter.db;
    session.resp3 = waiter.resp3;
    let args = waiter.args.args();
    let mut output = Output::new();
    let mut cx = Context::new(engine, &mut session, core);
    cx.for_waiter = true;
    cx.lock_for(waiter.command, args);
    let mut reply = Reply::new(&mut output, waiter.resp3);
    if let Err(error) = (waiter.command.run)(&mut cx, args, &mut reply) {
        reply.fail(&error);
    }
    if cx.still_waits {
        waiter.state.store(State::Waiting as u8, Ordering::Release);
        return;
    }
    for index in waiter.keys.clone() {
        cx.remove_waiter(args.at(index), waiter);
    }
    cx.unlock();
    ready.extend(cx.ready.drain(..));
    *waiter.reply.lock() = output;
    engine.blocked.fetch_sub(1, Ordering::Relaxed);
    waiter.state.store(State::Served as u8, Ordering::Release);
    engine.wake(&waiter.client);
}

/// Ends the waiters of this core whose time is over.
#[cold]
pub(crate) fn time_out(engine: &Engine, core: &mut CoreState) {
    while let Some((&(deadline_us, _), _)) = core.deadlines.0.first_key_value() {
        if deadline_us > core.now_us {
            return;
        }
        let Some((_, waiter)) = core.deadlines.0.pop_first() else { return };
        waiter.end(engine, State::TimedOut);
    }
}

/// Writes the reply of a client that has waited. False: it still waits.
pub(crate) fn finish(
    engine: &Engine,
    core: &mut CoreState,
    session: &mut Session,
    output: &mut Output,
) -> bool {
    let Some(waiter) = session.waiter.clone() else { return true };
    let mut reply = Output::new();
    match waiter.state() {
        State::Waiting | State::Serving => return false,
        State::Served => reply = core::mem::take(&mut *waiter.reply.lock()),
        State::TimedOut => Reply::new(&mut reply, waiter.resp3).null_array(),
        State::Unblocked => Reply::new(&mut reply, waiter.resp3).fail(&UNBLOCKED),
    }
    forget(engine, core, session);
    if !core::mem::take(&mut session.waits_silently) {
        reply.take_chunks().for_each(|chunk| output.put_shared(&chunk));
    }
    true
}

/// The client waits no longer, whatever the reason. No shard may be locked by the caller.
pub(crate) fn forget(engine: &Engine, core: &mut CoreState, session: &mut Session) {
    let Some(waiter) = session.waiter.take() else { return };
    waiter.end(engine, State::TimedOut);
    *session.info.waiter.lock() = None;
    core.deadlines.0.remove(&(waiter.deadline_us, waiter.ticket));
    if waiter.state() != State::Served {
        for index in waiter.keys.clone() {
            let key = waiter.args.args().at(index);
            engine.lock(engine.shard_of(engine.hash(key))).remove_waiter(waiter.db, key, &waiter);
        }
    }
}

/// How long until `deadline_us` (Unix µs), seen from `now_us`.
pub(crate) fn until(deadline_us: i64, now_us: i64, now: Instant) -> Instant {
    now + netcore::Duration::from_micros(deadline_us.saturating_sub(now_us).max(0) as u64)
}

/// A key's queue.
pub(crate) type Queue = VecDeque<Arc<Waiter>>;

impl Shard {
    /// `waiter` wants `key` to be filled.
    pub fn add_waiter(&mut self, db: u32, key: &[u8], waiter: &Arc<Waiter>) {
        let queue = self.waiting.entry((db, key.into())).or_default();
        if queue.back().is_none_or(|last| !Arc::ptr_eq(last, waiter)) {
            queue.push_back(Arc::clone(waiter));
        }
    }
    /// And no longer does.
    pub fn remove_waiter(&mut self, db: u32, key: &[u8], waiter: &Arc<Waiter>) {
        let name = (db, Box::from(key));
        if let Some(queue) = self.waiting.get_mut(&name) {
            queue.retain(|other| !Arc::ptr_eq(other, waiter));
            if queue.is_empty() {
                self.waiting.remove(&name);
            }
        }
    }
    /// The first with a ticket above `ticket` who waits for `key` with a command of `group`.
    fn waiter_after(&self, db: u32, key: &[u8], ticket: u64, group: Group) -> Option<Arc<Waiter>> {
        let queue: &Queue = self.waiting.get(&(db, Box::from(key)))?;
        queue.iter().find(|waiter| waiter.ticket > ticket && waiter.group == group).cloned()
    }
    /// Keys of database `db` that somebody waits for.
    pub fn awaited_keys(&self, db: u32) -> Vec<Box<[u8]>> {
        self.waiting.keys().filter(|(of, _)| *of == db).map(|(_, key)| key.clone()).collect()
    }
}
