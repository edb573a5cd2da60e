//! Numbers that count.

use crate::args::Args;
use crate::command::Context;
use crate::error::{self, CommandResult};
use crate::keyspace::Value;
use crate::keyspace::string::Str;
use crate::longdouble::LongDouble;
use crate::reply::Reply;

/// `INCR key`, O(1). Integer: the new number.
pub(super) fn incr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args.at(1), 1, reply)
}

/// `DECR key`, O(1). Integer: the new number.
pub(super) fn decr(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args.at(1), -1, reply)
}

/// `INCRBY key increment`, O(1). Integer: the new number.
pub(super) fn incrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args.at(1), args.integer(2)?, reply)
}

/// `DECRBY key decrement`, O(1). Integer: the new number.
pub(super) fn decrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let amount = args.integer(2)?.checked_neg().ok_or(error::DECREMENT_OVERFLOW)?;
    add(cx, args.at(1), amount, reply)
}

fn add(cx: &mut Context<'_>, key: &[u8], amount: i64, reply: &mut Reply<'_>) -> CommandResult {
    let sum = match cx.write_as::<Str>(key)? {
        Some(value) => {
            let old = value.integer().ok_or(error::NOT_AN_INTEGER)?;
            let sum = old.checked_add(amount).ok_or(error::OVERFLOW)?;
            *value = Str::Int(sum);
            cx.modified(key);
            sum
        }
        None => {
            cx.insert(key, Value::String(Str::Int(amount)));
            amount
        }
    };
    reply.integer(sum);
    Ok(())
}

/// `INCRBYFLOAT key increment`, O(1). Bulk: the new number, without an exponent.
pub(super) fn incrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let key = args.at(1);
    let old = match cx.write_as::<Str>(key)? {
        Some(value) => LongDouble::parse(&value.bytes()).ok_or(error::NOT_A_FLOAT)?,
        None => LongDouble::ZERO,
    };
    let amount = LongDouble::parse(args.at(2)).ok_or(error::NOT_A_FLOAT)?;
    let text = old.add(amount).ok_or(error::NAN_OR_INFINITY)?.to_text();
    let new = Str::plain(text.as_bytes());
    match cx.write_as::<Str>(key)? {
        Some(value) => {
            *value = new;
            cx.modified(key);
        }
        None => cx.insert(key, Value::String(new)),
    }
    reply.bulk(text.as_bytes());
    Ok(())
}
