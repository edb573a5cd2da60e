//! The applications that scripts put on top of a subject.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use netcore::{FourTuple, Instant};
use server::{CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, EndReason, Next, Output};

use super::parse::{AppCommand, AppKind, AppSeen};
use super::segment::pattern;

/// An application of either kind.
pub enum ScriptApp {
    /// Echo or manual.
    Plain(PlainApp),
    /// The Redis engine.
    Redis(Box<CoreApp>),
}

/// A connection's part of either kind.
pub enum ScriptSession {
    /// Index into the connections seen.
    Plain(usize),
    /// The engine's.
    Redis(Box<<CoreApp as App>::Session>),
}

impl ScriptSession {
    fn redis(self) -> Option<<CoreApp as App>::Session> {
        match self {
            Self::Redis(session) => Some(*session),
            Self::Plain(_) => None,
        }
    }
}

/// Does what a script says, and remembers what it has seen.
#[derive(Clone)]
pub struct PlainApp {
    kind: AppKind,
    seen: Rc<RefCell<Seen>>,
}

#[derive(Default)]
struct Seen {
    connections: Vec<Connection>,
    wake: Vec<ConnectionId>,
}

struct Connection {
    id: ConnectionId,
    peer_port: u16,
    got: Vec<u8>,
    written: u32,
    commands: Vec<AppCommand>,
    paused: bool,
    peer_closed: bool,
    ended: Option<EndReason>,
}

impl ScriptApp {
    /// An application of this kind, and a second handle to it if it takes commands.
    pub fn new(kind: AppKind) -> (Self, Option<PlainApp>) {
        match kind {
            AppKind::Echo | AppKind::Manual => {
                let plain = PlainApp::new(kind);
                (Self::Plain(plain.clone()), Some(plain))
            }
            AppKind::Redis => {
                let start = EngineStart {
                    unix_us_at_zero: 1_700_000_000_000_000,
                    secret: [7; 16],
                    seed: 7,
                    cores: 1,
                    stopwatch: None,
                };
                let engine = Arc::new(Engine::new(server::Config::default(), start));
                (Self::Redis(CoreApp::new(engine, 0).into()), None)
            }
        }
    }
}

impl PlainApp {
    /// An application of this kind.
    pub fn new(kind: AppKind) -> Self {
        Self { kind, seen: Rc::default() }
    }

    /// Has the newest connection of this peer port do something at the next poll.
    ///
    /// # Errors
    /// There is none.
    pub fn command(&self, peer_port: u16, command: &AppCommand) -> Result<(), String> {
        let seen = &mut *self.seen.borrow_mut();
        let connection = newest(&mut seen.connections, peer_port)?;
        connection.commands.push(command.clone());
        seen.wake.push(connection.id);
        Ok(())
    }

    /// Checks what was seen.
    ///
    /// # Errors
    /// What was seen instead.
    pub fn check(&self, peer_port: u16, wanted: &AppSeen) -> Result<(), String> {
        let mut seen = self.seen.borrow_mut();
        if let AppSeen::Connections(wanted) = wanted {
            return same("connections", wanted, &seen.connections.len());
        }
        let connection = newest(&mut seen.connections, peer_port)?;
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        match wanted {
            AppSeen::Got(len) => {
                let pattern: Vec<u8> = (0..*len as u32).map(pattern).collect();
                same("bytes", len, &connection.got.len())?;
                same("bytes", &text(&pattern), &text(&connection.got))
            }
            AppSeen::GotLiteral(bytes) => same("bytes", &text(bytes), &text(&connection.got)),
            AppSeen::PeerClosed => same("the peer's end", &true, &connection.peer_closed),
            AppSeen::Ended(reason) => {
                let ended = connection.ended.map_or("open".to_owned(), |reason| format!("{reason:?}"));
                same("the end", &reason.to_lowercase(), &ended.to_lowercase())
            }
            AppSeen::Connections(_) => Ok(()),
            AppSeen::Failed(_) => Err("whoever opens connections knows which have failed".to_owned()),
        }
    }
}

fn newest(connections: &mut [Connection], peer_port: u16) -> Result<&mut Connection, String> {
    let found = connections.iter_mut().rev().find(|connection| connection.peer_port == peer_port);
    found.ok_or_else(|| format!("the application has no connection with port {peer_port}"))
}

fn same<T: PartialEq + std::fmt::Display>(what: &str, wanted: &T, got: &T) -> Result<(), String> {
    if wanted == got { Ok(()) } else { Err(format!("{what}: the application saw {got} instead of {wanted}")) }
}

