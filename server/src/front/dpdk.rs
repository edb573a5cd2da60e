//! The front on our own TCP stack: a DPDK device, the firmware, and one stack per core.
//!
//! ```text
//! device ── firmware ══ ring ══ stack + engine   (one per core)
//! ```
//!
//! `--nic embedded`: the firmware has a thread of its own. `--nic inline`: the first host core
//! polls it before its own stack. `--nic external`: it runs elsewhere, and each core has a queue
//! of the device that leads there (`external`). Everything else is the same.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ::dpdk::{Clock, DevicePort, Eal, EalConfig, Mbuf, Mempool, OpenConfig, PortStats, Share};
use netcore::port::Capabilities;
use netcore::ring::{self, RingPort};
use netcore::{Duration, Instant, Port};
use nic::{NicCore, Pace, Shown, SystemRng};
use nicfw::Offload;
use protocol::ethernet::Mac;
use stack::{AcceptPolicy, ChannelState, Stack, State};

use super::{external, lock};
use crate::engine::FirmwareView;
use crate::network::{Network, Nic, share};
use crate::{CoreApp, Engine};

/// Frames that the ring between firmware and a core holds in each direction.
const RING_FRAMES: usize = 2048;
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

/// What the threads show to INFO.
struct Published {
    host_busy_cycles: Vec<AtomicU64>,
    /// Name and value of each counter, one list per core's stack.
    stacks: Vec<Mutex<Vec<(&'static str, u64)>>>,
    /// The device's counters, as each core has them for its queue; none where the firmware has the device.
    queues: Vec<Mutex<Option<PortStats>>>,
    /// The device computes the TCP checksums of what is sent.
    tx_checksum: bool,
    /// The firmware, when it is in this process.
    nic: Option<Arc<Shown>>,
}

impl Published {
    fn new(cores: usize, tx_checksum: bool, nic: Option<Arc<Shown>>) -> Self {
        Self {
            host_busy_cycles: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            stacks: (0..cores).map(|_| Mutex::default()).collect(),
            queues: (0..cores).map(|_| Mutex::default()).collect(),
            tx_checksum,
            nic,
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
        let queues = self.queues.iter().filter_map(|queue| *lock(queue));
        if let Some(device) = queues.reduce(|one, other| one.beside(&other)) {
            for (name, value) in device.iter() {
                line(&format!("device_{name}"), &value);
            }
            line("device_tx_checksum", &u8::from(self.tx_checksum));
        }
        for (name, value) in self.nic.iter().flat_map(|nic| nic.status()) {
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
    let external = network.nic == Nic::External;
    let mut environment = EalConfig::for_device(&network.device);
    if !external {
        environment.memory_mb += ::dpdk::frames_mb(nic::READ_AHEAD);
    }
    let eal = Eal::init(&environment)?;
    let core_count = network.cores.len().max(1);
    let queues = if external { core_count as u16 } else { 1 };
    // The firmware that keeps last data and reads ahead is here, or elsewhere.
    let kept = if external { 0 } else { nic::RETAINED_MAX + nic::READ_AHEAD };
    let config = OpenConfig { share: share.clone(), ..nic::open_config(queues, kept) };
    let mut queues = network.device.open_queues(eal, &config)?;
    for note in queues.iter().take(1).flat_map(DevicePort::notes) {
        tracing::info!("{note}");
    }
    if let Some(share) = &share {
        tracing::info!("{share}");
    }
    engine.set_clock(super::unix_us());
    engine.set_memory_source(super::memory::memory_use);
    let nic = (!external).then(Arc::<Shown>::default);
    engine.set_firmware(nic.clone().map_or(FirmwareView::Elsewhere, FirmwareView::Here));
    let capabilities = queues[0].capabilities().in_vlan(network.vlan);
    let published = Arc::new(Published::new(core_count, capabilities.tx_checksum, nic.clone()));
    let shown = Arc::clone(&published);
    let settings = network.clone();
    let is_shared = share.is_some();
    engine.set_info_provider(Arc::new(move |out: &mut String| shown.write(&settings, is_shared, out)));
    let house = House {
        engine,
        network,
        port,
        stop,
        eal,
        clock: Clock::start(),
        published: &published,
        progress: Progress::new(core_count),
        capabilities,
        pool: queues[0].pool(),
    };
    if let Some(nic) = nic {
        return house.serve_with_nic(queues.swap_remove(0), &nic, ready);
    }
    let watch = queues[0].watch();
    let config = OpenConfig { pools: Some(queues[0].pools()), ..config };
    let (link, ports) = external::ports(queues);
    let hosts = ports.into_iter().enumerate().map(|(index, port)| house.host(index, port, None));
    let hosts = hosts.collect::<Result<Vec<_>>>()?;
    let keeper = || {
        external::keep(eal, &network.device, &config, &link, watch, || house.progress.is_over());
    };
    house.serve(hosts, Some(keeper), ready)
}

/// What all threads of the front need.
struct House<'a> {
    engine: &'a Arc<Engine>,
    network: &'a Network,
    port: u16,
    stop: &'a AtomicBool,
    eal: &'a Eal,
    clock: Clock,
    published: &'a Published,
    progress: Progress,
    /// The device's.
    capabilities: Capabilities,
    pool: Mempool,
}

impl House<'_> {
    /// The firmware in this process.
    fn serve_with_nic(&self, device: DevicePort, shown: &Shown, ready: impl FnOnce() + Send) -> Result<()> {
        let network = self.network;
        let channel = Capabilities { rx_checksum: true, ..self.capabilities };
        let core_count = self.published.stacks.len();
        let (nic_ends, host_ends): (Vec<_>, Vec<_>) =
            (0..core_count).map(|_| ring::pair::<Mbuf>(RING_FRAMES, channel)).unzip();
        let maxclients = self.engine.live.maxclients.load(Ordering::Relaxed);
        let mut config = nic::config(&self.capabilities);
        config.flows_max = config.flows_max.max(connections_max(maxclients));
        config.offload = network.offload;
        config.queues = core_count;
        config.change(network.of_firmware());
        config.last_data_max = network.last_data_max;
        config.steer = network.steer;
        config.network_syn_rate = network.network_syn_rate;
        config.network_syn_burst = network.network_syn_rate;
        config.network_flows_max = network.network_connections;
        config.time_wait = Duration::from_secs(network.time_wait_s);
        let mut nic = Some(NicCore::new(config, device, network.vlan, nic_ends, shown));
        let mut hosts = Vec::new();
        for (index, end) in host_ends.into_iter().enumerate() {
            let inline = if index == 0 && network.nic == Nic::Inline { nic.take() } else { None };
            hosts.push(self.host(index, end, inline)?);
        }
        // The firmware outlives the host cores: it carries their goodbyes to the wire.
        let firmware = nic.map(|nic| || nic.run(self.eal, self.clock, || self.progress.is_over()));
        self.serve(hosts, firmware, ready)
    }

    fn host<'b, P: HostEnd>(
        &'b self,
        index: usize,
        port: P,
        nic: Option<EmbeddedNic<'b>>,
    ) -> Result<HostCore<'b, P>> {
        let maxclients = self.engine.live.maxclients.load(Ordering::Relaxed);
        let changeable = self.engine.config.read().of_stack();
        Ok(HostCore {
            index,
            cpu: self.network.cores.get(index).copied(),
            stack: make_stack(
                self.network,
                changeable,
                (self.port, maxclients),
                self.capabilities,
                &mut SystemRng,
            )?,
            app: CoreApp::new(Arc::clone(self.engine), index),
            port,
            pool: self.pool,
            nic,
            published: self.published,
            engine: self.engine,
            channel: ChannelState::Unused,
            next_publish: Instant::ZERO,
            next_expire: Instant::ZERO,
        })
    }

