//! Who the clients are and whom they ask.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use netcore::{Capabilities, Duration};
use protocol::ethernet::Mac;
use protocol::ip::{self, Address, Version};
use protocol::tcp;

use super::connection::Settings;

/// An address and the length of its network's prefix: `198.18.0.1/24`, `2001:2::1/64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// The address.
    pub addr: Address,
    /// Bits of the prefix, 0..=32 or 0..=128.
    pub prefix_len: u8,
}

impl Network {
    /// True when `addr` is in the same network.
    pub fn contains(&self, addr: Address) -> bool {
        self.addr.shares_prefix(&addr, self.prefix_len)
    }

    /// The address `steps` behind [`Self::addr`]; `None` when the version has none.
    pub fn address_after(&self, steps: u16) -> Option<Address> {
        let after = Address::from(number(&self.addr).checked_add(steps.into())?.to_be_bytes());
        (after.version() == self.addr.version()).then_some(after)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// An address as a number, which grows from one address to the next.
#[inline]
pub(super) fn number(addr: &Address) -> u128 {
    u128::from_be_bytes(*addr.octets())
}

/// The text is not an address with a prefix length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseNetworkError(String);

impl fmt::Display for ParseNetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "'{}' is not an IP address with a prefix length, like 198.18.0.1/24 or 2001:2::1/64",
            self.0
        )
    }
}

impl std::error::Error for ParseNetworkError {}

impl FromStr for Network {
    type Err = ParseNetworkError;
    fn from_str(text: &str) -> Result<Self, ParseNetworkError> {
        let parsed = text.split_once('/').and_then(|(addr, prefix_len)| {
            let (addr, prefix_len): (IpAddr, u8) = (addr.parse().ok()?, prefix_len.parse().ok()?);
            let bits = if addr.is_ipv4() { 32 } else { 128 };
            // An IPv4-mapped address would be taken as the IPv4 address in it.
            let right = prefix_len <= bits && Address::from(addr).is_v4() == addr.is_ipv4();
            right.then(|| Self { addr: addr.into(), prefix_len })
        });
        parsed.ok_or_else(|| ParseNetworkError(text.to_owned()))
    }
}

/// Who the clients are and whom they ask.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Hardware address of the port.
    pub mac: Mac,
    /// First source address, and its network.
    pub address: Network,
    /// How many source addresses, from `address` upwards; at least 1.
    pub source_addresses: u16,
    /// Where to send what is not in the network.
    pub gateway: Option<Address>,
    /// Hardware address of target or gateway, if it is known: then nobody asks for it.
    pub next_hop_mac: Option<Mac>,
    /// The server; of the same version of IP as `address`.
    pub target: SocketAddr,
    /// Connections at a time; each one that ends is followed by another.
    pub connections: usize,
    /// Source ports, first and last.
    pub ports: (u16, u16),
    /// Largest IP packet in bytes, at least 576, with IPv6 1280.
    pub mtu: usize,
    /// Take checksums that cover only the pseudo-header as right
    /// ([`Capabilities::rx_partial_checksum`]).
    pub rx_partial_checksum: bool,
    /// Offer timestamps (RFC 7323).
    pub timestamps: bool,
    /// Offer SACK (RFC 2018). Blocks are never sent, since nothing is kept out of order.
    pub sack_permitted: bool,
    /// Offer window scaling (RFC 7323).
    pub window_scale: bool,
    /// Send the handshake's last acknowledgment by itself instead of with the first request.
    pub separate_ack: bool,
    /// How long a connection may take to open, a batch to be answered, and a connection to end.
    pub timeout: Duration,
    /// Microseconds since 1970 at the origin of the time that is handed in: sequence numbers and
    /// timestamps follow it, so that they grow from one process to the next.
    pub epoch_us: u64,
}

impl ClientConfig {
    /// The clients of a Linux host with an MTU of 1500: one connection, all options offered.
    pub fn new(mac: [u8; 6], address: Network, target: SocketAddr) -> Self {
        Self {
            mac: Mac(mac),
            address,
            source_addresses: 1,
            gateway: None,
            next_hop_mac: None,
            target,
            connections: 1,
            ports: (10_000, 65_535),
            mtu: 1500,
            rx_partial_checksum: false,
            timestamps: true,
            sack_permitted: true,
            window_scale: true,
            separate_ack: false,
            timeout: Duration::from_secs(5),
            epoch_us: 0,
        }
    }

    /// With what the port says of itself.
    #[must_use]
    pub fn on_port(mut self, port: Capabilities) -> Self {
        self.mac = Mac(port.mac);
        self.mtu = port.mtu;
        self.rx_partial_checksum = port.rx_partial_checksum;
        self
    }

    /// The server's address.
    pub fn target_addr(&self) -> Address {
        self.target.ip().into()
    }

    /// The address that frames go to: the target's, or the gateway's.
    pub fn next_hop(&self) -> Address {
        match self.gateway {
            Some(gateway) if !self.address.contains(self.target_addr()) => gateway,
            _ => self.target_addr(),
        }
    }

    pub(super) fn check(&self) {
        let ports = usize::from(self.ports.1.saturating_sub(self.ports.0)) + 1;
        let ends = ports * usize::from(self.source_addresses);
        assert!(self.ports.0 > 0 && self.ports.0 <= self.ports.1, "a range of ports, not {:?}", self.ports);
        assert!(self.source_addresses >= 1, "at least one source address");
        assert!(
            self.connections >= 1 && self.connections <= ends,
            "1..={ends} connections, not {}",
            self.connections
        );
        let version = self.target_addr().version();
        assert!(self.address.addr.version() == version, "{} and {}", self.address.addr, self.target);
        assert!(self.address.address_after(self.source_addresses - 1).is_some(), "too many source addresses");
        // RFC 791 §3.2, RFC 8200 §5.
        let least = match version {
            Version::V4 => 576,
            Version::V6 => 1280,
        };
        assert!((least..=65_535).contains(&self.mtu), "an MTU of {least}..=65535, not {}", self.mtu);
    }

    pub(super) fn settings(&self) -> Settings {
        let version = self.target_addr().version();
        Settings {
            mtu: self.mtu,
            headers_len: ip::header_len(version) + tcp::HEADER_LEN,
            default_mss: tcp::default_mss(version),
            timestamps: self.timestamps,
            sack_permitted: self.sack_permitted,
            window_scale: self.window_scale,
            separate_ack: self.separate_ack,
            timeout: self.timeout,
            epoch_us: self.epoch_us,
        }
    }
}
