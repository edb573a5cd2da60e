//! What happens when a connection's time has come: retransmission and zero-window probes (RFC
//! 6298, RFC 9293 §3.8.6.1), delayed acknowledgments, keepalive, FIN_WAIT_2, neighbours that do not answer.

use netcore::{Duration, Frame, Instant};

use crate::app::{App, EndReason, Report};
use crate::env::{Control, Env};
use crate::input::After;
use crate::ip::neighbour;
use crate::recovery;
use crate::state::State;
use crate::tcb::{Connection, Flags, HandOver, Path, Timer};

/// Between two keepalive probes (as tcp(7) has it).
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(75);
/// Retransmissions of the same data after which the way to the peer is doubted.
///
/// RFC 9293 §3.8.3 SHLD-10: R1 is at least three.
const RETRIES_DOUBT: u8 = 3;

/// The timer of a connection's slot fired. It may fire early: deadlines that moved are looked at
/// again later.
pub(crate) fn fired<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
) -> After {
    let mut after = After::Quiet;
    if connection.tcb.ack_deadline <= env.now {
        connection.tcb.ack_deadline = Instant::FAR_FUTURE;
        connection.tcb.flags.set(Flags::ACK_NOW);
        after = After::Output;
    }
    if connection.tcb.idle_deadline <= env.now {
        after = match idle(env, connection) {
            After::Quiet => after,
            other => other,
        };
    }
    if connection.tcb.rtx_deadline <= env.now && !matches!(after, After::End(_)) {
        after = match connection.tcb.timer {
            Timer::Retransmission => retransmission(env, connection, app),
            Timer::LossProbe if connection.tcb.snd_wnd == 0 => {
                // RFC 9293 §3.8.6.1 SHLD-29: a closed window is probed after the timeout.
                let tcb = &mut connection.tcb;
                tcb.timer = Timer::Retransmission;
                tcb.rtx_deadline = env.now + tcb.rto();
                after
            }
            Timer::LossProbe => {
                recovery::probe_due(env, connection);
                After::Output
            }
            Timer::Reordering => {
                recovery::reordering_over(env, connection);
                After::Output
            }
        };
    }
    after
}

fn retransmission<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
) -> After {
    let retransmissions_max = connection.settings.retransmissions_max;
    let tcb = &mut connection.tcb;
    if tcb.hand_over == HandOver::Offered {
        // The answer got lost, or the offer: the connection goes on here.
        env.counters.channel_offers_unanswered += 1;
        tcb.hand_over = HandOver::Refused;
        if tcb.flight() == 0 {
            tcb.rtx_deadline = Instant::FAR_FUTURE;
            return After::Output;
        }
    }
    let tcb = &mut connection.tcb;
    let mut give_up_at = None;
    // How often the same was sent again before; no matter while a closed window is probed.
    let mut repeated = u8::MAX;
    if !tcb.state.is_synchronized() {
        // RFC 9293 §3.8.3 MUST-22: a SYN is given up too, by a limit of its own.
        if tcb.retries >= env.config.syn_retransmissions_max {
            return After::End(EndReason::TimedOut);
        }
        repeated = tcb.retries;
        tcb.flags.set(Flags::SYN_DUE);
    } else if tcb.snd_wnd == 0 || tcb.flight() == 0 {
        // RFC 9293 §3.8.6.1 MUST-37, §3.8.6 SHLD-17: as long as the peer answers, its window may
        // stay closed, and what lies beyond it unacknowledged.
        if tcb.unanswered >= retransmissions_max {
            return After::End(EndReason::TimedOut);
        }
        if tcb.flight() > 0 {
            tcb.flags.set(Flags::RESEND);
            env.counters.zero_window_probes += 1;
        } else if connection.unsent() > 0 {
            connection.tcb.flags.set(Flags::PROBE);
        } else {
            connection.tcb.rtx_deadline = Instant::FAR_FUTURE;
            return After::Quiet;
        }
        connection.tcb.unanswered += 1;
    } else {
        let (timeouts, stalled_since) = recovery::timed_out(env, connection);
        give_up_at = env.config.user_timeout.map(|timeout| stalled_since + timeout);
        // RFC 9293 §3.8.3 MUST-20: at R2 the connection is over, by count, and by time where that
        // is configured.
        if timeouts >= retransmissions_max || give_up_at.is_some_and(|at| at <= env.now) {
            return After::End(EndReason::TimedOut);
        }
        repeated = timeouts;
    }
    env.counters.retransmission_timeouts += 1;
    let tcb = &mut connection.tcb;
    tcb.retries = tcb.retries.saturating_add(1);
    // RFC 6298 §5.5, §5.6
    tcb.timer = Timer::Retransmission;
    tcb.rtx_deadline = (env.now + tcb.rto()).min(give_up_at.unwrap_or(Instant::FAR_FUTURE));
    if repeated == RETRIES_DOUBT - 1 {
        doubt(env, connection, app);
    }
    After::Output
}

