//! Linux's own TCP as a subject: the script's application on kernel sockets. It is a check on the
//! scripts: what Linux passes is no fancy of ours.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::Duration as Pause;

use e2e::lab::{Lab, Side};
use netcore::{FourTuple, Instant};
use sim::script::app::{PlainApp, ScriptApp, ScriptSession};
use sim::script::parse::{AppCommand, AppSeen};
use sim::script::segment::Addresses;
use sim::script::subject::{Tolerance, has_failed};
use sim::script::{Script, Subject};
use socket2::{Domain, Protocol, Socket, Type};
use stack::{App, ConnectionId, EndReason, Next, Output};

use crate::ours;
use crate::peer::{Conversation, SUBJECT};

/// How long the kernel may take over what it does at once.
const AT_ONCE: Pause = Pause::from_millis(3);
/// Looks at the sockets within that time.
const LOOKS: u32 = 3;
/// Between two looks at sockets and peer, in milliseconds.
const NAP_MS: i32 = 2;
const READ_BYTES: usize = 65_536;

/// Parameters of the kernel that make it comparable: nothing that scripts do not speak of.
const SYSCTLS: [&str; 5] = [
    "net.ipv4.tcp_ecn=0",
    // No probe of the tail (RFC 8985) before the timeout.
    "net.ipv4.tcp_early_retrans=0",
    // RFC 1337: a RST does not end TIME-WAIT.
    "net.ipv4.tcp_rfc1337=1",
    "net.ipv4.tcp_no_metrics_save=1",
    "net.ipv4.tcp_syncookies=0",
];

/// Makes the subject's namespace ready.
pub(crate) fn prepare(lab: &Lab) -> anyhow::Result<()> {
    SYSCTLS.into_iter().try_for_each(|setting| lab.sysctl(Side::Server, setting))
}

enum Phase {
    Connecting,
    Open,
    /// The peer has sent its FIN.
    PeerClosed,
}

struct Connection {
    socket: TcpStream,
    peer_port: u16,
    phase: Phase,
    session: Option<ScriptSession>,
    unsent: Vec<u8>,
    paused: bool,
    close: bool,
}

/// What follows for a connection.
enum After {
    Nothing,
    End(EndReason),
}

pub(crate) struct Linux<'a> {
    peer: Conversation<'a>,
    listener: TcpListener,
    connections: Vec<Option<Connection>>,
    app: ScriptApp,
    plain: Option<PlainApp>,
    failed: Vec<(u16, EndReason)>,
}

impl<'a> Linux<'a> {
    /// A listening socket in the calling thread's namespace, with the script's application.
    pub(crate) fn new(script: &Script, peer: Conversation<'a>) -> Result<Self, String> {
        // Settings are ours; a script that Linux plays as well means the usual ones with them.
        let socket = tcp_socket().map_err(text)?;
        socket.set_reuse_address(true).map_err(text)?;
        let local = SocketAddr::from((SUBJECT, peer.addresses.port));
        socket.bind(&local.into()).map_err(text)?;
        socket.listen(128).map_err(text)?;
        let (app, plain) = ScriptApp::new(script.app);
        let (connections, failed) = (Vec::new(), Vec::new());
        Ok(Self { peer, listener: socket.into(), connections, app, plain, failed })
    }

    /// Gives the kernel the time that it needs for what it does at once.
    fn settle(&mut self) {
        for _ in 0..LOOKS {
            std::thread::sleep(AT_ONCE / LOOKS);
            self.look();
        }
    }

    fn look(&mut self) {
        self.app.begin(self.peer.now());
        self.accept();
        let mut woken = Vec::new();
        self.app.woken(&mut woken);
        for id in woken {
            if let Some(mut connection) = self.take(id.slot) {
                connection.paused = false;
                let after = connection.call(|session, output| self.app.resumed(session, output));
                self.follow(id.slot, connection, after);
            }
        }
        for slot in 0..self.connections.len() as u32 {
            if let Some(mut connection) = self.take(slot) {
                let after = self.look_at(slot, &mut connection);
                self.follow(slot, connection, after);
            }
        }
        self.peer.collect();
    }

    fn take(&mut self, slot: u32) -> Option<Connection> {
        self.connections.get_mut(slot as usize)?.take()
    }

    fn accept(&mut self) {
        while let Ok((socket, remote)) = self.listener.accept() {
            if socket.set_nonblocking(true).is_err() || socket.set_nodelay(true).is_err() {
                continue;
            }
            let slot = self.connections.len() as u32;
            let mut connection = Connection::new(socket, remote.port(), Phase::Open);
            connection.session = self.begin(slot, &connection);
            self.connections.push(Some(connection));
        }
    }

    fn begin(&mut self, slot: u32, connection: &Connection) -> Option<ScriptSession> {
        let local = SocketAddr::from((SUBJECT, self.peer.addresses.port));
        let remote = SocketAddr::from((self.peer.addresses.peer, connection.peer_port));
        let (id, ends) = (ConnectionId { slot, generation: 0 }, FourTuple::between(local, remote));
        let mut session = None;
        // Neither of the applications speaks first.
        self.app.connected(id, &ends, &mut session, &mut Output::new());
        session
    }

