//! The same clients on ordinary kernel sockets, non-blocking, in one thread: to drive any Redis.
//!
//! The kernel's TCP does what [`crate::client`] does by itself elsewhere. Sockets are watched
//! edge-triggered; a short read means that everything was read.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use netcore::{Duration, Instant};

use crate::results::{ErrorKind, Results};
use crate::workload::{Progress, Session, Workload, WorkloadConfig};

/// Bytes that one read takes.
const READ_BYTES: usize = 64 * 1024;
/// New connections that one round begins at most.
const OPENS_PER_ROUND: usize = 32;
/// How long a round waits when nothing happens.
const IDLE_WAIT: std::time::Duration = std::time::Duration::from_millis(5);
/// How often deadlines are looked at.
const TIMER_INTERVAL: Duration = Duration::from_millis(20);
/// How long to wait for a free local port before trying again.
const PORT_RETRY: Duration = Duration::from_millis(1);

struct Client {
    stream: Option<TcpStream>,
    /// There was no free local port; try again then.
    retry_at: Option<Instant>,
    session: Session,
    out: Vec<u8>,
    written: usize,
    limit_at: Instant,
}

/// What became of a client.
enum Served {
    Waits,
    Ended,
    Failed(ErrorKind, String),
}

/// The clients of one thread.
pub struct KernelClients {
    poll: Poll,
    events: Events,
    /// `events` holds what has not been served yet.
    events_wait: bool,
    target: SocketAddr,
    timeout: Duration,
    workload: Workload,
    clients: Vec<Client>,
    free: Vec<usize>,
    /// Clients that wait for a local port.
    without_port: usize,
    more_to_open: bool,
    timers_at: Instant,
    buffer: Box<[u8]>,
}

impl KernelClients {
    /// `connections`: how many at a time. `timeout`: how long a connection may take to open, a
    /// batch to be answered, and a connection to end.
    ///
    /// # Errors
    /// The system's, when it gives no epoll instance.
    pub fn new(
        target: SocketAddr,
        connections: usize,
        timeout: Duration,
        workload: WorkloadConfig,
    ) -> io::Result<Self> {
        let client = || Client {
            stream: None,
            retry_at: None,
            session: Session::default(),
            out: Vec::new(),
            written: 0,
            limit_at: Instant::FAR_FUTURE,
        };
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(connections.clamp(16, 1024)),
            events_wait: false,
            target,
            timeout,
            workload: Workload::new(workload),
            clients: (0..connections).map(|_| client()).collect(),
            free: (0..connections).rev().collect(),
            without_port: 0,
            more_to_open: true,
            timers_at: Instant::ZERO,
            buffer: vec![0; READ_BYTES].into_boxed_slice(),
        })
    }

    /// What has come out so far.
    pub fn results(&self) -> &Results {
        &self.workload.results
    }

    pub(crate) fn workload(&mut self) -> &mut Workload {
        self.more_to_open = true;
        &mut self.workload
    }

    pub(crate) fn workload_ref(&self) -> &Workload {
        &self.workload
    }

    /// True when no connection is left.
    pub fn idle(&self) -> bool {
        self.free.len() == self.clients.len()
    }

    /// One round: waits briefly for sockets, serves those that are ready, opens connections.
    /// Returns true when it did anything.
    ///
    /// # Errors
    /// The system's, when waiting itself fails.
    pub fn round(&mut self, now: Instant) -> io::Result<bool> {
        if !self.events_wait {
            self.wait(std::time::Duration::ZERO)?;
        }
        if self.events.is_empty() && !self.more_to_open && self.without_port == 0 && now < self.timers_at {
            // What comes meanwhile is served by the next round, so that waiting is not taken for work.
            self.wait(IDLE_WAIT)?;
            self.events_wait = true;
            return Ok(false);
        }
        self.events_wait = false;
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            self.serve(event.token().0, now);
        }
        let mut worked = !events.is_empty();
        std::mem::swap(&mut self.events, &mut events);
        if now >= self.timers_at || self.without_port > 0 {
            self.timers_at = now + TIMER_INTERVAL;
            self.timers(now);
        }
        worked |= self.open(now);
        Ok(worked)
    }

    fn wait(&mut self, longest: std::time::Duration) -> io::Result<()> {
        match self.poll.poll(&mut self.events, Some(longest)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            result => result,
        }
    }

    fn open(&mut self, now: Instant) -> bool {
        self.more_to_open = false;
        for opened in 0..OPENS_PER_ROUND {
            let Some(&at) = self.free.last() else { return opened > 0 };
            let client = &mut self.clients[at];
            client.out.clear();
            client.written = 0;
            if !self.workload.begin(&mut client.session, &mut client.out, now) {
                return opened > 0;
            }
            client.limit_at = now + self.timeout;
            self.free.pop();
            self.connect(at, now);
        }
        self.more_to_open = !self.free.is_empty();
        true
    }

    fn connect(&mut self, at: usize, now: Instant) {
        let registry = self.poll.registry();
        let connected = TcpStream::connect(self.target).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            registry.register(&mut stream, Token(at), Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        match connected {
            Ok(stream) => {
                self.clients[at].stream = Some(stream);
                self.serve(at, now);
            }
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                self.workload.results.port_waits += 1;
                self.clients[at].retry_at = Some(now + PORT_RETRY);
                self.without_port += 1;
            }
            Err(error) => self.fail(at, ErrorKind::Local, &error.to_string()),
        }
    }

    fn serve(&mut self, at: usize, now: Instant) {
        let client = &mut self.clients[at];
        match client.serve(&mut self.workload, &mut self.buffer, now, self.timeout) {
            Served::Waits => {}
            Served::Ended => {
                client.stream = None;
                self.workload.ended();
                self.free.push(at);
            }
            Served::Failed(kind, detail) => self.fail(at, kind, &detail),
        }
    }

    #[cold]
    fn fail(&mut self, at: usize, kind: ErrorKind, detail: &str) {
        let client = &mut self.clients[at];
        client.stream = None;
        self.workload.failed(&mut client.session, kind, detail);
        self.free.push(at);
    }

    fn timers(&mut self, now: Instant) {
        for at in 0..self.clients.len() {
            let client = &mut self.clients[at];
            if let Some(retry_at) = client.retry_at {
                if now >= retry_at {
                    client.retry_at = None;
                    self.without_port -= 1;
                    if now >= client.limit_at {
                        self.fail(at, ErrorKind::Local, "no free local port in time");
                    } else {
                        self.connect(at, now);
                    }
                }
                continue;
            }
            let Some(stream) = &client.stream else { continue };
            if now < client.limit_at {
                continue;
            }
            let (kind, detail) = if !client.session.waiting() {
                (ErrorKind::CloseTimeout, "the connection's end did not come in time")
            } else if stream.peer_addr().is_err() {
                (ErrorKind::ConnectTimeout, "no answer to the SYN")
            } else {
                (ErrorKind::Timeout, "no reply in time")
            };
            self.fail(at, kind, detail);
        }
    }
}

