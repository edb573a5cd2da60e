//! What carries the engine: real transports with a clock.
//!
//! [`dpdk`] is our own TCP stack on a DPDK device, [`kernel`] ordinary sockets of the operating
//! system.

pub mod dpdk;
mod external;
pub mod kernel;
mod memory;

pub use memory::memory_use;

use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rand::TryRngCore;

use crate::engine::EngineStart;

/// Locks what no panic leaves half changed.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Unix time now, in µs.
pub fn unix_us() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

/// What an engine for `cores` cores needs of the outside world, from the operating system. The
/// driver's `Instant::ZERO` is the moment of this call, or is told to
/// [`crate::Engine::set_clock`] later.
///
/// # Errors
/// The operating system gives no randomness.
pub fn engine_start(cores: usize) -> std::io::Result<EngineStart> {
    let mut bytes = [0u8; 24];
    rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(std::io::Error::other)?;
    let (secret, seed) = bytes.split_at(16);
    Ok(EngineStart {
        unix_us_at_zero: unix_us(),
        secret: secret.try_into().expect("split at 16"),
        seed: u64::from_le_bytes(seed.try_into().expect("the other 8")),
        cores,
        stopwatch: Some(stopwatch),
    })
}

/// µs since some moment, for measuring commands.
fn stopwatch() -> u64 {
    static START: LazyLock<Instant> = LazyLock::new(Instant::now);
    START.elapsed().as_micros() as u64
}
