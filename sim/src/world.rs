//! The world of one seed: everybody, the wire between them, time, and the checks.
//!
//! Time stands still while anybody has something to do, and then jumps to the next arrival or
//! deadline. A world goes through four stages: the keys are loaded over a good wire; everything
//! in the scenario happens; all requests must come to an end on a wire that has become good; and
//! then time passes until nothing may be left of any connection.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use loadgen::{ClientConfig, Clients, ErrorKind};
use netcore::rng::SeededRng;
use netcore::{Duration, FourTuple, Instant};
use protocol::ethernet::Mac;
use protocol::ip::Address;
use server::{CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, EndReason, Output};

use crate::belief::{self, Belief};
use crate::counting::{self, COUNTERS, CountingClients};
use crate::frame::{Pool, SimFrame};
use crate::hostile::{Hostile, HostileConfig};
use crate::machine::{Machine, MachineConfig};
use crate::odd::{OddClients, OddConfig};
use crate::scenario::{Event, POOL_FRAMES, Scenario};
use crate::trace::Trace;
use crate::wire::{MTU, Wire, WirePort};

const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PORT: u16 = 6379;
const CLIENTS_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const CLIENTS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const COUNTING_MAC: Mac = Mac([2, 0, 0, 0, 0, 3]);
const COUNTING: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 3);
const ODD_MAC: Mac = Mac([2, 0, 0, 0, 0, 5]);
const ODD: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 5);
/// The same hosts in IPv6.
const SERVER_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
const COUNTING_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 3);
const ODD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 5);
const HOSTILE_MAC: Mac = Mac([2, 0, 0, 0, 0, 4]);
const HOSTILE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 4);

/// How long a request may take, and how long all of them once the wire is good.
const PATIENCE: Duration = Duration::from_secs(400);
/// How long until nothing may be left of anything.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3 * 3600);
/// Rounds without time passing that count as a loop without end.
const ROUNDS_MAX: u32 = 100_000;
/// Frames and messages in all that count as a storm; a bad seed needs a tenth of it.
const FRAMES_MAX: u64 = 1_000_000;
/// Beliefs are compared every so many steps of time.
const LOOK_EVERY: u32 = 8;
/// Deadlines in a row that had passed already, likewise.
const SPINS_MAX: u32 = 20_000;

/// What a seed came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The same in every replay.
    pub hash: u64,
    /// Frames and messages that passed.
    pub frames: u64,
    /// Requests that were answered rightly.
    pub requests: u64,
    /// Frames that the wire lost, damaged, repeated or reordered.
    pub harmed: u64,
    /// Virtual time.
    pub time: Duration,
    /// What the odd clients heard: a number made from the bytes, and how many.
    pub heard: (u64, u64),
}

/// Plays the scenario of `seed`.
///
/// # Errors
/// What went wrong, and when.
pub fn play(seed: u64, trace: &Trace) -> Result<Report, String> {
    let scenario = Scenario::draw(seed);
    let other = Scenario { lifecycle: !scenario.lifecycle, ..scenario.clone() };
    let twice = scenario.twice && scenario.is_certain();
    let report = play_scenario(scenario, trace)?;
    if twice {
        // The same world at the other level of offload: clients must hear the same.
        let level = if other.lifecycle { "lifecycle" } else { "none" };
        let heard = play_scenario(other, &Trace::default())
            .map_err(|error| format!("(only at level {level}) {error}"))?
            .heard;
        if heard != report.heard {
            return Err(format!("heard {:?}, but {heard:?} at level {level}", report.heard));
        }
    }
    Ok(report)
}

