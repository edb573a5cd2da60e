//! The subcommands of `mayfly-nic`: what they ask a running one, and how they show it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use crate::cli::{Ask, Capture};
use crate::control::ask;
use crate::request::{Request, Side};
use crate::top::{Interval, Snapshot};

/// Clears a terminal.
const CLEAR: &str = "\x1b[H\x1b[J";

/// Asks the `mayfly-nic` whose control socket is at `path` and writes what it says to `out`, which
/// may be a terminal.
///
/// # Errors
/// It does not answer, or says what is wrong.
pub fn run(what: &Ask, path: &Path, out: &mut impl Write, is_terminal: bool) -> Result<(), String> {
    let show = |out: &mut _, lines: Vec<String>| {
        write(out, &lines.iter().flat_map(|line| [line, "\n"]).collect::<String>());
    };
    let stopped = |out: &mut _, side: Side, frames: &[String]| {
        write(out, &format!("{}: {} frames\n", side.name(), frames.concat()));
    };
    match what {
        Ask::Status => show(out, ask(path, &"STATUS")?),
        Ask::Flows { count } => show(out, ask(path, &Request::Flows { count: *count })?),
        Ask::Events { flow, count } => {
            show(out, ask(path, &Request::events(*flow, *count))?);
        }
        Ask::Steer { change: None } => show(out, ask(path, &Request::Steering)?),
        Ask::Steer { change: Some(steering) } => {
            ask(path, &Request::Steer(steering.change()))?;
        }
        Ask::Capture(Capture::Start { side, file, limits }) => {
            // The other process has a working folder of its own.
            let file = std::path::absolute(file).map_err(|error| format!("{}: {error}", file.display()))?;
            show(out, ask(path, &Request::StartCapture { side: *side, file, limits: limits.limits() })?);
        }
        Ask::Capture(Capture::Stop { side: Some(side) }) => {
            stopped(out, *side, &ask(path, &Request::StopCapture { side: *side })?);
        }
        Ask::Capture(Capture::Stop { side: None }) => {
            let said = Side::ALL.map(|side| ask(path, &Request::StopCapture { side }));
            if let [Err(problem), Err(_)] = &said {
                return Err(problem.clone());
            }
            for (side, frames) in Side::ALL.iter().zip(&said) {
                if let Ok(frames) = frames {
                    stopped(out, *side, frames);
                }
            }
        }
        Ask::Top { once, interval } => {
            top(path, Duration::from_secs_f64(*interval), *once, out, is_terminal)?
        }
    }
    Ok(())
}

/// Shows what happens, until nobody reads any more.
fn top(
    path: &Path,
    interval: Duration,
    once: bool,
    out: &mut impl Write,
    is_terminal: bool,
) -> Result<(), String> {
    let look = || Ok::<_, String>(Snapshot::new(&ask(path, &"STATUS")?));
    let mut before = look()?;
    loop {
        std::thread::sleep(interval);
        let after = look()?;
        // None: there is nothing to compare with yet.
        if let Some(interval) = Interval::between(&before, &after) {
            let view = interval.view();
            if once {
                write(out, &view);
                return Ok(());
            }
            if !write(out, &if is_terminal { format!("{CLEAR}{view}") } else { format!("{view}\n") }) {
                return Ok(());
            }
        }
        before = after;
    }
}

/// False when whoever reads has seen enough.
fn write(out: &mut impl Write, text: &str) -> bool {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
