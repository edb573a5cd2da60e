//! The states of a connection (RFC 9293 §3.3.2) and how many connections are in each.

/// State of a connection, in the RFC's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// No connection.
    Closed,
    /// A listener (it has no connection state of its own).
    Listen,
    /// We sent a SYN.
    SynSent,
    /// A SYN came; ours is on its way.
    SynReceived,
    /// Data flows both ways.
    Established,
    /// Our FIN is on its way.
    FinWait1,
    /// Our FIN was acknowledged; the peer may still send.
    FinWait2,
    /// The peer's FIN came; we may still send.
    CloseWait,
    /// Both FINs are on their way.
    Closing,
    /// The peer's FIN came first, ours is on its way.
    LastAck,
    /// Both closed; the name is kept for late segments.
    TimeWait,
}

impl State {
    /// All states in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Closed,
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
    ];

    /// Name as netstat prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN_SENT",
            Self::SynReceived => "SYN_RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN_WAIT_1",
            Self::FinWait2 => "FIN_WAIT_2",
            Self::CloseWait => "CLOSE_WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
        }
    }

    /// True from the end of the handshake on.
    pub(crate) const fn is_synchronized(self) -> bool {
        !matches!(self, Self::Closed | Self::Listen | Self::SynSent | Self::SynReceived)
    }

    /// True while new data may be sent: before our FIN.
    pub(crate) const fn may_send(self) -> bool {
        matches!(self, Self::Established | Self::CloseWait)
    }

    /// True while the peer may send new data: before its FIN.
    pub(crate) const fn may_receive(self) -> bool {
        matches!(self, Self::Established | Self::FinWait1 | Self::FinWait2)
    }

    /// True when the table of RFC 9293 §3.3.2 (figure 5), widened by reset and abort, has an
    /// arrow from here to `next`.
    pub(crate) const fn may_become(self, next: Self) -> bool {
        use State::{
            CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
            SynSent, TimeWait,
        };
        match next {
            Closed => true,
            Listen => matches!(self, Closed),
            SynSent => matches!(self, Closed),
            SynReceived => matches!(self, Closed | SynSent),
            // From CLOSED: the firmware has done the handshake.
            Established => matches!(self, Closed | SynSent | SynReceived),
            FinWait1 => matches!(self, Established),
            FinWait2 => matches!(self, FinWait1),
            CloseWait => matches!(self, Established),
            Closing => matches!(self, FinWait1),
            LastAck => matches!(self, CloseWait),
            TimeWait => matches!(self, FinWait1 | FinWait2 | Closing),
        }
    }
}

/// How many connections are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    by_state: [u32; 11],
}

impl Gauges {
    /// Connections in `state` (entries of the TIME_WAIT table and listeners included).
    pub fn in_state(&self, state: State) -> u32 {
        self.by_state[state as usize]
    }

    /// Connections that have state here: everything but listeners and TIME_WAIT.
    pub fn connections(&self) -> u32 {
        State::ALL
            .iter()
            .filter(|state| !matches!(state, State::Closed | State::Listen | State::TimeWait))
            .map(|&state| self.in_state(state))
            .sum()
    }

    /// Connections whose handshake the peer began and has not finished.
    pub fn half_open(&self) -> u32 {
        self.in_state(State::SynReceived)
    }

    pub(crate) fn set(&mut self, state: State, count: usize) {
        self.by_state[state as usize] = count as u32;
    }

    pub(crate) fn changed(&mut self, from: State, to: State) {
        debug_assert!(from.may_become(to), "{} -> {}", from.name(), to.name());
        if from != State::Closed {
            self.by_state[from as usize] -= 1;
        }
        if to != State::Closed {
            self.by_state[to as usize] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use core::fmt::Write as _;

    #[test]
    fn numbers_follow_the_list() {
        for (at, state) in State::ALL.into_iter().enumerate() {
            assert_eq!(state as usize, at);
        }
    }

    #[test]
    fn every_transition() {
        let mut table = String::new();
        for from in State::ALL {
            write!(table, "{}:", from.name()).unwrap();
            for to in State::ALL {
                if to != State::Closed && from.may_become(to) {
                    write!(table, " {}", to.name()).unwrap();
                }
            }
            table.push('\n');
        }
        assert_eq!(
            table,
            "CLOSED: LISTEN SYN_SENT SYN_RECEIVED ESTABLISHED\n\
             LISTEN:\n\
             SYN_SENT: SYN_RECEIVED ESTABLISHED\n\
             SYN_RECEIVED: ESTABLISHED\n\
             ESTABLISHED: FIN_WAIT_1 CLOSE_WAIT\n\
             FIN_WAIT_1: FIN_WAIT_2 CLOSING TIME_WAIT\n\
             FIN_WAIT_2: TIME_WAIT\n\
             CLOSE_WAIT: LAST_ACK\n\
             CLOSING: TIME_WAIT\n\
             LAST_ACK:\n\
             TIME_WAIT:\n"
        );
    }
}
