//! Bulk transfers between two stacks over a link with a rate, a queue and a delay, on virtual
//! time: how much of it congestion control and loss recovery use. `cargo test -p stack link --
//! --nocapture` prints the goodput.
//!
//! What to expect: where losses are random (each segment is lost with probability p), a window of
//! Reno, and of CUBIC in its Reno-friendly region, is on average sqrt(3/2/p) segments (RFC 9438
//! §4.3), so at a round trip of 10 ms 14 Mbit/s for 1 % and 45 Mbit/s for 0.1 %. Without random
//! losses the link is full.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::net::SocketAddrV4;
extern crate std;
use std::println;

use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FrameQueue, HeapFrame, Instant, Port};

use super::lossy::{Host, Side, addr, bytes, host, strip_options};
use crate::{AcceptPolicy, Config, CongestionControl};

/// One direction and its faults, the probabilities per million.
#[derive(Clone, Copy)]
struct Link {
    rate_mbit: u64,
    delay_us: u64,
    /// Frames of full size that may wait.
    queue_frames: u64,
    drop: u32,
    /// As many acknowledgments are lost, once data has arrived.
    drop_acks: u32,
    reorder: u32,
    duplicate: u32,
    /// TCP options that do not get through.
    stripped: &'static [u8],
}

const LINK: Link = Link {
    rate_mbit: 100,
    delay_us: 5000,
    queue_frames: 150,
    drop: 0,
    drop_acks: 0,
    reorder: 0,
    duplicate: 0,
    stripped: &[],
};

struct World {
    hosts: [Host; 2],
    now: Instant,
    rng: SeededRng,
    link: Link,
    /// When each direction has sent what it was given.
    free: [Instant; 2],
    flying: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    count: u64,
    overflows: u64,
}

impl World {
    fn fly(&mut self, to: usize, mut bytes: Vec<u8>) {
        self.count += 1;
        if bytes[12..14] == [8, 6] {
            self.flying.insert((self.now, self.count), (to, bytes));
            return;
        }
        strip_options(&mut bytes, self.link.stripped);
        let acks_are_lost = to == 0 && self.link.drop_acks > 0 && self.hosts[1].app.got > 0;
        let drop = if acks_are_lost { self.link.drop_acks } else { self.link.drop };
        if self.rng.chance(drop) {
            return;
        }
        let micros = |len: u64| (len + 24) * 8 / self.link.rate_mbit;
        if self.free[to].since(self.now).micros() > self.link.queue_frames * micros(1514) {
            self.overflows += 1;
            return;
        }
        let sent = self.free[to].max(self.now) + Duration::from_micros(micros(bytes.len() as u64));
        self.free[to] = sent;
        let mut at = sent + Duration::from_micros(self.link.delay_us);
        if self.rng.chance(self.link.reorder) {
            at += Duration::from_micros(self.rng.below(3000));
        }
        if self.rng.chance(self.link.duplicate) {
            self.flying.insert((at, u64::MAX - self.count), (to, bytes.clone()));
        }
        self.flying.insert((at, self.count), (to, bytes));
    }

    fn step(&mut self) {
        for from in 0..2 {
            let host = &mut self.hosts[from];
            host.stack.poll(&mut host.port, &mut host.pool, &mut host.app, self.now);
            let mut sent = FrameQueue::with_capacity(2048);
            host.wire.receive(&mut sent, 2048);
            while let Some(frame) = sent.pop() {
                self.fly(1 - from, frame.bytes().to_vec());
            }
        }
        let next_frame = self.flying.first_key_value().map(|((at, _), _)| *at);
        let timers = self.hosts.iter().filter_map(|host| host.stack.next_deadline());
        self.now = timers.chain(next_frame).min().unwrap_or(self.now).max(self.now);
        let mut arrived = [FrameQueue::with_capacity(1024), FrameQueue::with_capacity(1024)];
        while let Some(entry) = self.flying.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            let (to, bytes) = entry.remove();
            arrived[to].push(HeapFrame::from_bytes(&bytes)).unwrap();
        }
        for (host, frames) in self.hosts.iter_mut().zip(&mut arrived) {
            host.wire.send(frames);
        }
    }
}

