//! Clients that do not take their replies: what waits is counted, and who exceeds
//! `client-output-buffer-limit` is closed without its replies, as in Redis.
//!
//! The transport says with each call how much of a client's output waits
//! ([`stack::Output::waiting`]), and takes everything: without a limit, which is the default of
//! class `normal`, a client can make the server keep any amount, as in Redis. Up to
//! [`SMALL_BYTES`] nothing is counted. Above, the client is *heavy*: its core looks at it again
//! every second, so that the soft limit's time is kept and lists show what waits, also when
//! nothing happens on its connection.
//!
//! Source: https://redis.io/docs/latest/develop/reference/clients/ (output buffer limits).

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use stack::{ConnectionId, Output};

use crate::config::OutputLimit;
use crate::core_state::CoreState;
use crate::engine::Engine;
use crate::session::Session;

/// Bytes that may always wait, and are not shown (Redis: the reply buffer that every client has).
pub(crate) const SMALL_BYTES: usize = 16 * 1024;

/// One class's limits, as plain numbers.
#[derive(Debug, Default)]
pub struct LiveOutputLimit {
    hard_bytes: AtomicUsize,
    soft_bytes: AtomicUsize,
    soft_s: AtomicU32,
}

impl LiveOutputLimit {
    /// Takes new limits over.
    pub(crate) fn set(&self, limit: OutputLimit) {
        // No limit, and one that nothing can reach, are the same.
        let bytes = |bytes: i64| match usize::try_from(bytes) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(bytes) => bytes,
        };
        self.hard_bytes.store(bytes(limit.hard_bytes), Ordering::Relaxed);
        self.soft_bytes.store(bytes(limit.soft_bytes), Ordering::Relaxed);
        self.soft_s.store(u32::try_from(limit.soft_s).unwrap_or(u32::MAX), Ordering::Relaxed);
    }
    /// Whether so many bytes are too many, however short a time they wait.
    pub(crate) fn is_hard(&self, bytes: usize) -> bool {
        bytes >= self.hard_bytes.load(Ordering::Relaxed)
    }
    fn is_soft(&self, bytes: usize) -> bool {
        bytes >= self.soft_bytes.load(Ordering::Relaxed)
    }
}

/// What is known of a client with much output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Weight {
    /// Stands in its core's list of heavy clients.
    pub(crate) listed: bool,
    /// Is to be closed without its replies.
    pub(crate) too_heavy: bool,
    /// When it went over the soft limit: Unix time in s, cut to 32 bits.
    soft_since_s: Option<NonZeroU32>,
}

/// The heavy clients of a core.
#[derive(Debug, Default)]
pub struct Heavy(Vec<ConnectionId>);

impl Heavy {
    /// Moves those to look at again to `into`.
    pub(crate) fn take(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.0);
    }
}

/// Looks at a client whose output has grown, or was heavy before. True: it is over a limit and has
/// to be closed at once.
#[cold]
pub(crate) fn weigh(engine: &Engine, core: &mut CoreState, session: &mut Session, output: &Output) -> bool {
    let bytes = output.waiting();
    if bytes <= SMALL_BYTES {
        session.info.output_bytes.store(0, Ordering::Relaxed);
        session.weight.soft_since_s = None;
        return false;
    }
    session.info.output_bytes.store(bytes, Ordering::Relaxed);
    if !session.weight.listed {
        session.weight.listed = true;
        core.heavy.0.push(session.info.connection());
    }
    let limit = engine.live.output_limit(session.subscriptions.is_some());
    if !limit.is_soft(bytes) {
        session.weight.soft_since_s = None;
    }
    let soft_over = limit.is_soft(bytes) && {
        let now_s = NonZeroU32::new(core.now_s).unwrap_or(NonZeroU32::MIN);
        let since_s = *session.weight.soft_since_s.get_or_insert(now_s);
        now_s.get().saturating_sub(since_s.get()) > limit.soft_s.load(Ordering::Relaxed)
    };
    if limit.is_hard(bytes) || soft_over {
        close(core, session);
    }
    session.weight.too_heavy
}

/// Counts and reports a client that is closed at its limit, once.
#[cold]
pub(crate) fn close(core: &CoreState, session: &mut Session) {
    if core::mem::replace(&mut session.weight.too_heavy, true) {
        return;
    }
    core.stats.output_limit_disconnections.add(1);
    let mut client = Vec::new();
    session.info.describe_own(core.now_ms, &mut client);
    tracing::warn!(
        "Client {} scheduled to be closed ASAP for overcoming of output buffer limits.",
        String::from_utf8_lossy(&client)
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_limit() {
        let live = LiveOutputLimit::default();
        live.set(OutputLimit { hard_bytes: 0, soft_bytes: 100, soft_s: 0 });
        assert!(!live.is_hard(usize::MAX - 1));
        assert!(live.is_soft(100) && !live.is_soft(99));
        live.set(OutputLimit { hard_bytes: 7, soft_bytes: 0, soft_s: 0 });
        assert!(live.is_hard(7) && !live.is_hard(6) && !live.is_soft(1 << 40));
    }
}
