//! Where the server lives in the network: the directives that Redis does not have.
//!
//! `user-timeout`, `waiting-max`, `congestion`, `nagle` and `ttl` can change while the server runs.
//!
//! | directive | value | default |
//! |---|---|---|
//! | `net` | `xdp:IFACE`, `packet:IFACE`, `tap:NAME`, `vhost:SOCKET`, `virtio:SOCKET`, `pci:ADDR`, `dpdk:VDEV-ARGS`, `kernel` | `kernel` |
//! | `address` | `IP/PREFIX` that our own stack answers on, IPv4 or IPv6; several with spaces or commas; with `xdp:`, the kernel's own to share the interface with it | with `xdp:` the interface's own |
//! | `gateway` | next hop for other networks, one for each version of IP | – |
//! | `vlan` | number of the VLAN that the device is in | none |
//! | `cores` | processors for the host's threads: `0,2-3` | one thread, not pinned |
//! | `offload` | `none` or `lifecycle` | `lifecycle` |
//! | `nic` | `embedded`, `inline` or `external` | `embedded` |
//! | `nic-timeout` | seconds that an external NIC may take to answer | 10 |
//! | `time-wait` | seconds of TIME_WAIT | 60 |
//! | `steer` | what chooses a connection's core: `rss`, `symmetric` or `key` | `rss` |
//! | `network-syn-rate` | SYN-ACKs per second for each source network (/24, /64); 0: no limit | 0 |
//! | `network-connections` | connections of each source network at once; 0: no limit | 0 |
//! | `refuse` | what those hear whom the firmware turns away: `error`, `reset` or `silence` | `error` |
//! | `user-timeout` | seconds that sent data may stay unacknowledged before the connection ends; 0: only repetitions are counted | 0 |
//! | `waiting-max` | seconds that a connection may wait for its first request; 0: as long as the client lives | 0 |
//! | `last-data-max` | bytes that the firmware takes over to send and close a connection, beyond one segment | 65536 |
//! | `congestion` | congestion control: `cubic` or `newreno` | `cubic` |
//! | `ecn` | explicit congestion notification where a client offers it: `accept` or `off`; at `offload none` | `accept` |
//! | `nagle` | a small segment waits while another is unacknowledged: `yes` or `no` | `no` |
//! | `ttl` | time to live (hop limit) of packets that are sent, 1 to 255 | 64 |

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use dpdk::Device;
use netcore::Duration;
use nicfw::{Offload, Steer};
use protocol::ip::Address;
use protocol::ipv4::DEFAULT_TTL;
use stack::{CongestionControl, EcnPolicy, Refusal};

use crate::config::memory;

pub(crate) mod share;

/// Where the firmware runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nic {
    /// On a thread of its own in the server's process.
    Embedded,
    /// On the server's first core.
    Inline,
    /// In another process, or on a card: `mayfly-nic` at the other end of the device.
    External,
}

impl fmt::Display for Nic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Embedded => "embedded",
            Self::Inline => "inline",
            Self::External => "external",
        })
    }
}

