//! The link to a NIC in another process, which may be cut: the process may end and come again.
//!
//! Each core has a queue of one device. When the device has lost its other end, the cores give
//! their queues back, the device is closed, and opened again as often as it takes; then they get
//! new ones. Opening takes milliseconds and may block: a thread of its own does it ([`keep`]).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use dpdk::{Device, DevicePort, Eal, LinkWatch, Mbuf, OpenConfig, PortStats};
use netcore::port::Capabilities;
use netcore::{FrameQueue, Port};

use super::dpdk::HostEnd;
use super::lock;

/// How often the device is asked for its link, and how often it is tried to open it again.
const LOOK: std::time::Duration = std::time::Duration::from_millis(5);
const TRY_AGAIN: std::time::Duration = std::time::Duration::from_millis(50);
/// DPDK's own threads may still be busy with the loss.
const SETTLE: std::time::Duration = std::time::Duration::from_millis(20);

/// What the cores and the keeper share.
#[derive(Debug)]
pub(super) struct Link {
    /// How often the link was cut or joined: it is joined while this is even.
    changes: AtomicU64,
    /// A place for each core's port to change hands.
    hands: Vec<Mutex<Option<DevicePort>>>,
}

/// One core's queue of the device.
#[derive(Debug)]
pub(super) struct ExternalPort {
    index: usize,
    port: Option<DevicePort>,
    capabilities: Capabilities,
    link: Arc<Link>,
    seen: u64,
    lost: bool,
    /// What the ports before this one counted.
    earlier: PortStats,
}

/// The ports of the cores, and the link that they share.
pub(super) fn ports(queues: Vec<DevicePort>) -> (Arc<Link>, Vec<ExternalPort>) {
    let hands = queues.iter().map(|_| Mutex::default()).collect();
    let link = Arc::new(Link { changes: AtomicU64::new(0), hands });
    let port = |(index, port): (usize, DevicePort)| ExternalPort {
        index,
        capabilities: port.capabilities(),
        port: Some(port),
        link: Arc::clone(&link),
        seen: 0,
        lost: false,
        earlier: PortStats::default(),
    };
    let ports = queues.into_iter().enumerate().map(port).collect();
    (link, ports)
}

impl ExternalPort {
    fn counted(&self) -> PortStats {
        self.port.as_ref().map_or(self.earlier, |port| port.stats().after(&self.earlier))
    }

    /// Gives the port back, or takes the new one.
    #[cold]
    fn change(&mut self, changes: u64) {
        self.seen = changes;
        // Once, at the cut: what the new port brings may be news of the NIC already.
        self.lost |= changes % 2 == 1;
        self.earlier = self.counted();
        let mut hand = lock(&self.link.hands[self.index]);
        match changes % 2 {
            0 => self.port = hand.take(),
            _ => *hand = self.port.take(),
        }
    }
}

impl HostEnd for ExternalPort {
    fn take_loss(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    fn stats(&self) -> Option<PortStats> {
        Some(self.counted())
    }
}

impl Port for ExternalPort {
    type Frame = Mbuf;

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    #[inline]
    fn receive(&mut self, into: &mut FrameQueue<Mbuf>, max: usize) -> usize {
        let changes = self.link.changes.load(Ordering::Acquire);
        if changes != self.seen {
            self.change(changes);
        }
        self.port.as_mut().map_or(0, |port| port.receive(into, max))
    }

    #[inline]
    fn send(&mut self, from: &mut FrameQueue<Mbuf>) -> usize {
        match &mut self.port {
            Some(port) => port.send(from),
            // As a card does whose cable is out.
            None => std::iter::from_fn(|| from.pop()).count(),
        }
    }
}

/// Watches the device until `is_over`, and opens it again whenever it has lost its other end.
pub(super) fn keep(
    eal: &Eal,
    device: &Device,
    config: &OpenConfig,
    link: &Link,
    mut watch: LinkWatch,
    is_over: impl Fn() -> bool,
) {
    while !is_over() {
        std::thread::sleep(LOOK);
        if watch.is_up() {
            continue;
        }
        tracing::warn!("The NIC at {device} is gone; its connections end, and it is waited for");
        link.changes.fetch_add(1, Ordering::Release);
        drop(watch);
        std::thread::sleep(SETTLE);
        for hand in &link.hands {
            // A core may be in a long command.
            while lock(hand).take().is_none() {
                if is_over() {
                    return;
                }
                std::thread::sleep(LOOK);
            }
        }
        let Some(ports) = open_again(eal, device, config, &is_over) else { return };
        watch = ports[0].watch();
        for (hand, port) in link.hands.iter().zip(ports) {
            *lock(hand) = Some(port);
        }
        link.changes.fetch_add(1, Ordering::Release);
        tracing::info!("Attached to the NIC at {device} again");
    }
}

/// `None`: it is over.
fn open_again(
    eal: &Eal,
    device: &Device,
    config: &OpenConfig,
    is_over: &impl Fn() -> bool,
) -> Option<Vec<DevicePort>> {
    let mut said = false;
    while !is_over() {
        match device.open_queues(eal, config) {
            Ok(ports) => return Some(ports),
            Err(error) if !said => {
                tracing::info!("{error}; trying again until it is there");
                said = true;
            }
            Err(_) => {}
        }
        std::thread::sleep(TRY_AGAIN);
    }
    None
}
