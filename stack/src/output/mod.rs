//! The output phase: once per round and connection that has something to send. It decides what
//! goes out (retransmissions, new data, FIN, acknowledgment); [`segment`] writes it.

pub(crate) mod segment;
mod window;

use netcore::{Duration, Frame, FramePool, Instant};
use protocol::tcp;

use crate::env::Env;
use crate::recovery;
use crate::state::State;
use crate::tcb::{Connection, Flags, HandOver, Path, Phase, Timer};
use segment::Data;

/// How far the output phase came with a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Everything that may go out is out.
    Done,
    /// No frame or no room in the port's queue; call again.
    Blocked,
    /// The firmware has taken the connection over with its last data and FIN.
    HandedOver,
    /// Everything is acknowledged, but input was thrown away: the peer has to be reset.
    Unread,
}

/// No frame or no room.
pub(crate) struct Blocked;

/// Sends what is due on a connection.
pub(crate) fn transmit<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Sent {
    let result = match connection.tcb.state {
        State::SynSent | State::SynReceived => handshake(env, slot, connection, pool),
        State::Closed | State::Listen | State::TimeWait => Ok(()),
        State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck => {
            if is_unread(connection) {
                return Sent::Unread;
            }
            if connection.tcb.hand_over == HandOver::Offered {
                return Sent::Done;
            }
            if may_hand_over(connection) {
                return match segment::hand_over(env, slot, connection, pool) {
                    Ok(()) => Sent::HandedOver,
                    Err(Blocked) => Sent::Blocked,
                };
            }
            if may_offer(env, connection) {
                segment::offer(env, slot, connection, pool)
            } else {
                synchronized(env, slot, connection, pool)
            }
        }
    };
    connection.settle(&mut env.held);
    env.arm(slot, connection);
    if result.is_ok() { Sent::Done } else { Sent::Blocked }
}

fn handshake<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    if connection.tcb.flags.has(Flags::SYN_DUE) && connection.tcb.path != Path::Unresolved {
        segment::syn(env, slot, connection, pool)?;
        let tcb = &mut connection.tcb;
        tcb.flags.clear(Flags::SYN_DUE);
        tcb.sent_at = env.now;
        tcb.rtx_deadline = env.now + tcb.rto();
    }
    if connection.tcb.state == State::SynReceived && connection.tcb.flags.has(Flags::ACK_BARE) {
        // RFC 9293 §3.10.7.4 (first, sequence number): what is outside of the window is answered
        // in SYN-RECEIVED too.
        segment::data(env, slot, connection, pool, Data::NONE)?;
    }
    Ok(())
}

fn synchronized<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    if connection.tcb.flags.has(Flags::ACK_BARE) {
        segment::data(env, slot, connection, pool, Data::NONE)?;
    }
    if connection.tcb.flags.any(Flags::RESEND | Flags::LOSS_PROBE) || connection.tcb.phase != Phase::Open {
        resend(env, slot, connection, pool)?;
    }
    if connection.unsent() > 0 {
        new_data(env, slot, connection, pool)?;
    }
    if connection.tcb.flags.has(Flags::CLOSING) {
        finish(env, slot, connection, pool)?;
    }
    if connection.tcb.flags.has(Flags::KEEPALIVE) {
        segment::keepalive(env, slot, connection, pool)?;
        connection.tcb.flags.clear(Flags::KEEPALIVE);
    }
    acknowledge(env, slot, connection, pool)
}

/// Sends again what is lost, as far as the congestion window lets it.
#[cold]
fn resend<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    if connection.tcb.flags.has(Flags::RESEND) {
        if connection.tcb.flight() > 0 {
            // RFC 9293 §3.8.6 SHLD-16, MAY-7: the first segment again, also where a shrunken window
            // covers only a part of it.
            let most = if connection.tcb.snd_wnd == 0 { 1 } else { connection.tcb.flight() };
            let start = connection.tcb.snd_una;
            resend_one(env, slot, connection, pool, start, most)?;
        }
        connection.tcb.flags.clear(Flags::RESEND);
    }
    if connection.tcb.flags.has(Flags::LOSS_PROBE) {
        loss_probe(env, slot, connection, pool)?;
    }
    while let Some((start, most)) = recovery::next_resend(connection) {
        let len = most.min(u32::from(connection.tcb.mss));
        // RFC 6675 §5 (C): while cwnd - pipe leaves room for a segment.
        if recovery::pipe(connection) + len > connection.tcb.window.cwnd || connection.tcb.snd_wnd == 0 {
            break;
        }
        resend_one(env, slot, connection, pool, start, most)?;
    }
    Ok(())
}

