//! Parts of strings.

use crate::args::Args;
use crate::command::Context;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::Value;
use crate::keyspace::string::Str;
use crate::reply::Reply;

/// `APPEND key value`, O(1) amortized. Integer: the length afterwards.
pub(super) fn append(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, more) = (args.at(1), args.at(2));
    let old_len = cx.write_as::<Str>(key)?.map(|value| value.len());
    let len = match old_len {
        None => {
            cx.insert(key, Value::String(Str::new(more)));
            more.len()
        }
        Some(old) => {
            super::check_length(cx, old as u64 + more.len() as u64)?;
            if let Some(value) = cx.write_as::<Str>(key)? {
                value.make_raw().extend_from_slice(more);
            }
            cx.modified(key);
            old + more.len()
        }
    };
    reply.integer(len as i64);
    Ok(())
}

/// `STRLEN key`, O(1). Integer: the length, 0 without the key.
pub(super) fn strlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.read_as::<Str>(args.at(1))?.map_or(0, Str::len) as i64);
    Ok(())
}

/// `GETRANGE key start end`, O(N). Bulk: the bytes from start to end, both included; negative
/// offsets count from the end.
pub(super) fn getrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (start, end) = (args.integer(2)?, args.integer(3)?);
    let Some(value) = cx.read_as::<Str>(args.at(1))? else {
        reply.bulk(b"");
        return Ok(());
    };
    let bytes = value.bytes();
    let len = bytes.len() as i64;
    if start < 0 && end < 0 && start > end {
        reply.bulk(b"");
        return Ok(());
    }
    let start = if start < 0 { start.saturating_add(len) } else { start }.max(0);
    let end = if end < 0 { end.saturating_add(len) } else { end }.max(0).min(len - 1);
    if start > end || len == 0 {
        reply.bulk(b"");
    } else {
        reply.bulk(&bytes[start as usize..=end as usize]);
    }
    Ok(())
}

/// `SETRANGE key offset value`, O(M). Integer: the length afterwards. Gaps are zeros.
pub(super) fn setrange(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (key, part) = (args.at(1), args.at(3));
    let offset = args.integer(2)?;
    if offset < 0 {
        return Err(error::OFFSET_OUT_OF_RANGE);
    }
    let old_len = cx.write_as::<Str>(key)?.map(|value| value.len());
    if part.is_empty() {
        reply.integer(old_len.unwrap_or(0) as i64);
        return Ok(());
    }
    super::check_length(cx, offset as u64 + part.len() as u64)?;
    if old_len.is_none() {
        cx.insert(key, Value::String(Str::raw(Vec::new())));
    }
    let mut len = 0;
    if let Some(value) = cx.write_as::<Str>(key)? {
        let bytes = value.make_raw();
        let offset = offset as usize;
        if bytes.len() < offset + part.len() {
            bytes.resize(offset + part.len(), 0);
        }
        bytes[offset..offset + part.len()].copy_from_slice(part);
        len = bytes.len();
    }
    cx.modified(key);
    reply.integer(len as i64);
    Ok(())
}

/// A match: where it ends in the first value, in the second, and its length.
struct Match {
    a: (usize, usize),
    b: (usize, usize),
}

/// `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN n] [WITHMATCHLEN]`, O(N*M). Bulk: the subsequence;
/// integer with LEN; map of matches and length with IDX.
pub(super) fn lcs(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let text = |key: &[u8]| match cx.read(key) {
        None => Ok(Vec::new()),
        Some(Value::String(value)) => Ok(value.bytes().to_vec()),
        Some(_) => Err(Error::new("ERR The specified keys must contain string values")),
    };
    let (a, b) = (text(args.at(1))?, text(args.at(2))?);
    let (mut want_len, mut want_index, mut with_len, mut len_min) = (false, false, false, 0);
    let mut at = 3;
    while at < args.len() {
        if args.is(at, "IDX") {
            want_index = true;
        } else if args.is(at, "LEN") {
            want_len = true;
        } else if args.is(at, "WITHMATCHLEN") {
            with_len = true;
        } else if args.is(at, "MINMATCHLEN") && at + 1 < args.len() {
            len_min = args.integer(at + 1)?.max(0) as usize;
            at += 1;
        } else {
            return Err(error::SYNTAX);
        }
        at += 1;
    }
    if want_index && want_len {
        return Err(Error::new("ERR If you want both the length and indexes, please just use IDX."));
    }
    let columns = b.len() + 1;
    if (a.len() as u64 + 1).saturating_mul(columns as u64) > u64::from(u32::MAX) {
        return Err(Error::new(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }
    let table = lcs_table(&a, &b);
    let total = table[a.len() * columns + b.len()] as usize;
    if want_len {
        reply.integer(total as i64);
        return Ok(());
    }
    let (subsequence, matches) = lcs_walk(&a, &b, &table, total);
    if !want_index {
        reply.bulk(&subsequence);
        return Ok(());
    }
    let shown: Vec<_> = matches.iter().filter(|found| found.a.1 - found.a.0 + 1 >= len_min).collect();
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(shown.len());
    for found in shown {
        reply.array(if with_len { 3 } else { 2 });
        for (start, end) in [found.a, found.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer(end as i64);
        }
        if with_len {
            reply.integer((found.a.1 - found.a.0 + 1) as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(total as i64);
    Ok(())
}

/// Lengths of the common subsequences of all pairs of prefixes.
fn lcs_table(a: &[u8], b: &[u8]) -> Vec<u32> {
    let columns = b.len() + 1;
    let mut table = vec![0u32; (a.len() + 1) * columns];
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            table[i * columns + j] = if a[i - 1] == b[j - 1] {
                table[(i - 1) * columns + j - 1] + 1
            } else {
                table[(i - 1) * columns + j].max(table[i * columns + j - 1])
            };
        }
    }
    table
}

/// Walks back through the table; matches come out last first, as Redis shows them.
fn lcs_walk(a: &[u8], b: &[u8], table: &[u32], total: usize) -> (Vec<u8>, Vec<Match>) {
    let columns = b.len() + 1;
    let mut subsequence = vec![0; total];
    let mut left = total;
    let mut matches: Vec<Match> = Vec::new();
    let (mut i, mut j) = (a.len(), b.len());
    while i > 0 && j > 0 {
        if a[i - 1] == b[j - 1] {
            left -= 1;
            subsequence[left] = a[i - 1];
            match matches.last_mut() {
                Some(last) if last.a.0 == i && last.b.0 == j => {
                    last.a.0 = i - 1;
                    last.b.0 = j - 1;
                }
                _ => matches.push(Match { a: (i - 1, i - 1), b: (j - 1, j - 1) }),
            }
            i -= 1;
            j -= 1;
        } else if table[(i - 1) * columns + j] > table[i * columns + j - 1] {
            i -= 1;
        } else {
            j -= 1;
        }
    }
    (subsequence, matches)
}
