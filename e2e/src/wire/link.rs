//! What one direction of a wire does to frames, without sockets and clocks: frames and times go
//! in, frames and the time at which each is due come out.
//!
//! ```text
//! frame ─ lost? ─ queue (bounded) ─ sender (rate) ─ line (delay, some later) ─ due
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

/// Length of an Ethernet header: what the wire never corrupts, or no interface would take it.
const ETHERNET_HEADER_LEN: usize = 14;

/// One direction of a wire. The default is a perfect one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// From the end of sending to the arrival.
    pub delay: Duration,
    /// Bits per second, Ethernet headers included, as `netem` counts them; 0: without limit.
    pub bits_per_second: u64,
    /// Frames that may wait for their turn at that rate; one more is dropped (tail drop).
    pub queue_frames: usize,
    /// Frames in a million that are lost, each for itself.
    pub lost_per_million: u32,
    /// Frames in a million that come twice.
    pub duplicated_per_million: u32,
    /// Frames in a million that take `late_by` longer, so that others overtake them.
    pub late_per_million: u32,
    /// How much longer.
    pub late_by: Duration,
    /// Frames in a million with one bit turned over, somewhere behind the Ethernet header.
    pub corrupted_per_million: u32,
}

/// What happened to the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames that came to the wire.
    pub entered: u64,
    /// Frames that left it at its other end.
    pub carried: u64,
    /// Frames lost by chance or on demand.
    pub lost: u64,
    /// Frames that found the queue full.
    pub queue_full: u64,
    /// Frames sent twice.
    pub duplicated: u64,
    /// Frames held back.
    pub late: u64,
    /// Frames with a bit turned over.
    pub corrupted: u64,
    /// Frames that the wire's own sockets lost: none, or the emulation did not keep up.
    pub missed: u64,
}

/// A direction at work.
pub(crate) struct Direction {
    link: Link,
    dice: Dice,
    /// When the sender has sent everything that it has.
    busy_until: Option<Instant>,
    /// When each frame that waits for the sender has been sent.
    queue: VecDeque<Instant>,
    line: BinaryHeap<Reverse<OnTheLine>>,
    number: u64,
    pub(crate) counts: Counts,
}

/// A frame on its way; ordered by when it is due, then by how they came.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct OnTheLine {
    due: Instant,
    number: u64,
    frame: Vec<u8>,
}

impl Direction {
    pub(crate) fn new(link: Link, seed: u64) -> Self {
        Self {
            link,
            dice: Dice(seed),
            busy_until: None,
            queue: VecDeque::new(),
            line: BinaryHeap::new(),
            number: 0,
            counts: Counts::default(),
        }
    }

    /// Takes a frame that came at `at`; `lose`: somebody asked for the loss of this one.
    pub(crate) fn enter(&mut self, mut frame: Vec<u8>, at: Instant, lose: bool) {
        self.counts.entered += 1;
        if lose || self.dice.hits(self.link.lost_per_million) {
            self.counts.lost += 1;
            return;
        }
        if self.dice.hits(self.link.corrupted_per_million) && frame.len() > ETHERNET_HEADER_LEN {
            self.counts.corrupted += 1;
            let bits = (frame.len() - ETHERNET_HEADER_LEN) * 8;
            let bit = self.dice.below(bits as u64) as usize;
            frame[ETHERNET_HEADER_LEN + bit / 8] ^= 1 << (bit % 8);
        }
        if self.dice.hits(self.link.duplicated_per_million) {
            self.counts.duplicated += 1;
            self.queue(frame.clone(), at);
        }
        self.queue(frame, at);
    }

    fn queue(&mut self, frame: Vec<u8>, at: Instant) {
        let mut sent = at;
        if let Some(nanoseconds) =
            (frame.len() as u64 * 8 * 1_000_000_000).checked_div(self.link.bits_per_second)
        {
            while self.queue.front().is_some_and(|sent| *sent <= at) {
                self.queue.pop_front();
            }
            // The frame that is being sent does not wait.
            if self.queue.len() > self.link.queue_frames {
                self.counts.queue_full += 1;
                return;
            }
            let begin = self.busy_until.map_or(at, |until| until.max(at));
            sent = begin + Duration::from_nanos(nanoseconds);
            self.busy_until = Some(sent);
            self.queue.push_back(sent);
        }
        let mut due = sent + self.link.delay;
        if self.dice.hits(self.link.late_per_million) {
            self.counts.late += 1;
            due += self.link.late_by;
        }
        self.line.push(Reverse(OnTheLine { due, number: self.number, frame }));
        self.number += 1;
    }

