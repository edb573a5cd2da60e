//! Requests: what is found must not depend on how the bytes arrive, and must be what a plain
//! reading of the whole finds.

use protocol::resp::number::parse_i64;
use protocol::resp::request::{ArgSink, BULK_LEN_MAX_UNAUTHENTICATED};
use protocol::resp::{ArgRange, Limits, ParseState, Parsed, ProtocolError};

use crate::input::Input;

/// What was found, in order; it ends with an error or where bytes are missing.
#[derive(Debug, Default, PartialEq, Eq)]
struct Found {
    requests: Vec<Request>,
    error: Option<ProtocolError>,
}

#[derive(Debug, PartialEq, Eq)]
enum Request {
    Arguments(Vec<Vec<u8>>),
    Line(Vec<u8>),
}

#[derive(Default)]
struct Ranges(Vec<ArgRange>);

impl ArgSink for Ranges {
    fn push(&mut self, range: ArgRange) {
        self.0.push(range);
    }
}

/// The first bytes choose limits and how the stream is cut; the rest is the stream.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let limits = Limits { bulk_len_max: input.pick(&[512 << 20, 100, 0]), unauthenticated: input.flag() };
    let cuts = input.take(6);
    let stream = input.rest();
    let whole = fed(stream, &limits, |_| usize::MAX);
    let mut at = 0;
    let cut = fed(stream, &limits, |_| {
        at += 1;
        1 + usize::from(*cuts.get(at % cuts.len().max(1)).unwrap_or(&0))
    });
    assert_eq!(whole, cut);
    assert_eq!(whole, fed(stream, &limits, |need| need), "exactly what it asks for");
    assert_eq!(whole, plain(stream, &limits));
}

/// Feeds the stream in pieces, whose lengths `step` gives for what the parser needs, as a
/// session does.
fn fed(stream: &[u8], limits: &Limits, mut step: impl FnMut(usize) -> usize) -> Found {
    let mut found = Found::default();
    let mut state = ParseState::default();
    let mut args = Ranges::default();
    let (mut start, mut shown, mut need) = (0, 0, 1);
    loop {
        let before = shown;
        shown = step(need).saturating_add(shown).min(stream.len());
        loop {
            let buffer = &stream[start..shown];
            match state.parse(buffer, limits, &mut args) {
                Ok(Parsed::Incomplete { need: more }) => {
                    assert!(more >= 1);
                    need = more;
                    break;
                }
                Ok(Parsed::Request { len }) => {
                    assert!(len <= buffer.len() && !state.in_progress());
                    let args = std::mem::take(&mut args.0);
                    if !args.is_empty() {
                        let bytes =
                            |range: &ArgRange| buffer[range.start as usize..range.end as usize].to_vec();
                        found.requests.push(Request::Arguments(args.iter().map(bytes).collect()));
                    }
                    start += len;
                }
                Ok(Parsed::Inline { len, line }) => {
                    assert!(line < len && len <= buffer.len());
                    found.requests.push(Request::Line(buffer[..line].to_vec()));
                    start += len;
                }
                Err(error) => {
                    found.error = Some(error);
                    return found;
                }
            }
            if start == shown {
                need = 1;
                break;
            }
        }
        if shown == stream.len() || shown == before {
            return found;
        }
    }
}

/// The same by a plain reading of the whole stream.
fn plain(mut stream: &[u8], limits: &Limits) -> Found {
    let mut found = Found::default();
    while let Some(first) = stream.first() {
        let result = if *first == b'*' { array(stream, limits) } else { Ok(line(stream)) };
        match result {
            Ok(Some((request, len))) => {
                if request != Request::Arguments(Vec::new()) {
                    found.requests.push(request);
                }
                stream = &stream[len..];
            }
            Ok(None) => break,
            Err(error) => {
                found.error = Some(error);
                break;
            }
        }
    }
    found
}

fn line(stream: &[u8]) -> Option<(Request, usize)> {
    let end = stream.iter().position(|&byte| byte == b'\n')?;
    let line = stream[..end].strip_suffix(b"\r").unwrap_or(&stream[..end]);
    Some((Request::Line(line.to_vec()), end + 1))
}

/// The line from `at` to a CR and the byte behind it, and where the next one begins.
fn cr_line(stream: &[u8], at: usize) -> Option<(&[u8], usize)> {
    let end = at + stream.get(at..)?.iter().position(|&byte| byte == b'\r')?;
    (end + 2 <= stream.len()).then(|| (&stream[at..end], end + 2))
}

fn array(stream: &[u8], limits: &Limits) -> Result<Option<(Request, usize)>, ProtocolError> {
    let Some((head, mut at)) = cr_line(stream, 0) else { return Ok(None) };
    let count = parse_i64(&head[1..]).filter(|count| *count <= i64::from(i32::MAX));
    let count = count.ok_or(ProtocolError::MultibulkLength)?;
    if limits.unauthenticated && count > 10 {
        return Err(ProtocolError::UnauthenticatedMultibulkLength);
    }
    let mut args = Vec::new();
    for _ in 0..count.max(0) {
        let Some((head, next)) = cr_line(stream, at) else { return Ok(None) };
        // An empty line has no first byte but the CR itself.
        let kind = *head.first().unwrap_or(&b'\r');
        if kind != b'$' {
            return Err(ProtocolError::ExpectedDollar(kind));
        }
        let len = parse_i64(&head[1..]).filter(|len| (0..=limits.bulk_len_max).contains(len));
        let len = len.ok_or(ProtocolError::BulkLength)?;
        if limits.unauthenticated && len > BULK_LEN_MAX_UNAUTHENTICATED {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        let end = next + len as usize;
        if end + 2 > stream.len() {
            return Ok(None);
        }
        args.push(stream[next..end].to_vec());
        at = end + 2;
    }
    Ok(Some((Request::Arguments(args), at)))
}
