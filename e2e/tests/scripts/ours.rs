//! Our own host behind a DPDK device, alone or with the firmware, in real time.
//!
//! Device, firmware, stack and peer take turns on one thread: what the peer has sent is taken and
//! answered before the script goes on, however busy the machine is.

use std::net::SocketAddr;
use std::time::Duration as Pause;

use dpdk::{DevicePort, Mbuf, Mempool};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, FrameQueue, Instant, Port};
use sim::machine::Machine;
use sim::script::app::{PlainApp, ScriptApp};
use sim::script::parse::{AppCommand, AppSeen};
use sim::script::segment::Addresses;
use sim::script::settings::machine_config;
use sim::script::subject::{Tolerance, has_failed};
use sim::script::{Script, Subject, SubjectKind};
use sim::trace::Trace;
use stack::{ConnectionId, EndReason};

use crate::peer::Conversation;

/// How late something may be on a busy machine.
pub(crate) const LATE: Duration = Duration::from_millis(2_000);
/// How long a frame may take from one end of the veth to the other.
const CROSSING: Duration = Duration::from_millis(500);
/// Between two looks at device and peer.
const NAP: Pause = Pause::from_micros(200);

/// What a subject in real time is held to.
pub(crate) fn tolerance() -> Tolerance {
    Tolerance {
        early: Duration::from_millis(150),
        late: LATE,
        late_now: LATE,
        last_silence: Duration::from_millis(150),
        apart: false,
        windows: true,
    }
}

/// The device, which outlives the hosts behind it, and how many frames it has received.
struct Wire<'a> {
    device: &'a mut DevicePort,
    received: usize,
}

impl Port for Wire<'_> {
    type Frame = Mbuf;

    fn capabilities(&self) -> Capabilities {
        self.device.capabilities()
    }

    fn receive(&mut self, into: &mut FrameQueue<Mbuf>, max: usize) -> usize {
        let count = self.device.receive(into, max);
        self.received += count;
        count
    }

    fn send(&mut self, from: &mut FrameQueue<Mbuf>) -> usize {
        self.device.send(from)
    }
}

pub(crate) struct Ours<'a> {
    machine: Machine<Wire<'a>, ScriptApp, Mempool>,
    peer: Conversation<'a>,
    plain: Option<PlainApp>,
    opened: Vec<(ConnectionId, u16)>,
    failed: Vec<(u16, EndReason)>,
}

impl<'a> Ours<'a> {
    /// A host of this kind, as the script wants it, up and listening.
    pub(crate) fn new(
        kind: SubjectKind,
        script: &Script,
        device: &'a mut DevicePort,
        peer: Conversation<'a>,
    ) -> Result<Self, String> {
        let config = machine_config(kind, script, peer.addresses.subject_mac, peer.addresses.subject)?;
        let pool = device.pool();
        let mut leftovers = FrameQueue::with_capacity(64);
        while device.receive(&mut leftovers, 64) > 0 {
            while leftovers.pop().is_some() {}
        }
        let (app, plain) = ScriptApp::new(script.app);
        let wire = Wire { device, received: 0 };
        // Numbers and secrets need not be secret here, but other ones in every run.
        let rng = SeededRng::new(peer.now().micros());
        let machine = Machine::new(config, vec![app], wire, pool, rng, Trace::default());
        let mut host = Self { machine, peer, plain, opened: Vec::new(), failed: Vec::new() };
        let give_up = host.now() + LATE;
        while !host.machine.stack(0).is_ready() {
            host.settle();
            if host.now() > give_up {
                return Err("firmware and host do not find each other".to_owned());
            }
        }
        Ok(host)
    }

    /// Rounds until nobody has anything to do without time passing.
    fn settle(&mut self) {
        loop {
            let now = self.peer.now();
            if !self.machine.round(now) {
                break;
            }
        }
        for (id, reason) in self.machine.stack(0).failed_opens() {
            let port = self.opened.iter().rev().find(|(opened, _)| *opened == id).map(|&(_, port)| port);
            self.failed.extend(port.map(|port| (port, reason)));
        }
        self.peer.collect();
    }
}

impl Subject for Ours<'_> {
    fn addresses(&self) -> Addresses {
        self.peer.addresses
    }

    fn tolerance(&self) -> Tolerance {
        tolerance()
    }

    fn now(&self) -> Instant {
        self.peer.now()
    }

    fn inject(&mut self, frame: &[u8]) {
        let before = self.machine.wire().received;
        let give_up = self.now() + CROSSING;
        self.peer.send(frame);
        while self.machine.wire().received == before && self.now() < give_up {
            self.settle();
        }
        self.settle();
    }

    fn advance(&mut self, until: Instant) {
        loop {
            self.settle();
            if self.peer.has_sent() || self.now() >= until {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    fn sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.peer.collect();
        self.peer.take()
    }

    fn command(&mut self, peer_port: u16, command: &AppCommand) -> Result<(), String> {
        if *command == AppCommand::Connect {
            let (remote, now) = (SocketAddr::new(self.peer.addresses.peer, peer_port), self.now());
            let id = self.machine.stack(0).connect(remote, now).map_err(|error| error.to_string())?;
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
