//! Congestion avoidance of NewReno (RFC 5681 §3.1).

use super::congestion::{Acked, Window, at_least_two_segments};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct NewReno {
    /// Growth that did not make a byte yet, in parts of the window.
    rest: u64,
}

impl NewReno {
    pub(super) fn avoid(&mut self, window: &mut Window, acked: &Acked) {
        // RFC 5681 §3.1 eqn. 3, for each full segment acknowledged (RFC 3465 §2.1).
        let growth = self.rest + u64::from(acked.bytes) * u64::from(acked.mss);
        let cwnd = u64::from(window.cwnd.max(1));
        window.cwnd += (growth / cwnd) as u32;
        self.rest = growth % cwnd;
    }

    pub(super) fn reduce(&mut self, window: &mut Window, flight: u32, mss: u16) {
        // RFC 5681 §3.1 eqn. 4.
        window.ssthresh = at_least_two_segments(flight / 2, mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netcore::{Duration, Instant};

    #[test]
    fn grows_by_a_segment_a_window_and_halves() {
        let mut reno = NewReno::default();
        let mut window = Window { cwnd: 14_600, ssthresh: 14_600 };
        let acked = Acked { bytes: 1460, mss: 1460, now: Instant::ZERO, srtt: Duration::ZERO };
        for _ in 0..10 {
            reno.avoid(&mut window, &acked);
        }
        // Ten acknowledgments of a window that grows meanwhile: a little less than a segment.
        assert!((15_900..=16_060).contains(&window.cwnd), "{}", window.cwnd);
        reno.reduce(&mut window, 16_000, 1460);
        assert_eq!(window.ssthresh, 8000);
    }
}
