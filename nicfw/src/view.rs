//! Flows as seen from outside: for checkers, and for people who ask what is going on.

use core::fmt;

use netcore::{FourTuple, Frame};
use protocol::channel::{FlowId, NO_HANDLE};
use protocol::tcp::SeqNumber;

use crate::firmware::Firmware;
use crate::flow_table::State;
use crate::history::Ends;

/// What the firmware believes of one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowView {
    /// Its name.
    pub id: FlowId,
    /// Its ends.
    pub tuple: FourTuple,
    /// Where it is in its life.
    pub state: State,
    /// What the host calls it.
    pub handle: u32,
    /// The host queue that it belongs to.
    pub queue: u16,
    /// The end of everything that our side has sent.
    pub snd_nxt: SeqNumber,
    /// What our side has acknowledged.
    pub rcv_nxt: SeqNumber,
}

impl fmt::Display for FlowView {
    /// `flow=SLOT.GENERATION local=… remote=… state=… queue=… handle=… snd_nxt=… rcv_nxt=…`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, tuple, state, handle, queue, snd_nxt, rcv_nxt } = self;
        write!(f, "flow={}.{} {} state={}", id.slot, id.generation, Ends(tuple), state.name())?;
        // Before the host has named it there is no handle.
        match *handle {
            NO_HANDLE => write!(f, " queue={queue} handle=-")?,
            handle => write!(f, " queue={queue} handle={handle}")?,
        }
        write!(f, " snd_nxt={} rcv_nxt={}", snd_nxt.0, rcv_nxt.0)
    }
}

impl<F: Frame> Firmware<F> {
    /// Every flow that has a slot; the records of ended connections are not among them.
    pub fn views(&self) -> impl Iterator<Item = FlowView> {
        self.flows.used_slots().map(|slot| self.view(slot))
    }

    /// The flow of this name, if there is one.
    pub fn view_of(&self, id: FlowId) -> Option<FlowView> {
        self.flows.resolve(id).map(|slot| self.view(slot))
    }

    fn view(&self, slot: u32) -> FlowView {
        let flow = &self.flows[slot];
        FlowView {
            id: self.flows.id(slot),
            tuple: flow.tuple,
            state: flow.state,
            handle: flow.handle,
            queue: flow.queue,
            snd_nxt: flow.snd_nxt,
            rcv_nxt: flow.rcv_nxt,
        }
    }
}
