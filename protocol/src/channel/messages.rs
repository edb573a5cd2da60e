//! The bodies of the channel's messages.

use super::{FlowId, VERSION, le16, le32};
use crate::Malformed;
use crate::ethernet::Mac;
use crate::ip::{Address, Version};
use crate::tcp::SeqNumber;

/// Family codes in every body that holds addresses (16 bytes each, IPv4 in the first 4).
const FAMILY_IPV4: u8 = 4;
const FAMILY_IPV6: u8 = 6;

/// Shortest headers of an IP packet with TCP in it.
const DATA_AT_MIN: usize = crate::ipv4::HEADER_LEN + crate::tcp::HEADER_LEN;

fn split<const N: usize>(bytes: &[u8]) -> Result<(&[u8; N], &[u8]), Malformed> {
    bytes.split_first_chunk::<N>().ok_or(Malformed::Truncated)
}

#[inline]
fn octets_at(b: &[u8], at: usize) -> [u8; 16] {
    let mut octets = [0; 16];
    octets.copy_from_slice(&b[at..at + 16]);
    octets
}

/// Whether the family exists, and these are an address of it.
#[inline]
fn is_address(family: u8, octets: [u8; 16]) -> bool {
    match family {
        FAMILY_IPV4 => u128::from_le_bytes(octets) >> 32 == 0,
        // An IPv4 address has one form only.
        FAMILY_IPV6 => !Address::from(octets).is_v4(),
        _ => false,
    }
}

/// The address that [`is_address`].
#[inline]
fn address(family: u8, octets: [u8; 16]) -> Address {
    match family {
        FAMILY_IPV4 => core::net::Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into(),
        _ => octets.into(),
    }
}

fn put_address(addr: Address, out: &mut [u8]) {
    match addr.to_v4() {
        Some(addr) => {
            out[..4].copy_from_slice(&addr.octets());
            out[4..16].fill(0);
        }
        None => out[..16].copy_from_slice(addr.octets()),
    }
}

fn family(addr: Address) -> u8 {
    match addr.version() {
        Version::V4 => FAMILY_IPV4,
        Version::V6 => FAMILY_IPV6,
    }
}

/// HELLO: who the sender is.
///
/// ```text
///  0 own epoch (4) | 4 lowest version (1) | 5 highest version (1) | 6 queues (2) | 8 features (4)
/// 12 MAC of the NIC (6) | 18 MTU of the wire (2) | 20 last data per flow (4)
/// ```
///
/// A host leaves everything from the features to the last data at 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The sender's epoch: drawn at its start, never 0.
    pub epoch: u32,
    /// Lowest version of the channel that the sender speaks.
    pub version_min: u8,
    /// Highest version.
    pub version_max: u8,
    /// Host: queues that it serves. NIC: queues that it has.
    pub queues: u16,
    /// Feature bits of the NIC; unknown ones are ignored.
    pub features: u32,
    /// Hardware address of the NIC, which the host uses as its own.
    pub mac: Mac,
    /// Largest IP packet that the wire carries, in bytes; 0: not known.
    pub mtu: u16,
    /// NIC: bytes of last data that it takes over for a flow by CLOSE with
    /// [`super::MessageFlags::KEPT`]; 0: none. Host: 0.
    pub last_data_max: u32,
    /// Messages that are news ([`super::Kind::is_news`]) which the sender has put into this queue before,
    /// in all its lives, modulo 2^32: whoever got fewer since the HELLO before has lost some.
    pub news: u32,
}

impl Hello {
    /// Bytes of the body.
    pub const LEN: usize = 28;
    /// Feature: the NIC does the lifecycle of connections. Without it, it is a plain card that says
    /// HELLO and nothing else.
    pub const LIFECYCLE: u32 = 1;
    /// Feature: TCP checksums of frames that the NIC hands on as they came may cover only the
    /// pseudo-header, because a kernel on the NIC's machine left the rest to its device.
    pub const PARTIAL_CHECKSUM: u32 = 2;

