//! `mayfly-bench firmware`: the firmware alone, by stage of a connection's life, from few flows
//! to many.
//!
//! Connections go through their lives in waves of a burst each: a burst of SYNs, a burst of ACKs,
//! a burst of requests, and so on, so that one poll of the firmware is one stage, and its cycles
//! (ports included) can be told apart. What stands at the other ends, peers and host, is written
//! here and not counted. Each number of standing flows has a firmware of its own, with four times
//! as many places for ended connections, all of them taken; the runs alternate.

use std::path::{Path, PathBuf};

use clap::Args;
use dpdk::{Clock, Eal, EalConfig, Mbuf, Mempool};
use netcore::port::{BURST, Capabilities};
use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FrameQueue, Instant, Port};
use nicfw::Firmware;
use plotters::prelude::*;
use protocol::channel::{
    self, AcceptPolicy, Close, Established, FlowId, Header, Hello, Kind, Listen, ListenStatus, MessageFlags,
    Refusal,
};
use protocol::ethernet;
use protocol::tcp::{Flags, Options as TcpOptions, SeqNumber, Timestamps};
use serde::Serialize;

use crate::segment::{self, PORT, SERVER, SERVER_MAC, Text};

const POOL_FRAMES: u32 = 2047;
const FRAME_BYTES: u16 = 2048;
/// Ended connections remembered for each standing flow.
const ENDED_PER_FLOW: usize = 4;
/// Flows beyond the standing ones: those of a wave, and those whose end is being reported.
const SPARE_FLOWS: usize = 4 * BURST;
const REQUEST: &[u8] = b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n";
const REPLY: &[u8; 71] = &[b'v'; 71];
/// Microseconds that pass on the firmware's clock with every poll.
const POLL_TAKES: Duration = Duration::from_micros(10);

#[derive(Args)]
pub(crate) struct Options {
    /// Numbers of standing flows
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    flows: Vec<usize>,
    /// Waves of connections that are measured at each number of flows
    #[arg(long, default_value_t = 2000)]
    waves: usize,
    /// Also write the figures to this file, as JSON (- for standard output)
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Where the picture goes
    #[arg(long, value_name = "FILE", default_value = "target/firmware.svg")]
    svg: PathBuf,
}

/// A poll that does one thing to a burst of connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Syn,
    Ack,
    Request,
    Reply,
    ClientFin,
    LastAck,
    Close,
    PeerFin,
    DataIn,
    DataOut,
}

impl Stage {
    const ALL: [Self; 10] = [
        Self::Syn,
        Self::Ack,
        Self::Request,
        Self::Reply,
        Self::ClientFin,
        Self::LastAck,
        Self::Close,
        Self::PeerFin,
        Self::DataIn,
        Self::DataOut,
    ];
    /// A connection that the client closes.
    const CLIENT_CLOSES: [Self; 6] =
        [Self::Syn, Self::Ack, Self::Request, Self::Reply, Self::ClientFin, Self::LastAck];
    /// A connection that the server closes, with the reply.
    const SERVER_CLOSES: [Self; 5] = [Self::Syn, Self::Ack, Self::Request, Self::Close, Self::PeerFin];

    fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN: answered by a cookie",
            Self::Ack => "ACK: cookie verified, flow made",
            Self::Request => "request: ESTABLISHED to the host",
            Self::Reply => "reply: SEGMENT to the wire",
            Self::ClientFin => "client's FIN: answered, CLOSED to the host",
            Self::LastAck => "last ACK: flow ended, cookie spent",
            Self::Close => "CLOSE: reply and FIN kept and sent",
            Self::PeerFin => "FIN after CLOSE: answered, TIME_WAIT",
            Self::DataIn => "standing flow: segment to the host",
            Self::DataOut => "standing flow: segment to the wire",
        }
    }
}

/// Cycles per frame of every wave, by stage.
#[derive(Default)]
struct Samples([Vec<f64>; Stage::ALL.len()]);

impl Samples {
    fn median(&self, stage: Stage) -> f64 {
        let mut cycles = self.0[stage as usize].clone();
        cycles.sort_by(f64::total_cmp);
        cycles.get(cycles.len() / 2).copied().unwrap_or(0.0)
    }