impl Connection {
    fn obey(&mut self, output: &mut Output) -> Next {
        for command in std::mem::take(&mut self.commands) {
            match command {
                AppCommand::Write(len) => {
                    let bytes: Vec<u8> = (0..len as u32).map(|n| pattern(self.written + n)).collect();
                    self.written += len as u32;
                    output.put_shared(&bytes.into());
                }
                AppCommand::WriteLiteral(bytes) => output.put(&bytes),
                AppCommand::Pause => self.paused = true,
                AppCommand::Resume => self.paused = false,
                AppCommand::Close => return Next::Close,
                AppCommand::Abort => return Next::Abort,
                // The subject's own command; it never comes here.
                AppCommand::Connect => {}
            }
        }
        if self.paused { Next::Wait } else { Next::Continue }
    }
}

impl PlainApp {
    fn with<R>(&mut self, index: usize, run: impl FnOnce(&mut Connection) -> R) -> R {
        run(&mut self.seen.borrow_mut().connections[index])
    }
}

impl App for PlainApp {
    type Session = usize;

    fn begin(&mut self, _now: Instant) {}

    fn connected(
        &mut self,
        id: ConnectionId,
        ends: &FourTuple,
        session: &mut Option<usize>,
        _output: &mut Output,
    ) -> bool {
        let mut seen = self.seen.borrow_mut();
        seen.connections.push(Connection {
            id,
            peer_port: ends.remote_port,
            got: Vec::new(),
            written: 0,
            commands: Vec::new(),
            paused: false,
            peer_closed: false,
            ended: None,
        });
        *session = Some(seen.connections.len() - 1);
        true
    }

    fn received(&mut self, session: &mut usize, input: &[u8], output: &mut Output) -> Next {
        if self.kind == AppKind::Echo {
            output.put(input);
        }
        self.with(*session, |connection| connection.got.extend_from_slice(input));
        Next::Continue
    }

    fn resumed(&mut self, session: &mut usize, output: &mut Output) -> Next {
        self.with(*session, |connection| connection.obey(output))
    }

    fn peer_closed(&mut self, session: &mut usize, _output: &mut Output) -> Next {
        self.with(*session, |connection| connection.peer_closed = true);
        if self.kind == AppKind::Echo { Next::Close } else { Next::Continue }
    }

    fn closed(&mut self, session: &mut Option<usize>, reason: EndReason) {
        if let Some(session) = session.take() {
            self.with(session, |connection| connection.ended = Some(reason));
        }
    }

    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.seen.borrow_mut().wake);
    }
}

impl App for ScriptApp {
    type Session = ScriptSession;

    fn begin(&mut self, now: Instant) {
        match self {
            Self::Plain(app) => app.begin(now),
            Self::Redis(app) => app.begin(now),
        }
    }

    fn connected(
        &mut self,
        id: ConnectionId,
        ends: &FourTuple,
        place: &mut Option<ScriptSession>,
        output: &mut Output,
    ) -> bool {
        match self {
            Self::Plain(app) => {
                let mut session = None;
                let accepted = app.connected(id, ends, &mut session, output);
                *place = session.map(ScriptSession::Plain);
                accepted
            }
            Self::Redis(app) => {
                let mut session = place.take().and_then(ScriptSession::redis);
                let accepted = app.connected(id, ends, &mut session, output);
                *place = session.map(|session| ScriptSession::Redis(session.into()));
                accepted
            }
        }
    }

    fn received(&mut self, session: &mut ScriptSession, input: &[u8], output: &mut Output) -> Next {
        match (self, session) {
            (Self::Plain(app), ScriptSession::Plain(session)) => app.received(session, input, output),
            (Self::Redis(app), ScriptSession::Redis(session)) => app.received(session, input, output),
            _ => unreachable!("a session belongs to the application that made it"),
        }
    }

    fn resumed(&mut self, session: &mut ScriptSession, output: &mut Output) -> Next {
        match (self, session) {
            (Self::Plain(app), ScriptSession::Plain(session)) => app.resumed(session, output),
            (Self::Redis(app), ScriptSession::Redis(session)) => app.resumed(session, output),
            _ => unreachable!("a session belongs to the application that made it"),
        }
    }

    fn peer_closed(&mut self, session: &mut ScriptSession, output: &mut Output) -> Next {
        match (self, session) {
            (Self::Plain(app), ScriptSession::Plain(session)) => app.peer_closed(session, output),
            (Self::Redis(app), ScriptSession::Redis(session)) => app.peer_closed(session, output),
            _ => unreachable!("a session belongs to the application that made it"),
        }
    }

    fn closed(&mut self, place: &mut Option<ScriptSession>, reason: EndReason) {
        match (self, place.take()) {
            (Self::Plain(app), Some(ScriptSession::Plain(session))) => {
                app.closed(&mut Some(session), reason);
            }
            (Self::Redis(app), session) => {
                let mut session = session.and_then(ScriptSession::redis);
                app.closed(&mut session, reason);
                *place = session.map(|session| ScriptSession::Redis(session.into()));
            }
            _ => unreachable!("a session belongs to the application that made it"),
        }
    }

    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        match self {
            Self::Plain(app) => app.woken(into),
            Self::Redis(app) => app.woken(into),
        }
    }
}
