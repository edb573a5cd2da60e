//! Steering in a whole machine: firmware, rings, and two cores with a stack each and one engine.

use std::net::Ipv4Addr;
use std::sync::Arc;

use netcore::port::Capabilities;
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Frame, FrameQueue, Instant, Port};
use nicfw::{Event, INDIRECTION, Offload, Steer};
use protocol::ethernet::{self, Mac};
use protocol::resp::first_key::key_slot;
use protocol::tcp::{self, Flags, Options, SeqNumber};
use server::{CoreApp, Engine, EngineStart};
use sim::frame::{Pool, SimFrame};
use sim::machine::{Machine, MachineConfig};
use sim::packet::{Route, TCP_AT, tcp_frame, tcp_header};
use sim::trace::Trace;
use stack::{AcceptPolicy, State};

const CORES: usize = 2;
const PORT: u16 = 6379;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PSH_ACK: Flags = Flags(0x18);

struct Lab {
    machine: Machine<RingPort<SimFrame>, CoreApp>,
    wire: RingPort<SimFrame>,
    frames: FrameQueue<SimFrame>,
    pool: Pool,
}

/// A client's connection: where its numbers stand.
struct Client {
    port: u16,
    snd_nxt: u32,
    rcv_nxt: u32,
}

impl Lab {
    fn new(steer: Steer) -> Self {
        let mut config = MachineConfig {
            firmware: nicfw::Config::new(SERVER_MAC),
            stack: stack::Config::new(SERVER_MAC, SERVER, 16),
            ring_frames: 256,
            port: PORT,
            accept: AcceptPolicy::Deferred,
        };
        config.firmware.queues = CORES;
        config.firmware.steer = steer;
        config.firmware.offload = Offload::Lifecycle;
        (config.firmware.flows_max, config.firmware.time_wait_max) = (1024, 1024);
        config.stack.offload = stack::Offload::Lifecycle;
        let start = EngineStart {
            unix_us_at_zero: 1_700_000_000_000_000,
            secret: [9; 16],
            seed: 1,
            cores: CORES,
            stopwatch: None,
        };
        let engine = Arc::new(Engine::new(server::Config::default(), start));
        let apps = (0..CORES).map(|core| CoreApp::new(Arc::clone(&engine), core)).collect();
        let capabilities = Capabilities::new(SERVER_MAC.0, 1500);
        let (near, far) = ring::pair(1024, capabilities);
        let pool = Pool::new(2048, 4096);
        let machine = Machine::new(config, apps, near, pool.clone(), SeededRng::new(1), Trace::default());
        let mut lab = Self { machine, wire: far, frames: FrameQueue::with_capacity(1024), pool };
        lab.settle();
        lab
    }

    /// Rounds until nobody has anything to do; what was sent to the clients.
    fn settle(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while self.machine.round(Instant::from_micros(1_000_000)) {
            self.wire.receive(&mut self.frames, 1024);
            sent.extend(std::iter::from_fn(|| self.frames.pop()).map(|frame| frame.bytes().to_vec()));
        }
        sent
    }

    /// A segment to the server, and the payload of what comes back with its header.
    fn exchange(&mut self, client: &mut Client, flags: Flags, data: &[u8]) -> Vec<(tcp::Header, Vec<u8>)> {
        let route = Route {
            src_mac: Mac([2, 0, 0, 0, 0, 1]),
            dst_mac: SERVER_MAC,
            src: Ipv4Addr::new(198, 18, 0, 1).into(),
            dst: SERVER.into(),
        };
        let header = tcp::Header {
            src_port: client.port,
            dst_port: PORT,
            seq: SeqNumber(client.snd_nxt),
            ack: SeqNumber(client.rcv_nxt),
            flags,
            window: 60_000,
            urgent: 0,
            header_len: tcp::HEADER_LEN,
        };
        let bytes = tcp_frame(&route, &header, &Options::default(), data);
        let frame = self.pool.frame_with(&bytes).expect("a frame");
        self.frames.push(frame).expect("room");
        self.wire.send(&mut self.frames);
        client.snd_nxt += data.len() as u32 + u32::from(flags.any(Flags::SYN | Flags::FIN));
        let answers: Vec<_> = self
            .settle()
            .iter()
            .filter_map(|bytes| tcp_header(bytes).map(|header| (header, bytes)))
            .filter(|(header, _)| header.dst_port == client.port)
            .map(|(header, bytes)| {
                let ip = protocol::ip::Header::parse(&bytes[ethernet::HEADER_LEN..]).expect("IP");
                let end = ethernet::HEADER_LEN + ip.total_len;
                (header, bytes[TCP_AT + header.header_len..end].to_vec())
            })
            .collect();
        for (header, data) in &answers {
            let len = data.len() as u32 + u32::from(header.flags.any(Flags::SYN | Flags::FIN));
            client.rcv_nxt = header.seq.0.wrapping_add(len);
        }
        answers
    }

