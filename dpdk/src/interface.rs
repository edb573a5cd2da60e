//! Kernel network interfaces, asked for by ioctl: right in any network namespace, whatever is
//! mounted on /sys.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

use crate::error::Error;
use crate::path_lock::PathLock;

/// A kernel interface that exists.
#[derive(Debug)]
pub(crate) struct Interface {
    name: String,
    socket: OwnedFd,
}

const SIOCETHTOOL: libc::c_ulong = 0x8946;

/// The longest interface name that the kernel takes, in bytes.
pub(crate) const MAX_NAME: usize = libc::IFNAMSIZ - 1;

impl Interface {
    /// Finds it.
    ///
    /// # Errors
    /// [`Error::NoSuchInterface`], or [`Error::Open`] when the kernel cannot be asked.
    pub(crate) fn find(name: &str) -> Result<Self, Error> {
        // SAFETY: creates a file descriptor from constants.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(Error::Open {
                device: name.to_owned(),
                step: "asking the kernel for the interface",
                reason: io::Error::last_os_error().to_string(),
            });
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let interface = Self { name: name.to_owned(), socket };
        interface.index()?;
        Ok(interface)
    }

    /// The request with this interface's name in it.
    fn request(&self) -> libc::ifreq {
        // SAFETY: ifreq is plain data, for which all zero bits are valid.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        for (to, from) in request.ifr_name[..MAX_NAME].iter_mut().zip(self.name.bytes()) {
            *to = from as libc::c_char;
        }
        request
    }

    fn ioctl(&self, code: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: every code used here reads and writes one ifreq, which is valid and writable, and
        // for SIOCETHTOOL the struct that it points to (`rx_queues`).
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, request as *mut libc::ifreq) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn ask(&self, code: libc::c_ulong) -> Result<libc::ifreq, Error> {
        let mut request = self.request();
        self.ioctl(code, &mut request).map_err(|_| Error::NoSuchInterface(self.name.clone()))?;
        Ok(request)
    }

    /// The kernel's number for it.
    pub(crate) fn index(&self) -> Result<i32, Error> {
        // SAFETY: SIOCGIFINDEX fills in the index.
        Ok(unsafe { self.ask(libc::SIOCGIFINDEX)?.ifr_ifru.ifru_ifindex })
    }

    /// Its MTU in bytes.
    pub(crate) fn mtu(&self) -> Result<usize, Error> {
        // SAFETY: SIOCGIFMTU fills in the MTU.
        Ok(unsafe { self.ask(libc::SIOCGIFMTU)?.ifr_ifru.ifru_mtu }.max(0) as usize)
    }

    /// Its hardware address.
    pub(crate) fn mac(&self) -> Result<[u8; 6], Error> {
        // SAFETY: SIOCGIFHWADDR fills in the address.
        let data = unsafe { self.ask(libc::SIOCGIFHWADDR)?.ifr_ifru.ifru_hwaddr.sa_data };
        Ok(std::array::from_fn(|i| data[i] as u8))
    }

    /// How many receive queues the kernel uses on it; 1 when it does not say.
    pub(crate) fn rx_queues(&self) -> u32 {
        /// struct ethtool_channels of linux/ethtool.h.
        #[repr(C)]
        #[derive(Default)]
        struct Channels {
            command: u32,
            max: [u32; 4],
            rx: u32,
            tx: u32,
            other: u32,
            combined: u32,
        }
        const ETHTOOL_GCHANNELS: u32 = 0x3c;
        let mut channels = Channels { command: ETHTOOL_GCHANNELS, ..Channels::default() };
        let mut request = self.request();
        request.ifr_ifru.ifru_data = (&raw mut channels).cast();
        // The kernel writes no more than `channels`, whose layout it defines; see `ioctl`.
        match self.ioctl(SIOCETHTOOL, &mut request) {
            Ok(()) => (channels.rx + channels.combined).max(1),
            Err(_) => 1,
        }
    }

    /// Brings it up when it is down; true when that was needed.
    ///
    /// # Errors
    /// [`Error::InterfaceDown`] when the kernel refuses.
    pub(crate) fn bring_up(&self) -> Result<bool, Error> {
        let mut request = self.ask(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS filled in the flags.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        if i32::from(flags) & libc::IFF_UP != 0 {
            return Ok(false);
        }
        request.ifr_ifru.ifru_flags = flags | libc::IFF_UP as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS, &mut request)
            .map_err(|error| Error::InterfaceDown(self.name.clone(), error.to_string()))?;
        Ok(true)
    }
}

