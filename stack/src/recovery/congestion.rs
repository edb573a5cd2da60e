//! Congestion control (RFC 5681, with the initial window of RFC 6928): pure, one value per
//! connection, told of acknowledgments and losses.

/// The algorithm in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Congestion {
    NewReno(NewReno),
}

/// Slow start and congestion avoidance as RFC 5681 has them (RFC 9293 §3.8.2 MUST-19).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NewReno {
    cwnd: u32,
    ssthresh: u32,
}

/// RFC 6928 §2: min(10*MSS, max(2*MSS, 14600)).
fn initial_window(mss: u16) -> u32 {
    let mss = u32::from(mss);
    (10 * mss).min((2 * mss).max(14_600))
}

/// Beyond this a window of RFC 7323 cannot go.
const CWND_MAX: u32 = 1 << 30;

impl Congestion {
    pub(crate) fn new(mss: u16) -> Self {
        Self::NewReno(NewReno { cwnd: initial_window(mss), ssthresh: CWND_MAX })
    }

    /// Congestion window in bytes.
    #[inline]
    pub(crate) fn window(&self) -> u32 {
        let Self::NewReno(reno) = self;
        reno.cwnd
    }

    /// New data was acknowledged outside recovery; `limited`: the window was in use.
    #[inline]
    pub(crate) fn acknowledged(&mut self, bytes: u32, mss: u16, limited: bool) {
        let Self::NewReno(reno) = self;
        // RFC 7661: a window that was not used says nothing of the path.
        if !limited {
            return;
        }
        let mss = u32::from(mss);
        reno.cwnd += if reno.cwnd < reno.ssthresh {
            // RFC 5681 §3.1 eqn. 2, and RFC 3465 with L = 2 for delayed acknowledgments.
            bytes.min(2 * mss)
        } else {
            // RFC 5681 §3.1 eqn. 3, for each full segment acknowledged.
            let share = u64::from(bytes.min(2 * mss)) * u64::from(mss) / u64::from(reno.cwnd.max(1));
            share.max(1) as u32
        };
        reno.cwnd = reno.cwnd.min(CWND_MAX);
    }

    /// A loss was found by duplicate acknowledgments; `flight`: bytes in flight.
    pub(crate) fn lost(&mut self, flight: u32, mss: u16) {
        let Self::NewReno(reno) = self;
        // RFC 5681 §3.1 eqn. 4.
        reno.ssthresh = (flight / 2).max(2 * u32::from(mss));
        reno.cwnd = reno.ssthresh;
    }

    /// The retransmission timer expired; `first`: for the first time for this data.
    pub(crate) fn timed_out(&mut self, flight: u32, mss: u16, first: bool) {
        let Self::NewReno(reno) = self;
        if first {
            reno.ssthresh = (flight / 2).max(2 * u32::from(mss));
        }
        // RFC 5681 §3.1: the loss window is one segment.
        reno.cwnd = u32::from(mss);
    }

    /// The connection was idle for longer than its timeout (RFC 5681 §4.1).
    pub(crate) fn idle(&mut self, mss: u16) {
        let Self::NewReno(reno) = self;
        reno.cwnd = reno.cwnd.min(initial_window(mss));
    }

    /// The handshake had to be repeated (RFC 5681 §3.1: start with one segment).
    pub(crate) fn handshake_lost(&mut self, mss: u16) {
        let Self::NewReno(reno) = self;
        reno.cwnd = u32::from(mss);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_halves_and_restarts_by_the_rfc() {
        let mut cc = Congestion::new(1460);
        assert_eq!(cc.window(), 14_600);
        assert_eq!(Congestion::new(9000).window(), 18_000);
        assert_eq!(Congestion::new(500).window(), 5000);
        cc.acknowledged(1460, 1460, false);
        assert_eq!(cc.window(), 14_600, "unused windows do not grow");
        cc.acknowledged(1460, 1460, true);
        assert_eq!(cc.window(), 16_060);
        cc.lost(16_060, 1460);
        assert_eq!(cc.window(), 8030);
        for _ in 0..6 {
            cc.acknowledged(1460, 1460, true);
        }
        assert!((9000..9800).contains(&cc.window()), "about one segment per window: {}", cc.window());
        cc.timed_out(9000, 1460, true);
        assert_eq!(cc.window(), 1460);
        cc.lost(100, 1460);
        assert_eq!(cc.window(), 2920, "never below two segments");
    }
}
