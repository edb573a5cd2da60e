//! Numbers as clients write them and as they are shown.

use protocol::resp::number::{format_f64, format_i64, parse_i64};
use server::args::{parse_f64, parse_strtod};
use server::longdouble::LongDouble;

use crate::input::Input;

/// The first byte chooses: texts, or numbers.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        number(&mut input);
    } else {
        let first = input.bytes();
        text(first);
        sum(first, input.rest());
    }
}

fn text(text: &[u8]) {
    if let Some(value) = parse_i64(text) {
        assert_eq!(value.to_string().as_bytes(), text, "only the usual spelling is read");
        assert_eq!(format_i64(value).as_bytes(), text);
    } else if let Some(value) = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok()) {
        assert_ne!(value.to_string().as_bytes(), text, "the usual spelling is always read");
    }
    if let Some(value) = parse_f64(text) {
        assert!(!value.is_nan());
        assert_eq!(parse_strtod(text).map(f64::to_bits), Some(value.to_bits()));
        assert_eq!(parse_f64(format_f64(value).as_bytes()).map(f64::to_bits), Some(value.to_bits()));
    }
}

fn number(input: &mut Input<'_>) {
    let value = input.u64() as i64 >> input.below(64);
    assert_eq!(parse_i64(format_i64(value).as_bytes()), Some(value));
    let double = f64::from_bits(input.u64());
    if !double.is_nan() {
        let again = parse_f64(format_f64(double).as_bytes());
        assert_eq!(again.map(f64::to_bits), Some(double.to_bits()), "{double:e}");
    }
}

/// Sums in x86's 80-bit format: commutative, zero changes nothing, and what is shown is read.
fn sum(first: &[u8], second: &[u8]) {
    let (Some(a), Some(b)) = (LongDouble::parse(first), LongDouble::parse(second)) else { return };
    assert_eq!(a.add(b), b.add(a));
    if let Some(same) = a.add(LongDouble::ZERO) {
        assert_eq!(same.to_text(), a.to_text());
    }
    let Some(sum) = a.add(b) else { return };
    let text = sum.to_text();
    let again = LongDouble::parse(text.as_bytes());
    // Redis prints up to 5 KiB, and reads less.
    if text.len() < 4900 {
        assert_eq!(again.map(LongDouble::to_text), Some(text));
    }
}
