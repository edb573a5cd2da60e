//! The connections of a stack: slots with generations, and the way from a segment to its slot.

use alloc::boxed::Box;
use alloc::vec::Vec;

use hashbrown::HashTable;
use netcore::rng::Rng;

use crate::app::ConnectionId;
use crate::env::Env;
use crate::send_queue::RUNS_KEEP;
use crate::settings::Settings;
use crate::state::State;
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

/// Slot numbers of one piece of memory: tables grow by pieces, so that growing copies nothing.
const CHUNK: usize = 1024;
/// Slots of a piece. The last numbers have none: what allocators need to align it would otherwise
/// push a piece into the next size, a fifth larger.
const CHUNK_SLOTS: usize = CHUNK - 2;

/// The slots of all connections, used ones and free ones.
struct Slots<S>(Vec<Box<[Connection<S>]>>);

impl<S> Slots<S> {
    /// Slot numbers of all pieces.
    fn numbers(&self) -> usize {
        self.0.len() * CHUNK
    }
    #[inline]
    fn get(&self, slot: u32) -> &Connection<S> {
        &self.0[slot as usize / CHUNK][slot as usize % CHUNK]
    }
    #[inline]
    fn get_mut(&mut self, slot: u32) -> &mut Connection<S> {
        &mut self.0[slot as usize / CHUNK][slot as usize % CHUNK]
    }
}

/// What finds a connection by its name: a part of the name's hash, and the slot that holds the
/// name itself. 8 bytes, however long names are; and a table that grows reads no slot.
#[derive(Clone, Copy)]
struct Place {
    tag: u32,
    slot: u32,
}

/// The table wants 64 bits, of which it uses the lowest and the highest.
#[inline]
fn spread(tag: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(tag)
}

pub(crate) struct Connections<S> {
    slots: Slots<S>,
    /// Slots that were used before; the last one given back is the next one used.
    free: Vec<u32>,
    /// The next slot that was never used.
    fresh: u32,
    /// Slots with a connection.
    used: usize,
    /// Slots of connections whose segments come as plain packets.
    by_key: HashTable<Place>,
    hash: KeyHash,
}

