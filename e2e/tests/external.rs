//! The firmware in a process of its own: real clients over it, and the death of either side.

#![allow(missing_docs)]

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use common::external::{Pair, Socket, server_command, start};
use common::{Folder, PORT, Setup, dump, exchange, lines_once, word};
use e2e::lab::{CLIENT_INTERFACE, PREFIX, SERVER_ADDRESS, SERVER_ADDRESS_V6, SERVER_INTERFACE, Side, run};
use e2e::{Lab, Process, programs};

const LIFECYCLE: Setup = Setup { scheme: "packet", offload: "lifecycle", nic: "external" };
const NONE: Setup = Setup { scheme: "packet", offload: "none", nic: "external" };

/// What `mayfly-nic` says that is asked at a control socket.
fn ask(control: &str, args: &[&str]) -> Result<String> {
    let output = run(Command::new(programs::ours("mayfly-nic")?).args(args).args(["--control", control]))?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

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

    /// Tries until a request is answered by the firmware's word that the server is away.
    fn is_told_of_the_absence(&self) -> Result<()> {
        self.site.lab.within(Side::Client, || {
            loop {
                let told = b"-LOADING The server is away, try again later\r\n";
                let asked = common::connect().and_then(|mut stream| {
                    exchange(&mut stream, b"PING\r\n", told)?;
                    Ok(stream)
                });
                if let Ok(mut stream) = asked {
                    ensure!(stream.read(&mut [0; 1])? == 0, "and nothing more");
                    return Ok(());
                }
            }
        })
    }

    /// Clients that have to ask for every hardware address hear the refusal.
    fn strangers_are_refused(&self) -> Result<()> {
        for address in [SERVER_ADDRESS, SERVER_ADDRESS_V6] {
            let flush = ["neigh", "flush", "dev", CLIENT_INTERFACE];
            e2e::lab::run(self.site.lab.command(Side::Client, "ip").args(flush))?;
            let connect = || Ok(TcpStream::connect((address, 6379)).err().map(|error| error.kind()));
            let refused = self.site.lab.within(Side::Client, connect)?;
            ensure!(refused == Some(ErrorKind::ConnectionRefused), "{address}: {refused:?}");
        }
        Ok(())
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
    let mut pair = Pair::new(LIFECYCLE, &[], &["--refuse", "reset"])?;
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

/// docs/external.md: the firmware answers ARP and neighbour discovery in the server's place.
#[test]
fn who_has_to_ask_for_the_hardware_address_is_refused_at_once_while_the_server_is_away() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &["--refuse", "reset"])?;
    pair.site.lab.speak_ipv6()?;
    pair.serves_everybody()?;
    pair.kill_server();
    pair.is_refused()?;
    pair.strangers_are_refused()?;
    // One that says goodbye is stood in for in the same way.
    pair.start_server()?;
    pair.is_served_again()?;
    pair.end_server(libc::SIGTERM);
    pair.is_refused()?;
    pair.strangers_are_refused()?;
    pair.start_server()?;
    pair.is_served_again()
}

/// docs/admission.md: `refuse error` is the default.
#[test]
fn while_the_server_is_away_clients_are_told_so() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &[])?;
    pair.serves_everybody()?;
    for _ in 0..2 {
        pair.kill_server();
        pair.is_told_of_the_absence()?;
        pair.start_server()?;
        pair.is_served_again()?;
    }
    pair.serves_everybody()
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
    let pair = Pair::new(LIFECYCLE, &["--host-timeout", "1"], &["--refuse", "reset"])?;
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    pair.site.server.stop()?;
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
    pair.nic.stop()?;
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
        process.stop()?;
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

/// The number in the column `per second` (0) or `since the start` (1) of a line of `mayfly-nic top`.
fn shown(view: &str, name: &str, column: usize) -> Result<u64> {
    let line = view.lines().find_map(|line| line.trim_start().strip_prefix(name));
    let line = line.with_context(|| format!("no {name} in\n{view}"))?;
    let number = line.split_whitespace().nth(column).with_context(|| format!("{name}{line}"))?;
    Ok(number.replace(',', "").parse()?)
}

