//! Owned frames: one contiguous run of bytes with room in front for headers.

use alloc::boxed::Box;
use alloc::vec;
use core::ops::Range;

use protocol::ip::{Address, Version};
use protocol::tcp;

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
    /// Leaves the TCP checksum to the device that sends the frame, whose checksum field holds the
    /// sum over the pseudo-header until then. A plain IP header of this version follows the Ethernet
    /// header, which may still be missing. False, and no change: this kind of frame cannot say so.
    fn leave_checksum(&mut self, version: Version) -> bool;
}

/// Completes the TCP segment at `tcp` in a frame that is to be sent, behind a plain IP header
/// (RFC 9293 §3.1 MUST-2). `by_device`: leaves the checksum to the device, which must have
/// [`tx_checksum`](crate::Capabilities::tx_checksum).
#[inline]
pub fn complete_segment(
    frame: &mut impl Frame,
    by_device: bool,
    (src, dst): (Address, Address),
    tcp: Range<usize>,
) {
    if by_device && frame.leave_checksum(src.version()) {
        tcp::fill_partial_checksum(src, dst, &mut frame.bytes_mut()[tcp]);
    } else {
        tcp::fill_checksum(src, dst, &mut frame.bytes_mut()[tcp]);
    }
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
    checksum_left: Option<Version>,
}

impl HeapFrame {
    /// An empty frame that can hold `capacity` bytes of data behind [`HEADROOM`].
    pub fn with_capacity(capacity: usize) -> Self {
        Self {
            buffer: vec![0; HEADROOM + capacity].into_boxed_slice(),
            start: HEADROOM,
            end: HEADROOM,
            rx_checksum_known: None,
            checksum_left: None,
        }
    }

    /// The version of IP of a frame whose TCP checksum was left to the device.
    pub const fn checksum_left(&self) -> Option<Version> {
        self.checksum_left
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
        self.checksum_left = None;
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
    fn leave_checksum(&mut self, version: Version) -> bool {
        self.checksum_left = Some(version);
        true
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn a_checksum_is_computed_here_or_left_to_the_device() {
        let ends = (Ipv4Addr::new(198, 18, 0, 1).into(), Ipv4Addr::new(198, 18, 0, 2).into());
        let bytes: alloc::vec::Vec<u8> = (0..60).collect();
        for by_device in [false, true] {
            let mut frame = HeapFrame::from_bytes(&bytes);
            complete_segment(&mut frame, by_device, ends, 20..60);
            assert_eq!(frame.checksum_left(), by_device.then_some(Version::V4));
            assert_eq!(frame.bytes()[..36], bytes[..36]);
            let verify = |partial| tcp::verify_checksum(ends.0, ends.1, &frame.bytes()[20..], partial);
            assert_eq!((verify(false), verify(true)), (!by_device, true));
            frame.reset();
            assert_eq!(frame.checksum_left(), None);
        }
    }
}
