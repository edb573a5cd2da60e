//! Owned frames in DPDK's memory.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::slice;

use dpdk_sys as sys;
use netcore::{Frame, RxChecksum};
use protocol::ip::Version;

/// A frame in a DPDK mbuf: one segment, one owner, given back to its pool on drop.
#[repr(transparent)]
pub struct Mbuf(NonNull<sys::rte_mbuf>);

// SAFETY: an Mbuf is the only owner of its mbuf, and pools take mbufs back from any thread.
unsafe impl Send for Mbuf {}
// SAFETY: a shared reference only reads.
unsafe impl Sync for Mbuf {}

const HEADROOM: u16 = sys::RTE_PKTMBUF_HEADROOM as u16;
const _: () = assert!(HEADROOM as usize >= netcore::frame::HEADROOM);

const IP_MASK: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_MASK as u64;
const IP_BAD: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_BAD as u64;
const IP_GOOD: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_GOOD as u64;
const IP_UNKNOWN: u64 = sys::RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN as u64;
const L4_MASK: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_MASK as u64;
const L4_BAD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_BAD as u64;
const L4_GOOD: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_GOOD as u64;
const L4_UNKNOWN: u64 = sys::RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN as u64;

impl Mbuf {
    /// Takes ownership of an mbuf.
    ///
    /// # Safety
    /// `raw` is a valid mbuf of one segment with a reference count of 1 (`data_off + data_len` at
    /// most `buf_len`, `pkt_len` equal to `data_len`), and nobody else uses it from now on.
    #[inline]
    pub(crate) unsafe fn from_raw(raw: NonNull<sys::rte_mbuf>) -> Self {
        Self(raw)
    }

    /// Gives ownership up.
    #[inline]
    pub(crate) fn into_raw(self) -> NonNull<sys::rte_mbuf> {
        ManuallyDrop::new(self).0
    }

    /// Takes over what a device said of the frame's checksums, from its `ol_flags`.
    #[inline]
    pub(crate) fn set_rx_flags(&mut self, flags: u64) {
        self.raw_mut().ol_flags = flags & (IP_MASK | L4_MASK);
    }

    #[inline(always)]
    fn raw(&self) -> &sys::rte_mbuf {
        // SAFETY: valid for as long as the Mbuf lives (from_raw), and only its owner writes to it.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn raw_mut(&mut self) -> &mut sys::rte_mbuf {
        // SAFETY: as in `raw`; the exclusive reference to the owner is the only way in.
        unsafe { self.0.as_mut() }
    }

    /// `len` bytes from `offset` in the buffer.
    ///
    /// # Safety
    /// `offset + len` is at most `buf_len`.
    #[inline(always)]
    unsafe fn part_mut(&mut self, offset: u16, len: usize) -> &mut [u8] {
        // SAFETY: the buffer is `buf_len` bytes at `buf_addr`, initialised (a pool's memory is
        // zeroed when it is made), and reachable through its owner only; the caller keeps the bounds.
        unsafe { slice::from_raw_parts_mut(self.raw().buf_addr.cast::<u8>().add(usize::from(offset)), len) }
    }

    #[inline(always)]
    fn set_len(&mut self, len: u16) {
        let raw = self.raw_mut();
        raw.data_len = len;
        raw.pkt_len = u32::from(len);
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the owner frees it, once.
        unsafe { sys::mayfly_mbuf_free(self.0.as_ptr()) };
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("len", &self.bytes().len())
            .field("headroom", &self.headroom())
            .field("tailroom", &self.tailroom())
            .field("rx_checksum", &self.rx_checksum())
            .finish()
    }
}

impl Frame for Mbuf {
    #[inline(always)]
    fn bytes(&self) -> &[u8] {
        let raw = self.raw();
        // SAFETY: `data_off + data_len <= buf_len` (from_raw, and every method keeps it); the
        // memory is initialised and nobody writes to it while `self` is borrowed.
        unsafe {
            slice::from_raw_parts(
                raw.buf_addr.cast::<u8>().add(usize::from(raw.data_off)),
                usize::from(raw.data_len),
            )
        }
    }

    #[inline(always)]
    fn bytes_mut(&mut self) -> &mut [u8] {
        let (offset, len) = (self.raw().data_off, self.raw().data_len);
        // SAFETY: `data_off + data_len <= buf_len` always.
        unsafe { self.part_mut(offset, usize::from(len)) }
    }

    #[inline(always)]
    fn headroom(&self) -> usize {
        usize::from(self.raw().data_off)
    }

    #[inline(always)]
    fn tailroom(&self) -> usize {
        let raw = self.raw();
        usize::from(raw.buf_len - raw.data_off - raw.data_len)
    }

    #[inline]
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.headroom() {
            return None;
        }
        // `len` is at most `data_off`, a u16; the sum is at most `buf_len`, one too.
        let new_len = self.raw().data_len + len as u16;
        let raw = self.raw_mut();
        raw.data_off -= len as u16;
        let offset = raw.data_off;
        self.set_len(new_len);
        // SAFETY: the `len` bytes from the new `data_off` were headroom, inside the buffer.
        Some(unsafe { self.part_mut(offset, len) })
    }

    #[inline]
    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        if len > self.tailroom() {
            return None;
        }
        let (offset, old) = (self.raw().data_off, self.raw().data_len);
        self.set_len(old + len as u16);
        // SAFETY: the `len` bytes behind the old data were tailroom, inside the buffer.
        Some(unsafe { self.part_mut(offset + old, len) })
    }

    #[inline]
    fn advance(&mut self, len: usize) {
        let len = len.min(usize::from(self.raw().data_len)) as u16;
        let left = self.raw().data_len - len;
        self.raw_mut().data_off += len;
        self.set_len(left);
    }

    #[inline]
    fn truncate(&mut self, len: usize) {
        if len < usize::from(self.raw().data_len) {
            self.set_len(len as u16);
        }
    }

    #[inline]
    fn reset(&mut self) {
        let raw = self.raw_mut();
        raw.data_off = HEADROOM.min(raw.buf_len);
        raw.ol_flags = 0;
        self.set_len(0);
    }

    #[inline]
    fn rx_checksum(&self) -> RxChecksum {
        let flags = self.raw().ol_flags;
        let (ip, l4) = (flags & IP_MASK, flags & L4_MASK);
        if ip == IP_BAD || l4 == L4_BAD {
            RxChecksum::Bad
        } else if ip == IP_UNKNOWN || l4 == L4_UNKNOWN {
            RxChecksum::Unknown
        } else {
            // GOOD, or NONE: not complete in the packet, but its integrity is vouched for.
            RxChecksum::Good
        }
    }

    #[inline]
    fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        let flags = match checksum {
            RxChecksum::Unknown => 0,
            RxChecksum::Good => IP_GOOD | L4_GOOD,
            RxChecksum::Bad => IP_BAD | L4_BAD,
        };
        let raw = self.raw_mut();
        raw.ol_flags = (raw.ol_flags & !(IP_MASK | L4_MASK)) | flags;
    }

    #[inline]
    fn leave_checksum(&mut self, version: Version) -> bool {
        // SAFETY: valid for as long as the Mbuf lives, and nobody else uses it.
        unsafe { sys::mayfly_mbuf_leave_checksum(self.0.as_ptr(), i32::from(version == Version::V6)) };
        true
    }
}