    /// Runs the cores, and `beside` them what ends by itself when they have ended.
    fn serve<P: HostEnd + Send>(
        &self,
        hosts: Vec<HostCore<'_, P>>,
        beside: Option<impl FnOnce() + Send>,
        ready: impl FnOnce() + Send,
    ) -> Result<()> {
        std::thread::scope(|scope| {
            let progress = &self.progress;
            for host in hosts {
                scope.spawn(move || host.run(self.eal, self.clock, self.stop, progress));
            }
            if let Some(beside) = beside {
                scope.spawn(beside);
            }
            while !progress.is_over() {
                if progress.hosts_ready.load(Ordering::Acquire) == self.published.stacks.len() {
                    return ready();
                }
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        });
        match lock(&self.progress.trouble).take() {
            None => Ok(()),
            Some(trouble) => Err(Error::Setting(trouble)),
        }
    }
}

/// How far the host's threads are.
struct Progress {
    /// Those that accept connections.
    hosts_ready: AtomicUsize,
    /// Those that still run.
    hosts_left: AtomicUsize,
    /// Why they cannot go on.
    trouble: Mutex<Option<String>>,
}

impl Progress {
    fn new(cores: usize) -> Self {
        Self {
            hosts_ready: AtomicUsize::new(0),
            hosts_left: AtomicUsize::new(cores),
            trouble: Mutex::default(),
        }
    }

    fn is_over(&self) -> bool {
        self.hosts_left.load(Ordering::Acquire) == 0
    }
}

/// A core's port towards the firmware.
pub(super) trait HostEnd: Port<Frame = Mbuf> {
    /// True once after the other end was lost.
    fn take_loss(&mut self) -> bool;
    /// What its device has counted, if it is one.
    fn stats(&self) -> Option<PortStats>;
}

/// Both ends are in this process.
impl HostEnd for RingPort<Mbuf> {
    fn take_loss(&mut self) -> bool {
        false
    }

