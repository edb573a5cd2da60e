//! What stands under TCP: IP headers of both versions are checked, fragments put together,
//! neighbours found and answered (RFC 826, RFC 4861), ICMP answered and listened to (RFC 792,
//! RFC 4443, RFC 1122 §3, RFC 8200).
//!
//! Not here: router advertisements and address configuration (addresses and routers come from the
//! configuration), and multicast listening reports (a switch that snoops must flood what it does
//! not know, or have a static entry).

mod arp;
mod icmp;
mod input;
mod ndp;
pub(crate) mod neighbour;
pub(crate) mod path_mtu;

pub(crate) use ndp::advertise;
