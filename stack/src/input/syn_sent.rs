//! A segment arrives in SYN_SENT (RFC 9293 §3.10.7.3).

use netcore::{Frame, Instant};
use protocol::tcp::{Flags, Options, SeqNumber};

use super::{After, Segment, established};
use crate::app::{App, EndReason};
use crate::env::{Bare, Env};
use crate::state::State;
use crate::tcb::{self, Connection, Path};

pub(super) fn arrives<F: Frame, A: App>(
    env: &mut Env<F>,
    slot: u32,
    connection: &mut Connection<A::Session>,
    app: &mut A,
    segment: &Segment,
) -> Result<After, After> {
    let header = &segment.header;
    let has_ack = header.flags.has(Flags::ACK);
    // As long as the neighbour is being asked for, our SYN has not been sent.
    let sent = connection.tcb.path != Path::Unresolved;
    let acks_syn = has_ack && header.ack == connection.tcb.snd_nxt && sent;
    // First, ACK: it must be for our SYN.
    if has_ack && !acks_syn {
        env.counters.ack_of_unsent += 1;
        if let (false, Some(mac)) = (header.flags.has(Flags::RST), segment.src_mac) {
            env.counters.resets_sent += 1;
            env.send_bare(Bare {
                mac,
                key: connection.tcb.key,
                seq: header.ack,
                ack: SeqNumber(0),
                flags: Flags::RST,
                window: 0,
                options: Options::default(),
            });
        }
        return Ok(After::Quiet);
    }
    // Second, RST: only with the right ACK is it an answer to our SYN.
    if header.flags.has(Flags::RST) {
        if acks_syn {
            env.counters.resets_received += 1;
            return Ok(After::End(EndReason::Reset));
        }
        return Ok(After::Quiet);
    }
    // Fourth, SYN.
    if !header.flags.has(Flags::SYN) {
        return Ok(After::Quiet);
    }
    established::take_syn(env, connection, segment);
    if acks_syn {
        connection.tcb.snd_una = header.ack;
        established::handshake_acked(env, connection, segment);
        // RFC 7323 §2.2: the window of a SYN is not scaled.
        connection.set_snd_wnd(u32::from(header.window));
        connection.tcb.snd_wl1 = header.seq;
        connection.tcb.snd_wl2 = header.ack;
        connection.tcb.flags.set(tcb::Flags::ACK_NOW);
        // Data with a SYN-ACK is not taken; the peer sends it again (RFC 9293 §3.10.7.3 allows
        // to queue it, few ever send it).
        let ends = connection.tcb.key.tuple(&env.config);
        established::establish(env, slot, connection, app, &ends);
        return Ok(After::Output);
    }
    // RFC 9293 §3.5 MUST-10: simultaneous open.
    if let (false, Some(mac)) = (sent, segment.src_mac) {
        // The peer's SYN came before the answer to our ARP request: its frame tells the neighbour.
        connection.tcb.path = Path::Wire(mac);
        connection.tcb.unanswered = 0;
        connection.tcb.idle_deadline = Instant::FAR_FUTURE;
    }
    connection.set_state(&mut env.gauges, State::SynReceived);
    connection.tcb.flags.set(tcb::Flags::SYN_DUE);
    connection.set_snd_wnd(u32::from(header.window));
    connection.tcb.snd_wl1 = header.seq;
    Ok(After::Output)
}
