//! Client, firmware and host joined by rings: everything but a device.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use dpdk::{Clock, Eal, Mbuf, Mempool};
use loadgen::client::{ClientConfig, Clients, Network};
use loadgen::workload::{ClosesFirst, WorkloadConfig};
use netcore::Instant;
use netcore::port::{Capabilities, Port};
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use nicfw::{Firmware, Offload};
use protocol::ethernet::Mac;
use server::{CoreApp, Engine};
use stack::{AcceptPolicy, Stack};

const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const CLIENT_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const PORT: u16 = 6379;
const MTU: usize = 1500;
/// Frames that each ring holds per direction.
const RING_FRAMES: usize = 1024;

/// Short-lived connections make one request each, persistent ones any number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connection {
    Short,
    Persistent,
}

impl Connection {
    /// As the tables and options name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Persistent => "persistent",
        }
    }
}

/// Which thread the firmware runs on, where there are two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Not the host's.
    Embedded,
    /// The host's.
    Inline,
    /// Not the host's, and joined to it by vhost and virtio as two processes are.
    External,
}

impl Place {
    /// As the tables and options name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Inline => "inline",
            Self::External => "external",
        }
    }
}

/// What one run does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) offload: Offload,
    pub(crate) connection: Connection,
    /// Who closes a short-lived connection first.
    pub(crate) closes: ClosesFirst,
    /// Connections open at a time.
    pub(crate) connections: usize,
    /// Different keys, all set before the first GET.
    pub(crate) keys: u64,
    /// Bytes of each value.
    pub(crate) value_bytes: usize,
    /// Transactions to measure, after as many tenths of it to warm up.
    pub(crate) transactions: u64,
}

/// TSC cycles in rounds that did work, by who spent them.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cycles {
    pub(crate) client: u64,
    pub(crate) nic: u64,
    pub(crate) host: u64,
}

/// What one run showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) cycles: Cycles,
    pub(crate) transactions: u64,
    pub(crate) seconds: f64,
    /// Wrong or missing replies.
    pub(crate) errors: u64,
    /// Wall-clock cycles of the run; what is not in `cycles` was idle or lost to others.
    pub(crate) elapsed_cycles: u64,
}

/// The clients and their end of the wire.
struct Outside {
    clients: Clients<Mbuf>,
    wire: RingPort<Mbuf>,
    pool: Mempool,
}

/// The firmware between wire and host.
struct Nic<H> {
    firmware: Firmware<Mbuf>,
    wire: RingPort<Mbuf>,
    host: [H; 1],
    pool: Mempool,
}

/// The host: stack and Redis engine.
struct Host<H> {
    stack: Stack<Mbuf, CoreApp>,
    app: CoreApp,
    port: H,
    pool: Mempool,
}

/// Adds the cycles of a round to `cycles` if it did work, and says whether it did.
#[inline]
fn counted(cycles: &mut u64, round: impl FnOnce() -> bool) -> bool {
    let begin = dpdk::tsc();
    let worked = round();
    if worked {
        *cycles += dpdk::tsc() - begin;
    }
    worked
}

impl Outside {
    #[inline]
    fn round(&mut self, now: Instant, cycles: &mut u64) -> bool {
        counted(cycles, || self.clients.poll(&mut self.wire, &mut self.pool, now).any())
    }
}

impl<H: Port<Frame = Mbuf>> Nic<H> {
    #[inline]
    fn round(&mut self, now: Instant, cycles: &mut u64) -> bool {
        counted(cycles, || self.firmware.poll(&mut self.wire, &mut self.host, &mut self.pool, now).any())
    }
}

impl<H: Port<Frame = Mbuf>> Host<H> {
    #[inline]
    fn round(&mut self, now: Instant, cycles: &mut u64) -> bool {
        counted(cycles, || self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, now).any())
    }
}

fn capabilities(mac: Mac) -> Capabilities {
    Capabilities::new(mac.0, MTU)
}

