//! Our own host in real time: the stack on this thread, and the firmware at each place where it can run.
//!
//! - *inline*: both take turns on this thread, as with `mayfly-server --nic inline`.
//! - *embedded*: the firmware has a thread of its own.
//! - *external*: it is `mayfly-nic`, a process of its own, and the stack has a queue of a virtio device
//!   that leads there.
//!
//! What the peer has sent is answered before the script goes on, however busy the machine is: see
//! [`Ours::settle`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration as Pause;

use anyhow::Result;
use dpdk::{Device, DevicePort, Eal, EalConfig, Mbuf, Mempool, OpenConfig};
use e2e::Process;
use e2e::lab::{Lab, SERVER_INTERFACE};
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Duration, Instant, Port};
use nic::{NicCore, Shown};
use sim::machine::{MachineConfig, start_stack};
use sim::script::app::{PlainApp, ScriptApp};
use sim::script::parse::{AppCommand, AppSeen};
use sim::script::segment::Addresses;
use sim::script::settings::machine_config;
use sim::script::subject::{Tolerance, has_failed};
use sim::script::{Script, Subject, SubjectKind, run};
use stack::{ConnectionId, EndReason, Stack};

use crate::common::Setup;
use crate::common::external::{self, Socket, nic_command};
use crate::peer::{Conversation, SUBJECT};

/// How late something may be on a busy machine.
pub(crate) const LATE: Duration = Duration::from_millis(2_000);
/// Between two looks at device and peer.
const NAP: Pause = Pause::from_micros(200);
/// Silence of the firmware in another process after which the stack gives it up: as `nic-timeout`.
const NIC_SILENCE: Duration = Duration::from_secs(10);

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

/// What every host is made from: DPDK, and the interface at the wire.
pub(crate) struct Bench {
    eal: &'static Eal,
    open: OpenConfig,
}

impl Bench {
    pub(crate) fn new() -> Result<Self> {
        let eal = Eal::init(&EalConfig::default())?;
        Ok(Self { eal, open: OpenConfig { frames: 4095, ..OpenConfig::default() } })
    }

    /// A firmware as the script wants it on the wire's device, and the host's end of the ring to it.
    fn nic<'a>(
        &mut self,
        kind: SubjectKind,
        script: &Script,
        shown: &'a Shown,
    ) -> Result<(NicCore<'a, RingPort<Mbuf>>, RingPort<Mbuf>, Mempool, MachineConfig), String> {
        let wire = Device::Packet(SERVER_INTERFACE.to_owned()).open(self.eal, &self.open);
        let wire = wire.map_err(|error| error.to_string())?;
        // All hosts in turn have the same.
        self.open.pools = Some(wire.pools());
        let (capabilities, pool) = (wire.capabilities(), wire.pool());
        let config = machine_config(kind, script, nic::config(&capabilities), SUBJECT.into())?;
        let channel = Capabilities { rx_checksum: true, ..capabilities };
        let (nic_end, host_end) = ring::pair(config.ring_frames, channel);
        let firmware = config.firmware.clone();
        let nic = NicCore::new(firmware, wire, None, vec![nic_end], shown);
        Ok((nic, host_end, pool, config))
    }

    /// Plays a script, with the firmware taking turns with the stack, or (`embedded`) on a thread of its own.
    pub(crate) fn play(
        &mut self,
        kind: SubjectKind,
        script: &Script,
        embedded: bool,
        peer: Conversation<'_>,
    ) -> Result<(), String> {
        let shown = Shown::default();
        let (nic, mut port, pool, config) = self.nic(kind, script, &shown)?;
        let (eal, clock, over) = (self.eal, peer.clock(), AtomicBool::new(false));
        let play = |nic| run(script, &mut Ours::new(script, &config, nic, &mut port, pool, peer)?);
        if !embedded {
            return play(Some(nic));
        }
        std::thread::scope(|scope| {
            scope.spawn(|| nic.run(eal, clock, || over.load(Ordering::Relaxed)));
            // Also when this thread panics.
            let _over = OnDrop(|| over.store(true, Ordering::Relaxed));
            play(None)
        })
    }
}

struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// `mayfly-nic`, one for many scripts.
pub(crate) struct External<'a> {
    bench: Bench,
    lab: &'a Lab,
    kind: SubjectKind,
    /// The one that runs, and what it was told.
    nic: Option<(RunningNic, Vec<String>)>,
}

/// In this order: the stack's end of the link goes first.
struct RunningNic {
    link: DevicePort,
    _process: Process,
    _socket: Socket,
}

impl<'a> External<'a> {
    pub(crate) fn new(bench: Bench, lab: &'a Lab, kind: SubjectKind) -> Self {
        Self { bench, lab, kind, nic: None }
    }

