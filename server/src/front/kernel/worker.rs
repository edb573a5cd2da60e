//! One thread: accepts, reads, lets the engine answer, writes.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use netcore::FourTuple;
use socket2::{SockRef, TcpKeepalive};
use stack::{App, ConnectionId, EndReason, Next, Output};

use super::connection::{Connection, State, would_wait};
use crate::session::Session;
use crate::{CoreApp, Engine};

/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;
/// Reads of one connection before the others have their turn.
const READS_PER_TURN: usize = 16;
/// How often the thread looks at time and flags when nothing happens.
const TICK: Duration = Duration::from_millis(100);

const WAKER: Token = Token(usize::MAX);
/// Listener `i` has the token `LISTENERS - i`.
const LISTENERS: usize = usize::MAX - 1;

pub(super) struct Worker {
    engine: Arc<Engine>,
    app: CoreApp,
    poll: Poll,
    listeners: Vec<TcpListener>,
    slots: Vec<Option<Connection>>,
    generations: Vec<u32>,
    free: Vec<usize>,
    /// Connections to look at again without an event.
    again: Vec<usize>,
    lingering: Vec<usize>,
    buffer: Vec<u8>,
    output: Output,
    /// Sessions of connections that are over; for the next ones.
    spare: Vec<Session>,
    started: Instant,
    next_tick: Instant,
    /// Accepting failed (no file descriptors left): try again at the next tick.
    accept_again: bool,
}

impl Worker {
    pub(super) fn new(
        engine: Arc<Engine>,
        core: usize,
        listeners: &[std::net::TcpListener],
        started: Instant,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut own = Vec::new();
        for (index, listener) in listeners.iter().enumerate() {
            let mut listener = TcpListener::from_std(listener.try_clone()?);
            poll.registry().register(&mut listener, Token(LISTENERS - index), Interest::READABLE)?;
            own.push(listener);
        }
        let waker = Waker::new(poll.registry(), WAKER)?;
        engine.cores[core].clients.set_waker(Box::new(move || {
            let _ = waker.wake();
        }));
        Ok(Self {
            app: CoreApp::new(engine.clone(), core),
            engine,
            poll,
            listeners: own,
            slots: Vec::new(),
            generations: Vec::new(),
            free: Vec::new(),
            again: Vec::new(),
            lingering: Vec::new(),
            buffer: vec![0; READ_BYTES],
            output: Output::new(),
            spare: Vec::new(),
            started,
            next_tick: started,
            accept_again: false,
        })
    }

