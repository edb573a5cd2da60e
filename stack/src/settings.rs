//! What the application may choose for a single connection (RFC 9293 §3.7.4, §3.8.3, §3.8.4,
//! §3.9.1.9).
//! A new connection begins with what [`Config`] says.

use netcore::{Duration, Frame, Instant};

use crate::app::{App, ConnectionId};
use crate::config::Config;
use crate::round::Stack;
use crate::state::State;

/// Silence before the first keepalive probe when nobody names another.
///
/// RFC 9293 §3.8.4 MUST-28: two hours, unless configured.
pub const KEEPALIVE_IDLE_DEFAULT: Duration = Duration::from_secs(7200);

/// A connection's choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    /// Small segments wait.
    pub(crate) nagle: bool,
    /// Probe it when it is silent.
    pub(crate) keepalive: bool,
    /// R2 of RFC 9293 §3.8.3.
    pub(crate) retransmissions_max: u8,
    /// Differentiated services field of what we send; the two bits of ECN are 0.
    pub(crate) diffserv: u8,
}

impl Settings {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            nagle: config.nagle,
            keepalive: config.keepalive.is_some(),
            retransmissions_max: config.retransmissions_max,
            diffserv: without_ecn(config.diffserv),
        }
    }

    /// Silence after which the connection is probed; `None`: never.
    #[inline]
    pub(crate) fn keepalive_idle(self, config: &Config) -> Option<Duration> {
        // RFC 9293 §3.8.4 MUST-27: the configuration names it.
        self.keepalive.then(|| config.keepalive.unwrap_or(KEEPALIVE_IDLE_DEFAULT))
    }
}

fn without_ecn(diffserv: u8) -> u8 {
    diffserv & !0b11
}

impl<F: Frame, A: App> Stack<F, A> {
    /// Switches Nagle's algorithm on or off for one connection. Returns whether the connection was
    /// there.
    pub fn set_nagle(&mut self, id: ConnectionId, on: bool) -> bool {
        let Some(connection) = self.connections.by_id(id) else { return false };
        // RFC 9293 §3.7.4 MUST-17: for each connection by itself; what waited goes out.
        connection.settings.nagle = on;
        self.env.mark(id.slot, connection);
        true
    }

    /// Switches keepalive on or off for one connection; it probes after
    /// [`Config::keepalive`], or after [`KEEPALIVE_IDLE_DEFAULT`] when that is `None`. Returns
    /// whether the connection was there.
    pub fn set_keepalive(&mut self, id: ConnectionId, on: bool) -> bool {
        let Some(connection) = self.connections.by_id(id) else { return false };
        // RFC 9293 §3.8.4 MUST-24: for each connection by itself.
        connection.settings.keepalive = on;
        if matches!(connection.tcb.state, State::Established | State::CloseWait) {
            let idle = connection.settings.keepalive_idle(&self.env.config);
            connection.tcb.unanswered = 0;
            connection.tcb.idle_deadline = idle.map_or(Instant::FAR_FUTURE, |idle| self.env.now + idle);
            self.env.arm(id.slot, connection);
        }
        true
    }

    /// Sets how often the same data of one connection is sent again before the peer counts as
    /// gone; 255 is hours. Returns whether the connection was there.
    pub fn set_retransmissions_max(&mut self, id: ConnectionId, max: u8) -> bool {
        let Some(connection) = self.connections.by_id(id) else { return false };
        // RFC 9293 §3.8.3 MUST-21: R2 is the application's to choose.
        connection.settings.retransmissions_max = max;
        true
    }

    /// Sets the differentiated services field of what one connection sends from now on; the
    /// two lowest bits are ECN's and left out. Returns whether the connection was there.
    pub fn set_diffserv(&mut self, id: ConnectionId, diffserv: u8) -> bool {
        let Some(connection) = self.connections.by_id(id) else { return false };
        // RFC 9293 §3.9.1.9 MUST-48, SHLD-21: also while it lives.
        connection.settings.diffserv = without_ecn(diffserv);
        true
    }
}
