//! The last events of flows, kept beyond the flows' end: a ring of fixed size, the oldest overwritten.
//!
//! Only steps of a connection's life are written down, none of its data: a short connection leaves
//! four records (opened, told to the host, closed, ended).

use alloc::boxed::Box;
use alloc::vec;
use core::fmt;

use netcore::{FourTuple, Frame, Instant};
use protocol::channel::FlowId;

use crate::counters::Event;
use crate::firmware::Firmware;
use crate::flow_table::{Flow, NO_SLOT, State};
use crate::time_wait::Kind;

/// Where a connection stands, also before and after it has a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is known of it.
    Unknown,
    /// A flow in this state.
    Flow(State),
    /// Over; we closed first.
    TimeWait,
    /// Over; remembered as long as its cookie could be used again.
    Spent,
}

impl Stage {
    /// Lower case, words joined by `_`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Flow(state) => state.name(),
            Self::TimeWait => "time_wait",
            Self::Spent => "spent",
        }
    }
}

impl State {
    /// Lower case, words joined by `_`.
    pub fn name(self) -> &'static str {
        let gauge = self.gauge_name();
        gauge.strip_prefix("flows_").unwrap_or(gauge)
    }
}

/// One step in the life of a flow. Just one cache line is written for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(align(64))]
pub struct Record {
    /// When.
    pub at: Instant,
    /// The flow's name.
    pub flow: FlowId,
    /// Its ends.
    pub tuple: FourTuple,
    /// Why; `None`: an acknowledgment or FIN moved it on.
    pub event: Option<Event>,
    /// Where it stood.
    pub before: Stage,
    /// Where it stands since; the same when it did not move.
    pub after: Stage,
}

const _: () = assert!(size_of::<Record>() == 64);

impl Record {
    const EMPTY: Self = Self {
        at: Instant::ZERO,
        flow: FlowId { slot: 0, generation: 0 },
        tuple: Flow::EMPTY.tuple,
        event: None,
        before: Stage::Unknown,
        after: Stage::Unknown,
    };
}

impl fmt::Display for Record {
    /// `at_us=… flow=SLOT.GENERATION local=… remote=… event=… before=… after=…`, on one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, flow, tuple, event, before, after } = self;
        write!(f, "at_us={} flow={}.{} {}", at.micros(), flow.slot, flow.generation, Ends(tuple))?;
        write!(f, " event={}", event.map_or("-", Event::name))?;
        write!(f, " before={} after={}", before.name(), after.name())
    }
}

/// `local=ADDRESS:PORT remote=ADDRESS:PORT`, IPv6 in brackets.
pub(crate) struct Ends<'a>(pub(crate) &'a FourTuple);

impl fmt::Display for Ends<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "local={} remote={}", self.0.local(), self.0.remote())
    }
}

/// The records.
#[derive(Debug)]
pub struct History {
    /// A power of two of them, or none.
    records: Box<[Record]>,
    /// Counts all that were ever written; the next one's place.
    next: u64,
    /// The slot whose flow is about to move for the reason in the newest record.
    about_to_move: u32,
}

impl History {
    pub(crate) fn new(history_max: usize) -> Self {
        let len = Self::len(history_max);
        Self { records: vec![Record::EMPTY; len].into_boxed_slice(), next: 0, about_to_move: NO_SLOT }
    }

