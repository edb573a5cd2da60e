//! What a segment of the stack has to be, given everything that happened before.

use netcore::FramePool as _;
use protocol::ethernet::{self, EtherType};
use protocol::tcp::{Flags, Header, Options, SeqNumber, verify_checksum};
use protocol::{icmp, icmpv6, ip, ipv4, ipv6};

use super::app::{TestApp, written_byte};
use crate::peer::{OUR_MAC, PEER, PEER_MAC, PEER_V6, Peer, Seen, US, US_V4, US_V6};

/// The largest IP packet that the stack may send.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) mtu: usize,
    pub(super) receive_window: u32,
    /// Bytes of IP and TCP header in front of options and data.
    pub(super) headers: usize,
}

/// Checks a frame, whatever it is; the peer it is for learns from it.
pub(super) fn frame(bytes: &[u8], peers: &mut [Peer], app: &TestApp, limits: Limits) {
    let link = ethernet::Header::parse(bytes).expect("a whole frame");
    assert_eq!(link.src, OUR_MAC);
    match link.ether_type {
        EtherType::Arp => {
            let packet = protocol::arp::Packet::parse(&bytes[ethernet::HEADER_LEN..]).expect("ARP");
            assert_eq!((packet.sender_mac, packet.sender_addr), (OUR_MAC, US_V4));
        }
        EtherType::Ipv4 | EtherType::Ipv6 => {
            // Neighbours are asked for in groups.
            assert!(link.dst == PEER_MAC || link.dst.is_multicast());
            packet(&bytes[ethernet::HEADER_LEN..], peers, app, limits, true);
        }
        EtherType::Channel | EtherType::Other(_) => panic!("{:?}", link.ether_type),
    }
}

/// Checks an IP packet. `checksum`: that of TCP is there.
pub(super) fn packet(packet: &[u8], peers: &mut [Peer], app: &TestApp, limits: Limits, checksum: bool) {
    let ip = ip::Header::parse(packet).expect("a good IP header");
    assert_eq!((ip.total_len, ip.header_len), (packet.len(), ip::header_len(ip.src.version())));
    assert!(ip.total_len <= limits.mtu.max(1500), "larger than what came or may go");
    let bytes = &packet[ip.header_len..];
    match ip.protocol {
        ipv4::PROTOCOL_ICMP => drop(icmp::parse(bytes).expect("a good ICMP message")),
        ipv6::NEXT_ICMP => drop(icmpv6::parse(ip.src, ip.dst, bytes).expect("a good ICMPv6 message")),
        ipv4::PROTOCOL_TCP => {
            assert!((ip.src, ip.dst) == (US, PEER) || (ip.src, ip.dst) == (US_V6, PEER_V6));
            assert!(ip.total_len <= limits.mtu);
            assert!(!checksum || verify_checksum(ip.src, ip.dst, bytes, false), "TCP checksum");
            let limits = Limits { headers: ip.header_len + 20, ..limits };
            segment(bytes, peers, app, limits);
        }
        other => panic!("protocol {other}"),
    }
}

fn segment(bytes: &[u8], peers: &mut [Peer], app: &TestApp, limits: Limits) {
    let header = Header::parse(bytes).expect("a good TCP header");
    let options = header.options(bytes);
    let payload = &bytes[header.header_len..];
    let flags = header.flags;
    assert!(!flags.has(Flags::SYN | Flags::FIN) && !flags.has(Flags::SYN | Flags::RST), "{flags:?}");
    assert!(!flags.any(Flags::URG), "urgent data is never sent");
    if flags.has(Flags::RST) {
        assert!(payload.is_empty());
        return;
    }
    let known =
        peers.iter_mut().find(|peer| (peer.port, peer.our_port) == (header.dst_port, header.src_port));
    let Some(peer) = known else { panic!("to nobody: {header:?}") };
    if flags.has(Flags::SYN) {
        assert!(payload.is_empty());
        opens(&header, &options, peer, limits);
    } else {
        assert!(flags.has(Flags::ACK), "RFC 9293 §3.10.7: every segment acknowledges");
        goes_on(&header, &options, payload, peer, app, limits);
    }
}

/// A SYN or SYN-ACK.
fn opens(header: &Header, options: &Options, peer: &mut Peer, limits: Limits) {
    let answers = header.flags.has(Flags::ACK);
    assert_eq!(options.mss, Some((limits.mtu - limits.headers) as u16));
    assert_eq!(options.sack_count, 0);
    // Our own SYN is answered by what the peer offers now.
    let offered = if answers { peer.offered(header.ack - 1) } else { Some(peer.offer) };
    if let (Some(offered), true) = (offered, answers && peer.seen.is_none_or(|seen| !seen.active)) {
        // RFC 7323 §1.3, RFC 2018 §2: a SYN-ACK has only what the SYN had.
        assert!(options.timestamps.is_none() || offered.timestamps.is_some());
    }
    let again = peer.seen.filter(|seen| seen.iss == header.seq);
    let mut seen = Seen::of_syn(header, options, &offered.unwrap_or_default());
    seen.irs = seen.irs.or(again.and_then(|seen| seen.irs));
    seen.active |= again.is_some_and(|seen| seen.active);
    peer.seen = Some(seen);
}

