//! A hierarchical timer wheel: one timer per key, constant cost however many there are.
//!
//! Eight levels of 64 slots; a slot of level n spans 64^n ticks. A timer sits in the level of
//! the highest bit in which its tick differs from the wheel's, so that it moves down at most
//! seven times and never wraps. Bitmaps say which slots are in use: an idle wheel costs a few
//! instructions per round. Memory: 16 bytes per key, taken at construction or by
//! [`TimerWheel::grow`], and 2 KiB.
//!
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", SOSP '87.)

use alloc::vec;
use alloc::vec::Vec;

use crate::time::{Duration, Instant};

const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 8;
const TICK_MAX: u64 = (1 << (SLOT_BITS * LEVELS as u32)) - 1;

/// `next`: end of the list. `prev`: not scheduled.
const NONE: u32 = u32::MAX;
/// In `prev`: the node is the first of the slot whose number the other bits give.
const FIRST: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Node {
    prev: u32,
    next: u32,
    tick: u64,
}

impl Node {
    const UNUSED: Self = Self { prev: NONE, next: NONE, tick: 0 };
}

/// Timers for the keys `0..keys`.
#[derive(Debug)]
pub struct TimerWheel {
    nodes: Vec<Node>,
    heads: [u32; LEVELS * SLOTS],
    used: [u64; LEVELS],
    elapsed: u64,
    tick_us: u64,
    scheduled: usize,
}

impl TimerWheel {
    /// A wheel without timers, at [`Instant::ZERO`].
    ///
    /// `keys`: how many there can be, below 2^31. `tick`: the resolution; a timer fires in the
    /// first tick that begins at or after its deadline. A tick of zero counts as a microsecond.
    pub fn new(keys: usize, tick: Duration) -> Self {
        assert!(keys < FIRST as usize, "a timer wheel of {keys} keys; the limit is 2^31 - 1");
        Self {
            nodes: vec![Node::UNUSED; keys],
            heads: [NONE; LEVELS * SLOTS],
            used: [0; LEVELS],
            elapsed: 0,
            tick_us: tick.micros().max(1),
            scheduled: 0,
        }
    }

    /// Makes room for the keys `0..keys`; those that are there keep their timers.
    pub fn grow(&mut self, keys: usize) {
        assert!(keys < FIRST as usize, "a timer wheel of {keys} keys; the limit is 2^31 - 1");
        if keys > self.nodes.len() {
            self.nodes.resize(keys, Node::UNUSED);
        }
    }

    /// Bytes that the wheel's keys take.
    pub fn memory(&self) -> usize {
        self.nodes.capacity() * size_of::<Node>()
    }

    /// Bytes that a wheel of so many keys takes on the heap.
    pub const fn memory_of(keys: usize) -> usize {
        keys * size_of::<Node>()
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        self.scheduled
    }

    /// True when no timer is set.
    pub fn is_empty(&self) -> bool {
        self.scheduled == 0
    }

    /// Sets the timer of `key`, in place of the one that it has. A deadline that has passed
    /// fires with the next tick. Panics when `key` is outside the wheel.
    #[inline]
    pub fn insert(&mut self, key: u32, deadline: Instant) {
        self.cancel(key);
        let tick = deadline.micros().div_ceil(self.tick_us).min(TICK_MAX);
        self.scheduled += 1;
        self.link(key, tick.max(self.elapsed + 1));
    }

    /// Takes the timer of `key` away; returns whether there was one.
    #[inline]
    pub fn cancel(&mut self, key: u32) -> bool {
        let Node { prev, next, .. } = self.nodes[key as usize];
        if prev == NONE {
            return false;
        }
        if prev & FIRST != 0 {
            let slot = (prev & !FIRST) as usize;
            self.heads[slot] = next;
            if next == NONE {
                self.used[slot / SLOTS] &= !(1 << (slot % SLOTS));
            }
        } else {
            self.nodes[prev as usize].next = next;
        }
        if next != NONE {
            self.nodes[next as usize].prev = prev;
        }
        self.nodes[key as usize].prev = NONE;
        self.scheduled -= 1;
        true
    }

    /// True when `key` has a timer.
    #[inline]
    pub fn is_set(&self, key: u32) -> bool {
        self.nodes[key as usize].prev != NONE
    }

    /// Takes one timer that is due at `now` and returns its key; `None` when none is left. Call
    /// it in a loop; timers may be set and cancelled between the calls.
    #[inline]
    pub fn pop_due(&mut self, now: Instant) -> Option<u32> {
        let now = (now.micros() / self.tick_us).min(TICK_MAX);
        while let Some((level, slot, tick)) = self.earliest() {
            if tick > now {
                break;
            }
            self.elapsed = self.elapsed.max(tick);
            let head = self.heads[level * SLOTS + slot];
            if level == 0 {
                self.cancel(head);
                return Some(head);
            }
            self.move_down(level, slot);
        }
        self.elapsed = self.elapsed.max(now);
        None
    }

    /// Calls `fire` with every key whose timer is due at `now`, in order of ticks.
    pub fn advance(&mut self, now: Instant, mut fire: impl FnMut(u32)) {
        while let Some(key) = self.pop_due(now) {
            fire(key);
        }
    }

    /// When [`Self::pop_due`] should be called next: never later than the earliest timer is due,
    /// but it may be earlier (the start of a slot of many ticks). `None`: no timer is set.
    #[inline]
    pub fn next_deadline(&self) -> Option<Instant> {
        let (_, _, tick) = self.earliest()?;
        Some(Instant::from_micros(tick.saturating_mul(self.tick_us)))
    }

