//! Floods from the network: whoever came honestly is served meanwhile and afterwards.

#![allow(missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use common::attacker::{Attacker, Segment};
use common::{Site, USUAL, exchange};
use protocol::tcp::Flags;

/// Segments of a flood.
const FLOOD: usize = 20_000;
/// Segments a second: what a small machine that is also client and wire takes off its interface.
/// What comes faster than that is lost in front of the stack, whoever sent it.
const PER_SECOND: usize = 40_000;
/// Clients that come one after the other while it lasts.
const CLIENTS: usize = 10;

/// Counters and gauges of the server, by name.
fn counters(site: &Site) -> Result<BTreeMap<String, u64>> {
    let info = site.redis_cli(&["INFO", "mayfly"])?;
    let fields = info.lines().filter_map(|line| line.split_once(':'));
    Ok(fields.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect())
}

/// Connects, asks and is answered; how long that took.
fn served() -> Result<Duration> {
    let begin = Instant::now();
    exchange(&mut common::connect()?, b"PING\r\n", b"+PONG\r\n")?;
    Ok(begin.elapsed())
}

/// Two clients that are there before a flood: one that goes on, and one that is silent and hears of a message
/// afterwards.
type Victims = [SocketAddrV4; 2];

/// Runs `flood` against a server, `FLOOD` segments by number; meanwhile clients come from the
/// middle of it on, and one that was there before goes on. Returns what was counted.
fn withstand(
    site: &Site,
    flood: impl Fn(&mut Attacker, Victims, usize) -> Result<()> + Send + Sync,
) -> Result<BTreeMap<String, u64>> {
    let before = counters(site)?;
    // Who is not served gives up after 15 seconds instead of two minutes.
    site.lab.sysctl(site.client_side(), "net.ipv4.tcp_syn_retries=3")?;
    site.connected(|mut bystander| {
        exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
        let mut listener = common::connect()?;
        exchange(&mut listener, b"SUBSCRIBE news\r\n", b"*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n")?;
        let victims = [local_address(&bystander)?, local_address(&listener)?];
        let mut attacker = Attacker::new(1)?;
        let sent = AtomicUsize::new(0);
        let times = std::thread::scope(|scope| -> Result<Vec<Duration>> {
            // Ends also when the attacker fails, or the clients would wait for ever.
            let flooding = scope.spawn(|| {
                let begin = Instant::now();
                let outcome: Result<()> = (0..FLOOD).try_for_each(|number| {
                    let due = Duration::from_secs(1) * number as u32 / PER_SECOND as u32;
                    std::thread::sleep(due.saturating_sub(begin.elapsed()));
                    flood(&mut attacker, victims, number)?;
                    sent.store(number + 1, Ordering::Release);
                    Ok(())
                });
                sent.store(FLOOD, Ordering::Release);
                outcome
            });
            while sent.load(Ordering::Acquire) < FLOOD / 2 {
                std::thread::yield_now();
            }
            let mut times = Vec::new();
            for _ in 0..CLIENTS {
                let time = served().or_else(|error| {
                    let info = common::info(&mut bystander)?;
                    Err(error.context(format!("the server counts:\n{info}")))
                })?;
                times.push(time);
                exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
            }
            flooding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            Ok(times)
        })?;
        let slowest = times.iter().max().context("nobody came")?;
        eprintln!(
            "   first client served within {:?}, the slowest of {CLIENTS} within {slowest:?}",
            times[0]
        );
        served()?;
        exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
        exchange(&mut bystander, b"PUBLISH news flood\r\n", b":1\r\n")?;
        exchange(&mut listener, b"", b"*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nflood\r\n")
    })?;
    let after = counters(site)?;
    let grown = after.into_iter().map(|(name, value)| {
        let before = before.get(&name).copied().unwrap_or(0);
        (name, value.saturating_sub(before))
    });
    let grown: BTreeMap<String, u64> = grown.filter(|(name, _)| !name.contains("cycles")).collect();
    let shown = grown.iter().filter(|(_, by)| **by >= 100).map(|(name, by)| format!("{name} {by}"));
    eprintln!("   {}", shown.collect::<Vec<_>>().join(", "));
    Ok(grown)
}

fn local_address(stream: &TcpStream) -> Result<SocketAddrV4> {
    match stream.local_addr()? {
        SocketAddr::V4(address) => Ok(address),
        SocketAddr::V6(address) => bail!("an IPv6 address: {address}"),
    }
}

/// What the counters of these names say, added up.
fn sum(grown: &BTreeMap<String, u64>, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| grown.get(*name)).sum()
}

/// Whether every segment of the flood is accounted for: missed by the device, or by these
/// counters, except for the little that was honest.
fn accounted(grown: &BTreeMap<String, u64>, names: &[&str]) -> Result<()> {
    const HONEST: u64 = 1_000;
    let (came, counted) = (sum(grown, &["device_rx_frames"]), sum(grown, names));
    // Between NIC and host a frame may be dropped as on any wire.
    let counted = counted + sum(grown, &["firmware_host_queue_full"]);
    let missed = sum(grown, &["device_rx_missed"]);
    ensure!(came + missed >= FLOOD as u64, "of {FLOOD} frames, {came} came and {missed} were missed");
    ensure!(counted + HONEST >= came, "{came} frames came, {names:?} say {counted}: {grown:?}");
    Ok(())
}

