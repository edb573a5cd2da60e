//! The command line of `mayfly-nic`.

use crate::RETAINED_MAX;
use std::str::FromStr;

use clap::Parser;
use clap::builder::RangedU64ValueParser;
use dpdk::{Device, allowed_cpus};
use netcore::Duration;
use nicfw::{Offload, Steer};

/// Most host queues, as many as [`nicfw::Config`] takes.
const QUEUES_MAX: u16 = 128;
/// Largest tables, as [`nicfw::Firmware::new`] takes them.
const ENTRIES_MAX: u64 = (1 << 30) - 1;
/// Most frames of last data: 5 GB in the pools of wire and host.
const RETAINED_MOST: i64 = 1 << 20;
/// Longest TIME_WAIT, in seconds: four times RFC 9293's 2 MSL.
const TIME_WAIT_MAX_S: u64 = 960;

const AFTER_HELP: &str = "\
On a machine without a SmartNIC this is an emulated NIC: it takes a core of the machine and gives \
the server's cores what a card would give them.

Example, with the server on the same machine:
  mayfly-nic --wire packet:eth1 --host vhost:/run/mayfly.sock,queues=2 --core 3
  mayfly-server --net virtio:/run/mayfly.sock --nic external --cores 1,2 --address 198.18.0.2/24";

/// A port towards the host and its queues: `DEVICE[,queues=N]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The device.
    pub device: Device,
    /// Pairs of queues, one for each core of the host: 1 to 128.
    pub queues: u16,
}

impl FromStr for Host {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, queues) = match text.rsplit_once(",queues=") {
            None => (text, 1),
            Some((name, number)) => {
                let queues = number.parse().ok().filter(|queues| (1..=QUEUES_MAX).contains(queues));
                let queues = queues
                    .ok_or_else(|| format!("'{number}' is not a number of queues, 1 to {QUEUES_MAX}"))?;
                // DPDK's own words stay as they are: its driver has to know the number too.
                (if name.starts_with("dpdk:") { text } else { name }, queues)
            }
        };
        Ok(Self { device: device(name)?, queues })
    }
}

/// A device that the firmware can run on.
fn device(text: &str) -> Result<Device, String> {
    match Device::from_str(text).map_err(|error| error.to_string())? {
        Device::Kernel => Err("a NIC needs a device, and 'kernel' stands for ordinary sockets".into()),
        device => Ok(device),
    }
}

fn offload(word: &str) -> Result<Offload, String> {
    Offload::from_str(word).map_err(|_| "neither 'none' nor 'lifecycle'".into())
}

fn steer(word: &str) -> Result<Steer, String> {
    Steer::from_str(word).map_err(|_| "none of 'rss', 'symmetric' and 'key'".into())
}

/// A processor that this process may run on.
fn processor(text: &str) -> Result<usize, String> {
    let allowed = allowed_cpus();
    let core = text.parse().ok().filter(|core| allowed.contains(core));
    core.ok_or_else(|| format!("not a processor that this process may run on ({allowed:?})"))
}

/// Runs Mayfly's firmware between a wire and a host, in a process and on a core of its own.
#[derive(Clone, Debug, Parser)]
#[command(name = "mayfly-nic", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Arguments {
    /// Device at the wire: xdp:IFACE, packet:IFACE, tap:NAME, pci:ADDR, vhost:SOCKET, virtio:SOCKET or
    /// dpdk:VDEV-ARGS
    #[arg(long, value_name = "DEVICE", value_parser = device)]
    pub wire: Device,
    /// Device at the host, best vhost:SOCKET: it stays when the server dies. One queue for each core of
    /// the server
    #[arg(long, value_name = "DEVICE[,queues=N]")]
    pub host: Host,
    /// What the firmware does: none or lifecycle; the server has to be told the same
    #[arg(long, value_name = "LEVEL", default_value = "lifecycle", value_parser = offload)]
    pub offload: Offload,
    /// VLAN that the wire is in, 1 to 4094
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(netcore::vlan::ID_MAX)))]
    pub vlan: Option<u16>,
    /// Processor to run on; default: whichever the system gives
    #[arg(long, value_name = "N", value_parser = processor)]
    pub core: Option<usize>,
    /// Connections at once, 168 bytes each
    #[arg(long, value_name = "N", default_value_t = 262_144, value_parser = entries())]
    pub flows: u64,
    /// Ended connections that are remembered, 88 bytes each; more push out the oldest
    #[arg(long, value_name = "N", default_value_t = 524_288, value_parser = entries())]
    pub ended: u64,
    /// Frames of last data that are kept until the clients have them, 5 KB each; more push out whoever has
    /// taken nothing for the longest
    #[arg(long, value_name = "N", default_value_t = RETAINED_MAX, value_parser = clap::value_parser!(u32).range(1..=RETAINED_MOST))]
    pub retained: u32,
    /// Addresses and ports that can be listened on
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = RangedU64ValueParser::<u64>::new().range(1..=65_535))]
    pub listeners: u64,
    /// What chooses a connection's queue: rss, symmetric or key (of the first request)
    #[arg(long, value_name = "HOW", default_value = "rss", value_parser = steer)]
    pub steer: Steer,
    /// SYN-ACKs per second for each source network, /24 or /64; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub network_syn_rate: u32,
    /// Connections of each source network at once; 0: no limit
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub network_connections: u32,
    /// Length of TIME_WAIT
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = RangedU64ValueParser::<u64>::new().range(..=TIME_WAIT_MAX_S))]
    pub time_wait: u64,
    /// Silence of the server after which its connections are reset; 0: never. One that ends is noticed
    /// at once; this is for one that hangs, and has to be longer than its longest command
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = RangedU64ValueParser::<u64>::new().range(..=86_400))]
    pub host_timeout: u64,
}

