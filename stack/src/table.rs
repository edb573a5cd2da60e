//! The connections of a stack: slots with generations, and the way from a segment to its slot.

use alloc::vec::Vec;

use hashbrown::HashTable;
use netcore::rng::Rng;

use crate::app::ConnectionId;
use crate::config::Config;
use crate::state::{Gauges, State};
use crate::tcb::{Connection, Key, Opening, Path, Tcb};

/// A keyed hash over connection names: folded 128-bit products with secret terms. Peers choose
/// names, so an unkeyed hash would let them choose collisions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KeyHash {
    add: [u64; 2],
    factor: [u64; 2],
}

impl KeyHash {
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        let mut draw = || {
            let secret = u128::from_le_bytes(rng.secret());
            [secret as u64, (secret >> 64) as u64]
        };
        let add = draw();
        Self { add, factor: draw().map(|factor| factor | 1) }
    }

    #[inline]
    pub(crate) fn of(self, key: Key) -> u64 {
        let fold = |value: u64, factor: u64| {
            let product = u128::from(value) * u128::from(factor);
            product as u64 ^ (product >> 64) as u64
        };
        let [high, low, ports] = key.words();
        let address = fold(low ^ self.add[0], high ^ self.factor[0]);
        fold(address ^ ports ^ self.add[1], self.factor[1])
    }
}

pub(crate) struct Connections<S> {
    slots: Vec<Connection<S>>,
    free: Vec<u32>,
    /// Slots of connections whose segments come as plain packets.
    by_key: HashTable<u32>,
    hash: KeyHash,
    max: usize,
}

impl<S> Connections<S> {
    pub(crate) fn new(config: &Config, rng: &mut impl Rng) -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_key: HashTable::new(),
            hash: KeyHash::new(rng),
            max: config.connections_max,
        }
    }

    /// Makes a connection; `None`: there are too many.
    pub(crate) fn open(&mut self, opening: &Opening, config: &Config, gauges: &mut Gauges) -> Option<u32> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < self.max => {
                self.slots.push(Connection::vacant(config));
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let connection = &mut self.slots[slot as usize];
        debug_assert!(connection.tcb.state == State::Closed && connection.queue.is_empty());
        connection.tcb = Tcb::new(opening, connection.tcb.generation, config);
        connection.snd_wnd_max = 0;
        connection.answered_ms = None;
        gauges.changed(State::Closed, opening.state);
        Some(slot)
    }

    /// Makes a connection findable by its name.
    pub(crate) fn publish(&mut self, slot: u32) {
        let (hash, slots) = (self.hash, &self.slots);
        let of_slot = |slot: &u32| hash.of(slots[*slot as usize].tcb.key);
        self.by_key.insert_unique(of_slot(&slot), slot, of_slot);
    }

    /// Empties a slot and returns the application's session.
    pub(crate) fn release(&mut self, slot: u32, gauges: &mut Gauges) -> Option<S> {
        let connection = &mut self.slots[slot as usize];
        let key = connection.tcb.key;
        // Flows of the firmware are not in the table: their messages say the slot.
        if !matches!(connection.tcb.path, Path::Flow(_))
            && let Ok(entry) = self.by_key.find_entry(self.hash.of(key), |&s| s == slot)
        {
            entry.remove();
        }
        connection.set_state(gauges, State::Closed);
        connection.tcb.generation = connection.tcb.generation.wrapping_add(1);
        connection.queue.clear();
        connection.full = None;
        connection.recovery = None;
        self.free.push(slot);
        connection.session.take()
    }

    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        let slots = &self.slots;
        self.by_key.find(self.hash.of(key), |&slot| slots[slot as usize].tcb.key == key).copied()
    }

    /// The connection of a slot, when it has one.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut Connection<S>> {
        self.slots.get_mut(slot as usize).filter(|connection| connection.tcb.state != State::Closed)
    }

    pub(crate) fn by_id(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.at(id.slot).filter(|connection| connection.tcb.generation == id.generation)
    }

    /// The slot, with or without a connection; it exists.
    #[inline]
    pub(crate) fn slot(&mut self, slot: u32) -> &mut Connection<S> {
        &mut self.slots[slot as usize]
    }

    /// Every slot that has a connection.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (u32, &Connection<S>)> {
        let slots = self.slots.iter().enumerate().map(|(slot, connection)| (slot as u32, connection));
        slots.filter(|(_, connection)| connection.tcb.state != State::Closed)
    }

    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }
}
