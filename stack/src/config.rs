//! What a stack is told at its start: addresses, limits and times. Every limit stands here.

use alloc::vec;
use alloc::vec::Vec;

use netcore::Duration;
use protocol::channel::Refusal;
use protocol::ethernet::Mac;
use protocol::ip::{self, Address, Version};
use protocol::ipv6;

/// Addresses that a stack can have, the link-local one included.
pub const ADDRESSES_MAX: usize = 64;

/// How much of TCP the NIC's firmware does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: every packet comes here.
    #[default]
    None,
    /// Setup, teardown and TIME_WAIT; the host talks to it over the channel.
    Lifecycle,
}

/// One of our addresses, and the network that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Ours.
    pub address: Address,
    /// Length of the network's prefix in bits: 0..=32, or 0..=128 for IPv6.
    pub prefix_len: u8,
}

impl Network {
    /// True when `addr` is a neighbour.
    #[inline]
    fn contains(&self, addr: Address) -> bool {
        self.address.shares_prefix(&addr, self.prefix_len)
    }

    /// The broadcast address of an IPv4 network, and its old form with zeros (RFC 1122 §3.3.6).
    fn is_broadcast(&self, addr: Address) -> bool {
        if self.prefix_len >= 31 || !self.contains(addr) {
            return false;
        }
        let Some(addr_v4) = addr.to_v4() else { return false };
        let hosts = u32::MAX >> self.prefix_len;
        let host = addr_v4.to_bits() & hosts;
        host == 0 || host == hosts
    }
}

/// How the congestion window moves once something was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CongestionControl {
    /// CUBIC (RFC 9438), with HyStart++ (RFC 9406) in the first slow start.
    #[default]
    Cubic,
    /// NewReno (RFC 5681).
    NewReno,
}

/// Whether explicit congestion notification (RFC 3168) is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EcnPolicy {
    /// Never.
    Off,
    /// Where the peer offers it.
    #[default]
    Accept,
    /// Offered in our own active opens too.
    Offer,
}

/// What of [`Config`] can change while connections live ([`crate::Stack::change`]). Congestion control, Nagle's algorithm
/// and whether keepalive is on are for connections that begin afterwards, the rest for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changeable {
    /// [`Config::keepalive`]
    pub keepalive: Option<Duration>,
    /// [`Config::user_timeout`]
    pub user_timeout: Option<Duration>,
    /// [`Config::congestion`]
    pub congestion: CongestionControl,
    /// [`Config::nagle`]
    pub nagle: bool,
    /// [`Config::ttl`]
    pub ttl: u8,
}