    /// What `mayfly-nic` is told so that its firmware is what a script wants; `None`: there are no
    /// words for it.
    pub(crate) fn arguments(kind: SubjectKind, script: &Script) -> Option<Vec<String>> {
        if kind == SubjectKind::Stack {
            // A plain card has no settings.
            return Some(Vec::new());
        }
        let base = nicfw::Config::new(protocol::ethernet::Mac::default());
        let firmware = |script| machine_config(kind, script, base.clone(), SUBJECT.into()).ok();
        let (wanted, usual) = (firmware(script)?.firmware, firmware(&Script::default())?.firmware);
        let seconds = |time: Duration| time.micros() / 1_000_000;
        let limit = |time: Option<Duration>| time.map_or(0, seconds);
        let words = |config: &nicfw::Config| {
            [
                ("--time-wait", seconds(config.time_wait)),
                ("--user-timeout", limit(config.user_timeout)),
                ("--waiting-max", limit(config.waiting_max)),
                ("--last-data-max", config.last_data_max.into()),
                ("--retained", config.retained_max as u64),
                ("--ttl", config.ttl.into()),
            ]
        };
        let changed = words(&wanted).into_iter().zip(words(&usual)).filter(|(wanted, usual)| wanted != usual);
        let arguments = changed.flat_map(|((name, value), _)| [name.to_owned(), value.to_string()]).collect();
        let whole = |time: Duration| Duration::from_secs(seconds(time));
        let said = nicfw::Config {
            time_wait: whole(wanted.time_wait),
            user_timeout: wanted.user_timeout.map(whole),
            waiting_max: wanted.waiting_max.map(whole),
            last_data_max: wanted.last_data_max,
            retained_max: wanted.retained_max,
            ttl: wanted.ttl,
            ..usual
        };
        (said == wanted).then_some(arguments)
    }

    fn start(&mut self, arguments: Vec<String>) -> Result<RunningNic> {
        let socket = Socket::new();
        let offload = if self.kind == SubjectKind::Stack { "none" } else { "lifecycle" };
        let setup = Setup { scheme: "packet", offload, nic: "external" };
        let process =
            external::start(nic_command(self.lab, setup, &socket, &arguments)?, external::NIC_READY)?;
        let link = Device::Virtio(socket.0.display().to_string()).open(self.bench.eal, &self.bench.open)?;
        self.bench.open.pools = Some(link.pools());
        Ok(RunningNic { link, _process: process, _socket: socket })
    }

    /// Plays a script.
    pub(crate) fn play(&mut self, script: &Script, peer: Conversation<'_>) -> Result<(), String> {
        let arguments = Self::arguments(self.kind, script).ok_or("no words for its settings")?;
        if self.nic.as_ref().is_none_or(|(_, told)| *told != arguments) {
            self.nic = None;
            let nic = self.start(arguments.clone()).map_err(|error| format!("{error:#}"))?;
            self.nic = Some((nic, arguments));
        }
        let Some((RunningNic { link, .. }, _)) = &mut self.nic else { return Err("it has gone".to_owned()) };
        let pool = link.pool();
        let mut config =
            machine_config(self.kind, script, nic::config(&link.capabilities()), SUBJECT.into())?;
        config.stack.nic_silence = Some(NIC_SILENCE);
        run(script, &mut Ours::new(script, &config, None, link, pool, peer)?)
    }
}

pub(crate) struct Ours<'a, P> {
    /// The firmware, where it takes turns with the stack.
    nic: Option<NicCore<'a, RingPort<Mbuf>>>,
    stack: Stack<Mbuf, ScriptApp>,
    app: ScriptApp,
    port: &'a mut P,
    pool: Mempool,
    peer: Conversation<'a>,
    plain: Option<PlainApp>,
    opened: Vec<(ConnectionId, u16)>,
    failed: Vec<(u16, EndReason)>,
}

impl<'a, P: Port<Frame = Mbuf>> Ours<'a, P> {
    /// A host as the script wants it, up and listening; `port` leads to its firmware.
    fn new(
        script: &Script,
        config: &MachineConfig,
        nic: Option<NicCore<'a, RingPort<Mbuf>>>,
        port: &'a mut P,
        pool: Mempool,
        peer: Conversation<'a>,
    ) -> Result<Self, String> {
        let (app, plain) = ScriptApp::new(script.app);
        // Numbers and secrets need not be secret here, but other ones in every run.
        let stack = start_stack(config, &mut SeededRng::new(peer.now().micros()));
        let mut host =
            Self { nic, stack, app, port, pool, peer, plain, opened: Vec::new(), failed: Vec::new() };
        let give_up = host.now() + LATE;
        while !host.stack.is_ready() {
            host.round();
            if host.now() > give_up {
                return Err("firmware and host do not find each other".to_owned());
            }
        }
        host.settle();
        Ok(host)
    }

    /// One round of what runs on this thread; true when somebody moved something.
    fn round(&mut self) -> bool {
        let clock = self.peer.clock();
        let mut any = self.nic.as_mut().is_some_and(|nic| nic.round(&clock));
        any |= self.stack.poll(self.port, &mut self.pool, &mut self.app, clock.now()).any();
        for (id, reason) in self.stack.failed_opens() {
            let port = self.opened.iter().rev().find(|(opened, _)| *opened == id).map(|&(_, port)| port);
            self.failed.extend(port.map(|port| (port, reason)));
        }
        self.peer.collect();
        if !any {
            // The firmware may want the core.
            std::thread::yield_now();
        }
        any
    }

    /// Rounds until nobody has anything to do without time passing. Wherever the firmware runs, frames
    /// stay in order: the answer to a question that is asked now comes behind all that was caused by
    /// the frames before it. Asked twice, since the stack's answer may overtake what it says to the
    /// firmware in the same round.
    fn settle(&mut self) {
        for _ in 0..2 {
            self.peer.ask();
            while self.peer.waits_for_answer() {
                self.round();
            }
        }
        while self.round() {}
    }
}

impl<P: Port<Frame = Mbuf>> Subject for Ours<'_, P> {
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
        self.peer.send(frame);
        self.settle();
    }

    fn advance(&mut self, until: Instant) {
        loop {
            while self.round() {}
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
            let id = self.stack.connect(remote, now).map_err(|error| error.to_string())?;
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
