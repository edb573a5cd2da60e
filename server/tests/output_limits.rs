//! What waits for a client is limited: replies that it does not take, requests that it does not
//! end. The test is the transport: it says how much of a client's output waits.

#![allow(missing_docs)]

mod support;

use std::sync::Arc;

use netcore::{FourTuple, Instant};
use server::session::Session;
use server::{Config, CoreApp, Engine, EngineStart};
use stack::{App, ConnectionId, Next, Output};
use support::{Server, command};

struct World {
    app: CoreApp,
    now_s: u64,
    clients: u32,
}

/// A client that takes nothing unless the test says so.
struct Client {
    session: Session,
    id: ConnectionId,
    queued: usize,
}

impl World {
    fn new(limits: &[&str]) -> Self {
        let start = EngineStart {
            unix_us_at_zero: 1_700_000_000_000_000,
            secret: [7; 16],
            seed: 1,
            cores: 1,
            stopwatch: None,
        };
        let engine = Arc::new(Engine::new(Config::default(), start));
        let mut world = Self { app: CoreApp::new(engine, 0), now_s: 0, clients: 0 };
        world.pass(0);
        let mut client = world.connect();
        for limit in limits {
            let set = command(&[b"CONFIG", b"SET", b"client-output-buffer-limit", limit.as_bytes()]);
            assert_eq!(world.send(&mut client, &set), Next::Continue);
        }
        world
    }
    fn connect(&mut self) -> Client {
        self.clients += 1;
        let address = "198.18.0.1:1000".parse().unwrap();
        let id = ConnectionId { slot: self.clients, generation: 1 };
        let (ends, mut session) = (FourTuple::between(address, address), None);
        assert!(self.app.connected(id, &ends, &mut session, &mut Output::new()), "room");
        Client { session: session.unwrap(), id, queued: 0 }
    }
    fn with(
        &mut self,
        client: &mut Client,
        call: impl FnOnce(&mut CoreApp, &mut Session, &mut Output) -> Next,
    ) -> (Next, Vec<u8>) {
        let mut output = Output::new();
        output.set_queued(client.queued);
        let next = call(&mut self.app, &mut client.session, &mut output);
        client.queued = output.waiting();
        (next, output.take_chunks().flatten().collect())
    }
    fn send(&mut self, client: &mut Client, bytes: &[u8]) -> Next {
        self.with(client, |app, session, output| app.received(session, bytes, output)).0
    }
    fn ask(&mut self, line: &str) -> String {
        let mut client = self.connect();
        let line = format!("{line}\r\n");
        let received = |app: &mut CoreApp, session: &mut Session, output: &mut Output| {
            app.received(session, line.as_bytes(), output)
        };
        let (_, bytes) = self.with(&mut client, received);
        self.app.closed(&mut Some(client.session), stack::EndReason::Closed);
        String::from_utf8_lossy(&bytes).into_owned()
    }
    fn pass(&mut self, seconds: u64) {
        self.now_s += seconds;
        self.app.begin(Instant::from_micros(self.now_s * 1_000_000));
    }
    /// Seconds pass; the client is resumed when the application names it.
    fn wait(&mut self, client: &mut Client, seconds: u64) -> Next {
        let mut next = Next::Continue;
        for _ in 0..seconds {
            self.pass(1);
            let mut woken = Vec::new();
            self.app.woken(&mut woken);
            if woken.contains(&client.id) {
                next = self.with(client, |app, session, output| app.resumed(session, output)).0;
            }
        }
        next
    }
    fn closed_for_output(&mut self) -> bool {
        self.ask("INFO stats").contains("client_output_buffer_limit_disconnections:1\r\n")
    }
}

fn large_value(world: &mut World) {
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, &command(&[b"SET", b"k", &vec![b'v'; 100_000]])), Next::Continue);
}

#[test]
fn by_default_any_amount_may_wait_for_a_normal_client() {
    let mut world = World::new(&[]);
    large_value(&mut world);
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, &b"GET k\r\n".repeat(2000)), Next::Continue);
    assert!(client.queued > 200_000_000);
    assert_eq!(world.wait(&mut client, 100), Next::Continue);
}

#[test]
fn the_hard_limit_stops_a_pipeline_where_it_is_reached() {
    let mut world = World::new(&["normal 1000000 0 0"]);
    large_value(&mut world);
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, &b"GET k\r\n".repeat(9)), Next::Continue);
    assert!(!world.closed_for_output());
    assert_eq!(world.send(&mut client, &b"GET k\r\n".repeat(2000)), Next::Abort);
    assert!(client.queued < 1_200_000, "{}", client.queued);
    assert!(world.closed_for_output());
    // Who takes its replies goes on.
    let mut other = world.connect();
    for _ in 0..100 {
        assert_eq!(world.send(&mut other, &b"GET k\r\n".repeat(5)), Next::Continue);
        other.queued = 0;
    }
    assert!(world.closed_for_output());
}