    fn sum(&self, stages: &[Stage]) -> f64 {
        stages.iter().map(|&stage| self.median(stage)).sum()
    }
}

/// Who ends a wave's connections.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ends {
    Client,
    Server,
    Nobody,
}

/// A connection as its peer and its host see it.
#[derive(Clone, Copy)]
struct Flow {
    number: u32,
    id: FlowId,
    /// The peer's next sequence number, and ours.
    peer: SeqNumber,
    host: SeqNumber,
    /// Our newest TSval.
    echo: u32,
}

struct World {
    firmware: Firmware<Mbuf>,
    wire: RingPort<Mbuf>,
    hosts: [RingPort<Mbuf>; 1],
    wire_end: RingPort<Mbuf>,
    host_end: RingPort<Mbuf>,
    pool: Mempool,
    now: Instant,
    epoch: u32,
    standing: Vec<Flow>,
    next_number: u32,
    rng: SeededRng,
    samples: Samples,
    /// What the firmware's tables took.
    bytes: u64,
}

/// One line of the result.
#[derive(Serialize)]
struct Row {
    flows: usize,
    ended: usize,
    firmware_bytes: u64,
    /// Name and cycles per frame.
    stages: Vec<(&'static str, f64)>,
    cycles_per_connection_closed_by_client: f64,
    cycles_per_connection_closed_by_server: f64,
    connections_per_s_closed_by_client: f64,
    connections_per_s_closed_by_server: f64,
}

pub(crate) fn run(options: &Options) -> Result<(), String> {
    let eal = Eal::init(&EalConfig::default()).map_err(|error| error.to_string())?;
    let pool = Mempool::new(eal, POOL_FRAMES, FRAME_BYTES).map_err(|error| error.to_string())?;
    let _lcore = dpdk::register_thread(eal).map_err(|error| error.to_string())?;
    // Calibrates the time stamp counter.
    Clock::start();
    if options.flows.is_empty() || options.flows.iter().any(|&flows| !(BURST..1 << 24).contains(&flows)) {
        return Err(format!("--flows: numbers from {BURST} to {}", (1 << 24) - 1));
    }
    let progress = indicatif::ProgressBar::new(0);
    progress.set_style(
        indicatif::ProgressStyle::with_template("{msg:>32} {bar:30} {percent} %")
            .map_err(|error| error.to_string())?,
    );
    let mut worlds = Vec::new();
    for &flows in &options.flows {
        progress.set_message(format!("filling {flows} flows"));
        worlds.push(World::new(&pool, flows, &progress)?);
    }
    progress.set_message("measuring");
    progress.set_position(0);
    progress.set_length(options.waves as u64);
    for _ in 0..options.waves {
        for world in &mut worlds {
            world.wave(Ends::Client)?;
            world.wave(Ends::Server)?;
            world.data()?;
        }
        progress.inc(1);
    }
    progress.finish_and_clear();
    print(&worlds);
    draw(&worlds, &options.svg)?;
    println!("picture: {}", options.svg.display());
    if let Some(file) = &options.json {
        write_json(&worlds, file)?;
    }
    Ok(())
}

impl World {
    fn new(pool: &Mempool, flows: usize, progress: &indicatif::ProgressBar) -> Result<Self, String> {
        let mut rng = SeededRng::new(0x6e69_6366_7700);
        let capabilities = Capabilities::new(SERVER_MAC.0, 1500);
        let (wire_end, wire) = ring::pair(4 * BURST, capabilities);
        let (host_end, nic_host) = ring::pair(4 * BURST, capabilities);
        let mut config = nicfw::Config::new(SERVER_MAC);
        config.flows_max = flows + SPARE_FLOWS;
        config.time_wait_max = ENDED_PER_FLOW * flows;
        let before = server::front::memory_use().map_or(0, |memory| memory.used);
        let firmware = Firmware::new(config, &mut rng);
        let after = server::front::memory_use().map_or(0, |memory| memory.used);
        let mut world = Self {
            firmware,
            wire,
            hosts: [nic_host],
            wire_end,
            host_end,
            pool: *pool,
            now: Instant::from_micros(1),
            epoch: 0,
            standing: Vec::with_capacity(flows),
            next_number: 0,
            rng,
            samples: Samples::default(),
            bytes: after.saturating_sub(before),
        };
        world.listen()?;
        let ended = ENDED_PER_FLOW * flows;
        progress.set_position(0);
        progress.set_length((flows + ended).div_ceil(BURST) as u64);
        while world.standing.len() + BURST <= flows {
            world.wave(Ends::Nobody)?;
            progress.inc(1);
        }
        for _ in 0..ended.div_ceil(BURST) {
            world.wave(Ends::Server)?;
            progress.inc(1);
        }
        world.samples = Samples::default();
        Ok(world)
    }

