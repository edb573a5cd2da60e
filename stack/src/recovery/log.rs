//! What is in flight: when it was sent, and what became of it. One list of runs replaces a record
//! per segment and a SACK scoreboard beside it (RFC 2018, RFC 6675 §3, RFC 8985 §5.2).
//!
//! ```text
//!  SND.UNA                                                  SND.NXT
//!     | flying, 5 ms | sacked | lost, 5 ms | sacked | flying, 7 ms |
//! ```
//!
//! A run is what one output round sent, so a run is long where nothing happens; each costs 16
//! bytes. The log is empty while everything in flight was sent at one time and nothing of it is
//! known to be lost: then the TCB says when ([`crate::tcb::Tcb::sent_at`]).

use alloc::collections::VecDeque;

use netcore::Instant;
use protocol::tcp::SeqNumber;

/// Runs that are told apart: 16 KiB. Beyond it, rounds share a run with the newer one's time, and
/// SACK blocks that would cut a run are ignored (what they tell is only sent once more).
const RUNS_MAX: usize = 1024;
/// Memory that an empty log keeps, in runs.
const RUNS_KEPT: usize = 16;

/// What is known of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// On the way, as far as we know.
    Flying,
    /// The peer holds it.
    Sacked,
    /// To be sent again.
    Lost,
}

/// Numbers up to `end`, from where the run before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// When it was sent the last time; no meaning once it is sacked.
    pub(super) sent_at: Instant,
    pub(super) end: SeqNumber,
    pub(super) fate: Fate,
    pub(super) retransmitted: bool,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    runs: VecDeque<Run>,
    /// SND.UNA
    start: SeqNumber,
    sacked: u32,
    lost: u32,
}

impl Log {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Begins with one flight, `start..end`, all of it sent at `sent_at`.
    pub(super) fn begin(&mut self, start: SeqNumber, end: SeqNumber, sent_at: Instant) {
        debug_assert!(self.is_empty() && start.before(end));
        self.start = start;
        self.runs.push_back(Run { sent_at, end, fate: Fate::Flying, retransmitted: false });
    }

    /// SND.NXT, while the log is in use.
    fn end(&self) -> SeqNumber {
        self.runs.back().map_or(self.start, |run| run.end)
    }

    /// Bytes that the peer holds beyond SND.UNA.
    pub(super) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Bytes that are to be sent again.
    pub(super) fn lost(&self) -> u32 {
        self.lost
    }

    /// Bytes on the way (the pipe of RFC 6675 §4).
    #[inline]
    pub(super) fn in_flight(&self) -> u32 {
        self.end().distance_from(self.start) - self.sacked - self.lost
    }

    /// Everything up to `end` that was not there yet was sent at `now`, for the first time.
    pub(super) fn sent(&mut self, end: SeqNumber, now: Instant) {
        let full = self.runs.len() >= RUNS_MAX;
        if let Some(last) = self.runs.back_mut()
            && last.fate == Fate::Flying
            && ((last.sent_at == now && !last.retransmitted) || full)
        {
            // A time that is too late only means that a loss is found later.
            last.sent_at = now;
            last.end = end;
            return;
        }
        self.runs.push_back(Run { sent_at: now, end, fate: Fate::Flying, retransmitted: false });
    }

    /// SND.UNA moves to `ack`. Each run, or part of one, that this delivers is given to
    /// `delivered`, unless the peer held it before. Returns the bytes of these.
    pub(super) fn acknowledged(&mut self, ack: SeqNumber, mut delivered: impl FnMut(&Run)) -> u32 {
        let mut news = 0;
        while let Some(first) = self.runs.front().copied() {
            let end = first.end.earlier(ack);
            let len = end.distance_from(self.start);
            match first.fate {
                Fate::Sacked => self.sacked -= len,
                Fate::Lost => self.lost -= len,
                Fate::Flying => {}
            }
            if len > 0 && first.fate != Fate::Sacked {
                news += len;
                delivered(&Run { end, ..first });
            }
            self.start = end;
            if end != first.end {
                break;
            }
            self.runs.pop_front();
            if end == ack {
                break;
            }
        }
        if self.runs.is_empty() && self.runs.capacity() > RUNS_KEPT {
            self.runs.shrink_to(RUNS_KEPT);
        }
        news
    }

