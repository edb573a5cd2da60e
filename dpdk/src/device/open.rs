//! How each device is opened: what is checked first, what DPDK is told, and the port that results.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use dpdk_sys as sys;
use netcore::Capabilities;

use super::Device;
use super::share::{PROGRAM_NAME, ProgramFile, Share};
use crate::eal::{Eal, log_mark, reason, said_since};
use crate::error::Error;
use crate::interface::{Capable, Claim, Interface};
use crate::mempool::Mempool;
use crate::packet_drops::PacketDrops;
use crate::port::{DevicePort, OpenDevice, Pools};

/// How to open a device.
#[derive(Clone, Debug)]
pub struct OpenConfig {
    /// Receive descriptors per queue; the driver may round.
    pub rx_descriptors: u16,
    /// Send descriptors per queue; the driver may round.
    pub tx_descriptors: u16,
    /// Frames of the device's pool, all queues together: the default is what receiving and sending
    /// need. Who keeps frames adds as many.
    pub frames: u32,
    /// Pairs of receive and send queues.
    pub queues: u16,
    /// Pools of an earlier opening ([`DevicePort::pools`]), instead of new ones.
    pub pools: Option<Pools>,
    /// Take only this and leave everything else to the kernel; for [`Device::Xdp`] alone.
    pub share: Option<Share>,
}

impl Default for OpenConfig {
    fn default() -> Self {
        Self { rx_descriptors: 1024, tx_descriptors: 1024, frames: 8191, queues: 1, pools: None, share: None }
    }
}

/// Frames that AF_XDP's driver lends to the kernel for each queue: a shorter ring for those that come back
/// full would lose some.
const XDP_FRAMES: u16 = 2048;

/// Data bytes of an ordinary frame: an MTU of 1500 and much spare for the channel's headers.
const DATA_BYTES: u16 = 2048;
/// What a frame is longer than the MTU: Ethernet header, two VLAN tags.
const ETHERNET_BYTES: usize = 22;
/// The largest MTU that a port reports; more would only make every frame of its pool larger.
const MAX_MTU: usize = 9000;

/// What a pool needs per frame beyond its data: headroom, mbuf, the pool's own header.
const FRAME_OVERHEAD_BYTES: u64 = 512;

/// Memory in MiB for so many ordinary frames more than the default of [`OpenConfig`].
pub const fn frames_mb(frames: u32) -> usize {
    (frames as u64 * (DATA_BYTES as u64 + FRAME_OVERHEAD_BYTES)).div_ceil(1 << 20) as usize
}

/// Whether a device hands out frames of up to [`Mempool::MAX_DATA_BYTES`], whatever its MTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LargeFrames {
    No,
    /// As a chain of ordinary mbufs.
    Chained,
    /// In one mbuf.
    Whole,
}

/// What has to be known to open one device.
struct Plan {
    bus: &'static str,
    /// The name on the bus.
    name: String,
    arguments: String,
    mac: Option<[u8; 6]>,
    mtu: Option<usize>,
    rx_partial_checksum: bool,
    large_frames: LargeFrames,
    /// Let the device verify and compute checksums if it can.
    checksums: bool,
    claim: Option<Claim>,
    /// The interface whose packet sockets the driver opens.
    packet_interface: Option<i32>,
    /// The program that the driver is to load, and the interface that is shared by it.
    program: Option<(ProgramFile, i32)>,
    notes: Vec<String>,
}

/// The program that AF_XDP's library attaches by itself, and that the next socket can use.
const SOCKET_PROGRAM: &str = "xsk_def_prog";

impl Device {
    /// Opens the device with one queue.
    ///
    /// # Errors
    /// As [`Self::open_queues`].
    pub fn open(&self, eal: &Eal, config: &OpenConfig) -> Result<DevicePort, Error> {
        let mut ports = self.open_queues(eal, &OpenConfig { queues: 1, ..config.clone() })?;
        ports.pop().ok_or(Error::NotADpdkDevice)
    }

