//! The table of commands: one row each, and the lookup by name.
//!
//! Dispatch, key locking, `COMMAND` and the docs all read these rows.

use std::sync::LazyLock;

use super::context::Context;
use super::{connection, hash, key, list, pubsub, server, set, string, transaction, zset};
use crate::args::Args;
use crate::error::CommandResult;
use crate::reply::Reply;

/// Runs a command.
pub type Handler = fn(&mut Context<'_>, Args<'_>, &mut Reply<'_>) -> CommandResult;

/// Properties of a command, as `COMMAND INFO` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags(u32);

impl Flags {
    /// None.
    pub const NONE: Self = Self(0);
    /// Changes data.
    pub const WRITE: Self = Self(1);
    /// Only looks at data.
    pub const READONLY: Self = Self(1 << 1);
    /// Refused when memory is full.
    pub const DENYOOM: Self = Self(1 << 2);
    /// For administrators.
    pub const ADMIN: Self = Self(1 << 3);
    /// Publishes or subscribes.
    pub const PUBSUB: Self = Self(1 << 4);
    /// Not from scripts.
    pub const NOSCRIPT: Self = Self(1 << 5);
    /// May block.
    pub const BLOCKING: Self = Self(1 << 6);
    /// Allowed while loading.
    pub const LOADING: Self = Self(1 << 7);
    /// Allowed on a stale replica.
    pub const STALE: Self = Self(1 << 8);
    /// Not shown by `MONITOR`.
    pub const SKIP_MONITOR: Self = Self(1 << 9);
    /// Not kept in the slow log.
    pub const SKIP_SLOWLOG: Self = Self(1 << 10);
    /// Constant or logarithmic time.
    pub const FAST: Self = Self(1 << 11);
    /// Allowed before authentication.
    pub const NO_AUTH: Self = Self(1 << 12);
    /// Not while loading asynchronously.
    pub const NO_ASYNC_LOADING: Self = Self(1 << 13);
    /// Not in a transaction.
    pub const NO_MULTI: Self = Self(1 << 14);
    /// Allowed while a script is busy.
    pub const ALLOW_BUSY: Self = Self(1 << 15);
    /// In the ACL category `@dangerous` (not shown as a flag).
    pub const DANGEROUS: Self = Self(1 << 16);
    /// Runs at once even inside `MULTI` (not shown as a flag).
    pub const NOT_QUEUED: Self = Self(1 << 17);
    /// Locks the whole keyspace while it runs (not shown as a flag).
    pub const LOCK_ALL: Self = Self(1 << 18);
    /// Locks parts of the keyspace one after another by itself (not shown as a flag); inside a
    /// transaction the whole keyspace is locked for it.
    pub const LOCK_EACH: Self = Self(1 << 19);

    /// Both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// All of `other`?
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// Any of `other`?
    #[inline]
    pub const fn any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
    /// The names of those that are shown.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        const NAMES: [(Flags, &str); 16] = [
            (Flags::WRITE, "write"),
            (Flags::READONLY, "readonly"),
            (Flags::DENYOOM, "denyoom"),
            (Flags::ADMIN, "admin"),
            (Flags::PUBSUB, "pubsub"),
            (Flags::NOSCRIPT, "noscript"),
            (Flags::BLOCKING, "blocking"),
            (Flags::LOADING, "loading"),
            (Flags::STALE, "stale"),
            (Flags::SKIP_MONITOR, "skip_monitor"),
            (Flags::SKIP_SLOWLOG, "skip_slowlog"),
            (Flags::FAST, "fast"),
            (Flags::NO_AUTH, "no_auth"),
            (Flags::NO_ASYNC_LOADING, "no_async_loading"),
            (Flags::NO_MULTI, "no_multi"),
            (Flags::ALLOW_BUSY, "allow_busy"),
        ];
        NAMES.into_iter().filter(move |(flag, _)| self.has(*flag)).map(|(_, name)| name)
    }
}

