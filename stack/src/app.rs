//! The application seam: bytes of a connection come in, reply bytes go out.
//!
//! The same trait is driven by the TCP stack on DPDK, by the kernel-socket front, by the
//! simulator and by tests, so an application never knows which of them carries its bytes.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use bytes::Bytes;
use netcore::{FourTuple, Instant};

/// Names a connection of one driver (one core's stack, or one kernel front thread) for as long
/// as it lives: a slot and the generation of its use, so that a stale name finds nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    /// Index into the driver's connections: small numbers, used again and again.
    pub slot: u32,
    /// Counts the uses of that slot.
    pub generation: u32,
}

/// What the application wants after it has seen bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Go on: deliver more bytes when they come.
    Continue,
    /// Send what was written, then close in order (FIN). Later input is thrown away.
    Close,
    /// Reset at once (RST); unsent output is thrown away.
    Abort,
    /// Hold back further input until the application names this connection in
    /// [`App::woken`]; the driver keeps what arrives meanwhile.
    Wait,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// Both sides closed in order.
    Closed,
    /// The peer sent a RST; of a connection that was being opened: or ICMP said that nobody is
    /// there.
    Reset,
    /// The peer stopped answering.
    TimedOut,
    /// We sent a RST, or the application asked for one.
    Aborted,
}

/// An error that the network reports of what we sent (ICMP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NetworkError {
    /// Type of the message: RFC 792 for IPv4, RFC 4443 for IPv6.
    pub kind: u8,
    /// Code of the message.
    pub code: u8,
}

/// What happens to a connection that goes on all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// The same data was sent several times without an answer (R1 of RFC 9293 §3.8.3).
    NoAnswer,
    /// The network reports an error; it may pass.
    Network(NetworkError),
    /// The peer calls some of its data urgent: the last byte of it lies within the next `ahead`
    /// bytes that the application gets. Comes again whenever that end moves on.
    Urgent {
        /// Bytes; more than none.
        ahead: u32,
    },
}

/// An application on top of a transport.
///
/// The driver calls, per connection and in this order: `connected` once, then any number of
/// `received` / `resumed`, then `closed` once (not if `connected` refused).
///
/// Sessions stay where they are: one that `closed` leaves in its place is there again when the place's
/// next connection comes, so that short connections neither make nor move one.
pub trait App {
    /// What the application keeps for a connection.
    type Session;

    /// A burst begins. `now`: the driver's clock; all calls until the next `begin` happen "now".
    fn begin(&mut self, now: Instant);

    /// A connection between these ends was accepted. Output written here is sent first (a server that
    /// speaks first, or a refusal). True: its session is in `session`, where one may be that was left
    /// there. False refuses: what was written is sent and the connection closed.
    fn connected(
        &mut self,
        id: ConnectionId,
        ends: &FourTuple,
        session: &mut Option<Self::Session>,
        output: &mut Output,
    ) -> bool;

    /// In-order bytes arrived. The application takes all of them; it keeps what it cannot use
    /// yet (part of a request) in its session.
    fn received(&mut self, session: &mut Self::Session, input: &[u8], output: &mut Output) -> Next;

    /// The connection was named by [`App::woken`]: write what has become ready.
    fn resumed(&mut self, session: &mut Self::Session, output: &mut Output) -> Next;

    /// The peer has closed its sending side; no more input will come. Output may still be sent.
    /// Most applications answer [`Next::Close`].
    fn peer_closed(&mut self, session: &mut Self::Session, output: &mut Output) -> Next;

    /// Something is wrong or remarkable, but nothing has ended. Only a driver that sees the
    /// network calls this.
    ///
    /// RFC 9293 §3.9.1.8 SHLD-20: an application that does not want to know leaves this as it is.
    fn reported(&mut self, _session: &mut Self::Session, _report: Report) {}

    /// The connection is gone. Its session is in `session`; what is left there is for the next
    /// connection of the place.
    fn closed(&mut self, session: &mut Option<Self::Session>, reason: EndReason);

    /// Moves to `into` the connections that want a `resumed` call. Must be cheap when there are
    /// none: it is asked once per poll round.
    fn woken(&mut self, into: &mut Vec<ConnectionId>);
}

/// Values of at least this many bytes are passed on by reference instead of copied.
pub const SHARE_MIN_BYTES: usize = 4096;

/// Reply bytes on their way out: written once, in order, by the application.
///
/// How much waits is the application's to limit: a driver takes everything, and says before each
/// call how much there is ([`Output::waiting`]).
///
/// Short replies are copied into one contiguous run. A large value is appended by reference
/// ([`Output::put_shared`]) and copied only into the frames that carry it.
#[derive(Debug, Default)]
pub struct Output {
    /// The contiguous run behind the last shared chunk.
    tail: Vec<u8>,
    /// Everything before `tail`.
    chunks: VecDeque<Bytes>,
    chunk_bytes: usize,
    /// What the driver holds of this connection already.
    queued: usize,
}

impl Output {
    /// Empty.
    pub const fn new() -> Self {
        Self { tail: Vec::new(), chunks: VecDeque::new(), chunk_bytes: 0, queued: 0 }
    }
    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
    }
    /// Appends `bytes`, by reference when they are many.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_MIN_BYTES {
            return self.put(bytes);
        }
        if !self.tail.is_empty() {
            let tail = core::mem::take(&mut self.tail);
            self.chunk_bytes += tail.len();
            self.chunks.push_back(tail.into());
        }
        self.chunk_bytes += bytes.len();
        self.chunks.push_back(bytes.clone());
    }
    /// Bytes written and not yet taken.
    #[inline]
    pub fn len(&self) -> usize {
        self.chunk_bytes + self.tail.len()
    }
    /// Tells the application how many bytes of its connection wait already, sent and not
    /// acknowledged ones included: they come before what it writes now. Drivers say it before
    /// each call.
    #[inline]
    pub fn set_queued(&mut self, bytes: usize) {
        self.queued = bytes;
    }
    /// Bytes that wait for the peer to take them: queued in the driver, and written now.
    #[inline]
    pub fn waiting(&self) -> usize {
        self.queued + self.len()
    }
    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.tail.is_empty() && self.chunks.is_empty()
    }
    /// The whole output when it is one contiguous run: the common case of a short reply.
    #[inline]
    pub fn contiguous(&self) -> Option<&[u8]> {
        self.chunks.is_empty().then_some(&self.tail)
    }
    /// Takes the contiguous run, which is all there is, and leaves this memory for the next one.
    #[inline]
    pub(crate) fn swap_run(&mut self, empty: Vec<u8>) -> Vec<u8> {
        debug_assert!(self.chunks.is_empty() && empty.is_empty());
        core::mem::replace(&mut self.tail, empty)
    }
    /// Forgets everything, keeping the memory of the contiguous run.
    pub fn clear(&mut self) {
        self.tail.clear();
        self.chunks.clear();
        self.chunk_bytes = 0;
    }
    /// Takes everything as a list of chunks in order.
    pub fn take_chunks(&mut self) -> impl Iterator<Item = Bytes> + use<> {
        let tail = if self.tail.is_empty() { None } else { Some(core::mem::take(&mut self.tail).into()) };
        self.chunk_bytes = 0;
        core::mem::take(&mut self.chunks).into_iter().chain(tail)
    }
    /// Cuts the contiguous run back to `len` bytes of total output, to take back a reply that
    /// was begun; shared chunks before it stay.
    pub fn truncate(&mut self, len: usize) {
        self.tail.truncate(len.saturating_sub(self.chunk_bytes));
    }
}
