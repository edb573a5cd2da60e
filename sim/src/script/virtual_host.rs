//! Our own host on virtual time, alone or behind the firmware, as a subject of scripts.

use std::collections::VecDeque;
use std::net::Ipv4Addr;
use std::sync::Arc;

use netcore::port::{Capabilities, FrameQueue, Port};
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, Instant};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::{arp, tcp};
use server::{CoreApp, Engine, EngineStart};
use stack::{AcceptPolicy, CongestionControl, EcnPolicy};

use super::app::{PlainApp, ScriptApp};
use super::parse::{AppCommand, AppKind, AppSeen, Script, SubjectKind, parse_seconds};
use super::segment::Addresses;
use super::subject::Subject;
use crate::frame::{Pool, SimFrame};
use crate::machine::{Machine, MachineConfig};
use crate::trace::Trace;

const ADDRESSES: Addresses = Addresses {
    peer_mac: Mac([2, 0, 0, 0, 0, 1]),
    peer: Ipv4Addr::new(198, 18, 0, 1),
    subject_mac: Mac([2, 0, 0, 0, 0, 2]),
    subject: Ipv4Addr::new(198, 18, 0, 2),
    port: 6379,
};
const MTU: usize = 1500;
/// Time for firmware and host to find each other before the script begins.
const START: Instant = Instant::from_micros(10_000_000);

/// What a device shows of itself to a script: frames in, frames out, nothing lost.
struct ScriptPort {
    arrived: VecDeque<SimFrame>,
    sent: VecDeque<(Instant, Vec<u8>)>,
    now: Instant,
}

impl Port for ScriptPort {
    type Frame = SimFrame;

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            mac: ADDRESSES.subject_mac.0,
            mtu: MTU,
            rx_checksum: false,
            rx_partial_checksum: false,
        }
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
    plain: Option<PlainApp>,
    now: Instant,
}

impl VirtualHost {
    /// A host of this kind, as the script wants it, up and listening.
    ///
    /// # Errors
    /// A setting that does not exist.
    pub fn new(kind: SubjectKind, script: &Script) -> Result<Self, String> {
        let mut config = MachineConfig {
            firmware: nicfw::Config::new(ADDRESSES.subject_mac),
            stack: stack::Config::new(ADDRESSES.subject_mac, ADDRESSES.subject, 24),
            ring_frames: 256,
            port: ADDRESSES.port,
            accept: AcceptPolicy::Deferred,
        };
        (config.firmware.offload, config.stack.offload) = match kind {
            SubjectKind::Stack => (nicfw::Offload::None, stack::Offload::None),
            SubjectKind::Firmware => (nicfw::Offload::Lifecycle, stack::Offload::Lifecycle),
        };
        config.firmware.flows_max = 64;
        config.firmware.time_wait_max = 64;
        config.firmware.retained_max = 64;
        config.stack.connections_max = 64;
        config.stack.time_wait_max = 64;
        for (name, value) in &script.settings {
            set(&mut config, name, value)?;
        }
        let (app, plain) = match script.app {
            AppKind::Echo | AppKind::Manual => {
                let plain = PlainApp::new(script.app);
                (ScriptApp::Plain(plain.clone()), Some(plain))
            }
            AppKind::Redis => {
                let start = EngineStart {
                    unix_us_at_zero: 1_700_000_000_000_000,
                    secret: [7; 16],
                    seed: 7,
                    cores: 1,
                    stopwatch: None,
                };
                let engine = Arc::new(Engine::new(server::Config::default(), start));
                (ScriptApp::Redis(CoreApp::new(engine, 0).into()), None)
            }
        };
        let pool = Pool::new(2048, 4096);
        let port = ScriptPort { arrived: VecDeque::new(), sent: VecDeque::new(), now: Instant::ZERO };
        let rng = SeededRng::new(1);
        let machine = Machine::new(config, vec![app], port, pool.clone(), rng, Trace::default());
        let mut host = Self { machine, pool, plain, now: Instant::ZERO };
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
            self.answer_arp();
            rounds += 1;
            assert!(rounds < 10_000, "the host never comes to rest at {:?}", self.now);
        }
    }

    /// A peer that says where it is.
    fn answer_arp(&mut self) {
        let port = self.machine.wire();
        let mut answers = Vec::new();
        port.sent.retain(|(_, bytes)| {
            let is_arp = ethernet::Header::parse(bytes).is_ok_and(|link| link.ether_type == EtherType::Arp);
            if is_arp
                && let Ok(request) = arp::Packet::parse(&bytes[ethernet::HEADER_LEN..])
                && request.target_addr == ADDRESSES.peer
            {
                let reply = arp::Packet {
                    operation: arp::Operation::Reply,
                    sender_mac: ADDRESSES.peer_mac,
                    sender_addr: ADDRESSES.peer,
                    target_mac: request.sender_mac,
                    target_addr: request.sender_addr,
                };
                let mut frame = vec![0; ethernet::HEADER_LEN + arp::PACKET_LEN];
                let link = ethernet::Header {
                    dst: ADDRESSES.subject_mac,
                    src: ADDRESSES.peer_mac,
                    ether_type: EtherType::Arp,
                };
                link.emit(&mut frame);
                reply.emit(&mut frame[ethernet::HEADER_LEN..]);
                answers.push(frame);
            }
            !is_arp
        });
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
        ADDRESSES
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
            let remote = std::net::SocketAddrV4::new(ADDRESSES.peer, peer_port);
            self.machine.stack(0).connect(remote, self.now).map_err(|error| format!("{error:?}"))?;
        } else {
            self.plain.as_ref().ok_or("the Redis engine takes no commands")?.command(peer_port, command)?;
        }
        self.settle();
        Ok(())
    }

    fn seen(&self, peer_port: u16, seen: &AppSeen) -> Result<(), String> {
        self.plain.as_ref().ok_or("the Redis engine tells nothing")?.check(peer_port, seen)
    }
}

