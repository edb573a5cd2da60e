//! The end of the handshake, whichever way it went.

use netcore::{Duration, FourTuple, Frame, Instant};
use protocol::tcp::default_mss;

use super::{Segment, application};
use crate::app::App;
use crate::env::Env;
use crate::state::State;
use crate::tcb::{Connection, Flags};

/// Takes the peer's initial sequence number and options from its SYN.
pub(crate) fn take_syn<F, S>(env: &Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let options = &segment.options;
    let tcb = &mut connection.tcb;
    tcb.rcv_nxt = segment.header.seq + 1;
    tcb.rcv_acked = tcb.rcv_nxt;
    tcb.rcv_right = tcb.rcv_nxt + env.config.receive_window.min(0xffff);
    // RFC 7323 §2.2, §3.2 and RFC 2018 §2: in force when both SYNs have it; ours always has.
    if let Some(shift) = options.window_scale {
        tcb.flags.set(Flags::SCALE);
        tcb.snd_scale = shift;
        tcb.rcv_scale = env.config.window_scale();
    }
    if options.sack_permitted {
        tcb.flags.set(Flags::SACK);
    }
    if let Some(timestamps) = options.timestamps {
        tcb.flags.set(Flags::TIMESTAMPS);
        tcb.ts_recent = timestamps.value;
        connection.ts_recent_s = (env.now.millis() / 1000) as u32;
    }
    tcb.ecn.agree(&env.config, segment.header.flags, tcb.retries == 0);
    // RFC 9293 §3.7.1 MUST-15: when the option is missing.
    let default = default_mss(tcb.key.version());
    let path_mtu = env.path_mtus.find(tcb.key.remote_addr(), env.now);
    tcb.set_mss(options.mss.unwrap_or(default), &env.config, path_mtu);
}

/// Our SYN was acknowledged: its timer ends, and its time is a round trip.
pub(crate) fn handshake_acked<F, S>(env: &Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let tcb = &mut connection.tcb;
    if tcb.retries > 0 {
        tcb.window.handshake_lost(tcb.mss);
        match segment.options.timestamps {
            // RFC 7323 §4: the echo tells which of them was answered.
            Some(timestamps) if tcb.flags.has(Flags::TIMESTAMPS) && timestamps.echo != 0 => {
                let age_ms = tcb.ts_value(env.now).wrapping_sub(timestamps.echo).min(60_000);
                tcb.rtt.sample(Duration::from_millis(u64::from(age_ms)));
            }
            Some(_) | None => tcb.rtt.handshake_timed_out(),
        }
    } else {
        tcb.rtt.sample(env.now.since(tcb.sent_at));
    }
    tcb.retries = 0;
    tcb.rtx_deadline = Instant::FAR_FUTURE;
}

/// The connection stands: the application hears of it. `ends`: its name, as the caller has it at hand.
// Read back from a TCB that has just been made, the name would wait for its pieces to get to memory.
#[inline]
pub(crate) fn establish<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    ends: &FourTuple,
) {
    if connection.tcb.state != State::Established {
        connection.set_state(&mut env.gauges, State::Established);
    }
    if let Some(keepalive) = connection.settings.keepalive_idle(&env.config) {
        connection.tcb.idle_deadline = env.now + keepalive;
    }
    let active = connection.tcb.flags.has(Flags::ACTIVE);
    *(if active { &mut env.counters.connections_opened } else { &mut env.counters.connections_accepted }) +=
        1;
    let id = connection.id(slot);
    debug_assert!(env.output.is_empty());
    env.output.set_queued(0);
    let accepted = connection.seat.take(|session| app.connected(id, ends, session, &mut env.output));
    if !env.output.is_empty() {
        connection.queue.append(&mut env.output, &mut env.runs);
    }
    if !accepted {
        application::close(connection);
    }
}