/// Plays a scenario.
///
/// # Errors
/// What went wrong, and when.
pub fn play_scenario(scenario: Scenario, trace: &Trace) -> Result<Report, String> {
    let mut world = World::new(scenario, trace.clone());
    world.run().map_err(|error| {
        let at = world.now.micros();
        format!("at {}.{:06} s: {error}", at / 1_000_000, at % 1_000_000)
    })?;
    Ok(Report {
        hash: trace.hash(),
        frames: trace.frames(),
        requests: world.clients.results().transactions
            + world.counting.as_ref().map_or(0, |(counting, _)| counting.acknowledged()),
        harmed: world.wire.harmed(),
        time: world.now.since(Instant::ZERO),
        heard: world.odd.as_ref().map_or((0, 0), OddClients::heard),
    })
}

struct World {
    scenario: Scenario,
    trace: Trace,
    now: Instant,
    /// When the scenario's own time began, behind the loading.
    began: Instant,
    wire: Wire,
    faults_change_at: Option<Instant>,
    machine_pool: Pool,
    client_pool: Pool,
    engine: Arc<Engine>,
    machine: Machine<WirePort, CoreApp>,
    clients: Clients<SimFrame>,
    clients_port: WirePort,
    counting: Option<(CountingClients, WirePort)>,
    odd: Option<OddClients>,
    hostile: Option<Hostile>,
    events: VecDeque<(Instant, Event)>,
    /// Deadlines in a row that had already passed.
    spins: u32,
    /// Steps of time.
    steps: u32,
    past: belief::Past,
}

impl World {
    fn new(scenario: Scenario, trace: Trace) -> Self {
        let seeded = |what: u64| SeededRng::new(scenario.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ what);
        let wire = Wire::new(seeded(1), trace.clone());
        let machine_pool = Pool::new(2048, POOL_FRAMES);
        let client_pool = Pool::new(2048, 65_536);
        let server_port = wire.attach("server", SERVER_MAC.0, machine_pool.clone());
        let clients_port = wire.attach("clients", CLIENTS_MAC.0, client_pool.clone());
        wire.record(SERVER_MAC.0);
        let start = EngineStart {
            unix_us_at_zero: 1_700_000_000_000_000,
            secret: [9; 16],
            seed: scenario.seed,
            cores: scenario.cores,
            stopwatch: None,
        };
        let engine = Arc::new(Engine::new(server::Config::default(), start));
        let apps = (0..scenario.cores).map(|core| CoreApp::new(Arc::clone(&engine), core)).collect();
        let config = machine_config(&scenario);
        let machine = Machine::new(config, apps, server_port, machine_pool.clone(), seeded(2), trace.clone());
        let mut world = Self {
            clients: Clients::new(client_config(&scenario), scenario.workload.clone()),
            clients_port,
            counting: None,
            odd: None,
            hostile: None,
            events: VecDeque::new(),
            trace,
            now: Instant::ZERO,
            began: Instant::ZERO,
            wire,
            faults_change_at: None,
            machine_pool,
            client_pool,
            engine,
            machine,
            spins: 0,
            steps: 0,
            past: belief::Past::default(),
            scenario,
        };
        world.clients.stop_issuing();
        world
    }

    fn run(&mut self) -> Result<(), String> {
        let loading_ends = self.now + PATIENCE;
        self.run_until(loading_ends, |world| world.clients.loaded() && world.clients.idle())?;
        if !self.clients.loaded() {
            let (done, all) = self.clients.load_progress();
            return Err(format!("loading stopped at key {done} of {all}{}", self.first_error()));
        }
        self.begin();
        let over = self.faults_end() + PATIENCE;
        self.run_until(over, |world| world.requests_done() && world.hostile_done())?;
        if !self.requests_done() {
            return Err(self.unfinished());
        }
        self.check_replies()?;
        let forgotten = self.now + FORGOTTEN_AFTER;
        self.run_until(forgotten, |world| world.is_empty() && world.nothing_left().is_ok())?;
        self.nothing_left()?;
        self.check_counters()?;
        self.nobody_known()
    }