    /// The peer holds `left..right`; blocks that are not inside of what is in flight are ignored.
    /// What is news goes to `delivered`; returns its bytes.
    pub(super) fn sack(
        &mut self,
        (left, right): (SeqNumber, SeqNumber),
        mut delivered: impl FnMut(&Run),
    ) -> u32 {
        let inside = left.before(right) && left.after_eq(self.start) && right.before_eq(self.end());
        if !inside || self.runs.len() + 2 > 2 * RUNS_MAX {
            return 0;
        }
        let mut news = 0;
        let mut at = self.cut(left);
        let mut start = left;
        while start.before(right) {
            if self.runs[at].fate != Fate::Sacked {
                if self.runs[at].end.after(right) {
                    self.cut(right);
                }
                let run = &mut self.runs[at];
                let len = run.end.distance_from(start);
                if run.fate == Fate::Lost {
                    self.lost -= len;
                }
                self.sacked += len;
                news += len;
                delivered(run);
                *run = Run { sent_at: Instant::ZERO, end: run.end, fate: Fate::Sacked, retransmitted: false };
            }
            start = self.runs[at].end;
            at += 1;
        }
        if news > 0 {
            self.join(left, right);
        }
        news
    }

    /// Makes a run begin at `seq`, which lies inside, and returns its index.
    fn cut(&mut self, seq: SeqNumber) -> usize {
        let at = self.runs.partition_point(|run| run.end.before_eq(seq));
        let start = if at == 0 { self.start } else { self.runs[at - 1].end };
        // A sacked run needs no cut: what is sacked stays sacked.
        if start == seq || self.runs[at].fate == Fate::Sacked {
            return at;
        }
        let run = self.runs[at];
        self.runs.insert(at, Run { end: seq, ..run });
        at + 1
    }

    /// Joins equal neighbours from the run before `left` to the run behind `right`.
    fn join(&mut self, left: SeqNumber, right: SeqNumber) {
        let mut at = self.runs.partition_point(|run| run.end.before(left));
        while at + 1 < self.runs.len() {
            let (run, next) = (self.runs[at], self.runs[at + 1]);
            if (Run { end: next.end, ..run }) == next {
                self.runs.remove(at);
            } else {
                at += 1;
            }
            if run.end.after(right) {
                break;
            }
        }
    }

    /// `start..end` was sent again at `now`; it lies inside and nothing of it is sacked.
    pub(super) fn resent(&mut self, start: SeqNumber, end: SeqNumber, now: Instant) {
        let first = self.cut(start);
        let mut at = first;
        let mut from = start;
        while from.before(end) {
            if self.runs[at].end.after(end) {
                self.cut(end);
            }
            let run = &mut self.runs[at];
            if run.fate == Fate::Lost {
                self.lost -= run.end.distance_from(from);
            }
            if run.fate != Fate::Sacked {
                *run = Run { sent_at: now, end: run.end, fate: Fate::Flying, retransmitted: true };
            }
            from = run.end;
            at += 1;
        }
        if self.runs.len() >= RUNS_MAX
            && first > 0
            && self.runs[first - 1].fate == Fate::Flying
            && self.runs[first - 1].retransmitted
        {
            self.runs[first - 1].sent_at = now;
        }
        self.join(start, end);
    }

    /// Declares lost what `is_lost` says of the runs in flight. Returns the bytes, and whether a
    /// retransmission is among them.
    pub(super) fn mark_lost(&mut self, mut is_lost: impl FnMut(&Run) -> bool) -> (u32, bool) {
        let (mut bytes, mut again) = (0, false);
        let mut start = self.start;
        for run in &mut self.runs {
            if run.fate == Fate::Flying && is_lost(run) {
                run.fate = Fate::Lost;
                bytes += run.end.distance_from(start);
                again |= run.retransmitted;
            }
            start = run.end;
        }
        self.lost += bytes;
        (bytes, again)
    }

    /// Declares the first `len` bytes lost, which are in flight.
    pub(super) fn mark_first_lost(&mut self, len: u32) {
        let end = (self.start + len).earlier(self.end());
        self.cut(end);
        let (mut start, mut at) = (self.start, 0);
        while start.before(end) {
            let run = &mut self.runs[at];
            if run.fate == Fate::Flying {
                run.fate = Fate::Lost;
                self.lost += run.end.distance_from(start);
            }
            start = run.end;
            at += 1;
        }
    }

