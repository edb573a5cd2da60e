//! A port made of two in-process rings: what joins firmware and host in one process.
//!
//! Each direction is a lock-free single-producer single-consumer ring (crate `rtrb`), so the two
//! ends may live on two threads. Frames move by ownership; nothing is copied.

use rtrb::{Consumer, Producer, RingBuffer};

use crate::frame::Frame;
use crate::port::{Capabilities, FrameQueue, Port};

/// One end of a pair of rings.
#[derive(Debug)]
pub struct RingPort<F> {
    tx: Producer<F>,
    rx: Consumer<F>,
    capabilities: Capabilities,
}

/// Two ends, each of which receives what the other sends.
///
/// `capacity`: frames that each direction holds. `capabilities`: what both ends report.
pub fn pair<F: Frame>(capacity: usize, capabilities: Capabilities) -> (RingPort<F>, RingPort<F>) {
    let (tx_a, rx_b) = RingBuffer::new(capacity);
    let (tx_b, rx_a) = RingBuffer::new(capacity);
    (RingPort { tx: tx_a, rx: rx_a, capabilities }, RingPort { tx: tx_b, rx: rx_b, capabilities })
}

impl<F: Frame> Port for RingPort<F> {
    type Frame = F;

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn receive(&mut self, into: &mut FrameQueue<F>, max: usize) -> usize {
        let count = self.rx.slots().min(max).min(into.room());
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.rx.read_chunk(count) else { return 0 };
        let mut moved = 0;
        for frame in chunk {
            // Cannot fail: `count` was bounded by the queue's room above.
            if into.push(frame).is_err() {
                break;
            }
            moved += 1;
        }
        moved
    }

    fn send(&mut self, from: &mut FrameQueue<F>) -> usize {
        let count = if from.is_empty() { 0 } else { self.tx.slots().min(from.len()) };
        if count == 0 {
            return 0;
        }
        let Ok(chunk) = self.tx.write_chunk_uninit(count) else { return 0 };
        chunk.fill_from_iter(core::iter::from_fn(|| from.pop()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::HeapFrame;

    #[test]
    fn what_does_not_fit_stays_with_the_caller() {
        let capabilities =
            Capabilities { mac: [2; 6], mtu: 1500, rx_checksum: false, rx_partial_checksum: false };
        let (mut a, mut b) = pair::<HeapFrame>(4, capabilities);
        let mut out = FrameQueue::with_capacity(8);
        for n in 0..6u8 {
            out.push(HeapFrame::from_bytes(&[n])).unwrap();
        }
        assert_eq!(a.send(&mut out), 4);
        assert_eq!(out.len(), 2);
        let mut got = FrameQueue::with_capacity(8);
        assert_eq!(b.receive(&mut got, 3), 3);
        assert_eq!(a.send(&mut out), 2);
        assert_eq!(b.receive(&mut got, 8), 3);
        let order: alloc::vec::Vec<u8> = got.iter().map(|f| f.bytes()[0]).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5]);
    }
}
