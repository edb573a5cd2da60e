//! Frames whose data the peer has not acknowledged yet.

use alloc::boxed::Box;
use alloc::vec::Vec;

/// Names no frame.
pub(crate) const NOT_RETAINED: u32 = u32::MAX;

/// A fixed number of places for frames.
#[derive(Debug)]
pub(crate) struct Retained<F> {
    frames: Box<[Option<F>]>,
    free: Vec<u32>,
}

impl<F> Retained<F> {
    pub(crate) fn new(places: usize) -> Self {
        Self { frames: (0..places).map(|_| None).collect(), free: (0..places as u32).rev().collect() }
    }

    /// Keeps a frame and returns its place; gives it back when all places are taken.
    pub(crate) fn put(&mut self, frame: F) -> Result<u32, F> {
        let Some(place) = self.free.pop() else { return Err(frame) };
        self.frames[place as usize] = Some(frame);
        Ok(place)
    }

    pub(crate) fn frame_mut(&mut self, place: u32) -> Option<&mut F> {
        self.frames.get_mut(place as usize)?.as_mut()
    }

    /// Takes a frame out.
    pub(crate) fn take(&mut self, place: u32) -> Option<F> {
        let frame = self.frames.get_mut(place as usize)?.take()?;
        self.free.push(place);
        Some(frame)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.free.is_empty()
    }

    /// Frames that are kept.
    pub(crate) fn len(&self) -> usize {
        self.frames.len() - self.free.len()
    }
}
