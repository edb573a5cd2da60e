//! What each side believes of a connection, and whether the beliefs can all be true.
//!
//! A sender has been told at most what the receiver has, and the receiver has at most what was
//! sent: SND.UNA <= RCV.NXT <= SND.NXT, in both directions and at every moment, FINs counted. The
//! firmware stands between and must know what the host knows as soon as their channel is empty.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use nicfw::{INDIRECTION, Stage};
use protocol::channel::FlowId;
use protocol::tcp::SeqNumber;
use stack::{App, ConnectionId, ConnectionView, State};

use crate::frame::SimFrame;
use crate::machine::Machine;
use netcore::Port;

/// What one side believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Belief {
    /// The client's end.
    pub client: SocketAddr,
    /// SND.UNA
    pub snd_una: SeqNumber,
    /// The end of everything that was ever sent.
    pub snd_max: SeqNumber,
    /// RCV.NXT
    pub rcv_nxt: SeqNumber,
}

/// Looks whether both can be right.
///
/// # Errors
/// They cannot; why.
pub fn compare(client: &Belief, server: &Belief) -> Result<(), String> {
    for (from, to, who) in [(client, server, "the server"), (server, client, "the client")] {
        let sent = from.snd_max.distance_from(from.snd_una);
        if to.rcv_nxt.distance_from(from.snd_una) > sent {
            return Err(format!(
                "{}: {who} has received up to {}, of {}..{} in flight",
                client.client, to.rcv_nxt.0, from.snd_una.0, from.snd_max.0
            ));
        }
    }
    Ok(())
}

/// What has to be known of earlier looks.
#[derive(Default)]
pub struct Past {
    /// The NIC's table from hash to queue.
    table: Option<[u16; INDIRECTION]>,
    /// Connections that a core had when the table changed. At level `none` their peers may be led to another
    /// core since, which resets them, and come again, while this core knows nothing of it.
    left_behind: HashSet<(usize, ConnectionId)>,
}

impl Past {
    fn look<W: Port<Frame = SimFrame>, A: App>(&mut self, machine: &mut Machine<W, A>) {
        let table = *machine.firmware().indirection();
        let changed = self.table.replace(table).is_some_and(|before| before != table);
        let before = core::mem::take(&mut self.left_behind);
        for core in 0..machine.cores() {
            let on_wire = machine.stack(core).views().filter(|view| view.flow.is_none());
            let left_behind = on_wire.map(|view| (core, view.id));
            self.left_behind.extend(left_behind.filter(|connection| changed || before.contains(connection)));
        }
    }
}

/// Looks whether the host's cores, the firmware between and the clients agree.
///
/// `clients`: of those whose handshake is over. `sessions`: clients that the application has.
///
/// # Errors
/// Somebody believes what cannot be; who and what.
pub fn check<W: Port<Frame = SimFrame>, A: App>(
    machine: &mut Machine<W, A>,
    past: &mut Past,
    clients: impl Iterator<Item = Belief>,
    sessions: usize,
) -> Result<(), String> {
    let clients: BTreeMap<SocketAddr, Belief> = clients.map(|belief| (belief.client, belief)).collect();
    past.look(machine);
    let calm = machine.is_calm();
    let mut with_session = 0;
    let mut flows_of_host = 0;
    for core in 0..machine.cores() {
        let gauges = machine.gauges(core);
        let views: Vec<ConnectionView> = machine.stack(core).views().collect();
        for state in State::ALL {
            let counted = views.iter().filter(|view| view.state == state).count();
            if !matches!(state, State::Listen | State::TimeWait) && counted != gauges.in_state(state) as usize
            {
                let gauge = gauges.in_state(state);
                return Err(format!(
                    "core {core}: {counted} connections in {}, counted as {gauge}",
                    state.name()
                ));
            }
        }
        for view in views {
            with_session += usize::from(view.has_session);
            flows_of_host += usize::from(view.flow.is_some());
            if calm {
                check_flow(machine, core, &view)?;
            }
            let synchronized =
                !matches!(view.state, State::Closed | State::Listen | State::SynSent | State::SynReceived);
            // Of an earlier connection with the same ends, until the news has come.
            let current = match view.flow {
                Some(_) => calm,
                None => !past.left_behind.contains(&(core, view.id)),
            };
            if let Some(client) = clients.get(&view.remote)
                && synchronized
                && current
            {
                let server = Belief {
                    client: view.remote,
                    snd_una: view.snd_una,
                    snd_max: view.snd_nxt,
                    rcv_nxt: view.rcv_nxt,
                };
                compare(client, &server)?;
            }
        }
    }
    if sessions != with_session {
        return Err(format!("the application has {sessions} clients, the stacks have {with_session}"));
    }
    let held = machine.firmware().views().filter(|flow| flow.state == nicfw::State::Established).count();
    if calm && held != flows_of_host {
        return Err(format!("the firmware has given {held} flows to the host, which has {flows_of_host}"));
    }
    check_queues(machine.firmware(), machine.cores())?;
    check_history(machine.firmware())
}

