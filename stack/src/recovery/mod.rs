//! Loss recovery of the sender: when what was sent, what counts as lost, how many bytes are on
//! the way, what to send again and when to ask. With SACK by RACK-TLP (RFC 8985), without by
//! duplicate acknowledgments (RFC 6582); after a timeout everything old that the peer does not
//! hold is sent again.
//!
//! The input phase tells what an acknowledgment says (`arrival`), the output phase asks and
//! tells what it has sent, the timers tell what has expired. The parts are pure: the log of what
//! is in flight (`log`), RACK (`rack`), the window (`congestion` and its algorithms, `hystart`,
//! `prr`).
//!
//! A connection whose data in flight was sent in one round, and that has neither filled its
//! window nor lost anything, has no [`Recovery`] at all.

mod arrival;
pub(crate) mod congestion;
mod cubic;
mod growth;
mod hystart;
mod log;
mod new_reno;
mod prr;
mod rack;
mod timer;

use netcore::{Duration, Instant};
use protocol::tcp::SeqNumber;

use crate::config::{Config, CongestionControl};
use crate::tcb::{Connection, Flags, Phase, Tcb};
use congestion::{Congestion, Window};
use hystart::HyStart;
use log::Log;
use prr::Prr;
use rack::Rack;

pub(crate) use arrival::{Ack, acknowledged};
pub(crate) use growth::{grow, idle, limited};
pub(crate) use timer::{arm, arm_for_flight, path_narrowed, probe_due, probed, reordering_over, timed_out};

/// Duplicate acknowledgments that mean a loss (RFC 5681 §3.2).
const DUP_THRESHOLD: u8 = 3;

/// What the sender remembers beyond the TCB. Made when more than one round is in flight, a
/// window was filled or something was lost, and kept as long as the connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    log: Log,
    rack: Rack,
    congestion: Congestion,
    /// `None`: not for this algorithm, or the first slow start is over.
    hystart: Option<HyStart>,
    prr: Prr,
    /// What is needed to take the last reduction back.
    undo: Option<Undo>,
    /// The tail loss probe that is not answered yet.
    probe: Option<Probe>,
    /// SND.NXT when recovery began: it ends when this is acknowledged.
    recover: SeqNumber,
    /// The next round-trip time is taken when this is acknowledged: once a round trip.
    timed_seq: SeqNumber,
    /// SND.NXT when the window was full the last time: what is below was sent with all of it in
    /// use.
    limited_seq: SeqNumber,
    dup_acks: u8,
    /// Expiries of the retransmission timer since SND.UNA last moved.
    timeouts: u8,
    /// Since when nothing was acknowledged; has a meaning when there were timeouts.
    stalled_since: Instant,
    /// The last reduction for a congestion mark counts until this is acknowledged.
    marked: Option<SeqNumber>,
    /// Without SACK: bytes that duplicate acknowledgments say have left the network.
    left: u32,
    /// How long to wait until more counts as lost.
    reorder_wait: Option<Duration>,
}

/// The state before a reduction (RFC 3522, RFC 4015).
#[derive(Clone, Copy, Debug)]
struct Undo {
    window: Window,
    congestion: Congestion,
    flight: u32,
    /// TSval of the first retransmission.
    retransmit_ts: Option<u32>,
}

/// A tail loss probe (RFC 8985 §7.3).
#[derive(Clone, Copy, Debug)]
struct Probe {
    /// TLP.end_seq
    end_seq: SeqNumber,
    /// TLP.is_retrans
    is_retrans: bool,
}

impl Recovery {
    pub(crate) fn new(config: &Config, tcb: &Tcb) -> Self {
        let hystart = match config.congestion {
            CongestionControl::Cubic => Some(HyStart::new(tcb.snd_nxt)),
            CongestionControl::NewReno => None,
        };
        Self {
            log: Log::default(),
            rack: Rack::new(tcb.snd_una),
            congestion: Congestion::new(config.congestion),
            hystart,
            prr: Prr::default(),
            undo: None,
            probe: None,
            recover: tcb.snd_una - 1,
            timed_seq: tcb.snd_una,
            limited_seq: tcb.snd_una,
            dup_acks: 0,
            timeouts: 0,
            stalled_since: Instant::ZERO,
            marked: None,
            left: 0,
            reorder_wait: None,
        }
    }

