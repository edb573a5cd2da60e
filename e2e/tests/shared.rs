//! `xdp:IFACE` with addresses that the kernel has, for a server and for the firmware in a process of its own: the
//! server's port is taken, and the kernel goes on with everything else.

#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::external::{self, Pair, Socket, nic_command};
use common::station::Station;
use common::{PORT, Setup};
use e2e::lab::{
    CLIENT_ADDRESS, CLIENT_ADDRESS_V6, CLIENT_INTERFACE, SERVER_ADDRESS, SERVER_ADDRESS_V6, SERVER_INTERFACE,
    Side, run,
};
use e2e::{Lab, PacketSocket, Process, programs};
use protocol::ethernet::HEADER_LEN as IP_AT;
use protocol::ip::{self, Address};

const SETUPS: [Setup; 3] = [
    Setup { scheme: "xdp", offload: "none", nic: "embedded" },
    Setup { scheme: "xdp", offload: "lifecycle", nic: "embedded" },
    Setup { scheme: "xdp", offload: "lifecycle", nic: "inline" },
];
const ADDRESSES: [&str; 2] = [SERVER_ADDRESS, SERVER_ADDRESS_V6];
/// Where the kernel's own programs are.
const KERNEL_PORT: u16 = 7777;

fn lab() -> Result<Lab> {
    let lab = Lab::new()?;
    lab.share_addresses()?;
    Ok(lab)
}

/// A server that takes its addresses from the interface.
fn start(lab: &Lab, setup: Setup, more: &[&str]) -> Result<Process> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(["--net", &format!("xdp:{SERVER_INTERFACE}"), "--port", PORT]);
    command.args(["--offload", setup.offload, "--nic", setup.nic]).args(more);
    let server = Process::start(command)?;
    server.wait_for("Ready to accept connections")?;
    Ok(server)
}

