//! Many clients over one port: a thin TCP without I/O of its own, run to completion on one core.
//!
//! [`Clients`] takes frames and the time and gives frames and a deadline; the caller polls it.
//! Connections are in a slab, found by local address and port without hashing. After start-up
//! nothing is allocated, except that buffers grow to the largest batch.
//!
//! TIME_WAIT is not kept: a FIN that comes again for a port at rest is acknowledged from what it
//! says itself, and every port's next connection has a later sequence number and a later
//! timestamp than the one before, so that a server in TIME_WAIT takes it (RFC 6191).
//!
//! ```
//! use loadgen::{ClientConfig, Clients, WorkloadConfig};
//! use netcore::{Capabilities, HeapFrame, HeapPool, Instant, ring};
//!
//! let mac = [2, 0, 0, 0, 0, 1];
//! let config = ClientConfig::new(mac, "198.18.0.1/24".parse()?, "198.18.0.2:6379".parse()?);
//! let mut clients = Clients::<HeapFrame>::new(config, WorkloadConfig::default());
//! let capabilities = Capabilities::new(mac, 1500);
//! let (mut port, _server) = ring::pair(64, capabilities);
//! let work = clients.poll(&mut port, &mut HeapPool::new(1514, 64), Instant::ZERO);
//! assert_eq!(work.sent, 1); // it asks for the server's hardware address first
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config;
mod connection;
mod neighbour;
mod ports;
mod rto;
mod view;
mod wire;

use netcore::port::BURST;
use netcore::{Duration, Frame, FramePool, FrameQueue, Instant, Port};
use protocol::ethernet::{EtherType, HEADER_LEN};
use protocol::ip::Address;
use protocol::tcp::{Flags, SeqNumber, Timestamps};

pub use config::{ClientConfig, Network, ParseNetworkError};
use connection::{After, Connection, Context, Settings, State};
use ports::{Holder, Local, Ports};
pub use view::ConnectionView;
use wire::{Incoming, Outgoing, TX_QUEUE, Wire};

use crate::results::Results;
use crate::workload::{Workload, WorkloadConfig};

/// Bursts that one round takes from the port at most.
const BURSTS_PER_ROUND: usize = 4;
/// New connections that one round begins at most.
const OPENS_PER_ROUND: usize = BURST;
/// Room in the transmit queue that a received burst may need: an answer and a retransmission each.
const BURST_ROOM: usize = 2 * BURST;
/// Deadlines are looked at no more often than this.
const TIMER_GRAIN: Duration = Duration::from_millis(1);

/// What a round has moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Frames received.
    pub received: usize,
    /// Frames given to the port.
    pub sent: usize,
}

impl Work {
    /// True when the round did anything.
    pub const fn any(self) -> bool {
        self.received + self.sent > 0
    }
}

/// The clients of one core.
pub struct Clients<F> {
    wire: Wire<F>,
    workload: Workload,
    settings: Settings,
    local_addr: Address,
    rx: FrameQueue<F>,
    connections: Vec<Connection>,
    free: Vec<u32>,
    ports: Ports,
    /// Connections that want [`Connection::output`].
    todo: Vec<u32>,
    /// When each connection's timer runs out; close together, because they are scanned.
    deadlines: Vec<Instant>,
    /// None of `deadlines` is earlier.
    earliest: Instant,
    /// The last round left connections to be opened by the next one.
    more_to_open: bool,
}

impl<F: Frame> Clients<F> {
    /// Nothing is sent before the first [`Self::poll`].
    ///
    /// # Panics
    /// When a number of the configuration is out of its documented range.
    pub fn new(config: ClientConfig, workload: WorkloadConfig) -> Self {
        config.check();
        let count = config.connections;
        Self {
            wire: Wire::new(&config),
            workload: Workload::new(workload),
            settings: config.settings(),
            local_addr: config.address.addr,
            rx: FrameQueue::with_capacity(BURST),
            connections: (0..count).map(|_| Connection::new()).collect(),
            free: (0..count as u32).rev().collect(),
            ports: Ports::new(config.address.addr, config.source_addresses, config.ports, config.epoch_us),
            todo: Vec::with_capacity(count.max(BURST)),
            deadlines: vec![Instant::FAR_FUTURE; count],
            earliest: Instant::FAR_FUTURE,
            more_to_open: true,
        }
    }

