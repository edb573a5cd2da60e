//! `COMMAND`: what the table says, for clients and people.

use crate::args::Args;
use crate::command::table::{Command, Flags, Group, Keys, Row, TABLE, subcommand};
use crate::command::{Context, help_lines};
use crate::dispatch::resolve;
use crate::error::{self, CommandResult, Error};
use crate::glob;
use crate::reply::Reply;

const ANYTIME: Flags = Flags::LOADING.and(Flags::STALE);

/// The subcommands.
pub(super) static SUBCOMMANDS: &[Command] = &[
    Command::new("command|count", 2, ANYTIME, Keys::None, count).doc(
        "2.8.13",
        "O(1)",
        "",
        "Number of commands.",
    ),
    Command::new("command|info", -2, ANYTIME, Keys::None, info).doc(
        "2.8.13",
        "O(N) with N commands",
        "[command-name [command-name ...]]",
        "Describes commands to clients.",
    ),
    Command::new("command|docs", -2, ANYTIME, Keys::None, docs).doc(
        "7.0.0",
        "O(N) with N commands",
        "[command-name [command-name ...]]",
        "Describes commands to people.",
    ),
    Command::new("command|list", -2, ANYTIME, Keys::None, list).doc(
        "7.0.0",
        "O(N) with N commands",
        "[FILTERBY <MODULE module-name|ACLCAT category|PATTERN pattern>]",
        "Names of commands.",
    ),
    Command::new("command|getkeys", -4, ANYTIME, Keys::None, getkeys).doc(
        "2.8.13",
        "O(N) with N arguments",
        "command [arg [arg ...]]",
        "The keys in a command line.",
    ),
    Command::new("command|getkeysandflags", -4, ANYTIME, Keys::None, getkeysandflags).doc(
        "7.0.0",
        "O(N) with N arguments",
        "command [arg [arg ...]]",
        "The keys in a command line and how they are used.",
    ),
    Command::new("command|help", 2, ANYTIME, Keys::None, help).doc(
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `COMMAND`. Array: every command as in `COMMAND INFO`.
pub(super) fn all(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(TABLE.rows().len());
    TABLE.rows().iter().for_each(|row| describe(row.command, row.group, reply));
    Ok(())
}

fn count(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(TABLE.rows().len() as i64);
    Ok(())
}

/// The row of `name` or `name|sub`.
fn find(name: &[u8]) -> Option<(&'static Row, &'static Command)> {
    let mut parts = name.splitn(2, |&byte| byte == b'|');
    let row = TABLE.find(parts.next()?)?;
    match parts.next() {
        None => Some((row, row.command)),
        Some(sub) => Some((row, subcommand(row.command, sub)?)),
    }
}

fn info(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() == 2 {
        return all(cx, args, reply);
    }
    reply.array(args.len() - 2);
    for name in args.from(2) {
        match find(name) {
            Some((row, command)) => describe(command, row.group, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

/// The categories that commands of this server are in, as Redis orders them.
pub(super) const CATEGORIES: [&str; 16] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
];

fn is_container(command: &Command) -> bool {
    !command.subcommands.is_empty()
}

/// The ACL categories of a command, as Redis derives them.
pub(super) fn categories(command: &Command, group: Group) -> Vec<&'static str> {
    let flags = command.flags;
    let mut found = Vec::new();
    let own = group.category().filter(|_| !is_container(command) || command.name == "command");
    found.extend(
        own.or((group == Group::Server
            && flags.any(Flags::READONLY.and(Flags::WRITE))
            && command.name != "lolwut")
            .then_some("keyspace")),
    );
    if command.name.starts_with("command") || command.name == "wait" {
        found = vec!["connection"];
    }
    for (flag, name) in [(Flags::WRITE, "write"), (Flags::READONLY, "read"), (Flags::ADMIN, "admin")] {
        if flags.has(flag) {
            found.push(name);
        }
    }
    if flags.any(Flags::ADMIN.and(Flags::DANGEROUS)) {
        found.push("dangerous");
    }
    if flags.has(Flags::PUBSUB) {
        found.push("pubsub");
    }
    found.push(if flags.has(Flags::FAST) { "fast" } else { "slow" });
    if flags.has(Flags::BLOCKING) {
        found.push("blocking");
    }
    found.sort_by_key(|name| CATEGORIES.iter().position(|category| category == name));
    found
}

fn key_flags(command: &Command) -> &'static [&'static str] {
    if command.flags.has(Flags::WRITE) { &["RW", "access", "update"] } else { &["RO", "access"] }
}

fn statuses(names: &[&str], prefix: &str, reply: &mut Reply<'_>) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(&format!("{prefix}{name}")));
}

fn describe(command: &'static Command, group: Group, reply: &mut Reply<'_>) {
    let (first, last, step) = command.keys.legacy();
    reply.array(10);
    reply.bulk(command.name.as_bytes());
    reply.integer(i64::from(command.arity));
    let mut flags: Vec<&str> = command.flags.names().collect();
    if matches!(command.keys, Keys::Count { .. } | Keys::Find(_)) {
        flags.push("movablekeys");
    }
    statuses(&flags, "", reply);
    for number in [first, last, step] {
        reply.integer(i64::from(number));
    }
    statuses(&categories(command, group), "@", reply);
    reply.set(0);
    key_specs(command, reply);
    if command.subcommands.is_empty() {
        reply.set(0);
    } else {
        reply.array(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| describe(sub, group, reply));
    }
}

/// Writes a map of words and numbers.
fn numbers(pairs: &[(&str, i64)], reply: &mut Reply<'_>) {
    reply.map(pairs.len());
    for (name, value) in pairs {
        reply.bulk(name.as_bytes());
        reply.integer(*value);
    }
}

fn key_specs(command: &Command, reply: &mut Reply<'_>) {
    // Where the search begins, and what is found there.
    let specs: &[(i64, Find)] = match command.keys {
        Keys::None | Keys::Find(_) => &[],
        Keys::Range { first, last, step } => {
            let last = i64::from(if last > 0 { last - first } else { last });
            &[(i64::from(first), Find::Range(last, i64::from(step)))]
        }
        Keys::Count { at, dest: false } => &[(i64::from(at), Find::Count)],
        Keys::Count { at, dest: true } => &[(1, Find::Range(0, 1)), (i64::from(at), Find::Count)],
    };
    reply.set(specs.len());
    for (begin, find) in specs {
        reply.map(3);
        reply.bulk(b"flags");
        statuses(key_flags(command), "", reply);
        reply.bulk(b"begin_search");
        typed("index", reply);
        numbers(&[("index", *begin)], reply);
        reply.bulk(b"find_keys");
        match *find {
            Find::Range(last, step) => {
                typed("range", reply);
                numbers(&[("lastkey", last), ("keystep", step), ("limit", 0)], reply);
            }
            Find::Count => {
                typed("keynum", reply);
                numbers(&[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)], reply);
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Find {
    Range(i64, i64),
    Count,
}

/// The head of `{type: kind, spec: …}`.
fn typed(kind: &str, reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
}

fn docs(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() == 2 {
        reply.map(TABLE.rows().len());
        TABLE.rows().iter().for_each(|row| document(row.command, row.group, reply));
        return Ok(());
    }
    let found: Vec<_> = args.from(2).filter_map(find).collect();
    reply.map(found.len());
    found.iter().for_each(|(row, command)| document(command, row.group, reply));
    Ok(())
}

fn document(command: &'static Command, group: Group, reply: &mut Reply<'_>) {
    let arguments = !command.syntax.is_empty();
    let subcommands = is_container(command);
    reply.bulk(command.name.as_bytes());
    reply.map(4 + usize::from(arguments) + usize::from(subcommands));
    for (field, text) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", group.name()),
        ("complexity", command.complexity),
    ] {
        reply.bulk(field.as_bytes());
        reply.bulk(text.as_bytes());
    }
    if arguments {
        reply.bulk(b"arguments");
        write_arguments(command.syntax, reply);
    }
    if subcommands {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        command.subcommands.iter().for_each(|sub| document(sub, group, reply));
    }
}

/// The words of a syntax line at the top level, a bracketed group as one.
fn syntax_words(syntax: &str) -> Vec<&str> {
    let (mut words, mut depth, mut start) = (Vec::new(), 0, None);
    for (at, letter) in syntax.char_indices() {
        match letter {
            ' ' if depth == 0 => words.extend(start.take().map(|from| &syntax[from..at])),
            _ => {
                start.get_or_insert(at);
                match letter {
                    '[' | '<' => depth += 1,
                    ']' | '>' => depth -= 1,
                    _ => {}
                }
            }
        }
    }
    words.extend(start.map(|from| &syntax[from..]));
    words
}

/// Arguments as `redis-cli` wants them: each word of the syntax line is shown as it stands.
fn write_arguments(syntax: &str, reply: &mut Reply<'_>) {
    let words = syntax_words(syntax);
    reply.array(words.len());
    for word in words {
        let optional = word.strip_prefix('[').and_then(|inner| inner.strip_suffix(']'));
        let shown = optional.unwrap_or(word);
        reply.map(if optional.is_some() { 4 } else { 3 });
        for (field, text) in [("name", shown), ("type", "string"), ("display_text", shown)] {
            reply.bulk(field.as_bytes());
            reply.bulk(text.as_bytes());
        }
        if optional.is_some() {
            reply.bulk(b"flags");
            statuses(&["optional"], "", reply);
        }
    }
}

/// Which commands `COMMAND LIST` shows.
type Filter<'a> = Box<dyn Fn(&Command, Group) -> bool + 'a>;

fn list(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let wanted: Filter<'_> = match args.len() {
        2 => Box::new(|_, _| true),
        5 if args.is(2, "FILTERBY") && args.is(3, "MODULE") => Box::new(|_, _| false),
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => {
            let category = args.at(4).to_ascii_lowercase();
            Box::new(move |command, group| {
                categories(command, group).iter().any(|name| name.as_bytes() == category)
            })
        }
        5 if args.is(2, "FILTERBY") && args.is(3, "PATTERN") => {
            Box::new(move |command, _| glob::matches(args.at(4), command.name.as_bytes(), true))
        }
        _ => return Err(error::SYNTAX),
    };
    let mut names = Vec::new();
    for row in TABLE.rows() {
        let own = core::iter::once(row.command).chain(row.command.subcommands);
        names.extend(own.filter(|command| wanted(command, row.group)).map(|command| command.name));
    }
    if args.len() == 2 {
        names.retain(|name| !name.contains('|'));
    }
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name.as_bytes()));
    Ok(())
}

/// The command line in the arguments from 2 on, and where its keys are.
fn keys_of(args: Args<'_>) -> Result<(&'static Command, Vec<&[u8]>), Error> {
    let line = args.skip(2);
    if TABLE.find(line.at(0)).is_none() {
        return Err(Error::new("ERR Invalid command specified"));
    }
    let (_, command) =
        resolve(line).map_err(|_| Error::new("ERR Invalid number of arguments specified for command"))?;
    let mut keys = Vec::new();
    command.keys.each(line, &mut |index| keys.push(line.at(index)));
    if keys.is_empty() {
        return Err(match command.keys {
            Keys::None => Error::new("ERR The command has no key arguments"),
            _ => Error::new("ERR Invalid arguments specified for command"),
        });
    }
    Ok((command, keys))
}

fn getkeys(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (_, keys) = keys_of(args)?;
    reply.array(keys.len());
    keys.iter().for_each(|key| reply.bulk(key));
    Ok(())
}

fn getkeysandflags(_: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (command, keys) = keys_of(args)?;
    reply.array(keys.len());
    for key in keys {
        reply.array(2);
        reply.bulk(key);
        statuses(key_flags(command), "", reply);
    }
    Ok(())
}

fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "COMMAND",
        &[
            ("(no subcommand)", "Return details about all commands."),
            ("COUNT", "Return the total number of commands in this server."),
            ("LIST", "Return a list of all commands in this server."),
            ("INFO [<command-name> ...]", "Return details about multiple commands."),
            ("DOCS [<command-name> ...]", "Return documentation details about multiple commands."),
            ("GETKEYS <full-command>", "Return the keys from a full command."),
            ("GETKEYSANDFLAGS <full-command>", "Return the keys and the access flags from a full command."),
        ],
    );
    Ok(())
}
