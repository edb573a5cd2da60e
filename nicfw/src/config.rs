//! Every size and time of the firmware, in one place.

use core::fmt;
use core::str::FromStr;

use netcore::Duration;
use protocol::ethernet::Mac;

/// How much of a connection the firmware holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: a plain network card with receive-side scaling.
    None,
    /// Setup and teardown; the host moves the data.
    #[default]
    Lifecycle,
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Lifecycle => "lifecycle",
        })
    }
}

/// A word that names no level of offload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownOffload;

impl fmt::Display for UnknownOffload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown level of offload; use \"none\" or \"lifecycle\"")
    }
}

impl core::error::Error for UnknownOffload {}

impl FromStr for Offload {
    type Err = UnknownOffload;
    fn from_str(word: &str) -> Result<Self, UnknownOffload> {
        match word {
            "none" => Ok(Self::None),
            "lifecycle" => Ok(Self::Lifecycle),
            _ => Err(UnknownOffload),
        }
    }
}

/// What decides the host queue of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Steer {
    /// Receive-side scaling with the standard key of network cards.
    #[default]
    Rss,
    /// Receive-side scaling with a key by which both directions of a connection have one hash.
    SymmetricRss,
    /// The key of the first request where it can be told (level lifecycle, policy "with the first
    /// data", more than one queue); otherwise as [`Self::Rss`].
    Key,
}

impl Steer {
    /// Every way, with its name.
    pub const NAMES: [(&'static str, Self); 3] =
        [("rss", Self::Rss), ("symmetric", Self::SymmetricRss), ("key", Self::Key)];
}

impl fmt::Display for Steer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(Self::NAMES[*self as usize].0)
    }
}

/// A word that names no way of steering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownSteer;

impl fmt::Display for UnknownSteer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown way of steering; use \"rss\", \"symmetric\" or \"key\"")
    }
}

impl core::error::Error for UnknownSteer {}

impl FromStr for Steer {
    type Err = UnknownSteer;
    fn from_str(word: &str) -> Result<Self, UnknownSteer> {
        let named = Self::NAMES.into_iter().find(|(name, _)| *name == word);
        named.map(|(_, steer)| steer).ok_or(UnknownSteer)
    }
}

/// What of [`Config`] can change while flows live ([`crate::Firmware::change`]): it is for all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changeable {
    /// [`Config::user_timeout`]
    pub user_timeout: Option<Duration>,
    /// [`Config::waiting_max`]; a flow that waits already notices when it is looked at next.
    pub waiting_max: Option<Duration>,
    /// [`Config::ttl`]
    pub ttl: u8,
}

