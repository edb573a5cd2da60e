//! Every packet script in real time over a veth: against our host stack alone, against firmware and
//! host at each place where the firmware can run, and against Linux's own TCP as a check on the
//! scripts.
//!
//! `SCRIPT=part-of-a-name` plays only those scripts, `SUBJECT=external` only the subjects with that
//! word in their names.

mod linux;
mod ours;
mod peer;

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use e2e::lab::{Lab, SERVER_INTERFACE, Side, run as run_command};
use linux::Linux;
use netcore::Duration;
use ours::{Bench, External};
use peer::{Peer, SUBJECT};
use protocol::ip::Version;
use sim::script::settings::PREFIX_LEN;
use sim::script::{Script, SubjectKind, run};

/// Scripts that wait longer than this are played on virtual time only.
const WAITS_MAX: Duration = Duration::from_millis(2_500);
/// A script that fails is played again: a machine that stood still for a while is no bug.
const ATTEMPTS: usize = 3;

/// Where what the card does is done.
#[derive(Clone, Copy)]
enum Place {
    Inline,
    Embedded,
    External,
    /// In Linux.
    Kernel,
}

/// Who plays: what it is called, which scripts it plays, and where its firmware runs.
const SUBJECTS: [(&str, SubjectKind, Place); 6] = [
    ("stack inline", SubjectKind::Stack, Place::Inline),
    ("stack external", SubjectKind::Stack, Place::External),
    ("firmware inline", SubjectKind::Firmware, Place::Inline),
    ("firmware embedded", SubjectKind::Firmware, Place::Embedded),
    ("firmware external", SubjectKind::Firmware, Place::External),
    ("linux", SubjectKind::Linux, Place::Kernel),
];

/// Played only when `SUBJECT` asks for them, since each takes more than a minute: at `none` the card only
/// passes frames on, and embedded it runs as inline, but on a thread of its own.
const ON_REQUEST: [&str; 2] = ["stack external", "firmware embedded"];

struct Named {
    name: String,
    script: Script,
}

/// What became of the scripts of one subject.
#[derive(Default)]
struct Score {
    played: usize,
    /// Wait too long for real time.
    too_long: Vec<String>,
    /// Have settings that `mayfly-nic` has no words for.
    unsaid: Vec<String>,
    /// Not for this subject.
    others: usize,
    repeated: Vec<String>,
    failures: Vec<String>,
}

#[test]
fn every_script_in_real_time() -> Result<()> {
    let scripts = scripts()?;
    let wanted = std::env::var("SUBJECT").unwrap_or_default();
    let mut failures = Vec::new();
    for (name, kind, place) in SUBJECTS {
        if !name.contains(&wanted) || (wanted.is_empty() && ON_REQUEST.contains(&name)) {
            continue;
        }
        let begin = Instant::now();
        let lab = Lab::new()?;
        let peer = Peer::new(&lab)?;
        let score = lab.within(Side::Server, || play_at(place, kind, &lab, &scripts, peer))?;
        println!(
            "{name}: {} played in {:.1} s ({} again: {}), {} for other subjects, {} with settings that \
             mayfly-nic does not have: {}, {} wait too long for real time: {}",
            score.played,
            begin.elapsed().as_secs_f64(),
            score.repeated.len(),
            score.repeated.join(" "),
            score.others,
            score.unsaid.len(),
            score.unsaid.join(" "),
            score.too_long.len(),
            score.too_long.join(" "),
        );
        failures.extend(score.failures.into_iter().map(|failure| format!("{name}: {failure}")));
    }
    ensure!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}

fn play_at(place: Place, kind: SubjectKind, lab: &Lab, scripts: &[Named], mut peer: Peer) -> Result<Score> {
    let mut score = Score::default();
    let mut scripts = score.select(kind, scripts);
    match place {
        Place::Inline | Place::Embedded => {
            let mut bench = Bench::new()?;
            let embedded = matches!(place, Place::Embedded);
            score.play(&scripts, |script| bench.play(kind, script, embedded, peer.converse()));
        }
        Place::External => {
            let (said, unsaid) =
                scripts.iter().partition(|named| External::arguments(kind, &named.script).is_some());
            scripts = said;
            let unsaid: Vec<&Named> = unsaid;
            score.unsaid.extend(unsaid.iter().map(|named| named.name.clone()));
            // Those that one and the same program can play stand together.
            scripts.sort_by_cached_key(|named| External::arguments(kind, &named.script));
            let mut external = External::new(Bench::new()?, lab, kind);
            score.play(&scripts, |script| external.play(script, peer.converse()));
        }
        Place::Kernel => {
            make_ready(lab)?;
            score.play(&scripts, |script| run(script, &mut Linux::new(script, peer.converse())?));
        }
    }
    Ok(score)
}

/// The server's namespace for Linux as the subject.
fn make_ready(lab: &Lab) -> Result<()> {
    linux::prepare(lab)?;
    let address = format!("{SUBJECT}/{PREFIX_LEN}");
    let namespace = lab.namespace(Side::Server);
    run_command(
        std::process::Command::new("ip")
            .args(["-n", namespace, "address", "add", &address, "dev"])
            .arg(SERVER_INTERFACE),
    )?;
    // Segments leave the kernel one by one, as on a wire.
    run_command(
        std::process::Command::new("ip")
            .args(["-n", namespace, "link", "set", SERVER_INTERFACE])
            .args(["gso_max_segs", "1"]),
    )?;
    Ok(())
}

impl Score {
    /// The scripts for a subject that can be played in real time.
    fn select<'a>(&mut self, kind: SubjectKind, scripts: &'a [Named]) -> Vec<&'a Named> {
        let mut selected = Vec::new();
        for named in scripts {
            if !named.script.subjects.contains(&kind) || !named.script.is_for(Version::V4) {
                self.others += 1;
            } else if named.script.real_time() > WAITS_MAX {
                self.too_long.push(named.name.clone());
            } else {
                selected.push(named);
            }
        }
        selected
    }

    fn play(&mut self, scripts: &[&Named], mut once: impl FnMut(&Script) -> Result<(), String>) {
        for Named { name, script } in scripts {
            self.played += 1;
            for attempt in 1..=ATTEMPTS {
                let Err(error) = once(script) else { break };
                if attempt < ATTEMPTS {
                    self.repeated.push(name.clone());
                } else {
                    self.failures.push(format!("{name}: {error}"));
                }
            }
        }
    }
}

fn scripts() -> Result<Vec<Named>> {
    let wanted = std::env::var("SCRIPT").unwrap_or_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sim/scripts");
    let mut paths: Vec<PathBuf> = Vec::new();
    for room in ["tcp", "firmware"] {
        for entry in std::fs::read_dir(folder.join(room))? {
            paths.push(entry?.path());
        }
    }
    paths.sort();
    let mut scripts = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&folder)?.with_extension("").display().to_string();
        if path.extension().is_some_and(|extension| extension == "pkt") && name.contains(&wanted) {
            let script = Script::parse(&std::fs::read_to_string(&path)?)
                .map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
            scripts.push(Named { name, script });
        }
    }
    Ok(scripts)
}
