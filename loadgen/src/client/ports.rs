//! Local addresses and ports: which connection has which, and who is next.
//!
//! One entry of eight bytes per address and port, found by arithmetic. Ports are taken in turn
//! over the whole range, so that each one rests as long as possible before it is used again.

use protocol::ip::Address;
use protocol::tcp::SeqNumber;

use super::config::number;

/// The port was never used, or its connection was reset.
const UNUSED: u32 = u32::MAX;
/// The port's last connection ended in order.
const ENDED: u32 = u32::MAX - 1;

#[derive(Clone, Copy)]
struct Entry {
    /// Index of the connection, or one of the two above.
    slot: u32,
    /// Behind the last sequence number that was sent from here.
    next_seq: SeqNumber,
}

/// Who has a local port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holder {
    Connection(u32),
    Ended,
    Nobody,
}

pub(super) struct Ports {
    entries: Vec<Entry>,
    first_addr: u128,
    first_port: u16,
    ports: usize,
    cursor: usize,
}

/// A local end: address, port and its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Local {
    pub(super) addr: Address,
    pub(super) port: u16,
    pub(super) entry: u32,
}

impl Ports {
    /// `addresses`: how many, from `first_addr` upwards. `start`: any number; where to begin.
    pub(super) fn new(first_addr: Address, addresses: u16, range: (u16, u16), start: u64) -> Self {
        let ports = usize::from(range.1 - range.0) + 1;
        let count = ports * usize::from(addresses.max(1));
        Self {
            entries: vec![Entry { slot: UNUSED, next_seq: SeqNumber(0) }; count],
            first_addr: number(&first_addr),
            first_port: range.0,
            ports,
            cursor: (start % count as u64) as usize,
        }
    }

    /// True when `addr` is one of ours.
    pub(super) fn owns(&self, addr: Address) -> bool {
        self.source(addr).is_some()
    }

    /// Which of our addresses it is.
    #[inline]
    fn source(&self, addr: Address) -> Option<usize> {
        let source = number(&addr).wrapping_sub(self.first_addr);
        (source < (self.entries.len() / self.ports) as u128).then_some(source as usize)
    }

    /// Takes the next free port for connection `slot`; `None` when all are taken. The sequence
    /// number is behind everything the port's last connection sent, if it had one.
    #[inline]
    pub(super) fn take(&mut self, slot: u32) -> Option<(Local, Option<SeqNumber>)> {
        for _ in 0..self.entries.len() {
            let at = self.cursor;
            self.cursor = if at + 1 == self.entries.len() { 0 } else { at + 1 };
            let entry = &mut self.entries[at];
            if entry.slot >= ENDED {
                let used = entry.slot == ENDED;
                entry.slot = slot;
                let (source, port) = (at / self.ports, at % self.ports);
                let local = Local {
                    addr: Address::from((self.first_addr + source as u128).to_be_bytes()),
                    port: self.first_port + port as u16,
                    entry: at as u32,
                };
                return Some((local, used.then_some(entry.next_seq)));
            }
        }
        None
    }

    /// Gives a port back after a connection that ended in order.
    #[inline]
    pub(super) fn ended(&mut self, entry: u32, next_seq: SeqNumber) {
        self.entries[entry as usize] = Entry { slot: ENDED, next_seq };
    }

    /// Gives a port back after a connection that was reset.
    pub(super) fn reset(&mut self, entry: u32) {
        self.entries[entry as usize].slot = UNUSED;
    }

    /// Who has this address and port; `None` when they are not ours at all.
    #[inline]
    pub(super) fn holder(&self, addr: Address, port: u16) -> Option<Holder> {
        let source = self.source(addr)?;
        let port = usize::from(port.wrapping_sub(self.first_port));
        if port >= self.ports {
            return None;
        }
        Some(match self.entries[source * self.ports + port].slot {
            UNUSED => Holder::Nobody,
            ENDED => Holder::Ended,
            slot => Holder::Connection(slot),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    #[test]
    fn ports_go_round_over_all_addresses_and_skip_those_in_use() {
        let after = ["198.18.0.1", "198.18.0.2", "198.18.0.3", "198.18.0.0"];
        go_round(after.map(|text| text.parse::<IpAddr>().expect(text).into()));
        let after = ["2001:2::ffff", "2001:2::1:0", "2001:2::1:1", "2001:2::fffe"];
        go_round(after.map(|text| text.parse::<IpAddr>().expect(text).into()));
    }

    /// `after` the second comes one that is not ours, as is the one `before` the first.
    fn go_round([first, second, after, before]: [Address; 4]) {
        let mut ports = Ports::new(first, 2, (65_534, 65_535), 0);
        let taken: Vec<_> = (0..4).map(|slot| ports.take(slot).expect("four are free").0).collect();
        assert_eq!(ports.take(9), None);
        assert_eq!((taken[1].addr, taken[1].port), (first, 65_535));
        assert_eq!((taken[2].addr, taken[2].port), (second, 65_534));
        assert_eq!(ports.holder(taken[2].addr, 65_534), Some(Holder::Connection(2)));
        ports.ended(taken[2].entry, SeqNumber(77));
        assert_eq!(ports.holder(taken[2].addr, 65_534), Some(Holder::Ended));
        assert_eq!(ports.take(5), Some((taken[2], Some(SeqNumber(77)))));
        ports.reset(taken[0].entry);
        assert_eq!(ports.holder(first, 65_534), Some(Holder::Nobody));
        assert_eq!(ports.holder(first, 65_533), None);
        assert_eq!(ports.holder(after, 65_534), None);
        assert!(ports.owns(second) && !ports.owns(before) && !ports.owns(after));
        assert_eq!(ports.take(6), Some((taken[0], None)));
    }
}
