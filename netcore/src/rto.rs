//! Round-trip time and the retransmission timeout that follows from it (RFC 6298).

use crate::time::Duration;

/// Timeout before the first measurement (RFC 6298 §2.1).
pub const RTO_INITIAL: Duration = Duration::from_secs(1);
/// Timeout for the first data when the handshake's own timed out (RFC 6298 §5.7).
pub const RTO_AFTER_HANDSHAKE: Duration = Duration::from_secs(3);
/// Least timeout. RFC 6298 §2.4 recommends a second; like Linux we take a fifth of it, which is
/// well above any delayed acknowledgment and spares a client of a data centre a long silence.
pub const RTO_MIN: Duration = Duration::from_millis(200);
/// Largest timeout (RFC 6298 §2.5 wants at least 60 s).
pub const RTO_MAX: Duration = Duration::from_secs(60);

/// SRTT and RTTVAR of one connection; eight bytes, pure.
///
/// RFC 9293 §3.8.1 MUST-18: the algorithm of RFC 6298 §2.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RttEstimator {
    /// Smoothed round-trip time in µs; 0: nothing was measured yet.
    srtt_us: u32,
    /// Before the first measurement: the least timeout that is in force until then.
    rttvar_us: u32,
}

impl RttEstimator {
    /// Nothing measured.
    pub const fn new() -> Self {
        Self { srtt_us: 0, rttvar_us: 0 }
    }

    /// Takes a measurement. The caller leaves out segments that were sent twice (Karn).
    ///
    /// Source: RFC 6298 §2.2, §2.3.
    #[inline]
    pub fn sample(&mut self, rtt: Duration) {
        let rtt = rtt.micros().clamp(1, 120_000_000) as u32;
        if self.srtt_us == 0 {
            self.srtt_us = rtt;
            self.rttvar_us = rtt / 2;
        } else {
            // RFC 6298 §2.3: RTTVAR first, with the old SRTT; beta = 1/4, alpha = 1/8.
            let error = self.srtt_us.abs_diff(rtt);
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + error / 4;
            self.srtt_us = (self.srtt_us - self.srtt_us / 8 + rtt / 8).max(1);
        }
    }

    /// The handshake was repeated, and nothing was measured: the path is slower than one thought
    /// (RFC 6298 §5.7).
    pub fn handshake_timed_out(&mut self) {
        if self.srtt_us == 0 {
            self.rttvar_us = RTO_AFTER_HANDSHAKE.micros() as u32;
        }
    }

    /// The smoothed round-trip time, when one was measured.
    pub fn srtt(&self) -> Option<Duration> {
        (self.srtt_us != 0).then(|| Duration::from_micros(u64::from(self.srtt_us)))
    }

    /// The timeout before any backoff.
    #[inline]
    pub fn rto(&self) -> Duration {
        if self.srtt_us == 0 {
            return RTO_INITIAL.max(Duration::from_micros(u64::from(self.rttvar_us)));
        }
        let rto = u64::from(self.srtt_us) + u64::from(self.rttvar_us).saturating_mul(4);
        Duration::from_micros(rto.clamp(RTO_MIN.micros(), RTO_MAX.micros()))
    }

    /// The timeout after `doublings` expiries in a row, at most [`RTO_MAX`].
    ///
    /// RFC 9293 §3.8.2 MUST-19, §3.8.6.1 SHLD-30: exponential backoff (RFC 6298 §5.5).
    #[inline]
    pub fn backed_off(&self, doublings: u8) -> Duration {
        let rto = self.rto().times(1 << u64::from(doublings.min(16)));
        Duration::from_micros(rto.micros().min(RTO_MAX.micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(us: u64) -> Duration {
        Duration::from_micros(us)
    }

    #[test]
    fn first_sample_then_smoothing() {
        // RFC 9293 §3.8.1 MUST-18: RFC 6298 §2.1 to §2.3 with numbers.
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.rto(), RTO_INITIAL);
        rtt.sample(us(400_000));
        assert_eq!(rtt.srtt(), Some(us(400_000)));
        assert_eq!(rtt.rto(), us(400_000 + 4 * 200_000));
        rtt.sample(us(480_000));
        // RTTVAR = 3/4 * 200 + 1/4 * 80 ms, SRTT = 7/8 * 400 + 1/8 * 480 ms.
        assert_eq!(rtt.rto(), us(410_000 + 4 * 170_000));
    }

    #[test]
    fn bounds_and_backoff() {
        // RFC 9293 §3.8.2 MUST-19: RFC 6298 §2.4, §2.5, §5.5 with numbers.
        let mut rtt = RttEstimator::new();
        rtt.sample(us(50));
        assert_eq!(rtt.rto(), RTO_MIN);
        assert_eq!(rtt.backed_off(0), RTO_MIN);
        assert_eq!(rtt.backed_off(3), us(1_600_000));
        assert_eq!(rtt.backed_off(255), RTO_MAX);
        let mut slow = RttEstimator::new();
        slow.sample(Duration::from_secs(10_000));
        assert_eq!(slow.rto(), RTO_MAX);
        let mut zero = RttEstimator::new();
        zero.sample(Duration::ZERO);
        let mut late = RttEstimator::new();
        late.handshake_timed_out();
        assert_eq!((late.rto(), late.srtt()), (RTO_AFTER_HANDSHAKE, None));
        late.sample(us(50));
        assert_eq!(late.rto(), RTO_MIN);
        assert!(zero.srtt().is_some(), "a round trip below the clock's resolution counts as measured");
    }
}
