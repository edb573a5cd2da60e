//! Receive-side scaling: the Toeplitz hash over a four-tuple, as network cards compute it.
//!
//! (Microsoft, "RSS Hashing Functions"; the key is the one of its verification suite, which
//! drivers use as their default.)

use crate::flow::FourTuple;

/// The standard 40-byte key.
pub const STANDARD_KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// A key with which both directions of a connection have one hash: it repeats every 16 bits, so
/// that exchanging addresses and ports changes nothing.
///
/// Source: Woo and Park, "Scalable TCP Session Monitoring with Symmetric Receive-side Scaling",
/// KAIST, 2012.
pub const SYMMETRIC_KEY: [u8; 40] = {
    let mut key = [0x6d; 40];
    let mut at = 1;
    while at < key.len() {
        key[at] = 0x5a;
        at += 2;
    }
    key
};

/// The hash with a fixed key as a table: a look-up per byte of the tuple (12 for IPv4, 36 for IPv6)
/// instead of a shift per bit. 36 KiB, of which IPv4 uses the first third.
#[derive(Clone, Debug)]
pub struct Toeplitz {
    table: [[u32; 256]; 36],
}

impl Default for Toeplitz {
    fn default() -> Self {
        Self::new(&STANDARD_KEY)
    }
}

impl Toeplitz {
    /// A table for this key.
    pub fn new(key: &[u8; 40]) -> Self {
        let mut table = [[0; 256]; 36];
        for (at, row) in table.iter_mut().enumerate() {
            // The 40 key bits that the 8 bits of this input byte slide over.
            let bits = key[at..at + 5].iter().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
            for (value, hash) in row.iter_mut().enumerate() {
                for bit in 0..8 {
                    if value & (0x80 >> bit) != 0 {
                        *hash ^= (bits >> (8 - bit)) as u32;
                    }
                }
            }
        }
        Self { table }
    }

    /// The hash of a packet that the tuple's remote end sent to its local end.
    #[inline]
    pub fn hash(&self, flow: &FourTuple) -> u32 {
        let input = flow.to_bytes_as_received();
        let bytes = input.as_slice().iter();
        self.table.iter().zip(bytes).fold(0, |hash, (row, &byte)| hash ^ row[usize::from(byte)])
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;

    #[test]
    fn published_vectors() {
        // Destination address and port, source address and port, hash with ports.
        type Vector = ([u8; 4], u16, [u8; 4], u16, u32);
        let vectors: [Vector; 5] = [
            ([161, 142, 100, 80], 1766, [66, 9, 149, 187], 2794, 0x51cc_c178),
            ([65, 69, 140, 83], 4739, [199, 92, 111, 2], 14230, 0xc626_b0ea),
            ([12, 22, 207, 184], 38024, [24, 19, 198, 95], 12898, 0x5c2b_394a),
            ([209, 142, 163, 6], 2217, [38, 27, 205, 30], 48228, 0xafc7_327f),
            ([202, 188, 127, 2], 1303, [153, 39, 163, 191], 44251, 0x10e8_28a2),
        ];
        let toeplitz = Toeplitz::default();
        for (dst, dst_port, src, src_port, hash) in vectors {
            let flow = FourTuple {
                local_addr: Ipv4Addr::from(dst).into(),
                remote_addr: Ipv4Addr::from(src).into(),
                local_port: dst_port,
                remote_port: src_port,
            };
            assert_eq!(toeplitz.hash(&flow), hash, "{flow:?}");
        }
    }

    #[test]
    fn the_symmetric_key_hashes_both_directions_alike() {
        let (standard, symmetric) = (Toeplitz::default(), Toeplitz::new(&SYMMETRIC_KEY));
        let mut hashes = [0u32; 4];
        for n in 1..=200u16 {
            let v4 = FourTuple {
                local_addr: Ipv4Addr::new(198, 18, 0, 2).into(),
                remote_addr: Ipv4Addr::new(198, 18, (n * 7) as u8, n as u8).into(),
                local_port: 6379,
                remote_port: n.wrapping_mul(331),
            };
            let v6 = FourTuple {
                local_addr: core::net::Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0, 2).into(),
                remote_addr: core::net::Ipv6Addr::new(0x2001, 2, n, 0, 0, 0, 9, n * 3).into(),
                ..v4
            };
            for there in [v4, v6] {
                let back = FourTuple {
                    local_addr: there.remote_addr,
                    remote_addr: there.local_addr,
                    local_port: there.remote_port,
                    remote_port: there.local_port,
                };
                assert_eq!(symmetric.hash(&there), symmetric.hash(&back), "{there:?}");
                assert_ne!(standard.hash(&there), standard.hash(&back), "{there:?}");
                hashes[symmetric.hash(&there) as usize % 4] += 1;
            }
        }
        assert!(hashes.iter().all(|&count| count > 50), "it still spreads: {hashes:?}");
    }

    #[test]
    fn published_vectors_of_ipv6() {
        let vectors = [
            ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x4020_7d3d),
            ("ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0xdde5_1bbf),
            ("fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x02d1_feef),
        ];
        let toeplitz = Toeplitz::default();
        for (dst, local_port, src, remote_port, hash) in vectors {
            let address = |text: &str| text.parse::<core::net::Ipv6Addr>().unwrap().into();
            let flow =
                FourTuple { local_addr: address(dst), remote_addr: address(src), local_port, remote_port };
            assert_eq!(toeplitz.hash(&flow), hash, "{flow:?}");
        }
    }
}
