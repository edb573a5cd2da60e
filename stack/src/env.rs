//! What all connections of a stack share, lent to whatever handles one of them.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use netcore::isn::IsnGenerator;
use netcore::port::BURST;
use netcore::{Fragments, Frame, FramePool, FrameQueue, Instant, TimerWheel};
use protocol::channel::FlowId;
use protocol::ethernet::Mac;
use protocol::ip::Address;
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

use crate::app::{ConnectionId, EndReason, Output};
use crate::channel::Driver;
use crate::config::Config;
use crate::cookies::Cookies;
use crate::counters::Counters;
use crate::held::Held;
use crate::ip::neighbour::Neighbours;
use crate::ip::path_mtu::PathMtus;
use crate::send_queue::Runs;
use crate::state::Gauges;
use crate::tcb::{Connection, Key, Path};
use crate::time_wait::TimeWait;

/// Segments without a connection that may wait to be sent; more are dropped and counted.
const BARE_MAX: usize = 4096;
/// ICMP errors that we send in a second.
const ICMP_ERRORS_PER_SECOND: u32 = 100;

pub(crate) struct Env<F> {
    pub(crate) config: Config,
    pub(crate) now: Instant,
    pub(crate) counters: Counters,
    pub(crate) gauges: Gauges,
    pub(crate) wheel: TimerWheel,
    pub(crate) isn: IsnGenerator,
    pub(crate) cookies: Cookies,
    pub(crate) neighbours: Neighbours,
    pub(crate) path_mtus: PathMtus,
    pub(crate) fragments: Fragments<F>,
    pub(crate) time_wait: TimeWait,
    pub(crate) channel: Driver,
    /// Slots with something to send.
    pub(crate) dirty: VecDeque<u32>,
    pub(crate) controls: VecDeque<Control>,
    pub(crate) tx: FrameQueue<F>,
    /// Received frames that were read to the end and can carry an answer.
    pub(crate) spare: Vec<F>,
    /// Received bytes that wait, of all connections.
    pub(crate) held: Held,
    /// Memory for short replies.
    pub(crate) runs: Runs,
    /// Lent to the application for each call.
    pub(crate) output: Output,
    /// Active opens that came to nothing and were not yet asked for.
    pub(crate) failed_opens: Vec<(ConnectionId, EndReason)>,
    /// Counts active opens (RFC 6056 §3.3.3).
    pub(crate) next_port: u32,
    challenges: PerSecond,
    complaints: PerSecond,
}

/// Counts events of the running second.
#[derive(Clone, Copy, Debug, Default)]
struct PerSecond {
    second: u64,
    count: u32,
}

impl PerSecond {
    /// Whether there may be one more, of at most `max` in a second.
    fn allows(&mut self, now: Instant, max: u32) -> bool {
        let second = now.millis() / 1000;
        if second != self.second {
            *self = Self { second, count: 0 };
        }
        let allowed = self.count < max;
        self.count += u32::from(allowed);
        allowed
    }
}

/// Something to send that has no connection (any more).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Bare(Bare),
    /// Tell `to`, which is reached at `mac`, where our address with the number `local` is.
    Advertise {
        local: u16,
        to: Address,
        mac: Mac,
        solicited: bool,
    },
    /// Ask for the hardware address of a neighbour.
    Solicit(Address),
    Abort {
        flow: FlowId,
        handle: u32,
        snd_nxt: SeqNumber,
        rcv_nxt: SeqNumber,
    },
    Hello {
        reply: bool,
    },
    /// Of our address with this number, this port.
    Listen(u16, u16),
    Unlisten(u16, u16),
}

/// A segment without data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bare {
    pub(crate) mac: Mac,
    pub(crate) key: Key,
    pub(crate) seq: SeqNumber,
    pub(crate) ack: SeqNumber,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    pub(crate) options: Options,
}

impl<F: Frame> Env<F> {
    pub(crate) fn new(config: Config, rng: &mut impl netcore::rng::Rng) -> Self {
        let config = config.complete();
        let cookies = Cookies::new(rng);
        Self {
            now: Instant::ZERO,
            counters: Counters::default(),
            gauges: Gauges::default(),
            wheel: TimerWheel::new(0, netcore::Duration::from_millis(1)),
            isn: IsnGenerator::new(rng),
            neighbours: Neighbours::new(config.neighbours_max),
            path_mtus: PathMtus::default(),
            fragments: Fragments::default(),
            time_wait: TimeWait::new(config.time_wait, cookies.lifetime(), config.time_wait_max, rng),
            cookies,
            channel: Driver::new(&config, rng),
            dirty: VecDeque::new(),
            controls: VecDeque::new(),
            tx: FrameQueue::with_capacity(config.tx_queue_frames.max(BURST)),
            spare: Vec::with_capacity(2 * BURST),
            held: Held::new(config.receive_memory_max),
            runs: Runs::default(),
            output: Output::new(),
            failed_opens: Vec::new(),
            next_port: 0,
            challenges: PerSecond::default(),
            complaints: PerSecond::default(),
            config,
        }
    }

