//! The name of a TCP connection: its four-tuple.

use protocol::ip::Address;

/// Both ends of a TCP connection, seen from our side.
///
/// A flow's key is always the whole of it: two clients are never told apart by less. Both
/// addresses are of the same version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FourTuple {
    /// Our address.
    pub local_addr: Address,
    /// The peer's address.
    pub remote_addr: Address,
    /// Our TCP port.
    pub local_port: u16,
    /// The peer's TCP port.
    pub remote_port: u16,
}

/// A tuple as bytes in network order, what keyed hashes are fed with: 12 for IPv4, 36 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TupleBytes {
    bytes: [u8; 36],
    len: usize,
}

impl TupleBytes {
    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl FourTuple {
    /// One address, the other, one port, the other.
    #[inline]
    fn join(first: &Address, second: &Address, first_port: u16, second_port: u16) -> TupleBytes {
        let mut bytes = [0; 36];
        let address_len = if first.is_v4() { 4 } else { 16 };
        bytes[..address_len].copy_from_slice(&first.octets()[16 - address_len..]);
        bytes[address_len..2 * address_len].copy_from_slice(&second.octets()[16 - address_len..]);
        let ports = &mut bytes[2 * address_len..2 * address_len + 4];
        ports[..2].copy_from_slice(&first_port.to_be_bytes());
        ports[2..].copy_from_slice(&second_port.to_be_bytes());
        TupleBytes { bytes, len: 2 * address_len + 4 }
    }

    /// Local address, remote address, local port, remote port.
    #[inline]
    pub fn to_bytes(&self) -> TupleBytes {
        Self::join(&self.local_addr, &self.remote_addr, self.local_port, self.remote_port)
    }

    /// In the order of a packet that the remote end sent.
    #[inline]
    pub fn to_bytes_as_received(&self) -> TupleBytes {
        Self::join(&self.remote_addr, &self.local_addr, self.remote_port, self.local_port)
    }
}
