//! Connections as seen from outside: for checkers, and for people who ask what is going on.

use core::net::SocketAddr;

use netcore::Frame;
use protocol::channel::FlowId;
use protocol::tcp::SeqNumber;

use crate::app::{App, ConnectionId};
use crate::round::Stack;
use crate::state::State;
use crate::tcb::Path;

/// What the stack believes of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its name.
    pub id: ConnectionId,
    /// The peer.
    pub remote: SocketAddr,
    /// Our port.
    pub local_port: u16,
    /// Its state.
    pub state: State,
    /// SND.UNA
    pub snd_una: SeqNumber,
    /// SND.NXT: the end of everything that was ever sent.
    pub snd_nxt: SeqNumber,
    /// RCV.NXT
    pub rcv_nxt: SeqNumber,
    /// The last acknowledgment that was sent.
    pub rcv_acked: SeqNumber,
    /// The firmware's flow that carries it; `None`: plain frames do.
    pub flow: Option<FlowId>,
    /// The application knows it.
    pub has_session: bool,
}

impl<F: Frame, A: App> Stack<F, A> {
    /// Every connection that has state here, TIME_WAIT and listeners apart.
    pub fn views(&self) -> impl Iterator<Item = ConnectionView> {
        self.connections.occupied().map(|(slot, connection)| {
            let tcb = &connection.tcb;
            ConnectionView {
                id: connection.id(slot),
                remote: tcb.key.remote(),
                local_port: tcb.key.local_port(),
                state: tcb.state,
                snd_una: tcb.snd_una,
                snd_nxt: tcb.snd_nxt,
                rcv_nxt: tcb.rcv_nxt,
                rcv_acked: tcb.rcv_acked,
                flow: match tcb.path {
                    Path::Flow(flow) => Some(flow),
                    Path::Unresolved | Path::Wire(_) => None,
                },
                has_session: connection.seat.is_taken(),
            }
        })
    }
}
