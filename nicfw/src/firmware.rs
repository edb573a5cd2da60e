//! A round of the firmware: what arrives, which stage takes it, what is to be sent.
//!
//! Costs per short connection (request, reply, FIN): three frames in from the wire, two from the
//! host side, two SipHashes (SYN and first ACK), three look-ups of the index. Flow, index and
//! TIME_WAIT entries are one to two cache lines each; nothing is allocated or copied, but for the
//! last data that an active close keeps. Measured by `mayfly-bench lifecycle --arrangement
//! one-core` (100,000 short connections, passive close, tables of the default size, a shared
//! machine): 1,370 to 1,450 cycles per connection, ports included, against 1,440 to 1,450 before
//! `warm_up` read the index ahead and headers were parsed in place (alternating runs). A quarter
//! of what `poll` itself costs is still that first read of the index.

use netcore::fragments::{Fragments, Taken};
use netcore::{Frame, FramePool, FrameQueue, Instant, Port, TimerWheel};
use netcore::{cookie::CookieJar, rng::Rng};
use protocol::ethernet::{self, EtherType};
use protocol::ip::Address;

use crate::budget::Budgets;
use crate::channel::Channel;
use crate::config::{Changeable, Config, Offload};
use crate::counters::{Counters, Event};
use crate::flow_table::{FlowFlags, FlowTable, Listed, State};
use crate::history::{History, Stage};
use crate::index::{Index, TupleHasher};
use crate::listen::Listeners;
use crate::packet::{Outgoing, Parsed, Segment, parse, peek_slot, peek_tuple};
use crate::retain::Retained;
use crate::steer::Steering;
use crate::time_wait::{ENDED, TimeWait};

/// Resolution of retransmission timers.
const TICK: netcore::Duration = netcore::Duration::from_millis(1);

/// Frames of a burst whose look-ups are read ahead.
const AHEAD: usize = 64;
/// No hash of a four-tuple was made yet; one that has this value is made again.
const NO_HASH: u32 = 0;

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Frames taken from the wire.
    pub wire_received: usize,
    /// Frames that the wire took.
    pub wire_sent: usize,
    /// Frames taken from all host queues.
    pub host_received: usize,
    /// Frames that all host queues took.
    pub host_sent: usize,
    /// Timers that fired.
    pub timers: usize,
}

impl Work {
    /// True when the round was not idle.
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// The firmware of one network card. All memory is taken by [`Firmware::new`].
#[derive(Debug)]
pub struct Firmware<F: Frame> {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    /// Our TSval now; counts milliseconds.
    pub(crate) ts_now: u32,
    pub(crate) ts_offset: u32,
    /// The identification of the last packet that routers may fragment.
    pub(crate) ident: u16,
    pub(crate) cookies: CookieJar,
    pub(crate) hasher: TupleHasher,
    /// From four-tuple to flow, or to the record of an ended connection.
    pub(crate) index: Index,
    pub(crate) flows: FlowTable,
    pub(crate) time_wait: TimeWait,
    pub(crate) listeners: Listeners,
    pub(crate) retained: Retained<F>,
    pub(crate) timers: TimerWheel,
    pub(crate) steering: Steering,
    pub(crate) budgets: Budgets,
    fragments: Fragments<F>,
    pub(crate) channel: Channel<F>,
    pub(crate) counters: Counters,
    pub(crate) history: History,
    wire_out: FrameQueue<F>,
    received: FrameQueue<F>,
    /// Frames of the wire whose turn has not come.
    ahead: FrameQueue<F>,
}

/// Who a segment belongs to.
pub(crate) enum Found {
    Flow(u32),
    Ended(u32),
    Nobody,
}

impl<F: Frame> Firmware<F> {
    /// Takes all memory that the firmware will ever use. Panics when `config` has no queue, more
    /// than 128, no place for last data, or tables beyond 2^30 entries.
    ///
    /// `rng`: secrets for cookies and tables, the epoch, the origin of timestamps.
    pub fn new(config: Config, rng: &mut impl Rng) -> Self {
        assert!((1..=128).contains(&config.queues), "{} host queues; 1 to 128 are possible", config.queues);
        assert!(config.flows_max < 1 << 30 && config.time_wait_max < 1 << 30, "tables above 2^30 entries");
        assert!((1..1 << 30).contains(&config.retained_max), "1 to 2^30 retained frames");
        let cookies = CookieJar::new(&rng.secret(), config.cookie_period);
        let mut steering = Steering::new(config.steer);
        if config.offload == Offload::None {
            steering.set_members(u128::MAX >> (128 - config.queues));
        }
        let ts_offset = rng.wire_u32();
        Self {
            now: Instant::ZERO,
            ts_now: ts_offset,
            ts_offset,
            ident: ts_offset as u16,
            hasher: TupleHasher::new(rng.secret()),
            index: Index::new(config.flows_max + config.time_wait_max),
            flows: FlowTable::new(config.flows_max),
            time_wait: TimeWait::new(config.time_wait_max, config.time_wait, cookies.lifetime()),
            listeners: Listeners::new(config.listeners_max),
            retained: Retained::new(config.retained_max),
            timers: TimerWheel::new(config.flows_max, TICK),
            steering,
            fragments: Fragments::default(),
            channel: Channel::new(
                rng.wire_u32(),
                config.queues,
                config.queue_frames,
                config.offload == Offload::Lifecycle,
            ),
            budgets: Budgets::new(
                config.networks_max,
                (config.network_syn_rate, config.network_syn_burst),
                config.network_flows_max,
                || rng.secret(),
            ),
            counters: Counters::default(),
            history: History::new(config.history_max),
            wire_out: FrameQueue::with_capacity(config.queue_frames),
            received: FrameQueue::with_capacity(config.burst),
            ahead: FrameQueue::with_capacity(config.read_ahead),
            cookies,
            config,
        }
    }