/// The connections that the firmware counts for each queue are those that there are.
fn check_queues(firmware: &nicfw::Firmware<SimFrame>, queues: usize) -> Result<(), String> {
    let mut held = vec![0; queues];
    for flow in firmware.views() {
        let is_held = matches!(flow.state, nicfw::State::Announcing | nicfw::State::Established);
        held[usize::from(flow.queue)] += u32::from(is_held);
    }
    for (queue, held) in held.into_iter().enumerate() {
        let counted = firmware.flows_held_by(queue as u16);
        if counted != held {
            return Err(format!("queue {queue}: {held} connections of the host, counted as {counted}"));
        }
    }
    Ok(())
}

/// What the firmware has written down of each flow is a chain without gaps, and ends where the flow
/// stands.
fn check_history(firmware: &nicfw::Firmware<SimFrame>) -> Result<(), String> {
    let mut stages: HashMap<FlowId, Stage> = HashMap::new();
    for (number, record) in firmware.history().since(0) {
        let before = stages.insert(record.flow, record.after);
        if before.is_some_and(|stage| stage != record.before) {
            return Err(format!("event {number} does not follow from {before:?}: {record}"));
        }
    }
    for view in firmware.views() {
        let stage = stages.get(&view.id);
        let agrees = match stage {
            // Its last event is too long ago.
            None => true,
            Some(Stage::TimeWait | Stage::Spent) => view.state == nicfw::State::Ended,
            Some(stage) => *stage == Stage::Flow(view.state),
        };
        if !agrees {
            return Err(format!("the last event of {view} has left it in {stage:?}"));
        }
    }
    Ok(())
}

/// A connection of the host and the flow that carries it, with nothing between them under way.
fn check_flow<W: Port<Frame = SimFrame>, A: App>(
    machine: &Machine<W, A>,
    core: usize,
    view: &ConnectionView,
) -> Result<(), String> {
    let Some(id) = view.flow else { return Ok(()) };
    let name =
        format!("core {core}, {} in {}, flow {}.{}", view.remote, view.state.name(), id.slot, id.generation);
    let Some(flow) = machine.firmware().view_of(id) else {
        return Err(format!("{name}: the firmware does not know the flow"));
    };
    let ends =
        (SocketAddr::new(flow.tuple.remote_addr.to_ip_addr(), flow.tuple.remote_port), flow.tuple.local_port);
    let said = (flow.state, usize::from(flow.queue), ends, flow.snd_nxt, flow.rcv_nxt);
    let wanted =
        (nicfw::State::Established, core, (view.remote, view.local_port), view.snd_nxt, view.rcv_acked);
    let may_be_behind = machine.was_cut()
        && (said.0, said.1, said.2) == (wanted.0, wanted.1, wanted.2)
        && view.snd_una.before_eq(flow.snd_nxt)
        && flow.snd_nxt.before_eq(view.snd_nxt)
        && flow.rcv_nxt.before_eq(view.rcv_acked);
    if said != wanted && !may_be_behind {
        return Err(format!("{name}: the firmware believes {said:?}, not {wanted:?}"));
    }
    if flow.handle != view.id.slot && flow.handle != protocol::channel::NO_HANDLE {
        return Err(format!("{name}: the firmware calls it {}", flow.handle));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn belief(snd_una: u32, snd_max: u32, rcv_nxt: u32) -> Belief {
        Belief {
            client: "198.18.0.1:1000".parse().expect("a constant"),
            snd_una: SeqNumber(snd_una),
            snd_max: SeqNumber(snd_max),
            rcv_nxt: SeqNumber(rcv_nxt),
        }
    }

    #[test]
    fn nobody_has_more_than_was_sent_or_less_than_was_acknowledged() {
        let client = belief(100, 120, u32::MAX);
        for (server, right) in [
            (belief(u32::MAX, 5, 100), true),
            (belief(u32::MAX, 5, 120), true),
            (belief(u32::MAX, 5, 99), false),
            (belief(u32::MAX, 5, 121), false),
            (belief(0, 5, 110), false),
            (belief(u32::MAX - 1, u32::MAX - 1, 110), false),
        ] {
            assert_eq!(compare(&client, &server).is_ok(), right, "{server:?}");
        }
    }
}