fn goes_on(
    header: &Header,
    options: &Options,
    payload: &[u8],
    peer: &mut Peer,
    app: &TestApp,
    limits: Limits,
) {
    let Some(mut seen) = peer.seen else { panic!("a segment before any SYN: {header:?}") };
    let irs = *seen.irs.get_or_insert(peer.isn);
    // Nothing is acknowledged that was not sent, and nothing is taken back.
    assert!(header.ack.after(irs) && header.ack.before_eq(peer.sent_max(irs)), "{header:?} {peer:?}");
    assert!(seen.acked == SeqNumber(0) || header.ack.after_eq(seen.acked), "{header:?} {peer:?}");
    if header.ack.after(seen.acked) || seen.acked == SeqNumber(0) {
        seen.acked = header.ack;
    }
    // RFC 7323 §3.2: agreed means in every segment.
    if peer.offered(irs).is_some() {
        assert_eq!(options.timestamps.is_some(), seen.timestamps, "{header:?} {options:?}");
    }
    if let (Some(timestamps), Some(before)) = (options.timestamps, seen.ts_value) {
        assert!(timestamps.value.wrapping_sub(before) < 1 << 31, "our clock runs backwards");
        seen.ts_value = Some(timestamps.value);
    }
    for (at, (left, right)) in options.sack_blocks().iter().enumerate() {
        // RFC 2883 §4: only the first block may tell of what came twice, before the acknowledgment.
        assert!(left.before(*right), "{options:?}");
        let kept = left.after(header.ack) && right.before_eq(peer.sent_max(irs));
        assert!(at == 0 || kept, "{options:?} {header:?}");
    }
    if peer.offered(irs).is_some() {
        window(header, &mut seen, limits);
    }
    sent(header, options, payload, &mut seen, app.open.get(&peer.port).map(|open| open.written), limits);
    peer.seen = Some(seen);
}

/// RFC 9293 §3.8.6: the right edge does not go back, but for what scaling rounds off.
fn window(header: &Header, seen: &mut Seen, limits: Limits) {
    let wnd = u32::from(header.window) << seen.scale;
    assert!(wnd <= limits.receive_window, "{wnd} of {}", limits.receive_window);
    // A connection in TIME_WAIT announces nothing.
    if header.window == 0 {
        return;
    }
    let right = header.ack + wnd;
    if let Some(before) = seen.right {
        assert!((right + (1 << seen.scale)).after_eq(before), "the window shrank: {header:?}");
    }
    seen.right = Some(seen.right.map_or(right, |before| before.later(right)));
}

/// What is sent is what the application wrote, in its place.
fn sent(
    header: &Header,
    options: &Options,
    payload: &[u8],
    seen: &mut Seen,
    written: Option<usize>,
    limits: Limits,
) {
    let first = seen.iss + 1;
    let offset = header.seq.distance_from(first);
    let end = header.seq + payload.len() as u32 + u32::from(header.flags.has(Flags::FIN));
    if payload.is_empty() {
        // A keepalive probe stands one before.
        assert!(header.seq.after_eq(seen.iss) && header.seq.before_eq(seen.snd_max), "{header:?} {seen:?}");
    } else {
        assert!(offset < 1 << 31, "{header:?} {seen:?}");
        let matches = |(at, byte): (usize, &u8)| written_byte(offset as usize + at) == *byte;
        assert!(payload.iter().enumerate().all(matches), "other bytes than were written: {header:?}");
        if let Some(written) = written {
            assert!(offset as usize + payload.len() <= written, "more than was written: {header:?}");
        }
        let room = limits.mtu - limits.headers - options.emitted_len();
        assert!(payload.len() <= room);
        assert!(header.seq.before_eq(seen.snd_max), "a gap: {header:?} {seen:?}");
    }
    seen.snd_max = seen.snd_max.later(end);
    if header.seq.before_eq(seen.rcv_nxt) {
        seen.rcv_nxt = seen.rcv_nxt.later(end);
    }
}

/// Frames of a pool are all back.
pub(super) fn nothing_out(pool: &mut sim::frame::Pool) {
    assert_eq!(pool.out(), 0, "frames that never came back");
    assert!(pool.allocate().is_some());
}
