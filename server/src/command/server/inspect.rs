//! Looking inside: `SLOWLOG`, `MEMORY`, `LATENCY`, `DEBUG`, and what there is of `ACL` and
//! `MODULE`.

use core::sync::atomic::Ordering;

use crate::args::Args;
use crate::command::server::command_info;
use crate::command::table::{Command, Flags, Keys, TABLE};
use crate::command::{Context, help_lines};
use crate::error::{self, CommandResult, Error};
use crate::keyspace::Entry;
use crate::reply::Reply;

const ADMIN: Flags = Flags::ADMIN.and(Flags::LOADING).and(Flags::STALE);
const HELP: Flags = Flags::LOADING.and(Flags::STALE);
const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

/// `SLOWLOG`.
pub(super) static SLOWLOG: &[Command] = &[
    Command::new("slowlog|get", -2, ADMIN, Keys::None, slowlog_get).doc(
        "2.2.12",
        "O(N) with N entries",
        "[count]",
        "The last slow commands.",
    ),
    Command::new("slowlog|len", 2, ADMIN, Keys::None, slowlog_len).doc(
        "2.2.12",
        "O(1)",
        "",
        "How many slow commands are kept.",
    ),
    Command::new("slowlog|reset", 2, ADMIN, Keys::None, slowlog_reset).doc(
        "2.2.12",
        "O(N) with N entries",
        "",
        "Forgets the slow commands.",
    ),
    Command::new("slowlog|help", 2, HELP, Keys::None, help_slowlog).doc(
        "6.2.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `MEMORY`.
pub(super) static MEMORY: &[Command] = &[
    Command::new("memory|usage", -3, Flags::READONLY, KEY, memory_usage).doc(
        "4.0.0",
        "O(1)",
        "key [SAMPLES count]",
        "About how many bytes a key takes.",
    ),
    Command::new("memory|doctor", 2, Flags::NONE, Keys::None, memory_doctor).doc(
        "4.0.0",
        "O(1)",
        "",
        "What is wrong with memory.",
    ),
    Command::new("memory|help", 2, HELP, Keys::None, help_memory).doc(
        "4.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `LATENCY`.
pub(super) static LATENCY: &[Command] = &[
    Command::new("latency|latest", 2, LATENCY_FLAGS, Keys::None, latency_none).doc(
        "2.8.13",
        "O(1)",
        "",
        "The latest latency events: none are recorded.",
    ),
    Command::new("latency|history", 3, LATENCY_FLAGS, Keys::None, latency_none).doc(
        "2.8.13",
        "O(1)",
        "event",
        "Latencies of an event: none are recorded.",
    ),
    Command::new("latency|reset", -2, LATENCY_FLAGS, Keys::None, latency_reset).doc(
        "2.8.13",
        "O(1)",
        "[event [event ...]]",
        "Forgets latency events.",
    ),
    Command::new("latency|doctor", 2, LATENCY_FLAGS, Keys::None, latency_doctor).doc(
        "2.8.13",
        "O(1)",
        "",
        "What is wrong with latency.",
    ),
    Command::new("latency|help", 2, HELP, Keys::None, help_latency).doc(
        "2.8.13",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];
const LATENCY_FLAGS: Flags = ADMIN.and(Flags::NOSCRIPT);

/// `ACL`.
pub(super) static ACL: &[Command] = &[
    Command::new("acl|whoami", 2, ACL_FLAGS, Keys::None, acl_whoami).doc(
        "6.0.0",
        "O(1)",
        "",
        "This connection's user.",
    ),
    Command::new("acl|users", 2, ADMIN.and(Flags::NOSCRIPT), Keys::None, acl_users).doc(
        "6.0.0",
        "O(1)",
        "",
        "All users.",
    ),
    Command::new("acl|cat", -2, ACL_FLAGS, Keys::None, acl_cat).doc(
        "6.0.0",
        "O(1)",
        "[category]",
        "Categories of commands, or the commands of one.",
    ),
    Command::new("acl|help", 2, HELP, Keys::None, help_acl).doc(
        "6.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];
const ACL_FLAGS: Flags = HELP.and(Flags::NOSCRIPT);

/// `MODULE`.
pub(super) static MODULE: &[Command] = &[
    Command::new("module|list", 2, Flags::ADMIN.and(Flags::NOSCRIPT), Keys::None, module_list).doc(
        "4.0.0",
        "O(1)",
        "",
        "Loaded modules: none.",
    ),
    Command::new("module|help", 2, HELP, Keys::None, help_module).doc(
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `SLOWLOG GET [count]`. Array of entries, newest first.
fn slowlog_get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = match args.len() {
        2 => 10,
        3 => args
            .integer(2)
            .ok()
            .filter(|&n| n >= -1)
            .ok_or(Error::new("ERR count should be greater than or equal to -1"))?,
        _ => return Err(error::SYNTAX),
    };
    let log = cx.engine.slowlog.lock();
    let shown = usize::try_from(count).unwrap_or(usize::MAX).min(log.entries().len());
    reply.array(shown);
    for entry in log.entries().take(shown) {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.at_s);
        reply.integer(entry.took_us as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.client.as_bytes());
        reply.bulk(&entry.client_name);
    }
    Ok(())
}

fn slowlog_len(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.engine.slowlog.lock().entries().len() as i64);
    Ok(())
}

fn slowlog_reset(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.engine.slowlog.lock().clear();
    reply.ok();
    Ok(())
}

/// `MEMORY USAGE key [SAMPLES count]`. Integer: bytes of the entry and what it refers to.
fn memory_usage(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        if args.len() != 5 || !args.is(3, "SAMPLES") {
            return Err(error::SYNTAX);
        }
        if args.integer(4)? < 0 {
            return Err(error::SYNTAX);
        }
    }
    match cx.peek(args.at(2)) {
        None => reply.null(),
        Some(entry) => reply.integer(entry_bytes(entry) as i64),
    }
    Ok(())
}

fn entry_bytes(entry: &Entry) -> usize {
    let key = entry.key.as_bytes().len();
    let key_heap = if key > crate::keyspace::key::INLINE_LEN_MAX { key } else { 0 };
    size_of::<Entry>() + key_heap + entry.value.heap_bytes()
}

fn memory_doctor(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.verbatim(b"txt", b"Memory is not measured by this server, so there is nothing to report.\n");
    Ok(())
}

fn latency_none(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(0);
    Ok(())
}

fn latency_reset(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(0);
    Ok(())
}

fn latency_doctor(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.verbatim(
        b"txt",
        b"Latency events are not recorded by this server. See SLOWLOG GET for slow commands.\n",
    );
    Ok(())
}

fn acl_whoami(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.bulk(b"default");
    Ok(())
}

fn acl_users(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(1);
    reply.bulk(b"default");
    Ok(())
}

fn acl_cat(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    match args.len() {
        2 => {
            reply.array(command_info::CATEGORIES.len());
            command_info::CATEGORIES.iter().for_each(|name| reply.bulk(name.as_bytes()));
        }
        3 => {
            let Some(category) = command_info::CATEGORIES.into_iter().find(|name| args.is(2, name)) else {
                return Err(Error::text([b"ERR Unknown category '", args.at(2), b"'"].concat()));
            };
            let mut names = Vec::new();
            for row in TABLE.rows() {
                let all = core::iter::once(row.command).chain(row.command.subcommands);
                names.extend(
                    all.filter(|command| command_info::categories(command, row.group).contains(&category)),
                );
            }
            reply.array(names.len());
            names.iter().for_each(|command| reply.bulk(command.name.as_bytes()));
        }
        _ => return Err(Error::arity("acl|cat")),
    }
    Ok(())
}

fn module_list(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(0);
    Ok(())
}

/// `DEBUG SET-ACTIVE-EXPIRE 0|1`, `DEBUG OBJECT key`.
pub(super) fn debug(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.is(1, "SET-ACTIVE-EXPIRE") && args.len() == 3 {
        cx.engine.live.active_expire.store(args.integer(2)? != 0, Ordering::Relaxed);
        reply.ok();
    } else if args.is(1, "OBJECT") && args.len() == 3 {
        let entry = cx.peek(args.at(2)).ok_or(error::NO_SUCH_KEY)?;
        reply.simple(&format!(
            "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
            entry.value.encoding(),
            entry.value.heap_bytes(),
            entry.used_at.get(),
            cx.core.now_s.saturating_sub(entry.used_at.get()),
        ));
    } else if args.is(1, "HELP") && args.len() == 2 {
        help_lines(
            reply,
            "DEBUG",
            &[
                ("OBJECT <key>", "Show low level info about <key> and its value."),
                ("SET-ACTIVE-EXPIRE <0|1>", "Setting it to 0 disables expiring keys in background."),
            ],
        );
    } else {
        let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
        text.extend_from_slice(&args.at(1)[..args.at(1).len().min(128)]);
        text.extend_from_slice(b"'. Try DEBUG HELP.");
        return Err(Error::text(text));
    }
    Ok(())
}

pub(super) fn help_slowlog(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "SLOWLOG",
        &[
            ("GET [<count>]", "Return top <count> entries from the slowlog (default: 10, -1 mean all)."),
            ("LEN", "Return the length of the slowlog."),
            ("RESET", "Reset the slowlog."),
        ],
    );
    Ok(())
}

pub(super) fn help_memory(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "MEMORY",
        &[
            ("DOCTOR", "Return memory problems reports."),
            ("USAGE <key> [SAMPLES <count>]", "Return memory in bytes used by <key> and its value."),
        ],
    );
    Ok(())
}

pub(super) fn help_latency(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "LATENCY",
        &[
            ("DOCTOR", "Return a human readable latency analysis report."),
            ("HISTORY <event>", "Return time-latency samples for the <event> class."),
            ("LATEST", "Return the latest latency samples for all events."),
            ("RESET [<event> ...]", "Reset latency data of one or more <event> classes."),
        ],
    );
    Ok(())
}

pub(super) fn help_acl(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "ACL",
        &[
            ("CAT [<category>]", "List all commands that belong to <category>, or all command categories."),
            ("USERS", "List all the registered usernames."),
            ("WHOAMI", "Return the current connection username."),
        ],
    );
    Ok(())
}

pub(super) fn help_module(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(reply, "MODULE", &[("LIST", "Return a list of loaded modules.")]);
    Ok(())
}