    /// The keys are there; now the scenario begins.
    fn begin(&mut self) {
        self.began = self.now;
        self.trace.note("loaded; the scenario begins");
        let scenario = &self.scenario;
        let seeded = |what: u64| SeededRng::new(scenario.seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ what);
        let target = SocketAddrV4::new(SERVER, PORT);
        if scenario.counting > 0 {
            let port = self.wire.attach("counting", COUNTING_MAC.0, self.client_pool.clone());
            let mut config = counting::stack_config(COUNTING_MAC, COUNTING);
            let mut target = SocketAddr::V4(target);
            if scenario.v6[0] {
                config.networks = vec![stack::Network { address: COUNTING_V6.into(), prefix_len: 64 }];
                target.set_ip(IpAddr::V6(SERVER_V6));
            }
            let clients =
                CountingClients::new(config, target, scenario.counting, scenario.counting_total, seeded(3));
            self.counting = Some((clients, port));
        }
        if scenario.odd_solos + scenario.odd_plays > 0 {
            let port = self.wire.attach("odd", ODD_MAC.0, self.client_pool.clone());
            let (odd, server) = odd_addresses(scenario);
            let config = OddConfig {
                mac: ODD_MAC,
                address: odd,
                server: (SERVER_MAC, server),
                server_port: PORT,
                solos: scenario.odd_solos,
                plays: scenario.odd_plays,
                ports: scenario.odd_ports,
                breaks: !scenario.is_certain(),
                mtu: scenario.client_mtu,
            };
            self.odd = Some(OddClients::new(config, port, seeded(5)));
        }
        if scenario.hostile_per_second > 0 {
            let port = self.wire.attach("hostile", HOSTILE_MAC.0, self.client_pool.clone());
            let counting = if scenario.v6[0] { COUNTING_V6.into() } else { COUNTING.into() };
            let others = vec![
                (CLIENTS_MAC, CLIENTS.into()),
                (COUNTING_MAC, counting),
                (ODD_MAC, odd_addresses(scenario).0),
            ];
            let config = HostileConfig {
                mac: HOSTILE_MAC,
                address: HOSTILE,
                target,
                target_mac: SERVER_MAC,
                others,
                target_v6: SERVER_V6.into(),
                per_second: scenario.hostile_per_second,
                until: self.began + scenario.hostile_for,
            };
            self.hostile = Some(Hostile::new(config, self.wire.clone(), port, seeded(4)));
        }
        self.events = scenario.events.iter().map(|&(after, event)| (self.began + after, event)).collect();
        self.faults_change_at = Some(self.now);
        self.clients.begin_measuring();
        self.clients.allow(scenario.requests);
    }

    fn faults_end(&self) -> Instant {
        let faults = self.began + self.scenario.faults.end().since(Instant::ZERO);
        let events = self.scenario.events.last().map_or(Duration::ZERO, |(at, _)| *at);
        faults.max(self.began + events).max(self.began + self.scenario.hostile_for)
    }

    // ---- time ----

    /// Goes on until `done` or `until`.
    fn run_until(&mut self, until: Instant, done: impl Fn(&Self) -> bool) -> Result<(), String> {
        loop {
            self.settle()?;
            if done(self) || self.now >= until {
                return Ok(());
            }
            if self.trace.frames() > FRAMES_MAX {
                return Err(format!(
                    "{FRAMES_MAX} frames for so little work: two sides answer each other for ever"
                ));
            }
            self.jump(until)?;
        }
    }

    /// Rounds until nobody has anything to do at this instant.
    fn settle(&mut self) -> Result<(), String> {
        self.wire.set_now(self.now);
        self.trace.set_now(self.now);
        self.happen();
        let mut rounds = 0;
        while self.round() {
            rounds += 1;
            if rounds > ROUNDS_MAX {
                return Err("somebody is busy for ever while time stands still".to_owned());
            }
        }
        if let Some(failure) = self.counting.as_ref().and_then(|(counting, _)| counting.failure()) {
            return Err(failure);
        }
        if let Some(failure) = self.odd.as_ref().and_then(OddClients::failure) {
            return Err(failure.to_owned());
        }
        if let Some(failure) = self.wire.clock_failure() {
            return Err(failure);
        }
        self.steps += 1;
        if self.steps.is_multiple_of(LOOK_EVERY) { self.check_beliefs() } else { Ok(()) }
    }

