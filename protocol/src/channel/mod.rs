//! The channel between host and NIC: what the two say to each other, byte by byte.
//!
//! A message is an Ethernet frame of type 0x88B5. Behind the Ethernet header stands the fixed
//! header below, then the body of its kind, then, for the kinds that carry one, a whole IP
//! packet. All fields are little-endian. Addresses are bytes in network order.
//!
//! ```text
//!  0        1        2                 4                                8
//! | version | kind   | flags           | epoch of the receiver          |
//! | flow slot                          | flow generation                |
//! | host handle                        | length behind    | reserved 0  |
//! ```
//!
//! Rules for a change: the numbers of kinds, flags and reasons are never used again for
//! something else; a body may only grow at its end; anything else is a new [`VERSION`].
//! The document is docs/channel.md.

mod messages;

pub use messages::{
    Abort, AcceptPolicy, Close, Closed, ClosedEntry, ClosedReason, Established, Hello, Listen, ListenStatus,
    Refusal,
};

use crate::Malformed;
use crate::ethernet;

/// Version of the layouts in this module.
pub const VERSION: u8 = 2;
/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 24;
/// Host handle of a flow that the host has not named yet.
pub const NO_HANDLE: u32 = u32::MAX;
/// Bytes in front of an IP packet in the longest message that carries one.
pub const OVERHEAD_MAX: usize = ethernet::HEADER_LEN + HEADER_LEN + Established::LEN;

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Both: who I am, which epoch, how many queues.
    Hello = 1,
    /// Host: take connections for this address and port. NIC: the answer.
    Listen = 2,
    /// Host: no longer.
    Unlisten = 3,
    /// NIC: a connection stands; its first data may come along.
    Established = 4,
    /// Both: a TCP segment of a flow that the host holds.
    Segment = 5,
    /// Host: last data, or a part of it, and FIN; the firmware does the rest.
    Close = 6,
    /// Host: reset and forget.
    Abort = 7,
    /// NIC: these flows have ended, or these hand-overs have been decided.
    Closed = 8,
    /// NIC: an ICMP error about a segment of a flow that the host holds; the IP packet that it came
    /// in follows.
    IcmpError = 9,
}

impl Kind {
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Hello,
        Self::Listen,
        Self::Unlisten,
        Self::Established,
        Self::Segment,
        Self::Close,
        Self::Abort,
        Self::Closed,
        Self::IcmpError,
    ];

    /// True when TCP does not repeat what is said, nor does the sender: if it is lost, the two sides
    /// believe different things for ever. HELLO counts these.
    #[inline]
    pub const fn is_news(self) -> bool {
        match self {
            Self::Unlisten | Self::Established | Self::Close | Self::Abort | Self::Closed => true,
            Self::Hello | Self::Listen | Self::Segment | Self::IcmpError => false,
        }
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code).wrapping_sub(1)).copied()
    }
}

/// Bits that qualify a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MessageFlags(pub u16);

impl MessageFlags {
    /// HELLO, LISTEN: this answers yours.
    pub const REPLY: Self = Self(1);
    /// SEGMENT to the NIC: after this segment the host has nothing left to send and waits for
    /// the peer, so the firmware may finish the connection when the peer does.
    pub const IDLE: Self = Self(1 << 1);
    /// ESTABLISHED: the IP packet with the first data follows the body.
    pub const FIRST_DATA: Self = Self(1 << 2);
    /// CLOSE: the peer's FIN has been received and is covered by RCV.NXT.
    pub const PEER_FINISHED: Self = Self(1 << 3);
    /// To the host: IP and TCP checksums of the packet have been verified.
    pub const CHECKSUM_GOOD: Self = Self(1 << 4);
    /// To the NIC: the TCP checksum of the packet is still to be computed.
    pub const CHECKSUM_NEEDED: Self = Self(1 << 5);
    /// CLOSE: more last data follows in another one.
    pub const MORE: Self = Self(1 << 6);
    /// CLOSE: the host keeps the flow until CLOSED says that it is handed over, or refused.
    pub const KEPT: Self = Self(1 << 7);

    /// True when all bits of `other` are set.
    #[inline]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl core::ops::BitOr for MessageFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Names a flow of the firmware: a slot of its table and the generation of that slot's use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowId {
    /// Index into the firmware's flow table.
    pub slot: u32,
    /// Counts the uses of the slot; a message with another generation is stale.
    pub generation: u32,
}

/// The fixed header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the message says.
    pub kind: Kind,
    /// Qualifiers.
    pub flags: MessageFlags,
    /// The epoch of the receiver as the sender knows it from HELLO; 0 in a HELLO when the
    /// sender does not know it yet. Another value than the receiver's own means that the
    /// message was meant for an earlier life of it.
    pub epoch: u32,
    /// The flow; zero where the message concerns none.
    pub flow: FlowId,
    /// What the host calls the flow, or [`NO_HANDLE`].
    pub handle: u32,
}

