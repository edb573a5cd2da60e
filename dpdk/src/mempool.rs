//! Pools of frames.

use std::ffi::CString;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as sys;
use netcore::FramePool;

use crate::eal::{Eal, reason};
use crate::error::Error;
use crate::mbuf::Mbuf;

/// A pool of equal frames, shared by all its copies and usable from any thread.
///
/// A pool lasts until the process ends, because its frames may be anywhere. Threads that called
/// [`crate::register_thread`] have a cache of their own in it.
#[derive(Clone, Copy, Debug)]
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
    frames: u32,
    data_bytes: u16,
}

// SAFETY: DPDK's mempools are multi-producer and multi-consumer, with caches per thread; `raw`
// stays valid until the process ends (`free_unused` is private to a failed opening).
unsafe impl Send for Mempool {}
// SAFETY: as for Send; every method may be called from several threads at once.
unsafe impl Sync for Mempool {}

/// Frames that a registered thread may keep for itself.
const CACHE_FRAMES: u32 = 256;

impl Mempool {
    /// The largest `data_bytes` of [`Self::new`].
    pub const MAX_DATA_BYTES: u16 = u16::MAX - sys::RTE_PKTMBUF_HEADROOM as u16;

    /// A pool of `frames` frames (a power of two less one wastes least) with room for `data_bytes`
    /// each, headroom of 128 bytes not counted.
    ///
    /// # Errors
    /// [`Error::Pool`] when DPDK has no memory left for it.
    pub fn new(eal: &Eal, frames: u32, data_bytes: u16) -> Result<Self, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let error = |reason: String| Error::Pool { frames, data_bytes, reason };
        if data_bytes > Self::MAX_DATA_BYTES {
            return Err(error(format!("a frame holds at most {} bytes", Self::MAX_DATA_BYTES)));
        }
        let name = CString::new(format!("mayfly{}", COUNT.fetch_add(1, Ordering::Relaxed)))
            .map_err(|nul| error(nul.to_string()))?;
        let room = data_bytes + sys::RTE_PKTMBUF_HEADROOM as u16;
        // DPDK wants the cache to be at most two thirds of the pool.
        let cache = CACHE_FRAMES.min(frames / 4);
        // Without a card nobody needs physical addresses. With them, DPDK would place one frame a
        // page, half of a pool would lie behind the memory that net_af_xdp registers (frames times
        // their size), and the kernel would swallow those frames without a word.
        let dense = i32::from(!eal.drives_cards());
        // SAFETY: the environment runs, since there is an `Eal`; the name is NUL-terminated and copied.
        let raw = unsafe {
            let socket = sys::rte_socket_id() as i32;
            sys::mayfly_pool_create(name.as_ptr(), frames, cache, room, socket, dense)
        };
        // SAFETY: reads a thread-local variable.
        let raw = NonNull::new(raw).ok_or_else(|| error(reason(unsafe { sys::mayfly_errno() })))?;
        Ok(Self { raw, frames, data_bytes })
    }

    /// Frames that are out: held by the program, or waiting in a device's queues.
    pub fn in_use(&self) -> u32 {
        // SAFETY: `raw` is a valid pool for the life of the process.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) }
    }

    /// Frames that can still be allocated (those in other threads' caches are counted too).
    pub fn available(&self) -> u32 {
        // SAFETY: `raw` is a valid pool for the life of the process.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) }
    }

    /// Frames in all.
    pub fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes of data that a fresh frame has room for.
    pub fn data_bytes(&self) -> u16 {
        self.data_bytes
    }

    /// An empty frame, or `None` when all are out.
    #[inline]
    pub fn take(&self) -> Option<Mbuf> {
        // SAFETY: `raw` is a valid pool for the life of the process.
        let mbuf = NonNull::new(unsafe { sys::mayfly_mbuf_alloc(self.raw.as_ptr()) })?;
        // SAFETY: freshly allocated, of one segment, and nobody else has it.
        Some(unsafe { Mbuf::from_raw(mbuf) })
    }

    pub(crate) fn as_ptr(&self) -> *mut sys::rte_mempool {
        self.raw.as_ptr()
    }

    /// Gives the memory of a pool back that was made for a device which then did not open.
    ///
    /// # Safety
    /// No frame of it was ever given out except to that device, which is closed, and no copy of
    /// the pool is used again.
    pub(crate) unsafe fn free_unused(self) {
        if self.in_use() == 0 {
            // SAFETY: nobody uses the pool, promised by the caller.
            unsafe { sys::rte_mempool_free(self.raw.as_ptr()) };
        }
    }
}

impl FramePool for Mempool {
    type Frame = Mbuf;

    #[inline]
    fn allocate(&mut self) -> Option<Mbuf> {
        self.take()
    }
}