    fn check_beliefs(&mut self) -> Result<(), String> {
        let clients = self.clients.views().map(|view| Belief {
            client: view.local,
            snd_una: view.snd_una,
            snd_max: view.snd_max,
            rcv_nxt: view.rcv_nxt,
        });
        let odd = self.odd.iter().flat_map(OddClients::beliefs);
        let counting = self.counting.iter().flat_map(|(counting, _)| counting.beliefs());
        let clients = clients.chain(odd).chain(counting);
        belief::check(&mut self.machine, &mut self.past, clients, self.engine.connected())
    }

    fn round(&mut self) -> bool {
        let now = self.now;
        let mut any = self.clients.poll(&mut self.clients_port, &mut self.client_pool, now).any();
        if let Some((counting, port)) = &mut self.counting {
            any |= counting.poll(port, &mut self.client_pool, now);
        }
        if let Some(odd) = &mut self.odd {
            any |= odd.poll(now);
        }
        if let Some(hostile) = &mut self.hostile {
            any |= hostile.poll(now);
        }
        any | self.machine.round(now)
    }

    /// The faults and events whose time has come.
    fn happen(&mut self) {
        if self.faults_change_at.is_some_and(|at| at <= self.now) {
            let plan_time = Instant::ZERO + self.now.since(self.began);
            let (faults, until) = self.scenario.faults.at(plan_time);
            self.trace.note(&format!("the wire: {faults:?}"));
            self.wire.set_faults(faults);
            self.faults_change_at = until.map(|until| self.began + until.since(Instant::ZERO));
        }
        while let Some(&(at, event)) = self.events.front() {
            if at > self.now {
                break;
            }
            self.events.pop_front();
            match event {
                Event::RestartHost(core) => self.restart_host(core),
                Event::RestartFirmware => self.machine.restart_firmware(),
                Event::StallHost(core, length) => self.machine.stall_host(core, self.now + length),
                Event::StallFirmware(length) => self.machine.stall_firmware(self.now + length),
                Event::Jump(length) => {
                    self.trace.note(&format!("time jumps by {} us", length.micros()));
                    self.now += length;
                    self.wire.set_now(self.now);
                    self.trace.set_now(self.now);
                }
                Event::MaxClients(max) => {
                    self.trace.note(&format!("maxclients {max}"));
                    self.engine.live.maxclients.store(max, Ordering::Relaxed);
                    for core in 0..self.machine.cores() {
                        self.machine.stack(core).set_listen_max(max as u32);
                    }
                }
                Event::Indirection(seed) => {
                    let mut rng = SeededRng::new(seed);
                    let cores = self.machine.cores() as u64;
                    let table = [0; nicfw::INDIRECTION].map(|_: u16| rng.below(cores) as u16);
                    // A core that has just restarted may take no part at the moment.
                    let changed = self.machine.firmware_mut().set_indirection(&table);
                    self.trace.note(&format!("the table from hash to core: {changed:?}"));
                }
                Event::Link(link) => self.machine.set_link(link),
                Event::Shutdown => {
                    self.trace.note("the server shuts down");
                    (0..self.machine.cores()).for_each(|core| self.machine.stack(core).shutdown());
                }
                Event::PoolLimit(limit) => {
                    self.trace.note(&format!("pool limit {limit}"));
                    self.machine_pool.set_limit(limit);
                }
            }
        }
    }

    /// The keyspace survives, as after a restart from disk; the clients of that core do not.
    fn restart_host(&mut self, core: usize) {
        self.machine.restart_host(core, CoreApp::new(Arc::clone(&self.engine), core));
    }

