//! Unions, intersections and differences of sorted sets and sets.

use super::{Context, show, store};
use crate::args::Args;
use crate::command::span::bounded;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::dict::Dict;
use crate::keyspace::set::Set;
use crate::keyspace::zset::ZSet;
use crate::keyspace::{KeyHasher, Value};
use crate::reply::Reply;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

/// What becomes of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Answer,
    Store,
    Count,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, a: f64, b: f64) -> f64 {
        match self {
            // Infinities of both signs cancel out.
            Self::Sum => not_nan(a + b),
            Self::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Self::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

fn not_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A source: members of a set count as having the score 1.
#[derive(Clone, Copy)]
enum Source<'c> {
    Missing,
    Set(&'c Set),
    ZSet(&'c ZSet),
}

impl Source<'_> {
    fn len(self) -> usize {
        match self {
            Self::Missing => 0,
            Self::Set(set) => set.len(),
            Self::ZSet(zset) => zset.len(),
        }
    }
    fn score(self, hasher: &KeyHasher, member: &[u8]) -> Option<f64> {
        match self {
            Self::Missing => None,
            Self::Set(set) => set.contains(hasher, member).then_some(1.0),
            Self::ZSet(zset) => zset.score(hasher, member),
        }
    }
    /// Shows members and scores until `with` says false.
    fn each(self, mut with: impl FnMut(&[u8], f64) -> bool) {
        match self {
            Self::Missing => {}
            Self::Set(set) => drop(set.iter().all(|member| with(&member, 1.0))),
            Self::ZSet(zset) => drop(zset.range(0, usize::MAX).all(|(member, score)| with(member, score))),
        }
    }
}

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE SUM|MIN|MAX]
/// [WITHSCORES]`, O(N log N). Array of members.
pub(super) fn zunion(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Union, Use::Answer, "zunion", reply)
}

/// `ZINTER numkeys key [key ...] [WEIGHTS …] [AGGREGATE …] [WITHSCORES]`, O(N*K + M log M).
/// Array of members.
pub(super) fn zinter(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Intersection, Use::Answer, "zinter", reply)
}

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`, O(N*K + M log M). Array of members.
pub(super) fn zdiff(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Difference, Use::Answer, "zdiff", reply)
}

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]`. Integer: members
/// stored.
pub(super) fn zunionstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Union, Use::Store, "zunionstore", reply)
}

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS …] [AGGREGATE …]`. Integer: members
/// stored.
pub(super) fn zinterstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Intersection, Use::Store, "zinterstore", reply)
}

/// `ZDIFFSTORE destination numkeys key [key ...]`. Integer: members stored.
pub(super) fn zdiffstore(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Difference, Use::Store, "zdiffstore", reply)
}

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`, O(N*K). Integer: how many, at most `limit`.
pub(super) fn zintercard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, Operation::Intersection, Use::Count, "zintercard", reply)
}

struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// 0: none.
    limit: usize,
}