    /// A host's, or the common part of a NIC's.
    pub const fn new(epoch: u32, queues: u16) -> Self {
        Self {
            epoch,
            version_min: VERSION,
            version_max: VERSION,
            queues,
            features: 0,
            mac: Mac([0; 6]),
            mtu: 0,
            last_data_max: 0,
            news: 0,
        }
    }

    /// True when the feature is there.
    pub const fn has(&self, feature: u32) -> bool {
        self.features & feature != 0
    }

    /// Reads a body.
    ///
    /// # Errors
    /// `Truncated`; `Value`: an epoch of 0, an empty range of versions, or a hardware address that
    /// is not one card's.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (b, _) = split::<{ Self::LEN }>(bytes)?;
        let hello = Self {
            epoch: le32(b, 0),
            version_min: b[4],
            version_max: b[5],
            queues: le16(b, 6),
            features: le32(b, 8),
            mac: Mac(core::array::from_fn(|n| b[12 + n])),
            mtu: le16(b, 18),
            last_data_max: le32(b, 20),
            news: le32(b, 24),
        };
        if hello.epoch == 0 || hello.version_min > hello.version_max || hello.mac.is_multicast() {
            return Err(Malformed::Value);
        }
        Ok(hello)
    }

    /// Writes [`Self::LEN`] bytes; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.epoch.to_le_bytes());
        out[4] = self.version_min;
        out[5] = self.version_max;
        out[6..8].copy_from_slice(&self.queues.to_le_bytes());
        out[8..12].copy_from_slice(&self.features.to_le_bytes());
        out[12..18].copy_from_slice(&self.mac.0);
        out[18..20].copy_from_slice(&self.mtu.to_le_bytes());
        out[20..24].copy_from_slice(&self.last_data_max.to_le_bytes());
        out[24..28].copy_from_slice(&self.news.to_le_bytes());
    }
}

/// When the host wants to hear of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum AcceptPolicy {
    /// At once: the server speaks first.
    Immediate = 0,
    /// With the first data.
    Deferred = 1,
}

/// The NIC's answer to LISTEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ListenStatus {
    /// A request carries this.
    Unanswered = 0,
    /// Listening.
    Accepted = 1,
    /// No room for another listener.
    TableFull = 2,
}

/// What a connection hears that cannot be taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Refusal {
    /// RST, to the SYN where that is early enough.
    #[default]
    Reset = 0,
    /// Nothing: the peer tries again by itself.
    Silence = 1,
    /// A Redis error in answer to its first data, and the end of the connection.
    Error = 2,
}

impl Refusal {
    /// Every refusal, in the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Reset, Self::Silence, Self::Error];
}

/// LISTEN and UNLISTEN: an address and port, and how to greet clients there.
///
/// ```text
///  0 family (1) | 1 accept policy (1) | 2 port (2) | 4 address (16)
/// 20 MSS (2) | 22 window scale (1) | 23 status (1) | 24 window (2) | 26 reserved 0 (2)
/// 28 backlog (4) | 32 connections (4) | 36 refusal (1) | 37 reserved 0 (3)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Address to listen on.
    pub addr: Address,
    /// Port to listen on.
    pub port: u16,
    /// When to tell the host of a connection.
    pub policy: AcceptPolicy,
    /// MSS to announce, in bytes.
    pub mss: u16,
    /// Window scale to announce: 0..=14.
    pub window_scale: u8,
    /// The answer.
    pub status: ListenStatus,
    /// Receive window of the SYN-ACK in bytes, unscaled.
    pub window: u16,
    /// Connections that may wait for their first data; more push out the oldest.
    pub backlog: u32,
    /// Connections that the host may hold at once on this port, all its addresses and queues
    /// together; 0: no limit.
    pub connections_max: u32,
    /// What those hear who are too many.
    pub refusal: Refusal,
}

impl Listen {
    /// Bytes of the body.
    pub const LEN: usize = 40;

