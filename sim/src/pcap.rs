//! The classic pcap format: a header, then each frame with its time (draft-ietf-opsawg-pcap).

use std::io::{self, Write};

use netcore::Instant;

const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
const LINKTYPE_ETHERNET: u32 = 1;
const SNAP_LEN: u32 = 65_535;

/// Writes frames as they pass.
pub struct PcapWriter<W>(W);

impl<W: Write> PcapWriter<W> {
    /// Writes the file's header.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC_MICROSECONDS.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0])?; // version 2.4
        out.write_all(&[0; 8])?; // time zone and accuracy, always 0
        out.write_all(&SNAP_LEN.to_le_bytes())?;
        out.write_all(&LINKTYPE_ETHERNET.to_le_bytes())?;
        Ok(Self(out))
    }

    /// Writes one frame.
    ///
    /// # Errors
    /// What the writer says.
    pub fn frame(&mut self, at: Instant, bytes: &[u8]) -> io::Result<()> {
        let len = (bytes.len() as u32).to_le_bytes();
        self.0.write_all(&((at.micros() / 1_000_000) as u32).to_le_bytes())?;
        self.0.write_all(&((at.micros() % 1_000_000) as u32).to_le_bytes())?;
        self.0.write_all(&len)?;
        self.0.write_all(&len)?;
        self.0.write_all(bytes)
    }

    /// Hands everything on.
    ///
    /// # Errors
    /// What the writer says.
    pub fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout() {
        let mut bytes = Vec::new();
        let mut pcap = PcapWriter::new(&mut bytes).unwrap();
        pcap.frame(Instant::from_micros(3_000_007), b"frame").unwrap();
        pcap.flush().unwrap();
        assert_eq!(bytes.len(), 24 + 16 + 5);
        assert_eq!(&bytes[..8], b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00");
        assert_eq!(&bytes[24..], b"\x03\0\0\0\x07\0\0\0\x05\0\0\0\x05\0\0\0frame");
    }
}
