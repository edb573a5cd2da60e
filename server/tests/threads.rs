//! What crosses cores, driven by as many threads: clients that wait for keys, and messages.
//! Nothing is lost, doubled or left behind, whoever is first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use netcore::Instant;
use server::session::Session;
use server::{Config, CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, EndReason, Next, Output};

const CORES: usize = 3;

/// One core's driver, with connections but without a network.
struct Core {
    app: CoreApp,
    clients: Vec<Client>,
    now_us: u64,
}

struct Client {
    id: ConnectionId,
    session: Option<Session>,
    waits: bool,
    /// What came and was not looked at.
    replies: Vec<u8>,
}

impl Core {
    fn new(engine: &Arc<Engine>, core: usize) -> Self {
        Self { app: CoreApp::new(engine.clone(), core), clients: Vec::new(), now_us: 0 }
    }

    fn connect(&mut self) -> usize {
        let id = ConnectionId { slot: self.clients.len() as u32, generation: 1 };
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let session = self.app.connected(id, address, address, &mut Output::new());
        self.clients.push(Client { id, session, waits: false, replies: Vec::new() });
        self.clients.len() - 1
    }

    fn say(&mut self, client: usize, command: &str) {
        let session = self.clients[client].session.as_mut().expect("a connected client");
        let mut output = Output::new();
        let next = self.app.received(session, format!("{command}\r\n").as_bytes(), &mut output);
        self.took(client, next, &mut output);
    }

    fn took(&mut self, client: usize, next: Next, output: &mut Output) {
        let client = &mut self.clients[client];
        output.take_chunks().for_each(|chunk| client.replies.extend_from_slice(&chunk));
        client.waits = next == Next::Wait;
        assert!(!matches!(next, Next::Close | Next::Abort));
    }

    /// A round: whoever was woken has its turn.
    fn round(&mut self) {
        self.now_us += 1;
        self.app.begin(Instant::from_micros(self.now_us));
        let mut woken = Vec::new();
        self.app.woken(&mut woken);
        if woken.is_empty() {
            thread::yield_now();
        }
        for id in woken {
            let Some(client) = self.clients.iter().position(|client| client.id == id) else { continue };
            let Some(session) = self.clients[client].session.as_mut() else { continue };
            let mut output = Output::new();
            let next = self.app.resumed(session, &mut output);
            self.took(client, next, &mut output);
        }
    }

    fn close(&mut self, client: usize) {
        self.clients[client].waits = false;
        if let Some(session) = self.clients[client].session.take() {
            self.app.closed(session, EndReason::Closed);
        }
    }

    /// The numbers among the lines that have come.
    fn numbers(&mut self, client: usize) -> Vec<u64> {
        let replies = std::mem::take(&mut self.clients[client].replies);
        let text = String::from_utf8(replies).expect("text");
        text.split("\r\n").filter_map(|line| line.parse().ok()).collect()
    }
}

fn engine() -> Arc<Engine> {
    let start =
        EngineStart { unix_us_at_zero: 1 << 50, secret: [3; 16], seed: 3, cores: CORES, stopwatch: None };
    Arc::new(Engine::new(Config::default(), start))
}

fn assert_nobody_waits(engine: &Engine) {
    assert_eq!(engine.connected(), 0);
    assert_eq!(engine.blocked.load(Ordering::Relaxed), 0);
    for index in 0..engine.shard_count() {
        assert!(engine.lock(index).awaited_keys(0).is_empty());
    }
}

#[test]
fn every_element_goes_to_exactly_one_waiter_and_in_order() {
    const ELEMENTS: u64 = 3_000;
    const STOP: u64 = u64::MAX;
    let engine = engine();
    let consumers: Vec<_> = (1..CORES)
        .map(|core| {
            let engine = engine.clone();
            thread::spawn(move || {
                let mut core = Core::new(&engine, core);
                let clients = [core.connect(), core.connect()];
                let mut got: [Vec<u64>; 2] = Default::default();
                while got.iter().any(|got| got.last() != Some(&STOP)) {
                    for (&client, got) in clients.iter().zip(&mut got) {
                        got.extend(core.numbers(client));
                        if !core.clients[client].waits && got.last() != Some(&STOP) {
                            core.say(client, "BLPOP queue 0");
                        }
                    }
                    core.round();
                }
                clients.into_iter().for_each(|client| core.close(client));
                got
            })
        })
        .collect();
    let mut producer = Core::new(&engine, 0);
    let client = producer.connect();
    for n in 0..ELEMENTS {
        producer.say(client, &format!("RPUSH queue {n}"));
        if n % 16 == 0 {
            producer.round();
        }
    }
    for _ in 0..2 * (CORES - 1) {
        producer.say(client, &format!("RPUSH queue {STOP}"));
    }
    let mut all = Vec::new();
    for consumer in consumers {
        for mut got in consumer.join().expect("no panic") {
            assert_eq!(got.pop(), Some(STOP));
            assert!(got.is_sorted(), "first in, first out");
            all.extend(got);
        }
    }
    all.sort_unstable();
    assert!(all.into_iter().eq(0..ELEMENTS), "each once");
    producer.close(client);
    assert_nobody_waits(&engine);
}