    fn look_at(&mut self, slot: u32, connection: &mut Connection) -> After {
        if matches!(connection.phase, Phase::Connecting) {
            match connection.socket.take_error() {
                Ok(Some(error)) => {
                    self.failed.push((connection.peer_port, reason(&error)));
                    return After::End(reason(&error));
                }
                Ok(None) if is_writable(&connection.socket) => {
                    connection.phase = Phase::Open;
                    connection.session = self.begin(slot, connection);
                }
                _ => return After::Nothing,
            }
        }
        let mut buffer = [0; READ_BYTES];
        while matches!(connection.phase, Phase::Open) && !connection.paused && !connection.close {
            match connection.socket.read(&mut buffer) {
                Ok(0) => {
                    connection.phase = Phase::PeerClosed;
                    let after = connection.call(|session, output| self.app.peer_closed(session, output));
                    if let After::End(_) = after {
                        return after;
                    }
                }
                Ok(len) => {
                    let input = &buffer[..len];
                    let after = connection.call(|session, output| self.app.received(session, input, output));
                    if let After::End(_) = after {
                        return after;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return After::End(reason(&error)),
            }
        }
        match connection.socket.take_error() {
            Ok(Some(error)) if !soft(&error) => return After::End(reason(&error)),
            Ok(_) | Err(_) => {}
        }
        connection.flush()
    }

    /// Puts the connection back, or ends it.
    fn follow(&mut self, slot: u32, connection: Connection, after: After) {
        match after {
            After::Nothing => self.connections[slot as usize] = Some(connection),
            After::End(reason) => {
                if connection.session.is_some() {
                    self.app.closed(&mut { connection.session }, reason);
                }
            }
        }
    }

    fn connect(&mut self, peer_port: u16) -> Result<(), String> {
        let socket = tcp_socket().map_err(text)?;
        socket.bind(&SocketAddr::from((SUBJECT, 0)).into()).map_err(text)?;
        let remote = SocketAddr::new(self.peer.addresses.peer, peer_port);
        match socket.connect(&remote.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(text(error)),
            _ => {}
        }
        self.connections.push(Some(Connection::new(socket.into(), peer_port, Phase::Connecting)));
        Ok(())
    }
}

impl Connection {
    fn new(socket: TcpStream, peer_port: u16, phase: Phase) -> Self {
        let (session, unsent) = (None, Vec::new());
        Self { socket, peer_port, phase, session, unsent, paused: false, close: false }
    }

    /// Lets the application write and decide.
    fn call(&mut self, call: impl FnOnce(&mut ScriptSession, &mut Output) -> Next) -> After {
        let Some(session) = &mut self.session else { return After::Nothing };
        let mut output = Output::new();
        let next = call(session, &mut output);
        if next == Next::Abort {
            let reset = socket2::SockRef::from(&self.socket).set_linger(Some(Pause::ZERO));
            debug_assert!(reset.is_ok(), "{reset:?}");
            return After::End(EndReason::Aborted);
        }
        self.unsent.extend(output.take_chunks().flatten());
        self.paused = next == Next::Wait;
        self.close |= next == Next::Close;
        self.flush()
    }

    fn flush(&mut self) -> After {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(len) => drop(self.unsent.drain(..len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return After::Nothing,
                Err(error) => return After::End(reason(&error)),
            }
        }
        // The kernel sends the rest and the FIN, and tells nobody how it went.
        if self.close { After::End(EndReason::Closed) } else { After::Nothing }
    }
}

impl Subject for Linux<'_> {
    fn addresses(&self) -> Addresses {
        self.peer.addresses
    }

    fn tolerance(&self) -> Tolerance {
        Tolerance { apart: true, windows: false, ..ours::tolerance() }
    }

    fn now(&self) -> Instant {
        self.peer.now()
    }

    fn inject(&mut self, frame: &[u8]) {
        self.peer.send(frame);
        self.settle();
    }

    fn advance(&mut self, until: Instant) {
        loop {
            self.look();
            if self.peer.has_sent() || self.now() >= until {
                return;
            }
            self.peer.wait(NAP_MS);
        }
    }

    fn sent(&mut self) -> Option<(Instant, Vec<u8>)> {
        self.peer.collect();
        self.peer.take()
    }

    fn command(&mut self, peer_port: u16, command: &AppCommand) -> Result<(), String> {
        if *command == AppCommand::Connect {
            self.connect(peer_port)?;
        } else {
            self.plain.as_ref().ok_or("the Redis engine takes no commands")?.command(peer_port, command)?;
        }
        self.settle();
        Ok(())
    }

    fn seen(&self, peer_port: u16, seen: &AppSeen) -> Result<(), String> {
        if let AppSeen::Failed(wanted) = seen {
            return has_failed(&self.failed, peer_port, wanted);
        }
        self.plain.as_ref().ok_or("the Redis engine tells nothing")?.check(peer_port, seen)
    }
}

fn tcp_socket() -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    Ok(socket)
}

fn text(error: std::io::Error) -> String {
    error.to_string()
}

fn reason(error: &std::io::Error) -> EndReason {
    match error.kind() {
        ErrorKind::TimedOut => EndReason::TimedOut,
        _ => EndReason::Reset,
    }
}

/// Errors that ICMP has caused on a connection that stands: the kernel reports them, and nothing
/// has ended (RFC 9293 §3.9.2.2).
fn soft(error: &std::io::Error) -> bool {
    !matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::TimedOut | ErrorKind::BrokenPipe)
}

/// True when a socket that connects has got through.
fn is_writable(socket: &TcpStream) -> bool {
    let mut polled = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one structure, valid for the length of the call, which does not wait.
    unsafe { libc::poll(&raw mut polled, 1, 0) == 1 && polled.revents & libc::POLLOUT != 0 }
}
