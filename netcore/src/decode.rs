//! Frames as text: TCP with relative numbers, ARP, ICMP, and the messages of the channel.

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt::Write;

use protocol::channel::{
    Abort, Close, Closed, Established, Header as ChannelHeader, Hello, Kind, Listen, MessageFlags,
};
use protocol::ethernet::{self, EtherType};
use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, Options, SeqNumber};
use protocol::{arp, ipv4};

type End = (Address, u16);

/// Remembers the initial sequence numbers that it has seen, to show the others relative to them.
#[derive(Debug, Default)]
pub struct Decoder {
    initial: BTreeMap<(End, End), SeqNumber>,
}

impl Decoder {
    /// A frame of the wire in one line.
    pub fn wire_frame(&mut self, bytes: &[u8]) -> String {
        let Ok(header) = ethernet::Header::parse(bytes) else { return format!("{} bytes", bytes.len()) };
        let payload = &bytes[ethernet::HEADER_LEN..];
        match header.ether_type {
            EtherType::Ipv4 | EtherType::Ipv6 => self.packet(payload),
            EtherType::Arp => match arp::Packet::parse(payload) {
                Ok(arp) => format!("ARP {:?} {} for {}", arp.operation, arp.sender_addr, arp.target_addr),
                Err(error) => format!("ARP {error:?}"),
            },
            EtherType::Channel => self.channel_frame(bytes),
            other => format!("{other:?}, {} bytes", payload.len()),
        }
    }

    /// An IP packet.
    fn packet(&mut self, bytes: &[u8]) -> String {
        let ip = match ip::Header::parse(bytes) {
            Ok(ip) => ip,
            Err(error) => return format!("IP {error:?}"),
        };
        let segment = &bytes[ip.header_len..ip.total_len];
        if ip.protocol != ipv4::PROTOCOL_TCP {
            return format!("{} > {} protocol {}, {} bytes", ip.src, ip.dst, ip.protocol, segment.len());
        }
        match tcp::Header::parse(segment) {
            Ok(header) => self.segment(&ip, &header, segment),
            Err(error) => format!("{} > {} TCP {error:?}", ip.src, ip.dst),
        }
    }

    fn segment(&mut self, ip: &ip::Header, header: &tcp::Header, segment: &[u8]) -> String {
        let (from, to) = ((ip.src, header.src_port), (ip.dst, header.dst_port));
        if header.flags.has(Flags::SYN) {
            self.initial.insert((from, to), header.seq);
        }
        let relative = |number: SeqNumber, key: &(End, End)| match self.initial.get(key) {
            Some(initial) => number.distance_from(*initial).to_string(),
            None => format!("={}", number.0),
        };
        let payload = &segment[header.header_len..];
        let mut line = format!(
            "{}:{} > {}:{} {} {}:({})",
            ip.src,
            header.src_port,
            ip.dst,
            header.dst_port,
            flags(header.flags),
            relative(header.seq, &(from, to)),
            payload.len()
        );
        if header.flags.has(Flags::ACK) {
            let _ = write!(line, " ack {}", relative(header.ack, &(to, from)));
        }
        let _ = write!(line, " win {}{}", header.window, options(&header.options(segment)));
        if !payload.is_empty() {
            let shown = &payload[..payload.len().min(32)];
            let dots = if shown.len() < payload.len() { "…" } else { "" };
            let _ = write!(line, " \"{}{dots}\"", shown.escape_ascii());
        }
        line
    }

    /// A message of the channel, Ethernet header included.
    pub fn channel_frame(&mut self, bytes: &[u8]) -> String {
        match ethernet::Header::parse(bytes) {
            Ok(header) if header.ether_type == EtherType::Channel => {}
            _ => return self.wire_frame(bytes),
        }
        let (header, behind) = match ChannelHeader::parse(&bytes[ethernet::HEADER_LEN..]) {
            Ok(parsed) => parsed,
            Err(error) => return format!("channel: {error:?}"),
        };
        let mut line = format!(
            "{:?} epoch {:08x} flow {}.{}",
            header.kind, header.epoch, header.flow.slot, header.flow.generation
        );
        for (flag, name) in [
            (MessageFlags::REPLY, "reply"),
            (MessageFlags::IDLE, "idle"),
            (MessageFlags::FIRST_DATA, "first-data"),
            (MessageFlags::PEER_FINISHED, "peer-finished"),
            (MessageFlags::KEPT, "kept"),
            (MessageFlags::MORE, "more"),
        ] {
            if header.flags.has(flag) {
                let _ = write!(line, " {name}");
            }
        }
        let body = self.body(header.kind, behind);
        let _ = write!(line, " {body}");
        line
    }

