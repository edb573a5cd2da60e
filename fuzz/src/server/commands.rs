//! Commands as clients send them: three connections of one engine, requests cut anywhere, time
//! that passes. Every reply is well formed, every command gets exactly one, and nothing of a
//! client is left when all have gone.

use std::net::SocketAddr;
use std::sync::Arc;

use netcore::{Duration, FourTuple, Instant};
use protocol::resp::number::parse_i64;
use server::command::table::TABLE;
use server::session::Session;
use server::{Config, CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, EndReason, Next, Output};

use crate::input::Input;
use crate::reader::{self, Value};

const CLIENTS: usize = 3;
/// Steps of one input.
const STEPS_MAX: usize = 120;

/// What stands for an argument, beside free bytes.
const WORDS: [&str; 96] = [
    "a",
    "b",
    "c",
    "list",
    "set",
    "hash",
    "zset",
    "0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "-5",
    "100",
    "1000",
    "1.5",
    "-inf",
    "+inf",
    "inf",
    "(1",
    "[a",
    "(b",
    "-",
    "+",
    "nan",
    "1e3",
    "*",
    "?",
    "[a-c]",
    "a*",
    "NX",
    "XX",
    "GT",
    "LT",
    "CH",
    "INCR",
    "EX",
    "PX",
    "EXAT",
    "PXAT",
    "KEEPTTL",
    "PERSIST",
    "GET",
    "COUNT",
    "MATCH",
    "TYPE",
    "WITHSCORES",
    "WITHVALUES",
    "LIMIT",
    "BYSCORE",
    "BYLEX",
    "REV",
    "WEIGHTS",
    "AGGREGATE",
    "SUM",
    "MIN",
    "MAX",
    "LEFT",
    "RIGHT",
    "BEFORE",
    "AFTER",
    "STORE",
    "BY",
    "ASC",
    "DESC",
    "ALPHA",
    "REPLACE",
    "DB",
    "IDLETIME",
    "FREQ",
    "BIT",
    "BYTE",
    "AND",
    "OR",
    "XOR",
    "NOT",
    "u8",
    "i16",
    "#1",
    "OVERFLOW",
    "WRAP",
    "SAT",
    "FAIL",
    "field",
    "member",
    "key:1",
    "key:2",
    "key:*",
    "#",
    "key:*->f",
    "TIMEOUT",
    "RANK",
    "MAXLEN",
    "LEN",
    "IDX",
];

struct World {
    engine: Arc<Engine>,
    app: CoreApp,
    clients: Vec<Client>,
    /// Of clients that have left; for the next ones.
    spare: Vec<Session>,
    now: Instant,
    slots: u32,
}

struct Client {
    id: ConnectionId,
    session: Option<Session>,
    waits: bool,
    /// Commands that were sent whole and have no reply yet.
    owed: usize,
    /// Pushes and several replies to one command may come: replies are not counted any more.
    uncounted: bool,
    /// What was sent as free bytes, of which nobody knows how many commands it is.
    free: bool,
}

/// The input is a list of steps: who says what, and how much time passes.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let mut world = World::new(&mut input);
    input.steps(STEPS_MAX, |input| {
        world.step(input);
        world.wake();
    });
    world.end();
}

impl World {
    fn new(input: &mut Input<'_>) -> Self {
        let config =
            Config { databases: 2, proto_max_bulk_len: 1 << 16, timeout_s: 100, ..Config::default() };
        let start = EngineStart {
            unix_us_at_zero: 1_700_000_000_000_000,
            secret: [input.u8(); 16],
            seed: 7,
            cores: 1,
            stopwatch: None,
        };
        let engine = Arc::new(Engine::new(config, start));
        let app = CoreApp::new(engine.clone(), 0);
        let (clients, spare) = (Vec::new(), Vec::new());
        let mut world = Self { engine, app, clients, spare, now: Instant::from_micros(1), slots: 0 };
        world.app.begin(world.now);
        for _ in 0..CLIENTS {
            let client = world.connect();
            world.clients.push(client);
        }
        world
    }

    fn connect(&mut self) -> Client {
        let id = ConnectionId { slot: self.slots, generation: 1 };
        self.slots += 1;
        let address = |port: u32| SocketAddr::from(([127, 0, 0, 1], port as u16));
        let mut output = Output::new();
        let ends = FourTuple::between(address(6379), address(10_000 + id.slot));
        let mut session = self.spare.pop();
        let accepted = self.app.connected(id, &ends, &mut session, &mut output);
        assert!(output.is_empty() && accepted && session.is_some());
        Client { id, session, waits: false, owed: 0, uncounted: false, free: false }
    }

    fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(CLIENTS);
        match input.below(12) {
            0 => {
                let span = input.pick(&[1, 1000, 100_000, 2_000_000, 200_000_000]);
                self.now += Duration::from_micros(span);
                self.app.begin(self.now);
                self.engine.expire_some(self.now);
            }
            1 => {
                self.close(at);
                self.clients[at] = self.connect();
            }
            2 => {
                let bytes = input.bytes();
                if is_harmless(bytes) {
                    self.clients[at].free = true;
                    self.send(at, bytes);
                }
            }
            _ => {
                let Some(command) = command(input) else { return };
                let name = command[0].to_ascii_lowercase();
                let bytes = written(&command);
                let cut = if input.u8() < 200 { 0 } else { input.below(bytes.len()) };
                self.send(at, &bytes[..cut]);
                let client = &mut self.clients[at];
                client.owed += 1;
                client.uncounted |= ends_counting(&name);
                self.send(at, &bytes[cut..]);
            }
        }
    }

    fn send(&mut self, at: usize, bytes: &[u8]) {
        let client = &mut self.clients[at];
        // A driver keeps what comes while a client waits; here it is just not said.
        if client.waits || bytes.is_empty() {
            client.uncounted |= client.waits;
            return;
        }
        let Some(session) = &mut client.session else { return };
        let mut output = Output::new();
        let next = self.app.received(session, bytes, &mut output);
        self.took(at, next, &mut output);
    }

    fn wake(&mut self) {
        let mut woken = Vec::new();
        self.app.woken(&mut woken);
        for id in woken {
            let Some(at) = self.clients.iter().position(|client| client.id == id) else { continue };
            let Some(session) = &mut self.clients[at].session else { continue };
            let mut output = Output::new();
            let next = self.app.resumed(session, &mut output);
            self.took(at, next, &mut output);
        }
    }

    fn took(&mut self, at: usize, next: Next, output: &mut Output) {
        let bytes: Vec<u8> = output.take_chunks().flatten().collect();
        let client = &mut self.clients[at];
        client.waits = next == Next::Wait;
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let Some((value, behind)) = reader::value(rest) else {
                panic!("not a reply: {}", rest.escape_ascii());
            };
            rest = behind;
            if !client.uncounted && !client.free && !matches!(value, Value::Push(_)) {
                assert!(client.owed > 0, "a reply to nothing: {value:?}");
                client.owed -= 1;
            }
        }
        match next {
            Next::Continue => {
                let all = client.owed == 0 || client.uncounted || client.free;
                assert!(all || client.session.is_none(), "a command without reply");
            }
            Next::Wait => {}
            Next::Close | Next::Abort => self.close(at),
        }
    }

    fn close(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.waits = false;
        if client.session.is_some() {
            self.app.closed(&mut client.session, EndReason::Closed);
            self.spare.extend(client.session.take());
        }
    }

    fn end(mut self) {
        (0..CLIENTS).for_each(|at| self.close(at));
        assert_eq!(self.engine.connected(), 0);
        assert_eq!(self.engine.blocked.load(core::sync::atomic::Ordering::Relaxed), 0);
        for kind in
            [server::pubsub::Kind::Channel, server::pubsub::Kind::Pattern, server::pubsub::Kind::Shard]
        {
            assert_eq!(self.engine.pubsub.len(kind), 0);
        }
        for index in 0..self.engine.shard_count() {
            let shard = self.engine.lock(index);
            assert!((0..2).all(|db| shard.awaited_keys(db).is_empty()), "somebody still waits for a key");
        }
        assert_eq!(self.app.next_deadline(), None);
    }
}

fn command(input: &mut Input<'_>) -> Option<Vec<Vec<u8>>> {
    let rows = TABLE.rows();
    let row = &rows[input.below(256) % rows.len()];
    let mut command = vec![row.command.name.as_bytes().to_vec()];
    for _ in 0..input.below(8) {
        let choice = usize::from(input.u8());
        command.push(match WORDS.get(choice) {
            Some(word) => word.as_bytes().to_vec(),
            None => input.take(choice % 12).to_vec(),
        });
    }
    let wanted = usize::from(row.command.arity.unsigned_abs());
    // Mostly enough arguments, so that commands are reached.
    while command.len() < wanted && input.u8() < 250 {
        command.push(WORDS[usize::from(input.u8()) % WORDS.len()].as_bytes().to_vec());
    }
    is_harmless(&command.join(&b' ')).then_some(command)
}

/// False for what may take long by what it means: a million random members, a longer limit.
fn is_harmless(bytes: &[u8]) -> bool {
    let words = bytes.split(|byte| matches!(byte, b' ' | b'\r' | b'\n'));
    let huge = words.into_iter().filter_map(parse_i64).any(|value| value < -5000);
    let lower = bytes.to_ascii_lowercase();
    let has = |word: &[u8]| lower.windows(word.len()).any(|window| window == word);
    !(huge && (has(b"randmember") || has(b"randfield")) || has(b"bulk-len"))
}

/// Commands after which replies do not count one for one.
fn ends_counting(name: &[u8]) -> bool {
    let has = |word: &[u8]| name.windows(word.len()).any(|window| window == word);
    has(b"subscribe") || name == b"quit" || name == b"shutdown" || name == b"client"
}

fn written(command: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", command.len()).into_bytes();
    for arg in command {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
