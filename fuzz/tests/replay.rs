//! Every input of the corpus, and a fixed number of seeded changes to them, in every test run.

use std::collections::BTreeSet;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fuzz::{TARGETS, Target, mutate};
use netcore::rng::SeededRng;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// The inputs of a target by name; none is a valid corpus, too.
fn inputs(target: &Target) -> Vec<(String, Vec<u8>)> {
    let folder = corpus().join(target.name);
    let Ok(entries) = fs::read_dir(&folder) else { return Vec::new() };
    let mut inputs: Vec<_> = entries
        .map(|entry| {
            let path = entry.expect("a readable folder").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            (name, fs::read(&path).expect("a readable file"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// Runs one input; a failure names what it came from and shows its bytes.
fn run(target: &Target, input: &[u8], from: &str) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(|| (target.run)(input))).map_err(|_| {
        let bytes: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("target {}, {from}: {bytes}", target.name)
    })
}

fn replay(target: &Target) -> Result<(), String> {
    let corpus = inputs(target);
    for (name, input) in &corpus {
        run(target, input, name)?;
    }
    for seed in 0..target.replays as u64 {
        let mut rng = SeededRng::new(seed);
        let draw = |rng: &mut SeededRng| corpus.get(rng.below(corpus.len() as u64) as usize);
        let input = match (rng.chance(100_000), draw(&mut rng), draw(&mut rng)) {
            (false, Some((_, base)), Some((_, other))) => {
                mutate::mutated(base, other, target.len_max, &mut rng)
            }
            _ => mutate::random(target.len_max, &mut rng),
        };
        run(target, &input, &format!("seed {seed}"))?;
    }
    Ok(())
}

#[test]
fn every_target_stands_its_corpus_and_seeded_changes() {
    let next = Mutex::new(TARGETS.iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let Some(target) = next.lock().unwrap().next() else { return };
                    let started = std::time::Instant::now();
                    if let Err(failure) = replay(target) {
                        failures.lock().unwrap().push(failure);
                    }
                    println!("{:<16} {:>6} ms", target.name, started.elapsed().as_millis());
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn the_corpus_is_small_and_belongs_to_targets() {
    let names: BTreeSet<&str> = TARGETS.iter().map(|target| target.name).collect();
    assert_eq!(names.len(), TARGETS.len(), "names are unique");
    for entry in fs::read_dir(corpus()).expect("fuzz/corpus exists") {
        let name = entry.expect("a readable folder").file_name().to_string_lossy().into_owned();
        assert!(names.contains(name.as_str()), "fuzz/corpus/{name} belongs to no target");
    }
    let total: usize = TARGETS.iter().flat_map(inputs).map(|(_, input)| input.len()).sum();
    assert!(total < 2 << 20, "{total} bytes");
}
