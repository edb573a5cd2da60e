//! Two network namespaces joined by a veth pair, gone when the value is dropped.

use std::fmt;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

use crate::offload;
use crate::wire::{Faults, Wire};

/// Address of the server's own stack, on the server's end of the veth.
pub const SERVER_ADDRESS: &str = "198.18.0.2";
/// Address of the client namespace's kernel, on the client's end.
pub const CLIENT_ADDRESS: &str = "198.18.0.1";
/// Address that the load generator's own stack uses on the client's end.
pub const LOADGEN_ADDRESS: &str = "198.18.0.3";
/// Prefix length of the network between the two.
pub const PREFIX: &str = "24";
/// Beside [`SERVER_ADDRESS`], where a test gives it to the server.
pub const SERVER_ADDRESS_V6: &str = "2001:2::2";
/// Beside [`CLIENT_ADDRESS`], after [`Lab::speak_ipv6`].
pub const CLIENT_ADDRESS_V6: &str = "2001:2::1";
/// Beside [`LOADGEN_ADDRESS`].
pub const LOADGEN_ADDRESS_V6: &str = "2001:2::3";
/// Prefix length of the IPv6 network between the two.
pub const PREFIX_V6: &str = "64";
/// Largest packet between [`Side::Far`] and its router.
pub const FAR_MTU: &str = "1280";
/// Name of the server's end of the veth inside its namespace.
pub const SERVER_INTERFACE: &str = "veth-s";
/// Name of the client's end.
pub const CLIENT_INTERFACE: &str = "veth-c";

/// One of the two namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where `mayfly-server` runs.
    Server,
    /// Where the clients run; its kernel has [`CLIENT_ADDRESS`].
    Client,
    /// Behind the client, which is its router, once [`Lab::add_far`] has made it.
    Far,
}

impl Side {
    /// Name of its end of the veth.
    pub const fn interface(self) -> &'static str {
        match self {
            Self::Server => SERVER_INTERFACE,
            Self::Client => CLIENT_INTERFACE,
            Self::Far => "veth-f",
        }
    }
}

/// The two namespaces. Nothing outside them is touched.
#[derive(Debug)]
pub struct Lab {
    server: String,
    client: String,
    /// A bad wire between the two, and its namespace.
    wire: Option<Wire>,
    between: Option<String>,
    far: String,
    has_far: bool,
}

impl fmt::Display for Lab {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "namespaces {} and {}", self.server, self.client)
    }
}

impl Lab {
    /// Makes the namespaces, the veth pair between them and the client's address.
    ///
    /// # Errors
    /// Not root, `ip` missing, or the kernel refused; the message holds what `ip` said.
    pub fn new() -> Result<Self> {
        Self::build(None)
    }

