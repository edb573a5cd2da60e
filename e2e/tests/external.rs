//! The firmware in a process of its own: real clients over it, and the death of either side.

#![allow(missing_docs)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use common::external::{Pair, Socket, server_command};
use common::{PORT, Setup, exchange};
use e2e::lab::{CLIENT_INTERFACE, PREFIX, SERVER_ADDRESS, SERVER_ADDRESS_V6, SERVER_INTERFACE, Side};
use e2e::{Lab, programs};

const LIFECYCLE: Setup = Setup { scheme: "packet", offload: "lifecycle", nic: "external" };
const NONE: Setup = Setup { scheme: "packet", offload: "none", nic: "external" };

impl Pair {
    /// A connection; its socket stays in the clients' namespace.
    fn connect(&self) -> Result<TcpStream> {
        self.site.lab.within(Side::Client, common::connect)
    }

    /// Tries until a connection is refused by RST. What comes before (a handshake that the firmware
    /// had no reason yet to refuse) ends soon.
    fn is_refused(&self) -> Result<()> {
        self.site.lab.within(Side::Client, || {
            loop {
                match TcpStream::connect((SERVER_ADDRESS, 6379)) {
                    Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Ok(()),
                    Err(error) => bail!("neither served nor refused: {error}"),
                    Ok(_) => std::thread::yield_now(),
                }
            }
        })
    }

    /// Tries until it is served.
    fn is_served_again(&self) -> Result<()> {
        self.site.lab.within(Side::Client, || {
            loop {
                let asked =
                    common::connect().and_then(|mut stream| exchange(&mut stream, b"PING\r\n", b"+PONG\r\n"));
                match asked {
                    Ok(()) => return Ok(()),
                    Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
                }
            }
        })
    }

    /// Many short connections with every reply checked: nobody gets another's bytes.
    fn serves_everybody(&self) -> Result<()> {
        self.site.loadgen(&["-n", "2000", "-c", "20", "--quiet"]).map(drop)
    }
}

/// Waits until the peer has reset the connection.
fn is_reset(stream: &mut TcpStream) -> Result<()> {
    match stream.read(&mut [0]) {
        Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(()),
        other => bail!("not reset but {other:?}"),
    }
}

fn big_value(mut stream: TcpStream) -> Result<()> {
    let big: Vec<u8> = (0..10u32 << 20).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| -> Result<()> {
        scope.spawn(|| {
            writer.write_all(format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", big.len()).as_bytes())?;
            writer.write_all(&big)?;
            writer.write_all(b"\r\n")
        });
        exchange(&mut stream, b"", b"+OK\r\n")
    })?;
    let mut expected = format!("${}\r\n", big.len()).into_bytes();
    expected.extend(&big);
    expected.extend(b"\r\n");
    stream.write_all(b"GET big\r\n")?;
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got)?;
    ensure!(got == expected, "the value came back different");
    Ok(())
}

#[test]
fn clients_do_not_notice() -> Result<()> {
    let script = programs::workspace().join("e2e/clients/session.py");
    let xdp = Setup { scheme: "xdp", ..LIFECYCLE };
    for setup in [LIFECYCLE, NONE, xdp] {
        eprintln!("{setup:?}");
        let lab = Lab::new()?;
        lab.speak_ipv6()?;
        let pair = Pair::in_lab(lab, setup, &[], &[])?;
        let site = &pair.site;
        ensure!(site.redis_cli(&["SET", "k", "v"])? == "OK" && site.redis_cli(&["GET", "k"])? == "v");
        let v6 = site.client("redis-cli", &["-h", SERVER_ADDRESS_V6, "-p", PORT, "GET", "k"])?;
        ensure!(v6.trim() == "v", "over IPv6: {v6}");
        let said = site.client("/usr/bin/python3", &[&script.to_string_lossy(), SERVER_ADDRESS])?;
        ensure!(said.trim().ends_with("session passed"), "{said}");
        for more in [&["-k", "0"][..], &["-P", "16"]] {
            let mut args =
                vec!["-h", SERVER_ADDRESS, "-n", "2000", "-t", "get,set,lpush,lrange_100", "--csv"];
            args.extend(more);
            let csv = site.client("redis-benchmark", &args)?;
            ensure!(!csv.to_lowercase().contains("error") && csv.lines().count() >= 2, "{csv}");
        }
        site.connected(big_value)?;
        if setup.scheme == "packet" {
            pair.serves_everybody()?;
        }
        let unusable = site.info("stack_channel_malformed")? + site.info("stack_tcp_bad_checksum")?;
        ensure!(unusable == 0, "{unusable} frames that nobody could use");
    }
    Ok(())
}

