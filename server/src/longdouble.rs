//! Sums of decimal numbers as Redis makes them.

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LongDouble(f64);

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self(0.0);
    /// Reads it.
    pub fn parse(text: &[u8]) -> Option<Self> {
        crate::args::parse_f64(text).map(Self)
    }
    /// The sum.
    pub fn add(self, other: Self) -> Option<Self> {
        Some(Self(self.0 + other.0)).filter(|sum| sum.0.is_finite())
    }
    /// As text.
    pub fn to_text(self) -> String {
        format!("{}", self.0)
    }
}
