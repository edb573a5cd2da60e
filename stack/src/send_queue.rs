//! Bytes that were written and not yet acknowledged.
//!
//! ```text
//!   SND.UNA                SND.NXT                end
//!      |---- in flight -------|---- not yet sent ----|
//!      | short run | chunk | chunk | ... | open tail |
//! ```
//!
//! Short replies live in one run, whose memory is lent by the stack ([`Runs`]) until they are
//! acknowledged: an idle connection has none. Large output keeps its chunks by reference and is
//! copied only into frames.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::app::Output;

/// Bytes that the short run takes before chunks begin.
const SHORT_MAX: usize = 16 * 1024;
/// Bytes at which the open tail becomes a chunk.
const TAIL_MAX: usize = 64 * 1024;
/// Memory of a run that is kept for the next reply.
const SHORT_KEEP: usize = 4 * 1024;
/// Unused runs that are kept: as many as may be in flight without allocating, 16 MiB at most.
pub(crate) const RUNS_KEEP: usize = 4096;

/// Memory for short replies. The run that was given back last is warm, and lent first.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Vec<u8>>);

impl Runs {
    #[inline]
    fn lend(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }
    #[inline]
    fn give_back(&mut self, mut run: Vec<u8>) {
        if (1..=SHORT_KEEP).contains(&run.capacity()) && self.0.len() < RUNS_KEEP {
            run.clear();
            self.0.push(run);
        }
    }
    /// Bytes of the runs that nobody uses.
    pub(crate) fn memory(&self) -> usize {
        self.0.iter().map(Vec::capacity).sum::<usize>() + self.0.capacity() * size_of::<Vec<u8>>()
    }
}

#[derive(Debug, Default)]
pub(crate) struct SendQueue {
    short: Vec<u8>,
    short_start: usize,
    long: Option<alloc::boxed::Box<Long>>,
    len: usize,
}

/// What only large output needs.
#[derive(Debug, Default)]
struct Long {
    chunks: VecDeque<Bytes>,
    tail: Vec<u8>,
    tail_start: usize,
    chunk_bytes: usize,
    /// Where the last read ended: a chunk and the bytes in front of it, so that reading on does
    /// not walk the list again.
    cursor: (usize, usize),
}

impl SendQueue {
    /// Bytes from SND.UNA to the end.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Takes everything that the application wrote.
    #[inline]
    pub(crate) fn append(&mut self, output: &mut Output, runs: &mut Runs) {
        match output.contiguous() {
            Some([]) => {}
            Some(bytes) if self.long.is_none() && self.short.len() + bytes.len() <= SHORT_MAX => {
                self.len += bytes.len();
                if self.short.is_empty() && bytes.len() <= SHORT_KEEP {
                    let memory = match self.short.capacity() {
                        0 => runs.lend(),
                        _ => core::mem::take(&mut self.short),
                    };
                    self.short = output.swap_run(memory);
                } else {
                    self.short.extend_from_slice(bytes);
                    output.clear();
                }
            }
            _ => self.append_long(output),
        }
    }

    #[cold]
    fn append_long(&mut self, output: &mut Output) {
        let long = self.long.get_or_insert_default();
        self.len += output.len();
        if let Some(bytes) = output.contiguous()
            && bytes.len() < TAIL_MAX
        {
            long.tail.extend_from_slice(bytes);
            if long.tail.len() >= TAIL_MAX {
                long.close_tail();
            }
            output.clear();
            return;
        }
        long.close_tail();
        for chunk in output.take_chunks() {
            long.chunk_bytes += chunk.len();
            long.chunks.push_back(chunk);
        }
    }

    /// Forgets the first `count` bytes: they were acknowledged. At most what is there.
    #[inline]
    pub(crate) fn consume(&mut self, count: usize, runs: &mut Runs) {
        debug_assert!(count <= self.len);
        self.len -= count;
        let of_short = count.min(self.short.len() - self.short_start);
        self.short_start += of_short;
        if self.short_start == self.short.len() {
            runs.give_back(core::mem::take(&mut self.short));
            self.short_start = 0;
        }
        if let Some(long) = &mut self.long {
            long.consume(count - of_short);
            if self.len == 0 {
                self.long = None;
            }
        } else if self.short_start >= SHORT_MAX / 2 {
            // A connection that is never quite drained must not let the run grow.
            self.short.drain(..self.short_start);
            self.short_start = 0;
        }
    }

    /// Copies `out.len()` bytes that begin `offset` bytes behind SND.UNA; they must be there.
    #[inline]
    pub(crate) fn read(&mut self, offset: usize, out: &mut [u8]) {
        debug_assert!(offset + out.len() <= self.len);
        let short = &self.short[self.short_start..];
        if offset + out.len() <= short.len() {
            out.copy_from_slice(&short[offset..offset + out.len()]);
            return;
        }
        let of_short = short.len().saturating_sub(offset);
        let (head, rest) = out.split_at_mut(of_short);
        if of_short > 0 {
            head.copy_from_slice(&short[offset..]);
        }
        let offset = (offset + of_short) - short.len();
        if let Some(long) = &mut self.long {
            long.read(offset, rest);
        }
    }

    /// Empties the queue for the slot's next connection. `keep`: memory for a short reply may stay here for it.
    #[inline]
    pub(crate) fn clear(&mut self, keep: bool, runs: &mut Runs) {
        if keep && self.short.capacity() <= SHORT_KEEP {
            self.short.clear();
        } else {
            runs.give_back(core::mem::take(&mut self.short));
        }
        self.short_start = 0;
        if self.long.is_some() {
            self.long = None;
        }
        self.len = 0;
    }

