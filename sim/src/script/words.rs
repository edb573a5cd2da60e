//! The words of a line: numbers, times, texts, ports.

use netcore::Duration;

use super::parse::{DEFAULT_PEER_PORT, When};

/// What is left of a line.
pub(super) struct Words<'a> {
    pub(super) rest: &'a str,
}

impl<'a> Words<'a> {
    pub(super) fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())]
    }
    pub(super) fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.rest = &self.rest.trim_start()[word.len()..];
        word
    }
    pub(super) fn end(&self) -> Result<(), String> {
        if self.rest.trim().is_empty() {
            Ok(())
        } else {
            Err(format!("\"{}\" is too much", self.rest.trim()))
        }
    }
    /// A text in quotes with \r \n \\ \" \xHH.
    pub(super) fn literal(&mut self) -> Result<Vec<u8>, String> {
        let rest = self.rest.trim_start().strip_prefix('"').ok_or("a text in quotes is missing")?;
        let mut bytes = Vec::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(bytes);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('r') => bytes.push(b'\r'),
                    Some('n') => bytes.push(b'\n'),
                    Some(same @ ('\\' | '"')) => bytes.push(same as u8),
                    Some('x') => {
                        let hex = rest.get(at + 2..at + 4).ok_or("two hexadecimal digits are missing")?;
                        bytes.push(u8::from_str_radix(hex, 16).map_err(|_| format!("\\x{hex} is no byte"))?);
                        chars.nth(1);
                    }
                    other => return Err(format!("\\{other:?} is no escape")),
                },
                other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err("the text's closing quote is missing".to_owned())
    }
}

/// `@PEER`: the peer's port, or the usual one.
pub(super) fn peer_port(words: &mut Words<'_>) -> Result<u16, String> {
    match ports(words)? {
        (peer, None) => Ok(peer),
        (_, Some(port)) => Err(format!("only a segment has a port of the subject (:{port})")),
    }
}

/// `@PEER` or `@PEER:SUBJECT`: the ports of both sides.
pub(super) fn ports(words: &mut Words<'_>) -> Result<(u16, Option<u16>), String> {
    let Some(text) = words.peek().strip_prefix('@') else { return Ok((DEFAULT_PEER_PORT, None)) };
    words.next();
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("@{text} is no port"));
    match text.split_once(':') {
        None => Ok((number(text)?, None)),
        Some((peer, subject)) => Ok((number(peer)?, Some(number(subject)?))),
    }
}

/// A number of 32 bits; negative ones count back.
pub(super) fn parse_number(word: &str) -> Result<u32, String> {
    let wide: i64 = word.parse().map_err(|_| format!("\"{word}\" is no number"))?;
    // Negative numbers count back from the initial one.
    if (-(1 << 31)..1 << 32).contains(&wide) { Ok(wide as u32) } else { Err(format!("{word} is too large")) }
}

/// `0.5` or `0.2..0.4`, in seconds.
pub(super) fn parse_when(text: &str) -> Result<When, String> {
    match text.split_once("..") {
        Some((least, most)) => Ok(When { least: parse_seconds(least)?, most: parse_seconds(most)? }),
        None => {
            let exact = parse_seconds(text)?;
            Ok(When { least: exact, most: exact })
        }
    }
}

/// Seconds with up to six decimals; a trailing `s` may stand behind them.
pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| format!("\"{text}\" is no time in seconds"))?;
    if !(0.0..1e9).contains(&seconds) {
        return Err(format!("{text} s is out of range"));
    }
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}