#[test]
fn small_replies_never_count() {
    let mut world = World::new(&["normal 1 1 1"]);
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, &b"PING\r\n".repeat(1000)), Next::Continue);
    assert_eq!(world.wait(&mut client, 10), Next::Continue);
}

#[test]
fn the_soft_limit_has_its_time() {
    let mut world = World::new(&["normal 0 150000 2"]);
    large_value(&mut world);
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, b"GET k\r\nGET k\r\n"), Next::Continue);
    assert_eq!(world.wait(&mut client, 2), Next::Continue);
    // Some is taken: the time begins anew when it is too much again.
    client.queued = 100_000;
    assert_eq!(world.wait(&mut client, 1), Next::Continue);
    client.queued = 200_000;
    assert_eq!(world.wait(&mut client, 3), Next::Continue);
    assert!(!world.closed_for_output());
    assert_eq!(world.wait(&mut client, 1), Next::Abort);
    assert!(world.closed_for_output());
}

#[test]
fn lists_show_what_waits_and_no_longer() {
    let mut world = World::new(&[]);
    large_value(&mut world);
    let mut client = world.connect();
    world.send(&mut client, b"GET k\r\nGET k\r\n*2\r\n$3\r\nGET\r\n");
    let id = client.session.info.id();
    let list = format!("CLIENT LIST ID {id}");
    let shown = world.ask(&list);
    assert!(
        shown.contains(" omem=200022 ") && shown.contains(" oll=13 ") && shown.contains(" qbuf=13 "),
        "{shown}"
    );
    let total: usize = shown.split("tot-mem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((200_000..201_000).contains(&total), "{shown}");
    client.queued = 0;
    world.wait(&mut client, 2);
    assert!(world.ask(&list).contains(" oll=0 omem=0 "));
}

#[test]
fn messages_that_no_core_fetches_are_limited_too() {
    let mut world = World::new(&["pubsub 3mb 0 0"]);
    let mut listener = world.connect();
    world.send(&mut listener, b"SUBSCRIBE ch\r\n");
    let mut publisher = world.connect();
    let message = command(&[b"PUBLISH", b"ch", &vec![b'm'; 1 << 20]]);
    for _ in 0..5 {
        world.send(&mut publisher, &message);
    }
    let id = listener.session.info.id();
    let shown = world.ask(&format!("CLIENT LIST ID {id}"));
    let waiting: usize = shown.split("omem=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((2 << 20..3 << 20).contains(&waiting), "{shown}");
    assert_eq!(world.wait(&mut listener, 1), Next::Abort);
    assert!(world.closed_for_output());
    // One message that is too large by itself.
    let mut listener = world.connect();
    world.send(&mut listener, b"SUBSCRIBE ch\r\n");
    world.send(&mut publisher, &command(&[b"PUBLISH", b"ch", &vec![b'm'; 4 << 20]]));
    assert_eq!(world.wait(&mut listener, 1), Next::Abort);
}

#[test]
fn an_endless_request_is_not_kept() {
    let mut world = World::new(&[]);
    assert_eq!(world.ask("CONFIG SET client-query-buffer-limit 1mb"), "+OK\r\n");
    assert_eq!(
        world.ask("CONFIG GET client-query-buffer-limit"),
        "*2\r\n$25\r\nclient-query-buffer-limit\r\n$7\r\n1048576\r\n"
    );
    let mut client = world.connect();
    assert_eq!(world.send(&mut client, b"*2\r\n$3\r\nGET\r\n$5000000\r\n"), Next::Continue);
    let part = [b'x'; 65_536];
    let parts = (0..100).take_while(|_| world.send(&mut client, &part) == Next::Continue).count();
    assert_eq!(parts, 15);
    // Commands behind MULTI wait as well.
    let mut client = world.connect();
    world.send(&mut client, b"MULTI\r\n");
    let set = command(&[b"SET", b"k", &[b'x'; 100_000]]);
    let queued = (0..100).take_while(|_| world.send(&mut client, &set) == Next::Continue).count();
    assert_eq!(queued, 10);
    assert!(world.ask("INFO stats").contains("client_query_buffer_limit_disconnections:2\r\n"));
}

#[test]
fn on_kernel_sockets_who_reads_nothing_is_closed_at_the_limit() {
    let server = Server::start();
    let mut other = server.client();
    other.call(&[b"SET", b"k", &vec![b'v'; 1 << 20]]);
    other.call(&[b"CONFIG", b"SET", b"client-output-buffer-limit", b"normal 16mb 0 0"]);
    let mut client = server.client();
    client.send(&b"GET k\r\n".repeat(100));
    while !other.ask("INFO stats").contains("client_output_buffer_limit_disconnections:1\r\n") {}
    assert!(client.rest().len() < 64 << 20);
    // A pipeline that is read only after it was sent is served, however large its replies are.
    other.call(&[b"CONFIG", b"SET", b"client-output-buffer-limit", b"normal 0 0 0"]);
    let mut client = server.client();
    client.send(&b"GET k\r\n".repeat(100));
    for _ in 0..100 {
        assert_eq!(client.reply().len(), (1 << 20) + "$1048576\r\n\r\n".len());
    }
}
