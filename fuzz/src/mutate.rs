//! Seeded changes to inputs, for the tests that replay: what one seed gives is always the same.
//! The coverage-guided program has libFuzzer's own.

use netcore::rng::SeededRng;

/// Values at which something often changes.
const EDGES: [u8; 10] = [0, 1, 2, 0x0d, 0x0a, 0x7f, 0x80, 0xfe, 0xff, b'*'];

/// A changed input: `base` with some of it replaced, moved, repeated or cut, and sometimes a
/// part of `other` put in; at most `len_max` bytes.
pub fn mutated(base: &[u8], other: &[u8], len_max: usize, rng: &mut SeededRng) -> Vec<u8> {
    let mut bytes = base.to_vec();
    for _ in 0..1 + rng.below(6) {
        change(&mut bytes, other, rng);
    }
    bytes.truncate(len_max);
    bytes
}

/// An input out of nothing.
pub fn random(len_max: usize, rng: &mut SeededRng) -> Vec<u8> {
    let len = rng.below(len_max.min(600) as u64 + 1);
    let small = rng.chance(300_000);
    (0..len).map(|_| if small { rng.below(8) as u8 } else { rng.next_u64() as u8 }).collect()
}

fn change(bytes: &mut Vec<u8>, other: &[u8], rng: &mut SeededRng) {
    let at = rng.below(bytes.len() as u64 + 1) as usize;
    let end = (at + rng.below(32) as usize).min(bytes.len());
    match rng.below(8) {
        0 if at < bytes.len() => bytes[at] ^= 1 << rng.below(8),
        1 if at < bytes.len() => bytes[at] = EDGES[rng.below(EDGES.len() as u64) as usize],
        2 if at < bytes.len() => bytes[at] = rng.next_u64() as u8,
        3 if at < bytes.len() => bytes[at] = bytes[at].wrapping_add(1 + rng.below(4) as u8).wrapping_sub(2),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(end..end, again);
        }
        6 => {
            let from = rng.below(other.len() as u64 + 1) as usize;
            let to = (from + rng.below(64) as usize).min(other.len());
            bytes.splice(at..at, other[from..to].iter().copied());
        }
        _ => {
            let fresh = (0..1 + rng.below(8)).map(|_| rng.next_u64() as u8);
            bytes.splice(at..at, fresh.collect::<Vec<_>>());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_every_time_and_keeps_to_the_limit() {
        let base = [7; 100];
        for seed in 0..200 {
            let once = mutated(&base, b"other", 101, &mut SeededRng::new(seed));
            assert_eq!(once, mutated(&base, b"other", 101, &mut SeededRng::new(seed)));
            assert!(once.len() <= 101);
            assert!(random(50, &mut SeededRng::new(seed)).len() <= 50);
        }
    }
}
