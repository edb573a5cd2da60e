//! Whether the timestamps that the server sends go forward, whoever sends them: host or firmware.
//!
//! RFC 7323 §5.3: a peer drops a segment whose TSval is older than one that it has seen.

use std::collections::HashMap;

use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, SeqNumber};
use protocol::{ethernet, ipv4};

/// The last TSval of each connection.
#[derive(Default)]
pub(crate) struct Clocks {
    last: HashMap<(Address, u16, Address, u16), SeqNumber>,
    failure: Option<String>,
}

impl Clocks {
    /// The server sends a frame.
    pub(crate) fn sent(&mut self, frame: &[u8]) {
        let packet = &frame[ethernet::HEADER_LEN..];
        let Ok(ip) = ip::Header::parse(packet) else { return };
        if ip.protocol != ipv4::PROTOCOL_TCP || ip.fragment {
            return;
        }
        let segment = &packet[ip.header_len..ip.total_len];
        let Ok(header) = tcp::Header::parse(segment) else { return };
        let Some(timestamps) = header.options(segment).timestamps else { return };
        let ends = (ip.src, header.src_port, ip.dst, header.dst_port);
        let now = SeqNumber(timestamps.value);
        let last = self.last.insert(ends, now);
        // With a SYN the clock begins anew.
        if let Some(last) = last.filter(|&last| now.before(last) && !header.flags.has(Flags::SYN)) {
            let (port, flags) = (header.dst_port, header.flags);
            let failure = format!("TSval {} behind {} to port {port}: {flags:?}", now.0, last.0);
            self.failure.get_or_insert(failure);
        }
    }

    /// What went wrong first.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.as_deref()
    }
}