    /// HELLO and LISTEN.
    fn listen(&mut self) -> Result<(), String> {
        let hello = Hello::new(7, 1);
        let mut body = [0; Hello::LEN];
        hello.emit(&mut body);
        let frame = self.message(&Header::new(Kind::Hello, 0), &body, &[])?;
        let replies = self.poll(Vec::new(), vec![frame])?.host;
        let epoch = replies.iter().find_map(|frame| {
            let (header, body) = Header::parse(&frame.bytes()[ethernet::HEADER_LEN..]).ok()?;
            (header.kind == Kind::Hello).then(|| Hello::parse(body).ok())?.map(|hello| hello.epoch)
        });
        self.epoch = epoch.ok_or("the firmware did not answer HELLO")?;
        let listen = Listen {
            addr: SERVER.into(),
            port: PORT,
            policy: AcceptPolicy::Deferred,
            mss: 1460,
            window_scale: 7,
            status: ListenStatus::Unanswered,
            window: 60_000,
            backlog: 4 * BURST as u32,
            connections_max: 0,
            refusal: Refusal::Reset,
        };
        let mut body = [0; Listen::LEN];
        listen.emit(&mut body);
        let frame = self.message(&Header::new(Kind::Listen, self.epoch), &body, &[])?;
        self.poll(Vec::new(), vec![frame]).map(|_| ())
    }

    /// A burst of connections from SYN to their end, or to a standing flow.
    fn wave(&mut self, ends: Ends) -> Result<(), String> {
        let first = self.next_number;
        self.next_number += BURST as u32;
        let syn_options = TcpOptions {
            mss: Some(1460),
            window_scale: Some(7),
            sack_permitted: true,
            timestamps: Some(Timestamps { value: self.stamp(), echo: 0 }),
            ..TcpOptions::default()
        };
        let mut frames = Vec::with_capacity(BURST);
        for number in first..first + BURST as u32 {
            let seq = segment::first_seq(number);
            let text = Text { seq, ack: SeqNumber(0), flags: Flags::SYN, payload: b"" };
            frames.push(self.frame(&segment::from_peer(number, &text, &syn_options))?);
        }
        let answers = self.stage(Stage::Syn, frames, Vec::new())?.wire;
        let mut flows = Vec::with_capacity(BURST);
        for frame in &answers {
            let Some(read) = segment::to_peer(&frame.bytes()[ethernet::HEADER_LEN..]) else { continue };
            flows.push(Flow {
                number: read.number,
                id: FlowId { slot: 0, generation: 0 },
                peer: read.header.ack,
                host: read.header.seq + 1,
                echo: read.options.timestamps.map_or(0, |stamps| stamps.value),
            });
        }
        drop(answers);
        expect("SYN-ACKs", flows.len())?;
        self.peers_send(Stage::Ack, &flows, Flags::ACK, b"")?;
        let told = self.peers_send(Stage::Request, &flows, Flags::ACK | Flags::PSH, REQUEST)?.host;
        for frame in &told {
            let header = Header::parse(&frame.bytes()[ethernet::HEADER_LEN..]);
            let Ok((Header { kind: Kind::Established, flow, .. }, body)) = header else { continue };
            let Ok((established, _)) = Established::parse(body) else { continue };
            let Some(peer) = established.remote_addr.to_v4() else { continue };
            let at = segment::number_of(peer, established.remote_port).wrapping_sub(first);
            if let Some(place) = flows.get_mut(at as usize) {
                place.id = flow;
            }
        }
        drop(told);
        expect("ESTABLISHED", flows.iter().filter(|flow| flow.id.generation != 0).count())?;
        for flow in &mut flows {
            flow.peer += REQUEST.len() as u32;
        }
        match ends {
            Ends::Server => {
                self.host_sends(Stage::Close, &mut flows, true)?;
                let answers = self.peers_send(Stage::PeerFin, &flows, Flags::ACK | Flags::FIN, b"")?;
                expect("ACKs of FINs", answers.wire.len())?;
            }
            Ends::Client => {
                self.host_sends(Stage::Reply, &mut flows, false)?;
                let answers = self.peers_send(Stage::ClientFin, &flows, Flags::ACK | Flags::FIN, b"")?;
                expect("answers to FINs", answers.wire.len())?;
                drop(answers);
                for flow in &mut flows {
                    flow.peer += 1;
                    flow.host += 1;
                }
                self.peers_send(Stage::LastAck, &flows, Flags::ACK, b"")?;
            }
            Ends::Nobody => {
                self.host_sends(Stage::Reply, &mut flows, false)?;
                self.standing.append(&mut flows);
            }
        }
        Ok(())
    }

