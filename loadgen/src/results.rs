//! What a run has counted: the same for both engines.

use std::fmt;

use hdrhistogram::Histogram;
use netcore::Duration;

/// Longest latency that the histogram tells apart, in microseconds.
const LATENCY_MAX_US: u64 = 120_000_000;

/// Why a transaction or a connection did not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The bytes of a reply are not the ones expected, or nothing was asked.
    WrongReply,
    /// The server answered with an error.
    ErrorReply,
    /// A reply did not come in time.
    Timeout,
    /// The connection was not established in time.
    ConnectTimeout,
    /// The connection was refused.
    Refused,
    /// The server reset an established connection.
    Reset,
    /// The server closed before it had answered everything.
    ClosedEarly,
    /// All was answered, but the connection's end did not come in time.
    CloseTimeout,
    /// The local system refused (kernel sockets only).
    Local,
}

impl ErrorKind {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::WrongReply,
        Self::ErrorReply,
        Self::Timeout,
        Self::ConnectTimeout,
        Self::Refused,
        Self::Reset,
        Self::ClosedEarly,
        Self::CloseTimeout,
        Self::Local,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WrongReply => "wrong_reply",
            Self::ErrorReply => "error_reply",
            Self::Timeout => "timeout",
            Self::ConnectTimeout => "connect_timeout",
            Self::Refused => "refused",
            Self::Reset => "reset",
            Self::ClosedEarly => "closed_early",
            Self::CloseTimeout => "close_timeout",
            Self::Local => "local",
        }
    }
}

/// Errors by kind, over the whole life of an engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Errors([u64; ErrorKind::ALL.len()]);

impl Errors {
    /// How many of this kind.
    pub const fn of(&self, kind: ErrorKind) -> u64 {
        self.0[kind as usize]
    }
    /// How many in all.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
    pub(crate) fn add(&mut self, kind: ErrorKind, count: u64) {
        self.0[kind as usize] += count;
    }
}

/// What the thin TCP has seen on its wire, over the whole life of an engine. The kernel keeps
/// these figures to itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WireCounters {
    /// Frames received.
    pub received: u64,
    /// Frames handed to the port's queue.
    pub sent: u64,
    /// SYNs sent again.
    pub retransmitted_syn: u64,
    /// Segments with data sent again.
    pub retransmitted_data: u64,
    /// FINs without data sent again.
    pub retransmitted_fin: u64,
    /// Segments dropped because an earlier one was missing; the peer sends them again.
    pub out_of_order: u64,
    /// Segments whose bytes had all come before.
    pub duplicates: u64,
    /// Frames with a wrong checksum.
    pub bad_checksum: u64,
    /// Frames that could not be parsed, and fragments.
    pub malformed: u64,
    /// Frames that were not for us.
    pub foreign: u64,
    /// Segments of connections that we do not have (any more).
    pub stray: u64,
    /// Frames not sent because the pool was empty; they count as lost.
    pub no_frame: u64,
}

impl WireCounters {
    /// Everything that was sent again.
    pub const fn retransmissions(&self) -> u64 {
        self.retransmitted_syn + self.retransmitted_data + self.retransmitted_fin
    }
}

/// What came out so far. Transactions, connections and latencies are those of the measuring
/// window; errors and wire counters are never forgotten.
#[derive(Clone)]
pub struct Results {
    /// Requests answered rightly.
    pub transactions: u64,
    /// Those of them that were GETs.
    pub gets: u64,
    /// Those of them that were SETs.
    pub sets: u64,
    /// Connections that went from SYN to the end of both directions.
    pub connections: u64,
    /// From request to the end of the reply, in microseconds; the first request of a connection
    /// counts from the SYN.
    pub latency_us: Histogram<u64>,
    /// What went wrong.
    pub errors: Errors,
    /// The first thing that went wrong, in words.
    pub first_error: Option<String>,
    /// What happened on the wire.
    pub wire: WireCounters,
    /// How often opening a connection had to wait for a free local port.
    pub port_waits: u64,
}

impl fmt::Debug for Results {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Results")
            .field("transactions", &self.transactions)
            .field("gets", &self.gets)
            .field("sets", &self.sets)
            .field("connections", &self.connections)
            .field("errors", &self.errors)
            .field("first_error", &self.first_error)
            .field("wire", &self.wire)
            .field("port_waits", &self.port_waits)
            .finish_non_exhaustive()
    }
}

impl Default for Results {
    fn default() -> Self {
        let latency_us =
            Histogram::new_with_max(LATENCY_MAX_US, 3).expect("the bounds are constants in range");
        Self {
            transactions: 0,
            gets: 0,
            sets: 0,
            connections: 0,
            latency_us,
            errors: Errors::default(),
            first_error: None,
            wire: WireCounters::default(),
            port_waits: 0,
        }
    }
}

impl Results {
    /// Forgets what belongs to a measuring window.
    pub(crate) fn begin_window(&mut self) {
        self.transactions = 0;
        self.gets = 0;
        self.sets = 0;
        self.connections = 0;
        self.latency_us.reset();
    }

    /// Records a latency.
    #[inline]
    pub(crate) fn record(&mut self, latency: Duration) {
        self.latency_us.saturating_record(latency.micros());
    }
}