impl Options {
    fn parse(
        args: Args<'_>,
        mut at: usize,
        keys: usize,
        operation: Operation,
        used: Use,
    ) -> Result<Self, Error> {
        let mut options =
            Self { weights: vec![1.0; keys], aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let weighted = operation != Operation::Difference && used != Use::Count;
        while at < args.len() {
            let left = args.len() - at;
            if weighted && left > keys && args.is(at, "WEIGHTS") {
                for (index, weight) in options.weights.iter_mut().enumerate() {
                    let error = |_| Error::new("ERR weight value is not a float");
                    *weight = args.float(at + 1 + index).map_err(error)?;
                }
                at += keys + 1;
            } else if weighted && left >= 2 && args.is(at, "AGGREGATE") {
                options.aggregate = match () {
                    () if args.is(at + 1, "SUM") => Aggregate::Sum,
                    () if args.is(at + 1, "MIN") => Aggregate::Min,
                    () if args.is(at + 1, "MAX") => Aggregate::Max,
                    () => return Err(error::SYNTAX),
                };
                at += 2;
            } else if used == Use::Answer && args.is(at, "WITHSCORES") {
                options.with_scores = true;
                at += 1;
            } else if used == Use::Count && left >= 2 && args.is(at, "LIMIT") {
                let error = Error::new("ERR LIMIT can't be negative");
                options.limit = bounded(args, at + 1, 0..=i64::MAX, error)? as usize;
                at += 2;
            } else {
                return Err(error::SYNTAX);
            }
        }
        Ok(options)
    }
}

fn run(
    cx: &mut Context<'_>,
    args: Args<'_>,
    operation: Operation,
    used: Use,
    name: &str,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let count_at = if used == Use::Store { 2 } else { 1 };
    let count = args.integer(count_at)?;
    if count < 1 {
        return Err(Error::text(format!("ERR at least 1 input key is needed for '{name}' command")));
    }
    let first = count_at + 1;
    if count > (args.len() - first) as i64 {
        return Err(error::SYNTAX);
    }
    let count = count as usize;
    let mut sources = Vec::with_capacity(count);
    for key in args.from(first).take(count) {
        sources.push(match cx.read(key) {
            None => Source::Missing,
            Some(Value::Set(set)) => Source::Set(set),
            Some(Value::ZSet(zset)) => Source::ZSet(zset),
            Some(_) => return Err(error::WRONG_TYPE),
        });
    }
    let options = Options::parse(args, first + count, count, operation, used)?;
    let mut sources: Vec<_> = sources.into_iter().zip(options.weights.iter().copied()).collect();
    if operation != Operation::Difference {
        sources.sort_by_key(|(source, _)| source.len());
    }
    let hasher = cx.engine.hasher();
    let mut result = if used == Use::Store { ZSet::default() } else { ZSet::unlimited() };
    let mut found = 0;
    match operation {
        Operation::Union => union(&sources, options.aggregate, hasher, &mut result),
        Operation::Intersection => intersect(&sources, options.aggregate, hasher, |member, score| {
            found += 1;
            if used != Use::Count {
                result.set(hasher, member, score);
            }
            found != options.limit
        }),
        Operation::Difference => subtract(&sources, hasher, &mut result),
    }
    match used {
        Use::Count => reply.integer(found as i64),
        Use::Answer => show(result.range(0, usize::MAX), result.len(), options.with_scores, reply),
        Use::Store => store(cx, args.at(1), result, reply),
    }
    Ok(())
}

fn union(sources: &[(Source<'_>, f64)], aggregate: Aggregate, hasher: &KeyHasher, result: &mut ZSet) {
    let mut scores = Dict::default();
    for (source, weight) in sources {
        source.each(|member, score| {
            let score = not_nan(weight * score);
            match scores.find(hasher, member) {
                None => scores.push_new(hasher, member, score),
                Some(position) => {
                    let sum = scores.value_mut(position);
                    *sum = aggregate.of(*sum, score);
                }
            }
            true
        });
    }
    for member in scores.members() {
        result.set(hasher, member.key.as_bytes(), member.value);
    }
}

/// `sources`: smallest first. Ends when `with` says false.
fn intersect(
    sources: &[(Source<'_>, f64)],
    aggregate: Aggregate,
    hasher: &KeyHasher,
    mut with: impl FnMut(&[u8], f64) -> bool,
) {
    let Some(((smallest, weight), others)) = sources.split_first() else { return };
    smallest.each(|member, score| {
        let mut sum = not_nan(weight * score);
        for (other, weight) in others {
            match other.score(hasher, member) {
                // Redis makes no 0 of NaN here: it spoils a sum, and never is a minimum or maximum.
                Some(score) => sum = aggregate.of(sum, weight * score),
                None => return true,
            }
        }
        with(member, sum)
    });
}

fn subtract(sources: &[(Source<'_>, f64)], hasher: &KeyHasher, result: &mut ZSet) {
    let Some(((first, _), others)) = sources.split_first() else { return };
    first.each(|member, score| {
        if others.iter().all(|(other, _)| other.score(hasher, member).is_none()) {
            result.set(hasher, member, score);
        }
        true
    });
}
