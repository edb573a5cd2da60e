//! Finding keys: `SCAN`, `KEYS`, `RANDOMKEY`.

use crate::args::Args;
use crate::command::Context;
use crate::error::{self, CommandResult, Error};
use crate::glob;
use crate::reply::Reply;

/// Reads a cursor as C's `strtoul` does.
pub(super) fn cursor(text: &[u8]) -> Result<u64, Error> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if text.is_empty() {
        return Ok(0);
    }
    let digits = core::str::from_utf8(digits).map_err(|_| error::INVALID_CURSOR)?;
    digits.parse().map_err(|_| error::INVALID_CURSOR)
}

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`, O(1) a call. Array: the next cursor
/// (0 at the end) and an array of keys.
///
/// The cursor names a shard and a place in the order of its hashes, which growth does not
/// change: a key that is there during the whole walk is shown.
pub(super) fn scan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = cursor(args.at(1))?;
    let (mut pattern, mut count, mut kind) = (None, 10usize, None);
    let mut at = 2;
    while at < args.len() {
        if at + 1 >= args.len() {
            return Err(error::SYNTAX);
        }
        if args.is(at, "COUNT") {
            let wanted = args.integer(at + 1)?;
            count = usize::try_from(wanted).ok().filter(|&n| n > 0).ok_or(error::SYNTAX)?;
        } else if args.is(at, "MATCH") {
            pattern = Some(args.at(at + 1)).filter(|&pattern| pattern != b"*");
        } else if args.is(at, "TYPE") {
            kind = Some(args.at(at + 1));
        } else {
            return Err(error::SYNTAX);
        }
        at += 2;
    }
    let (db, now_ms) = (cx.session.db, cx.now_ms());
    let mut found: Vec<Box<[u8]>> = Vec::new();
    let (mut shard, mut from) = ((cursor >> 32) as usize, cursor as u32);
    let mut left = count;
    while shard < cx.engine.shard_count() && left > 0 {
        let next = cx.with_shard(shard, |shard| {
            shard.dbs[db].scan(from, left, |entry| {
                left = left.saturating_sub(1);
                let key = entry.key.as_bytes();
                if entry.expire_at > now_ms
                    && pattern.is_none_or(|pattern| glob::matches(pattern, key, false))
                    && kind.is_none_or(|kind| kind.eq_ignore_ascii_case(entry.value.type_name().as_bytes()))
                {
                    found.push(key.into());
                }
            })
        });
        match next {
            Some(hash) => {
                from = hash;
                break;
            }
            None => (shard, from) = (shard + 1, 0),
        }
    }
    let next = if shard < cx.engine.shard_count() { (shard as u64) << 32 | u64::from(from) } else { 0 };
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// `KEYS pattern`, O(N). Array: the keys that match.
pub(super) fn keys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (db, now_ms, pattern) = (cx.session.db, cx.now_ms(), args.at(1));
    let all = pattern == b"*";
    let mut found: Vec<Box<[u8]>> = Vec::new();
    cx.each_shard(|_, shard| {
        for entry in shard.dbs[db].iter().filter(|entry| entry.expire_at > now_ms) {
            let key = entry.key.as_bytes();
            if all || glob::matches(pattern, key, false) {
                found.push(key.into());
            }
        }
        true
    });
    reply.array(found.len());
    found.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

/// `RANDOMKEY`, O(1). Bulk: a key, or null when there is none.
pub(super) fn randomkey(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (db, now_ms) = (cx.session.db, cx.now_ms());
    let mut lens = Vec::with_capacity(cx.engine.shard_count());
    cx.each_shard(|_, shard| {
        lens.push(shard.dbs[db].len());
        true
    });
    let total: usize = lens.iter().sum();
    // A shard by its share of the keys, then a key of it; expired ones are drawn again.
    for _ in 0..100 {
        let mut ticket = cx.random_below(total);
        let Some(shard) = lens.iter().position(|&len| {
            let here = ticket < len;
            ticket = ticket.saturating_sub(len);
            here
        }) else {
            break;
        };
        let mut rng = netcore::rng::SeededRng::new(cx.random());
        let key = cx.with_shard(shard, |shard| {
            let entry = shard.dbs[db].random(|| rng.next_u64())?;
            (entry.expire_at > now_ms).then(|| entry.key.clone())
        });
        if let Some(key) = key {
            reply.bulk(key.as_bytes());
            return Ok(());
        }
    }
    reply.null();
    Ok(())
}