    fn link(&mut self, key: u32, tick: u64) {
        let level = (63 - ((self.elapsed ^ tick) | 1).leading_zeros()) / SLOT_BITS;
        let slot = (tick >> (level * SLOT_BITS)) as usize % SLOTS;
        let level = (level as usize).min(LEVELS - 1);
        let head = core::mem::replace(&mut self.heads[level * SLOTS + slot], key);
        if head != NONE {
            self.nodes[head as usize].prev = key;
        }
        self.used[level] |= 1 << slot;
        self.nodes[key as usize] = Node { prev: FIRST | (level * SLOTS + slot) as u32, next: head, tick };
    }

    /// Level and slot of the earliest timers, and the tick at which the slot begins.
    #[inline]
    fn earliest(&self) -> Option<(usize, usize, u64)> {
        // A timer of a lower level shares all higher bits with `elapsed`: it is always earlier.
        let level = self.used.iter().position(|&slots| slots != 0)?;
        let slot = self.used[level].trailing_zeros() as u64;
        let shift = level as u32 * SLOT_BITS;
        let block = self.elapsed >> (shift + SLOT_BITS) << (shift + SLOT_BITS);
        Some((level, slot as usize, block | slot << shift))
    }

    #[cold]
    fn move_down(&mut self, level: usize, slot: usize) {
        let mut key = core::mem::replace(&mut self.heads[level * SLOTS + slot], NONE);
        self.used[level] &= !(1 << slot);
        while key != NONE {
            let Node { next, tick, .. } = self.nodes[key as usize];
            self.link(key, tick);
            key = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;

    use super::*;
    use crate::rng::SeededRng;

    const MS: Duration = Duration::from_millis(1);

    fn ms(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn due(wheel: &mut TimerWheel, now: Instant) -> Vec<u32> {
        let mut keys = Vec::new();
        wheel.advance(now, |key| keys.push(key));
        keys
    }

    #[test]
    fn fires_in_the_first_tick_at_or_after_the_deadline() {
        let mut wheel = TimerWheel::new(3, MS);
        wheel.insert(0, Instant::from_micros(1500));
        wheel.insert(1, ms(2));
        wheel.insert(2, Instant::FAR_FUTURE);
        assert_eq!(wheel.next_deadline(), Some(ms(2)));
        assert!(due(&mut wheel, Instant::from_micros(1999)).is_empty());
        assert_eq!(due(&mut wheel, ms(2)).len(), 2);
        assert!(!wheel.is_set(0) && wheel.is_set(2));
        assert!(wheel.cancel(2) && !wheel.cancel(2));
        assert!(wheel.is_empty() && wheel.next_deadline().is_none());
    }

    #[test]
    fn what_is_late_fires_once_with_the_next_tick() {
        let mut wheel = TimerWheel::new(1, MS);
        assert!(due(&mut wheel, ms(1000)).is_empty());
        wheel.insert(0, ms(10));
        assert!(due(&mut wheel, ms(1000)).is_empty());
        assert_eq!(due(&mut wheel, ms(1001)), [0]);
    }

    #[test]
    fn behaves_like_a_sorted_set() {
        let mut rng = SeededRng::new(7);
        for round in 0..20 {
            let mut wheel = TimerWheel::new(200, MS);
            let mut model: BTreeSet<(u64, u32)> = BTreeSet::new();
            let mut deadlines = [None::<u64>; 200];
            let mut now = rng.below(1 << 40);
            due(&mut wheel, ms(now));
            for _ in 0..2000 {
                let key = rng.below(200) as u32;
                if let Some(old) = deadlines[key as usize].take() {
                    model.remove(&(old, key));
                    assert!(wheel.cancel(key), "round {round}");
                }
                if rng.chance(700_000) {
                    let span = rng.below(30);
                    let at = now + 1 + rng.below(1 << span);
                    deadlines[key as usize] = Some(at);
                    model.insert((at, key));
                    wheel.insert(key, ms(at));
                }
                if rng.chance(200_000) {
                    let span = rng.below(24);
                    now += rng.below(1 << span);
                    let mut keys = due(&mut wheel, ms(now));
                    let mut expected = Vec::new();
                    while let Some(&(at, key)) = model.first().filter(|(at, _)| *at <= now) {
                        model.remove(&(at, key));
                        deadlines[key as usize] = None;
                        expected.push(key);
                    }
                    keys.sort_unstable();
                    expected.sort_unstable();
                    assert_eq!(keys, expected);
                }
                assert_eq!(wheel.len(), model.len());
                match (wheel.next_deadline(), model.first()) {
                    (None, None) => {}
                    (Some(early), Some(&(at, _))) => assert!(early <= ms(at) && early > ms(now)),
                    other => panic!("{other:?}"),
                }
            }
        }
    }

    #[test]
    fn more_keys_leave_the_timers_of_the_others() {
        let mut wheel = TimerWheel::new(0, MS);
        wheel.grow(1);
        wheel.insert(0, ms(5));
        wheel.grow(100);
        wheel.grow(3);
        wheel.insert(99, ms(4));
        assert_eq!(due(&mut wheel, ms(10)), [99, 0]);
        assert!(wheel.memory() >= 1600 && size_of::<Node>() == 16);
    }
}
