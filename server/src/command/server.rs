//! Commands on the server as a whole.
//!
//! Source: <https://redis.io/docs/latest/commands/?group=server>

mod command_info;
mod config;
mod inspect;
mod mayfly;

use super::Context;
use super::table::{Command, Flags, Keys};
use crate::args::Args;
use crate::error::{self, CommandResult, Error};
use crate::reply::Reply;

const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE);
const ADMIN: Flags = ANYTIME.and(Flags::ADMIN).and(Flags::NOSCRIPT);
const WRITE_ALL: Flags = Flags::WRITE.and(Flags::DANGEROUS).and(Flags::LOCK_ALL);

/// The group's rows.
pub static COMMANDS: &[Command] = &[
    Command::new(
        "info",
        -1,
        ANYTIME.and(Flags::DANGEROUS).and(Flags::LOCK_EACH),
        Keys::None,
        crate::info::info,
    )
    .doc("1.0.0", "O(1)", "[section [section ...]]", "The server's state and counters."),
    Command::new("dbsize", 1, Flags::READONLY.and(Flags::FAST).and(Flags::LOCK_EACH), Keys::None, dbsize)
        .doc("1.0.0", "O(1)", "", "Number of keys in the selected database."),
    Command::new("flushdb", -1, WRITE_ALL, Keys::None, flushdb).doc(
        "1.0.0",
        "O(N) with N keys",
        "[ASYNC|SYNC]",
        "Removes all keys of the selected database.",
    ),
    Command::new("flushall", -1, WRITE_ALL, Keys::None, flushall).doc(
        "1.0.0",
        "O(N) with N keys",
        "[ASYNC|SYNC]",
        "Removes all keys of all databases.",
    ),
    Command::new("swapdb", 3, WRITE_ALL.and(Flags::FAST), Keys::None, swapdb).doc(
        "4.0.0",
        "O(N) with N watching clients",
        "index1 index2",
        "Exchanges two databases.",
    ),
    Command::new("time", 1, ANYTIME.and(Flags::FAST), Keys::None, time).doc(
        "2.6.0",
        "O(1)",
        "",
        "The server's time.",
    ),
    Command::new("lolwut", -1, Flags::READONLY.and(Flags::FAST), Keys::None, lolwut).doc(
        "5.0.0",
        "O(1)",
        "[VERSION version]",
        "A small picture and the version.",
    ),
    Command::new("role", 1, ADMIN.and(Flags::FAST), Keys::None, role).doc(
        "2.8.12",
        "O(1)",
        "",
        "The server's part in replication.",
    ),
    Command::new("wait", 3, Flags::NOSCRIPT, Keys::None, wait).doc(
        "3.0.0",
        "O(1)",
        "numreplicas timeout",
        "How many replicas have the last write.",
    ),
    Command::new("save", 1, NO_SAVE.and(Flags::NO_MULTI), Keys::None, not_saved).doc(
        "1.0.0",
        "O(N) with N keys",
        "",
        "Writes the data to disk (not supported yet).",
    ),
    Command::new("bgsave", -1, NO_SAVE, Keys::None, not_saved).doc(
        "1.0.0",
        "O(1)",
        "[SCHEDULE]",
        "Writes the data to disk in the background (not supported yet).",
    ),
    Command::new("lastsave", 1, ANYTIME.and(Flags::FAST).and(Flags::ADMIN), Keys::None, lastsave).doc(
        "1.0.0",
        "O(1)",
        "",
        "When the data was last written to disk.",
    ),
    Command::new("shutdown", -1, ADMIN.and(Flags::NO_MULTI).and(Flags::ALLOW_BUSY), Keys::None, shutdown)
        .doc("1.0.0", "O(1)", "[NOSAVE|SAVE] [NOW] [FORCE] [ABORT]", "Stops the server."),
    Command::new("command", -1, ANYTIME, Keys::None, command_info::all)
        .doc("2.8.13", "O(N) with N commands", "", "Describes the commands.")
        .subcommands(command_info::SUBCOMMANDS),
    Command::new("config", -2, Flags::NONE, Keys::None, config::help)
        .doc("2.0.0", "Depends on subcommand", "", "Reads and changes settings.")
        .subcommands(config::SUBCOMMANDS),
    Command::new("slowlog", -2, Flags::NONE, Keys::None, inspect::help_slowlog)
        .doc("2.2.12", "Depends on subcommand", "", "Commands that took long.")
        .subcommands(inspect::SLOWLOG),
    Command::new("memory", -2, Flags::NONE, Keys::None, inspect::help_memory)
        .doc("4.0.0", "Depends on subcommand", "", "Looks at memory.")
        .subcommands(inspect::MEMORY),
    Command::new("latency", -2, Flags::NONE, Keys::None, inspect::help_latency)
        .doc("2.8.13", "Depends on subcommand", "", "Looks at latency events.")
        .subcommands(inspect::LATENCY),
    Command::new("debug", -2, ADMIN, DEBUG_KEYS, inspect::debug).doc(
        "1.0.0",
        "Depends on subcommand",
        "",
        "For tests.",
    ),
    Command::new("acl", -2, Flags::NONE, Keys::None, inspect::help_acl)
        .doc("6.0.0", "Depends on subcommand", "", "Users and their rights: one user, default.")
        .subcommands(inspect::ACL),
    Command::new("module", -2, Flags::NONE, Keys::None, inspect::help_module)
        .doc("4.0.0", "Depends on subcommand", "", "Modules: there are none.")
        .subcommands(inspect::MODULE),
    Command::new("mayfly", -2, Flags::NONE, Keys::None, mayfly::help)
        .doc("7.0.0", "Depends on subcommand", "", "Looks into the firmware; not a command of Redis.")
        .subcommands(mayfly::MAYFLY),
];

