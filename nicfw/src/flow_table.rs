//! The flows: fixed slots, each with a generation, and lists that run through them.

use alloc::boxed::Box;
use alloc::vec;

use netcore::FourTuple;
use protocol::channel::{ClosedReason, FlowId, NO_HANDLE};
use protocol::ethernet::Mac;
use protocol::tcp::SeqNumber;

use crate::retain::NO_PLACE;

/// Names no slot.
pub(crate) const NO_SLOT: u32 = u32::MAX;

/// See [`Flow::ts_ahead`].
const TS_AHEAD_MAX: u32 = 1 << 30;

macro_rules! states {
    ($($variant:ident $name:literal $description:literal)*) => {
        /// Where a flow is in its life.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum State { $(#[doc = $description] $variant,)* }

        impl State {
            /// Every state.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            /// The name of the gauge that counts the flows in this state.
            pub const fn gauge_name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// What the gauge counts.
            pub const fn description(self) -> &'static str {
                match self { $(Self::$variant => $description,)* }
            }
        }
    };
}

states! {
    Waiting "flows_waiting" "Flows that wait for their first data."
    Announcing "flows_announcing" "Flows that wait for room in the host's queue."
    Established "flows_established" "Flows that the host holds."
    FinWait1 "flows_fin_wait_1" "Flows in FIN_WAIT_1."
    FinWait2 "flows_fin_wait_2" "Flows in FIN_WAIT_2."
    Closing "flows_closing" "Flows in CLOSING."
    LastAck "flows_last_ack" "Flows in LAST_ACK."
    Ended "flows_ended" "Flows whose end is still to be reported to the host."
}

/// Properties of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FlowFlags(pub(crate) u8);

impl FlowFlags {
    pub(crate) const TIMESTAMPS: u8 = 1;
    pub(crate) const SACK: u8 = 1 << 1;
    pub(crate) const WINDOW_SCALE: u8 = 1 << 2;
    /// The host's last segment said that it waits for the peer.
    pub(crate) const IDLE: u8 = 1 << 3;
    /// Announced to the host, which has not answered yet; its queue counts it.
    pub(crate) const UNTAKEN: u8 = 1 << 6;
    /// Counted for its source network.
    pub(crate) const COUNTED: u8 = 1 << 7;
    /// The host is handing it over: pieces of its last data are here, the last one is not.
    pub(crate) const PIECES: u8 = 1 << 4;
    /// The peer's FIN came in order and was handed to the host.
    pub(crate) const FIN_SEEN: u8 = 1 << 5;

    #[inline]
    pub(crate) const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
    #[inline]
    pub(crate) fn set(&mut self, bit: u8, on: bool) {
        self.0 = if on { self.0 | bit } else { self.0 & !bit };
    }
}

/// A list that a flow is in. It is in one at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Listed {
    No,
    /// Of its listener, while waiting; oldest first.
    Waiting,
    /// Of its queue, until there is room to announce it.
    Announce,
    /// Of its queue, until its end has been reported.
    Closed,
}