/// An address that the kernel itself has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelAddress {
    /// Name of the interface.
    pub interface: String,
    /// The address.
    pub address: IpAddr,
    /// Length of its network's prefix in bits.
    pub prefix_len: u8,
}

/// All addresses of the kernel in this network namespace.
///
/// # Errors
/// [`Error::KernelAddresses`].
pub fn kernel_addresses() -> Result<Vec<KernelAddress>, Error> {
    let mut first: *mut libc::ifaddrs = std::ptr::null_mut();
    // SAFETY: `first` is writable; what is put there is freed below, once.
    if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
        return Err(Error::KernelAddresses(io::Error::last_os_error().to_string()));
    }
    let mut found = Vec::new();
    let mut at = first;
    // SAFETY: the list's entries are valid until it is freed; its end is null.
    while let Some(entry) = unsafe { at.as_ref() } {
        at = entry.ifa_next;
        // SAFETY: a name is a NUL-terminated string; addresses are null, or of the size of their family.
        unsafe {
            let interface = std::ffi::CStr::from_ptr(entry.ifa_name).to_string_lossy().into_owned();
            if let (Some(address), Some(mask)) = (ip(entry.ifa_addr), ip(entry.ifa_netmask)) {
                let prefix_len = match mask {
                    IpAddr::V4(mask) => mask.to_bits().count_ones(),
                    IpAddr::V6(mask) => mask.to_bits().count_ones(),
                } as u8;
                found.push(KernelAddress { interface, address, prefix_len });
            }
        }
    }
    // SAFETY: `first` came from getifaddrs and nothing of the list is used any more.
    unsafe { libc::freeifaddrs(first) };
    Ok(found)
}

/// The IP address at `at`, if it is one.
///
/// # Safety
/// `at` is null, or points to a socket address as long as its family says.
unsafe fn ip(at: *const libc::sockaddr) -> Option<IpAddr> {
    if at.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    unsafe {
        match i32::from((*at).sa_family) {
            libc::AF_INET => {
                let at = at.cast::<libc::sockaddr_in>().read_unaligned();
                Some(Ipv4Addr::from_bits(u32::from_be(at.sin_addr.s_addr)).into())
            }
            libc::AF_INET6 => {
                let at = at.cast::<libc::sockaddr_in6>().read_unaligned();
                Some(Ipv6Addr::from(at.sin6_addr.s6_addr).into())
            }
            _ => None,
        }
    }
}

/// Capabilities by number (linux/capability.h).
const NET_ADMIN: u32 = 12;
const NET_RAW: u32 = 13;
const IPC_LOCK: u32 = 14;
const SYS_ADMIN: u32 = 21;

/// What this process may do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Capable(u64);

impl Capable {
    /// Reads the effective capabilities; all of them when the kernel does not tell.
    pub(crate) fn of_this_process() -> Self {
        let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
        let bits = status
            .lines()
            .find_map(|line| line.strip_prefix("CapEff:"))
            .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
        Self(bits.unwrap_or(u64::MAX))
    }

    fn has(self, capability: u32) -> bool {
        self.0 & (1 << capability) != 0
    }

    /// The names of what is missing to make a tap interface.
    pub(crate) fn missing_for_tap(self) -> Vec<&'static str> {
        if self.has(NET_ADMIN) { vec![] } else { vec!["CAP_NET_ADMIN"] }
    }

    /// The names of what is missing to open packet sockets and (as DPDK does when it starts any
    /// device) set the interface's address.
    pub(crate) fn missing_for_packet(self) -> Vec<&'static str> {
        let mut missing = if self.has(NET_RAW) { vec![] } else { vec!["CAP_NET_RAW"] };
        missing.extend(self.missing_for_tap());
        missing
    }

    /// The names of what is missing to attach an XDP program.
    pub(crate) fn missing_for_xdp(self) -> Vec<&'static str> {
        let mut missing = self.missing_for_packet();
        // CAP_BPF is not enough: libxdp looks programs up by number.
        if !self.has(SYS_ADMIN) {
            missing.push("CAP_SYS_ADMIN");
        }
        missing
    }

    /// How many bytes this process may lock into memory.
    pub(crate) fn lockable_bytes(self) -> u64 {
        if self.has(IPC_LOCK) {
            return u64::MAX;
        }
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: `limit` is writable.
        match unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &mut limit) } {
            0 => limit.rlim_cur,
            _ => 0,
        }
    }
}

