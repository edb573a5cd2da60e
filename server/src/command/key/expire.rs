//! Deadlines of keys.

use crate::args::Args;
use crate::command::Context;
use crate::error::{CommandResult, Error};
use crate::keyspace::NEVER;
use crate::reply::Reply;

/// `EXPIRE key seconds [NX|XX|GT|LT]`, O(1). Integer: 1 if the deadline was set.
pub(super) fn expire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let base = cx.now_ms();
    set_deadline(cx, args, reply, base, 1000, "expire")
}

/// `PEXPIRE key milliseconds [NX|XX|GT|LT]`, O(1). Integer: 1 if the deadline was set.
pub(super) fn pexpire(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let base = cx.now_ms();
    set_deadline(cx, args, reply, base, 1, "pexpire")
}

/// `EXPIREAT key unix-time-seconds [NX|XX|GT|LT]`, O(1). Integer: 1 if the deadline was set.
pub(super) fn expireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(cx, args, reply, 0, 1000, "expireat")
}

/// `PEXPIREAT key unix-time-milliseconds [NX|XX|GT|LT]`, O(1). Integer: 1 if it was set.
pub(super) fn pexpireat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_deadline(cx, args, reply, 0, 1, "pexpireat")
}

#[derive(Default)]
struct Conditions {
    none: bool,
    some: bool,
    later: bool,
    earlier: bool,
}

fn conditions(args: Args<'_>) -> Result<Conditions, Error> {
    let mut found = Conditions::default();
    for at in 3..args.len() {
        if args.is(at, "NX") {
            found.none = true;
        } else if args.is(at, "XX") {
            found.some = true;
        } else if args.is(at, "GT") {
            found.later = true;
        } else if args.is(at, "LT") {
            found.earlier = true;
        } else {
            return Err(Error::text([b"ERR Unsupported option ", args.at(at)].concat()));
        }
    }
    if found.none && (found.some || found.later || found.earlier) {
        return Err(Error::new("ERR NX and XX, GT or LT options at the same time are not compatible"));
    }
    if found.later && found.earlier {
        return Err(Error::new("ERR GT and LT options at the same time are not compatible"));
    }
    Ok(found)
}

fn set_deadline(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    base_ms: i64,
    unit_ms: i64,
    name: &str,
) -> CommandResult {
    let conditions = conditions(args)?;
    let at = args.integer(2)?.checked_mul(unit_ms).and_then(|span| span.checked_add(base_ms));
    let at = at.ok_or_else(|| Error::invalid_expire(name))?;
    let key = args.at(1);
    let Some(now) = cx.peek(key).map(|entry| entry.expire_at) else {
        reply.integer(0);
        return Ok(());
    };
    // A key without a deadline counts as one that expires infinitely late.
    let refused = conditions.none && now != NEVER
        || conditions.some && now == NEVER
        || conditions.later && at <= now
        || conditions.earlier && at >= now;
    if refused {
        reply.integer(0);
        return Ok(());
    }
    if at <= cx.now_ms() {
        cx.remove(key);
    } else {
        cx.set_expire(key, at);
        cx.modified(key);
    }
    reply.integer(1);
    Ok(())
}

/// `TTL key`, O(1). Integer: seconds left; -1 for ever, -2 without the key.
pub(super) fn ttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now = cx.now_ms();
    show(cx, args, reply, |at| (super::left_ms(at, now).unwrap_or(0) + 500) / 1000)
}

/// `PTTL key`, O(1). Integer: milliseconds left; -1 for ever, -2 without the key.
pub(super) fn pttl(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let now = cx.now_ms();
    show(cx, args, reply, |at| super::left_ms(at, now).unwrap_or(0))
}

/// `EXPIRETIME key`, O(1). Integer: Unix time in seconds; -1 for ever, -2 without the key.
pub(super) fn expiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show(cx, args, reply, |at| (at + 500) / 1000)
}

/// `PEXPIRETIME key`, O(1). Integer: Unix time in ms; -1 for ever, -2 without the key.
pub(super) fn pexpiretime(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show(cx, args, reply, |at| at)
}

fn show(cx: &Context<'_>, args: Args<'_>, reply: &mut Reply<'_>, of: impl Fn(i64) -> i64) -> CommandResult {
    reply.integer(match cx.peek(args.at(1)) {
        None => -2,
        Some(entry) if entry.expire_at == NEVER => -1,
        Some(entry) => of(entry.expire_at),
    });
    Ok(())
}

/// `PERSIST key`, O(1). Integer: 1 if a deadline was taken away.
pub(super) fn persist(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let key = args.at(1);
    let had = cx.peek(key).is_some_and(|entry| entry.expire_at != NEVER);
    if had {
        cx.set_expire(key, NEVER);
        cx.modified(key);
    }
    reply.integer(i64::from(had));
    Ok(())
}
