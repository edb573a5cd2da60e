//! Finds one request after another in the bytes of a connection, in place.
//!
//! The parser remembers how far it has come ([`ParseState`]), so that a request that arrives in
//! many pieces is looked at once: the work is linear in its length. Arguments are handed out as
//! ranges relative to the start of the request.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

use super::number::parse_i64;

/// An argument's bytes: offsets from the start of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArgRange {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// Where the parser puts the arguments it finds.
pub trait ArgSink {
    /// The next argument lies at `range`.
    fn push(&mut self, range: ArgRange);
}

/// What a request may be at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest argument in bytes (`proto-max-bulk-len`).
    pub bulk_len_max: i64,
    /// The client has not authenticated yet and gets the small limits.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bulk_len_max: 512 * 1024 * 1024, unauthenticated: false }
    }
}

/// Longest line (inline request, argument count, argument length) in bytes.
pub const LINE_LEN_MAX: usize = 64 * 1024;
/// Most arguments of a request.
pub const ARGS_MAX: i64 = i32::MAX as i64;
/// Most arguments before authentication.
pub const ARGS_MAX_UNAUTHENTICATED: i64 = 10;
/// Longest argument before authentication, in bytes.
pub const BULK_LEN_MAX_UNAUTHENTICATED: i64 = 16384;

/// How far the current request has been parsed. `Default` is the start of a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct ParseState {
    /// Offset of the next byte to look at, from the start of the request.
    position: usize,
    /// For a line without an end so far: how far it has been searched.
    searched: usize,
    /// Arguments still to come; 0 before the count has been read.
    args_left: i64,
    /// Length of the argument whose bytes come next.
    bulk_len: Option<usize>,
}

/// What was found at the start of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request of `len` bytes; its arguments are in the sink (none: an empty request,
    /// to be skipped).
    Request {
        /// Bytes to consume.
        len: usize,
    },
    /// A whole inline request: `line` is without its line end, to be split by
    /// [`super::inline::split`].
    Inline {
        /// Bytes to consume.
        len: usize,
        /// The line's bytes are `0..line`.
        line: usize,
    },
    /// More bytes are needed before anything can be done.
    Incomplete {
        /// At least this many more.
        need: usize,
    },
}

/// A request that breaks the protocol. `Display` gives Redis's own text, without the leading
/// `ERR `; the connection is closed after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    /// The number after `*` is not one or is too large.
    MultibulkLength,
    /// The number after `$` is not one, is negative or too large.
    BulkLength,
    /// Something else than `$` where an argument should begin.
    ExpectedDollar(u8),
    /// An inline request without a line end within [`LINE_LEN_MAX`].
    InlineTooLong,
    /// An inline request whose quotes do not close.
    UnbalancedQuotes,
    /// The line after `*` does not end.
    MultibulkLineTooLong,
    /// The line after `$` does not end.
    BulkLineTooLong,
    /// Too many arguments for a client that has not authenticated.
    UnauthenticatedMultibulkLength,
    /// Too long an argument for a client that has not authenticated.
    UnauthenticatedBulkLength,
}

impl core::fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let text = match self {
            Self::MultibulkLength => "invalid multibulk length",
            Self::BulkLength => "invalid bulk length",
            Self::ExpectedDollar(got) => {
                return write!(f, "Protocol error: expected '$', got '{}'", *got as char);
            }
            Self::InlineTooLong => "too big inline request",
            Self::UnbalancedQuotes => "unbalanced quotes in request",
            Self::MultibulkLineTooLong => "too big mbulk count string",
            Self::BulkLineTooLong => "too big bulk count string",
            Self::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            Self::UnauthenticatedBulkLength => "unauthenticated bulk length",
        };
        write!(f, "Protocol error: {text}")
    }
}

impl ParseState {
    /// Goes on with the request at the start of `buffer`.
    ///
    /// `buffer`: all bytes received since the start of this request, at least those shown
    /// before. `args`: emptied by the caller before a request's first call, and kept between
    /// calls. After `Request` or `Inline` the state is ready for the next request.
    ///
    /// # Errors
    /// The ways in which a request can be wrong, see [`ProtocolError`].
    #[inline]
    pub fn parse(
        &mut self,
        buffer: &[u8],
        limits: &Limits,
        args: &mut impl ArgSink,
    ) -> Result<Parsed, ProtocolError> {
        if self.position == 0 {
            match buffer.first() {
                None => return Ok(Parsed::Incomplete { need: 1 }),
                Some(b'*') => {}
                Some(_) => return self.inline(buffer),
            }
            match self.count_line(buffer, limits)? {
                None => return Ok(Parsed::Incomplete { need: 1 }),
                Some(count) if count <= 0 => return Ok(self.done()),
                Some(count) => self.args_left = count,
            }
        }
        while self.args_left > 0 {
            let len = match self.bulk_len {
                Some(len) => len,
                None => match self.bulk_line(buffer, limits)? {
                    None => return Ok(Parsed::Incomplete { need: 1 }),
                    Some(len) => len,
                },
            };
            let end = self.position + len;
            if buffer.len() < end + 2 {
                self.bulk_len = Some(len);
                return Ok(Parsed::Incomplete { need: end + 2 - buffer.len() });
            }
            args.push(ArgRange { start: self.position as u32, end: end as u32 });
            self.bulk_len = None;
            self.position = end + 2;
            self.searched = self.position;
            self.args_left -= 1;
        }
        Ok(self.done())
    }

