//! What the server shows of its firmware: flows, the last events, captures.

#![allow(missing_docs)]

mod common;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::{Folder, PORT, SETUPS, Setup, Site, USUAL, dump, exchange, lines_once, word};
use e2e::lab::{SERVER_ADDRESS, run};

const LIFECYCLE: [Setup; 2] = [SETUPS[1], SETUPS[2]];

/// Lines of a reply, once there are some that `wanted` likes.
fn lines(site: &Site, args: &[&str], wanted: impl Fn(&[&str]) -> bool) -> Result<Vec<String>> {
    let ask = || {
        let said = site.redis_cli(args)?;
        ensure!(!said.starts_with("ERR"), "{said}");
        Ok(said)
    };
    lines_once(ask, wanted)
}

#[test]
fn a_flow_is_shown_with_its_life_and_after_its_end() -> Result<()> {
    for setup in LIFECYCLE {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let flow = site.connected(|mut stream| {
            exchange(&mut stream, b"PING\r\n", b"+PONG\r\n")?;
            let local = stream.local_addr()?;
            let is_ours = |line: &&str| line.contains(&format!("remote={local} "));
            let flows = lines(&site, &["MAYFLY", "FLOWS"], |lines| lines.iter().any(is_ours))?;
            let ours = flows.iter().find(|line| is_ours(&line.as_str())).context("just seen")?;
            ensure!(word(ours, "state")? == "established", "{ours}");
            ensure!(word(ours, "local")? == format!("{SERVER_ADDRESS}:{PORT}"), "{ours}");
            Ok(word(ours, "flow")?.to_owned())
        })?;
        // The client has closed: its four steps are told, the newest first.
        let ended = |lines: &[&str]| lines.first().is_some_and(|line| line.ends_with("after=spent"));
        let events = lines(&site, &["MAYFLY", "EVENTS", &flow], ended)?;
        let told: Vec<_> = events.iter().map(|line| word(line, "event")).collect::<Result<_>>()?;
        // A host that is slow to say that it waits gets the FIN, and hands the end over.
        ensure!(
            matches!(
                told[..],
                ["-", "passive_close" | "active_close", "established_sent", "cookie_accepted"]
            ),
            "{events:?}"
        );
        ensure!(events.iter().all(|line| line.contains(&format!("flow={flow} "))), "{events:?}");
        // The list of flows is a moment old.
        let is_it = |line: &&str| line.starts_with(&format!("flow={flow} "));
        lines(&site, &["MAYFLY", "FLOWS", "256"], |lines| !lines.iter().any(is_it))?;
        ensure!(site.redis_cli(&["MAYFLY", "EVENTS", "COUNT", "3"])?.lines().count() == 3);
        ensure!(site.redis_cli(&["MAYFLY", "EVENTS", "99.99"])?.is_empty());
        ensure!(site.redis_cli(&["MAYFLY", "STATUS"])?.contains("firmware_cookie_accepted:"));
    }
    Ok(())
}

#[test]
fn captures_of_both_sides_are_readable() -> Result<()> {
    for setup in LIFECYCLE.into_iter().chain([USUAL[0]]) {
        eprintln!("{setup:?}");
        let folder = Folder::new()?;
        let site = Site::new(setup, &["--capture-dir", &folder.name()])?;
        for side in ["WIRE", "HOST"] {
            let file = format!("{}.pcap", side.to_lowercase());
            ensure!(site.redis_cli(&["MAYFLY", "CAPTURE", "START", side, &file])? == "OK");
            let again = site.redis_cli(&["MAYFLY", "CAPTURE", "START", side, "b.pcap"])?;
            ensure!(again.contains("is running"), "{again}");
        }
        ensure!(site.redis_cli(&["SET", "seen-by", "everybody"])? == "OK");
        let mut counts = Vec::new();
        for side in ["WIRE", "HOST"] {
            counts.push(site.redis_cli(&["MAYFLY", "CAPTURE", "STOP", side])?.parse::<usize>()?);
            ensure!(site.redis_cli(&["MAYFLY", "CAPTURE", "STOP", side])?.contains("no capture"));
        }
        let (wire, host) = (folder.file("wire.pcap"), folder.file("host.pcap"));
        // The firmware lets the file go in its next round.
        site.wait_for_info("firmware_wire_received", |_| {
            dump(&host).is_ok_and(|text| text.lines().count() == counts[1])
        })?;
        let (wire_text, host_text) = (dump(&wire)?, dump(&host)?);
        ensure!(wire_text.lines().count() == counts[0], "{} of {}", wire_text.lines().count(), counts[0]);
        for (text, what) in [(&wire_text, "wire"), (&host_text, "host")] {
            ensure!(text.contains("seen-by"), "{what}:\n{text}");
        }
        ensure!(wire_text.contains(&format!("> {SERVER_ADDRESS}:{PORT} S 0:(0)")), "{wire_text}");
        if setup.offload == "lifecycle" {
            ensure!(!wire_text.contains("Established"), "{wire_text}");
            for word in
                ["Established epoch", "first-data", "Segment epoch", "idle", "Closed epoch", "PeerClosed"]
            {
                ensure!(host_text.contains(word), "no {word} in\n{host_text}");
            }
        }
        for file in [&wire, &host] {
            let output = run(Command::new("tcpdump").args(["-nr", file.as_str()]))?;
            let shown =
                String::from_utf8_lossy(&output.stdout).lines().filter(|line| line.contains(':')).count();
            ensure!(shown > 0, "tcpdump shows nothing of {file}");
        }
    }
    Ok(())
}

#[test]
fn a_capture_ends_at_its_limit_and_keeps_to_its_folder() -> Result<()> {
    let folder = Folder::new()?;
    let site = Site::new(USUAL[1], &["--capture-dir", &folder.name()])?;
    ensure!(site.redis_cli(&["MAYFLY", "CAPTURE", "START", "WIRE", "a.pcap", "COUNT", "3"])? == "OK");
    while !site
        .redis_cli(&["MAYFLY", "STATUS"])?
        .contains("capture_wire:ended (its limit is reached), 3 frames")
    {}
    ensure!(dump(&folder.file("a.pcap"))?.lines().count() == 3);
    for (name, problem) in [("../b.pcap", "not the name"), ("a.pcap", "exists")] {
        let said = site.redis_cli(&["MAYFLY", "CAPTURE", "START", "WIRE", name])?;
        ensure!(said.contains(problem), "{name}: {said}");
    }
    drop(site);
    let site = Site::new(USUAL[1], &[])?;
    ensure!(site.redis_cli(&["MAYFLY", "CAPTURE", "START", "WIRE", "a.pcap"])?.contains("--capture-dir"));
    Ok(())
}

#[test]
fn without_a_firmware_it_is_said() -> Result<()> {
    let site = Site::new(SETUPS[7], &[])?;
    for args in [&["MAYFLY", "FLOWS"][..], &["MAYFLY", "EVENTS"], &["MAYFLY", "CAPTURE", "STOP", "WIRE"]] {
        let said = site.redis_cli(args)?;
        ensure!(said.contains("there is no firmware"), "{args:?}: {said}");
    }
    Ok(())
}
