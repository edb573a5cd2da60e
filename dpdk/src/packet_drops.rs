//! What the kernel drops in front of a full ring of a packet socket. DPDK 22.11's driver does not
//! ask for it, and its sockets are its own; they are found among the process' descriptors.

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};

/// The packet sockets of one interface.
#[derive(Debug)]
pub(crate) struct PacketDrops {
    sockets: Vec<RawFd>,
    so_far: AtomicU64,
}

impl PacketDrops {
    /// The packet sockets that this process has on the interface with this index.
    pub(crate) fn of_interface(index: i32) -> Self {
        let entries = std::fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        let descriptors = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let sockets = descriptors.filter(|&fd| bound_to(fd) == Some(index)).collect();
        Self { sockets, so_far: AtomicU64::new(0) }
    }

    /// Frames dropped since the sockets were found.
    pub(crate) fn total(&self) -> u64 {
        // The kernel tells each drop once. A driver that asks as well adds up what it hears, so
        // that nothing is told twice.
        let new: u64 = self.sockets.iter().map(|&fd| new_drops(fd)).sum();
        self.so_far.fetch_add(new, Ordering::Relaxed) + new
    }
}

/// The interface that a packet socket is bound to; `None` for any other descriptor.
fn bound_to(fd: RawFd) -> Option<i32> {
    let mut address = libc::sockaddr_ll {
        sll_family: 0,
        sll_protocol: 0,
        sll_ifindex: 0,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let mut len = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    // SAFETY: the address is writable and of the length given. Any number may be asked for: what
    // is no socket is an error.
    let status = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &raw mut len) };
    (status == 0 && i32::from(address.sll_family) == libc::AF_PACKET).then_some(address.sll_ifindex)
}

/// What a socket has dropped since it was asked last.
fn new_drops(fd: RawFd) -> u64 {
    let mut stats = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
    let mut len = size_of::<libc::tpacket_stats>() as libc::socklen_t;
    let into = (&raw mut stats).cast();
    // SAFETY: the struct is writable and of the length given.
    let status =
        unsafe { libc::getsockopt(fd, libc::SOL_PACKET, libc::PACKET_STATISTICS, into, &raw mut len) };
    if status == 0 { u64::from(stats.tp_drops) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn other_descriptors_are_no_packet_sockets() {
        let file = std::fs::File::open("/dev/null").expect("it is always there");
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("loopback");
        assert_eq!(bound_to(file.as_raw_fd()), None);
        assert_eq!(bound_to(socket.as_raw_fd()), None);
        assert_eq!(bound_to(-1), None);
        assert_eq!(new_drops(socket.as_raw_fd()), 0);
        assert!(PacketDrops::of_interface(1 << 30).sockets.is_empty());
    }
}
