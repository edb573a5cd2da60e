//! A queue of an open device as a port of the seam.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::Arc;

use dpdk_sys as sys;
use netcore::port::BURST;
use netcore::{Capabilities, Frame, FrameQueue, Port};

use crate::interface::Claim;
use crate::mbuf::Mbuf;
use crate::mempool::Mempool;
use crate::packet_drops::PacketDrops;

/// One receive and one send queue of a device.
///
/// The device is stopped, closed and given back to the kernel when the last of its ports is
/// dropped. Polling is up to the caller: nothing happens between the calls.
#[derive(Debug)]
pub struct DevicePort {
    device: Arc<OpenDevice>,
    queue: u16,
    capabilities: Capabilities,
    pool: Mempool,
    /// For what fits no frame of `pool`.
    large: Option<Mempool>,
    /// The device receives into frames of `large`; small ones are moved to `pool`.
    large_rx_frames: bool,
    stats: PortStats,
}

/// Counters of one port, and what its device counts for all its queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: u64,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Frames that the device handed to the driver and the port could not use: in several segments
    /// that fit no frame.
    pub rx_unusable: u64,
    /// Frames that the device dropped because nobody fetched them in time (whole device).
    pub rx_missed: u64,
    /// Frames that the device received with an error (whole device).
    pub rx_errors: u64,
    /// Times the device found no free frame in its pool (whole device).
    pub rx_no_frame: u64,
    /// Frames sent.
    pub tx_frames: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Frames that the device did not take at once; they stay in the caller's queue.
    pub tx_refused: u64,
    /// Frames that the device took and then failed to send (whole device).
    pub tx_errors: u64,
}

impl PortStats {
    /// Name and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("rx_frames", self.rx_frames),
            ("rx_bytes", self.rx_bytes),
            ("rx_unusable", self.rx_unusable),
            ("rx_missed", self.rx_missed),
            ("rx_errors", self.rx_errors),
            ("rx_no_frame", self.rx_no_frame),
            ("tx_frames", self.tx_frames),
            ("tx_bytes", self.tx_bytes),
            ("tx_refused", self.tx_refused),
            ("tx_errors", self.tx_errors),
        ]
        .into_iter()
    }

    /// These and those of an earlier opening of the same device together.
    #[must_use]
    pub fn after(&self, earlier: &Self) -> Self {
        Self {
            rx_missed: self.rx_missed + earlier.rx_missed,
            rx_errors: self.rx_errors + earlier.rx_errors,
            rx_no_frame: self.rx_no_frame + earlier.rx_no_frame,
            tx_errors: self.tx_errors + earlier.tx_errors,
            ..self.queues_added(earlier)
        }
    }

    /// These and those of another queue of the same device together: what is counted for the whole
    /// device is not counted twice.
    #[must_use]
    pub fn beside(&self, other: &Self) -> Self {
        Self {
            rx_missed: self.rx_missed.max(other.rx_missed),
            rx_errors: self.rx_errors.max(other.rx_errors),
            rx_no_frame: self.rx_no_frame.max(other.rx_no_frame),
            tx_errors: self.tx_errors.max(other.tx_errors),
            ..self.queues_added(other)
        }
    }

    /// The sum of what is counted for each queue.
    fn queues_added(&self, other: &Self) -> Self {
        Self {
            rx_frames: self.rx_frames + other.rx_frames,
            rx_bytes: self.rx_bytes + other.rx_bytes,
            rx_unusable: self.rx_unusable + other.rx_unusable,
            tx_frames: self.tx_frames + other.tx_frames,
            tx_bytes: self.tx_bytes + other.tx_bytes,
            tx_refused: self.tx_refused + other.tx_refused,
            ..*self
        }
    }
}

/// The pools of a device. They outlive it: their frames may be anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Pools {
    /// Frames for an MTU.
    pub(crate) pool: Mempool,
    /// Frames of up to [`Mempool::MAX_DATA_BYTES`], where the device may hand out such.
    pub(crate) large: Option<Mempool>,
}

/// A device that was added to DPDK; taken out again on drop.
#[derive(Debug)]
pub(crate) struct OpenDevice {
    /// DPDK's number for it.
    pub(crate) id: u16,
    /// The bus and the name on it.
    pub(crate) bus: CString,
    pub(crate) name: CString,
    /// It was configured and started, and has to be stopped.
    pub(crate) started: bool,
    /// What the user should know of the opening.
    pub(crate) notes: Vec<String>,
    pub(crate) _claim: Option<Claim>,
    /// What a packet socket's driver does not count.
    pub(crate) packet_drops: Option<PacketDrops>,
}

