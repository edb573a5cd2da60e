//! Commands on zset values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=sorted-set>

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::CommandResult;
use crate::keyspace::zset::ZSet;
use crate::reply::Reply;

/// The group's rows.
pub static COMMANDS: &[Command] =
    &[Command::new("zcard", 2, Flags::READONLY.and(Flags::FAST), Keys::ONE, zcard).doc(
        "1.2.0",
        "O(1)",
        "key",
        "Number of members in a sorted set.",
    )];

/// `ZCARD key`, O(1). Integer: how many, 0 without the key.
fn zcard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.read_as::<ZSet>(args.at(1))?.map_or(0, ZSet::len);
    reply.integer(len as i64);
    Ok(())
}
