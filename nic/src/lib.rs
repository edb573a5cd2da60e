//! The firmware (crate `nicfw`) on real ports: the loop that a core of the card runs.
//!
//! Here lives what is the same wherever the firmware runs: [`NicCore`], which polls it between the
//! wire and the host's queues, what it shows of itself ([`Shown`]), how a polling thread rests
//! ([`Pace`]) and where secrets come from ([`SystemRng`]). `mayfly-server` embeds a core over
//! rings; the program `mayfly-nic` (`main.rs`) runs one in a process of its own. Not here: what the
//! firmware does, and how devices are opened (`dpdk`). Start reading at `core.rs`.

#![forbid(unsafe_code)]

pub mod cli;
mod core;
mod pace;
mod rng;

pub use crate::core::{
    HostPort, NicCore, Nobody, Onlooker, RETAINED_MAX, Shown, Unseen, config, open_config,
};
pub use pace::Pace;
pub use rng::SystemRng;
