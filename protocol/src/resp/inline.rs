//! The typed form of a request: words on a line, with Redis's quoting.
//!
//! Double quotes know `\n \r \t \b \a \xHH` and any other escaped byte as itself; single quotes
//! know only `\'`. A closing quote must be followed by a blank or the end.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/#inline-commands>

use super::request::ProtocolError;

/// Receives the words of a line, byte by byte.
pub trait WordSink {
    /// The next byte of the current word.
    fn byte(&mut self, byte: u8);
    /// The current word is complete (it may be empty: `""`).
    fn end_word(&mut self);
}

/// The words of `line`, in whatever holds words and their bytes, such as a `Vec<Vec<u8>>`.
///
/// # Errors
/// As [`split`].
pub fn words<W>(line: &[u8]) -> Result<W, ProtocolError>
where
    W: Default + IntoIterator<Item: Default + Extend<u8>> + Extend<W::Item>,
{
    let mut words = Words { done: W::default(), current: None };
    split(line, &mut words)?;
    debug_assert!(words.current.is_none(), "a word without an end");
    Ok(words.done)
}

struct Words<W: IntoIterator> {
    done: W,
    current: Option<W::Item>,
}

impl<W: IntoIterator<Item: Default + Extend<u8>> + Extend<W::Item>> WordSink for Words<W> {
    fn byte(&mut self, byte: u8) {
        self.current.get_or_insert_default().extend([byte]);
    }
    fn end_word(&mut self) {
        self.done.extend([self.current.take().unwrap_or_default()]);
    }
}

/// Splits `line` into words.
///
/// # Errors
/// `UnbalancedQuotes`: a quote does not close, or something follows it directly.
pub fn split(line: &[u8], sink: &mut impl WordSink) -> Result<(), ProtocolError> {
    let mut rest = line;
    loop {
        while let [first, tail @ ..] = rest
            && is_blank(*first)
        {
            rest = tail;
        }
        if rest.is_empty() || rest[0] == 0 {
            return Ok(());
        }
        rest = word(rest, sink)?;
        sink.end_word();
    }
}

/// C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | 9..=13)
}

/// One word; what follows it.
fn word<'a>(mut rest: &'a [u8], sink: &mut impl WordSink) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] | [0, ..] => return Ok(&[]),
            [first, tail @ ..] if is_blank(*first) => return Ok(tail),
            [b'"', tail @ ..] => return closed(double_quoted(tail, sink)?),
            [b'\'', tail @ ..] => return closed(single_quoted(tail, sink)?),
            [byte, tail @ ..] => {
                sink.byte(*byte);
                tail
            }
        };
    }
}

/// After a closing quote only a blank or the end may come.
fn closed(rest: &[u8]) -> Result<&[u8], ProtocolError> {
    match rest.first() {
        Some(&byte) if !is_blank(byte) && byte != 0 => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(rest),
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], sink: &mut impl WordSink) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', tail @ ..] => return Ok(tail),
            [b'\\', b'x', high, low, tail @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                sink.byte(hex(*high) << 4 | hex(*low));
                tail
            }
            [b'\\', escaped, tail @ ..] => {
                sink.byte(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => *other,
                });
                tail
            }
            [byte, tail @ ..] => {
                sink.byte(*byte);
                tail
            }
        };
    }
}

fn single_quoted<'a>(mut rest: &'a [u8], sink: &mut impl WordSink) -> Result<&'a [u8], ProtocolError> {
    loop {
        rest = match rest {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', tail @ ..] => return Ok(tail),
            [b'\\', b'\'', tail @ ..] => {
                sink.byte(b'\'');
                tail
            }
            [byte, tail @ ..] => {
                sink.byte(*byte);
                tail
            }
        };
    }
}

fn hex(digit: u8) -> u8 {
    (digit as char).to_digit(16).unwrap_or(0) as u8
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    fn words(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
        super::words(line)
    }

    #[test]
    fn quoting() {
        assert_eq!(words(b"  set  a\tb ").unwrap(), [b"set".to_vec(), b"a".to_vec(), b"b".to_vec()]);
        assert_eq!(words(br#"a"b c"'d'"#), Err(ProtocolError::UnbalancedQuotes));
        assert_eq!(
            words(br#"a "\x41\n\q" 'it\'s' """#).unwrap(),
            [b"a".to_vec(), b"A\nq".to_vec(), b"it's".to_vec(), b"".to_vec()]
        );
        assert_eq!(words(br#""open"#), Err(ProtocolError::UnbalancedQuotes));
        assert_eq!(words(b"'open"), Err(ProtocolError::UnbalancedQuotes));
        assert_eq!(words(b"   ").unwrap(), Vec::<Vec<u8>>::new());
    }
}