#[test]
fn the_firmware_is_asked_by_itself() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &[])?;
    let control = pair.socket.control();
    let nic = |args: &[&str]| ask(&control, args);
    let status = |field: &str| common::field(&nic(&["status"])?, field);
    let said = nic(&["status"])?;
    ensure!(said.contains(&format!("\nwire:packet:{SERVER_INTERFACE}\n")), "{said}");
    ensure!(status("process_id")? > 0 && status("firmware_queues_served_now")? == 1, "{said}");
    // Each shows its own device: neither a packet socket nor a vhost-user socket computes any.
    ensure!(status("device_tx_checksum")? == 0 && pair.site.info("device_tx_checksum")? == 0, "{said}");

    // A connection, while it is there and after its end.
    let mut held = pair.connect()?;
    exchange(&mut held, b"PING\r\n", b"+PONG\r\n")?;
    let remote = format!("remote={} ", held.local_addr()?);
    let is_ours = |line: &&str| line.contains(&remote);
    let flows = lines_once(|| nic(&["flows"]), |lines| lines.iter().any(is_ours))?;
    let ours = flows.iter().find(|line| is_ours(&line.as_str())).context("just seen")?;
    ensure!(word(ours, "state")? == "established", "{ours}");
    let flow = word(ours, "flow")?;
    drop(held);
    let ended = |lines: &[&str]| lines.first().is_some_and(|line| line.ends_with("after=spent"));
    let events = lines_once(|| nic(&["events", flow]), ended)?;
    let told: Vec<_> = events.iter().map(|line| word(line, "event")).collect::<Result<_>>()?;
    // A host that is slow to say that it waits gets the FIN, and hands the end over.
    ensure!(
        matches!(told[..], ["-", "passive_close" | "active_close", "established_sent", "cookie_accepted"]),
        "{events:?}"
    );
    ensure!(nic(&["events", "--count", "3"])?.lines().count() == 3);

    // What happens now; somebody is busy meanwhile.
    let mut top = Command::new(programs::ours("mayfly-nic")?);
    top.args(["top", "--interval", "0.1", "--control", &control]);
    let top = Process::start(top)?;
    top.wait_for("frames dropped")?;
    pair.serves_everybody()?;
    // A view is a moment old: who was just served may stand in one that has still to come.
    let was_busy = |views: &str| {
        let views = views.split("mayfly-nic  wire").skip(1);
        views.filter_map(|view| shown(view, "new connections", 0).ok()).any(|rate| rate > 0)
    };
    lines_once(|| Ok(top.output()), |lines| was_busy(&lines.join("\n")))?;
    drop(top);
    let view = nic(&["top", "--once", "--interval", "0.1"])?;
    ensure!(view.contains("host: attached, 1 of 2 queues served"), "{view}");
    ensure!(shown(&view, "new connections", 1)? >= 2000, "{view}");
    ensure!(shown(&view, "frames from the wire", 1)? > 8000, "{view}");

    // The server says where to look, and shows what it has.
    for args in [&["FLOWS"][..], &["EVENTS"], &["CAPTURE", "STOP", "WIRE"]] {
        let said = pair.site.redis_cli(&[&["MAYFLY"], args].concat())?;
        let command = format!("mayfly-nic {}", args[0].to_lowercase());
        ensure!(said.starts_with("ERR") && said.contains(&command), "{args:?}: {said}");
    }
    let said = pair.site.redis_cli(&["MAYFLY", "STATUS"])?;
    for field in ["stack_connections_accepted", "device_rx_frames", "device_tx_bytes", "host_busy_cycles"] {
        ensure!(common::field(&said, field)? > 0, "{field} in {said}");
    }
    ensure!(!said.contains("firmware_") && !said.contains("nic_busy_cycles"), "{said}");

    pair.kill_server();
    lines_once(
        || nic(&["top", "--once", "--interval", "0.05"]),
        |lines| lines.iter().any(|line| line.contains("nobody is attached, 0 of 2")),
    )?;
    Ok(())
}

#[test]
fn captures_of_the_firmware_are_readable() -> Result<()> {
    let folder = Folder::new()?;
    for setup in [LIFECYCLE, NONE] {
        eprintln!("{setup:?}");
        let pair = Pair::new(setup, &[], &[])?;
        let control = pair.socket.control();
        let nic = |args: &[&str]| ask(&control, args);
        let fails = |args: &[&str], words: &[&str]| {
            let mut command = Command::new(programs::ours("mayfly-nic")?);
            command.args(args).args(["--control", &control]);
            refuses(command, words)
        };
        let file = |side: &str| folder.file(&format!("{} {side}.pcap", setup.offload));
        for side in ["wire", "host"] {
            nic(&["capture", "start", side, &file(side)])?;
            fails(&["capture", "start", side, &folder.file("b.pcap")], &["is running"])?;
        }
        ensure!(pair.site.redis_cli(&["SET", "seen-by", "everybody"])? == "OK");
        let stopped = nic(&["capture", "stop"])?;
        fails(&["capture", "stop"], &["no capture"])?;
        for (line, side) in stopped.lines().zip(["wire", "host"]) {
            let text = dump(&file(side))?;
            ensure!(line == format!("{side}: {} frames", text.lines().count()), "{line}, and\n{text}");
            ensure!(text.contains("seen-by"), "{side}:\n{text}");
            let is_message = text.contains("Established epoch");
            ensure!(is_message == (side == "host" && setup.offload == "lifecycle"), "{side}:\n{text}");
            run(Command::new("tcpdump").args(["-nr", &file(side)]))?;
        }
        fails(&["capture", "start", "wire", &file("wire")], &[&file("wire"), "exists"])?;
        // A name is one in the folder of whoever asks; it ends at its limit.
        let mut start = Command::new(programs::ours("mayfly-nic")?);
        start.args(["capture", "start", "wire", "short.pcap", "--count", "3", "--control", &control]);
        run(start.current_dir(folder.name()))?;
        ensure!(pair.site.redis_cli(&["PING"])? == "PONG");
        let limit = |lines: &[&str]| lines.contains(&"capture_wire:ended (its limit is reached), 3 frames");
        lines_once(|| nic(&["status"]), limit)?;
        ensure!(dump(&folder.file("short.pcap"))?.lines().count() == 3);
        std::fs::remove_file(folder.file("short.pcap"))?;
        // One that runs at the end of the firmware is whole.
        nic(&["capture", "stop", "wire"])?;
        let last = folder.file(&format!("{}-last.pcap", setup.offload));
        nic(&["capture", "start", "wire", &last])?;
        ensure!(pair.site.redis_cli(&["GET", "seen-by"])? == "everybody");
        pair.nic.terminate()?;
        ensure!(dump(&last)?.contains("$9\\r\\neverybody"), "{}", dump(&last)?);
    }
    Ok(())
}

