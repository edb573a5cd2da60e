//! Second and fourth step: RST and SYN in a connection (RFC 9293 §3.10.7.4, RFC 5961 §3, §4).

use netcore::Frame;
use protocol::tcp::Flags;

use super::acceptable::may_answer;
use super::{After, Segment, Step};
use crate::app::EndReason;
use crate::env::Env;
use crate::tcb::{self, Connection};

pub(super) fn check<F: Frame, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
) -> Step {
    if !segment.header.flags.has(Flags::RST) {
        return Ok(());
    }
    // RFC 5961 §3.2: exactly the next number, or else it may be a guess. RFC 9293 §3.5.3 SHLD-2:
    // with or without data.
    if segment.header.seq == connection.tcb.rcv_nxt {
        env.counters.resets_received += 1;
        // RFC 9293 §3.6 MUST-12: the application hears that it was no ordinary close.
        return Err(After::End(EndReason::Reset));
    }
    Err(challenge(env, connection))
}

pub(super) fn check_syn<F: Frame, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
) -> Step {
    if !segment.header.flags.has(Flags::SYN) {
        return Ok(());
    }
    // RFC 5961 §4.2: whatever its number, never reset.
    Err(challenge(env, connection))
}

/// Sends what an honest peer answers with a RST that fits.
pub(super) fn challenge<F: Frame, S>(env: &mut Env<F>, connection: &mut Connection<S>) -> After {
    if !may_answer(env, connection) || !env.may_challenge() {
        return After::Quiet;
    }
    connection.tcb.flags.set(tcb::Flags::ACK_NOW | tcb::Flags::ACK_BARE);
    After::Output
}
