//! After it has been made, the firmware allocates nothing: counted, over whole connections.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::net::Ipv4Addr;

use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FramePool, HeapFrame, Instant};
use nicfw::{Config, Event, Firmware};
use protocol::channel::{self, AcceptPolicy, Hello, Kind, Listen, ListenStatus, Refusal};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address};
use protocol::tcp::{self, Flags, Options, SeqNumber};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: `memory` came from `alloc` above, with the same layout.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Frames made before the count begins.
struct Stock(Vec<HeapFrame>);

impl FramePool for Stock {
    type Frame = HeapFrame;
    fn allocate(&mut self) -> Option<HeapFrame> {
        let mut frame = self.0.pop()?;
        frame.reset();
        Some(frame)
    }
}

const NIC: Mac = Mac([2, 0, 0, 0, 0, 2]);
const PEER: Mac = Mac([2, 0, 0, 0, 0, 1]);
const SERVER: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 2));
const CLIENT: Address = Address::v4(Ipv4Addr::new(198, 18, 0, 1));

fn write_packet(out: &mut [u8], inbound: bool, port: u16, flags: Flags, seq: u32, ack: u32, data: &[u8]) {
    let (src, dst) = if inbound { (CLIENT, SERVER) } else { (SERVER, CLIENT) };
    let (src_port, dst_port) = if inbound { (port, 6379) } else { (6379, port) };
    ip::emit(&src, &dst, 6, 0, 20 + data.len(), out);
    let header = tcp::Header {
        src_port,
        dst_port,
        seq: SeqNumber(seq),
        ack: SeqNumber(ack),
        flags,
        window: 1000,
        urgent: 0,
        header_len: 20,
    };
    header.emit(&Options::default(), &mut out[20..]);
    out[40..].copy_from_slice(data);
    tcp::fill_checksum(src, dst, &mut out[20..]);
}

struct Bench {
    nic: Firmware<HeapFrame>,
    stock: Stock,
    now: Instant,
    epoch: u32,
}

impl Bench {
    fn wire(&mut self, port: u16, flags: Flags, seq: u32, ack: u32, data: &[u8]) {
        let mut frame = self.stock.allocate().unwrap();
        let out = frame.append(54 + data.len()).unwrap();
        ethernet::Header { dst: NIC, src: PEER, ether_type: EtherType::Ipv4 }.emit(out);
        write_packet(&mut out[14..], true, port, flags, seq, ack, data);
        self.nic.wire_frame(frame, &mut self.stock, self.now);
    }

    fn host(&mut self, header: &channel::Header, body: &[u8], packet: Option<(u16, Flags, u32, u32, &[u8])>) {
        let mut frame = self.stock.allocate().unwrap();
        let packet_len = packet.map_or(0, |(.., data)| 40 + data.len());
        let out = frame.append(38 + body.len() + packet_len).unwrap();
        channel::emit_ethernet(NIC, NIC, out);
        header.emit(body.len() + packet_len, &mut out[14..]);
        out[38..38 + body.len()].copy_from_slice(body);
        if let Some((port, flags, seq, ack, data)) = packet {
            write_packet(&mut out[38 + body.len()..], false, port, flags, seq, ack, data);
        }
        self.nic.host_frame(0, frame, &mut self.stock, self.now);
    }

    /// Sends nothing anywhere: frames go back to the stock. Returns the last to wire and host.
    fn round(&mut self) -> (Option<SeqNumber>, Option<channel::Header>) {
        self.nic.timer(&mut self.stock, self.now);
        let (mut seq, mut header) = (None, None);
        while let Some(frame) = self.nic.wire_output().pop() {
            seq = tcp::Header::parse(&frame.bytes()[34..]).ok().map(|tcp| tcp.seq);
            self.stock.0.push(frame);
        }
        while let Some(frame) = self.nic.host_output(0).pop() {
            header = channel::Header::parse(&frame.bytes()[14..]).ok().map(|(header, _)| header);
            self.stock.0.push(frame);
        }
        (seq, header)
    }