/// Both ends of a link between firmware and host: frames change hands, nothing is copied.
pub(crate) fn ring_link() -> (RingPort<Mbuf>, RingPort<Mbuf>) {
    ring::pair(RING_FRAMES, capabilities(SERVER_MAC))
}

/// `link`: between firmware and host.
fn build<H>(
    pool: &Mempool,
    load: &Load,
    (nic_host, port): (H, H),
    engine: &Arc<Engine>,
) -> Result<(Outside, Nic<H>, Host<H>), String> {
    // What an earlier run has left in a device is of another epoch.
    static RUNS: AtomicU64 = AtomicU64::new(0);
    let mut rng = SeededRng::new(0x6d61_7966_6c79_0000 + RUNS.fetch_add(1, Ordering::Relaxed));
    let (client_wire, nic_wire) = ring::pair(RING_FRAMES, capabilities(CLIENT_MAC));

    let mut firmware = nicfw::Config::new(SERVER_MAC);
    firmware.offload = load.offload;
    let mut config = stack::Config::new(SERVER_MAC, SERVER, 24);
    config.offload = match load.offload {
        Offload::None => stack::Offload::None,
        Offload::Lifecycle => stack::Offload::Lifecycle,
    };
    let mut stack = Stack::new(config, &mut rng);
    stack.listen(PORT, AcceptPolicy::Deferred).map_err(|error| error.to_string())?;
    let network = Network { addr: CLIENT.into(), prefix_len: 24 };
    let mut clients = ClientConfig::new(CLIENT_MAC.0, network, SocketAddrV4::new(SERVER, PORT).into());
    clients.connections = load.connections;
    let workload = WorkloadConfig {
        keys: load.keys,
        value_bytes: load.value_bytes,
        requests_per_connection: (load.connection == Connection::Short).then_some(1),
        closes: load.closes,
        ..WorkloadConfig::default()
    };
    let mut clients = Clients::new(clients, workload);
    clients.allow(0);
    let outside = Outside { clients, wire: client_wire, pool: *pool };
    let firmware = Firmware::new(firmware, &mut rng);
    let nic = Nic { firmware, wire: nic_wire, host: [nic_host], pool: *pool };
    let host = Host { stack, app: CoreApp::new(Arc::clone(engine), 0), port, pool: *pool };
    Ok((outside, nic, host))
}

/// Client, firmware and host take turns on this thread.
pub(crate) fn one_core<H: Port<Frame = Mbuf>>(
    pool: &Mempool,
    load: &Load,
    link: (H, H),
    engine: &Arc<Engine>,
) -> Result<Outcome, String> {
    let (mut outside, mut nic, mut host) = build(pool, load, link, engine)?;
    let clock = Clock::start();
    let mut cycles = Cycles::default();
    let mut measured = Measured::new(load.transactions);
    loop {
        let now = clock.now();
        outside.round(now, &mut cycles.client);
        nic.round(now, &mut cycles.nic);
        host.round(now, &mut cycles.host);
        if let Some(outcome) = measured.step(&mut outside.clients, cycles)? {
            return Ok(outcome);
        }
    }
}