    /// True when part of a request has been seen and more is needed.
    pub fn in_progress(&self) -> bool {
        self.position > 0 || self.searched > 0
    }

    fn done(&mut self) -> Parsed {
        let len = self.position;
        *self = Self::default();
        Parsed::Request { len }
    }

    /// The line `*<count>\r\n` at the start.
    #[inline]
    fn count_line(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<i64>, ProtocolError> {
        // The usual case: one digit.
        let count = if let [b'*', digit @ b'1'..=b'9', b'\r', _, ..] = *buffer {
            self.position = 4;
            i64::from(digit - b'0')
        } else {
            let Some((digits, next)) = self.line(buffer, ProtocolError::MultibulkLineTooLong)? else {
                return Ok(None);
            };
            self.position = next;
            parse_i64(digits).filter(|&n| n <= ARGS_MAX).ok_or(ProtocolError::MultibulkLength)?
        };
        if limits.unauthenticated && count > ARGS_MAX_UNAUTHENTICATED {
            return Err(ProtocolError::UnauthenticatedMultibulkLength);
        }
        self.searched = self.position;
        Ok(Some(count))
    }

    /// The line `$<length>\r\n` before an argument.
    #[inline]
    fn bulk_line(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let len = match *buffer.get(self.position..).unwrap_or(&[]) {
            [b'$', digit @ b'0'..=b'9', b'\r', _, ..] => {
                self.position += 4;
                i64::from(digit - b'0')
            }
            [b'$', tens @ b'1'..=b'9', ones @ b'0'..=b'9', b'\r', _, ..] => {
                self.position += 5;
                i64::from(tens - b'0') * 10 + i64::from(ones - b'0')
            }
            _ => return self.bulk_line_slow(buffer, limits),
        };
        self.check_bulk_len(len, limits)
    }

    fn bulk_line_slow(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        let Some((digits, next)) = self.line(buffer, ProtocolError::BulkLineTooLong)? else {
            return Ok(None);
        };
        match buffer[self.position] {
            b'$' => {}
            other => return Err(ProtocolError::ExpectedDollar(other)),
        }
        self.position = next;
        let len = parse_i64(digits).ok_or(ProtocolError::BulkLength)?;
        self.check_bulk_len(len, limits)
    }

    #[inline]
    fn check_bulk_len(&mut self, len: i64, limits: &Limits) -> Result<Option<usize>, ProtocolError> {
        if len < 0 || len > limits.bulk_len_max {
            return Err(ProtocolError::BulkLength);
        }
        if limits.unauthenticated && len > BULK_LEN_MAX_UNAUTHENTICATED {
            return Err(ProtocolError::UnauthenticatedBulkLength);
        }
        self.searched = self.position;
        Ok(Some(len as usize))
    }

    /// The line at `position`: what follows its first byte, and where the next line starts.
    fn line<'a>(
        &mut self,
        buffer: &'a [u8],
        too_long: ProtocolError,
    ) -> Result<Option<(&'a [u8], usize)>, ProtocolError> {
        let from = self.searched.max(self.position);
        let Some(at) = buffer[from..].iter().position(|&byte| byte == b'\r') else {
            if buffer.len() - self.position > LINE_LEN_MAX {
                return Err(too_long);
            }
            self.searched = buffer.len();
            return Ok(None);
        };
        let end = from + at;
        if end + 2 > buffer.len() {
            self.searched = end;
            return Ok(None);
        }
        let start = (self.position + 1).min(end);
        Ok(Some((&buffer[start..end], end + 2)))
    }

    #[cold]
    fn inline(&mut self, buffer: &[u8]) -> Result<Parsed, ProtocolError> {
        let Some(at) = buffer[self.searched..].iter().position(|&byte| byte == b'\n') else {
            if buffer.len() > LINE_LEN_MAX {
                return Err(ProtocolError::InlineTooLong);
            }
            self.searched = buffer.len();
            return Ok(Parsed::Incomplete { need: 1 });
        };
        let end = self.searched + at;
        *self = Self::default();
        let line = if end > 0 && buffer[end - 1] == b'\r' { end - 1 } else { end };
        Ok(Parsed::Inline { len: end + 1, line })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
