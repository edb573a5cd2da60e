//! Commands on the connection itself.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=connection>

mod client;

use core::sync::atomic::Ordering;

use protocol::resp::number::parse_i64;

use super::table::{Command, Flags, Keys};
use super::{Context, transaction};
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::reply::Reply;
use crate::session::ReplyMode;

pub(crate) use client::check_name;

/// The Redis version whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.0.15";

const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE).and(Flags::FAST);
const BEFORE_AUTH: Flags = ANYTIME.and(Flags::NOSCRIPT).and(Flags::NO_AUTH).and(Flags::ALLOW_BUSY);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("ping", -1, Flags::FAST, Keys::None, ping).doc(
        "1.0.0",
        "O(1)",
        "[message]",
        "Answers PONG, or the message.",
    ),
    Command::new("echo", 2, ANYTIME, Keys::None, echo).doc(
        "1.0.0",
        "O(1)",
        "message",
        "Answers the message.",
    ),
    Command::new("select", 2, ANYTIME, Keys::None, select).doc(
        "1.0.0",
        "O(1)",
        "index",
        "Changes the selected database.",
    ),
    Command::new("auth", -2, BEFORE_AUTH, Keys::None, auth).doc(
        "1.0.0",
        "O(N) with N the length of the password",
        "[username] password",
        "Authenticates the connection.",
    ),
    Command::new("hello", -1, BEFORE_AUTH, Keys::None, hello).doc(
        "6.0.0",
        "O(1)",
        "[protover [AUTH username password] [SETNAME clientname]]",
        "Greets the server and chooses the protocol version.",
    ),
    Command::new("quit", -1, BEFORE_AUTH.and(Flags::NOT_QUEUED), Keys::None, quit).doc(
        "1.0.0",
        "O(1)",
        "",
        "Closes the connection.",
    ),
    Command::new("reset", 1, BEFORE_AUTH.and(Flags::NOT_QUEUED), Keys::None, reset).doc(
        "6.2.0",
        "O(1)",
        "",
        "Makes the connection as new.",
    ),
    Command::new("client", -2, Flags::NONE, Keys::None, client::help)
        .doc("2.4.0", "Depends on subcommand", "", "Looks at and manages connections.")
        .subcommands(client::SUBCOMMANDS),
];

/// `PING [message]`. `PONG` or the message.
fn ping(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match args.len() {
        // A client that listens takes it for a message.
        1 | 2 if cx.session.subscriptions.is_some() && !cx.session.resp3 => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.get(1).unwrap_or_default());
        }
        1 => reply.raw(b"+PONG\r\n"),
        2 => reply.bulk(args.at(1)),
        _ => return Err(Error::arity("ping")),
    }
    Ok(())
}

/// `ECHO message`. The message.
fn echo(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.bulk(args.at(1));
    Ok(())
}

/// `SELECT index`. `OK`.
fn select(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let db = super::key::database(cx, args, 1)?;
    cx.session.db = db;
    cx.session.info.db.store(db, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

/// Takes time that does not depend on where the texts differ.
fn same_password(given: &[u8], wanted: &[u8]) -> bool {
    let mut different = given.len() ^ wanted.len();
    for (at, byte) in given.iter().enumerate() {
        different |= usize::from(byte ^ wanted.get(at).copied().unwrap_or(0));
    }
    different == 0
}

fn check_password(cx: &Context<'_>, user: &[u8], password: &[u8]) -> CommandResult {
    let config = cx.engine.config.read();
    let right = config.requirepass.is_empty() || same_password(password, config.requirepass.as_bytes());
    if user == b"default" && right { Ok(()) } else { Err(error::WRONG_PASSWORD) }
}

/// `AUTH [username] password`. `OK`.
fn auth(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match args.len() {
        2 if cx.engine.config.read().requirepass.is_empty() => return Err(error::NO_PASSWORD_SET),
        2 => check_password(cx, b"default", args.at(1))?,
        3 => check_password(cx, args.at(1), args.at(2))?,
        _ => return Err(error::SYNTAX),
    }
    cx.session.authenticated = true;
    reply.ok();
    Ok(())
}

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`. Map: the server's traits.
fn hello(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut version = None;
    if args.len() > 1 {
        let number = parse_i64(args.at(1))
            .ok_or(Error::new("ERR Protocol version is not an integer or out of range"))?;
        if !(2..=3).contains(&number) {
            return Err(error::NO_PROTO);
        }
        version = Some(number);
    }
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let more = args.len() - 1 - at;
        if args.is(at, "AUTH") && more >= 2 {
            login = Some((args.at(at + 1), args.at(at + 2)));
            at += 3;
        } else if args.is(at, "SETNAME") && more >= 1 {
            name = Some(args.at(at + 1));
            check_name(args.at(at + 1), "Client names")?;
            at += 2;
        } else {
            return Err(Error::text([b"ERR Syntax error in HELLO option '", args.at(at), b"'"].concat()));
        }
    }
    if let Some((user, password)) = login {
        check_password(cx, user, password)?;
        cx.session.authenticated = true;
    }
    if !cx.session.authenticated {
        return Err(Error::new(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        cx.session.rename(|names| names.name = name.to_vec());
    }
    if let Some(version) = version {
        cx.session.resp3 = version == 3;
        cx.session.info.resp.store(version as u8, Ordering::Relaxed);
        reply.resp3 = cx.session.resp3;
    }
    reply.map(7);
    for (field, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"proto");
    reply.integer(if cx.session.resp3 { 3 } else { 2 });
    reply.bulk(b"id");
    reply.integer(cx.session.info.id() as i64);
    for (field, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(field.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(())
}

/// `QUIT`. `OK`, and the connection is closed.
fn quit(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.session.closing = true;
    reply.ok();
    Ok(())
}

/// `RESET`. `RESET`; transaction, watches, database, protocol, name and login are as at the start.
fn reset(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.session.multi = None;
    transaction::forget_watches(cx.engine, cx.session);
    if let Some(mut subscriptions) = cx.session.subscriptions.take() {
        cx.engine.pubsub.leave(&mut subscriptions, &cx.session.info);
    }
    cx.session.db = 0;
    cx.session.resp3 = false;
    cx.session.reply_mode = ReplyMode::On;
    cx.session.no_touch = false;
    cx.session.authenticated = !cx.engine.live.password.load(Ordering::Relaxed);
    cx.session.rename(|names| names.name.clear());
    let info = &cx.session.info;
    info.db.store(0, Ordering::Relaxed);
    info.resp.store(2, Ordering::Relaxed);
    info.multi.store(-1, Ordering::Relaxed);
    info.no_evict.store(false, Ordering::Relaxed);
    reply.resp3 = false;
    reply.simple("RESET");
    Ok(())
}