    fn ask(&mut self, client: &mut Client, request: &str) -> String {
        let answers = self.exchange(client, PSH_ACK, request.as_bytes());
        let reply: Vec<u8> = answers.into_iter().flat_map(|(_, data)| data).collect();
        String::from_utf8(reply).expect("text")
    }

    /// A new connection with its first request; the core that it is on.
    fn connect(&mut self, port: u16, request: &str, reply: &str) -> (Client, usize) {
        let before = self.connections();
        let mut client = Client { port, snd_nxt: 100, rcv_nxt: 0 };
        self.exchange(&mut client, Flags::SYN, b"");
        self.exchange(&mut client, Flags::ACK, b"");
        assert_eq!(self.ask(&mut client, request), reply, "{request:?}");
        let after = self.connections();
        let core = (0..CORES).find(|&core| after[core] > before[core]).expect("a core has it");
        (client, core)
    }

    fn connections(&self) -> [u32; CORES] {
        std::array::from_fn(|core| self.machine.gauges(core).in_state(State::Established))
    }
}

fn core_of(key: &str) -> usize {
    usize::from(key_slot(key.as_bytes())) % INDIRECTION % CORES
}

#[test]
fn connections_with_one_first_key_are_on_one_core() {
    let mut lab = Lab::new(Steer::Key);
    let mut seen = [0; CORES];
    let mut port = 20_000;
    for n in 0..20 {
        let key = format!("key:{n}");
        let core = core_of(&key);
        seen[core] += 1;
        let len = key.len();
        for (request, reply) in [
            (format!("SET {key} {n}\r\n"), "+OK\r\n".to_owned()),
            (
                format!("*2\r\n$3\r\nGET\r\n${len}\r\n{key}\r\n"),
                format!("${}\r\n{n}\r\n", n.to_string().len()),
            ),
            (format!("*2\r\n$4\r\nincr\r\n${len}\r\n{key}\r\n"), format!(":{}\r\n", n + 1)),
        ] {
            port += 1;
            let (mut client, found) = lab.connect(port, &request, &reply);
            assert_eq!(found, core, "{request:?}");
            // The core that has it goes on with it, whatever it asks.
            assert_eq!(lab.ask(&mut client, "PING\r\n"), "+PONG\r\n");
            assert_eq!(lab.ask(&mut client, "EXISTS key:0 key:1\r\n"), format!(":{}\r\n", 1 + n.min(1)));
        }
    }
    assert!(seen.iter().all(|&keys| keys > 3), "{seen:?}");
    assert_eq!(lab.machine.firmware().counters().count(Event::SteeredByKey), 60);
}

#[test]
fn without_steering_by_key_they_are_on_both() {
    let mut lab = Lab::new(Steer::Rss);
    let cores: Vec<usize> = (1..40).map(|n| lab.connect(20_000 + n, "GET foo\r\n", "$-1\r\n").1).collect();
    assert!(cores.contains(&0) && cores.contains(&1), "{cores:?}");
}

#[test]
fn the_table_changes_under_load_and_nothing_is_lost() {
    for steer in [Steer::Rss, Steer::SymmetricRss, Steer::Key] {
        let mut lab = Lab::new(steer);
        let mut clients: Vec<Client> = Vec::new();
        for round in 0..40u16 {
            let table: Vec<u16> =
                (0..INDIRECTION as u16).map(|at| (at / (1 + round % 7) + round) % 2).collect();
            lab.machine.firmware_mut().set_indirection(&table).expect("both queues take part");
            // A connection has its handshake before and its first request behind the change.
            let mut late = Client { port: 30_000 + round, snd_nxt: 100, rcv_nxt: 0 };
            lab.exchange(&mut late, Flags::SYN, b"");
            lab.exchange(&mut late, Flags::ACK, b"");
            lab.machine.firmware_mut().set_indirection(&[round % 2; INDIRECTION]).expect("it takes part");
            assert_eq!(lab.ask(&mut late, "INCR late\r\n"), format!(":{}\r\n", round + 1));
            let (client, core) = lab.connect(20_000 + round, "INCR new\r\n", &format!(":{}\r\n", round + 1));
            assert_eq!(core, usize::from(round % 2), "new ones follow the table");
            clients.extend([late, client]);
            for client in &mut clients {
                assert_eq!(lab.ask(client, "PING\r\n"), "+PONG\r\n", "{steer:?}, round {round}");
            }
        }
        assert_eq!(lab.connections().iter().sum::<u32>(), 80);
    }
}