#[test]
fn both_cores_of_a_server_are_served() -> Result<()> {
    let cores = dpdk::allowed_cpus();
    let list: Vec<String> = cores.iter().take(2).map(usize::to_string).collect();
    for setup in [LIFECYCLE, NONE] {
        let pair = Pair::new(setup, &[], &["--cores", &list.join(",")])?;
        pair.serves_everybody()?;
        let queues = pair.site.info("host_cores")?;
        ensure!(queues == list.len() as u64, "{queues} cores");
    }
    Ok(())
}

#[test]
fn a_killed_server_is_noticed_refused_for_and_served_again() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &[])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    for _ in 0..3 {
        pair.kill_server();
        is_reset(&mut held).context("the orphan")?;
        pair.is_refused()?;
        pair.start_server()?;
        // At once: no second try.
        held = pair.connect()?;
        exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    }
    pair.serves_everybody()?;
    // One that says goodbye leaves nobody behind either.
    let (status, output) = pair.site.server.terminate()?;
    ensure!(status.success(), "ended with {status}: {output}");
    let (status, output) = pair.nic.terminate()?;
    ensure!(status.success() && output.contains("Bye"), "ended with {status}: {output}");
    ensure!(!pair.socket.0.exists(), "the socket is left behind");
    Ok(())
}

#[test]
fn a_killed_firmware_comes_back_without_a_restart_of_the_server() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &[])?;
    for round in 0..3 {
        let mut held = pair.connect()?;
        exchange(&mut held, b"SET k v\r\n", b"+OK\r\n")?;
        pair.kill_nic();
        pair.start_nic()?;
        pair.is_served_again()?;
        // Its next packet finds nobody who knows the connection.
        held.write_all(b"PING\r\n")?;
        is_reset(&mut held).with_context(|| format!("round {round}"))?;
        let mut stream = pair.connect()?;
        exchange(&mut stream, b"GET k\r\n", b"$1\r\nv\r\n").context("the server has kept its keys")?;
    }
    ensure!(pair.site.server.output().matches("Attached to the NIC").count() == 3);
    ensure!(pair.site.info("stack_channel_silences")? == 3, "each loss is one");
    // The old ones have ended: only the one that asks is left.
    pair.site.wait_for_info("stack_connections_now", |now| now <= 1)?;
    pair.serves_everybody()
}

/// The link between two that live: the vhost-user socket is closed under them.
#[test]
fn a_cut_link_is_joined_again() -> Result<()> {
    let pair = Pair::new(LIFECYCLE, &[], &[])?;
    for round in 1..=3 {
        let mut held = pair.connect()?;
        exchange(&mut held, b"SET k v\r\n", b"+OK\r\n")?;
        pair.nic.cut_socket(&pair.socket.0)?;
        is_reset(&mut held).with_context(|| format!("round {round}"))?;
        pair.is_served_again()?;
        let mut stream = pair.connect()?;
        exchange(&mut stream, b"GET k\r\n", b"$1\r\nv\r\n")?;
        ensure!(pair.site.info("stack_channel_silences")? == round, "each cut is one");
        // The old ones have ended: only those two are left.
        pair.site.wait_for_info("stack_connections_now", |now| now <= 2)?;
        pair.serves_everybody()?;
    }
    let pair = Pair::new(NONE, &[], &[])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"SET k v\r\n", b"+OK\r\n")?;
    pair.nic.cut_socket(&pair.socket.0)?;
    exchange(&mut held, b"GET k\r\n", b"$1\r\nv\r\n").context("a plain card's cable")?;
    pair.serves_everybody()
}

/// Without offload the firmware knows no connections, and they outlive it.
#[test]
fn at_level_none_connections_outlive_the_firmware() -> Result<()> {
    let mut pair = Pair::new(NONE, &[], &[])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"SET k v\r\n", b"+OK\r\n")?;
    pair.kill_nic();
    pair.start_nic()?;
    exchange(&mut held, b"GET k\r\n", b"$1\r\nv\r\n")?;
    pair.serves_everybody()
}

