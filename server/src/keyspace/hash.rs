//! The container behind a hash value.

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash {
    items: Vec<(Box<[u8]>, Box<[u8]>)>,
}

impl Hash {
    /// How many items.
    pub fn len(&self) -> usize {
        self.items.len()
    }
    /// True when nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
    /// The name that `OBJECT ENCODING` shows.
    pub fn encoding(&self) -> &'static str {
        "listpack"
    }
    /// About how many bytes it holds.
    pub fn heap_bytes(&self) -> usize {
        self.items.len() * 64
    }
}
