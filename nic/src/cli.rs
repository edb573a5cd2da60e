//! The command line of `mayfly-nic`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::RangedU64ValueParser;
use clap::{Args, Parser, Subcommand};
use dpdk::{Device, KernelAddress, Share, allowed_cpus};
use netcore::Duration;
use nicfw::{Offload, Steer};
use protocol::channel::FlowId;
use protocol::ip::Address;

use crate::request::{entries as table_entries, number, side};
use crate::{CaptureLimits, Change, RETAINED_MAX, Request, Side, flow_id, shared_with_kernel};

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
  mayfly-server --net virtio:/run/mayfly.sock --nic external --cores 1,2 --address 198.18.0.2/24
  mayfly-nic top";

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

/// An address, which the server is told with the length of its network's prefix.
fn address(text: &str) -> Result<IpAddr, String> {
    let (address, prefix_len) = text.split_once('/').map_or((text, None), |(ip, len)| (ip, Some(len)));
    let is_number = |len: &str| len.parse::<u8>().is_ok();
    let address = address.parse().ok().filter(|_| prefix_len.is_none_or(is_number));
    address.ok_or_else(|| "neither IP nor IP/PREFIX".into())
}

fn offload(word: &str) -> Result<Offload, String> {
    Offload::from_str(word).map_err(|_| "neither 'none' nor 'lifecycle'".into())
}

fn steer(word: &str) -> Result<Steer, String> {
    Steer::from_str(word).map_err(|_| "none of 'rss', 'symmetric' and 'key'".into())
}

/// What stands in a request to the running one, read as there.
fn word<T>(
    parse: fn(&[u8]) -> Result<T, String>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: 'static,
{
    move |word| parse(word.as_bytes())
}

/// A processor that this process may run on.
fn processor(text: &str) -> Result<usize, String> {
    let allowed = allowed_cpus();
    let core = text.parse().ok().filter(|core| allowed.contains(core));
    core.ok_or_else(|| format!("not a processor that this process may run on ({allowed:?})"))
}

/// Runs Mayfly's firmware between a wire and a host, in a process and on a core of its own; with a
/// command, asks the one that runs.
#[derive(Clone, Debug, Parser)]
#[command(name = "mayfly-nic", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(subcommand_negates_reqs = true, disable_help_subcommand = true)]
#[command(override_usage = "mayfly-nic --wire <DEVICE> --host <DEVICE[,queues=N]> [OPTIONS]\n       \
    mayfly-nic <COMMAND> [--control <PATH>]")]
pub struct CommandLine {
    /// What to ask; nothing: run.
    #[command(subcommand)]
    pub ask: Option<Ask>,
    /// How to run; only without something to ask.
    #[command(flatten)]
    pub run: Option<Arguments>,
    /// The control socket, by which a running one is asked [default: /run/mayfly-nic.sock]
    #[arg(long, value_name = "PATH", global = true)]
    pub control: Option<PathBuf>,
}

/// What is asked of a running one.
#[derive(Clone, Debug, PartialEq, Subcommand)]
pub enum Ask {
    /// Shows every counter of the firmware and of the device at the wire, a line each
    Status,
    /// Shows flows, as of a moment ago
    Flows {
        /// At most so many; more than 256 are never shown
        #[arg(default_value_t = Request::COUNT_DEFAULT, value_parser = word(number::<usize>))]
        count: usize,
    },
    /// Shows what happened last, newest first
    Events {
        /// To this flow only, by its name: SLOT.GENERATION
        #[arg(value_parser = word(flow_id))]
        flow: Option<FlowId>,
        /// At most so many [default: 10, or all of one flow]
        #[arg(long, value_name = "N", value_parser = word(number::<usize>))]
        count: Option<usize>,
    },
    /// Writes the frames of a side of the firmware to a pcap file
    #[command(subcommand)]
    Capture(Capture),
    /// Shows or changes which entries of the table from hash to queue lead to which queue. Connections that are
    /// there stay where they are
    Steer {
        /// What to change; nothing: show the table.
        #[command(subcommand)]
        change: Option<Steering>,
    },
    /// Shows what happens now, in rates per second, until it is interrupted
    Top {
        /// One look only
        #[arg(long)]
        once: bool,
        /// Seconds between two looks, 0.05 to 3600
        #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
        interval: f64,
    },
}

/// Changes of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Subcommand)]
pub enum Steering {
    /// Has entries lead to a queue
    Set {
        /// FIRST or FIRST-LAST, from 0 to 127
        #[arg(value_parser = word(table_entries))]
        entries: (usize, usize),
        /// The queue: the server's core of this number
        #[arg(value_parser = word(number::<u16>))]
        queue: u16,
    },
    /// Lets nothing new come to a queue
    Drain {
        /// The queue: the server's core of this number
        #[arg(value_parser = word(number::<u16>))]
        queue: u16,
    },
    /// Gives all queues the same again
    Even,
}

impl Steering {
    /// As it is asked for.
    pub fn change(self) -> Change {
        match self {
            Self::Set { entries: (first, last), queue } => Change::Set { first, last, queue },
            Self::Drain { queue } => Change::Drain { queue },
            Self::Even => Change::Even,
        }
    }
}

/// Captures.
#[derive(Clone, Debug, PartialEq, Eq, Subcommand)]
pub enum Capture {
    /// Begins one
    Start {
        /// wire (what the device receives and sends) or host (the messages between firmware and host)
        #[arg(value_parser = word(side))]
        side: Side,
        /// A new file
        file: PathBuf,
        #[command(flatten)]
        #[allow(missing_docs)]
        limits: Limits,
    },
    /// Ends one, or all
    Stop {
        /// wire or host
        #[arg(value_parser = word(side))]
        side: Option<Side>,
    },
}

/// Where a capture ends by itself.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Ends after so many frames [default: 100000]
    #[arg(long, value_name = "N", value_parser = word(number::<u64>))]
    count: Option<u64>,
    /// Ends when the file is so large [default: 67108864]
    #[arg(long, value_name = "N", value_parser = word(number::<u64>))]
    bytes: Option<u64>,
}

