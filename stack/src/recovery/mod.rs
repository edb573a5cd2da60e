//! Loss recovery of the sender: which bytes count as lost, how many are on the way, what to send
//! again. With SACK as RFC 6675, without as RFC 6582; after a timeout everything that the peer
//! does not hold is sent again. Pure: the output phase asks, the input phase tells.

pub(crate) mod congestion;
mod cubic;
mod hystart;
mod new_reno;
pub(crate) mod scoreboard;

use netcore::Duration;
use protocol::tcp::SeqNumber;

use crate::config::{Config, CongestionControl};
use crate::env::Env;
use crate::tcb::{Connection, Flags, Phase};
use congestion::{Acked, Congestion};
use hystart::{HyStart, Pace};

/// Duplicate acknowledgments that mean a loss (RFC 5681 §3.2).
const DUP_THRESHOLD: u8 = 3;

/// Segments that one acknowledgment adds to the window in slow start (RFC 3465 §2.2: L = 2, for
/// delayed acknowledgments; after a timeout, §2.3, L = 1).
const SLOW_START_SEGMENTS: u32 = 2;

/// What the sender remembers beyond the TCB. Made when a window was filled or something was
/// lost, and kept as long as the connection.
#[derive(Debug)]
pub(crate) struct Recovery {
    congestion: Congestion,
    /// `None`: not for this algorithm, or the first slow start is over.
    hystart: Option<HyStart>,
}

impl Recovery {
    pub(crate) fn new(config: &Config, snd_nxt: SeqNumber) -> Self {
        let hystart = match config.congestion {
            CongestionControl::Cubic => Some(HyStart::new(snd_nxt)),
            CongestionControl::NewReno => None,
        };
        Self { congestion: Congestion::new(config.congestion), hystart }
    }
}

/// New data was acknowledged outside of recovery. `rtt`: measured with it.
#[inline]
pub(crate) fn grow<F, S>(env: &Env<F>, connection: &mut Connection<S>, acked: u32, rtt: Option<Duration>) {
    // RFC 7661: a window that was not used says nothing of the path.
    if connection.tcb.flags.has(Flags::CWND_LIMITED) {
        grow_limited(env, connection, acked, rtt);
    } else if let Some(recovery) = &mut connection.recovery {
        recovery.congestion.paused(env.now);
    }
}

#[cold]
fn grow_limited<F, S>(env: &Env<F>, connection: &mut Connection<S>, bytes: u32, rtt: Option<Duration>) {
    connection.recovery(&env.config);
    let tcb = &mut connection.tcb;
    let Some(recovery) = &mut connection.recovery else { return };
    if !tcb.window.in_slow_start() {
        let srtt = tcb.rtt.srtt().unwrap_or(Duration::ZERO);
        let acked = Acked { bytes, mss: tcb.mss, now: env.now, srtt };
        recovery.congestion.avoid(&mut tcb.window, &acked);
        return;
    }
    let Some(hystart) = recovery.hystart.as_mut().filter(|_| tcb.window.is_unbounded()) else {
        tcb.window.slow_start(bytes, tcb.mss, SLOW_START_SEGMENTS);
        return;
    };
    match hystart.acknowledged(tcb.snd_una, tcb.snd_nxt, rtt) {
        Pace::SlowStart => tcb.window.slow_start(bytes, tcb.mss, hystart::SEGMENTS_MAX),
        Pace::Conservative => {
            let bytes = bytes.min(hystart::SEGMENTS_MAX * u32::from(tcb.mss));
            tcb.window.slow_start(bytes / hystart::CSS_GROWTH_DIVISOR, tcb.mss, hystart::SEGMENTS_MAX);
        }
        // RFC 9406 §4.2: congestion avoidance begins here.
        Pace::Over => tcb.window.ssthresh = tcb.window.cwnd,
    }
}

/// Output begins again after an idle time longer than the timeout.
#[cold]
pub(crate) fn idle<S>(connection: &mut Connection<S>) {
    connection.tcb.window.idle(connection.tcb.mss);
    if let Some(recovery) = &mut connection.recovery {
        recovery.congestion.idle();
    }
}

/// Bytes that are on the way as far as we know (RFC 6675 §4, SetPipe).
#[inline]
pub(crate) fn pipe<S>(connection: &Connection<S>) -> u32 {
    let tcb = &connection.tcb;
    if tcb.phase == Phase::Open && tcb.dup_acks == 0 {
        return tcb.flight();
    }
    pipe_with_losses(connection)
}

#[cold]
fn pipe_with_losses<S>(connection: &Connection<S>) -> u32 {
    let tcb = &connection.tcb;
    let Some(full) = &connection.full else { return tcb.flight() };
    let board = &full.scoreboard;
    let missing = board.missing_between(tcb.snd_una, tcb.snd_nxt);
    // Without SACK each duplicate says that some full segment has left the network.
    let left = if tcb.flags.has(Flags::SACK) { 0 } else { u32::from(tcb.dup_acks) * u32::from(tcb.mss) };
    let lost_below = match tcb.phase {
        Phase::Open => return missing.saturating_sub(left),
        Phase::Loss => full.recover,
        Phase::Fast if tcb.flags.has(Flags::SACK) => board.lost_below(tcb.snd_una, tcb.mss),
        Phase::Fast => (tcb.snd_una + u32::from(tcb.mss)).earlier(full.recover),
    };
    // Lost and not yet sent again.
    let lost = board.missing_between(full.resend_nxt.later(tcb.snd_una), lost_below);
    let left = if tcb.phase == Phase::Loss { 0 } else { left };
    missing.saturating_sub(lost).saturating_sub(left)
}

