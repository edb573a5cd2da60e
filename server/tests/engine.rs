//! The engine by itself, with a clock that only the test moves.

#![allow(missing_docs)]

use std::sync::Arc;

use netcore::{FourTuple, Instant};
use server::session::Session;
use server::{Config, CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, EndReason, Next, Output};

const START_MS: i64 = 1_700_000_000_000;

struct World {
    engine: Arc<Engine>,
    app: CoreApp,
    now_ms: u64,
    clients: u32,
}

impl World {
    fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let start = EngineStart {
            unix_us_at_zero: START_MS * 1000,
            secret: [7; 16],
            seed: 1,
            cores: 1,
            stopwatch: None,
        };
        let engine = Arc::new(Engine::new(config, start));
        let mut app = CoreApp::new(engine.clone(), 0);
        app.begin(Instant::ZERO);
        Self { engine, app, now_ms: 0, clients: 0 }
    }
    fn connect(&mut self) -> Session {
        self.clients += 1;
        let address = "198.18.0.1:1000".parse().unwrap();
        let id = ConnectionId { slot: self.clients, generation: 1 };
        let (ends, mut session) = (FourTuple::between(address, address), None);
        assert!(self.app.connected(id, &ends, &mut session, &mut Output::new()), "room for a client");
        session.unwrap()
    }
    fn send(&mut self, session: &mut Session, bytes: &[u8]) -> (Next, String) {
        let mut output = Output::new();
        let next = self.app.received(session, bytes, &mut output);
        let bytes: Vec<u8> = output.take_chunks().flatten().collect();
        (next, String::from_utf8_lossy(&bytes).into_owned())
    }
    fn ask(&mut self, session: &mut Session, line: &str) -> String {
        self.send(session, format!("{line}\r\n").as_bytes()).1
    }
    fn pass(&mut self, ms: u64) -> Instant {
        self.now_ms += ms;
        let now = Instant::from_micros(self.now_ms * 1000);
        self.app.begin(now);
        now
    }
}

#[test]
fn keys_expire_to_the_millisecond_when_they_are_met() {
    let mut world = World::new(|_| {});
    let mut client = world.connect();
    world.ask(&mut client, "SET k v PX 1000");
    world.pass(999);
    assert_eq!(world.ask(&mut client, "GET k"), "$1\r\nv\r\n");
    assert_eq!(world.ask(&mut client, "PTTL k"), ":1\r\n");
    world.pass(1);
    assert_eq!(world.ask(&mut client, "DBSIZE"), ":1\r\n");
    assert_eq!(world.ask(&mut client, "GET k"), "$-1\r\n");
    assert_eq!(world.ask(&mut client, "DBSIZE"), ":0\r\n");
}

#[test]
fn writes_to_an_expired_key_begin_anew() {
    let mut world = World::new(|_| {});
    let mut client = world.connect();
    for (write, reply, after) in [
        ("INCR k", ":1\r\n", "$1\r\n1\r\n"),
        ("APPEND k x", ":1\r\n", "$1\r\nx\r\n"),
        ("SETNX k n", ":1\r\n", "$1\r\nn\r\n"),
        ("SETRANGE k 0 y", ":1\r\n", "$1\r\ny\r\n"),
        ("SET k z KEEPTTL", "+OK\r\n", "$1\r\nz\r\n"),
    ] {
        world.ask(&mut client, "SET k 100 PX 10");
        world.pass(10);
        assert_eq!(world.ask(&mut client, write), reply, "{write}");
        assert_eq!(world.ask(&mut client, "GET k"), after, "{write}");
        assert_eq!(world.ask(&mut client, "TTL k"), ":-1\r\n", "{write}");
    }
    world.ask(&mut client, "SET k 100 PX 10");
    world.pass(10);
    assert_eq!(world.ask(&mut client, "DEL k"), ":0\r\n");
}

#[test]
fn expired_keys_are_removed_without_being_asked_for() {
    let mut world = World::new(|_| {});
    let mut client = world.connect();
    for number in 0..5000 {
        world.ask(&mut client, &format!("SET key{number} v PX {}", 1 + number % 100));
    }
    world.ask(&mut client, "SET stays v");
    let now = world.pass(50);
    while world.engine.expire_some(now) {}
    assert_eq!(world.ask(&mut client, "DBSIZE"), ":2501\r\n");
    let now = world.pass(50);
    while world.engine.expire_some(now) {}
    assert_eq!(world.ask(&mut client, "DBSIZE"), ":1\r\n");
}

#[test]
fn a_watched_key_that_expires_stops_the_transaction() {
    let mut world = World::new(|_| {});
    let (mut client, mut other) = (world.connect(), world.connect());
    for (met_by_others, queued) in [(true, "PING"), (false, "PING"), (false, "DBSIZE")] {
        world.ask(&mut client, "SET k v PX 10");
        world.ask(&mut client, "WATCH k");
        world.pass(10);
        if met_by_others {
            world.ask(&mut other, "GET k");
        }
        assert_eq!(world.ask(&mut client, "MULTI"), "+OK\r\n");
        assert_eq!(world.ask(&mut client, queued), "+QUEUED\r\n");
        assert_eq!(world.ask(&mut client, "EXEC"), "*-1\r\n");
    }
}