impl Limits {
    /// With the defaults for what is not given.
    pub fn limits(self) -> CaptureLimits {
        let default = CaptureLimits::default();
        CaptureLimits {
            frames: self.count.unwrap_or(default.frames),
            bytes: self.bytes.unwrap_or(default.bytes),
        }
    }
}

fn interval(word: &str) -> Result<f64, String> {
    let seconds = word.parse().ok().filter(|seconds| (0.05..=3600.0).contains(seconds));
    seconds.ok_or_else(|| "not a number of seconds from 0.05 to 3600".into())
}

/// How the firmware is run.
#[derive(Args, Clone, Debug)]
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
    /// With --wire xdp: the server's addresses: the kernel's own to share the interface with it, or others to have all
    /// of it. Default: those that the kernel has on the interface
    #[arg(long, value_name = "IP[/PREFIX],...", value_delimiter = ',', value_parser = address)]
    pub address: Vec<IpAddr>,
    /// The server's TCP port, where the interface is shared with the kernel [default: 6379]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
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
    /// How long last data may stay unacknowledged before a closing connection is reset; 0: only repetitions are
    /// counted
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = RangedU64ValueParser::<u64>::new().range(..=86_400))]
    pub user_timeout: u64,
    /// How long a connection may wait for its first data; 0: as long as its client lives
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = RangedU64ValueParser::<u64>::new().range(..=86_400))]
    pub waiting_max: u64,
    /// Bytes of last data that are taken over for one connection, beyond one segment
    #[arg(long, value_name = "BYTES", default_value_t = 65_536, value_parser = clap::value_parser!(u32).range(..=16 << 20))]
    pub last_data_max: u32,
    /// Time to live (hop limit) of the packets that the firmware itself sends
    #[arg(long, value_name = "HOPS", default_value_t = 64, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// Silence of the server after which its connections are reset; 0: never. One that ends is noticed
    /// at once; this is for one that hangs, and has to be longer than its longest command
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = RangedU64ValueParser::<u64>::new().range(..=86_400))]
    pub host_timeout: u64,
}

fn entries() -> RangedU64ValueParser<u64> {
    RangedU64ValueParser::<u64>::new().range(1..=ENTRIES_MAX)
}

