//! A bad wire and sudden death.

#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};

use anyhow::{Result, ensure};
use common::{Setup, Site, USUAL, exchange, start};
use e2e::Faults;
use e2e::lab::{Lab, Side};

fn value(len: usize) -> Vec<u8> {
    let mut x = 0x1234_5678u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

#[test]
fn ten_mebibytes_cross_a_wire_that_loses_and_reorders() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let faults = Faults { lost_per_million: 10_000, late_per_million: 10_000, seed: 1 };
        let site = Site::in_lab(Lab::with_faults(faults)?, setup, &[])?;
        let big = value(10 << 20);
        site.connected(|mut stream| {
            let mut writer = stream.try_clone()?;
            std::thread::scope(|scope| -> Result<()> {
                scope.spawn(|| {
                    let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", big.len());
                    writer.write_all(head.as_bytes())?;
                    writer.write_all(&big)?;
                    writer.write_all(b"\r\n*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")
                });
                let mut expected = format!("+OK\r\n${}\r\n", big.len()).into_bytes();
                expected.extend(&big);
                expected.extend(b"\r\n");
                let mut got = vec![0; expected.len()];
                stream.read_exact(&mut got)?;
                ensure!(got == expected, "the value came back different");
                Ok(())
            })
        })?;
        // Short connections over the same wire: each gets its answer.
        site.lab.within(Side::Client, || {
            for _ in 0..100 {
                exchange(&mut common::connect()?, b"STRLEN big\r\n", b":10485760\r\n")?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn killed_and_started_again_it_serves_at_once() -> Result<()> {
    let xdp = Setup { scheme: "xdp", offload: "lifecycle", nic: "embedded" };
    for setup in [USUAL[0], USUAL[1], xdp] {
        eprintln!("{setup:?}");
        let mut site = Site::new(setup, &[])?;
        ensure!(site.redis_cli(&["PING"])? == "PONG");
        site.server.signal(libc::SIGKILL);
        while site.server.is_running() {
            std::thread::yield_now();
        }
        site.server = start(&site.lab, setup, &[])?;
        ensure!(site.redis_cli(&["PING"])? == "PONG");
    }
    Ok(())
}
