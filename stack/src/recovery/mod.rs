//! Loss recovery of the sender: which bytes count as lost, how many are on the way, what to send
//! again. With SACK as RFC 6675, without as RFC 6582; after a timeout everything that the peer
//! does not hold is sent again. Pure: the output phase asks, the input phase tells.

pub(crate) mod congestion;
pub(crate) mod scoreboard;

use protocol::tcp::SeqNumber;

use crate::tcb::{Connection, Flags, Phase};

/// Duplicate acknowledgments that mean a loss (RFC 5681 §3.2).
const DUP_THRESHOLD: u8 = 3;

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
    // RFC 9293 §3.8.1 MUST-18: Karn's rule (RFC 6298 §3): what was sent twice is not timed.
    connection.tcb.flags.clear(Flags::TIMING);
}

/// A duplicate acknowledgment or a SACK block with news arrived. Returns true when that means a
/// loss, and recovery has begun.
#[cold]
pub(crate) fn duplicate<S>(connection: &mut Connection<S>) -> bool {
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
    tcb.congestion.lost(tcb.snd_nxt.distance_from(tcb.snd_una), tcb.mss);
    tcb.flags.set(Flags::RESEND);
    true
}

/// SND.UNA moved by `acked` while something was being repaired or the scoreboard holds ranges.
#[cold]
pub(crate) fn advanced<S>(connection: &mut Connection<S>, acked: u32) {
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
        Phase::Loss => tcb.congestion.acknowledged(acked, tcb.mss, true),
    }
}

/// The retransmission timer expired (RFC 6298 §5.4 to §5.6, RFC 6675 §5.1).
#[cold]
pub(crate) fn timed_out<S>(connection: &mut Connection<S>) {
    let first = connection.tcb.retries == 0;
    let tcb = &mut connection.tcb;
    let full = connection.full.get_or_insert_default();
    tcb.congestion.timed_out(tcb.snd_nxt.distance_from(tcb.snd_una), tcb.mss, first);
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
