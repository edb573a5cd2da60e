//! `CLIENT`: looking at connections, naming and closing them.

use core::sync::atomic::Ordering;

use protocol::resp::number::parse_i64;

use crate::args::Args;
use crate::clients::Client;
use crate::command::table::{Command, Flags, Keys};
use crate::command::{Context, help_lines};
use crate::error::{self, CommandResult, Error};
use crate::reply::Reply;
use crate::session::ReplyMode;
use crate::waiting::State;

const SELF: Flags = Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE);
const OTHERS: Flags = SELF.and(Flags::ADMIN);

/// The subcommands.
pub(super) static SUBCOMMANDS: &[Command] = &[
    Command::new("client|id", 2, SELF, Keys::None, id).doc("5.0.0", "O(1)", "", "This connection's number."),
    Command::new("client|getname", 2, SELF, Keys::None, getname).doc(
        "2.6.9",
        "O(1)",
        "",
        "This connection's name.",
    ),
    Command::new("client|setname", 3, SELF, Keys::None, setname).doc(
        "2.6.9",
        "O(1)",
        "connection-name",
        "Names this connection.",
    ),
    Command::new("client|setinfo", 4, SELF, Keys::None, setinfo).doc(
        "7.2.0",
        "O(1)",
        "<LIB-NAME libname|LIB-VER libver>",
        "Says which client library this is.",
    ),
    Command::new("client|info", 2, SELF, Keys::None, info).doc(
        "6.2.0",
        "O(1)",
        "",
        "Describes this connection.",
    ),
    Command::new("client|list", -2, OTHERS, Keys::None, list).doc(
        "2.4.0",
        "O(N) with N connections",
        "[TYPE <NORMAL|MASTER|REPLICA|PUBSUB>] [ID client-id [client-id ...]]",
        "Describes all connections.",
    ),
    Command::new("client|kill", -3, OTHERS, Keys::None, kill).doc(
        "2.4.0",
        "O(N) with N connections",
        "<ip:port|[ID client-id] [TYPE type] [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME yes/no]>",
        "Closes connections.",
    ),
    Command::new("client|no-evict", 3, OTHERS, Keys::None, no_evict).doc(
        "7.0.0",
        "O(1)",
        "<ON|OFF>",
        "Keeps this connection when memory is short.",
    ),
    Command::new("client|no-touch", 3, SELF, Keys::None, no_touch).doc(
        "7.2.0",
        "O(1)",
        "<ON|OFF>",
        "Lets this connection read without counting as use.",
    ),
    Command::new("client|reply", 3, SELF, Keys::None, reply_mode).doc(
        "3.2.0",
        "O(1)",
        "<ON|OFF|SKIP>",
        "Switches replies off and on.",
    ),
    Command::new("client|unblock", -3, OTHERS, Keys::None, unblock).doc(
        "5.0.0",
        "O(log N)",
        "client-id [TIMEOUT|ERROR]",
        "Ends a blocking command of another connection.",
    ),
    Command::new("client|getredir", 2, SELF, Keys::None, getredir).doc(
        "6.0.0",
        "O(1)",
        "",
        "Where tracking messages of this connection go.",
    ),
    Command::new("client|help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, help).doc(
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

fn id(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.session.info.id() as i64);
    Ok(())
}

fn getname(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let names = cx.session.info.names();
    if names.name.is_empty() {
        reply.null()
    } else {
        reply.bulk(&names.name)
    }
    Ok(())
}

/// Names are shown in lists: no blanks, no control characters.
pub(crate) fn check_name(name: &[u8], what: &str) -> CommandResult {
    if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) {
        Ok(())
    } else {
        Err(Error::text(format!("ERR {what} cannot contain spaces, newlines or special characters.")))
    }
}

fn setname(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_name(args.at(2), "Client names")?;
    cx.session.rename(|names| names.name = args.at(2).to_vec());
    reply.ok();
    Ok(())
}

fn setinfo(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.is(2, "LIB-NAME") {
        check_name(args.at(3), "lib-name")?;
        cx.session.rename(|names| names.library = args.at(3).to_vec());
    } else if args.is(2, "LIB-VER") {
        check_name(args.at(3), "lib-ver")?;
        cx.session.rename(|names| names.library_version = args.at(3).to_vec());
    } else {
        return Err(Error::text([b"ERR Unrecognized option '", args.at(2), b"'"].concat()));
    }
    reply.ok();
    Ok(())
}

fn describe(client: &Client, now_ms: i64, into: &mut Vec<u8>) {
    if client.describe(now_ms, into) {
        into.push(b'\n');
    }
}

fn info(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut text = Vec::new();
    cx.session.info.describe_own(cx.now_ms(), &mut text);
    text.push(b'\n');
    reply.verbatim(b"txt", &text);
    Ok(())
}

/// Keeps the clients of a type: those that listen, or the others; there are no replicas.
fn retain_type(clients: &mut Vec<Client>, kind: &[u8]) -> CommandResult {
    let is = |name: &str| kind.eq_ignore_ascii_case(name.as_bytes());
    if is("normal") {
        clients.retain(|client| !client.info.listens());
    } else if is("pubsub") {
        clients.retain(|client| client.info.listens());
    } else if ["slave", "replica", "master"].into_iter().any(is) {
        clients.clear();
    } else {
        return Err(unknown_type(kind));
    }
    Ok(())
}

fn unknown_type(kind: &[u8]) -> Error {
    Error::text([b"ERR Unknown client type '", kind, b"'"].concat())
}