/// One flow: two cache lines. The first holds what tells whose a segment is and where it stands.
///
/// ```text
///   0 tuple 36 | generation | handle | snd_nxt | rcv_nxt | rcv_seen | rcv_wnd | ts_recent
///  64 hash | remote_mac 6 | queue 2 | state, flags, snd_scale, rcv_scale | list, host_life, listener
///  84 snd_una | snd_wnd | iss | rto_ms 2, unanswered, may_be_fragmented | ts_sent | prev | next | challenged_ms
/// 116 mss | retries, reason | kept | progress_ms
/// ```
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Flow {
    pub(crate) tuple: FourTuple,
    /// Counts the uses of the slot; 0 before the first.
    pub(crate) generation: u32,
    /// What the host calls it.
    pub(crate) handle: u32,
    /// End of what our side has sent.
    pub(crate) snd_nxt: SeqNumber,
    /// What our side has acknowledged: the host's last word while it holds the flow.
    pub(crate) rcv_nxt: SeqNumber,
    /// End of what came in order, acknowledged or not.
    pub(crate) rcv_seen: SeqNumber,
    /// The window that our side announced last, in bytes.
    pub(crate) rcv_wnd: u32,
    pub(crate) ts_recent: u32,
    /// Of the tuple.
    pub(crate) hash: u32,
    pub(crate) remote_mac: Mac,
    /// Host queue.
    pub(crate) queue: u16,
    pub(crate) state: State,
    pub(crate) flags: FlowFlags,
    pub(crate) snd_scale: u8,
    pub(crate) rcv_scale: u8,
    pub(crate) list: Listed,
    /// Life of the host that the flow belongs to, see `channel`.
    pub(crate) host_life: u8,
    /// The listener that it came to.
    pub(crate) listener: u16,

    /// While the host holds the flow: what the peer has acknowledged to it.
    pub(crate) snd_una: SeqNumber,
    /// The peer's window in bytes.
    pub(crate) snd_wnd: u32,
    /// Our initial sequence number: the cookie.
    pub(crate) iss: SeqNumber,
    /// Retransmission timeout in milliseconds, before it is doubled.
    pub(crate) rto_ms: u16,
    /// Retransmissions since the peer last said anything.
    pub(crate) unanswered: u8,
    /// The path takes less than our least packets: routers may fragment them.
    pub(crate) may_be_fragmented: bool,
    /// Our TSval when the flow was opened; from ESTABLISHED on the last one that the host has sent.
    pub(crate) ts_sent: u32,
    pub(crate) prev: u32,
    pub(crate) next: u32,
    /// Time of the last challenge ACK, in milliseconds; 0: none yet.
    pub(crate) challenged_ms: u32,
    pub(crate) mss: u16,
    /// Retransmissions since it last acknowledged something new, or opened its window; probes while it
    /// waits for the first data.
    pub(crate) retries: u8,
    /// Why it ended, or what became of its hand-over, for the host.
    pub(crate) reason: ClosedReason,
    /// Where what is kept of its last data begins.
    pub(crate) kept: u32,
    /// When the peer of a closing flow last acknowledged something new, in milliseconds.
    pub(crate) progress_ms: u32,
}

const _: () = assert!(size_of::<Flow>() == 128);

impl Flow {
    pub(crate) const EMPTY: Self = Self {
        tuple: FourTuple {
            local_addr: protocol::ip::Address::UNSPECIFIED_V4,
            remote_addr: protocol::ip::Address::UNSPECIFIED_V4,
            local_port: 0,
            remote_port: 0,
        },
        generation: 0,
        handle: NO_HANDLE,
        snd_nxt: SeqNumber(0),
        rcv_nxt: SeqNumber(0),
        rcv_seen: SeqNumber(0),
        rcv_wnd: 0,
        ts_recent: 0,
        hash: 0,
        remote_mac: Mac([0; 6]),
        queue: 0,
        state: State::Ended,
        flags: FlowFlags(0),
        snd_scale: 0,
        rcv_scale: 0,
        list: Listed::No,
        host_life: 0,
        listener: 0,
        snd_una: SeqNumber(0),
        snd_wnd: 0,
        iss: SeqNumber(0),
        rto_ms: 0,
        unanswered: 0,
        may_be_fragmented: false,
        ts_sent: 0,
        prev: NO_SLOT,
        next: NO_SLOT,
        challenged_ms: 0,
        mss: 0,
        retries: 0,
        reason: ClosedReason::PeerClosed,
        kept: NO_PLACE,
        progress_ms: 0,
    };

    /// The TSval of a segment that the firmware sends for the flow; `now`: by its own clock.
    ///
    /// RFC 7323 §5.3: the peer drops what is older than what it has seen, so TSval never goes back on a
    /// flow. The host's clock lags by what ESTABLISHED took on its way, or drifts: as long as the host
    /// sends, the firmware's own segments are not newer than the host's last, and then not older.
    #[inline]
    pub(crate) fn ts_value(&self, now: u32) -> u32 {
        match self.state {
            State::Waiting | State::Announcing => now,
            State::Established => self.ts_sent,
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::Ended => {
                now.wrapping_add(self.ts_ahead(now))
            }
        }
    }

    /// Milliseconds that the host's last TSval is ahead of our clock. What would be more than 12 days is
    /// the past: the host was silent for long.
    pub(crate) fn ts_ahead(&self, now: u32) -> u32 {
        let ahead = self.ts_sent.wrapping_sub(now);
        if ahead <= TS_AHEAD_MAX { ahead } else { 0 }
    }

