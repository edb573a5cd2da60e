//! Clients that count: each INCR that is acknowledged must have happened once, each that was not
//! at most once. They run on a host stack of their own that opens connections.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use netcore::rng::SeededRng;
use netcore::{Duration, FourTuple, Instant, Port};
use protocol::ethernet::Mac;
use stack::{App, ConnectionId, EndReason, Next, Output, Stack, State};

use crate::belief::Belief;
use crate::frame::{Pool, SimFrame};

/// Counters in the keyspace.
pub const COUNTERS: usize = 4;

/// What a newcomer reads in place of its first reply: Redis' words when `maxclients` is reached, the firmware's
/// when no host is there.
pub(crate) const TURNED_AWAY: [&[u8]; 2] =
    [b"-ERR max number of clients reached\r\n", b"-LOADING The server is away, try again later\r\n"];

/// The key of a counter.
pub fn key(counter: usize) -> String {
    format!("counter:{counter}")
}

/// What is known of one counter.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// INCRs whose reply came.
    pub acknowledged: u64,
    /// INCRs that were sent, perhaps, and whose reply never came.
    pub ambiguous: u64,
    /// The values that the replies gave.
    values: BTreeSet<u64>,
}

/// What goes wrong first, and everything that connections share.
#[derive(Default)]
struct Shared {
    tallies: [Tally; COUNTERS],
    failure: Option<String>,
    open: usize,
    errors: u64,
    turned_away: u64,
}

/// How a connection behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// One request after the other.
    Plain,
    /// So many requests at once.
    Pipelined(usize),
    /// One byte at a time, with this pause.
    Slow(Duration),
    /// A request and QUIT: the server closes.
    Quit,
    /// A request, and reset before the reply.
    Abort,
}

/// Many clients on one stack.
pub struct CountingClients {
    stack: Stack<SimFrame, CountingApp>,
    app: CountingApp,
    address: IpAddr,
    target: SocketAddr,
    connections: usize,
    left: u64,
    retry_at: Instant,
}

impl CountingClients {
    /// `connections` at a time until `total` have been opened.
    pub fn new(
        config: stack::Config,
        target: SocketAddr,
        connections: usize,
        total: u64,
        mut rng: SeededRng,
    ) -> Self {
        let address = config.networks[0].address.to_ip_addr();
        let stack = Stack::new(config, &mut rng);
        let app = CountingApp { shared: Rc::default(), rng, now: Instant::ZERO, alarms: BTreeMap::new() };
        Self { stack, app, address, target, connections, left: total, retry_at: Instant::ZERO }
    }

    /// One round; true when something moved.
    pub fn poll(&mut self, port: &mut impl Port<Frame = SimFrame>, pool: &mut Pool, now: Instant) -> bool {
        let mut any = false;
        while self.left > 0
            && self.stack.gauges().connections() < self.connections as u32
            && now >= self.retry_at
        {
            match self.stack.connect(self.target, now) {
                Ok(_) => self.left -= 1,
                // No local port or no room: others have to end first.
                Err(_) => self.retry_at = now + Duration::from_millis(100),
            }
            any = true;
        }
        any |= self.stack.poll(port, pool, &mut self.app, now).any();
        any
    }