/// The settings in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// `net`
    pub device: Device,
    /// `address`: our own addresses and the lengths of their networks' prefixes.
    pub addresses: Vec<stack::Network>,
    /// `gateway`: at most one of each version.
    pub gateways: Vec<Address>,
    /// `vlan`: 1 to 4094.
    pub vlan: Option<u16>,
    /// `cores`: one host thread on each; empty means one thread that is not pinned.
    pub cores: Vec<usize>,
    /// `offload`
    pub offload: Offload,
    /// `nic`
    pub nic: Nic,
    /// `nic-timeout` in seconds.
    pub nic_timeout_s: u64,
    /// `time-wait` in seconds.
    pub time_wait_s: u64,
    /// `refuse`
    pub refuse: Refusal,
    /// `steer`
    pub steer: Steer,
    /// `network-syn-rate`: SYN-ACKs per second; 0: no limit.
    pub network_syn_rate: u32,
    /// `network-connections`; 0: no limit.
    pub network_connections: u32,
    /// `user-timeout` in seconds; 0: none.
    pub user_timeout_s: u64,
    /// `waiting-max` in seconds; 0: none.
    pub waiting_max_s: u64,
    /// `last-data-max` in bytes.
    pub last_data_max: u32,
    /// `congestion`
    pub congestion: CongestionControl,
    /// `ecn`
    pub ecn: EcnPolicy,
    /// `nagle`
    pub nagle: bool,
    /// `ttl`
    pub ttl: u8,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            device: Device::Kernel,
            addresses: Vec::new(),
            gateways: Vec::new(),
            vlan: None,
            cores: Vec::new(),
            offload: Offload::Lifecycle,
            nic: Nic::Embedded,
            nic_timeout_s: 10,
            time_wait_s: 60,
            // As Redis does it.
            refuse: Refusal::Error,
            steer: Steer::Rss,
            network_syn_rate: 0,
            network_connections: 0,
            user_timeout_s: 0,
            waiting_max_s: 0,
            last_data_max: 64 * 1024,
            congestion: CongestionControl::Cubic,
            ecn: EcnPolicy::Accept,
            nagle: false,
            ttl: DEFAULT_TTL,
        }
    }
}

/// The words of `refuse`.
const REFUSALS: [(&str, Refusal); 3] =
    [("reset", Refusal::Reset), ("silence", Refusal::Silence), ("error", Refusal::Error)];

/// The words of `congestion`.
const CONGESTION: [(&str, CongestionControl); 2] =
    [("cubic", CongestionControl::Cubic), ("newreno", CongestionControl::NewReno)];
/// The words of `ecn`. A server opens no connections, so that there is nobody to offer it to.
const ECN: [(&str, EcnPolicy); 2] = [("accept", EcnPolicy::Accept), ("off", EcnPolicy::Off)];
const YES_OR_NO: [(&str, bool); 2] = [("yes", true), ("no", false)];

/// Longest `user-timeout` and `waiting-max`, in seconds: a day.
const PATIENCE_MAX_S: u64 = 86_400;
/// Largest `last-data-max` in bytes.
const LAST_DATA_MOST: i64 = 16 << 20;
/// Longest patience with an external NIC, in seconds.
const NIC_TIMEOUT_MAX_S: u64 = 3600;
/// Longest TIME_WAIT that can be asked for, in seconds: four times RFC 9293's 2 MSL.
const TIME_WAIT_MAX_S: u64 = 960;