    /// Reads a body.
    ///
    /// # Errors
    /// `Truncated`; `Value`: a code, scale or MSS outside its range, or a reserved byte that is
    /// not 0.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (b, _) = split::<{ Self::LEN }>(bytes)?;
        let policy = match b[1] {
            0 => AcceptPolicy::Immediate,
            1 => AcceptPolicy::Deferred,
            _ => return Err(Malformed::Value),
        };
        let status = match b[23] {
            0 => ListenStatus::Unanswered,
            1 => ListenStatus::Accepted,
            2 => ListenStatus::TableFull,
            _ => return Err(Malformed::Value),
        };
        let Some(&refusal) = Refusal::ALL.get(usize::from(b[36])) else { return Err(Malformed::Value) };
        if b[26..28] != [0; 2] || b[37..] != [0; 3] {
            return Err(Malformed::Value);
        }
        let addr = octets_at(b, 4);
        if !is_address(b[0], addr) {
            return Err(Malformed::Value);
        }
        let listen = Self {
            addr: address(b[0], addr),
            port: le16(b, 2),
            policy,
            mss: le16(b, 20),
            window_scale: b[22],
            status,
            window: le16(b, 24),
            backlog: le32(b, 28),
            connections_max: le32(b, 32),
            refusal,
        };
        if listen.port == 0 || listen.window_scale > crate::tcp::WINDOW_SCALE_MAX || listen.mss < 64 {
            return Err(Malformed::Value);
        }
        Ok(listen)
    }

    /// Writes [`Self::LEN`] bytes; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[0] = family(self.addr);
        out[1] = self.policy as u8;
        out[2..4].copy_from_slice(&self.port.to_le_bytes());
        put_address(self.addr, &mut out[4..20]);
        out[20..22].copy_from_slice(&self.mss.to_le_bytes());
        out[22] = self.window_scale;
        out[23] = self.status as u8;
        out[24..26].copy_from_slice(&self.window.to_le_bytes());
        out[26..28].copy_from_slice(&[0, 0]);
        out[28..32].copy_from_slice(&self.backlog.to_le_bytes());
        out[32..36].copy_from_slice(&self.connections_max.to_le_bytes());
        out[36..40].copy_from_slice(&[self.refusal as u8, 0, 0, 0]);
    }
}

/// ESTABLISHED: the state of a connection whose handshake the firmware has done.
///
/// ```text
///  0 family (1) | 1 options (1: timestamps, 2: SACK, 4: window scale) | 2 send scale (1) | 3 receive scale (1)
///  4 local address (16) | 20 remote address (16) | 36 local port (2) | 38 remote port (2)
/// 40 SND.NXT (4) | 44 RCV.NXT (4) | 48 SND.WND (4) | 52 MSS (2) | 54 remote MAC (6)
/// 60 newest TSval of the peer (4) | 64 our TSval now (4) | 68 where the first data is (2) | 70 reserved 0 (2)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Established {
    /// Our address and port.
    pub local_addr: Address,
    /// The peer's address.
    pub remote_addr: Address,
    /// Our port.
    pub local_port: u16,
    /// The peer's port.
    pub remote_port: u16,
    /// Timestamps are in use on this connection.
    pub timestamps: bool,
    /// The peer permits SACK.
    pub sack: bool,
    /// Window scale is in use; both shifts are 0 when not.
    pub window_scaling: bool,
    /// Shift of the windows that the peer announces: 0..=14.
    pub snd_scale: u8,
    /// Shift of the windows that we announce: 0..=14.
    pub rcv_scale: u8,
    /// SND.NXT, which is SND.UNA: our initial sequence number plus one.
    pub snd_nxt: SeqNumber,
    /// RCV.NXT at the end of the handshake: the peer's initial sequence number plus one. First
    /// data that comes along starts here.
    pub rcv_nxt: SeqNumber,
    /// SND.WND in bytes, scaled.
    pub snd_wnd: u32,
    /// The peer's MSS in bytes, as its SYN gave it (rounded down to what the cookie can hold).
    pub mss: u16,
    /// Where the flow's frames come from.
    pub remote_mac: Mac,
    /// TS.Recent (RFC 7323 §4.3).
    pub ts_recent: u32,
    /// The flow's TSval at the moment of this message; it counts milliseconds.
    pub ts_value: u32,
    /// Where the first data begins in the packet that follows, and reaches to its end, when its segment
    /// says nothing that this message does not say: it begins at RCV.NXT, acknowledges SND.NXT, announces
    /// SND.WND, and has no flag but ACK and PSH. 0: the packet has to be read, or there is none.
    pub data_at: u16,
}

