//! Elements by index, by range and by value.

use super::Context;
use crate::args::Args;
use crate::command::span::{bounded, span};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::list::{End, List};
use crate::reply::Reply;

/// `LLEN key`, O(1). Integer: how many, 0 without the key.
pub(super) fn llen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.read_as::<List>(args.at(1))?.map_or(0, List::len);
    reply.integer(len as i64);
    Ok(())
}

/// `LINDEX key index`, O(1). The element, or null.
pub(super) fn lindex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(list) = cx.read_as::<List>(args.at(1))? else {
        reply.null();
        return Ok(());
    };
    reply.string_or_null(place(args.integer(2)?, list.len()).and_then(|index| list.get(index)));
    Ok(())
}

/// `LRANGE key start stop`, O(N). Array of elements.
pub(super) fn lrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    let Some(list) = cx.read_as::<List>(args.at(1))? else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = span(start, end, list.len());
    reply.array(count);
    list.range(start, count).for_each(|element| reply.string(element));
    Ok(())
}

/// `LSET key index element`, O(1). OK.
pub(super) fn lset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let key = args.at(1);
    let list = cx.write_as::<List>(key)?.ok_or(error::NO_SUCH_KEY)?;
    let index = place(args.integer(2)?, list.len()).ok_or(error::INDEX_OUT_OF_RANGE)?;
    list.replace(index, args.at(3));
    cx.modified(key);
    reply.ok();
    Ok(())
}

/// `LINSERT key BEFORE|AFTER pivot element`, O(N). Integer: the new length, 0 without the key,
/// -1 without the pivot.
pub(super) fn linsert(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let behind = args.is(2, "AFTER");
    if !behind && !args.is(2, "BEFORE") {
        return Err(error::SYNTAX);
    }
    let (key, pivot) = (args.at(1), args.at(3));
    let Some(list) = cx.write_as::<List>(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let Some(index) = list.range(0, usize::MAX).position(|element| *element.bytes() == *pivot) else {
        reply.integer(-1);
        return Ok(());
    };
    list.insert(index + usize::from(behind), args.at(4));
    let len = list.len();
    cx.modified(key);
    reply.integer(len as i64);
    Ok(())
}

/// `LREM key count element`, O(N). Integer: how many were removed.
pub(super) fn lrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = args.integer(2)?;
    let key = args.at(1);
    let Some(list) = cx.write_as::<List>(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let from = if count < 0 { End::Right } else { End::Left };
    let limit = if count == 0 { usize::MAX } else { count.unsigned_abs() as usize };
    let removed = list.remove_equal(from, args.at(3), limit);
    if removed > 0 {
        cx.modified(key);
        cx.remove_if_empty::<List>(key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `LTRIM key start stop`, O(N). OK.
pub(super) fn ltrim(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    let key = args.at(1);
    if let Some(list) = cx.write_as::<List>(key)? {
        let (start, count) = span(start, end, list.len());
        list.trim(start, count);
        cx.modified(key);
        cx.remove_if_empty::<List>(key);
    }
    reply.ok();
    Ok(())
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`, O(N). Integer or null; with
/// `COUNT` an array of integers.
pub(super) fn lpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut rank, mut count, mut len_max) = (1, None, 0);
    let mut at = 3;
    while at < args.len() {
        let has_value = at + 1 < args.len();
        if has_value && args.is(at, "RANK") {
            rank = args.integer(at + 1)?;
            if rank == 0 {
                return Err(Error::new(
                    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                     or use negative to start from the end of the list",
                ));
            }
        } else if has_value && args.is(at, "COUNT") {
            let error = Error::new("ERR COUNT can't be negative");
            count = Some(bounded(args, at + 1, 0..=i64::MAX, error)? as usize);
        } else if has_value && args.is(at, "MAXLEN") {
            len_max = bounded(args, at + 1, 0..=i64::MAX, Error::new("ERR MAXLEN can't be negative"))?;
        } else {
            return Err(error::SYNTAX);
        }
        at += 2;
    }
    let Some(list) = cx.read_as::<List>(args.at(1))? else {
        if count.is_some() {
            reply.array(0)
        } else {
            reply.null()
        }
        return Ok(());
    };
    let element = args.at(2);
    let wanted = match count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let compared = if len_max == 0 { list.len() } else { list.len().min(len_max as usize) };
    let mut found = Vec::new();
    // Redis cannot negate the least integer and takes the first match.
    let mut skip = if rank == i64::MIN { 0 } else { rank.unsigned_abs() - 1 };
    for step in 0..compared {
        let index = if rank < 0 { list.len() - 1 - step } else { step };
        if list.get(index).is_some_and(|item| *item.bytes() == *element) {
            if skip > 0 {
                skip -= 1;
                continue;
            }
            found.push(index as i64);
            if found.len() >= wanted {
                break;
            }
        }
    }
    match (count, found.first()) {
        (Some(_), _) => {
            reply.array(found.len());
            found.into_iter().for_each(|index| reply.integer(index));
        }
        (None, Some(index)) => reply.integer(*index),
        (None, None) => reply.null(),
    }
    Ok(())
}

/// An index that may count from the end, as a place in a list of `len`.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}
