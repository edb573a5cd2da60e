//! As much of Rust as is needed to say where a comment stands: comments apart from strings, and
//! the items of a file with their extents. Not a parser: what it does not know it passes over.

/// A comment: a run of `//` lines, or a block, without its slashes.
pub(crate) struct Comment {
    /// Where it begins in the file, in bytes.
    pub(crate) at: usize,
    /// Where it ends.
    end: usize,
    /// `//!`: speaks of what surrounds it.
    pub(crate) is_inner: bool,
    pub(crate) text: String,
    /// Where each line begins in `text`, and its number in the file, from 1.
    pub(crate) lines: Vec<(usize, usize)>,
}

/// An item that has a name.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) name: String,
    /// Bytes of the file, attributes left out.
    pub(crate) begin: usize,
    pub(crate) end: usize,
    /// Has items of its own: `mod`, `impl`, `trait`.
    pub(crate) is_container: bool,
    /// Stands under `#[cfg(test)]` itself.
    pub(crate) is_test: bool,
}

/// A file taken apart.
pub(crate) struct Parsed {
    pub(crate) comments: Vec<Comment>,
    /// In the order in which they begin.
    pub(crate) items: Vec<Item>,
    /// The file with comments and the insides of strings blanked; as long as the file.
    code: Vec<u8>,
}

/// Takes a file apart.
pub(crate) fn parse(text: &str) -> Parsed {
    let mut parsed = Parsed { comments: Vec::new(), items: Vec::new(), code: text.as_bytes().to_vec() };
    parsed.blank(text);
    parsed.find_items();
    parsed
}

impl Parsed {
    /// The name of the item that a comment belongs to, `None` for the file itself, and whether
    /// it stands in a test.
    pub(crate) fn owner(&self, comment: &Comment) -> (Option<String>, bool) {
        let around = |item: &&Item| item.begin <= comment.at && comment.at < item.end;
        let outer: Vec<&Item> = self.items.iter().filter(around).collect();
        let mut names: Vec<&str> = outer.iter().map(|item| item.name.as_str()).collect();
        let mut is_test = outer.iter().any(|item| item.is_test);
        if !comment.is_inner && outer.last().is_none_or(|item| item.is_container) {
            let within = outer.last().map_or(self.code.len(), |item| item.end);
            let next = self.items.iter().find(|item| item.begin > comment.at && item.begin < within);
            if let Some(next) = next.filter(|next| self.only_attributes(comment.end, next.begin)) {
                names.push(&next.name);
                is_test |= next.is_test;
            }
        }
        // A function inside a function is known by the outer one; a module says nothing new.
        let names: Vec<&str> = names.into_iter().filter(|name| *name != "tests").take(2).collect();
        ((!names.is_empty()).then(|| names.join("::")), is_test)
    }

