//! The table that leads each connection to a queue of the host, as somebody sees and changes it while the
//! firmware runs ([`nicfw::Firmware::set_indirection`]).

use std::fmt::Write as _;

use dpdk::Mbuf;
use nicfw::{Firmware, INDIRECTION, Offload};

/// How the table is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Entries `first` to `last` lead to `queue`.
    Set {
        /// First entry, below [`INDIRECTION`].
        first: usize,
        /// Last entry, not below `first`.
        last: usize,
        /// Where they lead.
        queue: u16,
    },
    /// Nothing new comes to this queue: its entries are dealt to the others.
    Drain {
        /// The queue.
        queue: u16,
    },
    /// All queues that take part get the same again.
    Even,
}

/// What is known of the firmware's table, and what is asked of it.
#[derive(Debug)]
pub(crate) struct Steering {
    table: [u16; INDIRECTION],
    /// Queues that take part.
    members: Vec<u16>,
    /// Connections that the host has on each of them.
    connections: Vec<u32>,
    /// At level `none` a change would lose connections.
    has_flows: bool,
    /// The table is one that the firmware has not taken yet.
    is_wanted: bool,
}

impl Default for Steering {
    fn default() -> Self {
        Self {
            table: [0; INDIRECTION],
            members: Vec::new(),
            connections: Vec::new(),
            has_flows: false,
            is_wanted: false,
        }
    }
}

impl Steering {
    /// On the firmware's thread: gives it what is wanted, and looks at what it has.
    pub(crate) fn update(&mut self, firmware: &mut Firmware<Mbuf>) {
        if std::mem::take(&mut self.is_wanted)
            && let Err(error) = firmware.set_indirection(&self.table)
        {
            // A queue has left in these milliseconds, and the table is an even one.
            tracing::warn!("The table of steering stays as it is: {error}");
        }
        self.table = *firmware.indirection();
        self.members.clear();
        self.members.extend(firmware.queues_steered_to());
        self.connections.clear();
        self.connections.extend(self.members.iter().map(|&queue| firmware.flows_held_by(queue)));
        self.has_flows = firmware.config().offload == Offload::Lifecycle;
    }

    /// A line for each queue that takes part.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = |(&queue, connections): (&u16, &u32)| {
            let entries: Vec<usize> = (0..INDIRECTION).filter(|&at| self.table[at] == queue).collect();
            // At level none nobody here knows.
            let connections =
                if self.has_flows { format!(" connections={connections}") } else { String::new() };
            format!("queue={queue} entries={}{connections} table={}", entries.len(), ranges(&entries))
        };
        self.members.iter().zip(&self.connections).map(line).collect()
    }

    /// Has the table changed, within milliseconds.
    ///
    /// # Errors
    /// What is wrong, for whoever asks.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), String> {
        if !self.has_flows {
            return Err("at --offload none a change would lose the connections that it moves".into());
        }
        let deal = |table: &mut [u16; INDIRECTION], which: &dyn Fn(u16) -> bool, to: &[u16]| {
            let mut around = to.iter().cycle();
            for queue in table.iter_mut().filter(|queue| which(**queue)) {
                *queue = *around.next().unwrap_or(queue);
            }
        };
        match change {
            Change::Set { first, last, queue } => {
                self.takes_part(queue)?;
                self.table[first..=last].fill(queue);
            }
            Change::Drain { queue } => {
                self.takes_part(queue)?;
                let others = |with: &dyn Fn(u16) -> bool| -> Vec<u16> {
                    self.members.iter().copied().filter(|&other| other != queue && with(other)).collect()
                };
                // Who was drained before stays so, as long as anybody else is left.
                let mut to = others(&|other| self.table.contains(&other));
                if to.is_empty() {
                    to = others(&|_| true);
                }
                if to.is_empty() {
                    return Err(format!("queue {queue} is the only one that takes part"));
                }
                deal(&mut self.table, &|of| of == queue, &to);
            }
            Change::Even => deal(&mut self.table, &|_| true, &self.members),
        }
        self.is_wanted = true;
        Ok(())
    }

    fn takes_part(&self, queue: u16) -> Result<(), String> {
        if self.members.contains(&queue) {
            return Ok(());
        }
        Err(format!("queue {queue} takes no part; these do: {:?}", self.members))
    }
}

/// `0-3,8`; `-` for none. `numbers`: in order.
fn ranges(numbers: &[usize]) -> String {
    let mut text = String::new();
    for run in numbers.chunk_by(|a, b| a + 1 == *b) {
        let (first, last) = (run[0], run[run.len() - 1]);
        let comma = if text.is_empty() { "" } else { "," };
        // Writing to a String cannot fail.
        let _ = match last - first {
            0 => write!(text, "{comma}{first}"),
            _ => write!(text, "{comma}{first}-{last}"),
        };
    }
    if text.is_empty() { "-".into() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steering(queues: u16) -> Steering {
        let table = std::array::from_fn(|at| at as u16 % queues);
        let connections = (0..queues).map(|queue| u32::from(queue) * 5).collect();
        Steering { table, members: (0..queues).collect(), connections, has_flows: true, is_wanted: false }
    }

    #[test]
    fn entries_are_set_drained_and_spread_again() {
        let mut steering = steering(3);
        assert_eq!(steering.change(Change::Set { first: 0, last: 99, queue: 1 }), Ok(()));
        assert!(steering.is_wanted);
        let lines = steering.lines();
        assert_eq!(lines[1].split(' ').nth(1), Some("entries=110"));
        assert!(lines[1].ends_with("table=0-100,103,106,109,112,115,118,121,124,127"), "{}", lines[1]);
        assert_eq!(steering.change(Change::Drain { queue: 1 }), Ok(()));
        let counts =
            |steering: &Steering| [0, 1, 2].map(|q| steering.table.iter().filter(|&&at| at == q).count());
        assert_eq!(counts(&steering)[1], 0);
        assert!(counts(&steering)[0] >= 60 && counts(&steering)[2] >= 60, "{:?}", counts(&steering));
        assert_eq!(steering.lines()[1], "queue=1 entries=0 connections=5 table=-");
        // It stays drained while the next one is; the last gives its entries to all others.
        assert_eq!(steering.change(Change::Drain { queue: 0 }), Ok(()));
        assert_eq!(counts(&steering), [0, 0, 128]);
        assert_eq!(steering.change(Change::Drain { queue: 2 }), Ok(()));
        assert_eq!(counts(&steering), [64, 64, 0]);
        assert_eq!(steering.change(Change::Even), Ok(()));
        assert_eq!(counts(&steering), [43, 43, 42]);
    }

    #[test]
    fn what_cannot_be_is_said() {
        let mut one = steering(1);
        assert!(one.change(Change::Drain { queue: 0 }).is_err_and(|error| error.contains("only one")));
        assert!(one.change(Change::Drain { queue: 7 }).is_err_and(|error| error.contains("7")));
        assert!(
            one.change(Change::Set { first: 0, last: 0, queue: 1 }).is_err_and(|error| error.contains("1"))
        );
        let mut none = Steering { has_flows: false, ..steering(2) };
        assert_eq!(
            none.lines()[1],
            "queue=1 entries=64 table=".to_owned() + &ranges(&(1..128).step_by(2).collect::<Vec<_>>())
        );
        assert!(none.change(Change::Even).is_err_and(|error| error.contains("--offload none")));
        assert!(!one.is_wanted && !none.is_wanted);
    }
}
