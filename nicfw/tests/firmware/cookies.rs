//! What stands between a stranger and a flow: cookies that nobody can guess or foretell.

use netcore::Duration;
use nicfw::{Config, Event, State};

use netcore::rng::{Rng, SeededRng};

use crate::harness::*;

#[test]
fn a_million_forged_acks_open_nothing() {
    let mut world = World::new();
    let mut rng = SeededRng::new(0xf0_49ed);
    for n in 0..1_000_000u32 {
        let port = 1 + rng.below(65_535) as u16;
        let mut forged = Seg::new(ACK, rng.wire_u32(), rng.wire_u32()).port(port);
        if n % 2 == 0 {
            forged = forged.data(b"GET");
        }
        world.nic.wire_frame(netcore::HeapFrame::from_bytes(&forged.frame()), &mut world.pool, world.now);
        while let Some(answer) = world.nic.wire_output().pop() {
            assert!(sent(netcore::Frame::bytes(&answer)).flags.has(RST));
        }
        if n % 1000 == 0 {
            // Over many periods of the cookies' secret.
            world.now += Duration::from_secs(1);
            world.nic.timer(&mut world.pool, world.now);
        }
    }
    let (refused, later) = (world.count(Event::CookieRefused), world.count(Event::FirstDataMissing));
    assert_eq!((refused + later, world.count(Event::CookieAccepted)), (1_000_000, 0));
    assert!(later < 1000, "{later} look like late segments of a handshake");
    assert_eq!(world.nic.counters().held(), 0);
    // The host has not heard of any of it.
    assert_eq!(world.host_messages(), []);
    assert_eq!(world.count(Event::EstablishedSent), 0);
}

#[test]
fn a_cookie_is_good_for_one_period_and_at_most_two() {
    let period = Duration::from_secs(32);
    // Made at the beginning, in the middle and at the end of a period.
    for made_at in [0, 15, 31] {
        for (age, good) in [
            (0, true),
            (31, true),
            (33, made_at + 33 < 64),
            (63, made_at + 63 < 64),
            (64, false),
            (65, false),
            (1000, false),
        ] {
            let mut world = World::with(Config { cookie_period: period, ..config() }, listen_body());
            let into = world.now.micros() % period.micros();
            world.pass(Duration::from_micros(period.micros() - into));
            world.pass(Duration::from_secs(made_at));
            let iss = world.syn(&Seg::new(SYN, 100, 0).port(1)).seq;
            world.pass(Duration::from_secs(age));
            world.client(&Seg::new(ACK, 101, iss + 1).port(1));
            let opened = world.flows_in(State::Waiting) == 1;
            assert_eq!(opened, good, "made {made_at} s into the period, {age} s old");
            assert_eq!(world.count(Event::CookieRefused), u64::from(!good));
        }
    }
}

/// How far from chance numbers are: the largest deviation, in standard deviations, of each bit's
/// count of ones, of each two bits' agreement within a number, and of each bit's agreement with the
/// one of the number before.
fn deviation(numbers: &[u32], bits: &[u32]) -> f64 {
    let count = numbers.len();
    let sigma = (count as f64).sqrt() / 2.0;
    let far = |ones: usize| (ones as f64 - count as f64 / 2.0).abs() / sigma;
    let mut worst = 0.0f64;
    for &a in bits {
        worst = worst.max(far(numbers.iter().filter(|&&number| number >> a & 1 == 1).count()));
        let repeated = numbers.windows(2).filter(|pair| (pair[0] ^ pair[1]) >> a & 1 == 1).count();
        worst = worst.max(far(repeated));
        for &b in bits.iter().filter(|&&b| b > a) {
            worst = worst
                .max(far(numbers.iter().filter(|&&number| (number >> a ^ number >> b) & 1 == 1).count()));
        }
    }
    // Differences of neighbours fall into all sixteenths alike (chi-square of 15 degrees).
    let mut bins = [0u32; 16];
    for pair in numbers.windows(2) {
        bins[(pair[1].wrapping_sub(pair[0]) >> 28) as usize] += 1;
    }
    let expected = (count - 1) as f64 / 16.0;
    let chi_square: f64 = bins.iter().map(|&bin| (f64::from(bin) - expected).powi(2) / expected).sum();
    worst.max((chi_square - 15.0) / 30.0f64.sqrt())
}

/// Beyond what chance gives to some thousand figures.
const SUSPICIOUS: f64 = 6.0;

#[test]
fn initial_sequence_numbers_show_no_pattern() {
    // Bit 3 says in which of two periods the number was made, and is no secret.
    let bits: Vec<u32> = (0..32).filter(|&bit| bit != 3).collect();
    const COUNT: usize = 20_000;
    // Neighbouring ports, the same client's numbers that count up, and a new secret each time.
    let by_port = |_: &mut World, n: usize| Seg::new(SYN, 100, 0).port(1 + (n % 60_000) as u16);
    let by_number = |_: &mut World, n: usize| Seg::new(SYN, (n as u32) << 16, 0).port(1);
    let by_period = |world: &mut World, _: usize| {
        world.now += Duration::from_secs(32);
        Seg::new(SYN, 100, 0).port(1)
    };
    let ways: [(&str, &dyn Fn(&mut World, usize) -> Seg); 3] =
        [("port", &by_port), ("number", &by_number), ("period", &by_period)];
    for (name, syn) in ways {
        let mut world = World::new();
        let numbers: Vec<u32> = (0..COUNT)
            .map(|n| {
                let syn = syn(&mut world, n);
                world.syn(&syn).seq
            })
            .collect();
        let deviation = deviation(&numbers, &bits);
        assert!(deviation < SUSPICIOUS, "by {name}: {deviation}");
        let mut distinct = numbers.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() > COUNT - 20, "by {name}: {} of {COUNT} are distinct", distinct.len());
    }
    // What has a pattern is found out: a clock, a step, a bit that leans, bits that agree.
    let mut rng = SeededRng::new(3);
    let mut noise: Vec<u32> = (0..COUNT).map(|_| rng.wire_u32()).collect();
    assert!(deviation(&noise, &bits) < SUSPICIOUS);
    let of = |pattern: fn(u32) -> u32| (0..COUNT as u32).map(pattern).collect::<Vec<u32>>();
    let clock = of(|n| n * 64_000);
    let step = of(|n| n.wrapping_mul(0x9e37_79b9));
    let agreeing: Vec<u32> =
        noise.iter().map(|&number| number & !(1 << 9) | (number >> 20 & 1) << 9).collect();
    noise.iter_mut().step_by(10).for_each(|number| *number |= 1 << 7);
    for pattern in [clock, step, agreeing, noise] {
        assert!(deviation(&pattern, &bits) > SUSPICIOUS);
    }
}