/// TCP port of a server that is told none.
const PORT_DEFAULT: u16 = 6379;

impl Arguments {
    /// What of the wire is taken, when it is shared with the kernel, which has `kernel`. Unlike a server's, addresses of
    /// the link alone are not taken unnamed: an interface has them by itself.
    ///
    /// # Errors
    /// What is impossible together.
    pub fn share(&self, kernel: &[KernelAddress]) -> Result<Option<Share>, String> {
        let Device::Xdp(interface) = &self.wire else {
            if self.address.is_empty() && self.port.is_none() {
                return Ok(None);
            }
            return Err(format!(
                "--address and --port are for --wire xdp:IFACE; {} is never shared",
                self.wire
            ));
        };
        let is_given = |known: &KernelAddress| {
            known.interface == *interface && !Address::from(known.address).is_link_local_v6()
        };
        let kernel = if self.address.is_empty() && !kernel.iter().any(is_given) { &[] } else { kernel };
        let shared = shared_with_kernel(&self.wire, &self.address, self.vlan, kernel)?;
        Ok(shared.map(|shared| Share {
            addresses: shared.iter().map(|known| known.address).collect(),
            ports: vec![self.port.unwrap_or(PORT_DEFAULT)],
            vlan: self.vlan,
        }))
    }

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
            user_timeout: Duration::limit(self.user_timeout),
            waiting_max: Duration::limit(self.waiting_max),
            last_data_max: self.last_data_max,
            ttl: self.ttl,
            host_silence: Duration::limit(self.host_timeout),
            ..defaults
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::ethernet::Mac;

    use super::*;

    fn line(words: &str) -> Result<CommandLine, String> {
        let words = ["mayfly-nic"].into_iter().chain(words.split_whitespace());
        CommandLine::try_parse_from(words).map_err(|error| error.to_string())
    }

    fn parse(words: &str) -> Result<Arguments, String> {
        let line = line(words)?;
        assert_eq!((line.ask, line.control), (None, None));
        Ok(line.run.expect("it is to run"))
    }

    #[test]
    fn a_running_one_is_asked_by_commands() {
        let id = FlowId { slot: 5, generation: 2 };
        let limits = |count, bytes| Limits { count, bytes };
        for (words, ask) in [
            ("status", Ask::Status),
            ("flows", Ask::Flows { count: 10 }),
            ("flows 7", Ask::Flows { count: 7 }),
            ("events", Ask::Events { flow: None, count: None }),
            ("events 5.2 --count 3", Ask::Events { flow: Some(id), count: Some(3) }),
            ("capture stop", Ask::Capture(Capture::Stop { side: None })),
            ("capture stop host", Ask::Capture(Capture::Stop { side: Some(Side::Host) })),
            (
                "capture start wire a/b.pcap --count 3 --bytes 99",
                Ask::Capture(Capture::Start {
                    side: Side::Wire,
                    file: "a/b.pcap".into(),
                    limits: limits(Some(3), Some(99)),
                }),
            ),
            ("top --once --interval 0.5", Ask::Top { once: true, interval: 0.5 }),
            ("steer", Ask::Steer { change: None }),
            ("steer even", Ask::Steer { change: Some(Steering::Even) }),
            ("steer drain 3", Ask::Steer { change: Some(Steering::Drain { queue: 3 }) }),
            ("steer set 5-9 1", Ask::Steer { change: Some(Steering::Set { entries: (5, 9), queue: 1 }) }),
        ] {
            for place in ["", "--control /run/x.sock"] {
                for words in [format!("{words} {place}"), format!("{place} {words}")] {
                    let line = line(&words).unwrap();
                    assert_eq!(line.ask.as_ref(), Some(&ask), "{words}");
                    assert_eq!(line.control.is_some(), !place.is_empty(), "{words}");
                    assert!(line.run.is_none(), "{words}");
                }
            }
        }
        assert_eq!(limits(None, Some(5)).limits(), CaptureLimits { bytes: 5, ..CaptureLimits::default() });
        for (words, named) in [
            ("state", "state"),
            ("events 5", "SLOT.GENERATION"),
            ("capture", "start"),
            ("capture start side f", "wire or host"),
            ("flows many", "not an integer"),
            ("steer drain 65536", "out of range"),
            ("top --interval 0", "0.05"),
        ] {
            let error = line(words).unwrap_err();
            assert!(error.contains(named), "{words}: {error}");
        }
        let line = line("--wire packet:a --host vhost:/x --control /run/x.sock").unwrap();
        assert!(line.run.is_some() && line.control == Some("/run/x.sock".into()));
    }