impl Network {
    /// The names of the directives.
    pub const DIRECTIVES: [&'static str; 20] = [
        "net",
        "address",
        "gateway",
        "vlan",
        "cores",
        "offload",
        "nic",
        "nic-timeout",
        "time-wait",
        "refuse",
        "steer",
        "network-syn-rate",
        "network-connections",
        "user-timeout",
        "waiting-max",
        "last-data-max",
        "congestion",
        "ecn",
        "nagle",
        "ttl",
    ];

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
            "address" => self.addresses = parse_addresses(value)?,
            "gateway" => self.gateways = parse_gateways(value)?,
            "vlan" => {
                let vlan = value.parse().ok().filter(|vlan| (1..=netcore::vlan::ID_MAX).contains(vlan));
                self.vlan =
                    Some(vlan.ok_or_else(|| format!("'{value}' is not the number of a VLAN, 1 to 4094"))?);
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
                    "external" => Nic::External,
                    _ => return Err(format!("'{value}' is neither 'embedded', 'inline' nor 'external'")),
                }
            }
            "nic-timeout" => self.nic_timeout_s = seconds(value, 1, NIC_TIMEOUT_MAX_S)?,
            "time-wait" => self.time_wait_s = seconds(value, 0, TIME_WAIT_MAX_S)?,
            "user-timeout" => self.user_timeout_s = seconds(value, 0, PATIENCE_MAX_S)?,
            "waiting-max" => self.waiting_max_s = seconds(value, 0, PATIENCE_MAX_S)?,
            "last-data-max" => {
                let bytes = memory(value).ok().filter(|bytes| (0..=LAST_DATA_MOST).contains(bytes));
                let wrong = || format!("'{value}' is not a size from 0 to 16mb");
                self.last_data_max = bytes.ok_or_else(wrong)? as u32;
            }
            "congestion" => self.congestion = named(value, &CONGESTION)?,
            "ecn" => self.ecn = named(value, &ECN)?,
            "nagle" => self.nagle = named(value, &YES_OR_NO)?,
            "ttl" => {
                let ttl = value.parse().ok().filter(|&ttl| ttl > 0);
                self.ttl = ttl.ok_or_else(|| format!("'{value}' is not a number of hops from 1 to 255"))?;
            }
            "network-syn-rate" => self.network_syn_rate = limit(value, "SYNs per second")?,
            "network-connections" => self.network_connections = limit(value, "connections")?,
            "steer" => {
                self.steer = Steer::from_str(value)
                    .map_err(|_| format!("'{value}' is not 'rss', 'symmetric' or 'key'"))?;
            }
            "refuse" => self.refuse = named(value, &REFUSALS)?,
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
            "address" => {
                let show = |network: &stack::Network| format!("{}/{}", network.address, network.prefix_len);
                self.addresses.iter().map(show).collect::<Vec<_>>().join(" ")
            }
            "gateway" => self.gateways.iter().map(Address::to_string).collect::<Vec<_>>().join(" "),
            "vlan" => self.vlan.map_or_else(String::new, |vlan| vlan.to_string()),
            "cores" => self.cores.iter().map(usize::to_string).collect::<Vec<_>>().join(","),
            "offload" => self.offload.to_string(),
            "nic" => self.nic.to_string(),
            "nic-timeout" => self.nic_timeout_s.to_string(),
            "time-wait" => self.time_wait_s.to_string(),
            "steer" => self.steer.to_string(),
            "network-syn-rate" => self.network_syn_rate.to_string(),
            "network-connections" => self.network_connections.to_string(),
            "refuse" => name_of(self.refuse, &REFUSALS),
            "user-timeout" => self.user_timeout_s.to_string(),
            "waiting-max" => self.waiting_max_s.to_string(),
            "last-data-max" => self.last_data_max.to_string(),
            "congestion" => name_of(self.congestion, &CONGESTION),
            "ecn" => name_of(self.ecn, &ECN),
            "nagle" => name_of(self.nagle, &YES_OR_NO),
            "ttl" => self.ttl.to_string(),
            _ => panic!("'{name}' is no directive of the network"),
        }
    }

    /// Checks what only shows when all settings are known.
    ///
    /// # Errors
    /// What is missing or impossible together.
    pub fn check(&self) -> Result<(), String> {
        if self.nic == Nic::External {
            self.check_external()?;
        }
        if self.device == Device::Kernel {
            return Ok(());
        }
        // Those of the interface, which is shared with the kernel then.
        let may_be_left_out = matches!(self.device, Device::Xdp(_));
        if self.addresses.is_empty() && !may_be_left_out {
            return Err(format!(
                "--net {} needs the address that Mayfly's own stack answers on: add --address IP/PREFIX \
                 (for example --address 198.18.0.2/24)",
                self.device
            ));
        }
        if self.offload == Offload::None {
            let settings = [
                (self.steer == Steer::Key, "--steer key"),
                (self.network_syn_rate > 0, "--network-syn-rate"),
                (self.network_connections > 0, "--network-connections"),
                (self.waiting_max_s > 0, "--waiting-max"),
                (self.last_data_max != Self::default().last_data_max, "--last-data-max"),
            ];
            if let Some((_, name)) = settings.into_iter().find(|(is_set, _)| *is_set) {
                return Err(format!("{name} is the firmware's work and needs --offload lifecycle"));
            }
        }
        for gateway in &self.gateways {
            if self.addresses.is_empty() {
                return Err(format!(
                    "gateway {gateway}: without an address of its own, {} is shared with the kernel, whose routes \
                     are used; leave it out",
                    self.device
                ));
            }
            // A router's link-local address is in the network of the one that we get by ourselves.
            let has_v6 = self.addresses.iter().any(|network| !network.address.is_v4());
            let by_link = gateway.is_link_local_v6() && has_v6;
            let by_network =
                |network: &stack::Network| network.address.shares_prefix(gateway, network.prefix_len);
            if !by_link && !self.addresses.iter().any(by_network) {
                let networks = self.show("address");
                return Err(format!("gateway {gateway} is in no network of the address {networks}"));
            }
        }
        Ok(())
    }

    /// What can change, for the firmware.
    pub(crate) fn of_firmware(&self) -> nicfw::Changeable {
        nicfw::Changeable {
            user_timeout: Duration::limit(self.user_timeout_s),
            waiting_max: Duration::limit(self.waiting_max_s),
            ttl: self.ttl,
        }
    }

    /// The device is the way to the NIC, and the wire is the NIC's.
    fn check_external(&self) -> Result<(), String> {
        if self.device == Device::Kernel {
            return Err("--nic external needs the device that leads to the NIC: add --net virtio:SOCKET, \
                 where SOCKET is that of mayfly-nic --host vhost:SOCKET"
                .into());
        }
        let default = Self::default();
        for name in
            ["vlan", "steer", "network-syn-rate", "network-connections", "waiting-max", "last-data-max"]
        {
            if self.show(name) != default.show(name) {
                return Err(format!(
                    "--{name} is the firmware's, which with --nic external is mayfly-nic: tell it there"
                ));
            }
        }
        Ok(())
    }
}

