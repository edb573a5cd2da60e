//! Sixth step: urgent data (RFC 9293 §3.8.5, §3.10.7.4). It is part of the stream (RFC 6093 §6);
//! the application only learns where it ends.

use netcore::Frame;
use protocol::tcp::{Flags, Header, SeqNumber};

use crate::app::{App, Report};
use crate::env::Env;
use crate::tcb::{self, Connection};

/// SEG.SEQ + SEG.UP of a segment as it came.
#[inline]
pub(super) fn pointer(header: &Header) -> Option<SeqNumber> {
    // RFC 9293 §3.8.5 MUST-62: this is the number behind the urgent data.
    header.flags.has(Flags::URG).then(|| header.seq + u32::from(header.urgent))
}

/// Moves RCV.UP forward, never back, and tells the application.
///
/// RFC 9293 §3.8.5 MUST-30: the receiver's half of the mechanism.
#[cold]
pub(super) fn note<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    urgent: SeqNumber,
) {
    env.counters.urgent_received += 1;
    let tcb = &connection.tcb;
    // A pointer to what has been received, as of an old segment, says nothing.
    if !tcb.state.may_receive() || tcb.flags.has(tcb::Flags::CLOSING) || urgent.before_eq(tcb.rcv_nxt) {
        return;
    }
    // RFC 9293 §3.8.5 MUST-31, MUST-32: told when it comes and when it moves on, however often
    // and however far.
    let full = connection.full();
    if full.urgent.is_some_and(|known| urgent.before_eq(known)) {
        return;
    }
    full.urgent = Some(urgent);
    env.counters.urgent_reported += 1;
    let ahead = ahead(connection);
    if let Some(session) = connection.seat.session() {
        app.reported(session, Report::Urgent { ahead });
    }
}

/// Bytes up to the end of the urgent data that the application has not got yet; 0: none.
pub(crate) fn ahead<S>(connection: &Connection<S>) -> u32 {
    let Some(full) = &connection.full else { return 0 };
    let Some(urgent) = full.urgent.filter(|urgent| urgent.after(connection.tcb.rcv_nxt)) else { return 0 };
    urgent.distance_from(connection.tcb.rcv_nxt) + full.held.len() as u32
}