/// RFC 8985 §7.3: a new segment, or the last one again, so that its acknowledgment tells what is
/// missing. The congestion window does not hold it back.
#[cold]
fn loss_probe<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let tcb = &connection.tcb;
    if tcb.flight() > 0 {
        let len = connection.unsent().min(usize::from(tcb.mss));
        let is_new = len > 0 && tcb.flight() as usize + len <= tcb.snd_wnd as usize;
        if is_new {
            let offset = tcb.flight() as usize;
            segment::data(env, slot, connection, pool, Data { seq: None, offset, len, fin: false })?;
            env.counters.bytes_sent += len as u64;
            advance(env, connection, len as u32, false);
        } else {
            let most = tcb.flight().min(u32::from(tcb.mss));
            let start = tcb.snd_nxt - most;
            resend_one(env, slot, connection, pool, start, most)?;
        }
        env.counters.loss_probes += 1;
        recovery::probed(connection, !is_new);
    }
    connection.tcb.flags.clear(Flags::LOSS_PROBE);
    Ok(())
}

fn resend_one<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
    start: tcp::SeqNumber,
    most: u32,
) -> Result<(), Blocked> {
    let tcb = &connection.tcb;
    let offset = start.distance_from(tcb.snd_una) as usize;
    let data_end = connection.queue.len();
    let len = (most as usize).min(usize::from(tcb.mss)).min(data_end - offset.min(data_end));
    let fin = tcb.flags.has(Flags::FIN_SENT) && offset + len == data_end && most as usize > len;
    if len == 0 && !fin {
        // Only possible when SND.NXT stood for nothing in the queue: a broken invariant.
        debug_assert!(false, "nothing to resend at {offset} of {data_end}");
        recovery::resent(connection, &env.config, (start, start + most), env.now);
        return Ok(());
    }
    segment::data(env, slot, connection, pool, Data { seq: Some(start), offset, len, fin })?;
    env.counters.retransmissions += 1;
    let end = start + len as u32 + u32::from(fin);
    recovery::resent(connection, &env.config, (start, end), env.now);
    let tcb = &mut connection.tcb;
    if tcb.rtx_deadline == Instant::FAR_FUTURE {
        tcb.timer = Timer::Retransmission;
        tcb.rtx_deadline = env.now + tcb.rto();
    }
    Ok(())
}

/// Sends what was not sent yet, as far as both windows let it.
fn new_data<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let idle_for = env.now.since(connection.tcb.sent_at);
    if connection.tcb.flight() == 0 && idle_for > connection.tcb.rtt.rto() {
        recovery::idle(connection);
    }
    loop {
        let unsent = connection.unsent();
        if unsent == 0 {
            return Ok(());
        }
        let probe = connection.tcb.flags.has(Flags::PROBE);
        let len = match window::allows(connection, unsent, probe) {
            window::Allowed::Send(len) => len,
            window::Allowed::CongestionLimited => {
                recovery::limited(connection, &env.config);
                return Ok(());
            }
            // The acknowledgment of what is in flight lets it out.
            window::Allowed::Small => return Ok(()),
            window::Allowed::WindowLimited => {
                let tcb = &mut connection.tcb;
                // RFC 9293 §3.8.6.1 MUST-36, SHLD-29: probe, first after the timeout. RFC 9293
                // §3.9.1.2 MUST-60: so nothing small waits for ever either.
                if tcb.flight() == 0 && tcb.rtx_deadline == Instant::FAR_FUTURE {
                    tcb.timer = Timer::Retransmission;
                    tcb.rtx_deadline = env.now + tcb.rto();
                }
                return Ok(());
            }
        };
        let fin = len == unsent && connection.tcb.flags.has(Flags::CLOSING) && may_send_fin(connection);
        let offset = connection.tcb.flight() as usize;
        segment::data(env, slot, connection, pool, Data { seq: None, offset, len, fin })?;
        if probe {
            connection.tcb.flags.clear(Flags::PROBE);
            env.counters.zero_window_probes += 1;
        }
        env.counters.bytes_sent += len as u64;
        advance(env, connection, len as u32, fin);
    }
}

/// SND.NXT moves over what was sent for the first time.
#[inline]
fn advance<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, len: u32, fin: bool) {
    let tcb = &mut connection.tcb;
    let before = tcb.snd_nxt;
    tcb.snd_nxt += len + u32::from(fin);
    if before != tcb.snd_una
        && (tcb.sent_at != env.now
            || connection.recovery.as_ref().is_some_and(|recovery| !recovery.is_quiet()))
    {
        recovery::sent_more(connection, &env.config, before, env.now);
    }
    let tcb = &mut connection.tcb;
    tcb.sent_at = env.now;
    if tcb.rtx_deadline == Instant::FAR_FUTURE || tcb.timer == Timer::LossProbe {
        // RFC 6298 §5.1, RFC 8985 §7.2
        recovery::arm_for_flight(connection, env.now);
    }
    let tcb = &mut connection.tcb;
    if fin {
        tcb.flags.set(Flags::FIN_SENT);
        // RFC 9293 §3.10.4: FIN_WAIT_1 from ESTABLISHED, LAST_ACK from CLOSE_WAIT.
        let next = if tcb.state == State::CloseWait { State::LastAck } else { State::FinWait1 };
        connection.set_state(&mut env.gauges, next);
    }
}