fn list(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut clients = cx.engine.clients();
    if args.len() == 4 && args.is(2, "TYPE") {
        retain_type(&mut clients, args.at(3))?;
    } else if args.len() > 3 && args.is(2, "ID") {
        let mut wanted = Vec::new();
        for id in args.from(3) {
            wanted.push(parse_i64(id).ok_or(error::NOT_VALID_CLIENT_ID)?);
        }
        clients.retain(|client| wanted.contains(&(client.who.id as i64)));
    } else if args.len() != 2 {
        return Err(error::SYNTAX);
    }
    let mut text = Vec::new();
    clients.iter().for_each(|client| describe(client, cx.now_ms(), &mut text));
    reply.verbatim(b"txt", &text);
    Ok(())
}

/// Closes `client`; this connection's own after its reply.
fn close(cx: &mut Context<'_>, client: &Client) {
    if client.who.id == cx.session.info.id() {
        cx.session.closing = true;
    } else {
        cx.engine.kill(client);
    }
}

fn kill(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() == 3 {
        let clients = cx.engine.clients();
        let found =
            clients.iter().find(|client| client.who.ends.remote().to_string().as_bytes() == args.at(2));
        close(cx, found.ok_or(error::NO_SUCH_CLIENT)?);
        reply.ok();
        return Ok(());
    }
    let mut clients = cx.engine.clients();
    let mut skip_me = true;
    if args.len().is_multiple_of(2) {
        for at in (2..args.len()).step_by(2) {
            let value = args.at(at + 1);
            if args.is(at, "ID") {
                let id = args.integer(at + 1).ok().filter(|&id| id > 0);
                let id = id.ok_or(Error::new("ERR client-id should be greater than 0"))?;
                clients.retain(|client| client.who.id as i64 == id);
            } else if args.is(at, "TYPE") {
                retain_type(&mut clients, value)?;
            } else if args.is(at, "ADDR") {
                clients.retain(|client| client.who.ends.remote().to_string().as_bytes() == value);
            } else if args.is(at, "LADDR") {
                clients.retain(|client| client.who.ends.local().to_string().as_bytes() == value);
            } else if args.is(at, "USER") {
                if value != b"default" {
                    return Err(Error::text([b"ERR No such user '", value, b"'"].concat()));
                }
            } else if args.is(at, "SKIPME") {
                skip_me = match value {
                    value if value.eq_ignore_ascii_case(b"yes") => true,
                    value if value.eq_ignore_ascii_case(b"no") => false,
                    _ => return Err(error::SYNTAX),
                };
            } else {
                return Err(error::SYNTAX);
            }
        }
    } else {
        return Err(error::SYNTAX);
    }
    let me = cx.session.info.id();
    clients.retain(|client| !(skip_me && client.who.id == me));
    clients.iter().for_each(|client| close(cx, client));
    reply.integer(clients.len() as i64);
    Ok(())
}

fn on_or_off(args: Args<'_>) -> Result<bool, Error> {
    match () {
        () if args.is(2, "ON") => Ok(true),
        () if args.is(2, "OFF") => Ok(false),
        () => Err(error::SYNTAX),
    }
}

fn no_evict(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.session.info.no_evict.store(on_or_off(args)?, Ordering::Relaxed);
    reply.ok();
    Ok(())
}

fn no_touch(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.session.no_touch = on_or_off(args)?;
    reply.ok();
    Ok(())
}

fn reply_mode(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.is(2, "ON") {
        cx.session.reply_mode = ReplyMode::On;
        reply.ok();
    } else if args.is(2, "OFF") {
        cx.session.reply_mode = ReplyMode::Off;
    } else if args.is(2, "SKIP") {
        if cx.session.reply_mode != ReplyMode::Off {
            cx.session.reply_mode = ReplyMode::SkipNext;
        }
    } else {
        return Err(error::SYNTAX);
    }
    Ok(())
}

/// `CLIENT UNBLOCK client-id [TIMEOUT|ERROR]`. Integer: 1 if the client waited.
fn unblock(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 4 || args.len() == 4 && !args.is(3, "TIMEOUT") && !args.is(3, "ERROR") {
        return Err(Error::new("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"));
    }
    let id = args.integer(2)?;
    let client = cx.engine.clients().into_iter().find(|client| client.who.id as i64 == id);
    let ended = client.is_some_and(|client| {
        let waiter = client.info.waiter.lock().clone().filter(|_| client.is_here());
        let state = if args.is(3, "ERROR") { State::Unblocked } else { State::TimedOut };
        waiter.is_some_and(|waiter| waiter.end(cx.engine, state))
    });
    reply.integer(ended.into());
    Ok(())
}

fn getredir(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(-1);
    Ok(())
}

/// `CLIENT HELP`. Array of lines.
pub(super) fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let words = |name: &'static str| (name.split_once('|').map_or(name, |(_, own)| own)).to_ascii_uppercase();
    let lines: Vec<(String, &str)> = SUBCOMMANDS
        .iter()
        .filter(|sub| !sub.name.ends_with("|help"))
        .map(|sub| (format!("{} {}", words(sub.name), sub.syntax).trim_end().to_string(), sub.summary))
        .collect();
    let lines: Vec<(&str, &str)> = lines.iter().map(|(syntax, words)| (syntax.as_str(), *words)).collect();
    help_lines(reply, "CLIENT", &lines);
    Ok(())
}