impl Established {
    /// Bytes of the body.
    pub const LEN: usize = 72;

    /// Reads a body and returns it with what follows: the IP packet of the first data.
    ///
    /// # Errors
    /// `Truncated`; `Value`: a code or scale outside its range, or first data outside of the packet.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (b, packet) = split::<{ Self::LEN }>(bytes)?;
        let data_at = le16(b, 68);
        let is_inside = (DATA_AT_MIN..packet.len()).contains(&usize::from(data_at));
        if (data_at > 0 && !is_inside) || le16(b, 70) != 0 {
            return Err(Malformed::Value);
        }
        if b[1] > 7 || b[2] > crate::tcp::WINDOW_SCALE_MAX || b[3] > crate::tcp::WINDOW_SCALE_MAX {
            return Err(Malformed::Value);
        }
        let (family, local_addr, remote_addr) = (b[0], octets_at(b, 4), octets_at(b, 20));
        if !is_address(family, local_addr) || !is_address(family, remote_addr) {
            return Err(Malformed::Value);
        }
        let established = Self {
            local_addr: address(family, local_addr),
            remote_addr: address(family, remote_addr),
            local_port: le16(b, 36),
            remote_port: le16(b, 38),
            timestamps: b[1] & 1 != 0,
            sack: b[1] & 2 != 0,
            window_scaling: b[1] & 4 != 0,
            snd_scale: b[2],
            rcv_scale: b[3],
            snd_nxt: SeqNumber(le32(b, 40)),
            rcv_nxt: SeqNumber(le32(b, 44)),
            snd_wnd: le32(b, 48),
            mss: le16(b, 52),
            remote_mac: Mac([b[54], b[55], b[56], b[57], b[58], b[59]]),
            ts_recent: le32(b, 60),
            ts_value: le32(b, 64),
            data_at,
        };
        Ok((established, packet))
    }

    /// Writes [`Self::LEN`] bytes; panics when `out` is shorter.
    #[inline]
    pub fn emit(&self, out: &mut [u8]) {
        let out = &mut out[..Self::LEN];
        out[0] = family(self.local_addr);
        out[1] = u8::from(self.timestamps) | u8::from(self.sack) << 1 | u8::from(self.window_scaling) << 2;
        out[2] = self.snd_scale;
        out[3] = self.rcv_scale;
        put_address(self.local_addr, &mut out[4..20]);
        put_address(self.remote_addr, &mut out[20..36]);
        out[36..38].copy_from_slice(&self.local_port.to_le_bytes());
        out[38..40].copy_from_slice(&self.remote_port.to_le_bytes());
        out[40..44].copy_from_slice(&self.snd_nxt.0.to_le_bytes());
        out[44..48].copy_from_slice(&self.rcv_nxt.0.to_le_bytes());
        out[48..52].copy_from_slice(&self.snd_wnd.to_le_bytes());
        out[52..54].copy_from_slice(&self.mss.to_le_bytes());
        out[54..60].copy_from_slice(&self.remote_mac.0);
        out[60..64].copy_from_slice(&self.ts_recent.to_le_bytes());
        out[64..68].copy_from_slice(&self.ts_value.to_le_bytes());
        out[68..70].copy_from_slice(&self.data_at.to_le_bytes());
        out[70..72].copy_from_slice(&[0, 0]);
    }
}

