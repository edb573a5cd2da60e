//! A reader of RESP replies, written apart from the writer in `protocol` so that one checks the
//! other. It takes nothing but whole, well-formed replies.

/// A reply.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of RESP's types")]
pub enum Value {
    Simple(Vec<u8>),
    Error(Vec<u8>),
    Integer(i64),
    Bulk(Vec<u8>),
    Null,
    Double(Vec<u8>),
    Boolean(bool),
    Verbatim(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<Value>),
    Set(Vec<Value>),
    Push(Vec<Value>),
}

/// The reply at the start of `bytes`, and what follows it; `None` when it is not whole or not
/// well formed.
pub fn value(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (kind, text) = bytes[..end].split_first()?;
    let rest = &bytes[end + 2..];
    if text.contains(&b'\r') || text.contains(&b'\n') {
        return None;
    }
    let number = || std::str::from_utf8(text).ok()?.parse::<i64>().ok();
    Some(match kind {
        b'+' => (Value::Simple(text.to_vec()), rest),
        b'-' => (Value::Error(text.to_vec()), rest),
        b':' => (Value::Integer(number()?), rest),
        b',' => (Value::Double(text.to_vec()), rest),
        b'_' if text.is_empty() => (Value::Null, rest),
        b'#' if text == b"t" || text == b"f" => (Value::Boolean(text == b"t"), rest),
        b'$' | b'*' if text == b"-1" => (Value::Null, rest),
        b'$' => {
            let (body, rest) = body(rest, number()?)?;
            (Value::Bulk(body.to_vec()), rest)
        }
        b'=' => {
            let (body, rest) = body(rest, number()?)?;
            (Value::Verbatim(body.strip_prefix(b"txt:").or(body.strip_prefix(b"mkd:"))?.to_vec()), rest)
        }
        b'*' => items(rest, number()?, Value::Array)?,
        b'~' => items(rest, number()?, Value::Set)?,
        b'>' => items(rest, number()?, Value::Push)?,
        b'%' => items(rest, number()?.checked_mul(2)?, Value::Map)?,
        _ => return None,
    })
}

fn body(rest: &[u8], len: i64) -> Option<(&[u8], &[u8])> {
    let (body, rest) = rest.split_at_checked(usize::try_from(len).ok()?)?;
    Some((body, rest.strip_prefix(b"\r\n")?))
}

fn items(mut rest: &[u8], count: i64, make: fn(Vec<Value>) -> Value) -> Option<(Value, &[u8])> {
    let mut items = Vec::new();
    for _ in 0..usize::try_from(count).ok()? {
        let (item, behind) = value(rest)?;
        items.push(item);
        rest = behind;
    }
    Some((make(items), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_whole_replies_and_nothing_else() {
        let nested = b"*2\r\n%1\r\n+a\r\n:-1\r\n$3\r\n\r\nx\r\n#t\r\n";
        let map = Value::Map(vec![Value::Simple(b"a".to_vec()), Value::Integer(-1)]);
        let (read, rest) = value(nested).unwrap();
        assert_eq!(read, Value::Array(vec![map, Value::Bulk(b"\r\nx".to_vec())]));
        assert_eq!(value(rest), Some((Value::Boolean(true), &b""[..])));
        for broken in
            [&b"$3\r\nabcd\r\n"[..], b"*1\r\n", b":x\r\n", b"?\r\n", b"+a", b"$-2\r\n", b"+a\nb\r\n"]
        {
            assert_eq!(value(broken), None);
        }
    }
}