    /// Whether there is nothing but attributes and visibility between two places, and no empty
    /// line.
    fn only_attributes(&self, from: usize, to: usize) -> bool {
        let between = String::from_utf8_lossy(&self.code[from..to]);
        let lines: Vec<&str> = between.split('\n').collect();
        let inner = lines.get(1..lines.len().saturating_sub(1)).unwrap_or_default();
        if inner.iter().any(|line| line.trim().is_empty()) {
            return false;
        }
        let mut depth = 0;
        for c in between.chars() {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                '{' | '}' | ';' | ',' if depth == 0 => return false,
                _ => {}
            }
        }
        true
    }

    /// Collects the comments, and blanks them and the insides of strings in `code`.
    fn blank(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut line = 1;
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let len = if rest.starts_with(b"//") {
                let len = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
                self.line_comment(text, at, len, line);
                len
            } else if rest.starts_with(b"/*") {
                text[at..].find("*/").map_or(rest.len(), |len| len + 2)
            } else {
                literal(rest, at.checked_sub(1).map(|before| bytes[before]))
            };
            if len == 0 {
                line += usize::from(bytes[at] == b'\n');
                at += 1;
                continue;
            }
            line += rest[..len].iter().filter(|b| **b == b'\n').count();
            self.code[at..at + len].fill(b' ');
            at += len;
        }
    }

    fn line_comment(&mut self, text: &str, at: usize, len: usize, line: usize) {
        let whole = &text[at..at + len];
        let is_inner = whole.starts_with("//!");
        let body = whole.trim_start_matches('/').trim_start_matches('!').trim();
        let follows = self.comments.last().is_some_and(|last| {
            let last_line = last.lines.last().map_or(0, |(_, line)| *line);
            // Behind code on the same line, a comment stands alone.
            let begins_line = text[..at].rfind('\n').is_none_or(|start| text[start..at].trim().is_empty());
            last.is_inner == is_inner && last_line + 1 == line && begins_line
        });
        if follows && let Some(last) = self.comments.last_mut() {
            last.text.push(' ');
            last.lines.push((last.text.len(), line));
            last.text.push_str(body);
            last.end = at + len;
        } else {
            let (text, lines) = (body.to_owned(), vec![(0, line)]);
            self.comments.push(Comment { at, end: at + len, is_inner, text, lines });
        }
    }

    fn find_items(&mut self) {
        let mut at = 0;
        while let Some((begin, word)) = self.next_word(at) {
            at = begin + word.len();
            let is_container = matches!(word.as_str(), "mod" | "impl" | "trait");
            let named = matches!(
                word.as_str(),
                "fn" | "struct" | "enum" | "union" | "const" | "static" | "type" | "macro_rules"
            );
            if !is_container && !named {
                continue;
            }
            let Some((head_end, end)) = self.extent(at) else { continue };
            let head = String::from_utf8_lossy(&self.code[at..head_end]).into_owned();
            let name = if word == "impl" { implemented(&head) } else { first_name(&head) };
            let Some(name) = name else { continue };
            // `const fn` and `impl Trait` in a signature are no items of their own.
            if ["fn", "unsafe", "extern", "async"].contains(&name.as_str()) || self.inside_signature(begin) {
                continue;
            }
            let is_test = self.has_attribute(begin, "#[cfg(test)]") || self.has_attribute(begin, "#[test]");
            self.items.push(Item { name, begin, end, is_container, is_test });
        }
    }

    /// The next word at or behind `at`.
    fn next_word(&self, mut at: usize) -> Option<(usize, String)> {
        let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        while at < self.code.len() && !is_word(self.code[at]) {
            at += 1;
        }
        let len = self.code.get(at..)?.iter().take_while(|b| is_word(**b)).count();
        (len > 0).then(|| (at, String::from_utf8_lossy(&self.code[at..at + len]).into_owned()))
    }

    /// Where the head of an item ends (its `{` or `;`) and where the item does.
    fn extent(&self, from: usize) -> Option<(usize, usize)> {
        let mut depth = 0_i32;
        for (at, b) in self.code.iter().enumerate().skip(from) {
            match b {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth -= 1,
                b';' if depth == 0 => return Some((at, at + 1)),
                b'{' if depth == 0 => return Some((at, self.closing(at)?)),
                _ => {}
            }
            if depth < 0 {
                return None;
            }
        }
        None
    }

    /// Behind the `}` that belongs to the `{` at `open`.
    fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0_i32;
        for (at, b) in self.code.iter().enumerate().skip(open) {
            depth += i32::from(*b == b'{') - i32::from(*b == b'}');
            if depth == 0 {
                return Some(at + 1);
            }
        }
        None
    }

    /// Whether the word at `at` stands in the head of an item that was found already.
    fn inside_signature(&self, at: usize) -> bool {
        self.items.last().is_some_and(|item| {
            let head = self.extent(item.begin).map_or(item.end, |(head_end, _)| head_end);
            item.begin < at && at < head
        })
    }

    /// Whether this attribute stands in front of the item at `begin`.
    fn has_attribute(&self, begin: usize, attribute: &str) -> bool {
        let before = String::from_utf8_lossy(&self.code[..begin]);
        let start = before.rfind(['{', '}', ';']).map_or(0, |at| at + 1);
        before[start..].contains(attribute)
    }
}

/// How long the string or character literal at the front is; 0 when there is none.
fn literal(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    let raw = rest.strip_prefix(b"b").unwrap_or(rest).strip_prefix(b"r");
    if !in_word && let Some(behind) = raw {
        let hashes = behind.iter().take_while(|b| **b == b'#').count();
        if behind.get(hashes) == Some(&b'"') {
            let end = [&b"\""[..], &behind[..hashes]].concat();
            let body = &behind[hashes + 1..];
            let len = body
                .windows(end.len())
                .position(|window| window == end)
                .map_or(body.len(), |at| at + end.len());
            return rest.len() - body.len() + len;
        }
    }
    match rest[0] {
        b'"' => quoted(rest, b'"'),
        // A character, not a lifetime.
        b'\'' if rest.get(1) == Some(&b'\\') => quoted(rest, b'\''),
        b'\'' => match rest.iter().skip(1).take(5).position(|b| *b == b'\'') {
            Some(len) if len > 0 && !rest[1..=len].iter().any(|b| b.is_ascii_whitespace() && len > 1) => {
                len + 2
            }
            _ => 0,
        },
        _ => 0,
    }
}

fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

/// The first word of an item's head: `parse(bytes: &[u8]) -> …` gives `parse`.
fn first_name(head: &str) -> Option<String> {
    let head = head.trim_start().trim_start_matches('!').trim_start();
    let name: String = head.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The type of an `impl`'s head: `<F: Frame> Trait<F> for a::Type<F> where …` gives `Type`.
fn implemented(head: &str) -> Option<String> {
    let mut depth = 0_i32;
    let mut plain = String::new();
    let mut before = ' ';
    for c in head.chars() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            c if depth == 0 => plain.push(c),
            _ => {}
        }
        before = c;
    }
    let plain = plain.split(" where").next().unwrap_or_default();
    let path = plain.rsplit(" for ").next().unwrap_or_default().trim();
    let name: String = path
        .rsplit("::")
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphanumeric() || *c == '_')
        .collect();
    (!name.is_empty()).then_some(name)
}
