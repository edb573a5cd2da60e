//! Time as engines see it: a count of microseconds that only the caller advances.

use core::ops::{Add, AddAssign, Sub};

/// A point in time: microseconds since an origin that the driver of the engine chose.
///
/// Engines never read a clock; the driver reads it once per burst and hands the value in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

/// A span between two [`Instant`]s, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Duration(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Self = Self(0);
    /// Later than anything that will happen: the deadline of "no timer".
    pub const FAR_FUTURE: Self = Self(u64::MAX);

    /// `us`: microseconds since the origin.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }
    /// Microseconds since the origin.
    pub const fn micros(self) -> u64 {
        self.0
    }
    /// Milliseconds since the origin, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }
    /// The span since `earlier`, or zero when `earlier` is later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// `us`: microseconds.
    pub const fn from_micros(us: u64) -> Self {
        Self(us)
    }
    /// `ms`: milliseconds.
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms * 1000)
    }
    /// `s`: seconds.
    pub const fn from_secs(s: u64) -> Self {
        Self(s * 1_000_000)
    }
    /// A limit as settings give one, in seconds; 0: none.
    pub fn limit(seconds: u64) -> Option<Self> {
        (seconds > 0).then(|| Self::from_secs(seconds))
    }
    /// The span in microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }
    /// The span in milliseconds, rounded down.
    pub const fn millis(self) -> u64 {
        self.0 / 1000
    }
    /// The span times `factor`, saturating.
    pub const fn times(self, factor: u64) -> Self {
        Self(self.0.saturating_mul(factor))
    }
}

impl Add<Duration> for Instant {
    type Output = Self;
    fn add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, span: Duration) {
        *self = *self + span;
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}
