//! Counters. Each has one writer, its core; anybody reads.

use core::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `amount`. Only the owning core may call this.
    #[inline]
    pub fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed) + amount, Ordering::Relaxed);
    }
    /// The count now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
    /// Back to zero (`CONFIG RESETSTAT`); an increment of its core at the same moment may win.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// The counters of one core.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CoreStats {
    /// Commands run.
    pub commands: Counter,
    /// Lookups of reading commands that found the key.
    pub hits: Counter,
    /// Lookups of reading commands that did not.
    pub misses: Counter,
    /// Keys changed.
    pub changes: Counter,
    /// Keys removed because their time was over.
    pub expired_keys: Counter,
    /// Connections accepted.
    pub connections: Counter,
    /// Connections refused because of `maxclients`.
    pub rejected_connections: Counter,
    /// Clients closed because of `client-output-buffer-limit`.
    pub output_limit_disconnections: Counter,
    /// Clients closed because of `client-query-buffer-limit`.
    pub query_limit_disconnections: Counter,
    /// Bytes received.
    pub input_bytes: Counter,
    /// Reply bytes written.
    pub output_bytes: Counter,
    /// Error replies.
    pub errors: Counter,
    /// Calls, rejections and failures of each command, by its number in the table.
    pub by_command: Vec<CommandStats>,
}

/// Counters of one command.
#[derive(Debug, Default)]
pub struct CommandStats {
    /// Times it ran.
    pub calls: Counter,
    /// Times it was refused before it ran.
    pub rejected: Counter,
    /// Times it answered with an error.
    pub failed: Counter,
}

impl CoreStats {
    /// Zeros, for `commands` rows.
    pub fn new(commands: usize) -> Self {
        Self { by_command: (0..commands).map(|_| CommandStats::default()).collect(), ..Self::default() }
    }
    /// All back to zero, except `changes`.
    pub fn reset(&self) {
        for counter in [
            &self.commands,
            &self.hits,
            &self.misses,
            &self.expired_keys,
            &self.connections,
            &self.rejected_connections,
            &self.output_limit_disconnections,
            &self.query_limit_disconnections,
            &self.input_bytes,
            &self.output_bytes,
            &self.errors,
        ] {
            counter.reset();
        }
        for command in &self.by_command {
            command.calls.reset();
            command.rejected.reset();
            command.failed.reset();
        }
    }
}
