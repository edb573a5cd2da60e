//! The state of a connection.
//!
//! Three cache lines ([`Tcb`]) hold what a connection needs that has not lost, reordered or held
//! back anything; [`Full`] (receiving) and [`Recovery`] (sending) are made on demand. Beside them
//! stand the send queue, whose memory is lent while something waits, and the application's session.
//!
//! ```text
//!  send:     SND.UNA ... SND.NXT ... SND.UNA+SND.WND        receive: RCV.NXT ... rcv_right
//!            in flight | may be sent | not yet                       may arrive | outside
//! ```
//!
//! Costs per connection: 144 bytes of TCB, 76 of queue and bookkeeping, the session, 16 of timer, 9
//! in the table and its free places. A request on an open connection reads three lines here and one in the table; at
//! `lifecycle` none in the table. Measured at `none` with one frame per round and an echo as the
//! application, in cycles: about 600 per request, 2800 per short connection of five frames.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::net::SocketAddr;
use core::num::NonZeroU32;

use netcore::rto::RttEstimator;
use netcore::{Duration, FourTuple, Instant};
use protocol::channel::FlowId;
use protocol::ethernet::Mac;
use protocol::icmp_error::PathMtu;
use protocol::ip::{Address, Version};
use protocol::tcp::{SeqNumber, TIMESTAMPS_LEN};

use crate::app::ConnectionId;
use crate::config::Config;
use crate::ecn::Ecn;
use crate::held::Held;
use crate::reassembly::Reassembly;
use crate::recovery::Recovery;
use crate::recovery::congestion::Window;
use crate::send_queue::SendQueue;
use crate::settings::Settings;
use crate::state::{Gauges, State};

/// A connection's name: the four-tuple, with our address as its number in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Key {
    remote_addr: Address,
    remote_port: u16,
    local_port: u16,
    /// Which of our addresses.
    local: u16,
}

impl Key {
    #[inline]
    pub(crate) fn new(local: u16, local_port: u16, remote_addr: Address, remote_port: u16) -> Self {
        Self { remote_addr, remote_port, local_port, local }
    }
    /// As numbers, for hashes.
    #[inline]
    pub(crate) fn words(self) -> [u64; 3] {
        let [high, low] = self.remote_addr.words();
        let ports = u64::from(self.remote_port) << 16 | u64::from(self.local_port);
        [high, low, ports << 16 | u64::from(self.local)]
    }
    #[inline]
    pub(crate) fn remote_addr(self) -> Address {
        self.remote_addr
    }
    pub(crate) fn remote_port(self) -> u16 {
        self.remote_port
    }
    pub(crate) fn local_port(self) -> u16 {
        self.local_port
    }
    /// The number of our address.
    #[inline]
    pub(crate) fn local(self) -> u16 {
        self.local
    }
    #[inline]
    pub(crate) fn version(self) -> Version {
        self.remote_addr.version()
    }
    pub(crate) fn remote(self) -> SocketAddr {
        SocketAddr::new(self.remote_addr.to_ip_addr(), self.remote_port)
    }
    pub(crate) fn tuple(self, config: &Config) -> FourTuple {
        FourTuple {
            local_addr: config.address(self.local),
            remote_addr: self.remote_addr,
            local_port: self.local_port,
            remote_port: self.remote_port,
        }
    }
}

/// How a connection's segments travel: the one place that knows of the offload level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The neighbour's hardware address is being asked for.
    Unresolved,
    /// As Ethernet frames to this address.
    Wire(Mac),
    /// Through the channel, as this flow of the firmware.
    Flow(FlowId),
}

/// How a loss is being repaired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Nothing is missing.
    Open,
    /// The peer holds something behind a gap, or acknowledges twice: perhaps a loss.
    Disorder,
    /// Fast recovery (RFC 6582, RFC 6675, RFC 8985).
    Fast,
    /// After a retransmission timeout.
    Loss,
}

