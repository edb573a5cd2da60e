//! The sender's timer. One deadline stands for the retransmission timeout (RFC 6298), the tail
//! loss probe (RFC 8985 §7) and the reordering window (RFC 8985 §6.2 step 5): at any time only
//! the earliest of them matters (RFC 8985 §8).

use netcore::{Duration, Instant};

use super::arrival::{begin_or_repeat, shrink};
use super::{Probe, begin_log};
use crate::config::Config;
use crate::env::Env;
use crate::tcb::{Connection, Flags, Phase, Timer};

/// How long a peer may delay the acknowledgment of a single segment (RFC 8985 §7.2:
/// TLP.max_ack_delay).
const MAX_ACK_DELAY: Duration = Duration::from_millis(200);
/// Two ticks of the timer wheel: what a round trip is late by without anything being lost.
const TIMER_SLACK: Duration = Duration::from_millis(2);

/// Starts the timer for what is in flight: a loss probe where one may be sent, or else the
/// retransmission timeout. Only while nothing is being repaired and no probe is out.
#[inline]
pub(crate) fn arm_for_flight<S>(connection: &mut Connection<S>, now: Instant) {
    let tcb = &mut connection.tcb;
    let mut after = tcb.rto();
    tcb.timer = Timer::Retransmission;
    // RFC 8985 §7.2: with SACK, in no recovery, with nothing sacked.
    if tcb.flags.has(Flags::SACK)
        && tcb.phase == Phase::Open
        && let Some(srtt) = tcb.rtt.srtt()
    {
        tcb.timer = Timer::LossProbe;
        let slack = if tcb.flight() <= u32::from(tcb.mss) { MAX_ACK_DELAY } else { TIMER_SLACK };
        after = after.min(srtt.times(2) + slack);
    }
    tcb.rtx_deadline = now + after;
}

/// Sets the timer after an acknowledgment. `advanced`: SND.UNA has moved.
pub(crate) fn arm<S>(connection: &mut Connection<S>, now: Instant, advanced: bool) {
    let tcb = &mut connection.tcb;
    if tcb.flight() == 0 {
        // RFC 6298 §5.2; a zero-window probe's timer goes on.
        if advanced {
            tcb.rtx_deadline = Instant::FAR_FUTURE;
        }
        return;
    }
    let Some(recovery) = connection.recovery.as_deref() else { return arm_for_flight(connection, now) };
    if let Some(wait) = recovery.reorder_wait {
        tcb.timer = Timer::Reordering;
        tcb.rtx_deadline = now + wait;
    } else if recovery.probe.is_none() && tcb.phase == Phase::Open {
        if advanced || tcb.rtx_deadline == Instant::FAR_FUTURE {
            arm_for_flight(connection, now);
        }
    } else if advanced || tcb.timer != Timer::Retransmission || tcb.rtx_deadline == Instant::FAR_FUTURE {
        // RFC 6298 §5.3
        tcb.timer = Timer::Retransmission;
        tcb.rtx_deadline = now + tcb.rto();
    }
}

/// The reordering window is over: what has not arrived meanwhile is lost (RFC 8985 §6.2 step 5).
#[cold]
pub(crate) fn reordering_over<F, S>(env: &mut Env<F>, connection: &mut Connection<S>) {
    let tcb = &connection.tcb;
    if let Some(recovery) = connection.recovery.as_deref_mut() {
        let srtt = tcb.rtt.srtt().unwrap_or(Duration::ZERO);
        let in_flight = recovery.pipe();
        let certain = matches!(tcb.phase, Phase::Fast | Phase::Loss);
        let found = recovery.rack.detect(&mut recovery.log, env.now, srtt, certain);
        recovery.reorder_wait = found.wait;
        begin_or_repeat(env, connection, &found, in_flight);
    }
    if connection.tcb.phase == Phase::Fast {
        // No acknowledgment has made room; the first retransmission goes out all the same.
        shrink(connection, 0, false);
    }
    arm(connection, env.now, true);
}

/// A tail loss probe is due (RFC 8985 §7.3). The output phase sends it; then the retransmission
/// timeout runs.
#[cold]
pub(crate) fn probe_due<F, S>(env: &mut Env<F>, connection: &mut Connection<S>) {
    begin_log(connection, &env.config, 0);
    let tcb = &mut connection.tcb;
    tcb.flags.set(Flags::LOSS_PROBE);
    tcb.timer = Timer::Retransmission;
    tcb.rtx_deadline = env.now + tcb.rto();
}

/// The probe was sent: new data, or the end of the old again.
#[cold]
pub(crate) fn probed<S>(connection: &mut Connection<S>, is_retrans: bool) {
    let end_seq = connection.tcb.snd_nxt;
    if let Some(recovery) = &mut connection.recovery {
        recovery.probe = Some(Probe { end_seq, is_retrans });
    }
}

/// The retransmission timer expired (RFC 6298 §5.4 to §5.6, RFC 8985 §6.3). Returns how often it
/// had done so before since anything was acknowledged, and since when nothing was.
#[cold]
pub(crate) fn timed_out<F, S>(env: &Env<F>, connection: &mut Connection<S>) -> (u8, Instant) {
    begin_log(connection, &env.config, 0);
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return (0, env.now) };
    let before = recovery.timeouts;
    let first = before == 0;
    recovery.timeouts = recovery.timeouts.saturating_add(1);
    if first {
        recovery.stalled_since = recovery.log.first_sent_at().unwrap_or(env.now);
        recovery.save(&tcb.window, tcb.snd_nxt.distance_from(tcb.snd_una));
    }
    if recovery.log.is_reneged() || !first {
        // RFC 2018 §8: the peer may have thrown away what it once said it held.
        recovery.log.forget_sacked();
    }
    recovery.congestion.timed_out(&mut tcb.window, tcb.snd_nxt.distance_from(tcb.snd_una), tcb.mss, first);
    recovery.log.mark_first_lost(u32::from(tcb.mss));
    let srtt = tcb.rtt.srtt().unwrap_or(Duration::ZERO);
    recovery.rack.detect_on_timeout(&mut recovery.log, env.now, srtt);
    recovery.recover = tcb.snd_nxt;
    recovery.dup_acks = 0;
    recovery.left = 0;
    recovery.probe = None;
    recovery.reorder_wait = None;
    tcb.phase = Phase::Loss;
    tcb.flags.clear(Flags::LOSS_PROBE);
    tcb.flags.set(Flags::RESEND);
    (before, recovery.stalled_since)
}

/// The path takes only smaller packets than those in flight: none of them arrives, and all are
/// sent again at once in smaller ones. That is no congestion, so the window stays (RFC 1191 §6.5).
#[cold]
pub(crate) fn path_narrowed<S>(connection: &mut Connection<S>, config: &Config) {
    begin_log(connection, config, 0);
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    recovery.log.mark_first_lost(tcb.flight());
    recovery.recover = tcb.snd_nxt;
    recovery.dup_acks = 0;
    recovery.left = 0;
    recovery.probe = None;
    recovery.reorder_wait = None;
    recovery.undo = None;
    tcb.phase = Phase::Loss;
    tcb.flags.clear(Flags::LOSS_PROBE);
    tcb.flags.set(Flags::RESEND);
}
