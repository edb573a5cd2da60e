//! The command line of `mayfly-loadgen`.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use dpdk::Device;
use netcore::Duration;
use protocol::ip::Address;

use crate::client::{ClientConfig, Network};
use crate::run::{Limit, Plan};
use crate::workload::{ClosesFirst, Distribution, WorkloadConfig};

/// Drives a Redis-protocol server with many short-lived or persistent connections and checks every reply.
#[derive(Clone, Debug, Parser)]
#[command(name = "mayfly-loadgen", version, max_term_width = 100)]
pub struct Arguments {
    /// The server, e.g. 198.18.0.2:6379 or [2001:2::2]:6379
    #[arg(long, value_name = "IP:PORT")]
    pub target: SocketAddr,
    /// Device: xdp:IFACE, packet:IFACE, tap:NAME, vhost:SOCKET, virtio:SOCKET, pci:ADDR, dpdk:VDEV-ARGS, or
    /// kernel (ordinary sockets)
    #[arg(long, default_value = "kernel")]
    pub net: Device,
    /// Own address and prefix length, e.g. 198.18.0.3/24 or 2001:2::3/64; needed with a device, must not be the kernel's
    #[arg(long, value_name = "IP/PREFIX")]
    pub address: Option<Network>,
    /// Where to send what is not in the own network
    #[arg(long, value_name = "IP")]
    pub gateway: Option<IpAddr>,
    /// VLAN that the device is in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(netcore::vlan::ID_MAX)))]
    pub vlan: Option<u16>,
    /// Number of own addresses, from --address upwards
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub source_addresses: u16,
    /// Range of own ports
    #[arg(long, value_name = "FIRST-LAST", default_value = "10000-65535")]
    pub source_ports: PortRange,
    /// Connections at a time
    #[arg(short = 'c', long, value_name = "N", default_value_t = 50)]
    pub connections: usize,
    /// Requests of a connection before it closes; 0: it stays open
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub requests_per_connection: u64,
    /// Who closes first; the server is asked to with QUIT
    #[arg(long, value_enum, default_value_t = Closes::Client)]
    pub closes: Closes,
    /// Length of the measurement, e.g. 10s, 500ms, 2m
    #[arg(short, long, value_name = "TIME", default_value = "10s", conflicts_with = "requests")]
    pub duration: Span,
    /// End after so many requests instead
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub requests: Option<u64>,
    /// Load before the measurement that is not counted
    #[arg(long, value_name = "TIME", default_value = "0s")]
    pub warmup: Span,
    /// Share of GETs in per cent; the rest are SETs
    #[arg(long, value_name = "PERCENT", default_value_t = 100, value_parser = clap::value_parser!(u32).range(0..=100))]
    pub get_percent: u32,
    /// Number of keys
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000_000))]
    pub keys: u64,
    /// Bytes of a value
    #[arg(long, value_name = "BYTES", default_value_t = 32, value_parser = clap::value_parser!(u32).range(0..=512 * 1024 * 1024))]
    pub value_size: u32,
    /// Draw keys by Zipf's law with this exponent (0..1) instead of uniformly
    #[arg(long, value_name = "EXPONENT")]
    pub zipf: Option<f64>,
    /// Requests that a connection sends at once
    #[arg(short = 'P', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub pipeline: u32,
    /// Do not SET all keys first
    #[arg(long)]
    pub no_load: bool,
    /// AUTH with this password on every connection
    #[arg(short = 'a', long, value_name = "PASSWORD")]
    pub password: Option<String>,
    /// How long a connection may take to open, to be answered and to end
    #[arg(long, value_name = "TIME", default_value = "5s")]
    pub timeout: Span,
    /// Give up after so many errors
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    pub max_errors: u64,
    /// Values and the draw of keys follow from this number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Send the handshake's last ACK by itself instead of with the first request
    #[arg(long)]
    pub separate_ack: bool,
    /// Do not offer TCP timestamps
    #[arg(long)]
    pub no_timestamps: bool,
    /// Run on this processor
    #[arg(long, value_name = "N")]
    pub cpu: Option<usize>,
    /// Write the results as JSON to this file; - is standard output
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Show no progress
    #[arg(short, long)]
    pub quiet: bool,
}

/// [`ClosesFirst`] on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Closes {
    /// The client closes first.
    Client,
    /// The server closes first.
    Server,
}

