//! The host's TCP/IP stack: connections, recovery, ARP and ICMP, the driver of the host–NIC
//! channel, and the run-to-completion poll round. It sees ports, never a device.
//!
//! Here live the state of a connection ([`Stack`] holds many), what segments do to it (`input/`,
//! by the steps of RFC 9293 §3.10.7), what it sends (`output/`), how losses are repaired
//! (`recovery/`), and the channel to the firmware (`channel/`). Not here: byte layouts
//! (`protocol`), devices, clocks, Redis. The application is called through [`app`].
//!
//! A round works in phases: a burst of frames is taken, timers fire, the application writes;
//! then every connection that was touched sends once. Start reading at `round.rs`.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod app;
mod channel;
mod config;
mod cookies;
mod counters;
mod ecn;
mod env;
mod held;
mod input;
mod ip;
mod listen;
mod open;
mod output;
mod reassembly;
mod recovery;
mod round;
mod send_queue;
mod settings;
mod state;
mod table;
mod tcb;
#[cfg(test)]
mod tests;
mod time_wait;
mod timers;
mod view;

pub use app::{App, ConnectionId, EndReason, NetworkError, Next, Output, Report};
pub use channel::ChannelState;
pub use config::{ADDRESSES_MAX, Changeable, Config, CongestionControl, EcnPolicy, Network, Offload};
pub use counters::Counters;
pub use listen::ListenError;
pub use protocol::channel::{AcceptPolicy, Refusal};
pub use round::{ConnectError, Memory, Stack, Work};
pub use settings::KEEPALIVE_IDLE_DEFAULT;
pub use state::{Gauges, State};
pub use view::ConnectionView;