    /// One segment each way on standing flows that lie far apart in the tables.
    fn data(&mut self) -> Result<(), String> {
        let count = self.standing.len();
        let start = self.rng.next_u64() as usize % count;
        let places: Vec<usize> = (0..BURST).map(|n| (start + n * (count / BURST)) % count).collect();
        let mut flows: Vec<Flow> = places.iter().map(|&place| self.standing[place]).collect();
        let told = self.peers_send(Stage::DataIn, &flows, Flags::ACK | Flags::PSH, REQUEST)?;
        expect("segments for the host", told.host.len())?;
        drop(told);
        for flow in &mut flows {
            flow.peer += REQUEST.len() as u32;
        }
        self.host_sends(Stage::DataOut, &mut flows, false)?;
        for (place, flow) in places.into_iter().zip(flows) {
            self.standing[place] = flow;
        }
        Ok(())
    }

    /// A segment from the peer of each flow.
    fn peers_send(
        &mut self,
        stage: Stage,
        flows: &[Flow],
        flags: Flags,
        payload: &[u8],
    ) -> Result<Output, String> {
        let value = self.stamp();
        let mut frames = Vec::with_capacity(BURST);
        for flow in flows {
            let stamps = Some(Timestamps { value, echo: flow.echo });
            let options = TcpOptions { timestamps: stamps, ..TcpOptions::default() };
            let text = Text { seq: flow.peer, ack: flow.host, flags, payload };
            frames.push(self.frame(&segment::from_peer(flow.number, &text, &options))?);
        }
        self.stage(stage, frames, Vec::new())
    }

    /// The reply from the host of each flow; `close`: as CLOSE, with its FIN.
    fn host_sends(&mut self, stage: Stage, flows: &mut [Flow], close: bool) -> Result<(), String> {
        let value = self.stamp();
        let mut frames = Vec::with_capacity(BURST);
        for flow in flows.iter_mut() {
            let options = TcpOptions {
                timestamps: Some(Timestamps { value: flow.echo, echo: value }),
                ..TcpOptions::default()
            };
            let fin = if close { Flags::FIN } else { Flags(0) };
            let flags = Flags::ACK | Flags::PSH | fin;
            let text = Text { seq: flow.host, ack: flow.peer, flags, payload: REPLY };
            let packet = segment::packet(flow.number, false, &text, &options);
            let mut header = Header::new(if close { Kind::Close } else { Kind::Segment }, self.epoch);
            (header.flow, header.handle) = (flow.id, flow.number);
            header.flags = MessageFlags::IDLE | MessageFlags::CHECKSUM_NEEDED;
            let mut body = [0; Close::LEN];
            let last = Close {
                snd_wnd: 65_535,
                rto_us: 200_000,
                rcv_nxt: flow.peer,
                ts_recent: value,
                cwnd: 14_600,
                snd_una: flow.host,
            };
            last.emit(&mut body);
            let body = if close { body.as_slice() } else { &[] };
            frames.push(self.message(&header, body, &packet)?);
            flow.host += REPLY.len() as u32 + u32::from(close);
        }
        let sent = self.stage(stage, Vec::new(), frames)?.wire;
        expect("replies on the wire", sent.len())
    }

