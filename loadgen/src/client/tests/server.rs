//! A server for the tests: a small TCP of its own and a Redis that knows GET, SET, AUTH, QUIT.
//!
//! It checks what it is sent (checksums, sequence numbers on reuse of a port) and panics when
//! the client breaks a rule.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use netcore::{Duration, HeapFrame, Instant};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::icmpv6::{self, Message};
use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, Options, SeqNumber, Timestamps};
use protocol::{arp, ipv4, ipv6};

pub(super) const MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
pub(super) const ADDR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
pub(super) const ADDR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2);
pub(super) const PORT: u16 = 6379;
const RETRY: Duration = Duration::from_millis(250);

/// What the server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    WrongByte,
    ErrorReply,
    ResetOnRequest,
    CloseOnRequest,
    NoReply,
    RefuseSyn,
    NoSynAck,
}

#[derive(Default)]
struct Peer {
    established: bool,
    irs: SeqNumber,
    rcv_nxt: SeqNumber,
    snd_una: SeqNumber,
    /// Unacknowledged and unsent bytes from `snd_una` on (behind the SYN).
    out: Vec<u8>,
    fin: bool,
    fin_acked: bool,
    peer_fin: bool,
    quit: bool,
    input: Vec<u8>,
    mss: usize,
    window: u32,
    shift: u8,
    timestamps: bool,
    ts_recent: u32,
    retry_at: Option<Instant>,
}

impl Peer {
    /// Sequence numbers from `snd_una` on that carry something.
    fn unacked(&self) -> usize {
        self.out.len() + usize::from(self.fin && !self.fin_acked)
    }
}

pub(super) struct Server {
    addr: Address,
    peers: HashMap<Key, Peer>,
    /// Who closed first here: sequence number and timestamp that the next SYN has to exceed.
    pub(super) time_wait: HashMap<Key, (SeqNumber, u32)>,
    store: HashMap<Vec<u8>, Vec<u8>>,
    pub(super) fault: Fault,
    pub(super) mss: u16,
    /// Offer window scale, SACK and timestamps.
    pub(super) options: bool,
    pub(super) window: u16,
    pub(super) resets: u64,
    pub(super) accepted: u64,
    pub(super) reused: u64,
    pub(super) requests: u64,
    pub(super) largest_payload: usize,
    iss: u32,
    out: Vec<HeapFrame>,
    now: Instant,
}

/// A client's address and port.
type Key = (Address, u16);

impl Server {
    /// `addr`: [`ADDR`] or [`ADDR_V6`].
    pub(super) fn new(addr: Address) -> Self {
        Self {
            addr,
            peers: HashMap::new(),
            time_wait: HashMap::new(),
            store: HashMap::new(),
            fault: Fault::None,
            mss: if addr.is_v4() { 1460 } else { 1440 },
            options: true,
            window: 60_000,
            resets: 0,
            accepted: 0,
            reused: 0,
            requests: 0,
            largest_payload: 0,
            iss: 0xffff_f000,
            out: Vec::new(),
            now: Instant::ZERO,
        }
    }

