//! Commands on string values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=string>

pub mod bit;
mod counter;
mod range;
mod set;

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::{self, CommandResult};
use crate::keyspace::Value;
use crate::keyspace::string::Str;
use crate::reply::Reply;

const READ: Flags = Flags::READONLY.and(Flags::FAST);
const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);
const STORE_FAST: Flags = STORE.and(Flags::FAST);
const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("get", 2, READ, Keys::ONE, get).doc("1.0.0", "O(1)", "key", "The value of a key."),
    Command::new("set", -3, STORE, Keys::ONE, set::set).doc(
        "1.0.0",
        "O(1)",
        "key value [NX|XX] [GET] [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|KEEPTTL]",
        "Sets the value of a key, whatever it held.",
    ),
    Command::new("getset", 3, STORE_FAST, Keys::ONE, set::getset)
        .doc("1.0.0", "O(1)", "key value", "Sets a key and returns what it held."),
    Command::new("getdel", 2, Flags::WRITE.and(Flags::FAST), Keys::ONE, set::getdel)
        .doc("6.2.0", "O(1)", "key", "Returns a key's value and removes the key."),
    Command::new("getex", -2, Flags::WRITE.and(Flags::FAST), Keys::ONE, set::getex).doc(
        "6.2.0",
        "O(1)",
        "key [EX seconds|PX milliseconds|EXAT unix-time-seconds|PXAT unix-time-milliseconds|PERSIST]",
        "Returns a key's value and sets its deadline.",
    ),
    Command::new("setnx", 3, STORE_FAST, Keys::ONE, set::setnx)
        .doc("1.0.0", "O(1)", "key value", "Sets a key that does not exist yet."),
    Command::new("setex", 4, STORE, Keys::ONE, set::setex)
        .doc("2.0.0", "O(1)", "key seconds value", "Sets a key and its time to live in seconds."),
    Command::new("psetex", 4, STORE, Keys::ONE, set::psetex)
        .doc("2.6.0", "O(1)", "key milliseconds value", "Sets a key and its time to live in milliseconds."),
    Command::new("mget", -2, READ, Keys::ALL, mget)
        .doc("1.0.0", "O(N) with N keys", "key [key ...]", "The values of several keys."),
    Command::new("mset", -3, STORE, PAIRS, mset)
        .doc("1.0.1", "O(N) with N keys", "key value [key value ...]", "Sets several keys at once."),
    Command::new("msetnx", -3, STORE, PAIRS, msetnx).doc(
        "1.0.1",
        "O(N) with N keys",
        "key value [key value ...]",
        "Sets several keys at once if none of them exists.",
    ),
    Command::new("append", 3, STORE_FAST, Keys::ONE, range::append)
        .doc("2.0.0", "O(1) amortized", "key value", "Appends to a key's value."),
    Command::new("strlen", 2, READ, Keys::ONE, range::strlen)
        .doc("2.2.0", "O(1)", "key", "Length of a key's value."),
    Command::new("getrange", 4, Flags::READONLY, Keys::ONE, range::getrange)
        .doc("2.4.0", "O(N) with N bytes returned", "key start end", "A part of a key's value."),
    Command::new("substr", 4, Flags::READONLY, Keys::ONE, range::getrange)
        .doc("1.0.0", "O(N) with N bytes returned", "key start end", "A part of a key's value (old name of GETRANGE)."),
    Command::new("setrange", 4, STORE, Keys::ONE, range::setrange)
        .doc("2.2.0", "O(M) with M bytes written", "key offset value", "Overwrites a part of a key's value."),
    Command::new("lcs", -3, Flags::READONLY, Keys::TWO, range::lcs).doc(
        "7.0.0",
        "O(N*M) with N and M the lengths of the values",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "The longest common subsequence of two values.",
    ),
    Command::new("incr", 2, STORE_FAST, Keys::ONE, counter::incr)
        .doc("1.0.0", "O(1)", "key", "Adds one to a number."),
    Command::new("decr", 2, STORE_FAST, Keys::ONE, counter::decr)
        .doc("1.0.0", "O(1)", "key", "Takes one from a number."),
    Command::new("incrby", 3, STORE_FAST, Keys::ONE, counter::incrby)
        .doc("1.0.0", "O(1)", "key increment", "Adds to a number."),
    Command::new("decrby", 3, STORE_FAST, Keys::ONE, counter::decrby)
        .doc("1.0.0", "O(1)", "key decrement", "Takes from a number."),
    Command::new("incrbyfloat", 3, STORE_FAST, Keys::ONE, counter::incrbyfloat)
        .doc("2.6.0", "O(1)", "key increment", "Adds to a floating point number."),
];

/// `GET key`, O(1). Bulk: the value; null without the key.
#[inline]
fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.string_or_null(cx.read_as::<Str>(args.at(1))?);
    Ok(())
}

/// `MGET key [key …]`, O(N). Array of bulks; null for what is missing or no string.
fn mget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(args.len() - 1);
    for key in args.from(1) {
        match cx.read(key) {
            Some(Value::String(value)) => reply.string(value),
            _ => reply.null(),
        }
    }
    Ok(())
}

/// `MSET key value [key value …]`, O(N). `OK`.
fn mset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    store_pairs(cx, args)?;
    reply.ok();
    Ok(())
}

/// `MSETNX key value [key value …]`, O(N). Integer: 1 if all were set, 0 if one existed.
fn msetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(crate::error::Error::arity("msetnx"));
    }
    let exists = (1..args.len()).step_by(2).any(|at| cx.peek(args.at(at)).is_some());
    if !exists {
        store_pairs(cx, args)?;
    }
    reply.integer(i64::from(!exists));
    Ok(())
}

fn store_pairs(cx: &mut Context<'_>, args: Args<'_>) -> CommandResult {
    if args.len().is_multiple_of(2) {
        return Err(crate::error::Error::arity("mset"));
    }
    for at in (1..args.len()).step_by(2) {
        cx.insert(args.at(at), Value::String(Str::new(args.at(at + 1))));
    }
    Ok(())
}

/// The longest string that may come out of a change, in bytes.
fn check_length(cx: &Context<'_>, len: u64) -> CommandResult {
    let len_max = cx.engine.live.bulk_len_max.load(core::sync::atomic::Ordering::Relaxed);
    if len > len_max.unsigned_abs() { Err(error::STRING_TOO_LONG) } else { Ok(()) }
}