/// The client on this thread, the host on another, the firmware with one of them.
pub(crate) fn two_cores<H: Port<Frame = Mbuf> + Send>(
    eal: &Eal,
    pool: &Mempool,
    load: &Load,
    place: Place,
    link: (H, H),
    engine: &Arc<Engine>,
) -> Result<Outcome, String> {
    let (mut outside, nic, mut host) = build(pool, load, link, engine)?;
    let (mut near, mut far) = match place {
        Place::Embedded | Place::External => (Some(nic), None),
        Place::Inline => (None, Some(nic)),
    };
    let clock = Clock::start();
    let stop = AtomicBool::new(false);
    let (host_cycles, nic_cycles) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _lcore = dpdk::register_thread(eal);
            let mut cycles = Cycles::default();
            let mut idle = 0u32;
            while !stop.load(Ordering::Relaxed) {
                let now = clock.now();
                let mut worked = far.as_mut().is_some_and(|nic| nic.round(now, &mut cycles.nic));
                worked |= host.round(now, &mut cycles.host);
                if worked {
                    host_cycles.store(cycles.host, Ordering::Relaxed);
                    nic_cycles.store(cycles.nic, Ordering::Relaxed);
                    idle = 0;
                } else {
                    idle = pause(idle);
                }
            }
        });
        let mut cycles = Cycles::default();
        let mut measured = Measured::new(load.transactions);
        let mut idle = 0u32;
        let outcome = loop {
            let now = clock.now();
            let mut worked = outside.round(now, &mut cycles.client);
            worked |= near.as_mut().is_some_and(|nic| nic.round(now, &mut cycles.nic));
            idle = if worked { 0 } else { pause(idle) };
            cycles.host = host_cycles.load(Ordering::Relaxed);
            if near.is_none() {
                cycles.nic = nic_cycles.load(Ordering::Relaxed);
            }
            match measured.step(&mut outside.clients, cycles) {
                Ok(None) => {}
                Ok(Some(outcome)) => break Ok(outcome),
                Err(error) => break Err(error),
            }
        };
        stop.store(true, Ordering::Relaxed);
        outcome
    })
}

/// Spins, and now and then gives way in case both threads share a core.
fn pause(idle: u32) -> u32 {
    std::hint::spin_loop();
    if idle % 2048 == 2047 {
        std::thread::yield_now();
    }
    idle.wrapping_add(1)
}

/// A run without a transaction for so long is stuck.
const STALL_SECONDS: u64 = 30;

/// Loading, then a warm-up, then the measured part of a run.
struct Measured {
    target: u64,
    phase: Phase,
    /// Transactions at the last look that showed progress, and when that was.
    progress: (u64, u64),
}

#[derive(Clone, Copy)]
enum Phase {
    Loading,
    Warming,
    Measuring { began_at: u64, before: Cycles },
}

impl Measured {
    fn new(target: u64) -> Self {
        Self { target, phase: Phase::Loading, progress: (0, dpdk::tsc()) }
    }

    /// Looks at the clients after a round; the outcome when enough has been measured.
    fn step(&mut self, clients: &mut Clients<Mbuf>, cycles: Cycles) -> Result<Option<Outcome>, String> {
        let transactions = clients.results().transactions;
        if transactions == self.progress.0 && !matches!(self.phase, Phase::Loading) {
            return self.look_for_stall(clients).map(|()| None);
        }
        match self.phase {
            Phase::Loading => {
                if !clients.loaded() || !clients.idle() {
                    return self.look_for_stall(clients).map(|()| None);
                }
                clients.begin_measuring();
                clients.allow(u64::MAX);
                self.phase = Phase::Warming;
            }
            Phase::Warming if transactions >= self.target / 10 => {
                clients.begin_measuring();
                self.phase = Phase::Measuring { began_at: dpdk::tsc(), before: cycles };
            }
            Phase::Measuring { began_at, before } if transactions >= self.target => {
                let elapsed_cycles = dpdk::tsc() - began_at;
                return Ok(Some(Outcome {
                    cycles: Cycles {
                        client: cycles.client - before.client,
                        nic: cycles.nic - before.nic,
                        host: cycles.host - before.host,
                    },
                    transactions,
                    seconds: elapsed_cycles as f64 / dpdk::tsc_hz() as f64,
                    errors: clients.results().errors.total(),
                    elapsed_cycles,
                }));
            }
            Phase::Warming | Phase::Measuring { .. } => {}
        }
        self.progress = (clients.results().transactions, dpdk::tsc());
        Ok(None)
    }

    #[cold]
    fn look_for_stall(&self, clients: &Clients<Mbuf>) -> Result<(), String> {
        if dpdk::tsc() - self.progress.1 < STALL_SECONDS * dpdk::tsc_hz() {
            return Ok(());
        }
        Err(format!("no transaction for {STALL_SECONDS} s: {:?}", clients.results()))
    }
}
