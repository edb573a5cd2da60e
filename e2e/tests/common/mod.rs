//! A server in its laboratory, and what tests ask it.

#![allow(dead_code, missing_docs, unreachable_pub)] // each test program uses a part of it

pub mod attacker;
pub mod external;
pub mod station;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};
use e2e::lab::{CLIENT_INTERFACE, LOADGEN_ADDRESS, PREFIX, SERVER_ADDRESS, SERVER_INTERFACE, Side, run};
use e2e::{Lab, Process, programs};

pub const PORT: &str = "6379";

/// A server on a device, at an offload level.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub scheme: &'static str,
    pub offload: &'static str,
    pub nic: &'static str,
}

/// Every device that a kernel client can reach, at both levels, and both places of the firmware.
pub const SETUPS: [Setup; 8] = [
    Setup { scheme: "packet", offload: "none", nic: "embedded" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "embedded" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "inline" },
    Setup { scheme: "xdp", offload: "none", nic: "embedded" },
    Setup { scheme: "xdp", offload: "lifecycle", nic: "embedded" },
    Setup { scheme: "tap", offload: "none", nic: "inline" },
    Setup { scheme: "tap", offload: "lifecycle", nic: "embedded" },
    Setup { scheme: "kernel", offload: "none", nic: "embedded" },
];

/// What nearly every test runs on.
pub const USUAL: [Setup; 2] = [
    Setup { scheme: "packet", offload: "none", nic: "embedded" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "embedded" },
];

pub struct Site {
    pub lab: Lab,
    pub server: Process,
    pub setup: Setup,
}

impl Site {
    pub fn new(setup: Setup, more: &[&str]) -> Result<Self> {
        Self::in_lab(Lab::new()?, setup, more)
    }

    pub fn in_lab(lab: Lab, setup: Setup, more: &[&str]) -> Result<Self> {
        let server = start(&lab, setup, more).with_context(|| format!("{setup:?}"))?;
        Ok(Self { lab, server, setup })
    }