    /// One round: receives, answers, looks at timers, opens connections, sends.
    ///
    /// `now`: never earlier than in the call before.
    pub fn poll<P, L>(&mut self, port: &mut P, pool: &mut L, now: Instant) -> Work
    where
        P: Port<Frame = F>,
        L: FramePool<Frame = F>,
    {
        let mut work = Work::default();
        for _ in 0..BURSTS_PER_ROUND {
            if self.wire.tx.room() < BURST_ROOM {
                break;
            }
            let received = port.receive(&mut self.rx, BURST);
            if received == 0 {
                break;
            }
            work.received += received;
            while let Some(frame) = self.rx.pop() {
                self.frame(&frame, pool, now);
            }
            self.output(pool, now);
            work.sent += port.send(&mut self.wire.tx);
            if received < BURST {
                break;
            }
        }
        self.wire.counters.received += work.received as u64;
        if self.wire.next_hop_mac().is_none() {
            self.wire.resolve(self.local_addr, pool, now);
        } else {
            if now >= self.earliest {
                self.timers(pool, now);
            }
            self.open(pool, now);
            self.output(pool, now);
        }
        if !self.wire.tx.is_empty() {
            work.sent += port.send(&mut self.wire.tx);
        }
        self.workload.results.wire = self.wire.counters;
        work
    }

    /// When [`Self::poll`] has to be called at the latest, if no frame arrives before;
    /// [`Instant::ZERO`] when there is work left already. Ask again after every other call.
    pub fn next_deadline(&self) -> Instant {
        if self.wire.next_hop_mac().is_none() {
            self.wire.ask_at()
        } else if self.more_to_open || !self.todo.is_empty() || !self.wire.tx.is_empty() {
            Instant::ZERO
        } else {
            self.earliest
        }
    }

    /// What has come out so far.
    pub fn results(&self) -> &Results {
        &self.workload.results
    }

    /// True once the target (or the gateway) has told its hardware address.
    pub fn resolved(&self) -> bool {
        self.wire.next_hop_mac().is_some()
    }

    /// True when every key has been written, or nothing was to be loaded.
    pub fn loaded(&self) -> bool {
        self.workload.loaded()
    }

    /// Keys loaded, and keys to load in all.
    pub fn load_progress(&self) -> (u64, u64) {
        self.workload.load_progress()
    }

    /// Forgets counts and latencies, and counts from here on.
    pub fn begin_measuring(&mut self) {
        self.workload.begin_measuring();
    }

    /// What ends from here on is checked but not counted.
    pub fn end_measuring(&mut self) {
        self.workload.end_measuring();
    }

    /// Allows so many more requests, whatever was allowed before.
    pub fn allow(&mut self, requests: u64) {
        self.more_to_open = true;
        self.workload.allow(requests);
    }

    /// Asks nothing more; connections end when their last reply is there.
    pub fn stop_issuing(&mut self) {
        self.workload.allow(0);
    }

    /// True when every request allowed has been issued, and has been answered or has failed.
    pub fn settled(&self) -> bool {
        self.workload.settled()
    }

    /// True when no connection is left and nothing waits to be sent.
    pub fn idle(&self) -> bool {
        self.free.len() == self.connections.len() && self.wire.tx.is_empty()
    }

    #[inline]
    fn frame<L: FramePool<Frame = F>>(&mut self, frame: &F, pool: &mut L, now: Instant) {
        let bytes = frame.bytes();
        let Some(ether_type) = self.wire.ether_type(bytes) else { return };
        if ether_type != self.wire.segments_in() {
            return self.other(ether_type, bytes, pool);
        }
        if ether_type == EtherType::Ipv6 && neighbour::is_icmpv6(bytes) {
            let ports = &self.ports;
            return self.wire.received_icmpv6(bytes, |addr| ports.owns(addr), pool);
        }
        let Some(seg) = self.wire.segment(frame) else { return };
        match self.ports.holder(seg.addr, seg.header.dst_port) {
            Some(Holder::Connection(slot)) => self.segment(slot, &seg, pool, now),
            Some(Holder::Ended) => self.at_rest(&seg, true, pool, now),
            Some(Holder::Nobody) => self.at_rest(&seg, false, pool, now),
            None => self.wire.counters.foreign += 1,
        }
    }

    /// A frame with something else than IP of the version that the target speaks.
    #[cold]
    fn other<L: FramePool<Frame = F>>(&mut self, ether_type: EtherType, bytes: &[u8], pool: &mut L) {
        match ether_type {
            EtherType::Arp => {
                let ports = &self.ports;
                self.wire.received_arp(&bytes[HEADER_LEN..], |addr| ports.owns(addr), pool);
            }
            EtherType::Ipv4 | EtherType::Ipv6 | EtherType::Channel | EtherType::Other(_) => {
                self.wire.counters.foreign += 1;
            }
        }
    }