    /// Bytes of memory beside the queue itself; values that are shared count as if they were not.
    pub(crate) fn memory(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| {
            size_of::<Long>()
                + long.chunk_bytes
                + long.tail.capacity()
                + long.chunks.capacity() * size_of::<Bytes>()
        });
        self.short.capacity() + long
    }
}

impl Long {
    fn close_tail(&mut self) {
        if self.tail.len() > self.tail_start {
            let chunk = Bytes::from(core::mem::take(&mut self.tail)).slice(self.tail_start..);
            self.chunk_bytes += chunk.len();
            self.chunks.push_back(chunk);
        } else {
            self.tail.clear();
        }
        self.tail_start = 0;
    }

    fn consume(&mut self, mut count: usize) {
        if count == 0 {
            return;
        }
        self.cursor = (0, 0);
        while let Some(chunk) = self.chunks.front_mut() {
            if chunk.len() > count {
                let _ = chunk.split_to(count);
                self.chunk_bytes -= count;
                return;
            }
            count -= chunk.len();
            self.chunk_bytes -= chunk.len();
            self.chunks.pop_front();
        }
        self.tail_start += count;
    }

    fn read(&mut self, offset: usize, mut out: &mut [u8]) {
        let (mut index, mut start) = if self.cursor.1 <= offset { self.cursor } else { (0, 0) };
        while !out.is_empty() {
            let Some(chunk) = self.chunks.get(index) else {
                let at = self.tail_start + offset.max(self.chunk_bytes) - self.chunk_bytes;
                out.copy_from_slice(&self.tail[at..at + out.len()]);
                return;
            };
            if offset < start + chunk.len() {
                let from = offset.max(start) - start;
                let count = (chunk.len() - from).min(out.len());
                let (head, rest) = core::mem::take(&mut out).split_at_mut(count);
                head.copy_from_slice(&chunk[from..from + count]);
                out = rest;
                self.cursor = (index, start);
            }
            start += chunk.len();
            index += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use netcore::rng::SeededRng;

    #[test]
    fn behaves_like_one_long_vector() {
        for seed in 0..60 {
            let mut rng = SeededRng::new(seed);
            let mut queue = SendQueue::default();
            let mut model: Vec<u8> = Vec::new();
            let mut output = Output::new();
            let mut runs = Runs::default();
            let mut next = 0u8;
            for _ in 0..300 {
                match rng.below(4) {
                    0 | 1 => {
                        for _ in 0..=rng.below(3) {
                            let most = [40, 900, 9_000, 90_000][rng.below(4) as usize];
                            let mut bytes = vec![0; rng.below(most) as usize];
                            for byte in &mut bytes {
                                next = next.wrapping_mul(5).wrapping_add(1);
                                *byte = next;
                            }
                            model.extend_from_slice(&bytes);
                            match rng.chance(500_000) {
                                true => output.put(&bytes),
                                false => output.put_shared(&bytes.into()),
                            }
                        }
                        queue.append(&mut output, &mut runs);
                        assert!(output.is_empty());
                    }
                    2 => {
                        let all = if rng.chance(300_000) { model.len() } else { model.len() / 2 };
                        let count = rng.below(all as u64 + 1) as usize;
                        queue.consume(count, &mut runs);
                        model.drain(..count);
                    }
                    _ => {
                        for _ in 0..5 {
                            let offset = rng.below(model.len() as u64 + 1) as usize;
                            let count = rng.below(3000).min((model.len() - offset) as u64) as usize;
                            let mut out = vec![0; count];
                            queue.read(offset, &mut out);
                            assert!(out == model[offset..offset + count], "seed {seed}");
                        }
                    }
                }
                assert_eq!(queue.len(), model.len());
            }
        }
    }

    #[test]
    fn a_drained_queue_has_no_memory_and_the_next_one_uses_it() {
        let mut runs = Runs::default();
        let mut output = Output::new();
        let (mut one, mut other) = (SendQueue::default(), SendQueue::default());
        output.put(&[1; 300]);
        one.append(&mut output, &mut runs);
        assert!(one.memory() >= 300 && runs.0.is_empty());
        one.consume(300, &mut runs);
        assert_eq!((one.memory(), runs.0.len()), (0, 1));
        output.put(&[2; 200]);
        other.append(&mut output, &mut runs);
        assert!(runs.0.is_empty() && other.memory() >= 200, "it is written to next");
        other.consume(200, &mut runs);
        output.put(&[3; 250]);
        other.append(&mut output, &mut runs);
        assert!(runs.0.is_empty() && other.memory() >= 300, "the run of 300");
        output.put(&[4; 9000]);
        other.append(&mut output, &mut runs);
        other.clear(true, &mut runs);
        assert_eq!((other.memory(), runs.0.len()), (0, 0), "a large one is not kept");
        let mut output = Output::new();
        for (keep, kept) in [(true, (true, 0)), (false, (false, 1))] {
            output.put(&[5; 100]);
            one.append(&mut output, &mut runs);
            one.clear(keep, &mut runs);
            assert!(one.is_empty());
            assert_eq!((one.memory() > 0, runs.0.len()), kept, "keep: {keep}");
        }
    }
}
