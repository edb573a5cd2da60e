//! Owned frames: one contiguous run of bytes with room in front for headers.

use alloc::boxed::Box;
use alloc::vec;

/// What the receiving device says of a frame's IPv4 and TCP checksums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RxChecksum {
    /// Nothing is known; software must verify.
    #[default]
    Unknown,
    /// Verified by the device or the firmware.
    Good,
    /// Verified and wrong.
    Bad,
}

/// An Ethernet frame that has one owner, contiguous in memory.
///
/// ```text
/// | headroom | data (what `bytes` shows) | tailroom |
/// ```
pub trait Frame: Sized {
    /// The data.
    fn bytes(&self) -> &[u8];
    /// The data, writable.
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Free bytes before the data.
    fn headroom(&self) -> usize;
    /// Free bytes behind the data.
    fn tailroom(&self) -> usize;
    /// Grows the data by `len` bytes at the front and returns those bytes, contents undefined;
    /// `None` (and no change) when the headroom is smaller.
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]>;
    /// Grows the data by `len` bytes at the end and returns those bytes, contents undefined;
    /// `None` (and no change) when the tailroom is smaller.
    fn append(&mut self, len: usize) -> Option<&mut [u8]>;
    /// Cuts `len` bytes off the front; at most what is there.
    fn advance(&mut self, len: usize);
    /// Cuts the data down to its first `len` bytes; no effect when it is shorter.
    fn truncate(&mut self, len: usize);
    /// Empties the frame and restores the full default headroom, so that it can carry a new one.
    fn reset(&mut self);
    /// What the device said of the checksums.
    fn rx_checksum(&self) -> RxChecksum;
    /// Records what is known of the checksums.
    fn set_rx_checksum(&mut self, checksum: RxChecksum);
}

/// Headroom of a fresh frame: Ethernet, the channel's longest header and spare.
pub const HEADROOM: usize = 128;

/// A frame on the heap, for tests, the simulator and kernel-free rings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeapFrame {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    rx_checksum_known: Option<bool>,
}

impl HeapFrame {
    /// An empty frame that can hold `capacity` bytes of data behind [`HEADROOM`].
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: vec![0; HEADROOM + capacity].into_boxed_slice(),
            start: HEADROOM,
            end: HEADROOM,
            rx_checksum_known: None,
        }
    }

    /// A frame with these bytes, and room for nothing more behind them.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut frame = Self::with_capacity(bytes.len());
        frame.buffer[HEADROOM..].copy_from_slice(bytes);
        frame.end += bytes.len();
        frame
    }
}

impl Frame for HeapFrame {
    fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.buffer[self.start..self.end]
    }
    fn headroom(&self) -> usize {
        self.start
    }
    fn tailroom(&self) -> usize {
        self.buffer.len() - self.end
    }
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        let old = self.start;
        self.start = old.checked_sub(len)?;
        Some(&mut self.buffer[self.start..old])
    }
    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.tailroom() {
            return None;
        }
        let old = self.end;
        self.end += len;
        Some(&mut self.buffer[old..self.end])
    }
    fn advance(&mut self, len: usize) {
        self.start += len.min(self.end - self.start);
    }
    fn truncate(&mut self, len: usize) {
        self.end = self.end.min(self.start + len);
    }
    fn reset(&mut self) {
        self.start = HEADROOM.min(self.buffer.len());
        self.end = self.start;
        self.rx_checksum_known = None;
    }
    fn rx_checksum(&self) -> RxChecksum {
        match self.rx_checksum_known {
            None => RxChecksum::Unknown,
            Some(true) => RxChecksum::Good,
            Some(false) => RxChecksum::Bad,
        }
    }
    fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        self.rx_checksum_known = match checksum {
            RxChecksum::Unknown => None,
            RxChecksum::Good => Some(true),
            RxChecksum::Bad => Some(false),
        };
    }
}