const NO_SAVE: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::NO_ASYNC_LOADING);
const DEBUG_KEYS: Keys = Keys::Find(|args, show| {
    if args.len() > 2 && args.is(1, "OBJECT") {
        show(2);
    }
});

/// `DBSIZE`, O(1). Integer: number of keys.
fn dbsize(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let db = cx.session.db;
    let mut count = 0;
    cx.each_shard(|_, shard| {
        count += shard.dbs[db].len();
        true
    });
    reply.integer(count as i64);
    Ok(())
}

/// The removed values are freed before the reply either way.
fn check_flush(args: Args<'_>) -> CommandResult {
    match args.len() {
        1 => Ok(()),
        2 if args.is(1, "ASYNC") || args.is(1, "SYNC") => Ok(()),
        _ => Err(error::SYNTAX),
    }
}

/// `FLUSHDB [ASYNC|SYNC]`, O(N). `OK`.
fn flushdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_flush(args)?;
    let db = cx.session.db;
    flush(cx, db..db + 1);
    reply.ok();
    Ok(())
}

/// `FLUSHALL [ASYNC|SYNC]`, O(N). `OK`.
fn flushall(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    check_flush(args)?;
    let databases = cx.engine.databases() as u32;
    flush(cx, 0..databases);
    reply.ok();
    Ok(())
}

fn flush(cx: &mut Context<'_>, dbs: core::ops::Range<u32>) {
    let engine = cx.engine;
    cx.each_shard(|_, shard| {
        dbs.clone().for_each(|db| shard.flush(db, |key| engine.hash(key).table));
        true
    });
    cx.core.stats.changes.add(1);
}

/// `SWAPDB index1 index2`. `OK`.
fn swapdb(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let index = |at: usize, problem: &'static str| {
        args.integer(at).ok().filter(|&n| i32::try_from(n).is_ok()).ok_or(Error::new(problem))
    };
    let first = index(1, "ERR invalid first DB index")?;
    let second = index(2, "ERR invalid second DB index")?;
    let first = super::key::check_database(cx, first)?;
    let second = super::key::check_database(cx, second)?;
    let engine = cx.engine;
    let mut ready = Vec::new();
    cx.each_shard(|_, shard| {
        shard.swap(first, second, |key| engine.hash(key).table);
        for db in [first, second] {
            ready.extend(shard.awaited_keys(db).into_iter().map(|key| (db, key)));
        }
        true
    });
    cx.ready.append(&mut ready);
    cx.core.stats.changes.add(1);
    reply.ok();
    Ok(())
}

/// `TIME`. Array: Unix time in seconds, and the microseconds in it.
fn time(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(2);
    reply.bulk_integer(cx.core.now_us / 1_000_000);
    reply.bulk_integer(cx.core.now_us % 1_000_000);
    Ok(())
}

/// `LOLWUT [VERSION version …]`. A picture of what this server is named after.
fn lolwut(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 2 && args.is(1, "VERSION") {
        args.integer(2)?;
    }
    let picture = format!(
        "    \\\\  __  //\n     \\\\/  \\//\n      (o  o)\n    ===)  (===\n       \\  /\n        ||\n        /\\\n       /  \\\n\
         Mayfly ver. {}\n",
        env!("CARGO_PKG_VERSION")
    );
    reply.verbatim(b"txt", picture.as_bytes());
    Ok(())
}

/// `ROLE`. Array: `master`, the replication offset, no replicas.
fn role(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

/// `WAIT numreplicas timeout`. Integer: there are no replicas, so 0, at once.
fn wait(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    args.integer(1)?;
    let timeout = args.integer(2).map_err(|_| Error::new("ERR timeout is not an integer or out of range"))?;
    if timeout < 0 {
        return Err(Error::new("ERR timeout is negative"));
    }
    reply.integer(0);
    Ok(())
}

/// `SAVE`, `BGSAVE`: an error, since nothing is written.
fn not_saved(_: &mut Context<'_>, _: Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    Err(Error::new("ERR saving to disk is not supported yet: the data lives in memory only"))
}

/// `LASTSAVE`. Integer: the start of the server, as Redis answers before its first save.
fn lastsave(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.engine.start.unix_us_at_zero / 1_000_000);
    Ok(())
}

/// `SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]`. The connection closes without a reply.
fn shutdown(cx: &mut Context<'_>, args: Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    let (mut save, mut nosave, mut abort, mut other) = (false, false, false, false);
    for at in 1..args.len() {
        match () {
            () if args.is(at, "SAVE") => save = true,
            () if args.is(at, "NOSAVE") => nosave = true,
            () if args.is(at, "ABORT") => abort = true,
            () if args.is(at, "NOW") || args.is(at, "FORCE") => other = true,
            () => return Err(error::SYNTAX),
        }
    }
    if save && nosave || abort && (save || nosave || other) {
        return Err(error::SYNTAX);
    }
    if abort {
        return Err(Error::new("ERR No shutdown in progress."));
    }
    if save {
        return Err(Error::new("ERR saving to disk is not supported yet: use SHUTDOWN NOSAVE"));
    }
    cx.session.closing = true;
    cx.engine.request_shutdown();
    Ok(())
}
