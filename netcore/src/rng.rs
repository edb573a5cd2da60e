//! Randomness is handed in. Two kinds, never mixed: secrets that key hashes, and bytes that a
//! peer may see.

/// A source of randomness that the driver of an engine provides.
pub trait Rng {
    /// 16 secret bytes, never to be shown to a peer (hash keys, cookie keys).
    fn secret(&mut self) -> [u8; 16];
    /// 32 bits that may be seen on the wire.
    fn wire_u32(&mut self) -> u32;
}

/// A small generator for tests and the simulator: everything follows from the seed (SplitMix64,
/// Steele, Lea and Flood, OOPSLA '14). Not for secrets in a real server.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// `seed`: any value, zero included.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value in `0..bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next_u64() % bound }
    }

    /// True in `per_million` of a million draws.
    pub fn chance(&mut self, per_million: u32) -> bool {
        self.below(1_000_000) < u64::from(per_million)
    }
}

impl Rng for SeededRng {
    fn secret(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&self.next_u64().to_le_bytes());
        key[8..].copy_from_slice(&self.next_u64().to_le_bytes());
        key
    }
    fn wire_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}
