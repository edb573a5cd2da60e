//! Seeds: some pass, and each replays exactly.

use sim::trace::Trace;
use sim::world;

#[test]
fn seeds_pass() {
    let failures: Vec<String> = (1..=100)
        .filter_map(|seed| {
            world::play(seed, &Trace::default()).err().map(|error| format!("seed {seed} {error}"))
        })
        .collect();
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_seed_replays_exactly() {
    for seed in 1..=10 {
        let once = |seed| {
            let trace = Trace::default();
            (world::play(seed, &trace), trace.hash())
        };
        assert_eq!(once(seed), once(seed), "seed {seed}");
        assert_ne!(once(seed).1, once(seed + 100).1);
    }
}