/// What the retransmission deadline stands for (RFC 8985 §8: one at a time).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Timer {
    /// The retransmission timeout, or a zero-window probe.
    Retransmission,
    /// A tail loss probe.
    LossProbe,
    /// The end of the reordering window.
    Reordering,
}

/// How far the hand-over of a connection to the firmware, with more than one segment holds or with
/// data in flight, has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum HandOver {
    /// Not tried yet.
    Possible,
    /// All pieces are out, the answer is not there: nothing else happens meanwhile.
    Offered,
    /// The firmware had no room, or did not answer: not tried again.
    Refused,
}

/// Yes-or-no facts of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flags(u16);

impl Flags {
    /// Timestamps were agreed on.
    pub(crate) const TIMESTAMPS: u16 = 1;
    /// The peer permits SACK.
    pub(crate) const SACK: u16 = 1 << 1;
    /// Stands in the list of connections with output.
    pub(crate) const DIRTY: u16 = 1 << 2;
    /// An acknowledgment is due at once.
    pub(crate) const ACK_NOW: u16 = 1 << 3;
    /// ... as a segment of its own, with SACK blocks.
    pub(crate) const ACK_BARE: u16 = 1 << 4;
    /// The application closed: FIN follows the queue, input is thrown away.
    pub(crate) const CLOSING: u16 = 1 << 5;
    /// Our FIN was sent; it is the last number before SND.NXT.
    pub(crate) const FIN_SENT: u16 = 1 << 6;
    /// The application holds back input.
    pub(crate) const WAITING: u16 = 1 << 7;
    /// A SYN or SYN-ACK is to be sent.
    pub(crate) const SYN_DUE: u16 = 1 << 8;
    /// A tail loss probe is due.
    pub(crate) const LOSS_PROBE: u16 = 1 << 9;
    /// Retransmit the first unacknowledged segment whatever the window.
    pub(crate) const RESEND: u16 = 1 << 10;
    /// A zero-window probe is due.
    pub(crate) const PROBE: u16 = 1 << 11;
    /// A keepalive probe is due.
    pub(crate) const KEEPALIVE: u16 = 1 << 12;
    /// The congestion window was full within the last round trip.
    pub(crate) const CWND_LIMITED: u16 = 1 << 13;
    /// We opened this connection.
    ///
    /// RFC 9293 §3.5 MUST-11: known in SYN_RECEIVED too.
    pub(crate) const ACTIVE: u16 = 1 << 14;
    /// Window scaling was agreed on.
    pub(crate) const SCALE: u16 = 1 << 15;

    #[inline]
    pub(crate) fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }
    #[inline]
    pub(crate) fn any(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
    #[inline]
    pub(crate) fn set(&mut self, bits: u16) {
        self.0 |= bits;
    }
    /// What is clear is not written: a byte that was written alone cannot be read back with its neighbour at once.
    #[inline]
    pub(crate) fn clear(&mut self, bits: u16) {
        if self.any(bits) {
            self.0 &= !bits;
        }
    }
}

