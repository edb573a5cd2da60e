//! The host's TCP/IP stack: connections, recovery, ARP and ICMP, the driver of the host–NIC
//! channel, and the run-to-completion poll round. It sees ports, never a device.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;

pub use app::{App, ConnectionId, EndReason, Next, Output};