fn redis_cli(lab: &Lab, address: &str, args: &[&str]) -> Result<String> {
    let mut command = lab.command(Side::Client, "redis-cli");
    let output = run(command.args(["-h", address, "-p", PORT]).args(args))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

/// The kernel answers ARP and ndp, ping, TCP and UDP on this address as if it were alone.
fn kernel_serves(lab: &Lab, port: u16) -> Result<()> {
    for address in ADDRESSES {
        let server: IpAddr = address.parse()?;
        let listener = lab.within(Side::Server, || Ok(TcpListener::bind((server, port))?))?;
        let datagrams = lab.within(Side::Server, || Ok(UdpSocket::bind((server, port))?))?;
        std::thread::scope(|scope| -> Result<()> {
            let serving = scope.spawn(|| -> Result<()> {
                let (mut stream, _) = listener.accept()?;
                let mut word = [0; 5];
                stream.read_exact(&mut word)?;
                stream.write_all(&word)?;
                let (len, from) = datagrams.recv_from(&mut word)?;
                datagrams.send_to(&word[..len], from)?;
                Ok(())
            });
            lab.within(Side::Client, || {
                let mut word = [0; 5];
                let mut stream = TcpStream::connect((server, port))?;
                stream.write_all(b"hello")?;
                stream.read_exact(&mut word)?;
                ensure!(word == *b"hello", "{word:?} from {server}");
                let socket = UdpSocket::bind((if server.is_ipv4() { "0.0.0.0" } else { "::" }, 0))?;
                socket.connect((server, port))?;
                socket.send(b"world")?;
                ensure!(socket.recv(&mut word)? == 5 && word == *b"world", "{word:?} from {server}");
                Ok(())
            })?;
            serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
        .with_context(|| format!("the kernel's program at {address}:{port}"))?;
    }
    lab.within(Side::Client, || {
        for (ours, server) in [("198.18.0.77", SERVER_ADDRESS), ("2001:2::77", SERVER_ADDRESS_V6)] {
            let mut station =
                Station::new(Address::from(ours.parse::<IpAddr>()?), server.parse::<IpAddr>()?.into())?;
            let (protocol, request) = station.echo_request(56);
            let packet = station.packet(protocol, &request);
            station.echoed(&[packet], &request)?;
        }
        Ok(())
    })
}

fn has_program(lab: &Lab) -> Result<bool> {
    let mut command = Command::new("ip");
    let shown = run(command.args(["-n", lab.namespace(Side::Server), "link", "show", SERVER_INTERFACE]))?;
    Ok(String::from_utf8_lossy(&shown.stdout).contains("xdp"))
}

/// Clients of the server and of the kernel's programs, in turn; what the server says of itself then.
fn both_serve(lab: &Lab, server: &Process) -> Result<String> {
    let script = programs::workspace().join("e2e/clients/session.py");
    for address in ADDRESSES {
        ensure!(redis_cli(lab, address, &["SET", "k", address])? == "OK");
        kernel_serves(lab, KERNEL_PORT)?;
        ensure!(redis_cli(lab, address, &["GET", "k"])? == address);
        let mut session = lab.command(Side::Client, "/usr/bin/python3");
        run(session.arg(&script).arg(address)).with_context(|| server.output())?;
    }
    redis_cli(lab, SERVER_ADDRESS, &["INFO", "mayfly"])
}

/// Nothing of the kernel's came by, and nothing of it was answered twice.
fn is_left_alone(info: &str) -> Result<()> {
    for field in ["stack_neighbours_told", "stack_icmp_echo", "stack_resets_sent"] {
        ensure!(common::field(info, field)? == 0, "{field}:\n{info}");
    }
    Ok(())
}

#[test]
fn the_server_has_its_port_and_the_kernel_the_rest() -> Result<()> {
    for setup in SETUPS {
        eprintln!("{setup:?}");
        let lab = lab()?;
        let server = start(&lab, setup, &[])?;
        let info = both_serve(&lab, &server)?;
        is_left_alone(&info)?;
        ensure!(common::field(&info, "net_shared_with_kernel")? == 1);
        let (status, output) = server.terminate()?;
        ensure!(status.success(), "{output}");
        ensure!(!has_program(&lab)?, "the program is still there");
        kernel_serves(&lab, PORT.parse()?)?;
    }
    Ok(())
}

#[test]
fn a_killed_server_leaves_the_kernel_its_traffic_and_the_next_one_cleans_up() -> Result<()> {
    for setup in SETUPS {
        eprintln!("{setup:?}");
        let lab = lab()?;
        let mut server = start(&lab, setup, &[])?;
        ensure!(redis_cli(&lab, SERVER_ADDRESS, &["PING"])? == "PONG");
        server.signal(libc::SIGKILL);
        while server.is_running() {
            std::thread::yield_now();
        }
        ensure!(has_program(&lab)?, "nothing is left behind: this test tests nothing");
        kernel_serves(&lab, KERNEL_PORT)?;
        // Even the port is the kernel's now.
        kernel_serves(&lab, PORT.parse()?)?;
        let server = start(&lab, setup, &[])?;
        ensure!(server.output().contains("removed from 'veth-s'"), "{}", server.output());
        for address in ADDRESSES {
            ensure!(redis_cli(&lab, address, &["PING"])? == "PONG");
        }
        // So does a server that takes all of the interface.
        server.signal(libc::SIGKILL);
        drop(server);
        let server = start(&lab, setup, &["--address", "198.18.0.9/24"])?;
        ensure!(server.output().contains("removed from 'veth-s'"), "{}", server.output());
        ensure!(redis_cli(&lab, "198.18.0.9", &["PING"])? == "PONG");
    }
    Ok(())
}

#[test]
fn the_firmware_in_another_process_shares_as_the_server_does() -> Result<()> {
    for offload in ["none", "lifecycle"] {
        let setup = Setup { scheme: "xdp", offload, nic: "external" };
        eprintln!("{setup:?}");
        let mut pair = Pair::in_lab(lab()?, setup, &[], &[])?;
        ensure!(pair.nic.output().contains("everything else stays with the kernel"), "{}", pair.nic.output());
        is_left_alone(&both_serve(&pair.site.lab, &pair.site.server)?)?;
        let mut status = Command::new(programs::ours("mayfly-nic")?);
        let status = run(status.args(["status", "--control", &pair.socket.control()]))?;
        let status = String::from_utf8_lossy(&status.stdout).into_owned();
        ensure!(common::field(&status, "wire_shared_with_kernel")? == 1, "{status}");

        pair.kill_server();
        kernel_serves(&pair.site.lab, KERNEL_PORT)?;
        pair.start_server()?;
        both_serve(&pair.site.lab, &pair.site.server)?;

        pair.kill_nic();
        ensure!(has_program(&pair.site.lab)?, "nothing is left behind: this test tests nothing");
        kernel_serves(&pair.site.lab, KERNEL_PORT)?;
        kernel_serves(&pair.site.lab, PORT.parse()?)?;
        pair.start_nic()?;
        ensure!(pair.nic.output().contains("removed from 'veth-s'"), "{}", pair.nic.output());
        pair.is_served_again()?;
        both_serve(&pair.site.lab, &pair.site.server)?;

        let (status, output) = pair.nic.terminate()?;
        ensure!(status.success(), "{output}");
        ensure!(!has_program(&pair.site.lab)?, "the program is still there");
        kernel_serves(&pair.site.lab, PORT.parse()?)?;
    }
    Ok(())
}

#[test]
fn the_firmware_in_another_process_is_told_what_is_the_servers() -> Result<()> {
    let lab = lab()?;
    let setup = Setup { scheme: "xdp", offload: "lifecycle", nic: "external" };
    let nic = |words: &[&str]| {
        let (socket, words) = (Socket::new(), words.iter().map(ToString::to_string).collect::<Vec<_>>());
        let nic = external::start(nic_command(&lab, setup, &socket, &words)?, external::NIC_READY)?;
        // In this order: it goes first.
        Ok::<_, anyhow::Error>((nic, socket))
    };
    let nobodys =
        |cases: Vec<Case>| cases.into_iter().map(|case| Case { ours: false, ..case }).collect::<Vec<_>>();
    {
        let _nic = nic(&[])?;
        check(&lab, &cases())?;
    }
    {
        let _nic = nic(&["--port", "6381"])?;
        check(&lab, &nobodys(cases()))?;
    }
    {
        let both = format!("{SERVER_ADDRESS}/24,{SERVER_ADDRESS_V6}");
        let _nic = nic(&["--address", &both, "--vlan", "5"])?;
        let plain: Vec<Case> = cases().into_iter().filter(|case| case.vlan.is_none()).collect();
        let tagged = plain.iter().map(|case| Case { vlan: Some(5), ..case.clone() });
        check(&lab, &tagged.collect::<Vec<_>>())?;
        check(&lab, &nobodys(plain))?;
    }
    let error = nic(&["--address", &format!("{SERVER_ADDRESS},198.18.0.9")]).expect_err("not both");
    ensure!(format!("{error:#}").contains("198.18.0.9 is not"), "{error:#}");
    let pair = Pair::in_lab(self::lab()?, setup, &[], &["--port", "6380"])?;
    pair.nic.wait_for(&format!("listens on {SERVER_ADDRESS} port 6380, which stays with the kernel"))?;
    drop(pair);
    // Its addresses are its own: so is the interface.
    let (nic, _socket) = nic(&["--address", "198.18.0.9/24"])?;
    ensure!(!nic.output().contains("stays with the kernel"), "{}", nic.output());
    Ok(())
}

#[test]
fn what_cannot_be_shared_is_said() -> Result<()> {
    let lab = lab()?;
    let both = format!("{SERVER_ADDRESS}/24,198.18.0.9/24");
    let own = format!("{SERVER_ADDRESS}/24");
    let cases: [(&[&str], &str); 4] = [
        (&["--address", &both], "198.18.0.9 is not"),
        (&["--gateway", CLIENT_ADDRESS], "routes"),
        (&["--address", &own, "--gateway", CLIENT_ADDRESS], "routes"),
        (&["--vlan", "5"], "--address"),
    ];
    for (args, expected) in cases {
        let error = start(&lab, SETUPS[0], args).expect_err("this cannot work");
        ensure!(format!("{error:#}").contains(expected), "{error:#}");
    }
    // Another program of XDP: whose, is said, and how to be rid of it.
    let server = start(&lab, SETUPS[0], &["--address", "198.18.0.9/24"])?;
    server.signal(libc::SIGKILL);
    drop(server);
    ensure!(has_program(&lab)?);
    let error = start(&lab, SETUPS[0], &[]).expect_err("another program is there");
    ensure!(format!("{error:#}").contains("xdp off"), "{error:#}");
    Ok(())
}

// ---- which frames are diverted ---------------------------------------------------------

const OTHER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x57];
const TCP: u8 = 6;
const UDP: u8 = 17;

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().expect("an address").into()
}

fn packet(src: &str, dst: &str, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = (address(src), address(dst));
    let header_len = ip::header_len(src.version());
    let mut packet = vec![0; header_len + payload.len()];
    ip::emit(&src, &dst, protocol, 0, payload.len(), &mut packet);
    packet[header_len..].copy_from_slice(payload);
    packet
}

/// As much of a segment (or datagram) as matters here.
fn segment(src_port: u16, dst_port: u16) -> Vec<u8> {
    let mut segment = [src_port.to_be_bytes(), dst_port.to_be_bytes()].concat();
    segment.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]);
    segment
}

