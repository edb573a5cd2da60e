//! Single fields.

use super::Context;
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::hash::Hash;
use crate::keyspace::string::Str;
use crate::longdouble::LongDouble;
use crate::reply::Reply;

/// `HSET key field value [field value ...]`, O(N). Integer: how many fields are new.
pub(super) fn hset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let created = set_all(cx, args, "hset")?;
    reply.integer(created);
    Ok(())
}

/// `HMSET key field value [field value ...]`, O(N). OK.
pub(super) fn hmset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_all(cx, args, "hmset")?;
    reply.ok();
    Ok(())
}

#[inline]
fn set_all(cx: &mut Context<'_>, args: Args<'_>, name: &str) -> Result<i64, Error> {
    if args.len() % 2 == 1 {
        return Err(Error::arity(name));
    }
    let (key, engine) = (args.at(1), cx.engine);
    let hash = cx.write_or_default::<Hash>(key)?;
    let mut created = 0;
    for at in (2..args.len()).step_by(2) {
        created += i64::from(hash.set(engine.hasher(), args.at(at), Str::plain(args.at(at + 1))));
    }
    cx.modified(key);
    Ok(created)
}

/// `HSETNX key field value`, O(1). Integer: 1 if it was set.
pub(super) fn hsetnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, engine) = (args.at(1), cx.engine);
    let hash = cx.write_or_default::<Hash>(key)?;
    let is_new = hash.get(engine.hasher(), args.at(2)).is_none();
    if is_new {
        hash.set(engine.hasher(), args.at(2), Str::plain(args.at(3)));
        cx.modified(key);
    }
    reply.integer(i64::from(is_new));
    Ok(())
}

/// `HGET key field`, O(1). The value, or null.
pub(super) fn hget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let hash = cx.read_as::<Hash>(args.at(1))?;
    reply.string_or_null(hash.and_then(|hash| hash.get(cx.engine.hasher(), args.at(2))));
    Ok(())
}

/// `HMGET key field [field ...]`, O(N). Array of values and nulls.
pub(super) fn hmget(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let hash = cx.read_as::<Hash>(args.at(1))?;
    reply.array(args.len() - 2);
    for field in args.from(2) {
        reply.string_or_null(hash.and_then(|hash| hash.get(cx.engine.hasher(), field)));
    }
    Ok(())
}

/// `HDEL key field [field ...]`, O(N). Integer: how many were removed.
pub(super) fn hdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, engine) = (args.at(1), cx.engine);
    let mut removed = 0;
    if let Some(hash) = cx.write_as::<Hash>(key)? {
        removed = args.from(2).filter(|field| hash.remove(engine.hasher(), field)).count();
    }
    if removed > 0 {
        cx.modified(key);
        cx.remove_if_empty::<Hash>(key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `HEXISTS key field`, O(1). Integer: 1 if it is there.
pub(super) fn hexists(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let hash = cx.read_as::<Hash>(args.at(1))?;
    let found = hash.and_then(|hash| hash.get(cx.engine.hasher(), args.at(2)));
    reply.integer(i64::from(found.is_some()));
    Ok(())
}

/// `HSTRLEN key field`, O(1). Integer: bytes of the value, 0 without it.
pub(super) fn hstrlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let hash = cx.read_as::<Hash>(args.at(1))?;
    let found = hash.and_then(|hash| hash.get(cx.engine.hasher(), args.at(2)));
    reply.integer(found.map_or(0, Str::len) as i64);
    Ok(())
}

/// `HINCRBY key field increment`, O(1). Integer: the new number.
pub(super) fn hincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let amount = args.integer(3)?;
    let (key, field, engine) = (args.at(1), args.at(2), cx.engine);
    let old = match cx.write_as::<Hash>(key)?.and_then(|hash| hash.get(engine.hasher(), field)) {
        Some(value) => value.integer().ok_or(Error::new("ERR hash value is not an integer"))?,
        None => 0,
    };
    let sum = old.checked_add(amount).ok_or(error::OVERFLOW)?;
    cx.write_or_default::<Hash>(key)?.set(engine.hasher(), field, Str::Int(sum));
    cx.modified(key);
    reply.integer(sum);
    Ok(())
}

/// `HINCRBYFLOAT key field increment`, O(1). Bulk: the new number, without an exponent.
pub(super) fn hincrbyfloat(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let amount = LongDouble::parse(args.at(3)).ok_or(error::NOT_A_FLOAT)?;
    let (key, field, engine) = (args.at(1), args.at(2), cx.engine);
    let old = match cx.write_as::<Hash>(key)?.and_then(|hash| hash.get(engine.hasher(), field)) {
        Some(value) => {
            LongDouble::parse(&value.bytes()).ok_or(Error::new("ERR hash value is not a float"))?
        }
        None => LongDouble::ZERO,
    };
    let text = old.add(amount).ok_or(error::NAN_OR_INFINITY)?.to_text();
    cx.write_or_default::<Hash>(key)?.set(engine.hasher(), field, Str::plain(text.as_bytes()));
    cx.modified(key);
    reply.bulk(text.as_bytes());
    Ok(())
}