    /// When [`Self::poll`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        let alarm = self.app.alarms.first_key_value().map(|((at, _), _)| *at);
        let open = (self.left > 0 && self.stack.gauges().connections() < self.connections as u32)
            .then_some(self.retry_at);
        self.stack.next_deadline().into_iter().chain(alarm).chain(open).min()
    }

    /// Opens no more connections.
    pub fn stop(&mut self) {
        self.left = 0;
    }

    /// True when all connections have ended and none is to be opened.
    pub fn idle(&self) -> bool {
        self.left == 0 && self.stack.gauges().connections() == 0
    }

    /// The stack that they run on.
    pub fn stack(&self) -> &Stack<SimFrame, CountingApp> {
        &self.stack
    }

    /// What each connection believes whose handshake is over.
    pub fn beliefs(&self) -> impl Iterator<Item = Belief> {
        let local = self.address;
        let open = self.stack.views().filter(|view| view.state != State::SynSent);
        open.map(move |view| Belief {
            client: (local, view.local_port).into(),
            snd_una: view.snd_una,
            snd_max: view.snd_nxt,
            rcv_nxt: view.rcv_nxt,
        })
    }

    /// The first wrong reply.
    pub fn failure(&self) -> Option<String> {
        self.app.shared.borrow().failure.clone()
    }

    /// Connections that were told that there are too many clients.
    pub fn turned_away(&self) -> u64 {
        self.app.shared.borrow().turned_away
    }

    /// Connections that ended otherwise than in order.
    pub fn errors(&self) -> u64 {
        self.app.shared.borrow().errors
    }

    /// Compares a counter's value in the keyspace with what was acknowledged.
    ///
    /// # Errors
    /// An increment was lost or was executed twice.
    pub fn check(&self, counter: usize, value: u64) -> Result<(), String> {
        let shared = self.app.shared.borrow();
        let Tally { acknowledged, ambiguous, .. } = shared.tallies[counter];
        if value < acknowledged {
            return Err(format!("{}: {value}, but {acknowledged} INCRs were acknowledged", key(counter)));
        }
        if value > acknowledged + ambiguous {
            return Err(format!(
                "{}: {value}, but only {acknowledged} INCRs were acknowledged and {ambiguous} more were sent: \
                 a request was executed twice",
                key(counter)
            ));
        }
        Ok(())
    }

    /// INCRs acknowledged.
    pub fn acknowledged(&self) -> u64 {
        self.app.shared.borrow().tallies.iter().map(|tally| tally.acknowledged).sum()
    }
}

/// The application of [`CountingClients`].
pub struct CountingApp {
    shared: Rc<RefCell<Shared>>,
    rng: SeededRng,
    now: Instant,
    alarms: BTreeMap<(Instant, ConnectionId), ()>,
}

/// One connection.
pub struct CountingSession {
    id: ConnectionId,
    counter: usize,
    style: Style,
    batches_left: usize,
    /// INCRs without a reply.
    outstanding: u64,
    /// Bytes still to be sent one by one.
    unsent: VecDeque<u8>,
    reply: Vec<u8>,
    quit_sent: bool,
    aborting: bool,
    /// No reply has come yet.
    untouched: bool,
}

impl CountingApp {
    /// Writes the next batch of requests; false when there is none.
    fn ask(&mut self, session: &mut CountingSession, output: &mut Output) -> bool {
        if session.batches_left == 0 {
            return false;
        }
        session.batches_left -= 1;
        let key = key(session.counter);
        let incr = format!("*2\r\n$4\r\nINCR\r\n${}\r\n{key}\r\n", key.len());
        let count = if let Style::Pipelined(count) = session.style { count } else { 1 };
        session.outstanding += count as u64;
        for _ in 0..count {
            output.put(incr.as_bytes());
        }
        match session.style {
            Style::Plain | Style::Pipelined(_) => {}
            Style::Quit => {
                output.put(b"QUIT\r\n");
                session.quit_sent = true;
            }
            Style::Slow(pause) => {
                output.clear();
                session.unsent = incr.bytes().collect();
                self.alarms.insert((self.now + pause, session.id), ());
            }
            Style::Abort => {
                session.aborting = true;
                let wait = Duration::from_micros(self.rng.below(20_000));
                self.alarms.insert((self.now + wait, session.id), ());
            }
        }
        true
    }

    fn fail(&self, text: String) -> Next {
        self.shared.borrow_mut().failure.get_or_insert(text);
        Next::Abort
    }

    /// Takes one reply line; an error when it cannot be right.
    fn reply(&self, session: &mut CountingSession, line: &[u8]) -> Result<(), String> {
        let shown = line.escape_ascii();
        if session.quit_sent && session.outstanding == 0 {
            return if line == b"+OK" { Ok(()) } else { Err(format!("QUIT was answered \"{shown}\"")) };
        }
        let value = line.strip_prefix(b":").and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let Some(value) = value else { return Err(format!("INCR was answered \"{shown}\"")) };
        if session.outstanding == 0 {
            return Err(format!("\"{shown}\" answers nothing"));
        }
        session.outstanding -= 1;
        let tally = &mut self.shared.borrow_mut().tallies[session.counter];
        tally.acknowledged += 1;
        if !tally.values.insert(value) {
            return Err(format!("two INCRs of {} were answered {value}", key(session.counter)));
        }
        Ok(())
    }
}