/// A span of time: a number and `us`, `ms`, `s`, `m` or `h`; seconds without a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let unit_us = match &text[digits.len()..] {
            "us" => 1.0,
            "ms" => 1e3,
            "" | "s" => 1e6,
            "m" | "min" => 60e6,
            "h" => 3600e6,
            unit => return Err(format!("'{unit}' is no unit of time: expected us, ms, s, m or h")),
        };
        match digits.parse::<f64>() {
            Ok(number) if number >= 0.0 && number.is_finite() => {
                Ok(Self(Duration::from_micros((number * unit_us) as u64)))
            }
            _ => Err(format!("'{text}' is no span of time; write it like 10s or 500ms")),
        }
    }
}

/// A range of TCP ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange(pub u16, pub u16);

impl FromStr for PortRange {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let range =
            text.split_once('-').and_then(|(first, last)| Some((first.parse().ok()?, last.parse().ok()?)));
        match range {
            Some((first, last)) if first > 0 && first <= last => Ok(Self(first, last)),
            _ => Err(format!("'{text}' is no range of ports; write it like 10000-65535")),
        }
    }
}

/// Ports that may be in use at once, so that one is always found quickly.
const PORTS_SPARE: usize = 2;

impl Arguments {
    /// What to ask.
    ///
    /// # Errors
    /// In words, for numbers that do not go together.
    pub fn workload(&self) -> Result<WorkloadConfig, String> {
        let distribution = match self.zipf {
            None => Distribution::Uniform,
            Some(_) if self.keys > 100_000_000 => {
                return Err(format!("--zipf works with at most 100000000 keys, not {}", self.keys));
            }
            Some(exponent) if exponent > 0.0 && exponent < 1.0 => Distribution::Zipf(exponent),
            Some(exponent) => {
                return Err(format!("--zipf takes an exponent between 0 and 1, not {exponent}"));
            }
        };
        Ok(WorkloadConfig {
            keys: self.keys,
            value_bytes: self.value_size as usize,
            get_percent: self.get_percent,
            distribution,
            pipeline: self.pipeline as usize,
            requests_per_connection: (self.requests_per_connection > 0)
                .then_some(self.requests_per_connection),
            closes: match self.closes {
                Closes::Client => ClosesFirst::Client,
                Closes::Server => ClosesFirst::Server,
            },
            load: !self.no_load,
            password: self.password.clone(),
            seed: self.seed,
        })
    }

    /// The clients on a DPDK device.
    ///
    /// # Errors
    /// In words, for addresses and numbers that are missing or do not go together.
    pub fn clients(&self) -> Result<ClientConfig, String> {
        let Some(address) = self.address else {
            return Err(format!(
                "--net {} needs --address IP/PREFIX: an address of its own in the server's network, which the \
                 kernel must not have",
                self.net
            ));
        };
        self.check_addresses(address)?;
        let PortRange(first, last) = self.source_ports;
        let ends = (usize::from(last - first) + 1) * usize::from(self.source_addresses);
        if self.connections > (ends / PORTS_SPARE).max(1) {
            return Err(format!(
                "{} connections at a time need at least {} source ports, and there are {ends}: widen \
                 --source-ports or raise --source-addresses",
                self.connections,
                self.connections * PORTS_SPARE
            ));
        }
        let mut config = ClientConfig::new([0; 6], address, self.target);
        config.source_addresses = self.source_addresses;
        config.gateway = self.gateway.map(Address::from);
        config.connections = self.connections;
        config.ports = (first, last);
        config.timestamps = !self.no_timestamps;
        config.separate_ack = self.separate_ack;
        config.timeout = self.timeout.0;
        Ok(config)
    }

    /// Whether the addresses go together.
    fn check_addresses(&self, address: Network) -> Result<(), String> {
        let target = Address::from(self.target.ip());
        if target.version() != address.addr.version() {
            return Err(format!("--target {target} and --address {address} are of two versions of IP"));
        }
        let Some(last) = address.address_after(self.source_addresses - 1) else {
            return Err(format!("there are no {} addresses from {} on", self.source_addresses, address.addr));
        };
        if (address.addr..=last).contains(&target) {
            return Err(format!(
                "{target} is both --target and an own address (--address, --source-addresses)"
            ));
        }
        let gateway = self.gateway.map(Address::from);
        if !address.contains(target) && gateway.is_none() {
            return Err(format!("{target} is not in the network {address}: which --gateway leads there?"));
        }
        // A router of IPv6 may be known by its link-local address.
        let by_link = |gateway: &Address| gateway.is_link_local_v6() && !address.addr.is_v4();
        if let Some(gateway) = gateway.filter(|gateway| !by_link(gateway))
            && !address.contains(gateway)
        {
            return Err(format!("the gateway {gateway} is not in the network {address}"));
        }
        Ok(())
    }

