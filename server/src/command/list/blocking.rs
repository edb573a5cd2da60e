//! The commands that wait for a list to be filled.

use super::Context;
use super::end::{end_of, move_element, take};
use crate::args::Args;
use crate::command::span::{bounded, count_option};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::list::{End, List};
use crate::reply::Reply;
use crate::waiting::{timeout_ms, wait};

/// `BLPOP key [key ...] timeout`, O(N) with N keys. Array: the key and the element; null when
/// the time is over.
pub(super) fn blpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Left, reply)
}

/// `BRPOP key [key ...] timeout`, O(N) with N keys. As `BLPOP`, from the tail.
pub(super) fn brpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, End::Right, reply)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, end: End, reply: &mut Reply<'_>) -> CommandResult {
    let last = args.len() - 1;
    let timeout = timeout_ms(args, last)?;
    for index in 1..last {
        let key = args.at(index);
        if let Some(list) = cx.write_as::<List>(key)? {
            let element = list.pop(end);
            reply.array(2);
            reply.bulk(key);
            reply.string_or_null(element.as_ref());
            cx.modified(key);
            cx.remove_if_empty::<List>(key);
            return Ok(());
        }
    }
    wait(cx, args, 1..last, timeout, reply, |reply| reply.null_array())
}

/// `BLMPOP timeout numkeys key [key ...] LEFT|RIGHT [COUNT count]`, O(N+M). Array of the key's
/// name and an array of elements; null when the time is over.
pub(super) fn blmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let timeout = timeout_ms(args, 1)?;
    let count = bounded(args, 2, 1..=i64::MAX, error::NUMKEYS_NOT_POSITIVE)?;
    let keys_end = 3usize.saturating_add(count as usize);
    if keys_end >= args.len() {
        return Err(error::SYNTAX);
    }
    let end = end_of(args, keys_end)?;
    let count = count_option(args, keys_end + 1)?;
    for index in 3..keys_end {
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
    wait(cx, args, 3..keys_end, timeout, reply, |reply| reply.null_array())
}

/// `BLMOVE source destination LEFT|RIGHT LEFT|RIGHT timeout`, O(1). The element; null when the
/// time is over.
pub(super) fn blmove(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (from, to) = (end_of(args, 3)?, end_of(args, 4)?);
    let timeout = timeout_ms(args, 5)?;
    move_or_wait(cx, args, from, to, timeout, reply)
}

/// `BRPOPLPUSH source destination timeout`, O(1). As `BLMOVE` from the tail to the head.
pub(super) fn brpoplpush(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let timeout = timeout_ms(args, 3)?;
    move_or_wait(cx, args, End::Right, End::Left, timeout, reply)
}

fn move_or_wait(
    cx: &mut Context<'_>,
    args: Args<'_>,
    from: End,
    to: End,
    timeout: i64,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if cx.write_as::<List>(args.at(1))?.is_none() {
        return wait(cx, args, 1..2, timeout, reply, |reply| reply.null());
    }
    move_element(cx, args, from, to, reply)
}
