//! The container behind a list value.

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {
    items: std::collections::VecDeque<Box<[u8]>>,
}

impl List {
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
