//! A command's arguments, lying where they were received.

use protocol::resp::ArgRange;
use protocol::resp::number::parse_i64;

use crate::error::{self, Error};

/// The arguments of one command, its name first. Cheap to copy; every slice lives as long as
/// the received bytes.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    ranges: &'a [ArgRange],
}

impl<'a> Args<'a> {
    /// `ranges` must lie within `bytes`.
    pub fn new(bytes: &'a [u8], ranges: &'a [ArgRange]) -> Self {
        Self { bytes, ranges }
    }
    /// How many, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.ranges.len()
    }
    /// True for no arguments at all, not even a name.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
    /// Argument `index`; the arity in the command's row says which ones exist.
    ///
    /// # Panics
    /// `index` is not below [`Args::len`].
    #[inline]
    pub fn at(&self, index: usize) -> &'a [u8] {
        let range = self.ranges[index];
        &self.bytes[range.start as usize..range.end as usize]
    }
    /// Argument `index`, if there is one.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        (index < self.len()).then(|| self.at(index))
    }
    /// The arguments from `first` on.
    pub fn from(&self, first: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.ranges
            .get(first..)
            .unwrap_or(&[])
            .iter()
            .map(move |range| &bytes[range.start as usize..range.end as usize])
    }
    /// The same arguments without those before `first`.
    pub fn skip(&self, first: usize) -> Self {
        Self { bytes: self.bytes, ranges: self.ranges.get(first..).unwrap_or(&[]) }
    }
    /// Is argument `index` this word, in any case?
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.get(index).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }
    /// Argument `index` as a 64-bit integer.
    ///
    /// # Errors
    /// [`error::NOT_AN_INTEGER`].
    pub fn integer(&self, index: usize) -> Result<i64, Error> {
        parse_i64(self.at(index)).ok_or(error::NOT_AN_INTEGER)
    }
    /// Argument `index` as a double; infinities are allowed, NaN is not.
    ///
    /// # Errors
    /// [`error::NOT_A_FLOAT`].
    pub fn float(&self, index: usize) -> Result<f64, Error> {
        parse_f64(self.at(index)).ok_or(error::NOT_A_FLOAT)
    }
    /// Bytes of all arguments together.
    pub fn byte_count(&self) -> usize {
        self.ranges.iter().map(|range| (range.end - range.start) as usize).sum()
    }
    /// An owned copy, for a transaction's queue.
    pub fn to_owned(&self) -> OwnedArgs {
        let mut bytes = Vec::with_capacity(self.byte_count());
        let mut ranges = Vec::with_capacity(self.len());
        for arg in self.from(0) {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            ranges.push(ArgRange { start, end: bytes.len() as u32 });
        }
        OwnedArgs { bytes: bytes.into(), ranges: ranges.into() }
    }
}

/// Arguments that outlive the bytes they came in.
#[derive(Debug)]
pub struct OwnedArgs {
    bytes: Box<[u8]>,
    ranges: Box<[ArgRange]>,
}

impl OwnedArgs {
    /// Bytes of memory.
    pub fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&*self.ranges)
    }
    /// Looks at them.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.ranges)
    }
}

/// Reads a double as Redis does: C's `strtod` over the whole text, no blanks before it, no NaN,
/// nothing too large or too small for a double.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    if text.first()?.is_ascii_whitespace() {
        return None;
    }
    let value = parse_strtod(text)?;
    let zero_or_infinite = value == 0.0 || value.is_infinite();
    // Infinity must be spelt out, and zero must have no other digits.
    let letters = text.iter().any(u8::is_ascii_alphabetic);
    let mantissa = text.split(|byte| matches!(byte, b'e' | b'E' | b'p' | b'P')).next()?;
    let digits = mantissa.iter().skip_while(|byte| !byte.is_ascii_digit());
    let nonzero = digits.clone().any(|byte| matches!(byte, b'1'..=b'9'));
    let spelt_out = letters && digits.count() == 0;
    (!zero_or_infinite || spelt_out || !nonzero).then_some(value)
}

/// Reads a double as C's `strtod` does: blanks may stand before it, hexadecimal digits are
/// read, what is too large is infinite, and empty text is 0. All of the text must be used; NaN
/// is refused.
pub fn parse_strtod(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let blanks = text.iter().take_while(|byte| matches!(byte, b' ' | 9..=13)).count();
    let text = core::str::from_utf8(&text[blanks..]).ok()?;
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let value = match digits.strip_prefix("0x").or(digits.strip_prefix("0X")) {
        Some(hexadecimal) => parse_hexadecimal(hexadecimal)?,
        None if digits.starts_with(['-', '+']) => return None,
        None => digits.parse::<f64>().ok()?,
    };
    (!value.is_nan()).then_some(if negative { -value } else { value })
}

/// `1f.8p3` as C writes doubles.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = match text.split_once(['p', 'P']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    Some(value * 2f64.powi(exponent.saturating_sub(4 * fraction.len() as i32)))
}
