//! The firmware in a process of its own, and a server that attaches to it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};
use e2e::lab::{PREFIX, PREFIX_V6, SERVER_ADDRESS, SERVER_ADDRESS_V6, SERVER_INTERFACE, Side};
use e2e::{Lab, Process, programs};

use super::{PORT, Setup, Site, connect, exchange};

/// What `mayfly-nic` says when a server may attach.
pub const NIC_READY: &str = "Ready for the host";

/// The path of a socket, removed with the value.
#[derive(Debug)]
pub struct Socket(pub PathBuf);

impl Socket {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("mayfly-{}-{number}.sock", std::process::id())))
    }

    /// Where the firmware that serves it can be asked.
    pub fn control(&self) -> String {
        format!("{}.control", self.0.display())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        for path in [self.0.display().to_string(), self.control()] {
            std::fs::remove_file(&path).ok();
            std::fs::remove_file(path + ".lock").ok();
        }
    }
}

/// Firmware and server, each a process of its own.
pub struct Pair {
    // In this order: the server goes first, then the firmware, then the laboratory.
    pub nic: Process,
    pub site: Site,
    pub socket: Socket,
    nic_more: Vec<String>,
    server_more: Vec<String>,
}

pub fn nic_command(lab: &Lab, setup: Setup, socket: &Socket, more: &[String]) -> Result<Command> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-nic")?);
    command.args(["--wire", &format!("{}:{SERVER_INTERFACE}", setup.scheme)]);
    command.args(["--host", &format!("vhost:{},queues=2", socket.0.display())]);
    command.args(["--offload", setup.offload, "--control", &socket.control()]).args(more);
    Ok(command)
}

pub fn server_command(lab: &Lab, setup: Setup, socket: &Socket, more: &[String]) -> Result<Command> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(["--net", &format!("virtio:{}", socket.0.display()), "--nic", "external"]);
    let addresses = format!("{SERVER_ADDRESS}/{PREFIX},{SERVER_ADDRESS_V6}/{PREFIX_V6}");
    command.args(["--address", &addresses, "--port", PORT, "--offload", setup.offload]).args(more);
    Ok(command)
}

pub fn start(command: Command, sign: &str) -> Result<Process> {
    let process = Process::start(command)?;
    process.wait_for(sign)?;
    Ok(process)
}

impl Pair {
    pub fn new(setup: Setup, nic_more: &[&str], server_more: &[&str]) -> Result<Self> {
        Self::in_lab(Lab::new()?, setup, nic_more, server_more)
    }

    pub fn in_lab(lab: Lab, setup: Setup, nic_more: &[&str], server_more: &[&str]) -> Result<Self> {
        let socket = Socket::new();
        let nic_more: Vec<String> = nic_more.iter().map(ToString::to_string).collect();
        let server_more: Vec<String> = server_more.iter().map(ToString::to_string).collect();
        let nic = start(nic_command(&lab, setup, &socket, &nic_more)?, NIC_READY)?;
        ensure!(nic.output().contains("Emulated NIC"), "it says what it is: {}", nic.output());
        let server =
            start(server_command(&lab, setup, &socket, &server_more)?, "Ready to accept connections")?;
        Ok(Self { nic, site: Site { lab, server, setup }, socket, nic_more, server_more })
    }

    pub fn kill_server(&mut self) {
        self.end_server(libc::SIGKILL);
    }

    pub fn end_server(&mut self, signal: i32) {
        self.site.server.signal(signal);
        while self.site.server.is_running() {
            std::thread::yield_now();
        }
    }

    pub fn start_server(&mut self) -> Result<()> {
        let command = server_command(&self.site.lab, self.site.setup, &self.socket, &self.server_more)?;
        self.site.server = start(command, "Ready to accept connections")?;
        Ok(())
    }

    pub fn kill_nic(&mut self) {
        self.nic.signal(libc::SIGKILL);
        while self.nic.is_running() {
            std::thread::yield_now();
        }
    }

    pub fn start_nic(&mut self) -> Result<()> {
        let command = nic_command(&self.site.lab, self.site.setup, &self.socket, &self.nic_more)?;
        self.nic = start(command, NIC_READY)?;
        Ok(())
    }

    /// Tries until it is served.
    pub fn is_served_again(&self) -> Result<()> {
        self.site.lab.within(Side::Client, || {
            loop {
                let asked = connect().and_then(|mut stream| exchange(&mut stream, b"PING\r\n", b"+PONG\r\n"));
                match asked {
                    Ok(()) => return Ok(()),
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            }
        })
    }
}
