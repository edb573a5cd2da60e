//! What goes wrong on the wire, and when.

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};

/// How a wire treats its frames. Rates are in frames per million.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Frames that vanish.
    pub loss: u32,
    /// Frames that arrive twice, the second time a little later.
    pub duplicate: u32,
    /// Frames that arrive again long after, within the segment lifetime (`late_max`).
    pub late_duplicate: u32,
    /// Frames that later ones overtake.
    pub reorder: u32,
    /// Frames with some bits of one 16-bit word turned over.
    pub corrupt: u32,
    /// Frames with which a stretch begins in which every frame is lost.
    pub burst: u32,
    /// Frames with which such a stretch ends.
    pub burst_end: u32,
    /// Frames whose Ethernet header has a bit turned over, which no checksum of ours covers.
    pub corrupt_link: u32,
    /// Frames that are held up, and all behind them, by up to `holdup_max`.
    pub holdup: u32,
    /// See `holdup`.
    pub holdup_max: Duration,
    /// A direction in which nothing gets through.
    pub blocked: Option<Direction>,
    /// Largest IP packet that the server may send; a router tells it when one is larger.
    pub path_mtu: Option<usize>,
    /// Delay of every frame.
    pub delay: Duration,
    /// Up to so much more, without reordering.
    pub jitter: Duration,
    /// Up to so much more for a frame that is overtaken or comes twice.
    pub reorder_max: Duration,
    /// Up to so much more for a late duplicate.
    pub late_max: Duration,
    /// Bytes per second in each direction; `None`: as many as come.
    pub bytes_per_second: Option<u64>,
    /// What may wait for its turn when there is a rate; frames beyond that are lost.
    pub queue_max: Duration,
}

/// A direction of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// To the machine under test.
    ToServer,
    /// From it.
    FromServer,
}

impl Faults {
    /// A good wire: nothing but a short delay.
    pub fn none() -> Self {
        Self { delay: Duration::from_micros(50), ..Self::default() }
    }

    /// A cut wire.
    pub fn cut() -> Self {
        Self { loss: 1_000_000, ..Self::none() }
    }

    /// Draws a wire of some badness.
    pub fn draw(rng: &mut SeededRng) -> Self {
        let mut faults = Self {
            delay: Duration::from_micros([5, 50, 500, 5_000, 50_000][rng.below(5) as usize]),
            ..Self::default()
        };
        let mut rate = |of: u32| if rng.chance(500_000) { rng.below(u64::from(of)) as u32 } else { 0 };
        faults.loss = rate(60_000);
        faults.duplicate = rate(40_000);
        faults.late_duplicate = rate(10_000);
        faults.reorder = rate(60_000);
        faults.corrupt = rate(20_000);
        faults.jitter = Duration::from_micros(rng.below(faults.delay.micros() + 1));
        faults.reorder_max = Duration::from_micros(1 + rng.below(faults.delay.micros() * 4));
        faults.late_max = Duration::from_secs(1 + rng.below(25));
        if rng.chance(150_000) {
            faults.burst = 1 + rng.below(3_000) as u32;
            faults.burst_end = 50_000 + rng.below(400_000) as u32;
        }
        if rng.chance(150_000) {
            faults.holdup = 1 + rng.below(2_000) as u32;
            faults.holdup_max = Duration::from_millis(1 + rng.below(4_000));
        }
        if rng.chance(100_000) {
            faults.corrupt_link = 1 + rng.below(5_000) as u32;
        }
        if rng.chance(150_000) {
            // Some are so narrow that routers have to fragment what comes.
            let drawn = rng.below(800) as usize;
            faults.path_mtu = Some(if drawn.is_multiple_of(8) { 68 + drawn / 4 } else { 600 + drawn });
        }
        if rng.chance(200_000) {
            faults.bytes_per_second = Some([125_000, 1_250_000, 12_500_000][rng.below(3) as usize]);
            faults.queue_max = Duration::from_millis(20 + rng.below(200));
        }
        faults
    }
}

/// Faults over time: phases one after the other, then a good wire for ever.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// When each phase ends, in order.
    phases: Vec<(Instant, Faults)>,
}

impl Plan {
    /// Adds a phase of this length behind the others.
    pub fn then(&mut self, length: Duration, faults: Faults) {
        let begin = self.end();
        self.phases.push((begin + length, faults));
    }

    /// When the wire has become good.
    pub fn end(&self) -> Instant {
        self.phases.last().map_or(Instant::ZERO, |(end, _)| *end)
    }

    /// What holds at `now`, and until when.
    pub fn at(&self, now: Instant) -> (Faults, Option<Instant>) {
        match self.phases.iter().find(|(end, _)| now < *end) {
            Some((end, faults)) => (faults.clone(), Some(*end)),
            None => (Faults::none(), None),
        }
    }

    /// Draws some phases: bad stretches, cuts, and good wire in between.
    pub fn draw(rng: &mut SeededRng) -> Self {
        let mut plan = Self::default();
        for _ in 0..rng.below(5) {
            match rng.below(5) {
                0 => plan.then(Duration::from_millis(rng.below(4_000)), Faults::none()),
                1 => plan.then(Duration::from_millis(1 + rng.below(3_000)), Faults::cut()),
                2 => {
                    let blocked = [Direction::ToServer, Direction::FromServer][rng.below(2) as usize];
                    let faults = Faults { blocked: Some(blocked), ..Faults::none() };
                    plan.then(Duration::from_millis(1 + rng.below(3_000)), faults);
                }
                _ => plan.then(Duration::from_millis(100 + rng.below(8_000)), Faults::draw(rng)),
            }
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_follow_each_other_and_end_well() {
        let mut plan = Plan::default();
        plan.then(Duration::from_secs(1), Faults::cut());
        plan.then(Duration::from_secs(1), Faults { loss: 7, ..Faults::none() });
        let at = |ms: u64| plan.at(Instant::from_micros(ms * 1000));
        assert_eq!(at(999), (Faults::cut(), Some(Instant::from_micros(1_000_000))));
        assert_eq!(at(1000).0.loss, 7);
        assert_eq!(at(2000), (Faults::none(), None));
    }
}