/// CLOSE: the connection's state at its end; an IP packet with last data follows, the last one
/// with the FIN. Several of them hand over one connection: they have the same SND.UNA, where the
/// first one's data begins, and each continues the one before.
///
/// ```text
/// 0 SND.WND (4) | 4 RTO in µs (4) | 8 RCV.NXT (4) | 12 newest TSval of the peer (4) |
/// 16 congestion window (4) | 20 SND.UNA (4)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Close {
    /// SND.WND in bytes, scaled.
    pub snd_wnd: u32,
    /// The host's retransmission timeout in microseconds.
    pub rto_us: u32,
    /// RCV.NXT; covers the peer's FIN when the flag PEER_FINISHED is set.
    pub rcv_nxt: SeqNumber,
    /// TS.Recent.
    pub ts_recent: u32,
    /// The host's congestion window in bytes.
    pub cwnd: u32,
    /// SND.UNA: where what is handed over begins.
    pub snd_una: SeqNumber,
}

impl Close {
    /// Bytes of the body.
    pub const LEN: usize = 24;

    /// Reads a body and returns it with the IP packet behind it.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (b, packet) = split::<{ Self::LEN }>(bytes)?;
        let close = Self {
            snd_wnd: le32(b, 0),
            rto_us: le32(b, 4),
            rcv_nxt: SeqNumber(le32(b, 8)),
            ts_recent: le32(b, 12),
            cwnd: le32(b, 16),
            snd_una: SeqNumber(le32(b, 20)),
        };
        Ok((close, packet))
    }

    /// Writes [`Self::LEN`] bytes; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.snd_wnd.to_le_bytes());
        out[4..8].copy_from_slice(&self.rto_us.to_le_bytes());
        out[8..12].copy_from_slice(&self.rcv_nxt.0.to_le_bytes());
        out[12..16].copy_from_slice(&self.ts_recent.to_le_bytes());
        out[16..20].copy_from_slice(&self.cwnd.to_le_bytes());
        out[20..24].copy_from_slice(&self.snd_una.0.to_le_bytes());
    }
}

/// ABORT: what the RST has to carry.
///
/// ```text
/// 0 SND.NXT (4) | 4 RCV.NXT (4)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    /// SND.NXT.
    pub snd_nxt: SeqNumber,
    /// RCV.NXT.
    pub rcv_nxt: SeqNumber,
}

impl Abort {
    /// Bytes of the body.
    pub const LEN: usize = 8;

    /// Reads a body.
    ///
    /// # Errors
    /// `Truncated`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let (b, _) = split::<{ Self::LEN }>(bytes)?;
        Ok(Self { snd_nxt: SeqNumber(le32(b, 0)), rcv_nxt: SeqNumber(le32(b, 4)) })
    }

    /// Writes [`Self::LEN`] bytes; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.snd_nxt.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.rcv_nxt.0.to_le_bytes());
    }
}

/// Why a flow ended, or what became of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ClosedReason {
    /// The peer closed and the firmware finished for us; all data was acknowledged.
    PeerClosed = 1,
    /// What CLOSE handed over was acknowledged, or the flow went on to TIME_WAIT.
    Finished = 2,
    /// The peer sent a valid RST.
    Reset = 3,
    /// The peer stopped answering.
    TimedOut = 4,
    /// The firmware does not know this flow (any more).
    Unknown = 5,
    /// The firmware has taken over all that the host handed over and kept: the host forgets it.
    HandedOver = 6,
    /// The firmware does not take over what the host handed over and kept: the flow goes on, and
    /// is the host's as before.
    Refused = 7,
}

/// One ended flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedEntry {
    /// The flow that ended.
    pub flow: FlowId,
    /// What the host called it, or `NO_HANDLE` when it never said.
    pub handle: u32,
    /// Why.
    pub reason: ClosedReason,
}

/// CLOSED: a batch of ended flows.
///
/// ```text
/// 0 count (2) | 2 reserved 0 (2) | then per flow: slot (4) | generation (4) | handle (4) | reason (1) | 0 (3)
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Closed<'a> {
    entries: &'a [[u8; Closed::ENTRY_LEN]],
}

impl<'a> Closed<'a> {
    /// Bytes in front of the entries.
    pub const LEN: usize = 4;
    /// Bytes of an entry.
    pub const ENTRY_LEN: usize = 16;
    /// Entries of a full message: 1 KiB of them.
    pub const ENTRIES_MAX: usize = 64;