    /// Bytes of memory on the heap that a firmware made from `config` takes at its start: all that
    /// it ever takes, beside the frames that it holds. See [`Config`] for what an entry costs.
    pub const fn memory(config: &Config) -> usize {
        FlowTable::memory(config.flows_max)
            + Index::memory(config.flows_max + config.time_wait_max)
            + TimeWait::memory(config.time_wait_max)
            + Retained::<F>::memory(config.retained_max)
            + TimerWheel::memory_of(config.flows_max)
            + Listeners::memory(config.listeners_max)
            + History::memory(config.history_max)
            + Budgets::memory(config.networks_max, config.network_syn_rate, config.network_flows_max)
            + Channel::<F>::memory(config.queues, config.queue_frames)
            + FrameQueue::<F>::memory(config.queue_frames)
            + FrameQueue::<F>::memory(config.burst)
            + FrameQueue::<F>::memory(config.read_ahead)
    }

    /// One round: takes a burst from the wire and from each host queue, runs what is due, sends.
    /// Never blocks, never allocates.
    ///
    /// `hosts`: one port per host queue, in order. `now`: never less than before.
    pub fn poll<W: Port<Frame = F>, H: Port<Frame = F>>(
        &mut self,
        wire: &mut W,
        hosts: &mut [H],
        pool: &mut impl FramePool<Frame = F>,
        now: Instant,
    ) -> Work {
        debug_assert_eq!(hosts.len(), self.config.queues);
        let mut work = Work::default();
        self.time_is(now);
        work.wire_received = self.receive(wire);
        if self.config.offload == Offload::Lifecycle {
            for hash in self.warm_up() {
                let Some(frame) = self.received.pop() else { break };
                self.wire_frame_now(frame, hash, pool);
            }
        }
        while let Some(frame) = self.received.pop() {
            self.wire_frame_now(frame, NO_HASH, pool);
        }
        for (queue, host) in hosts.iter_mut().enumerate().take(self.config.queues) {
            // What the wire cannot take now stays with the host.
            let max = self.config.burst.min(self.wire_out.room());
            let received = host.receive(&mut self.received, max);
            work.host_received += received;
            if received > 0 || max == 0 {
                self.channel.queues[queue].heard_at = self.now;
            }
            self.warm_up_flows();
            while let Some(frame) = self.received.pop() {
                self.host_frame_now(queue, frame, pool);
            }
        }
        work.timers = self.due(pool);
        work.wire_sent = if self.wire_out.is_empty() { 0 } else { wire.send(&mut self.wire_out) };
        for (host, queue) in hosts.iter_mut().zip(&mut self.channel.queues) {
            if !queue.out.is_empty() {
                work.host_sent += host.send(&mut queue.out);
            }
        }
        work
    }