    /// Lets time jump to whatever comes next.
    fn jump(&mut self, until: Instant) -> Result<(), String> {
        let counting = self.counting.as_ref().and_then(|(counting, _)| counting.next_deadline());
        let apps = self.machine.awake_apps().filter_map(CoreApp::next_deadline).min();
        let deadlines = [
            ("the machine", self.machine.next_deadline()),
            ("the server", apps),
            ("odd clients", self.odd.as_ref().and_then(OddClients::next_deadline)),
            ("clients", Some(self.clients.next_deadline())),
            ("counting clients", counting),
            ("hostile client", self.hostile.as_ref().and_then(Hostile::next_deadline)),
            ("wire", self.wire.next_arrival()),
            ("faults", self.faults_change_at),
            ("events", self.events.front().map(|(at, _)| *at)),
        ];
        let next = deadlines.iter().filter_map(|(who, at)| at.map(|at| (at, *who))).min();
        let (next, who) = next.unwrap_or((until, "nobody"));
        if next > self.now {
            self.spins = 0;
            self.now = next.min(until);
            return Ok(());
        }
        // Somebody wanted to be called at once but did nothing: it waits for something that only
        // time brings (a frame from an empty pool). A little later is soon enough.
        self.spins += 1;
        if self.spins > SPINS_MAX {
            return Err(format!("{who} asks to be called at once and does nothing, again and again"));
        }
        self.now += Duration::from_micros(1 << self.spins.min(10));
        Ok(())
    }

    // ---- checks ----

    fn requests_done(&self) -> bool {
        let results = self.clients.results();
        let ended = results.transactions + results.errors.total() >= self.scenario.requests;
        let counting = self.counting.as_ref().is_none_or(|(counting, _)| counting.idle());
        let odd = self.odd.as_ref().is_none_or(OddClients::idle);
        ended && self.clients.settled() && self.clients.idle() && counting && odd && self.events.is_empty()
    }

    fn hostile_done(&self) -> bool {
        self.hostile.as_ref().is_none_or(|hostile| hostile.idle(self.now))
    }

    fn first_error(&self) -> String {
        let error = self.clients.results().first_error.as_ref();
        error.map_or(String::new(), |error| format!("; first error: {error}"))
    }

    fn unfinished(&self) -> String {
        let results = self.clients.results();
        let counting =
            self.counting.as_ref().map_or(0, |(clients, _)| clients.stack().gauges().connections());
        format!(
            "no progress: {} s after the wire became good, {} of {} requests are answered, {} failed, \
             {counting} counting connections are open{}{}",
            PATIENCE.micros() / 1_000_000,
            results.transactions,
            self.scenario.requests,
            results.errors.total(),
            self.odd.as_ref().map_or(String::new(), OddClients::waiting_for),
            self.first_error()
        )
    }

    /// Every reply was right, and nothing failed that nobody broke.
    fn check_replies(&self) -> Result<(), String> {
        let errors = &self.clients.results().errors;
        // So many have closed and not acknowledged that somebody's last data could not be kept.
        let given_up = self.machine.firmware().counters().count(nicfw::Event::RetainGivenUp) > 0;
        let broken = !self.scenario.is_certain() || given_up;
        for kind in ErrorKind::ALL {
            let wrong = matches!(kind, ErrorKind::WrongReply | ErrorKind::ErrorReply);
            let told = kind == ErrorKind::ErrorReply && self.scenario.limits_clients();
            if errors.of(kind) > 0 && (wrong || !broken) && !told {
                return Err(format!("{} clients saw {}{}", errors.of(kind), kind.name(), self.first_error()));
            }
        }
        if let Some(odd) = &self.odd {
            if odd.broken() > 0 && !broken {
                let first = odd.first_loss().unwrap_or_default();
                return Err(format!(
                    "{} groups of odd clients lost a connection; first: {first}",
                    odd.broken()
                ));
            }
            if odd.turned_away() > 0 && !self.scenario.limits_clients() {
                return Err(format!("{} odd clients were turned away", odd.turned_away()));
            }
        }
        match &self.counting {
            Some((counting, _)) if counting.turned_away() > 0 && !self.scenario.limits_clients() => {
                Err(format!("{} counting connections were turned away", counting.turned_away()))
            }
            Some((counting, _)) if counting.errors() > 0 && !broken => {
                Err(format!("{} counting connections did not end as they should", counting.errors()))
            }
            _ => Ok(()),
        }
    }