    /// How long ago a closing flow's segment was sent whose TSval a peer echoes, in milliseconds. `None`
    /// where that is not known: it is no TSval by our clock, but one of the host's, or none of ours.
    pub(crate) fn since_echoed(&self, echo: u32, now: u32) -> Option<u32> {
        let echo = SeqNumber(echo);
        let is_ours = self.flags.has(FlowFlags::TIMESTAMPS)
            && self.ts_ahead(now) == 0
            && !echo.before(SeqNumber(self.ts_sent))
            && !echo.after(SeqNumber(now));
        is_ours.then(|| SeqNumber(now).distance_from(echo))
    }

    /// The window to write into a header.
    #[inline]
    pub(crate) fn window_field(&self) -> u16 {
        (self.rcv_wnd >> self.rcv_scale).min(u32::from(u16::MAX)) as u16
    }
}

/// Both ends of a list of flows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowList {
    pub(crate) head: u32,
    tail: u32,
    pub(crate) len: u32,
}

impl FlowList {
    pub(crate) const EMPTY: Self = Self { head: NO_SLOT, tail: NO_SLOT, len: 0 };
}

/// All flows.
#[derive(Debug)]
pub(crate) struct FlowTable {
    flows: Box<[Flow]>,
    /// First free slot; `next` leads on.
    free: u32,
    /// Slots from here on have never been used.
    fresh: u32,
    used: Box<[u64]>,
}

impl FlowTable {
    pub(crate) fn new(flows_max: usize) -> Self {
        Self {
            flows: vec![Flow::EMPTY; flows_max].into_boxed_slice(),
            free: NO_SLOT,
            fresh: 0,
            used: vec![0; flows_max.div_ceil(64)].into_boxed_slice(),
        }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(flows_max: usize) -> usize {
        flows_max * size_of::<Flow>() + flows_max.div_ceil(64) * size_of::<u64>()
    }

    /// Takes a free slot, with its generation counted up and everything else fresh.
    #[inline]
    pub(crate) fn allocate(&mut self) -> Option<u32> {
        let slot = if self.free != NO_SLOT {
            let slot = self.free;
            self.free = self.flows[slot as usize].next;
            slot
        } else if (self.fresh as usize) < self.flows.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        let flow = &mut self.flows[slot as usize];
        // Never 0, so that an empty flow id names nothing.
        let generation = flow.generation.wrapping_add(1).max(1);
        *flow = Flow { generation, ..Flow::EMPTY };
        self.used[slot as usize / 64] |= 1 << (slot % 64);
        Some(slot)
    }

    /// Gives a slot back.
    #[inline]
    pub(crate) fn release(&mut self, slot: u32) {
        debug_assert!(self.is_used(slot) && self[slot].list == Listed::No);
        self.used[slot as usize / 64] &= !(1 << (slot % 64));
        self.flows[slot as usize].next = core::mem::replace(&mut self.free, slot);
    }

    #[inline]
    pub(crate) fn is_used(&self, slot: u32) -> bool {
        self.used[slot as usize / 64] & 1 << (slot % 64) != 0
    }

    /// The slots that are used, in order. Passing 64 free ones costs one comparison.
    pub(crate) fn used_slots(&self) -> impl Iterator<Item = u32> {
        let words = self.used.iter().zip((0..self.fresh).step_by(64));
        words.flat_map(|(&word, first)| {
            let next = |&word: &u64| Some(word & (word - 1)).filter(|&word| word != 0);
            let words = core::iter::successors(Some(word).filter(|&word| word != 0), next);
            words.map(move |word| first + word.trailing_zeros())
        })
    }

    /// How many slots have ever been used.
    pub(crate) fn slots_used(&self) -> u32 {
        self.fresh
    }

    /// The flow in a slot that may not exist, used or not.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<&Flow> {
        self.flows.get(slot as usize)
    }

    /// The slot that `id` names now.
    #[inline]
    pub(crate) fn resolve(&self, id: FlowId) -> Option<u32> {
        let flow = self.flows.get(id.slot as usize)?;
        (flow.generation == id.generation && self.is_used(id.slot)).then_some(id.slot)
    }

    #[inline]
    pub(crate) fn id(&self, slot: u32) -> FlowId {
        FlowId { slot, generation: self[slot].generation }
    }

