//! Frames that a pool counts: what is taken and never comes back is a leak.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use netcore::{Frame, FramePool, HeapFrame, RxChecksum};
use protocol::ip::Version;

/// A pool of [`SimFrame`]s with a limit that can change while it runs.
#[derive(Clone, Debug)]
pub struct Pool(Rc<Shared>);

#[derive(Debug)]
struct Shared {
    frame_bytes: usize,
    limit: Cell<usize>,
    out: Cell<usize>,
    refused: Cell<u64>,
    free: RefCell<Vec<HeapFrame>>,
}

impl Pool {
    /// Frames with room for `frame_bytes` of data, at most `limit` of them out at a time.
    pub fn new(frame_bytes: usize, limit: usize) -> Self {
        Self(Rc::new(Shared {
            frame_bytes,
            limit: Cell::new(limit),
            out: Cell::new(0),
            refused: Cell::new(0),
            free: RefCell::default(),
        }))
    }

    /// Frames that somebody holds.
    pub fn out(&self) -> usize {
        self.0.out.get()
    }

    /// How often there was none to be had.
    pub fn refused(&self) -> u64 {
        self.0.refused.get()
    }

    /// Sets how many frames may be out at a time. Fewer than are out now: none is given until
    /// enough have come back.
    pub fn set_limit(&self, limit: usize) {
        self.0.limit.set(limit);
    }

    /// A frame with these bytes; `None` when the pool is exhausted or the frames are too small.
    pub fn frame_with(&mut self, bytes: &[u8]) -> Option<SimFrame> {
        let mut frame = self.allocate()?;
        frame.append(bytes.len())?.copy_from_slice(bytes);
        Some(frame)
    }
}

impl FramePool for Pool {
    type Frame = SimFrame;

    fn allocate(&mut self) -> Option<SimFrame> {
        let shared = &self.0;
        if shared.out.get() >= shared.limit.get() {
            shared.refused.set(shared.refused.get() + 1);
            return None;
        }
        shared.out.set(shared.out.get() + 1);
        let inner = shared.free.borrow_mut().pop();
        let inner = inner.unwrap_or_else(|| HeapFrame::with_capacity(shared.frame_bytes));
        Some(SimFrame { inner: Some(inner), pool: Rc::clone(shared) })
    }
}

/// A frame of a [`Pool`]; dropping it gives it back.
#[derive(Debug)]
pub struct SimFrame {
    /// Taken only by `drop`.
    inner: Option<HeapFrame>,
    pool: Rc<Shared>,
}

impl SimFrame {
    /// As [`HeapFrame::checksum_left`].
    pub fn checksum_left(&self) -> Option<Version> {
        self.get().checksum_left()
    }
    fn get(&self) -> &HeapFrame {
        self.inner.as_ref().expect("only drop takes it")
    }
    fn get_mut(&mut self) -> &mut HeapFrame {
        self.inner.as_mut().expect("only drop takes it")
    }
}

impl Drop for SimFrame {
    fn drop(&mut self) {
        if let Some(mut inner) = self.inner.take() {
            inner.reset();
            self.pool.out.set(self.pool.out.get() - 1);
            self.pool.free.borrow_mut().push(inner);
        }
    }
}

impl Frame for SimFrame {
    fn bytes(&self) -> &[u8] {
        self.get().bytes()
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.get_mut().bytes_mut()
    }
    fn headroom(&self) -> usize {
        self.get().headroom()
    }
    fn tailroom(&self) -> usize {
        self.get().tailroom()
    }
    fn prepend(&mut self, len: usize) -> Option<&mut [u8]> {
        self.get_mut().prepend(len)
    }
    fn append(&mut self, len: usize) -> Option<&mut [u8]> {
        self.get_mut().append(len)
    }
    fn advance(&mut self, len: usize) {
        self.get_mut().advance(len);
    }
    fn truncate(&mut self, len: usize) {
        self.get_mut().truncate(len);
    }
    fn reset(&mut self) {
        self.get_mut().reset();
    }
    fn rx_checksum(&self) -> RxChecksum {
        self.get().rx_checksum()
    }
    fn set_rx_checksum(&mut self, checksum: RxChecksum) {
        self.get_mut().set_rx_checksum(checksum);
    }
    fn leave_checksum(&mut self, version: Version) -> bool {
        self.get_mut().leave_checksum(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_out_and_refuses_beyond_the_limit() {
        let mut pool = Pool::new(64, 2);
        let a = pool.frame_with(b"abc").unwrap();
        let b = pool.allocate().unwrap();
        assert!(pool.allocate().is_none());
        assert_eq!((pool.out(), pool.refused()), (2, 1));
        drop(a);
        let c = pool.allocate().unwrap();
        assert!(c.bytes().is_empty(), "a used frame comes back empty");
        drop((b, c));
        assert_eq!(pool.out(), 0);
        assert!(pool.frame_with(&[0; 65]).is_none());
        assert_eq!(pool.out(), 0);
    }
}