fn seconds(text: &str, min: u64, max: u64) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (min..=max).contains(seconds));
    seconds.ok_or_else(|| format!("'{text}' is not a number of seconds from {min} to {max}"))
}

/// What one of these words stands for.
fn named<T: Copy>(text: &str, words: &[(&str, T)]) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = words.iter().map(|(word, _)| format!("'{word}'")).collect();
        format!("'{text}' is not {}", words.join(" or "))
    })
}

/// The word that stands for it.
fn name_of<T: PartialEq>(value: T, words: &[(&str, T)]) -> String {
    words.iter().find(|(_, known)| *known == value).map_or_else(String::new, |(word, _)| (*word).to_owned())
}

/// A number of something, 0 for no limit.
fn limit(text: &str, of: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("'{text}' is not a number of {of}, or 0 for no limit"))
}

/// Words between spaces or commas.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split([' ', '\t', ',']).filter(|word| !word.is_empty())
}

fn parse_addresses(text: &str) -> Result<Vec<stack::Network>, String> {
    let networks = words(text).map(parse_address).collect::<Result<Vec<_>, _>>()?;
    // One place is for the link-local address.
    let most = stack::ADDRESSES_MAX - 1;
    if networks.is_empty() || networks.len() > most {
        return Err(format!("'{text}' names {} addresses instead of 1 to {most}", networks.len()));
    }
    for (at, network) in networks.iter().enumerate() {
        if networks[..at].iter().any(|other| other.address == network.address) {
            return Err(format!("'{text}' names {} twice", network.address));
        }
    }
    Ok(networks)
}

fn parse_address(text: &str) -> Result<stack::Network, String> {
    let wrong = || {
        format!(
            "'{text}' is not IP/PREFIX, such as 198.18.0.2/24 (prefix 1 to 32) or 2001:2::2/64 (prefix 1 to 128)"
        )
    };
    let (ip, prefix) = text.split_once('/').ok_or_else(wrong)?;
    let ip = IpAddr::from_str(ip).map_err(|_| wrong())?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let prefix_len = prefix.parse().ok().filter(|prefix| (1..=most).contains(prefix)).ok_or_else(wrong)?;
    let address = Address::from(ip);
    if address.is_never_a_host() || address.is_v4() != ip.is_ipv4() {
        return Err(format!("'{text}': {ip} cannot be a host's own address"));
    }
    Ok(stack::Network { address, prefix_len })
}

