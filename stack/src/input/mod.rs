//! Segments that arrive for a connection (RFC 9293 §3.10.7): first the short path for what is
//! expected, then the RFC's steps in its order, one function each.
//!
//! Input never sends. It changes the connection, sets what is due and returns [`After`]; the
//! output phase of the round makes at most one acknowledgment of a whole burst.

mod acceptable;
mod ack;
mod application;
mod established;
mod fin;
mod predicted;
mod reset;
mod syn_sent;
mod text;
mod urgent;

use netcore::Frame;
use protocol::ethernet::Mac;
use protocol::tcp::{Header, Options};

pub(crate) use application::{close, resume};
pub(crate) use established::{establish, take_syn};
pub(crate) use predicted::{expects_first, take_first};
pub(crate) use urgent::ahead as urgent_ahead;

use crate::app::{App, EndReason};
use crate::ecn;
use crate::env::Env;
use crate::state::State;
use crate::tcb::{Connection, Path};

/// A segment without its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) header: Header,
    pub(crate) options: Options,
    /// Where the frame came from; `None` when the firmware handed it over.
    pub(crate) src_mac: Option<Mac>,
    /// A router says that there is congestion on the way (RFC 3168).
    pub(crate) marked: bool,
}

/// What follows from an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    /// Nothing is to be sent.
    Quiet,
    /// The output phase has something to do, or to check.
    Output,
    /// The connection is over.
    End(EndReason),
    /// The connection is over, and the peer has its answer already.
    Answered(EndReason),
    /// The connection is over, and its name goes to the TIME_WAIT table.
    TimeWait,
}

/// A step's verdict: go on, or stop with what follows.
type Step = Result<(), After>;

/// Takes a segment for a connection.
#[inline]
pub(crate) fn arrives<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    payload: &[u8],
) -> After {
    if predicted::applies(connection, segment, payload) {
        env.counters.segments_predicted += 1;
        return predicted::take(env, connection, app, segment, payload);
    }
    let result = match connection.tcb.state {
        State::SynSent => syn_sent::arrives(env, slot, connection, app, segment),
        State::Closed | State::Listen | State::TimeWait => Ok(After::Quiet),
        State::SynReceived
        | State::Established
        | State::FinWait1
        | State::FinWait2
        | State::CloseWait
        | State::Closing
        | State::LastAck => in_order_of_the_rfc(env, slot, connection, app, segment, payload),
    };
    result.unwrap_or_else(|after| after)
}

/// RFC 9293 §3.10.7.4, for all states from SYN_RECEIVED on.
fn in_order_of_the_rfc<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
    payload: &[u8],
) -> Result<After, After> {
    let urgent = urgent::pointer(&segment.header);
    let mut segment = *segment;
    let carries_data = !payload.is_empty();
    acceptable::repeated_syn(connection, &mut segment)?;
    // First, check sequence number.
    let (segment, payload) = acceptable::check(env, connection, &segment, payload)?;
    // Second, RST.
    reset::check(env, connection, &segment)?;
    // Third, security: none here. Fourth, SYN.
    reset::check_syn(env, connection, &segment)?;
    if connection.tcb.ecn.is_agreed() {
        ecn::arrived(env, connection, &segment, carries_data);
    }
    // Fifth, ACK.
    ack::check(env, slot, connection, app, &segment, carries_data)?;
    // Sixth, URG.
    if let Some(urgent) = urgent {
        urgent::note(env, connection, app, urgent);
    }
    // Seventh, text.
    text::take(env, connection, app, &segment, payload)?;
    // Eighth, FIN.
    fin::check(env, connection, app, &segment, payload.len() as u32)?;
    Ok(After::Output)
}

/// A segment whose numbers are the peer's own says where the peer is and that it lives.
#[inline]
fn note_peer<F, S>(env: &Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let tcb = &mut connection.tcb;
    if let (Path::Wire(mac), Some(src_mac)) = (&mut tcb.path, segment.src_mac)
        && *mac != src_mac
    {
        *mac = src_mac;
    }
    tcb.unanswered = 0;
    // RFC 9293 §3.8.4 MUST-26: whatever comes starts the interval anew.
    if let Some(keepalive) = connection.settings.keepalive_idle(&env.config)
        && matches!(tcb.state, State::Established | State::CloseWait)
    {
        tcb.idle_deadline = env.now + keepalive;
    }
    if let Some(timestamps) = segment.options.timestamps
        && tcb.flags.has(crate::tcb::Flags::TIMESTAMPS)
    {
        // RFC 7323 §4.3 (2): only a segment that spans Last.ACK.sent moves TS.Recent.
        if segment.header.seq.before_eq(tcb.rcv_acked) {
            tcb.ts_recent = timestamps.value;
            connection.ts_recent_s = (env.now.millis() / 1000) as u32;
        }
    }
}
