//! What a frame of the firmware has to be, for the wire and for the host.

use protocol::channel::{
    self, Closed, ClosedReason, Established, FlowId, Header, Hello, Kind, Listen, ListenStatus, MessageFlags,
    NO_HANDLE,
};
use protocol::ethernet::{self, EtherType};
use protocol::tcp::{self, Flags, SeqNumber, verify_checksum};
use protocol::{ip, ipv4, ipv6};

use super::host::{Flow, Host, Stand};
use crate::peer::{OUR_MAC, PEER_MAC, Peer, Seen, US, US_V4};

/// A frame for the wire that the firmware made or passed on; the client learns from it.
pub(super) fn for_wire(bytes: &[u8], peers: &mut [Peer]) {
    let link = ethernet::Header::parse(bytes).expect("a whole frame");
    assert_eq!((link.src, link.dst, link.ether_type), (OUR_MAC, PEER_MAC, EtherType::Ipv4));
    let packet = &bytes[ethernet::HEADER_LEN..];
    let ip = ipv4::Header::parse(packet).expect("a good IPv4 header");
    assert_eq!((ip.src, ip.total_len, ip.protocol), (US_V4, packet.len(), ipv4::PROTOCOL_TCP));
    let segment = &packet[ip.header_len..];
    assert!(verify_checksum(ip.src.into(), ip.dst.into(), segment, false), "TCP checksum");
    let header = tcp::Header::parse(segment).expect("a good TCP header");
    let flags = header.flags;
    assert!(!flags.has(Flags::SYN | Flags::FIN) && !flags.has(Flags::SYN | Flags::RST), "{flags:?}");
    let payload = segment.len() - header.header_len;
    if flags.has(Flags::RST) {
        return;
    }
    assert!(flags.has(Flags::ACK), "{header:?}");
    let Some(peer) = peers.iter_mut().find(|peer| peer.port == header.dst_port) else { return };
    let options = header.options(segment);
    if flags.has(Flags::SYN) {
        assert_eq!(payload, 0);
        assert!(options.mss.is_some());
        peer.seen = Some(Seen::of_syn(&header, &options, &peer.offer));
    } else if let Some(seen) = &mut peer.seen {
        let end = header.seq + payload as u32 + u32::from(flags.has(Flags::FIN));
        seen.snd_max = seen.snd_max.later(end);
        if header.seq.before_eq(seen.rcv_nxt) {
            seen.rcv_nxt = seen.rcv_nxt.later(end);
        }
        seen.acked = header.ack;
    }
}

/// A frame for the host on one queue. `raw` says whether it is one that came from the wire.
pub(super) fn for_host(bytes: &[u8], host: &mut Host) {
    let link = ethernet::Header::parse(bytes).expect("a whole frame");
    if link.ether_type != EtherType::Channel {
        return; // As it came from the wire.
    }
    let (header, body) = Header::parse(&bytes[ethernet::HEADER_LEN..]).expect("a good header");
    assert_eq!(bytes.len(), ethernet::HEADER_LEN + channel::HEADER_LEN + body.len());
    if header.kind == Kind::Hello {
        let hello = Hello::parse(body).expect("a good HELLO");
        host.nic_epoch = hello.epoch;
        return;
    }
    if header.epoch != host.epoch {
        return; // Was under way when the host started anew.
    }
    match header.kind {
        Kind::Listen => {
            assert!(header.flags.has(MessageFlags::REPLY));
            let listen = Listen::parse(body).expect("a good LISTEN");
            assert_ne!(listen.status, ListenStatus::Unanswered);
        }
        Kind::Established => established(&header, body, host),
        Kind::Segment => {
            let flow = host.flows.get_mut(&key(header.flow));
            let Some(flow) = flow else { panic!("SEGMENT of a flow that was never announced: {header:?}") };
            assert!(header.handle == flow.handle || header.handle == NO_HANDLE, "{header:?} {flow:?}");
            data(&header, body, flow);
        }
        Kind::Closed => closed(body, host),
        Kind::IcmpError => {
            assert!(host.flows.contains_key(&key(header.flow)), "of a flow that was never announced");
            let ip = ip::Header::parse(body).expect("a good IP header");
            assert!(matches!(ip.protocol, ipv4::PROTOCOL_ICMP | ipv6::NEXT_ICMP));
        }
        Kind::Hello | Kind::Unlisten | Kind::Close | Kind::Abort => panic!("{header:?} to the host"),
    }
}

