//! Keys and values: everything follows from a key's number, so that any reply can be checked
//! without remembering what was written.

use netcore::rng::SeededRng;

/// Bytes of a key: `key:` and twelve digits.
pub(crate) const KEY_BYTES: usize = 16;
/// Keys have numbers below this.
pub(crate) const KEYS_MAX: u64 = 1_000_000_000_000;

/// Where a value may start in the shared text.
const OFFSETS: usize = 4096;
/// The part of a value that names its key: sixteen hexadecimal digits.
const NAME_BYTES: usize = 16;

/// Writes and checks values of one length.
///
/// A value is sixteen digits that depend on key and seed, then a piece of a fixed random text
/// that starts where the same number says; cut to the length wanted.
pub(crate) struct Values {
    seed: u64,
    value_bytes: usize,
    text: Vec<u8>,
}

/// A value as two pieces, one behind the other.
pub(crate) struct Value<'a> {
    name: [u8; NAME_BYTES],
    name_bytes: usize,
    text: &'a [u8],
}

impl Value<'_> {
    /// The pieces in order.
    pub(crate) fn parts(&self) -> [&[u8]; 2] {
        [&self.name[..self.name_bytes], self.text]
    }
}

impl Values {
    pub(crate) fn new(seed: u64, value_bytes: usize) -> Self {
        let mut rng = SeededRng::new(seed ^ 0x7661_6c75_6573);
        let text = (0..OFFSETS + value_bytes).map(|_| b'a' + rng.below(26) as u8).collect();
        Self { seed, value_bytes, text }
    }

    /// The value of key number `key`.
    #[inline]
    pub(crate) fn of(&self, key: u64) -> Value<'_> {
        let number = SeededRng::new(self.seed ^ key.wrapping_mul(0x9e37_79b9_7f4a_7c15)).next_u64();
        let name_bytes = NAME_BYTES.min(self.value_bytes);
        let start = number as usize % OFFSETS;
        Value {
            name: hexadecimal(number),
            name_bytes,
            text: &self.text[start..start + self.value_bytes - name_bytes],
        }
    }
}

#[inline]
fn hexadecimal(number: u64) -> [u8; NAME_BYTES] {
    let mut digits = [0; NAME_BYTES];
    for (at, digit) in digits.iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (60 - 4 * at)) as usize & 0xf];
    }
    digits
}

/// The name of key number `key`.
#[inline]
pub(crate) fn key_name(mut key: u64) -> [u8; KEY_BYTES] {
    let mut name = *b"key:000000000000";
    let mut at = KEY_BYTES;
    while key > 0 && at > 4 {
        at -= 1;
        name[at] = b'0' + (key % 10) as u8;
        key /= 10;
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(values: &Values, key: u64) -> Vec<u8> {
        values.of(key).parts().concat()
    }

    #[test]
    fn values_have_their_length_and_depend_on_key_and_seed() {
        for len in [0, 1, 3, 16, 17, 64, 10_000] {
            let values = Values::new(1, len);
            for key in [0, 1, 77, KEYS_MAX - 1] {
                assert_eq!(whole(&values, key).len(), len);
                assert_eq!(whole(&values, key), whole(&Values::new(1, len), key));
            }
        }
        let values = Values::new(1, 32);
        assert_ne!(whole(&values, 1), whole(&values, 2));
        assert_ne!(whole(&values, 1), whole(&Values::new(2, 32), 1));
    }

    #[test]
    fn key_names_have_twelve_digits() {
        assert_eq!(&key_name(0), b"key:000000000000");
        assert_eq!(&key_name(1207), b"key:000000001207");
        assert_eq!(&key_name(KEYS_MAX - 1), b"key:999999999999");
    }
}