/// Where a command's keys stand among its arguments.
#[derive(Clone, Copy, Debug)]
pub enum Keys {
    /// It has none.
    None,
    /// From `first` to `last` (negative: counted from the end) in steps of `step`.
    Range {
        /// Index of the first key.
        first: i8,
        /// Index of the last key.
        last: i8,
        /// Arguments from one key to the next.
        step: i8,
    },
    /// Argument `at` counts the keys that follow it; if `dest` is set, argument 1 is a key too.
    Count {
        /// Index of the count.
        at: u8,
        /// Argument 1 is the key of the result.
        dest: bool,
    },
    /// Wherever this function finds them.
    Find(fn(Args<'_>, &mut dyn FnMut(usize))),
}

impl Keys {
    /// Argument 1.
    pub const ONE: Self = Self::Range { first: 1, last: 1, step: 1 };
    /// Arguments 1 and 2.
    pub const TWO: Self = Self::Range { first: 1, last: 2, step: 1 };
    /// All arguments.
    pub const ALL: Self = Self::Range { first: 1, last: -1, step: 1 };

    /// Shows the indexes of the keys in `args`, which may be wrong in other ways.
    #[inline]
    pub fn each(&self, args: Args<'_>, show: &mut dyn FnMut(usize)) {
        match *self {
            Self::None => {}
            Self::Range { first, last, step } => {
                let count = args.len() as i64;
                let last = if last < 0 { count + i64::from(last) } else { i64::from(last) };
                let mut at = i64::from(first);
                while at <= last && at < count {
                    show(at as usize);
                    at += i64::from(step);
                }
            }
            Self::Count { at, dest } => {
                if dest && args.len() > 1 {
                    show(1);
                }
                let at = usize::from(at);
                let count = args.get(at).and_then(protocol::resp::number::parse_i64).unwrap_or(0);
                for index in (at + 1..args.len()).take(usize::try_from(count).unwrap_or(0)) {
                    show(index);
                }
            }
            Self::Find(find) => find(args, show),
        }
    }
    /// First key, last key and step as `COMMAND INFO` shows them.
    pub fn legacy(&self) -> (i8, i8, i8) {
        match *self {
            Self::Range { first, last, step } => (first, last, step),
            Self::Count { dest: true, .. } => (1, 1, 1),
            _ => (0, 0, 0),
        }
    }
}

/// What a command works on: its name in `COMMAND DOCS` and its ACL category.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// `string`
    String,
    /// `generic`, category `@keyspace`
    Generic,
    /// `list`
    List,
    /// `hash`
    Hash,
    /// `set`
    Set,
    /// `sorted-set`, category `@sortedset`
    SortedSet,
    /// `bitmap`
    Bitmap,
    /// `pubsub`
    PubSub,
    /// `transactions`, category `@transaction`
    Transactions,
    /// `connection`
    Connection,
    /// `server`, without a category of its own
    Server,
}

impl Group {
    /// The name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Generic => "generic",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Bitmap => "bitmap",
            Self::PubSub => "pubsub",
            Self::Transactions => "transactions",
            Self::Connection => "connection",
            Self::Server => "server",
        }
    }
    /// The ACL category, without `@`.
    pub const fn category(self) -> Option<&'static str> {
        Some(match self {
            Self::String => "string",
            Self::Generic => "keyspace",
            Self::List => "list",
            Self::Hash => "hash",
            Self::Set => "set",
            Self::SortedSet => "sortedset",
            Self::Bitmap => "bitmap",
            Self::Transactions => "transaction",
            Self::Connection => "connection",
            // Its commands' flag says it.
            Self::PubSub => return None,
            Self::Server => return None,
        })
    }
}

/// A row of the table.
pub struct Command {
    /// In lower case; a subcommand's with its parent's: `client|kill`.
    pub name: &'static str,
    /// Arguments with the name, exactly; negative: at least so many.
    pub arity: i16,
    /// Properties.
    pub flags: Flags,
    /// Where the keys are.
    pub keys: Keys,
    /// The function that runs it. Of a command with subcommands it is called only when the row
    /// itself has an arity for that (`COMMAND` alone).
    pub run: Handler,
    /// `OBJECT ENCODING` and the like.
    pub subcommands: &'static [Command],
    /// One line that says what it does.
    pub summary: &'static str,
    /// The Redis version that brought it.
    pub since: &'static str,
    /// Its cost, as in `COMMAND DOCS`.
    pub complexity: &'static str,
    /// Names of arguments, as `redis-cli` hints them: `key [NX|XX]`.
    pub syntax: &'static str,
}

impl Command {
    /// A row. `arity` counts the name.
    pub const fn new(name: &'static str, arity: i16, flags: Flags, keys: Keys, run: Handler) -> Self {
        Self {
            name,
            arity,
            flags,
            keys,
            run,
            subcommands: &[],
            summary: "",
            since: "1.0.0",
            complexity: "O(1)",
            syntax: "",
        }
    }
    /// Adds the words for people.
    pub const fn doc(
        mut self,
        since: &'static str,
        complexity: &'static str,
        syntax: &'static str,
        summary: &'static str,
    ) -> Self {
        self.since = since;
        self.complexity = complexity;
        self.syntax = syntax;
        self.summary = summary;
        self
    }
    /// Adds subcommands.
    pub const fn subcommands(mut self, subcommands: &'static [Command]) -> Self {
        self.subcommands = subcommands;
        self
    }
    /// Is `count` (with the name) a right number of arguments?
    #[inline]
    pub fn accepts(&self, count: usize) -> bool {
        let arity = usize::from(self.arity.unsigned_abs());
        if self.arity >= 0 { count == arity } else { count >= arity }
    }
}

