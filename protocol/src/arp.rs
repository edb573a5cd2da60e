//! ARP for IPv4 over Ethernet (RFC 826).

use core::net::Ipv4Addr;

use crate::ethernet::Mac;
use crate::{Malformed, be16};

/// Bytes of a packet.
pub const PACKET_LEN: usize = 28;

/// What is asked or said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has its address.
    Reply,
}

/// An ARP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Sender's hardware address.
    pub sender_mac: Mac,
    /// Sender's protocol address.
    pub sender_addr: Ipv4Addr,
    /// Target's hardware address; zero in a request.
    pub target_mac: Mac,
    /// Target's protocol address.
    pub target_addr: Ipv4Addr,
}

impl Packet {
    /// Reads the payload of an ARP frame; padding behind it is ignored.
    ///
    /// # Errors
    /// `Truncated`, or `Value` for other hardware, protocol or operation codes.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let Some(b) = bytes.first_chunk::<PACKET_LEN>() else { return Err(Malformed::Truncated) };
        if be16(b, 0) != 1 || be16(b, 2) != 0x0800 || b[4] != 6 || b[5] != 4 {
            return Err(Malformed::Value);
        }
        let operation = match be16(b, 6) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _ => return Err(Malformed::Value),
        };
        let mac = |at: usize| Mac([b[at], b[at + 1], b[at + 2], b[at + 3], b[at + 4], b[at + 5]]);
        let addr = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
        Ok(Self {
            operation,
            sender_mac: mac(8),
            sender_addr: addr(14),
            target_mac: mac(18),
            target_addr: addr(24),
        })
    }

    /// The answer to a request, where its target address is `mac`'s.
    pub fn reply(&self, mac: Mac) -> Self {
        Self {
            operation: Operation::Reply,
            sender_mac: mac,
            sender_addr: self.target_addr,
            target_mac: self.sender_mac,
            target_addr: self.sender_addr,
        }
    }

    /// Writes [`PACKET_LEN`] bytes to the front of `out`; panics when `out` is shorter.
    pub fn emit(&self, out: &mut [u8]) {
        out[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        let code: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        out[6..8].copy_from_slice(&code.to_be_bytes());
        out[8..14].copy_from_slice(&self.sender_mac.0);
        out[14..18].copy_from_slice(&self.sender_addr.octets());
        out[18..24].copy_from_slice(&self.target_mac.0);
        out[24..28].copy_from_slice(&self.target_addr.octets());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_and_refusals() {
        let packet = Packet {
            operation: Operation::Reply,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender_addr: Ipv4Addr::new(198, 18, 0, 1),
            target_mac: Mac([2, 0, 0, 0, 0, 2]),
            target_addr: Ipv4Addr::new(198, 18, 0, 2),
        };
        let mut bytes = [0; PACKET_LEN];
        let request = Packet {
            operation: Operation::Request,
            sender_mac: packet.target_mac,
            sender_addr: packet.target_addr,
            target_mac: Mac::default(),
            target_addr: packet.sender_addr,
        };
        assert_eq!(request.reply(packet.sender_mac), packet);
        packet.emit(&mut bytes);
        assert_eq!(Packet::parse(&bytes), Ok(packet));
        assert_eq!(Packet::parse(&bytes[..27]), Err(Malformed::Truncated));
        for at in [0, 2, 4, 5, 7] {
            let mut bad = bytes;
            bad[at] = 0x77;
            assert_eq!(Packet::parse(&bad), Err(Malformed::Value), "byte {at}");
        }
    }
}
