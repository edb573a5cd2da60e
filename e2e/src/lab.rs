//! Two network namespaces joined by a veth pair, gone when the value is dropped.

use std::fmt;
use std::os::fd::AsRawFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail};

/// Address of the server's own stack, on the server's end of the veth.
pub const SERVER_ADDRESS: &str = "198.18.0.2";
/// Address of the client namespace's kernel, on the client's end.
pub const CLIENT_ADDRESS: &str = "198.18.0.1";
/// Address that the load generator's own stack uses on the client's end.
pub const LOADGEN_ADDRESS: &str = "198.18.0.3";
/// Prefix length of the network between the two.
pub const PREFIX: &str = "24";
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
}

/// The two namespaces. Nothing outside them is touched.
#[derive(Debug)]
pub struct Lab {
    server: String,
    client: String,
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        require_root()?;
        let id = format!("mayfly-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let lab = Self { server: format!("{id}-server"), client: format!("{id}-client") };
        ip(&["netns", "add", &lab.server])?;
        ip(&["netns", "add", &lab.client])?;
        ip(&[
            "-n",
            &lab.server,
            "link",
            "add",
            SERVER_INTERFACE,
            "type",
            "veth",
            "peer",
            "name",
            CLIENT_INTERFACE,
            "netns",
            &lab.client,
        ])?;
        for (namespace, interface) in [(&lab.server, SERVER_INTERFACE), (&lab.client, CLIENT_INTERFACE)] {
            // Router solicitations and the like would only be noise in counters and captures.
            sysctl(namespace, &format!("net.ipv6.conf.{interface}.disable_ipv6=1")).ok();
            ip(&["-n", namespace, "link", "set", "lo", "up"])?;
            ip(&["-n", namespace, "link", "set", interface, "up"])?;
        }
        // Clients that connect once per request and close first leave their own kernel with a port
        // in TIME_WAIT each: without this they run out of ports after 28,000 connections.
        sysctl(&lab.client, "net.ipv4.tcp_tw_reuse=1")?;
        sysctl(&lab.client, "net.ipv4.ip_local_port_range=1024 65535")?;
        let address = format!("{CLIENT_ADDRESS}/{PREFIX}");
        ip(&["-n", &lab.client, "address", "add", &address, "dev", CLIENT_INTERFACE])?;
        Ok(lab)
    }

    /// Name of a namespace, for `ip netns exec`.
    pub fn namespace(&self, side: Side) -> &str {
        match side {
            Side::Server => &self.server,
            Side::Client => &self.client,
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
        let path = format!("/run/netns/{}", self.namespace(side));
        let namespace = std::fs::File::open(&path).with_context(|| format!("cannot open {path}"))?;
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                // SAFETY: the descriptor is open for the length of the call, and only this
                // thread, which ends here, changes its namespace.
                let status = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                if status != 0 {
                    bail!("cannot enter {path}: {}", std::io::Error::last_os_error());
                }
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Loses, reorders or delays what leaves one side, by `tc netem` (for example
    /// `["loss", "1%"]`).
    ///
    /// # Errors
    /// The kernel has no netem, or does not take the arguments.
    pub fn impair(&self, side: Side, netem: &[&str]) -> Result<()> {
        let interface = match side {
            Side::Server => SERVER_INTERFACE,
            Side::Client => CLIENT_INTERFACE,
        };
        let mut command = self.command(side, "tc");
        command.args(["qdisc", "replace", "dev", interface, "root", "netem"]).args(netem);
        run(&mut command).map(drop)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for namespace in [&self.server, &self.client] {
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
