//! Members from either end, random ones, and all in steps.

use netcore::rng::SeededRng;

use super::{Context, show};
use crate::args::Args;
use crate::command::span::{self, Draw, ScanOptions, bounded, keys_end};
use crate::error::{self, CommandResult};
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;

/// `ZPOPMIN key [count]`, O(M log N). Array of members and scores; with a count in pairs in RESP3.
pub(super) fn zpopmin(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, false, reply)
}

/// `ZPOPMAX key [count]`, O(M log N). As `ZPOPMIN`, highest scores first.
pub(super) fn zpopmax(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    pop(cx, args, true, reply)
}

fn pop(cx: &mut Context<'_>, args: Args<'_>, highest: bool, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        return Err(error::SYNTAX);
    }
    let count = match args.len() {
        2 => 1,
        _ => bounded(args, 2, 0..=i64::MAX, error::NOT_POSITIVE)? as usize,
    };
    let key = args.at(1);
    let available = cx.write_as::<ZSet>(key)?.map_or(0, |zset| zset.len());
    let count = count.min(available);
    let pairs = args.len() == 3 && reply.resp3;
    reply.array(if pairs { count } else { 2 * count });
    if count > 0 {
        take(cx, key, highest, count, pairs, reply)?;
    }
    Ok(())
}

/// Takes `count` members, at most what is there, and writes them.
pub(super) fn take(
    cx: &mut Context<'_>,
    key: &[u8],
    highest: bool,
    count: usize,
    pairs: bool,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let hasher = cx.engine.hasher();
    if let Some(zset) = cx.write_as::<ZSet>(key)? {
        for _ in 0..count {
            let rank = if highest { zset.len() - 1 } else { 0 };
            let (member, score) = zset.remove_rank(hasher, rank);
            if pairs {
                reply.array(2);
            }
            reply.bulk(member.as_bytes());
            reply.double(score);
        }
    }
    cx.modified(key);
    cx.remove_if_empty::<ZSet>(key);
    Ok(())
}

/// `ZMPOP numkeys key [key ...] MIN|MAX [COUNT count]`, O(K + M log N). Array of the key's name
/// and an array of pairs, or null.
pub(super) fn zmpop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let keys_end = keys_end(args, 1)?;
    if keys_end >= args.len() {
        return Err(error::SYNTAX);
    }
    let highest = args.is(keys_end, "MAX");
    if !highest && !args.is(keys_end, "MIN") {
        return Err(error::SYNTAX);
    }
    let count = span::count_option(args, keys_end + 1)?;
    for index in 2..keys_end {
        let key = args.at(index);
        let Some(len) = cx.write_as::<ZSet>(key)?.map(|zset| zset.len()) else { continue };
        let count = count.min(len);
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
        return take(cx, key, highest, count, true, reply);
    }
    reply.null_array();
    Ok(())
}

/// `ZRANDMEMBER key [count [WITHSCORES]]`, O(N). A member or null; with a count an array, with
/// scores too flat in RESP2 and in pairs in RESP3.
pub(super) fn zrandmember(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut random = SeededRng::new(cx.random());
    if args.len() == 2 {
        match cx.read_as::<ZSet>(args.at(1))? {
            Some(zset) => reply.bulk(zset.any(random.below(zset.len() as u64) as usize).0),
            None => reply.null(),
        }
        return Ok(());
    }
    let draw = Draw::parse(args)?;
    let with_scores = args.len() > 3;
    if args.len() > 4 || with_scores && !args.is(3, "WITHSCORES") {
        return Err(error::SYNTAX);
    }
    draw.check(with_scores)?;
    let Some(zset) = cx.read_as::<ZSet>(args.at(1))? else {
        reply.array(0);
        return Ok(());
    };
    let count = draw.count(zset.len());
    if draw == Draw::Different(count) && count == zset.len() {
        show(zset.range(0, count), count, with_scores, reply);
        return Ok(());
    }
    let pairs = with_scores && reply.resp3;
    reply.array(if with_scores && !pairs { 2 * count } else { count });
    draw.each(zset.len(), &mut random, |position| {
        let (member, score) = zset.any(position);
        if pairs {
            reply.array(2);
        }
        reply.bulk(member);
        if with_scores {
            reply.double(score);
        }
    });
    Ok(())
}

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`, O(1) a call. Array: the next cursor (0 at
/// the end) and an array of members and scores.
pub(super) fn zscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = span::cursor(args, 2)?;
    let Some(zset) = cx.read_as::<ZSet>(args.at(1))? else {
        reply.raw(b"*2\r\n$1\r\n0\r\n*0\r\n");
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3)?;
    let mut found = Vec::new();
    let next = zset.scan(cursor, options.count, |member, score| {
        if options.wants(member) {
            found.push((member, score));
        }
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(2 * found.len());
    for (member, score) in found {
        reply.bulk(member);
        reply.bulk(protocol::resp::number::format_f64(score).as_bytes());
    }
    Ok(())
}
