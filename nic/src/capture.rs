//! Captures: the frames of a side of the firmware, written to a pcap file while they pass.
//!
//! A file is never written over, and ends at its limits. Its writer sits in the firmware's thread: a
//! slow disk slows the firmware while a capture runs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use netcore::tap::{Direction, Watcher};
use pcap_file::pcap::{PcapPacket, PcapWriter};

use crate::lock;

/// Bytes of a pcap file in front of its frames, and in front of each.
const FILE_HEADER_LEN: u64 = 24;
const FRAME_HEADER_LEN: u64 = 16;
/// Longest part of a frame that is kept: what pcap files of this kind can hold.
const SNAP_LEN: usize = 65_535;

/// How much a capture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Frames.
    pub frames: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        Self { frames: 100_000, bytes: 64 << 20 }
    }
}

/// The file, of which the pcap writer has one handle and the capture another, to flush it.
#[derive(Clone, Debug)]
struct Out(Arc<Mutex<BufWriter<File>>>);

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        lock(&self.0).flush()
    }
}

/// A running capture.
#[derive(Debug)]
struct Running {
    writer: PcapWriter<Out>,
    out: Out,
    left: CaptureLimits,
    frames: u64,
    /// Why it has ended by itself.
    ended: Option<String>,
}

/// A handle to a capture: the taps of all ports of a side and the command that ends it have one.
#[derive(Clone, Debug)]
pub(crate) struct Capture(Arc<Mutex<Running>>);

impl Capture {
    /// Makes the file.
    ///
    /// # Errors
    /// It exists, or cannot be made, or the limit has no room for the head of a file.
    pub(crate) fn start(path: &Path, limits: CaptureLimits) -> Result<Self, String> {
        if limits.bytes < FILE_HEADER_LEN {
            return Err(format!("a capture has at least {FILE_HEADER_LEN} bytes"));
        }
        let problem = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let file = File::create_new(path).map_err(|error| problem(&error))?;
        let out = Out(Arc::new(Mutex::new(BufWriter::new(file))));
        let writer = PcapWriter::new(out.clone()).map_err(|error| problem(&error))?;
        let left = CaptureLimits { bytes: limits.bytes - FILE_HEADER_LEN, ..limits };
        Ok(Self(Arc::new(Mutex::new(Running { writer, out, left, frames: 0, ended: None }))))
    }

    /// Hands on what waits to be written; false when the capture has ended by itself.
    pub(crate) fn flush(&self) -> bool {
        let mut running = lock(&self.0);
        if let Err(error) = running.out.flush() {
            running.ended.get_or_insert(error.to_string());
        }
        running.ended.is_none()
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        lock(&self.0).ended.get_or_insert_with(|| "stopped".into());
        self.flush();
    }

    /// How many frames it holds.
    pub(crate) fn frames(&self) -> u64 {
        lock(&self.0).frames
    }

    /// Why it has ended by itself, if it has.
    pub(crate) fn ended(&self) -> Option<String> {
        lock(&self.0).ended.clone()
    }
}

impl Running {
    fn frame(&mut self, at: SystemTime, bytes: &[u8]) {
        if self.ended.is_some() {
            return;
        }
        let kept = &bytes[..bytes.len().min(SNAP_LEN)];
        let len = kept.len() as u64 + FRAME_HEADER_LEN;
        if self.left.frames == 0 || self.left.bytes < len {
            // Whoever hears of the end finds all of it in the file.
            self.ended = Some(match self.out.flush() {
                Ok(()) => "its limit is reached".into(),
                Err(error) => error.to_string(),
            });
            return;
        }
        let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        match self.writer.write_packet(&PcapPacket::new(at, bytes.len() as u32, kept)) {
            Ok(_) => {
                self.left.frames -= 1;
                self.left.bytes -= len;
                self.frames += 1;
            }
            Err(error) => self.ended = Some(error.to_string()),
        }
    }
}

impl Watcher for Capture {
    fn frame(&mut self, _: Direction, bytes: &[u8]) {
        lock(&self.0).frame(SystemTime::now(), bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pcap_file::pcap::PcapReader;

    use super::*;

    /// A folder of its own, gone at the end.
    struct Folder(std::path::PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("mayfly-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
        fn start(&self, file: &str, limits: CaptureLimits) -> Result<Capture, String> {
            Capture::start(&self.0.join(file), limits)
        }
        fn frames(&self, file: &str) -> Vec<(Duration, Vec<u8>)> {
            let mut reader = PcapReader::new(File::open(self.0.join(file)).unwrap()).unwrap();
            let mut frames = Vec::new();
            while let Some(packet) = reader.next_packet() {
                let packet = packet.unwrap();
                assert_eq!(packet.orig_len as usize, packet.data.len());
                frames.push((packet.timestamp, packet.data.into_owned()));
            }
            frames
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn limits(frames: u64, bytes: u64) -> CaptureLimits {
        CaptureLimits { frames, bytes }
    }

    #[test]
    fn frames_are_written_until_a_limit() {
        let folder = Folder::new("limit");
        let mut by_count = folder.start("count.pcap", limits(2, 1000)).unwrap();
        // Room for one frame of ten bytes and not for a second.
        let mut by_bytes = folder.start("bytes.pcap", limits(9, 24 + 26 + 25)).unwrap();
        for capture in [&mut by_count, &mut by_bytes] {
            for byte in 0..4 {
                capture.frame(Direction::Received, &[byte; 10]);
            }
            assert!(capture.ended().is_some());
        }
        // All of it is there when the end is known.
        let bytes = |file: &str| folder.frames(file).into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>();
        assert_eq!(bytes("count.pcap"), [[0; 10], [1; 10]]);
        assert_eq!(bytes("bytes.pcap"), [[0; 10]]);
        assert_eq!((by_count.frames(), by_bytes.frames()), (2, 1));
        assert!(!by_count.flush() && !by_bytes.flush());
        assert_eq!(std::fs::metadata(folder.0.join("bytes.pcap")).unwrap().len(), 24 + 26);
        let at = folder.frames("count.pcap")[0].0;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        assert!(at <= now && now - at < Duration::from_secs(3600), "{at:?}");
    }

    #[test]
    fn only_new_files() {
        let folder = Folder::new("new");
        let start = |file: &str, bytes| folder.start(file, limits(1, bytes)).err();
        assert!(start("a.pcap", 23).is_some_and(|error| error.contains("at least 24")));
        assert_eq!(start("a.pcap", 24), None);
        assert!(start("a.pcap", 24).is_some_and(|error| error.contains("exists")));
        assert!(start("no/a.pcap", 24).is_some_and(|error| error.contains("no/a.pcap")));
        assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1);
    }
}
