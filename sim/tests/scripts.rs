//! Plays every packet script against each subject that it names.

use std::path::{Path, PathBuf};

use protocol::ip::Version;
use sim::script::virtual_host::VirtualHost;
use sim::script::{Script, SubjectKind, run};

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let files = |folder: PathBuf| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut scripts: Vec<PathBuf> = files(folder)
        .filter(|path| path.is_dir())
        .flat_map(files)
        .filter(|path| path.extension().is_some_and(|extension| extension == "pkt"))
        .collect();
    scripts.sort();
    scripts
}

#[test]
fn every_script_plays() {
    let wanted = std::env::var("SCRIPT").ok();
    let (mut played, mut failures) = (0, Vec::new());
    for path in scripts() {
        let name = format!(
            "{}/{}",
            path.parent().unwrap().file_name().unwrap().display(),
            path.file_stem().unwrap().display()
        );
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted)) {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let script = match Script::parse(&text) {
            Ok(script) => script,
            Err(error) => {
                failures.push(format!("{name}: {error}"));
                continue;
            }
        };
        for &kind in script.subjects.iter().filter(|&&kind| kind != SubjectKind::Linux) {
            for version in [Version::V4, Version::V6].into_iter().filter(|&version| script.is_for(version)) {
                played += 1;
                let host = VirtualHost::new(kind, &script, version);
                if let Err(error) = host.and_then(|mut host| run(&script, &mut host)) {
                    failures.push(format!("{name} on {} over {version:?}: {error}", kind.name()));
                }
            }
        }
    }
    println!("{} scripts, {played} runs, {} failed", scripts().len(), failures.len());
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}