    /// Serves until `stop` or `SHUTDOWN`.
    pub(super) fn serve(&mut self, stop: &AtomicBool) -> io::Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut woken = Vec::new();
        let mut more_expired = false;
        while !stop.load(Ordering::Relaxed) && !self.engine.shutdown_requested() {
            let busy = more_expired || !self.again.is_empty();
            match self.poll.poll(&mut events, Some(if busy { Duration::ZERO } else { self.nap() })) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            let now = netcore::Instant::from_micros(self.started.elapsed().as_micros() as u64);
            self.app.begin(now);
            for event in &events {
                self.handle(event);
            }
            for slot in std::mem::take(&mut self.again) {
                self.read(slot, false);
            }
            self.app.woken(&mut woken);
            for id in woken.drain(..) {
                self.resume(id);
            }
            let clock = Instant::now();
            if more_expired || clock >= self.next_tick {
                more_expired = self.engine.expire_some(now);
                self.tick(clock);
            }
        }
        self.end();
        Ok(())
    }

    /// How long to sleep when nothing happens: until the application has something to do.
    fn nap(&self) -> Duration {
        let Some(deadline) = self.app.next_deadline() else { return TICK };
        let now_us = self.started.elapsed().as_micros() as u64;
        // Rounded up: the poll counts in whole milliseconds.
        TICK.min(Duration::from_micros(deadline.micros().saturating_sub(now_us).next_multiple_of(1000)))
    }

    fn handle(&mut self, event: &Event) {
        let Token(token) = event.token();
        if event.token() == WAKER {
            return;
        }
        if token > LISTENERS - self.listeners.len() {
            return self.accept(LISTENERS - token);
        }
        if event.is_writable() {
            self.write(token);
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(token, event.is_read_closed() || event.is_error());
        }
    }

    fn tick(&mut self, now: Instant) {
        self.next_tick = now + TICK;
        if std::mem::take(&mut self.accept_again) {
            (0..self.listeners.len()).for_each(|index| self.accept(index));
        }
        for slot in std::mem::take(&mut self.lingering) {
            match self.slots[slot].as_ref().map(|connection| connection.state) {
                Some(State::Lingering(until)) if now < until => self.lingering.push(slot),
                Some(State::Lingering(_)) => self.close(slot, EndReason::Closed),
                _ => {}
            }
        }
    }

    fn accept(&mut self, index: usize) {
        loop {
            match self.listeners[index].accept() {
                Ok((stream, remote)) => self.add(stream, remote),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    self.accept_again = true;
                    return;
                }
            }
        }
    }

    fn add(&mut self, mut stream: mio::net::TcpStream, remote: SocketAddr) {
        let Ok(local) = stream.local_addr() else { return };
        let _ = stream.set_nodelay(true);
        self.keep_alive(&stream);
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.generations.push(0);
            self.slots.len() - 1
        });
        let both = Interest::READABLE | Interest::WRITABLE;
        if let Err(error) = self.poll.registry().register(&mut stream, Token(slot), both) {
            tracing::warn!("cannot watch a connection: {error}");
            self.free.push(slot);
            return;
        }
        self.generations[slot] = self.generations[slot].wrapping_add(1);
        let id = ConnectionId { slot: slot as u32, generation: self.generations[slot] };
        let mut connection = Connection::new(stream, id.generation);
        self.output.set_queued(0);
        let ends = FourTuple::between(local, remote);
        let mut session = self.spare.pop();
        let accepted = self.app.connected(id, &ends, &mut session, &mut self.output);
        if accepted {
            connection.session = session;
        } else {
            self.spare.extend(session);
        }
        let next = if accepted { Next::Continue } else { Next::Close };
        self.slots[slot] = Some(connection);
        self.settle(slot, next);
    }

    /// Has the system ask silent peers whether they are there, as Redis does: after
    /// `tcp-keepalive` seconds, then three times within as long again.
    fn keep_alive(&self, stream: &mio::net::TcpStream) {
        let seconds = self.engine.live.tcp_keepalive_s.load(Ordering::Relaxed);
        if seconds > 0 {
            let keepalive = TcpKeepalive::new()
                .with_time(Duration::from_secs(seconds))
                .with_interval(Duration::from_secs((seconds / 3).max(1)))
                .with_retries(3);
            let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
        }
    }

    /// Sends what was written for `slot` and does what the application wants next. False: the
    /// connection takes no more input now.
    fn settle(&mut self, slot: usize, next: Next) -> bool {
        let Some(connection) = &mut self.slots[slot] else {
            self.output.clear();
            return false;
        };
        if next == Next::Abort {
            self.output.clear();
            connection.reset_on_drop();
            self.close(slot, EndReason::Aborted);
            return false;
        }
        if connection.send(&mut self.output).is_err() {
            self.output.clear();
            self.close(slot, EndReason::Reset);
            return false;
        }
        match next {
            Next::Close => {
                connection.state = State::Closing;
                self.finish(slot);
                false
            }
            Next::Wait => {
                connection.waiting = true;
                false
            }
            Next::Continue | Next::Abort => {
                connection.waiting = false;
                true
            }
        }
    }

    /// Reads and answers. `ended`: the peer has closed, read to the very end.
    fn read(&mut self, slot: usize, ended: bool) {
        for _ in 0..READS_PER_TURN {
            let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
            if connection.waiting {
                connection.readable = true;
                if ended {
                    // Whom it waits for must hear that it has left.
                    self.peer_closed(slot);
                }
                return;
            }
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return self.peer_closed(slot),
                Ok(len) => {
                    if connection.state == State::Open {
                        self.output.set_queued(connection.pending_bytes());
                        let Some(session) = &mut connection.session else { return };
                        let next = self.app.received(session, &self.buffer[..len], &mut self.output);
                        self.settle(slot, next);
                    }
                    if len < self.buffer.len() && !ended {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.close(slot, EndReason::Reset),
            }
        }
        self.again.push(slot);
    }

    fn peer_closed(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        match connection.state {
            State::Lingering(_) => self.close(slot, EndReason::Closed),
            State::Closing => {}
            State::Open => {
                self.output.set_queued(connection.pending_bytes());
                let Some(session) = &mut connection.session else { return };
                let next = self.app.peer_closed(session, &mut self.output);
                if connection.pending_bytes() == 0 && self.output.is_empty() {
                    return self.close(slot, EndReason::Closed);
                }
                self.settle(slot, next);
            }
        }
    }

    /// The socket has room again.
    fn write(&mut self, slot: usize) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if connection.pending_bytes() == 0 {
            return;
        }
        match connection.flush() {
            Err(error) if !would_wait(&error) => return self.close(slot, EndReason::Reset),
            _ => {}
        }
        if connection.state == State::Closing {
            self.finish(slot);
        }
    }

    /// Closes our side of a connection once its replies are sent.
    fn finish(&mut self, slot: usize) {
        let Some(connection) = &mut self.slots[slot] else { return };
        if connection.pending_bytes() > 0 {
            return;
        }
        // For the application it is over before the peer can see the end.
        if connection.session.is_some() {
            self.app.closed(&mut connection.session, EndReason::Closed);
            self.spare.extend(connection.session.take());
        }
        match connection.linger(Instant::now()) {
            Ok(()) => {
                self.lingering.push(slot);
                // What is there already is thrown away now; the end may be among it.
                self.again.push(slot);
            }
            Err(_) => self.close(slot, EndReason::Closed),
        }
    }

    fn resume(&mut self, id: ConnectionId) {
        let slot = id.slot as usize;
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        if connection.generation != id.generation {
            return;
        }
        self.output.set_queued(connection.pending_bytes());
        let Some(session) = &mut connection.session else { return };
        let next = self.app.resumed(session, &mut self.output);
        if connection.state != State::Open {
            // Its last replies are being sent; it may take too long over them.
            self.output.clear();
            if next == Next::Abort {
                self.settle(slot, next);
            }
            return;
        }
        if self.settle(slot, next)
            && let Some(connection) = &mut self.slots[slot]
            && std::mem::take(&mut connection.readable)
        {
            self.again.push(slot);
        }
    }

    fn close(&mut self, slot: usize, reason: EndReason) {
        let Some(mut connection) = self.slots[slot].take() else { return };
        let _ = self.poll.registry().deregister(&mut connection.stream);
        if connection.session.is_some() {
            self.app.closed(&mut connection.session, reason);
            self.spare.extend(connection.session.take());
        }
        self.free.push(slot);
    }

    /// Ends every connection; replies that the sockets take at once are still sent.
    fn end(&mut self) {
        for slot in 0..self.slots.len() {
            if let Some(connection) = &mut self.slots[slot] {
                let _ = connection.flush();
            }
            self.close(slot, EndReason::Closed);
        }
    }
}
