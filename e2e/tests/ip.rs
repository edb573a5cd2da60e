//! IPv6 beside IPv4, several addresses, VLANs, ICMP, fragments and narrow paths, with real programs.

#![allow(missing_docs)]

mod common;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use common::station::Station;
use common::{PORT, Setup, Site, USUAL};
use e2e::lab::{
    CLIENT_ADDRESS_V6, CLIENT_INTERFACE, LOADGEN_ADDRESS, LOADGEN_ADDRESS_V6, Lab, PREFIX, PREFIX_V6,
    SERVER_ADDRESS, SERVER_ADDRESS_V6, Side, run,
};
use e2e::programs;
use protocol::ip::Address;

/// What a server is told that has an address of each version.
fn both() -> String {
    format!("{SERVER_ADDRESS}/{PREFIX},{SERVER_ADDRESS_V6}/{PREFIX_V6}")
}

/// A server with both addresses, and a client's kernel that speaks IPv6 too.
fn site(setup: Setup) -> Result<Site> {
    let lab = Lab::new()?;
    lab.speak_ipv6()?;
    Site::in_lab(lab, setup, &["--address", &both()])
}

/// redis-cli at any address of the server.
fn ask(site: &Site, side: Side, address: &str, args: &[&str]) -> Result<String> {
    let mut command = site.lab.command(side, "redis-cli");
    command.args(["-h", address, "-p", PORT]).args(args);
    let output = run(&mut command)
        .with_context(|| format!("{:?}; the server printed:\n{}", site.setup, site.server.output()))?;
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[test]
fn redis_cli_and_redis_py_over_ipv6_and_ipv4_at_once() -> Result<()> {
    let script = programs::workspace().join("e2e/clients/session.py");
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = site(setup)?;
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS_V6, &["PING"])? == "PONG");
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS_V6, &["SET", "k", "by IPv6"])? == "OK");
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS, &["GET", "k"])? == "by IPv6");
        let clients = ask(&site, Side::Client, SERVER_ADDRESS_V6, &["CLIENT", "LIST"])?;
        ensure!(clients.contains(&format!("addr=[{CLIENT_ADDRESS_V6}]:")), "{clients}");
        ensure!(clients.contains(&format!("laddr=[{SERVER_ADDRESS_V6}]:{PORT}")), "{clients}");
        let said = site.client("/usr/bin/python3", &[&script.to_string_lossy(), SERVER_ADDRESS_V6])?;
        ensure!(said.trim().ends_with("session passed"), "{said}");
    }
    Ok(())
}

/// The patience is for machines that have much else to do.
const LOAD: [&str; 9] = ["-c", "50", "-n", "2000", "--get-percent", "50", "--quiet", "--timeout", "60s"];

#[test]
fn the_load_generator_over_ipv6() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = site(setup)?;
        let target = format!("[{SERVER_ADDRESS_V6}]:{PORT}");
        site.loadgen_at(&target, &format!("{LOADGEN_ADDRESS_V6}/{PREFIX_V6}"), &LOAD)?;
        let values = ["--keys", "100", "--value-size", "20000", "--requests-per-connection", "3"];
        let large = [&LOAD[4..], &["-c", "8", "-n", "300"], &values].concat();
        site.loadgen_at(&target, &format!("{LOADGEN_ADDRESS_V6}/{PREFIX_V6}"), &large)?;
        let mut kernel = site.lab.command(Side::Client, programs::ours("mayfly-loadgen")?);
        run(kernel.args(["--target", &target]).args(LOAD))?;
    }
    Ok(())
}

/// Both ends in VLAN 5; who is in none finds nobody.
#[test]
fn a_vlan() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &["--vlan", "5", "--address", &both()])?;
        let in_vlan = [&LOAD[..], &["--vlan", "5"]].concat();
        let address = format!("{LOADGEN_ADDRESS}/{PREFIX}");
        let (target, target_v6) =
            (format!("{SERVER_ADDRESS}:{PORT}"), format!("[{SERVER_ADDRESS_V6}]:{PORT}"));
        site.loadgen_at(&target, &address, &in_vlan)?;
        site.loadgen_at(&target_v6, &format!("{LOADGEN_ADDRESS_V6}/{PREFIX_V6}"), &in_vlan)?;
        let Err(outside) = site.loadgen_at(&target, &address, &LOAD) else {
            bail!("the server is found from outside of its VLAN");
        };
        ensure!(format!("{outside:#}").contains("nobody answers"), "{outside:#}");
        with_a_kernel_in_the_vlan(&site)?;
    }
    Ok(())
}