    /// Takes a burst from the wire, and what has come behind it to its queue. Returns the burst's length.
    #[inline]
    fn receive(&mut self, wire: &mut impl Port<Frame = F>) -> usize {
        let burst = self.config.burst;
        if self.ahead.is_empty() && wire.receive(&mut self.received, burst) < burst {
            return self.received.len();
        }
        while !self.received.is_full()
            && let Some(frame) = self.ahead.pop()
        {
            let _ = self.received.push(frame);
        }
        while !self.ahead.is_full() && wire.receive(&mut self.ahead, burst) == burst {}
        self.received.len()
    }

    /// Takes one frame from the wire. [`Self::poll`] without ports: follow it with
    /// [`Self::timer`], and send what [`Self::wire_output`] and [`Self::host_output`] hold.
    pub fn wire_frame(&mut self, frame: F, pool: &mut impl FramePool<Frame = F>, now: Instant) {
        self.time_is(now);
        self.wire_frame_now(frame, NO_HASH, pool);
    }

    /// Takes one frame from a host queue; see [`Self::wire_frame`].
    pub fn host_frame(&mut self, queue: usize, frame: F, pool: &mut impl FramePool<Frame = F>, now: Instant) {
        self.time_is(now);
        self.channel.queues[queue].heard_at = self.now;
        self.host_frame_now(queue, frame, pool);
    }

    /// Runs what is due, and what is done once per round; returns how many timers fired.
    pub fn timer(&mut self, pool: &mut impl FramePool<Frame = F>, now: Instant) -> usize {
        self.time_is(now);
        self.due(pool)
    }

    /// Frames to be sent to the wire.
    pub fn wire_output(&mut self) -> &mut FrameQueue<F> {
        &mut self.wire_out
    }

    /// Frames to be sent to a host queue. Panics when there is no such queue.
    pub fn host_output(&mut self, queue: usize) -> &mut FrameQueue<F> {
        &mut self.channel.queues[queue].out
    }