    /// The same with a wire between them that delays, loses and reorders frames.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_faults(faults: Faults) -> Result<Self> {
        Self::build(Some(faults))
    }

    fn build(faults: Option<Faults>) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require_root()?;
        let id = format!("mayfly-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mut lab = Self {
            server: format!("{id}-server"),
            client: format!("{id}-client"),
            wire: None,
            between: None,
            far: format!("{id}-far"),
            has_far: false,
        };
        ip(&["netns", "add", &lab.server])?;
        ip(&["netns", "add", &lab.client])?;
        match faults {
            None => veth(&lab.server, SERVER_INTERFACE, &lab.client, CLIENT_INTERFACE)?,
            Some(faults) => {
                let between = format!("{id}-wire");
                ip(&["netns", "add", &between])?;
                lab.between = Some(between.clone());
                veth(&lab.server, SERVER_INTERFACE, &between, "wire-s")?;
                veth(&lab.client, CLIENT_INTERFACE, &between, "wire-c")?;
                for interface in ["wire-s", "wire-c"] {
                    quiet(&between, interface);
                    ip(&["-n", &between, "link", "set", interface, "up"])?;
                }
                // What crosses a real wire is no longer than its MTU, and its checksums are whole.
                for (namespace, interface) in
                    [(&lab.server, SERVER_INTERFACE), (&lab.client, CLIENT_INTERFACE)]
                {
                    within(namespace, || offload::checksums_in_software(interface))?;
                }
                lab.wire = Some(within(&between, || Wire::join("wire-s", "wire-c", faults))?);
            }
        }
        for (namespace, interface) in [(&lab.server, SERVER_INTERFACE), (&lab.client, CLIENT_INTERFACE)] {
            quiet(namespace, interface);
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", interface, "up"])?;
        }
        // Clients that connect once per request and close first leave their own kernel with a port
        // in TIME_WAIT each: without this they run out of ports after 28,000 connections.
        sysctl(&lab.client, "net.ipv4.tcp_tw_reuse=1")?;
        sysctl(&lab.client, "net.ipv4.ip_local_port_range=1024 65535")?;
        lab.add_address(Side::Client, CLIENT_ADDRESS)?;
        Ok(lab)
    }

    /// The bad wire, of a laboratory made by [`Self::with_faults`].
    pub fn wire(&self) -> Option<&Wire> {
        self.wire.as_ref()
    }

    /// Sets a kernel parameter (`name=value`) inside a namespace.
    ///
    /// # Errors
    /// The kernel has no such parameter there, or refused the value.
    pub fn sysctl(&self, side: Side, setting: &str) -> Result<()> {
        sysctl(self.namespace(side), setting).map(drop)
    }

    /// Gives one side's interface an address of that side's kernel.
    ///
    /// # Errors
    /// As [`run`].
    pub fn add_address(&self, side: Side, address: &str) -> Result<()> {
        let address = format!("{address}/{PREFIX}");
        ip(&["-n", self.namespace(side), "address", "replace", &address, "dev", side.interface()]).map(drop)
    }

    /// Gives the client's kernel [`CLIENT_ADDRESS_V6`].
    ///
    /// # Errors
    /// The kernel knows no IPv6, or as [`run`].
    pub fn speak_ipv6(&self) -> Result<()> {
        speak_ipv6(&self.client, CLIENT_INTERFACE, &format!("{CLIENT_ADDRESS_V6}/{PREFIX_V6}"))
    }

    /// Gives the server's kernel [`SERVER_ADDRESS`] and [`SERVER_ADDRESS_V6`], and the client's one to
    /// speak to the latter: what a server shares with its kernel.
    ///
    /// # Errors
    /// As [`Self::speak_ipv6`].
    pub fn share_addresses(&self) -> Result<()> {
        self.speak_ipv6()?;
        self.add_address(Side::Server, SERVER_ADDRESS)?;
        speak_ipv6(&self.server, SERVER_INTERFACE, &format!("{SERVER_ADDRESS_V6}/{PREFIX_V6}"))
    }

    /// Makes the namespace behind the client, with addresses of both versions of IP, and the
    /// client's kernel the router between it and the server: packets of more than [`FAR_MTU`] bytes
    /// do not get through. The far kernel offers the MSS of an Ethernet all the same, as a host
    /// does that does not know of a narrow place on the way.
    ///
    /// # Errors
    /// As [`Self::speak_ipv6`].
    pub fn add_far(&mut self) -> Result<()> {
        let (client, far) = (self.client.clone(), self.far.clone());
        ip(&["netns", "add", &far])?;
        self.has_far = true;
        self.speak_ipv6()?;
        veth(&far, Side::Far.interface(), &client, "veth-r")?;
        let ends = [
            (&client, "veth-r", "198.18.9.1/24", "2001:2:0:9::1/64"),
            (&far, Side::Far.interface(), "198.18.9.2/24", "2001:2:0:9::2/64"),
        ];
        for (namespace, interface, address, address_v6) in ends {
            ip(&["-n", namespace, "link", "set", interface, "mtu", FAR_MTU])?;
            ip(&["-n", namespace, "link", "set", interface, "up"])?;
            ip(&["-n", namespace, "address", "add", address, "dev", interface])?;
            speak_ipv6(namespace, interface, address_v6)?;
        }
        sysctl(&client, "net.ipv4.ip_forward=1")?;
        sysctl(&client, "net.ipv6.conf.all.forwarding=1")?;
        let far_to = |to: &str, via: &str, mss: &str| {
            ip(&["-n", &far, "route", "add", to, "via", via, "advmss", mss]).map(drop)
        };
        far_to("198.18.0.0/24", "198.18.9.1", "1460")?;
        far_to("2001:2::/64", "2001:2:0:9::1", "1440")
    }

    /// Which congestion control the kernel of one side, whose address is `address`, uses towards
    /// the other.
    ///
    /// # Errors
    /// The kernel has no such algorithm.
    pub fn set_congestion_control(&self, side: Side, address: &str, algorithm: &str) -> Result<()> {
        let namespace = self.namespace(side);
        // As an attribute of the route, since a namespace may not choose any as its default.
        let route = ip(&["-n", namespace, "route", "show", "dev", side.interface()])?;
        let route = String::from_utf8_lossy(&route.stdout);
        let network = route.split_whitespace().next().context("no route between the two sides")?;
        let mut args = vec!["-n", namespace, "route", "replace", network, "dev", side.interface()];
        args.extend(["proto", "kernel", "scope", "link", "src", address, "congctl", algorithm]);
        ip(&args).map(drop)
    }

    /// Name of a namespace, for `ip netns exec`.
    pub fn namespace(&self, side: Side) -> &str {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
            Side::Far => &self.far,
        }
    }

    /// A command that will run `program` inside a namespace.
    pub fn command(&self, side: Side, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.namespace(side)]).arg(program);
        command
    }

    /// Runs `inside` on a thread that lives in a namespace, so that its sockets do.
    ///
    /// # Errors
    /// The namespace could not be entered, or what `inside` returned.
    pub fn within<T: Send>(&self, side: Side, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        within(self.namespace(side), inside)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.wire = None;
        let far = self.has_far.then_some(&self.far);
        for namespace in [&self.server, &self.client].into_iter().chain(&self.between).chain(far) {
            if let Err(error) = ip(&["netns", "delete", namespace]) {
                eprintln!("could not remove namespace {namespace}: {error:#}");
            }
        }
    }
}