    const fn len(history_max: usize) -> usize {
        if history_max == 0 { 0 } else { history_max.next_power_of_two() }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(history_max: usize) -> usize {
        Self::len(history_max) * size_of::<Record>()
    }

    /// How many records were ever written.
    pub fn written(&self) -> u64 {
        self.next
    }

    /// Those from number `first` on that are still there, oldest first, each with its number.
    pub fn since(&self, first: u64) -> impl DoubleEndedIterator<Item = (u64, &Record)> {
        let len = self.records.len() as u64;
        let oldest = self.next.saturating_sub(len).max(first).min(self.next);
        (oldest..self.next).filter_map(move |number| Some((number, self.records.get(self.place(number))?)))
    }

    /// All that are there, newest first.
    pub fn newest(&self) -> impl Iterator<Item = &Record> {
        self.since(0).rev().map(|(_, record)| record)
    }

    /// Those of one flow, newest first.
    pub fn of(&self, flow: FlowId) -> impl Iterator<Item = &Record> {
        self.newest().filter(move |record| record.flow == flow)
    }

    #[inline]
    fn place(&self, number: u64) -> usize {
        number as usize & self.records.len().wrapping_sub(1)
    }

    #[inline]
    fn write(&mut self, record: Record) {
        let place = self.place(self.next);
        if let Some(slot) = self.records.get_mut(place) {
            *slot = record;
            self.next += 1;
            self.about_to_move = NO_SLOT;
        }
    }

    /// Completes the newest record, when it says why the flow in this slot is about to move; false
    /// when it does not.
    #[inline]
    fn moved(&mut self, slot: u32, after: Stage) -> bool {
        if self.about_to_move != slot {
            return false;
        }
        self.about_to_move = NO_SLOT;
        let place = self.place(self.next.wrapping_sub(1));
        if let Some(last) = self.records.get_mut(place) {
            last.after = after;
        }
        true
    }
}

/// Whether a flow moves on because of this, and not just beside it.
const fn moves(event: Event) -> bool {
    matches!(
        event,
        Event::PassiveClose
            | Event::ActiveClose
            | Event::WaitingClosed
            | Event::DataAfterClose
            | Event::ResetReceived
            | Event::ResetSent
            | Event::TimedOut
    )
}

impl<F: Frame> Firmware<F> {
    /// The last events of flows.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Counts something that happened to a flow and writes it down.
    #[inline]
    pub(crate) fn note(&mut self, slot: u32, event: Event) {
        self.counters.add(event);
        let stage = Stage::Flow(self.flows[slot].state);
        self.record(slot, Some(event), stage, stage);
        if moves(event) {
            self.history.about_to_move = slot;
        }
    }

    /// A flow moves from one stage to the next: for the reason that was noted just before, if any.
    #[inline]
    pub(crate) fn note_step(&mut self, slot: u32, event: Option<Event>, before: Stage, after: Stage) {
        if !self.history.moved(slot, after) {
            self.record(slot, event, before, after);
        }
    }

    /// A flow ends.
    #[inline]
    pub(crate) fn note_end(&mut self, slot: u32, kind: Kind) {
        let before = Stage::Flow(self.flows[slot].state);
        let after = match kind {
            Kind::TimeWait => Stage::TimeWait,
            Kind::Spent => Stage::Spent,
        };
        self.note_step(slot, None, before, after);
    }

    #[inline]
    fn record(&mut self, slot: u32, event: Option<Event>, before: Stage, after: Stage) {
        let held = &self.flows[slot];
        let flow = FlowId { slot, generation: held.generation };
        self.history.write(Record { at: self.now, flow, tuple: held.tuple, event, before, after });
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec::Vec;

    use super::*;

    fn record(slot: u32, at: u64) -> Record {
        Record { at: Instant::from_micros(at), flow: FlowId { slot, generation: 1 }, ..Record::EMPTY }
    }

    #[test]
    fn the_newest_are_kept_and_found() {
        let mut history = History::new(6);
        assert_eq!(history.newest().count(), 0);
        for number in 0..20 {
            history.write(record(number as u32 % 3, number));
            let kept: Vec<u64> = history.newest().map(|record| record.at.micros()).collect();
            let expected: Vec<u64> = (0..=number).rev().take(8).collect();
            assert_eq!(kept, expected);
        }
        assert_eq!(history.written(), 20);
        let since: Vec<u64> = history.since(18).map(|(number, _)| number).collect();
        assert_eq!(since, [18, 19]);
        assert_eq!(history.since(0).count(), 8);
        assert_eq!(history.since(99).count(), 0);
        let of_one: Vec<u64> =
            history.of(FlowId { slot: 1, generation: 1 }).map(|record| record.at.micros()).collect();
        assert_eq!(of_one, [19, 16, 13]);
        assert_eq!(history.of(FlowId { slot: 1, generation: 2 }).count(), 0);
    }

    #[test]
    fn without_room_nothing_is_kept() {
        let mut history = History::new(0);
        history.write(record(0, 1));
        assert_eq!((history.written(), history.newest().count()), (0, 0));
        assert!(!history.moved(0, Stage::Spent));
    }

    #[test]
    fn a_record_is_a_line() {
        let shown = Record { event: Some(Event::ResetReceived), ..record(5, 70) }.to_string();
        assert_eq!(
            shown,
            "at_us=70 flow=5.1 local=0.0.0.0:0 remote=0.0.0.0:0 event=reset_received before=unknown after=unknown"
        );
    }
}
