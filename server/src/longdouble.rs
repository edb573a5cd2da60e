//! The floating point numbers of `INCRBYFLOAT` and `HINCRBYFLOAT`.
//!
//! Redis computes them in x86's 80-bit format and shows the sum with up to 17 digits behind the
//! point. To show the same digits, this is that format in software: 64 bits of mantissa,
//! rounded to nearest, ties to even.

use core::cmp::Ordering;

/// Longest text that is read, in bytes.
const TEXT_LEN_MAX: usize = 5 * 1024;
/// Digits behind the point that are shown.
const DECIMALS: u32 = 17;
/// The exponent of the format's largest numbers, for a whole mantissa.
const EXPONENT_MAX: i32 = 16383 - 63;
/// The exponent of its smallest.
const EXPONENT_MIN: i32 = -16445;

/// A number: `mantissa * 2^exponent`, the mantissa's top bit set unless it is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    infinite: bool,
    mantissa: u64,
    exponent: i32,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: Self = Self { negative: false, infinite: false, mantissa: 0, exponent: 0 };

    /// Reads a decimal number, with or without point and exponent, or `inf`; `None` for
    /// anything else, and for what is too large or too small for the format.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text.is_empty() || text.len() >= TEXT_LEN_MAX {
            return None;
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            rest => (false, rest),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Self { negative, infinite: true, ..Self::ZERO });
        }
        let (digits, power) = decimal(rest)?;
        let (mantissa, exponent) = match from_decimal(&digits, power)? {
            (0, _) => (0, 0),
            found => found,
        };
        Some(Self { negative: negative && mantissa != 0, infinite: false, mantissa, exponent })
    }

    /// The sum, or `None` when it is not finite.
    #[allow(clippy::should_implement_trait, reason = "the sum may not exist")]
    pub fn add(self, other: Self) -> Option<Self> {
        if self.infinite || other.infinite {
            return None;
        }
        if self.mantissa == 0 {
            return Some(other);
        }
        if other.mantissa == 0 {
            return Some(self);
        }
        let (large, small) = if (self.exponent, self.mantissa) >= (other.exponent, other.mantissa) {
            (self, other)
        } else {
            (other, self)
        };
        // 62 bits of room behind the mantissa; what falls off below them leaves a mark.
        let left = u128::from(large.mantissa) << 62;
        let right = u128::from(small.mantissa) << 62;
        let shift = (large.exponent - small.exponent) as u32;
        let right = match shift {
            0..=127 => right >> shift | u128::from(right & ((1 << shift) - 1) != 0),
            _ => 1,
        };
        let sum = if large.negative == small.negative { left + right } else { left - right };
        let (mantissa, exponent) = round(sum, large.exponent - 62);
        if exponent > EXPONENT_MAX {
            return None;
        }
        let negative = large.negative && mantissa != 0;
        Some(Self { negative, infinite: false, mantissa, exponent: if mantissa == 0 { 0 } else { exponent } })
    }

    /// As Redis shows it: no exponent, no zeros at the end.
    pub fn to_text(self) -> String {
        if self.infinite {
            return if self.negative { "-inf".into() } else { "inf".into() };
        }
        // mantissa * 10^17 * 2^exponent, rounded to a whole number.
        let mut scaled = Big::from(self.mantissa);
        (0..DECIMALS).for_each(|_| scaled.multiply(10));
        if self.exponent >= 0 {
            scaled.shift_left(self.exponent as usize);
        } else {
            scaled.shift_right_rounding(self.exponent.unsigned_abs() as usize);
        }
        let digits = scaled.to_decimal();
        let digits = format!("{digits:0>width$}", width = DECIMALS as usize + 1);
        let (whole, fraction) = digits.split_at(digits.len() - DECIMALS as usize);
        let fraction = fraction.trim_end_matches('0');
        let zero = whole == "0" && fraction.is_empty();
        let sign = if self.negative && !zero { "-" } else { "" };
        if fraction.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

/// The digits of a decimal number and the power of ten they are multiplied by.
fn decimal(text: &[u8]) -> Option<(Vec<u8>, i64)> {
    let end = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let mut power = match text.get(end + 1..) {
        None => 0,
        Some(exponent) => {
            let digits = exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
            if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
                return None;
            }
            let value =
                digits.iter().fold(0i64, |value, digit| (value * 10 + i64::from(digit - b'0')).min(1 << 40));
            if exponent[0] == b'-' { -value } else { value }
        }
    };
    let mut digits = Vec::new();
    let mut point = false;
    for &byte in &text[..end] {
        match byte {
            b'0'..=b'9' => {
                digits.push(byte - b'0');
                power -= i64::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    (!digits.is_empty()).then_some((digits, power))
}

/// The nearest mantissa and exponent; `None` out of range.
fn from_decimal(digits: &[u8], power: i64) -> Option<(u64, i32)> {
    let first = digits.iter().position(|&digit| digit != 0);
    let Some(first) = first else { return Some((0, 0)) };
    let digits = &digits[first..];
    let magnitude = digits.len() as i64 + power;
    if !(-4960..=4940).contains(&magnitude) {
        return None;
    }
    let mut top = Big::from(0);
    for &digit in digits {
        top.multiply(10);
        top.add(u32::from(digit));
    }
    let mut bottom = Big::from(1);
    let scaled = if power >= 0 { &mut top } else { &mut bottom };
    (0..power.unsigned_abs()).for_each(|_| scaled.multiply(10));
    // Bring the quotient into 1..2, then take 66 bits of it, one by one.
    let mut exponent = top.bits() as i32 - bottom.bits() as i32;
    if exponent >= 0 {
        bottom.shift_left(exponent as usize)
    } else {
        top.shift_left(exponent.unsigned_abs() as usize)
    }
    if top.compare(&bottom) == Ordering::Less {
        top.shift_left(1);
        exponent -= 1;
    }
    let mut quotient = 0u128;
    for _ in 0..66 {
        quotient <<= 1;
        if top.compare(&bottom) != Ordering::Less {
            top.subtract(&bottom);
            quotient |= 1;
        }
        top.shift_left(1);
    }
    quotient = quotient << 1 | u128::from(!top.is_zero());
    let (mantissa, exponent) = round(quotient, exponent - 66);
    (EXPONENT_MIN..=EXPONENT_MAX).contains(&exponent).then_some((mantissa, exponent))
}

/// The 64 leading bits of `bits * 2^exponent`, rounded.
fn round(bits: u128, exponent: i32) -> (u64, i32) {
    if bits == 0 {
        return (0, 0);
    }
    let surplus = 64 - bits.leading_zeros() as i32;
    if surplus <= 0 {
        return ((bits as u64) << -surplus, exponent + surplus);
    }
    let kept = bits >> surplus;
    let lost = bits & ((1 << surplus) - 1);
    let half = 1u128 << (surplus - 1);
    let up = lost > half || lost == half && kept & 1 == 1;
    let kept = kept + u128::from(up);
    if kept >> 64 != 0 {
        ((kept >> 1) as u64, exponent + surplus + 1)
    } else {
        (kept as u64, exponent + surplus)
    }
}

/// A whole number of any size, least word first, no zero words at the end.
struct Big(Vec<u32>);

impl Big {
    fn from(value: u64) -> Self {
        let mut big = Self(vec![value as u32, (value >> 32) as u32]);
        big.trim();
        big
    }
    fn trim(&mut self) {
        while self.0.last() == Some(&0) {
            self.0.pop();
        }
    }
    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }
    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }
    fn multiply(&mut self, factor: u32) {
        let mut carry = 0u64;
        for word in &mut self.0 {
            carry += u64::from(*word) * u64::from(factor);
            *word = carry as u32;
            carry >>= 32;
        }
        if carry > 0 {
            self.0.push(carry as u32);
        }
    }
    fn add(&mut self, value: u32) {
        let mut carry = value;
        for word in &mut self.0 {
            let (sum, over) = word.overflowing_add(carry);
            *word = sum;
            if !over {
                return;
            }
            carry = 1;
        }
        if carry > 0 {
            self.0.push(carry);
        }
    }
    fn compare(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
    /// `other` is not larger.
    fn subtract(&mut self, other: &Self) {
        let mut borrow = false;
        for (at, word) in self.0.iter_mut().enumerate() {
            let (less, first) = word.overflowing_sub(other.0.get(at).copied().unwrap_or(0));
            let (less, second) = less.overflowing_sub(u32::from(borrow));
            *word = less;
            borrow = first || second;
        }
        self.trim();
    }
    fn shift_left(&mut self, bits: usize) {
        if self.is_zero() {
            return;
        }
        let (words, bits) = (bits / 32, bits % 32);
        if bits > 0 {
            self.multiply(1 << bits);
        }
        self.0.splice(0..0, core::iter::repeat_n(0, words));
    }
    /// Divides by a power of two, to the nearest whole number, ties to even.
    fn shift_right_rounding(&mut self, bits: usize) {
        if bits > self.bits() {
            self.0.clear();
            return;
        }
        let bit =
            |words: &[u32], at: usize| words.get(at / 32).is_some_and(|word| word >> (at % 32) & 1 == 1);
        let half = bits > 0 && bit(&self.0, bits - 1);
        let below = (0..bits.saturating_sub(1)).any(|at| bit(&self.0, at));
        let odd = bit(&self.0, bits);
        let (words, bits) = (bits / 32, bits % 32);
        self.0.drain(..words.min(self.0.len()));
        if bits > 0 {
            let mut carry = 0;
            for word in self.0.iter_mut().rev() {
                let next = *word << (32 - bits);
                *word = *word >> bits | carry;
                carry = next;
            }
        }
        self.trim();
        if half && (below || odd) {
            self.add(1);
        }
    }
    fn to_decimal(mut self: Big) -> String {
        let mut parts = Vec::new();
        while !self.is_zero() {
            let mut rest = 0u64;
            for word in self.0.iter_mut().rev() {
                rest = rest << 32 | u64::from(*word);
                *word = (rest / 1_000_000_000) as u32;
                rest %= 1_000_000_000;
            }
            self.trim();
            parts.push(rest as u32);
        }
        let mut text = parts.pop().map_or("0".to_string(), |first| first.to_string());
        parts.iter().rev().for_each(|part| text.push_str(&format!("{part:09}")));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::LongDouble;

    fn sum(a: &str, b: &str) -> String {
        LongDouble::parse(a.as_bytes())
            .unwrap()
            .add(LongDouble::parse(b.as_bytes()).unwrap())
            .unwrap()
            .to_text()
    }

    #[test]
    fn sums_show_the_digits_that_redis_shows() {
        for (a, b, shown) in [
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("5200", "1e-3", "5200.00099999999999989"),
            ("3", "1.1", "4.1"),
            ("4.1", "-4.1", "0"),
            ("1000000000000000", "0.1", "1000000000000000.0999755859375"),
            ("0", "0.000000000000000001", "0"),
            ("0", "123456789012345678", "123456789012345678"),
            ("-1", "-0.5", "-1.5"),
            ("1", "1e-40", "1"),
        ] {
            assert_eq!(sum(a, b), shown, "{a} + {b}");
        }
        assert!(sum("1e308", "1e308").starts_with("1999999999999999999933717593"));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " 1", "1 ", "abc", "1e", "1e+", ".", "--1", "1.2.3", "nan", "1e5000", "1e-5000"] {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text}");
        }
        for text in ["1", "+1", "-1", ".5", "5.", "1e3", "1E-3", "inf", "-inf", "1e4000", "1e-4000"] {
            assert!(LongDouble::parse(text.as_bytes()).is_some(), "{text}");
        }
    }
}
