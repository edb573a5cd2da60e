//! Sharing an interface with the kernel: the XDP program (`xdp/share.c`) and the settings that are
//! filled into it before DPDK's driver loads it.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::fd::{AsRawFd, FromRawFd};

use crate::error::Error;

/// The compiled program.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/share.o"));
/// Its name, by which one is known that a killed process left behind.
pub(super) const PROGRAM_NAME: &str = "mayfly_share";

/// `struct settings` of the program, and where its fields are: the mark that tells where it begins,
/// MAC (6), VLAN (2), number of ports (4) and of addresses (4), ports (2 each), addresses (16 each).
const MARK: &[u8; 16] = b"mayfly settings\0";
const MAC_AT: usize = 16;
const VLAN_AT: usize = 22;
const PORT_COUNT_AT: usize = 24;
const ADDRESS_COUNT_AT: usize = 28;
const PORTS_AT: usize = 32;
const ADDRESSES_AT: usize = PORTS_AT + 2 * Share::PORTS_MAX;

/// What is taken from an interface that the kernel goes on using: TCP to these addresses and ports,
/// and the ICMP errors about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// Addresses, which the kernel may have too; at most [`Self::ADDRESSES_MAX`].
    pub addresses: Vec<IpAddr>,
    /// TCP ports that are listened on; at most [`Self::PORTS_MAX`].
    pub ports: Vec<u16>,
    /// The VLAN that they are in, 1..=4094.
    pub vlan: Option<u16>,
}

impl fmt::Display for Share {
    /// Whose is what, in words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = |all: Vec<String>| all.join(", ");
        let ports = words(self.ports.iter().map(u16::to_string).collect());
        let addresses = words(self.addresses.iter().map(IpAddr::to_string).collect());
        write!(f, "TCP port {ports} of {addresses} is the server's, everything else stays with the kernel")
    }
}

impl Share {
    /// Most addresses.
    pub const ADDRESSES_MAX: usize = 64;
    /// Most ports.
    pub const PORTS_MAX: usize = 8;

    /// The program with these settings, as a file that is gone when it is closed.
    ///
    /// # Errors
    /// [`Error::Share`]: too many addresses or ports, or no memory for the file.
    pub(super) fn program(&self, interface: &str, mac: [u8; 6]) -> Result<ProgramFile, Error> {
        let error = |step, reason: String| Error::Share { interface: interface.to_owned(), step, reason };
        let object =
            self.object(mac).map_err(|reason| error("filling its settings into the program", reason))?;
        ProgramFile::new(&object).map_err(|reason| error("keeping the program in memory", reason.to_string()))
    }

    fn object(&self, mac: [u8; 6]) -> Result<Vec<u8>, String> {
        let count = |what: &str, count: usize, most: usize| match count {
            1.. if count <= most => Ok((count as u32).to_ne_bytes()),
            _ => Err(format!("{count} {what}; 1 to {most} are possible")),
        };
        let address_count = count("addresses", self.addresses.len(), Self::ADDRESSES_MAX)?;
        let port_count = count("ports", self.ports.len(), Self::PORTS_MAX)?;
        let mut object = OBJECT.to_vec();
        let at = object.windows(MARK.len()).position(|bytes| bytes == MARK);
        let settings = &mut object[at.ok_or("the program has none")?..];
        let mut put = |at: usize, bytes: &[u8]| settings[at..at + bytes.len()].copy_from_slice(bytes);
        put(MAC_AT, &mac);
        put(VLAN_AT, &self.vlan.unwrap_or(0).to_ne_bytes());
        put(PORT_COUNT_AT, &port_count);
        put(ADDRESS_COUNT_AT, &address_count);
        for (number, port) in self.ports.iter().enumerate() {
            put(PORTS_AT + 2 * number, &port.to_be_bytes());
        }
        for (number, address) in self.addresses.iter().enumerate() {
            let octets = match address {
                IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
                IpAddr::V6(address) => address.octets(),
            };
            put(ADDRESSES_AT + 16 * number, &octets);
        }
        Ok(object)
    }
}

/// A file in memory that holds the program while the driver loads it by its path.
#[derive(Debug)]
pub(super) struct ProgramFile(File);

impl ProgramFile {
    fn new(object: &[u8]) -> io::Result<Self> {
        // SAFETY: the name is a NUL-terminated constant.
        let fd = unsafe { libc::memfd_create(c"mayfly_share.o".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: `fd` was just opened and belongs to nobody else.
        let mut file = unsafe { File::from_raw_fd(fd) };
        file.write_all(object)?;
        Ok(Self(file))
    }

    /// Where it can be opened by name, from this process.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}", self.0.as_raw_fd())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(object: &[u8]) -> usize {
        object.windows(MARK.len()).filter(|bytes| bytes == MARK).count()
    }

    #[test]
    fn the_settings_are_found_once_and_filled_in() {
        assert_eq!(marks(OBJECT), 1);
        let share = Share {
            addresses: vec!["198.18.0.2".parse().unwrap(), "2001:2::2".parse().unwrap()],
            ports: vec![6379, 6380],
            vlan: Some(5),
        };
        let shown = share.to_string();
        assert!(shown.starts_with("TCP port 6379, 6380 of 198.18.0.2, 2001:2::2 is"), "{shown}");
        let object = share.object([2, 0, 0, 0, 0, 7]).unwrap();
        assert_eq!((object.len(), marks(&object)), (OBJECT.len(), 1));
        let at = object.windows(MARK.len()).position(|bytes| bytes == MARK).unwrap();
        let settings = &object[at..];
        assert_eq!(settings[MAC_AT..VLAN_AT], [2, 0, 0, 0, 0, 7]);
        assert_eq!(settings[PORT_COUNT_AT..PORTS_AT], [2u32.to_ne_bytes(), 2u32.to_ne_bytes()].concat());
        assert_eq!(settings[PORTS_AT..PORTS_AT + 6], [0x18, 0xeb, 0x18, 0xec, 0, 0]);
        let address = &settings[ADDRESSES_AT..ADDRESSES_AT + 16];
        assert_eq!(address, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 198, 18, 0, 2]);
        // Everything else is as it was compiled.
        let end = at + ADDRESSES_AT + 16 * Share::ADDRESSES_MAX;
        assert!(object[..at] == OBJECT[..at] && object[end..] == OBJECT[end..]);
    }

    #[test]
    fn too_few_and_too_many_are_refused() {
        let address = || "198.18.0.2".parse().unwrap();
        let share = |addresses: usize, ports: usize| Share {
            addresses: (0..addresses).map(|_| address()).collect(),
            ports: vec![1; ports],
            vlan: None,
        };
        for (addresses, ports) in [(0, 1), (65, 1), (1, 0), (1, 9)] {
            let error = share(addresses, ports).program("eth7", [2; 6]).unwrap_err().to_string();
            assert!(error.contains("are possible") && error.contains("eth7"), "{error}");
        }
        let file = share(64, 8).program("eth7", [2; 6]).unwrap();
        assert_eq!(std::fs::read(file.path()).unwrap().len(), OBJECT.len());
    }
}
