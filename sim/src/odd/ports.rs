//! The local ports of odd clients: each is used again as soon as that is safe.

use std::collections::BTreeMap;

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};
use protocol::tcp::SeqNumber;

use super::tcp::{End, Endpoint};

const FIRST: u16 = 40_000;
/// Longer than any segment lives on the wire.
const SEGMENT_LIFE: Duration = Duration::from_secs(60);

/// What is known of each port.
pub(super) struct Ports {
    at_rest: BTreeMap<u16, Rest>,
    next: u16,
    count: u16,
}

/// A port whose connection has ended.
struct Rest {
    /// Later than anything that was sent from it.
    next_seq: SeqNumber,
    end: End,
    /// When no segment of it is left. Before, it may be used by a connection with timestamps
    /// after one with timestamps: they tell old segments from new ones (RFC 6191, RFC 7323 §5).
    quiet_at: Instant,
    timestamps: bool,
    in_use: bool,
}

impl Ports {
    /// So many of them.
    pub(super) fn new(count: u16) -> Self {
        Self { at_rest: BTreeMap::new(), next: 0, count }
    }

    /// A port for a connection, and its initial number: later than all that the port has sent.
    /// `None`: all are in use, or may not be used yet.
    pub(super) fn take(
        &mut self,
        timestamps: bool,
        rng: &mut SeededRng,
        now: Instant,
    ) -> Option<(u16, SeqNumber)> {
        for _ in 0..self.count {
            let port = FIRST + self.next;
            self.next = (self.next + 1) % self.count;
            let rest = self.at_rest.entry(port).or_insert_with(|| Rest {
                next_seq: SeqNumber(rng.next_u64() as u32),
                end: End::Aborted,
                quiet_at: Instant::ZERO,
                timestamps: false,
                in_use: false,
            });
            if !rest.in_use && (rest.quiet_at <= now || (rest.timestamps && timestamps)) {
                rest.in_use = true;
                return Some((port, rest.next_seq + 1 + rng.below(100_000) as u32));
            }
        }
        None
    }

    /// The connection of a port has ended.
    pub(super) fn give_back(&mut self, tcp: &Endpoint, now: Instant) {
        let rest = Rest {
            next_seq: tcp.next_seq() + 1,
            end: tcp.end().unwrap_or(End::Aborted),
            quiet_at: now + SEGMENT_LIFE,
            timestamps: tcp.has_timestamps(),
            in_use: false,
        };
        self.at_rest.insert(tcp.port, rest);
    }

    /// Whether the last connection of a port ended in order.
    pub(super) fn ended_in_order(&self, port: u16) -> bool {
        self.at_rest.get(&port).is_some_and(|rest| rest.end == End::Closed)
    }
}
