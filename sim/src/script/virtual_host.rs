//! Our own host on virtual time, alone or behind the firmware, as a subject of scripts.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netcore::port::{Capabilities, FrameQueue, Port};
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, Instant};
use protocol::ethernet::Mac;
use protocol::ip::Version;
use stack::{ConnectionId, EndReason};

use super::app::{PlainApp, ScriptApp};
use super::neighbour;
use super::parse::{AppCommand, AppSeen, Script, SubjectKind};
use super::segment::Addresses;
use super::settings::{self, machine_config};
use super::subject::{Subject, has_failed};
use crate::frame::{Pool, SimFrame};
use crate::machine::Machine;
use crate::trace::Trace;

const SUBJECT_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);

/// Peer and subject of this version of IP.
fn addresses(version: Version) -> Addresses {
    let (peer, subject) = match version {
        Version::V4 => (IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)), IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2))),
        Version::V6 => {
            let host = |number| IpAddr::V6(Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, number));
            (host(1), host(2))
        }
    };
    let peer_mac = Mac([2, 0, 0, 0, 0, 1]);
    Addresses { peer_mac, peer, subject_mac: SUBJECT_MAC, subject, port: settings::PORT }
}
/// Time for firmware and host to find each other before the script begins.
const START: Instant = Instant::from_micros(10_000_000);

/// What a device shows of itself to a script: frames in, frames out, nothing lost.
struct ScriptPort {
    arrived: VecDeque<SimFrame>,
    sent: VecDeque<(Instant, Vec<u8>)>,
    now: Instant,
    mtu: usize,
}

impl Port for ScriptPort {
    type Frame = SimFrame;

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(SUBJECT_MAC.0, self.mtu)
    }

    fn receive(&mut self, into: &mut FrameQueue<SimFrame>, max: usize) -> usize {
        let count = max.min(into.room()).min(self.arrived.len());
        let mut moved = 0;
        for frame in self.arrived.drain(..count) {
            moved += usize::from(into.push(frame).is_ok());
        }
        moved
    }

    fn send(&mut self, from: &mut FrameQueue<SimFrame>) -> usize {
        let mut count = 0;
        while let Some(frame) = from.pop() {
            self.sent.push_back((self.now, frame.bytes().to_vec()));
            count += 1;
        }
        count
    }
}

/// The subject.
pub struct VirtualHost {
    machine: Machine<ScriptPort, ScriptApp>,
    pool: Pool,
    addresses: Addresses,
    plain: Option<PlainApp>,
    /// Peer port of each connection that the subject opened.
    opened: Vec<(ConnectionId, u16)>,
    /// Peer port of those that came to nothing, and why.
    failed: Vec<(u16, EndReason)>,
    now: Instant,
}

impl VirtualHost {
    /// A host of this kind and version of IP, as the script wants it, up and listening.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub fn new(kind: SubjectKind, script: &Script, version: Version) -> Result<Self, String> {
        let addresses = addresses(version);
        let config = machine_config(kind, script, nicfw::Config::new(SUBJECT_MAC), addresses.subject)?;
        let (app, plain) = ScriptApp::new(script.app);
        let pool = Pool::new(2048, 4096);
        let mtu = config.stack.mtu;
        let port = ScriptPort { arrived: VecDeque::new(), sent: VecDeque::new(), now: Instant::ZERO, mtu };
        let rng = SeededRng::new(1);
        let machine = Machine::new(config, vec![app], port, pool.clone(), rng, Trace::default());
        let (opened, failed) = (Vec::new(), Vec::new());
        let mut host = Self { machine, pool, addresses, plain, opened, failed, now: Instant::ZERO };
        host.settle();
        while host.now < START {
            host.advance(START);
            while host.sent().is_some() {}
        }
        Ok(host)
    }

    /// Rounds until nobody has anything to do without time passing.
    fn settle(&mut self) {
        self.machine.wire().now = self.now;
        let mut rounds = 0;
        while self.machine.round(self.now) {
            self.answer_neighbour();
            rounds += 1;
            assert!(rounds < 10_000, "the host never comes to rest at {:?}", self.now);
        }
        for (id, reason) in self.machine.stack(0).failed_opens() {
            let port = self.opened.iter().rev().find(|(opened, _)| *opened == id).map(|&(_, port)| port);
            self.failed.extend(port.map(|port| (port, reason)));
        }
    }

    /// A peer that says where it is.
    fn answer_neighbour(&mut self) {
        let addresses = self.addresses;
        let sent = &mut self.machine.wire().sent;
        let answers: Vec<_> =
            sent.iter().filter_map(|(_, frame)| neighbour::answer(frame, &addresses)).collect();
        sent.retain(|(_, frame)| neighbour::answer(frame, &addresses).is_none());
        for frame in answers {
            self.arrive(&frame);
        }
    }

    fn arrive(&mut self, bytes: &[u8]) {
        let frame = self.pool.frame_with(bytes).expect("scripts hold far fewer frames than the pool has");
        self.machine.wire().arrived.push_back(frame);
    }
}

impl Subject for VirtualHost {
    fn addresses(&self) -> Addresses {
        self.addresses
    }

    fn now(&self) -> Instant {
        self.now
    }

    fn inject(&mut self, frame: &[u8]) {
        self.arrive(frame);
        self.settle();
    }

    fn advance(&mut self, until: Instant) {
        while self.now < until && self.machine.wire().sent.is_empty() {
            let next = self.machine.next_deadline().unwrap_or(Instant::FAR_FUTURE);
            self.now = next.max(self.now + Duration::from_micros(1)).min(until);
            self.settle();
        }
    }

    fn sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.machine.wire().sent.pop_front()
    }

    fn command(&mut self, peer_port: u16, command: &AppCommand) -> Result<(), String> {
        if *command == AppCommand::Connect {
            let remote = SocketAddr::new(self.addresses.peer, peer_port);
            let id = self.machine.stack(0).connect(remote, self.now).map_err(|error| error.to_string())?;
            self.opened.push((id, peer_port));
        } else {
            self.plain.as_ref().ok_or("the Redis engine takes no commands")?.command(peer_port, command)?;
        }
        self.settle();
        Ok(())
    }

    fn seen(&self, peer_port: u16, seen: &AppSeen) -> Result<(), String> {
        if let AppSeen::Failed(wanted) = seen {
            return has_failed(&self.failed, peer_port, wanted);
        }
        self.plain.as_ref().ok_or("the Redis engine tells nothing")?.check(peer_port, seen)
    }
}