    /// Adds a flow at the end of a list.
    #[inline]
    pub(crate) fn push(&mut self, list: &mut FlowList, slot: u32, listed: Listed) {
        debug_assert_eq!(self[slot].list, Listed::No);
        let prev = core::mem::replace(&mut list.tail, slot);
        let flow = &mut self.flows[slot as usize];
        (flow.prev, flow.next, flow.list) = (prev, NO_SLOT, listed);
        if prev == NO_SLOT {
            list.head = slot;
        } else {
            self.flows[prev as usize].next = slot;
        }
        list.len += 1;
    }

    /// Takes a flow out of the list that it is in.
    #[inline]
    pub(crate) fn unlink(&mut self, list: &mut FlowList, slot: u32) {
        let flow = &mut self.flows[slot as usize];
        let (prev, next) = (flow.prev, flow.next);
        flow.list = Listed::No;
        if prev == NO_SLOT {
            list.head = next;
        } else {
            self.flows[prev as usize].next = next;
        }
        if next == NO_SLOT {
            list.tail = prev;
        } else {
            self.flows[next as usize].prev = prev;
        }
        list.len -= 1;
    }
}

impl core::ops::Index<u32> for FlowTable {
    type Output = Flow;
    #[inline]
    fn index(&self, slot: u32) -> &Flow {
        &self.flows[slot as usize]
    }
}

impl core::ops::IndexMut<u32> for FlowTable {
    #[inline]
    fn index_mut(&mut self, slot: u32) -> &mut Flow {
        &mut self.flows[slot as usize]
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::{BTreeMap, VecDeque};
    use alloc::vec::Vec;

    use netcore::rng::SeededRng;

    use super::*;

    /// The flows of a list from its head on, looked at from both ends.
    fn listed(table: &FlowTable, list: &FlowList) -> Vec<u32> {
        let walk = |first: u32, step: fn(&Flow) -> u32| {
            core::iter::successors((first != NO_SLOT).then_some(first), move |&slot| {
                Some(step(&table[slot])).filter(|&next| next != NO_SLOT)
            })
        };
        let forward: Vec<u32> = walk(list.head, |flow| flow.next).collect();
        let mut backward: Vec<u32> = walk(list.tail, |flow| flow.prev).collect();
        backward.reverse();
        assert_eq!(forward, backward);
        assert_eq!(forward.len(), list.len as usize);
        forward
    }

    #[test]
    fn behaves_like_a_map_and_a_queue() {
        const FLOWS: usize = 70;
        for seed in 0..20 {
            let mut rng = SeededRng::new(seed);
            let mut table = FlowTable::new(FLOWS);
            let mut list = FlowList::EMPTY;
            let mut used: BTreeMap<u32, FlowId> = BTreeMap::new();
            let mut ended: Vec<FlowId> = Vec::new();
            let mut queue: VecDeque<u32> = VecDeque::new();
            for _ in 0..2000 {
                let chosen = used.keys().nth(rng.below(used.len() as u64) as usize).copied();
                match (rng.below(5), chosen) {
                    (0 | 1, _) => {
                        let slot = table.allocate();
                        assert_eq!(slot.is_none(), used.len() == FLOWS);
                        let Some(slot) = slot else { continue };
                        assert!(!used.contains_key(&slot));
                        used.insert(slot, table.id(slot));
                    }
                    (2, Some(slot)) if !queue.contains(&slot) => {
                        table.push(&mut list, slot, Listed::Waiting);
                        queue.push_back(slot);
                    }
                    (3, Some(slot)) if queue.contains(&slot) => {
                        table.unlink(&mut list, slot);
                        queue.retain(|&other| other != slot);
                    }
                    (4, Some(slot)) if !queue.contains(&slot) => {
                        table.release(slot);
                        ended.extend(used.remove(&slot));
                    }
                    _ => {}
                }
                assert!(listed(&table, &list).iter().eq(queue.iter()), "seed {seed}");
                assert!(
                    used.iter().all(|(&slot, &id)| table.is_used(slot) && table.resolve(id) == Some(slot))
                );
                assert!(ended.iter().all(|&id| table.resolve(id).is_none()), "a stale name finds nobody");
                assert_eq!(table.resolve(FlowId { slot: 0, generation: 0 }), None);
                assert!(table.slots_used() as usize <= FLOWS);
                assert!(table.used_slots().eq(used.keys().copied()));
            }
        }
    }
}
