//! Connections as seen from outside, for checkers.

use std::net::SocketAddr;

use netcore::Frame;
use protocol::tcp::SeqNumber;

use super::Clients;
use super::connection::State;

/// What a client believes of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionView {
    /// Its own end.
    pub local: SocketAddr,
    /// SND.UNA
    pub snd_una: SeqNumber,
    /// The end of everything that was ever sent.
    pub snd_max: SeqNumber,
    /// RCV.NXT
    pub rcv_nxt: SeqNumber,
}

impl<F: Frame> Clients<F> {
    /// Every connection whose handshake is over.
    pub fn views(&self) -> impl Iterator<Item = ConnectionView> {
        let open = self
            .connections
            .iter()
            .filter(|connection| !matches!(connection.state, State::Closed | State::SynSent));
        open.map(|connection| ConnectionView {
            local: (connection.local.addr.to_ip_addr(), connection.local.port).into(),
            snd_una: connection.snd_una(),
            snd_max: connection.snd_max,
            rcv_nxt: connection.rcv_nxt(),
        })
    }
}