    /// The peers' TSval.
    fn stamp(&self) -> u32 {
        self.now.millis() as u32 + 1
    }

    fn frame(&self, bytes: &[u8]) -> Result<Mbuf, String> {
        let mut frame = self.pool.take().ok_or("the pool is exhausted")?;
        frame.append(bytes.len()).ok_or("a frame has no room")?.copy_from_slice(bytes);
        Ok(frame)
    }

    fn message(&self, header: &Header, body: &[u8], packet: &[u8]) -> Result<Mbuf, String> {
        let mut bytes = vec![0; ethernet::HEADER_LEN + channel::HEADER_LEN];
        channel::emit_ethernet(SERVER_MAC, SERVER_MAC, &mut bytes);
        header.emit(body.len() + packet.len(), &mut bytes[ethernet::HEADER_LEN..]);
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(packet);
        self.frame(&bytes)
    }

    fn stage(&mut self, stage: Stage, wire: Vec<Mbuf>, host: Vec<Mbuf>) -> Result<Output, String> {
        let count = wire.len() + host.len();
        let output = self.poll(wire, host)?;
        self.samples.0[stage as usize].push(output.cycles as f64 / count as f64);
        Ok(output)
    }

    /// One poll over these frames, timed.
    fn poll(&mut self, wire: Vec<Mbuf>, host: Vec<Mbuf>) -> Result<Output, String> {
        for (frames, port) in [(wire, &mut self.wire_end), (host, &mut self.host_end)] {
            let mut queue = FrameQueue::with_capacity(BURST);
            for frame in frames {
                queue.push(frame).map_err(|_| "more than a burst")?;
            }
            port.send(&mut queue);
            if !queue.is_empty() {
                return Err("a ring is full".into());
            }
        }
        self.now += POLL_TAKES;
        let begin = dpdk::tsc();
        self.firmware.poll(&mut self.wire, &mut self.hosts, &mut self.pool, self.now);
        let cycles = dpdk::tsc() - begin;
        let drain = |port: &mut RingPort<Mbuf>| {
            let mut queue = FrameQueue::with_capacity(4 * BURST);
            port.receive(&mut queue, 4 * BURST);
            std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>()
        };
        Ok(Output { cycles, wire: drain(&mut self.wire_end), host: drain(&mut self.host_end) })
    }