fn key(flow: FlowId) -> (u32, u32) {
    (flow.slot, flow.generation)
}

fn established(header: &Header, body: &[u8], host: &mut Host) {
    let (established, packet) = Established::parse(body).expect("a good ESTABLISHED");
    assert_ne!(header.flow.generation, 0);
    assert_eq!(established.local_addr, US);
    assert!(established.timestamps || established.ts_recent == 0 || established.ts_value != 0);
    let mut flow = Flow {
        stand: Stand::Held,
        remote_port: established.remote_port,
        snd_nxt: established.snd_nxt,
        rcv_nxt: established.rcv_nxt,
        handle: NO_HANDLE,
        pieces: None,
    };
    assert_eq!(header.flags.has(MessageFlags::FIRST_DATA), !packet.is_empty());
    if !packet.is_empty() {
        if established.data_at > 0 {
            expected(&established, packet);
        }
        data(header, packet, &mut flow);
    }
    let before = host.flows.insert(key(header.flow), flow);
    assert!(before.is_none(), "announced twice: {header:?}");
    // One slot is one flow: its earlier uses are over.
    let older = host.flows.range((header.flow.slot, 0)..(header.flow.slot, header.flow.generation));
    for (id, flow) in older {
        assert_ne!(flow.stand, Stand::Held, "{id:?} was never reported as ended");
    }
}

/// The segment says what the message says.
fn expected(established: &Established, packet: &[u8]) {
    let ip = ipv4::Header::parse(packet).expect("a good IPv4 header");
    let tcp = tcp::Header::parse(&packet[ip.header_len..ip.total_len]).expect("a good TCP header");
    assert_eq!(usize::from(established.data_at), ip.header_len + tcp.header_len);
    assert_eq!(packet.len(), ip.total_len);
    assert_eq!((tcp.seq, tcp.ack), (established.rcv_nxt, established.snd_nxt));
    assert_eq!(u32::from(tcp.window) << established.snd_scale, established.snd_wnd);
    assert_eq!(tcp.flags.0 & !Flags::PSH.0, Flags::ACK.0);
    let timestamps = tcp.options(&packet[ip.header_len..]).timestamps.filter(|_| established.timestamps);
    assert!(timestamps.is_none_or(|timestamps| timestamps.value == established.ts_recent));
}

/// An IP packet behind a message is good, and of the flow.
fn data(header: &Header, packet: &[u8], flow: &mut Flow) {
    assert!(header.flags.has(MessageFlags::CHECKSUM_GOOD));
    let ip = ipv4::Header::parse(packet).expect("a good IPv4 header");
    let segment = &packet[ip.header_len..ip.total_len];
    assert!(verify_checksum(ip.src.into(), ip.dst.into(), segment, false), "TCP checksum");
    let tcp = tcp::Header::parse(segment).expect("a good TCP header");
    assert_eq!((tcp.src_port, ip.dst), (flow.remote_port, US_V4));
    assert!(!tcp.flags.any(Flags::SYN | Flags::RST), "the firmware judges them itself");
    let end: SeqNumber = tcp.seq + (segment.len() - tcp.header_len) as u32;
    if tcp.seq == flow.rcv_nxt {
        flow.rcv_nxt = end + u32::from(tcp.flags.has(Flags::FIN));
    }
}

fn closed(body: &[u8], host: &mut Host) {
    let closed = Closed::parse(body).expect("a good CLOSED");
    for entry in closed.entries() {
        let Some(flow) = host.flows.get_mut(&key(entry.flow)) else {
            assert_eq!(entry.reason, ClosedReason::Unknown, "the end of a flow that never was: {entry:?}");
            continue;
        };
        if entry.reason == ClosedReason::Refused {
            assert_ne!(flow.stand, Stand::Ended, "refused after its end: {entry:?}");
            continue;
        }
        if entry.reason != ClosedReason::Unknown {
            assert_ne!(flow.stand, Stand::Ended, "reported twice: {entry:?}");
        }
        flow.stand = Stand::Ended;
    }
}
