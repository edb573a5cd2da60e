//! Bits of strings. Bit 0 is the top bit of the first byte.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=bitmap>

use core::sync::atomic::Ordering;

use protocol::resp::number::parse_i64;

use crate::args::Args;
use crate::command::Context;
use crate::command::table::{Command, Flags, Keys};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::Value;
use crate::keyspace::string::Str;
use crate::reply::Reply;

const STORE: Flags = Flags::WRITE.and(Flags::DENYOOM);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new("setbit", 4, STORE, Keys::ONE, setbit).doc(
        "2.2.0",
        "O(1)",
        "key offset value",
        "Sets a bit and returns what it was.",
    ),
    Command::new("getbit", 3, Flags::READONLY.and(Flags::FAST), Keys::ONE, getbit).doc(
        "2.2.0",
        "O(1)",
        "key offset",
        "A bit of a value.",
    ),
    Command::new("bitcount", -2, Flags::READONLY, Keys::ONE, bitcount).doc(
        "2.6.0",
        "O(N)",
        "key [start end [BYTE|BIT]]",
        "How many bits are set.",
    ),
    Command::new("bitpos", -3, Flags::READONLY, Keys::ONE, bitpos).doc(
        "2.8.7",
        "O(N)",
        "key bit [start [end [BYTE|BIT]]]",
        "The first bit that is set or clear.",
    ),
    Command::new("bitop", -4, STORE, Keys::Range { first: 2, last: -1, step: 1 }, bitop).doc(
        "2.6.0",
        "O(N)",
        "<AND|OR|XOR|NOT> destkey key [key ...]",
        "Combines the bits of values.",
    ),
];

fn offset(cx: &Context<'_>, args: Args<'_>) -> Result<usize, Error> {
    let bits_max = cx.engine.live.bulk_len_max.load(Ordering::Relaxed).saturating_mul(8);
    let offset = parse_i64(args.at(2)).filter(|offset| (0..bits_max).contains(offset));
    offset.map(|offset| offset as usize).ok_or(error::BIT_OFFSET)
}

fn bit(bytes: &[u8], offset: usize) -> bool {
    bytes.get(offset / 8).is_some_and(|byte| byte >> (7 - offset % 8) & 1 == 1)
}

/// `SETBIT key offset value`, O(1). Integer: the bit as it was.
fn setbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let offset = offset(cx, args)?;
    let on = match parse_i64(args.at(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(error::BIT_VALUE),
    };
    let key = args.at(1);
    if cx.write_as::<Str>(key)?.is_none() {
        cx.insert(key, Value::String(Str::raw(Vec::new())));
    }
    let Some(value) = cx.write_as::<Str>(key)? else { return Ok(()) };
    let bytes = value.make_raw();
    if bytes.len() <= offset / 8 {
        bytes.resize(offset / 8 + 1, 0);
    }
    let before = bit(bytes, offset);
    let mask = 0x80 >> (offset % 8);
    if on {
        bytes[offset / 8] |= mask
    } else {
        bytes[offset / 8] &= !mask
    }
    cx.modified(key);
    reply.integer(i64::from(before));
    Ok(())
}

/// `GETBIT key offset`, O(1). Integer: the bit.
fn getbit(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let offset = offset(cx, args)?;
    let on = cx.read_as::<Str>(args.at(1))?.is_some_and(|value| bit(&value.bytes(), offset));
    reply.integer(i64::from(on));
    Ok(())
}

/// Is argument `index` `BIT` (true) or `BYTE`?
fn in_bits(args: Args<'_>, index: usize) -> Result<bool, Error> {
    match () {
        () if args.get(index).is_none() || args.is(index, "BYTE") => Ok(false),
        () if args.is(index, "BIT") => Ok(true),
        () => Err(error::SYNTAX),
    }
}

/// Bits `first..=last` of a string of `len` bytes; `None` when the range is empty. Negative
/// places count from the end.
fn bit_range(start: i64, end: i64, len: usize, bits: bool) -> Option<(usize, usize)> {
    let total = if bits { len as i64 * 8 } else { len as i64 };
    let place = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(total - 1));
    if start > end {
        return None;
    }
    Some(if bits { (start as usize, end as usize) } else { (start as usize * 8, end as usize * 8 + 7) })
}

