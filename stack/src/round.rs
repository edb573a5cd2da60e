//! The stack and its poll round: receive a burst, take each frame, let timers and the
//! application act, then send. Connections do not send while frames are taken, so one burst
//! makes one acknowledgment, and a request's reply carries it.

use alloc::vec::Vec;
use core::net::SocketAddr;

use netcore::port::BURST;
use netcore::rng::Rng;
use netcore::{Frame, FramePool, FrameQueue, Instant, Port, RxChecksum};
use protocol::channel::AcceptPolicy;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::{self, Address};
use protocol::tcp::{self, verify_checksum};

use crate::app::{App, ConnectionId, EndReason};
use crate::channel::{self, ChannelState};
use crate::config::{Changeable, Config};
use crate::counters::Counters;
use crate::ecn;
use crate::env::{Control, Env};
use crate::input::{self, After, Segment};
use crate::listen::{Announced, ListenError, Listeners};
use crate::output::{self, Sent};
use crate::state::{Gauges, State};
use crate::table::Connections;
use crate::tcb::{Connection, Flags, Key, Path};
use crate::time_wait::Kind;
use crate::timers;

/// A host TCP/IP stack on one port, for one core.
///
/// It does nothing by itself: call [`Stack::poll`] when the port has frames, when the
/// application's [`App::woken`] has names, and at [`Stack::next_deadline`].
pub struct Stack<F: Frame, A: App> {
    pub(crate) env: Env<F>,
    pub(crate) connections: Connections<A::Session>,
    pub(crate) listeners: Listeners,
    received: FrameQueue<F>,
    woken: Vec<ConnectionId>,
}

/// What a poll round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Frames taken from the port.
    pub frames_received: usize,
    /// Frames given to the port.
    pub frames_sent: usize,
    /// Connections that the application had named and that were resumed.
    pub woken: usize,
    /// Connections whose timer fired.
    pub timers: usize,
}

/// Bytes of memory of a stack's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// The slots of the table with the application's sessions in them, free ones included.
    pub slots: usize,
    /// What finds a slot by the connection's name.
    pub table: usize,
    /// Timers.
    pub timers: usize,
    /// Bytes that wait: to be acknowledged, for a gap to be filled, for the application.
    pub waiting: usize,
    /// Memory for replies that nobody uses now.
    pub spare: usize,
}

impl Work {
    /// True when the round did anything.
    pub fn any(&self) -> bool {
        self.frames_received + self.frames_sent + self.woken + self.timers > 0
    }
}

impl<F: Frame, A: App> Stack<F, A> {
    /// A stack without listeners. `rng`: secrets for sequence numbers and hashes, and the epoch.
    pub fn new(config: Config, rng: &mut impl Rng) -> Self {
        Self {
            connections: Connections::new(rng),
            env: Env::new(config, rng),
            listeners: Listeners::default(),
            received: FrameQueue::with_capacity(BURST),
            woken: Vec::new(),
        }
    }

    /// Accepts connections on `port`. `policy`: with offload, whether the host wants to hear of
    /// a connection at once or with its first data.
    ///
    /// # Errors
    /// `PortZero`; `InUse`: this stack listens there already.
    pub fn listen(&mut self, port: u16, policy: AcceptPolicy) -> Result<(), ListenError> {
        self.listeners.add(self.env.config.networks.len(), port, policy)?;
        self.env.gauges.set(State::Listen, self.listeners.len());
        Ok(())
    }

    /// No longer accepts connections on `port`; those that exist go on. Returns whether there
    /// was a listener.
    pub fn unlisten(&mut self, port: u16) -> bool {
        let was = self.listeners.remove(port);
        self.env.gauges.set(State::Listen, self.listeners.len());
        if was && self.env.channel.is_up() && self.env.channel.has_listeners() {
            let addresses = self.env.config.networks.len() as u16;
            self.env.controls.extend((0..addresses).map(|local| Control::Unlisten(local, port)));
        }
        was
    }

    /// True when connections can come: at once without a channel; with offload, when the firmware
    /// has acknowledged every listener; without, when a NIC outside this process has answered.
    pub fn is_ready(&self) -> bool {
        !self.env.channel.is_used()
            || (self.env.channel.is_up()
                && (!self.env.channel.has_listeners()
                    || self.listeners.iter().all(|listener| listener.announced == Announced::Accepted)))
    }

    /// How the channel to the firmware stands.
    pub fn channel_state(&self) -> ChannelState {
        self.env.channel.state()
    }

