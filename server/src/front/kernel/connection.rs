//! One connection: its socket, its session, and reply bytes that wait for room.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use mio::net::TcpStream;
use socket2::SockRef;
use stack::Output;

use crate::session::Session;

/// Most chunks in one write.
const SLICES_MAX: usize = 32;

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Requests are read.
    Open,
    /// Replies are still being sent; then it is closed.
    Closing,
    /// Everything is sent and our side is closed; input is thrown away until the peer closes
    /// too, so that unread bytes do not reset the connection before it has our replies.
    Lingering(Instant),
}

pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// `None`: refused by the application.
    pub(super) session: Option<Session>,
    pub(super) generation: u32,
    pub(super) state: State,
    /// The application asked to wait: input is held back.
    pub(super) waiting: bool,
    /// There may be bytes to read that no event will tell of.
    pub(super) readable: bool,
    pending: VecDeque<Bytes>,
    pending_bytes: usize,
}

/// How long a closed connection may take to see it.
const LINGER: Duration = Duration::from_secs(1);

impl Connection {
    pub(super) fn new(stream: TcpStream, generation: u32) -> Self {
        Self {
            stream,
            session: None,
            generation,
            state: State::Open,
            waiting: false,
            readable: false,
            pending: VecDeque::new(),
            pending_bytes: 0,
        }
    }

    /// Reply bytes that wait for room in the socket.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Sends `output`, keeping what the socket does not take. `output` is empty afterwards.
    pub(super) fn send(&mut self, output: &mut Output) -> io::Result<()> {
        if output.is_empty() {
            return Ok(());
        }
        if self.pending.is_empty()
            && let Some(bytes) = output.contiguous()
        {
            match self.stream.write(bytes) {
                Ok(written) if written == bytes.len() => {
                    output.clear();
                    return Ok(());
                }
                Ok(written) => self.keep(Bytes::copy_from_slice(&bytes[written..])),
                Err(error) if would_wait(&error) => self.keep(Bytes::copy_from_slice(bytes)),
                Err(error) => return Err(error),
            }
            output.clear();
            return Ok(());
        }
        output.take_chunks().for_each(|chunk| self.keep(chunk));
        self.flush()
    }

    fn keep(&mut self, chunk: Bytes) {
        self.pending_bytes += chunk.len();
        self.pending.push_back(chunk);
    }

    /// Sends what waits, as far as the socket takes it.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while !self.pending.is_empty() {
            let mut slices = [IoSlice::new(&[]); SLICES_MAX];
            let count = self.pending.len().min(SLICES_MAX);
            for (slice, chunk) in slices.iter_mut().zip(&self.pending) {
                *slice = IoSlice::new(chunk);
            }
            match self.stream.write_vectored(&slices[..count]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.sent(written),
                Err(error) if would_wait(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sent(&mut self, mut written: usize) {
        self.pending_bytes -= written;
        while let Some(first) = self.pending.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }

    /// Our side is done: tells the peer, and waits for it until the returned moment.
    pub(super) fn linger(&mut self, now: Instant) -> io::Result<()> {
        self.stream.shutdown(std::net::Shutdown::Write)?;
        self.state = State::Lingering(now + LINGER);
        Ok(())
    }

    /// Makes dropping the socket a reset.
    pub(super) fn reset_on_drop(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }
}

/// Nothing is wrong; the call is to be made again later.
pub(super) fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
