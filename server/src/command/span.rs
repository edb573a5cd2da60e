//! How commands on collections read what is common to them: ranges of indexes, numbers with
//! limits, counts of keys, `SCAN`'s arguments.

use core::ops::RangeInclusive;

use hashbrown::HashMap;
use netcore::rng::SeededRng;
use protocol::resp::number::parse_i64;

use crate::args::Args;
use crate::error::{self, Error};
use crate::glob;

/// The items from `start` to `end`, both included and negative from the end, of a collection of
/// `len`: index of the first one and how many.
pub(super) fn span(start: i64, end: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { index.saturating_add(len).max(-1) } else { index };
    let (start, end) = (from_end(start).max(0), from_end(end).min(len - 1));
    if start > end { (0, 0) } else { (start as usize, (end - start + 1) as usize) }
}

/// Argument `index` as an integer in `allowed`; anything else is `error`.
pub(super) fn bounded(
    args: Args<'_>,
    index: usize,
    allowed: RangeInclusive<i64>,
    error: Error,
) -> Result<i64, Error> {
    parse_i64(args.at(index)).filter(|value| allowed.contains(value)).ok_or(error)
}

/// Argument `index` as an integer that can be negated.
fn symmetric(args: Args<'_>, index: usize) -> Result<i64, Error> {
    match args.integer(index)? {
        i64::MIN => Err(Error::new(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        value => Ok(value),
    }
}

/// Argument `index` as the number of keys that follow it: where they end. Redis' texts, for
/// commands that end with their keys or go on behind them.
pub(super) fn keys_end(args: Args<'_>, index: usize) -> Result<usize, Error> {
    let count = bounded(args, index, 1..=i64::MAX, error::NUMKEYS_NOT_POSITIVE)?;
    Ok((index + 1).saturating_add(count as usize))
}

/// `[COUNT count]`, at least 1, as the last arguments from `first` on.
pub(super) fn count_option(args: Args<'_>, first: usize) -> Result<usize, Error> {
    if first == args.len() {
        return Ok(1);
    }
    if !args.is(first, "COUNT") || first + 1 == args.len() {
        return Err(error::SYNTAX);
    }
    let error = Error::new("ERR count should be greater than 0");
    let count = bounded(args, first + 1, 1..=i64::MAX, error)? as usize;
    if first + 2 < args.len() { Err(error::SYNTAX) } else { Ok(count) }
}

/// Most members that may be drawn with repetition. Redis has no limit here and fills its memory
/// until it is killed.
const REPEATED_MAX: usize = 1 << 26;

/// How many random members a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Draw {
    /// So many different ones, at most all.
    Different(usize),
    /// So many, each drawn from all.
    Repeated(usize),
}

impl Draw {
    /// Argument 2 as `HRANDFIELD` and its like take it: negative means repeated.
    pub(super) fn parse(args: Args<'_>) -> Result<Self, Error> {
        match Self::of(symmetric(args, 2)?) {
            Self::Repeated(count) if count > REPEATED_MAX => Err(error::OUT_OF_RANGE),
            draw => Ok(draw),
        }
    }
    fn of(count: i64) -> Self {
        let size = count.unsigned_abs() as usize;
        if count < 0 { Self::Repeated(size) } else { Self::Different(size) }
    }
    /// Redis refuses counts whose reply could not be counted.
    pub(super) fn check(self, in_pairs: bool) -> Result<(), Error> {
        let (Self::Different(count) | Self::Repeated(count)) = self;
        if in_pairs && count as i64 > i64::MAX / 2 { Err(error::OUT_OF_RANGE) } else { Ok(()) }
    }
    /// How many that is, of `len`.
    pub(super) fn count(self, len: usize) -> usize {
        match self {
            Self::Different(count) => count.min(len),
            Self::Repeated(count) => count,
        }
    }
    /// Shows the positions drawn among `0..len`; all of them in order when all are asked for.
    pub(super) fn each(self, len: usize, random: &mut SeededRng, mut show: impl FnMut(usize)) {
        match self {
            Self::Different(count) if count >= len => (0..len).for_each(show),
            // A shuffle that stops early and remembers only what it has moved.
            Self::Different(count) => {
                let mut moved: HashMap<usize, usize> = HashMap::with_capacity(count);
                for at in 0..count {
                    let drawn = at + random.below((len - at) as u64) as usize;
                    show(*moved.get(&drawn).unwrap_or(&drawn));
                    let here = *moved.get(&at).unwrap_or(&at);
                    moved.insert(drawn, here);
                }
            }
            Self::Repeated(count) => (0..count).for_each(|_| show(random.below(len as u64) as usize)),
        }
    }
}

/// Arguments of `SSCAN`, `HSCAN` and `ZSCAN` behind the cursor.
pub(super) struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    /// About how many to show.
    pub(super) count: usize,
}

/// Argument `index` as a cursor.
pub(super) fn cursor(args: Args<'_>, index: usize) -> Result<u64, Error> {
    let text = core::str::from_utf8(args.at(index)).map_err(|_| error::INVALID_CURSOR)?;
    // C's strtoul takes a sign.
    let negative = text.strip_prefix('-').and_then(|digits| digits.parse::<u64>().ok());
    text.parse().ok().or(negative.map(u64::wrapping_neg)).ok_or(error::INVALID_CURSOR)
}

impl<'a> ScanOptions<'a> {
    /// `[MATCH pattern] [COUNT count]` from argument `first` on.
    pub(super) fn parse(args: Args<'a>, first: usize) -> Result<Self, Error> {
        let mut options = Self { pattern: None, count: 10 };
        let mut at = first;
        while at < args.len() {
            if at + 1 < args.len() && args.is(at, "COUNT") {
                let count = args.integer(at + 1)?;
                options.count =
                    usize::try_from(count).ok().filter(|count| *count > 0).ok_or(error::SYNTAX)?;
            } else if at + 1 < args.len() && args.is(at, "MATCH") {
                options.pattern = Some(args.at(at + 1)).filter(|pattern| *pattern != b"*");
            } else {
                return Err(error::SYNTAX);
            }
            at += 2;
        }
        Ok(options)
    }
    /// Is `name` to be shown?
    pub(super) fn wants(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws() {
        let mut random = SeededRng::new(1);
        for (len, count) in [(1, 1), (10, 3), (10, 9), (1000, 999), (5, 9)] {
            let mut seen = Vec::new();
            Draw::of(count).each(len, &mut random, |position| seen.push(position));
            assert_eq!(seen.len(), Draw::of(count).count(len));
            seen.sort_unstable();
            seen.dedup();
            assert_eq!(seen.len(), len.min(count as usize));
            assert!(seen.iter().all(|position| *position < len));
        }
        let mut times = [0; 4];
        Draw::of(-4000).each(4, &mut random, |position| times[position] += 1);
        assert!(times.iter().all(|times| (800..1200).contains(times)), "{times:?}");
    }

    #[test]
    fn spans_as_lrange_counts() {
        for (start, end, expected) in [
            (0, -1, (0, 5)),
            (1, 2, (1, 2)),
            (-2, -1, (3, 2)),
            (-100, 1, (0, 2)),
            (3, 100, (3, 2)),
            (4, 3, (0, 0)),
            (5, 9, (0, 0)),
            (0, -6, (0, 0)),
            (i64::MIN, i64::MAX, (0, 5)),
            (i64::MAX, i64::MIN, (0, 0)),
        ] {
            assert_eq!(span(start, end, 5), expected, "{start} {end}");
            assert_eq!(span(start, end, 0), (0, 0));
        }
    }
}