fn icmp(kind: u8, quoted: &[u8]) -> Vec<u8> {
    [&[kind, 0, 0, 0, 0, 0, 5, 0], quoted].concat()
}

fn changed(mut packet: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    packet[at..at + bytes.len()].copy_from_slice(bytes);
    packet
}

/// IPv4 with four bytes of options.
fn with_options(packet: &[u8]) -> Vec<u8> {
    let total_len = (packet.len() as u16 + 4).to_be_bytes();
    let longer = [&packet[..20], &[1, 1, 1, 0], &packet[20..]].concat();
    changed(changed(longer, 0, &[0x46]), 2, &total_len)
}

/// IPv6 with one more header of this kind in front of what follows.
fn with_extension(packet: &[u8], kind: u8) -> Vec<u8> {
    let len = (packet.len() as u16 - 40 + 8).to_be_bytes();
    let longer = [&packet[..40], &[packet[6], 0, 1, 4, 0, 0, 0, 0], &packet[40..]].concat();
    changed(changed(longer, 6, &[kind]), 4, &len)
}

#[derive(Clone)]
struct Case {
    what: &'static str,
    ours: bool,
    other_mac: bool,
    vlan: Option<u16>,
    packet: Vec<u8>,
}

impl Case {
    fn frame(&self, server_mac: [u8; 6], trailer: &[u8]) -> Vec<u8> {
        let dst = if self.other_mac { OTHER_MAC } else { server_mac };
        let mut frame = [dst, OTHER_MAC].concat();
        if let Some(vlan) = self.vlan {
            frame.extend([0x81, 0]);
            frame.extend(vlan.to_be_bytes());
        }
        frame.extend(if self.packet[0] >> 4 == 4 { [8, 0] } else { [0x86, 0xdd] });
        frame.extend(&self.packet);
        frame.extend(trailer);
        frame
    }
}

