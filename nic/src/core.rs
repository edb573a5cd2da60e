//! One core of the card: the firmware between the wire and the host's queues.

use dpdk::{Clock, DevicePort, Eal, Mbuf, Mempool, OpenConfig, Share};
use netcore::ring::RingPort;
use netcore::tap::TapPort;
use netcore::vlan::VlanPort;
use netcore::{Capabilities, Duration, Instant, Port};
use nicfw::Firmware;
use protocol::ethernet::Mac;

use crate::capture::Capture;
use crate::share::Watched;
use crate::shown::{Counted, Shown};
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

/// Frames of last data that are kept, unless somebody says otherwise: 20 MB. As many clients may have closed
/// within the time that an acknowledgment takes; in a flood of those who never send it, with ten
/// thousand a second, each has most of a second for it.
pub const RETAINED_MAX: u32 = 8192;

/// Frames that are read before their turn comes (see [`nicfw::Config::read_ahead`]): 20 MB, for 20,000 SYNs at once.
pub const READ_AHEAD: u32 = 8192;

/// How to open a device whose pool the firmware keeps up to `kept` frames from, beside those
/// that receiving and sending need.
pub fn open_config(queues: u16, kept: u32) -> OpenConfig {
    let needed = OpenConfig::default();
    OpenConfig { queues, frames: needed.frames + kept, ..needed }
}

/// The firmware's defaults for a card whose wire is `device`.
pub fn config(device: &Capabilities) -> nicfw::Config {
    nicfw::Config {
        mtu: device.mtu,
        rx_partial_checksum: device.rx_partial_checksum,
        tx_checksum: device.tx_checksum,
        retained_max: RETAINED_MAX as usize,
        read_ahead: READ_AHEAD as usize,
        ..nicfw::Config::new(Mac(device.mac))
    }
}

/// The firmware and its ports: what a SmartNIC would be.
#[derive(Debug)]
pub struct NicCore<'a, H> {
    firmware: Firmware<Mbuf>,
    wire: VlanPort<TapPort<DevicePort, Capture>>,
    hosts: Vec<TapPort<H, Capture>>,
    pool: Mempool,
    shown: &'a Shown,
    /// What of the wire is taken, when the kernel has the rest.
    share: Option<Watched>,
    /// Ticks of the processor's clock spent in rounds that did something.
    busy_cycles: u64,
    next_publish: Instant,
}

impl<'a, H: HostPort> NicCore<'a, H> {
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
    ) -> Self {
        let pool = wire.pool();
        Self {
            firmware: Firmware::new(config, &mut SystemRng),
            wire: VlanPort::new(TapPort::new(wire), vlan, WIRE_FRAMES),
            hosts: hosts.into_iter().map(TapPort::new).collect(),
            pool,
            shown,
            share: None,
            busy_cycles: 0,
            next_publish: Instant::ZERO,
        }
    }

    /// With a wire that is shared so with the kernel: a host that listens on something else is warned of.
    #[must_use]
    pub fn with_share(self, share: Option<Share>) -> Self {
        Self { share: share.map(Watched::new), ..self }
    }

    /// One round; true when it did anything. Its cycles are counted as the NIC's.
    #[inline]
    pub fn round(&mut self, clock: &Clock) -> bool {
        let begin = dpdk::tsc();
        let now = clock.at(begin);
        if let Some(watchers) = self.shown.changed() {
            self.watch(watchers);
        }
        let worked = self.firmware.poll(&mut self.wire, &mut self.hosts, &mut self.pool, now).any();
        if worked {
            self.busy_cycles += dpdk::tsc() - begin;
        }
        if now >= self.next_publish {
            self.next_publish = now + PUBLISH;
            self.publish(now);
            for (queue, host) in self.hosts.iter().enumerate() {
                self.firmware.host_link(queue, host.inner().has_peer());
            }
        }
        worked
    }

    /// Taps the ports, or no longer.
    #[cold]
    fn watch(&mut self, [wire, host]: [Option<Capture>; 2]) {
        self.wire.inner_mut().watch(wire);
        for port in &mut self.hosts {
            port.watch(host.clone());
        }
    }

    fn publish(&mut self, now: Instant) {
        if let Some(share) = &mut self.share {
            share.look(self.firmware.listened_on());
        }
        self.shown.update(&mut self.firmware, now, |counted: &mut Counted| {
            counted.busy_cycles = self.busy_cycles;
            counted.device.extend(self.wire.inner().inner().stats().iter());
            counted.device.push(("rx_other_vlan", self.wire.dropped()));
            counted.device.push(("tx_checksum", u64::from(self.wire.capabilities().tx_checksum)));
            counted.device.push(("mbufs_in_use", u64::from(self.pool.in_use())));
        });
    }

    /// Runs until `is_over` and a moment more.
    pub fn run(mut self, eal: &Eal, clock: Clock, is_over: impl Fn() -> bool) {
        let _lcore = dpdk::register_thread(eal);
        dpdk::come_first();
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
