//! Frames whose data the peer has not acknowledged yet.

use alloc::boxed::Box;

/// One frame at most for each flow.
#[derive(Debug)]
pub(crate) struct Retained<F> {
    frames: Box<[Option<F>]>,
    kept: usize,
}

impl<F> Retained<F> {
    pub(crate) fn new(flows_max: usize) -> Self {
        Self { frames: (0..flows_max).map(|_| None).collect(), kept: 0 }
    }

    /// Keeps a frame for a flow that has none.
    pub(crate) fn put(&mut self, slot: u32, frame: F) {
        let old = self.frames[slot as usize].replace(frame);
        debug_assert!(old.is_none(), "flow {slot} keeps a frame already");
        self.kept += 1;
    }

    pub(crate) fn frame_mut(&mut self, slot: u32) -> Option<&mut F> {
        self.frames[slot as usize].as_mut()
    }

    /// Lets a flow's frame go, if it has one.
    pub(crate) fn drop(&mut self, slot: u32) {
        if self.frames[slot as usize].take().is_some() {
            self.kept -= 1;
        }
    }

    /// Frames that are kept.
    pub(crate) fn len(&self) -> usize {
        self.kept
    }
}
