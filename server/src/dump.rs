//! `mayfly-dump`: a pcap file as text, a frame a line, with the messages of the channel between host
//! and NIC in words.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use netcore::decode::Decoder;
use pcap_file::DataLink;
use pcap_file::pcap::PcapReader;

/// Shows a capture of Mayfly's, or any other pcap file of an Ethernet: a line for each frame, with
/// TCP numbers relative to the first of the connection where that was seen.
#[derive(Parser)]
#[command(version)]
struct Options {
    /// The file, as MAYFLY CAPTURE, mayfly-sim and tcpdump -w write it
    file: PathBuf,
}

fn main() -> ExitCode {
    let Options { file } = Options::parse();
    match dump(&file, &mut std::io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("mayfly-dump: {}: {problem}", file.display());
            ExitCode::FAILURE
        }
    }
}

fn dump(file: &Path, out: &mut impl Write) -> Result<(), Box<dyn std::error::Error>> {
    let mut reader = PcapReader::new(BufReader::new(File::open(file)?))?;
    let link = reader.header().datalink;
    if link != DataLink::ETHERNET {
        return Err(format!("its frames are {link:?}, not Ethernet").into());
    }
    let mut decoder = Decoder::default();
    while let Some(packet) = reader.next_packet() {
        let packet = packet?;
        let line = decoder.channel_frame(&packet.data);
        let (seconds, micros) = (packet.timestamp.as_secs(), packet.timestamp.subsec_micros());
        if writeln!(out, "{seconds}.{micros:06} {line}").is_err() {
            // Whoever reads has seen enough.
            return Ok(());
        }
    }
    Ok(())
}