#[test]
fn a_walk_shows_every_key_while_others_come_and_go() {
    let mut world = World::new(|_| {});
    let mut client = world.connect();
    for number in 0..3000 {
        world.ask(&mut client, &format!("SET stay{number} v"));
    }
    let mut seen = std::collections::HashSet::new();
    let (mut cursor, mut extra) = ("0".to_string(), 0);
    loop {
        let reply = world.ask(&mut client, &format!("SCAN {cursor} COUNT 7"));
        let mut words = reply.split("\r\n").filter(|line| !line.starts_with(['*', '$']) && !line.is_empty());
        cursor = words.next().expect("a cursor").to_string();
        seen.extend(words.map(str::to_string));
        if cursor == "0" {
            break;
        }
        for _ in 0..20 {
            world.ask(&mut client, &format!("SET extra{extra} v"));
            extra += 1;
        }
        world.ask(&mut client, &format!("DEL extra{}", extra / 2));
    }
    assert!((0..3000).all(|number| seen.contains(&format!("stay{number}"))));
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let mut world = World::new(|config| config.timeout_s = 10);
    let mut client = world.connect();
    world.ask(&mut client, "PING");
    let mut woken = Vec::new();
    world.pass(9_000);
    world.app.woken(&mut woken);
    assert!(woken.is_empty());
    world.pass(3_000);
    world.app.woken(&mut woken);
    world.app.woken(&mut woken);
    assert_eq!(woken.len(), 1);
    assert_eq!(world.app.resumed(&mut client, &mut Output::new()), Next::Close);
    world.app.closed(&mut Some(client), EndReason::Closed);
    assert!(world.engine.clients().is_empty());
}

#[test]
fn a_client_that_leaves_leaves_nothing_behind() {
    let mut world = World::new(|_| {});
    for _ in 0..1000 {
        let mut client = world.connect();
        world.ask(&mut client, "WATCH a b c");
        world.ask(&mut client, "MULTI");
        world.ask(&mut client, "SET a 1");
        world.send(&mut client, b"*2\r\n$3\r\nGE");
        world.app.closed(&mut Some(client), EndReason::Reset);
    }
    assert!(world.engine.clients().is_empty());
    assert_eq!(world.engine.connected(), 0);
    for index in 0..world.engine.shard_count() {
        assert!(world.engine.lock(index).watched_keys(0).is_empty());
    }
}

#[test]
fn a_request_in_small_pieces_costs_its_length_once() {
    let mut world = World::new(|_| {});
    let mut client = world.connect();
    let value = vec![b'v'; 8 << 20];
    let mut request = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()).into_bytes();
    request.extend_from_slice(&value);
    request.extend_from_slice(b"\r\n*1\r\n$4\r\nPING\r\n");
    let mut replies = String::new();
    for piece in request.chunks(1460) {
        replies.push_str(&world.send(&mut client, piece).1);
    }
    assert_eq!(replies, "+OK\r\n+PONG\r\n");
    assert_eq!(world.ask(&mut client, "STRLEN k"), format!(":{}\r\n", value.len()));
}

#[test]
fn what_the_network_can_change_is_set_and_the_rest_says_why_not() {
    let mut world = World::new(|config| {
        config.network.set("net", "packet:eth0").unwrap();
        config.network.set("address", "198.18.0.2/24").unwrap();
        config.network.set("offload", "none").unwrap();
    });
    let mut client = world.connect();
    for (name, value) in [
        ("user-timeout", "7"),
        ("congestion", "newreno"),
        ("nagle", "yes"),
        ("ttl", "9"),
        ("waiting-max", "0"),
    ] {
        assert_eq!(world.ask(&mut client, &format!("CONFIG SET {name} {value}")), "+OK\r\n", "{name}");
        let shown = world.ask(&mut client, &format!("CONFIG GET {name}"));
        assert!(shown.ends_with(&format!("\r\n{value}\r\n")), "{name}: {shown}");
    }
    for (words, problem) in [
        ("ecn off", "takes effect at the start"),
        ("last-data-max 1kb", "takes effect at the start"),
        ("offload lifecycle", "takes effect at the start"),
        ("port 1", "can't set immutable config"),
        ("ttl 0", "not a number of hops"),
        // As at the start: there is no firmware that could.
        ("waiting-max 9", "needs --offload lifecycle"),
        ("ttl 10 ecn off", "takes effect at the start"),
    ] {
        let said = world.ask(&mut client, &format!("CONFIG SET {words}"));
        assert!(said.starts_with("-ERR CONFIG SET failed") && said.contains(problem), "{words}: {said}");
    }
    assert!(world.ask(&mut client, "CONFIG GET ttl").ends_with("\r\n9\r\n"), "all or nothing");
}
