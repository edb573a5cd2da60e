//! Fifth step: the acknowledgment (RFC 9293 §3.10.7.4, RFC 5961 §5, RFC 5681 §3.2).

use netcore::{Duration, Frame, Instant};
use protocol::tcp::Flags;

use super::{After, Segment, Step, established, reset};
use crate::app::{App, EndReason};
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
    if header.ack.before(tcb.snd_una) {
        if tcb.snd_una.distance_from(header.ack) > connection.snd_wnd_max.max(0xffff) {
            return Err(reset::challenge(env, connection));
        }
        // An old acknowledgment says nothing, but its data may be new.
        return Ok(());
    }
    let news = take_sack(connection, segment);
    if header.ack.after(connection.tcb.snd_una) {
        advance(env, connection, segment);
    } else {
        note_duplicate(env, connection, segment, news);
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
                timestamps: None,
            });
        }
        return Err(After::Quiet);
    }
    tcb.snd_una = header.ack;
    tcb.flags.clear(tcb::Flags::SYN_DUE);
    let window = u32::from(header.window) << tcb.snd_scale;
    tcb.snd_wl1 = header.seq;
    tcb.snd_wl2 = header.ack;
    established::handshake_acked(env, connection);
    connection.set_snd_wnd(window);
    established::establish(env, slot, connection, app)
}

/// SND.UNA moves to SEG.ACK, which lies between SND.UNA and SND.NXT.
#[inline]
pub(super) fn advance<F, S>(env: &Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let ack = segment.header.ack;
    let acked = ack.distance_from(connection.tcb.snd_una);
    let data = (acked as usize).min(connection.queue.len());
    connection.queue.consume(data);
    let tcb = &mut connection.tcb;
    tcb.snd_una = ack;
    measure(env.now, tcb, segment);
    tcb.retries = 0;
    if tcb.phase != Phase::Open || connection.full.is_some() || tcb.dup_acks > 0 {
        let open = tcb.phase == Phase::Open;
        recovery::advanced(connection, acked);
        if open {
            grow(connection, acked);
        }
    } else {
        grow(connection, acked);
    }
    let tcb = &mut connection.tcb;
    // RFC 6298 §5.2, §5.3
    tcb.rtx_deadline = if tcb.snd_una == tcb.snd_nxt { Instant::FAR_FUTURE } else { env.now + tcb.rtt.rto() };
}

#[inline]
fn grow<S>(connection: &mut Connection<S>, acked: u32) {
    let tcb = &mut connection.tcb;
    let limited = tcb.flags.has(tcb::Flags::CWND_LIMITED);
    tcb.congestion.acknowledged(acked, tcb.mss, limited);
}

/// Takes a round-trip time: of the timed segment, or by the echoed timestamp when that one had
/// to be sent again (RFC 7323 §4).
#[inline]
fn measure(now: Instant, tcb: &mut tcb::Tcb, segment: &Segment) {
    if tcb.flags.has(tcb::Flags::TIMING) {
        if segment.header.ack.after_eq(tcb.timed_seq) {
            tcb.rtt.sample(now.since(tcb.timed_at));
            tcb.flags.clear(tcb::Flags::TIMING);
        }
    } else if let Some(timestamps) = segment.options.timestamps
        && tcb.flags.has(tcb::Flags::TIMESTAMPS)
        && timestamps.echo != 0
    {
        let age_ms = tcb.ts_value(now).wrapping_sub(timestamps.echo);
        if age_ms < 60_000 {
            tcb.rtt.sample(Duration::from_millis(u64::from(age_ms)));
        }
    }
}

/// SND.WND follows the newest segment (RFC 9293 §3.10.7.4: SND.WL1, SND.WL2).
#[inline]
pub(super) fn update_window<S>(connection: &mut Connection<S>, segment: &Segment) {
    let header = &segment.header;
    let tcb = &mut connection.tcb;
    let newer =
        tcb.snd_wl1.before(header.seq) || (tcb.snd_wl1 == header.seq && tcb.snd_wl2.before_eq(header.ack));
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

/// Feeds the scoreboard; true when a block told news.
fn take_sack<S>(connection: &mut Connection<S>, segment: &Segment) -> bool {
    if segment.options.sack_count == 0 || !connection.tcb.flags.has(tcb::Flags::SACK) {
        return false;
    }
    let (snd_una, snd_nxt) = (connection.tcb.snd_una.later(segment.header.ack), connection.tcb.snd_nxt);
    let board = &mut connection.full().scoreboard;
    let mut news = 0;
    for &block in segment.options.sack_blocks() {
        news += board.insert(block, snd_una, snd_nxt);
    }
    news > 0
}

/// SEG.ACK = SND.UNA: a duplicate, by RFC 5681 §2 or, with SACK, by RFC 6675 §2.
fn note_duplicate<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, segment: &Segment, news: bool) {
    let tcb = &connection.tcb;
    let header = &segment.header;
    let duplicate = if tcb.flags.has(tcb::Flags::SACK) {
        news
    } else {
        // Answers to zero-window probes are no sign of a loss.
        tcb.flight() > 0
            && tcb.snd_wnd > 0
            && segment.header.flags.0 & (Flags::SYN | Flags::FIN).0 == 0
            && u32::from(header.window) << tcb.snd_scale == tcb.snd_wnd
            && header.seq == tcb.rcv_nxt
    };
    if !duplicate {
        return;
    }
    env.counters.duplicate_acks += 1;
    if recovery::duplicate(connection) {
        env.counters.fast_retransmits += 1;
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