fn set(config: &mut MachineConfig, name: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u32>().map_err(|_| format!("set {name}: \"{value}\" is no number"));
    let time = || parse_seconds(value).map_err(|error| format!("set {name}: {error}"));
    match name {
        "receive_window" => config.stack.receive_window = number()?,
        "mtu" => {
            config.stack.mtu = number()? as usize;
            config.firmware.mtu = config.stack.mtu;
        }
        "accept" => {
            config.accept = match value {
                "deferred" => AcceptPolicy::Deferred,
                "immediate" => AcceptPolicy::Immediate,
                _ => return Err(format!("set accept: \"{value}\" is neither deferred nor immediate")),
            }
        }
        "congestion" => {
            config.stack.congestion = match value {
                "cubic" => CongestionControl::Cubic,
                "new_reno" => CongestionControl::NewReno,
                _ => return Err(format!("set congestion: \"{value}\" is neither cubic nor new_reno")),
            };
        }
        "nagle" => {
            config.stack.nagle = match value {
                "on" => true,
                "off" => false,
                _ => return Err(format!("set nagle: \"{value}\" is neither on nor off")),
            };
        }
        "ecn" => {
            config.stack.ecn = match value {
                "off" => EcnPolicy::Off,
                "accept" => EcnPolicy::Accept,
                "offer" => EcnPolicy::Offer,
                _ => return Err(format!("set ecn: \"{value}\" is not off, accept or offer")),
            };
        }
        "user_timeout" => config.stack.user_timeout = Some(time()?),
        "backlog_max" => config.stack.backlog_max = number()? as usize,
        "connections_max" => config.stack.connections_max = number()? as usize,
        "retransmissions_max" => {
            config.stack.retransmissions_max = number()? as u8;
            config.firmware.retries = config.stack.retransmissions_max;
        }
        "syn_retransmissions_max" => config.stack.syn_retransmissions_max = number()? as u8,
        "delayed_ack" => config.stack.delayed_ack = time()?,
        "keepalive" => config.stack.keepalive = Some(time()?),
        "keepalive_probes" => config.stack.keepalive_probes = number()? as u8,
        "time_wait" => {
            config.stack.time_wait = time()?;
            config.firmware.time_wait = config.stack.time_wait;
        }
        "fin_wait_2" => {
            config.stack.fin_wait_2 = time()?;
            config.firmware.fin_wait_2 = config.stack.fin_wait_2;
        }
        _ => return Err(format!("set {name}: there is no such setting")),
    }
    debug_assert!(config.stack.mtu >= 68 + tcp::HEADER_LEN);
    Ok(())
}
