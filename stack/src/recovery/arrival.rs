//! What an acknowledgment says once there is a log: what was delivered, what is lost, and whether
//! a recovery begins or ends. In the order of RFC 8985 §6.2, RFC 6582 where SACK is missing.

use netcore::{Duration, Instant};
use protocol::tcp::SeqNumber;

use super::congestion::{Window, initial_window};
use super::prr::{Progress, Prr};
use super::rack::Found;
use super::{DUP_THRESHOLD, Recovery, begin_log, growth};
use crate::env::Env;
use crate::tcb::{Connection, Flags, Phase, Tcb};

/// An acceptable acknowledgment. SND.UNA has moved to its number already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ack<'a> {
    /// Bytes by which SND.UNA moved.
    pub(crate) acked: u32,
    pub(crate) blocks: &'a [(SeqNumber, SeqNumber)],
    /// TSecr, when timestamps are in use.
    pub(crate) echo: Option<u32>,
    /// A duplicate in the sense of RFC 5681 §2.
    pub(crate) duplicate: bool,
}

/// What the log learned from an acknowledgment.
#[derive(Clone, Copy, Debug, Default)]
struct News {
    /// Bytes that the peer holds and that it was not known to hold.
    delivered: u32,
    /// Those of them that SACK blocks told of.
    sacked: u32,
    /// Of what was sent last, if all of it was sent once.
    rtt: Option<Duration>,
    /// Some of it was sent again, the last of that at this time.
    resent_at: Option<Instant>,
    /// Something was reported that had arrived before (RFC 2883).
    duplicate: bool,
}

/// Takes an acknowledgment of a connection whose flight is not one round, or that says more than
/// that all is well.
#[cold]
pub(crate) fn acknowledged<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, ack: &Ack) {
    begin_log(connection, &env.config, ack.acked);
    let was = connection.tcb.phase;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    let tcb = &mut connection.tcb;
    let in_flight_before = recovery.pipe();
    let news = deliver(recovery, tcb, ack, env.now);
    measure(recovery, tcb, ack, &news, env.now);
    if ack.acked > 0 {
        recovery.timeouts = 0;
    }
    if news.duplicate {
        env.counters.duplicates_reported += 1;
    }
    answer_probe(env, connection, ack, &news);
    undo_if_spurious(env, connection, ack);
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    let tcb = &mut connection.tcb;
    let again = if tcb.flags.has(Flags::SACK) { news.sacked > 0 } else { ack.duplicate };
    if ack.acked == 0 && again {
        env.counters.duplicate_acks += 1;
        recovery.dup_acks = recovery.dup_acks.saturating_add(1);
    }
    end_if_over(tcb, recovery);
    if ack.acked > 0 && matches!(tcb.phase, Phase::Open | Phase::Disorder) {
        recovery.dup_acks = 0;
    }
    let found = find_losses(recovery, tcb, ack, env.now);
    let begun = begin_or_repeat(env, connection, &found, in_flight_before);
    let safe = ack.acked > 0 && found.lost == 0;
    match connection.tcb.phase {
        Phase::Open | Phase::Disorder => {
            settle(connection);
            if ack.acked > 0 && was != Phase::Fast {
                growth::grow(env, connection, ack.acked, news.rtt);
            }
        }
        Phase::Fast if news.delivered > 0 || begun => shrink(connection, news.delivered, safe),
        // RFC 5681 §3.1: the loss window is in use by definition.
        Phase::Loss if ack.acked > 0 => growth::grow_by(env, connection, news.delivered, news.rtt),
        Phase::Fast | Phase::Loss => {}
    }
}

/// Whether anything is missing while nothing is being repaired.
fn settle<S>(connection: &mut Connection<S>) {
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    if recovery.log.sacked() == 0 && recovery.dup_acks == 0 {
        recovery.left = 0;
        connection.tcb.phase = Phase::Open;
    } else {
        connection.tcb.phase = Phase::Disorder;
    }
}

/// The window in fast recovery, after `delivered` bytes have arrived; `safe`: SND.UNA moved and no
/// further loss was found.
pub(super) fn shrink<S>(connection: &mut Connection<S>, delivered: u32, safe: bool) {
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    let progress = Progress { delivered, in_flight: recovery.pipe(), safe };
    tcb.window.cwnd = recovery.prr.window(&progress, tcb.window.ssthresh, tcb.mss);
}

