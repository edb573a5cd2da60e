//! Fifth step: the acknowledgment (RFC 9293 §3.10.7.4, RFC 5961 §5, RFC 5681 §3.2).

use netcore::{Frame, Instant};
use protocol::tcp::{Flags, Options};

use super::{After, Segment, Step, established, note_peer, reset};
use crate::app::{App, EndReason};
use crate::ecn;
use crate::env::{Bare, Env};
use crate::recovery;
use crate::state::State;
use crate::tcb::{self, Connection, Phase};

pub(super) fn check<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    carries_data: bool,
) -> Step {
    let header = &segment.header;
    if !header.flags.has(Flags::ACK) {
        env.counters.ack_missing += 1;
        return Err(After::Quiet);
    }
    if connection.tcb.state == State::SynReceived {
        ends_handshake(env, slot, connection, app, segment)?;
    }
    // RFC 9293 §3.10.7.4 MAY-12, RFC 5961 §5.2: SND.UNA - MAX.SND.WND <= SEG.ACK <= SND.NXT, or a challenge.
    let tcb = &connection.tcb;
    if header.ack.after(tcb.snd_nxt) {
        env.counters.ack_of_unsent += 1;
        return Err(reset::challenge(env, connection));
    }
    let is_old = header.ack.before(tcb.snd_una);
    if is_old && tcb.snd_una.distance_from(header.ack) > connection.snd_wnd_max {
        return Err(reset::challenge(env, connection));
    }
    note_peer(env, connection, segment);
    if is_old {
        // An old acknowledgment says nothing, but its data may be new.
        return Ok(());
    }
    if connection.tcb.ecn.is_agreed() {
        ecn::echoed(env, connection, segment);
    }
    if header.ack.after(connection.tcb.snd_una) {
        advance(env, connection, segment);
    } else {
        without_advance(env, connection, segment, carries_data);
    }
    update_window(connection, segment);
    after_our_fin(env, connection)
}

/// In SYN_RECEIVED: the ACK of our SYN makes the connection, any other is answered with RST.
fn ends_handshake<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
) -> Step {
    let header = &segment.header;
    let tcb = &mut connection.tcb;
    if header.ack != tcb.snd_nxt {
        env.counters.ack_of_unsent += 1;
        if let Some(mac) = segment.src_mac {
            env.counters.resets_sent += 1;
            env.send_bare(Bare {
                mac,
                key: tcb.key,
                seq: header.ack,
                ack: protocol::tcp::SeqNumber(0),
                flags: Flags::RST,
                window: 0,
                options: Options::default(),
            });
        }
        return Err(After::Quiet);
    }
    tcb.snd_una = header.ack;
    tcb.flags.clear(tcb::Flags::SYN_DUE);
    let window = u32::from(header.window) << tcb.snd_scale;
    tcb.snd_wl1 = header.seq;
    tcb.snd_wl2 = header.ack;
    established::handshake_acked(env, connection, segment);
    connection.set_snd_wnd(window);
    let ends = connection.tcb.key.tuple(&env.config);
    established::establish(env, slot, connection, app, &ends);
    Ok(())
}

/// SND.UNA moves to SEG.ACK, which lies between SND.UNA and SND.NXT.
#[inline]
pub(super) fn advance<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let ack = segment.header.ack;
    let acked = ack.distance_from(connection.tcb.snd_una);
    let data = (acked as usize).min(connection.queue.len());
    connection.queue.consume(data, &mut env.runs);
    let tcb = &mut connection.tcb;
    tcb.snd_una = ack;
    let one_round = tcb.phase == Phase::Open
        && segment.options.sack_count == 0
        && connection.recovery.as_ref().is_none_or(|recovery| recovery.is_quiet());
    if !one_round {
        say(env, connection, segment, acked, false);
        return;
    }
    let rtt = env.now.since(tcb.sent_at);
    tcb.rtt.sample(rtt);
    tcb.retries = 0;
    recovery::grow(env, connection, acked, Some(rtt));
    if connection.tcb.flight() == 0 {
        // RFC 6298 §5.2
        connection.tcb.rtx_deadline = Instant::FAR_FUTURE;
    } else {
        // RFC 6298 §5.3
        recovery::arm_for_flight(connection, env.now);
    }
}