    /// Nothing was executed twice, nothing acknowledged was lost.
    fn check_counters(&self) -> Result<(), String> {
        let Some((counting, _)) = &self.counting else { return Ok(()) };
        for counter in 0..COUNTERS {
            counting.check(counter, read_counter(&self.engine, counter, self.now)?)?;
        }
        Ok(())
    }

    /// The engine knows of nobody who waits, listens or watches.
    fn nobody_known(&self) -> Result<(), String> {
        self.engine.live.maxclients.store(1, Ordering::Relaxed);
        for (command, wanted) in [
            ("PUBSUB CHANNELS", "*0\r\n"),
            ("PUBSUB NUMPAT", ":0\r\n"),
            ("INFO clients", "blocked_clients:0\r\n"),
        ] {
            let reply = ask(&self.engine, command, self.now)?;
            if !reply.contains(wanted) {
                return Err(format!("left behind: {command} is answered \"{}\"", reply.escape_default()));
            }
        }
        Ok(())
    }

    /// What nobody holds can be told from few numbers; [`Self::nothing_left`] looks closely.
    fn is_empty(&self) -> bool {
        self.machine_pool.out() + self.client_pool.out() + self.engine.connected() + self.wire.in_flight()
            == 0
    }

    /// Nobody holds anything any more.
    fn nothing_left(&self) -> Result<(), String> {
        let mut left = Vec::new();
        let counters = self.machine.firmware().counters();
        if counters.held() > 0 {
            let gauges = counters.iter().filter(|(name, _, value)| {
                *value > 0
                    && (name.starts_with("flows_") || name.ends_with("_now"))
                    && *name != "listeners_now"
            });
            left.extend(gauges.map(|(name, _, value)| format!("firmware: {name} {value}")));
        }
        let stacks = (0..self.machine.cores()).map(|core| ("host", self.machine.gauges(core)));
        let counting =
            self.counting.as_ref().map(|(counting, _)| ("counting clients", counting.stack().gauges()));
        for (whose, gauges) in stacks.chain(counting) {
            for state in stack::State::ALL {
                let count = gauges.in_state(state);
                if count > 0 && state != stack::State::Listen {
                    left.push(format!("{whose}: {count} connections in {}", state.name()));
                }
            }
        }
        let sessions = self.engine.connected();
        if sessions > 0 || !self.engine.clients().is_empty() {
            left.push(format!("engine: {sessions} sessions, {} in its list", self.engine.clients().len()));
        }
        if self.wire.in_flight() > 0 {
            left.push(format!("wire: {} frames", self.wire.in_flight()));
        }
        if self.machine_pool.out() > 0 {
            left.push(format!("machine: {} frames of its pool", self.machine_pool.out()));
        }
        if self.client_pool.out() > 0 {
            left.push(format!("clients: {} frames of their pool", self.client_pool.out()));
        }
        // A firmware and a host that watch each other do so for ever.
        if self.scenario.external.is_none()
            && let Some(at) = self.machine.next_deadline()
        {
            left.push(format!("machine: a timer at {} us", at.micros()));
        }
        if left.is_empty() { Ok(()) } else { Err(format!("left behind: {}", left.join("; "))) }
    }
}