/// Why a frame was not taken as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelError {
    /// Another version than [`VERSION`].
    Version(u8),
    /// A kind that this version does not have.
    Kind(u8),
    /// The bytes do not have the form of their kind.
    Malformed(Malformed),
}

impl From<Malformed> for ChannelError {
    fn from(reason: Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl Header {
    /// A header that concerns no flow.
    pub fn new(kind: Kind, epoch: u32) -> Self {
        Self { kind, flags: MessageFlags::default(), epoch, flow: FlowId::default(), handle: NO_HANDLE }
    }

    /// Reads the header and returns it with the bytes behind it: body and IP packet. Padding
    /// behind the stated length is cut off.
    ///
    /// `message`: the payload of the Ethernet frame.
    ///
    /// # Errors
    /// [`ChannelError`], each with the value that was wrong.
    #[inline]
    pub fn parse(message: &[u8]) -> Result<(Self, &[u8]), ChannelError> {
        let Some((b, rest)) = message.split_first_chunk::<HEADER_LEN>() else {
            return Err(Malformed::Truncated.into());
        };
        if b[0] != VERSION {
            return Err(ChannelError::Version(b[0]));
        }
        let Some(kind) = Kind::from_code(b[1]) else { return Err(ChannelError::Kind(b[1])) };
        let len = usize::from(u16::from_le_bytes([b[20], b[21]]));
        let Some(rest) = rest.get(..len) else { return Err(Malformed::Truncated.into()) };
        if b[22] != 0 || b[23] != 0 {
            return Err(Malformed::Value.into());
        }
        let header = Self {
            kind,
            flags: MessageFlags(u16::from_le_bytes([b[2], b[3]])),
            epoch: le32(b, 4),
            flow: FlowId { slot: le32(b, 8), generation: le32(b, 12) },
            handle: le32(b, 16),
        };
        Ok((header, rest))
    }

    /// Writes [`HEADER_LEN`] bytes to the front of `out`; panics when `out` is shorter.
    ///
    /// `len_behind`: bytes of body and IP packet, at most 65,535.
    #[inline]
    pub fn emit(&self, len_behind: usize, out: &mut [u8]) {
        debug_assert!(len_behind <= usize::from(u16::MAX));
        out[0] = VERSION;
        out[1] = self.kind as u8;
        out[2..4].copy_from_slice(&self.flags.0.to_le_bytes());
        out[4..8].copy_from_slice(&self.epoch.to_le_bytes());
        out[8..12].copy_from_slice(&self.flow.slot.to_le_bytes());
        out[12..16].copy_from_slice(&self.flow.generation.to_le_bytes());
        out[16..20].copy_from_slice(&self.handle.to_le_bytes());
        out[20..22].copy_from_slice(&(len_behind as u16).to_le_bytes());
        out[22..24].copy_from_slice(&[0, 0]);
    }
}

/// Writes the Ethernet header of a message to the front of `out` (14 bytes).
#[inline]
pub fn emit_ethernet(dst: ethernet::Mac, src: ethernet::Mac, out: &mut [u8]) {
    ethernet::Header { dst, src, ether_type: ethernet::EtherType::Channel }.emit(out);
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_pinned() {
        let codes = Kind::ALL.map(|kind| kind as u8);
        assert_eq!(codes, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(Refusal::ALL.map(|refusal| refusal as u8), [0, 1, 2]);
        assert_eq!(VERSION, 2);
        assert_eq!(HEADER_LEN, 24);
    }

    #[test]
    fn header_round_trip_and_refusals() {
        let header = Header {
            kind: Kind::Segment,
            flags: MessageFlags::IDLE | MessageFlags::CHECKSUM_NEEDED,
            epoch: 7,
            flow: FlowId { slot: 3, generation: 0xdead_beef },
            handle: 42,
        };
        let mut bytes = [0x5a; HEADER_LEN + 6];
        header.emit(4, &mut bytes);
        assert_eq!(Header::parse(&bytes), Ok((header, &[0x5a; 4][..])));
        assert_eq!(Header::parse(&bytes[..27]), Err(Malformed::Truncated.into()));
        assert_eq!(Header::parse(&bytes[..23]), Err(Malformed::Truncated.into()));
        let broken = |at: usize, value: u8| {
            let mut bad = bytes;
            bad[at] = value;
            Header::parse(&bad).map(|_| ())
        };
        assert_eq!(broken(0, VERSION + 1), Err(ChannelError::Version(VERSION + 1)));
        assert_eq!(broken(1, 0), Err(ChannelError::Kind(0)));
        assert_eq!(broken(1, 10), Err(ChannelError::Kind(10)));
        assert_eq!(broken(22, 1), Err(Malformed::Value.into()));
    }
}
