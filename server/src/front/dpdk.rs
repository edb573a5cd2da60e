//! The front on our own TCP stack: a DPDK device, the firmware, and one stack per core.
//!
//! ```text
//! device ── firmware ══ ring ══ stack + engine   (one per core)
//! ```
//!
//! `--nic embedded`: the firmware has a thread of its own. `--nic inline`: the first host core
//! polls it before its own stack. Everything else is the same.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::dpdk::{Clock, DevicePort, Eal, EalConfig, Mbuf, Mempool, OpenConfig, Share};
use netcore::port::Capabilities;
use netcore::ring::{self, RingPort};
use netcore::rng::Rng;
use netcore::tap::TapPort;
use netcore::vlan::VlanPort;
use netcore::{Duration, Instant, Port};
use nicfw::{Firmware, Offload};
use protocol::ethernet::Mac;
use rand::TryRngCore;
use stack::{AcceptPolicy, Stack, State};

use super::capture::Capture;
use super::lock;
use super::pace::Pace;
use super::view::Shown;
use crate::network::{Network, Nic, share};
use crate::{CoreApp, Engine};

/// Frames that the ring between firmware and a core holds in each direction.
const RING_FRAMES: usize = 2048;
/// Frames that are tagged for the wire at once, where the device is in a VLAN.
const WIRE_FRAMES: usize = 256;
/// How often threads show their counters to INFO.
const PUBLISH: Duration = Duration::from_millis(5);
/// How often one core looks for expired keys.
const EXPIRE: Duration = Duration::from_millis(100);
/// How long connections may take to say goodbye at shutdown.
const GOODBYE: Duration = Duration::from_millis(200);

type Result<T> = std::result::Result<T, Error>;

/// Why the front could not start.
#[derive(Debug)]
pub enum Error {
    /// The device or DPDK; the text says what to do.
    Dpdk(::dpdk::Error),
    /// A setting that this front needs is missing or impossible.
    Setting(String),
}

impl std::error::Error for Error {}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Dpdk(error) => write!(f, "{error}"),
            Self::Setting(text) => f.write_str(text),
        }
    }
}

impl From<::dpdk::Error> for Error {
    fn from(error: ::dpdk::Error) -> Self {
        Self::Dpdk(error)
    }
}

/// Randomness from the operating system.
struct SystemRng;

impl SystemRng {
    fn bytes<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        // The engine's own secret came from here a moment ago: it does not fail now.
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
        bytes
    }
}

impl Rng for SystemRng {
    fn secret(&mut self) -> [u8; 16] {
        Self::bytes()
    }
    fn wire_u32(&mut self) -> u32 {
        u32::from_le_bytes(Self::bytes())
    }
}

/// What the threads show to INFO.
#[derive(Default)]
struct Published {
    host_busy_cycles: Vec<AtomicU64>,
    nic_busy_cycles: AtomicU64,
    /// Name and value of each counter, one list per core's stack.
    stacks: Vec<Mutex<Vec<(&'static str, u64)>>>,
    firmware: Mutex<Vec<(&'static str, u64)>>,
    device: Mutex<Vec<(&'static str, u64)>>,
    /// What commands see of the firmware beside its counters.
    shown: Arc<Shown>,
}

impl Published {
    fn new(cores: usize, shown: Arc<Shown>) -> Self {
        Self {
            shown,
            host_busy_cycles: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            stacks: (0..cores).map(|_| Mutex::default()).collect(),
            ..Self::default()
        }
    }

    /// The section of INFO: counters of all cores added up.
    fn write(&self, network: &Network, is_shared: bool, out: &mut String) {
        let busy: u64 = self.host_busy_cycles.iter().map(|cycles| cycles.load(Ordering::Relaxed)).sum();
        out.push_str("# Mayfly\r\n");
        let mut line = |name: &str, value: &dyn std::fmt::Display| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{name}:{value}\r\n");
        };
        line("net", &network.device);
        line("net_shared_with_kernel", &u8::from(is_shared));
        line("offload", &network.offload);
        line("nic", &network.nic);
        line("host_cores", &self.stacks.len());
        line("tsc_hz", &::dpdk::tsc_hz());
        line("host_busy_cycles", &busy);
        line("nic_busy_cycles", &self.nic_busy_cycles.load(Ordering::Relaxed));
        let mut totals: Vec<(&'static str, u64)> = Vec::new();
        for stack in &self.stacks {
            for &(name, value) in lock(stack).iter() {
                match totals.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, total)) => *total += value,
                    None => totals.push((name, value)),
                }
            }
        }
        for (name, value) in totals {
            line(&format!("stack_{name}"), &value);
        }
        for &(name, value) in lock(&self.firmware).iter() {
            line(&format!("firmware_{name}"), &value);
        }
        for &(name, value) in lock(&self.device).iter() {
            line(&format!("device_{name}"), &value);
        }
        for (name, value) in self.shown.info() {
            line(&name, &value);
        }
    }
}