/// At `lifecycle` the firmware is the door: a flood of `sent` segments reached the host neither as
/// frames nor as messages.
fn costs_the_host_nothing(site: &Site, grown: &BTreeMap<String, u64>, sent: usize) -> Result<()> {
    if site.setup.offload != "lifecycle" {
        return Ok(());
    }
    // The clients that came meanwhile, and whoever asks for INFO.
    const HONEST: u64 = 1_000;
    for name in ["stack_frames_received", "firmware_host_sent", "stack_frames_sent"] {
        ensure!(grown.contains_key(name), "there is no counter {name}");
        let by = sum(grown, &[name]);
        ensure!(by <= HONEST, "{name} grew by {by} while {sent} segments of a flood came: {grown:?}");
    }
    Ok(())
}

/// A server that gets no processor time for a while does not know what it has not seen; the
/// device does.
#[test]
fn what_nobody_fetches_in_time_is_counted() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        ensure!(site.redis_cli(&["PING"])? == "PONG");
        site.server.stop()?;
        site.lab.within(site.client_side(), || {
            let mut attacker = Attacker::new(3)?;
            (0..FLOOD / 10).try_for_each(|_| {
                let reset = attacker.random_segment(Flags::RST);
                attacker.send(&reset)
            })
        })?;
        site.server.signal(libc::SIGCONT);
        let missed = site.wait_for_info("device_rx_missed", |missed| missed > 0)?;
        let came = site.info("device_rx_frames")?;
        eprintln!("   of {} frames {missed} were missed", FLOOD / 10);
        ensure!(came + missed >= FLOOD as u64 / 10, "{came} came, {missed} were missed");
    }
    Ok(())
}

#[test]
fn syns_from_everywhere() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let grown = withstand(&site, |attacker, _, _| {
            let syn = attacker.random_segment(Flags::SYN);
            attacker.send(&syn)
        })?;
        accounted(&grown, &["firmware_syn_received", "stack_cookies_sent", "stack_half_open_now"])?;
        costs_the_host_nothing(&site, &grown, FLOOD)?;
    }
    Ok(())
}

/// Half of them in the names of clients that are there, with numbers that are guessed.
fn forged(flags: Flags) -> impl Fn(&mut Attacker, Victims, usize) -> Result<()> + Send + Sync {
    move |attacker, victims, number| {
        let mut segment = attacker.random_segment(flags);
        if number % 2 == 0 {
            segment.client = victims[number / 2 % victims.len()];
        }
        attacker.send(&segment)
    }
}

#[test]
fn forged_acknowledgments() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let grown = withstand(&site, forged(Flags::ACK))?;
        // Without timestamps they do not even get to their numbers.
        let strange = ["firmware_cookie_refused", "stack_closed_port", "stack_cookies_refused"];
        accounted(&grown, &[&strange[..], &["stack_timestamp_missing", "firmware_unacceptable"]].concat())?;
        costs_the_host_nothing(&site, &grown, FLOOD)?;
    }
    Ok(())
}

#[test]
fn forged_resets() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let grown = withstand(&site, forged(Flags::RST))?;
        let strange = ["firmware_no_flow_dropped", "stack_closed_port"];
        accounted(&grown, &[&strange[..], &["firmware_reset_ignored", "stack_unacceptable"]].concat())?;
        costs_the_host_nothing(&site, &grown, FLOOD)?;
    }
    Ok(())
}

/// Handshakes that are finished properly, and then nothing: fewer than `maxclients`.
#[test]
fn connections_that_never_say_anything() -> Result<()> {
    const SILENT: usize = 5_000;
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let before = counters(&site)?;
        site.connected(|mut bystander| {
            exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
            let mut attacker = Attacker::new(2)?;
            let mut begun = 0;
            let mut opened = 0;
            let mut quiet_since = Instant::now();
            while opened < SILENT {
                if begun < opened + 64 {
                    let syn = attacker.random_segment(Flags::SYN);
                    attacker.send(&syn)?;
                    begun += 1;
                }
                let Some(answer) = attacker.receive() else {
                    // What the network lost is begun anew.
                    if quiet_since.elapsed() > Duration::from_millis(100) {
                        begun = opened;
                    }
                    continue;
                };
                quiet_since = Instant::now();
                if answer.flags == Flags::SYN | Flags::ACK {
                    let (seq, ack) = (answer.ack, answer.seq.wrapping_add(1));
                    attacker.send(&Segment { seq, ack, flags: Flags::ACK, ..answer })?;
                    opened += 1;
                }
            }
            eprintln!("   beside {SILENT} silent connections a client was served within {:?}", served()?);
            exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")
        })?;
        let held = counters(&site)?;
        let grown = held.iter().map(|(name, value)| {
            (name.clone(), value.saturating_sub(before.get(name).copied().unwrap_or(0)))
        });
        costs_the_host_nothing(&site, &grown.collect(), SILENT)?;
        let open = sum(&held, &["stack_connections_now", "firmware_flows_waiting"]);
        let evicted = sum(&held, &["firmware_backlog_evicted"]);
        eprintln!("   {open} are open, {evicted} had to go");
        ensure!(open + evicted >= SILENT as u64, "{open} are open, {evicted} had to go");
    }
    Ok(())
}
