//! Whole hashes and parts of them.

use netcore::rng::SeededRng;

use super::Context;
use crate::args::Args;
use crate::command::span::{self, Draw, ScanOptions};
use crate::error::{self, CommandResult};
use crate::keyspace::hash::Hash;
use crate::reply::Reply;

/// `HLEN key`, O(1). Integer: how many fields.
pub(super) fn hlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.read_as::<Hash>(args.at(1))?.map_or(0, Hash::len) as i64);
    Ok(())
}

/// `HKEYS key`, O(N). Array of fields.
pub(super) fn hkeys(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let fields = cx.read_as::<Hash>(args.at(1))?.map_or(&[][..], Hash::fields);
    reply.array(fields.len());
    fields.iter().for_each(|field| reply.bulk(field.key.as_bytes()));
    Ok(())
}

/// `HVALS key`, O(N). Array of values.
pub(super) fn hvals(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let fields = cx.read_as::<Hash>(args.at(1))?.map_or(&[][..], Hash::fields);
    reply.array(fields.len());
    fields.iter().for_each(|field| reply.string(&field.value));
    Ok(())
}

/// `HGETALL key`, O(N). Map of fields and values.
pub(super) fn hgetall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let fields = cx.read_as::<Hash>(args.at(1))?.map_or(&[][..], Hash::fields);
    reply.map(fields.len());
    for field in fields {
        reply.bulk(field.key.as_bytes());
        reply.string(&field.value);
    }
    Ok(())
}

/// `HRANDFIELD key [count [WITHVALUES]]`, O(N). A field or null; with a count an array, with
/// values too flat in RESP2 and in pairs in RESP3.
pub(super) fn hrandfield(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut random = SeededRng::new(cx.random());
    if args.len() == 2 {
        match cx.read_as::<Hash>(args.at(1))? {
            Some(hash) => {
                reply.bulk(hash.fields()[random.below(hash.len() as u64) as usize].key.as_bytes());
            }
            None => reply.null(),
        }
        return Ok(());
    }
    let draw = Draw::parse(args)?;
    let with_values = args.len() > 3;
    if args.len() > 4 || with_values && !args.is(3, "WITHVALUES") {
        return Err(error::SYNTAX);
    }
    draw.check(with_values)?;
    let fields = cx.read_as::<Hash>(args.at(1))?.map_or(&[][..], Hash::fields);
    if fields.is_empty() {
        reply.array(0);
        return Ok(());
    }
    let pairs = with_values && reply.resp3;
    let count = draw.count(fields.len());
    reply.array(if with_values && !pairs { 2 * count } else { count });
    draw.each(fields.len(), &mut random, |position| {
        let field = &fields[position];
        if pairs {
            reply.array(2);
        }
        reply.bulk(field.key.as_bytes());
        if with_values {
            reply.string(&field.value);
        }
    });
    Ok(())
}

/// `HSCAN key cursor [MATCH pattern] [COUNT count]`, O(1) a call. Array: the next cursor (0 at
/// the end) and an array of fields and values.
pub(super) fn hscan(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let cursor = span::cursor(args, 2)?;
    let Some(hash) = cx.read_as::<Hash>(args.at(1))? else {
        reply.raw(b"*2\r\n$1\r\n0\r\n*0\r\n");
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |field| {
        if options.wants(field.key.as_bytes()) {
            found.push(field);
        }
    });
    reply.array(2);
    reply.bulk(next.to_string().as_bytes());
    reply.array(2 * found.len());
    for field in found {
        reply.bulk(field.key.as_bytes());
        reply.string(&field.value);
    }
    Ok(())
}