#[test]
fn waiters_that_go_while_elements_come_leave_nothing() {
    const ELEMENTS: usize = 1_500;
    let engine = engine();
    let produced = Arc::new(AtomicBool::new(false));
    let waiters: Vec<_> = (1..CORES)
        .map(|core| {
            let (engine, produced) = (engine.clone(), produced.clone());
            thread::spawn(move || {
                let mut core = Core::new(&engine, core);
                let (mut got, mut gone) = (0, 0);
                while !produced.load(Ordering::Acquire) {
                    let client = core.connect();
                    core.say(client, "BLPOP a b c 0");
                    core.round();
                    got += usize::from(!core.clients[client].replies.is_empty());
                    gone += usize::from(core.clients[client].waits);
                    core.close(client);
                    core.clients.clear();
                }
                (got, gone)
            })
        })
        .collect();
    let mut producer = Core::new(&engine, 0);
    let client = producer.connect();
    for n in 0..ELEMENTS {
        producer.say(client, &format!("RPUSH {} {n}", ["a", "b", "c"][n % 3]));
        producer.round();
    }
    produced.store(true, Ordering::Release);
    let (mut got, mut gone) = (0, 0);
    for waiter in waiters {
        let (some, others) = waiter.join().expect("no panic");
        (got, gone) = (got + some, gone + others);
    }
    producer.numbers(client);
    producer.clients[client].replies.clear();
    let mut left = 0;
    for key in ["a", "b", "c"] {
        producer.say(client, &format!("LLEN {key}"));
        let reply = std::mem::take(&mut producer.clients[client].replies);
        let text = String::from_utf8(reply).expect("text");
        left += text.trim_start_matches(':').trim_end().parse::<usize>().expect("a number");
    }
    // An element may have been given to somebody who went before its turn came; no other is lost.
    assert!(got + left <= ELEMENTS && got + left + gone >= ELEMENTS, "{got} {left} {gone}");
    producer.close(client);
    assert_nobody_waits(&engine);
}

#[test]
fn every_message_comes_to_every_listener_once_and_in_order() {
    const MESSAGES: u64 = 1_500;
    let engine = engine();
    let ready = Arc::new(AtomicUsize::new(0));
    let listeners: Vec<_> = (1..CORES)
        .map(|core| {
            let (engine, ready) = (engine.clone(), ready.clone());
            thread::spawn(move || {
                let mut core = Core::new(&engine, core);
                let (steady, moody) = (core.connect(), core.connect());
                core.say(steady, "SUBSCRIBE even odd");
                core.numbers(steady);
                ready.fetch_add(1, Ordering::Release);
                let mut got: [Vec<u64>; 2] = Default::default();
                while got.iter().map(Vec::len).sum::<usize>() < 2 * MESSAGES as usize {
                    // Comes and goes meanwhile.
                    core.say(moody, "PSUBSCRIBE e* o*");
                    core.round();
                    core.say(moody, "PUNSUBSCRIBE");
                    for number in core.numbers(steady) {
                        got[(number % 2) as usize].push(number);
                    }
                }
                core.close(steady);
                core.close(moody);
                got
            })
        })
        .collect();
    while ready.load(Ordering::Acquire) < CORES - 1 {
        thread::yield_now();
    }
    // Two speakers on two threads; the order among them is open.
    let speakers: Vec<_> = ["even", "odd"]
        .into_iter()
        .zip(0..)
        .map(|(channel, first)| {
            let engine = engine.clone();
            thread::spawn(move || {
                let mut core = Core::new(&engine, 0);
                let client = core.connect();
                for n in 0..MESSAGES {
                    core.say(client, &format!("PUBLISH {channel} {}", 2 * n + first));
                }
                core.close(client);
            })
        })
        .collect();
    speakers.into_iter().for_each(|speaker| speaker.join().expect("no panic"));
    for listener in listeners {
        for (got, first) in listener.join().expect("no panic").iter().zip(0..) {
            assert!(got.iter().copied().eq((0..MESSAGES).map(|n| 2 * n + first)));
        }
    }
    assert_eq!(engine.pubsub.len(server::pubsub::Kind::Channel), 0);
    assert_eq!(engine.pubsub.len(server::pubsub::Kind::Pattern), 0);
    assert_nobody_waits(&engine);
}
