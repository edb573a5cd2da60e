//! Transactions: commands that are queued and then run together, and watched keys.
//!
//! `EXEC` locks the shards of all queued keys at once, so nobody sees a part of it.
//!
//! Source: <https://redis.io/docs/latest/develop/interact/transactions/>

use core::sync::atomic::Ordering;

use super::Context;
use super::table::{Command, Flags, Keys, Row, TABLE};
use crate::args::Args;
use crate::dispatch;
use crate::engine::Engine;
use crate::error::{self, CommandResult};
use crate::reply::Reply;
use crate::session::{Multi, Session};

const BASE: Flags = Flags::NOSCRIPT
    .and(Flags::LOADING)
    .and(Flags::STALE)
    .and(Flags::FAST)
    .and(Flags::ALLOW_BUSY)
    .and(Flags::NOT_QUEUED);
const EXEC: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::SKIP_SLOWLOG).and(Flags::NOT_QUEUED);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("multi", 1, BASE, Keys::None, multi).doc("1.2.0", "O(1)", "", "Starts a transaction."),
    Command::new("exec", 1, EXEC, Keys::None, exec).doc(
        "1.2.0",
        "Depends on the commands",
        "",
        "Runs the queued commands.",
    ),
    Command::new("discard", 1, BASE, Keys::None, discard).doc(
        "2.0.0",
        "O(N) with N queued commands",
        "",
        "Forgets the queued commands.",
    ),
    Command::new("watch", -2, BASE, Keys::ALL, watch).doc(
        "2.2.0",
        "O(1) for every key",
        "key [key ...]",
        "Makes EXEC depend on keys being unchanged.",
    ),
    // Unlike WATCH, UNWATCH is queued inside MULTI.
    Command::new("unwatch", 1, UNWATCH, Keys::None, unwatch).doc(
        "2.2.0",
        "O(1)",
        "",
        "Forgets the watched keys.",
    ),
];
const UNWATCH: Flags =
    Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST).and(Flags::ALLOW_BUSY);

/// Adds a checked command to the client's transaction.
pub(crate) fn queue(session: &mut Session, row: &'static Row, command: &'static Command, args: Args<'_>) {
    if let Some(multi) = &mut session.multi {
        let args = args.to_owned();
        multi.bytes += args.memory();
        multi.queue.push((command, row.id, args));
        session.info.multi.store(multi.queue.len() as i32, Ordering::Relaxed);
    }
}

/// `MULTI`. `OK`.
fn multi(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if cx.session.multi.is_some() {
        return Err(error::NESTED_MULTI);
    }
    cx.session.multi = Some(Box::new(Multi::default()));
    cx.session.info.multi.store(0, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

/// `DISCARD`. `OK`.
fn discard(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if cx.session.multi.is_none() {
        return Err(error::DISCARD_WITHOUT_MULTI);
    }
    end(cx.session);
    forget_watches(cx.engine, cx.session);
    reply.ok();
    Ok(())
}

/// `WATCH key [key …]`. `OK`.
fn watch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if cx.session.multi.is_some() {
        return Err(error::WATCH_INSIDE_MULTI);
    }
    for key in args.from(1) {
        cx.watch_key(key);
    }
    let watched = cx.session.watching.as_ref().map_or(0, |watching| watching.keys.len());
    cx.session.info.watched.store(watched as u32, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

/// `UNWATCH`. `OK`.
fn unwatch(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if !cx.in_exec {
        forget_watches(cx.engine, cx.session);
    }
    reply.ok();
    Ok(())
}

/// `EXEC`. Array of the commands' replies; null when a watched key has changed.
fn exec(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(multi) = cx.session.multi.take() else { return Err(error::EXEC_WITHOUT_MULTI) };
    end(cx.session);
    if multi.failed {
        forget_watches(cx.engine, cx.session);
        return Err(error::EXEC_ABORT);
    }
    lock_union(cx, &multi);
    let tripped = tripped(cx);
    if tripped {
        cx.unlock();
        forget_watches(cx.engine, cx.session);
        reply.null_array();
        return Ok(());
    }
    cx.in_exec = true;
    reply.array(multi.queue.len());
    for (command, id, args) in &multi.queue {
        reply.resp3 = cx.session.resp3;
        dispatch::call(cx, &TABLE.rows()[*id], command, args.args(), reply);
    }
    cx.in_exec = false;
    cx.unlock();
    forget_watches(cx.engine, cx.session);
    Ok(())
}

/// Has a watched key changed, or come to its end, since it was watched? Its shard need not be
/// locked for the first: whoever changes it later comes after this transaction.
fn tripped(cx: &mut Context<'_>) -> bool {
    cx.session.watching.as_ref().is_some_and(|watching| watching.watch.tripped())
}

fn lock_union(cx: &mut Context<'_>, multi: &Multi) {
    let whole = Flags::LOCK_ALL.and(Flags::LOCK_EACH);
    if multi.queue.iter().any(|(command, ..)| command.flags.any(whole)) {
        cx.lock_all();
        return expire_watched(cx);
    }
    let mut shards = Vec::new();
    for (command, _, args) in &multi.queue {
        cx.shards_of(command, args.args(), &mut shards);
    }
    for (_, key) in cx.session.watching.iter().flat_map(|watching| &watching.keys) {
        shards.push(cx.engine.shard_of(cx.engine.hash(key)));
    }
    cx.lock_shards(shards);
    expire_watched(cx);
}

/// A watched key whose time is over counts as changed.
fn expire_watched(cx: &mut Context<'_>) {
    let keys = cx.session.watching.as_ref().map(|watching| watching.keys.clone());
    for (db, key) in keys.unwrap_or_default() {
        cx.expire(db, &key);
    }
}

fn end(session: &mut Session) {
    session.multi = None;
    session.info.multi.store(-1, Ordering::Relaxed);
}

/// Ends the client's watch. No shard may be locked by the caller.
pub(crate) fn forget_watches(engine: &Engine, session: &mut Session) {
    let Some(watching) = session.watching.take() else { return };
    for (db, key) in watching.keys {
        engine.lock(engine.shard_of(engine.hash(&key))).unwatch(db, &key, &watching.watch);
    }
    session.info.watched.store(0, Ordering::Relaxed);
}
