//! The memory of received bytes that wait: for a gap before them to be filled, or for the
//! application to want them.
//!
//! One connection's share is bounded by its receive window, which a peer that means no good can
//! fill on as many connections as it likes. So all together are bounded too
//! ([`crate::Config::receive_memory_max`]). As the bound comes near, new windows are announced
//! smaller, down to two segments; at the bound, what would have to wait is dropped, and its sender
//! sends it again. Bytes that come in order for an application that wants them never wait: honest
//! connections go on.

/// What a piece of received bytes costs beside them: its entry and the allocator's rounding.
pub(crate) const PIECE_OVERHEAD: usize = 64;

/// The account of all connections.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    max: usize,
}

impl Held {
    pub(crate) fn new(max: usize) -> Self {
        Self { bytes: 0, max }
    }

    /// Bytes of memory that are taken.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A connection's share changes.
    #[inline]
    pub(crate) fn changed(&mut self, from: usize, to: usize) {
        debug_assert!(from <= self.bytes);
        self.bytes = self.bytes.saturating_sub(from) + to;
    }

    /// Bytes that may still be taken.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.bytes)
    }
}