    /// Reads a body; every entry has been checked when it succeeds.
    ///
    /// # Errors
    /// `Truncated`; `Value`: a reason without meaning, or more than [`Self::ENTRIES_MAX`].
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (b, rest) = split::<4>(bytes)?;
        let count = usize::from(le16(b, 0));
        if count > Self::ENTRIES_MAX {
            return Err(Malformed::Value);
        }
        let entries = rest.as_chunks().0.get(..count).ok_or(Malformed::Truncated)?;
        let reasons_known = entries.iter().all(|entry| reason(entry[12]).is_some());
        if reasons_known { Ok(Self { entries }) } else { Err(Malformed::Value) }
    }

    /// The entries in order.
    #[inline]
    pub fn entries(&self) -> impl Iterator<Item = ClosedEntry> + use<'a> {
        self.entries.iter().filter_map(|b| {
            Some(ClosedEntry {
                flow: FlowId { slot: le32(b, 0), generation: le32(b, 4) },
                handle: le32(b, 8),
                reason: reason(b[12])?,
            })
        })
    }

    /// Writes the bytes in front of the entries; panics when `out` is shorter than
    /// [`Self::LEN`].
    pub fn emit_count(count: usize, out: &mut [u8]) {
        debug_assert!(count <= Self::ENTRIES_MAX);
        out[..2].copy_from_slice(&(count as u16).to_le_bytes());
        out[2..4].copy_from_slice(&[0, 0]);
    }
}

impl ClosedEntry {
    /// Writes [`Closed::ENTRY_LEN`] bytes; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.flow.slot.to_le_bytes());
        out[4..8].copy_from_slice(&self.flow.generation.to_le_bytes());
        out[8..12].copy_from_slice(&self.handle.to_le_bytes());
        out[12..16].copy_from_slice(&[self.reason as u8, 0, 0, 0]);
    }
}