#[test]
fn a_control_socket_is_of_one_process() -> Result<()> {
    let mut pair = Pair::new(LIFECYCLE, &[], &[])?;
    let control = pair.socket.control();
    let asks = |words: &[&str]| {
        let mut command = Command::new(programs::ours("mayfly-nic")?);
        command.args(["flows", "--control", &control]);
        refuses(command, &[&[control.as_str()], words].concat())
    };
    let other = |socket: &Socket, more: &[&str]| -> Result<Command> {
        let mut command = pair.site.lab.command(Side::Client, programs::ours("mayfly-nic")?);
        command.args(["--wire", &format!("packet:{CLIENT_INTERFACE}")]);
        command.args(["--host", &format!("vhost:{}", socket.0.display())]).args(more);
        Ok(command)
    };
    let socket = Socket::new();
    refuses(
        other(&socket, &["--control", &control])?,
        &[&control, "in use by another mayfly-nic", "--control PATH"],
    )?;
    refuses(other(&socket, &["--control", "/nosuch/folder/c"])?, &["/nosuch/folder/c", "No such file"])?;
    // Of those that were told no place only one can have the usual one; the others run all the same.
    let first = start(other(&socket, &[])?, "Ready for the host")?;
    let (lab, socket) = (Lab::new()?, Socket::new());
    let mut command = lab.command(Side::Server, programs::ours("mayfly-nic")?);
    command.args(["--wire", &format!("packet:{SERVER_INTERFACE}")]);
    command.args(["--host", &format!("vhost:{}", socket.0.display())]);
    let second = start(command, "Ready for the host")?;
    ensure!(second.output().contains("nobody can look into this one"), "{}", second.output());
    drop((first, second));

    pair.kill_nic();
    ensure!(Path::new(&control).exists(), "nobody could have removed it");
    asks(&["is dead", "start it again"])?;
    pair.start_nic()?;
    ensure!(ask(&control, &["status"])?.contains("firmware_wire_received"));
    pair.nic.terminate()?;
    ensure!(!Path::new(&control).exists(), "the control socket is left behind");
    asks(&["no mayfly-nic answers there", "--control PATH"])
}

#[test]
fn of_two_that_want_a_killed_ones_sockets_one_starts() -> Result<()> {
    let (lab, socket) = (Lab::new()?, Socket::new());
    let control = socket.control();
    // They have nothing in common but the paths.
    let start = |side: Side| {
        let mut command = lab.command(side, programs::ours("mayfly-nic")?);
        command.args(["--wire", &format!("packet:{}", side.interface()), "--control", &control]);
        command.args(["--host", &format!("vhost:{}", socket.0.display())]);
        Process::start(command)
    };
    for _ in 0..3 {
        let mut both = vec![start(Side::Server)?, start(Side::Client)?];
        let lost = loop {
            if let Some(at) = both.iter_mut().position(|process| !process.is_running()) {
                break both.remove(at);
            }
            std::thread::sleep(std::time::Duration::from_millis(5));
        };
        let (status, output) = lost.wait()?;
        ensure!(!status.success() && output.contains("in use by another"), "{output}");
        let mut won = both.remove(0);
        won.wait_for("Ready for the host")?;
        ensure!(common::field(&ask(&control, &["status"])?, "process_id")? == u64::from(won.id()));
        won.signal(libc::SIGKILL);
        while won.is_running() {
            std::thread::yield_now();
        }
        ensure!(socket.0.exists() && Path::new(&control).exists(), "nothing is left: this tests nothing");
    }
    Ok(())
}
