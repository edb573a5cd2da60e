//! How far apart two cores are: the round trip of one cache line.
//!
//! On virtual machines it changes within seconds, and every figure of the two-core arrangement
//! with it, so each run states it before and after.

use std::sync::atomic::{AtomicU64, Ordering};

/// Ping-pongs that the median is taken over.
const ROUNDS: u64 = 20_000;

/// A value on a cache line of its own.
#[repr(align(128))]
struct Line(AtomicU64);

/// Median round trip between two threads in TSC cycles.
pub(crate) fn round_trip_cycles() -> u64 {
    let ball = Line(AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..ROUNDS {
                wait_for(&ball.0, 2 * round + 1);
                ball.0.store(2 * round + 2, Ordering::Release);
            }
        });
        let mut samples: Vec<u64> = (0..ROUNDS)
            .map(|round| {
                let begin = dpdk::tsc();
                ball.0.store(2 * round + 1, Ordering::Release);
                wait_for(&ball.0, 2 * round + 2);
                dpdk::tsc() - begin
            })
            .collect();
        samples.sort_unstable();
        samples[samples.len() / 2]
    })
}

fn wait_for(ball: &AtomicU64, value: u64) {
    let mut spins = 0u32;
    while ball.load(Ordering::Acquire) != value {
        std::hint::spin_loop();
        spins += 1;
        if spins.is_multiple_of(4096) {
            // The two may share one core for a while.
            std::thread::yield_now();
        }
    }
}
