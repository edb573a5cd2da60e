//! The slow log: the last commands that took long.

use std::collections::VecDeque;

use crate::args::Args;

/// Most arguments kept of a command.
const ARGS_MAX: usize = 32;
/// Most bytes kept of an argument.
const ARG_LEN_MAX: usize = 128;

/// A command that took long.
pub struct SlowEntry {
    /// Counts all entries since the start.
    pub id: u64,
    /// Unix time in seconds.
    pub at_s: i64,
    /// How long it took, in µs.
    pub took_us: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub client: String,
    /// The client's name.
    pub client_name: Vec<u8>,
}

/// The last slow commands, newest first.
#[derive(Default)]
pub struct SlowLog {
    entries: VecDeque<SlowEntry>,
    next_id: u64,
    len_max: usize,
}

impl SlowLog {
    /// Keeps `len_max` entries from now on.
    pub fn set_len_max(&mut self, len_max: usize) {
        self.len_max = len_max;
        self.entries.truncate(len_max);
    }
    /// Adds an entry.
    pub fn add(&mut self, at_s: i64, took_us: u64, args: Args<'_>, client: String, client_name: Vec<u8>) {
        let shown = if args.len() > ARGS_MAX { ARGS_MAX - 1 } else { args.len() };
        let mut kept: Vec<Vec<u8>> = args
            .from(0)
            .take(shown)
            .map(|arg| {
                let mut text = arg[..arg.len().min(ARG_LEN_MAX)].to_vec();
                if arg.len() > ARG_LEN_MAX {
                    text.extend(format!("... ({} more bytes)", arg.len() - ARG_LEN_MAX).into_bytes());
                }
                text
            })
            .collect();
        if args.len() > shown {
            kept.push(format!("... ({} more arguments)", args.len() - shown).into_bytes());
        }
        let entry = SlowEntry { id: self.next_id, at_s, took_us, args: kept, client, client_name };
        self.next_id += 1;
        self.entries.push_front(entry);
        self.entries.truncate(self.len_max);
    }
    /// The entries, newest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &SlowEntry> {
        self.entries.iter()
    }
    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}