/// Takes the numbers out of the log that the peer holds now.
fn deliver(recovery: &mut Recovery, tcb: &Tcb, ack: &Ack, now: Instant) -> News {
    let mut news = News { duplicate: is_duplicate_report(tcb, ack.blocks), ..News::default() };
    let Recovery { log, rack, .. } = recovery;
    let (mut newest, mut resent_at): (Option<Instant>, Option<Instant>) = (None, None);
    let mut delivered = |run: &super::log::Run| {
        // RFC 3522 §3.2: an echo older than the retransmission is of the original.
        let by_original =
            ack.echo.is_some_and(|echo| SeqNumber(echo).before(SeqNumber(tcb.ts_value(run.sent_at))));
        rack.delivered(run, now, by_original);
        let times = if run.retransmitted { &mut resent_at } else { &mut newest };
        *times = (*times).max(Some(run.sent_at));
    };
    news.delivered = log.acknowledged(tcb.snd_una, &mut delivered);
    if tcb.flags.has(Flags::SACK) {
        for &block in ack.blocks {
            news.sacked += log.sack(block, &mut delivered);
        }
        news.delivered += news.sacked;
    } else {
        news.delivered = without_sack(recovery, tcb, ack);
    }
    // RFC 6298 §3 (Karn): what was sent twice is not timed, nor what is told of beside it: the peer may have
    // had that for long, and its acknowledgments were lost.
    news.rtt = newest.filter(|_| resent_at.is_none()).map(|sent_at| now.since(sent_at));
    news.resent_at = resent_at;
    if news.duplicate {
        // RFC 8985 §6.2 step 4: not when it was our probe that arrived twice.
        let by_probe = recovery.probe.is_some_and(|probe| probe.is_retrans);
        if !by_probe {
            recovery.rack.duplicate_reported(tcb.snd_una, tcb.snd_nxt);
        }
    }
    news
}

/// RFC 2883 §4: the first block lies below the acknowledgment, or inside of the second.
fn is_duplicate_report(tcb: &Tcb, blocks: &[(SeqNumber, SeqNumber)]) -> bool {
    let Some(&(left, right)) = blocks.first() else { return false };
    left.before(right)
        && (right.before_eq(tcb.snd_una)
            || blocks.get(1).is_some_and(|outer| left.after_eq(outer.0) && right.before_eq(outer.1)))
}

/// Without SACK each duplicate acknowledgment says that some full segment has left the network
/// (RFC 5681 §3.2 step 4), and an acknowledgment says which. Returns the bytes delivered.
fn without_sack(recovery: &mut Recovery, tcb: &Tcb, ack: &Ack) -> u32 {
    let mss = u32::from(tcb.mss);
    if ack.acked > 0 {
        // One of the segments filled the hole; the others had been counted as left.
        let counted = (ack.acked - ack.acked.min(mss)).min(recovery.left);
        recovery.left -= counted;
        if tcb.snd_una == tcb.snd_nxt {
            recovery.left = 0;
        }
        return ack.acked - counted;
    }
    if !ack.duplicate || tcb.phase == Phase::Loss {
        return 0;
    }
    let left = (recovery.left + mss).min(recovery.log.in_flight().saturating_sub(mss));
    let delivered = left.saturating_sub(recovery.left);
    recovery.left = recovery.left.max(left);
    delivered
}

/// Feeds the estimator (RFC 6298 §2), at most once a round trip; by the echoed timestamp where
/// retransmissions were acknowledged (RFC 7323 §4).
fn measure(recovery: &mut Recovery, tcb: &mut Tcb, ack: &Ack, news: &News, now: Instant) {
    let echoed = || {
        let age_ms = tcb.ts_value(now).wrapping_sub(ack.echo.filter(|&echo| echo != 0)?);
        (ack.acked > 0 && age_ms < 60_000).then(|| Duration::from_millis(u64::from(age_ms)))
    };
    // RFC 2883 §4: the peer has twice what it acknowledges for the first time. So it is our repetition that it
    // answers, its answers to the original were lost, and what it echoes is as old as that.
    let has_twice = ack.blocks.first().filter(|_| news.duplicate);
    let answers_again = has_twice.is_some_and(|block| block.0.after_eq(tcb.snd_una - ack.acked));
    let measured = match news.resent_at.filter(|_| answers_again && ack.acked > 0) {
        Some(resent_at) => Some(now.since(resent_at)),
        None => news.rtt.or_else(echoed),
    };
    let Some(rtt) = measured else { return };
    if tcb.retries > 0 || tcb.snd_una.after_eq(recovery.timed_seq) {
        tcb.rtt.sample(rtt);
        recovery.timed_seq = tcb.snd_nxt;
    }
    // RFC 6298 §5 (last note): only a measurement ends the backoff.
    tcb.retries = 0;
}

/// RFC 8985 §7.4.2: what has become of the tail loss probe.
fn answer_probe<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, ack: &Ack, news: &News) {
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    let Some(probe) = recovery.probe else { return };
    if tcb.snd_una.before(probe.end_seq) {
        return;
    }
    // Both copies have arrived: the peer says so, or it acknowledges the end once more.
    let twice = news.duplicate || (ack.duplicate && ack.blocks.is_empty());
    if !probe.is_retrans || twice {
        recovery.probe = None;
    } else if tcb.snd_una.after(probe.end_seq) {
        recovery.probe = None;
        // The probe has repaired a loss, which nobody else has noticed.
        env.counters.loss_probe_repairs += 1;
        if matches!(tcb.phase, Phase::Open | Phase::Disorder) {
            let flight = ack.acked + tcb.flight();
            recovery.congestion.reduce(&mut tcb.window, flight, tcb.mss);
            tcb.window.cwnd = tcb.window.ssthresh;
        }
    }
}