fn cases() -> Vec<Case> {
    let ours = |what, packet| Case { what, ours: true, other_mac: false, vlan: None, packet };
    let kernels = |what, packet| Case { ours: false, ..ours(what, packet) };
    let (a, b) = (CLIENT_ADDRESS, SERVER_ADDRESS);
    let (a6, b6) = (CLIENT_ADDRESS_V6, SERVER_ADDRESS_V6);
    let tcp = packet(a, b, TCP, &segment(9, 6379));
    let tcp6 = packet(a6, b6, TCP, &segment(9, 6379));
    let (quoted, quoted6) = (packet(b, a, TCP, &segment(6379, 9)), packet(b6, a6, TCP, &segment(6379, 9)));
    let foreign = packet("198.18.0.9", a, TCP, &segment(6379, 9));
    let error = |kind, quoted: &[u8]| packet("198.18.7.7", b, 1, &icmp(kind, quoted));
    let error6 = |kind, quoted: &[u8]| packet("2001:2:7::7", b6, 58, &icmp(kind, quoted));
    vec![
        ours("TCP to our port", tcp.clone()),
        ours("with IP options", with_options(&tcp)),
        ours("with a priority, in no VLAN", tcp.clone()),
        kernels("TCP to another port", packet(a, b, TCP, &segment(6379, 6380))),
        kernels("TCP to another address", packet(a, "198.18.0.9", TCP, &segment(9, 6379))),
        kernels("UDP to our port", packet(a, b, UDP, &segment(9, 6379))),
        kernels("the first piece", changed(tcp.clone(), 6, &[0x20, 0])),
        kernels("a later piece", changed(tcp.clone(), 6, &[0, 8])),
        kernels("no port", tcp[..20].to_vec()),
        kernels("another version", changed(tcp.clone(), 0, &[0x55])),
        kernels("echo request", packet(a, b, 1, &icmp(8, &quoted))),
        ours("unreachable", error(3, &quoted)),
        ours("unreachable, eight bytes quoted", error(3, &quoted[..28])),
        ours("time exceeded", error(11, &quoted)),
        kernels("about another port", error(3, &packet(b, a, TCP, &segment(6380, 9)))),
        kernels("about our peer's port", error(3, &packet(b, a, TCP, &segment(9, 6379)))),
        kernels("about UDP", error(3, &packet(b, a, UDP, &segment(6379, 9)))),
        kernels("about somebody else", error(3, &foreign)),
        kernels("about a piece", error(3, &changed(quoted.clone(), 6, &[0, 8]))),
        kernels("cut short", error(3, &quoted[..20])),
        kernels("a redirect", error(5, &quoted)),
        ours("IPv6: TCP to our port", tcp6.clone()),
        ours("IPv6: behind hop-by-hop options", with_extension(&tcp6, 0)),
        ours("IPv6: behind two headers", with_extension(&with_extension(&tcp6, 60), 0)),
        kernels("IPv6: TCP to another port", packet(a6, b6, TCP, &segment(6379, 6380))),
        kernels("IPv6: TCP to another address", packet(a6, "2001:2::9", TCP, &segment(9, 6379))),
        kernels("IPv6: UDP to our port", packet(a6, b6, UDP, &segment(9, 6379))),
        kernels("IPv6: a piece", with_extension(&tcp6, 44)),
        kernels("IPv6: echo request", packet(a6, b6, 58, &icmp(128, &quoted6))),
        kernels("IPv6: neighbour solicitation", packet(a6, b6, 58, &icmp(135, &quoted6))),
        ours("IPv6: too big", error6(2, &quoted6)),
        ours("IPv6: unreachable", error6(1, &quoted6)),
        kernels("IPv6: about another port", error6(1, &packet(b6, a6, TCP, &segment(6380, 9)))),
        kernels("IPv6: cut short", error6(1, &quoted6[..40])),
        Case { other_mac: true, ..kernels("for another host", tcp.clone()) },
        Case { vlan: Some(5), ..kernels("in a VLAN", tcp.clone()) },
        Case { vlan: Some(0x6000), ..ours("with a priority and no VLAN", tcp) },
    ]
}

