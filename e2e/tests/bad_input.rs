//! Bad input gets a clear error, nothing crashes, and other clients notice nothing.

#![allow(missing_docs)]

mod common;

use std::io::Write;

use anyhow::{Result, ensure};
use common::{Setup, Site, USUAL, exchange, read_to_end, text};
use e2e::lab::{Lab, Side};
use e2e::{Process, programs};

#[test]
fn garbage_gets_redis_own_errors() -> Result<()> {
    let kernel = Setup { scheme: "kernel", offload: "none", nic: "embedded" };
    for setup in [USUAL[0], USUAL[1], kernel] {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        site.connected(|mut bystander| {
            let cases: [(&[u8], &[u8]); 7] = [
                (b"*abc\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
                (b"*2147483648\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
                (b"*1\r\n:3\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
                (b"*1\r\n$abc\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                (b"*1\r\n$536870913\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
                (b"SET k \"half\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
                (b"*0\r\n*1\r\n$-1\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
            ];
            for (sent, expected) in cases {
                let mut stream = common::connect()?;
                stream.write_all(sent)?;
                let got = read_to_end(&mut stream)?;
                ensure!(
                    got == expected,
                    "{:?}: expected {:?}, got {:?}",
                    text(sent),
                    text(expected),
                    text(&got)
                );
                exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
            }
            // 64 KiB without a line end is no inline command.
            let mut stream = common::connect()?;
            stream.write_all(&vec![b'x'; 70_000]).ok();
            let got = read_to_end(&mut stream)?;
            ensure!(
                got.is_empty() || got == b"-ERR Protocol error: too big inline request\r\n",
                "{:?}",
                text(&got)
            );
            // Noise of every kind; whatever the answer, the server lives.
            let mut x = 1u64;
            for _ in 0..50 {
                let mut stream = common::connect()?;
                let noise: Vec<u8> = (0..2000)
                    .map(|_| {
                        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                        (x >> 56) as u8
                    })
                    .collect();
                stream.write_all(&noise).ok();
                stream.write_all(b"\r\n").ok();
                stream.shutdown(std::net::Shutdown::Write).ok();
                read_to_end(&mut stream)?;
                exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// Starts a server that must refuse to start, and returns what it said.
fn refused(lab: &Lab, args: &[&str]) -> Result<String> {
    let mut command = lab.command(Side::Server, programs::ours("mayfly-server")?);
    command.args(args);
    let (status, said) = Process::start(command)?.wait()?;
    ensure!(!status.success(), "{args:?} was taken: {said}");
    ensure!(!said.contains("panicked"), "{args:?}: {said}");
    Ok(said)
}

#[test]
fn settings_that_cannot_work_are_refused_with_their_value() -> Result<()> {
    let lab = Lab::new()?;
    let address = ["--address", "198.18.0.2/24"];
    let cases: [(&[&str], &str); 9] = [
        (&["--net", "carrier-pigeon:x"], "carrier-pigeon"),
        (&["--net", "packet:nosuch0"], "nosuch0"),
        (&["--net", "xdp:nosuch0"], "nosuch0"),
        (&["--net", "packet:veth-s", "--offload", "everything"], "everything"),
        (&["--net", "packet:veth-s", "--nic", "external-thing"], "external-thing"),
        (&["--net", "packet:veth-s", "--address", "198.18.0.2/64"], "198.18.0.2/64"),
        (&["--net", "packet:veth-s", "--no-such-directive", "1"], "no-such-directive"),
        (&["--port", "123456"], "123456"),
        (&["/nonexistent/redis.conf"], "/nonexistent/redis.conf"),
    ];
    for (args, value) in cases {
        let mut all = args.to_vec();
        if !args.contains(&"--address") && args.contains(&"--net") {
            all.extend(address);
        }
        let said = refused(&lab, &all)?;
        ensure!(said.contains(value), "{args:?}: the message does not name {value:?}: {said}");
    }
    let said = refused(&lab, &["--net", "packet:veth-s", "--port", "6379"])?;
    ensure!(said.contains("--address"), "{said}");
    Ok(())
}

#[test]
fn a_busy_port_is_named() -> Result<()> {
    let kernel = Setup { scheme: "kernel", offload: "none", nic: "embedded" };
    let site = Site::new(kernel, &[])?;
    let said = refused(&site.lab, &["--net", "kernel", "--bind", "198.18.0.2", "--port", "6379"])?;
    ensure!(said.contains("6379") && said.to_lowercase().contains("in use"), "{said}");
    ensure!(site.redis_cli(&["PING"])? == "PONG");
    Ok(())
}

#[test]
fn without_permission_it_says_which() -> Result<()> {
    let lab = Lab::new()?;
    let mut command = lab.command(Side::Server, "setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    // The build folder may be closed to others, so a copy is run.
    let copy = std::env::temp_dir().join(format!("mayfly-server-{}", std::process::id()));
    std::fs::copy(programs::ours("mayfly-server")?, &copy)?;
    command.arg(&copy).args(["--net", "packet:veth-s", "--address", "198.18.0.2/24"]);
    let outcome = Process::start(command).and_then(Process::wait);
    std::fs::remove_file(&copy)?;
    let (status, said) = outcome?;
    ensure!(!status.success(), "{said}");
    ensure!(said.contains("CAP_NET_RAW") || said.contains("root"), "{said}");
    Ok(())
}