/// Configuration of a [`crate::Stack`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Our hardware address.
    pub mac: Mac,
    /// Our addresses, at most [`ADDRESSES_MAX`]. With an IPv6 address comes the link-local one of
    /// our hardware address by itself (RFC 4291 §2.8).
    pub networks: Vec<Network>,
    /// Routers for everything outside our networks, one for each version of IP. Only active opens
    /// need them: connections that come from outside are answered to the hardware address that
    /// they came from.
    pub gateways: Vec<Address>,
    /// Largest IP packet that we send, in bytes; it also gives the MSS that we announce. Frames
    /// of the pool must have that much room.
    pub mtu: usize,
    /// Who does connection setup and teardown.
    pub offload: Offload,
    /// Connections at once; more are refused.
    pub connections_max: usize,
    /// Take TCP checksums that cover only the pseudo-header (a kernel on this machine).
    pub rx_partial_checksum: bool,
    /// The device computes the TCP checksums of what is sent past the firmware.
    pub tx_checksum: bool,
    /// Receive window in bytes: what one connection may make us hold.
    pub receive_window: u32,
    /// Received bytes that may wait, of all connections together, with what keeping them costs:
    /// data behind gaps, and data that the application does not want yet.
    pub receive_memory_max: usize,
    /// Half-open connections that are kept at once; further SYNs are answered with a cookie and
    /// forgotten. Never more than half of `connections_max`, so that a flood leaves the rest to
    /// those who finish their handshakes.
    pub backlog_max: usize,
    /// Connections that a port may have at once: the firmware turns away who comes on top (the
    /// application may as well). 0: no limit. Stacks of one host all say the same number, and it
    /// counts for all of them together; [`crate::Stack::set_listen_max`] changes it.
    pub listen_max: u32,
    /// What the firmware lets those hear whom it turns away.
    pub refusal: Refusal,
    /// Congestion control of every connection.
    pub congestion: CongestionControl,
    /// Explicit congestion notification. The firmware's handshake does not agree on it.
    pub ecn: EcnPolicy,
    /// Whether a small segment waits while something is unacknowledged (RFC 896). Off, as Redis
    /// has it by TCP_NODELAY: a reply would wait for the client's delayed acknowledgment.
    pub nagle: bool,
    /// Frames that wait for the port.
    pub tx_queue_frames: usize,
    /// How long a closed connection's name stays taken.
    ///
    /// RFC 9293 §3.6.1 MUST-13: twice the MSL, which is 30 s here as elsewhere in this trade.
    pub time_wait: Duration,
    /// Connections in TIME_WAIT; the oldest gives way.
    pub time_wait_max: usize,
    /// How long an acknowledgment may wait for data to travel with (RFC 9293 §3.8.6.3: < 0.5 s).
    pub delayed_ack: Duration,
    /// Retransmissions of the same data before the peer counts as gone (R2 of RFC 9293 §3.8.3);
    /// [`crate::Stack::set_retransmissions_max`] sets it for one connection.
    pub retransmissions_max: u8,
    /// How long sent data may stay unacknowledged, through retransmissions, before the peer
    /// counts as gone (the user timeout, R2 of RFC 9293 §3.8.3 as a time); `None`: only the
    /// count decides.
    pub user_timeout: Option<Duration>,
    /// Retransmissions of a SYN or SYN-ACK.
    pub syn_retransmissions_max: u8,
    /// How long to wait in FIN_WAIT_2 for a peer that does not close.
    pub fin_wait_2: Duration,
    /// Probe a silent connection after this long; [`crate::Stack::set_keepalive`] switches it for
    /// one connection.
    pub keepalive: Option<Duration>,
    /// Unanswered keepalive probes before the peer counts as gone.
    pub keepalive_probes: u8,
    /// Neighbours that are remembered.
    pub neighbours_max: usize,
    /// Challenge acknowledgments per second (RFC 5961 §7).
    pub challenge_acks_per_second: u32,
    /// Time to live of the packets that we send.
    pub ttl: u8,
    /// Differentiated services field of the packets that we send (RFC 2474), its two lowest bits
    /// being 0; [`crate::Stack::set_diffserv`] sets it for one connection.
    pub diffserv: u8,
    /// For a NIC that is outside this process and may go away by itself: how long its answer to
    /// HELLO may take before it counts as gone. HELLO is then said all the time, at every level of
    /// offload, and what the NIC says of itself goes before what stands here: its hardware address,
    /// a smaller MTU, `rx_partial_checksum`. `None`: it lives as long as this process.
    pub nic_silence: Option<Duration>,
}

impl Config {
    /// Takes what can change.
    pub fn change(&mut self, to: Changeable) {
        let Changeable { keepalive, user_timeout, congestion, nagle, ttl } = to;
        (self.keepalive, self.user_timeout, self.congestion) = (keepalive, user_timeout, congestion);
        (self.nagle, self.ttl) = (nagle, ttl);
    }

