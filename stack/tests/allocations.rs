//! Nothing is allocated per segment, request or short connection once the stack is warm.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

use netcore::rng::SeededRng;
use netcore::{Capabilities, FourTuple, Frame, FramePool, FrameQueue, HeapFrame, Instant, Port};
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ipv4;
use protocol::tcp::{Flags, Header, Options, SeqNumber, fill_checksum};
use stack::{AcceptPolicy, App, Config, ConnectionId, EndReason, Next, Output, Stack, State};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const US: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const MAC: Mac = Mac([2; 6]);

struct Echo;

impl App for Echo {
    type Session = ();
    fn begin(&mut self, _: Instant) {}
    fn connected(
        &mut self,
        _: ConnectionId,
        _: &FourTuple,
        session: &mut Option<()>,
        _: &mut Output,
    ) -> bool {
        *session = Some(());
        true
    }
    fn received(&mut self, (): &mut (), input: &[u8], output: &mut Output) -> Next {
        output.put(input);
        Next::Continue
    }
    fn resumed(&mut self, (): &mut (), _: &mut Output) -> Next {
        Next::Continue
    }
    fn peer_closed(&mut self, (): &mut (), _: &mut Output) -> Next {
        Next::Close
    }
    fn closed(&mut self, _: &mut Option<()>, _: EndReason) {}
    fn woken(&mut self, _: &mut Vec<ConnectionId>) {}
}

/// Hands in one frame at a time, and keeps what was sent for the pool.
struct Wire {
    next: Option<HeapFrame>,
    sent: VecDeque<HeapFrame>,
    iss: u32,
    last_ack: u32,
}

impl Port for Wire {
    type Frame = HeapFrame;
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(MAC.0, 1500)
    }
    fn receive(&mut self, into: &mut FrameQueue<HeapFrame>, _: usize) -> usize {
        self.next.take().map_or(0, |frame| {
            into.push(frame).unwrap();
            1
        })
    }
    fn send(&mut self, from: &mut FrameQueue<HeapFrame>) -> usize {
        let mut count = 0;
        while let Some(frame) = from.pop() {
            let header = Header::parse(&frame.bytes()[34..]).unwrap();
            if header.flags.has(Flags::SYN) {
                self.iss = header.seq.0;
            }
            self.last_ack = header.ack.0;
            self.sent.push_back(frame);
            count += 1;
        }
        count
    }
}

struct Pool(Vec<HeapFrame>);

impl FramePool for Pool {
    type Frame = HeapFrame;
    fn allocate(&mut self) -> Option<HeapFrame> {
        let mut frame = self.0.pop()?;
        frame.reset();
        Some(frame)
    }
}

struct Bench {
    stack: Stack<HeapFrame, Echo>,
    wire: Wire,
    pool: Pool,
    now: u64,
}

impl Bench {
    fn step(&mut self, port: u16, flags: Flags, seq: u32, ack: u32, payload: &[u8]) {
        let mut frame = self.pool.0.pop().unwrap();
        frame.reset();
        let tcp_len = 20 + payload.len();
        let ack = SeqNumber(self.wire.iss.wrapping_add(ack));
        let out = frame.append(34 + tcp_len).unwrap();
        ethernet::Header { dst: MAC, src: Mac([4; 6]), ether_type: EtherType::Ipv4 }.emit(out);
        ipv4::Header::outgoing(PEER, US, 6, tcp_len).emit(&mut out[14..]);
        Header {
            src_port: port,
            dst_port: 6379,
            seq: SeqNumber(seq),
            ack,
            flags,
            window: 60_000,
            urgent: 0,
            header_len: 20,
        }
        .emit(&Options::default(), &mut out[34..]);
        out[54..].copy_from_slice(payload);
        fill_checksum(PEER.into(), US.into(), &mut out[34..]);
        self.wire.next = Some(frame);
        self.now += 100;
        let now = Instant::from_micros(self.now);
        self.stack.poll(&mut self.wire, &mut self.pool, &mut Echo, now);
        self.pool.0.extend(self.wire.sent.drain(..));
    }

    fn short_connection(&mut self, port: u16) {
        self.step(port, Flags::SYN, 1, 0, b"");
        self.step(port, Flags::ACK, 2, 1, b"");
        self.step(port, Flags::ACK | Flags::PSH, 2, 1, b"GET key\r\n");
        self.step(port, Flags::ACK | Flags::FIN, 11, 10, b"");
        self.step(port, Flags::ACK, 12, 11, b"");
        // Frames that the stack kept for itself come back through the pool's reserve.
        while self.pool.0.len() < 64 {
            self.pool.0.push(HeapFrame::with_capacity(2048));
        }
    }
}

#[test]
fn a_warm_stack_does_not_allocate() {
    let mut stack = Stack::new(Config::new(MAC, US, 24), &mut SeededRng::new(1));
    stack.listen(6379, AcceptPolicy::Immediate).unwrap();
    let pool = Pool((0..4096).map(|_| HeapFrame::with_capacity(2048)).collect());
    let wire = Wire { next: None, sent: VecDeque::with_capacity(64), iss: 0, last_ack: 0 };
    let mut bench = Bench { stack, wire, pool, now: 0 };
    for n in 0..100 {
        bench.short_connection(1000 + n);
    }
    let before = COUNT.with(Cell::get);
    for n in 0..500 {
        bench.short_connection(2000 + n);
    }
    bench.step(9000, Flags::SYN, 1, 0, b"");
    bench.step(9000, Flags::ACK, 2, 1, b"");
    for n in 0..500 {
        bench.step(9000, Flags::ACK | Flags::PSH, 2 + 9 * n, 1 + 9 * n, b"GET key\r\n");
        assert_eq!(bench.wire.last_ack, 11 + 9 * n);
    }
    let allocated = COUNT.with(Cell::get) - before;
    assert_eq!(bench.stack.counters().connections_closed, 600);
    assert_eq!(bench.stack.gauges().in_state(State::Established), 1);
    assert_eq!(allocated, 0);
}