    /// Runs a client program and returns what it printed.
    pub fn client(&self, program: &str, args: &[&str]) -> Result<String> {
        let mut command = self.lab.command(self.client_side(), program);
        let output = run(command.args(args))
            .with_context(|| format!("{:?}; the server printed:\n{}", self.setup, self.server.output()))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub fn redis_cli(&self, args: &[&str]) -> Result<String> {
        let mut all = vec!["-h", SERVER_ADDRESS, "-p", PORT];
        all.extend(args);
        Ok(self.client("redis-cli", &all)?.trim_end().to_string())
    }

    /// A field of INFO.
    pub fn info(&self, field: &str) -> Result<u64> {
        self::field(&self.redis_cli(&["INFO", "everything"])?, field)
    }

    /// Asks INFO until a field has a value. The test runner's own patience is the only limit.
    pub fn wait_for_info(&self, field: &str, wanted: impl Fn(u64) -> bool) -> Result<u64> {
        loop {
            let value = self.info(field)?;
            if wanted(value) {
                return Ok(value);
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// The namespace that this setup's clients live in: a tap device has both ends in one.
    pub fn client_side(&self) -> Side {
        match self.setup.scheme {
            "tap" => Side::Server,
            _ => Side::Client,
        }
    }

    /// Runs `inside` with a connection to the server, in the clients' namespace.
    pub fn connected<T: Send>(&self, inside: impl FnOnce(TcpStream) -> Result<T> + Send) -> Result<T> {
        self.lab.within(self.client_side(), || inside(connect()?))
    }

    /// The load generator on its own stack.
    pub fn loadgen(&self, args: &[&str]) -> Result<String> {
        let address = format!("{LOADGEN_ADDRESS}/{PREFIX}");
        self.loadgen_at(&format!("{SERVER_ADDRESS}:{PORT}"), &address, args)
    }

    /// The same between other addresses.
    pub fn loadgen_at(&self, target: &str, address: &str, args: &[&str]) -> Result<String> {
        let mut command = self.lab.command(Side::Client, programs::ours("mayfly-loadgen")?);
        let scheme = if self.setup.scheme == "xdp" { "xdp" } else { "packet" };
        command.args(["--target", target, "--net", &format!("{scheme}:{CLIENT_INTERFACE}")]);
        command.args(["--address", address]);
        let output = run(command.args(args)).with_context(|| format!("{:?}", self.setup))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

pub fn connect() -> Result<TcpStream> {
    let stream = TcpStream::connect((SERVER_ADDRESS, 6379)).context("cannot connect")?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The command that starts a server, up to its own flags.
pub fn server_command(lab: &Lab, setup: Setup) -> Result<Command> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    match setup.scheme {
        "kernel" => {
            command.args(["--net", "kernel", "--bind", SERVER_ADDRESS]);
        }
        scheme => {
            let interface = if scheme == "tap" { "tap-s" } else { SERVER_INTERFACE };
            command.args(["--net", &format!("{scheme}:{interface}")]);
            command.args(["--address", &format!("{SERVER_ADDRESS}/{PREFIX}")]);
            command.args(["--offload", setup.offload, "--nic", setup.nic]);
        }
    }
    command.args(["--port", PORT]);
    Ok(command)
}

pub fn start(lab: &Lab, setup: Setup, more: &[&str]) -> Result<Process> {
    if setup.scheme == "kernel" {
        lab.add_address(Side::Server, SERVER_ADDRESS)?;
    }
    let mut command = server_command(lab, setup)?;
    command.args(more);
    let server = Process::start(command)?;
    server.wait_for("Ready to accept connections")?;
    if setup.scheme == "tap" {
        // The kernel's end of the tap takes the client's part.
        let namespace = lab.namespace(Side::Server);
        let address = format!("{}/{PREFIX}", e2e::lab::CLIENT_ADDRESS);
        run(Command::new("ip").args(["-n", namespace, "address", "add", &address, "dev", "tap-s"]))?;
        run(Command::new("ip").args(["-n", namespace, "link", "set", "tap-s", "up"]))?;
    }
    Ok(server)
}

/// Sends a request and returns the first line of its reply.
pub fn reply_line(stream: &mut TcpStream, send: &[u8]) -> Result<String> {
    stream.write_all(send)?;
    let mut line = Vec::new();
    let mut byte = [0];
    while !line.ends_with(b"\r\n") {
        stream.read_exact(&mut byte)?;
        line.push(byte[0]);
    }
    Ok(String::from_utf8(line)?.trim_end().to_owned())
}

/// All of INFO, asked for over a connection that is there.
pub fn info(stream: &mut TcpStream) -> Result<String> {
    let head = reply_line(stream, b"INFO everything\r\n")?;
    let len: usize = head.strip_prefix('$').and_then(|len| len.parse().ok()).context(head.clone())?;
    let mut info = vec![0; len + 2];
    stream.read_exact(&mut info)?;
    Ok(String::from_utf8(info)?)
}

/// A field of what INFO said.
pub fn field(info: &str, name: &str) -> Result<u64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let value = line.with_context(|| format!("INFO has no field {name}:\n{info}"))?;
    value.trim().parse().with_context(|| format!("{name}:{value}"))
}

/// The value of `name=value` in a line of what the firmware shows.
pub fn word<'a>(line: &'a str, name: &str) -> Result<&'a str> {
    let value = line.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.with_context(|| format!("no {name} in {line:?}"))
}

/// What is said to a question, in lines, once there are some that `wanted` likes: what is shown is a
/// moment old.
pub fn lines_once(ask: impl Fn() -> Result<String>, wanted: impl Fn(&[&str]) -> bool) -> Result<Vec<String>> {
    loop {
        let said = ask()?;
        let lines: Vec<&str> = said.lines().collect();
        if wanted(&lines) {
            return Ok(lines.into_iter().map(str::to_owned).collect());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// Sends and reads exactly the expected bytes back.
pub fn exchange(stream: &mut TcpStream, send: &[u8], expected: &[u8]) -> Result<()> {
    stream.write_all(send)?;
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).with_context(|| format!("waiting for {:?}", text(expected)))?;
    ensure!(got == expected, "expected {:?}, got {:?}", text(expected), text(&got));
    Ok(())
}

/// Reads until the server closes.
pub fn read_to_end(stream: &mut TcpStream) -> Result<Vec<u8>> {
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => Ok(got),
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => Ok(got),
        Err(error) => bail!("{error} after {:?}", text(&got)),
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

/// A capture in words, a line for each frame.
pub fn dump(file: &str) -> Result<String> {
    let output = run(Command::new(programs::ours("mayfly-dump")?).arg(file))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A folder for captures, gone at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("mayfly-captures-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
    pub fn name(&self) -> String {
        self.0.to_string_lossy().into_owned()
    }
    pub fn file(&self, name: &str) -> String {
        self.0.join(name).to_string_lossy().into_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
