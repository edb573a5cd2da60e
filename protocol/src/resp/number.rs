//! Numbers as Redis reads and shows them.

use core::fmt::Write;

/// Reads a signed decimal number as strictly as Redis does: no blanks, no `+`, no leading
/// zeros, within 64 bits; `None` for anything else.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'0'] => return Some(0),
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 19 || !matches!(digits[0], b'1'..=b'9') {
        return None;
    }
    let mut value: u64 = 0;
    for &digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        value = value * 10 + u64::from(digit - b'0');
    }
    if negative {
        (value <= i64::MIN.unsigned_abs()).then(|| (value as i64).wrapping_neg())
    } else {
        i64::try_from(value).ok()
    }
}

/// A short text made on the stack.
#[derive(Clone, Copy)]
pub struct Text<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Text<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], len: 0 }
    }
    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
    fn put(&mut self, bytes: &[u8]) {
        let room = &mut self.bytes[self.len..];
        let take = bytes.len().min(room.len());
        room[..take].copy_from_slice(&bytes[..take]);
        self.len += take;
    }
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        self.put(text.as_bytes());
        Ok(())
    }
}

const PAIRS: &[u8; 200] = b"0001020304050607080910111213141516171819\
2021222324252627282930313233343536373839\
4041424344454647484950515253545556575859\
6061626364656667686970717273747576777879\
8081828384858687888990919293949596979899";

/// `value` in decimal.
#[inline]
pub fn format_i64(value: i64) -> Text<20> {
    let mut digits = [0u8; 20];
    let mut at = 20;
    let mut left = value.unsigned_abs();
    while left >= 10 {
        let pair = (left % 100) as usize * 2;
        left /= 100;
        at -= 2;
        digits[at..at + 2].copy_from_slice(&PAIRS[pair..pair + 2]);
    }
    if left > 0 || value == 0 {
        at -= 1;
        digits[at] = b'0' + left as u8;
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    let mut text = Text::new();
    text.put(&digits[at..]);
    text
}

/// `value` with up to 17 significant digits, as C's `%.17g`; `inf`, `-inf`, `nan`.
///
/// Whole numbers that a double holds exactly come out as integers without a search.
pub fn format_f64(value: f64) -> Text<32> {
    let mut out = Text::new();
    if value.is_nan() {
        out.put(b"nan");
        return out;
    }
    if value.is_infinite() {
        out.put(if value > 0.0 { b"inf" } else { b"-inf" });
        return out;
    }
    const EXACT: f64 = 9_007_199_254_740_992.0;
    if (-EXACT..=EXACT).contains(&value) && value as i64 as f64 == value {
        if value == 0.0 && value.is_sign_negative() {
            out.put(b"-0");
        } else {
            out.put(format_i64(value as i64).as_bytes());
        }
        return out;
    }
    // 17 significant digits, correctly rounded: d.dddddddddddddddde<exponent>
    let mut scientific = Text::<40>::new();
    let _ = write!(scientific, "{:.16e}", value.abs());
    let text = scientific.as_bytes();
    let at = text.iter().position(|&byte| byte == b'e').unwrap_or(text.len());
    let exponent = parse_i64(text.get(at + 1..).unwrap_or(b"0")).unwrap_or(0);
    let mut digits = [0u8; 17];
    digits[0] = text[0];
    digits[1..].copy_from_slice(&text[2..18]);
    let significant = digits.iter().rposition(|&digit| digit != b'0').map_or(1, |last| last + 1);
    if value < 0.0 {
        out.put(b"-");
    }
    if !(-4..17).contains(&exponent) {
        out.put(&digits[..1]);
        if significant > 1 {
            out.put(b".");
            out.put(&digits[1..significant]);
        }
        let _ = write!(out, "e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs());
    } else if exponent < 0 {
        out.put(b"0.");
        for _ in 1..-exponent {
            out.put(b"0");
        }
        out.put(&digits[..significant]);
    } else {
        let whole = exponent as usize + 1;
        out.put(&digits[..whole]);
        if significant > whole {
            out.put(b".");
            out.put(&digits[whole..significant]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_strictly() {
        for (text, value) in [
            (&b"0"[..], Some(0)),
            (b"-1", Some(-1)),
            (b"9223372036854775807", Some(i64::MAX)),
            (b"-9223372036854775808", Some(i64::MIN)),
            (b"9223372036854775808", None),
            (b"-9223372036854775809", None),
            (b"99999999999999999999", None),
            (b"01", None),
            (b"-0", None),
            (b"+1", None),
            (b" 1", None),
            (b"", None),
            (b"-", None),
        ] {
            assert_eq!(parse_i64(text), value, "{text:?}");
        }
    }

    #[test]
    fn integers_round_trip() {
        for value in [0, 1, 9, 10, 11, 99, 100, 12345, -1, -10, i64::MAX, i64::MIN] {
            assert_eq!(parse_i64(format_i64(value).as_bytes()), Some(value));
        }
    }

    #[test]
    fn doubles_as_17g() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (3.1, "3.1000000000000001"),
            (0.1, "0.10000000000000001"),
            (1.5e-5, "1.5e-05"),
            (0.00015, "0.00014999999999999999"),
            (1e17, "1e+17"),
            (12345678901234567.0, "12345678901234568"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "4.9406564584124654e-324"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(core::str::from_utf8(format_f64(value).as_bytes()), Ok(text));
        }
    }
}