/// The same from an interface of the client's kernel, where it knows VLANs.
fn with_a_kernel_in_the_vlan(site: &Site) -> Result<()> {
    let namespace = site.lab.namespace(Side::Client);
    let ip = |args: &[&str]| run(Command::new("ip").args(["-n", namespace]).args(args));
    let link = ["link", "add", "link", CLIENT_INTERFACE, "name", "veth-c.5", "type", "vlan", "id", "5"];
    if let Err(error) = ip(&link) {
        let error = format!("{error:#}");
        ensure!(error.contains("Unknown device type"), "{error}");
        eprintln!("SKIPPED in part: this kernel knows no VLANs");
        return Ok(());
    }
    ip(&["link", "set", "veth-c.5", "up"])?;
    ip(&["address", "flush", "dev", CLIENT_INTERFACE])?;
    ip(&["address", "add", &format!("{}/{PREFIX}", e2e::lab::CLIENT_ADDRESS), "dev", "veth-c.5"])?;
    ensure!(ask(site, Side::Client, SERVER_ADDRESS, &["PING"])? == "PONG");
    Ok(())
}

/// A host's own address in the client's network that no kernel has, and the server's.
fn stations() -> Result<[(Address, Address); 2]> {
    let address = |text: &str| Ok::<_, anyhow::Error>(Address::from(text.parse::<IpAddr>()?));
    Ok([
        (address("198.18.0.77")?, address(SERVER_ADDRESS)?),
        (address("2001:2::77")?, address(SERVER_ADDRESS_V6)?),
    ])
}

/// Whole and in pieces, the last one first.
#[test]
fn ping_is_answered() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = site(setup)?;
        site.lab.within(Side::Client, || {
            for (addr, server) in stations()? {
                let mut station = Station::new(addr, server)?;
                let (protocol, request) = station.echo_request(56);
                let whole = station.packet(protocol, &request);
                station.echoed(&[whole], &request)?;
                let (protocol, request) = station.echo_request(1400);
                let mut pieces = station.fragments(protocol, &request, 512, 0x1234);
                pieces.reverse();
                station.echoed(&pieces, &request)?;
            }
            Ok(())
        })?;
        ensure!(site.info("stack_icmp_echo")? >= 4);
    }
    Ok(())
}

/// A datagram of less than one frame that the client's kernel sends in fragments, because it thinks
/// its network to be narrow. That nobody listens can only be known once they are together.
#[test]
fn fragments_of_a_kernel_are_put_together() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = site(setup)?;
        let namespace = site.lab.namespace(Side::Client);
        // The metrics are those that the kernel gave the routes.
        for (network, metric, mtu) in [("198.18.0.0/24", "0", "600"), ("2001:2::/64", "256", "1280")] {
            let route = ["route", "change", network, "dev", CLIENT_INTERFACE, "metric", metric, "mtu", mtu];
            run(Command::new("ip").args(["-n", namespace]).args(route))?;
        }
        site.lab.within(Side::Client, || {
            for (local, server) in [("0.0.0.0:0", SERVER_ADDRESS), ("[::]:0", SERVER_ADDRESS_V6)] {
                refused(local.parse()?, SocketAddr::new(server.parse()?, 7))?;
            }
            Ok(())
        })?;
        ensure!(site.info("stack_icmp_errors_sent")? >= 2);
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS_V6, &["PING"])? == "PONG");
    }
    Ok(())
}

/// Sends datagrams until the kernel has been told that nobody listens.
fn refused(local: SocketAddr, server: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(local)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(Duration::from_millis(300)))?;
    loop {
        match socket.send(&[7; 1400]).and_then(|_| socket.recv(&mut [0; 10])) {
            Ok(len) => bail!("{len} bytes came from a port where nobody is"),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Behind a router with a small MTU is a client that knows nothing of it: only when the router's
/// ICMP errors are heeded does a long reply arrive.
#[test]
fn a_narrow_path_is_found_out() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let mut lab = Lab::new()?;
        lab.add_far()?;
        let (router, router_v6) = (e2e::lab::CLIENT_ADDRESS, CLIENT_ADDRESS_V6);
        let gateways = format!("{router},{router_v6}");
        let site = Site::in_lab(lab, setup, &["--address", &both(), "--gateway", &gateways])?;
        let setrange = ["SETRANGE", "long", "199999", "9"];
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS, &setrange)? == "200000");
        ensure!(ask(&site, Side::Client, SERVER_ADDRESS, &["SET", "short", "x"])? == "OK");
        for address in [SERVER_ADDRESS, SERVER_ADDRESS_V6] {
            ensure!(ask(&site, Side::Far, address, &["GET", "short"])? == "x", "{address}");
            let got = ask(&site, Side::Far, address, &["GET", "long"])?;
            ensure!(got.len() >= 199_999, "{} bytes from {address}", got.len());
        }
        let lowered = site.info("stack_icmp_mtu_lowered")?;
        ensure!(lowered >= 2, "{lowered} connections were told of the narrow path");
    }
    Ok(())
}
