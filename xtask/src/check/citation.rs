//! Citations inside the text of a comment.

/// What a comment cites in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Citation {
    /// Number of the RFC.
    pub(crate) rfc: u32,
    /// Sections, each with the requirements that were named behind it; none when the RFC is
    /// mentioned as a whole.
    pub(crate) sections: Vec<(String, Vec<String>)>,
    /// Where it begins in the text.
    pub(crate) at: usize,
}

/// What is wrong, and where it begins.
pub(crate) type Wrong = (usize, String);

/// The words that begin a requirement's number.
const KINDS: [&str; 4] = ["MUST", "SHLD", "MAY", "REC"];

/// Finds all citations of a comment, and everything that looks like one and is none.
pub(crate) fn find(text: &str) -> (Vec<Citation>, Vec<Wrong>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let word_begins = text[..at].chars().next_back().is_none_or(|c| !c.is_alphanumeric());
        if word_begins && let Some(number) = rest.strip_prefix("RFC").and_then(number_behind) {
            let (rfc, len) = number;
            let begin = at;
            at += 3 + len;
            let mut sections = Vec::new();
            match sections_behind(&text[at..], &mut sections) {
                Ok(len) => {
                    at += len;
                    found.push(Citation { rfc, sections, at: begin });
                }
                Err(why) => wrong.push((begin, format!("RFC {rfc}: {why}"))),
            }
            continue;
        }
        if word_begins && let Some(len) = requirement(rest) {
            let id = &rest[..len];
            wrong.push((at, format!("{id} without its RFC and section in front of it")));
            at += len;
            continue;
        }
        if word_begins && let Some(id) = misspelt(rest) {
            wrong.push((at, format!("\"{id}\" is no requirement's number; they look like MUST-36")));
        }
        at += rest.chars().next().map_or(1, char::len_utf8);
    }
    (found, wrong)
}

/// ` 9293`: the number, and how long it is with the space.
fn number_behind(rest: &str) -> Option<(u32, usize)> {
    let digits = rest.strip_prefix(' ').unwrap_or(rest);
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    let number = digits[..len].parse().ok()?;
    Some((number, rest.len() - digits.len() + len))
}

/// The sections behind an RFC's number, each with its requirements; returns their length.
fn sections_behind(rest: &str, into: &mut Vec<(String, Vec<String>)>) -> Result<usize, String> {
    let space = rest.len() - rest.trim_start_matches(' ').len();
    let behind = &rest[space..];
    if !behind.starts_with('§') {
        let first = behind.split([' ', ':', ',', '.']).next().unwrap_or_default();
        let is_section = first.starts_with(|c: char| c.is_ascii_digit())
            || ["section", "Section", "sec", "Sec", "sect"].contains(&first);
        if space > 0 && (is_section || requirement(behind).is_some()) {
            return Err(format!("\"{first}\" follows; a section is written as §3.8.6"));
        }
        return Ok(0);
    }
    let mut at = space;
    loop {
        at += '§'.len_utf8();
        let len = rest[at..].bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'.').count();
        let section = rest[at..at + len].trim_end_matches('.');
        if section.is_empty() {
            return Err("§ without a section's number behind it".to_owned());
        }
        at += section.len();
        let mut ids = Vec::new();
        while let Some((id, len)) = next_requirement(&rest[at..], ids.is_empty()) {
            ids.push(id);
            at += len;
        }
        if !ids.is_empty() {
            let next = rest[at..].chars().next();
            let ends = next.is_none_or(|c| [':', ')', '.', ';', ','].contains(&c))
                || [" and RFC", " ("].iter().any(|begin| rest[at..].starts_with(begin));
            if !ends {
                return Err(format!("{} is not followed by a colon and a reason", ids[ids.len() - 1]));
            }
        }
        into.push((section.to_owned(), ids));
        let joined = [", §", " and §", " to §", "; §"].into_iter().find(|join| rest[at..].starts_with(join));
        let Some(join) = joined else { return Ok(at) };
        at += join.len() - '§'.len_utf8();
    }
}

/// The next requirement's number and its length with what stands in front of it.
fn next_requirement(rest: &str, is_first: bool) -> Option<(String, usize)> {
    let gap = if is_first { " " } else { ", " };
    let behind = rest.strip_prefix(gap)?;
    let len = requirement(behind)?;
    Some((behind[..len].to_owned(), gap.len() + len))
}

/// A requirement's number: its length.
fn requirement(rest: &str) -> Option<usize> {
    let kind = KINDS.iter().find(|kind| rest.starts_with(**kind))?;
    let digits = rest[kind.len()..].strip_prefix('-')?;
    let len = digits.bytes().take_while(u8::is_ascii_digit).count();
    (len > 0).then_some(kind.len() + 1 + len)
}

/// What was meant to be a requirement's number.
fn misspelt(rest: &str) -> Option<&str> {
    let kind = KINDS.into_iter().chain(["SHOULD"]).find(|kind| rest.starts_with(kind))?;
    let behind = &rest[kind.len()..];
    let number = behind.strip_prefix(['-', ' ', '_']).unwrap_or(behind);
    let digits = number.bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| &rest[..rest.len() - number.len() + digits])
}
