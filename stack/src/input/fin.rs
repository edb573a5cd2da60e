//! Eighth step: the peer's FIN (RFC 9293 §3.10.7.4).

use netcore::Frame;
use protocol::tcp;

use super::{After, Segment, Step, application};
use crate::app::App;
use crate::env::Env;
use crate::state::State;
use crate::tcb::{Connection, Flags};

/// `len`: bytes of the segment's payload that lay in the window.
pub(super) fn check<F: Frame, A: App>(
    env: &mut Env<F>,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    len: u32,
) -> Step {
    let state = connection.tcb.state;
    if !state.may_receive() {
        if segment.header.flags.has(tcp::Flags::FIN) {
            // It came again: our acknowledgment was lost.
            connection.tcb.flags.set(Flags::ACK_NOW);
        }
        return Ok(());
    }
    let rcv_nxt = connection.tcb.rcv_nxt;
    if segment.header.flags.has(tcp::Flags::FIN) {
        let fin = segment.header.seq + len;
        if fin != rcv_nxt {
            connection.full().reassembly.set_fin(fin);
            connection.tcb.flags.set(Flags::ACK_NOW | Flags::ACK_BARE);
            return Ok(());
        }
    } else {
        let kept = connection.full.as_mut().is_some_and(|full| full.reassembly.take_fin(rcv_nxt));
        if !kept {
            return Ok(());
        }
    }
    take(env, connection, app)
}

fn take<F: Frame, A: App>(env: &mut Env<F>, connection: &mut Connection<A::Session>, app: &mut A) -> Step {
    let tcb = &mut connection.tcb;
    // The FIN takes a number even when the window is closed.
    tcb.rcv_nxt += 1;
    tcb.rcv_right = tcb.rcv_right.later(tcb.rcv_nxt);
    tcb.flags.set(Flags::ACK_NOW);
    match tcb.state {
        State::Established => {
            connection.set_state(&mut env.gauges, State::CloseWait);
            // RFC 9293 §3.6 MUST-12: the application hears of an ordinary close.
            application::peer_closed(env, connection, app)
        }
        State::FinWait1 => {
            // Our FIN is not acknowledged yet, or the ACK step had gone on to FIN_WAIT_2.
            connection.set_state(&mut env.gauges, State::Closing);
            Ok(())
        }
        State::FinWait2 => Err(After::TimeWait),
        State::Closed
        | State::Listen
        | State::SynSent
        | State::SynReceived
        | State::CloseWait
        | State::Closing
        | State::LastAck
        | State::TimeWait => Ok(()),
    }
}
