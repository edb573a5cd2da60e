//! The script's side of the veth: a packet socket, and who is who on it.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use dpdk::Clock;
use e2e::PacketSocket;
use e2e::lab::{CLIENT_INTERFACE, Lab, SERVER_INTERFACE, Side};
use e2e::wire::Received;
use netcore::{Duration, Instant};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::{arp, ipv4, tcp};
use sim::script::neighbour;
use sim::script::segment::Addresses;
use sim::script::settings;

/// The subject's address.
pub(crate) const SUBJECT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

/// A frame may be lost on the veth of a busy machine; then the answer to a question is not waited for longer.
const CROSSING: Duration = Duration::from_millis(500);

/// The peer of all scripts in one laboratory. Each run gets an address of its own, so that
/// nothing of the run before it (TIME_WAIT, cookies, path MTU) is in its way.
pub(crate) struct Peer {
    socket: PacketSocket,
    clock: Clock,
    peer_mac: Mac,
    subject_mac: Mac,
    runs: u16,
    questions: u16,
}

/// The peer during one run.
pub(crate) struct Conversation<'a> {
    peer: &'a mut Peer,
    pub(crate) addresses: Addresses,
    sent: VecDeque<(Instant, Vec<u8>)>,
    /// Who asks at present, and until when.
    question: Option<(Ipv4Addr, Instant)>,
}

impl Peer {
    pub(crate) fn new(lab: &Lab) -> Result<Self> {
        let mac = |interface: &'static str| move || interface_mac(interface);
        Ok(Self {
            socket: lab.within(Side::Client, || Ok(PacketSocket::open(CLIENT_INTERFACE)?))?,
            clock: Clock::start(),
            peer_mac: lab.within(Side::Client, mac(CLIENT_INTERFACE))?,
            subject_mac: lab.within(Side::Server, mac(SERVER_INTERFACE))?,
            runs: 0,
            questions: 0,
        })
    }

    /// A new run with an address that none had before.
    pub(crate) fn converse(&mut self) -> Conversation<'_> {
        self.runs += 1;
        let [_, _, high, low] = u32::from(self.runs / 200 + 1).to_be_bytes().map(u16::from);
        debug_assert_eq!(high, 0);
        let addresses = Addresses {
            peer_mac: self.peer_mac,
            peer: Ipv4Addr::new(198, 18, low as u8, (self.runs % 200 + 10) as u8).into(),
            subject_mac: self.subject_mac,
            subject: SUBJECT.into(),
            port: settings::PORT,
        };
        while self.socket.receive().is_some() {}
        Conversation { peer: self, addresses, sent: VecDeque::new(), question: None }
    }
}

impl Conversation<'_> {
    pub(crate) fn now(&self) -> Instant {
        self.peer.clock.now()
    }

    pub(crate) fn clock(&self) -> Clock {
        self.peer.clock
    }

    /// Asks for the subject's hardware address, in the name of somebody who has not asked before. The
    /// question goes the way of all frames, so that its answer comes behind what those have caused.
    pub(crate) fn ask(&mut self) {
        self.peer.questions = self.peer.questions.wrapping_add(1);
        let [high, low] = self.peer.questions.to_be_bytes();
        let asker = Ipv4Addr::new(198, 18, high | 0x80, low);
        let Addresses { peer_mac, .. } = self.addresses;
        let question = arp::Packet {
            operation: arp::Operation::Request,
            sender_mac: peer_mac,
            sender_addr: asker,
            target_mac: Mac::default(),
            target_addr: SUBJECT,
        };
        let mut frame = [0; ethernet::HEADER_LEN + arp::PACKET_LEN];
        let link = ethernet::Header { dst: ethernet::BROADCAST, src: peer_mac, ether_type: EtherType::Arp };
        link.emit(&mut frame);
        question.emit(&mut frame[ethernet::HEADER_LEN..]);
        self.question = Some((asker, self.now() + CROSSING));
        self.send(&frame);
    }

    /// True while the question has no answer and may still get one.
    pub(crate) fn waits_for_answer(&self) -> bool {
        self.question.is_some_and(|(_, give_up)| self.now() < give_up)
    }

    pub(crate) fn send(&self, frame: &[u8]) {
        // A frame that the interface does not take is lost, as frames are; the script will say so.
        self.peer.socket.send(frame).ok();
    }

    /// Takes in what has arrived, and says where the peer is to who asks.
    pub(crate) fn collect(&mut self) {
        while let Some(Received { mut frame, age }) = self.peer.socket.receive() {
            if let Some(answer) = neighbour::answer(&frame, &self.addresses) {
                self.send(&answer);
            } else if self.question.is_some_and(|(asker, _)| answers(&frame, asker)) {
                self.question = None;
            } else if is_for(&frame, self.addresses.peer) {
                complete_checksum(&mut frame);
                let at = self.now().micros().saturating_sub(age.as_micros() as u64);
                self.sent.push_back((Instant::from_micros(at), frame));
            }
        }
    }

    /// Waits for a frame for a short time.
    pub(crate) fn wait(&self, milliseconds: i32) {
        let mut polled = libc::pollfd { fd: self.peer.socket.fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one structure, valid for the length of the call.
        unsafe { libc::poll(&raw mut polled, 1, milliseconds) };
    }

    pub(crate) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    pub(crate) fn take(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.sent.pop_front()
    }
}

/// The answer to a question of `asker`.
fn answers(frame: &[u8], asker: Ipv4Addr) -> bool {
    ethernet::Header::parse(frame).is_ok_and(|link| link.ether_type == EtherType::Arp)
        && arp::Packet::parse(&frame[ethernet::HEADER_LEN..])
            .is_ok_and(|arp| arp.operation == arp::Operation::Reply && arp.target_addr == asker)
}

/// An IP packet for this run, and not for an earlier one.
fn is_for(frame: &[u8], peer: IpAddr) -> bool {
    ethernet::Header::parse(frame).is_ok_and(|link| link.ether_type == EtherType::Ipv4)
        && ipv4::Header::parse(&frame[ethernet::HEADER_LEN..]).is_ok_and(|ip| ip.dst == peer)
}

/// A kernel on this machine leaves the checksum to a device that a veth does not have.
fn complete_checksum(frame: &mut [u8]) {
    let Ok(ip) = ipv4::Header::parse(&frame[ethernet::HEADER_LEN..]) else { return };
    if ip.protocol != ipv4::PROTOCOL_TCP || ip.fragment {
        return;
    }
    let segment = &mut frame[ethernet::HEADER_LEN..][ip.header_len..ip.total_len];
    let (src, dst) = (ip.src.into(), ip.dst.into());
    let complete = tcp::verify_checksum(src, dst, segment, false);
    if !complete && tcp::verify_checksum(src, dst, segment, true) {
        tcp::fill_checksum(src, dst, segment);
    }
}

fn interface_mac(interface: &str) -> Result<Mac> {
    let output = std::process::Command::new("ip").args(["-o", "link", "show", "dev", interface]).output();
    let text = String::from_utf8(output.context("cannot start `ip`")?.stdout)?;
    let mac = text.split_whitespace().skip_while(|word| *word != "link/ether").nth(1);
    let mac = mac.with_context(|| format!("{interface} has no hardware address: {text}"))?;
    let mut bytes = [0; 6];
    for (byte, pair) in bytes.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(pair, 16)?;
    }
    Ok(Mac(bytes))
}
