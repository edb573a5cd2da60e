//! Sequence numbers: 32 bits, compared modulo 2^32 (RFC 9293 §3.4).

use core::ops::{Add, AddAssign, Sub};

/// A sequence number. There is no total order, so there is no `Ord`: use [`SeqNumber::before`]
/// and friends, which are right as long as the two are less than 2^31 apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SeqNumber(pub u32);

impl SeqNumber {
    /// `self < other`.
    #[inline]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
    /// `self <= other`.
    #[inline]
    pub const fn before_eq(self, other: Self) -> bool {
        !other.before(self)
    }
    /// `self > other`.
    #[inline]
    pub const fn after(self, other: Self) -> bool {
        other.before(self)
    }
    /// `self >= other`.
    #[inline]
    pub const fn after_eq(self, other: Self) -> bool {
        !self.before(other)
    }
    /// True when `self` lies in `start .. start + len`.
    #[inline]
    pub const fn in_window(self, start: Self, len: u32) -> bool {
        self.0.wrapping_sub(start.0) < len
    }
    /// How far `self` is ahead of `earlier`, modulo 2^32; call it only where that order holds.
    #[inline]
    pub const fn distance_from(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
    /// The later of the two.
    #[inline]
    pub const fn later(self, other: Self) -> Self {
        if self.before(other) { other } else { self }
    }
    /// The earlier of the two.
    #[inline]
    pub const fn earlier(self, other: Self) -> Self {
        if self.before(other) { self } else { other }
    }
}

impl Add<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn add(self, count: u32) -> Self {
        Self(self.0.wrapping_add(count))
    }
}

impl AddAssign<u32> for SeqNumber {
    #[inline]
    fn add_assign(&mut self, count: u32) {
        *self = *self + count;
    }
}

impl Sub<u32> for SeqNumber {
    type Output = Self;
    #[inline]
    fn sub(self, count: u32) -> Self {
        Self(self.0.wrapping_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_holds_around_every_corner() {
        for base in [0, 1, 0x7fff_ffff, 0x8000_0000, 0x8000_0001, 0xffff_ffff] {
            let a = SeqNumber(base);
            for ahead in [1, 2, 1000, 0x7fff_ffff] {
                let b = a + ahead;
                assert!(a.before(b) && !b.before(a), "{base:#x} +{ahead:#x}");
                assert!(b.after(a) && b.after_eq(a) && a.before_eq(b));
                assert_eq!(b.distance_from(a), ahead);
                assert_eq!(a.later(b), b);
                assert_eq!(a.earlier(b), a);
            }
            assert!(a.before_eq(a) && a.after_eq(a) && !a.before(a));
            assert!(a.in_window(a, 1) && !a.in_window(a, 0) && !(a - 1).in_window(a, 1000));
        }
    }

    #[test]
    fn order_is_that_of_the_signed_distance_at_every_corner() {
        let corners = [0u32, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff].map(i64::from);
        let near = || corners.iter().flat_map(|corner| (-3..=3).map(move |by| (corner + by) as u32));
        for (a, b) in near().flat_map(|a| near().map(move |b| (SeqNumber(a), SeqNumber(b)))) {
            // How far b is ahead of a, as the shorter way round says.
            let ahead = (i64::from(b.0) - i64::from(a.0)).rem_euclid(1 << 32);
            let ahead = if ahead >= 1 << 31 { ahead - (1 << 32) } else { ahead };
            assert_eq!(b.distance_from(a), ahead as u32);
            assert_eq!(a + ahead as u32, b);
            assert_eq!(b - ahead as u32, a);
            for len in [0, 1, 5, 1 << 16, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
                assert_eq!(b.in_window(a, len), (ahead as u32) < len);
            }
            if ahead == -(1 << 31) {
                continue; // As far one way as the other: the RFC leaves the order open.
            }
            assert_eq!(a.before(b), ahead > 0, "{a:?} {b:?}");
            assert_eq!(a.after(b), ahead < 0);
            assert_eq!((a.before_eq(b), a.after_eq(b)), (ahead >= 0, ahead <= 0));
            assert_eq!((a.later(b), a.earlier(b)), if ahead >= 0 { (b, a) } else { (a, b) });
        }
    }
}
