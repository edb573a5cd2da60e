//! What happened: a hash of everything, and on demand lines to read and a pcap.

use std::cell::RefCell;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::rc::Rc;

use netcore::Instant;
use netcore::port::{Capabilities, FrameQueue, Port};

use crate::pcap::PcapWriter;
use crate::wire::Fate;
use netcore::decode::Decoder;

/// Takes note of every frame; clones write to the same place.
#[derive(Clone, Default)]
pub struct Trace(Rc<RefCell<Inner>>);

#[derive(Default)]
struct Inner {
    now: Instant,
    hash: u64,
    frames: u64,
    lines: Option<Box<dyn Write>>,
    pcap: Option<PcapWriter<BufWriter<File>>>,
    decoder: Decoder,
}

impl Trace {
    /// Writes a line per frame and event to `out` from now on.
    pub fn write_lines(&self, out: Box<dyn Write>) {
        self.0.borrow_mut().lines = Some(out);
    }

    /// Writes every frame, those of the channel included, to a pcap file from now on.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub fn write_pcap(&self, path: &std::path::Path) -> std::io::Result<()> {
        let file = BufWriter::new(File::create(path)?);
        self.0.borrow_mut().pcap = Some(PcapWriter::new(file)?);
        Ok(())
    }

    /// A number that two runs share only if the same frames passed at the same times.
    pub fn hash(&self) -> u64 {
        self.0.borrow().hash
    }

    /// Frames that passed.
    pub fn frames(&self) -> u64 {
        self.0.borrow().frames
    }

    /// Lets time come.
    pub fn set_now(&self, now: Instant) {
        self.0.borrow_mut().now = now;
    }

    /// A frame was put on the wire.
    pub(crate) fn wire_frame(&self, now: Instant, from: &str, bytes: &[u8], fate: Fate) {
        let mut inner = self.0.borrow_mut();
        inner.take(now, hash_of(0, bytes));
        inner.write_pcap(now, bytes);
        if inner.lines.is_some() {
            let mut line = format!("{from:>9} > {}", inner.decoder.wire_frame(bytes));
            for (yes, word) in [
                (fate.lost, "lost"),
                (fate.corrupted, "damaged"),
                (fate.reordered, "overtaken"),
                (fate.misdirected, "misdirected"),
                (fate.too_long, "too long"),
            ] {
                if yes {
                    line.push_str(&format!("  [{word}]"));
                }
            }
            if let Some(later) = fate.again_after {
                line.push_str(&format!("  [again after {} us]", later.micros()));
            }
            inner.line(now, &line);
        }
    }

    /// What [`Self::channel_frame`] needs to know of a frame that is about to move on.
    fn remember(&self, bytes: &[u8]) -> Remembered {
        let inner = self.0.borrow();
        let shown = inner.lines.is_some() || inner.pcap.is_some();
        Remembered { hash: hash_of(0, bytes), bytes: shown.then(|| bytes.to_vec()) }
    }

    /// A message was put into a ring of the channel, or lost on the way.
    fn channel_frame(&self, from: &str, frame: &Remembered, is_lost: bool) {
        let mut inner = self.0.borrow_mut();
        let now = inner.now;
        inner.take(now, frame.hash);
        let Some(bytes) = &frame.bytes else { return };
        inner.write_pcap(now, bytes);
        if inner.lines.is_some() {
            let lost = if is_lost { "  [lost]" } else { "" };
            let line = format!("{from:>9} = {}{lost}", inner.decoder.channel_frame(bytes));
            inner.line(now, &line);
        }
    }

    /// Something else happened.
    pub fn note(&self, text: &str) {
        let mut inner = self.0.borrow_mut();
        let now = inner.now;
        inner.hash = hash_of(mix(inner.hash, now.micros()), text.as_bytes());
        if inner.lines.is_some() {
            inner.line(now, &format!("        -- {text}"));
        }
    }

    /// Writes out what is still held back.
    ///
    /// # Errors
    /// What the file says.
    pub fn flush(&self) -> std::io::Result<()> {
        let mut inner = self.0.borrow_mut();
        if let Some(lines) = &mut inner.lines {
            lines.flush()?;
        }
        if let Some(pcap) = &mut inner.pcap {
            pcap.flush()?;
        }
        Ok(())
    }
}

impl Inner {
    fn take(&mut self, now: Instant, hash: u64) {
        self.frames += 1;
        self.hash = mix(mix(self.hash, now.micros()), hash);
    }

    fn write_pcap(&mut self, now: Instant, bytes: &[u8]) {
        if let Some(pcap) = &mut self.pcap
            && pcap.frame(now, bytes).is_err()
        {
            self.pcap = None;
        }
    }

    fn line(&mut self, now: Instant, text: &str) {
        if let Some(out) = &mut self.lines {
            let at = now.micros();
            if writeln!(out, "{:>6}.{:06} {text}", at / 1_000_000, at % 1_000_000).is_err() {
                self.lines = None;
            }
        }
    }
}

/// A frame that was seen before it moved on.
struct Remembered {
    hash: u64,
    /// Only where somebody will look at them.
    bytes: Option<Vec<u8>>,
}

pub(crate) fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

fn hash_of(hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// A port around a port that notes everything sent through it.
pub struct Tap<P: Port> {
    inner: P,
    name: &'static str,
    trace: Trace,
    one: FrameQueue<P::Frame>,
    /// What is sent is lost.
    is_cut: bool,
}

impl<P: Port> Tap<P> {
    /// `name`: who sends.
    pub fn new(inner: P, name: &'static str, trace: Trace) -> Self {
        Self { inner, name, trace, one: FrameQueue::with_capacity(1), is_cut: false }
    }

    /// Loses what is sent from now on, or no longer.
    pub fn cut(&mut self, is_cut: bool) {
        self.is_cut = is_cut;
    }
}

impl<P: Port> Port for Tap<P> {
    type Frame = P::Frame;

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn receive(&mut self, into: &mut FrameQueue<P::Frame>, max: usize) -> usize {
        self.inner.receive(into, max)
    }

    fn send(&mut self, from: &mut FrameQueue<P::Frame>) -> usize {
        let mut count = 0;
        while let Some(frame) = from.pop() {
            // What the inner port did not take stays in `one` and goes back to the front.
            let noted = self.trace.remember(netcore::Frame::bytes(&frame));
            if self.is_cut {
                self.trace.channel_frame(self.name, &noted, true);
                count += 1;
                continue;
            }
            let Ok(()) = self.one.push(frame) else { break };
            if self.inner.send(&mut self.one) == 0 {
                if let Some(frame) = self.one.pop() {
                    let _taken_back = from.unpop(frame);
                }
                break;
            }
            self.trace.channel_frame(self.name, &noted, false);
            count += 1;
        }
        count
    }
}