/// Serves until `stop` is set (or the engine asks for a shutdown); `ready` is called once, when
/// clients can connect.
///
/// # Errors
/// The device cannot be opened, or a setting is missing; nothing has been started then.
pub fn run(
    engine: &Arc<Engine>,
    network: &Network,
    port: u16,
    stop: &AtomicBool,
    ready: impl FnOnce() + Send,
) -> Result<()> {
    network.check().map_err(Error::Setting)?;
    let shared = share::shared(network, &::dpdk::kernel_addresses()?).map_err(Error::Setting)?;
    let network =
        &Network { addresses: shared.clone().unwrap_or(network.addresses.clone()), ..network.clone() };
    let share = shared.map(|addresses| Share {
        addresses: addresses.iter().map(|network| network.address.to_ip_addr()).collect(),
        ports: vec![port],
        vlan: network.vlan,
    });
    let eal = Eal::init(&EalConfig::for_device(&network.device))?;
    let device = network.device.open(eal, &OpenConfig { share: share.clone(), ..OpenConfig::default() })?;
    for note in device.notes() {
        tracing::info!("{note}");
    }
    if share.is_some() {
        let addresses = network.show("address");
        tracing::info!(
            "TCP port {port} of {addresses} is the server's, everything else stays with the kernel"
        );
    }
    let clock = Clock::start();
    engine.set_clock(super::unix_us());
    engine.set_memory_source(super::memory::memory_use);
    let view = Arc::new(Shown::new(engine.config.read().capture_dir.clone()));
    let published = Arc::new(Published::new(network.cores.len().max(1), Arc::clone(&view)));
    engine.set_nic_view(view);
    let shown = Arc::clone(&published);
    let settings = network.clone();
    let is_shared = share.is_some();
    engine.set_info_provider(Arc::new(move |out: &mut String| shown.write(&settings, is_shared, out)));

    let mut rng = SystemRng;
    let capabilities = device.capabilities();
    let channel = Capabilities { rx_checksum: true, ..capabilities };
    let core_count = published.stacks.len();
    let (nic_ends, host_ends): (Vec<_>, Vec<_>) =
        (0..core_count).map(|_| ring::pair::<Mbuf>(RING_FRAMES, channel)).unzip();
    let maxclients = engine.live.maxclients.load(Ordering::Relaxed);
    let mut firmware_config = nicfw::Config::new(Mac(capabilities.mac));
    firmware_config.flows_max = firmware_config.flows_max.max(connections_max(maxclients));
    firmware_config.offload = network.offload;
    firmware_config.mtu = capabilities.mtu;
    firmware_config.queues = core_count;
    firmware_config.steer = network.steer;
    firmware_config.network_syn_rate = network.network_syn_rate;
    firmware_config.network_syn_burst = network.network_syn_rate;
    firmware_config.network_flows_max = network.network_connections;
    firmware_config.time_wait = Duration::from_secs(network.time_wait_s);
    firmware_config.rx_partial_checksum = capabilities.rx_partial_checksum;
    let pool = device.pool();
    let mut nic = Some(NicCore {
        firmware: Firmware::new(firmware_config, &mut rng),
        wire: VlanPort::new(TapPort::new(device), network.vlan, WIRE_FRAMES),
        hosts: nic_ends.into_iter().map(TapPort::new).collect(),
        pool,
        published: &published,
        next_publish: Instant::ZERO,
    });

    let keepalive = engine.live.tcp_keepalive_s.load(Ordering::Relaxed);
    let mut hosts = Vec::new();
    for (index, end) in host_ends.into_iter().enumerate() {
        let inline = if index == 0 && network.nic == Nic::Inline { nic.take() } else { None };
        let stack = make_stack(network, (port, keepalive, maxclients), capabilities, &mut rng)?;
        let app = CoreApp::new(Arc::clone(engine), index);
        hosts.push(HostCore {
            index,
            cpu: network.cores.get(index).copied(),
            stack,
            app,
            ring: end,
            pool,
            nic: inline,
            published: &published,
            engine,
            next_publish: Instant::ZERO,
            next_expire: Instant::ZERO,
        });
    }
    // The firmware outlives the host cores: it carries their goodbyes to the wire.
    let progress = Progress { hosts_ready: AtomicUsize::new(0), hosts_left: AtomicUsize::new(hosts.len()) };
    std::thread::scope(|scope| {
        let progress = &progress;
        for host in hosts {
            scope.spawn(move || host.run(eal, clock, stop, progress));
        }
        if let Some(nic) = nic {
            scope.spawn(move || nic.run(eal, clock, progress));
        }
        while progress.hosts_left.load(Ordering::Acquire) > 0 {
            if progress.hosts_ready.load(Ordering::Acquire) == core_count {
                return ready();
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    Ok(())
}

/// How far the host's threads are.
struct Progress {
    /// Those that accept connections.
    hosts_ready: AtomicUsize,
    /// Those that still run.
    hosts_left: AtomicUsize,
}

/// Connections that one stack has room for: all clients may be on one core, and beside them there
/// are those who are being turned away, closing ones, and half-open ones.
fn connections_max(maxclients: usize) -> usize {
    (maxclients + maxclients / 8 + 16_384).clamp(65_536, 1 << 30)
}

/// `maxclients` as the firmware is told of it. Counted there it holds for all cores together, so
/// that none comes in on top while two cores accept at the same moment.
fn listen_max(maxclients: usize) -> u32 {
    u32::try_from(maxclients).unwrap_or(u32::MAX)
}

/// `keepalive`: idle seconds before a peer is asked whether it lives; 0: never. `maxclients`: at the
/// start; the stack follows it later.
fn make_stack(
    network: &Network,
    (port, keepalive, maxclients): (u16, u64, usize),
    capabilities: Capabilities,
    rng: &mut SystemRng,
) -> Result<Stack<Mbuf, CoreApp>> {
    let first = network.addresses[0];
    let mut config = stack::Config::new(Mac(capabilities.mac), first.address, first.prefix_len);
    config.networks = network.addresses.clone();
    config.gateways = network.gateways.clone();
    config.keepalive = (keepalive > 0).then(|| Duration::from_secs(keepalive));
    config.mtu = capabilities.mtu;
    config.time_wait = Duration::from_secs(network.time_wait_s);
    config.offload = match network.offload {
        Offload::None => stack::Offload::None,
        Offload::Lifecycle => stack::Offload::Lifecycle,
    };
    config.rx_partial_checksum = capabilities.rx_partial_checksum;
    config.connections_max = connections_max(maxclients);
    config.listen_max = listen_max(maxclients);
    config.refusal = network.refuse;
    let mut stack = Stack::new(config, rng);
    stack
        .listen(port, AcceptPolicy::Deferred)
        .map_err(|error| Error::Setting(format!("cannot listen on port {port}: {error}")))?;
    Ok(stack)
}

/// The firmware and its ports: what a SmartNIC would be.
struct NicCore<'a> {
    firmware: Firmware<Mbuf>,
    wire: VlanPort<TapPort<DevicePort, Capture>>,
    hosts: Vec<TapPort<RingPort<Mbuf>, Capture>>,
    pool: Mempool,
    published: &'a Published,
    next_publish: Instant,
}

impl NicCore<'_> {
    /// One round; true when it did anything. Its cycles are counted as the NIC's.
    #[inline]
    fn round(&mut self, clock: &Clock) -> bool {
        let begin = ::dpdk::tsc();
        let now = clock.at(begin);
        if let Some(captures) = self.published.shown.changed_captures() {
            self.capture(captures);
        }
        let worked = self.firmware.poll(&mut self.wire, &mut self.hosts, &mut self.pool, now).any();
        if worked {
            self.published.nic_busy_cycles.fetch_add(::dpdk::tsc() - begin, Ordering::Relaxed);
        }
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH;
            self.publish();
            self.published.shown.update(&self.firmware, now);
        }
        worked
    }

    /// Taps the ports, or no longer.
    #[cold]
    fn capture(&mut self, [wire, host]: [Option<Capture>; 2]) {
        self.wire.inner_mut().watch(wire);
        for port in &mut self.hosts {
            port.watch(host.clone());
        }
    }

    fn publish(&self) {
        let mut shown = lock(&self.published.firmware);
        shown.clear();
        shown.extend(self.firmware.counters().iter().map(|(name, _, value)| (name, value)));
        shown.push(("flows_now", self.firmware.counters().flows()));
        drop(shown);
        let stats = self.wire.inner().inner().stats();
        let mut shown = lock(&self.published.device);
        shown.clear();
        shown.extend([
            ("rx_frames", stats.rx_frames),
            ("rx_bytes", stats.rx_bytes),
            ("rx_unusable", stats.rx_unusable),
            ("rx_missed", stats.rx_missed),
            ("rx_errors", stats.rx_errors),
            ("rx_no_frame", stats.rx_no_frame),
            ("tx_frames", stats.tx_frames),
            ("tx_bytes", stats.tx_bytes),
            ("tx_refused", stats.tx_refused),
            ("tx_errors", stats.tx_errors),
            ("rx_other_vlan", self.wire.dropped()),
        ]);
        shown.push(("mbufs_in_use", u64::from(self.pool.in_use())));
    }

    fn run(mut self, eal: &Eal, clock: Clock, progress: &Progress) {
        let _lcore = ::dpdk::register_thread(eal);
        let mut pace = Pace::start(clock.now());
        let mut end = None;
        loop {
            let worked = self.round(&clock);
            let now = clock.now();
            pace.round(now, worked);
            if progress.hosts_left.load(Ordering::Acquire) == 0 {
                // What the hosts said last is on its way; give it one more moment.
                let end = *end.get_or_insert(now + Duration::from_millis(20));
                if now >= end {
                    return;
                }
            }
        }
    }
}

/// One core of the host.
struct HostCore<'a> {
    index: usize,
    cpu: Option<usize>,
    stack: Stack<Mbuf, CoreApp>,
    app: CoreApp,
    ring: RingPort<Mbuf>,
    pool: Mempool,
    nic: Option<NicCore<'a>>,
    published: &'a Published,
    engine: &'a Engine,
    next_publish: Instant,
    next_expire: Instant,
}