fn parse_gateways(text: &str) -> Result<Vec<Address>, String> {
    let mut gateways: Vec<Address> = Vec::new();
    for word in words(text) {
        let ip = IpAddr::from_str(word).map_err(|_| format!("'{word}' is not an IP address"))?;
        let gateway = Address::from(ip);
        if gateways.iter().any(|other| other.version() == gateway.version()) {
            return Err(format!("'{text}' names two gateways of one version of IP"));
        }
        gateways.push(gateway);
    }
    Ok(gateways)
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
        let addresses = "198.18.0.2/24 2001:2::2/64";
        let gateways = "198.18.0.1 fe80::1";
        let values = [
            "packet:eth0",
            addresses,
            gateways,
            "7",
            &core,
            "lifecycle",
            "inline",
            "9",
            "5",
            "silence",
            "key",
            "1000",
            "50",
            "90",
            "30",
            "100000",
            "newreno",
            "off",
            "yes",
            "32",
        ];
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
            ("address", "2001:2::2/129"),
            ("address", "::ffff:1.2.3.4/64"),
            ("address", "1.2.3.4/8,1.2.3.4/8"),
            ("address", "ff02::1/64"),
            ("gateway", "x"),
            ("gateway", "1.2.3.4 1.2.3.5"),
            ("vlan", "0"),
            ("vlan", "4095"),
            ("cores", "a"),
            ("cores", "3-1"),
            ("cores", "0,0"),
            ("cores", "1023"),
            ("offload", "all"),
            ("nic", "x"),
            ("nic-timeout", "0"),
            ("nic-timeout", "3601"),
            ("time-wait", "-1"),
            ("time-wait", "961"),
            ("refuse", "politely"),
            ("steer", "north"),
            ("network-syn-rate", "-1"),
            ("network-connections", "many"),
            ("user-timeout", "-1"),
            ("user-timeout", "86401"),
            ("waiting-max", "soon"),
            ("last-data-max", "17mb"),
            ("last-data-max", "much"),
            ("congestion", "reno"),
            ("ecn", "offer"),
            ("nagle", "on"),
            ("ttl", "0"),
            ("ttl", "256"),
        ];
        for (name, value) in cases {
            let error = network.set(name, value).unwrap_err();
            assert!(error.contains(value), "{name} {value}: {error}");
        }
        network.set("net", "packet:eth0").unwrap();
        assert!(network.check().unwrap_err().contains("--address"));
        network.set("net", "xdp:eth0").unwrap();
        assert_eq!(network.check(), Ok(()), "the address is the kernel's");
        network.set("address", "198.18.0.2/24").unwrap();
        network.set("gateway", "198.18.1.1").unwrap();
        assert!(network.check().unwrap_err().contains("198.18.1.1"));
        network.set("gateway", "198.18.0.1,fe80::1").unwrap();
        assert!(network.check().unwrap_err().contains("fe80::1"), "there is no IPv6 address");
        network.set("address", "198.18.0.2/24,2001:2::2/64").unwrap();
        assert_eq!(network.check(), Ok(()));
        network.set("steer", "key").unwrap();
        assert_eq!(network.check(), Ok(()));
        network.set("offload", "none").unwrap();
        assert!(network.check().unwrap_err().contains("--steer key"));
        network.set("steer", "rss").unwrap();
        network.set("waiting-max", "9").unwrap();
        assert!(network.check().unwrap_err().contains("--waiting-max"));
        network.set("waiting-max", "0").unwrap();
        network.set("last-data-max", "1kb").unwrap();
        assert!(network.check().unwrap_err().contains("--last-data-max"));
        network.set("offload", "lifecycle").unwrap();
        assert_eq!(network.check(), Ok(()));
        network.set("nic", "external").unwrap();
        assert!(network.check().unwrap_err().contains("mayfly-nic"));
        network.set("last-data-max", "64kb").unwrap();
        network.set("steer", "key").unwrap();
        assert!(network.check().unwrap_err().contains("mayfly-nic"));
        network.set("steer", "rss").unwrap();
        assert_eq!(network.check(), Ok(()));
        network.set("vlan", "7").unwrap();
        assert!(network.check().unwrap_err().contains("--vlan"));
        network.set("net", "kernel").unwrap();
        assert!(network.check().unwrap_err().contains("virtio:SOCKET"));
    }
}
