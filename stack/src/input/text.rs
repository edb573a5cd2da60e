//! Seventh step: the data (RFC 9293 §3.10.7.4, §3.8.6.3).

use netcore::{Frame, Instant};
use protocol::tcp::{self, Options, SeqNumber, Timestamps};

use super::{After, Segment, Step, application};
use crate::app::{App, EndReason};
use crate::env::{Bare, Env};
use crate::held::PIECE_OVERHEAD;
use crate::tcb::{Connection, Flags, Path};

/// Takes the payload, which lies in the window.
pub(super) fn take<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    payload: &[u8],
) -> Step {
    if payload.is_empty() || !connection.tcb.state.may_receive() {
        return Ok(());
    }
    if connection.tcb.flags.has(Flags::FIN_SENT) {
        return Err(refuse(env, connection, segment));
    }
    if connection.tcb.flags.has(Flags::CLOSING) && segment.header.seq == connection.tcb.rcv_nxt {
        // RFC 9293 §3.6.1 SHLD-3: what was written goes out first, then a RST instead of the FIN.
        connection.full().unread = true;
    }
    if segment.header.seq != connection.tcb.rcv_nxt {
        keep(env, connection, segment, payload);
        return Ok(());
    }
    if connection.tcb.flags.has(Flags::WAITING) && env.held.room() < payload.len() {
        // Neither taken nor acknowledged: the peer sends it again, as if it had been lost.
        env.counters.held_no_memory += 1;
        return Err(After::Quiet);
    }
    if connection.full.is_some() {
        report_duplicate(env, connection, segment, payload);
    }
    advance(env, connection, payload.len() as u32);
    application::deliver(env, connection, app, payload)?;
    if connection.full.as_ref().is_some_and(|full| !full.reassembly.is_empty()) {
        // RFC 5681 §4.2: a segment that fills a gap, or a part of it, is acknowledged at once.
        connection.tcb.flags.set(Flags::ACK_NOW);
    }
    while let Some(full) = &mut connection.full
        && let Some(bytes) = full.reassembly.take(connection.tcb.rcv_nxt)
    {
        advance(env, connection, bytes.len() as u32);
        application::deliver(env, connection, app, &bytes)?;
    }
    Ok(())
}

/// RFC 9293 §3.6.1 SHLD-3: both directions are closed and nobody will read this; the peer learns
/// of it by a RST. (The application's close is for both; it cannot close one of them.)
#[cold]
fn refuse<F: Frame, S>(env: &mut Env<F>, connection: &Connection<S>, segment: &Segment) -> After {
    if let Path::Wire(mac) = connection.tcb.path {
        env.counters.resets_sent += 1;
        env.send_bare(Bare {
            mac,
            key: connection.tcb.key,
            seq: segment.header.ack,
            ack: SeqNumber(0),
            flags: tcp::Flags::RST,
            window: 0,
            options: Options::default(),
        });
    }
    After::Answered(EndReason::Aborted)
}

/// RCV.NXT moves over `len` bytes.
#[inline]
pub(super) fn advance<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, len: u32) {
    env.counters.bytes_received += u64::from(len);
    connection.tcb.rcv_nxt += len;
}

/// RFC 2883 §4: tells the peer which part of the payload waits for a gap to be filled already.
#[cold]
fn report_duplicate<F, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
    payload: &[u8],
) {
    let (seq, end) = (segment.header.seq, segment.header.seq + payload.len() as u32);
    if let Some((left, right)) = connection.full().reassembly.duplicate(seq, end) {
        env.counters.duplicates_received += 1;
        connection.note_duplicate(left, right);
    }
}

/// Data behind a gap.
///
/// RFC 9293 §3.10.7.4 SHLD-31, MAY-13: kept, and acknowledged at once so that the peer learns of
/// the gap (RFC 5681 §4.2).
fn keep<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>, segment: &Segment, payload: &[u8]) {
    report_duplicate(env, connection, segment, payload);
    if env.held.room() < payload.len() + PIECE_OVERHEAD {
        env.counters.out_of_order_no_memory += 1;
    } else if connection.full().reassembly.insert(segment.header.seq, payload) {
        env.counters.out_of_order += 1;
        connection.charge(&mut env.held);
    } else {
        env.counters.out_of_order_dropped += 1;
    }
    let tcb = &mut connection.tcb;
    if let (Path::Wire(mac), false) = (tcb.path, tcb.flags.has(Flags::SACK)) {
        // Without SACK the peer counts duplicates: one for each segment, whatever the burst.
        let timestamps = tcb
            .flags
            .has(Flags::TIMESTAMPS)
            .then(|| Timestamps { value: tcb.ts_value(env.now), echo: tcb.ts_recent });
        env.send_bare(Bare {
            mac,
            key: tcb.key,
            seq: tcb.snd_nxt,
            ack: tcb.rcv_nxt,
            flags: tcp::Flags::ACK,
            window: (tcb.rcv_wnd() >> tcb.rcv_scale).min(0xffff) as u16,
            options: Options { timestamps, ..Options::default() },
        });
        // RFC 7323 §4.3 (2): Last.ACK.sent.
        tcb.rcv_acked = tcb.rcv_nxt;
        tcb.ack_deadline = Instant::FAR_FUTURE;
        return;
    }
    tcb.flags.set(Flags::ACK_NOW | Flags::ACK_BARE);
}
