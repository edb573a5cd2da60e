//! Elements that come and go at the ends of lists.

use super::Context;
use crate::args::Args;
use crate::command::span::{bounded, count_option, keys_end};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::list::{End, List};
use crate::reply::Reply;

/// `LPUSH key element [element ...]`, O(N). Integer: the new length.
pub(super) fn lpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push(cx, args, End::Left, reply)
}

/// `RPUSH key element [element ...]`, O(N). Integer: the new length.
pub(super) fn rpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push(cx, args, End::Right, reply)
}

/// `LPUSHX key element [element ...]`, O(N). Integer: the new length, 0 without the key.
pub(super) fn lpushx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_if_there(cx, args, End::Left, reply)
}

/// `RPUSHX key element [element ...]`, O(N). Integer: the new length, 0 without the key.
pub(super) fn rpushx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    push_if_there(cx, args, End::Right, reply)
}

#[inline]
fn push(cx: &mut Context<'_>, args: Args<'_>, end: End, reply: &mut Reply<'_>) -> CommandResult {
    let key = args.at(1);
    let list = cx.write_or_default::<List>(key)?;
    args.from(2).for_each(|element| list.push(end, element));
    let len = list.len();
    cx.modified(key);
    reply.integer(len as i64);
    Ok(())
}

fn push_if_there(cx: &mut Context<'_>, args: Args<'_>, end: End, reply: &mut Reply<'_>) -> CommandResult {
    if cx.write_as::<List>(args.at(1))?.is_none() {
        reply.integer(0);
        return Ok(());
    }
    push(cx, args, end, reply)
}

/// `LPOP key [count]`, O(N). An element or null; with a count an array or null.
pub(super) fn lpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Left, "lpop", reply)
}

/// `RPOP key [count]`, O(N). An element or null; with a count an array or null.
pub(super) fn rpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Right, "rpop", reply)
}

#[inline]
fn pop(cx: &mut Context<'_>, args: Args<'_>, end: End, name: &str, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(Error::arity(name));
    }
    let count = match args.len() {
        2 => None,
        _ => Some(bounded(args, 2, 0..=i64::MAX, error::NOT_POSITIVE)? as usize),
    };
    let key = args.at(1);
    let Some(list) = cx.write_as::<List>(key)? else {
        if count.is_some() {
            reply.null_array()
        } else {
            reply.null()
        }
        return Ok(());
    };
    match count {
        Some(0) => {
            reply.array(0);
            return Ok(());
        }
        Some(count) => take(list, end, count, reply),
        None => reply.string_or_null(list.pop(end).as_ref()),
    }
    cx.modified(key);
    cx.remove_if_empty::<List>(key);
    Ok(())
}

/// Takes up to `count` elements and writes them as an array.
pub(super) fn take(list: &mut List, end: End, count: usize, reply: &mut Reply<'_>) {
    let count = count.min(list.len());
    reply.array(count);
    for _ in 0..count {
        reply.string_or_null(list.pop(end).as_ref());
    }
}

/// `LMPOP numkeys key [key ...] LEFT|RIGHT [COUNT count]`, O(N+M). Array of the key's name and
/// an array of elements, or null.
pub(super) fn lmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let keys_end = keys_end(args, 1)?;
    if keys_end >= args.len() {
        return Err(error::SYNTAX);
    }
    let end = end_of(args, keys_end)?;
    let count = count_option(args, keys_end + 1)?;
    for index in 2..keys_end {
        let key = args.at(index);
        if let Some(list) = cx.write_as::<List>(key)? {
            reply.array(2);
            reply.bulk(key);
            take(list, end, count, reply);
            cx.modified(key);
            cx.remove_if_empty::<List>(key);
            return Ok(());
        }
    }
    reply.null_array();
    Ok(())
}

/// `LMOVE source destination LEFT|RIGHT LEFT|RIGHT`, O(1). The element, or null.
pub(super) fn lmove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (from, to) = (end_of(args, 3)?, end_of(args, 4)?);
    move_element(cx, args, from, to, reply)
}

/// `RPOPLPUSH source destination`, O(1). The element, or null.
pub(super) fn rpoplpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    move_element(cx, args, End::Right, End::Left, reply)
}

pub(super) fn move_element(
    cx: &mut Context<'_>,
    args: Args<'_>,
    from: End,
    to: End,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let (source, destination) = (args.at(1), args.at(2));
    if cx.write_as::<List>(source)?.is_none() {
        reply.null();
        return Ok(());
    }
    cx.write_as::<List>(destination)?;
    let Some(element) = cx.write_as::<List>(source)?.and_then(|list| list.pop(from)) else {
        unreachable!("a list without elements is removed");
    };
    reply.string(&element);
    cx.write_or_default::<List>(destination)?.push_item(to, element);
    cx.remove_if_empty::<List>(source);
    cx.modified(source);
    if source != destination {
        cx.modified(destination);
    }
    Ok(())
}

pub(super) fn end_of(args: Args<'_>, index: usize) -> Result<End, Error> {
    if args.is(index, "LEFT") {
        Ok(End::Left)
    } else if args.is(index, "RIGHT") {
        Ok(End::Right)
    } else {
        Err(error::SYNTAX)
    }
}
