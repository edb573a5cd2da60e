//! The Internet checksum (RFC 1071) and its incremental update (RFC 1624).

use crate::ip::Address;

/// A running one's-complement sum, kept wide and folded at the end.
///
/// Words are added as this machine reads them and the bytes change places once, at the end: the
/// sum does not depend on the order of bytes (RFC 1071 §2 (B)).
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// Nothing added yet.
    pub const fn new() -> Self {
        Self(0)
    }

    /// Adds bytes that start at an even offset of the whole.
    #[inline]
    #[expect(clippy::should_implement_trait, reason = "not an addition of two sums")]
    pub fn add(self, bytes: &[u8]) -> Self {
        let mut sum = u128::from(self.0);
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            sum += u128::from(u64::from_ne_bytes(*word));
        }
        // At most seven bytes, piece by piece: copying so few through memory costs more.
        let (four, rest) = rest.as_chunks::<4>();
        if let [four] = four {
            sum += u128::from(u32::from_ne_bytes(*four));
        }
        sum += u128::from(match *rest {
            [a, b, c] => u32::from(u16::from_ne_bytes([a, b])) + u32::from(u16::from_ne_bytes([c, 0])),
            [a, b] => u32::from(u16::from_ne_bytes([a, b])),
            [a] => u32::from(u16::from_ne_bytes([a, 0])),
            _ => 0,
        });
        // 2^64 is 1 modulo 2^16-1: fold the carries back in. Twice, since the first may carry.
        let folded = (sum as u64 as u128) + (sum >> 64);
        Self((folded as u64).wrapping_add((folded >> 64) as u64))
    }

    /// Adds a number as it stands in network order.
    #[inline]
    fn add_number(self, number: u64) -> Self {
        let (sum, carry) = self.0.overflowing_add(number.to_be());
        Self(sum + u64::from(carry))
    }

    /// Adds one 16-bit word.
    #[inline]
    pub fn add_word(self, word: u16) -> Self {
        self.add_number(u64::from(word))
    }

    /// The sum folded to 16 bits, not complemented.
    #[inline]
    pub fn fold(self) -> u16 {
        let mut sum = self.0;
        sum = (sum & 0xffff_ffff) + (sum >> 32);
        sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
        sum = (sum & 0xffff) + (sum >> 16);
        sum = (sum & 0xffff) + (sum >> 16);
        u16::from_be(sum as u16)
    }

    /// The checksum as it stands in a header: the complement of the folded sum.
    #[inline]
    pub fn finish(self) -> u16 {
        !self.fold()
    }
}

/// The sum over the pseudo-header of an upper protocol (RFC 9293 §3.1, RFC 8200 §8.1).
///
/// One sum serves both versions: what stands in front of an IPv4 address in an [`Address`] is
/// 0xffff, and that is zero to this sum. `len_bytes`: header plus payload of the upper protocol.
#[inline]
pub fn pseudo_header(src: Address, dst: Address, protocol: u8, len_bytes: usize) -> Sum {
    // Four halves of 64 bits, then folded as in `Sum::add`: less than the four's carries remain.
    let halves = |addr: Address| {
        let [high, low] = addr.words();
        u128::from(high.to_be()) + u128::from(low.to_be())
    };
    let sum = halves(src) + halves(dst);
    let folded = (sum as u64 as u128) + (sum >> 64);
    Sum((folded as u64).wrapping_add((folded >> 64) as u64))
        .add_number(u64::from(protocol) + len_bytes as u64)
}

/// The new checksum after the 16-bit word `old` became `new` (RFC 1624 eqn. 3).
#[inline]
pub fn update_word(checksum: u16, old: u16, new: u16) -> u16 {
    Sum::new().add_word(!checksum).add_word(!old).add_word(new).finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(bytes: &[u8]) -> u16 {
        let mut sum = 0u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn rfc1071_section_3_example() {
        let bytes = [0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7];
        assert_eq!(Sum::new().add(&bytes).fold(), 0xddf2);
    }

    #[test]
    fn agrees_with_the_plain_sum_at_every_length() {
        let mut bytes = [0u8; 200];
        let mut x = 1u32;
        for b in &mut bytes {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            *b = (x >> 24) as u8;
        }
        for len in 0..bytes.len() {
            assert_eq!(Sum::new().add(&bytes[..len]).finish(), plain(&bytes[..len]), "length {len}");
        }
        assert_eq!(Sum::new().add(&[0xff; 64]).finish(), plain(&[0xff; 64]));
    }

    #[test]
    fn in_two_pieces_and_updated() {
        let mut bytes = *b"0123456789abcdef";
        let whole = Sum::new().add(&bytes).finish();
        assert_eq!(Sum::new().add(&bytes[..6]).add(&bytes[6..]).finish(), whole);
        let old = u16::from_be_bytes([bytes[4], bytes[5]]);
        bytes[4..6].copy_from_slice(&0xbeefu16.to_be_bytes());
        assert_eq!(update_word(whole, old, 0xbeef), Sum::new().add(&bytes).finish());
    }
}
