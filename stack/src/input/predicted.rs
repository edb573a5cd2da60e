//! The expected segment: in order, nothing but ACK and PSH set, on an established connection
//! with nothing lost, reordered or held back. It is taken whole here or not at all.

use netcore::Frame;
use protocol::tcp::{Flags, SeqNumber};

use super::{After, Segment, ack, application, note_peer, text};
use crate::app::App;
use crate::env::Env;
use crate::state::State;
use crate::tcb::{self, Connection, Phase};

#[inline]
pub(super) fn applies<S>(connection: &Connection<S>, segment: &Segment, payload: &[u8]) -> bool {
    let tcb = &connection.tcb;
    let header = &segment.header;
    let expected = tcb.state == State::Established
        && tcb.phase == Phase::Open
        && connection.full.is_none()
        && !tcb.flags.any(tcb::Flags::WAITING | tcb::Flags::CLOSING)
        && header.flags.0 & !Flags::PSH.0 == Flags::ACK.0
        && header.seq == tcb.rcv_nxt
        && payload.len() as u32 <= tcb.rcv_wnd()
        && header.ack.after_eq(tcb.snd_una)
        && header.ack.before_eq(tcb.snd_nxt)
        && segment.options.sack_count == 0
        && !segment.marked;
    if !expected {
        return false;
    }
    // A pure acknowledgment has to acknowledge, or else it may be a duplicate.
    if payload.is_empty() && header.ack == tcb.snd_una {
        return false;
    }
    match (segment.options.timestamps, tcb.flags.has(tcb::Flags::TIMESTAMPS)) {
        (Some(ts), true) => SeqNumber(ts.value).after_eq(SeqNumber(tcb.ts_recent)),
        (None, false) => true,
        (Some(_), false) => true,
        (None, true) => false,
    }
}

#[inline]
pub(super) fn take<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    payload: &[u8],
) -> After {
    note_peer(env, connection, segment);
    if segment.header.ack != connection.tcb.snd_una {
        ack::advance(env, connection, segment);
    }
    ack::update_window(connection, segment);
    if payload.is_empty() {
        let more = connection.unsent() > 0 || connection.tcb.flags.has(tcb::Flags::RESEND);
        return if more { After::Output } else { After::Quiet };
    }
    take_data(env, connection, app, payload)
}

/// Whether the data of a new connection's first segment, which the firmware has read and found to be the
/// expected one, can be taken as it is.
#[inline]
pub(crate) fn expects_first<S>(connection: &Connection<S>, data: &[u8]) -> bool {
    let tcb = &connection.tcb;
    data.len() as u32 <= tcb.rcv_wnd() && !tcb.flags.any(tcb::Flags::WAITING | tcb::Flags::CLOSING)
}

/// Takes that data.
#[inline]
pub(crate) fn take_first<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    data: &[u8],
) -> After {
    env.counters.segments_received += 1;
    env.counters.segments_predicted += 1;
    take_data(env, connection, app, data)
}

#[inline]
fn take_data<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    data: &[u8],
) -> After {
    text::advance(env, connection, data.len() as u32);
    match application::deliver(env, connection, app, data) {
        Ok(()) => After::Output,
        Err(after) => after,
    }
}