/// Keeps a device taken until it is dropped or the process dies.
#[derive(Debug)]
pub(crate) enum Claim {
    /// A name in this network namespace: an abstract Unix socket, which the kernel itself cleans up.
    Name { _socket: UnixDatagram },
    /// A path, whatever the network namespace.
    Path { _lock: PathLock },
}

impl Claim {
    /// Takes `name`, shown as `device` when another process has it.
    ///
    /// # Errors
    /// [`Error::DeviceBusy`].
    pub(crate) fn name(name: &str, device: &str) -> Result<Self, Error> {
        let claimed =
            SocketAddr::from_abstract_name(name).and_then(|address| UnixDatagram::bind_addr(&address));
        match claimed {
            Ok(socket) => Ok(Self::Name { _socket: socket }),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(Error::DeviceBusy(device.to_owned()))
            }
            Err(error) => Err(unmarked(device, &error)),
        }
    }

    /// Takes `path`, shown as `device` when another process has it.
    ///
    /// # Errors
    /// [`Error::DeviceBusy`].
    pub(crate) fn path(path: &str, device: &str) -> Result<Self, Error> {
        let lock = PathLock::take(Path::new(path)).map_err(|error| unmarked(device, &error))?;
        lock.map(|lock| Self::Path { _lock: lock }).ok_or_else(|| Error::DeviceBusy(device.to_owned()))
    }
}

fn unmarked(device: &str, error: &io::Error) -> Error {
    Error::Open { device: device.to_owned(), step: "marking the device as used", reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_found_and_described() {
        let loopback = Interface::find("lo").expect("every system has one");
        assert!(loopback.index().expect("a number") > 0);
        assert!(loopback.mtu().expect("an MTU") >= 1500);
        assert_eq!(loopback.mac(), Ok([0; 6]));
        assert_eq!(loopback.rx_queues(), 1);
    }

    #[test]
    fn the_kernel_has_the_loopback_address() {
        let all = kernel_addresses().expect("the kernel tells");
        let loopback = all.iter().find(|known| known.address == IpAddr::V4(Ipv4Addr::LOCALHOST));
        // A namespace whose loopback interface is down has none.
        assert!(loopback.is_none_or(|known| known.interface == "lo" && known.prefix_len == 8), "{all:?}");
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = Interface::find("mayfly-none").expect_err("does not exist");
        assert_eq!(error, Error::NoSuchInterface("mayfly-none".into()));
    }

    #[test]
    fn a_claim_holds_until_it_is_dropped() {
        let name = format!("mayfly-test-{}", std::process::id());
        let path = std::env::temp_dir().join(&name).display().to_string();
        for take in [
            |name: &str, _: &str| Claim::name(name, "tap:x"),
            |_: &str, path: &str| Claim::path(path, "tap:x"),
        ] {
            let first = take(&name, &path).expect("free");
            let second = take(&name, &path).expect_err("taken");
            assert_eq!(second, Error::DeviceBusy("tap:x".into()));
            drop(first);
            take(&name, &path).expect("free again");
        }
    }

    #[test]
    fn without_capabilities_each_missing_one_is_named() {
        let none = Capable(0);
        assert_eq!(none.missing_for_tap(), ["CAP_NET_ADMIN"]);
        assert_eq!(none.missing_for_packet(), ["CAP_NET_RAW", "CAP_NET_ADMIN"]);
        assert_eq!(none.missing_for_xdp(), ["CAP_NET_RAW", "CAP_NET_ADMIN", "CAP_SYS_ADMIN"]);
        assert!(Capable(u64::MAX).missing_for_xdp().is_empty());
    }
}