/// What a [`crate::Firmware`] is made from. All memory follows from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How much the firmware does.
    pub offload: Offload,
    /// Our hardware address.
    pub mac: Mac,
    /// Largest IP packet in bytes.
    pub mtu: usize,
    /// Host queues: 1..=128.
    pub queues: usize,
    /// Flows at once. Each takes 128 bytes, 16 of timer, one bit, and in the index, which
    /// has a power of two of places, 11 to 21. When all are taken, a valid cookie opens
    /// nothing: the peer repeats its data (`flow_table_full`).
    pub flows_max: usize,
    /// Ended connections that are remembered; 72 bytes each, and 11 to 21 in the index. More push
    /// out the oldest (`time_wait_evicted`), spent cookies before TIME_WAIT.
    pub time_wait_max: usize,
    /// Frames of last data that are kept for all connections together until their peers have them, at
    /// least 1: 64 bytes each where a frame is a pointer, and the frame. Make each pool that frames of
    /// the host or of the firmware come from so much larger than everything else needs, and what is kept
    /// takes nothing from that. When so many are kept, a connection that the host can keep stays
    /// with it (`hand_over_refused`), unless the peer that has taken nothing for the longest was
    /// repeated to already; for any other that one's frame is let go (`retain_let_go`), and if its peer
    /// turns out not to have it, the connection is reset (`retain_given_up`).
    pub retained_max: usize,
    /// Addresses and ports listened on at once.
    pub listeners_max: usize,
    /// Frames that may wait for the wire, and for each host queue. To a full wire queue frames are
    /// lost, as on any wire (`wire_queue_full`); of a host queue the last eighth is for news
    /// (`host_queue_full`), and news waits in the firmware.
    pub queue_frames: usize,
    /// Frames handled of a port per round.
    pub burst: usize,
    /// Frames of the wire that are taken before their turn comes; 0: none. What comes faster than it is
    /// handled, a flood of SYNs, is lost when the device's ring is full, and with it who comes in earnest,
    /// and comes again a second later. Make the wire's pool larger by as many.
    pub read_ahead: usize,
    /// How long a connection that we closed stays in TIME_WAIT: twice the maximum segment
    /// lifetime.
    pub time_wait: Duration,
    /// How long a SYN cookie's secret is used; a cookie is good for one to two of these.
    pub cookie_period: Duration,
    /// How long to wait in FIN_WAIT_2 for the peer's FIN.
    pub fin_wait_2: Duration,
    /// First retransmission timeout where the host did not measure one (RFC 6298 §2.1).
    pub rto_initial: Duration,
    /// Shortest retransmission timeout.
    pub rto_min: Duration,
    /// Longest retransmission timeout, at most 65 s before it is doubled.
    pub rto_max: Duration,
    /// Retransmissions without an answer after which a connection is given up.
    pub retries: u8,
    /// After how long without a sign of life a connection that the host has not heard of is
    /// probed. A live peer may stay silent for ever: pools of clients connect in advance.
    pub waiting_idle: Duration,
    /// Time between two such probes.
    pub waiting_probe_interval: Duration,
    /// Probes without an answer after which the connection is given up.
    pub waiting_probes: u8,
    /// Least time between two challenge ACKs of one flow (RFC 5961 §7).
    pub challenge_interval: Duration,
    /// Take a TCP checksum that covers only the pseudo-header as good: a kernel on this machine
    /// left the rest to the device.
    pub rx_partial_checksum: bool,
    /// The device at the wire computes the TCP checksums of what is sent.
    pub tx_checksum: bool,
    /// Time to live (hop limit) of the packets that the firmware itself sends.
    pub ttl: u8,
    // Admission and steering (docs/admission.md, docs/steering.md).
    /// What decides a connection's host queue.
    pub steer: Steer,
    /// SYN-ACKs per second for each source network (/24 of IPv4, /64 of IPv6); SYNs above that are
    /// dropped. 0: no limit, the default: a SYN costs no memory and the host nothing, and all of a
    /// site's honest clients may be one network.
    pub network_syn_rate: u32,
    /// SYN-ACKs that a network may get at once after it was quiet.
    pub network_syn_burst: u32,
    /// Flows of one source network at once, whatever their state; connections above that are
    /// refused. 0: no limit.
    pub network_flows_max: u32,
    /// Source networks that are told apart when there is one of these limits; 32 bytes each. When
    /// more come, those that owe least are forgotten.
    pub networks_max: usize,
    /// Connections of each host queue that may have been announced with their first data and not
    /// been answered by the host in any way: above that it is behind, and newcomers are refused.
    /// A host that works answers within the time of a delayed ACK. 0: no limit.
    pub untaken_max: u32,
    // How connections end.
    /// Last data in bytes that the firmware takes over for one flow, beyond the one segment that it
    /// always takes; 0: none.
    pub last_data_max: u32,
    /// RFC 9293 §3.9.1 user timeout: a closing connection whose peer has acknowledged nothing new
    /// for so long is reset, also one that keeps its window closed. `None`: only `retries` and
    /// `fin_wait_2` end it.
    pub user_timeout: Option<Duration>,
    /// How long a connection may wait for its first data, however alive its peer is; then it is
    /// reset. `None`: for ever, if it answers probes.
    pub waiting_max: Option<Duration>,
    // A host in another process.
    /// Silence of a host after which it counts as gone; it says HELLO more often than that. `None`:
    /// the host lives as long as the firmware.
    pub host_silence: Option<Duration>,

    // What can be seen from outside.
    /// Events of flows that are kept (rounded up to a power of two, 64 bytes each); 0: none.
    pub history_max: usize,
}

impl Config {
    /// Takes what can change.
    pub fn change(&mut self, to: Changeable) {
        let Changeable { user_timeout, waiting_max, ttl } = to;
        (self.user_timeout, self.waiting_max, self.ttl) = (user_timeout, waiting_max, ttl);
    }

    /// The defaults for a card with this address and one host queue.
    pub const fn new(mac: Mac) -> Self {
        Self {
            offload: Offload::Lifecycle,
            mac,
            mtu: 1500,
            queues: 1,
            flows_max: 262_144,
            time_wait_max: 524_288,
            retained_max: 16_384,
            listeners_max: 64,
            queue_frames: 1024,
            read_ahead: 0,
            burst: netcore::port::BURST,
            time_wait: Duration::from_secs(60),
            cookie_period: Duration::from_secs(32),
            fin_wait_2: Duration::from_secs(60),
            rto_initial: Duration::from_secs(1),
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(60),
            retries: 8,
            waiting_idle: Duration::from_secs(60),
            waiting_probe_interval: Duration::from_secs(15),
            waiting_probes: 4,
            challenge_interval: Duration::from_millis(500),
            rx_partial_checksum: false,
            tx_checksum: false,
            // RFC 9293 §3.9.2 MUST-49: can be configured.
            ttl: protocol::ipv4::DEFAULT_TTL,
            steer: Steer::Rss,
            network_syn_rate: 0,
            network_syn_burst: 1024,
            network_flows_max: 0,
            networks_max: 65_536,
            untaken_max: 16_384,
            last_data_max: 64 * 1024,
            user_timeout: None,
            waiting_max: None,
            host_silence: None,
            history_max: 1024,
        }
    }
}
