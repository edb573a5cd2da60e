//! `SORT`: the elements of a list, set or sorted set in an order, or what they point at.

use core::cmp::Ordering;

use super::Context;
use crate::args::{Args, parse_strtod};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::hash::Hash;
use crate::keyspace::list::{End, List};
use crate::keyspace::string::Str;
use crate::keyspace::{Container, Value};
use crate::reply::Reply;

#[derive(Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    get: Vec<&'a [u8]>,
    limit: Option<(i64, i64)>,
    descending: bool,
    alpha: bool,
    store: Option<&'a [u8]>,
}

impl<'a> Options<'a> {
    fn parse(args: Args<'a>, may_store: bool) -> Result<Self, Error> {
        let mut options = Self::default();
        let mut at = 2;
        while at < args.len() {
            let more = args.len() - 1 - at;
            match () {
                () if args.is(at, "ASC") => options.descending = false,
                () if args.is(at, "DESC") => options.descending = true,
                () if args.is(at, "ALPHA") => options.alpha = true,
                () if args.is(at, "LIMIT") && more >= 2 => {
                    options.limit = Some((args.integer(at + 1)?, args.integer(at + 2)?));
                    at += 2;
                }
                () if args.is(at, "STORE") && more >= 1 && may_store => {
                    options.store = args.get(at + 1);
                    at += 1;
                }
                () if args.is(at, "BY") && more >= 1 => {
                    options.by = args.get(at + 1);
                    at += 1;
                }
                () if args.is(at, "GET") && more >= 1 => {
                    options.get.push(args.at(at + 1));
                    at += 1;
                }
                () => return Err(error::SYNTAX),
            }
            at += 1;
        }
        Ok(options)
    }
    /// `BY` something without a `*` asks for no order.
    fn unsorted(&self) -> bool {
        self.by.is_some_and(|pattern| !pattern.contains(&b'*'))
    }
    fn range(&self, len: usize) -> core::ops::Range<usize> {
        let Some((start, count)) = self.limit else { return 0..len };
        let start = usize::try_from(start).unwrap_or(0).min(len);
        let end = usize::try_from(count).map_or(len, |count| start.saturating_add(count).min(len));
        start..end
    }
}

/// Shows where the keys stand that can be known beforehand.
pub(super) fn keys(args: Args<'_>, show: &mut dyn FnMut(usize)) {
    if args.len() > 1 {
        show(1);
    }
    // The last STORE counts; arguments of other options are stepped over.
    let (mut at, mut store) = (2, None);
    while at < args.len() {
        at += match () {
            () if args.is(at, "LIMIT") => 2,
            () if args.is(at, "BY") || args.is(at, "GET") => 1,
            () if args.is(at, "STORE") && at + 1 < args.len() => {
                store = Some(at + 1);
                1
            }
            () => 0,
        };
        at += 1;
    }
    if let Some(store) = store {
        show(store);
    }
}

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC|DESC] [ALPHA] [STORE
/// destination]`, O(N+M log M). Array of elements; with `STORE` an integer: how many.
pub(super) fn sort(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, true, reply)
}

/// `SORT_RO`: as `SORT`, without `STORE`.
pub(super) fn sort_ro(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    run(cx, args, false, reply)
}

fn run(cx: &mut Context<'_>, args: Args<'_>, may_store: bool, reply: &mut Reply<'_>) -> CommandResult {
    let mut options = Options::parse(args, may_store)?;
    let mut elements: Vec<Vec<u8>> = match cx.read(args.at(1)) {
        None => Vec::new(),
        Some(Value::List(list)) => list.range(0, usize::MAX).map(|item| item.bytes().to_vec()).collect(),
        Some(Value::Set(set)) => {
            if options.unsorted() && options.store.is_some() {
                // What is stored must not depend on the order of a hash table.
                options.by = None;
                options.alpha = true;
            }
            set.iter().map(|member| member.to_vec()).collect()
        }
        Some(Value::ZSet(zset)) => {
            let mut members: Vec<Vec<u8>> =
                zset.range(0, usize::MAX).map(|(member, _)| member.to_vec()).collect();
            if options.unsorted() && options.descending {
                members.reverse();
            }
            members
        }
        Some(Value::String(_) | Value::Hash(_)) => return Err(error::WRONG_TYPE),
    };
    if !options.unsorted() {
        elements = in_order(cx, &options, elements)?;
    }
    let chosen = &elements[options.range(elements.len())];
    let mut found: Vec<Option<Str>> = Vec::new();
    for element in chosen {
        if options.get.is_empty() {
            found.push(Some(Str::plain(element)));
        }
        found.extend(options.get.iter().map(|pattern| look_up(cx, pattern, element)));
    }
    let Some(destination) = options.store else {
        reply.array(found.len());
        found.iter().for_each(|value| reply.string_or_null(value.as_ref()));
        return Ok(());
    };
    let count = found.len();
    if count == 0 {
        cx.remove(destination);
    } else {
        let mut list = List::default();
        for value in found {
            list.push_item(End::Right, value.unwrap_or_else(|| Str::plain(b"")));
        }
        cx.insert(destination, list.into_value());
    }
    reply.integer(count as i64);
    Ok(())
}

/// Sorts by number or, with `ALPHA`, by bytes; equal numbers by the elements themselves.
fn in_order(cx: &Context<'_>, options: &Options<'_>, elements: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>, Error> {
    let weight = |element: &[u8]| match options.by {
        Some(pattern) => look_up(cx, pattern, element).map(|value| value.bytes().to_vec()),
        None => Some(element.to_vec()),
    };
    let directed = |order: Ordering| if options.descending { order.reverse() } else { order };
    if options.alpha {
        let mut weighted: Vec<_> = elements.into_iter().map(|element| (weight(&element), element)).collect();
        weighted.sort_by(|a, b| directed(a.0.cmp(&b.0)));
        return Ok(weighted.into_iter().map(|(_, element)| element).collect());
    }
    let mut weighted = Vec::with_capacity(elements.len());
    for element in elements {
        let number = match weight(&element) {
            None => 0.0,
            Some(text) => parse_strtod(&text)
                .ok_or(Error::new("ERR One or more scores can't be converted into double"))?,
        };
        weighted.push((number, element));
    }
    weighted.sort_by(|a, b| {
        directed(a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(&b.1)))
    });
    Ok(weighted.into_iter().map(|(_, element)| element).collect())
}

/// What `pattern` means for `element`: `#` itself, `a*b` the string at that key, `a*b->f` a
/// field of the hash there.
fn look_up(cx: &Context<'_>, pattern: &[u8], element: &[u8]) -> Option<Str> {
    if pattern == b"#" {
        return Some(Str::plain(element));
    }
    let star = pattern.iter().position(|&byte| byte == b'*')?;
    let behind = &pattern[star + 1..];
    let arrow = behind.windows(2).position(|pair| pair == b"->").filter(|at| at + 2 < behind.len());
    let (behind, field) = match arrow {
        Some(at) => (&behind[..at], Some(&behind[at + 2..])),
        None => (behind, None),
    };
    let key = [&pattern[..star], element, behind].concat();
    let value = cx.read(&key)?;
    match field {
        Some(field) => Hash::of(value)?.get(cx.engine.hasher(), field).cloned(),
        None => Str::of(value).cloned(),
    }
}