impl<S> Connections<S> {
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        Self {
            slots: Slots(Vec::new()),
            free: Vec::new(),
            fresh: 0,
            used: 0,
            by_key: HashTable::new(),
            hash: KeyHash::new(rng),
        }
    }

    /// Makes a connection; `None`: there are too many.
    // Always in place: what the caller sets at once is not set here first.
    #[inline(always)]
    pub(crate) fn open<F>(
        &mut self,
        opening: &Opening,
        env: &mut Env<F>,
    ) -> Option<(u32, &mut Connection<S>)> {
        debug_assert_eq!(self.used, env.gauges.connections() as usize);
        if self.used >= env.config.connections_max {
            return None;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.fresh_slot(env),
        };
        let connection = self.slots.get_mut(slot);
        debug_assert!(connection.tcb.state == State::Closed && connection.queue.is_empty());
        connection.tcb = Tcb::new(opening, connection.tcb.generation);
        connection.snd_wnd_max = 0;
        connection.answered_ms = None;
        connection.settings = Settings::new(&env.config);
        self.used += 1;
        env.gauges.changed(State::Closed, opening.state);
        Some((slot, connection))
    }

    #[cold]
    fn fresh_slot<F>(&mut self, env: &mut Env<F>) -> u32 {
        if self.fresh as usize % CHUNK == CHUNK_SLOTS {
            self.fresh = self.slots.numbers() as u32;
        }
        if self.fresh as usize == self.slots.numbers() {
            self.slots.0.push((0..CHUNK_SLOTS).map(|_| Connection::vacant(&env.config)).collect());
            env.wheel.grow(self.slots.numbers());
        }
        self.fresh += 1;
        self.fresh - 1
    }

    /// Makes a connection findable by its name.
    pub(crate) fn publish(&mut self, slot: u32) {
        let tag = self.tag(self.slots.get(slot).tcb.key);
        self.by_key.insert_unique(spread(tag), Place { tag, slot }, |place| spread(place.tag));
    }

    /// Empties a slot and returns the application's session, if there is one to be closed.
    #[inline]
    pub(crate) fn release<F>(&mut self, slot: u32, env: &mut Env<F>) -> Option<&mut Option<S>> {
        let connection = self.slots.get_mut(slot);
        // Flows of the firmware are not in the table: their messages say the slot.
        if !matches!(connection.tcb.path, Path::Flow(_)) {
            let tag = self.hash.of(connection.tcb.key) as u32;
            if let Ok(entry) = self.by_key.find_entry(spread(tag), |place| place.slot == slot) {
                entry.remove();
            }
        }
        connection.set_state(&mut env.gauges, State::Closed);
        connection.tcb.generation = connection.tcb.generation.wrapping_add(1);
        // The slots that were given up last are used next, and so is what they keep.
        connection.queue.clear(self.free.len() < RUNS_KEEP, &mut env.runs);
        if let Some(full) = connection.full.take() {
            env.held.changed(full.charged, 0);
        }
        if connection.recovery.is_some() {
            connection.recovery = None;
        }
        self.free.push(slot);
        self.used -= 1;
        connection.seat.vacate()
    }

    #[inline]
    fn tag(&self, key: Key) -> u32 {
        self.hash.of(key) as u32
    }

    #[inline]
    pub(crate) fn find(&self, key: Key) -> Option<u32> {
        let tag = self.tag(key);
        let here = |place: &Place| place.tag == tag && self.slots.get(place.slot).tcb.key == key;
        self.by_key.find(spread(tag), here).map(|place| place.slot)
    }

    /// The connection of a slot, when it has one.
    #[inline]
    pub(crate) fn at(&mut self, slot: u32) -> Option<&mut Connection<S>> {
        let piece = self.slots.0.get_mut(slot as usize / CHUNK)?;
        piece.get_mut(slot as usize % CHUNK).filter(|connection| connection.tcb.state != State::Closed)
    }

    pub(crate) fn by_id(&mut self, id: ConnectionId) -> Option<&mut Connection<S>> {
        self.at(id.slot).filter(|connection| connection.tcb.generation == id.generation)
    }

    /// The slot, with or without a connection; it exists.
    #[inline]
    pub(crate) fn slot(&mut self, slot: u32) -> &mut Connection<S> {
        self.slots.get_mut(slot)
    }

    /// Every slot that has a connection.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = (u32, &Connection<S>)> {
        let pieces = self.slots.0.iter().enumerate();
        let slots = pieces.flat_map(|(piece, slots)| {
            let first = (piece * CHUNK) as u32;
            slots.iter().enumerate().map(move |(slot, connection)| (first + slot as u32, connection))
        });
        slots.filter(|(_, connection)| connection.tcb.state != State::Closed)
    }

    /// All slots have lower numbers.
    pub(crate) fn slots(&self) -> u32 {
        self.fresh
    }

    /// Bytes of the slots with their sessions, of finding them, of what waits in them, and of what free ones
    /// keep for their next connections.
    pub(crate) fn memory(&self) -> [usize; 4] {
        let free = self.free.capacity() * size_of::<u32>();
        let chunks = self.slots.0.capacity() * size_of::<Box<[Connection<S>]>>();
        let (mut waiting, mut kept) = (0, 0);
        for connection in self.slots.0.iter().flatten() {
            let bytes = connection.queue.memory() + connection.full.as_ref().map_or(0, |full| full.memory());
            *(if connection.tcb.state == State::Closed { &mut kept } else { &mut waiting }) += bytes;
        }
        [
            self.slots.0.len() * CHUNK_SLOTS * size_of::<Connection<S>>() + chunks + free,
            self.by_key.allocation_size(),
            waiting,
            kept,
        ]
    }
}
