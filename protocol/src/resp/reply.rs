//! Writes replies, RESP2 or RESP3, into any byte sink.
//!
//! Types that only RESP3 has are written to RESP2 clients in the form that Redis gives them: a
//! map as a flat array, a double as a bulk string, null as `$-1`.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use super::number::{format_f64, format_i64};

/// Takes the bytes of replies.
pub trait Sink {
    /// Appends `bytes`.
    fn put(&mut self, bytes: &[u8]);
}

/// Writes replies of one protocol version.
pub struct Writer<S> {
    /// Where the bytes go.
    pub sink: S,
    /// RESP3 instead of RESP2.
    pub resp3: bool,
}

impl<S: Sink> Writer<S> {
    /// Bytes that are a reply already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.sink.put(bytes);
    }
    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.sink.put(b"+OK\r\n");
    }
    /// A status line; `text` has no line ends.
    pub fn simple(&mut self, text: &str) {
        self.sink.put(b"+");
        self.sink.put(text.as_bytes());
        self.sink.put(b"\r\n");
    }
    /// An error with its code (`ERR …`); line ends in it become blanks.
    pub fn error(&mut self, text: &[u8]) {
        self.sink.put(b"-");
        for piece in text.split_inclusive(|&byte| byte == b'\r' || byte == b'\n') {
            match piece {
                [line @ .., b'\r' | b'\n'] => {
                    self.sink.put(line);
                    self.sink.put(b" ");
                }
                line => self.sink.put(line),
            }
        }
        self.sink.put(b"\r\n");
    }
    /// `:value`.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match value {
            0 => self.sink.put(b":0\r\n"),
            1 => self.sink.put(b":1\r\n"),
            _ => self.header(b':', value),
        }
    }
    /// A string of bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.bulk_header(bytes.len());
        self.sink.put(bytes);
        self.sink.put(b"\r\n");
    }
    /// The line before a string of `len` bytes; the caller writes the bytes and `\r\n`.
    #[inline]
    pub fn bulk_header(&mut self, len: usize) {
        match len {
            0..10 => self.sink.put(&[b'$', b'0' + len as u8, b'\r', b'\n']),
            10..100 => {
                let (tens, ones) = (len as u8 / 10, len as u8 % 10);
                self.sink.put(&[b'$', b'0' + tens, b'0' + ones, b'\r', b'\n']);
            }
            _ => self.header(b'$', len as i64),
        }
    }
    /// A number as a string of bytes.
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(format_i64(value).as_bytes());
    }
    /// Null (`$-1` in RESP2).
    #[inline]
    pub fn null(&mut self) {
        self.sink.put(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }
    /// Null where an array could have been (`*-1` in RESP2).
    pub fn null_array(&mut self) {
        self.sink.put(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }
    /// The head of an array; `len` replies follow.
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }
    /// The head of a map; `len` pairs of replies follow.
    pub fn map(&mut self, len: usize) {
        if self.resp3 { self.header(b'%', len as i64) } else { self.header(b'*', 2 * len as i64) }
    }
    /// The head of a set; `len` replies follow.
    pub fn set(&mut self, len: usize) {
        self.header(if self.resp3 { b'~' } else { b'*' }, len as i64);
    }
    /// The head of a push message; `len` replies follow.
    pub fn push(&mut self, len: usize) {
        self.header(if self.resp3 { b'>' } else { b'*' }, len as i64);
    }
    /// A floating point number.
    pub fn double(&mut self, value: f64) {
        let text = format_f64(value);
        if self.resp3 {
            self.sink.put(b",");
            self.sink.put(text.as_bytes());
            self.sink.put(b"\r\n");
        } else {
            self.bulk(text.as_bytes());
        }
    }
    /// True or false (`:1`, `:0` in RESP2).
    pub fn boolean(&mut self, value: bool) {
        match (self.resp3, value) {
            (true, true) => self.sink.put(b"#t\r\n"),
            (true, false) => self.sink.put(b"#f\r\n"),
            (false, value) => self.integer(i64::from(value)),
        }
    }
    /// Text for people: `format` is `txt` or `mkd`.
    pub fn verbatim(&mut self, format: &[u8; 3], text: &[u8]) {
        if self.resp3 {
            self.header(b'=', text.len() as i64 + 4);
            self.sink.put(format);
            self.sink.put(b":");
            self.sink.put(text);
            self.sink.put(b"\r\n");
        } else {
            self.bulk(text);
        }
    }

    fn header(&mut self, kind: u8, value: i64) {
        let digits = format_i64(value);
        let digits = digits.as_bytes();
        let mut line = [0u8; 24];
        line[0] = kind;
        line[1..=digits.len()].copy_from_slice(digits);
        line[digits.len() + 1] = b'\r';
        line[digits.len() + 2] = b'\n';
        self.sink.put(&line[..digits.len() + 3]);
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    impl Sink for Vec<u8> {
        fn put(&mut self, bytes: &[u8]) {
            self.extend_from_slice(bytes);
        }
    }

    fn written(resp3: bool, write: impl Fn(&mut Writer<Vec<u8>>)) -> Vec<u8> {
        let mut writer = Writer { sink: Vec::new(), resp3 };
        write(&mut writer);
        writer.sink
    }

    #[test]
    fn both_versions() {
        let cases: [(fn(&mut Writer<Vec<u8>>), &[u8], &[u8]); 9] = [
            (|w| w.null(), b"$-1\r\n", b"_\r\n"),
            (|w| w.null_array(), b"*-1\r\n", b"_\r\n"),
            (|w| w.map(2), b"*4\r\n", b"%2\r\n"),
            (|w| w.set(3), b"*3\r\n", b"~3\r\n"),
            (|w| w.push(3), b"*3\r\n", b">3\r\n"),
            (|w| w.double(1.5), b"$3\r\n1.5\r\n", b",1.5\r\n"),
            (|w| w.boolean(true), b":1\r\n", b"#t\r\n"),
            (|w| w.verbatim(b"txt", b"hi"), b"$2\r\nhi\r\n", b"=6\r\ntxt:hi\r\n"),
            (|w| w.error(b"ERR a\r\nb"), b"-ERR a  b\r\n", b"-ERR a  b\r\n"),
        ];
        for (write, resp2, resp3) in cases {
            assert_eq!(written(false, write), resp2);
            assert_eq!(written(true, write), resp3);
        }
        assert_eq!(written(false, |w| w.bulk(&[b'x'; 12])), b"$12\r\nxxxxxxxxxxxx\r\n");
        assert_eq!(written(false, |w| w.integer(i64::MIN)), b":-9223372036854775808\r\n");
    }
}