    fn stats(&self) -> Option<PortStats> {
        None
    }
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

/// `changeable` and `maxclients`: at the start; the stack follows them later.
fn make_stack(
    network: &Network,
    changeable: stack::Changeable,
    (port, maxclients): (u16, usize),
    capabilities: Capabilities,
    rng: &mut SystemRng,
) -> Result<Stack<Mbuf, CoreApp>> {
    let first = network.addresses[0];
    let mut config = stack::Config::new(Mac(capabilities.mac), first.address, first.prefix_len);
    config.networks = network.addresses.clone();
    config.gateways = network.gateways.clone();
    config.change(changeable);
    config.ecn = network.ecn;
    config.mtu = capabilities.mtu;
    config.time_wait = Duration::from_secs(network.time_wait_s);
    config.offload = match network.offload {
        Offload::None => stack::Offload::None,
        Offload::Lifecycle => stack::Offload::Lifecycle,
    };
    config.rx_partial_checksum = capabilities.rx_partial_checksum;
    config.tx_checksum = capabilities.tx_checksum;
    config.nic_silence = (network.nic == Nic::External).then(|| Duration::from_secs(network.nic_timeout_s));
    config.connections_max = connections_max(maxclients);
    config.listen_max = listen_max(maxclients);
    config.refusal = network.refuse;
    let mut stack = Stack::new(config, rng);
    stack
        .listen(port, AcceptPolicy::Deferred)
        .map_err(|error| Error::Setting(format!("cannot listen on port {port}: {error}")))?;
    Ok(stack)
}

/// A firmware in this process.
type EmbeddedNic<'a> = NicCore<'a, RingPort<Mbuf>>;

/// One core of the host.
struct HostCore<'a, P> {
    index: usize,
    cpu: Option<usize>,
    stack: Stack<Mbuf, CoreApp>,
    app: CoreApp,
    port: P,
    pool: Mempool,
    nic: Option<EmbeddedNic<'a>>,
    published: &'a Published,
    engine: &'a Engine,
    /// How the channel stood when it was looked at last.
    channel: ChannelState,
    next_publish: Instant,
    next_expire: Instant,
}

impl<P: HostEnd> HostCore<'_, P> {
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
            if self.port.take_loss() {
                self.stack.nic_is_gone(&mut self.app);
            }
            if self.stack.channel_state() != self.channel
                && let Some(trouble) = self.channel_changed()
            {
                if ready {
                    tracing::error!("{trouble}");
                } else {
                    lock(&progress.trouble).get_or_insert(trouble);
                    stop.store(true, Ordering::Relaxed);
                }
            }
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

    /// Looks at how the channel stands; what is wrong with it, if anything is.
    #[cold]
    fn channel_changed(&mut self) -> Option<String> {
        let before = std::mem::replace(&mut self.channel, self.stack.channel_state());
        match self.channel {
            ChannelState::Waiting if before == ChannelState::Up => {
                tracing::warn!("Core {}: the NIC does not answer; its connections have ended", self.index);
                None
            }
            ChannelState::Unused | ChannelState::Waiting | ChannelState::Up => None,
            ChannelState::WrongVersion { version_min, version_max } => Some(format!(
                "the NIC speaks versions {version_min} to {version_max} of the channel, this server only {}: \
                 use programs of one release",
                protocol::channel::VERSION
            )),
            ChannelState::WrongLevel { lifecycle } => {
                let (its, ours) = if lifecycle { ("lifecycle", "none") } else { ("none", "lifecycle") };
                Some(format!(
                    "the NIC works at --offload {its}, this server at --offload {ours}: tell both the same"
                ))
            }
        }
    }

    /// One round: the firmware first when it lives here, then the stack.
    #[inline]
    fn round(&mut self, clock: &Clock) -> bool {
        let nic_worked = self.nic.as_mut().is_some_and(|nic| nic.round(clock));
        let begin = ::dpdk::tsc();
        let now = clock.at(begin);
        let worked = self.stack.poll(&mut self.port, &mut self.pool, &mut self.app, now).any();
        if worked {
            self.published.host_busy_cycles[self.index].fetch_add(::dpdk::tsc() - begin, Ordering::Relaxed);
        }
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH;
            *lock(&self.published.queues[self.index]) = self.port.stats();
            let mut shown = lock(&self.published.stacks[self.index]);
            shown.clear();
            shown.extend(self.stack.counters().iter().map(|(name, _, value)| (name, value)));
            let gauges = self.stack.gauges();
            let maxclients = self.engine.live.maxclients.load(Ordering::Relaxed);
            self.stack.set_connections_max(connections_max(maxclients));
            self.stack.set_listen_max(listen_max(maxclients));
            self.stack.change(self.engine.config.read().of_stack());
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
