//! A bad wire and sudden death.

#![allow(missing_docs)]

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use common::{Setup, Site, USUAL, exchange, start};
use e2e::lab::{Lab, Side};
use e2e::{Faults, Link};

fn value(len: usize) -> Vec<u8> {
    let mut x = 0x1234_5678u32;
    (0..len)
        .map(|_| {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (x >> 24) as u8
        })
        .collect()
}

/// Writes the value, reads it back, and compares every byte.
fn there_and_back(mut stream: TcpStream, big: &[u8]) -> Result<()> {
    let mut writer = stream.try_clone()?;
    let begin = Instant::now();
    let stored = std::thread::scope(|scope| -> Result<Duration> {
        scope.spawn(|| {
            let head = format!("*3\r\n$3\r\nSET\r\n$3\r\nbig\r\n${}\r\n", big.len());
            writer.write_all(head.as_bytes())?;
            writer.write_all(big)?;
            writer.write_all(b"\r\n")
        });
        exchange(&mut stream, b"", b"+OK\r\n")?;
        Ok(begin.elapsed())
    })?;
    let mut expected = format!("${}\r\n", big.len()).into_bytes();
    expected.extend(big);
    expected.extend(b"\r\n");
    let mut got = vec![0; expected.len()];
    stream.write_all(b"*2\r\n$3\r\nGET\r\n$3\r\nbig\r\n")?;
    stream.read_exact(&mut got)?;
    eprintln!("   there in {stored:?}, back in {:?}", begin.elapsed() - stored);
    let differs = got.iter().zip(&expected).position(|(a, b)| a != b);
    ensure!(differs.is_none(), "the value came back different at byte {differs:?}");
    Ok(())
}

#[test]
fn a_hundred_mebibytes_cross_a_wire_that_loses_doubles_and_reorders() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let link = Link {
            lost_per_million: 10_000,
            duplicated_per_million: 10_000,
            late_per_million: 10_000,
            late_by: Duration::from_micros(500),
            ..Link::default()
        };
        let site = Site::in_lab(Lab::with_faults(Faults::both(link, 1))?, setup, &[])?;
        let big = value(100 << 20);
        site.connected(|stream| there_and_back(stream, &big))?;
        // Short connections over the same wire: each gets its answer.
        site.lab.within(Side::Client, || {
            for _ in 0..100 {
                exchange(&mut common::connect()?, b"STRLEN big\r\n", b":104857600\r\n")?;
            }
            Ok(())
        })?;
        let wire = site.lab.wire().context("the laboratory has a wire")?.report();
        eprintln!("   {:?}; frames were late by {}", wire.counts, wire.lateness);
        ensure!(wire.counts.iter().all(|way| way.lost > 100 && way.duplicated > 100 && way.late > 100));
    }
    Ok(())
}

/// Checksums keep what was turned over on the way from everybody.
#[test]
fn bits_that_turn_over_reach_nobody() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let link = Link { corrupted_per_million: 5_000, ..Link::default() };
        let site = Site::in_lab(Lab::with_faults(Faults::both(link, 1))?, setup, &[])?;
        let big = value(4 << 20);
        site.connected(|stream| there_and_back(stream, &big))?;
        let dropped = ["stack_tcp_bad_checksum", "firmware_bad_checksum"].map(|name| site.info(name));
        ensure!(dropped.into_iter().flatten().sum::<u64>() > 0, "nothing was dropped");
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
