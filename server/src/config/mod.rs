//! The directives of `redis.conf`: a file, its includes, `--directive value` on the command
//! line, `CONFIG GET` and `CONFIG SET` all read and write through one table.
//!
//! An unknown directive is an error that names the nearest known one. A directive of Redis whose
//! feature does not exist here is accepted only with the value that switches it off.

mod command_line;
mod directives;
mod inert;
mod load;
mod output_limits;
#[cfg(test)]
mod tests;

pub use command_line::Command;
pub(crate) use directives::memory;
pub use directives::{DIRECTIVES, Directive, When, find, nearest};
pub use load::LoadError;
pub use output_limits::{OutputLimit, OutputLimits};

use std::collections::BTreeMap;

use crate::keyspace::LimitValues;
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
    /// `logfile`; empty: standard error.
    pub logfile: String,
    /// `pidfile`; empty: none.
    pub pidfile: String,
    /// `capture-dir`: the folder for `MAYFLY CAPTURE`; empty: there are none.
    pub capture_dir: String,
    /// `tcp-keepalive`, seconds of silence before a client is asked whether it is there; 0: never.
    pub tcp_keepalive_s: u32,
    /// `protected-mode`: without a password only clients from the loopback interface are served.
    /// Off by default, unlike in Redis: on Mayfly's own stack nobody comes from there.
    pub protected_mode: bool,
    /// `daemonize`: see [`Config::check`].
    pub daemonize: bool,
    /// `client-output-buffer-limit`
    pub output_limits: OutputLimits,
    /// `client-query-buffer-limit`, bytes.
    pub query_buffer_limit: i64,
    /// `hash-max-listpack-entries` and its like.
    pub limits: LimitValues,
    /// Directives without effect that were given a value.
    pub inert: BTreeMap<&'static str, String>,
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
            logfile: String::new(),
            pidfile: String::new(),
            capture_dir: String::new(),
            tcp_keepalive_s: 300,
            protected_mode: false,
            daemonize: false,
            output_limits: OutputLimits::default(),
            query_buffer_limit: 1 << 30,
            limits: LimitValues::default(),
            inert: BTreeMap::new(),
            network: Network::default(),
        }
    }
}

impl Config {
    /// What can change, for our own stacks.
    pub(crate) fn of_stack(&self) -> stack::Changeable {
        stack::Changeable {
            keepalive: netcore::Duration::limit(self.tcp_keepalive_s.into()),
            user_timeout: netcore::Duration::limit(self.network.user_timeout_s),
            congestion: self.network.congestion,
            nagle: self.network.nagle,
            ttl: self.network.ttl,
        }
    }

    /// Do the settings fit together? Asked once all of them have been read, so that the command
    /// line can correct a file.
    ///
    /// # Errors
    /// A text that says which ones do not, and what to do.
    pub fn check(&self) -> Result<(), String> {
        if self.daemonize {
            return Err(
                "'daemonize yes': this server stays in the foreground; let systemd start it, or put it into \
                        the background with &, and write 'daemonize no' or add --daemonize no behind the file"
                    .into(),
            );
        }
        let own_stack = self.network.device != dpdk::Device::Kernel;
        if own_stack && self.protected_mode && self.requirepass.is_empty() {
            return Err("'protected-mode yes' without a password serves only the loopback interface, which the server's \
                        own TCP stack does not have: set requirepass, or add --protected-mode no"
                .into());
        }
        self.network.check()
    }
}
