//! What is remembered of ended connections, 72 bytes each.
//!
//! Two kinds. *TIME_WAIT* (RFC 9293 §3.3.2): we closed first; the last ACK may have to be sent
//! again. *Spent*: the connection is over, but the cookie that opened it is still valid, so a
//! late duplicate of its first segment could open it again and have a request executed twice;
//! this record prevents that. Each kind has one lifetime and so one list in order of time.

use alloc::boxed::Box;
use alloc::vec;

use netcore::{Duration, FourTuple, Frame, FramePool, Instant};
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{Flow, FlowFlags};
use crate::packet::{Outgoing, Segment};
use crate::setup::Cookie;

const NONE: u32 = u32::MAX;

/// Why a connection is remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    TimeWait = 0,
    Spent = 1,
}

/// An ended connection.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Entry {
    pub(crate) tuple: FourTuple,
    pub(crate) hash: u32,
    pub(crate) iss: SeqNumber,
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    pub(crate) ts_recent: u32,
    /// Milliseconds, wrapping.
    deadline_ms: u32,
    prev: u32,
    next: u32,
    pub(crate) window: u16,
    /// The kind, whether timestamps were agreed on, whether it has several names, and how far the last
    /// TSval was ahead of our clock.
    traits: u8,
    /// In which interval the last answer was sent, see [`Self::may_answer`].
    answered: u8,
}

const _: () = assert!(size_of::<Entry>() == 72);

const TIMESTAMPS: u8 = 1 << 1;
/// Other names than the first may be in cookies, see [`Entry::names`].
const SEVERAL_NAMES: u8 = 1 << 2;
/// From this bit on: see [`Entry::ts_ahead_ms`].
const TS_AHEAD: u32 = 3;

impl Entry {
    #[inline]
    pub(crate) fn kind(&self) -> Kind {
        if self.traits & 1 == Kind::TimeWait as u8 { Kind::TimeWait } else { Kind::Spent }
    }

    #[inline]
    fn has_timestamps(&self) -> bool {
        self.traits & TIMESTAMPS != 0
    }

    /// Numbers that stand for this connection in a cookie: more than one, for a choice of cookies.
    pub(crate) fn names(&self) -> impl Iterator<Item = SeqNumber> + use<> {
        let iss = self.iss;
        (0..8).map(move |step| iss + step)
    }

    /// Those that are in cookies.
    pub(crate) fn names_given(&self) -> impl Iterator<Item = SeqNumber> + use<> {
        self.names().take(if self.traits & SEVERAL_NAMES != 0 { usize::MAX } else { 1 })
    }

    /// A cookie has another name than the first.
    pub(crate) fn has_several_names(&mut self) {
        self.traits |= SEVERAL_NAMES;
    }

    /// What our clock lacks to the TSval that was sent last, where the host's was ahead of it: the power of
    /// two that is not less. RFC 7323 §5.3: an answer with an older one would be dropped.
    fn ts_ahead_ms(&self) -> u32 {
        (1 << (self.traits >> TS_AHEAD)) >> 1
    }

    /// RFC 5961 §7: one answer in each `interval`. The intervals' numbers come round after 256 of
    /// them; one answer may be missing then, and the peer asks again.
    fn may_answer(&mut self, now: Instant, interval: Duration) -> bool {
        let number = interval_number(now, interval);
        core::mem::replace(&mut self.answered, number) != number
    }