    /// Opens the device with `config.queues` pairs of queues, one port for each. Each port may be
    /// moved to a thread of its own.
    ///
    /// A kernel interface that is down is brought up ([`DevicePort::notes`] says so).
    ///
    /// # Errors
    /// Each [`Error`] from `NotADpdkDevice` to `Pool`: a missing interface, permission or memory,
    /// a device in use, or DPDK's own reason.
    pub fn open_queues(&self, eal: &Eal, config: &OpenConfig) -> Result<Vec<DevicePort>, Error> {
        let plan = self.plan(config)?;
        let mtu = plan.mtu.unwrap_or(0).min(MAX_MTU);
        let data_bytes = DATA_BYTES.max((mtu + ETHERNET_BYTES) as u16);
        if let Some(pools) = config.pools {
            return self.start(plan, config, pools);
        }
        let pool = Mempool::new(eal, config.frames, data_bytes)?;
        let mut pools = Pools { pool, large: None };
        let large = match plan.large_frames {
            LargeFrames::No => Ok(None),
            LargeFrames::Chained | LargeFrames::Whole => {
                Mempool::new(eal, LARGE_FRAMES, Mempool::MAX_DATA_BYTES).map(Some)
            }
        };
        let opened = large.and_then(|large| {
            pools.large = large;
            self.start(plan, config, pools)
        });
        let opened = opened.map_err(|error| match (error, self, &config.share) {
            (Error::Open { step, reason, .. }, Self::Xdp(name), Some(_)) => {
                Error::Share { interface: name.clone(), step, reason }
            }
            (error, ..) => error,
        });
        opened.inspect_err(|_| {
            for pool in [Some(pools.pool), pools.large].into_iter().flatten() {
                // SAFETY: no port was returned, so the device that failed to open (and was closed)
                // was the only one to have the pool.
                unsafe { pool.free_unused() };
            }
        })
    }

    fn error(&self, step: &'static str, reason: String) -> Error {
        Error::Open { device: self.to_string(), step, reason }
    }

    /// The error for a failed DPDK call: what it logged, or else the text for its number.
    fn failed(&self, step: &'static str, errno: i32, mark: u64) -> Error {
        let said = said_since(mark);
        // -1 is what drivers return that give no reason; it is not EPERM.
        let text = if errno == -1 { "the driver refused".to_owned() } else { reason(errno) };
        self.error(step, if said.is_empty() { text } else { format!("{text}; DPDK said: {said}") })
    }

    fn require(&self, missing: Vec<&'static str>) -> Result<(), Error> {
        if missing.is_empty() {
            return Ok(());
        }
        Err(Error::MissingPermission { device: self.to_string(), capabilities: missing.join(", ") })
    }

