//! The generated documents.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::place::{Cited, Role};
use super::rules::{Requirement, Rules, Standing};
use super::verdict::{requirement_places, section_places};

/// One line about everything.
pub(crate) fn summary(rules: &Rules, cited: &[Cited]) -> String {
    let [met, not_applicable, not_met] = counts(&rules.requirements);
    format!(
        "RFC 9293: {met} requirements met, {not_applicable} do not apply, {not_met} not met; \
         {} citations of {} RFCs",
        cited.len(),
        cited.iter().map(|cited| cited.citation.rfc).collect::<BTreeSet<_>>().len()
    )
}

/// `docs/rfc9293.md`
pub(crate) fn requirements(rules: &Rules, cited: &[Cited]) -> String {
    let [met, not_applicable, not_met] = counts(&rules.requirements);
    let mut out = format!(
        "# RFC 9293, requirement by requirement\n\n\
         Made by `cargo xtask check --write` from [requirements/rfc9293.toml](requirements/rfc9293.toml) and the\n\
         citations in the tree; do not edit it. `cargo xtask check` fails when a requirement has neither code and\n\
         test nor a reason, and when this page is not what the tree says.\n\n\
         {} requirements: {met} met, {not_applicable} do not apply, {not_met} not met.\n\n\
         | number | § | what it asks for | code | tests |\n|---|---|---|---|---|\n",
        rules.requirements.len()
    );
    for requirement in &rules.requirements {
        let places = |role| requirement_places(cited, &requirement.id, role);
        let what = with_note(&requirement.what, &requirement.standing);
        row(&mut out, &[&requirement.id, &requirement.section, &what], &requirement.standing, &places);
    }
    out
}

/// `docs/rfcs.md`
pub(crate) fn sections(rules: &Rules, cited: &[Cited]) -> String {
    let mut out = String::from(
        "# The other RFCs, section by section\n\n\
         Made by `cargo xtask check --write` from [requirements/rfcs.toml](requirements/rfcs.toml) and the citations\n\
         in the tree; do not edit it. Every section that is described here has to be cited by code, or has a reason\n\
         why not; sections without description are cited somewhere. RFC 9293 has a [page of its own](rfc9293.md).\n",
    );
    for rfc in rules.rfcs.iter().filter(|rfc| rfc.number != 9293) {
        let listed = rfc.section.iter().map(|section| section.number.as_str());
        let product =
            cited.iter().filter(|cited| cited.role != Role::Other && cited.citation.rfc == rfc.number);
        let found = product
            .clone()
            .flat_map(|cited| cited.citation.sections.iter().map(|(number, _)| number.as_str()));
        let names: BTreeSet<&str> = listed.chain(found).collect();
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_by_key(|name| order(name));
        if names.is_empty() && product.clone().next().is_none() {
            continue;
        }
        let _ = write!(
            out,
            "\n## RFC {}: {}\n\n| § | what | code | tests |\n|---|---|---|---|\n",
            rfc.number, rfc.title
        );
        for name in names {
            let section = rfc.section(name);
            let standing = section.map(|section| section.standing.clone()).unwrap_or_default();
            let what = section.map_or(String::new(), |section| with_note(&section.what, &standing));
            row(&mut out, &[name, &what], &standing, &|role| section_places(cited, rfc.number, name, role));
        }
        let whole = |role| {
            let mut places: Vec<&str> = product
                .clone()
                .filter(|cited| cited.role == role && cited.citation.sections.is_empty())
                .map(|cited| cited.place.as_str())
                .collect();
            places.sort_unstable();
            places.dedup();
            places
        };
        if !whole(Role::Code).is_empty() || !whole(Role::Test).is_empty() {
            row(&mut out, &["", "(as a whole)"], &Standing::default(), &whole);
        }
    }
    out
}

/// 3.10.7.4 stands behind 3.9.
fn order(section: &str) -> Vec<u32> {
    section
        .split('.')
        .map(|part| part.parse().unwrap_or_else(|_| part.bytes().next().map_or(0, u32::from) + 1000))
        .collect()
}

fn with_note(what: &str, standing: &Standing) -> String {
    standing.note.as_ref().map_or_else(|| what.to_owned(), |note| format!("{what}. *{note}*"))
}

fn row<'a>(out: &mut String, head: &[&str], standing: &Standing, places: &dyn Fn(Role) -> Vec<&'a str>) {
    for cell in head {
        let _ = write!(out, "| {cell} ");
    }
    let code = match (&standing.does_not_apply, &standing.not_met) {
        (Some(reason), _) => format!("does not apply: {reason}"),
        (None, Some(reason)) => format!("**not met**: {reason}"),
        (None, None) => cell(&places(Role::Code)),
    };
    let _ = writeln!(out, "| {code} | {} |", cell(&places(Role::Test)));
}

fn cell(places: &[&str]) -> String {
    let place = |place: &&str| match place.split_once(' ') {
        Some((file, item)) => format!("{file} `{item}`"),
        None => (*place).to_owned(),
    };
    places.iter().map(place).collect::<Vec<_>>().join("<br>")
}

/// How many are met, do not apply, are not met.
fn counts(requirements: &[Requirement]) -> [usize; 3] {
    let mut counts = [0; 3];
    for Requirement { standing, .. } in requirements {
        let at =
            if standing.does_not_apply.is_some() { 1 } else { 2 * usize::from(standing.not_met.is_some()) };
        counts[at] += 1;
    }
    counts
}