impl OpenDevice {
    fn is_link_up(&self) -> bool {
        // SAFETY: a plain C struct, for which all zero bits are valid.
        let mut link = unsafe { std::mem::zeroed::<sys::rte_eth_link>() };
        // SAFETY: the port exists while `self` lives; the struct is writable.
        let asked = unsafe { sys::rte_eth_link_get_nowait(self.id, &mut link) };
        asked != 0 || link.link_status() == 1
    }
}

/// Looks at the link of a device, from any thread.
#[derive(Debug)]
pub struct LinkWatch(Arc<OpenDevice>);

impl LinkWatch {
    /// True when the device has a link: for a card a cable, for a vhost-user socket (either side)
    /// another process that is connected to it. A driver that knows nothing of links says true.
    pub fn is_up(&self) -> bool {
        self.0.is_link_up()
    }
}

impl Drop for OpenDevice {
    fn drop(&mut self) {
        // SAFETY: the port exists until it is removed here, once; the strings are NUL-terminated.
        // No queue is polled any more, since every DevicePort holds the device alive.
        unsafe {
            if self.started {
                sys::rte_eth_dev_stop(self.id);
            }
            sys::rte_eth_dev_close(self.id);
            sys::rte_eal_hotplug_remove(self.bus.as_ptr(), self.name.as_ptr());
        }
    }
}

impl DevicePort {
    pub(crate) fn new(
        device: Arc<OpenDevice>,
        queue: u16,
        capabilities: Capabilities,
        pools: Pools,
        large_rx_frames: bool,
    ) -> Self {
        let Pools { pool, large } = pools;
        Self { device, queue, capabilities, pool, large, large_rx_frames, stats: PortStats::default() }
    }

    /// The pools, for another opening of the device.
    pub fn pools(&self) -> Pools {
        Pools { pool: self.pool, large: self.large }
    }

    /// Where frames to be sent through this port are best allocated.
    pub fn pool(&self) -> Mempool {
        self.pool
    }

    /// What was done or had to be decided on opening that the user should be told, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.device.notes
    }

    /// True when the device has a link: see [`LinkWatch::is_up`].
    pub fn is_link_up(&self) -> bool {
        self.device.is_link_up()
    }

    /// For another thread to look at the link. The device is not closed before it is dropped.
    pub fn watch(&self) -> LinkWatch {
        LinkWatch(Arc::clone(&self.device))
    }

    /// The counters so far.
    pub fn stats(&self) -> PortStats {
        let mut device = MaybeUninit::<sys::rte_eth_stats>::zeroed();
        // SAFETY: the port exists while `self.device` lives; the struct is writable, and its zero
        // bytes are valid if the driver refuses to fill it.
        let device = unsafe {
            sys::rte_eth_stats_get(self.device.id, device.as_mut_ptr());
            device.assume_init()
        };
        PortStats {
            rx_missed: device.imissed + self.device.packet_drops.as_ref().map_or(0, PacketDrops::total),
            rx_errors: device.ierrors,
            rx_no_frame: device.rx_nombuf,
            tx_errors: device.oerrors,
            ..self.stats
        }
    }

    /// Makes an mbuf from the driver one owned frame of one segment, or frees and counts it.
    #[inline]
    fn adopt(&mut self, raw: *mut sys::rte_mbuf) -> Option<Mbuf> {
        let raw = NonNull::new(raw)?;
        // SAFETY: the driver handed over a valid mbuf that nobody else has.
        let (segments, len) = unsafe { (raw.as_ref().nb_segs, raw.as_ref().pkt_len) };
        if segments != 1 || (self.large_rx_frames && len <= u32::from(self.pool.data_bytes())) {
            return self.adopt_into_pool(raw, segments, len);
        }
        // SAFETY: valid, of one segment, exclusively ours.
        Some(unsafe { Mbuf::from_raw(raw) })
    }

    /// The slow half of [`Self::adopt`]: the bytes move to a frame of a pool, or stay where they
    /// are if they cannot.
    fn adopt_into_pool(&mut self, raw: NonNull<sys::rte_mbuf>, segments: u16, len: u32) -> Option<Mbuf> {
        let pool = self.large.filter(|_| len > u32::from(self.pool.data_bytes())).unwrap_or(self.pool);
        if let Some(mut frame) = pool.take()
            && let Some(room) = frame.append(len as usize)
            // SAFETY: `raw` is a valid chain of mbufs, `room` is writable and `len` bytes long.
            && unsafe { sys::mayfly_mbuf_read(raw.as_ptr(), len, room.as_mut_ptr().cast()) } == 0
        {
            // SAFETY: `raw` is valid and exclusively ours, and is not used after this.
            unsafe {
                frame.set_rx_flags(raw.as_ref().ol_flags);
                sys::mayfly_mbuf_free(raw.as_ptr());
            }
            return Some(frame);
        }
        // SAFETY: `raw` is valid and exclusively ours.
        if segments == 1 || unsafe { sys::mayfly_mbuf_linearize(raw.as_ptr()) } == 0 {
            // SAFETY: of one segment, or made so just now.
            return Some(unsafe { Mbuf::from_raw(raw) });
        }
        // SAFETY: `raw` is valid, exclusively ours, and not used after this.
        unsafe { sys::mayfly_mbuf_free(raw.as_ptr()) };
        self.stats.rx_unusable += 1;
        None
    }
}

