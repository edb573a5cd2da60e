//! Where the server lives in the network: the directives that Redis does not have.
//!
//! | directive | value | default |
//! |---|---|---|
//! | `net` | `xdp:IFACE`, `packet:IFACE`, `tap:NAME`, `vhost:SOCKET`, `virtio:SOCKET`, `pci:ADDR`, `dpdk:VDEV-ARGS`, `kernel` | `kernel` |
//! | `address` | `IP/PREFIX` that our own stack answers on | – |
//! | `gateway` | next hop for other networks | – |
//! | `cores` | processors for the host's threads: `0,2-3` | one thread, not pinned |
//! | `offload` | `none` or `lifecycle` | `lifecycle` |
//! | `nic` | `embedded` or `inline` | `embedded` |
//! | `time-wait` | seconds of TIME_WAIT | 60 |

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use dpdk::Device;
use nicfw::Offload;

/// Where the firmware runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// On a thread of its own in the server's process.
    Embedded,
    /// On the server's first core.
    Inline,
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Inline => "inline",
        })
    }
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `net`
    pub device: Device,
    /// `address`: our own address and the length of its network's prefix.
    pub address: Option<(Ipv4Addr, u8)>,
    /// `gateway`
    pub gateway: Option<Ipv4Addr>,
    /// `cores`: one host thread on each; empty means one thread that is not pinned.
    pub cores: Vec<usize>,
    /// `offload`
    pub offload: Offload,
    /// `nic`
    pub nic: Nic,
    /// `time-wait` in seconds.
    pub time_wait_s: u64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            device: Device::Kernel,
            address: None,
            gateway: None,
            cores: Vec::new(),
            offload: Offload::Lifecycle,
            nic: Nic::Embedded,
            time_wait_s: 60,
        }
    }
}

/// Longest TIME_WAIT that can be asked for, in seconds: four times RFC 9293's 2 MSL.
const TIME_WAIT_MAX_S: u64 = 960;

impl Network {
    /// The names of the directives.
    pub const DIRECTIVES: [&'static str; 7] =
        ["net", "address", "gateway", "cores", "offload", "nic", "time-wait"];

    /// Takes one of [`Self::DIRECTIVES`].
    ///
    /// # Errors
    /// What is wrong with the value, and what would be right.
    ///
    /// # Panics
    /// On another name.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "net" => self.device = Device::from_str(value).map_err(|error| error.to_string())?,
            "address" => self.address = Some(parse_address(value)?),
            "gateway" => {
                let gateway = Ipv4Addr::from_str(value);
                self.gateway = Some(gateway.map_err(|_| format!("'{value}' is not an IPv4 address"))?);
            }
            "cores" => self.cores = parse_cores(value)?,
            "offload" => {
                self.offload = Offload::from_str(value)
                    .map_err(|_| format!("'{value}' is neither 'none' nor 'lifecycle'"))?;
            }
            "nic" => {
                self.nic = match value {
                    "embedded" => Nic::Embedded,
                    "inline" => Nic::Inline,
                    _ => return Err(format!("'{value}' is neither 'embedded' nor 'inline'")),
                }
            }
            "time-wait" => {
                let seconds = value.parse().ok().filter(|&seconds| seconds <= TIME_WAIT_MAX_S);
                self.time_wait_s = seconds.ok_or_else(|| {
                    format!("'{value}' is not a number of seconds from 0 to {TIME_WAIT_MAX_S}")
                })?;
            }
            _ => panic!("'{name}' is no directive of the network"),
        }
        Ok(())
    }

    /// The value in force of one of [`Self::DIRECTIVES`], as it would stand in a file.
    ///
    /// # Panics
    /// On another name.
    pub fn show(&self, name: &str) -> String {
        match name {
            "net" => self.device.to_string(),
            "address" => self.address.map_or_else(String::new, |(ip, prefix)| format!("{ip}/{prefix}")),
            "gateway" => self.gateway.map_or_else(String::new, |gateway| gateway.to_string()),
            "cores" => self.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
            "offload" => self.offload.to_string(),
            "nic" => self.nic.to_string(),
            "time-wait" => self.time_wait_s.to_string(),
            _ => panic!("'{name}' is no directive of the network"),
        }
    }

    /// Checks what only shows when all settings are known.
    ///
    /// # Errors
    /// What is missing or impossible together.
    pub fn check(&self) -> Result<(), String> {
        if self.device == Device::Kernel {
            return Ok(());
        }
        let Some((ip, prefix)) = self.address else {
            return Err(format!(
                "--net {} needs the address that Mayfly's own stack answers on: add --address IP/PREFIX \
                 (for example --address 198.18.0.2/24)",
                self.device
            ));
        };
        if let Some(gateway) = self.gateway {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
            if (u32::from(gateway) ^ u32::from(ip)) & mask != 0 {
                return Err(format!("gateway {gateway} is not in the network of address {ip}/{prefix}"));
            }
        }
        Ok(())
    }
}