/// Tells recovery what the acknowledgment says.
#[cold]
fn say<F, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
    acked: u32,
    duplicate: bool,
) {
    let timestamps = connection.tcb.flags.has(tcb::Flags::TIMESTAMPS);
    let echo = segment.options.timestamps.filter(|_| timestamps).map(|timestamps| timestamps.echo);
    let ack = recovery::Ack { acked, blocks: segment.options.sack_blocks(), echo, duplicate };
    recovery::acknowledged(env, connection, &ack);
    recovery::arm(connection, env.now, acked > 0);
}

/// SND.WND follows the newest segment (RFC 9293 §3.10.7.4: SND.WL1, SND.WL2). A peer that acknowledges more
/// has sent that later, also where it sends old data again: with the window from before, the right edge
/// would move on with SND.UNA, beyond what the peer has ever announced.
#[inline]
pub(super) fn update_window<S>(connection: &mut Connection<S>, segment: &Segment) {
    let header = &segment.header;
    let tcb = &mut connection.tcb;
    let newer = header.ack.after(tcb.snd_wl2) || tcb.snd_wl1.before_eq(header.seq);
    if !newer {
        return;
    }
    tcb.snd_wl1 = header.seq;
    tcb.snd_wl2 = header.ack;
    let window = u32::from(header.window) << tcb.snd_scale;
    let opened = tcb.snd_wnd == 0 && window > 0;
    connection.set_snd_wnd(window);
    if opened {
        window_opened(connection);
    }
}

/// What was sent into the closed window was probably thrown away: send it again at once.
#[cold]
fn window_opened<S>(connection: &mut Connection<S>) {
    let tcb = &mut connection.tcb;
    tcb.retries = 0;
    if tcb.flight() > 0 {
        tcb.flags.set(tcb::Flags::RESEND);
    } else {
        tcb.rtx_deadline = Instant::FAR_FUTURE;
    }
}

/// SEG.ACK = SND.UNA: perhaps a duplicate, by RFC 5681 §2 or, with SACK, by RFC 6675 §2.
fn without_advance<F, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
    carries_data: bool,
) {
    let tcb = &connection.tcb;
    let header = &segment.header;
    let sack = tcb.flags.has(tcb::Flags::SACK);
    // Answers to zero-window probes are no sign of a loss, and neither is data.
    let duplicate = !carries_data
        && tcb.snd_wnd > 0
        && header.flags.0 & (Flags::SYN | Flags::FIN).0 == 0
        && u32::from(header.window) << tcb.snd_scale == tcb.snd_wnd
        && header.seq == tcb.rcv_nxt;
    let quiet = connection.recovery.as_ref().is_none_or(|recovery| recovery.is_quiet());
    let told = sack && (segment.options.sack_count > 0 || !quiet);
    // A report of a duplicate may come when everything is acknowledged.
    let known = tcb.flight() > 0 || connection.recovery.is_some();
    if ((duplicate && !sack) || told) && known && tcb.state.is_synchronized() {
        say(env, connection, segment, 0, duplicate);
    }
}

/// What the acknowledgment of our FIN means in each state.
fn after_our_fin<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>) -> Step {
    let tcb = &connection.tcb;
    if !tcb.flags.has(tcb::Flags::FIN_SENT) || tcb.snd_una != tcb.snd_nxt {
        return Ok(());
    }
    match tcb.state {
        State::FinWait1 => {
            connection.set_state(&mut env.gauges, State::FinWait2);
            connection.tcb.idle_deadline = env.now + env.config.fin_wait_2;
            Ok(())
        }
        State::Closing => Err(After::TimeWait),
        State::LastAck => Err(After::End(EndReason::Closed)),
        State::FinWait2 => Ok(()),
        State::Closed
        | State::Listen
        | State::SynSent
        | State::SynReceived
        | State::Established
        | State::CloseWait
        | State::TimeWait => {
            debug_assert!(false, "a FIN was sent in {}", tcb.state.name());
            Ok(())
        }
    }
}