impl HostCore<'_> {
    fn run(mut self, eal: &Eal, clock: Clock, stop: &AtomicBool, progress: &Progress) {
        if let Some(cpu) = self.cpu
            && let Err(error) = ::dpdk::pin_to_cpu(cpu)
        {
            tracing::warn!("core {cpu} is not to be had, going on unpinned: {error}");
        }
        let _lcore = ::dpdk::register_thread(eal);
        let mut pace = Pace::start(clock.now());
        let mut end = None;
        let mut ready = false;
        loop {
            let worked = self.round(&clock);
            let now = clock.now();
            pace.round(now, worked);
            if !ready && self.stack.is_ready() {
                ready = true;
                progress.hosts_ready.fetch_add(1, Ordering::Release);
            }
            if end.is_none() && (stop.load(Ordering::Relaxed) || self.engine.shutdown_requested()) {
                stop.store(true, Ordering::Relaxed);
                self.stack.shutdown();
                end = Some(now + GOODBYE);
            }
            if end.is_some_and(|end| now >= end || self.stack.gauges().connections() == 0) {
                // Whoever is still there did not say goodbye in time.
                self.stack.abort_all(&mut self.app);
                for _ in 0..4 {
                    self.round(&clock);
                }
                progress.hosts_left.fetch_sub(1, Ordering::Release);
                return;
            }
        }
    }

    /// One round: the firmware first when it lives here, then the stack.
    #[inline]
    fn round(&mut self, clock: &Clock) -> bool {
        let nic_worked = self.nic.as_mut().is_some_and(|nic| nic.round(clock));
        let begin = ::dpdk::tsc();
        let now = clock.at(begin);
        let worked = self.stack.poll(&mut self.ring, &mut self.pool, &mut self.app, now).any();
        if worked {
            self.published.host_busy_cycles[self.index].fetch_add(::dpdk::tsc() - begin, Ordering::Relaxed);
        }
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH;
            let mut shown = lock(&self.published.stacks[self.index]);
            shown.clear();
            shown.extend(self.stack.counters().iter().map(|(name, _, value)| (name, value)));
            let gauges = self.stack.gauges();
            let maxclients = self.engine.live.maxclients.load(Ordering::Relaxed);
            self.stack.set_connections_max(connections_max(maxclients));
            self.stack.set_listen_max(listen_max(maxclients));
            shown.push(("received_waiting_bytes", self.stack.received_waiting() as u64));
            shown.push(("connections_now", gauges.connections().into()));
            shown.push(("half_open_now", gauges.half_open().into()));
            shown.push(("time_wait_now", gauges.in_state(State::TimeWait).into()));
        }
        if self.index == 0 && now >= self.next_expire {
            self.next_expire = now + EXPIRE;
            self.engine.expire_some(now);
        }
        worked || nic_worked
    }
}
