//! First step: the sequence number, with PAWS before it (RFC 9293 §3.10.7.4, RFC 7323 §5.3).

use core::num::NonZeroU32;

use netcore::Frame;
use protocol::tcp::{Flags, SeqNumber, Standing};

use super::{After, Segment, Step};
use crate::env::Env;
use crate::state::State;
use crate::tcb::{self, Connection, Path};

/// TS.Recent says nothing after 24 days of silence (RFC 7323 §5.5).
const TS_RECENT_LIFE_S: u32 = 24 * 24 * 3600;
/// Between two answers to empty segments that do not fit (Linux: `tcp_invalid_ratelimit`).
const ANSWER_INTERVAL_MS: u32 = 500;

/// In SYN_RECEIVED the peer's SYN may come again: alone, when our SYN-ACK was lost, or as a
/// SYN-ACK, when both sides opened at once. The latter goes on without its SYN.
pub(super) fn repeated_syn<S>(connection: &mut Connection<S>, segment: &mut Segment) -> Step {
    let tcb = &mut connection.tcb;
    let header = &mut segment.header;
    let again = tcb.state == State::SynReceived
        && header.flags.has(Flags::SYN)
        && !header.flags.has(Flags::RST)
        && header.seq + 1 == tcb.rcv_nxt;
    if !again {
        return Ok(());
    }
    if let (Path::Wire(mac), Some(src_mac)) = (&mut tcb.path, segment.src_mac) {
        // Our SYN-ACK may have gone astray: the peer may have moved (or its SYN was damaged).
        *mac = src_mac;
    }
    if !header.flags.has(Flags::ACK) {
        tcb.flags.set(tcb::Flags::SYN_DUE);
        return Err(After::Output);
    }
    header.seq += 1;
    header.flags = Flags(header.flags.0 & !Flags::SYN.0);
    tcb.flags.set(tcb::Flags::ACK_NOW);
    Ok(())
}

/// Whether any of the segment lies in the window; what sticks out is cut off.
pub(super) fn check<'a, F: Frame, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
    payload: &'a [u8],
) -> Result<(Segment, &'a [u8]), After> {
    let tcb = &mut connection.tcb;
    let mut header = segment.header;
    let empty = payload.is_empty() && !header.flags.has(Flags::FIN);
    let is_reset = header.flags.has(Flags::RST);
    if tcb.flags.has(tcb::Flags::TIMESTAMPS) && !is_reset {
        match segment.options.timestamps {
            // RFC 7323 §3.2: a segment without the agreed option is dropped. Not a SYN: that is of another
            // connection, whose options are its own, and is challenged (RFC 5961 §4.2), or who has begun
            // anew without timestamps would never find out that we have not.
            None if header.flags.has(Flags::SYN) => {}
            None => {
                env.counters.timestamp_missing += 1;
                return Err(After::Quiet);
            }
            Some(ts) if SeqNumber(ts.value).before(SeqNumber(tcb.ts_recent)) => {
                let age_s = ((env.now.millis() / 1000) as u32).wrapping_sub(connection.ts_recent_s);
                if age_s < TS_RECENT_LIFE_S {
                    env.counters.paws_rejected += 1;
                    return Err(acknowledge(env, connection, empty));
                }
                tcb.ts_recent = ts.value;
            }
            Some(_) => {}
        }
    }
    let wnd = tcb.rcv_wnd();
    // RFC 5961 §3.2: of a RST only its first number counts. By the data behind it, one would stand at
    // RCV.NXT for everybody who guesses no nearer than its length.
    let seg_len = if is_reset {
        0
    } else {
        payload.len() as u32
            + u32::from(header.flags.has(Flags::SYN))
            + u32::from(header.flags.has(Flags::FIN))
    };
    let starts_inside = header.seq.in_window(tcb.rcv_nxt, wnd);
    // RFC 9293 §3.10.7.4, the table of four cases.
    let acceptable = match (seg_len, wnd) {
        (0, 0) => header.seq == tcb.rcv_nxt,
        // The right edge itself is where the peer's next segment would begin that has filled the
        // window and lost some of it; its acknowledgments count. A RST there may be a guess.
        (0, _) => starts_inside || (header.seq == tcb.rcv_right && !is_reset),
        // RFC 9293 §3.4 MUST-66: a closed window lets acknowledgments, resets and urgent pointers in.
        (_, 0) => header.seq == tcb.rcv_nxt,
        (len, _) => starts_inside || (header.seq + (len - 1)).in_window(tcb.rcv_nxt, wnd),
    };
    if !acceptable {
        env.counters.unacceptable += 1;
        let end = header.seq + payload.len() as u32;
        if !payload.is_empty() && end.before_eq(tcb.rcv_nxt) {
            env.counters.duplicates_received += 1;
            connection.note_duplicate(header.seq, end);
        }
        note_move(connection, segment);
        return Err(if is_reset { After::Quiet } else { acknowledge(env, connection, empty) });
    }
    let mut payload = payload;
    if header.seq.before(tcb.rcv_nxt) {
        let mut old = tcb.rcv_nxt.distance_from(header.seq);
        if header.flags.has(Flags::SYN) {
            // An old SYN in front of new data cannot be; the SYN step answers it.
            return Ok((*segment, payload));
        }
        header.seq = tcb.rcv_nxt;
        old = old.min(payload.len() as u32);
        payload = &payload[old as usize..];
        // The peer sends again what it has not seen acknowledged.
        tcb.flags.set(tcb::Flags::ACK_NOW);
        if old > 0 {
            env.counters.duplicates_received += 1;
            connection.note_duplicate(segment.header.seq, segment.header.seq + old);
        }
    }
    let tcb = &mut connection.tcb;
    let room = tcb.rcv_right.distance_from(header.seq) as usize;
    if payload.len() > room {
        payload = &payload[..room];
        header.flags = Flags(header.flags.0 & !Flags::FIN.0);
        tcb.flags.set(tcb::Flags::ACK_NOW);
    } else if wnd == 0 && header.flags.has(Flags::FIN) && payload.is_empty() {
        // Nothing lies between the data and the FIN: it needs no buffer.
        tcb.flags.set(tcb::Flags::ACK_NOW);
    }
    Ok((Segment { header, ..*segment }, payload))
}

