//! Glob patterns against a plain recursive reading of Redis' rules.

use server::glob::matches;

use crate::input::Input;

/// The first byte says whether case counts; then the pattern with its length, and the text.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let ignore_case = input.flag();
    let pattern = input.bytes();
    let text = input.rest();
    let found = matches(pattern, text, ignore_case);
    if pattern.len() <= 14 && text.len() <= 20 {
        let fold = |bytes: &[u8]| match ignore_case {
            true => bytes.to_ascii_lowercase(),
            false => bytes.to_vec(),
        };
        assert_eq!(found, plain(&fold(pattern), &fold(text)), "{pattern:?} {text:?}");
    }
    let literal: Vec<u8> = text.iter().flat_map(|&byte| [b'\\', byte]).collect();
    assert!(matches(&literal, text, ignore_case), "every byte can be escaped");
    assert!(matches(b"*", text, ignore_case));
}

/// Source: <https://redis.io/docs/latest/commands/keys/>, and what Redis does where that is silent:
/// an unfinished class ends with the pattern, and ends of a range may stand in any order.
fn plain(pattern: &[u8], text: &[u8]) -> bool {
    match pattern {
        [] => text.is_empty(),
        [b'*', rest @ ..] => plain(rest, text) || (!text.is_empty() && plain(pattern, &text[1..])),
        _ => {
            let Some((&byte, behind)) = text.split_first() else { return false };
            let (hit, rest) = one(pattern, byte);
            hit && plain(rest, behind)
        }
    }
}

/// Does what the pattern begins with stand for `byte`? And the pattern behind it.
fn one(pattern: &[u8], byte: u8) -> (bool, &[u8]) {
    match pattern {
        [b'?', rest @ ..] => (true, rest),
        [b'\\', escaped, rest @ ..] => (*escaped == byte, rest),
        [b'[', b'^', class @ ..] => {
            let (hit, rest) = in_class(class, byte);
            (!hit, rest)
        }
        [b'[', class @ ..] => in_class(class, byte),
        [plain, rest @ ..] => (*plain == byte, rest),
        [] => (false, &[]),
    }
}

fn in_class(mut class: &[u8], byte: u8) -> (bool, &[u8]) {
    let mut hit = false;
    loop {
        class = match class {
            [] => return (hit, &[]),
            [b'\\', escaped, rest @ ..] => {
                hit |= *escaped == byte;
                rest
            }
            [b']', rest @ ..] => return (hit, rest),
            [low, b'-', high, rest @ ..] => {
                hit |= (*low.min(high)..=*low.max(high)).contains(&byte);
                rest
            }
            [one, rest @ ..] => {
                hit |= *one == byte;
                rest
            }
        }
    }
}
