//! Takes an engine through a run: load, warm up, measure, drain.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk::{Clock, Device, Eal, EalConfig, Mbuf, OpenConfig, tsc};
use netcore::vlan::VlanPort;
use netcore::{Duration, FramePool, Instant, Port};
use protocol::ip::{Address, Version};

use crate::client::{ClientConfig, Clients};
use crate::kernel::KernelClients;
use crate::results::Results;
use crate::workload::WorkloadConfig;

/// How long to wait for the next hop's hardware address.
const RESOLVE_TIME: Duration = Duration::from_secs(5);
/// How often the observer is told.
const OBSERVE_INTERVAL: Duration = Duration::from_millis(200);
/// Rounds without work after which the processor is offered to others.
const IDLE_ROUNDS: u32 = 64;

/// Clients on some transport, driven in rounds.
pub trait Engine {
    /// One round; true when it did anything.
    ///
    /// # Errors
    /// In words, when the transport itself fails.
    fn round(&mut self, now: Instant) -> Result<bool, String>;
    /// What has come out so far.
    fn results(&self) -> &Results;
    /// Keys loaded, and keys to load in all.
    fn load_progress(&self) -> (u64, u64);
    /// True when every key has been written, or nothing was to be loaded.
    fn loaded(&self) -> bool;
    /// Forgets counts and latencies, and counts from here on.
    fn begin_measuring(&mut self);
    /// What ends from here on is checked but not counted.
    fn end_measuring(&mut self);
    /// Allows so many more requests, whatever was allowed before.
    fn allow(&mut self, requests: u64);
    /// True when every request allowed has been issued, and has been answered or has failed.
    fn settled(&self) -> bool;
    /// True when no connection is left.
    fn idle(&self) -> bool;
    /// The address that is asked for its hardware address and has not answered yet.
    fn unresolved(&self) -> Option<Address>;
}

/// What ends the measuring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So much time.
    Time(Duration),
    /// So many requests.
    Requests(u64),
}

/// The course of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Load before measuring that is not counted.
    pub warmup: Duration,
    /// What ends the measuring.
    pub limit: Limit,
    /// Errors after which the run is given up.
    pub errors_max: u64,
    /// How long connections may take to end after the measuring.
    pub drain_max: Duration,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Keys are written.
    Load,
    /// Nothing is counted yet.
    WarmUp,
    /// The warm-up's requests are answered before the counted ones begin.
    Settle,
    /// The measuring window.
    Measure,
    /// Open connections end.
    Drain,
}

/// What the observer is shown.
pub struct Status<'a> {
    /// Where the run is.
    pub stage: Stage,
    /// Time since the stage began.
    pub elapsed: Duration,
    /// Keys loaded, and keys to load in all.
    pub load: (u64, u64),
    /// The counts so far.
    pub results: &'a Results,
}

/// What a run has brought.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The counts of the measuring window; errors of the whole run.
    pub results: Results,
    /// Length of the measuring window.
    pub elapsed: Duration,
    /// Processor ticks in rounds of the window that did work.
    pub busy_ticks: u64,
    /// It was stopped from outside.
    pub interrupted: bool,
    /// It was given up after too many errors.
    pub gave_up: bool,
}

impl Outcome {
    /// True when everything asked was answered rightly, and something was asked.
    pub fn good(&self) -> bool {
        self.results.errors.total() == 0 && self.results.transactions > 0
    }
}

/// Why a run could not take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    /// Nobody answered who asked for the hardware address of this address.
    NoNextHop(Address),
    /// Loading met an error; the first one in words.
    Load(String),
    /// The transport failed.
    Transport(String),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNextHop(addr) => write!(
                f,
                "nobody answers for {addr} on this network ({}): is the server up, is the interface the right \
                 one, and does it need --gateway or --vlan?",
                match addr.version() {
                    Version::V4 => "ARP",
                    Version::V6 => "neighbour discovery",
                }
            ),
            Self::Load(first) => write!(f, "loading the keys failed: {first}"),
            Self::Transport(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for RunError {}

/// Runs `plan` to its end, polling without sleep. `stop` ends the measuring early; `observe` is
/// called a few times per second.
///
/// # Errors
/// See [`RunError`].
pub fn run<E: Engine>(
    engine: &mut E,
    plan: &Plan,
    clock: &Clock,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Status<'_>),
) -> Result<Outcome, RunError> {
    engine.allow(0);
    Run { plan, stage: Stage::Load, since: clock.now(), outcome: None, busy_ticks: 0 }
        .drive(engine, clock, stop, observe)
}

struct Run<'a> {
    plan: &'a Plan,
    stage: Stage,
    since: Instant,
    /// Set when the measuring window closes.
    outcome: Option<Outcome>,
    busy_ticks: u64,
}