    fn body(&mut self, kind: Kind, bytes: &[u8]) -> String {
        let shown = match kind {
            Kind::Hello => Hello::parse(bytes)
                .map(|hello| format!("own epoch {:08x}, {} queues", hello.epoch, hello.queues)),
            Kind::Listen | Kind::Unlisten => Listen::parse(bytes).map(|listen| {
                format!("{}:{} {:?} {:?}", listen.addr, listen.port, listen.policy, listen.status)
            }),
            Kind::Established => Established::parse(bytes).map(|(established, packet)| {
                let local = (established.local_addr, established.local_port);
                let remote = (established.remote_addr, established.remote_port);
                self.initial.insert((local, remote), established.snd_nxt - 1);
                self.initial.insert((remote, local), established.rcv_nxt - 1);
                let data = if packet.is_empty() { String::new() } else { self.packet(packet) };
                format!(
                    "{}:{} snd_wnd {} mss {} | {data}",
                    remote.0, remote.1, established.snd_wnd, established.mss
                )
            }),
            Kind::Segment => Ok(self.packet(bytes)),
            Kind::Close => Close::parse(bytes).map(|(close, packet)| {
                let Close { rto_us, cwnd, .. } = close;
                format!("rto {rto_us} us cwnd {cwnd} | {}", self.packet(packet))
            }),
            Kind::Abort => Abort::parse(bytes).map(|abort| format!("{abort:?}")),
            Kind::IcmpError => Ok(self.packet(bytes)),
            Kind::Closed => Closed::parse(bytes).map(|closed| {
                let one = |entry: protocol::channel::ClosedEntry| {
                    format!("{}.{} {:?}", entry.flow.slot, entry.flow.generation, entry.reason)
                };
                closed.entries().map(one).collect::<Vec<_>>().join(", ")
            }),
        };
        shown.unwrap_or_else(|error| format!("{error:?}"))
    }
}

/// Flags as packetdrill writes them: letters, with a dot for ACK.
pub fn flags(flags: Flags) -> String {
    let mut text = String::new();
    for (flag, letter) in [
        (Flags::SYN, 'S'),
        (Flags::FIN, 'F'),
        (Flags::RST, 'R'),
        (Flags::PSH, 'P'),
        (Flags::URG, 'U'),
        (Flags::ECE, 'E'),
        (Flags::CWR, 'W'),
        (Flags::ACK, '.'),
    ] {
        if flags.has(flag) {
            text.push(letter);
        }
    }
    if text.is_empty() {
        text.push('-');
    }
    text
}

/// Options in angle brackets, or nothing.
pub fn options(options: &Options) -> String {
    let mut parts = Vec::new();
    if let Some(mss) = options.mss {
        parts.push(format!("mss {mss}"));
    }
    if options.sack_permitted {
        parts.push("sackOK".to_owned());
    }
    if let Some(timestamps) = options.timestamps {
        parts.push(format!("TS val {} ecr {}", timestamps.value, timestamps.echo));
    }
    if let Some(shift) = options.window_scale {
        parts.push(format!("wscale {shift}"));
    }
    for (left, right) in options.sack_blocks() {
        parts.push(format!("sack {}:{}", left.0, right.0));
    }
    if parts.is_empty() { String::new() } else { format!(" <{}>", parts.join(",")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dissector for Wireshark knows every kind of message.
    #[test]
    fn the_dissector_names_every_kind() {
        let script = include_str!("../../contrib/mayfly.lua");
        for kind in Kind::ALL {
            let name = match kind {
                Kind::Hello => "HELLO",
                Kind::Listen => "LISTEN",
                Kind::Unlisten => "UNLISTEN",
                Kind::Established => "ESTABLISHED",
                Kind::Segment => "SEGMENT",
                Kind::Close => "CLOSE",
                Kind::Abort => "ABORT",
                Kind::Closed => "CLOSED",
                Kind::IcmpError => "ICMP_ERROR",
            };
            let number = kind as u8;
            assert!(script.contains(&format!("[{number}] = \"{name}\"")), "{name}");
            let body = [format!("bodies[{number}] = function"), format!("bodies[{number}] = bodies[")];
            assert!(body.iter().any(|body| script.contains(body)), "{name} has no body");
        }
    }

    #[test]
    fn a_message_is_a_line() {
        let mut frame = [0; ethernet::HEADER_LEN + protocol::channel::HEADER_LEN + Abort::LEN];
        protocol::channel::emit_ethernet(ethernet::Mac([2; 6]), ethernet::Mac([2; 6]), &mut frame);
        let header = ChannelHeader {
            flow: protocol::channel::FlowId { slot: 5, generation: 2 },
            ..ChannelHeader::new(Kind::Abort, 0xabcd)
        };
        header.emit(Abort::LEN, &mut frame[ethernet::HEADER_LEN..]);
        let line = Decoder::default().channel_frame(&frame);
        assert!(line.starts_with("Abort epoch 0000abcd flow 5.2 Abort {"), "{line}");
        assert_eq!(Decoder::default().channel_frame(&frame[..9]), "9 bytes");
    }
}
