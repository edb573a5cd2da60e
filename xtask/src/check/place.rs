//! Where citations stand: a file and the item in it. Lines are left out, so that the documents
//! change only when something moves to another place.

use super::citation::{self, Citation};
use super::{File, rust};

/// What a place is to a requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Keeps the rule.
    Code,
    /// Fails when the rule is broken.
    Test,
    /// Cites rightly or wrongly, but is neither the product nor a test of it.
    Other,
}

/// A citation and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Cited {
    pub(crate) citation: Citation,
    pub(crate) role: Role,
    /// The path, and behind a space the item.
    pub(crate) place: String,
    /// With its line, for messages.
    pub(crate) exact: String,
}

/// Folders whose sources are the product's TCP/IP.
const CODE: [&str; 6] =
    ["protocol/src/", "netcore/src/", "nicfw/src/", "stack/src/", "dpdk/src/", "server/src/"];

/// The citations of a file, and what looks like one and is none, each with its place.
pub(crate) fn citations(file: &File) -> (Vec<Cited>, Vec<String>) {
    if file.path.ends_with(".rs") {
        in_rust(file)
    } else if file.path.ends_with(".pkt") {
        in_script(file)
    } else {
        (Vec::new(), Vec::new())
    }
}

fn in_rust(file: &File) -> (Vec<Cited>, Vec<String>) {
    let parsed = rust::parse(&file.text);
    let (mut cited, mut problems) = (Vec::new(), Vec::new());
    let test_file = file.path.split('/').any(|part| matches!(part, "tests" | "fuzz"))
        || file.path.ends_with("tests.rs")
        || file.path.starts_with("e2e/");
    for comment in &parsed.comments {
        let (found, wrong) = citation::find(&comment.text);
        if found.is_empty() && wrong.is_empty() {
            continue;
        }
        let (item, in_test) = parsed.owner(comment);
        let role = if test_file || in_test {
            Role::Test
        } else if CODE.iter().any(|folder| file.path.starts_with(folder)) {
            Role::Code
        } else {
            Role::Other
        };
        let line = |at: usize| comment.lines.iter().rev().find(|(start, _)| *start <= at).map_or(0, |l| l.1);
        let place = item.map_or_else(|| file.path.clone(), |item| format!("{} {item}", file.path));
        problems.extend(wrong.into_iter().map(|(at, why)| format!("{}:{}: {why}", file.path, line(at))));
        cited.extend(found.into_iter().map(|citation| Cited {
            exact: format!("{}:{}", file.path, line(citation.at)),
            role,
            place: place.clone(),
            citation,
        }));
    }
    (cited, problems)
}

/// The comments of a packet script; it has no parts with names.
fn in_script(file: &File) -> (Vec<Cited>, Vec<String>) {
    let mut text = String::new();
    let mut lines = Vec::new();
    for (number, line) in file.text.lines().enumerate() {
        let Some(comment) = line.trim_start().strip_prefix('#') else {
            // What stands apart is read apart.
            text.push('\n');
            continue;
        };
        if !text.is_empty() {
            text.push(' ');
        }
        lines.push((text.len(), number + 1));
        text.push_str(comment.trim());
    }
    let line = |at: usize| lines.iter().rev().find(|(start, _)| *start <= at).map_or(0, |line| line.1);
    let (found, wrong) = citation::find(&text);
    let problems = wrong.into_iter().map(|(at, why)| format!("{}:{}: {why}", file.path, line(at))).collect();
    let cited = found.into_iter().map(|citation| Cited {
        exact: format!("{}:{}", file.path, line(citation.at)),
        role: Role::Test,
        place: file.path.clone(),
        citation,
    });
    (cited.collect(), problems)
}