impl Run<'_> {
    fn drive<E: Engine>(
        mut self,
        engine: &mut E,
        clock: &Clock,
        stop: &AtomicBool,
        observe: &mut dyn FnMut(&Status<'_>),
    ) -> Result<Outcome, RunError> {
        let mut observe_at = clock.now();
        let mut idle_rounds = 0;
        loop {
            let before = tsc();
            let now = clock.at(before);
            if engine.round(now).map_err(RunError::Transport)? {
                self.busy_ticks += tsc() - before;
                idle_rounds = 0;
            } else {
                idle_rounds += 1;
                if idle_rounds > IDLE_ROUNDS {
                    std::thread::yield_now();
                }
            }
            if now >= observe_at {
                observe_at = now + OBSERVE_INTERVAL;
                let (stage, elapsed) = (self.stage, now.since(self.since));
                observe(&Status { stage, elapsed, load: engine.load_progress(), results: engine.results() });
                self.guard(engine, stop, now)?;
            }
            if self.advance(engine, now)? {
                break;
            }
        }
        let mut outcome = self.outcome.expect("the drain begins with an outcome");
        let last = engine.results();
        outcome.results.errors = last.errors;
        outcome.results.first_error.clone_from(&last.first_error);
        outcome.results.wire = last.wire;
        Ok(outcome)
    }

    /// What ends a run before its time.
    #[cold]
    fn guard<E: Engine>(&mut self, engine: &mut E, stop: &AtomicBool, now: Instant) -> Result<(), RunError> {
        if self.stage == Stage::Drain {
            return Ok(());
        }
        if let Some(addr) = engine.unresolved()
            && now.since(self.since) > RESOLVE_TIME
        {
            return Err(RunError::NoNextHop(addr));
        }
        if stop.load(Ordering::Relaxed) {
            self.close_window(engine, now, true, false);
        }
        Ok(())
    }

    /// Goes on to the next stage when it is time; true at the end of the run.
    #[inline]
    fn advance<E: Engine>(&mut self, engine: &mut E, now: Instant) -> Result<bool, RunError> {
        let elapsed = now.since(self.since);
        let measuring = matches!(self.stage, Stage::WarmUp | Stage::Settle | Stage::Measure);
        if measuring && engine.results().errors.total() >= self.plan.errors_max {
            self.close_window(engine, now, false, true);
            return Ok(false);
        }
        match self.stage {
            Stage::Load => {
                if engine.unresolved().is_some() {
                    return Ok(false);
                }
                if !engine.loaded() {
                    let results = engine.results();
                    return if results.errors.total() == 0 {
                        Ok(false)
                    } else {
                        Err(RunError::Load(results.first_error.clone().unwrap_or_default()))
                    };
                }
                if self.plan.warmup > Duration::ZERO {
                    engine.allow(u64::MAX);
                }
                self.stage = Stage::WarmUp;
                self.since = now;
            }
            Stage::WarmUp if elapsed >= self.plan.warmup => match self.plan.limit {
                Limit::Time(_) => self.open_window(engine, u64::MAX, now),
                Limit::Requests(_) => {
                    engine.allow(0);
                    self.stage = Stage::Settle;
                }
            },
            Stage::Settle if engine.idle() => {
                if let Limit::Requests(requests) = self.plan.limit {
                    self.open_window(engine, requests, now);
                }
            }
            Stage::Measure => {
                let over = match self.plan.limit {
                    Limit::Time(time) => elapsed >= time,
                    Limit::Requests(_) => engine.settled(),
                };
                if over {
                    self.close_window(engine, now, false, false);
                }
            }
            Stage::Drain => return Ok(engine.idle() || elapsed >= self.plan.drain_max),
            Stage::WarmUp | Stage::Settle => {}
        }
        Ok(false)
    }

    fn open_window<E: Engine>(&mut self, engine: &mut E, requests: u64, now: Instant) {
        engine.begin_measuring();
        engine.allow(requests);
        self.busy_ticks = 0;
        self.stage = Stage::Measure;
        self.since = now;
    }

    fn close_window<E: Engine>(&mut self, engine: &mut E, now: Instant, interrupted: bool, gave_up: bool) {
        if self.stage != Stage::Measure {
            engine.begin_measuring(); // nothing was measured
        }
        engine.end_measuring();
        engine.allow(0);
        self.outcome = Some(Outcome {
            results: engine.results().clone(),
            elapsed: now.since(self.since),
            busy_ticks: self.busy_ticks,
            interrupted,
            gave_up,
        });
        self.stage = Stage::Drain;
        self.since = now;
    }
}