    /// One poll round at `now`, which never runs backwards: takes at most a burst from `port`,
    /// runs what is due, calls `app`, and sends. Frames come from `pool`.
    pub fn poll<P: Port<Frame = F>>(
        &mut self,
        port: &mut P,
        pool: &mut impl FramePool<Frame = F>,
        app: &mut A,
        now: Instant,
    ) -> Work {
        debug_assert!(now >= self.env.now, "time runs backwards");
        self.env.now = now;
        app.begin(now);
        let mut work = Work { frames_received: port.receive(&mut self.received, BURST), ..Work::default() };
        self.env.counters.frames_received += work.frames_received as u64;
        while let Some(frame) = self.received.pop() {
            self.frame_arrived(app, frame);
        }
        self.watch_nic(app, work.frames_received > 0);
        work.timers = self.run_timers(app);
        work.woken = self.resume_woken(app);
        loop {
            let done = self.flush(app, pool);
            let sent = port.send(&mut self.env.tx);
            work.frames_sent += sent;
            if done || sent == 0 {
                break;
            }
        }
        self.env.counters.frames_sent += work.frames_sent as u64;
        self.env.spare.clear();
        work
    }

    /// When [`Stack::poll`] has to be called at the latest if nothing arrives; a time that has
    /// passed means at once. `None`: never.
    pub fn next_deadline(&self) -> Option<Instant> {
        let env = &self.env;
        if !env.dirty.is_empty() || !env.controls.is_empty() || !env.tx.is_empty() {
            return Some(env.now);
        }
        [
            env.wheel.next_deadline(),
            env.time_wait.next_deadline(),
            env.fragments.next_deadline(),
            channel::send::next_deadline(env, &self.listeners),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Every event and drop since the start.
    pub fn counters(&self) -> &Counters {
        &self.env.counters
    }

    /// How many connections are in each state now.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = self.env.gauges;
        gauges.set(State::TimeWait, self.env.time_wait.count(Kind::TimeWait));
        gauges
    }

    /// Where memory is. Takes a time that grows with the number of connections.
    pub fn memory(&self) -> Memory {
        let [slots, table, waiting, kept] = self.connections.memory();
        let spare = self.env.runs.memory() + kept;
        Memory { slots, table, timers: self.env.wheel.memory(), waiting, spare }
    }

    /// Bytes of memory of received data that waits, of all connections (see
    /// [`Config::receive_memory_max`]).
    pub fn received_waiting(&self) -> usize {
        self.env.held.bytes()
    }

    /// Changes how many connections there may be; those that are there stay.
    pub fn set_connections_max(&mut self, connections_max: usize) {
        self.env.config.connections_max = connections_max;
    }

    /// Changes [`Config::listen_max`]: the firmware is told, and the connections that are there stay.
    pub fn set_listen_max(&mut self, listen_max: u32) {
        if core::mem::replace(&mut self.env.config.listen_max, listen_max) == listen_max {
            return;
        }
        for listener in self.listeners.iter_mut() {
            listener.announced = Announced::Due(self.env.now);
        }
    }

    /// Changes what can change while connections live.
    pub fn change(&mut self, to: Changeable) {
        self.env.config.change(to);
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.env.config
    }

    /// Closes a connection in order: what was written is sent, then FIN. Returns whether it was
    /// there.
    pub fn close(&mut self, id: ConnectionId) -> bool {
        let Some(connection) = self.connections.by_id(id) else { return false };
        input::close(connection);
        self.env.mark(id.slot, connection);
        true
    }

    /// Bytes up to the end of the peer's urgent data that the application has still to get; 0
    /// when there are none.
    ///
    /// RFC 9293 §3.8.5 MUST-33: asked for at any time.
    pub fn urgent_ahead(&mut self, id: ConnectionId) -> u32 {
        self.connections.by_id(id).map_or(0, |connection| input::urgent_ahead(connection))
    }

    /// Resets a connection. Returns whether it was there.
    pub fn abort(&mut self, app: &mut A, id: ConnectionId) -> bool {
        if self.connections.by_id(id).is_none() {
            return false;
        }
        self.follow(app, id.slot, After::End(EndReason::Aborted));
        true
    }

    /// Ends everything in order: no more listeners, every connection is closed after what was
    /// written to it. Go on polling until [`Gauges::connections`] is 0, or give up then.
    pub fn shutdown(&mut self) {
        for port in self.listeners.ports() {
            self.unlisten(port);
        }
        for slot in 0..self.connections.slots() {
            if let Some(connection) = self.connections.at(slot) {
                input::close(connection);
                self.env.mark(slot, connection);
            }
        }
    }

    /// Resets all connections at once.
    pub fn abort_all(&mut self, app: &mut A) {
        for slot in 0..self.connections.slots() {
            if self.connections.at(slot).is_some() {
                self.follow(app, slot, After::End(EndReason::Aborted));
            }
        }
    }

    /// Takes one frame, whatever it is.
    fn frame_arrived(&mut self, app: &mut A, frame: F) {
        let Ok(header) = ethernet::Header::parse(frame.bytes()) else {
            self.env.counters.frames_malformed += 1;
            return;
        };
        // A bridge floods, a device may be promiscuous: only what is meant for us or for all.
        // The NIC's messages are for us even while we do not know its address to be ours.
        let is_message = header.ether_type == EtherType::Channel;
        if header.dst != self.env.config.mac && !header.dst.is_multicast() && !is_message {
            self.env.counters.frames_other_destination += 1;
            return;
        }
        match header.ether_type {
            EtherType::Channel => {
                self.channel_arrived(app, &frame.bytes()[ethernet::HEADER_LEN..], header.src);
                self.env.recycle(frame);
            }
            EtherType::Ipv4 | EtherType::Ipv6 => self.ip_arrived(app, frame, &header),
            EtherType::Arp => self.arp_arrived(frame),
            EtherType::Other(_) => self.env.counters.frames_other_type += 1,
        }
    }

    #[inline]
    pub(crate) fn segment_on_wire(
        &mut self,
        app: &mut A,
        key: Key,
        segment: &Segment,
        payload: &[u8],
        mac: Mac,
    ) {
        match self.connections.find(key) {
            Some(slot) => {
                let connection = self.connections.slot(slot);
                match input::arrives(&mut self.env, slot, connection, app, segment, payload) {
                    After::Output => self.env.mark(slot, connection),
                    after => self.follow(app, slot, after),
                }
            }
            None => self.without_connection(app, key, segment, payload, mac),
        }
    }

    /// Does what follows from an event of a connection.
    #[inline]
    pub(crate) fn follow(&mut self, app: &mut A, slot: u32, after: After) {
        match after {
            After::Quiet => {}
            After::Output => {
                let connection = self.connections.slot(slot);
                self.env.mark(slot, connection);
            }
            After::TimeWait => self.enter_time_wait(app, slot),
            After::Answered(reason) => self.end_without_telling(app, slot, reason),
            After::End(reason) => self.end(app, slot, reason),
        }
    }

    /// Ends a connection, and tells the peer when it is we who end it.
    fn end(&mut self, app: &mut A, slot: u32, reason: EndReason) {
        let connection = self.connections.slot(slot);
        // RFC 9293 §3.10.5 (ABORT), §3.8.3
        let tell = match reason {
            EndReason::Aborted | EndReason::TimedOut => connection.tcb.state != State::SynSent,
            EndReason::Closed | EndReason::Reset => false,
        };
        if tell {
            self.env.reset_peer(slot, connection);
        }
        self.end_without_telling(app, slot, reason);
    }

    /// Forgets a connection; the peer or the firmware knows already.
    pub(crate) fn end_without_telling(&mut self, app: &mut A, slot: u32, reason: EndReason) {
        let connection = self.connections.slot(slot);
        let counters = &mut self.env.counters;
        match connection.tcb.state {
            State::SynReceived => counters.syn_received_reset += 1,
            State::SynSent => counters.connections_refused += 1,
            State::Closed
            | State::Listen
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait
            | State::Closing
            | State::LastAck
            | State::TimeWait => match reason {
                EndReason::Closed => counters.connections_closed += 1,
                EndReason::Reset => counters.connections_reset += 1,
                EndReason::TimedOut => counters.connections_timed_out += 1,
                EndReason::Aborted => counters.connections_aborted += 1,
            },
        }
        let never_opened = matches!(connection.tcb.state, State::SynSent | State::SynReceived)
            && connection.tcb.flags.has(Flags::ACTIVE);
        let id = connection.id(slot);
        if self.env.cookies.in_use(self.env.now) {
            self.env.remember_spent(connection);
        }
        if let Path::Flow(flow) = connection.tcb.path {
            self.env.channel.unbind(flow, slot);
        }
        if let Some(session) = self.connections.release(slot, &mut self.env) {
            app.closed(session, reason);
        } else if never_opened && self.env.failed_opens.len() < self.env.config.connections_max {
            self.env.failed_opens.push((id, reason));
        }
    }

    fn run_timers(&mut self, app: &mut A) -> usize {
        let now = self.env.now;
        let mut fired = 0;
        self.env.time_wait.expire(now, self.env.cookies.in_use(now));
        self.env.fragments.expire(now);
        channel::send::repeat(&mut self.env, &mut self.listeners);
        while let Some(slot) = self.env.wheel.pop_due(now) {
            fired += 1;
            let connection = self.connections.slot(slot);
            connection.armed = Instant::FAR_FUTURE;
            if connection.tcb.state == State::Closed {
                continue;
            }
            let after = timers::fired(&mut self.env, connection, app);
            self.env.arm(slot, connection);
            self.follow(app, slot, after);
        }
        fired
    }

    fn resume_woken(&mut self, app: &mut A) -> usize {
        let mut woken = core::mem::take(&mut self.woken);
        app.woken(&mut woken);
        let count = woken.len();
        for id in woken.drain(..) {
            let Some(connection) = self.connections.by_id(id) else { continue };
            let after = match input::resume(&mut self.env, connection, app) {
                Ok(()) => After::Output,
                Err(after) => after,
            };
            self.follow(app, id.slot, after);
        }
        self.woken = woken;
        count
    }

    /// Sends what is due; false when frames or room ran out.
    fn flush(&mut self, app: &mut A, pool: &mut impl FramePool<Frame = F>) -> bool {
        loop {
            // First what has no connection (any more), and what ends below.
            while let Some(control) = self.env.controls.pop_front() {
                if channel::send::control(&mut self.env, &self.listeners, pool, &control).is_err() {
                    self.env.controls.push_front(control);
                    return false;
                }
            }
            let Some(slot) = self.env.dirty.pop_front() else { return true };
            let connection = self.connections.slot(slot);
            connection.tcb.flags.clear(Flags::DIRTY);
            match output::transmit(&mut self.env, slot, connection, pool) {
                Sent::Done => {}
                Sent::Blocked => {
                    connection.tcb.flags.set(Flags::DIRTY);
                    self.env.dirty.push_front(slot);
                    return false;
                }
                Sent::HandedOver => self.end_without_telling(app, slot, EndReason::Closed),
                Sent::Unread => {
                    self.env.counters.connections_unread += 1;
                    self.follow(app, slot, After::End(EndReason::Aborted));
                }
            }
        }
    }

    /// For tests: nothing is left behind.
    #[cfg(test)]
    pub(crate) fn has_no_leftovers(&self) -> bool {
        self.gauges().connections() == 0
            && self.env.dirty.is_empty()
            && self.env.controls.is_empty()
            && self.env.tx.is_empty()
    }
}

impl<F: Frame> Env<F> {
    /// Reads and verifies a TCP segment. `verdict`: what is known of its checksum.
    // Always in place: as a call its result goes through memory twice, and waits there.
    #[inline(always)]
    pub(crate) fn parse_segment<'a>(
        &mut self,
        ip: &ip::Header,
        bytes: &'a [u8],
        verdict: RxChecksum,
        src_mac: Option<Mac>,
    ) -> Option<(Segment, &'a [u8])> {
        self.counters.segments_received += 1;
        let Ok(header) = tcp::Header::parse(bytes) else {
            self.counters.tcp_malformed += 1;
            return None;
        };
        // RFC 9293 §3.1 MUST-3: by us, or by the device.
        let good = match verdict {
            RxChecksum::Good => true,
            RxChecksum::Bad => false,
            RxChecksum::Unknown => verify_checksum(ip.src, ip.dst, bytes, self.config.rx_partial_checksum),
        };
        if !good {
            self.counters.tcp_bad_checksum += 1;
            return None;
        }
        let options = header.options(bytes);
        let marked = ecn::is_marked(ip.tos);
        Some((Segment { header, options, src_mac, marked }, &bytes[header.header_len..]))
    }
}

/// Why a connection cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The table is full.
    TooMany(usize),
    /// Every local port is taken for this remote address.
    NoPort(SocketAddr),
    /// This connection exists, or is still in TIME_WAIT.
    InUse(u16),
    /// The address is none that can answer.
    BadAddress(Address),
    /// Outside of our networks and no gateway is configured, or we have no address of its version.
    NoRoute(Address),
}

impl core::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooMany(max) => write!(f, "all {max} connections are in use: raise the limit"),
            Self::NoPort(remote) => write!(f, "every local port is in use towards {remote}"),
            Self::InUse(port) => write!(f, "local port {port} is in use towards that address"),
            Self::BadAddress(addr) => write!(f, "cannot connect to {addr}: not an address of one host"),
            Self::NoRoute(addr) => {
                write!(f, "{addr} is outside of our networks, and no gateway is configured for it")
            }
        }
    }
}

impl core::error::Error for ConnectError {}

/// Marks a connection for the output phase from outside of it.
pub(crate) fn mark_new<F: Frame, S>(env: &mut Env<F>, slot: u32, connection: &mut Connection<S>) {
    env.mark(slot, connection);
    env.arm(slot, connection);
}
