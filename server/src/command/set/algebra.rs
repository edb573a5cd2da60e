//! Intersections, unions and differences.

use super::Context;
use crate::args::Args;
use crate::command::span::bounded;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::set::Set;
use crate::keyspace::string::StrBytes;
use crate::keyspace::{Container, KeyHasher};
use crate::reply::Reply;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

/// `SINTER key [key ...]`, O(N*M). Set of members.
pub(super) fn sinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, Operation::Intersection, reply)
}

/// `SUNION key [key ...]`, O(N). Set of members.
pub(super) fn sunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, Operation::Union, reply)
}

/// `SDIFF key [key ...]`, O(N*M). Set of members.
pub(super) fn sdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args, Operation::Difference, reply)
}

/// `SINTERSTORE destination key [key ...]`, O(N*M). Integer: members stored.
pub(super) fn sinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    store(cx, args, Operation::Intersection, reply)
}

/// `SUNIONSTORE destination key [key ...]`, O(N). Integer: members stored.
pub(super) fn sunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    store(cx, args, Operation::Union, reply)
}

/// `SDIFFSTORE destination key [key ...]`, O(N*M). Integer: members stored.
pub(super) fn sdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    store(cx, args, Operation::Difference, reply)
}

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`, O(N*M). Integer: how many, at most `limit`.
pub(super) fn sintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = bounded(args, 1, 1..=i64::MAX, error::NUMKEYS_NOT_POSITIVE)?;
    if count > args.len() as i64 - 2 {
        return Err(error::NUMKEYS_TOO_MANY);
    }
    let keys_end = 2 + count as usize;
    let mut limit = 0;
    let mut at = keys_end;
    while at < args.len() {
        if !args.is(at, "LIMIT") || at + 1 == args.len() {
            return Err(error::SYNTAX);
        }
        limit = bounded(args, at + 1, 0..=i64::MAX, Error::new("ERR LIMIT can't be negative"))?;
        at += 2;
    }
    let sets = sets(cx, args.from(2).take(count as usize))?;
    let limit = if limit == 0 { usize::MAX } else { limit as usize };
    let mut found = 0;
    each(&sets, Operation::Intersection, cx.engine.hasher(), |_| {
        found += 1;
        found < limit
    });
    reply.integer(found as i64);
    Ok(())
}

fn sets<'c, 'k>(
    cx: &'c Context<'_>,
    keys: impl Iterator<Item = &'k [u8]>,
) -> Result<Vec<Option<&'c Set>>, Error> {
    keys.map(|key| cx.read_as::<Set>(key)).collect()
}

fn answer(
    cx: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let (sets, hasher) = (sets(cx, args.from(1))?, cx.engine.hasher());
    if operation == Operation::Union {
        let union = collect(&sets, operation, hasher);
        reply.set(union.len());
        union.iter().for_each(|member| reply.bulk(&member));
        return Ok(());
    }
    let mut found = Vec::new();
    each(&sets, operation, hasher, |member| {
        found.push(member);
        true
    });
    reply.set(found.len());
    found.iter().for_each(|member| reply.bulk(member));
    Ok(())
}

fn store(cx: &mut Context<'_>, args: Args<'_>, operation: Operation, reply: &mut Reply<'_>) -> CommandResult {
    let result = collect(&sets(cx, args.from(2))?, operation, cx.engine.hasher());
    let (key, len) = (args.at(1), result.len());
    if len == 0 {
        cx.remove(key);
    } else {
        cx.insert(key, result.into_value());
    }
    reply.integer(len as i64);
    Ok(())
}

fn collect(sets: &[Option<&Set>], operation: Operation, hasher: &KeyHasher) -> Set {
    let mut result = Set::default();
    each(sets, operation, hasher, |member| {
        result.add(hasher, &member);
        true
    });
    result
}

/// Shows the members of the result until `show` says false. Those of a union may come twice.
fn each<'s>(
    sets: &[Option<&'s Set>],
    operation: Operation,
    hasher: &KeyHasher,
    mut show: impl FnMut(StrBytes<'s>) -> bool,
) {
    let there = || sets.iter().copied().flatten();
    match operation {
        Operation::Union => drop(there().flat_map(Set::iter).all(show)),
        Operation::Intersection if sets.iter().any(Option::is_none) => {}
        Operation::Intersection => {
            let mut by_size: Vec<&Set> = there().collect();
            by_size.sort_by_key(|set| set.len());
            let Some((smallest, others)) = by_size.split_first() else { return };
            for member in smallest.iter() {
                if others.iter().all(|set| set.contains(hasher, &member)) && !show(member) {
                    return;
                }
            }
        }
        Operation::Difference => {
            let Some((Some(first), others)) = sets.split_first() else { return };
            for member in first.iter() {
                let elsewhere = others.iter().flatten().any(|set| set.contains(hasher, &member));
                if !elsewhere && !show(member) {
                    return;
                }
            }
        }
    }
}
