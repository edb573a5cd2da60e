//! The name of a TCP connection: its four-tuple.

use core::net::Ipv4Addr;

/// Both ends of a TCP connection, seen from our side.
///
/// A flow's key is always the whole of it: two clients are never told apart by less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FourTuple {
    /// Our address.
    pub local_addr: Ipv4Addr,
    /// The peer's address.
    pub remote_addr: Ipv4Addr,
    /// Our TCP port.
    pub local_port: u16,
    /// The peer's TCP port.
    pub remote_port: u16,
}

impl FourTuple {
    /// The tuple as 12 bytes in network order: local address, remote address, local port, remote
    /// port. What keyed hashes are fed with.
    pub fn to_bytes(&self) -> [u8; 12] {
        let mut out = [0; 12];
        out[..4].copy_from_slice(&self.local_addr.octets());
        out[4..8].copy_from_slice(&self.remote_addr.octets());
        out[8..10].copy_from_slice(&self.local_port.to_be_bytes());
        out[10..].copy_from_slice(&self.remote_port.to_be_bytes());
        out
    }
}
