//! The retransmission timeout (RFC 6298), in microseconds.

/// Before anything was measured (RFC 6298 §2.1).
const INITIAL_US: u32 = 1_000_000;
/// Linux's minimum; RFC 6298 §2.4 would have a second.
const MIN_US: u32 = 200_000;
const MAX_US: u32 = 60_000_000;

/// One connection's estimate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rto {
    srtt_us: u32,
    rttvar_us: u32,
    rto_us: u32,
}

impl Rto {
    pub(super) const fn new() -> Self {
        Self { srtt_us: 0, rttvar_us: 0, rto_us: INITIAL_US }
    }

    pub(super) const fn micros(&self) -> u64 {
        self.rto_us as u64
    }

    /// A round trip of `rtt_us` was measured on a segment that was sent once.
    #[inline]
    pub(super) fn measured(&mut self, rtt_us: u64) {
        let rtt_us = rtt_us.clamp(1, u64::from(MAX_US)) as u32;
        if self.srtt_us == 0 {
            self.srtt_us = rtt_us;
            self.rttvar_us = rtt_us / 2;
        } else {
            let off = self.srtt_us.abs_diff(rtt_us);
            self.rttvar_us = self.rttvar_us - self.rttvar_us / 4 + off / 4;
            self.srtt_us = self.srtt_us - self.srtt_us / 8 + rtt_us / 8;
        }
        self.rto_us = (self.srtt_us + (4 * self.rttvar_us).max(1)).clamp(MIN_US, MAX_US);
    }

    /// The timer ran out (RFC 6298 §5.5).
    pub(super) fn back_off(&mut self) {
        self.rto_us = (self.rto_us * 2).min(MAX_US);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_follows_the_round_trip_and_backs_off() {
        let mut rto = Rto::new();
        assert_eq!(rto.micros(), 1_000_000);
        rto.back_off();
        assert_eq!(rto.micros(), 2_000_000);
        rto.measured(500_000);
        assert_eq!(rto.micros(), 1_500_000);
        for _ in 0..100 {
            rto.measured(50);
        }
        assert_eq!(rto.micros(), 200_000);
        rto.measured(u64::MAX);
        for _ in 0..20 {
            rto.back_off();
        }
        assert_eq!(rto.micros(), 60_000_000);
    }
}
