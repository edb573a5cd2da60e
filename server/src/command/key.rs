//! Commands on keys, whatever they hold.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=generic>

mod expire;
mod object;
mod scan;
mod sort;

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::NEVER;
use crate::reply::Reply;

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.and(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.and(Flags::FAST);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("del", -2, WRITE, Keys::ALL, del).doc(
        "1.0.0",
        "O(N) with N keys",
        "key [key ...]",
        "Removes keys.",
    ),
    Command::new("unlink", -2, WRITE_FAST, Keys::ALL, del).doc(
        "4.0.0",
        "O(1) for each key",
        "key [key ...]",
        "Removes keys.",
    ),
    Command::new("exists", -2, READ_FAST, Keys::ALL, exists).doc(
        "1.0.0",
        "O(N) with N keys",
        "key [key ...]",
        "How many of the keys exist.",
    ),
    Command::new("touch", -2, READ_FAST, Keys::ALL, exists).doc(
        "3.2.1",
        "O(N) with N keys",
        "key [key ...]",
        "Marks keys as used; how many exist.",
    ),
    Command::new("type", 2, READ_FAST, Keys::ONE, type_of).doc(
        "1.0.0",
        "O(1)",
        "key",
        "The type of a key's value.",
    ),
    Command::new("rename", 3, WRITE, Keys::TWO, rename).doc(
        "1.0.0",
        "O(1)",
        "key newkey",
        "Renames a key, replacing the new name.",
    ),
    Command::new("renamenx", 3, WRITE_FAST, Keys::TWO, renamenx).doc(
        "1.0.0",
        "O(1)",
        "key newkey",
        "Renames a key if the new name is free.",
    ),
    Command::new("copy", -3, WRITE.and(Flags::DENYOOM), Keys::TWO, copy).doc(
        "6.2.0",
        "O(N) with the size of the value",
        "source destination [DB destination-db] [REPLACE]",
        "Copies a key's value to another key.",
    ),
    Command::new(
        "sort",
        -2,
        WRITE.and(Flags::DENYOOM).and(Flags::DANGEROUS).and(Flags::LOCK_ALL),
        Keys::Find(sort::keys),
        sort::sort,
    )
    .doc(
        "1.0.0",
        "O(N+M*log(M)) with N elements and M returned",
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA] [STORE destination]",
        "Elements in an order, or what they point at.",
    ),
    // One key stands where it is expected, but BY and GET look at any: all of them are locked.
    Command::new(
        "sort_ro",
        -2,
        READ.and(Flags::DANGEROUS).and(Flags::LOCK_ALL),
        Keys::Find(|args, show| if args.len() > 1 { show(1) }),
        sort::sort_ro,
    )
    .doc(
        "7.0.0",
        "O(N+M*log(M)) with N elements and M returned",
        "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] [ASC|DESC] [ALPHA]",
        "As SORT, without STORE.",
    ),
    Command::new("move", 3, WRITE_FAST, Keys::ONE, move_key).doc(
        "1.0.0",
        "O(1)",
        "key db",
        "Moves a key to another database.",
    ),
    Command::new("expire", -3, WRITE_FAST, Keys::ONE, expire::expire).doc(
        "1.0.0",
        "O(1)",
        "key seconds [NX|XX|GT|LT]",
        "Sets a key's time to live in seconds.",
    ),
    Command::new("pexpire", -3, WRITE_FAST, Keys::ONE, expire::pexpire).doc(
        "2.6.0",
        "O(1)",
        "key milliseconds [NX|XX|GT|LT]",
        "Sets a key's time to live in milliseconds.",
    ),
    Command::new("expireat", -3, WRITE_FAST, Keys::ONE, expire::expireat).doc(
        "1.2.0",
        "O(1)",
        "key unix-time-seconds [NX|XX|GT|LT]",
        "Sets when a key expires, in seconds.",
    ),
    Command::new("pexpireat", -3, WRITE_FAST, Keys::ONE, expire::pexpireat).doc(
        "2.6.0",
        "O(1)",
        "key unix-time-milliseconds [NX|XX|GT|LT]",
        "Sets when a key expires, in milliseconds.",
    ),
    Command::new("ttl", 2, READ_FAST, Keys::ONE, expire::ttl).doc(
        "1.0.0",
        "O(1)",
        "key",
        "A key's time to live in seconds.",
    ),
    Command::new("pttl", 2, READ_FAST, Keys::ONE, expire::pttl).doc(
        "2.6.0",
        "O(1)",
        "key",
        "A key's time to live in milliseconds.",
    ),
    Command::new("expiretime", 2, READ_FAST, Keys::ONE, expire::expiretime).doc(
        "7.0.0",
        "O(1)",
        "key",
        "When a key expires, in seconds.",
    ),
    Command::new("pexpiretime", 2, READ_FAST, Keys::ONE, expire::pexpiretime).doc(
        "7.0.0",
        "O(1)",
        "key",
        "When a key expires, in milliseconds.",
    ),
    Command::new("persist", 2, WRITE_FAST, Keys::ONE, expire::persist).doc(
        "2.2.0",
        "O(1)",
        "key",
        "Makes a key stay for ever.",
    ),
    Command::new("randomkey", 1, READ.and(Flags::LOCK_EACH), Keys::None, scan::randomkey).doc(
        "1.0.0",
        "O(1)",
        "",
        "A random key.",
    ),
    Command::new("keys", 2, READ.and(Flags::DANGEROUS).and(Flags::LOCK_ALL), Keys::None, scan::keys).doc(
        "1.0.0",
        "O(N) with N keys",
        "pattern",
        "All keys that match a pattern.",
    ),
    Command::new("scan", -2, READ.and(Flags::LOCK_EACH), Keys::None, scan::scan).doc(
        "2.8.0",
        "O(1) for each call",
        "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "Walks over the keys.",
    ),
    Command::new("object", -2, Flags::NONE, Keys::None, object::help)
        .doc("2.2.3", "Depends on subcommand", "", "Looks inside a key.")
        .subcommands(object::SUBCOMMANDS),
];