/// Sends `len` bytes; returns the goodput in kbit/s.
fn goodput(link: Link, len: usize, seed: u64, change: fn(&mut Config)) -> u64 {
    let data = bytes(len, seed);
    let sender = Side::new(&data, &bytes(1, 9), true);
    let receiver = Side::new(&bytes(0, 1), &data, true);
    let mut world = World {
        hosts: [host(1, seed, sender, change), host(2, seed, receiver, change)],
        now: Instant::from_micros(5),
        rng: SeededRng::new(seed),
        link,
        free: [Instant::ZERO; 2],
        flying: BTreeMap::new(),
        count: 0,
        overflows: 0,
    };
    world.hosts[1].stack.listen(6379, AcceptPolicy::Immediate).unwrap();
    world.hosts[0].stack.connect(SocketAddrV4::new(addr(2), 6379), world.now).unwrap();
    while world.hosts[1].app.got < len {
        assert!(world.now.millis() < 3_600_000, "seed {seed}: no end");
        world.step();
    }
    assert!(!world.hosts[1].app.wrong, "seed {seed}: wrong bytes");
    let counters = world.hosts[0].stack.counters();
    let kbit = len as u64 * 8 * 1000 / world.now.micros();
    println!(
        "seed {seed}: {kbit} kbit/s; {} resent, {} recoveries, {} timeouts, {} probes ({} repairs), {} + {} spurious, {} overflows",
        counters.retransmissions,
        counters.fast_retransmits,
        counters.retransmission_timeouts,
        counters.loss_probes,
        counters.loss_probe_repairs,
        counters.spurious_recoveries,
        counters.spurious_timeouts,
        world.overflows,
    );
    kbit
}

/// The mean over three seeds, in kbit/s.
fn mean(name: &str, link: Link, len: usize, change: fn(&mut Config)) -> u64 {
    let mean = (1..4).map(|seed| goodput(link, len, seed, change)).sum::<u64>() / 3;
    println!("{name}: {mean} kbit/s");
    mean
}

fn plain(_: &mut Config) {}
fn new_reno(config: &mut Config) {
    config.congestion = CongestionControl::NewReno;
}

#[test]
fn a_clean_link_is_full() {
    assert!(mean("CUBIC, no loss", LINK, 10 << 20, plain) > 90_000);
    assert!(mean("NewReno, no loss", LINK, 10 << 20, new_reno) > 88_000);
}

#[test]
fn random_losses_cost_what_theory_says() {
    // 80 % of the Reno-friendly region's 45 and 14 Mbit/s.
    assert!(mean("CUBIC, 0.1 %", Link { drop: 1000, ..LINK }, 50 << 20, plain) > 36_000);
    assert!(mean("CUBIC, 1 %", Link { drop: 10_000, ..LINK }, 20 << 20, plain) > 11_300);
    assert!(mean("NewReno, 1 %", Link { drop: 10_000, ..LINK }, 20 << 20, new_reno) > 11_300);
}

#[test]
fn old_peers_are_served_too() {
    let link = Link { drop: 10_000, ..LINK };
    assert!(mean("1 %, no SACK", Link { stripped: &[4], ..link }, 8 << 20, plain) > 8000);
    assert!(mean("1 %, no timestamps", Link { stripped: &[8], ..link }, 8 << 20, plain) > 11_000);
    assert!(mean("1 %, neither", Link { stripped: &[4, 8], ..link }, 8 << 20, new_reno) > 7000);
}

#[test]
fn reordering_and_duplication_are_no_losses() {
    let link = Link { reorder: 10_000, duplicate: 10_000, ..LINK };
    assert!(mean("CUBIC, 1 % reordered, 1 % twice", link, 20 << 20, plain) > 80_000);
    let link = Link { drop: 10_000, ..link };
    assert!(mean("CUBIC, the same and 1 % lost", link, 8 << 20, plain) > 10_000);
}

#[test]
fn delayed_acknowledgments_do_not_slow_a_transfer_down() {
    let at_once: fn(&mut Config) = |config| config.delayed_ack = Duration::ZERO;
    for (name, drop) in [("no loss", 0), ("0.1 %", 1000), ("1 %", 10_000)] {
        let link = Link { drop, ..LINK };
        let delayed = mean(name, link, 8 << 20, plain);
        let prompt = mean("the same, acknowledged at once", link, 8 << 20, at_once);
        assert!(delayed * 10 > prompt * 8, "{name}: {delayed} against {prompt} kbit/s");
    }
}

#[test]
fn lost_acknowledgments_do_not_pass_for_a_slow_path() {
    // Half of them, and 5 % of the data: now and then a whole window's are lost, and its last resort are
    // timeouts that double until an answer gets through. No longer than that may it take: what was
    // told late is no round trip.
    let link = Link { drop: 50_000, drop_acks: 500_000, delay_us: 500, ..LINK };
    let mut seconds: Vec<u64> =
        (1..13).map(|seed| (1 << 23) / 1000 / goodput(link, 1 << 20, seed, |_| ())).collect();
    seconds.sort_unstable();
    println!("half of the acknowledgments lost: {seconds:?} s");
    assert!(seconds[6] < 30, "{seconds:?} s");
}