/// What to send again next: its start and how many numbers at most; `None` when new data is next.
pub(crate) fn next_resend<S>(connection: &Connection<S>) -> Option<(SeqNumber, u32)> {
    let tcb = &connection.tcb;
    let full = connection.full.as_ref()?;
    let from = full.resend_nxt.later(tcb.snd_una);
    let end = match tcb.phase {
        Phase::Open => return None,
        Phase::Loss => full.recover,
        // RFC 6675 §4 NextSeg (1): only what counts as lost.
        Phase::Fast if tcb.flags.has(Flags::SACK) => full.scoreboard.lost_below(tcb.snd_una, tcb.mss),
        // RFC 6582 §3.2: the first hole of each window, which RESEND takes care of.
        Phase::Fast => return None,
    };
    if from.after_eq(end) {
        return None;
    }
    match full.scoreboard.hole(tcb.snd_una, from) {
        Some((start, hole_end)) if start.before(end) => {
            Some((start, hole_end.earlier(end).distance_from(start)))
        }
        Some(_) => None,
        // Above the highest range nothing is held.
        None => {
            let start = full.scoreboard.highest().map_or(from, |highest| highest.later(from));
            start.before(end).then(|| (start, end.distance_from(start)))
        }
    }
}

/// `upto` was sent again.
pub(crate) fn resent<S>(connection: &mut Connection<S>, upto: SeqNumber) {
    let full = connection.full();
    full.resend_nxt = full.resend_nxt.later(upto);
    // RFC 6298 §3 (Karn): a segment that was sent twice is not timed.
    connection.tcb.flags.clear(Flags::TIMING);
}

/// A duplicate acknowledgment or a SACK block with news arrived. Returns true when that means a
/// loss, and recovery has begun.
#[cold]
pub(crate) fn duplicate<F, S>(env: &Env<F>, connection: &mut Connection<S>) -> bool {
    connection.recovery(&env.config);
    let tcb = &mut connection.tcb;
    tcb.dup_acks = tcb.dup_acks.saturating_add(1);
    // RFC 3042: the first two let new data out; `pipe` sees them by the scoreboard.
    let full = connection.full.get_or_insert_default();
    if tcb.phase != Phase::Open {
        return false;
    }
    let sacked_enough = full.scoreboard.lost_below(tcb.snd_una, tcb.mss) != tcb.snd_una;
    if tcb.dup_acks < DUP_THRESHOLD && !sacked_enough {
        return false;
    }
    // RFC 6582 §3.2 step 2, RFC 6675 §5 step 4.
    full.recover = tcb.snd_nxt;
    full.resend_nxt = tcb.snd_una;
    tcb.phase = Phase::Fast;
    if let Some(recovery) = &mut connection.recovery {
        recovery.congestion.reduce(&mut tcb.window, tcb.snd_nxt.distance_from(tcb.snd_una), tcb.mss);
        tcb.window.cwnd = tcb.window.ssthresh;
    }
    tcb.flags.set(Flags::RESEND);
    true
}

/// SND.UNA moved by `acked` while something was being repaired or the scoreboard holds ranges.
#[cold]
pub(crate) fn advanced<F, S>(env: &Env<F>, connection: &mut Connection<S>, acked: u32) {
    let tcb = &mut connection.tcb;
    let Some(full) = &mut connection.full else { return };
    full.scoreboard.acknowledged(tcb.snd_una);
    match tcb.phase {
        Phase::Open => tcb.dup_acks = 0,
        Phase::Fast | Phase::Loss if tcb.snd_una.after_eq(full.recover) => {
            // RFC 6582 §3.2 step 3, full acknowledgment; the window was set when loss was found.
            tcb.phase = Phase::Open;
            tcb.dup_acks = 0;
        }
        Phase::Fast if !tcb.flags.has(Flags::SACK) => {
            // RFC 6582 §3.2 step 3, partial acknowledgment: the next hole is lost too. One of
            // the acknowledged segments filled the hole; the others had been counted as left.
            let segments = acked.div_ceil(u32::from(tcb.mss)).min(255) as u8;
            tcb.dup_acks = tcb.dup_acks.saturating_sub(segments - segments.min(1));
            full.resend_nxt = tcb.snd_una;
            tcb.flags.set(Flags::RESEND);
        }
        Phase::Fast => {}
        Phase::Loss => {
            tcb.flags.set(Flags::CWND_LIMITED);
            grow_limited(env, connection, acked, None);
        }
    }
}

/// The retransmission timer expired (RFC 6298 §5.4 to §5.6, RFC 6675 §5.1).
#[cold]
pub(crate) fn timed_out<F, S>(env: &Env<F>, connection: &mut Connection<S>) {
    connection.recovery(&env.config);
    let first = connection.tcb.retries == 0;
    let tcb = &mut connection.tcb;
    let full = connection.full.get_or_insert_default();
    if let Some(recovery) = &mut connection.recovery {
        let flight = tcb.snd_nxt.distance_from(tcb.snd_una);
        recovery.congestion.timed_out(&mut tcb.window, flight, tcb.mss, first);
    }
    if !first {
        // RFC 2018 §8: the peer may have thrown away what it once said it held.
        full.scoreboard.clear();
    }
    full.recover = tcb.snd_nxt;
    full.resend_nxt = tcb.snd_una;
    tcb.phase = Phase::Loss;
    tcb.dup_acks = 0;
    tcb.flags.clear(Flags::TIMING);
    tcb.flags.set(Flags::RESEND);
}
