//! Real, unmodified clients on every device and at every level.

#![allow(missing_docs)]

mod common;

use std::net::Ipv4Addr;

use anyhow::{Result, ensure};
use common::{SETUPS, Setup, Site, USUAL, connect, exchange};
use e2e::lab::{CLIENT_INTERFACE, Lab, SERVER_ADDRESS, SERVER_INTERFACE, Side};
use e2e::{PacketSocket, Process, programs};

/// The form that everybody may rely on: nothing but these flags, an ordinary veth, no preparation.
#[test]
fn the_contract() -> Result<()> {
    let lab = Lab::new()?;
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(["--net", &format!("packet:{SERVER_INTERFACE}"), "--address", "198.18.0.2/24"]);
    command.args(["--port", "6379", "--offload", "lifecycle"]);
    let server = Process::start(command)?;
    server.wait_for("Ready to accept connections")?;
    let site = Site { lab, server, setup: USUAL[1] };
    ensure!(site.redis_cli(&["PING"])? == "PONG");
    ensure!(site.redis_cli(&["SET", "k", "v"])? == "OK");
    ensure!(site.redis_cli(&["GET", "k"])? == "v");
    let (status, output) = site.server.terminate()?;
    ensure!(status.success(), "ended with {status}: {output}");
    Ok(())
}

#[test]
fn redis_cli_and_redis_py() -> Result<()> {
    let script = programs::workspace().join("e2e/clients/session.py");
    for setup in SETUPS {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        ensure!(site.redis_cli(&["PING"])? == "PONG");
        if setup.scheme != "kernel" {
            // The one device here that computes checksums, and so shows that they are asked for rightly.
            ensure!(site.info("device_tx_checksum")? == u64::from(setup.scheme == "tap"));
        }
        ensure!(site.redis_cli(&["-3", "HSET", "h", "f", "1"])? == "1");
        ensure!(
            site.redis_cli(&["NOSUCH", "a"])?
                .starts_with("ERR unknown command 'NOSUCH', with args beginning with: 'a'")
        );
        let said = site.client("/usr/bin/python3", &[&script.to_string_lossy(), SERVER_ADDRESS])?;
        ensure!(said.trim().ends_with("session passed"), "{said}");
    }
    Ok(())
}

fn redis_benchmark(setup: Setup, requests: &str) -> Result<()> {
    eprintln!("{setup:?}");
    let site = Site::new(setup, &[])?;
    let list = "get,set,incr,lpush,rpush,lpop,rpop,sadd,hset,spop,zadd,zpopmin,lrange,mset";
    let base = ["-h", SERVER_ADDRESS, "-n", requests, "--csv"];
    for more in [&["-t", list, "-P", "1"][..], &["-t", list, "-P", "16"], &["-t", "get", "-k", "0"]] {
        let mut args = base.to_vec();
        args.extend(more);
        let csv = site.client("redis-benchmark", &args)?;
        ensure!(!csv.to_lowercase().contains("error"), "{setup:?} {more:?}: {csv}");
        ensure!(csv.lines().count() >= 2, "{setup:?} {more:?}: no figures:\n{csv}");
    }
    Ok(())
}

#[test]
fn redis_benchmark_on_every_device() -> Result<()> {
    for setup in SETUPS {
        // A tap moves some ten thousand packets a second at best.
        redis_benchmark(setup, if setup.scheme == "tap" { "1000" } else { "5000" })?;
    }
    Ok(())
}

#[test]
fn settings_of_the_network_change_while_the_server_runs() -> Result<()> {
    const TTL_AT: usize = 14 + 8;
    const SRC_AT: usize = 14 + 12;
    for setup in SETUPS.into_iter().filter(|setup| setup.scheme == "packet") {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let mut socket = site.lab.within(Side::Client, || Ok(PacketSocket::open(CLIENT_INTERFACE)?))?;
        let server = SERVER_ADDRESS.parse::<Ipv4Addr>()?.octets();
        // Of handshake and reply at least: the firmware's and the stack's.
        let mut ttls = || -> Result<Vec<u8>> {
            while socket.receive().is_some() {}
            ensure!(site.redis_cli(&["PING"])? == "PONG");
            let frames = std::iter::from_fn(|| socket.receive().map(|received| received.frame.to_vec()));
            let own = frames.filter(|frame| frame[12..14] == [8, 0] && frame[SRC_AT..SRC_AT + 4] == server);
            Ok(own.map(|frame| frame[TTL_AT]).collect())
        };
        let before = ttls()?;
        ensure!(before.len() >= 2 && before.iter().all(|&ttl| ttl == 64), "{before:?}");
        ensure!(
            site.redis_cli(&["CONFIG", "SET", "ttl", "9", "nagle", "yes", "tcp-keepalive", "1"])? == "OK"
        );
        // The other cores and the firmware follow within milliseconds.
        loop {
            let after = ttls()?;
            if after.len() >= 2 && after.iter().all(|&ttl| ttl == 9) {
                break;
            }
        }
        // Whoever comes now and falls silent is asked whether it lives.
        let mut silent = site.lab.within(Side::Client, connect)?;
        exchange(&mut silent, b"PING\r\n", b"+PONG\r\n")?;
        site.wait_for_info("stack_keepalive_probes", |probes| probes > 0)?;
    }
    Ok(())
}
