//! Which core connections go to, changed while everything runs.

#![allow(missing_docs)]

mod common;

use anyhow::{Result, ensure};
use common::{PORT, SETUPS, Setup, Site, connect, exchange, lines_once, word};
use e2e::lab::{SERVER_ADDRESS, Side};

const LIFECYCLE: [Setup; 2] = [SETUPS[1], SETUPS[2]];

fn steer(site: &Site, words: &[&str]) -> Result<String> {
    site.redis_cli(&[&["MAYFLY", "STEER"], words].concat())
}

/// The number of entries that lead to each core, once they are these.
fn entries_are(site: &Site, wanted: [usize; 2]) -> Result<()> {
    let of = |line: &&str| word(line, "entries").ok().and_then(|entries| entries.parse().ok());
    let wanted: Vec<Option<usize>> = wanted.into_iter().map(Some).collect();
    lines_once(|| steer(site, &[]), |lines| lines.iter().map(of).collect::<Vec<_>>() == wanted)?;
    Ok(())
}

#[test]
fn a_core_is_drained_and_filled_again_under_load_and_nobody_notices() -> Result<()> {
    let cores: Vec<String> = dpdk::allowed_cpus().iter().take(2).map(usize::to_string).collect();
    ensure!(cores.len() == 2, "this machine has one core");
    for setup in LIFECYCLE {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &["--cores", &cores.join(",")])?;
        entries_are(&site, [64, 64])?;
        let mut held =
            site.lab.within(Side::Client, || (0..8).map(|_| connect()).collect::<Result<Vec<_>>>())?;
        for stream in &mut held {
            exchange(stream, b"PING\r\n", b"+PONG\r\n")?;
        }
        std::thread::scope(|scope| -> Result<()> {
            let load = scope.spawn(|| site.loadgen(&["-n", "4000", "-c", "20", "--quiet"]));
            while !load.is_finished() {
                for (words, entries) in [
                    (&["DRAIN", "0"][..], [0, 128]),
                    (&["SET", "0-31", "0"], [32, 96]),
                    (&["EVEN"], [64, 64]),
                ] {
                    ensure!(steer(&site, words)? == "OK", "{words:?}");
                    entries_are(&site, entries)?;
                }
            }
            // It counts every reply that is wrong or missing as an error.
            load.join().map_or_else(|panic| std::panic::resume_unwind(panic), |done| done.map(drop))
        })?;
        for stream in &mut held {
            exchange(stream, b"PING\r\n", b"+PONG\r\n")?;
        }
        // Whoever comes now is on the core that is left.
        ensure!(steer(&site, &["DRAIN", "1"])? == "OK");
        entries_are(&site, [128, 0])?;
        let mut late =
            site.lab.within(Side::Client, || (0..8).map(|_| connect()).collect::<Result<Vec<_>>>())?;
        let mut ports = Vec::new();
        for stream in &mut late {
            exchange(stream, b"PING\r\n", b"+PONG\r\n")?;
            ports.push(stream.local_addr()?);
        }
        let is_late = |line: &str| ports.iter().any(|addr| line.contains(&format!("remote={addr} ")));
        let flows = lines_once(
            || site.redis_cli(&["MAYFLY", "FLOWS", "256"]),
            |lines| lines.iter().filter(|line| is_late(line)).count() == late.len(),
        )?;
        for line in flows.iter().filter(|line| is_late(line)) {
            ensure!(word(line, "queue")? == "0", "{line}");
            ensure!(word(line, "local")? == format!("{SERVER_ADDRESS}:{PORT}"), "{line}");
        }
        // How many are left on the other is shown, and goes down to none when they have ended.
        let left = || -> Result<u32> {
            let shown = steer(&site, &[])?;
            Ok(word(shown.lines().nth(1).unwrap_or_default(), "connections")?.parse()?)
        };
        let on_it = flows.iter().filter(|line| line.contains(" state=established queue=1 ")).count();
        ensure!(on_it > 0 && left()? == on_it as u32, "{on_it} are left: {}", steer(&site, &[])?);
        drop(held);
        while left()? > 0 {}
        for (words, problem) in [
            (&["DRAIN", "2"][..], "takes no part"),
            (&["SET", "0-128", "0"], "0 to 127"),
            (&["SOUTH"], "syntax error"),
        ] {
            let said = steer(&site, words)?;
            ensure!(said.contains(problem), "{words:?}: {said}");
        }
    }
    let site = Site::new(SETUPS[0], &["--cores", &cores.join(",")])?;
    let said = steer(&site, &["DRAIN", "0"])?;
    ensure!(said.contains("--offload none"), "{said}");
    Ok(())
}