    /// The first lost run: where it begins, and its length.
    pub(super) fn first_lost(&self) -> Option<(SeqNumber, u32)> {
        if self.lost == 0 {
            return None;
        }
        let mut start = self.start;
        for run in &self.runs {
            if run.fate == Fate::Lost {
                return Some((start, run.end.distance_from(start)));
            }
            start = run.end;
        }
        None
    }

    /// Whether the peer said that it holds what begins at SND.UNA, which it would have
    /// acknowledged: it has thrown it away (RFC 2018 §8).
    pub(super) fn is_reneged(&self) -> bool {
        self.runs.front().is_some_and(|run| run.fate == Fate::Sacked)
    }

    /// Forgets what the peer said that it holds; all of it counts as lost.
    pub(super) fn forget_sacked(&mut self) {
        for run in &mut self.runs {
            if run.fate == Fate::Sacked {
                *run = Run { retransmitted: true, fate: Fate::Lost, ..*run };
            }
        }
        self.lost += self.sacked;
        self.sacked = 0;
    }

    /// Nothing counts as lost any more: what was believed so is on the way.
    pub(super) fn forget_lost(&mut self) {
        for run in &mut self.runs {
            if run.fate == Fate::Lost {
                run.fate = Fate::Flying;
            }
        }
        self.lost = 0;
    }