    /// The course of the run.
    ///
    /// # Errors
    /// In words, for numbers that make no sense.
    pub fn plan(&self) -> Result<Plan, String> {
        if self.connections == 0 || self.connections > 1_000_000 {
            return Err(format!("--connections takes 1 to 1000000, not {}", self.connections));
        }
        if self.timeout.0 == Duration::ZERO {
            return Err("--timeout takes more than zero".to_owned());
        }
        let limit = match self.requests {
            Some(requests) => Limit::Requests(requests),
            None if self.duration.0 == Duration::ZERO => {
                return Err("--duration takes more than zero".to_owned());
            }
            None => Limit::Time(self.duration.0),
        };
        let drain_max = self.timeout.0.times(3);
        Ok(Plan { warmup: self.warmup.0, limit, errors_max: self.max_errors, drain_max })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Arguments {
        Arguments::try_parse_from(line.split(' ')).expect(line)
    }

    const DEVICE: &str = "mayfly-loadgen --target 198.18.0.2:6379 --net packet:veth-b";

    #[test]
    fn the_ordinary_line() {
        let arguments =
            parsed(&format!("{DEVICE} --address 198.18.0.3/24 -c 10 --requests-per-connection 0 -n 5"));
        assert_eq!(arguments.plan().map(|plan| plan.limit), Ok(Limit::Requests(5)));
        assert_eq!(arguments.workload().map(|workload| workload.requests_per_connection), Ok(None));
        let config = arguments.clients().expect("complete");
        assert_eq!(config.next_hop().to_string(), "198.18.0.2");
    }

    #[test]
    fn ipv6_and_a_vlan() {
        let device = "mayfly-loadgen --target [2001:2::2]:6379 --net packet:veth-b --vlan 5 --address";
        let arguments = parsed(&format!("{device} 2001:2::3/64"));
        assert_eq!(arguments.vlan, Some(5));
        assert_eq!(arguments.clients().expect("complete").next_hop().to_string(), "2001:2::2");
        let arguments = parsed(&format!("{device} 2001:2:0:1::3/64 --gateway fe80::1"));
        assert_eq!(arguments.clients().expect("complete").next_hop().to_string(), "fe80::1");
        let refused = |rest: &str| parsed(&format!("{device} {rest}")).clients().expect_err(rest);
        assert!(refused("198.18.0.3/24").contains("two versions"));
        assert!(refused("2001:2:0:1::3/64").contains("--gateway"));
        assert!(refused("2001:2::1/64 --source-addresses 2").contains("both"));
        let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/64 --source-addresses 2";
        assert!(refused(last).contains("no 2 addresses"));
        for wrong in ["2001:2::3/129", "198.18.0.3/33", "::ffff:198.18.0.3/96", "2001:2::3"] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
        let wrong = format!("{device} 2001:2::3/64 --vlan 4095");
        assert!(Arguments::try_parse_from(wrong.split(' ')).is_err());
    }

    #[test]
    fn what_does_not_go_together_is_said() {
        let refused = |rest: &str| parsed(&format!("{DEVICE}{rest}")).clients().expect_err(rest);
        assert!(refused("").contains("--address"));
        assert!(refused(" --address 198.18.0.2/24").contains("both"));
        assert!(refused(" --address 198.18.1.3/24").contains("--gateway"));
        assert!(refused(" --address 198.18.1.3/24 --gateway 198.18.2.1").contains("198.18.2.1"));
        assert!(refused(" --address 198.18.0.3/24 -c 100 --source-ports 1000-1099").contains("200"));
        assert!(parsed(&format!("{DEVICE} --zipf 1.5")).workload().is_err());
        assert!(parsed(&format!("{DEVICE} --duration 0")).plan().is_err());
        assert!(Arguments::try_parse_from(["mayfly-loadgen", "--target", "x"]).is_err());
    }

    #[test]
    fn spans_and_ranges() {
        assert_eq!("500ms".parse(), Ok(Span(Duration::from_millis(500))));
        assert_eq!("1.5".parse(), Ok(Span(Duration::from_millis(1500))));
        assert_eq!("2m".parse(), Ok(Span(Duration::from_secs(120))));
        assert!("5 days".parse::<Span>().is_err());
        assert!("".parse::<Span>().is_err());
        assert_eq!("5-6".parse(), Ok(PortRange(5, 6)));
        assert!("6-5".parse::<PortRange>().is_err());
        assert!("0-5".parse::<PortRange>().is_err());
    }
}