    pub(super) fn connections(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn frame(&mut self, frame: &[u8], now: Instant) -> Vec<HeapFrame> {
        self.now = now;
        let header = ethernet::Header::parse(frame).expect("an Ethernet header");
        assert!(header.dst == MAC || header.dst.is_multicast());
        match header.ether_type {
            EtherType::Arp => self.arp(&frame[ethernet::HEADER_LEN..], header.src),
            kind if kind == ip::ether_type(self.addr.version()) => {
                self.packet(&frame[ethernet::HEADER_LEN..], header.src);
            }
            other => panic!("{other:?}"),
        }
        std::mem::take(&mut self.out)
    }

    pub(super) fn time(&mut self, client: Mac, now: Instant) -> Vec<HeapFrame> {
        self.now = now;
        let due: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.retry_at.is_some_and(|at| at <= now))
            .map(|(&key, _)| key)
            .collect();
        for key in due {
            self.transmit(key, client);
        }
        std::mem::take(&mut self.out)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.retry_at).min()
    }

    fn arp(&mut self, bytes: &[u8], src: Mac) {
        let packet = arp::Packet::parse(bytes).expect("an ARP packet");
        if packet.operation == arp::Operation::Request && self.addr == packet.target_addr.into() {
            let reply = arp::Packet {
                operation: arp::Operation::Reply,
                sender_mac: MAC,
                sender_addr: packet.target_addr,
                target_mac: src,
                target_addr: packet.sender_addr,
            };
            let mut bytes = vec![0; ethernet::HEADER_LEN + arp::PACKET_LEN];
            ethernet::Header { dst: src, src: MAC, ether_type: EtherType::Arp }.emit(&mut bytes);
            reply.emit(&mut bytes[ethernet::HEADER_LEN..]);
            self.out.push(HeapFrame::from_bytes(&bytes));
        }
    }

    fn neighbour(&mut self, ip: &ip::Header, message: &[u8]) {
        let Ok(Message::Solicitation(asked)) = icmpv6::parse(ip.src, ip.dst, message) else {
            panic!("no solicitation: {message:x?}");
        };
        assert_eq!((ip.hop_limit, ip.dst), (icmpv6::NEIGHBOUR_HOP_LIMIT, ipv6::solicited_node(&self.addr)));
        assert_eq!(asked.target, self.addr);
        let dst = asked.mac.expect("who asks says where it is");
        let mut bytes = vec![0; 54 + icmpv6::NEIGHBOUR_LEN];
        ethernet::Header { dst, src: MAC, ether_type: EtherType::Ipv6 }.emit(&mut bytes);
        let len = icmpv6::NEIGHBOUR_LEN;
        ipv6::emit(&self.addr, &ip.src, ipv6::NEXT_ICMP, 0, 255, len, &mut bytes[14..]);
        icmpv6::emit_advertisement(self.addr, ip.src, &self.addr, MAC, true, &mut bytes[54..]);
        self.out.push(HeapFrame::from_bytes(&bytes));
    }

    fn packet(&mut self, packet: &[u8], src: Mac) {
        let ip = ip::Header::parse(packet).expect("a right IP header");
        let segment = &packet[ip.header_len..ip.total_len];
        if ip.protocol == ipv6::NEXT_ICMP {
            return self.neighbour(&ip, segment);
        }
        assert_eq!((ip.dst, ip.protocol), (self.addr, ipv4::PROTOCOL_TCP));
        assert!(tcp::verify_checksum(ip.src, ip.dst, segment, false), "a right TCP checksum");
        let header = tcp::Header::parse(segment).expect("a TCP header");
        assert_eq!(header.dst_port, PORT);
        let options = header.options(segment);
        let key = (ip.src, header.src_port);
        self.largest_payload = self.largest_payload.max(segment.len() - header.header_len);
        self.segment(key, &header, &options, &segment[header.header_len..], src);
    }

    fn segment(&mut self, key: Key, header: &tcp::Header, options: &Options, payload: &[u8], src: Mac) {
        if header.flags.has(Flags::RST) {
            self.resets += 1;
            self.peers.remove(&key);
            return;
        }
        if header.flags.has(Flags::SYN) {
            return self.syn(key, header, options, src);
        }
        let Some(peer) = self.peers.get_mut(&key) else {
            // TIME_WAIT acknowledges; a closed port resets.
            if self.time_wait.contains_key(&key) {
                if header.flags.has(Flags::FIN) {
                    let end = header.seq + (payload.len() as u32 + 1);
                    self.bare(key, src, header.ack, end, Flags::ACK);
                }
                return;
            }
            return self.bare(key, src, header.ack, SeqNumber(0), Flags::RST);
        };
        if peer.timestamps {
            let timestamps = options.timestamps.expect("timestamps on every segment once agreed");
            if (timestamps.value.wrapping_sub(peer.ts_recent) as i32) > 0 {
                peer.ts_recent = timestamps.value;
            }
        }
        assert!(peer.established || header.ack == peer.snd_una + 1, "the SYN-ACK is acknowledged");
        if !peer.established {
            peer.established = true;
            peer.snd_una += 1;
            peer.retry_at = None;
            self.accepted += 1;
        }
        peer.window = u32::from(header.window) << peer.shift;
        let acked = header.ack.distance_from(peer.snd_una) as i32;
        if acked > 0 {
            let acked = acked as usize;
            assert!(acked <= peer.unacked(), "acknowledges only what was sent");
            peer.fin_acked |= acked > peer.out.len();
            peer.out.drain(..acked.min(peer.out.len()));
            peer.snd_una = header.ack;
            peer.retry_at = (peer.unacked() > 0).then_some(self.now + RETRY);
        }
        self.text(key, header, payload, src);
    }

    fn syn(&mut self, key: Key, header: &tcp::Header, options: &Options, src: Mac) {
        assert_eq!(header.flags, Flags::SYN);
        match self.fault {
            Fault::RefuseSyn => {
                return self.bare(key, src, SeqNumber(0), header.seq + 1, Flags::RST | Flags::ACK);
            }
            Fault::NoSynAck => return,
            _ => {}
        }
        if let Some(peer) = self.peers.get(&key) {
            if peer.irs == header.seq {
                return self.transmit(key, src);
            }
            // RFC 5961 §4.2: a new SYN on an old connection is challenged.
            let (seq, ack) = (peer.snd_una + (peer.out.len() as u32), peer.rcv_nxt);
            return self.bare(key, src, seq, ack, Flags::ACK);
        }
        if let Some((seq, value)) = self.time_wait.remove(&key) {
            let newer = options.timestamps.is_some_and(|ts| (ts.value.wrapping_sub(value) as i32) > 0);
            assert!(newer || header.seq.after(seq), "RFC 6191: a later timestamp or sequence number");
            self.reused += 1;
        }
        assert!(options.mss.is_some());
        self.iss = self.iss.wrapping_add(0x0123_4567);
        let timestamps = self.options.then_some(options.timestamps).flatten();
        let peer = Peer {
            irs: header.seq,
            rcv_nxt: header.seq + 1,
            snd_una: SeqNumber(self.iss),
            mss: usize::from(options.mss.unwrap_or(536).min(self.mss))
                - if timestamps.is_some() { 12 } else { 0 },
            window: u32::from(header.window),
            shift: if self.options { options.window_scale.unwrap_or(0) } else { 0 },
            timestamps: timestamps.is_some(),
            ts_recent: timestamps.map_or(0, |ts| ts.value),
            ..Peer::default()
        };
        self.peers.insert(key, peer);
        self.transmit(key, src);
    }

    fn text(&mut self, key: Key, header: &tcp::Header, payload: &[u8], src: Mac) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let fin = header.flags.has(Flags::FIN);
        let known = peer.rcv_nxt.distance_from(header.seq) as i32;
        let had = peer.unacked();
        if known >= 0 && (known as usize) < payload.len() {
            peer.input.extend_from_slice(&payload[known as usize..]);
            peer.rcv_nxt = header.seq + payload.len() as u32;
        }
        if fin && peer.rcv_nxt == header.seq + payload.len() as u32 {
            peer.rcv_nxt += 1;
            peer.peer_fin = true;
        }
        if let Served::Reset = self.serve(key) {
            let Some(peer) = self.peers.remove(&key) else { return };
            return self.bare(key, src, peer.snd_una, peer.rcv_nxt, Flags::RST | Flags::ACK);
        }
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.fin |= peer.peer_fin;
        let (fin_acked, peer_fin, quit) = (peer.fin_acked, peer.peer_fin, peer.quit);
        if peer.unacked() > had {
            self.transmit(key, src);
        } else if !payload.is_empty() || fin {
            let (seq, ack) = (peer.snd_una + peer.unacked() as u32, peer.rcv_nxt);
            self.bare(key, src, seq, ack, Flags::ACK);
        }
        if fin_acked && peer_fin {
            let Some(peer) = self.peers.remove(&key) else { return };
            if quit {
                self.time_wait.insert(key, (peer.rcv_nxt, peer.ts_recent));
            }
        }
    }

    /// Answers the complete requests in the input.
    fn serve(&mut self, key: Key) -> Served {
        loop {
            let Some(peer) = self.peers.get_mut(&key) else { return Served::Fine };
            let Some((arguments, used)) = request(&peer.input) else { return Served::Fine };
            peer.input.drain(..used);
            assert!(!peer.fin, "nothing is asked behind QUIT");
            self.requests += 1;
            match self.fault {
                Fault::ResetOnRequest => return Served::Reset,
                Fault::CloseOnRequest => {
                    peer.fin = true;
                    return Served::Fine;
                }
                Fault::NoReply => continue,
                Fault::ErrorReply => {
                    peer.out.extend_from_slice(b"-ERR this is a test\r\n");
                    continue;
                }
                Fault::WrongByte | Fault::None | Fault::RefuseSyn | Fault::NoSynAck => {}
            }
            match &arguments[0][..] {
                b"GET" => match self.store.get(&arguments[1]) {
                    None => peer.out.extend_from_slice(b"$-1\r\n"),
                    Some(value) => {
                        peer.out.extend_from_slice(format!("${}\r\n", value.len()).as_bytes());
                        peer.out.extend_from_slice(value);
                        if self.fault == Fault::WrongByte {
                            let last = peer.out.len() - 1;
                            peer.out[last] ^= 1;
                        }
                        peer.out.extend_from_slice(b"\r\n");
                    }
                },
                b"SET" => {
                    self.store.insert(arguments[1].clone(), arguments[2].clone());
                    peer.out.extend_from_slice(b"+OK\r\n");
                }
                b"AUTH" => peer.out.extend_from_slice(b"+OK\r\n"),
                b"QUIT" => {
                    peer.out.extend_from_slice(b"+OK\r\n");
                    peer.fin = true;
                    peer.quit = true;
                }
                other => panic!("{}", other.escape_ascii()),
            }
        }
    }

    /// Sends everything from `snd_una` on, as far as the window goes.
    fn transmit(&mut self, key: Key, dst: Mac) {
        let retry_at = Some(self.now + RETRY);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        peer.retry_at = retry_at;
        let timestamps =
            peer.timestamps.then(|| Timestamps { value: self.now.millis() as u32 + 7, echo: peer.ts_recent });
        if !peer.established {
            let options = Options {
                mss: Some(self.mss),
                window_scale: self.options.then_some(0),
                sack_permitted: self.options,
                timestamps,
                ..Options::default()
            };
            let (seq, ack) = (peer.snd_una, peer.rcv_nxt);
            return self.emit(key, dst, seq, ack, Flags::SYN | Flags::ACK, &options, &[]);
        }
        let window = (peer.window as usize).max(1);
        let (bytes, fin) = (peer.out[..peer.out.len().min(window)].to_vec(), peer.fin);
        let (all, fin_acked) = (bytes.len() == peer.out.len(), peer.fin_acked);
        let (mss, mut seq, ack) = (peer.mss, peer.snd_una, peer.rcv_nxt);
        let options = Options { timestamps, ..Options::default() };
        let mut chunks: Vec<&[u8]> = bytes.chunks(mss).collect();
        if chunks.is_empty() {
            chunks.push(&[]);
        }
        let last = chunks.len() - 1;
        for (at, chunk) in chunks.into_iter().enumerate() {
            let mut flags = Flags::ACK;
            if fin && !fin_acked && all && at == last {
                flags = flags | Flags::FIN;
            }
            self.emit(key, dst, seq, ack, flags, &options, chunk);
            seq += chunk.len() as u32;
        }
    }

    fn bare(&mut self, key: Key, dst: Mac, seq: SeqNumber, ack: SeqNumber, flags: Flags) {
        let peer = self.peers.get(&key).filter(|peer| peer.timestamps);
        let timestamps =
            peer.map(|peer| Timestamps { value: self.now.millis() as u32 + 7, echo: peer.ts_recent });
        let options = Options { timestamps, ..Options::default() };
        self.emit(key, dst, seq, ack, flags, &options, &[]);
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a segment")]
    fn emit(
        &mut self,
        key: Key,
        dst: Mac,
        seq: SeqNumber,
        ack: SeqNumber,
        flags: Flags,
        options: &Options,
        payload: &[u8],
    ) {
        let header = tcp::Header {
            src_port: PORT,
            dst_port: key.1,
            seq,
            ack,
            flags,
            window: self.window,
            urgent: 0,
            header_len: 0,
        };
        let version = self.addr.version();
        let tcp_at = 14 + ip::header_len(version);
        let mut bytes = vec![0; tcp_at + 20 + options.emitted_len() + payload.len()];
        ethernet::Header { dst, src: MAC, ether_type: ip::ether_type(version) }.emit(&mut bytes);
        let segment_len = bytes.len() - tcp_at;
        ip::emit(&self.addr, &key.0, ipv4::PROTOCOL_TCP, 0, segment_len, &mut bytes[14..]);
        let headers = header.emit(options, &mut bytes[tcp_at..]);
        bytes[tcp_at + headers..].copy_from_slice(payload);
        tcp::fill_checksum(self.addr, key.0, &mut bytes[tcp_at..]);
        self.out.push(HeapFrame::from_bytes(&bytes));
    }
}

enum Served {
    Fine,
    Reset,
}

/// The first complete request and its length.
fn request(input: &[u8]) -> Option<(Vec<Vec<u8>>, usize)> {
    let mut at = 0;
    let count = number(input, &mut at, b'*')?;
    let mut arguments = Vec::new();
    for _ in 0..count {
        let len = number(input, &mut at, b'$')?;
        arguments.push(input.get(at..at + len)?.to_vec());
        at += len + 2;
    }
    (at <= input.len()).then_some((arguments, at))
}

/// Takes a line of `kind` and a number.
fn number(input: &[u8], at: &mut usize, kind: u8) -> Option<usize> {
    let line = input.get(*at..)?;
    let end = line.windows(2).position(|pair| pair == b"\r\n")?;
    assert_eq!(line[0], kind);
    *at += end + 2;
    Some(std::str::from_utf8(&line[1..end]).expect("digits").parse().expect("digits"))
}
