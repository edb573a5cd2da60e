//! The commands, by group, and the table that lists them.
//!
//! # How to add a command
//!
//! 1. Find its group's folder or file: [`string`], [`list`], [`hash`], [`set`], [`zset`],
//!    [`key`], [`pubsub`], [`transaction`], [`connection`], [`server`]. A new group gets a module here and a
//!    line in `table::GROUPS`.
//! 2. Write the function. Its doc is the syntax line, the complexity and the reply:
//!
//!    ```ignore
//!    /// `LLEN key`, O(1). Integer: the length, 0 without the key.
//!    fn llen(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
//!        let len = cx.read_as::<List>(args.at(1))?.map_or(0, List::len);
//!        reply.integer(len as i64);
//!        Ok(())
//!    }
//!    ```
//!
//! 3. Add its row to the group's `COMMANDS`: name in lower case, arity (with the name; negative:
//!    at least), flags, where its keys are, the function, and words for `COMMAND DOCS`.
//! 4. Add its cases to `server/tests/differential/`, which asks a real Redis the same questions.
//!
//! What a command function relies on:
//!
//! - The arity is right, and the shards of the keys that the row names are locked. Only these
//!   keys may be looked up. `args.at(i)` is argument `i`; `args.integer(i)?`, `args.float(i)?`,
//!   `args.is(i, "NX")` read it.
//! - **Check everything first, then change, then reply.** On `Err` (texts: [`crate::error`]) the
//!   dispatcher writes the error; nothing may have been written before.
//! - Readers: [`Context::read`], [`Context::read_as`] take `&self`, so several values can be
//!   looked at together. A key past its deadline is not there.
//! - Writers: [`Context::write_as`] (may be missing), [`Context::write_or_default`] (made when
//!   missing); after a change in place call [`Context::modified`] once, and
//!   [`Context::remove_if_empty`] when something was taken out. [`Context::insert`] and
//!   [`Context::remove`] replace and remove the whole value (and its deadline), and report the
//!   change themselves.
//! - Containers live in [`crate::keyspace`]: one file per type, no knowledge of RESP there.
//! - No allocation per request on common paths: reply with the writer methods of
//!   [`crate::reply::Reply`] (`integer`, `bulk`, `array`, `map`, `set`, `double`, `null` …), which
//!   know the client's RESP version.

pub mod connection;
pub mod context;
pub mod hash;
pub mod key;
pub mod list;
pub mod pubsub;
pub mod server;
pub mod set;
mod span;
pub mod string;
pub mod table;
pub mod transaction;
pub mod zset;

pub use context::Context;
pub use table::{Command, Flags, Keys};

/// Answers `<COMMAND> HELP`: a line for each subcommand, and one that says what it does.
pub(crate) fn help_lines(reply: &mut crate::reply::Reply<'_>, command: &str, lines: &[(&str, &str)]) {
    reply.array(2 * lines.len() + 3);
    reply.simple(&format!("{command} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (syntax, words) in lines {
        reply.simple(syntax);
        reply.simple(&format!("    {words}"));
    }
    reply.simple("HELP");
    reply.simple("    Prints this help.");
}
