//! A port around a port that shows the frames that pass to whoever wants to see them, such as a
//! writer of pcap files. While nobody does, it costs one comparison per burst.

use alloc::vec::Vec;

use crate::frame::Frame;
use crate::port::{Capabilities, FrameQueue, Port};

/// Which way a frame passed, as seen from the port's user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the port.
    Received,
    /// Taken by the port.
    Sent,
}

/// Who sees the frames.
pub trait Watcher {
    /// A frame has passed.
    fn frame(&mut self, direction: Direction, bytes: &[u8]);
}

/// A port with a tap.
#[derive(Debug)]
pub struct TapPort<P, W> {
    port: P,
    watcher: Option<W>,
    /// Copies of frames that are being sent: which of them the port takes is known afterwards.
    copies: Vec<u8>,
    ends: Vec<usize>,
}

impl<P, W> TapPort<P, W> {
    /// Nobody watches yet.
    pub fn new(port: P) -> Self {
        Self { port, watcher: None, copies: Vec::new(), ends: Vec::new() }
    }

    /// The port inside.
    pub fn inner(&self) -> &P {
        &self.port
    }

    /// From now on `watcher` sees the frames, or nobody; returns who did until now.
    pub fn watch(&mut self, watcher: Option<W>) -> Option<W> {
        core::mem::replace(&mut self.watcher, watcher)
    }
}

impl<P: Port, W: Watcher> TapPort<P, W> {
    #[cold]
    fn receive_watched(&mut self, into: &mut FrameQueue<P::Frame>, max: usize) -> usize {
        let before = into.len();
        let count = self.port.receive(into, max);
        if let Some(watcher) = &mut self.watcher {
            into.iter().skip(before).for_each(|frame| watcher.frame(Direction::Received, frame.bytes()));
        }
        count
    }

    #[cold]
    fn send_watched(&mut self, from: &mut FrameQueue<P::Frame>) -> usize {
        self.copies.clear();
        self.ends.clear();
        for frame in from.iter() {
            self.copies.extend_from_slice(frame.bytes());
            self.ends.push(self.copies.len());
        }
        let count = self.port.send(from);
        if let Some(watcher) = &mut self.watcher {
            let mut begin = 0;
            for &end in self.ends.iter().take(count) {
                watcher.frame(Direction::Sent, &self.copies[begin..end]);
                begin = end;
            }
        }
        count
    }
}

impl<P: Port, W: Watcher> Port for TapPort<P, W> {
    type Frame = P::Frame;

    fn capabilities(&self) -> Capabilities {
        self.port.capabilities()
    }

    #[inline]
    fn receive(&mut self, into: &mut FrameQueue<P::Frame>, max: usize) -> usize {
        if self.watcher.is_some() {
            return self.receive_watched(into, max);
        }
        self.port.receive(into, max)
    }

    #[inline]
    fn send(&mut self, from: &mut FrameQueue<P::Frame>) -> usize {
        if self.watcher.is_some() {
            return self.send_watched(from);
        }
        self.port.send(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HeapFrame;
    use crate::ring;

    #[derive(Default)]
    struct Seen(Vec<(Direction, Vec<u8>)>);

    impl Watcher for Seen {
        fn frame(&mut self, direction: Direction, bytes: &[u8]) {
            self.0.push((direction, bytes.to_vec()));
        }
    }

    fn queue(frames: &[&[u8]]) -> FrameQueue<HeapFrame> {
        let mut queue = FrameQueue::with_capacity(8);
        frames.iter().for_each(|bytes| queue.push(HeapFrame::from_bytes(bytes)).unwrap());
        queue
    }

    #[test]
    fn what_passes_is_seen_and_what_does_not_is_not() {
        let capabilities = Capabilities::new([2; 6], 1500);
        let (near, mut far) = ring::pair::<HeapFrame>(2, capabilities);
        let mut tap: TapPort<_, Seen> = TapPort::new(near);
        assert_eq!(tap.capabilities(), capabilities);
        // Nobody watches.
        assert_eq!(far.send(&mut queue(&[b"one"])), 1);
        let mut received = FrameQueue::with_capacity(8);
        assert_eq!(tap.receive(&mut received, 8), 1);
        assert!(tap.watch(Some(Seen::default())).is_none());
        // One frame was there before and is not shown again.
        assert_eq!(far.send(&mut queue(&[b"two", b"three"])), 2);
        assert_eq!(tap.receive(&mut received, 8), 2);
        assert_eq!(received.len(), 3);
        // The ring takes two; the third stays, and is shown when it goes.
        let mut sending = queue(&[b"a", b"bb", b"ccc"]);
        assert_eq!((tap.send(&mut sending), sending.len()), (2, 1));
        assert_eq!(tap.send(&mut sending), 0);
        assert_eq!(far.receive(&mut FrameQueue::with_capacity(8), 8), 2);
        assert_eq!(tap.send(&mut sending), 1);
        let seen = tap.watch(None).unwrap();
        use Direction::{Received, Sent};
        let expected =
            [(Received, &b"two"[..]), (Received, b"three"), (Sent, b"a"), (Sent, b"bb"), (Sent, b"ccc")];
        let expected: Vec<_> = expected.into_iter().map(|(way, bytes)| (way, bytes.to_vec())).collect();
        assert_eq!(seen.0, expected);
        assert_eq!(tap.send(&mut queue(&[b"unseen"])), 1);
    }
}
