//! Members with their scores and ranks.

use super::Context;
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;

/// What `ZADD` may do.
#[derive(Clone, Copy, Default)]
struct AddOptions {
    only_new: bool,
    only_there: bool,
    only_greater: bool,
    only_less: bool,
    count_changed: bool,
    increment: bool,
}

impl AddOptions {
    /// The options from argument 2 on, and where the scores begin.
    fn parse(args: Args<'_>) -> Result<(Self, usize), Error> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            let option = match args.at(at) {
                word if word.eq_ignore_ascii_case(b"NX") => &mut options.only_new,
                word if word.eq_ignore_ascii_case(b"XX") => &mut options.only_there,
                word if word.eq_ignore_ascii_case(b"GT") => &mut options.only_greater,
                word if word.eq_ignore_ascii_case(b"LT") => &mut options.only_less,
                word if word.eq_ignore_ascii_case(b"CH") => &mut options.count_changed,
                word if word.eq_ignore_ascii_case(b"INCR") => &mut options.increment,
                _ => break,
            };
            *option = true;
            at += 1;
        }
        let scores_and_members = args.len() - at;
        if scores_and_members == 0 || scores_and_members % 2 == 1 {
            return Err(error::SYNTAX);
        }
        if options.only_new && options.only_there {
            return Err(Error::new("ERR XX and NX options at the same time are not compatible"));
        }
        let conditions = [options.only_new, options.only_greater, options.only_less];
        if conditions.into_iter().filter(|set| *set).count() > 1 {
            return Err(Error::new("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if options.increment && scores_and_members > 2 {
            return Err(Error::new("ERR INCR option supports a single increment-element pair"));
        }
        Ok((options, at))
    }
    /// The score that a member gets; `None`: it stays as it is, or out.
    fn apply(&self, old: Option<f64>, given: f64) -> Result<Option<f64>, Error> {
        let Some(old) = old else {
            return Ok((!self.only_there).then_some(given));
        };
        if self.only_new {
            return Ok(None);
        }
        let new = if self.increment { old + given } else { given };
        if new.is_nan() {
            return Err(Error::new("ERR resulting score is not a number (NaN)"));
        }
        let refused = self.only_less && new >= old || self.only_greater && new <= old;
        Ok((!refused).then_some(new))
    }
}

/// `ZADD key [NX|XX] [GT|LT] [CH] [INCR] score member [score member ...]`, O(log N) each.
/// Integer: how many are new (with `CH`: or changed). With `INCR` the new score, or null.
pub(super) fn zadd(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (options, first) = AddOptions::parse(args)?;
    add(cx, args, options, first, reply)
}

/// `ZINCRBY key increment member`, O(log N). Double: the new score.
pub(super) fn zincrby(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    add(cx, args, AddOptions { increment: true, ..AddOptions::default() }, 2, reply)
}

fn add(
    cx: &mut Context<'_>,
    args: Args<'_>,
    options: AddOptions,
    first: usize,
    reply: &mut Reply<'_>,
) -> CommandResult {
    for at in (first..args.len()).step_by(2) {
        args.float(at)?;
    }
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    if cx.write_as::<ZSet>(key)?.is_none() && options.only_there {
        if options.increment {
            reply.null()
        } else {
            reply.integer(0)
        }
        return Ok(());
    }
    let zset = cx.write_or_default::<ZSet>(key)?;
    let (mut added, mut changed, mut last) = (0, 0, None);
    for at in (first..args.len()).step_by(2) {
        let (given, member) = (args.float(at)?, args.at(at + 1));
        let old = if options.needs_old() { zset.score(hasher, member) } else { None };
        last = options.apply(old, given)?;
        let Some(score) = last else { continue };
        match zset.set(hasher, member, score) {
            Some(true) => added += 1,
            Some(false) => changed += 1,
            None => {}
        }
    }
    if added + changed > 0 {
        cx.modified(key);
    } else {
        cx.remove_if_empty::<ZSet>(key);
    }
    match (options.increment, last) {
        (true, Some(score)) => reply.double(score),
        (true, None) => reply.null(),
        (false, _) if options.count_changed => reply.integer(added + changed),
        (false, _) => reply.integer(added),
    }
    Ok(())
}

impl AddOptions {
    /// Without conditions a member's old score does not matter.
    fn needs_old(&self) -> bool {
        self.only_new || self.only_there || self.only_greater || self.only_less || self.increment
    }
}

/// `ZREM key member [member ...]`, O(log N) each. Integer: how many were removed.
pub(super) fn zrem(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, hasher) = (args.at(1), cx.engine.hasher());
    let mut removed = 0;
    if let Some(zset) = cx.write_as::<ZSet>(key)? {
        removed = args.from(2).filter(|member| zset.remove(hasher, member)).count();
    }
    if removed > 0 {
        cx.modified(key);
        cx.remove_if_empty::<ZSet>(key);
    }
    reply.integer(removed as i64);
    Ok(())
}

/// `ZSCORE key member`, O(1). Double, or null.
pub(super) fn zscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let zset = cx.read_as::<ZSet>(args.at(1))?;
    score_or_null(zset.and_then(|zset| zset.score(cx.engine.hasher(), args.at(2))), reply);
    Ok(())
}

/// `ZMSCORE key member [member ...]`, O(N). Array of doubles and nulls.
pub(super) fn zmscore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let zset = cx.read_as::<ZSet>(args.at(1))?;
    reply.array(args.len() - 2);
    for member in args.from(2) {
        score_or_null(zset.and_then(|zset| zset.score(cx.engine.hasher(), member)), reply);
    }
    Ok(())
}

fn score_or_null(score: Option<f64>, reply: &mut Reply<'_>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

/// `ZCARD key`, O(1). Integer: how many.
pub(super) fn zcard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.read_as::<ZSet>(args.at(1))?.map_or(0, ZSet::len) as i64);
    Ok(())
}

/// `ZRANK key member [WITHSCORE]`, O(log N). Integer (with the score: an array of both), or null.
pub(super) fn zrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rank(cx, args, false, "zrank", reply)
}

/// `ZREVRANK key member [WITHSCORE]`, O(log N). As `ZRANK`, highest score first.
pub(super) fn zrevrank(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    rank(cx, args, true, "zrevrank", reply)
}

fn rank(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reversed: bool,
    name: &str,
    reply: &mut Reply<'_>,
) -> CommandResult {
    if args.len() > 4 {
        return Err(Error::arity(name));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(error::SYNTAX);
    }
    let zset = cx.read_as::<ZSet>(args.at(1))?;
    let found = zset.and_then(|zset| Some((zset.len(), zset.rank(cx.engine.hasher(), args.at(2))?)));
    match found {
        None if with_score => reply.null_array(),
        None => reply.null(),
        Some((len, (rank, score))) => {
            let rank = if reversed { len - 1 - rank } else { rank };
            if with_score {
                reply.array(2);
            }
            reply.integer(rank as i64);
            if with_score {
                reply.double(score);
            }
        }
    }
    Ok(())
}