    #[test]
    fn what_is_asked_for_is_what_the_firmware_gets() {
        let arguments = parse(
            "--wire packet:eth1 --host vhost:/run/m.sock,queues=3 --offload none --flows 7 --ended 8 \
             --retained 9 --listeners 2 --time-wait 5 --host-timeout 0 --user-timeout 6 --waiting-max 0 \
             --last-data-max 1000 --ttl 9",
        )
        .unwrap();
        assert_eq!(arguments.wire, Device::Packet("eth1".into()));
        assert_eq!(arguments.host, Host { device: Device::Vhost("/run/m.sock".into()), queues: 3 });
        let config = arguments.firmware(nicfw::Config::new(Mac([2; 6])));
        assert_eq!((config.offload, config.queues, config.flows_max), (Offload::None, 3, 7));
        assert_eq!((config.time_wait_max, config.retained_max, config.listeners_max), (8, 9, 2));
        assert_eq!((config.time_wait, config.host_silence), (Duration::from_secs(5), None));
        assert_eq!((config.user_timeout, config.waiting_max), (Some(Duration::from_secs(6)), None));
        assert_eq!((config.last_data_max, config.ttl), (1000, 9));
        assert_eq!((config.mac, config.mtu), (Mac([2; 6]), 1500));
    }

    #[test]
    fn an_interface_of_the_kernels_is_shared() {
        let known = |interface: &str, address: &str| KernelAddress {
            interface: interface.into(),
            address: address.parse().unwrap(),
            prefix_len: 24,
        };
        let kernel = [known("eth1", "198.18.0.2"), known("eth1", "fe80::1"), known("eth2", "fe80::2")];
        let share = |words: &str| {
            let share = parse(&format!("--host vhost:/x --wire {words}")).unwrap().share(&kernel)?;
            Ok::<_, String>(share.map(|share| (share.addresses.len(), share.ports[0], share.vlan)))
        };
        for (words, expected) in [
            ("xdp:eth1", Some((2, 6379, None))),
            ("xdp:eth1 --port 6380", Some((2, 6380, None))),
            ("xdp:eth1 --address 198.18.0.2/24,fe80::1/64", Some((2, 6379, None))),
            ("xdp:eth1 --address 198.18.0.2 --vlan 5", Some((1, 6379, Some(5)))),
            ("xdp:eth1 --address 198.18.0.3/24", None),
            ("xdp:eth2", None),
            ("xdp:eth2 --vlan 5", None),
            ("xdp:eth2 --address fe80::2", Some((1, 6379, None))),
            ("xdp:eth3 --vlan 5", None),
            ("packet:eth1", None),
        ] {
            assert_eq!(share(words), Ok(expected), "{words}");
        }
        for (words, named) in [
            ("xdp:eth1 --address 198.18.0.2,198.18.0.3", "198.18.0.3 is not"),
            ("packet:eth1 --port 6379", "packet:eth1"),
            ("packet:eth1 --address 198.18.0.2", "packet:eth1"),
        ] {
            let error = share(words).unwrap_err();
            assert!(error.contains(named), "{words}: {error}");
        }
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
            ("--wire packet:a --host vhost:/x --ttl 0", "--ttl"),
            ("--wire xdp:a --host vhost:/x --address 198.18.0", "IP/PREFIX"),
            ("--wire xdp:a --host vhost:/x --address 198.18.0.2/x", "IP/PREFIX"),
            ("--wire xdp:a --host vhost:/x --port 0", "--port"),
            ("--wire packet:a --host vhost:/x --waiting-max 86401", "86401"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.contains(named), "{words}: {error}");
        }
    }
}
