//! `mayfly-server [redis.conf] [--directive value …]`, as Redis takes it.

use std::ffi::OsString;
use std::path::Path;

use clap::{Arg, ArgAction, Command as Clap};

use super::{Config, DIRECTIVES, LoadError};

/// What the command line asks for.
#[derive(Debug)]
pub enum Command {
    /// Serve with these settings.
    Serve(Box<Config>),
    /// Print this text (help, version, the settings in force) and end.
    Print(String),
}

const AFTER_HELP: &str = "\
Every directive of redis.conf that Mayfly knows can be given as --directive value (with several values where it takes \
several); --print-config shows them all with the values in force.

Examples:
  mayfly-server --port 6379
        on ordinary kernel sockets
  mayfly-server --net packet:eth1 --address 198.18.0.2/24 --port 6379
        on Mayfly's own TCP stack, with the firmware doing setup and teardown
  mayfly-server redis.conf --offload none --nic inline
  mayfly-server --net virtio:/run/mayfly.sock --nic external --address 198.18.0.2/24
        with the firmware in mayfly-nic --wire packet:eth1 --host vhost:/run/mayfly.sock";

fn clap() -> Clap {
    let directive = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help)
    };
    Clap::new("mayfly-server")
        .version(env!("CARGO_PKG_VERSION"))
        .about("A Redis-protocol server for short-lived connections, on its own TCP stack")
        .override_usage("mayfly-server [redis.conf] [--directive value ...]")
        .after_help(AFTER_HELP)
        .arg(Arg::new("file").value_name("redis.conf").help("Settings, one directive a line"))
        .arg(directive("port", "N", "TCP port [default: 6379]"))
        .arg(directive("net", "DEVICE", "xdp:IFACE, packet:IFACE, tap:NAME, vhost:SOCKET, virtio:SOCKET, pci:ADDR, dpdk:VDEV-ARGS, or kernel [default: kernel]"))
        .arg(directive("address", "IP/PREFIX", "Addresses that Mayfly's own stack answers on (every device but kernel): IPv4 or IPv6, several with commas"))
        .arg(directive("gateway", "IP", "Next hop for other networks; one for each version of IP, with a comma"))
        .arg(directive("vlan", "N", "VLAN that the device is in, 1 to 4094 [default: none]"))
        .arg(directive("cores", "LIST", "Processors for the host's threads, such as 0,2-3 [default: one thread, not pinned]"))
        .arg(directive("offload", "LEVEL", "What the firmware does: none or lifecycle [default: lifecycle]"))
        .arg(directive("nic", "PLACE", "Where the firmware runs: embedded (own thread), inline (on the first core) or external (mayfly-nic, at the other end of the device) [default: embedded]"))
        .arg(directive("nic-timeout", "SECONDS", "Patience with an external NIC that does not answer, before its connections end [default: 10]"))
        .arg(directive("steer", "HOW", "What chooses a connection's core: rss, symmetric or key (of the first request) [default: rss]"))
        .arg(directive("network-syn-rate", "N", "SYN-ACKs per second for each source network, /24 or /64; 0: no limit [default: 0]"))
        .arg(directive("network-connections", "N", "Connections of each source network; 0: no limit [default: 0]"))
        .arg(directive("refuse", "HOW", "What those hear whom the firmware turns away: error (of Redis), reset or silence [default: error]"))
        .arg(directive("time-wait", "SECONDS", "Length of TIME_WAIT [default: 60]"))
        .arg(directive("user-timeout", "SECONDS", "How long sent data may stay unacknowledged before a connection ends; 0: only repetitions are counted [default: 0]"))
        .arg(directive("waiting-max", "SECONDS", "How long a connection may wait for its first request; 0: as long as its client lives [default: 0]"))
        .arg(directive("last-data-max", "BYTES", "Last data that the firmware takes over to send and close a connection, beyond one segment [default: 64kb]"))
        .arg(directive("congestion", "HOW", "Congestion control: cubic or newreno [default: cubic]"))
        .arg(directive("ecn", "HOW", "Explicit congestion notification where a client offers it, at --offload none: accept or off [default: accept]"))
        .arg(directive("nagle", "YES|NO", "Whether a small segment waits while another is unacknowledged [default: no]"))
        .arg(directive("ttl", "HOPS", "Time to live of the packets that are sent [default: 64]"))
        .arg(directive("capture-dir", "FOLDER", "Where MAYFLY CAPTURE may write files [default: nowhere]"))
        .arg(Arg::new("print-config").long("print-config").action(ArgAction::SetTrue).help("Print the settings in force and end"))
}

impl Config {
    /// Reads the command line behind the program's name.
    ///
    /// # Errors
    /// A file or a setting that cannot be taken, with its place and value.
    pub fn from_command_line(arguments: impl Iterator<Item = OsString>) -> Result<Command, LoadError> {
        let fail = |problem: String| LoadError { place: "command line".into(), problem };
        let mut words = Vec::new();
        for argument in arguments {
            words.push(argument.into_string().map_err(|raw| fail(format!("{raw:?} is not UTF-8")))?);
        }
        let mut config = Self::default();
        let mut words = words.into_iter().peekable();
        if let Some(file) = words.next_if(|word| !word.starts_with('-') || word == "-") {
            config.load_file(Path::new(&file))?;
        }
        let mut print = false;
        while let Some(word) = words.next() {
            match word.as_str() {
                "--help" | "-h" => return Ok(Command::Print(clap().render_help().to_string())),
                "--version" | "-v" | "-V" => return Ok(Command::Print(clap().render_version())),
                "--print-config" => {
                    print = true;
                    continue;
                }
                _ => {}
            }
            let Some(option) = word.strip_prefix("--").filter(|name| !name.is_empty()) else {
                return Err(fail(format!(
                    "'{word}' is not an option; options begin with --, and a configuration file comes first"
                )));
            };
            let (name, mut values) = match option.split_once('=') {
                Some((name, value)) => (name, vec![value.to_owned()]),
                None => (option, Vec::new()),
            };
            while let Some(value) = words.next_if(|word| !word.starts_with("--")) {
                values.push(value);
            }
            config.set_option(name, &values)?;
        }
        config.check().map_err(fail)?;
        if print {
            let lines = DIRECTIVES
                .iter()
                .filter(|directive| directive.is_shown())
                .map(|directive| format!("{} {}\n", directive.name, quoted(&directive.value(&config))));
            return Ok(Command::Print(lines.collect()));
        }
        Ok(Command::Serve(Box::new(config)))
    }
}

/// A value as it may stand in a file.
fn quoted(value: &str) -> String {
    if value.is_empty() { "\"\"".into() } else { value.into() }
}