/// The link is cut for a while: the server is stopped, and does not know.
#[test]
fn a_server_that_was_away_begins_anew() -> Result<()> {
    let pair = Pair::new(LIFECYCLE, &["--host-timeout", "1"], &[])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    pair.site.server.signal(libc::SIGSTOP);
    // These wait in the ring, for a life that will be over.
    held.write_all(b"SET late 1\r\n")?;
    is_reset(&mut held)?;
    pair.is_refused()?;
    pair.site.server.signal(libc::SIGCONT);
    pair.is_served_again()?;
    pair.serves_everybody()?;
    ensure!(pair.site.info("stack_channel_resets")? >= 1, "it has learnt that it was given up");
    // The old ones have ended: only the one that asks is left.
    pair.site.wait_for_info("stack_connections_now", |now| now <= 1)?;
    Ok(())
}

/// The other way round: the firmware is stopped, and does not know.
#[test]
fn a_firmware_that_was_away_resets_what_the_server_has_given_up() -> Result<()> {
    let pair = Pair::new(LIFECYCLE, &[], &["--nic-timeout", "1"])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    pair.nic.signal(libc::SIGSTOP);
    pair.site.server.wait_for("the NIC does not answer")?;
    pair.nic.signal(libc::SIGCONT);
    is_reset(&mut held)?;
    pair.is_served_again()?;
    pair.serves_everybody()?;
    ensure!(pair.site.info("stack_channel_silences")? == 1);
    Ok(())
}

/// A pause that is shorter than everybody's patience is only a pause.
#[test]
fn a_short_pause_ends_nothing() -> Result<()> {
    let pair = Pair::new(LIFECYCLE, &[], &[])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    for process in [&pair.nic, &pair.site.server] {
        process.signal(libc::SIGSTOP);
        held.write_all(b"PING\r\n")?;
        std::thread::sleep(std::time::Duration::from_millis(700));
        process.signal(libc::SIGCONT);
        exchange(&mut held, b"", b"+PONG\r\n")?;
    }
    Ok(())
}

/// What a program prints that cannot start.
fn refuses(mut command: Command, words: &[&str]) -> Result<()> {
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{command:?} started: {said}");
    for word in words {
        ensure!(said.contains(word), "{command:?} does not say {word:?}: {said}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_is_said() -> Result<()> {
    let pair = Pair::new(LIFECYCLE, &[], &[])?;
    let lab = &pair.site.lab;
    let nic = |args: &[&str]| -> Result<Command> {
        let mut command = lab.command(Side::Server, programs::ours("mayfly-nic")?);
        command.args(args);
        Ok(command)
    };
    let wire = format!("packet:{SERVER_INTERFACE}");
    let taken = format!("vhost:{}", pair.socket.0.display());
    refuses(nic(&["--wire", &wire])?, &["--host"])?;
    refuses(nic(&["--wire", "packet:nosuch", "--host", "vhost:/tmp/x.sock"])?, &["nosuch", "ip link"])?;
    refuses(nic(&["--wire", "pigeon:x", "--host", "vhost:/tmp/x.sock"])?, &["pigeon:x", "xdp:IFACE"])?;
    refuses(nic(&["--wire", &wire, "--host", &wire])?, &["cannot be both"])?;
    refuses(nic(&["--wire", &wire, "--host", "vhost:/tmp/x.sock"])?, &[&wire, "in use"])?;
    let mut command = lab.command(Side::Client, programs::ours("mayfly-nic")?);
    command.args(["--wire", &format!("packet:{CLIENT_INTERFACE}"), "--host", &taken]);
    refuses(command, &[&taken, "in use"])?;
    let server = |socket: &str, setup| server_command(lab, setup, &Socket(socket.into()), &[]);
    refuses(server("/nosuch/socket", LIFECYCLE)?, &["/nosuch/socket", "start the side that serves it"])?;
    let socket = pair.socket.0.display().to_string();
    drop(pair.site.server);
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(["--net", &format!("virtio:{socket}"), "--nic", "external", "--offload", "none"]);
    command.args(["--address", &format!("{SERVER_ADDRESS}/{PREFIX}")]);
    refuses(command, &["--offload lifecycle", "--offload none", "tell both the same"])
}
