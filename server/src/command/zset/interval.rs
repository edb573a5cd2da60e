//! Which members a range of ranks, scores or names means.

use crate::args::{Args, parse_strtod};
use crate::command::span::span;
use crate::error::{self, Error};
use crate::keyspace::zset::ZSet;

/// A range of members, as a client gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Interval<'a> {
    /// From one rank to another, both included, negative from the end.
    Ranks(i64, i64),
    /// From one score to another.
    Scores(ScoreBound, ScoreBound),
    /// From one member to another, where all scores are equal.
    Names(NameBound<'a>, NameBound<'a>),
}

/// `1.5`, or `(1.5` for an excluded one.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScoreBound {
    value: f64,
    excluded: bool,
}

/// `-`, `+`, `[name` or `(name`.
#[derive(Clone, Copy, Debug)]
pub(super) enum NameBound<'a> {
    Lowest,
    Highest,
    Included(&'a [u8]),
    Excluded(&'a [u8]),
}

impl<'a> Interval<'a> {
    /// Two arguments as ranks.
    pub(super) fn ranks_at(args: Args<'a>, min: usize, max: usize) -> Result<Self, Error> {
        Ok(Self::Ranks(args.integer(min)?, args.integer(max)?))
    }
    /// Two arguments as scores.
    pub(super) fn scores_at(args: Args<'a>, min: usize, max: usize) -> Result<Self, Error> {
        let bound = |text: &[u8]| {
            let (excluded, number) = match text {
                [b'(', number @ ..] => (true, number),
                number => (false, number),
            };
            let value = parse_strtod(number).ok_or(error::MIN_OR_MAX_NOT_A_FLOAT)?;
            Ok(ScoreBound { value, excluded })
        };
        Ok(Self::Scores(bound(args.at(min))?, bound(args.at(max))?))
    }
    /// Two arguments as names.
    pub(super) fn names_at(args: Args<'a>, min: usize, max: usize) -> Result<Self, Error> {
        let bound = |text: &'a [u8]| match text {
            b"-" => Ok(NameBound::Lowest),
            b"+" => Ok(NameBound::Highest),
            [b'[', name @ ..] => Ok(NameBound::Included(name)),
            [b'(', name @ ..] => Ok(NameBound::Excluded(name)),
            _ => Err(error::MIN_OR_MAX_NOT_VALID_STRING),
        };
        Ok(Self::Names(bound(args.at(min))?, bound(args.at(max))?))
    }
    /// The members in it: lowest rank and how many. `reversed`: ranks count from the highest
    /// score.
    pub(super) fn locate(self, zset: &ZSet, reversed: bool) -> (usize, usize) {
        let (start, end) = match self {
            Self::Ranks(start, end) => {
                let (start, count) = span(start, end, zset.len());
                return (if reversed { zset.len() - start - count } else { start }, count);
            }
            Self::Scores(min, max) => (
                zset.partition_point(|score, _| score < min.value || min.excluded && score == min.value),
                zset.partition_point(|score, _| score < max.value || !max.excluded && score == max.value),
            ),
            Self::Names(min, max) => (min.members_before(zset, false), max.members_before(zset, true)),
        };
        (start, end.saturating_sub(start))
    }
}

impl NameBound<'_> {
    /// How many members stand before the bound; `upper`: an included name too.
    fn members_before(self, zset: &ZSet, upper: bool) -> usize {
        match self {
            Self::Lowest => 0,
            Self::Highest => zset.len(),
            Self::Included(name) => {
                zset.partition_point(|_, member| member < name || upper && member == name)
            }
            Self::Excluded(name) => {
                zset.partition_point(|_, member| member < name || !upper && member == name)
            }
        }
    }
}
