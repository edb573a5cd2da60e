//! From a parsed request to its reply: lookup, checks, locks, the command, what follows it.

use core::sync::atomic::Ordering;

use stack::Output;

use crate::args::Args;
use crate::command::context::Context;
use crate::command::table::{Flags, Row, TABLE, subcommand};
use crate::command::{Command, pubsub, transaction};
use crate::core_state::CoreState;
use crate::engine::Engine;
use crate::error::{self, Error};
use crate::reply::Reply;
use crate::session::{ReplyMode, Session};
use crate::waiting;

/// Runs one request; its reply is appended to `output`.
#[inline]
pub(crate) fn dispatch(
    engine: &Engine,
    core: &mut CoreState,
    session: &mut Session,
    args: Args<'_>,
    output: &mut Output,
) {
    if session.reply_mode == ReplyMode::On {
        return run(engine, core, session, args, output);
    }
    dispatch_silently(engine, core, session, args, output);
}

/// `CLIENT REPLY OFF` and `SKIP`: the reply goes nowhere.
#[cold]
fn dispatch_silently(
    engine: &Engine,
    core: &mut CoreState,
    session: &mut Session,
    args: Args<'_>,
    output: &mut Output,
) {
    if session.reply_mode == ReplyMode::SkipNext {
        session.reply_mode = ReplyMode::Skip;
    }
    let mut unsent = Output::new();
    run(engine, core, session, args, &mut unsent);
    session.waits_silently = session.waiter.is_some();
    match session.reply_mode {
        ReplyMode::Skip => session.reply_mode = ReplyMode::On,
        // CLIENT REPLY ON is the one whose answer is sent.
        ReplyMode::On => unsent.take_chunks().for_each(|chunk| output.put_shared(&chunk)),
        ReplyMode::Off | ReplyMode::SkipNext => {}
    }
}

#[inline]
fn run(engine: &Engine, core: &mut CoreState, session: &mut Session, args: Args<'_>, output: &mut Output) {
    let mut reply = Reply::new(output, session.resp3);
    let (row, command) = match resolve(args) {
        Ok(found) => found,
        Err(error) => return refuse(core, session, None, &error, &mut reply),
    };
    core.stats.commands.add(1);
    if !session.authenticated && !command.flags.has(Flags::NO_AUTH) && !authenticate_later(engine, session) {
        return refuse(core, session, Some(row), &error::NOT_AUTHENTICATED, &mut reply);
    }
    if session.subscriptions.is_some() && !session.resp3 && !allowed_while_listening(command) {
        return refuse(core, session, Some(row), &pubsub::not_while_listening(command), &mut reply);
    }
    if session.multi.is_some() && !command.flags.has(Flags::NOT_QUEUED) {
        return queue(core, session, row, command, args, &mut reply);
    }
    let mut cx = Context::new(engine, session, core);
    let timed = !command.flags.has(Flags::FAST) && !command.flags.has(Flags::SKIP_SLOWLOG);
    let started = if timed { engine.start.stopwatch.map(|clock| clock()) } else { None };
    cx.lock_for(command, args);
    call(&mut cx, row, command, args, &mut reply);
    cx.unlock();
    if !cx.ready.is_empty() {
        waiting::serve(engine, cx.core, core::mem::take(&mut cx.ready));
    }
    if let (Some(started), Some(clock)) = (started, engine.start.stopwatch) {
        note_if_slow(&cx, clock().saturating_sub(started), args);
    }
}

/// Runs a command whose locks are held.
#[inline]
pub(crate) fn call(
    cx: &mut Context<'_>,
    row: &Row,
    command: &'static Command,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) {
    cx.core.stats.by_command[row.id].calls.add(1);
    cx.session.info.command.store(command_number(row, command), Ordering::Relaxed);
    if let Err(error) = (command.run)(cx, args, reply) {
        cx.core.stats.by_command[row.id].failed.add(1);
        cx.core.stats.errors.add(1);
        reply.fail(&error);
    }
    if cx.met_expired.get() {
        remove_expired(cx, command, args);
    }
}

