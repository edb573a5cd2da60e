//! A key as it is stored, and its hash.

use core::hash::Hasher;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;

use super::limits::Limits;

/// Longest key that is stored without an allocation of its own, in bytes.
pub const INLINE_LEN_MAX: usize = 22;

/// A stored key: short ones lie in the table's entry itself.
#[derive(Clone, Debug)]
pub enum Key {
    /// Up to [`INLINE_LEN_MAX`] bytes.
    Inline {
        /// How many of `bytes` are the key.
        len: u8,
        /// The key and zeros.
        bytes: [u8; INLINE_LEN_MAX],
    },
    /// Anything longer.
    Heap(Box<[u8]>),
}

impl Key {
    /// A copy of `key`.
    #[inline]
    pub fn new(key: &[u8]) -> Self {
        if key.len() <= INLINE_LEN_MAX {
            let mut bytes = [0; INLINE_LEN_MAX];
            bytes[..key.len()].copy_from_slice(key);
            Self::Inline { len: key.len() as u8, bytes }
        } else {
            Self::Heap(key.into())
        }
    }
    /// The key's bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }
}

/// A key's hash: one part picks the shard, another the place in the shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyHash {
    /// Picks the shard (its low bits).
    pub shard: u32,
    /// Picks the place in the table; kept in the entry, so that growth never touches the keys.
    pub table: u32,
}

/// Hashes keys with a secret, so that nobody can choose keys that collide.
pub struct KeyHasher {
    seed: u64,
    shared: SharedSeed,
    /// When collections change their encoding; here because every growing one has this at hand.
    pub limits: Limits,
}

impl KeyHasher {
    /// `secret`: 16 random bytes that no client ever sees.
    pub fn new(secret: [u8; 16]) -> Self {
        let (low, high) = secret.split_at(8);
        let word = |half: &[u8]| half.iter().fold(0u64, |word, &byte| word << 8 | u64::from(byte));
        Self { seed: word(low), shared: SharedSeed::from_u64(word(high)), limits: Limits::default() }
    }
    /// The hash of `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write(key);
        let hash = hasher.finish();
        KeyHash { shard: (hash >> 32) as u32, table: hash as u32 }
    }
}
