//! Every byte layout and nothing else: Ethernet, ARP, IP, ICMP and TCP headers with their
//! checksums, the host–NIC channel, RESP.
//!
//! Network order exists only in here. Nothing in this crate does I/O, allocates or knows the
//! time. Parsers never panic on what a peer sends: they return an error and look at nothing
//! outside the slice. Start reading at [`tcp`] or [`channel`].

#![no_std]
#![forbid(unsafe_code)]

pub mod arp;
pub mod channel;
pub mod checksum;
pub mod ethernet;
pub mod icmp;
pub mod icmp_error;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod resp;
pub mod tcp;

/// Why a header could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The bytes end before the header does.
    Truncated,
    /// A version field has another value than this parser understands.
    Version,
    /// A length field contradicts the bytes or the protocol's minimum.
    Length,
    /// A checksum does not match.
    Checksum,
    /// A field has a value that the protocol does not allow.
    Value,
}

pub(crate) fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

pub(crate) fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}
