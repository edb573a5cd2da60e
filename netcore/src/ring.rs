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
    extern crate std;

    use super::*;
    use crate::frame::HeapFrame;
    use crate::rng::SeededRng;

    #[test]
    fn what_does_not_fit_stays_with_the_caller() {
        let capabilities = Capabilities::new([2; 6], 1500);
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

    /// Sends the numbers `0..count` in bursts of changing size, and takes as many.
    fn exchange(mut port: RingPort<HeapFrame>, count: u32, mut rng: SeededRng) {
        let mut out = FrameQueue::with_capacity(7);
        let mut got = FrameQueue::with_capacity(5);
        let (mut next, mut expected) = (0, 0);
        while next < count || !out.is_empty() || expected < count {
            let burst = rng.below(8);
            for _ in 0..burst {
                if next < count && out.push(HeapFrame::from_bytes(&next.to_le_bytes())).is_ok() {
                    next += 1;
                }
            }
            let before = out.len();
            assert_eq!(port.send(&mut out), before - out.len(), "what was not taken stays");
            let received = port.receive(&mut got, rng.below(7) as usize);
            assert!(received <= 5 && received == got.len());
            while let Some(frame) = got.pop() {
                assert_eq!(frame.bytes(), expected.to_le_bytes());
                expected += 1;
            }
            if received == 0 && out.len() == before {
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn two_threads_exchange_everything_in_order() {
        let count = if cfg!(miri) { 200 } else { 5_000 };
        let capabilities = Capabilities::new([2; 6], 1500);
        let (a, b) = pair::<HeapFrame>(16, capabilities);
        let other = std::thread::spawn(move || exchange(a, count, SeededRng::new(1)));
        exchange(b, count, SeededRng::new(2));
        other.join().unwrap();
    }
}