    /// Usual values for everything but the address.
    pub fn new(mac: Mac, address: impl Into<Address>, prefix_len: u8) -> Self {
        Self {
            mac,
            networks: vec![Network { address: address.into(), prefix_len }],
            gateways: Vec::new(),
            mtu: 1500,
            offload: Offload::None,
            connections_max: 65_536,
            rx_partial_checksum: false,
            tx_checksum: false,
            receive_window: 1 << 20,
            receive_memory_max: 256 << 20,
            backlog_max: 4096,
            listen_max: 0,
            refusal: Refusal::default(),
            congestion: CongestionControl::default(),
            ecn: EcnPolicy::default(),
            nagle: false,
            tx_queue_frames: 1024,
            time_wait: Duration::from_secs(60),
            time_wait_max: 65_536,
            delayed_ack: Duration::from_millis(40),
            // RFC 9293 §3.8.3 SHLD-11: with the shortest timeout there is, more than 100 s.
            retransmissions_max: 15,
            user_timeout: None,
            // RFC 9293 §3.8.3 MUST-23: 1 + 2 + 4 + … + 60 s; the last is sent after 123 s and waits
            // until 183 s, so that three minutes are covered.
            syn_retransmissions_max: 7,
            fin_wait_2: Duration::from_secs(60),
            // RFC 9293 §3.8.4 MUST-25: off unless asked for.
            keepalive: None,
            keepalive_probes: 9,
            neighbours_max: 1024,
            challenge_acks_per_second: 1000,
            ttl: protocol::ipv4::DEFAULT_TTL,
            diffserv: 0,
            nic_silence: None,
        }
    }

    /// Half-open connections that are kept.
    pub(crate) fn half_open_max(&self) -> usize {
        self.backlog_max.min(self.connections_max.div_ceil(2))
    }

    /// Gives us the link-local address that every IPv6 host has, unless there is one already.
    pub(crate) fn complete(mut self) -> Self {
        let v6 = |network: &Network| network.address.version() == Version::V6;
        let link_local = |network: &Network| network.address.is_link_local_v6();
        if self.networks.iter().any(v6) && !self.networks.iter().any(link_local) {
            self.networks.push(Network { address: ipv6::link_local(self.mac), prefix_len: 64 });
        }
        self.networks.truncate(ADDRESSES_MAX);
        self
    }

    /// Which of our addresses `addr` is.
    #[inline]
    pub(crate) fn local(&self, addr: Address) -> Option<u16> {
        self.networks.iter().position(|network| network.address == addr).map(|at| at as u16)
    }

    /// The address of this number.
    #[inline]
    pub(crate) fn address(&self, local: u16) -> Address {
        self.networks[usize::from(local)].address
    }

    /// The address to speak to `remote` from: one in its network, or else the first of its
    /// version that is good beyond the link (RFC 6724 §5, as far as it matters here).
    pub(crate) fn source_for(&self, remote: Address) -> Option<u16> {
        let beyond = |network: &&Network| {
            network.address.version() == remote.version() && !network.address.is_link_local_v6()
        };
        let found = self.networks.iter().find(|network| network.contains(remote));
        found.or_else(|| self.networks.iter().find(beyond)).and_then(|network| self.local(network.address))
    }

    /// The neighbour through which `addr` is reached (RFC 1122 §3.3.1.1, RFC 4861 §5.2); `None`:
    /// it lies outside and there is no router for it.
    pub(crate) fn next_hop(&self, addr: Address) -> Option<Address> {
        if self.is_on_link(addr) {
            return Some(addr);
        }
        self.gateways.iter().copied().find(|gateway| gateway.version() == addr.version())
    }

    /// The MSS that we announce.
    ///
    /// RFC 9293 §3.7.1 MUST-67: what our packets hold without IP and TCP headers.
    #[inline]
    pub(crate) fn mss(&self, version: Version) -> u16 {
        Self::mss_of(self.mtu, version)
    }

    /// Payload of a segment without options in a packet of `mtu` bytes.
    #[inline]
    pub(crate) fn mss_of(mtu: usize, version: Version) -> u16 {
        let headers = ip::header_len(version) + protocol::tcp::HEADER_LEN;
        mtu.saturating_sub(headers).clamp(64, 65_495) as u16
    }

