//! Commands on list values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=list>

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::CommandResult;
use crate::keyspace::list::List;
use crate::reply::Reply;

/// The group's rows.
pub static COMMANDS: &[Command] =
    &[Command::new("llen", 2, Flags::READONLY.and(Flags::FAST), Keys::ONE, llen).doc(
        "1.0.0",
        "O(1)",
        "key",
        "Length of a list.",
    )];

/// `LLEN key`, O(1). Integer: how many, 0 without the key.
fn llen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.read_as::<List>(args.at(1))?.map_or(0, List::len);
    reply.integer(len as i64);
    Ok(())
}
