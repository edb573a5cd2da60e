//! Frames to and from a kernel interface, as they are: a packet socket.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result};

/// A packet socket on one interface. It hears what arrives there for anybody, not what is sent.
#[derive(Debug)]
pub(crate) struct PacketSocket(OwnedFd);

impl PacketSocket {
    /// Opens one on an interface of the calling thread's namespace.
    ///
    /// # Errors
    /// There is no such interface, or `CAP_NET_RAW` is missing.
    pub(crate) fn open(interface: &str) -> Result<Self> {
        open(interface).map(Self).with_context(|| format!("packet socket on {interface}"))
    }

    /// Takes a frame that has arrived into `into`; `None` when there is none. Returns its length.
    pub(crate) fn receive(&self, into: &mut [u8]) -> Option<usize> {
        // SAFETY: the buffer is writable and of the length given.
        let len = unsafe { libc::recv(self.0.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) };
        usize::try_from(len).ok()
    }

    /// Sends a frame. One that the kernel does not take is lost, as frames are.
    pub(crate) fn send(&self, frame: &[u8]) {
        // SAFETY: the buffer is readable and of the length given.
        unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
    }
}

/// Waits until a frame has arrived on one of the sockets, `timeout_ms` at most.
pub(crate) fn wait_readable(sockets: &[&PacketSocket], timeout_ms: i32) {
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| libc::pollfd { fd: socket.0.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the array is valid and of the length given.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, timeout_ms) };
}

fn open(interface: &str) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointers; a valid descriptor is owned at once.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol));
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let name = CString::new(interface)?;
    // SAFETY: the structures are plain data, zero is valid for them, and the sizes are theirs.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut promiscuous: libc::packet_mreq = std::mem::zeroed();
        promiscuous.mr_ifindex = address.sll_ifindex;
        promiscuous.mr_type = libc::PACKET_MR_PROMISC as u16;
        let size = size_of::<libc::packet_mreq>() as libc::socklen_t;
        let option = (&raw const promiscuous).cast();
        let fd = socket.as_raw_fd();
        if libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, option, size) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Without this, the socket would also hear what is sent through it.
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        libc::setsockopt(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, (&raw const on).cast(), size);
    }
    Ok(socket)
}
