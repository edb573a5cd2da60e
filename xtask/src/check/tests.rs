//! The checker, checked: what it has to find it finds.

use super::place::{self, Cited, Role};
use super::rules::Rules;
use super::{File, citation, document, leftovers, verdict};

const REQUIREMENTS: &str = r#"
    [[requirement]]
    id = "MUST-1"
    section = "3.1"
    what = "one"
    [[requirement]]
    id = "MUST-2"
    section = "3.2"
    also = "3.3"
    what = "two"
    [[requirement]]
    id = "MAY-1"
    section = "3.4"
    what = "three"
    does_not_apply = "a reason of some length"
"#;
const RFCS: &str = r#"
    [[rfc]]
    number = 7323
    title = "Timestamps"
    [[rfc.section]]
    number = "5.3"
    what = "PAWS"
"#;
const CODE: &str = "
// RFC 9293 §3.1 MUST-1: because.
fn one() {
    two(\"// RFC 9293 §9 MUST-99: in a string\");
    // RFC 7323 §5.3, RFC 9293 §3.3 MUST-2: because.
}
";
const TESTS: &str = "# RFC 9293 §3.1 MUST-1: so. And RFC 9293 §3.2\n# MUST-2: so.\n";

fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

fn cited(files: &[(&str, &str)]) -> Vec<Cited> {
    files.iter().flat_map(|(path, text)| place::citations(&file(path, text)).0).collect()
}

/// What is said of a tree of one source and one script.
fn problems(code: &str, tests: &str) -> Vec<String> {
    let rules = Rules::parse(REQUIREMENTS, RFCS).unwrap();
    verdict::problems(&rules, &cited(&[("stack/src/a.rs", code), ("sim/scripts/b.pkt", tests)]))
}

fn wrong(text: &str) -> Vec<String> {
    citation::find(text).1.into_iter().map(|(_, why)| why).collect()
}

#[test]
fn a_tree_with_everything_passes() {
    assert_eq!(problems(CODE, TESTS), [""; 0]);
}

#[test]
fn a_missing_number_is_found() {
    let without_one = CODE.replace(" §3.1 MUST-1", "");
    assert_eq!(problems(&without_one, TESTS), ["MUST-1: no code cites it, and no reason says why not"]);
    let without_two = "# RFC 9293 §3.1 MUST-1: so.";
    assert_eq!(problems(CODE, without_two), ["MUST-2: no test cites it, and no reason says why not"]);
    let without_section = CODE.replace("RFC 7323 §5.3, ", "");
    assert_eq!(
        problems(&without_section, TESTS),
        ["RFC 7323 §5.3: no code cites it, and no reason says why not"]
    );
}

#[test]
fn what_does_not_exist_is_found() {
    let say = |more: &str| problems(&format!("{CODE}{more}"), TESTS);
    assert_eq!(say("// RFC 9293 §3.1 MUST-70: no."), ["stack/src/a.rs:7: RFC 9293 has no MUST-70"]);
    assert_eq!(say("// RFC 9293 §3.4 MUST-1: no."), ["stack/src/a.rs:7: MUST-1 stands in §3.1, not in §3.4"]);
    assert_eq!(say("// RFC 1 §2: no."), ["stack/src/a.rs:7: docs/requirements/rfcs.toml knows no RFC 1"]);
    assert_eq!(
        say("// RFC 7323 §5.3 MUST-1: no."),
        ["stack/src/a.rs:7: RFC 7323 does not number its requirements"]
    );
}

#[test]
fn a_reason_and_a_citation_contradict_each_other() {
    let found = problems(&format!("{CODE}// RFC 9293 §3.4 MAY-1: it is."), TESTS);
    assert_eq!(found, ["MAY-1: stack/src/a.rs keeps it, but docs/requirements says why it is not kept"]);
    let rules = Rules::parse(&format!("{REQUIREMENTS}\nnot_met = \"another reason\""), RFCS).unwrap();
    let cited = cited(&[("stack/src/a.rs", CODE), ("sim/scripts/b.pkt", TESTS)]);
    assert_eq!(verdict::problems(&rules, &cited), ["MAY-1: either it does not apply, or it is not met"]);
}

#[test]
fn malformed_citations_are_found() {
    for text in [
        "RFC 9293 3.5: a section without its sign",
        "RFC 9293 section 3.5",
        "RFC 9293 MUST-5: no section",
        "RFC 9293 §: no number",
        "RFC 9293 §3.1 MUST-5 because",
        "as MUST-5 says",
        "RFC 9293 §3.1 MUST 5: a space",
        "RFC 9293 §3.1 MUST5",
        "RFC 9293 §3.1 SHOULD-5: wrong word",
        "RFC 9293 §3.1 MUST-5 and MUST-6: no comma",
    ] {
        assert!(!wrong(text).is_empty(), "{text}");
    }
    for text in [
        "RFC 9293 §3.1 MUST-5: right",
        "(RFC 9293 §3.1 MUST-5, SHLD-6; RFC 826)",
        "RFC 9293 §3.1 MUST-5, §3.2 MUST-64: right",
        "RFC 6298 §5.1 to §5.3, RFC 5681",
        "RFC 793's figure",
        "RFC 9293 asks for it",
        "a client MUST not, MAY-be",
    ] {
        assert_eq!(wrong(text), [""; 0], "{text}");
    }
}

#[test]
fn sections_and_numbers_are_read() {
    let (found, _) = citation::find("x RFC 9293 §3.1 MUST-2, MUST-3, §3.7.1 MAY-3: RFC 6298 §5.1 to §5.3.");
    let section = |number: &str, ids: &[&str]| {
        (number.to_owned(), ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>())
    };
    assert_eq!(found[0].sections, [section("3.1", &["MUST-2", "MUST-3"]), section("3.7.1", &["MAY-3"])]);
    assert_eq!((found[0].rfc, found[0].at), (9293, 2));
    assert_eq!(found[1].sections, [section("5.1", &[]), section("5.3", &[])]);
}

#[test]
fn places_are_named_by_file_and_item() {
    let text = r##"
//! RFC 1: the file.
/// RFC 2
#[derive(Debug)]
pub(crate) struct S<'a> {
    // RFC 3
    a: [u8; 4],
}
impl<F: Fn(u8) -> u8> Trait<F> for a::S<F> where F: Copy {
    /// RFC 4
    #[inline]
    fn f(&self) -> impl Iterator<Item = char> {
        let _ = ('{', '\'', "}", r#"{"#, b'{'); // RFC 5
        fn g() {} // RFC 6
        /* RFC 99 is not read in blocks */
    }
    // RFC 7
}

// RFC 8: stands alone.

#[cfg(test)]
mod tests {
    // RFC 9
    #[test]
    fn t() {}
}
/// RFC 10
const C: u8 = 1;
"##;
    let places: Vec<(u32, Role, String)> = cited(&[("stack/src/a.rs", text)])
        .into_iter()
        .map(|cited| (cited.citation.rfc, cited.role, cited.place.replace("stack/src/a.rs", "")))
        .collect();
    let at = |rfc: u32, role: Role, place: &str| (rfc, role, place.to_owned());
    assert_eq!(
        places,
        [
            at(1, Role::Code, ""),
            at(2, Role::Code, " S"),
            at(3, Role::Code, " S"),
            at(4, Role::Code, " S::f"),
            at(5, Role::Code, " S::f"),
            at(6, Role::Code, " S::f"),
            at(7, Role::Code, " S"),
            at(8, Role::Code, ""),
            at(9, Role::Test, " t"),
            at(10, Role::Code, " C"),
        ]
    );
    for (path, role) in [
        ("stack/src/tests/ip.rs", Role::Test),
        ("e2e/src/lab.rs", Role::Test),
        ("nicfw/src/setup.rs", Role::Code),
        ("loadgen/src/main.rs", Role::Other),
    ] {
        assert_eq!(cited(&[(path, "// RFC 1")])[0].role, role, "{path}");
    }
}

#[test]
fn documents_follow_the_citations_and_not_the_lines() {
    let rules = Rules::parse(REQUIREMENTS, RFCS).unwrap();
    let page = |code: &str| {
        let cited = cited(&[("stack/src/a.rs", code), ("sim/scripts/b.pkt", TESTS)]);
        document::requirements(&rules, &cited) + &document::sections(&rules, &cited)
    };
    let text = page(CODE);
    assert!(text.contains("| MUST-1 | 3.1 | one | stack/src/a.rs `one` | sim/scripts/b.pkt |\n"), "{text}");
    assert!(
        text.contains("| MAY-1 | 3.4 | three | does not apply: a reason of some length |  |\n"),
        "{text}"
    );
    assert!(text.contains("| 5.3 | PAWS | stack/src/a.rs `one` |  |\n"), "{text}");
    assert_eq!(page(&format!("\n\n{CODE}")), text);
    assert_ne!(page(&CODE.replace("fn one", "fn other")), text);
}

#[test]
fn leftovers_are_found() {
    for line in [concat!("// TO", "DO: later"), concat!("FIX", "ME"), concat!("dbg", "!(x)"), "a\tb", "a "] {
        assert_eq!(leftovers::find(&[file("a.rs", &format!("fine\n{line}\n"))]).len(), 1, "{line:?}");
    }
    assert_eq!(leftovers::find(&[file("a.rs", "fine\n"), file("a.c", "\tfine\n")]), [""; 0]);
}

#[test]
fn the_rules_of_this_tree_are_complete() {
    let rules = Rules::read(&e2e::programs::workspace()).unwrap();
    for (kind, last) in [("MUST", 69), ("SHLD", 31), ("MAY", 18), ("REC", 1)] {
        let count = rules.requirements.iter().filter(|rule| rule.id.starts_with(kind)).count();
        assert_eq!(count, last, "{kind}");
        for number in 1..=last {
            assert!(rules.requirement(&format!("{kind}-{number}")).is_some(), "{kind}-{number}");
        }
    }
}