    fn plan(&self, config: &OpenConfig) -> Result<Plan, Error> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let capable = Capable::of_this_process();
        let plan = |name: String, arguments: String| Plan {
            bus: "vdev",
            name,
            arguments,
            mac: None,
            mtu: None,
            rx_partial_checksum: false,
            large_frames: LargeFrames::No,
            checksums: false,
            claim: None,
            packet_interface: None,
            program: None,
            notes: Vec::new(),
        };
        let bring_up = |interface: &Interface, name: &str| -> Result<Vec<String>, Error> {
            let was_down = interface.bring_up()?;
            let note = was_down.then(|| format!("the interface '{name}' was down and has been brought up"));
            Ok(note.into_iter().collect())
        };
        Ok(match self {
            Self::Kernel => return Err(Error::NotADpdkDevice),
            Self::Packet(name) => {
                let interface = Interface::find(name)?;
                self.require(capable.missing_for_packet())?;
                let ring = PacketRing::within(capable.lockable_bytes() / u64::from(config.queues))
                    .map_err(|limit| self.locked_memory(limit, PacketRing::smallest().bytes()))?;
                let claim = self.claim(name)?;
                let mut notes = bring_up(&interface, name)?;
                if ring.frames < PacketRing::FRAMES {
                    notes.push(format!(
                        "the rings hold {} frames instead of {} because of the locked-memory limit (ulimit -l)",
                        ring.frames,
                        PacketRing::FRAMES
                    ));
                }
                Plan {
                    notes,
                    mac: Some(interface.mac()?),
                    mtu: Some(interface.mtu()?),
                    rx_partial_checksum: true,
                    large_frames: LargeFrames::Whole,
                    claim: Some(claim),
                    packet_interface: Some(interface.index()?),
                    ..plan(
                        format!("net_af_packet{number}"),
                        format!("iface={name},qpairs={},{ring}", config.queues),
                    )
                }
            }
            Self::Xdp(name) => {
                let interface = Interface::find(name)?;
                self.require(capable.missing_for_xdp())?;
                let mtu = interface.mtu()?;
                if mtu > MAX_XDP_MTU {
                    return Err(Error::MtuTooLarge { interface: name.clone(), mtu, largest: MAX_XDP_MTU });
                }
                let queues = interface.rx_queues();
                if queues > config.queues.into() {
                    return Err(Error::UnservedQueues {
                        interface: name.clone(),
                        has: queues,
                        served: config.queues,
                    });
                }
                // The kernel pins the whole pool: it is where the interface's frames lie.
                let pinned = u64::from(config.frames) * (u64::from(DATA_BYTES) + FRAME_OVERHEAD_BYTES);
                if capable.lockable_bytes() < pinned {
                    return Err(self.locked_memory(capable.lockable_bytes(), pinned));
                }
                let claim = self.claim(name)?;
                let mut notes = Vec::new();
                if self.make_way(name, interface.index()?, config.share.is_some())? {
                    notes.push(format!("removed from '{name}' the XDP program of a process that was killed"));
                }
                notes.extend(bring_up(&interface, name)?);
                let mac = interface.mac()?;
                let mut arguments = format!("iface={name},start_queue=0,queue_count={}", config.queues);
                let mut program = None;
                if let Some(share) = &config.share {
                    let file = share.program(name, mac)?;
                    arguments += &format!(",xdp_prog={}", file.path());
                    program = Some((file, interface.index()?));
                }
                Plan {
                    notes,
                    mac: Some(mac),
                    mtu: Some(mtu),
                    rx_partial_checksum: true,
                    claim: Some(claim),
                    program,
                    ..plan(format!("net_af_xdp{number}"), arguments)
                }
            }
            Self::Tap(name) => {
                self.require(capable.missing_for_tap())?;
                let claim = self.claim(name)?;
                // The driver gives its address to the kernel's end; ours differs in the last bit.
                let ours = derived_mac(name);
                let mut kernel = ours;
                kernel[5] ^= 1;
                Plan {
                    mac: Some(ours),
                    // The driver does it in software, as the stack would.
                    checksums: true,
                    claim: Some(claim),
                    ..plan(format!("net_tap{number}"), format!("iface={name},mac={}", Mac(kernel)))
                }
            }
            Self::Vhost(path) => {
                let claim = Claim::path(path, &self.to_string())?;
                self.remove_stale_socket(path)?;
                Plan {
                    mac: Some(derived_mac(&self.to_string())),
                    claim: Some(claim),
                    ..plan(format!("net_vhost{number}"), format!("iface={path},queues={}", config.queues))
                }
            }
            Self::Virtio(path) => {
                if let Err(error) = fs::metadata(path) {
                    let reason = format!("{error}; start the side that serves it (vhost:{path}) first");
                    return Err(self.error("finding the socket", reason));
                }
                let mac = derived_mac(&self.to_string());
                Plan {
                    mac: Some(mac),
                    // What a kernel left whole for its device to cut comes through a NIC as it is.
                    large_frames: LargeFrames::Chained,
                    ..plan(
                        format!("net_virtio_user{number}"),
                        format!("path={path},queues={},mac={}", config.queues, Mac(mac)),
                    )
                }
            }
            Self::Pci(address) => {
                Plan { bus: "pci", checksums: true, ..plan(address.clone(), String::new()) }
            }
            Self::Vdev(text) => {
                let (name, arguments) = text.split_once(',').unwrap_or((text, ""));
                Plan { checksums: true, ..plan(name.to_owned(), arguments.to_owned()) }
            }
        })
    }

    /// Looks at the XDP program that is attached already: the driver would fail to attach its own,
    /// and take that one off on the way out. True when it was one of ours that a killed process left
    /// (no living one can have the interface: the caller holds its claim), which is gone now.
    fn make_way(&self, interface: &str, index: i32, sharing: bool) -> Result<bool, Error> {
        let mut name = [0u8; 16];
        // SAFETY: the name has room for the 16 bytes that are written, the last of them zero.
        let program = unsafe { sys::mayfly_xdp_program(index, name.as_mut_ptr().cast()) };
        let name = String::from_utf8_lossy(&name);
        let name = name.trim_end_matches('\0');
        if program == 0 || !sharing && name.starts_with(SOCKET_PROGRAM) {
            return Ok(false);
        }
        if name != PROGRAM_NAME {
            return Err(Error::XdpProgram { interface: interface.to_owned(), program });
        }
        // SAFETY: takes a number and returns one.
        match unsafe { sys::mayfly_xdp_detach(index) } {
            0 => Ok(true),
            errno => Err(self.error("removing the XDP program of a killed process", reason(errno))),
        }
    }

    fn claim(&self, interface: &str) -> Result<Claim, Error> {
        Claim::name(&format!("mayfly/{interface}"), &self.to_string())
    }

    /// Removes the socket that a killed process left behind, on which DPDK would fail.
    fn remove_stale_socket(&self, path: &str) -> Result<(), Error> {
        match UnixStream::connect(path) {
            Ok(_) => Err(Error::DeviceBusy(self.to_string())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path)
                .map_err(|error| self.error("removing a socket that nobody serves", error.to_string())),
            Err(_) => Ok(()),
        }
    }

    fn locked_memory(&self, limit: u64, needed: u64) -> Error {
        Error::LockedMemoryLimit {
            device: self.to_string(),
            limit_kib: limit / 1024,
            needed_kib: needed.div_ceil(1024),
        }
    }

    /// Adds the device to DPDK, configures and starts it.
    fn start(&self, mut plan: Plan, config: &OpenConfig, pools: Pools) -> Result<Vec<DevicePort>, Error> {
        let string = |text: &str| CString::new(text).map_err(|nul| self.error("its name", nul.to_string()));
        let (bus, name, arguments) = (string(plan.bus)?, string(&plan.name)?, string(&plan.arguments)?);
        let mark = log_mark();
        if plan.bus == "vdev" {
            // SAFETY: the strings are NUL-terminated and copied by DPDK.
            let added = unsafe { sys::rte_eal_hotplug_add(bus.as_ptr(), name.as_ptr(), arguments.as_ptr()) };
            if added != 0 {
                return Err(self.failed("adding the device to DPDK", added, mark));
            }
        }
        let mut id = 0;
        // SAFETY: the name is NUL-terminated, `id` writable.
        let found = unsafe { sys::rte_eth_dev_get_port_by_name(name.as_ptr(), &mut id) };
        if found != 0 {
            return Err(self.failed(
                "finding it among DPDK's ports (is a PCI device bound to vfio-pci?)",
                found,
                mark,
            ));
        }
        // From here on, dropping `device` undoes everything.
        let mut device = OpenDevice {
            id,
            bus,
            name,
            started: false,
            notes: std::mem::take(&mut plan.notes),
            _claim: plan.claim.take(),
            packet_drops: None,
        };
        let large_rx_frames = plan.large_frames == LargeFrames::Whole;
        let rx_pool = pools.large.filter(|_| large_rx_frames).unwrap_or(pools.pool);
        let mut capabilities = self.configure(&plan, &mut device, config, rx_pool, mark)?;
        if let (Some((_, interface)), Self::Xdp(name)) = (&plan.program, self)
            // SAFETY: takes a number and returns one.
            && unsafe { sys::mayfly_xdp_is_generic(*interface) } != 0
        {
            device.notes.push(format!(
                "the driver of '{name}' runs no XDP programs itself: the kernel does (generic mode), which is slower"
            ));
        }
        device.packet_drops = plan.packet_interface.map(PacketDrops::of_interface);
        // An MTU must fit an empty frame of the pool.
        capabilities.mtu = capabilities.mtu.min(usize::from(pools.pool.data_bytes()) - ETHERNET_BYTES);
        let device = Arc::new(device);
        Ok((0..config.queues)
            .map(|queue| DevicePort::new(Arc::clone(&device), queue, capabilities, pools, large_rx_frames))
            .collect())
    }

    fn configure(
        &self,
        plan: &Plan,
        device: &mut OpenDevice,
        config: &OpenConfig,
        rx_pool: Mempool,
        mark: u64,
    ) -> Result<Capabilities, Error> {
        let id = device.id;
        let check = |step: &'static str, result: i32| match result {
            0 => Ok(()),
            errno => Err(self.failed(step, errno, mark)),
        };
        // SAFETY: plain C structs of integers and pointers, for which all zero bits are valid.
        let (mut info, mut eth_conf) =
            unsafe { (std::mem::zeroed::<sys::rte_eth_dev_info>(), std::mem::zeroed::<sys::rte_eth_conf>()) };
        // SAFETY: the port exists, `info` is writable.
        check("asking for its limits", unsafe { sys::rte_eth_dev_info_get(id, &mut info) })?;
        if config.queues > info.max_rx_queues.min(info.max_tx_queues) {
            return Err(self.error(
                "its queues",
                format!("it has {} and {} were asked for", info.max_rx_queues, config.queues),
            ));
        }
        const CHECKSUMS: u64 = sys::RTE_ETH_RX_OFFLOAD_IPV4_CKSUM | sys::RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
        let rx_checksum = plan.checksums && info.rx_offload_capa & CHECKSUMS == CHECKSUMS;
        if rx_checksum {
            eth_conf.rxmode.offloads = CHECKSUMS;
        }
        let tx_checksum = plan.checksums && info.tx_offload_capa & sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM != 0;
        if tx_checksum {
            eth_conf.txmode.offloads = sys::RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
        }
        let (mut rx_descriptors, mut tx_descriptors) = (config.rx_descriptors, config.tx_descriptors);
        if let Self::Xdp(_) = self {
            rx_descriptors = rx_descriptors.max(XDP_FRAMES);
        }
        // SAFETY: the port exists and is stopped; all pointers are valid for the calls, `rx_pool`
        // lives until the process ends.
        unsafe {
            let configured = sys::rte_eth_dev_configure(id, config.queues, config.queues, &eth_conf);
            check("configuring it", configured)?;
            let adjusted =
                sys::rte_eth_dev_adjust_nb_rx_tx_desc(id, &mut rx_descriptors, &mut tx_descriptors);
            check("choosing its descriptors", adjusted)?;
            let socket = sys::rte_socket_id();
            for queue in 0..config.queues {
                let rx = sys::rte_eth_rx_queue_setup(
                    id,
                    queue,
                    rx_descriptors,
                    socket,
                    std::ptr::null(),
                    rx_pool.as_ptr(),
                );
                check("setting up its receive queue", rx)?;
                let tx = sys::rte_eth_tx_queue_setup(id, queue, tx_descriptors, socket, std::ptr::null());
                check("setting up its send queue", tx)?;
            }
            check("starting it", sys::rte_eth_dev_start(id))?;
        }
        device.started = true;

        let mut mtu = 0;
        let mut address = sys::rte_ether_addr { addr_bytes: [0; 6] };
        // SAFETY: the port exists; both results are writable. A driver that knows neither leaves
        // them alone.
        unsafe {
            sys::rte_eth_dev_get_mtu(id, &mut mtu);
            sys::rte_eth_macaddr_get(id, &mut address);
        }
        let mac = plan.mac.unwrap_or(match address.addr_bytes {
            [0, 0, 0, 0, 0, 0] => derived_mac(&self.to_string()),
            known => known,
        });
        let mtu = match (plan.mtu, self) {
            (Some(mtu), _) => mtu,
            (None, Self::Tap(name)) => Interface::find(name)?.mtu()?,
            (None, _) if mtu > 0 => mtu.into(),
            (None, _) => 1500,
        };
        Ok(Capabilities { mac, mtu, rx_checksum, rx_partial_checksum: plan.rx_partial_checksum, tx_checksum })
    }
}