/// RFC 9293 §3.8.3 MUST-20, SHLD-9: at R1 the way to the peer is doubted (its neighbour is asked
/// for anew), and the application hears of it.
#[cold]
fn doubt<F: Frame, A: App>(env: &mut Env<F>, connection: &mut Connection<A::Session>, app: &mut A) {
    env.counters.retransmissions_doubted += 1;
    if doubts_route(connection) {
        let hop = env.config.next_hop(connection.tcb.key.remote_addr());
        if let Some(hop) = hop {
            env.neighbours.forget(hop);
            env.controls.push_back(Control::Solicit(hop));
        }
    }
    if let Some(session) = connection.seat.session() {
        // RFC 9293 §3.9.1.8 MUST-47: one of the soft errors.
        app.reported(session, Report::NoAnswer);
    }
}

/// Whether another neighbour's address would be taken for a connection: it has had no answer for
/// long, and found its way by a neighbour's answer. (Others go back where their packets came from.)
pub(crate) fn doubts_route<S>(connection: &Connection<S>) -> bool {
    let tcb = &connection.tcb;
    tcb.retries >= RETRIES_DOUBT && tcb.flags.has(Flags::ACTIVE) && matches!(tcb.path, Path::Wire(_))
}

fn idle<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>) -> After {
    let tcb = &mut connection.tcb;
    tcb.idle_deadline = Instant::FAR_FUTURE;
    match tcb.state {
        State::SynSent if tcb.path == Path::Unresolved => {
            if tcb.unanswered >= neighbour::SOLICITS_MAX {
                return After::End(EndReason::TimedOut);
            }
            tcb.unanswered += 1;
            tcb.idle_deadline = env.now + neighbour::SOLICIT_INTERVAL;
            let hop = env.config.next_hop(tcb.key.remote_addr());
            env.controls.extend(hop.map(Control::Solicit));
            After::Quiet
        }
        State::FinWait2 => After::End(EndReason::Closed),
        State::Established | State::CloseWait => {
            // RFC 9293 §3.8.4 MUST-26: only when nothing is in flight; its timer sees to that then.
            let Some(keepalive) = connection.settings.keepalive_idle(&env.config) else {
                return After::Quiet;
            };
            if tcb.flight() > 0 {
                tcb.idle_deadline = env.now + keepalive;
                return After::Quiet;
            }
            // RFC 9293 §3.8.4 MUST-29: several probes have to be lost.
            if tcb.unanswered >= env.config.keepalive_probes {
                return After::End(EndReason::TimedOut);
            }
            tcb.unanswered += 1;
            tcb.idle_deadline = env.now + KEEPALIVE_INTERVAL;
            tcb.flags.set(Flags::KEEPALIVE);
            After::Output
        }
        State::Closed
        | State::Listen
        | State::SynSent
        | State::SynReceived
        | State::FinWait1
        | State::Closing
        | State::LastAck
        | State::TimeWait => After::Quiet,
    }
}
