//! Whether rules and citations fit together.

use super::place::{Cited, Role};
use super::rules::{Requirement, Rules, Standing};

/// Everything that does not fit, a line each.
pub(crate) fn problems(rules: &Rules, cited: &[Cited]) -> Vec<String> {
    let mut problems = twice(rules);
    problems.extend(cited.iter().flat_map(|cited| unknown(rules, cited)));
    for requirement in &rules.requirements {
        let places = |role| requirement_places(cited, &requirement.id, role);
        let (code, tests) = (places(Role::Code), places(Role::Test));
        problems.extend(standing(&requirement.id, &requirement.standing, &code, &tests, true));
    }
    for rfc in &rules.rfcs {
        for section in &rfc.section {
            let places = |role| section_places(cited, rfc.number, &section.number, role);
            let name = format!("RFC {} §{}", rfc.number, section.number);
            let (code, tests) = (places(Role::Code), places(Role::Test));
            problems.extend(standing(&name, &section.standing, &code, &tests, false));
        }
    }
    problems
}

/// The places that cite a requirement, each once, in order.
pub(crate) fn requirement_places<'a>(cited: &'a [Cited], id: &str, role: Role) -> Vec<&'a str> {
    places(cited, role, |cited| {
        cited.citation.rfc == 9293
            && cited.citation.sections.iter().any(|(_, ids)| ids.iter().any(|i| i == id))
    })
}

/// The places that cite a section, each once, in order.
pub(crate) fn section_places<'a>(cited: &'a [Cited], rfc: u32, section: &str, role: Role) -> Vec<&'a str> {
    places(cited, role, |cited| {
        cited.citation.rfc == rfc && cited.citation.sections.iter().any(|(number, _)| number == section)
    })
}

fn places(cited: &[Cited], role: Role, wanted: impl Fn(&Cited) -> bool) -> Vec<&str> {
    let mut places: Vec<&str> = cited
        .iter()
        .filter(|cited| cited.role == role && wanted(cited))
        .map(|cited| cited.place.as_str())
        .collect();
    places.sort_unstable();
    places.dedup();
    places
}

/// A rule needs citations or an excuse, and not both.
fn standing(name: &str, standing: &Standing, code: &[&str], tests: &[&str], tested: bool) -> Vec<String> {
    let mut problems = Vec::new();
    match (standing.excuse(), code, tests) {
        (Some(_), [place, ..], _) => {
            problems.push(format!("{name}: {place} keeps it, but docs/requirements says why it is not kept"));
        }
        (Some(reason), ..) if reason.len() < 10 => {
            problems.push(format!("{name}: \"{reason}\" is no reason"));
        }
        (Some(_), ..) => {}
        (None, [], _) => problems.push(format!("{name}: no code cites it, and no reason says why not")),
        (None, _, []) if tested => {
            problems.push(format!("{name}: no test cites it, and no reason says why not"));
        }
        (None, ..) => {}
    }
    if standing.does_not_apply.is_some() && standing.not_met.is_some() {
        problems.push(format!("{name}: either it does not apply, or it is not met"));
    }
    problems
}

/// Citations of what does not exist, or does not stand where they say.
fn unknown(rules: &Rules, cited: &Cited) -> Vec<String> {
    let mut problems = Vec::new();
    let citation = &cited.citation;
    let at = &cited.exact;
    if citation.rfc != 9293 && !rules.rfcs.iter().any(|rfc| rfc.number == citation.rfc) {
        problems.push(format!("{at}: docs/requirements/rfcs.toml knows no RFC {}", citation.rfc));
    }
    for (section, ids) in &citation.sections {
        for id in ids {
            if citation.rfc != 9293 {
                problems.push(format!("{at}: RFC {} does not number its requirements", citation.rfc));
                continue;
            }
            match rules.requirement(id) {
                None => problems.push(format!("{at}: RFC 9293 has no {id}")),
                Some(requirement) if !stands_in(requirement, section) => {
                    problems
                        .push(format!("{at}: {id} stands in §{}, not in §{section}", requirement.section));
                }
                Some(_) => {}
            }
        }
    }
    problems
}

fn stands_in(requirement: &Requirement, section: &str) -> bool {
    requirement.section == section || requirement.also.as_deref() == Some(section)
}

/// Rules that are listed more than once.
fn twice(rules: &Rules) -> Vec<String> {
    let mut names: Vec<String> =
        rules.requirements.iter().map(|requirement| requirement.id.clone()).collect();
    for rfc in &rules.rfcs {
        names.push(format!("RFC {}", rfc.number));
        names.extend(rfc.section.iter().map(|section| format!("RFC {} §{}", rfc.number, section.number)));
    }
    names.sort_unstable();
    names
        .windows(2)
        .filter(|pair| pair[0] == pair[1])
        .map(|pair| format!("{} is listed twice in docs/requirements", pair[0]))
        .collect()
}
