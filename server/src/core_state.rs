//! What one core owns: its clock reading, randomness, counters.

use std::sync::Arc;

use netcore::Instant;
use netcore::rng::SeededRng;

use crate::clients::Ids;
use crate::output_limit::Heavy;
use crate::stats::CoreStats;
use crate::waiting::Deadlines;

/// One core's own state.
pub struct CoreState {
    /// The core's number among the engine's.
    pub core: usize,
    /// Unix time of this burst, in microseconds.
    pub now_us: i64,
    /// The same in milliseconds.
    pub now_ms: i64,
    /// The same in seconds, cut to 32 bits, for times of use.
    pub now_s: u32,
    /// Counters.
    pub stats: Arc<CoreStats>,
    /// Clients that wait until some time.
    pub deadlines: Deadlines,
    /// Clients with much output.
    pub heavy: Heavy,
    /// Ids for this burst's newcomers.
    pub(crate) client_ids: Ids,
    unix_us_at_zero: i64,
    rng: SeededRng,
}

impl CoreState {
    /// `unix_us_at_zero`: Unix time in µs at `Instant::ZERO`; `seed`: any 64 bits, another for
    /// each core.
    pub fn new(core: usize, unix_us_at_zero: i64, seed: u64, stats: Arc<CoreStats>) -> Self {
        let mut state = Self {
            core,
            now_us: 0,
            now_ms: 0,
            now_s: 0,
            stats,
            deadlines: Deadlines::default(),
            heavy: Heavy::default(),
            client_ids: Ids::default(),
            unix_us_at_zero,
            rng: SeededRng::new(seed),
        };
        state.set_now(Instant::ZERO);
        state
    }
    /// A burst begins.
    #[inline]
    pub fn set_now(&mut self, now: Instant) {
        self.now_us = self.unix_us_at_zero + now.micros() as i64;
        self.now_ms = self.now_us / 1000;
        self.now_s = (self.now_ms / 1000) as u32;
    }
    /// 64 random bits. For choices that clients see, not for secrets.
    #[inline]
    pub fn random(&mut self) -> u64 {
        self.rng.next_u64()
    }
}