/// `DEL key [key …]`, `UNLINK …`, O(N). Integer: how many were removed.
fn del(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let removed = args.from(1).filter(|key| cx.remove(key).is_some()).count();
    reply.integer(removed as i64);
    Ok(())
}

/// `EXISTS key [key …]`, `TOUCH …`, O(N). Integer: how many exist, repetitions counted.
fn exists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = args.from(1).filter(|key| cx.read(key).is_some()).count();
    reply.integer(count as i64);
    Ok(())
}

/// `TYPE key`, O(1). Status: the type, or `none`.
fn type_of(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.simple(cx.peek(args.at(1)).map_or("none", |entry| entry.value.type_name()));
    Ok(())
}

/// `RENAME key newkey`, O(1). `OK`.
fn rename(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rename_key(cx, args, true)?;
    reply.ok();
    Ok(())
}

/// `RENAMENX key newkey`, O(1). Integer: 1 if it was renamed, 0 if the new name was taken.
fn renamenx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let renamed = rename_key(cx, args, false)?;
    reply.integer(i64::from(renamed));
    Ok(())
}

fn rename_key(cx: &mut Context<'_>, args: Args<'_>, replace: bool) -> Result<bool, Error> {
    let (from, to) = (args.at(1), args.at(2));
    if cx.peek(from).is_none() {
        return Err(error::NO_SUCH_KEY);
    }
    if from == to {
        return Ok(replace);
    }
    if !replace && cx.peek(to).is_some() {
        return Ok(false);
    }
    let db = cx.session.db;
    let entry = cx.remove_in(db, from).expect("looked up above");
    cx.insert_in(db, to, entry.value, entry.expire_at);
    Ok(true)
}

/// Argument `index` as the number of a database.
pub(super) fn database(cx: &Context<'_>, args: Args<'_>, index: usize) -> Result<u32, Error> {
    let number = args.integer(index)?;
    if i32::try_from(number).is_err() {
        return Err(error::NOT_AN_INT);
    }
    check_database(cx, number)
}

/// `number` as the number of a database.
pub(super) fn check_database(cx: &Context<'_>, number: i64) -> Result<u32, Error> {
    let count = cx.engine.databases() as i64;
    if (0..count).contains(&number) { Ok(number as u32) } else { Err(error::DB_INDEX) }
}

/// `COPY source destination [DB db] [REPLACE]`, O(N). Integer: 1 if it was copied.
fn copy(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut to_db, mut replace) = (cx.session.db, false);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "REPLACE") {
            replace = true;
        } else if args.is(at, "DB") && at + 1 < args.len() {
            to_db = database(cx, args, at + 1)?;
            at += 1;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    let (from, to) = (args.at(1), args.at(2));
    if to_db == cx.session.db && from == to {
        return Err(error::SAME_OBJECT);
    }
    let copied = match cx.peek(from) {
        Some(entry) if replace || cx.peek_in(to_db, to).is_none() => {
            let (value, expire_at) = (entry.value.clone(), entry.expire_at);
            cx.insert_in(to_db, to, value, expire_at);
            true
        }
        _ => false,
    };
    reply.integer(i64::from(copied));
    Ok(())
}

/// `MOVE key db`, O(1). Integer: 1 if it was moved.
fn move_key(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let to_db = database(cx, args, 2)?;
    let (from_db, key) = (cx.session.db, args.at(1));
    if to_db == from_db {
        return Err(error::SAME_OBJECT);
    }
    let movable = cx.peek(key).is_some() && cx.peek_in(to_db, key).is_none();
    if movable && let Some(entry) = cx.remove_in(from_db, key) {
        cx.insert_in(to_db, key, entry.value, entry.expire_at);
    }
    reply.integer(i64::from(movable));
    Ok(())
}

/// The time to live that is left, in ms; `None`: for ever.
fn left_ms(expire_at: i64, now_ms: i64) -> Option<i64> {
    (expire_at != NEVER).then(|| (expire_at - now_ms).max(0))
}