/// All rows, by group. A new group of commands is added here.
static GROUPS: &[(Group, &[Command])] = &[
    (Group::String, string::COMMANDS),
    (Group::Bitmap, string::bit::COMMANDS),
    (Group::Generic, key::COMMANDS),
    (Group::List, list::COMMANDS),
    (Group::Hash, hash::COMMANDS),
    (Group::Set, set::COMMANDS),
    (Group::SortedSet, zset::COMMANDS),
    (Group::PubSub, pubsub::LISTENING),
    (Group::PubSub, pubsub::LOOKING),
    (Group::Transactions, transaction::COMMANDS),
    (Group::Connection, connection::COMMANDS),
    (Group::Server, server::COMMANDS),
];

/// A row with its place in the table.
#[derive(Clone, Copy)]
pub struct Row {
    /// The row.
    pub command: &'static Command,
    /// Its group.
    pub group: Group,
    /// A dense number, for counters.
    pub id: usize,
    /// The first 8 bytes of the name, folded to lower case.
    prefix: u64,
}

/// The rows with an index by name.
pub struct Table {
    rows: Vec<Row>,
    /// Open addressing; a power of two, at most a quarter full.
    index: Vec<u16>,
}

const FREE: u16 = u16::MAX;

/// The table.
pub static TABLE: LazyLock<Table> = LazyLock::new(Table::new);

/// The first 8 bytes in lower case, zeros behind.
#[inline]
fn fold(name: &[u8]) -> u64 {
    let bytes = if let Some(first) = name.first_chunk::<8>() {
        u64::from_le_bytes(*first)
    } else if let (Some(first), Some(last)) = (name.first_chunk::<4>(), name.last_chunk::<4>()) {
        // The middle stands in both.
        let last = u64::from(u32::from_le_bytes(*last));
        u64::from(u32::from_le_bytes(*first)) | last << (8 * (name.len() - 4))
    } else {
        name.iter().rev().fold(0, |bytes, &byte| bytes << 8 | u64::from(byte))
    };
    // Letters become lower case; the few other bytes that change are caught by the comparison.
    bytes | 0x2020_2020_2020_2020
}

impl Table {
    fn new() -> Self {
        let mut table = Self { rows: Vec::new(), index: vec![FREE; 2048] };
        for &(group, commands) in GROUPS {
            for command in commands {
                let id = table.rows.len();
                let prefix = fold(command.name.as_bytes());
                table.rows.push(Row { command, group, id, prefix });
                assert!(table.rows.len() * 4 <= table.index.len(), "the index is too small");
                let mut slot = table.slot(prefix, command.name.len());
                while table.index[slot] != FREE {
                    slot = (slot + 1) % table.index.len();
                }
                table.index[slot] = id as u16;
            }
        }
        table
    }
    #[inline]
    fn slot(&self, prefix: u64, len: usize) -> usize {
        let mixed = (prefix ^ (len as u64) << 56).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> 40) as usize & (self.index.len() - 1)
    }
    /// The row of a command, by its name in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Row> {
        let prefix = fold(name);
        let mut slot = self.slot(prefix, name.len());
        loop {
            let id = self.index[slot];
            if id == FREE {
                return None;
            }
            let row = &self.rows[usize::from(id)];
            if row.prefix == prefix && row.command.name.as_bytes().eq_ignore_ascii_case(name) {
                return Some(row);
            }
            slot = (slot + 1) & (self.index.len() - 1);
        }
    }
    /// All rows, without subcommands.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// The subcommand of `command` called `name`, in any case.
pub fn subcommand(command: &Command, name: &[u8]) -> Option<&'static Command> {
    command.subcommands.iter().find(|sub| {
        let own = sub.name.split_once('|').map_or(sub.name, |(_, own)| own);
        own.as_bytes().eq_ignore_ascii_case(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_are_folded_alike() {
        for len in 0..12 {
            let name = &b"BGREWRITEAOF"[..len];
            let mut bytes = [0; 8];
            let taken = len.min(8);
            bytes[..taken].copy_from_slice(&name[..taken]);
            assert_eq!(fold(name), u64::from_le_bytes(bytes) | 0x2020_2020_2020_2020, "{len}");
        }
    }

    #[test]
    fn steering_by_key_knows_the_commands_that_begin_with_a_key() {
        let begins_with_key = |row: &&Row| row.command.keys.legacy().0 == 1;
        let mut names: Vec<&str> =
            TABLE.rows().iter().filter(begins_with_key).map(|row| row.command.name).collect();
        names.sort_unstable();
        assert_eq!(names, protocol::resp::first_key::COMMANDS);
    }

    #[test]
    fn every_row_is_found_in_any_case_and_stands_once() {
        for row in TABLE.rows() {
            let upper = row.command.name.to_ascii_uppercase();
            assert_eq!(TABLE.find(upper.as_bytes()).map(|found| found.id), Some(row.id), "{upper}");
            assert_eq!(row.command.name, row.command.name.to_ascii_lowercase());
            for sub in row.command.subcommands {
                assert_eq!(sub.name.split_once('|').map(|(parent, _)| parent), Some(row.command.name));
            }
        }
        for name in ["", "ge", "gett", "get\0", "GE\x14", "nosuchcommand"] {
            assert!(TABLE.find(name.as_bytes()).is_none(), "{name:?}");
        }
    }
}