/// Sends each frame from the client's side and compares which of them the server's kernel gets to see.
fn check(lab: &Lab, cases: &[Case]) -> Result<()> {
    let link = run(Command::new("ip")
        .args(["-n", lab.namespace(Side::Server), "-br", "link", "show"])
        .arg(SERVER_INTERFACE))?;
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    let mac = link.split_whitespace().find(|word| word.len() == 17).context("no hardware address")?;
    let mut server_mac = [0; 6];
    for (byte, text) in server_mac.iter_mut().zip(mac.split(':')) {
        *byte = u8::from_str_radix(text, 16)?;
    }
    let mut kernel = lab.within(Side::Server, || Ok(PacketSocket::open(SERVER_INTERFACE)?))?;
    let sender = lab.within(Side::Client, || Ok(PacketSocket::open(CLIENT_INTERFACE)?))?;
    for (number, case) in cases.iter().enumerate() {
        // Behind the packet, where nobody looks.
        let trailer = format!("case {number:02}");
        sender.send(&case.frame(server_mac, trailer.as_bytes()))?;
        let end = format!("end {number:02}");
        let mut sentinel = [server_mac, OTHER_MAC].concat();
        sentinel.extend([0x88, 0xb6]);
        sentinel.resize(IP_AT + 46, 0);
        sentinel.extend(end.as_bytes());
        sender.send(&sentinel)?;
        let mut seen = false;
        loop {
            let Some(received) = kernel.receive() else {
                std::thread::yield_now();
                continue;
            };
            seen |= received.frame.ends_with(trailer.as_bytes());
            if received.frame.ends_with(end.as_bytes()) {
                break;
            }
        }
        ensure!(
            seen != case.ours,
            "{}: the kernel {} it",
            case.what,
            if seen { "saw" } else { "did not see" }
        );
    }
    Ok(())
}

#[test]
fn just_the_servers_own_frames_are_diverted() -> Result<()> {
    let lab = lab()?;
    let server = start(&lab, SETUPS[0], &[])?;
    check(&lab, &cases())?;
    drop(server);
    // In a VLAN, the same frames without a tag are the kernel's.
    let both = format!("{SERVER_ADDRESS}/24,{SERVER_ADDRESS_V6}/64");
    let server = start(&lab, SETUPS[1], &["--address", &both, "--vlan", "5"])?;
    let plain: Vec<Case> = cases().into_iter().filter(|case| case.vlan.is_none()).collect();
    let in_vlan = plain.iter().map(|case| Case { vlan: Some(5), ..case.clone() }).collect::<Vec<_>>();
    let in_another = plain.iter().map(|case| Case { vlan: Some(6), ours: false, ..case.clone() });
    check(&lab, &in_vlan)?;
    check(&lab, &in_another.collect::<Vec<_>>())?;
    check(&lab, &plain.iter().map(|case| Case { ours: false, ..case.clone() }).collect::<Vec<_>>())?;
    drop(server);
    // With nobody there, the kernel sees everything.
    check(&lab, &cases().into_iter().map(|case| Case { ours: false, ..case }).collect::<Vec<_>>())
}
