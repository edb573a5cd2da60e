//! Congestion control: the window that every segment is held against, and the algorithm that
//! moves it. Pure values: told of acknowledgments, losses and time, they know of no connection.
//!
//! [`Window`] stands in the TCB. What an algorithm remembers beyond it ([`Congestion`]) belongs
//! to connections that have filled a window or lost something. What all algorithms share is
//! here (RFC 5681, with the initial window of RFC 6928); each has a file of its own.

use netcore::{Duration, Instant};

use super::cubic::Cubic;
use super::new_reno::NewReno;
use crate::config::CongestionControl;

/// Beyond this a window of RFC 7323 cannot go.
pub(crate) const CWND_MAX: u32 = 1 << 30;

/// The congestion window and the slow start threshold, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) cwnd: u32,
    pub(crate) ssthresh: u32,
}

/// Newly acknowledged data, as congestion avoidance looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Acked {
    pub(crate) bytes: u32,
    pub(crate) mss: u16,
    pub(crate) now: Instant,
    /// The smoothed round-trip time.
    pub(crate) srtt: Duration,
}

/// The algorithm in force, with what it remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Congestion {
    NewReno(NewReno),
    Cubic(Cubic),
}

/// RFC 6928 §2: min(10*MSS, max(2*MSS, 14600)).
pub(super) fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    (10 * mss).min((2 * mss).max(14_600))
}

/// RFC 5681 §3.1 eqn. 4: a threshold is never below two segments.
pub(super) fn at_least_two_segments(bytes: u32, mss: u16) -> u32 {
    bytes.max(2 * u32::from(mss))
}

impl Window {
    pub(crate) fn new(mss: u16) -> Self {
        Self { cwnd: initial_window(mss), ssthresh: CWND_MAX }
    }

    #[inline]
    pub(crate) fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }

    /// Nothing was lost yet, and no delay has ended slow start.
    #[inline]
    pub(crate) fn is_unbounded(&self) -> bool {
        self.ssthresh == CWND_MAX
    }

    /// New data was acknowledged in slow start. `segments_max`: how many segments' worth one
    /// acknowledgment may add (L of RFC 3465 §2.2, RFC 9406 §4.2).
    #[inline]
    pub(crate) fn slow_start(&mut self, bytes: u32, mss: u16, segments_max: u32) {
        // RFC 5681 §3.1 eqn. 2, counting bytes as RFC 3465 does.
        self.cwnd = (self.cwnd + bytes.min(segments_max * u32::from(mss))).min(CWND_MAX);
    }

    /// The connection was idle for longer than its timeout.
    pub(crate) fn idle(&mut self, mss: u16) {
        let restart = self.cwnd.min(initial_window(mss));
        if restart < self.cwnd && !self.is_unbounded() {
            // RFC 7661 §4.4.2: what the path once carried is the aim of the next slow start.
            self.ssthresh = self.ssthresh.max(self.cwnd - self.cwnd / 4);
        }
        // RFC 5681 §4.1: no burst into a path that one knows nothing of any more.
        self.cwnd = restart;
    }

    /// The handshake had to be repeated (RFC 5681 §3.1: start with one segment).
    pub(crate) fn handshake_lost(&mut self, mss: u16) {
        self.cwnd = u32::from(mss);
    }
}

impl Congestion {
    pub(crate) fn new(control: CongestionControl) -> Self {
        match control {
            CongestionControl::NewReno => Self::NewReno(NewReno::default()),
            CongestionControl::Cubic => Self::Cubic(Cubic::default()),
        }
    }

    /// New data was acknowledged in congestion avoidance, with the window in use.
    pub(crate) fn avoid(&mut self, window: &mut Window, acked: &Acked) {
        match self {
            Self::NewReno(reno) => reno.avoid(window, acked),
            Self::Cubic(cubic) => cubic.avoid(window, acked),
        }
        window.cwnd = window.cwnd.min(CWND_MAX);
    }

    /// Data was acknowledged while less than the window was in use: such time does not count.
    pub(crate) fn paused(&mut self, now: Instant) {
        match self {
            Self::NewReno(_) => {}
            Self::Cubic(cubic) => cubic.paused(now),
        }
    }

    /// A loss or a congestion mark: sets the threshold to what the window shrinks to. `flight`:
    /// bytes in flight.
    pub(crate) fn reduce(&mut self, window: &mut Window, flight: u32, mss: u16) {
        // RFC 5681 §3.2 step 2, RFC 9438 §4.6: not what limited transmit let out beyond it.
        let flight = flight.min(window.cwnd);
        match self {
            Self::NewReno(reno) => reno.reduce(window, flight, mss),
            Self::Cubic(cubic) => cubic.reduce(window, flight, mss),
        }
    }

    /// The retransmission timer expired; `first`: for the first time for this data.
    pub(crate) fn timed_out(&mut self, window: &mut Window, flight: u32, mss: u16, first: bool) {
        if first {
            self.reduce(window, flight, mss);
        }
        match self {
            Self::NewReno(_) => {}
            Self::Cubic(cubic) => cubic.timed_out(),
        }
        // RFC 5681 §3.1: the loss window is one segment.
        window.cwnd = u32::from(mss);
    }

    /// The connection was idle for longer than its timeout.
    pub(crate) fn idle(&mut self) {
        match self {
            Self::NewReno(_) => {}
            Self::Cubic(cubic) => cubic.idle(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_restarts_and_shrinks_by_the_rfcs() {
        assert_eq!(Window::new(1460).cwnd, 14_600);
        assert_eq!(Window::new(9000).cwnd, 18_000);
        assert_eq!(Window::new(500).cwnd, 5000);
        let mut window = Window::new(1460);
        window.slow_start(10 * 1460, 1460, 2);
        assert_eq!(window.cwnd, 14_600 + 2920);
        window.slow_start(100, 1460, 8);
        assert_eq!(window.cwnd, 14_600 + 3020);
        window.idle(1460);
        assert_eq!(window, Window::new(1460));
        window = Window { cwnd: 100_000, ssthresh: 40_000 };
        window.idle(1460);
        assert_eq!(window, Window { cwnd: 14_600, ssthresh: 75_000 });
        for control in [CongestionControl::NewReno, CongestionControl::Cubic] {
            let mut congestion = Congestion::new(control);
            congestion.reduce(&mut window, 100, 1460);
            assert_eq!(window.ssthresh, 2920, "never below two segments");
            window.cwnd = 50_000;
            congestion.timed_out(&mut window, 90_000, 1460, true);
            let ssthresh = if control == CongestionControl::Cubic { 35_000 } else { 25_000 };
            assert_eq!(window, Window { cwnd: 1460, ssthresh }, "what exceeds the window does not count");
            congestion.timed_out(&mut window, 90_000, 1460, false);
            assert_eq!(window, Window { cwnd: 1460, ssthresh });
        }
    }
}
