//! Calls to the application, and what its answer means.

use netcore::Frame;

use super::{After, Step};
use crate::app::{App, EndReason, Next, Output};
use crate::env::Env;
use crate::tcb::{Connection, Flags};

/// Lets the application write and decide: the one way in which it is called with a session.
#[inline]
pub(crate) fn with_app<F: Frame, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    call: impl FnOnce(&mut S, &mut Output) -> Next,
) -> Step {
    let Some(session) = connection.seat.session() else { return Ok(()) };
    debug_assert!(env.output.is_empty());
    env.output.set_queued(connection.queue.len());
    let next = call(session, &mut env.output);
    if next == Next::Abort {
        env.output.clear();
        return Err(After::End(EndReason::Aborted));
    }
    if connection.tcb.state.may_send() && !connection.tcb.flags.has(Flags::CLOSING) {
        // RFC 9293 §3.9.1.2 MAY-16: what is written in one round is sent together.
        connection.queue.append(&mut env.output, &mut env.runs);
    } else {
        env.output.clear();
    }
    match next {
        Next::Continue => connection.tcb.flags.clear(Flags::WAITING),
        Next::Wait => connection.tcb.flags.set(Flags::WAITING),
        Next::Close => close(connection),
        Next::Abort => {}
    }
    Ok(())
}

/// In-order bytes, already counted into RCV.NXT.
#[inline]
pub(super) fn deliver<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    bytes: &[u8],
) -> Step {
    if connection.tcb.flags.any(Flags::WAITING | Flags::CLOSING) {
        if !connection.tcb.flags.has(Flags::CLOSING) {
            connection.full().held.extend_from_slice(bytes);
            connection.charge(&mut env.held);
        }
        return Ok(());
    }
    with_app(env, connection, |session, output| app.received(session, bytes, output))
}

/// The application asked to be called: it writes, and takes what was held back meanwhile.
pub(crate) fn resume<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
) -> Step {
    with_app(env, connection, |session, output| app.resumed(session, output))?;
    if connection.tcb.flags.any(Flags::WAITING | Flags::CLOSING) {
        return Ok(());
    }
    if let Some(full) = &mut connection.full
        && !full.held.is_empty()
    {
        let held = core::mem::take(&mut full.held);
        with_app(env, connection, |session, output| app.received(session, &held, output))?;
    }
    Ok(())
}

/// The peer will send nothing more.
///
/// A waiting application is told at once: whom it waits for may have gone.
pub(super) fn peer_closed<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
) -> Step {
    if connection.tcb.flags.has(Flags::CLOSING) {
        return Ok(());
    }
    let waiting = connection.tcb.flags.has(Flags::WAITING);
    with_app(env, connection, |session, output| app.peer_closed(session, output))?;
    if waiting && !connection.tcb.flags.has(Flags::CLOSING) {
        // "Go on" from a waiting application means: go on waiting.
        connection.tcb.flags.set(Flags::WAITING);
    }
    Ok(())
}

/// Our side is closed: FIN follows what is queued, further input is thrown away.
pub(crate) fn close<S>(connection: &mut Connection<S>) {
    // RFC 9293 §3.6.1 MAY-1: for the application both directions are closed.
    connection.tcb.flags.set(Flags::CLOSING);
    connection.tcb.flags.clear(Flags::WAITING);
    if let Some(full) = &mut connection.full {
        // RFC 9293 §3.6.1 SHLD-3: input that nobody has read is lost, and the peer is told so.
        full.unread |= !full.held.is_empty() || full.reassembly.has_bytes_from(connection.tcb.rcv_nxt);
        full.held = alloc::vec::Vec::new();
    }
}