    /// Everything in flight was sent at one time, and nothing of it is known to be lost: the TCB
    /// says it all.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        self.log.is_empty() && self.probe.is_none()
    }

    /// The log begins with one flight, all of it sent at `sent_at`.
    fn begin(&mut self, start: SeqNumber, end: SeqNumber, sent_at: Instant) {
        self.rack.begin(start);
        self.timed_seq = start;
        self.log.begin(start, end, sent_at);
    }

    /// Bytes that are on the way as far as we know.
    fn pipe(&self) -> u32 {
        self.log.in_flight().saturating_sub(self.left)
    }

    /// Remembers the state before a reduction.
    fn save(&mut self, window: &Window, flight: u32) {
        let congestion = self.congestion;
        self.undo = Some(Undo { window: *window, congestion, flight, retransmit_ts: None });
    }
}

/// Bytes that are on the way as far as we know (RFC 6675 §4, SetPipe).
#[inline]
pub(crate) fn pipe<S>(connection: &Connection<S>) -> u32 {
    let tcb = &connection.tcb;
    match &connection.recovery {
        Some(recovery) if tcb.phase != Phase::Open => recovery.pipe(),
        Some(_) | None => tcb.flight(),
    }
}

/// What to send again next: its start and how many numbers at most; `None` when new data is next.
pub(crate) fn next_resend<S>(connection: &Connection<S>) -> Option<(SeqNumber, u32)> {
    match connection.tcb.phase {
        Phase::Open | Phase::Disorder => None,
        Phase::Fast | Phase::Loss => connection.recovery.as_ref()?.log.first_lost(),
    }
}

/// Numbers up to SND.NXT were sent for the first time; before, SND.NXT was `before`, and not all
/// was acknowledged.
#[cold]
pub(crate) fn sent_more<S>(connection: &mut Connection<S>, config: &Config, before: SeqNumber, now: Instant) {
    connection.recovery(config);
    let tcb = &mut connection.tcb;
    let Some(recovery) = &mut connection.recovery else { return };
    if recovery.log.is_empty() {
        recovery.begin(tcb.snd_una, before, tcb.sent_at);
    }
    recovery.log.sent(tcb.snd_nxt, now);
    if tcb.phase == Phase::Fast {
        recovery.prr.sent(tcb.snd_nxt.distance_from(before));
    }
}

/// `start..end` was sent again.
#[cold]
pub(crate) fn resent<S>(
    connection: &mut Connection<S>,
    config: &Config,
    (start, end): (SeqNumber, SeqNumber),
    now: Instant,
) {
    begin_log(connection, config, 0);
    let tcb = &mut connection.tcb;
    let Some(recovery) = &mut connection.recovery else { return };
    recovery.log.resent(start, end, now);
    if tcb.phase == Phase::Fast {
        recovery.prr.sent(end.distance_from(start));
    }
    if let Some(undo) = &mut recovery.undo
        && tcb.flags.has(Flags::TIMESTAMPS)
    {
        undo.retransmit_ts.get_or_insert(tcb.ts_value(now));
    }
}

/// The peer echoes a congestion mark: the window shrinks as for a loss, once a round trip.
/// Returns whether this is the first echo of a round trip.
///
/// Source: RFC 3168 §6.1.2, RFC 9438 §4.6.
#[cold]
pub(crate) fn congestion_echoed<S>(connection: &mut Connection<S>, config: &Config) -> bool {
    connection.recovery(config);
    let tcb = &mut connection.tcb;
    let Some(recovery) = &mut connection.recovery else { return false };
    if recovery.marked.is_some_and(|marked| marked.after(tcb.snd_una) && marked.before_eq(tcb.snd_nxt)) {
        return false;
    }
    recovery.marked = Some(tcb.snd_nxt);
    match tcb.phase {
        Phase::Open | Phase::Disorder => {
            let flight = tcb.snd_nxt.distance_from(tcb.snd_una);
            recovery.congestion.reduce(&mut tcb.window, flight, tcb.mss);
            tcb.window.cwnd = tcb.window.ssthresh;
        }
        // The window of this round trip was lowered already.
        Phase::Fast | Phase::Loss => {}
    }
    true
}

/// What is in flight is looked at closely from now on, together with the last `acked` bytes.
fn begin_log<S>(connection: &mut Connection<S>, config: &Config, acked: u32) {
    connection.recovery(config);
    let tcb = &connection.tcb;
    if let Some(recovery) = &mut connection.recovery
        && recovery.log.is_empty()
        && tcb.flight() + acked > 0
    {
        recovery.begin(tcb.snd_una - acked, tcb.snd_nxt, tcb.sent_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pinned() {
        // Only connections with more than one round in flight, or with losses, have it; behind it
        // the log keeps at most 256 bytes while nothing is in flight.
        assert_eq!(size_of::<Recovery>(), 384);
    }
}