    /// When the next frame is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.line.peek().map(|Reverse(next)| next.due)
    }

    /// The next frame that is due at `now`, and since when.
    pub(crate) fn leave(&mut self, now: Instant) -> Option<(Vec<u8>, Instant)> {
        if self.next_due()? > now {
            return None;
        }
        let Reverse(next) = self.line.pop()?;
        self.counts.carried += 1;
        Some((next.frame, next.due))
    }
}

/// A small generator (Knuth's MMIX constants); only its high bits are used.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A fault that never happens takes no throw, so that others keep theirs.
    fn hits(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// What is carried until nothing is on the line: number and time after `start` of each.
    fn all(direction: &mut Direction, start: Instant) -> Vec<(u8, Duration)> {
        let mut out = Vec::new();
        while let Some(due) = direction.next_due() {
            assert!(direction.leave(due - Duration::from_nanos(1)).is_none());
            let (frame, since) = direction.leave(due).expect("it is due");
            assert_eq!(since, due);
            out.push((frame[0], due - start));
        }
        out
    }

    fn frame(number: u8, len: usize) -> Vec<u8> {
        let mut frame = vec![0; len];
        frame[0] = number;
        frame
    }

    #[test]
    fn rate_and_delay_are_exact() {
        let link = Link { delay: 10 * MS, bits_per_second: 1_000_000, queue_frames: 10, ..Link::default() };
        let (mut direction, start) = (Direction::new(link, 1), Instant::now());
        // 125 bytes are a millisecond. The first two together, the third into an idle sender.
        direction.enter(frame(0, 125), start, false);
        direction.enter(frame(1, 250), start, false);
        direction.enter(frame(2, 125), start + 7 * MS, false);
        assert_eq!(all(&mut direction, start), [(0, 11 * MS), (1, 13 * MS), (2, 18 * MS)]);
    }

    #[test]
    fn without_rate_nothing_waits() {
        let (mut direction, start) = (Direction::new(Link::default(), 1), Instant::now());
        (0..9).for_each(|number| direction.enter(frame(number, 1500), start, false));
        assert!(all(&mut direction, start).into_iter().eq((0..9).map(|number| (number, Duration::ZERO))));
    }

    #[test]
    fn a_full_queue_drops_its_tail() {
        let link = Link { bits_per_second: 1_000_000, queue_frames: 2, ..Link::default() };
        let (mut direction, start) = (Direction::new(link, 1), Instant::now());
        // One is sent, two wait, two find no room; later there is room again.
        (0..5).for_each(|number| direction.enter(frame(number, 125), start, false));
        assert_eq!(direction.counts.queue_full, 2);
        direction.enter(frame(5, 125), start + MS, false);
        assert_eq!(direction.counts.queue_full, 2);
        let carried: Vec<u8> = all(&mut direction, start).into_iter().map(|(number, _)| number).collect();
        assert_eq!(carried, [0, 1, 2, 5]);
    }

    #[test]
    fn every_fault_happens_as_often_as_asked() {
        let link = Link {
            lost_per_million: 10_000,
            duplicated_per_million: 20_000,
            late_per_million: 30_000,
            late_by: 5 * MS,
            corrupted_per_million: 40_000,
            ..Link::default()
        };
        let (mut direction, start) = (Direction::new(link, 7), Instant::now());
        for _ in 0..100_000 {
            direction.enter(vec![0; 100], start, false);
        }
        let counts = direction.counts;
        let near = |count: u64, wanted: u64| count.abs_diff(wanted) * 10 < wanted;
        assert!(near(counts.lost, 1000) && near(counts.duplicated, 1980), "{counts:?}");
        assert!(near(counts.late, 3030) && near(counts.corrupted, 3960), "{counts:?}");
        let (mut late, mut turned) = (0, 0);
        while let Some((frame, due)) = direction.leave(start + 5 * MS) {
            late += u64::from(due > start);
            turned += u64::from(frame.iter().map(|byte| byte.count_ones()).sum::<u32>() == 1);
            assert!(frame[..ETHERNET_HEADER_LEN].iter().all(|byte| *byte == 0));
        }
        assert_eq!(late, counts.late);
        // One that came twice was turned over before.
        assert!(turned >= counts.corrupted);
        assert_eq!(direction.counts.carried, counts.entered - counts.lost + counts.duplicated);
    }

    #[test]
    fn a_loss_on_demand_and_the_same_seed_twice() {
        let link = Link { lost_per_million: 500_000, ..Link::default() };
        let run = |seed| {
            let (mut direction, start) = (Direction::new(link, seed), Instant::now());
            (0..40).for_each(|number| direction.enter(frame(number, 60), start, number == 3));
            all(&mut direction, start).into_iter().map(|(number, _)| number).collect::<Vec<_>>()
        };
        assert!(!run(5).contains(&3));
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }
}
