//! Where a command writes its reply: RESP into the connection's [`Output`].

use core::ops::{Deref, DerefMut};

use protocol::resp::{Sink, Writer};
use stack::Output;

use crate::error::Error;
use crate::keyspace::string::Str;

/// A connection's output as a byte sink.
pub struct OutputSink<'a>(&'a mut Output);

impl Sink for OutputSink<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.0.put(bytes);
    }
}

/// The reply of the running command. Everything that [`Writer`] writes, plus stored values.
pub struct Reply<'a> {
    writer: Writer<OutputSink<'a>>,
}

impl<'a> Reply<'a> {
    /// `resp3`: the client speaks RESP3.
    #[inline]
    pub fn new(output: &'a mut Output, resp3: bool) -> Self {
        Self { writer: Writer { sink: OutputSink(output), resp3 } }
    }
    /// The error `error`.
    pub fn fail(&mut self, error: &Error) {
        self.writer.error(&error.0);
    }
    /// A stored string; a large one is passed on by reference.
    #[inline]
    pub fn string(&mut self, value: &Str) {
        match value {
            Str::Shared(bytes) => {
                self.writer.bulk_header(bytes.len());
                self.writer.sink.0.put_shared(bytes);
                self.writer.raw(b"\r\n");
            }
            other => self.writer.bulk(&other.bytes()),
        }
    }
    /// A stored string, or null.
    #[inline]
    pub fn string_or_null(&mut self, value: Option<&Str>) {
        match value {
            Some(value) => self.string(value),
            None => self.writer.null(),
        }
    }
    /// The output behind it.
    pub fn output(&mut self) -> &mut Output {
        self.writer.sink.0
    }
}

impl<'a> Deref for Reply<'a> {
    type Target = Writer<OutputSink<'a>>;
    fn deref(&self) -> &Self::Target {
        &self.writer
    }
}

impl DerefMut for Reply<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.writer
    }
}