    /// An empty frame with room for `room` bytes: a received one that was read, or a new one.
    #[inline]
    pub(crate) fn frame(&mut self, pool: &mut impl FramePool<Frame = F>, room: usize) -> Option<F> {
        while let Some(mut frame) = self.spare.pop() {
            frame.reset();
            if frame.tailroom() >= room && frame.headroom() >= protocol::channel::OVERHEAD_MAX {
                return Some(frame);
            }
        }
        let frame = pool.allocate();
        if frame.is_none() {
            self.counters.pool_empty += 1;
        }
        frame
    }

    /// Keeps a frame that was read for [`Self::frame`].
    #[inline]
    pub(crate) fn recycle(&mut self, frame: F) {
        if self.spare.len() < self.spare.capacity() {
            self.spare.push(frame);
        }
    }

    pub(crate) fn send_bare(&mut self, bare: Bare) {
        self.control(Control::Bare(bare));
    }

    /// Queues what a peer can make us send without a connection.
    pub(crate) fn control(&mut self, control: Control) {
        if self.controls.len() >= BARE_MAX {
            self.counters.bare_dropped += 1;
        } else {
            self.controls.push_back(control);
        }
    }

    /// Whether one more challenge ACK may be sent (RFC 5961 §7 asks for a limit).
    pub(crate) fn may_challenge(&mut self) -> bool {
        let allowed = self.challenges.allows(self.now, self.config.challenge_acks_per_second);
        self.counters.challenge_acks += u64::from(allowed);
        self.counters.challenge_acks_limited += u64::from(!allowed);
        allowed
    }

    /// Whether one more ICMP error may be sent (RFC 1812 §4.3.2.8, RFC 4443 §2.4 (f)).
    pub(crate) fn may_complain(&mut self) -> bool {
        let allowed = self.complaints.allows(self.now, ICMP_ERRORS_PER_SECOND);
        self.counters.icmp_errors_limited += u64::from(!allowed);
        allowed
    }

    /// Puts a connection on the list of those with something to send.
    #[inline]
    pub(crate) fn mark<S>(&mut self, slot: u32, connection: &mut Connection<S>) {
        if !connection.tcb.flags.has(crate::tcb::Flags::DIRTY) {
            connection.tcb.flags.set(crate::tcb::Flags::DIRTY);
            self.dirty.push_back(slot);
        }
    }

    /// Sees to it that the slot's timer fires no later than the connection's next deadline. A
    /// timer that fires too early costs less than moving it with every segment.
    #[inline]
    pub(crate) fn arm<S>(&mut self, slot: u32, connection: &mut Connection<S>) {
        let deadline = connection.tcb.deadline();
        if deadline < connection.armed {
            connection.armed = deadline;
            self.wheel.insert(slot, deadline);
        }
    }

    /// Resets a connection: RST on the wire, ABORT through the channel.
    pub(crate) fn reset_peer<S>(&mut self, slot: u32, connection: &Connection<S>) {
        let tcb = &connection.tcb;
        match tcb.path {
            Path::Unresolved => {}
            Path::Wire(mac) => {
                // RFC 9293 §3.10.5: SND.NXT; RFC 7323 §5.2 wants timestamps in our segments.
                let timestamps = tcb
                    .flags
                    .has(crate::tcb::Flags::TIMESTAMPS)
                    .then(|| Timestamps { value: tcb.ts_value(self.now), echo: tcb.ts_recent });
                self.counters.resets_sent += 1;
                self.send_bare(Bare {
                    mac,
                    key: tcb.key,
                    seq: tcb.snd_nxt,
                    ack: tcb.rcv_nxt,
                    flags: Flags::RST | Flags::ACK,
                    window: 0,
                    options: Options { timestamps, ..Options::default() },
                });
            }
            Path::Flow(flow) => {
                self.counters.channel_aborts += 1;
                self.controls.push_back(Control::Abort {
                    flow,
                    handle: slot,
                    snd_nxt: tcb.snd_nxt,
                    rcv_nxt: tcb.rcv_nxt,
                });
            }
        }
    }
}