impl App for CountingApp {
    type Session = CountingSession;

    fn begin(&mut self, now: Instant) {
        self.now = now;
    }

    fn connected(
        &mut self,
        id: ConnectionId,
        _ends: &FourTuple,
        place: &mut Option<CountingSession>,
        output: &mut Output,
    ) -> bool {
        let rng = &mut self.rng;
        let (style, batches_left) = match rng.below(10) {
            0..4 => (Style::Plain, 1 + rng.below(4) as usize),
            4..6 => (Style::Pipelined(1 + rng.below(50) as usize), 1 + rng.below(3) as usize),
            6 => (Style::Slow(Duration::from_micros(1 + rng.below(50_000))), 1),
            7..9 => (Style::Quit, 1),
            _ => (Style::Abort, 1),
        };
        let counter = rng.below(COUNTERS as u64) as usize;
        let mut session = CountingSession {
            id,
            counter,
            style,
            batches_left,
            outstanding: 0,
            unsent: VecDeque::new(),
            reply: Vec::new(),
            quit_sent: false,
            aborting: false,
            untouched: true,
        };
        self.shared.borrow_mut().open += 1;
        self.ask(&mut session, output);
        *place = Some(session);
        true
    }

    fn received(&mut self, session: &mut CountingSession, input: &[u8], output: &mut Output) -> Next {
        session.reply.extend_from_slice(input);
        while let Some(end) = session.reply.windows(2).position(|two| two == b"\r\n") {
            let mut line: Vec<u8> = session.reply.drain(..end + 2).collect();
            if TURNED_AWAY.contains(&&line[..]) && session.untouched {
                // None of its requests was run.
                session.outstanding = 0;
                self.shared.borrow_mut().turned_away += 1;
                return Next::Close;
            }
            session.untouched = false;
            line.truncate(end);
            if let Err(error) = self.reply(session, &line) {
                return self.fail(error);
            }
        }
        if session.outstanding > 0 || session.quit_sent {
            return Next::Continue;
        }
        if self.ask(session, output) { Next::Continue } else { Next::Close }
    }

    fn resumed(&mut self, session: &mut CountingSession, output: &mut Output) -> Next {
        if session.aborting {
            return Next::Abort;
        }
        if let Some(byte) = session.unsent.pop_front() {
            output.put(&[byte]);
            if let Style::Slow(pause) = session.style
                && !session.unsent.is_empty()
            {
                self.alarms.insert((self.now + pause, session.id), ());
            }
        }
        Next::Continue
    }

    fn peer_closed(&mut self, session: &mut CountingSession, _output: &mut Output) -> Next {
        if !session.quit_sent || session.outstanding > 0 {
            self.shared.borrow_mut().errors += 1;
        }
        Next::Close
    }

    fn closed(&mut self, session: &mut Option<CountingSession>, reason: EndReason) {
        let Some(session) = session.take() else { return };
        let shared = &mut *self.shared.borrow_mut();
        shared.open -= 1;
        shared.tallies[session.counter].ambiguous += session.outstanding;
        let wanted = match reason {
            EndReason::Closed => session.outstanding == 0,
            EndReason::Aborted => session.aborting,
            EndReason::Reset | EndReason::TimedOut => session.outstanding == 0 && session.batches_left == 0,
        };
        shared.errors += u64::from(!wanted);
    }

    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        while let Some(entry) = self.alarms.first_entry() {
            if entry.key().0 > self.now {
                break;
            }
            into.push(entry.remove_entry().0.1);
        }
    }
}

/// The stack's configuration for clients at this address.
pub fn stack_config(mac: Mac, address: Ipv4Addr) -> stack::Config {
    let mut config = stack::Config::new(mac, address, 16);
    config.connections_max = 256;
    // A server that has forgotten the connection must be found out.
    config.keepalive = Some(Duration::from_secs(30));
    config
}
