//! HyStart++ (RFC 9406): the first slow start ends when round trips grow longer, before the
//! queue on the path runs over and a whole window is lost.

use netcore::Duration;
use protocol::tcp::SeqNumber;

/// MIN_RTT_THRESH, MAX_RTT_THRESH (RFC 9406 §4.3).
const THRESH_MIN_US: u64 = 4000;
const THRESH_MAX_US: u64 = 16_000;
/// MIN_RTT_DIVISOR
const DIVISOR: u64 = 8;
/// N_RTT_SAMPLE
const SAMPLES_MIN: u8 = 8;
/// CSS_GROWTH_DIVISOR
pub(super) const CSS_GROWTH_DIVISOR: u32 = 4;
/// CSS_ROUNDS
const CSS_ROUNDS: u8 = 5;
/// L: segments that one acknowledgment adds at most, without pacing (RFC 9406 §4.3).
pub(super) const SEGMENTS_MAX: u32 = 8;
/// No round trip was measured.
const NONE: u64 = u64::MAX;

/// How slow start goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    SlowStart,
    /// Conservative slow start: a quarter of the growth.
    Conservative,
    /// Slow start is over.
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HyStart {
    /// windowEnd: the round is over when this is acknowledged.
    window_end: SeqNumber,
    /// lastRoundMinRTT, currentRoundMinRTT, in µs.
    last_min_us: u64,
    current_min_us: u64,
    samples: u8,
    conservative: Option<Css>,
}

/// Conservative slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Css {
    /// cssBaselineMinRtt in µs.
    baseline_us: u64,
    rounds: u8,
}

impl HyStart {
    /// `snd_nxt`: the end of the first round.
    pub(super) fn new(snd_nxt: SeqNumber) -> Self {
        Self { window_end: snd_nxt, last_min_us: NONE, current_min_us: NONE, samples: 0, conservative: None }
    }

    /// Data up to `ack` was acknowledged; `rtt`: measured with it.
    pub(super) fn acknowledged(&mut self, ack: SeqNumber, snd_nxt: SeqNumber, rtt: Option<Duration>) -> Pace {
        if let Some(rtt) = rtt {
            self.current_min_us = self.current_min_us.min(rtt.micros());
            self.samples = self.samples.saturating_add(1);
        }
        let enough = self.samples >= SAMPLES_MIN && self.current_min_us != NONE;
        match &mut self.conservative {
            None => {
                if enough && self.last_min_us != NONE {
                    let thresh = (self.last_min_us / DIVISOR).clamp(THRESH_MIN_US, THRESH_MAX_US);
                    if self.current_min_us >= self.last_min_us + thresh {
                        self.conservative = Some(Css { baseline_us: self.current_min_us, rounds: 0 });
                    }
                }
            }
            // RFC 9406 §4.2: the longer round trips were none of our doing.
            Some(css) if enough && self.current_min_us < css.baseline_us => self.conservative = None,
            Some(_) => {}
        }
        if ack.after_eq(self.window_end) {
            self.window_end = snd_nxt;
            self.last_min_us = self.current_min_us;
            self.current_min_us = NONE;
            self.samples = 0;
            if let Some(css) = &mut self.conservative {
                css.rounds += 1;
            }
        }
        match &self.conservative {
            None => Pace::SlowStart,
            Some(css) if css.rounds < CSS_ROUNDS => Pace::Conservative,
            Some(_) => Pace::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A round of ten acknowledgments, each with this round-trip time.
    fn round(hystart: &mut HyStart, at: &mut u32, rtt_ms: u64) -> Pace {
        let mut pace = Pace::SlowStart;
        for _ in 0..10 {
            *at += 10;
            let (ack, snd_nxt) = (SeqNumber(*at), SeqNumber(*at + 100));
            pace = hystart.acknowledged(ack, snd_nxt, Some(Duration::from_millis(rtt_ms)));
        }
        pace
    }

    #[test]
    fn longer_round_trips_slow_it_down_and_end_it() {
        let mut hystart = HyStart::new(SeqNumber(100));
        let mut at = 0;
        assert_eq!(round(&mut hystart, &mut at, 20), Pace::SlowStart);
        assert_eq!(round(&mut hystart, &mut at, 23), Pace::SlowStart, "below 4 ms");
        assert_eq!(round(&mut hystart, &mut at, 28), Pace::Conservative);
        for _ in 0..3 {
            assert_eq!(round(&mut hystart, &mut at, 30), Pace::Conservative);
        }
        assert_eq!(round(&mut hystart, &mut at, 30), Pace::Over);
    }

    #[test]
    fn a_short_disturbance_does_not_end_it() {
        let mut hystart = HyStart::new(SeqNumber(100));
        let mut at = 0;
        round(&mut hystart, &mut at, 20);
        assert_eq!(round(&mut hystart, &mut at, 40), Pace::Conservative);
        assert_eq!(round(&mut hystart, &mut at, 20), Pace::SlowStart);
        assert_eq!(round(&mut hystart, &mut at, 20), Pace::SlowStart);
    }
}