/// Fails unless the process may make namespaces.
///
/// # Errors
/// Not root.
pub fn require_root() -> Result<()> {
    // SAFETY: geteuid has no preconditions and cannot fail.
    if unsafe { libc::geteuid() } == 0 {
        return Ok(());
    }
    bail!("network namespaces need root: run it as root or with sudo")
}

fn within<T: Send>(name: &str, inside: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let path = format!("/run/netns/{name}");
    let namespace = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // SAFETY: the descriptor is open for the length of the call, and only this thread,
            // which ends here, changes its namespace.
            let status = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
            if status != 0 {
                bail!("cannot enter {path}: {}", std::io::Error::last_os_error());
            }
            inside()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn veth(a: &str, interface_a: &str, b: &str, interface_b: &str) -> Result<()> {
    ip(&["-n", a, "link", "add", interface_a, "type", "veth", "peer", "name", interface_b, "netns", b])
        .map(drop)
}

/// Without IPv6: router solicitations and the like would only be noise in counters and captures.
fn quiet(namespace: &str, interface: &str) {
    sysctl(namespace, &format!("net.ipv6.conf.{interface}.disable_ipv6=1")).ok();
}

/// Gives an interface an IPv6 address (`IP/PREFIX`), in use at once.
fn speak_ipv6(namespace: &str, interface: &str, address: &str) -> Result<()> {
    sysctl(namespace, &format!("net.ipv6.conf.{interface}.disable_ipv6=0"))?;
    ip(&["-n", namespace, "address", "add", address, "dev", interface, "nodad"]).map(drop)
}

fn sysctl(namespace: &str, setting: &str) -> Result<Output> {
    run(Command::new("ip").args(["netns", "exec", namespace, "sysctl", "-qw", setting]))
}

fn ip(args: &[&str]) -> Result<Output> {
    run(Command::new("ip").args(args))
}

/// Runs a command to its end and fails with what it printed unless it succeeded.
///
/// # Errors
/// The program could not be started or ended with another status than 0.
pub fn run(command: &mut Command) -> Result<Output> {
    let shown = format!("{command:?}").replace('"', "");
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    if !output.status.success() {
        bail!(
            "`{shown}` failed ({}): {}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output)
}
