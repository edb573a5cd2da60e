//! One core of the card: the firmware between the wire and the host's queues.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dpdk::{Clock, DevicePort, Eal, Mbuf, Mempool, OpenConfig};
use netcore::ring::RingPort;
use netcore::tap::{Direction, TapPort, Watcher};
use netcore::vlan::VlanPort;
use netcore::{Capabilities, Duration, Instant, Port};
use nicfw::Firmware;
use protocol::ethernet::Mac;

use crate::{Pace, SystemRng};

/// Frames that are tagged for the wire at once, where the device is in a VLAN.
const WIRE_FRAMES: usize = 256;
/// How often the counters are shown, and how often a host's port is asked for its other end.
const PUBLISH: Duration = Duration::from_millis(5);
/// What the hosts said last may be on its way when they have gone; it gets this much time.
const LINGER: Duration = Duration::from_millis(20);

/// A port towards the host.
pub trait HostPort: Port<Frame = Mbuf> {
    /// False when it is known that nobody is at its other end.
    fn has_peer(&self) -> bool;
}

/// Both ends are in one process.
impl HostPort for RingPort<Mbuf> {
    fn has_peer(&self) -> bool {
        true
    }
}

impl HostPort for DevicePort {
    fn has_peer(&self) -> bool {
        self.is_link_up()
    }
}

/// What a core shows of itself, from whichever thread one looks.
#[derive(Debug, Default)]
pub struct Shown {
    /// Ticks of the processor's clock spent in rounds that did something.
    pub busy_cycles: AtomicU64,
    firmware: Mutex<Vec<(&'static str, u64)>>,
    device: Mutex<Vec<(&'static str, u64)>>,
}

impl Shown {
    /// Name and value of each of the firmware's counters.
    pub fn firmware(&self) -> Vec<(&'static str, u64)> {
        lock(&self.firmware).clone()
    }

    /// Name and value of each counter of the device at the wire.
    pub fn device(&self) -> Vec<(&'static str, u64)> {
        lock(&self.device).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Who looks into a core while it runs.
pub trait Onlooker {
    /// Sees the frames of a side.
    type Watcher: Watcher + Clone;

    /// Who sees the frames at the wire and at the host from now on, when that has changed. Asked in
    /// every round.
    fn changed(&self) -> Option<[Option<Self::Watcher>; 2]>;

    /// Called about every 5 ms.
    fn update(&self, firmware: &Firmware<Mbuf>, now: Instant);
}

/// Nobody looks.
#[derive(Clone, Copy, Debug)]
pub struct Unseen;

/// There is none.
#[derive(Clone, Copy, Debug)]
pub enum Nobody {}

impl Watcher for Nobody {
    fn frame(&mut self, _: Direction, _: &[u8]) {
        match *self {}
    }
}

impl Onlooker for Unseen {
    type Watcher = Nobody;

    #[inline]
    fn changed(&self) -> Option<[Option<Nobody>; 2]> {
        None
    }

    fn update(&self, _: &Firmware<Mbuf>, _: Instant) {}
}

/// Frames of last data that are kept, unless somebody says otherwise: 20 MB. As many clients may have closed
/// within the time that an acknowledgment takes; in a flood of those who never send it, with ten
/// thousand a second, each has most of a second for it.
pub const RETAINED_MAX: u32 = 8192;

/// How to open a device whose pool the firmware keeps up to `retained` frames of last data from, beside those
/// that receiving and sending need.
pub fn open_config(queues: u16, retained: u32) -> OpenConfig {
    let needed = OpenConfig::default();
    OpenConfig { queues, frames: needed.frames + retained, ..needed }
}

/// The firmware's defaults for a card whose wire is `device`.
pub fn config(device: &Capabilities) -> nicfw::Config {
    nicfw::Config {
        mtu: device.mtu,
        rx_partial_checksum: device.rx_partial_checksum,
        retained_max: RETAINED_MAX as usize,
        ..nicfw::Config::new(Mac(device.mac))
    }
}

/// The firmware and its ports: what a SmartNIC would be.
#[derive(Debug)]
pub struct NicCore<'a, H, O: Onlooker> {
    firmware: Firmware<Mbuf>,
    wire: VlanPort<TapPort<DevicePort, O::Watcher>>,
    hosts: Vec<TapPort<H, O::Watcher>>,
    pool: Mempool,
    shown: &'a Shown,
    onlooker: &'a O,
    next_publish: Instant,
}

impl<'a, H: HostPort, O: Onlooker> NicCore<'a, H, O> {
    /// A core between `wire`, which is in VLAN `vlan`, and `hosts`, one port for each queue.
    ///
    /// # Panics
    /// As [`Firmware::new`].
    pub fn new(
        config: nicfw::Config,
        wire: DevicePort,
        vlan: Option<u16>,
        hosts: Vec<H>,
        shown: &'a Shown,
        onlooker: &'a O,
    ) -> Self {
        let pool = wire.pool();
        Self {
            firmware: Firmware::new(config, &mut SystemRng),
            wire: VlanPort::new(TapPort::new(wire), vlan, WIRE_FRAMES),
            hosts: hosts.into_iter().map(TapPort::new).collect(),
            pool,
            shown,
            onlooker,
            next_publish: Instant::ZERO,
        }
    }

    /// One round; true when it did anything. Its cycles are counted as the NIC's.
    #[inline]
    pub fn round(&mut self, clock: &Clock) -> bool {
        let begin = dpdk::tsc();
        let now = clock.at(begin);
        if let Some(watchers) = self.onlooker.changed() {
            self.watch(watchers);
        }
        let worked = self.firmware.poll(&mut self.wire, &mut self.hosts, &mut self.pool, now).any();
        if worked {
            self.shown.busy_cycles.fetch_add(dpdk::tsc() - begin, Ordering::Relaxed);
        }
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH;
            self.publish();
            self.onlooker.update(&self.firmware, now);
            for (queue, host) in self.hosts.iter().enumerate() {
                self.firmware.host_link(queue, host.inner().has_peer());
            }
        }
        worked
    }

    /// Taps the ports, or no longer.
    #[cold]
    fn watch(&mut self, [wire, host]: [Option<O::Watcher>; 2]) {
        self.wire.inner_mut().watch(wire);
        for port in &mut self.hosts {
            port.watch(host.clone());
        }
    }

    fn publish(&self) {
        let mut shown = lock(&self.shown.firmware);
        shown.clear();
        shown.extend(self.firmware.counters().iter().map(|(name, _, value)| (name, value)));
        shown.push(("flows_now", self.firmware.counters().flows()));
        drop(shown);
        let stats = self.wire.inner().inner().stats();
        let mut shown = lock(&self.shown.device);
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

    /// Runs until `is_over` and a moment more.
    pub fn run(mut self, eal: &Eal, clock: Clock, is_over: impl Fn() -> bool) {
        let _lcore = dpdk::register_thread(eal);
        let mut pace = Pace::start(clock.now());
        let mut end = None;
        loop {
            let worked = self.round(&clock);
            let now = clock.now();
            pace.round(now, worked);
            if is_over() && now >= *end.get_or_insert(now + LINGER) {
                return;
            }
        }
    }
}
