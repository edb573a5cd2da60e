//! How a polling thread behaves when there is nothing to do: spin, then give way, then sleep.
//!
//! Under load a core never sleeps. After [`SPIN`] without work it offers its core to whoever
//! wants it, after [`YIELD`] it naps, and the nap grows once the quiet has lasted. A newcomer
//! then waits for at most one nap.
//!
//! Where others do want the core, giving way costs a whole time slice of theirs (some
//! milliseconds), while the scheduler lets a thread that slept go first. So once a core was away
//! for long it naps at once instead, for a while.

use netcore::{Duration, Instant};

/// Idle time during which a core only spins.
const SPIN: Duration = Duration::from_micros(50);
/// Idle time after which it naps.
const YIELD: Duration = Duration::from_millis(2);
/// Idle time after which the naps get long.
const QUIET: Duration = Duration::from_millis(200);
/// A core that was given away for so long is wanted by others.
const AWAY: Duration = Duration::from_micros(500);
/// How long that is believed.
const CROWDED: Duration = Duration::from_millis(200);
/// A nap.
const SHORT_NAP: std::time::Duration = std::time::Duration::from_micros(30);
/// A long nap: what the first request after a quiet time may have to wait.
const LONG_NAP: std::time::Duration = std::time::Duration::from_micros(200);

/// Watches how long a thread has been idle.
#[derive(Debug, Default)]
pub struct Pace {
    last_work: Instant,
    /// When the core was offered to others, in the round before.
    gave_way: Option<Instant>,
    /// Until when others are thought to want the core.
    crowded_until: Instant,
}

/// What a thread does until its next round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rest {
    Nothing,
    Spin,
    GiveWay,
    Nap(std::time::Duration),
}

impl Pace {
    /// Makes naps as short as they claim to be (the kernel's default slack is 50 µs).
    pub fn start(now: Instant) -> Self {
        dpdk::sleep_precisely();
        Self { last_work: now, ..Self::default() }
    }

    /// After a round: `worked` says whether it did anything.
    #[inline]
    pub fn round(&mut self, now: Instant, worked: bool) {
        match self.rest(now, worked) {
            Rest::Nothing => {}
            Rest::Spin => core::hint::spin_loop(),
            Rest::GiveWay => std::thread::yield_now(),
            Rest::Nap(time) => std::thread::sleep(time),
        }
    }

    #[inline]
    fn rest(&mut self, now: Instant, worked: bool) -> Rest {
        if let Some(since) = self.gave_way.take()
            && now.since(since) >= AWAY
        {
            self.crowded_until = now + CROWDED;
        }
        if worked {
            self.last_work = now;
            return Rest::Nothing;
        }
        let idle = now.since(self.last_work);
        if idle < SPIN {
            Rest::Spin
        } else if idle < YIELD && now >= self.crowded_until {
            self.gave_way = Some(now);
            Rest::GiveWay
        } else {
            Rest::Nap(if idle < QUIET { SHORT_NAP } else { LONG_NAP })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(us: u64) -> Instant {
        Instant::ZERO + Duration::from_micros(us)
    }

    #[test]
    fn rest_deepens_with_the_quiet_and_ends_with_work() {
        let mut pace = Pace::default();
        for (us, worked, expected) in [
            (10, true, Rest::Nothing),
            (20, false, Rest::Spin),
            (100, false, Rest::GiveWay),
            (101, false, Rest::GiveWay),
            (2_100, false, Rest::Nap(SHORT_NAP)),
            (300_000, false, Rest::Nap(LONG_NAP)),
            (300_100, true, Rest::Nothing),
            (300_110, false, Rest::Spin),
        ] {
            assert_eq!(pace.rest(at(us), worked), expected, "{us} µs");
        }
    }

    #[test]
    fn a_core_that_others_want_is_not_given_away_again() {
        let mut pace = Pace::default();
        assert_eq!(pace.rest(at(0), true), Rest::Nothing);
        assert_eq!(pace.rest(at(100), false), Rest::GiveWay);
        // It came back after 3 ms, to work that had waited.
        assert_eq!(pace.rest(at(3_100), true), Rest::Nothing);
        assert_eq!(pace.rest(at(3_110), false), Rest::Spin);
        assert_eq!(pace.rest(at(3_200), false), Rest::Nap(SHORT_NAP));
        // A while later it is tried again.
        assert_eq!(pace.rest(at(204_000), true), Rest::Nothing);
        assert_eq!(pace.rest(at(204_100), false), Rest::GiveWay);
        assert_eq!(pace.rest(at(204_101), false), Rest::GiveWay);
    }
}
