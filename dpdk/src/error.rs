//! What can go wrong, in words that say what to do.

use std::fmt;

/// Why the environment, a pool or a device could not be had.
///
/// The text of each names the offending value and the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The text after `--net` starts with no known scheme.
    UnknownScheme(String),
    /// The text after the scheme cannot be right; the second says why.
    BadDevice(String, String),
    /// `kernel` is not a DPDK device: the program serves it with ordinary sockets.
    NotADpdkDevice,
    /// There is no such network interface in this network namespace.
    NoSuchInterface(String),
    /// The interface is down and could not be brought up; the second says why.
    InterfaceDown(String, String),
    /// Another process uses the device.
    DeviceBusy(String),
    /// The process lacks these capabilities for the device.
    MissingPermission {
        /// The device as given.
        device: String,
        /// The names of the missing capabilities.
        capabilities: String,
    },
    /// The locked-memory limit is too small for the device's rings.
    LockedMemoryLimit {
        /// The device as given.
        device: String,
        /// What the limit is, in KiB.
        limit_kib: u64,
        /// What is needed at least, in KiB.
        needed_kib: u64,
    },
    /// The interface spreads packets over more queues than are served.
    UnservedQueues {
        /// The interface.
        interface: String,
        /// Its receive queues.
        has: u32,
        /// Those that would be served.
        served: u16,
    },
    /// Another XDP program is attached to the interface; two cannot share it.
    XdpProgram {
        /// The interface.
        interface: String,
        /// The kernel's number for the program.
        program: u32,
    },
    /// The interface cannot be shared with the kernel.
    Share {
        /// The interface.
        interface: String,
        /// Which step failed.
        step: &'static str,
        /// DPDK's, libbpf's or the system's reason.
        reason: String,
    },
    /// The kernel could not be asked for its own addresses.
    KernelAddresses(String),
    /// The interface's MTU does not fit the device's frames.
    MtuTooLarge {
        /// The interface.
        interface: String,
        /// Its MTU in bytes.
        mtu: usize,
        /// The largest one that works.
        largest: usize,
    },
    /// DPDK could not open the device.
    Open {
        /// The device as given.
        device: String,
        /// Which step failed.
        step: &'static str,
        /// DPDK's or the system's reason.
        reason: String,
    },
    /// DPDK's environment could not be started.
    Eal(String),
    /// DPDK's environment runs already, with another configuration.
    EalRunning,
    /// A pool of frames could not be made.
    Pool {
        /// Frames asked for.
        frames: u32,
        /// Data bytes per frame.
        data_bytes: u16,
        /// DPDK's reason.
        reason: String,
    },
    /// The thread could not be registered with DPDK.
    Thread(String),
    /// The thread could not be bound to this processor.
    Pin(usize, String),
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownScheme(text) => write!(
                f,
                "'{text}' is no device: expected xdp:IFACE, packet:IFACE, tap:NAME, vhost:SOCKET, \
                 virtio:SOCKET, pci:ADDRESS, dpdk:VDEV-ARGS or kernel"
            ),
            Self::BadDevice(text, why) => write!(f, "'{text}' is no usable device: {why}"),
            Self::NotADpdkDevice => {
                f.write_str("'kernel' stands for ordinary kernel sockets and opens no DPDK device")
            }
            Self::NoSuchInterface(name) => write!(
                f,
                "there is no network interface '{name}' in this network namespace; `ip link` lists those \
                 that exist"
            ),
            Self::InterfaceDown(name, why) => write!(
                f,
                "the interface '{name}' is down and could not be brought up ({why}); try: ip link set {name} up"
            ),
            Self::DeviceBusy(device) => {
                write!(f, "{device} is in use by another process; stop that one or choose another device")
            }
            Self::MissingPermission { device, capabilities } => {
                write!(f, "no permission to open {device}: run as root, or grant the program {capabilities}")
            }
            Self::LockedMemoryLimit { device, limit_kib, needed_kib } => write!(
                f,
                "the locked-memory limit of {limit_kib} KiB is too small for the rings of {device}: allow at \
                 least {needed_kib} KiB (ulimit -l), run as root, or grant CAP_IPC_LOCK"
            ),
            Self::UnservedQueues { interface, has, served } => write!(
                f,
                "'{interface}' spreads packets over {has} receive queues, of which {served} would be served; \
                 try: ethtool -L {interface} combined {served} (for a veth: rx {served})"
            ),
            Self::XdpProgram { interface, program } => write!(
                f,
                "another XDP program (number {program}, see `ip -d link show {interface}`) is attached to \
                 '{interface}', and two cannot share it; if it is not needed: ip link set {interface} xdp off"
            ),
            Self::Share { interface, step, reason } => write!(
                f,
                "cannot share '{interface}' with the kernel: {step}: {reason}. This needs a kernel with XDP and \
                 AF_XDP (5.10 or later) that lets this process load programs. Without: give the server an \
                 address that the kernel does not have (ip address del ADDRESS dev {interface}), and take \
                 packet:{interface} instead of xdp:{interface}"
            ),
            Self::KernelAddresses(reason) => {
                write!(f, "the kernel could not be asked for its addresses: {reason}")
            }
            Self::MtuTooLarge { interface, mtu, largest } => write!(
                f,
                "the MTU of '{interface}' is {mtu}, but this kind of device carries at most {largest}; \
                 try: ip link set {interface} mtu 1500"
            ),
            Self::Open { device, step, reason } => write!(f, "cannot open {device}: {step}: {reason}"),
            Self::Eal(reason) => write!(f, "DPDK could not be started: {reason}"),
            Self::EalRunning => f.write_str(
                "DPDK runs already in this process with another configuration, and starts only once",
            ),
            Self::Pool { frames, data_bytes, reason } => write!(
                f,
                "no memory for a pool of {frames} frames of {data_bytes} bytes ({reason}); raise memory_mb or \
                 ask for fewer frames"
            ),
            Self::Thread(reason) => write!(f, "the thread could not be registered with DPDK: {reason}"),
            Self::Pin(cpu, reason) => write!(f, "the thread could not be bound to processor {cpu}: {reason}"),
        }
    }
}