fn parse_address(text: &str) -> Result<(Ipv4Addr, u8), String> {
    let wrong = || format!("'{text}' is not IP/PREFIX, such as 198.18.0.2/24 (IPv4, prefix 1 to 32)");
    let (ip, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let ip = Ipv4Addr::from_str(ip).map_err(|_| wrong())?;
    let prefix = prefix.parse().ok().filter(|prefix| (1..=32).contains(prefix)).ok_or_else(wrong)?;
    if ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast() || ip.is_loopback() {
        return Err(format!("'{text}': {ip} cannot be a host's own address"));
    }
    Ok((ip, prefix))
}

/// `0,2-3` as a list; each processor at most once.
fn parse_cores(text: &str) -> Result<Vec<usize>, String> {
    let wrong = || format!("'{text}' is not a list of processors, such as 0 or 0,2-3");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| wrong())?;
        let last: usize = last.trim().parse().map_err(|_| wrong())?;
        if first > last || last > 1023 {
            return Err(wrong());
        }
        cores.extend(first..=last);
    }
    let allowed = dpdk::allowed_cpus();
    if let Some(core) = cores.iter().find(|core| !allowed.contains(core)) {
        return Err(format!("processor {core} in '{text}' is not one this process may run on ({allowed:?})"));
    }
    let count = cores.len();
    cores.sort_unstable();
    cores.dedup();
    if cores.len() != count {
        return Err(format!("'{text}' names a processor twice"));
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_directive_is_taken_and_shown() {
        let mut network = Network::default();
        let core = dpdk::allowed_cpus()[0].to_string();
        let values = ["packet:eth0", "198.18.0.2/24", "198.18.0.1", &core, "none", "inline", "5"];
        for (name, value) in Network::DIRECTIVES.into_iter().zip(values) {
            assert_eq!(network.set(name, value), Ok(()), "{name} {value}");
            assert_eq!(network.show(name), value);
        }
        assert_eq!(network.check(), Ok(()));
    }

    #[test]
    fn wrong_values_are_named() {
        let mut network = Network::default();
        let cases = [
            ("net", "pigeon:x"),
            ("address", "198.18.0.2"),
            ("address", "198.18.0.2/33"),
            ("address", "x/24"),
            ("address", "127.0.0.1/8"),
            ("gateway", "::1"),
            ("cores", "a"),
            ("cores", "3-1"),
            ("cores", "0,0"),
            ("cores", "1023"),
            ("offload", "all"),
            ("nic", "x"),
            ("time-wait", "-1"),
            ("time-wait", "961"),
        ];
        for (name, value) in cases {
            let error = network.set(name, value).unwrap_err();
            assert!(error.contains(value), "{name} {value}: {error}");
        }
        network.set("net", "packet:eth0").unwrap();
        assert!(network.check().unwrap_err().contains("--address"));
        network.set("address", "198.18.0.2/24").unwrap();
        network.set("gateway", "198.18.1.1").unwrap();
        assert!(network.check().unwrap_err().contains("198.18.1.1"));
    }
}