/// The transmission control block. First line: what every segment reads. Second line: how to
/// send, and when to do something unasked. Third line: who the peer is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Tcb {
    pub(crate) generation: u32,
    pub(crate) state: State,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    pub(crate) snd_una: SeqNumber,
    pub(crate) snd_nxt: SeqNumber,
    /// RFC 9293 §3.1 REC-1: 32 bits, like RCV.WND.
    pub(crate) snd_wnd: u32,
    pub(crate) snd_wl1: SeqNumber,
    pub(crate) snd_wl2: SeqNumber,
    pub(crate) rcv_nxt: SeqNumber,
    /// RCV.NXT + RCV.WND: the right edge that was announced; it never moves left.
    pub(crate) rcv_right: SeqNumber,
    /// Last.ACK.sent
    pub(crate) rcv_acked: SeqNumber,
    /// TS.Recent
    pub(crate) ts_recent: u32,
    /// Our TSval is the millisecond clock plus this.
    pub(crate) ts_offset: u32,
    pub(crate) path: Path,
    /// Payload bytes of a full segment, timestamps taken off (RFC 6691).
    pub(crate) mss: u16,
    pub(crate) snd_scale: u8,
    pub(crate) rcv_scale: u8,

    pub(crate) window: Window,
    /// When `timer` expires.
    pub(crate) rtx_deadline: Instant,
    pub(crate) ack_deadline: Instant,
    /// Keepalive, FIN_WAIT_2, or the next ARP request.
    pub(crate) idle_deadline: Instant,
    /// When new data, or the SYN, was last sent. All that is in flight was sent then, unless
    /// the log of [`Recovery`] says otherwise.
    pub(crate) sent_at: Instant,
    pub(crate) rtt: RttEstimator,
    pub(crate) timer: Timer,
    /// Doublings of the timeout: its expiries since a round trip was measured, or those of the
    /// handshake.
    pub(crate) retries: u8,
    /// Probes since the peer was last heard of.
    pub(crate) unanswered: u8,
    pub(crate) hand_over: HandOver,

    pub(crate) key: Key,
    pub(crate) ecn: Ecn,
    /// The path takes less than our least packets: routers may fragment them.
    pub(crate) may_be_fragmented: bool,
}

/// What a connection needs only when something arrives out of order or is held back.
#[derive(Debug, Default)]
pub(crate) struct Full {
    pub(crate) reassembly: Reassembly,
    /// What has arrived twice and was not reported yet.
    pub(crate) duplicate: Option<(SeqNumber, SeqNumber)>,
    /// In-order bytes that the application does not want yet.
    pub(crate) held: Vec<u8>,
    /// RCV.UP, while it is ahead of RCV.NXT.
    pub(crate) urgent: Option<SeqNumber>,
    /// Input was thrown away after the application closed: the peer is told by RST.
    pub(crate) unread: bool,
    /// What this connection's received bytes count for in the stack's account.
    pub(crate) charged: usize,
}

impl Full {
    /// Bytes of memory that received bytes take.
    pub(crate) fn memory(&self) -> usize {
        self.reassembly.memory() + self.held.capacity()
    }
}

/// Where the application's session of a slot is. What it leaves there when a connection ends is for
/// the slot's next one.
#[derive(Debug)]
pub(crate) struct Seat<S> {
    place: Option<S>,
    taken: bool,
}

impl<S> Default for Seat<S> {
    fn default() -> Self {
        Self { place: None, taken: false }
    }
}

impl<S> Seat<S> {
    /// The session of the slot's connection, when the application has one for it.
    #[inline]
    pub(crate) fn session(&mut self) -> Option<&mut S> {
        self.place.as_mut().filter(|_| self.taken)
    }

    #[inline]
    pub(crate) fn is_taken(&self) -> bool {
        self.taken
    }

    /// Has the application take the seat, or refuse to: whether it did.
    #[inline]
    pub(crate) fn take(&mut self, connected: impl FnOnce(&mut Option<S>) -> bool) -> bool {
        self.taken = connected(&mut self.place);
        debug_assert!(!self.taken || self.place.is_some(), "a connection was accepted without a session");
        self.taken
    }

    /// Nobody has the seat any more; what the application is to close, if anybody had it.
    #[inline]
    pub(crate) fn vacate(&mut self) -> Option<&mut Option<S>> {
        core::mem::take(&mut self.taken).then_some(&mut self.place)
    }
}

/// A slot of the connection table: whole cache lines, the TCB in front.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Connection<S> {
    pub(crate) tcb: Tcb,
    pub(crate) queue: SendQueue,
    pub(crate) full: Option<Box<Full>>,
    /// What the sender has learned of the path.
    pub(crate) recovery: Option<Box<Recovery>>,
    pub(crate) seat: Seat<S>,
    /// When the timer of this slot fires; it is moved forward lazily.
    pub(crate) armed: Instant,
    /// Largest window that the peer ever announced (MAX.SND.WND of RFC 5961).
    pub(crate) snd_wnd_max: u32,
    /// When TS.Recent changed, in seconds.
    pub(crate) ts_recent_s: u32,
    /// When an empty segment that does not fit was last answered, in milliseconds.
    pub(crate) answered_ms: Option<NonZeroU32>,
    pub(crate) settings: Settings,
}

