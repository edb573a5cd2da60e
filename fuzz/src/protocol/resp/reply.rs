//! Replies: what the writer writes, a reader of RESP reads as it was meant, in both versions.

use protocol::resp::Writer;
use protocol::resp::reply::Sink;

use crate::input::Input;
use crate::reader::{self, Value};

struct Bytes(Vec<u8>);

impl Sink for Bytes {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// The input is a list of replies to write.
pub fn run(bytes: &[u8]) {
    for resp3 in [false, true] {
        let mut input = Input::new(bytes);
        let mut writer = Writer { sink: Bytes(Vec::new()), resp3 };
        let mut meant = Vec::new();
        while !input.is_empty() && meant.len() < 60 {
            meant.push(write(&mut writer, &mut input, 0));
        }
        let mut rest = &writer.sink.0[..];
        for value in &meant {
            let (read, behind) = reader::value(rest).expect("a whole reply");
            assert_eq!(&read, value);
            rest = behind;
        }
        assert!(rest.is_empty());
    }
}

fn write(writer: &mut Writer<Bytes>, input: &mut Input<'_>, depth: usize) -> Value {
    let resp3 = writer.resp3;
    let kinds = if depth < 4 { 15 } else { 10 };
    match input.below(kinds) {
        0 => {
            writer.ok();
            Value::Simple(b"OK".to_vec())
        }
        1 => {
            let text: String = input.bytes().iter().map(|byte| char::from(b' ' + byte % 90)).collect();
            writer.simple(&text);
            Value::Simple(text.into_bytes())
        }
        2 => {
            let text = input.bytes();
            writer.error(text);
            let no_ends = text.iter().map(|&byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
            Value::Error(no_ends.collect())
        }
        3 => {
            let value = input.u64() as i64 >> input.below(64);
            writer.integer(value);
            Value::Integer(value)
        }
        4 => {
            let bytes = input.bytes();
            writer.bulk(bytes);
            Value::Bulk(bytes.to_vec())
        }
        5 => {
            let value = input.u64() as i64 >> input.below(64);
            writer.bulk_integer(value);
            Value::Bulk(value.to_string().into_bytes())
        }
        6 => {
            writer.null();
            Value::Null
        }
        7 => {
            writer.null_array();
            Value::Null
        }
        8 => double(writer, f64::from_bits(input.u64())),
        9 => {
            let value = input.flag();
            writer.boolean(value);
            if resp3 { Value::Boolean(value) } else { Value::Integer(i64::from(value)) }
        }
        10 => {
            let text = input.bytes();
            writer.verbatim(b"txt", text);
            if resp3 { Value::Verbatim(text.to_vec()) } else { Value::Bulk(text.to_vec()) }
        }
        kind => {
            let len = input.below(5);
            match kind {
                11 => writer.array(len),
                12 => writer.map(len),
                13 => writer.set(len),
                _ => writer.push(len),
            }
            let count = if kind == 12 { 2 * len } else { len };
            let items = (0..count).map(|_| write(writer, input, depth + 1)).collect();
            match kind {
                12 if resp3 => Value::Map(items),
                13 if resp3 => Value::Set(items),
                14 if resp3 => Value::Push(items),
                _ => Value::Array(items),
            }
        }
    }
}

/// Seventeen digits tell every double from every other.
fn double(writer: &mut Writer<Bytes>, value: f64) -> Value {
    let start = writer.sink.0.len();
    writer.double(value);
    let (read, _) = reader::value(&writer.sink.0[start..]).expect("a whole reply");
    let (Value::Double(text) | Value::Bulk(text)) = &read else { panic!("{read:?}") };
    let text = std::str::from_utf8(text).expect("digits");
    assert!(text.len() <= 24, "{text}");
    let again: f64 = text.parse().expect("a number");
    assert!(again.to_bits() == value.to_bits() || (again.is_nan() && value.is_nan()), "{value} as {text}");
    read
}