    /// When [`Self::poll`] has something to do even if no frame arrives; a time that has passed
    /// means: at once. `None`: nothing is pending.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.channel.has_work() || !self.wire_out.is_empty() || !self.ahead.is_empty() {
            return Some(self.now);
        }
        let timers = self.timers.next_deadline();
        let ended = self.time_wait.next_deadline(self.now);
        let others = self.fragments.next_deadline().into_iter().chain(self.silence_deadline());
        timers.into_iter().chain(ended).chain(others).min()
    }

    /// What has been counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Host queues that somebody serves now: who has said HELLO there and is not gone since.
    pub fn queues_served(&self) -> usize {
        self.channel.queues.iter().filter(|host| host.joined).count()
    }

    /// Addresses and ports that a host listens on now.
    pub fn listened_on(&self) -> impl Iterator<Item = (Address, u16)> + '_ {
        self.listeners.open()
    }

    /// Changes what can change while flows live.
    pub fn change(&mut self, to: Changeable) {
        self.config.change(to);
    }

    /// What it was made from, and changed to.
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn time_is(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.ts_now = (self.now.millis() as u32).wrapping_add(self.ts_offset);
        self.cookies.rotate(self.now);
    }

    /// Reads for a whole burst what each frame will look up, so that the cache misses overlap:
    /// first the index, where no read waits for another, then what it names. Returns the hash of
    /// each frame's four-tuple.
    #[inline]
    fn warm_up(&self) -> [u32; AHEAD] {
        let mut hashes = [NO_HASH; AHEAD];
        let mut seen = 0;
        for (frame, hash) in self.received.iter().zip(&mut hashes) {
            let Some(tuple) = peek_tuple(frame.bytes()) else { continue };
            *hash = self.hasher.hash(&tuple);
            seen ^= self.index.touch(*hash);
        }
        for &hash in hashes.iter().take(self.received.len()) {
            seen ^= u64::from(match self.index.find(hash, |_| true) {
                Some(value) if value & ENDED != 0 => self.time_wait.get(value & !ENDED).hash,
                Some(slot) => self.flows[slot].hash,
                None => 0,
            });
        }
        core::hint::black_box(seen);
        hashes
    }

    /// The same for messages of the host, which say the slot.
    #[inline]
    fn warm_up_flows(&self) {
        let mut seen = 0;
        for frame in self.received.iter() {
            if let Some(flow) = peek_slot(frame.bytes()).and_then(|slot| self.flows.get(slot)) {
                seen ^= flow.generation ^ flow.hash;
            }
        }
        core::hint::black_box(seen);
    }

    /// `hash`: of the four-tuple, or [`NO_HASH`].
    #[inline]
    fn wire_frame_now<P: FramePool<Frame = F>>(&mut self, frame: F, hash: u32, pool: &mut P) {
        self.counters.add(Event::WireReceived);
        let parsed = parse(frame.bytes());
        match (self.config.offload, parsed) {
            (Offload::Lifecycle, Parsed::Tcp(segment)) => self.tcp_segment(&segment, hash, frame, pool),
            (Offload::Lifecycle, Parsed::Malformed) => self.counters.add(Event::Malformed),
            (Offload::None, Parsed::Tcp(segment)) => {
                self.raw_to_host(self.steering.queue(&segment.tuple), frame);
            }
            (_, Parsed::Channel) => self.counters.add(Event::ChannelFromWire),
            (_, Parsed::Fragment) => self.fragment(frame, pool),
            (Offload::Lifecycle, Parsed::Icmp) => self.icmp(frame, pool),
            (Offload::Lifecycle, Parsed::Other) => self.other_to_host(frame, pool),
            (Offload::None, Parsed::Icmp | Parsed::Other | Parsed::Malformed) => {
                self.raw_to_host(self.steering.first(), frame);
            }
        }
    }

    /// Puts pieces together before anything else looks at them: a piece alone says neither whose
    /// it is nor which queue it belongs to.
    #[cold]
    fn fragment<P: FramePool<Frame = F>>(&mut self, frame: F, pool: &mut P) {
        self.counters.add(Event::Fragment);
        match self.fragments.take(frame, self.now) {
            Taken::Kept => {}
            Taken::Dropped => self.counters.add(Event::FragmentDropped),
            Taken::Whole(frame) => {
                self.counters.add(Event::Reassembled);
                self.wire_frame_now(frame, NO_HASH, pool);
            }
        }
    }

    #[inline]
    fn tcp_segment<P: FramePool<Frame = F>>(&mut self, segment: &Segment, hash: u32, frame: F, pool: &mut P) {
        let tuple = &segment.tuple;
        let hash = if hash == NO_HASH { self.hasher.hash(tuple) } else { hash };
        let found = self.find_by(hash, tuple);
        let listener = match found {
            Found::Nobody => self.listener_for(tuple),
            Found::Flow(_) | Found::Ended(_) => None,
        };
        let is_for_us = segment.dst_mac == self.config.mac;
        if !is_for_us || (listener.is_none() && matches!(found, Found::Nobody)) {
            if is_for_us && self.is_nobody_there() {
                return self.host_is_absent(segment, frame, pool);
            }
            return self.raw_to_host(self.steering.queue(tuple), frame);
        }
        let good = match frame.rx_checksum() {
            netcore::RxChecksum::Good => true,
            netcore::RxChecksum::Bad => false,
            netcore::RxChecksum::Unknown => {
                segment.checksum_is_good(frame.bytes(), self.config.rx_partial_checksum)
            }
        };
        if !good {
            return self.counters.add(Event::BadChecksum);
        }
        match (found, listener) {
            (Found::Flow(slot), _) => self.flow_segment(slot, segment, frame, pool),
            (Found::Ended(place), _) => self.ended(place, segment, frame, pool),
            (Found::Nobody, Some(listener)) => self.listening(listener, segment, frame, pool),
            (Found::Nobody, None) => {}
        }
    }

    /// The listener for a destination: an open one, or, while no host is there, one that the last had.
    #[inline]
    pub(crate) fn listener_for(&self, tuple: &netcore::FourTuple) -> Option<u16> {
        let (addr, port) = (tuple.local_addr, tuple.local_port);
        self.listeners
            .find(addr, port)
            .or_else(|| self.listeners.find_remembered(addr, port).filter(|_| self.is_nobody_there()))
    }

    #[inline]
    fn flow_segment<P: FramePool<Frame = F>>(
        &mut self,
        slot: u32,
        segment: &Segment,
        frame: F,
        pool: &mut P,
    ) {
        if self.is_of_earlier_life(slot) {
            self.note(slot, Event::RestartReset);
            return self.reset_flow(slot, Some(frame), pool);
        }
        match self.flows[slot].state {
            State::Established => self.established(slot, segment, frame, pool),
            State::Waiting | State::Announcing => self.waiting(slot, segment, frame, pool),
            State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => {
                self.closing(slot, segment, frame, pool);
            }
            State::Ended => debug_assert!(false, "an ended flow is not in the index"),
        }
    }

    pub(crate) fn find(&self, tuple: &netcore::FourTuple) -> Found {
        self.find_by(self.hasher.hash(tuple), tuple)
    }

    #[inline]
    fn find_by(&self, hash: u32, tuple: &netcore::FourTuple) -> Found {
        debug_assert_eq!(hash, self.hasher.hash(tuple));
        let found = self.index.find(hash, |value| {
            if value & ENDED != 0 {
                self.time_wait.get(value & !ENDED).tuple == *tuple
            } else {
                self.flows[value].tuple == *tuple
            }
        });
        match found {
            Some(value) if value & ENDED != 0 => Found::Ended(value & !ENDED),
            Some(slot) => Found::Flow(slot),
            None => Found::Nobody,
        }
    }

    #[inline]
    fn host_frame_now<P: FramePool<Frame = F>>(&mut self, queue: usize, frame: F, pool: &mut P) {
        self.counters.add(Event::HostReceived);
        let is_message =
            ethernet::Header::parse(frame.bytes()).is_ok_and(|link| link.ether_type == EtherType::Channel);
        if is_message {
            return self.message(queue, frame, pool);
        }
        self.counters.add(Event::RawToWire);
        self.put_on_wire(frame);
    }

    fn due<P: FramePool<Frame = F>>(&mut self, pool: &mut P) -> usize {
        self.fragments.expire(self.now);
        self.look_for_silence();
        if self.config.offload == Offload::None {
            self.greet(pool);
            return 0;
        }
        let mut fired = 0;
        while let Some(slot) = self.timers.pop_due(self.now) {
            self.flow_timer(slot, pool);
            fired += 1;
        }
        self.expire_ended();
        self.finish_round(pool);
        self.counters.time_wait = self.time_wait.counts[0];
        self.counters.spent = self.time_wait.counts[1];
        self.counters.retained = self.retained.len() as u64;
        self.counters.listeners = self.listeners.open_count() as u64;
        fired
    }

    pub(crate) fn allocate<P: FramePool<Frame = F>>(&mut self, pool: &mut P) -> Option<F> {
        let frame = pool.allocate();
        if frame.is_none() {
            self.counters.add(Event::PoolEmpty);
        }
        frame
    }

    /// Our TSval now.
    #[inline]
    pub(crate) fn timestamp(&self) -> u32 {
        self.ts_now
    }

    /// Sends a segment, in the frame `reuse` when it has room for it.
    #[inline]
    pub(crate) fn send<P: FramePool<Frame = F>>(
        &mut self,
        reuse: Option<F>,
        segment: &Outgoing<'_>,
        pool: &mut P,
    ) {
        if let Some(mut frame) = reuse
            && segment.write(&mut frame, self.config.tx_checksum)
        {
            return self.put_on_wire(frame);
        }
        if let Some(mut frame) = self.allocate(pool)
            && segment.write(&mut frame, self.config.tx_checksum)
        {
            self.put_on_wire(frame);
        }
    }

    /// Frames that still can be put on the wire.
    #[inline]
    pub(crate) fn wire_room(&self) -> usize {
        self.wire_out.room()
    }

    #[inline]
    pub(crate) fn put_on_wire(&mut self, frame: F) {
        let event = match self.wire_out.push(frame) {
            Ok(()) => Event::WireSent,
            Err(_) => Event::WireQueueFull,
        };
        self.counters.add(event);
    }

    /// Data for the host: dropped when its queue is nearly full, as on any wire.
    #[inline]
    pub(crate) fn data_to_host(&mut self, queue: u16, frame: F) {
        let out = &self.channel.queues[usize::from(queue)].out;
        // The last eighth is for news of connections.
        if out.room() <= self.config.queue_frames / 8 {
            return self.counters.add(Event::HostQueueFull);
        }
        self.event_to_host(usize::from(queue), frame);
    }

    /// News for the host that HELLO counts; the caller has looked for room.
    #[inline]
    pub(crate) fn news_to_host(&mut self, queue: usize, frame: F) {
        let host = &mut self.channel.queues[queue];
        debug_assert!(!host.out.is_full());
        host.news_sent = host.news_sent.wrapping_add(1);
        self.event_to_host(queue, frame);
    }

    /// A message for the host; the caller has looked for room where it must not be lost.
    #[inline]
    pub(crate) fn event_to_host(&mut self, queue: usize, frame: F) {
        let event = match self.channel.queues[queue].out.push(frame) {
            Ok(()) => Event::HostSent,
            Err(_) => Event::HostQueueFull,
        };
        self.counters.add(event);
    }

    /// The first state of a flow.
    #[inline]
    pub(crate) fn enter_first(&mut self, slot: u32, state: State) {
        self.flows[slot].state = state;
        self.counters.states[state as usize] += 1;
        self.note_step(slot, Some(Event::CookieAccepted), Stage::Unknown, Stage::Flow(state));
    }

    #[inline]
    pub(crate) fn enter(&mut self, slot: u32, state: State) {
        let old = core::mem::replace(&mut self.flows[slot].state, state);
        debug_assert!(is_transition(old, state), "{old:?} to {state:?}");
        self.counters.states[old as usize] -= 1;
        self.counters.states[state as usize] += 1;
        match (is_held(old), is_held(state)) {
            (false, true) => {
                let flow = &self.flows[slot];
                self.listeners.take(flow.listener);
                self.channel.queues[usize::from(flow.queue)].held += 1;
            }
            (true, false) => self.let_go(slot),
            _ => {}
        }
        let event = match state {
            // Its end has been written down already.
            State::Ended => return,
            State::Announcing => Some(Event::EstablishedDelayed),
            State::Established => Some(Event::EstablishedSent),
            State::Waiting | State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck => None,
        };
        self.note_step(slot, event, Stage::Flow(old), Stage::Flow(state));
    }

    /// Frees a flow's slot.
    #[inline]
    pub(crate) fn leave(&mut self, slot: u32) {
        let old = core::mem::replace(&mut self.flows[slot].state, State::Ended);
        self.counters.states[old as usize] -= 1;
        if is_held(old) {
            self.let_go(slot);
        }
        let flow = &self.flows[slot];
        if flow.flags.has(FlowFlags::COUNTED) {
            self.budgets.let_go(flow.tuple.remote_addr);
        }
        self.flows.release(slot);
    }

    /// The host has no part in a flow any more. As long as it does not know, it still counts as
    /// the host's: who is let in instead is announced behind that news.
    #[inline]
    fn let_go(&mut self, slot: u32) {
        self.taken(slot);
        let flow = &self.flows[slot];
        self.channel.queues[usize::from(flow.queue)].held -= 1;
        if flow.list != Listed::Closed {
            self.listeners.let_go(flow.listener);
        }
    }

    /// Takes a flow out of the list of those that the host has not heard of.
    #[inline]
    pub(crate) fn unlist(&mut self, slot: u32) {
        let flow = &self.flows[slot];
        match flow.list {
            Listed::No | Listed::Closed => {}
            Listed::Waiting => {
                if let Some(listener) = self.listeners.get_mut(flow.listener) {
                    self.flows.unlink(&mut listener.waiting, slot);
                }
            }
            Listed::Announce => {
                let queue = usize::from(flow.queue);
                self.flows.unlink(&mut self.channel.queues[queue].announce, slot);
            }
        }
    }
}

/// The host has the flow, or is about to be told of it.
#[inline]
pub(crate) const fn is_held(state: State) -> bool {
    matches!(state, State::Announcing | State::Established)
}

/// Every change of state that there is.
const fn is_transition(from: State, to: State) -> bool {
    match from {
        State::Waiting => {
            matches!(to, State::Announcing | State::Established | State::FinWait1 | State::LastAck)
        }
        State::Announcing => matches!(to, State::Established | State::LastAck),
        State::Established => matches!(to, State::FinWait1 | State::LastAck | State::Ended),
        State::FinWait1 => matches!(to, State::FinWait2 | State::Closing | State::Ended),
        State::FinWait2 | State::Closing => matches!(to, State::Ended),
        State::LastAck => matches!(to, State::Ended),
        State::Ended => false,
    }
}