/// Everything that is known of a connection when its TCB is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) key: Key,
    pub(crate) path: Path,
    pub(crate) state: State,
    /// ISS in SYN states; SND.NXT when the handshake is over.
    pub(crate) snd_una: SeqNumber,
    pub(crate) snd_nxt: SeqNumber,
    pub(crate) ts_offset: u32,
    /// Payload bytes of a full segment, as far as it is known.
    pub(crate) mss: u16,
}

/// Payload bytes of a full segment to a peer that gave this MSS in its option; `path_mtu`: what is
/// known of the way there.
///
/// RFC 9293 §3.7.1 MUST-16: no more than the peer takes and than our packets and the path hold;
/// options come out of the segment (RFC 6691 §2). Less than 64 bytes counts as 64: it is an attack.
#[inline]
pub(crate) fn segment_max(
    peer_mss: u16,
    timestamps: bool,
    version: Version,
    config: &Config,
    path_mtu: Option<PathMtu>,
) -> u16 {
    let path_mss = path_mtu.map_or(u16::MAX, |path| Config::mss_of(path.mtu, version));
    let options = if timestamps { TIMESTAMPS_LEN as u16 } else { 0 };
    peer_mss.max(64).min(config.mss(version)).min(path_mss) - options
}

impl Tcb {
    #[inline]
    pub(crate) fn new(opening: &Opening, generation: u32) -> Self {
        Self {
            generation,
            state: opening.state,
            phase: Phase::Open,
            flags: Flags::default(),
            snd_una: opening.snd_una,
            snd_nxt: opening.snd_nxt,
            snd_wnd: 0,
            snd_wl1: SeqNumber(0),
            snd_wl2: SeqNumber(0),
            rcv_nxt: SeqNumber(0),
            rcv_right: SeqNumber(0),
            rcv_acked: SeqNumber(0),
            ts_recent: 0,
            ts_offset: opening.ts_offset,
            window: Window::new(opening.mss),
            path: opening.path,
            mss: opening.mss,
            snd_scale: 0,
            rcv_scale: 0,
            rtx_deadline: Instant::FAR_FUTURE,
            ack_deadline: Instant::FAR_FUTURE,
            idle_deadline: Instant::FAR_FUTURE,
            sent_at: Instant::ZERO,
            rtt: RttEstimator::new(),
            timer: Timer::Retransmission,
            retries: 0,
            unanswered: 0,
            hand_over: HandOver::Possible,
            key: opening.key,
            ecn: Ecn::default(),
            may_be_fragmented: false,
        }
    }

    /// Takes the peer's MSS, as for [`segment_max`], and starts the congestion window from it.
    pub(crate) fn set_mss(&mut self, peer_mss: u16, config: &Config, path_mtu: Option<PathMtu>) {
        let timestamps = self.flags.has(Flags::TIMESTAMPS);
        self.may_be_fragmented = path_mtu.is_some_and(|path| path.fragmented);
        self.mss = segment_max(peer_mss, timestamps, self.key.version(), config, path_mtu);
        self.window = Window::new(self.mss);
    }

    /// Bytes in flight, SYN and FIN counted.
    #[inline]
    pub(crate) fn flight(&self) -> u32 {
        self.snd_nxt.distance_from(self.snd_una)
    }

    /// RCV.WND
    #[inline]
    pub(crate) fn rcv_wnd(&self) -> u32 {
        self.rcv_right.distance_from(self.rcv_nxt)
    }

    /// The retransmission timeout with its present backoff.
    #[inline]
    pub(crate) fn rto(&self) -> Duration {
        self.rtt.backed_off(self.retries)
    }

    /// Our TSval at `now`.
    #[inline]
    pub(crate) fn ts_value(&self, now: Instant) -> u32 {
        (now.millis() as u32).wrapping_add(self.ts_offset)
    }