    fn row(&self) -> Row {
        let client = self.samples.sum(&Stage::CLIENT_CLOSES);
        let server = self.samples.sum(&Stage::SERVER_CLOSES);
        let per_second = |cycles: f64| dpdk::tsc_hz() as f64 / cycles;
        Row {
            flows: self.standing.len(),
            ended: self.firmware.config().time_wait_max,
            firmware_bytes: self.bytes,
            stages: Stage::ALL.iter().map(|&stage| (stage.name(), self.samples.median(stage))).collect(),
            cycles_per_connection_closed_by_client: client,
            cycles_per_connection_closed_by_server: server,
            connections_per_s_closed_by_client: per_second(client),
            connections_per_s_closed_by_server: per_second(server),
        }
    }
}

/// What a poll took and gave.
struct Output {
    cycles: u64,
    wire: Vec<Mbuf>,
    host: Vec<Mbuf>,
}

fn expect(what: &str, count: usize) -> Result<(), String> {
    if count == BURST { Ok(()) } else { Err(format!("{count} {what} instead of {BURST}")) }
}

fn print(worlds: &[World]) {
    let rows: Vec<Row> = worlds.iter().map(World::row).collect();
    let line = |name: &str, value: &dyn Fn(&Row) -> String| {
        print!("{name:<46}");
        for row in &rows {
            print!(" {:>10}", value(row));
        }
        println!();
    };
    println!(
        "the firmware alone, cycles per frame, {BURST} frames a poll, medians; emulated on a core of this machine"
    );
    line("standing flows", &|row| row.flows.to_string());
    line("ended connections remembered", &|row| row.ended.to_string());
    line("memory of all tables in MiB", &|row| format!("{:.0}", row.firmware_bytes as f64 / 1_048_576.0));
    for (at, stage) in Stage::ALL.iter().enumerate() {
        line(stage.name(), &|row| format!("{:.0}", row.stages[at].1));
    }
    line("connection closed by the client, 6 frames", &|row| {
        format!("{:.0}", row.cycles_per_connection_closed_by_client)
    });
    line("  connections per second", &|row| format!("{:.0}", row.connections_per_s_closed_by_client));
    line("connection closed by the server, 5 frames", &|row| {
        format!("{:.0}", row.cycles_per_connection_closed_by_server)
    });
    line("  connections per second", &|row| format!("{:.0}", row.connections_per_s_closed_by_server));
    if let (Some(first), Some(last)) = (worlds.first(), worlds.last()) {
        for stage in [Stage::DataIn, Stage::DataOut] {
            println!(
                "{}: {:.2}x from {} to {} flows",
                stage.name(),
                last.samples.median(stage) / first.samples.median(stage),
                first.standing.len(),
                last.standing.len()
            );
        }
    }
}

fn write_json(worlds: &[World], file: &str) -> Result<(), String> {
    #[derive(Serialize)]
    struct Json {
        results: Vec<Row>,
        tsc_hz: u64,
        nic: &'static str,
    }
    let json = Json {
        results: worlds.iter().map(World::row).collect(),
        tsc_hz: dpdk::tsc_hz(),
        nic: "emulated: the firmware runs on a core of this machine",
    };
    crate::report::write(&json, file)
}

/// Cycles over standing flows, a line for each kind of work.
fn draw(worlds: &[World], file: &Path) -> Result<(), String> {
    let lines: [(&str, RGBColor, &dyn Fn(&World) -> f64); 4] = [
        ("segment to the host", RGBColor(0, 114, 178), &|world| world.samples.median(Stage::DataIn)),
        ("segment to the wire", RGBColor(86, 180, 233), &|world| world.samples.median(Stage::DataOut)),
        ("frame of a connection that the client closes", RGBColor(213, 94, 0), &|world| {
            world.samples.sum(&Stage::CLIENT_CLOSES) / Stage::CLIENT_CLOSES.len() as f64
        }),
        ("frame of a connection that the server closes", RGBColor(0, 0, 0), &|world| {
            world.samples.sum(&Stage::SERVER_CLOSES) / Stage::SERVER_CLOSES.len() as f64
        }),
    ];
    let top = lines.iter().flat_map(|line| worlds.iter().map(line.2)).fold(1.0, f64::max);
    let flows = |world: &World| world.standing.len() as f64;
    let (least, most) = worlds
        .iter()
        .map(flows)
        .fold((f64::MAX, 1.0f64), |(least, most), flows| (least.min(flows), most.max(flows)));
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    let draw = || -> Result<(), Box<dyn std::error::Error>> {
        let root = SVGBackend::new(file, (760, 420)).into_drawing_area();
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&root)
            .caption("Firmware: cycles per frame by standing flows", ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d((least * 0.8..most * 1.25).log_scale(), 0.0..top * 1.4)?;
        chart
            .configure_mesh()
            .x_desc("standing flows (and four times as many ended connections)")
            .y_desc("cycles per frame")
            .x_label_formatter(&|flows| format!("{flows:.0}"))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (name, color, value) in &lines {
            let style = ShapeStyle { color: color.to_rgba(), filled: true, stroke_width: 2 };
            let points: Vec<(f64, f64)> = worlds.iter().map(|world| (flows(world), value(world))).collect();
            chart
                .draw_series(LineSeries::new(points.clone(), style).point_size(3))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 14, y)], style));
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        root.present()?;
        Ok(())
    };
    draw().map_err(|error| format!("cannot draw {}: {error}", file.display()))
}