/// The largest MTU of an interface with an XDP program: a page less the program's headroom and
/// the kernel's own data behind the frame.
const MAX_XDP_MTU: usize = 3498;

/// Frames in the pool for large packets. They are in use only while a large packet is; small ones
/// move to the ordinary pool.
const LARGE_FRAMES: u32 = 255;

/// The rings of a packet socket, large enough per frame for what a kernel peer sends that leaves
/// segmentation to its device (TSO, GSO): a TCP packet of almost 64 KiB.
///
/// The driver lays frames out as one array while the kernel starts a new block where a frame
/// would cross its end, so a block must hold a whole number of frames, and of pages. 64 KiB less
/// 128 fits an mbuf (whose lengths have 16 bits), leaves 65,342 bytes for the frame behind the
/// kernel's header, more than Linux sends, and keeps frames from all falling into one cache set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PacketRing {
    block_bytes: u64,
    frames: u64,
}

impl PacketRing {
    const FRAME_BYTES: u64 = 65_536 - 128;
    const FRAMES: u64 = 1024;

    fn smallest() -> Self {
        // SAFETY: asks for a constant of the system.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
        // FRAME_BYTES is 511 times 128 and a page a larger power of two.
        let frames = page / 128;
        Self { block_bytes: frames * Self::FRAME_BYTES, frames }
    }

    /// Of both rings.
    fn bytes(self) -> u64 {
        2 * self.frames * Self::FRAME_BYTES
    }

    /// The usual size, or what can be locked into memory; the limit when nothing can.
    fn within(lockable_bytes: u64) -> Result<Self, u64> {
        let one = Self::smallest();
        let blocks = (Self::FRAMES / one.frames).max(1).min(lockable_bytes / one.bytes());
        if blocks == 0 { Err(lockable_bytes) } else { Ok(Self { frames: blocks * one.frames, ..one }) }
    }
}

impl fmt::Display for PacketRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { block_bytes, frames } = self;
        write!(f, "framesz={},blocksz={block_bytes},framecnt={frames},qdisc_bypass=1", Self::FRAME_BYTES)
    }
}

/// A hardware address that is always the same for `name`: locally administered, even last byte.
fn derived_mac(name: &str) -> [u8; 6] {
    // FNV-1a, 64 bits.
    let hash =
        name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let [.., a, b, c, d, e] = hash.to_be_bytes();
    [0x02, a, b, c, d, e & !1]
}

struct Mac([u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests;