    /// The earliest of the deadlines.
    #[inline]
    pub(crate) fn deadline(&self) -> Instant {
        self.rtx_deadline.min(self.ack_deadline).min(self.idle_deadline)
    }
}

impl<S> Connection<S> {
    /// A slot without a connection.
    pub(crate) fn vacant(config: &Config) -> Self {
        let opening = Opening {
            key: Key::default(),
            path: Path::Unresolved,
            state: State::Closed,
            snd_una: SeqNumber(0),
            snd_nxt: SeqNumber(0),
            ts_offset: 0,
            mss: 0,
        };
        Self {
            tcb: Tcb::new(&opening, 0),
            queue: SendQueue::default(),
            full: None,
            recovery: None,
            seat: Seat::default(),
            armed: Instant::FAR_FUTURE,
            snd_wnd_max: 0,
            ts_recent_s: 0,
            answered_ms: None,
            settings: Settings::new(config),
        }
    }

    pub(crate) fn id(&self, slot: u32) -> ConnectionId {
        ConnectionId { slot, generation: self.tcb.generation }
    }

    pub(crate) fn set_state(&mut self, gauges: &mut Gauges, state: State) {
        gauges.changed(self.tcb.state, state);
        self.tcb.state = state;
    }

    pub(crate) fn full(&mut self) -> &mut Full {
        self.full.get_or_insert_default()
    }

    /// `left..right` arrived although it was here already: the next acknowledgment says so.
    ///
    /// RFC 2883 §4: each is reported once, in the first SACK block.
    #[cold]
    pub(crate) fn note_duplicate(&mut self, left: SeqNumber, right: SeqNumber) {
        if self.tcb.flags.has(Flags::SACK) {
            self.full().duplicate = Some((left, right));
            self.tcb.flags.set(Flags::ACK_NOW | Flags::ACK_BARE);
        }
    }

    pub(crate) fn recovery(&mut self, config: &Config) -> &mut Recovery {
        self.recovery.get_or_insert_with(|| Box::new(Recovery::new(config, &self.tcb)))
    }

    /// Bytes that were queued and never sent.
    #[inline]
    pub(crate) fn unsent(&self) -> usize {
        if self.tcb.flags.has(Flags::FIN_SENT) {
            return 0;
        }
        self.queue.len().saturating_sub(self.tcb.flight() as usize)
    }

    /// Gives the memory for trouble back when there is none any more, and accounts for it.
    #[inline]
    pub(crate) fn settle(&mut self, account: &mut Held) {
        if let Some(full) = &self.full {
            let over = full.reassembly.is_empty()
                && full.duplicate.is_none()
                && full.held.is_empty()
                && !full.unread
                && full.urgent.is_none_or(|urgent| urgent.before_eq(self.tcb.rcv_nxt));
            self.charge(account);
            if over && let Some(full) = self.full.take() {
                account.changed(full.charged, 0);
            }
        }
    }

    /// Brings the account up to date with what waits here.
    #[cold]
    pub(crate) fn charge(&mut self, account: &mut Held) {
        if let Some(full) = &mut self.full {
            let now = full.memory();
            account.changed(core::mem::replace(&mut full.charged, now), now);
        }
    }

    /// Sets SND.WND.
    #[inline]
    pub(crate) fn set_snd_wnd(&mut self, snd_wnd: u32) {
        self.tcb.snd_wnd = snd_wnd;
        self.snd_wnd_max = self.snd_wnd_max.max(snd_wnd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pinned() {
        assert_eq!(size_of::<Tcb>(), 144);
        assert_eq!(core::mem::offset_of!(Tcb, window), 64, "what every segment reads is in the first line");
        assert!(core::mem::offset_of!(Tcb, key) <= 128);
        assert_eq!(size_of::<Connection<()>>(), 256);
        assert_eq!(size_of::<Connection<[u64; 9]>>(), 320, "the server's session takes 72");
    }
}
