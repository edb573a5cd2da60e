//! A whole machine and its clients, segment by segment: firmware, rings, and two cores with a stack each and
//! one engine.

use std::net::Ipv4Addr;
use std::sync::Arc;

use netcore::port::Capabilities;
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Frame, FrameQueue, Instant, Port};
use nicfw::{Offload, Steer};
use protocol::ethernet::{self, Mac};
use protocol::tcp::{self, Flags, Options, SeqNumber};
use server::{CoreApp, Engine, EngineStart};
use sim::frame::{Pool, SimFrame};
use sim::machine::{Machine, MachineConfig};
use sim::packet::{Route, TCP_AT, tcp_frame, tcp_header};
use sim::trace::Trace;
use stack::{AcceptPolicy, State};

pub const CORES: usize = 2;
const PORT: u16 = 6379;
const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const SERVER_MAC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PSH_ACK: Flags = Flags(0x18);

pub struct Lab {
    pub machine: Machine<RingPort<SimFrame>, CoreApp>,
    wire: RingPort<SimFrame>,
    frames: FrameQueue<SimFrame>,
    pub pool: Pool,
    pub now: Instant,
}

/// A client's connection: where its numbers stand.
pub struct Client {
    pub port: u16,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
}

impl Client {
    /// Before its SYN.
    pub fn new(port: u16) -> Self {
        Self { port, snd_nxt: 100, rcv_nxt: 0 }
    }
}

impl Lab {
    /// With this way of steering, and all frames that anybody could want.
    pub fn new(steer: Steer) -> Self {
        Self::with(4096, |firmware| firmware.steer = steer)
    }

    /// With so many frames, and a firmware changed from the default.
    pub fn with(frames: usize, change: impl FnOnce(&mut nicfw::Config)) -> Self {
        let mut config = MachineConfig {
            firmware: nicfw::Config::new(SERVER_MAC),
            stack: stack::Config::new(SERVER_MAC, SERVER, 16),
            ring_frames: 256,
            port: PORT,
            accept: AcceptPolicy::Deferred,
        };
        config.firmware.queues = CORES;
        config.firmware.offload = Offload::Lifecycle;
        (config.firmware.flows_max, config.firmware.time_wait_max) = (1024, 1024);
        config.stack.offload = stack::Offload::Lifecycle;
        change(&mut config.firmware);
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
        let pool = Pool::new(2048, frames);
        let machine = Machine::new(config, apps, near, pool.clone(), SeededRng::new(1), Trace::default());
        let mut lab = Self {
            machine,
            wire: far,
            frames: FrameQueue::with_capacity(1024),
            pool,
            now: Instant::from_micros(1_000_000),
        };
        lab.settle();
        lab
    }

    /// Rounds until nobody has anything to do; what was sent to the clients.
    pub fn settle(&mut self) -> Vec<Vec<u8>> {
        let mut sent = Vec::new();
        while self.machine.round(self.now) {
            self.wire.receive(&mut self.frames, 1024);
            sent.extend(std::iter::from_fn(|| self.frames.pop()).map(|frame| frame.bytes().to_vec()));
        }
        sent
    }

    /// A segment to the server, and the payload of what comes back with its header.
    pub fn exchange(
        &mut self,
        client: &mut Client,
        flags: Flags,
        data: &[u8],
    ) -> Vec<(tcp::Header, Vec<u8>)> {
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

    pub fn ask(&mut self, client: &mut Client, request: &str) -> String {
        let answers = self.exchange(client, PSH_ACK, request.as_bytes());
        let reply: Vec<u8> = answers.into_iter().flat_map(|(_, data)| data).collect();
        String::from_utf8(reply).expect("text")
    }

    /// A new connection with its first request; the core that it is on.
    pub fn connect(&mut self, port: u16, request: &str, reply: &str) -> (Client, usize) {
        let before = self.connections();
        let mut client = Client::new(port);
        self.exchange(&mut client, Flags::SYN, b"");
        self.exchange(&mut client, Flags::ACK, b"");
        assert_eq!(self.ask(&mut client, request), reply, "{request:?}");
        let after = self.connections();
        let core = (0..CORES).find(|&core| after[core] > before[core]).expect("a core has it");
        (client, core)
    }

    pub fn connections(&self) -> [u32; CORES] {
        std::array::from_fn(|core| self.machine.gauges(core).in_state(State::Established))
    }
}