    /// The least shift with which the receive window fits its field (RFC 7323 §2.2).
    pub(crate) fn window_scale(&self) -> u8 {
        let mut shift = 0;
        while self.receive_window >> shift > 0xffff && shift < protocol::tcp::WINDOW_SCALE_MAX {
            shift += 1;
        }
        shift
    }

    /// True when `addr` is a neighbour.
    pub(crate) fn is_on_link(&self, addr: Address) -> bool {
        self.networks.iter().any(|network| network.contains(addr))
    }

    /// True for addresses that can be the source of a packet that we answer.
    #[inline]
    pub(crate) fn is_unicast_source(&self, addr: Address) -> bool {
        !addr.is_never_a_host()
            && !self.networks.iter().any(|network| network.address == addr || network.is_broadcast(addr))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv4Addr};

    fn a(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn both() -> Config {
        let mut config = Config::new(Mac([2; 6]), Ipv4Addr::new(198, 18, 0, 2), 24);
        config.networks.push(Network { address: a("2001:2::2"), prefix_len: 64 });
        config.gateways = vec![a("198.18.0.1"), a("fe80::1")];
        config.complete()
    }

    #[test]
    fn addresses_are_told_apart() {
        let config = both();
        assert!(config.is_on_link(a("198.18.0.9")) && config.is_on_link(a("2001:2::9")));
        assert!(!config.is_on_link(a("198.18.1.9")) && !config.is_on_link(a("2001:2:0:1::9")));
        for good in ["198.18.0.9", "1.2.3.4", "2001:2::9", "2001:3::9", "fe80::9"] {
            assert!(config.is_unicast_source(a(good)), "{good}");
        }
        for bad in ["198.18.0.255", "198.18.0.0", "255.255.255.255", "224.0.0.1", "0.0.0.0", "198.18.0.2"] {
            assert!(!config.is_unicast_source(a(bad)), "{bad}");
        }
        for bad in ["2001:2::2", "ff02::1", "::", "::1"] {
            assert!(!config.is_unicast_source(a(bad)), "{bad}");
        }
        let everything = Config::new(Mac([2; 6]), Ipv4Addr::new(198, 18, 0, 2), 0);
        assert!(everything.is_on_link(a("1.2.3.4")));
    }

    #[test]
    fn every_destination_has_its_source_and_next_hop() {
        let config = both();
        let link_local = ipv6::link_local(config.mac);
        assert_eq!(config.networks.len(), 3, "the link-local address came by itself");
        for (to, from, hop) in [
            ("198.18.0.9", a("198.18.0.2"), "198.18.0.9"),
            ("9.9.9.9", a("198.18.0.2"), "198.18.0.1"),
            ("2001:2::9", a("2001:2::2"), "2001:2::9"),
            ("2001:9::9", a("2001:2::2"), "fe80::1"),
            ("fe80::9", link_local, "fe80::9"),
        ] {
            let source = config.source_for(a(to)).map(|local| config.address(local));
            assert_eq!((source, config.next_hop(a(to))), (Some(from), Some(a(hop))), "{to}");
        }
        let v4 = Config::new(Mac([2; 6]), Ipv4Addr::new(198, 18, 0, 2), 24).complete();
        assert_eq!((v4.source_for(a("2001:2::9")), v4.next_hop(a("9.9.9.9"))), (None, None));
    }

    #[test]
    fn window_scale_is_the_least_that_fits() {
        let scale = |receive_window| {
            Config { receive_window, ..Config::new(Mac([2; 6]), Ipv4Addr::LOCALHOST, 8) }.window_scale()
        };
        assert_eq!([scale(1), scale(65_535), scale(65_536), scale(1 << 20)], [0, 0, 1, 5]);
    }
}