fn entries() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::<u64>::new().range(1..=ENTRIES_MAX)
}

impl Arguments {
    /// The firmware's settings, over the defaults for its wire.
    pub fn firmware(&self, defaults: nicfw::Config) -> nicfw::Config {
        nicfw::Config {
            offload: self.offload,
            queues: self.host.queues.into(),
            flows_max: self.flows as usize,
            time_wait_max: self.ended as usize,
            retained_max: self.retained as usize,
            listeners_max: self.listeners as usize,
            steer: self.steer,
            network_syn_rate: self.network_syn_rate,
            network_syn_burst: self.network_syn_rate,
            network_flows_max: self.network_connections,
            time_wait: Duration::from_secs(self.time_wait),
            host_silence: (self.host_timeout > 0).then(|| Duration::from_secs(self.host_timeout)),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ethernet::Mac;

    use super::*;

    fn parse(words: &str) -> Result<Arguments, String> {
        let words = ["mayfly-nic"].into_iter().chain(words.split_whitespace());
        Arguments::try_parse_from(words).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_asked_for_is_what_the_firmware_gets() {
        let arguments = parse(
            "--wire packet:eth1 --host vhost:/run/m.sock,queues=3 --offload none --flows 7 --ended 8 \
             --retained 9 --listeners 2 --time-wait 5 --host-timeout 0",
        )
        .unwrap();
        assert_eq!(arguments.wire, Device::Packet("eth1".into()));
        assert_eq!(arguments.host, Host { device: Device::Vhost("/run/m.sock".into()), queues: 3 });
        let config = arguments.firmware(nicfw::Config::new(Mac([2; 6])));
        assert_eq!((config.offload, config.queues, config.flows_max), (Offload::None, 3, 7));
        assert_eq!((config.time_wait_max, config.retained_max, config.listeners_max), (8, 9, 2));
        assert_eq!((config.time_wait, config.host_silence), (Duration::from_secs(5), None));
        assert_eq!((config.mac, config.mtu), (Mac([2; 6]), 1500));
    }

    #[test]
    fn dpdk_keeps_its_own_words() {
        let host: Host = "dpdk:net_vhost7,iface=/x,queues=2".parse().unwrap();
        assert_eq!(host, Host { device: Device::Vdev("net_vhost7,iface=/x,queues=2".into()), queues: 2 });
        let host: Host = "virtio:/run/m.sock".parse().unwrap();
        assert_eq!(host, Host { device: Device::Virtio("/run/m.sock".into()), queues: 1 });
    }

    #[test]
    fn wrong_words_are_named() {
        for (words, named) in [
            ("--wire packet:eth1", "--host"),
            ("--host vhost:/x", "--wire"),
            ("--wire kernel --host vhost:/x", "kernel"),
            ("--wire pigeon:x --host vhost:/x", "pigeon:x"),
            ("--wire packet:a --host vhost:/x,queues=0", "1 to 128"),
            ("--wire packet:a --host vhost:/x,queues=129", "'129'"),
            ("--wire packet:a --host vhost:/x --offload all", "lifecycle"),
            ("--wire packet:a --host vhost:/x --core 4096", "4096"),
            ("--wire packet:a --host vhost:/x --flows 0", "--flows"),
            ("--wire packet:a --host vhost:/x --vlan 4095", "4095"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(named), "{words}: {error}");
        }
    }
}