/// A peer that repeats what we have may do so because our acknowledgments go astray: its network
/// has moved, and the answer must go where the segment came from.
///
/// RFC 5961 §5: its numbers have to be such as this peer could send, so that nobody who does not
/// see the connection can turn it away.
fn note_move<S>(connection: &mut Connection<S>, segment: &Segment) {
    let snd_wnd = connection.snd_wnd_max;
    let (tcb, header) = (&mut connection.tcb, &segment.header);
    let standing = Standing {
        snd_una: tcb.snd_una,
        snd_nxt: tcb.snd_nxt,
        snd_wnd,
        rcv_nxt: tcb.rcv_nxt,
        rcv_wnd: tcb.rcv_wnd(),
    };
    let known = !header.flags.has(Flags::RST) && standing.may_come_from_peer(header);
    if let (true, Path::Wire(mac), Some(src_mac)) = (known, &mut tcb.path, segment.src_mac) {
        *mac = src_mac;
    }
}

/// RFC 9293 §3.10.7.4: an unacceptable segment is answered with an acknowledgment. Empty ones
/// only now and then: the peer may answer in the same way, and two that disagree would never stop.
fn acknowledge<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>, empty: bool) -> After {
    if empty && !may_answer(env, connection) {
        return After::Quiet;
    }
    connection.tcb.flags.set(tcb::Flags::ACK_NOW | tcb::Flags::ACK_BARE);
    After::Output
}

/// Whether an empty segment that does not fit may be answered: at most one in
/// [`ANSWER_INTERVAL_MS`] per connection.
pub(super) fn may_answer<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>) -> bool {
    let now_ms = NonZeroU32::new(env.now.millis() as u32).unwrap_or(NonZeroU32::MIN);
    if let Some(last_ms) = connection.answered_ms
        && now_ms.get().wrapping_sub(last_ms.get()) < ANSWER_INTERVAL_MS
    {
        env.counters.answers_limited += 1;
        return false;
    }
    connection.answered_ms = Some(now_ms);
    true
}