    pub(crate) fn of(flow: &Flow, kind: Kind, ts_now: u32) -> Self {
        let ahead = flow.ts_ahead(ts_now);
        let ts_ahead = if ahead == 0 { 0 } else { ahead.next_power_of_two().ilog2() + 1 };
        let timestamps = if flow.flags.has(FlowFlags::TIMESTAMPS) { TIMESTAMPS } else { 0 };
        Self {
            tuple: flow.tuple,
            hash: flow.hash,
            iss: flow.iss,
            snd_nxt: flow.snd_nxt,
            rcv_nxt: flow.rcv_nxt,
            ts_recent: flow.ts_recent,
            deadline_ms: 0,
            prev: NONE,
            next: NONE,
            window: flow.window_field(),
            traits: kind as u8 | timestamps | (ts_ahead << TS_AHEAD) as u8,
            answered: 0,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Ends {
    head: u32,
    tail: u32,
}

/// All ended connections that are remembered.
#[derive(Debug)]
pub(crate) struct TimeWait {
    entries: Box<[Entry]>,
    free: u32,
    fresh: u32,
    lists: [Ends; 2],
    pub(crate) counts: [u64; 2],
    lifetimes_ms: [u32; 2],
}

impl TimeWait {
    /// `time_wait`, `spent`: how long each kind is kept; below 24 days.
    pub(crate) fn new(entries: usize, time_wait: Duration, spent: Duration) -> Self {
        let unused = Entry::of(&Flow::EMPTY, Kind::Spent, 0);
        let ms = |span: Duration| span.millis().clamp(1, 1 << 31) as u32;
        Self {
            entries: vec![unused; entries].into_boxed_slice(),
            free: NONE,
            fresh: 0,
            lists: [Ends { head: NONE, tail: NONE }; 2],
            counts: [0; 2],
            lifetimes_ms: [ms(time_wait), ms(spent)],
        }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(entries: usize) -> usize {
        entries * size_of::<Entry>()
    }

    #[inline]
    pub(crate) fn get(&self, place: u32) -> &Entry {
        &self.entries[place as usize]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: u32) -> &mut Entry {
        &mut self.entries[place as usize]
    }

    /// Remembers a connection; `None` when all places are taken.
    #[inline]
    pub(crate) fn insert(&mut self, entry: Entry, now: Instant) -> Option<u32> {
        let place = if self.free != NONE {
            let place = self.free;
            self.free = self.get(place).next;
            place
        } else if (self.fresh as usize) < self.entries.len() {
            self.fresh += 1;
            self.fresh - 1
        } else {
            return None;
        };
        self.entries[place as usize] = entry;
        self.link(place, now);
        Some(place)
    }

    /// Starts an entry's time anew.
    pub(crate) fn restart(&mut self, place: u32, now: Instant) {
        self.unlink(place);
        self.link(place, now);
    }

    /// Turns a TIME_WAIT entry into a spent one with its own time.
    pub(crate) fn become_spent(&mut self, place: u32, now: Instant) {
        self.unlink(place);
        self.get_mut(place).traits |= Kind::Spent as u8;
        self.link(place, now);
    }

    /// Forgets an entry.
    #[inline]
    pub(crate) fn remove(&mut self, place: u32) {
        self.unlink(place);
        self.get_mut(place).next = core::mem::replace(&mut self.free, place);
    }

    /// The oldest entry: a spent one if there is any.
    pub(crate) fn oldest(&self) -> Option<u32> {
        [Kind::Spent, Kind::TimeWait]
            .into_iter()
            .map(|kind| self.lists[kind as usize].head)
            .find(|&head| head != NONE)
    }

    /// An entry of this kind whose time is over.
    #[inline]
    pub(crate) fn expired(&self, kind: Kind, now: Instant) -> Option<u32> {
        let head = self.lists[kind as usize].head;
        (head != NONE && now_ms(now).wrapping_sub(self.get(head).deadline_ms) as i32 >= 0).then_some(head)
    }

    /// When the next entry's time is over.
    pub(crate) fn next_deadline(&self, now: Instant) -> Option<Instant> {
        let heads = self.lists.iter().map(|list| list.head).filter(|&head| head != NONE);
        let left =
            heads.map(|head| (self.get(head).deadline_ms.wrapping_sub(now_ms(now)) as i32).max(0)).min()?;
        // Deadlines are whole milliseconds of the clock.
        Some(Instant::from_micros((now.millis() + left as u64) * 1000))
    }

    fn link(&mut self, place: u32, now: Instant) {
        let kind = self.get(place).kind() as usize;
        let prev = core::mem::replace(&mut self.lists[kind].tail, place);
        let deadline_ms = now_ms(now).wrapping_add(self.lifetimes_ms[kind]);
        let entry = self.get_mut(place);
        (entry.prev, entry.next, entry.deadline_ms) = (prev, NONE, deadline_ms);
        if prev == NONE {
            self.lists[kind].head = place;
        } else {
            self.get_mut(prev).next = place;
        }
        self.counts[kind] += 1;
    }

    fn unlink(&mut self, place: u32) {
        let entry = self.get(place);
        let (prev, next, kind) = (entry.prev, entry.next, entry.kind() as usize);
        if prev == NONE {
            self.lists[kind].head = next;
        } else {
            self.get_mut(prev).next = next;
        }
        if next == NONE {
            self.lists[kind].tail = prev;
        } else {
            self.get_mut(next).prev = prev;
        }
        self.counts[kind] -= 1;
    }
}

/// Counts the intervals since the start.
#[inline]
fn interval_number(now: Instant, interval: Duration) -> u8 {
    (now.micros() / interval.micros().max(1)) as u8
}

#[inline]
fn now_ms(now: Instant) -> u32 {
    now.millis() as u32
}

/// In an index value: the place is one in the table of ended connections.
pub(crate) const ENDED: u32 = 1 << 31;

impl<F: Frame> Firmware<F> {
    /// Puts a record in the place of a flow.
    pub(crate) fn remember(&mut self, slot: u32, kind: Kind) {
        let flow = &self.flows[slot];
        let hash = flow.hash;
        let mut entry = Entry::of(flow, kind, self.ts_now);
        // The first question is answered whenever it comes.
        entry.answered = interval_number(self.now, self.config.challenge_interval).wrapping_sub(1);
        let place = self.time_wait.insert(entry, self.now).or_else(|| {
            let oldest = self.time_wait.oldest()?;
            self.counters.add(Event::TimeWaitEvicted);
            self.forget_ended(oldest);
            self.time_wait.insert(entry, self.now)
        });
        match place {
            Some(place) => self.index.replace(hash, slot, place | ENDED),
            None => self.index.remove(hash, slot),
        }
    }

    /// Takes a record away.
    pub(crate) fn forget_ended(&mut self, place: u32) {
        let hash = self.time_wait.get(place).hash;
        self.index.remove(hash, place | ENDED);
        self.time_wait.remove(place);
    }

    /// Forgets what is old enough.
    #[inline]
    pub(crate) fn expire_ended(&mut self) {
        while let Some(place) = self.time_wait.expired(Kind::Spent, self.now) {
            self.forget_ended(place);
        }
        while let Some(place) = self.time_wait.expired(Kind::TimeWait, self.now) {
            // A TIME_WAIT shorter than a cookie's life leaves the cookie to be guarded.
            if self.config.time_wait < self.cookies.lifetime() {
                self.time_wait.become_spent(place, self.now);
            } else {
                self.forget_ended(place);
            }
        }
    }

    /// A segment for a connection that has ended.
    pub(crate) fn ended<P: FramePool<Frame = F>>(
        &mut self,
        place: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let entry = *self.time_wait.get(place);
        if segment.has(Flags::RST) {
            // RFC 1337 §3: TIME_WAIT is not cut short by RST.
            return self.counters.add(Event::ResetIgnored);
        }
        let listener = self.listener_for(&segment.tuple);
        if segment.has(Flags::SYN) && !segment.has(Flags::ACK) {
            let reused = entry.kind() == Kind::TimeWait && may_reuse(&entry, segment, frame.bytes());
            return match (listener, entry.kind()) {
                (Some(listener), _) if reused || entry.kind() == Kind::Spent => {
                    if reused {
                        self.counters.add(Event::TimeWaitReused);
                    }
                    // A SYN proves nothing: the entry stays until the new connection is there,
                    // and at least as long as the new cookie, which is good only beside it.
                    self.time_wait.restart(place, self.now);
                    self.syn(listener, segment, Some(place), frame, pool);
                }
                (_, Kind::TimeWait) => self.acknowledge_again(place, segment, frame, pool),
                (_, Kind::Spent) => self.raw_to_host(self.steering.queue(&segment.tuple), frame),
            };
        }
        // The end of a new handshake? Only with a cookie made since the old connection ended.
        if let Some(listener) = listener
            && segment.has(Flags::ACK)
        {
            match self.first_ack_behind(&entry, segment) {
                Cookie::Good(mss) => {
                    return self.open_by(listener, segment, mss, Some(place), frame, pool);
                }
                Cookie::Later => return self.counters.add(Event::FirstDataMissing),
                Cookie::Bad => {}
            }
        }
        match entry.kind() {
            Kind::TimeWait => {
                let fin_again = segment.has(Flags::FIN) && segment.data_end() + 1 == entry.rcv_nxt;
                if fin_again {
                    self.time_wait.restart(place, self.now);
                }
                if fin_again || segment.tcp.seq != entry.rcv_nxt || segment.data_len() > 0 {
                    self.acknowledge_again(place, segment, frame, pool);
                }
            }
            Kind::Spent if segment.has(Flags::ACK) => {
                self.counters.add(Event::CookieSpent);
                self.reset_unknown(segment, Some(frame), pool);
            }
            Kind::Spent => self.counters.add(Event::NoFlowDropped),
        }
    }

    /// The last ACK again: now and then, since it may be the answer to anything.
    fn acknowledge_again<P: FramePool<Frame = F>>(
        &mut self,
        place: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        let (now, interval) = (self.now, self.config.challenge_interval);
        let entry = self.time_wait.get_mut(place);
        if !entry.may_answer(now, interval) {
            return self.counters.add(Event::TimeWaitLimited);
        }
        let entry = *entry;
        self.counters.add(Event::TimeWaitAnswered);
        let value = self.ts_now.wrapping_add(entry.ts_ahead_ms());
        let timestamps = entry.has_timestamps().then_some(Timestamps { value, echo: entry.ts_recent });
        let ack = Outgoing {
            ttl: self.config.ttl,
            ident: None,
            from: self.config.mac,
            to: segment.src_mac,
            tuple: entry.tuple,
            seq: entry.snd_nxt,
            ack: entry.rcv_nxt,
            flags: Flags::ACK,
            window: entry.window,
            options: Options { timestamps, ..Options::default() },
            data: &[],
        };
        self.send(Some(frame), &ack, pool);
    }
}

/// RFC 6191 §2, and RFC 9293 §3.10.7.4 where there are no timestamps: is this SYN certainly newer
/// than the connection in TIME_WAIT?
fn may_reuse(entry: &Entry, segment: &Segment, bytes: &[u8]) -> bool {
    let seq_is_beyond = segment.tcp.seq.after(entry.rcv_nxt);
    match segment.options(bytes).timestamps {
        Some(timestamps) if entry.has_timestamps() => {
            let (value, recent) = (SeqNumber(timestamps.value), SeqNumber(entry.ts_recent));
            value.after(recent) || (value == recent && seq_is_beyond)
        }
        _ => seq_is_beyond,
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use netcore::rng::SeededRng;

    use super::*;

    const SPANS: [u64; 2] = [2000, 700];

    /// What the table should hold, in the order of insertion: place, kind, deadline in ms.
    type Model = Vec<(u32, Kind, u64)>;

    fn oldest_of(model: &Model, kind: Kind) -> Option<(u32, u64)> {
        model.iter().find(|(_, of, _)| *of == kind).map(|&(place, _, deadline)| (place, deadline))
    }

    fn check(table: &TimeWait, model: &Model, now_ms: u64) {
        let now = Instant::from_micros(now_ms * 1000);
        for kind in [Kind::TimeWait, Kind::Spent] {
            let count = model.iter().filter(|(_, of, _)| *of == kind).count() as u64;
            assert_eq!(table.counts[kind as usize], count);
            let due = oldest_of(model, kind).filter(|(_, deadline)| *deadline <= now_ms);
            assert_eq!(table.expired(kind, now), due.map(|(place, _)| place));
        }
        let oldest = oldest_of(model, Kind::Spent).or(oldest_of(model, Kind::TimeWait));
        assert_eq!(table.oldest(), oldest.map(|(place, _)| place));
        let next = model.iter().map(|(.., deadline)| (*deadline).max(now_ms) * 1000).min();
        assert_eq!(table.next_deadline(now).map(Instant::micros), next);
    }

    #[test]
    fn behaves_like_a_list_also_when_the_clock_wraps() {
        for seed in 0..40 {
            let mut rng = SeededRng::new(seed);
            let [time_wait, spent] = SPANS.map(Duration::from_millis);
            let mut table = TimeWait::new(8, time_wait, spent);
            let mut model = Model::new();
            // 2^32 ms come round after some steps.
            let mut now_ms = (1 << 32) - rng.below(20_000);
            for _ in 0..1000 {
                let now = Instant::from_micros(now_ms * 1000);
                let chosen = rng.below(model.len() as u64) as usize;
                match rng.below(6) {
                    0..3 => {
                        let kind = if rng.chance(500_000) { Kind::TimeWait } else { Kind::Spent };
                        let place = table.insert(Entry::of(&Flow::EMPTY, kind, 0), now);
                        assert_eq!(place.is_none(), model.len() == 8);
                        model.extend(place.map(|place| (place, kind, now_ms + SPANS[kind as usize])));
                    }
                    3 if !model.is_empty() => {
                        let (place, kind, _) = model.remove(chosen);
                        match (kind, rng.chance(500_000)) {
                            (Kind::TimeWait, true) => {
                                table.become_spent(place, now);
                                model.push((place, Kind::Spent, now_ms + SPANS[1]));
                            }
                            _ => {
                                table.restart(place, now);
                                model.push((place, kind, now_ms + SPANS[kind as usize]));
                            }
                        }
                    }
                    4 if !model.is_empty() => table.remove(model.remove(chosen).0),
                    _ => now_ms += rng.below(500),
                }
                check(&table, &model, now_ms);
            }
        }
    }
}
