//! How a polling thread behaves when there is nothing to do: spin, then give way, then sleep.
//!
//! Under load a core never sleeps. After [`SPIN`] without work it offers its core to whoever
//! wants it, after [`YIELD`] it naps, and the nap grows once the quiet has lasted. A newcomer
//! then waits for at most one nap.

use netcore::{Duration, Instant};

/// Idle time during which a core only spins.
const SPIN: Duration = Duration::from_micros(50);
/// Idle time after which it naps.
const YIELD: Duration = Duration::from_millis(2);
/// Idle time after which the naps get long.
const QUIET: Duration = Duration::from_millis(200);
/// A nap.
const SHORT_NAP: std::time::Duration = std::time::Duration::from_micros(30);
/// A long nap: what the first request after a quiet time may have to wait.
const LONG_NAP: std::time::Duration = std::time::Duration::from_micros(200);

/// Watches how long a thread has been idle.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last_work: Instant,
}

impl Pace {
    /// Makes naps as short as they claim to be (the kernel's default slack is 50 µs).
    pub(crate) fn start(now: Instant) -> Self {
        dpdk::sleep_precisely();
        Self { last_work: now }
    }

    /// After a round: `worked` says whether it did anything.
    #[inline]
    pub(crate) fn round(&mut self, now: Instant, worked: bool) {
        if worked {
            self.last_work = now;
            return;
        }
        let idle = now.since(self.last_work);
        if idle < SPIN {
            core::hint::spin_loop();
        } else if idle < YIELD {
            std::thread::yield_now();
        } else {
            std::thread::sleep(if idle < QUIET { SHORT_NAP } else { LONG_NAP });
        }
    }
}