    fn connection(&mut self, port: u16, host_closes: bool) {
        self.wire(port, Flags::SYN, 100, 0, b"");
        let iss = self.round().0.unwrap().0;
        self.wire(port, Flags::ACK, 101, iss + 1, b"");
        self.wire(port, Flags::ACK, 101, iss + 1, b"GET");
        let flow = self.round().1.unwrap().flow;
        let mut header = channel::Header::new(Kind::Segment, self.epoch);
        (header.flow, header.handle) = (flow, 5);
        if host_closes {
            header.kind = Kind::Close;
            let mut body = [0; 16];
            channel::Close { snd_wnd: 1000, rto_us: 200_000, rcv_nxt: SeqNumber(104), ts_recent: 0 }
                .emit(&mut body);
            let last = (port, Flags::FIN | Flags::ACK, iss + 1, 104, &b"reply"[..]);
            self.host(&header, &body, Some(last));
            self.now += Duration::from_millis(250);
            self.round();
            self.wire(port, Flags::FIN | Flags::ACK, 104, iss + 7, b"");
        } else {
            header.flags = channel::MessageFlags::IDLE;
            self.host(&header, &[], Some((port, Flags::ACK, iss + 1, 104, b"reply")));
            self.wire(port, Flags::FIN | Flags::ACK, 104, iss + 6, b"");
            self.wire(port, Flags::ACK, 105, iss + 7, b"");
        }
        self.round();
    }
}

#[test]
fn nothing_is_allocated_after_the_start() {
    let config = Config { flows_max: 100, time_wait_max: 300, retained_max: 10, ..Config::new(NIC) };
    let frames = (0..200).map(|_| HeapFrame::with_capacity(2048)).collect();
    let mut bench = Bench {
        nic: Firmware::new(config, &mut SeededRng::new(1)),
        stock: Stock(frames),
        now: Instant::from_micros(1_000_000),
        epoch: 0,
    };
    let before = ALLOCATIONS.with(Cell::get);
    for epoch in 7..9 {
        let mut body = [0; Hello::LEN];
        Hello::new(epoch, 1).emit(&mut body);
        bench.host(&channel::Header::new(Kind::Hello, bench.epoch), &body, None);
        bench.nic.timer(&mut bench.stock, bench.now);
        while let Some(frame) = bench.nic.host_output(0).pop() {
            let (_, body) = channel::Header::parse(&frame.bytes()[14..]).unwrap();
            bench.epoch = Hello::parse(body).unwrap().epoch;
            bench.stock.0.push(frame);
        }
        let listen = Listen {
            addr: SERVER,
            port: 6379,
            policy: AcceptPolicy::Deferred,
            mss: 1460,
            window_scale: 7,
            status: ListenStatus::Unanswered,
            window: 60_000,
            backlog: 50,
            connections_max: 0,
            refusal: Refusal::Reset,
        };
        let mut body = [0; Listen::LEN];
        listen.emit(&mut body);
        bench.host(&channel::Header::new(Kind::Listen, bench.epoch), &body, None);
        bench.round();
        for port in 1..500 {
            bench.connection(port, port % 2 == 0);
            // Frames that a state drops are lost to the stock; refill outside the count below.
            if bench.stock.0.len() < 100 {
                let kept = ALLOCATIONS.with(Cell::get);
                bench.stock.0.resize_with(150, || HeapFrame::with_capacity(2048));
                ALLOCATIONS.with(|count| count.set(kept));
            }
        }
    }
    assert_eq!(ALLOCATIONS.with(Cell::get) - before, 0);
    assert_eq!(bench.nic.counters().count(Event::CookieAccepted), 998);
    assert!(bench.nic.counters().count(Event::Retransmitted) > 0);
    bench.now += Duration::from_secs(1000);
    bench.round();
    bench.now += Duration::from_secs(1000);
    bench.round();
    assert_eq!(bench.nic.counters().held(), 0);
}
