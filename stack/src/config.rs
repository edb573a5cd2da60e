//! What a stack is told at its start: addresses, limits and times. Every limit stands here.

use core::net::Ipv4Addr;

use netcore::Duration;
use protocol::ethernet::Mac;

/// How much of TCP the NIC's firmware does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Offload {
    /// Nothing: every packet comes here.
    #[default]
    None,
    /// Setup, teardown and TIME_WAIT; the host talks to it over the channel.
    Lifecycle,
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

/// Configuration of a [`crate::Stack`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Our hardware address.
    pub mac: Mac,
    /// Our address.
    pub address: Ipv4Addr,
    /// Length of the network's prefix in bits: 0..=32.
    pub prefix_len: u8,
    /// Router for everything outside the prefix. Only active opens need it: connections that
    /// come from outside are answered to the hardware address that they came from.
    pub gateway: Option<Ipv4Addr>,
    /// Largest IP packet that we send, in bytes; it also gives the MSS that we announce. Frames
    /// of the pool must have that much room.
    pub mtu: usize,
    /// Who does connection setup and teardown.
    pub offload: Offload,
    /// Connections at once; more are refused.
    pub connections_max: usize,
    /// Take TCP checksums that cover only the pseudo-header (a kernel on this machine).
    pub rx_partial_checksum: bool,
    /// Receive window in bytes: what one connection may make us hold.
    pub receive_window: u32,
    /// Half-open connections at once; further SYNs are dropped, and come again.
    pub backlog_max: usize,
    /// Congestion control of every connection.
    pub congestion: CongestionControl,
    /// Explicit congestion notification. The firmware's handshake does not agree on it.
    pub ecn: EcnPolicy,
    /// Whether a small segment waits while something is unacknowledged (RFC 896). Off, as Redis
    /// has it by TCP_NODELAY: a reply would wait for the client's delayed acknowledgment.
    pub nagle: bool,
    /// Frames that wait for the port.
    pub tx_queue_frames: usize,
    /// How long a closed connection's name stays taken (RFC 9293 §3.4.2 says 2 MSL; 60 s, as
    /// elsewhere in this trade, is an MSL of 30 s).
    pub time_wait: Duration,
    /// Connections in TIME_WAIT; the oldest gives way.
    pub time_wait_max: usize,
    /// How long an acknowledgment may wait for data to travel with (RFC 9293 §3.8.6.3: < 0.5 s).
    pub delayed_ack: Duration,
    /// Retransmissions of the same data before the peer counts as gone (R2 of RFC 9293 §3.8.3).
    pub retransmissions_max: u8,
    /// How long sent data may stay unacknowledged, through retransmissions, before the peer
    /// counts as gone (the user timeout, R2 of RFC 9293 §3.8.3 as a time); `None`: only the
    /// count decides.
    pub user_timeout: Option<Duration>,
    /// Retransmissions of a SYN or SYN-ACK.
    pub syn_retransmissions_max: u8,
    /// How long to wait in FIN_WAIT_2 for a peer that does not close.
    pub fin_wait_2: Duration,
    /// Probe a silent connection after this long. RFC 9293 §3.8.4 MUST-25: off by default.
    pub keepalive: Option<Duration>,
    /// Unanswered keepalive probes before the peer counts as gone.
    pub keepalive_probes: u8,
    /// Neighbours that are remembered.
    pub arp_entries_max: usize,
    /// Challenge acknowledgments per second (RFC 5961 §7).
    pub challenge_acks_per_second: u32,
}

impl Config {
    /// Usual values for everything but the address.
    pub fn new(mac: Mac, address: Ipv4Addr, prefix_len: u8) -> Self {
        Self {
            mac,
            address,
            prefix_len,
            gateway: None,
            mtu: 1500,
            offload: Offload::None,
            connections_max: 65_536,
            rx_partial_checksum: false,
            receive_window: 1 << 20,
            backlog_max: 4096,
            congestion: CongestionControl::default(),
            ecn: EcnPolicy::default(),
            nagle: false,
            tx_queue_frames: 1024,
            time_wait: Duration::from_secs(60),
            time_wait_max: 65_536,
            delayed_ack: Duration::from_millis(40),
            retransmissions_max: 15,
            user_timeout: None,
            syn_retransmissions_max: 6,
            fin_wait_2: Duration::from_secs(60),
            keepalive: None,
            keepalive_probes: 9,
            arp_entries_max: 1024,
            challenge_acks_per_second: 1000,
        }
    }

    /// The MSS that we announce (RFC 9293 §3.7.1 MUST-16: MTU without IP and TCP headers).
    pub(crate) fn mss(&self) -> u16 {
        let headers = protocol::ipv4::HEADER_LEN + protocol::tcp::HEADER_LEN;
        self.mtu.saturating_sub(headers).clamp(64, 65_495) as u16
    }

    /// The least shift with which the receive window fits its field (RFC 7323 §2.2).
    pub(crate) fn window_scale(&self) -> u8 {
        let mut shift = 0;
        while self.receive_window >> shift > 0xffff && shift < protocol::tcp::WINDOW_SCALE_MAX {
            shift += 1;
        }
        shift
    }

    fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0)
    }

    /// True when `addr` is a neighbour.
    pub(crate) fn is_on_link(&self, addr: Ipv4Addr) -> bool {
        (u32::from(addr) ^ u32::from(self.address)) & self.mask() == 0
    }

    /// True for addresses that can be the source of a packet that we answer.
    pub(crate) fn is_unicast_source(&self, addr: Ipv4Addr) -> bool {
        let directed_broadcast = self.prefix_len < 31
            && self.is_on_link(addr)
            && (u32::from(addr) | self.mask() == u32::MAX || u32::from(addr) & !self.mask() == 0);
        !(addr.is_broadcast()
            || addr.is_multicast()
            || addr.is_unspecified()
            || addr.is_loopback()
            || directed_broadcast
            || addr == self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_told_apart() {
        let config = Config::new(Mac([2; 6]), Ipv4Addr::new(198, 18, 0, 2), 24);
        assert!(config.is_on_link(Ipv4Addr::new(198, 18, 0, 9)));
        assert!(!config.is_on_link(Ipv4Addr::new(198, 18, 1, 9)));
        assert!(config.is_unicast_source(Ipv4Addr::new(198, 18, 0, 9)));
        for bad in ["198.18.0.255", "198.18.0.0", "255.255.255.255", "224.0.0.1", "0.0.0.0", "198.18.0.2"] {
            assert!(!config.is_unicast_source(bad.parse().unwrap()), "{bad}");
        }
        let everything = Config { prefix_len: 0, ..config };
        assert!(everything.is_on_link(Ipv4Addr::new(1, 2, 3, 4)));
    }

    #[test]
    fn window_scale_is_the_least_that_fits() {
        let scale = |receive_window| {
            Config { receive_window, ..Config::new(Mac([2; 6]), Ipv4Addr::LOCALHOST, 8) }.window_scale()
        };
        assert_eq!([scale(1), scale(65_535), scale(65_536), scale(1 << 20)], [0, 0, 1, 5]);
    }
}