/// The byte at `at`, with the bits outside `first..=last` clear.
fn masked(bytes: &[u8], at: usize, first: usize, last: usize) -> u8 {
    let mut byte = bytes[at];
    if at == first / 8 {
        byte &= 0xff >> (first % 8);
    }
    if at == last / 8 {
        byte &= (0xff00u16 >> (last % 8 + 1)) as u8;
    }
    byte
}

/// `BITCOUNT key [start end [BYTE|BIT]]`, O(N). Integer: how many bits are set.
fn bitcount(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let Some(value) = cx.read_as::<Str>(args.at(1))? else {
        reply.integer(0);
        return Ok(());
    };
    let bytes = value.bytes();
    let range = match args.len() {
        2 => bit_range(0, -1, bytes.len(), false),
        4 | 5 => {
            let (start, end) = (args.integer(2)?, args.integer(3)?);
            let bits = in_bits(args, 4)?;
            if start < 0 && end < 0 && start > end { None } else { bit_range(start, end, bytes.len(), bits) }
        }
        _ => return Err(error::SYNTAX),
    };
    let count = range.map_or(0, |(first, last)| {
        let inner: u64 =
            (first / 8..=last / 8).map(|at| u64::from(masked(&bytes, at, first, last).count_ones())).sum();
        inner
    });
    reply.integer(count as i64);
    Ok(())
}

/// The first bit of `first..=last` that is `wanted`; bytes without it are passed over whole.
fn find_bit(bytes: &[u8], first: usize, last: usize, wanted: bool) -> Option<usize> {
    let nothing = if wanted { 0 } else { 0xff };
    let mut at = first;
    while at <= last {
        if at.is_multiple_of(8) && bytes[at / 8] == nothing {
            at += 8;
        } else if bit(bytes, at) == wanted {
            return Some(at);
        } else {
            at += 1;
        }
    }
    None
}

/// `BITPOS key bit [start [end [BYTE|BIT]]]`, O(N). Integer: where the first such bit is, or -1.
fn bitpos(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let wanted = match args.integer(2)? {
        0 => false,
        1 => true,
        _ => return Err(Error::new("ERR The bit argument must be 1 or 0.")),
    };
    let Some(value) = cx.read_as::<Str>(args.at(1))? else {
        reply.integer(if wanted { -1 } else { 0 });
        return Ok(());
    };
    if args.len() > 6 {
        return Err(error::SYNTAX);
    }
    let start = if args.len() > 3 { args.integer(3)? } else { 0 };
    let bits = in_bits(args, 5)?;
    let end = if args.len() > 4 { args.integer(4)? } else { -1 };
    let bytes = value.bytes();
    let found = bit_range(start, end, bytes.len(), bits).map(|(first, last)| {
        let place = find_bit(&bytes, first, last, wanted);
        match place {
            Some(at) => at as i64,
            // Behind the end a string is clear for ever, unless the caller named an end.
            None if !wanted && args.len() <= 4 => bytes.len() as i64 * 8,
            None => -1,
        }
    });
    reply.integer(found.unwrap_or(-1));
    Ok(())
}

/// `BITOP AND|OR|XOR|NOT destkey key [key …]`, O(N). Integer: the length of the result.
fn bitop(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let combine: fn(u8, u8) -> u8 = match () {
        () if args.is(1, "AND") => |a, b| a & b,
        () if args.is(1, "OR") => |a, b| a | b,
        () if args.is(1, "XOR") => |a, b| a ^ b,
        () if args.is(1, "NOT") => |a, _| !a,
        () => return Err(error::SYNTAX),
    };
    let not = args.is(1, "NOT");
    if not && args.len() != 4 {
        return Err(Error::new("ERR BITOP NOT must be called with a single source key."));
    }
    let mut sources = Vec::with_capacity(args.len() - 3);
    for key in args.from(3) {
        sources.push(cx.read_as::<Str>(key)?.map_or(Vec::new(), |value| value.bytes().to_vec()));
    }
    let len = sources.iter().map(Vec::len).max().unwrap_or(0);
    let mut result = sources.swap_remove(0);
    result.resize(len, 0);
    if not {
        result.iter_mut().for_each(|byte| *byte = combine(*byte, 0));
    }
    for source in &sources {
        for (at, byte) in result.iter_mut().enumerate() {
            *byte = combine(*byte, source.get(at).copied().unwrap_or(0));
        }
    }
    if len == 0 {
        cx.remove(args.at(2));
    } else {
        cx.insert(args.at(2), Value::String(Str::plain(&result)));
    }
    reply.integer(len as i64);
    Ok(())
}
