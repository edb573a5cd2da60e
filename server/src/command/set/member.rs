//! Members of one set.

use netcore::rng::SeededRng;

use super::Context;
use crate::args::Args;
use crate::command::span::{self, Draw, ScanOptions, bounded};
use crate::error::{self, CommandResult};
use crate::keyspace::set::Set;
use crate::keyspace::string::StrBytes;
use crate::reply::Reply;

/// `SADD key member [member ...]`, O(N). Integer: how many are new.
pub(super) fn sadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    let set = cx.write_or_default::<Set>(key)?;
    set.expect(hasher, args.at(2), args.len() - 2);
    let added = args.from(2).filter(|member| set.add(hasher, member)).count();
    if added > 0 {
        cx.modified(key);
    }
    reply.integer(added as i64);
    Ok(())
}

/// `SREM key member [member ...]`, O(N). Integer: how many were removed.
pub(super) fn srem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    let mut removed = 0;
    if let Some(set) = cx.write_as::<Set>(key)? {
        removed = args.from(2).filter(|member| set.remove(hasher, member)).count();
    }
    if removed > 0 {
        cx.modified(key);
        cx.remove_if_empty::<Set>(key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `SMOVE source destination member`, O(1). Integer: 1 if it was moved.
pub(super) fn smove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (source, destination, member) = (args.at(1), args.at(2), args.at(3));
    let hasher = cx.engine.hasher();
    let found = match cx.write_as::<Set>(source)? {
        Some(set) => set.contains(hasher, member),
        None => {
            reply.integer(0);
            return Ok(());
        }
    };
    cx.write_as::<Set>(destination)?;
    if found && source != destination {
        if let Some(set) = cx.write_as::<Set>(source)? {
            set.remove(hasher, member);
        }
        cx.remove_if_empty::<Set>(source);
        cx.modified(source);
        if cx.write_or_default::<Set>(destination)?.add(hasher, member) {
            cx.modified(destination);
        }
    }
    reply.integer(i64::from(found));
    Ok(())
}

/// `SISMEMBER key member`, O(1). Integer: 1 if it is there.
pub(super) fn sismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.read_as::<Set>(args.at(1))?;
    reply.integer(i64::from(set.is_some_and(|set| set.contains(cx.engine.hasher(), args.at(2)))));
    Ok(())
}

/// `SMISMEMBER key member [member ...]`, O(N). Array of integers: 1 for each that is there.
pub(super) fn smismember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let set = cx.read_as::<Set>(args.at(1))?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        reply.integer(i64::from(set.is_some_and(|set| set.contains(cx.engine.hasher(), member))));
    }
    Ok(())
}

/// `SCARD key`, O(1). Integer: how many.
pub(super) fn scard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.read_as::<Set>(args.at(1))?.map_or(0, Set::len) as i64);
    Ok(())
}

/// `SMEMBERS key`, O(N). Set of members.
pub(super) fn smembers(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match cx.read_as::<Set>(args.at(1))? {
        Some(set) => {
            reply.set(set.len());
            set.iter().for_each(|member| reply.bulk(&member));
        }
        None => reply.set(0),
    }
    Ok(())
}

/// `SPOP key [count]`, O(N). A member or null; with a count a set of members.
pub(super) fn spop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(error::SYNTAX);
    }
    let count = match args.len() {
        2 => None,
        _ => Some(bounded(args, 2, 0..=i64::MAX, error::NOT_POSITIVE)? as usize),
    };
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    let mut random = SeededRng::new(cx.random());
    let Some(set) = cx.write_as::<Set>(key)? else {
        if count.is_some() {
            reply.set(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    if count == Some(0) {
        reply.set(0);
        return Ok(());
    }
    let taken = count.unwrap_or(1).min(set.len());
    if count.is_some() {
        reply.set(taken);
    }
    if taken == set.len() {
        set.iter().for_each(|member| reply.bulk(&member));
        cx.remove(key);
        return Ok(());
    }
    for _ in 0..taken {
        let position = random.below(set.len() as u64) as usize;
        reply.bulk(&set.at(position));
        set.remove_at(hasher, position);
    }
    cx.modified(key);
    Ok(())
}

/// `SRANDMEMBER key [count]`, O(N). A member or null; with a count an array.
pub(super) fn srandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(error::SYNTAX);
    }
    let mut random = SeededRng::new(cx.random());
    let draw = if args.len() == 3 { Some(Draw::parse(args)?) } else { None };
    let set = cx.read_as::<Set>(args.at(1))?;
    match (set, draw) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(set), None) => reply.bulk(&set.at(random.below(set.len() as u64) as usize)),
        (Some(set), Some(draw)) => {
            reply.array(draw.count(set.len()));
            draw.each(set.len(), &mut random, |position| reply.bulk(&set.at(position)));
        }
    }
    Ok(())
}

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`, O(1) a call. Array: the next cursor (0 at
/// the end) and an array of members.
pub(super) fn sscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = span::cursor(args, 2)?;
    let Some(set) = cx.read_as::<Set>(args.at(1))? else {
        reply.raw(b"*2\r\n$1\r\n0\r\n*0\r\n");
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3)?;
    let mut found: Vec<StrBytes<'_>> = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        if options.wants(&member) {
            found.push(member);
        }
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|member| reply.bulk(member));
    Ok(())
}