impl Client {
    /// Writes and reads until the socket has no more room and no more bytes.
    fn serve(
        &mut self,
        workload: &mut Workload,
        buffer: &mut [u8],
        now: Instant,
        timeout: Duration,
    ) -> Served {
        // An event may be about a socket that this place had before.
        let Some(stream) = &mut self.stream else { return Served::Waits };
        let mut drained = false;
        loop {
            while self.written < self.out.len() {
                match stream.write(&self.out[self.written..]) {
                    Ok(written) => self.written += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return failed(&error),
                }
            }
            if self.written == 0 && !self.out.is_empty() {
                return Served::Waits; // not connected yet
            }
            // Whatever comes now is told by a new event; only an end may have come with the bytes.
            if drained && !self.session.quit_sent() {
                return Served::Waits;
            }
            let read = match stream.read(buffer) {
                Ok(0) if self.session.waiting() => {
                    let detail = "the server closed before it had answered".to_owned();
                    return Served::Failed(ErrorKind::ClosedEarly, detail);
                }
                Ok(0) => return Served::Ended,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Served::Waits,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return failed(&error),
            };
            drained = read < buffer.len();
            match workload.received(&mut self.session, &buffer[..read], now) {
                Progress::Wrong(kind) => return Served::Failed(kind, "the reply is wrong".to_owned()),
                Progress::More => {}
                Progress::Done => {
                    self.limit_at = now + timeout;
                    self.out.clear();
                    self.written = 0;
                    if !workload.next(&mut self.session, &mut self.out, now) && !self.session.quit_sent() {
                        return Served::Ended;
                    }
                }
            }
        }
    }
}

#[cold]
fn failed(error: &io::Error) -> Served {
    let kind = match error.kind() {
        io::ErrorKind::ConnectionRefused => ErrorKind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => ErrorKind::Reset,
        io::ErrorKind::TimedOut => ErrorKind::ConnectTimeout,
        _ => ErrorKind::Local,
    };
    Served::Failed(kind, error.to_string())
}

#[cfg(test)]
mod tests;
