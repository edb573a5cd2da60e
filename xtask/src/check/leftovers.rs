//! What was left lying about.

use super::File;

/// Words that nothing in the tree may hold, and why.
const WORDS: [(&str, &str); 4] = [
    (concat!("TO", "DO"), "half-done"),
    (concat!("FIX", "ME"), "half-done"),
    (concat!("XX", "X:"), "half-done"),
    (concat!("dbg", "!("), "left over from a hunt"),
];

/// Every leftover, a line each.
pub(crate) fn find(files: &[File]) -> Vec<String> {
    files.iter().flat_map(in_file).collect()
}

fn in_file(file: &File) -> Vec<String> {
    let mut found = Vec::new();
    // Data of tests says what it says; C is indented as the kernel's is.
    let is_data = file.path.ends_with(".cmds") || file.path.contains("/corpus/");
    let tabs_indent = [".c", ".h"].iter().any(|ending| file.path.ends_with(ending));
    for (number, line) in file.text.lines().enumerate() {
        let mut report = |what: &str| found.push(format!("{}:{}: {what}", file.path, number + 1));
        if is_data {
            continue;
        }
        for (word, why) in WORDS {
            if line.contains(word) {
                report(&format!("{word} ({why})"));
            }
        }
        let body = if tabs_indent { line.trim_start_matches('\t') } else { line };
        if body.contains('\t') {
            report("a tab");
        }
        if line.ends_with([' ', '\t']) {
            report("a space at the end of the line");
        }
    }
    found
}
