//! What compilers and lints do not see: that every rule of TCP is cited where it is kept and
//! where it is tested, that the documents generated from these citations are current, and that
//! nothing half-done was left lying about.
//!
//! The rules stand in `docs/requirements/`: RFC 9293's numbered requirements, and the sections
//! of other RFCs that matter here. The citations stand in comments, in one form:
//!
//! ```text
//! // RFC 9293 §3.8.6.1 MUST-36, SHLD-29: why, in a sentence.
//! // RFC 7323 §5.3, §5.5: likewise without numbers.
//! ```

mod citation;
mod document;
mod leftovers;
mod place;
mod rules;
mod rust;
mod verdict;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use place::Cited;
use rules::Rules;

#[derive(Args)]
pub(crate) struct Options {
    /// Writes the generated documents instead of comparing them
    #[arg(long)]
    pub(crate) write: bool,
}

/// A file of the tree.
pub(crate) struct File {
    /// From the workspace's root, with `/`.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// Checks the tree that this program was built from.
///
/// # Errors
/// Whatever is wrong, all of it at once.
pub(crate) fn run(options: &Options) -> Result<()> {
    let root = e2e::programs::workspace();
    let files = files(&root)?;
    let rules = Rules::read(&root)?;
    let mut problems = leftovers::find(&files);
    let mut cited = Vec::new();
    for file in &files {
        let (found, wrong) = place::citations(file);
        cited.extend(found);
        problems.extend(wrong);
    }
    problems.extend(verdict::problems(&rules, &cited));
    for (path, text) in documents(&rules, &cited) {
        let old = std::fs::read_to_string(root.join(path)).unwrap_or_default();
        if options.write {
            std::fs::write(root.join(path), &text).with_context(|| format!("writing {path}"))?;
        } else if old != text {
            problems.push(format!("{path} is not what the tree says: run `cargo xtask check --write`"));
        }
    }
    if !problems.is_empty() {
        bail!("{}\n{} problems", problems.join("\n"), problems.len());
    }
    println!("{}", document::summary(&rules, &cited));
    Ok(())
}

/// The generated documents: path and text.
fn documents(rules: &Rules, cited: &[Cited]) -> [(&'static str, String); 2] {
    [
        ("docs/rfc9293.md", document::requirements(rules, cited)),
        ("docs/rfcs.md", document::sections(rules, cited)),
    ]
}

/// Every text file that belongs to the project, in order of its path.
fn files(root: &Path) -> Result<Vec<File>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("git ls-files")?;
    if !listed.status.success() {
        bail!("git ls-files: {}", String::from_utf8_lossy(&listed.stderr).trim());
    }
    let mut paths: Vec<String> =
        String::from_utf8(listed.stdout)?.split_terminator('\0').map(str::to_owned).collect();
    paths.sort();
    paths.dedup();
    // A path that was deleted but not committed has no text; neither have corpora.
    let text = |path: &String| std::fs::read_to_string(root.join(path)).ok();
    Ok(paths.into_iter().filter_map(|path| text(&path).map(|text| File { path, text })).collect())
}
