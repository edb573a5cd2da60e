//! A packet socket on one interface: whole Ethernet frames in and out.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Longest frame that is taken whole.
const FRAME_LEN_MAX: usize = 2048;
/// Memory for frames that have arrived and were not taken yet.
const RECEIVE_BUFFER: libc::c_int = 32 << 20;

/// Frames of one interface, both ways. What the socket itself sends it does not hear.
#[derive(Debug)]
pub struct PacketSocket {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// A frame that arrived.
pub struct Received {
    /// The frame, from the Ethernet header on.
    pub frame: Vec<u8>,
    /// How long ago the kernel took it in.
    pub age: Duration,
}

impl PacketSocket {
    /// Opens one on an interface of the calling thread's namespace; receiving never waits.
    ///
    /// # Errors
    /// There is no such interface, or `CAP_NET_RAW` is missing.
    pub fn open(interface: &str) -> io::Result<Self> {
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
        // SAFETY: the name ends with a zero byte.
        let index = unsafe { libc::if_nametoindex(name.as_ptr()) } as i32;
        if index == 0 {
            return Err(io::Error::last_os_error());
        }
        let this = Self { socket, buffer: vec![0; FRAME_LEN_MAX + 1] };
        // Without this, the socket would also hear what it sends.
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        this.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
        this.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, &1i32)?;
        this.set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &RECEIVE_BUFFER)?;
        // SAFETY: the structures are plain data, zero is valid for them, and the size is theirs.
        unsafe {
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = index;
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            if libc::bind(this.fd(), (&raw const address).cast(), size) != 0 {
                return Err(io::Error::last_os_error());
            }
            let mut promiscuous: libc::packet_mreq = std::mem::zeroed();
            promiscuous.mr_ifindex = index;
            promiscuous.mr_type = libc::PACKET_MR_PROMISC as u16;
            this.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
        }
        Ok(this)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let size = size_of::<T>() as libc::socklen_t;
        // SAFETY: the value is readable and of the size given.
        let status = unsafe { libc::setsockopt(self.fd(), level, option, (&raw const *value).cast(), size) };
        if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// The descriptor, to wait for.
    pub fn fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }

    /// The next frame that has arrived, if any. Frames beyond 2048 bytes are left out.
    pub fn receive(&mut self) -> Option<Received> {
        loop {
            let mut control = [0u64; 16];
            let mut part =
                libc::iovec { iov_base: self.buffer.as_mut_ptr().cast(), iov_len: self.buffer.len() };
            // SAFETY: the header is plain data; its buffers are writable and of the lengths given.
            let (len, message) = unsafe {
                let mut message: libc::msghdr = std::mem::zeroed();
                message.msg_iov = &raw mut part;
                message.msg_iovlen = 1;
                message.msg_control = control.as_mut_ptr().cast();
                message.msg_controllen = size_of_val(&control);
                (libc::recvmsg(self.fd(), &raw mut message, 0), message)
            };
            let len = usize::try_from(len).ok()?;
            if len <= FRAME_LEN_MAX {
                return Some(Received { frame: self.buffer[..len].to_vec(), age: age(&message) });
            }
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The interface did not take it.
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        // SAFETY: the buffer is readable and of the length given.
        let sent = unsafe { libc::send(self.fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Frames that arrived and found no room, since the last question.
    pub fn missed(&self) -> u64 {
        // SAFETY: plain data, zero is valid; the kernel writes at most the size given.
        let stats = unsafe {
            let mut stats: libc::tpacket_stats = std::mem::zeroed();
            let mut size = size_of::<libc::tpacket_stats>() as libc::socklen_t;
            let into = (&raw mut stats).cast();
            libc::getsockopt(self.fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, into, &raw mut size);
            stats
        };
        u64::from(stats.tp_drops)
    }
}

/// How long ago the kernel stamped a frame; zero when it did not.
fn age(message: &libc::msghdr) -> Duration {
    // SAFETY: the header was filled in by the kernel and its buffers are still there.
    let stamp = unsafe {
        let first = libc::CMSG_FIRSTHDR(message);
        if first.is_null() || (*first).cmsg_type != libc::SCM_TIMESTAMPNS {
            return Duration::ZERO;
        }
        libc::CMSG_DATA(first).cast::<libc::timespec>().read_unaligned()
    };
    let stamp = Duration::new(stamp.tv_sec as u64, stamp.tv_nsec as u32);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    // A clock that was set meanwhile must not stop the wire.
    now.saturating_sub(stamp).min(Duration::from_millis(100))
}
