//! The commands that wait for a sorted set to be filled.

use super::Context;
use super::take::take;
use crate::args::Args;
use crate::command::span::{bounded, count_option};
use crate::error::{self, CommandResult};
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;
use crate::waiting::{timeout_ms, wait};

/// `BZPOPMIN key [key ...] timeout`, O(log N). Array: key, member and score; null when the time
/// is over.
pub(super) fn bzpopmin(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, false, reply)
}

/// `BZPOPMAX key [key ...] timeout`, O(log N). As `BZPOPMIN`, highest score first.
pub(super) fn bzpopmax(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, true, reply)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, highest: bool, reply: &mut Reply<'_>) -> CommandResult {
    let last = args.len() - 1;
    let timeout = timeout_ms(args, last)?;
    for index in 1..last {
        let key = args.at(index);
        if cx.write_as::<ZSet>(key)?.is_some() {
            reply.array(3);
            reply.bulk(key);
            return take(cx, key, highest, 1, false, reply);
        }
    }
    wait(cx, args, 1..last, timeout, reply, |reply| reply.null_array())
}

/// `BZMPOP timeout numkeys key [key ...] MIN|MAX [COUNT count]`, O(K + M log N). Array of the
/// key's name and an array of pairs; null when the time is over.
pub(super) fn bzmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let timeout = timeout_ms(args, 1)?;
    let count = bounded(args, 2, 1..=i64::MAX, error::NUMKEYS_NOT_POSITIVE)?;
    let keys_end = 3usize.saturating_add(count as usize);
    if keys_end >= args.len() {
        return Err(error::SYNTAX);
    }
    let highest = args.is(keys_end, "MAX");
    if !highest && !args.is(keys_end, "MIN") {
        return Err(error::SYNTAX);
    }
    let count = count_option(args, keys_end + 1)?;
    for index in 3..keys_end {
        let key = args.at(index);
        let Some(len) = cx.write_as::<ZSet>(key)?.map(|zset| zset.len()) else { continue };
        let count = count.min(len);
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
        return take(cx, key, highest, count, true, reply);
    }
    wait(cx, args, 3..keys_end, timeout, reply, |reply| reply.null_array())
}
