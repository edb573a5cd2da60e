//! The processor's own clock: cheap to read, and calibrated against the system's monotonic one.

use std::sync::OnceLock;

use netcore::Instant;

/// Ticks of the processor's time-stamp counter; about 28 cycles to read on x86-64, no system call.
#[inline(always)]
pub fn tsc() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: RDTSC exists on every x86-64 processor and only reads a counter.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(target_arch = "aarch64")]
    {
        let ticks: u64;
        // SAFETY: the virtual counter is readable from user space on Linux; nothing is written.
        unsafe { core::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack)) };
        ticks
    }
}

/// Both clocks, read as close together as it gets.
#[derive(Clone, Copy)]
struct Sample {
    tsc: u64,
    monotonic_ns: u64,
}

impl Sample {
    fn take() -> Self {
        // An interruption between the reads makes a pair useless, so the tightest of some is kept.
        let (mut best, mut best_width) = (Self { tsc: 0, monotonic_ns: 0 }, u64::MAX);
        for _ in 0..16 {
            let before = tsc();
            let monotonic_ns = monotonic_ns();
            let after = tsc();
            let width = after.wrapping_sub(before);
            if width < best_width {
                best_width = width;
                best = Self { tsc: before + width / 2, monotonic_ns };
            }
        }
        best
    }
}

fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is writable; CLOCK_MONOTONIC exists on every Linux, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

static FIRST: OnceLock<Sample> = OnceLock::new();
static HZ: OnceLock<u64> = OnceLock::new();

/// Two samples this far apart give the frequency within a few millionths.
const CALIBRATION_NS: u64 = 50_000_000;

/// Takes the first sample of the calibration; the start of DPDK then hides the waiting.
pub(crate) fn begin_calibration() {
    FIRST.get_or_init(Sample::take);
}

/// Ticks of [`tsc`] per second, measured once per process against `CLOCK_MONOTONIC`.
///
/// The first call may take up to 50 ms. (DPDK's own figure is rounded to 10 MHz, up to 0.2 % off.)
pub fn tsc_hz() -> u64 {
    *HZ.get_or_init(|| {
        let first = *FIRST.get_or_init(Sample::take);
        while monotonic_ns() - first.monotonic_ns < CALIBRATION_NS {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        let last = Sample::take();
        let ticks = u128::from(last.tsc - first.tsc);
        (ticks * 1_000_000_000 / u128::from(last.monotonic_ns - first.monotonic_ns)) as u64
    })
}

/// Gives the engines' time from the processor's clock: one counter read and one multiplication.
///
/// All copies of one clock, on any thread, show the same time; the origin is where it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin_tsc: u64,
    /// Microseconds per tick, times 2^64 (a tick is shorter than a microsecond).
    micros_per_tick: u64,
}

impl Clock {
    /// A clock that starts at [`Instant::ZERO`] now. Calibrates if nobody has before.
    pub fn start() -> Self {
        let micros_per_tick = ((1_000_000u128 << 64) / u128::from(tsc_hz())) as u64;
        Self { origin_tsc: tsc(), micros_per_tick }
    }

    /// Now.
    #[inline]
    pub fn now(&self) -> Instant {
        self.at(tsc())
    }

    /// The time at which [`tsc`] was `ticks`; the origin for anything before it.
    #[inline]
    pub fn at(&self, ticks: u64) -> Instant {
        let since = ticks.saturating_sub(self.origin_tsc);
        Instant::from_micros(((u128::from(since) * u128::from(self.micros_per_tick)) >> 64) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_of_ticks_is_a_second() {
        let clock = Clock::start();
        let at = clock.at(clock.origin_tsc + tsc_hz()).micros();
        assert!((999_999..=1_000_000).contains(&at), "{at} us");
        let day = clock.at(clock.origin_tsc + 86_400 * tsc_hz()).micros();
        assert!((86_399_990_000..=86_400_000_000).contains(&day), "{day} us");
    }

    #[test]
    fn time_before_the_origin_is_the_origin() {
        let clock = Clock::start();
        assert_eq!(clock.at(clock.origin_tsc - 1), Instant::ZERO);
    }

    #[test]
    fn the_clock_goes_at_the_pace_of_the_system() {
        let clock = Clock::start();
        let (system, ours) = (monotonic_ns(), clock.now());
        while monotonic_ns() - system < 20_000_000 {
            std::hint::spin_loop();
        }
        let ours = clock.now().since(ours).micros();
        let system = (monotonic_ns() - system) / 1000;
        // The thread may be interrupted between the reads, never the other way round.
        assert!(ours >= 19_990 && system + 10 >= ours, "ours {ours} us, the system's {system} us");
    }
}
