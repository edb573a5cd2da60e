//! The seam to the outside: a port receives and sends bursts of owned frames.
//!
//! DPDK devices, in-process rings and the simulator's lossy wire are ports; tracers, pcap
//! writers and fault injectors are ports around ports.

use alloc::collections::VecDeque;
use alloc::rc::Rc;
use core::cell::Cell;

use crate::frame::{Frame, HeapFrame};

/// Frames that a driver moves per call unless it has a reason for another number.
pub const BURST: usize = 32;

/// What a port can do, as data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Hardware address, 6 bytes.
    pub mac: [u8; 6],
    /// Largest IP packet in bytes, Ethernet header excluded.
    pub mtu: usize,
    /// Received frames carry a verdict on their checksums ([`Frame::rx_checksum`]).
    pub rx_checksum: bool,
    /// A kernel on the same machine may send packets whose TCP checksum covers only the
    /// pseudo-header (what Linux calls `CHECKSUM_PARTIAL`); they have to be taken as good.
    pub rx_partial_checksum: bool,
    /// The TCP checksums of sent frames are computed by the device where that was left to it
    /// ([`Frame::leave_checksum`]).
    pub tx_checksum: bool,
}

impl Capabilities {
    /// A port that leaves all checksums to software. `mtu`: bytes of an IP packet.
    pub const fn new(mac: [u8; 6], mtu: usize) -> Self {
        Self { mac, mtu, rx_checksum: false, rx_partial_checksum: false, tx_checksum: false }
    }

    /// The same behind a VLAN tag, if there is one: what devices are told of a frame to be sent says
    /// nothing of tags.
    #[must_use]
    pub const fn in_vlan(self, vlan: Option<u16>) -> Self {
        Self { tx_checksum: self.tx_checksum && vlan.is_none(), ..self }
    }
}

/// Where empty frames come from.
pub trait FramePool {
    /// The kind of frame.
    type Frame: Frame;
    /// An empty frame with headroom, room for at least an MTU of data and rx checksum `Unknown`,
    /// or `None` when the pool is exhausted.
    fn allocate(&mut self) -> Option<Self::Frame>;
}

/// A device, a ring or a simulated wire.
pub trait Port {
    /// The kind of frame.
    type Frame: Frame;
    /// What the port can do; constant over its life.
    fn capabilities(&self) -> Capabilities;
    /// Appends at most `max` received frames to `into` (never more than its free room) and
    /// returns how many.
    fn receive(&mut self, into: &mut FrameQueue<Self::Frame>, max: usize) -> usize;
    /// Sends frames from the front of `from` and returns how many; what the port does not take
    /// now stays in the queue.
    fn send(&mut self, from: &mut FrameQueue<Self::Frame>) -> usize;
}

/// A port that is lent.
impl<P: Port> Port for &mut P {
    type Frame = P::Frame;
    fn capabilities(&self) -> Capabilities {
        (**self).capabilities()
    }
    #[inline]
    fn receive(&mut self, into: &mut FrameQueue<Self::Frame>, max: usize) -> usize {
        (**self).receive(into, max)
    }
    #[inline]
    fn send(&mut self, from: &mut FrameQueue<Self::Frame>) -> usize {
        (**self).send(from)
    }
}

/// A bounded first-in-first-out queue of frames; its memory is taken when it is made.
#[derive(Debug)]
pub struct FrameQueue<F> {
    frames: VecDeque<F>,
    capacity: usize,
}

impl<F> FrameQueue<F> {
    /// A queue for at most `capacity` frames.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { frames: VecDeque::with_capacity(capacity), capacity }
    }
    /// Bytes of memory that a queue of this capacity takes.
    pub const fn memory(capacity: usize) -> usize {
        capacity * size_of::<F>()
    }
    /// Adds a frame at the end.
    ///
    /// # Errors
    /// Gives the frame back when the queue is full.
    pub fn push(&mut self, frame: F) -> Result<(), F> {
        if self.is_full() {
            return Err(frame);
        }
        self.frames.push_back(frame);
        Ok(())
    }
    /// Puts a frame back at the front, whence it came from [`Self::pop`].
    ///
    /// # Errors
    /// Gives the frame back when the queue is full.
    pub fn unpop(&mut self, frame: F) -> Result<(), F> {
        if self.is_full() {
            return Err(frame);
        }
        self.frames.push_front(frame);
        Ok(())
    }
    /// Takes the frame at the front.
    pub fn pop(&mut self) -> Option<F> {
        self.frames.pop_front()
    }
    /// The frame at the front.
    pub fn front(&self) -> Option<&F> {
        self.frames.front()
    }
    /// How many frames it can hold.
    pub fn capacity(&self) -> usize {
        self.capacity
    }
    /// Frames in the queue.
    pub fn len(&self) -> usize {
        self.frames.len()
    }
    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
    /// Frames that still fit.
    pub fn room(&self) -> usize {
        self.capacity - self.frames.len()
    }
    /// True when none fits.
    pub fn is_full(&self) -> bool {
        self.room() == 0
    }
    /// The frames in order.
    pub fn iter(&self) -> impl Iterator<Item = &F> {
        self.frames.iter()
    }
}

/// A pool of [`HeapFrame`]s that can be told to run dry, and counts what is out.
#[derive(Clone, Debug)]
pub struct HeapPool {
    frame_bytes: usize,
    limit: Rc<Cell<usize>>,
}

impl HeapPool {
    /// Frames with room for `frame_bytes` of data; `limit`: how many may still be allocated.
    pub fn new(frame_bytes: usize, limit: usize) -> Self {
        Self { frame_bytes, limit: Rc::new(Cell::new(limit)) }
    }
    /// Sets how many frames may still be allocated.
    pub fn set_limit(&self, limit: usize) {
        self.limit.set(limit);
    }
}

impl FramePool for HeapPool {
    type Frame = HeapFrame;
    fn allocate(&mut self) -> Option<HeapFrame> {
        let left = self.limit.get().checked_sub(1)?;
        self.limit.set(left);
        Some(HeapFrame::with_capacity(self.frame_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn a_frame_queue_behaves_like_a_bounded_deque() {
        for seed in 0..50 {
            let mut rng = SeededRng::new(seed);
            let capacity = rng.below(9) as usize;
            let mut queue = FrameQueue::with_capacity(capacity);
            let mut model: VecDeque<u64> = VecDeque::new();
            for n in 0..500 {
                match rng.below(4) {
                    0 | 1 => {
                        let pushed = queue.push(n);
                        assert_eq!(pushed, if model.len() < capacity { Ok(()) } else { Err(n) });
                        model.extend(pushed.is_ok().then_some(n));
                    }
                    2 => assert_eq!(queue.pop(), model.pop_front()),
                    _ => {
                        let back = queue.unpop(n);
                        assert_eq!(back, if model.len() < capacity { Ok(()) } else { Err(n) });
                        if back.is_ok() {
                            model.push_front(n);
                        }
                    }
                }
                assert!(queue.iter().eq(model.iter()) && queue.front() == model.front());
                assert_eq!((queue.len(), queue.room()), (model.len(), capacity - model.len()));
                assert_eq!((queue.is_empty(), queue.is_full()), (model.is_empty(), model.len() == capacity));
            }
        }
    }
}