/// [`Clients`] with the port and the pool that they use.
pub struct OnPort<P: Port, L> {
    /// The clients.
    pub clients: Clients<P::Frame>,
    /// Where their frames go and come from.
    pub port: P,
    /// Where empty frames come from.
    pub pool: L,
    /// Whom they ask first.
    pub next_hop: Address,
}

impl<P: Port, L: FramePool<Frame = P::Frame>> Engine for OnPort<P, L> {
    #[inline]
    fn round(&mut self, now: Instant) -> Result<bool, String> {
        Ok(self.clients.poll(&mut self.port, &mut self.pool, now).any())
    }
    fn results(&self) -> &Results {
        self.clients.results()
    }
    fn load_progress(&self) -> (u64, u64) {
        self.clients.load_progress()
    }
    fn loaded(&self) -> bool {
        self.clients.loaded()
    }
    fn begin_measuring(&mut self) {
        self.clients.begin_measuring();
    }
    fn end_measuring(&mut self) {
        self.clients.end_measuring();
    }
    fn allow(&mut self, requests: u64) {
        self.clients.allow(requests);
    }
    fn settled(&self) -> bool {
        self.clients.settled()
    }
    fn idle(&self) -> bool {
        self.clients.idle()
    }
    fn unresolved(&self) -> Option<Address> {
        (!self.clients.resolved()).then_some(self.next_hop)
    }
}

impl Engine for KernelClients {
    fn round(&mut self, now: Instant) -> Result<bool, String> {
        Self::round(self, now).map_err(|error| format!("waiting for sockets failed: {error}"))
    }
    fn results(&self) -> &Results {
        Self::results(self)
    }
    fn load_progress(&self) -> (u64, u64) {
        self.workload_ref().load_progress()
    }
    fn loaded(&self) -> bool {
        self.workload_ref().loaded()
    }
    fn begin_measuring(&mut self) {
        self.workload().begin_measuring();
    }
    fn end_measuring(&mut self) {
        self.workload().end_measuring();
    }
    fn allow(&mut self, requests: u64) {
        self.workload().allow(requests);
    }
    fn settled(&self) -> bool {
        self.workload_ref().settled()
    }
    fn idle(&self) -> bool {
        Self::idle(self)
    }
    fn unresolved(&self) -> Option<Address> {
        None
    }
}

/// Frames that may wait in front of the device when they carry a tag.
const TAGGED_FRAMES: usize = 256;

/// Opens `device`, puts clients on it and runs `plan` in the calling thread.
///
/// `clients`: address, MTU and checksum rules are taken from the device, the epoch from the
/// system's clock. `vlan`: the VLAN that they are in, 1..=4094.
///
/// # Errors
/// DPDK's, or see [`RunError`].
pub fn run_dpdk(
    device: &Device,
    vlan: Option<u16>,
    clients: ClientConfig,
    workload: WorkloadConfig,
    plan: &Plan,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(&Status<'_>),
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let eal = Eal::init(&EalConfig::for_device(device))?;
    let port = device.open(eal, &OpenConfig::default())?;
    let _lcore = dpdk::register_thread(eal)?;
    let clock = Clock::start();
    let since_1970 = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let mut config = clients.on_port(port.capabilities());
    config.epoch_us = since_1970.as_micros() as u64;
    let next_hop = config.next_hop();
    let pool = port.pool();
    let clients = Clients::<Mbuf>::new(config, workload);
    // Without a VLAN nothing stands between the clients and the device.
    Ok(match vlan {
        None => run(&mut OnPort { clients, port, pool, next_hop }, plan, &clock, stop, observe)?,
        Some(vlan) => {
            let port = VlanPort::new(port, Some(vlan), TAGGED_FRAMES);
            run(&mut OnPort { clients, port, pool, next_hop }, plan, &clock, stop, observe)?
        }
    })
}