    /// When the first of what the peer does not hold was sent the last time.
    pub(super) fn first_sent_at(&self) -> Option<Instant> {
        self.runs.iter().find(|run| run.fate != Fate::Sacked).map(|run| run.sent_at)
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::*;
    use netcore::rng::SeededRng;

    /// A byte of the model.
    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Byte {
        sent_us: u64,
        fate: Fate,
        retransmitted: bool,
    }

    struct Model {
        log: Log,
        bytes: Vec<Byte>,
        una: usize,
        origin: SeqNumber,
    }

    impl Model {
        fn seq(&self, at: usize) -> SeqNumber {
            self.origin + at as u32
        }

        /// The log says of every byte what the model says.
        fn check(&self, seed: u64) {
            let mut at = self.una;
            let (mut sacked, mut lost) = (0, 0);
            for run in &self.log.runs {
                let end = run.end.distance_from(self.origin) as usize;
                assert!(end > at, "seed {seed}: an empty run");
                for byte in &self.bytes[at..end] {
                    assert_eq!(byte.fate, run.fate, "seed {seed}");
                    if run.fate != Fate::Sacked {
                        assert_eq!(byte.sent_us, run.sent_at.micros(), "seed {seed}");
                        assert_eq!(byte.retransmitted, run.retransmitted, "seed {seed}");
                    }
                    sacked += u32::from(run.fate == Fate::Sacked);
                    lost += u32::from(run.fate == Fate::Lost);
                }
                at = end;
            }
            assert_eq!(at, if self.log.is_empty() { self.una } else { self.bytes.len() }, "seed {seed}");
            assert_eq!((self.log.sacked, self.log.lost), (sacked, lost), "seed {seed}");
            let first = self.bytes[self.una..].iter().position(|byte| byte.fate == Fate::Lost);
            let found = self.log.first_lost().map(|(start, _)| start.distance_from(self.origin) as usize);
            assert_eq!(found, first.map(|n| self.una + n), "seed {seed}");
        }

        fn step(&mut self, rng: &mut SeededRng, now_us: u64) {
            let now = Instant::from_micros(now_us);
            let len = self.bytes.len();
            let from = self.una + rng.below((len - self.una) as u64 + 1) as usize;
            let to = (from + 1 + rng.below(30) as usize).min(len);
            match rng.below(6) {
                0 => {
                    let more = 1 + rng.below(20) as usize;
                    let byte = Byte { sent_us: now_us, fate: Fate::Flying, retransmitted: false };
                    self.bytes.resize(len + more, byte);
                    if self.log.is_empty() {
                        self.log.begin(self.seq(self.una), self.seq(len + more), now);
                        self.una = self.una.max(len);
                    } else {
                        self.log.sent(self.seq(len + more), now);
                    }
                }
                1 if from < to => {
                    let (mut told, mut expected) = (0, 0);
                    let origin = self.origin;
                    let news = self.log.sack((self.seq(from), self.seq(to)), |run| {
                        told = told.max(run.end.distance_from(origin) as usize);
                    });
                    for byte in &mut self.bytes[from..to] {
                        expected += u32::from(byte.fate != Fate::Sacked);
                        byte.fate = Fate::Sacked;
                    }
                    assert_eq!(news, expected);
                    assert!(told <= to);
                }
                2 if from > self.una => {
                    let expected = self.bytes[self.una..from].iter().filter(|b| b.fate != Fate::Sacked);
                    let expected = expected.count() as u32;
                    let news = self.log.acknowledged(self.seq(from), |_| {});
                    assert_eq!(news, expected);
                    self.una = from;
                }
                3 => {
                    let before = now_us.saturating_sub(rng.below(40));
                    let (lost, again) = self.log.mark_lost(|run| run.sent_at.micros() < before);
                    let (mut bytes, mut resent) = (0, false);
                    for byte in &mut self.bytes[self.una..] {
                        if byte.fate == Fate::Flying && byte.sent_us < before {
                            byte.fate = Fate::Lost;
                            bytes += 1;
                            resent |= byte.retransmitted;
                        }
                    }
                    assert_eq!((lost, again), (bytes, resent));
                }
                4 => {
                    if let Some((start, most)) = self.log.first_lost() {
                        let most = most.min(1 + rng.below(10) as u32);
                        self.log.resent(start, start + most, now);
                        let from = start.distance_from(self.origin) as usize;
                        let byte = Byte { sent_us: now_us, fate: Fate::Flying, retransmitted: true };
                        self.bytes[from..from + most as usize].fill(byte);
                    }
                }
                5 if !self.log.is_empty() && rng.chance(100_000) => {
                    self.log.forget_sacked();
                    for byte in self.bytes[self.una..].iter_mut().filter(|b| b.fate == Fate::Sacked) {
                        *byte = Byte { sent_us: 0, fate: Fate::Lost, retransmitted: true };
                    }
                }
                _ => {}
            }
        }
    }

    #[test]
    fn behaves_like_a_record_per_byte_across_the_wrap() {
        for seed in 0..300 {
            let mut rng = SeededRng::new(seed);
            let origin = SeqNumber(u32::MAX - 200);
            let mut model = Model { log: Log::default(), bytes: vec![], una: 0, origin };
            for step in 0..200u64 {
                model.step(&mut rng, 100 + step / 2);
                model.check(seed);
            }
        }
    }

    #[test]
    fn rounds_make_runs_and_blocks_outside_are_ignored() {
        let (s, t) = (|n: u32| SeqNumber(0xffff_fff0) + n, Instant::from_micros);
        let mut log = Log::default();
        log.begin(s(0), s(100), t(1));
        log.sent(s(200), t(1));
        assert_eq!(log.runs.len(), 1, "one round, one run");
        log.sent(s(300), t(2));
        assert_eq!((log.runs.len(), log.in_flight()), (2, 300));
        for (left, right) in [(250, 301), (50, 50), (60, 50)] {
            assert_eq!(log.sack((s(left), s(right)), |_| {}), 0);
        }
        assert_eq!(log.sack((s(50), s(250)), |_| {}), 200);
        assert_eq!(log.runs.len(), 3, "sacked runs are one, whenever they were sent");
        assert!(!log.is_reneged());
        assert_eq!(log.acknowledged(s(50), |run| assert_eq!(run.end, s(50))), 50);
        assert!(log.is_reneged(), "it would have acknowledged what it holds");
        assert_eq!(log.acknowledged(s(300), |run| assert_eq!(run.sent_at, t(2))), 50);
        assert!(log.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut log = Log::default();
        log.begin(SeqNumber(0), SeqNumber(10), Instant::from_micros(1));
        for n in 2..3000 {
            log.sent(SeqNumber(n * 10), Instant::from_micros(u64::from(n)));
        }
        assert_eq!(log.runs.len(), RUNS_MAX);
        assert_eq!(log.runs.back().unwrap().sent_at, Instant::from_micros(2999), "the newer time");
        for n in 0..3000 {
            log.sack((SeqNumber(n * 10 + 3), SeqNumber(n * 10 + 5)), |_| {});
        }
        assert!(log.runs.len() <= 2 * RUNS_MAX);
        log.acknowledged(SeqNumber(29_990), |_| {});
        assert!(log.is_empty() && log.runs.capacity() <= 2 * RUNS_KEPT);
        assert_eq!(size_of::<Run>(), 16);
    }
}
