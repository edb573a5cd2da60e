//! Commands on set values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=set>

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::CommandResult;
use crate::keyspace::set::Set;
use crate::reply::Reply;

/// The group's rows.
pub static COMMANDS: &[Command] =
    &[Command::new("scard", 2, Flags::READONLY.and(Flags::FAST), Keys::ONE, scard).doc(
        "1.0.0",
        "O(1)",
        "key",
        "Number of members in a set.",
    )];

/// `SCARD key`, O(1). Integer: how many, 0 without the key.
fn scard(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.read_as::<Set>(args.at(1))?.map_or(0, Set::len);
    reply.integer(len as i64);
    Ok(())
}
