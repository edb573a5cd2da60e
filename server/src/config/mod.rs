//! The directives of `redis.conf`: a file, its includes, `--directive value` on the command
//! line, `CONFIG GET` and `CONFIG SET` all read and write through one table.
//!
//! An unknown directive is an error that names the nearest known one. A directive of Redis whose
//! feature does not exist here is accepted only with the value that switches it off.

mod command_line;
mod directives;
mod load;
#[cfg(test)]
mod tests;

pub use command_line::Command;
pub use directives::{DIRECTIVES, Directive, When, find, nearest};
pub use load::LoadError;

use crate::network::Network;

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `port`; 0: none.
    pub port: u16,
    /// `bind`: addresses to listen on; a leading `-` means: if it exists.
    pub bind: Vec<String>,
    /// `tcp-backlog`, connections.
    pub tcp_backlog: u32,
    /// `databases`
    pub databases: usize,
    /// `requirepass`; empty: none.
    pub requirepass: String,
    /// `maxclients`
    pub maxclients: usize,
    /// `timeout`, seconds; 0: never.
    pub timeout_s: u64,
    /// `proto-max-bulk-len`, bytes.
    pub proto_max_bulk_len: i64,
    /// `slowlog-log-slower-than`, µs; negative: never.
    pub slowlog_log_slower_than_us: i64,
    /// `slowlog-max-len`, entries.
    pub slowlog_max_len: usize,
    /// `loglevel`: `debug`, `verbose`, `notice` or `warning`.
    pub loglevel: String,
    /// Where the server lives in the network: the directives that Redis does not have.
    pub network: Network,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            port: 6379,
            bind: vec!["*".into(), "-::*".into()],
            tcp_backlog: 511,
            databases: 16,
            requirepass: String::new(),
            maxclients: 10_000,
            timeout_s: 0,
            proto_max_bulk_len: 512 * 1024 * 1024,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
            loglevel: "notice".into(),
            network: Network::default(),
        }
    }
}
