//! What stands under TCP: Ethernet frames are sorted, IPv4 headers checked, ARP and echo
//! requests answered (RFC 826, RFC 791, RFC 792, RFC 1122 §3).

pub(crate) mod arp;
pub(crate) mod icmp;
