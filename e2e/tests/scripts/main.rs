//! Every packet script in real time over a veth: against our host stack alone, against firmware
//! and host, each behind a DPDK device, and against Linux's own TCP as a check on the scripts.
//!
//! `SCRIPT=part-of-a-name` plays only those scripts, `SUBJECT=linux` only that subject.

mod linux;
mod ours;
mod peer;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use dpdk::{Device, DevicePort, Eal, EalConfig, OpenConfig};
use e2e::lab::{Lab, SERVER_INTERFACE, Side, run as run_command};
use linux::Linux;
use netcore::Duration;
use ours::Ours;
use peer::{Peer, SUBJECT};
use sim::script::settings::PREFIX_LEN;
use sim::script::{Script, SubjectKind, run};

/// Scripts that wait longer than this are played on virtual time only.
const WAITS_MAX: Duration = Duration::from_millis(2_500);
/// A script that fails is played again: a machine that stood still for a while is no bug.
const ATTEMPTS: usize = 3;

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
    /// Not for this subject.
    others: usize,
    repeated: usize,
    failures: Vec<String>,
}

#[test]
fn every_script_in_real_time() -> Result<()> {
    let scripts = scripts()?;
    let mut failures = Vec::new();
    for kind in [SubjectKind::Stack, SubjectKind::Firmware, SubjectKind::Linux] {
        if std::env::var("SUBJECT").is_ok_and(|wanted| wanted != kind.name()) {
            continue;
        }
        let begin = Instant::now();
        let lab = Lab::new()?;
        let peer = Peer::new(&lab)?;
        let score = lab.within(Side::Server, || match kind {
            SubjectKind::Stack | SubjectKind::Firmware => play_ours(kind, &scripts, peer),
            SubjectKind::Linux => play_linux(&lab, &scripts, peer),
        })?;
        println!(
            "{}: {} played in {:.1} s ({} again), {} for other subjects, {} wait too long for real time: {}",
            kind.name(),
            score.played,
            begin.elapsed().as_secs_f64(),
            score.repeated,
            score.others,
            score.too_long.len(),
            score.too_long.join(" "),
        );
        failures.extend(score.failures);
    }
    ensure!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    Ok(())
}

fn play_ours(kind: SubjectKind, scripts: &[Named], mut peer: Peer) -> Result<Score> {
    let eal = Eal::init(&EalConfig { memory_mb: 128, ..EalConfig::default() })?;
    let config = OpenConfig { frames: 4095, ..OpenConfig::default() };
    let mut device: DevicePort = Device::Packet(SERVER_INTERFACE.to_owned()).open(eal, &config)?;
    Ok(play(kind, scripts, |script| run(script, &mut Ours::new(kind, script, &mut device, peer.converse())?)))
}

fn play_linux(lab: &Lab, scripts: &[Named], mut peer: Peer) -> Result<Score> {
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
    Ok(play(SubjectKind::Linux, scripts, |script| run(script, &mut Linux::new(script, peer.converse())?)))
}

fn play(kind: SubjectKind, scripts: &[Named], mut once: impl FnMut(&Script) -> Result<(), String>) -> Score {
    let mut score = Score::default();
    for Named { name, script } in scripts {
        if !script.subjects.contains(&kind) {
            score.others += 1;
            continue;
        }
        if script.real_time() > WAITS_MAX {
            score.too_long.push(name.clone());
            continue;
        }
        score.played += 1;
        for attempt in 1..=ATTEMPTS {
            let Err(error) = once(script) else { break };
            if attempt < ATTEMPTS {
                score.repeated += 1;
            } else {
                score.failures.push(format!("{name} on {}: {error}", kind.name()));
            }
        }
    }
    score
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