#[inline]
fn reason(code: u8) -> Option<ClosedReason> {
    Some(match code {
        1 => ClosedReason::PeerClosed,
        2 => ClosedReason::Finished,
        3 => ClosedReason::Reset,
        4 => ClosedReason::TimedOut,
        5 => ClosedReason::Unknown,
        6 => ClosedReason::HandedOver,
        7 => ClosedReason::Refused,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn every_body_round_trips_and_refuses_less() {
        let hello = Hello {
            version_max: 3,
            features: 5,
            mac: Mac([2, 0, 0, 0, 0, 9]),
            mtu: 1500,
            last_data_max: 0x0102_0304,
            news: 0x0506_0708,
            ..Hello::new(9, 2)
        };
        assert!(hello.has(Hello::LIFECYCLE) && !hello.has(Hello::PARTIAL_CHECKSUM));
        let mut b = [0; Hello::LEN];
        hello.emit(&mut b);
        assert_eq!(b[20..], [4, 3, 2, 1, 8, 7, 6, 5]);
        assert_eq!(Hello::parse(&b), Ok(hello));
        assert_eq!(Hello::parse(&b[1..]), Err(Malformed::Truncated));
        for (at, value) in [(0, 0), (4, 4), (12, 3)] {
            let mut bad = b;
            bad[at] = value;
            assert_eq!(Hello::parse(&bad), Err(Malformed::Value), "byte {at}");
        }

        let listen = Listen {
            addr: Ipv4Addr::new(198, 18, 0, 2).into(),
            port: 6379,
            policy: AcceptPolicy::Deferred,
            mss: 1460,
            window_scale: 7,
            status: ListenStatus::Accepted,
            window: 65535,
            backlog: 1000,
            connections_max: 10_000,
            refusal: Refusal::Error,
        };
        let mut b = [0; Listen::LEN];
        listen.emit(&mut b);
        assert_eq!(Listen::parse(&b), Ok(listen));
        assert_eq!(Listen::parse(&b[..32]), Err(Malformed::Truncated));
        for (at, value) in [(0, 5), (1, 2), (22, 15), (23, 3), (19, 1), (26, 1), (36, 3), (37, 1), (39, 1)] {
            let mut bad = b;
            bad[at] = value;
            assert_eq!(Listen::parse(&bad), Err(Malformed::Value), "byte {at}");
        }

        let established = Established {
            local_addr: Ipv4Addr::new(198, 18, 0, 2).into(),
            remote_addr: Ipv4Addr::new(198, 18, 0, 1).into(),
            local_port: 6379,
            remote_port: 50_000,
            timestamps: true,
            sack: false,
            window_scaling: true,
            snd_scale: 7,
            rcv_scale: 8,
            snd_nxt: SeqNumber(u32::MAX),
            rcv_nxt: SeqNumber(1),
            snd_wnd: 64_240 << 7,
            mss: 1460,
            remote_mac: Mac([2, 0, 0, 0, 0, 9]),
            ts_recent: 77,
            ts_value: 78,
            data_at: 40,
        };
        let mut b = [0; Established::LEN + 43];
        established.emit(&mut b);
        assert_eq!(Established::parse(&b), Ok((established, &[0u8; 43][..])));
        for (at, value) in [(68, 39), (68, 43), (69, 1), (70, 1)] {
            let mut bad = b;
            bad[at] = value;
            assert_eq!(Established::parse(&bad), Err(Malformed::Value), "byte {at}");
        }
        b[68] = 0;
        assert_eq!(Established::parse(&b[..Established::LEN]).map(|(body, _)| body.data_at), Ok(0));
        assert_eq!(Established::parse(&b[..71]), Err(Malformed::Truncated));
        b[1] = 8;
        assert_eq!(Established::parse(&b), Err(Malformed::Value));

        let v6 = |n| Address::from(Ipv6Addr::new(0x2001, 0x2, 0, 0, 0, 0, 0, n));
        let established = Established { local_addr: v6(2), remote_addr: v6(1), ..established };
        established.emit(&mut b);
        assert_eq!(Established::parse(&b).map(|(body, _)| body), Ok(established));
        Address::from(Ipv4Addr::LOCALHOST)
            .octets()
            .iter()
            .zip(&mut b[20..])
            .for_each(|(from, to)| *to = *from);
        assert_eq!(Established::parse(&b), Err(Malformed::Value), "an IPv4 address in IPv6's clothes");

        let close = Close {
            snd_wnd: 1,
            rto_us: 200_000,
            rcv_nxt: SeqNumber(5),
            ts_recent: 6,
            cwnd: 14_600,
            snd_una: SeqNumber(0xfeed),
        };
        let mut b = [0; Close::LEN];
        close.emit(&mut b);
        assert_eq!(b[20..], [0xed, 0xfe, 0, 0]);
        assert_eq!(Close::parse(&b), Ok((close, &[][..])));
        assert_eq!(Close::parse(&b[..23]), Err(Malformed::Truncated));

        let abort = Abort { snd_nxt: SeqNumber(1), rcv_nxt: SeqNumber(2) };
        let mut b = [0; Abort::LEN];
        abort.emit(&mut b);
        assert_eq!(Abort::parse(&b), Ok(abort));
    }

    #[test]
    fn closed_is_checked_whole() {
        let entry =
            ClosedEntry { flow: FlowId { slot: 1, generation: 2 }, handle: 3, reason: ClosedReason::Reset };
        let mut b = [0; Closed::LEN + 2 * Closed::ENTRY_LEN];
        Closed::emit_count(2, &mut b);
        entry.emit(&mut b[4..]);
        entry.emit(&mut b[20..]);
        assert!(Closed::parse(&b).unwrap().entries().eq([entry, entry]));
        assert_eq!(Closed::parse(&b[..35]).err(), Some(Malformed::Truncated));
        b[32] = 8;
        assert_eq!(Closed::parse(&b).err(), Some(Malformed::Value));
        b[0] = 65;
        assert_eq!(Closed::parse(&b).err(), Some(Malformed::Value));
    }
}
