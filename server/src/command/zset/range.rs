//! Ranges by rank, by score and by name: shown, counted, stored, removed.

use super::Context;
use super::interval::Interval;
use super::show;
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Rank,
    Score,
    Name,
}

/// A range with its options.
struct Query<'a> {
    interval: Interval<'a>,
    reversed: bool,
    with_scores: bool,
    /// Negative: nothing is shown.
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Query<'a> {
    /// `key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]` from the key at
    /// argument `first` on. `kind`, `reversed`: fixed by the command's name, or to be read.
    fn parse(
        args: Args<'a>,
        first: usize,
        mut kind: Option<Kind>,
        mut reversed: Option<bool>,
        storing: bool,
    ) -> Result<Self, Error> {
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut at = first + 3;
        while at < args.len() {
            if !storing && args.is(at, "WITHSCORES") {
                with_scores = true;
            } else if args.is(at, "LIMIT") && at + 2 < args.len() {
                (offset, limit) = (args.integer(at + 1)?, args.integer(at + 2)?);
                at += 2;
            } else if reversed.is_none() && args.is(at, "REV") {
                reversed = Some(true);
            } else if kind.is_none() && args.is(at, "BYLEX") {
                kind = Some(Kind::Name);
            } else if kind.is_none() && args.is(at, "BYSCORE") {
                kind = Some(Kind::Score);
            } else {
                return Err(error::SYNTAX);
            }
            at += 1;
        }
        let (kind, reversed) = (kind.unwrap_or(Kind::Rank), reversed.unwrap_or(false));
        if limit != -1 && kind == Kind::Rank {
            return Err(Error::new(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && kind == Kind::Name {
            return Err(Error::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        let (min, max) = if reversed { (first + 2, first + 1) } else { (first + 1, first + 2) };
        let interval = match kind {
            Kind::Rank => Interval::ranks_at(args, first + 1, first + 2)?,
            Kind::Score => Interval::scores_at(args, min, max)?,
            Kind::Name => Interval::names_at(args, min, max)?,
        };
        Ok(Self { interval, reversed, with_scores, offset, limit })
    }
    /// The ranks that are meant, after `LIMIT`: the lowest and how many.
    fn locate(&self, zset: &ZSet) -> (usize, usize) {
        let (start, count) = self.interval.locate(zset, self.reversed);
        if matches!(self.interval, Interval::Ranks(..)) {
            return (start, count);
        }
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX).min(count);
        let wanted = usize::try_from(self.limit).unwrap_or(usize::MAX).min(count - skipped);
        (if self.reversed { start + count - skipped - wanted } else { start + skipped }, wanted)
    }
}

fn answer(cx: &mut Context<'_>, key: &[u8], query: &Query<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(zset) = cx.read_as::<ZSet>(key)? else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = query.locate(zset);
    let members = zset.range(start, count);
    if query.reversed {
        show(members.rev(), count, query.with_scores, reply);
    } else {
        show(members, count, query.with_scores, reply);
    }
    Ok(())
}

/// `ZRANGE key start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`,
/// O(log N + M). Array of members; with scores flat in RESP2 and in pairs in RESP3.
pub(super) fn zrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, None, None, false)?, reply)
}

/// `ZREVRANGE key start stop [WITHSCORES]`, O(log N + M). As `ZRANGE … REV`.
pub(super) fn zrevrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, Some(Kind::Rank), Some(true), false)?, reply)
}

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`, O(log N + M).
pub(super) fn zrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, Some(Kind::Score), Some(false), false)?, reply)
}

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`, O(log N + M).
pub(super) fn zrevrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, Some(Kind::Score), Some(true), false)?, reply)
}

/// `ZRANGEBYLEX key min max [LIMIT offset count]`, O(log N + M).
pub(super) fn zrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, Some(Kind::Name), Some(false), false)?, reply)
}

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`, O(log N + M).
pub(super) fn zrevrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    answer(cx, args.at(1), &Query::parse(args, 1, Some(Kind::Name), Some(true), false)?, reply)
}

/// `ZRANGESTORE destination source start stop [BYSCORE|BYLEX] [REV] [LIMIT offset count]`,
/// O(log N + M). Integer: members stored.
pub(super) fn zrangestore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let query = Query::parse(args, 2, None, None, true)?;
    let hasher = cx.engine.hasher();
    let mut result = ZSet::default();
    if let Some(zset) = cx.read_as::<ZSet>(args.at(2))? {
        let (start, count) = query.locate(zset);
        for (member, score) in zset.range(start, count) {
            result.set(hasher, member, score);
        }
    }
    super::store(cx, args.at(1), result, reply);
    Ok(())
}

fn count(
    cx: &mut Context<'_>,
    args: Args<'_>,
    interval: Interval<'_>,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let zset = cx.read_as::<ZSet>(args.at(1))?;
    reply.integer(zset.map_or(0, |zset| interval.locate(zset, false).1) as i64);
    Ok(())
}

/// `ZCOUNT key min max`, O(log N). Integer: members with such scores.
pub(super) fn zcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(cx, args, Interval::scores_at(args, 2, 3)?, reply)
}

/// `ZLEXCOUNT key min max`, O(log N). Integer: members with such names.
pub(super) fn zlexcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    count(cx, args, Interval::names_at(args, 2, 3)?, reply)
}

fn remove(
    cx: &mut Context<'_>,
    args: Args<'_>,
    interval: Interval<'_>,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    let Some(zset) = cx.write_as::<ZSet>(key)? else {
        reply.integer(0);
        return Ok(());
    };
    let (start, count) = interval.locate(zset, false);
    if count == zset.len() {
        cx.remove(key);
    } else if count > 0 {
        (0..count).for_each(|_| drop(zset.remove_rank(hasher, start)));
        cx.modified(key);
    }
    reply.integer(count as i64);
    Ok(())
}

/// `ZREMRANGEBYRANK key start stop`, O(M log N). Integer: how many were removed.
pub(super) fn zremrangebyrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    remove(cx, args, Interval::ranks_at(args, 2, 3)?, reply)
}

/// `ZREMRANGEBYSCORE key min max`, O(M log N). Integer: how many were removed.
pub(super) fn zremrangebyscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    remove(cx, args, Interval::scores_at(args, 2, 3)?, reply)
}

/// `ZREMRANGEBYLEX key min max`, O(M log N). Integer: how many were removed.
pub(super) fn zremrangebylex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    remove(cx, args, Interval::names_at(args, 2, 3)?, reply)
}