/// The row and subcommand that `args` name, with the right number of arguments.
#[inline]
pub(crate) fn resolve(args: Args<'_>) -> Result<(&'static Row, &'static Command), Error> {
    let Some(row) = TABLE.find(args.at(0)) else { return Err(unknown_command(args)) };
    let mut command = row.command;
    if !command.subcommands.is_empty() && args.len() > 1 {
        command =
            subcommand(command, args.at(1)).ok_or_else(|| unknown_subcommand(row.command, args.at(1)))?;
    }
    if !command.accepts(args.len()) {
        return Err(Error::arity(command.name));
    }
    Ok((row, command))
}

/// The number that [`crate::clients::ClientInfo::command`] keeps.
fn command_number(row: &Row, command: &'static Command) -> u32 {
    let sub = if core::ptr::eq(row.command, command) {
        0
    } else {
        1 + row.command.subcommands.iter().position(|sub| core::ptr::eq(sub, command)).unwrap_or(0)
    };
    (row.id as u32) << 8 | sub as u32
}

/// May a client that listens run it in RESP2?
fn allowed_while_listening(command: &Command) -> bool {
    const OTHERS: [&str; 3] = ["ping", "quit", "reset"];
    command.flags.has(Flags::PUBSUB) && command.name.ends_with("subscribe") || OTHERS.contains(&command.name)
}

/// A client that connected while a password was set and may go on because none is set any more.
#[cold]
fn authenticate_later(engine: &Engine, session: &mut Session) -> bool {
    session.authenticated = !engine.live.password.load(Ordering::Relaxed);
    session.authenticated
}

/// Answers a request that is not run.
#[cold]
fn refuse(
    core: &mut CoreState,
    session: &mut Session,
    row: Option<&Row>,
    error: &Error,
    reply: &mut Reply<'_>,
) {
    if let Some(multi) = &mut session.multi {
        multi.failed = true;
    }
    if let Some(row) = row {
        core.stats.by_command[row.id].rejected.add(1);
    }
    core.stats.errors.add(1);
    reply.fail(error);
}

fn queue(
    core: &mut CoreState,
    session: &mut Session,
    row: &'static Row,
    command: &'static Command,
    args: Args<'_>,
    reply: &mut Reply<'_>,
) {
    if command.flags.has(Flags::NO_MULTI) {
        return refuse(core, session, Some(row), &error::NOT_IN_TRANSACTION, reply);
    }
    transaction::queue(session, row, command, args);
    reply.raw(b"+QUEUED\r\n");
}

/// Removes the keys of `args` that are past their deadline.
#[cold]
fn remove_expired(cx: &mut Context<'_>, command: &Command, args: Args<'_>) {
    cx.met_expired.set(false);
    let db = cx.session.db;
    command.keys.each(args, &mut |index| cx.expire(db, args.at(index)));
}

#[cold]
fn note_if_slow(cx: &Context<'_>, took_us: u64, args: Args<'_>) {
    let limit = cx.engine.live.slower_than_us.load(Ordering::Relaxed);
    if limit >= 0 && took_us >= limit.unsigned_abs() {
        let name = cx.session.info.names().name;
        let address = cx.session.info.remote();
        cx.engine.slowlog.lock().add(cx.core.now_ms / 1000, took_us, args, address, name);
    }
}

/// Redis shows the first 128 bytes of the name and then arguments until 128 bytes are full.
#[cold]
fn unknown_command(args: Args<'_>) -> Error {
    let mut shown = Vec::new();
    for arg in args.from(1) {
        if shown.len() >= 128 {
            break;
        }
        shown.push(b'\'');
        let room = 128usize.saturating_sub(shown.len() - 1);
        shown.extend_from_slice(&arg[..arg.len().min(room)]);
        shown.extend_from_slice(b"' ");
    }
    let name = args.at(0);
    let mut text = b"ERR unknown command '".to_vec();
    text.extend_from_slice(&name[..name.len().min(128)]);
    text.extend_from_slice(b"', with args beginning with: ");
    text.extend_from_slice(&shown);
    Error::text(text)
}

#[cold]
fn unknown_subcommand(command: &Command, name: &[u8]) -> Error {
    let mut text = b"ERR unknown subcommand '".to_vec();
    text.extend_from_slice(&name[..name.len().min(128)]);
    text.extend_from_slice(format!("'. Try {} HELP.", command.name.to_ascii_uppercase()).as_bytes());
    Error::text(text)
}
