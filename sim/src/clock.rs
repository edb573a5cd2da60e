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
        if header.flags.any(Flags::SYN | Flags::RST) {
            // The clock begins anew, and not with this one: at level `none`, when the table from hash to core
            // changes during a handshake, two cores answer it, the peer takes one of them, and the other gives
            // up by RST, whose timestamp nobody looks at (RFC 7323 §5.3).
            self.last.remove(&ends);
            return;
        }
        if let Some(last) = self.last.insert(ends, now).filter(|&last| now.before(last)) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Route, tcp_frame};
    use protocol::ethernet::Mac;
    use protocol::tcp::{Options, Timestamps};

    /// The port that it goes to, its flags, and its TSval.
    fn frame(port: u16, flags: Flags, value: u32) -> Vec<u8> {
        let addr = |n| Address::v4(std::net::Ipv4Addr::new(198, 18, 0, n));
        let route = Route { src_mac: Mac([0; 6]), dst_mac: Mac([0; 6]), src: addr(2), dst: addr(1) };
        let header = tcp::Header {
            src_port: 6379,
            dst_port: port,
            seq: SeqNumber(0),
            ack: SeqNumber(0),
            flags,
            window: 0,
            urgent: 0,
            header_len: 0,
        };
        let timestamps = Some(Timestamps { value, echo: 0 });
        tcp_frame(&route, &header, &Options { timestamps, ..Options::default() }, &[])
    }

    #[test]
    fn only_a_new_connection_turns_the_clock_back() {
        let mut clocks = Clocks::default();
        for (port, flags, value, right) in [
            (1, Flags::SYN, u32::MAX - 1, true),
            (1, Flags::ACK, u32::MAX - 1, true),
            (1, Flags::ACK, 3, true),
            (2, Flags::SYN, 1, true),
            (1, Flags::SYN, 2, true),
            (1, Flags::SYN, 9, true),
            (1, Flags::RST, 9, true),
            (1, Flags::ACK, 3, true),
            (1, Flags::ACK, 2, false),
        ] {
            clocks.sent(&frame(port, flags, value));
            assert_eq!(clocks.failure().is_none(), right, "{value}");
        }
    }
}