/// A FIN of its own, when the data went out before the application closed.
fn finish<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let due = connection.tcb.state.may_send() && connection.unsent() == 0 && may_send_fin(connection);
    if !due {
        return Ok(());
    }
    let offset = connection.queue.len();
    segment::data(env, slot, connection, pool, Data { seq: None, offset, len: 0, fin: true })?;
    advance(env, connection, 0, true);
    Ok(())
}

/// An acknowledgment may wait no longer than this.
///
/// RFC 9293 §3.8.6.3 MUST-40: less than half a second, whatever is configured.
const DELAYED_ACK_MAX: Duration = Duration::from_millis(499);

/// An acknowledgment of its own, now or later.
///
/// RFC 9293 §3.10.7.4 MUST-58, MUST-59: once per round, after all that arrived in it, and not at
/// all when something that was sent carried it.
fn acknowledge<F: Frame, S>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<S>,
    pool: &mut impl FramePool<Frame = F>,
) -> Result<(), Blocked> {
    let tcb = &mut connection.tcb;
    let waiting = tcb.rcv_nxt.distance_from(tcb.rcv_acked);
    // RFC 9293 §3.8.6.3 SHLD-19: two full segments do not wait.
    let second_segment = waiting >= 2 * u32::from(tcb.mss.min(env.config.mss(tcb.key.version())));
    if tcb.flags.has(Flags::ACK_NOW) || second_segment || window::should_update(env, connection) {
        return segment::data(env, slot, connection, pool, Data::NONE);
    }
    if waiting > 0 && connection.tcb.ack_deadline == Instant::FAR_FUTURE {
        // RFC 9293 §3.8.6.3 SHLD-18: data to travel with may come.
        connection.tcb.ack_deadline = env.now + env.config.delayed_ack.min(DELAYED_ACK_MAX);
    }
    Ok(())
}

/// Whether our FIN is a segment of this stack: not when the firmware sends it, nor when a RST
/// takes its place.
fn may_send_fin<S>(connection: &Connection<S>) -> bool {
    !matches!(connection.tcb.path, Path::Flow(_)) && connection.full.as_ref().is_none_or(|full| !full.unread)
}

/// RFC 9293 §3.6.1 SHLD-3: the application closed without reading everything, and the peer has
/// all that was written.
#[inline]
fn is_unread<S>(connection: &Connection<S>) -> bool {
    connection.full.as_ref().is_some_and(|full| full.unread)
        && connection.tcb.flags.has(Flags::CLOSING)
        && connection.tcb.flight() == 0
        && connection.unsent() == 0
}

/// Whether all that the peer has not acknowledged may be offered to the firmware: our side is
/// closed, nothing is being repaired, and it is no more than the firmware takes.
fn may_offer<F: Frame, S>(env: &Env<F>, connection: &Connection<S>) -> bool {
    let tcb = &connection.tcb;
    let left = connection.queue.len();
    let pieces = left.div_ceil(usize::from(tcb.mss).max(1));
    matches!(tcb.path, Path::Flow(_))
        && tcb.flags.has(Flags::CLOSING)
        && left > 0
        && left <= env.channel.last_data_max() as usize
        && tcb.hand_over == HandOver::Possible
        && !tcb.flags.any(Flags::RESEND | Flags::LOSS_PROBE | Flags::PROBE)
        && tcb.phase == Phase::Open
        && tcb.retries == 0
        && connection.full.as_ref().is_none_or(|full| !full.unread)
        // All pieces at once, and room beside them.
        && pieces <= env.tx.capacity() / 2
}

/// Whether the rest of the connection fits into one CLOSE: our side is closed, nothing is in
/// flight, and what is left is one segment that the peer has room for.
fn may_hand_over<S>(connection: &Connection<S>) -> bool {
    let tcb = &connection.tcb;
    let left = connection.queue.len();
    matches!(tcb.path, Path::Flow(_))
        && tcb.flags.has(Flags::CLOSING)
        && connection.full.as_ref().is_none_or(|full| !full.unread)
        && tcb.flight() == 0
        && left <= usize::from(tcb.mss)
        && left <= tcb.snd_wnd as usize
}
