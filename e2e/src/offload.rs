//! What an interface does for the kernel's TCP, switched off: a veth promises checksums and
//! segmentation that nobody does unless the frames leave the machine.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use anyhow::{Context, Result, ensure};

/// `ETHTOOL_STXCSUM` of linux/ethtool.h.
const SET_TX_CHECKSUM: u32 = 0x17;

/// `struct ethtool_value` of linux/ethtool.h.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

/// Makes the kernel compute TCP checksums itself, and so also cut segments itself, before it
/// gives frames to an interface of the calling thread's namespace.
///
/// # Errors
/// There is no such interface, or it belongs to somebody else.
pub(crate) fn checksums_in_software(interface: &str) -> Result<()> {
    ensure!(interface.len() < libc::IFNAMSIZ, "{interface}: an interface name has at most 15 bytes");
    let mut value = Value { command: SET_TX_CHECKSUM, data: 0 };
    // SAFETY: plain data for which zero is valid; the name fits with its zero byte; the kernel
    // reads and writes the eight bytes of `value`, which outlives the call.
    let status = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        if socket < 0 {
            return Err(io::Error::last_os_error()).context("a socket to configure with");
        }
        let socket = OwnedFd::from_raw_fd(socket);
        let mut request: libc::ifreq = std::mem::zeroed();
        for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
            *to = from as libc::c_char;
        }
        request.ifr_ifru.ifru_data = (&raw mut value).cast();
        libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request)
    };
    if status != 0 {
        return Err(io::Error::last_os_error()).with_context(|| format!("tx checksums of {interface}"));
    }
    Ok(())
}
