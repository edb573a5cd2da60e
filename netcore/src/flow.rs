//! The name of a TCP connection: its four-tuple.

use core::net::SocketAddr;

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
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl TupleBytes {
    /// How many there are at most.
    pub const LEN_MAX: usize = 36;

    /// The bytes, and zeros behind them.
    #[inline]
    pub fn padded(&self) -> &[u8; Self::LEN_MAX] {
        &self.bytes
    }

    /// The bytes.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl FourTuple {
    /// Of these ends, both of the same version of IP.
    pub fn between(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local_addr: local.ip().into(),
            remote_addr: remote.ip().into(),
            local_port: local.port(),
            remote_port: remote.port(),
        }
    }

    /// One address, the other, one port, the other.
    #[inline]
    fn join(first: &Address, second: &Address, first_port: u16, second_port: u16) -> TupleBytes {
        // Each length by itself: copies of a fixed size are a few instructions.
        match first.is_v4() {
            true => Self::join_of::<4>(first, second, first_port, second_port),
            false => Self::join_of::<16>(first, second, first_port, second_port),
        }
    }

    #[inline]
    fn join_of<const ADDRESS_LEN: usize>(
        first: &Address,
        second: &Address,
        first_port: u16,
        second_port: u16,
    ) -> TupleBytes {
        let mut bytes = [0; TupleBytes::LEN_MAX];
        let (addresses, rest) = bytes.split_at_mut(2 * ADDRESS_LEN);
        addresses[..ADDRESS_LEN].copy_from_slice(&first.octets()[16 - ADDRESS_LEN..]);
        addresses[ADDRESS_LEN..].copy_from_slice(&second.octets()[16 - ADDRESS_LEN..]);
        rest[..2].copy_from_slice(&first_port.to_be_bytes());
        rest[2..4].copy_from_slice(&second_port.to_be_bytes());
        TupleBytes { bytes, len: 2 * ADDRESS_LEN + 4 }
    }

    /// Our end, as the standard library has it.
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr.to_ip_addr(), self.local_port)
    }

    /// The peer's end, likewise.
    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_addr.to_ip_addr(), self.remote_port)
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
