//! Many seeds, on as many threads as the machine has cores. A seed knows nothing of the others, and
//! results come in the order of seeds, so the output is the same however many threads there are.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;

use crate::trace::Trace;
use crate::world::{self, Report};

/// What a seed came to: its report, or what went wrong.
pub type Outcome = Result<Report, String>;

thread_local! {
    /// The seed that this thread plays.
    static PLAYING: Cell<Option<u64>> = const { Cell::new(None) };
    /// What the last panic on this thread said.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic while a seed is played is that seed's failure. Where panics abort, the
/// seed is named before.
pub fn catch_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| match PLAYING.get() {
        None => usual(info),
        Some(seed) => {
            let text = info.to_string();
            if cfg!(panic = "abort") {
                eprintln!("{}", failure(seed, &text));
            }
            PANIC.set(Some(text));
        }
    }));
}

/// A failure and how to see it again.
pub fn failure(seed: u64, error: &str) -> String {
    format!("seed {seed} failed {error}\n  replay: cargo xtask sim --seeds 1 --seed {seed}")
}

/// Plays one seed. A panic of an engine is a failure like any other.
///
/// # Errors
/// What went wrong, and when.
pub fn play(seed: u64, trace: &Trace) -> Outcome {
    PLAYING.set(Some(seed));
    let outcome = panic::catch_unwind(AssertUnwindSafe(|| world::play(seed, trace)));
    PLAYING.set(None);
    outcome.unwrap_or_else(|_| {
        let text = PANIC.take().unwrap_or_else(|| "of unknown cause".to_owned());
        Err(format!("by a panic: {text}"))
    })
}

/// Plays `seeds` on `threads` threads and gives each outcome to `take`, in order. `take` says
/// whether to go on; afterwards no further seed is begun, and what was ahead is not told.
pub fn play_all(seeds: Range<u64>, threads: usize, mut take: impl FnMut(u64, Outcome) -> bool) {
    let next = AtomicU64::new(seeds.start);
    let (sender, receiver) = mpsc::channel();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let (sender, next, end) = (sender.clone(), &next, seeds.end);
            scope.spawn(move || {
                while let Some(seed) = draw_number(next, end) {
                    // Nobody listens any more: a seed before this one has ended the series.
                    if sender.send((seed, play(seed, &Trace::default()))).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut early = BTreeMap::new();
        let mut due = seeds.start;
        for (seed, outcome) in receiver {
            early.insert(seed, outcome);
            while let Some(outcome) = early.remove(&due) {
                if !take(due, outcome) {
                    next.store(u64::MAX, Ordering::Relaxed);
                    return;
                }
                due += 1;
            }
        }
    });
}

fn draw_number(next: &AtomicU64, end: u64) -> Option<u64> {
    next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seed| (seed < end).then(|| seed + 1)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(threads: usize, until: u64) -> Vec<(u64, Outcome)> {
        let mut told = Vec::new();
        play_all(40..52, threads, |seed, outcome| {
            told.push((seed, outcome));
            seed < until
        });
        told
    }

    #[test]
    fn outcomes_come_in_order_and_alike_on_any_number_of_threads() {
        let alone = told(1, u64::MAX);
        assert_eq!(alone.iter().map(|(seed, _)| *seed).collect::<Vec<_>>(), (40..52).collect::<Vec<_>>());
        assert_eq!(told(3, u64::MAX), alone);
        assert_eq!(told(3, 44), alone[..5]);
    }
}
