//! The devices behind the one flag `--net`: their names. `open` is how each is opened.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;
use crate::interface::MAX_NAME;

mod open;
mod share;

pub use open::{OpenConfig, frames_mb};
pub use share::Share;

/// What `--net` names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Device {
    /// `xdp:IFACE`: all frames of a kernel interface, or what [`Share`] names, taken by an XDP program.
    Xdp(String),
    /// `packet:IFACE`: a packet socket on a kernel interface.
    Packet(String),
    /// `tap:NAME`: a kernel interface made for us.
    Tap(String),
    /// `vhost:SOCKET`: the serving side of a vhost-user socket.
    Vhost(String),
    /// `virtio:SOCKET`: the connecting side of a vhost-user socket.
    Virtio(String),
    /// `pci:ADDRESS`: a network card bound to a user-space driver.
    Pci(String),
    /// `dpdk:VDEV-ARGS`: any virtual device, in DPDK's own words.
    Vdev(String),
    /// `kernel`: ordinary kernel sockets; no DPDK device.
    Kernel,
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Xdp(name) => write!(f, "xdp:{name}"),
            Self::Packet(name) => write!(f, "packet:{name}"),
            Self::Tap(name) => write!(f, "tap:{name}"),
            Self::Vhost(path) => write!(f, "vhost:{path}"),
            Self::Virtio(path) => write!(f, "virtio:{path}"),
            Self::Pci(address) => write!(f, "pci:{address}"),
            Self::Vdev(arguments) => write!(f, "dpdk:{arguments}"),
            Self::Kernel => f.write_str("kernel"),
        }
    }
}

impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "kernel" {
            return Ok(Self::Kernel);
        }
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(Error::UnknownScheme(text.to_owned()));
        };
        let bad = |why: &str| Err(Error::BadDevice(text.to_owned(), why.to_owned()));
        let device = match scheme {
            "xdp" => Self::Xdp(rest.to_owned()),
            "packet" => Self::Packet(rest.to_owned()),
            "tap" => Self::Tap(rest.to_owned()),
            "vhost" => Self::Vhost(rest.to_owned()),
            "virtio" => Self::Virtio(rest.to_owned()),
            "dpdk" => Self::Vdev(rest.to_owned()),
            "pci" => Self::Pci(match full_pci_address(rest) {
                Some(address) => address,
                None => return bad("a PCI address looks like 0000:00:05.0 (`lspci -D` shows them)"),
            }),
            _ => return Err(Error::UnknownScheme(text.to_owned())),
        };
        if rest.is_empty() {
            return bad("nothing follows the ':'");
        }
        if rest.contains('\0') {
            return bad("it contains a NUL byte");
        }
        match device {
            Self::Xdp(_) | Self::Packet(_) | Self::Tap(_) => {
                if rest.len() > MAX_NAME {
                    return bad("an interface name has at most 15 bytes");
                }
                if rest.contains(|c: char| c.is_whitespace() || "/,:".contains(c)) {
                    return bad("an interface name has no spaces, slashes, commas or colons");
                }
            }
            Self::Vhost(_) | Self::Virtio(_) => {
                if rest.len() > MAX_SOCKET_PATH {
                    return bad("the path of a Unix socket has at most 107 bytes");
                }
                if rest.contains([',', '=']) {
                    return bad("DPDK takes no path with a comma or an equals sign");
                }
            }
            _ => {}
        }
        Ok(device)
    }
}

const MAX_SOCKET_PATH: usize = 107;

/// `05:00.1` or `0000:05:00.1` with its domain, or `None` when it is neither.
fn full_pci_address(text: &str) -> Option<String> {
    let hex = |part: &str, digits: usize| {
        (!part.is_empty() && part.len() <= digits).then(|| u32::from_str_radix(part, 16).ok()).flatten()
    };
    let (rest, function) = text.rsplit_once('.')?;
    let mut parts = rest.rsplit(':');
    let (device, bus, domain) = (parts.next()?, parts.next()?, parts.next().unwrap_or("0"));
    if parts.next().is_some() {
        return None;
    }
    let (domain, bus) = (hex(domain, 8)?, hex(bus, 2)?);
    let (device, function) = (hex(device, 2)?, hex(function, 1)?);
    (device < 32 && function < 8).then(|| format!("{domain:04x}:{bus:02x}:{device:02x}.{function}"))
}

#[cfg(test)]
mod tests;