    #[inline]
    fn segment<L: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        seg: &Incoming<'_>,
        pool: &mut L,
        now: Instant,
    ) {
        let Self { wire, workload, settings, .. } = self;
        let mut cx = Context { wire, pool, workload, settings, now };
        let connection = &mut self.connections[slot as usize];
        let after = connection.on_segment(seg, &mut cx);
        self.after(slot, after, pool, now);
    }

    #[inline]
    fn after<L: FramePool<Frame = F>>(&mut self, slot: u32, after: After, pool: &mut L, now: Instant) {
        let connection = &mut self.connections[slot as usize];
        match after {
            After::Keep => self.rearm(slot),
            After::Output => {
                if !connection.queued {
                    connection.queued = true;
                    self.todo.push(slot);
                }
            }
            After::Ended => {
                self.workload.ended();
                self.ports.ended(connection.local.entry, connection.snd_max);
                self.release(slot);
            }
            After::Failed(kind, detail) => {
                let Self { wire, workload, settings, .. } = self;
                let mut cx = Context { wire, pool, workload, settings, now };
                connection.abort(&mut cx);
                self.workload.failed(&mut connection.session, kind, detail);
                self.ports.reset(connection.local.entry);
                self.release(slot);
            }
        }
    }

    fn release(&mut self, slot: u32) {
        self.connections[slot as usize].state = State::Closed;
        self.deadlines[slot as usize] = Instant::FAR_FUTURE;
        self.free.push(slot);
    }

    #[inline]
    fn rearm(&mut self, slot: u32) {
        let deadline = self.connections[slot as usize].deadline();
        self.deadlines[slot as usize] = deadline;
        self.earliest = self.earliest.min(deadline);
    }

    /// Lets every connection send that wants to.
    #[inline]
    fn output<L: FramePool<Frame = F>>(&mut self, pool: &mut L, now: Instant) {
        let mut done = 0;
        while let Some(&slot) = self.todo.get(done) {
            let Self { wire, workload, settings, .. } = self;
            let mut cx = Context { wire, pool: &mut *pool, workload, settings, now };
            let connection = &mut self.connections[slot as usize];
            if !connection.output(&mut cx) {
                break;
            }
            connection.queued = false;
            if connection.state != State::Closed {
                self.rearm(slot);
            }
            done += 1;
        }
        self.todo.drain(..done);
    }

    #[cold]
    fn timers<L: FramePool<Frame = F>>(&mut self, pool: &mut L, now: Instant) {
        self.earliest = Instant::FAR_FUTURE;
        for slot in 0..self.deadlines.len() {
            if self.deadlines[slot] <= now && self.wire.tx.room() > BURST_ROOM {
                let Self { wire, workload, settings, .. } = self;
                let mut cx = Context { wire, pool: &mut *pool, workload, settings, now };
                let after = self.connections[slot].on_time(&mut cx);
                self.after(slot as u32, after, pool, now);
            }
            self.earliest = self.earliest.min(self.deadlines[slot]);
        }
        self.earliest = self.earliest.max(now + TIMER_GRAIN);
    }

    /// Opens connections up to the number configured.
    #[inline]
    fn open<L: FramePool<Frame = F>>(&mut self, pool: &mut L, now: Instant) {
        self.more_to_open = false;
        for _ in 0..OPENS_PER_ROUND {
            let Some(&slot) = self.free.last() else { return };
            if self.wire.tx.room() < BURST_ROOM {
                break;
            }
            let connection = &mut self.connections[slot as usize];
            // A slot that still waits in `todo` must not be found there as another connection.
            if connection.queued || !connection.begin(&mut self.workload, now) {
                return;
            }
            let (local, used) = self.ports.take(slot).expect("more ports than connections, checked at start");
            self.free.pop();
            let clock = self.settings.isn_clock(now);
            let iss = used.map_or(clock, |next_seq| clock.later(next_seq));
            let Self { wire, workload, settings, .. } = self;
            connection.open(local, iss, &mut Context { wire, pool: &mut *pool, workload, settings, now });
            self.rearm(slot);
        }
        self.more_to_open = !self.free.is_empty();
    }

    /// A segment for a port without a connection. `ended`: it had one that ended in order.
    #[cold]
    fn at_rest<L: FramePool<Frame = F>>(
        &mut self,
        seg: &Incoming<'_>,
        ended: bool,
        pool: &mut L,
        now: Instant,
    ) {
        self.wire.counters.stray += 1;
        let header = &seg.header;
        if header.flags.has(Flags::RST) || !header.flags.has(Flags::ACK) {
            return;
        }
        let fin = header.flags.has(Flags::FIN);
        let timestamps = seg
            .options
            .timestamps
            .map(|theirs| Timestamps { value: self.settings.timestamp(now), echo: theirs.value });
        let local = Local { addr: seg.addr, port: header.dst_port, entry: 0 };
        let mut out = Outgoing {
            local,
            seq: header.ack,
            ack: SeqNumber(0),
            flags: Flags::RST,
            window: 0,
            timestamps: None,
            payload: &[],
        };
        match (ended, fin) {
            // RFC 9293 §3.10.7.4, TIME_WAIT: the last acknowledgment was lost.
            (true, true) => {
                out.ack = header.seq + (seg.payload.len() as u32 + 1);
                out.flags = Flags::ACK;
                out.timestamps = timestamps;
            }
            (true, false) => return,
            // RFC 9293 §3.10.7.1
            (false, _) => {}
        }
        self.wire.send(&out, pool);
    }
}

const _: () = assert!(TX_QUEUE > 4 * BURST_ROOM);

#[cfg(test)]
mod tests;