/// The Eifel detection and response (RFC 3522, RFC 4015): when the first acknowledgment after a
/// retransmission answers the original, nothing was lost, and everything is as it was before.
fn undo_if_spurious<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, ack: &Ack) {
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return };
    let (true, Some(undo), Some(echo)) = (ack.acked > 0, recovery.undo, ack.echo) else { return };
    let Some(retransmit_ts) = undo.retransmit_ts else { return };
    recovery.undo = None;
    if echo == 0 || !SeqNumber(echo).before(SeqNumber(retransmit_ts)) {
        return;
    }
    match tcb.phase {
        Phase::Open | Phase::Disorder => return,
        Phase::Fast => env.counters.spurious_recoveries += 1,
        Phase::Loss => env.counters.spurious_timeouts += 1,
    }
    recovery.congestion = undo.congestion;
    recovery.log.forget_lost();
    recovery.dup_acks = 0;
    recovery.left = 0;
    tcb.phase = Phase::Disorder;
    // RFC 4015 §3.2 (5): back to what was in flight, but without a burst.
    let cwnd = recovery.pipe() + ack.acked.min(initial_window(tcb.mss));
    tcb.window = Window {
        cwnd: cwnd.min(undo.window.cwnd).max(tcb.window.cwnd),
        ssthresh: undo.window.ssthresh.max(undo.flight),
    };
}

/// Ends a recovery when all of it is acknowledged (RFC 6582 §3.2 step 3).
fn end_if_over(tcb: &mut Tcb, recovery: &mut Recovery) {
    match tcb.phase {
        Phase::Fast | Phase::Loss if tcb.snd_una.after_eq(recovery.recover) => {}
        Phase::Open | Phase::Disorder | Phase::Fast | Phase::Loss => return,
    }
    if tcb.phase == Phase::Fast {
        // RFC 9937 §6.2: whatever is left of the reduction.
        tcb.window.cwnd = tcb.window.ssthresh;
    }
    recovery.rack.recovery_ended();
    recovery.left = 0;
    tcb.phase = Phase::Open;
}

fn find_losses(recovery: &mut Recovery, tcb: &mut Tcb, ack: &Ack, now: Instant) -> Found {
    recovery.reorder_wait = None;
    let in_recovery = matches!(tcb.phase, Phase::Fast | Phase::Loss);
    let mss = u32::from(tcb.mss);
    if !tcb.flags.has(Flags::SACK) {
        return find_losses_without_sack(recovery, tcb, ack);
    }
    if !in_recovery && recovery.log.sacked() == 0 {
        return Found::default();
    }
    // RFC 6675 §4, IsLost: more than two segments, or three times something.
    let enough = recovery.dup_acks >= DUP_THRESHOLD || recovery.log.sacked() > 2 * mss;
    let srtt = tcb.rtt.srtt().unwrap_or(Duration::ZERO);
    let found = recovery.rack.detect(&mut recovery.log, now, srtt, in_recovery || enough);
    recovery.reorder_wait = found.wait;
    found
}

/// RFC 6582 §3.2: the third duplicate says that the first segment is lost, and in recovery each
/// partial acknowledgment that the next hole is.
fn find_losses_without_sack(recovery: &mut Recovery, tcb: &mut Tcb, ack: &Ack) -> Found {
    let mut found = Found::default();
    match tcb.phase {
        Phase::Open | Phase::Disorder => {
            // Step 2: duplicates of what an earlier recovery sent again say nothing.
            let repaired = recovery.recover.after_eq(tcb.snd_una) && recovery.recover.before_eq(tcb.snd_nxt);
            if recovery.dup_acks >= DUP_THRESHOLD && !repaired {
                recovery.log.mark_first_lost(u32::from(tcb.mss));
                found.lost = recovery.log.lost();
            }
        }
        Phase::Fast if ack.acked > 0 => tcb.flags.set(Flags::RESEND),
        Phase::Fast | Phase::Loss => {}
    }
    found
}

/// A loss begins a recovery; the loss of a retransmission is another sign of congestion. Returns
/// whether one began.
pub(super) fn begin_or_repeat<F, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    found: &Found,
    in_flight_before: u32,
) -> bool {
    let tcb = &mut connection.tcb;
    let Some(recovery) = connection.recovery.as_deref_mut() else { return false };
    let flight = tcb.snd_nxt.distance_from(tcb.snd_una);
    match tcb.phase {
        Phase::Open | Phase::Disorder if recovery.log.lost() > 0 => {
            env.counters.fast_retransmits += 1;
            recovery.save(&tcb.window, flight);
        }
        // RFC 5681 §4.3: the window is lowered once more.
        Phase::Fast if found.retransmission => recovery.undo = None,
        Phase::Open | Phase::Disorder | Phase::Fast | Phase::Loss => return false,
    }
    // RFC 6582 §3.2 step 2, RFC 6675 §5 step 4.
    tcb.phase = Phase::Fast;
    recovery.recover = tcb.snd_nxt;
    recovery.congestion.reduce(&mut tcb.window, flight, tcb.mss);
    recovery.prr = Prr::begin(in_flight_before);
    true
}
