//! The firmware: it opens and closes TCP connections so that the host does not have to.
//!
//! Here lives what a network card would run: the handshake without state, the flows, both kinds
//! of close, TIME_WAIT, receive-side scaling and the NIC's end of the channel. Not here: the
//! byte stream itself, which is the host's (crate `stack`), and anything that opens a device or
//! reads a clock. A frame and the time go in; frames and the next deadline come out. All memory
//! is taken when a [`Firmware`] is made.
//!
//! The files are the stages of a connection's life:
//!
//! | file | stage |
//! |---|---|
//! | `firmware` | a round: what arrives, where it goes |
//! | `packet` | from bytes to segments and back |
//! | `admission` | whom to let in, and what those hear who are not |
//! | `setup` | SYN, cookie, ACK, waiting for the first data |
//! | `steer` | segments between wire and host |
//! | `hand_over` | last data of more than one segment, piece by piece |
//! | `teardown` | FIN from either side, retransmission, RST |
//! | `last_data` | sending that data: windows, loss, timeouts |
//! | `icmp` | news of the path to a flow's peer |
//! | `time_wait` | what is remembered of ended connections |
//! | `channel` | messages from and to the host, epochs |
//! | `neighbours` | ARP and neighbour discovery while no host is there |
//! | `presence` | whether a host is there, and what happens while none is |
//! | `history` | what happened last, for who asks |
//!
//! `budget`, `flow_table`, `index`, `listen` and `retain` hold what these work on. Start reading at
//! [`Firmware::poll`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod admission;
mod budget;
mod channel;
mod config;
mod counters;
mod firmware;
mod flow_table;
mod hand_over;
mod history;
mod icmp;
mod index;
mod last_data;
mod listen;
mod neighbours;
mod packet;
mod presence;
mod retain;
mod setup;
mod steer;
mod teardown;
mod time_wait;
mod view;

pub use config::{Changeable, Config, Offload, Steer, UnknownOffload, UnknownSteer};
pub use counters::{Counters, Event};
pub use firmware::{Firmware, Work};
pub use flow_table::State;
pub use history::{History, Record, Stage};
pub use steer::{INDIRECTION, IndirectionError};
pub use view::FlowView;