fn machine_config(scenario: &Scenario) -> MachineConfig {
    let mut firmware = nicfw::Config::new(SERVER_MAC);
    let mut stack = stack::Config::new(SERVER_MAC, SERVER, 16);
    (firmware.offload, stack.offload) = if scenario.lifecycle {
        (nicfw::Offload::Lifecycle, stack::Offload::Lifecycle)
    } else {
        (nicfw::Offload::None, stack::Offload::None)
    };
    if scenario.v6 != [false; 2] {
        stack.networks.push(stack::Network { address: SERVER_V6.into(), prefix_len: 64 });
    }
    firmware.queues = scenario.cores;
    firmware.steer = scenario.steer;
    (firmware.tx_checksum, stack.tx_checksum) = (scenario.tx_checksum, scenario.tx_checksum);
    firmware.flows_max = 4096;
    firmware.time_wait_max = 8192;
    firmware.retained_max = scenario.retained_max;
    firmware.read_ahead = [0, 0, 40, 1000][scenario.seed as usize % 4];
    firmware.time_wait = scenario.time_wait;
    stack.time_wait = scenario.time_wait;
    if let Some([host_silence, nic_silence]) = scenario.external {
        (firmware.host_silence, stack.nic_silence) = (Some(host_silence), Some(nic_silence));
    }
    stack.time_wait_max = 8192;
    stack.connections_max = 4096;
    stack.receive_window = scenario.receive_window;
    stack.backlog_max = scenario.backlog_max;
    stack.refusal = stack::Refusal::Error;
    // A peer that is gone must be found out some day, or nothing would ever end.
    stack.keepalive = Some(Duration::from_secs(60));
    MachineConfig { firmware, stack, ring_frames: scenario.ring_frames, port: PORT, accept: scenario.accept }
}

/// Of the odd clients and of the server, as those know it.
fn odd_addresses(scenario: &Scenario) -> (Address, Address) {
    if scenario.v6[1] { (ODD_V6.into(), SERVER_V6.into()) } else { (ODD.into(), SERVER.into()) }
}

fn client_config(scenario: &Scenario) -> ClientConfig {
    let network = "198.18.0.1/16".parse().expect("a constant network");
    let mut config = ClientConfig::new(CLIENTS_MAC.0, network, SocketAddrV4::new(SERVER, PORT).into());
    config.connections = scenario.clients;
    config.ports = (10_000, 10_000 + scenario.client_ports);
    config.mtu = scenario.client_mtu.min(MTU);
    [config.timestamps, config.sack_permitted, config.window_scale, config.separate_ack] = scenario.options;
    config.timeout = PATIENCE;
    config.epoch_us = scenario.seed & 0xffff_ffff_ffff;
    config
}

/// A counter's value, asked of the engine itself.
fn read_counter(engine: &Arc<Engine>, counter: usize, now: Instant) -> Result<u64, String> {
    let key = counting::key(counter);
    let reply = ask(engine, &format!("GET {key}"), now)?;
    if reply == "$-1\r\n" {
        return Ok(0);
    }
    let digits = reply.split("\r\n").nth(1);
    let value = digits.and_then(|digits| digits.parse().ok());
    value.ok_or_else(|| format!("GET {key} was answered \"{}\"", reply.escape_default()))
}

/// Has the engine run one command, when no client is left.
fn ask(engine: &Arc<Engine>, command: &str, now: Instant) -> Result<String, String> {
    let mut app = CoreApp::new(Arc::clone(engine), 0);
    app.begin(now);
    let here = SocketAddr::V4(SocketAddrV4::new(SERVER, PORT));
    // Every slot is free.
    let id = ConnectionId { slot: 0, generation: u32::MAX };
    let mut output = Output::new();
    let mut place = None;
    app.connected(id, &FourTuple::between(here, here), &mut place, &mut output);
    let session = place.as_mut().ok_or("the engine takes no client")?;
    app.received(session, format!("{command}\r\n").as_bytes(), &mut output);
    app.closed(&mut place, EndReason::Closed);
    let reply: Vec<u8> = output.take_chunks().flatten().collect();
    Ok(String::from_utf8_lossy(&reply).into_owned())
}