impl Port for DevicePort {
    type Frame = Mbuf;

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn receive(&mut self, into: &mut FrameQueue<Mbuf>, max: usize) -> usize {
        let mut received = 0;
        let mut want = max.min(into.room());
        while want > 0 {
            let mut burst = [std::ptr::null_mut::<sys::rte_mbuf>(); BURST];
            let ask = want.min(BURST) as u16;
            // SAFETY: the queue is set up and started, and only this port (borrowed exclusively)
            // polls it; `burst` has room for `ask` pointers.
            let got = usize::from(unsafe {
                sys::mayfly_rx_burst(self.device.id, self.queue, burst.as_mut_ptr(), ask)
            });
            for &raw in &burst[..got] {
                let Some(frame) = self.adopt(raw) else { continue };
                self.stats.rx_frames += 1;
                self.stats.rx_bytes += frame.bytes().len() as u64;
                // Cannot fail: at most the queue's room was asked for.
                if into.push(frame).is_ok() {
                    received += 1;
                }
            }
            if got < usize::from(ask) {
                break;
            }
            want -= got;
        }
        received
    }

    fn send(&mut self, from: &mut FrameQueue<Mbuf>) -> usize {
        let mut sent = 0;
        while !from.is_empty() {
            let mut burst = [std::ptr::null_mut::<sys::rte_mbuf>(); BURST];
            let mut lengths = [0u64; BURST];
            let mut count = 0;
            while count < BURST
                && let Some(frame) = from.pop()
            {
                lengths[count] = frame.bytes().len() as u64;
                burst[count] = frame.into_raw().as_ptr();
                count += 1;
            }
            // SAFETY: the queue is set up and started, and only this port (borrowed exclusively)
            // uses it; the first `count` pointers are valid mbufs that we own. The driver owns and
            // frees those that it takes.
            let taken = usize::from(unsafe {
                sys::mayfly_tx_burst(self.device.id, self.queue, burst.as_mut_ptr(), count as u16)
            });
            sent += taken;
            self.stats.tx_frames += taken as u64;
            self.stats.tx_bytes += lengths[..taken].iter().sum::<u64>();
            if taken < count {
                for &raw in burst[taken..count].iter().rev() {
                    let Some(raw) = NonNull::new(raw) else { continue };
                    // SAFETY: made by `into_raw` above and not taken by the driver: still ours.
                    let frame = unsafe { Mbuf::from_raw(raw) };
                    // Cannot fail: there was room for it before.
                    let _ = from.unpop(frame);
                }
                self.stats.tx_refused += (count - taken) as u64;
                break;
            }
        }
        sent
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_devices_own_counters_are_not_counted_for_each_queue() {
        let first = PortStats { rx_frames: 1, rx_missed: 5, ..PortStats::default() };
        let second = PortStats { rx_frames: 2, rx_missed: 6, tx_bytes: 9, ..PortStats::default() };
        let both = PortStats { rx_frames: 3, rx_missed: 6, tx_bytes: 9, ..PortStats::default() };
        assert_eq!(first.beside(&second), both);
        assert_eq!(first.after(&second), PortStats { rx_missed: 11, ..both });
    }
}
