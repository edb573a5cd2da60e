//! Commands on hash values.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=hash>

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::CommandResult;
use crate::keyspace::hash::Hash;
use crate::reply::Reply;

/// The group's rows.
pub static COMMANDS: &[Command] =
    &[Command::new("hlen", 2, Flags::READONLY.and(Flags::FAST), Keys::ONE, hlen).doc(
        "2.0.0",
        "O(1)",
        "key",
        "Number of fields in a hash.",
    )];

/// `HLEN key`, O(1). Integer: how many, 0 without the key.
fn hlen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let len = cx.read_as::<Hash>(args.at(1))?.map_or(0, Hash::len);
    reply.integer(len as i64);
    Ok(())
}
