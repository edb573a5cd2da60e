//! `OBJECT`: how a value is stored.

use crate::args::Args;
use crate::command::Context;
use crate::command::table::{Command, Flags, Keys};
use crate::error::{CommandResult, Error};
use crate::keyspace::string::Str;
use crate::keyspace::{Entry, Value};
use crate::reply::Reply;

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

/// The subcommands.
pub(super) static SUBCOMMANDS: &[Command] = &[
    Command::new("object|encoding", 3, Flags::READONLY, KEY, encoding).doc(
        "2.2.3",
        "O(1)",
        "key",
        "The internal encoding of a key's value.",
    ),
    Command::new("object|freq", 3, Flags::READONLY, KEY, freq).doc(
        "4.0.0",
        "O(1)",
        "key",
        "How often a key is used.",
    ),
    Command::new("object|idletime", 3, Flags::READONLY, KEY, idletime).doc(
        "2.2.3",
        "O(1)",
        "key",
        "Seconds since a key was used.",
    ),
    Command::new("object|refcount", 3, Flags::READONLY, KEY, refcount).doc(
        "2.2.3",
        "O(1)",
        "key",
        "References to a key's value.",
    ),
    Command::new("object|help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, help).doc(
        "6.2.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

fn entry<'c>(cx: &'c Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> Option<&'c Entry> {
    let found = cx.peek(args.at(2));
    if found.is_none() {
        reply.null();
    }
    found
}

fn encoding(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if let Some(entry) = entry(cx, args, reply) {
        reply.bulk(entry.value.encoding().as_bytes());
    }
    Ok(())
}

fn freq(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if entry(cx, args, reply).is_some() {
        return Err(Error::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
             when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    Ok(())
}

fn idletime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if let Some(entry) = entry(cx, args, reply) {
        reply.integer(i64::from(cx.core.now_s.saturating_sub(entry.used_at.get())));
    }
    Ok(())
}

/// Redis shares the numbers 0 to 9999 and shows the largest count for them.
fn refcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if let Some(entry) = entry(cx, args, reply) {
        let shared = matches!(entry.value, Value::String(Str::Int(0..=9999)));
        reply.integer(if shared { i64::from(i32::MAX) } else { 1 });
    }
    Ok(())
}

/// `OBJECT HELP`. Array of lines.
pub(super) fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    const LINES: [&str; 15] = [
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Prints this help.",
    ];
    reply.array(LINES.len());
    LINES.iter().for_each(|line| reply.simple(line));
    Ok(())
}
