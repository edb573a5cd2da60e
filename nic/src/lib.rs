//! The firmware (crate `nicfw`) on real ports: the loop that a core of the card runs.
//!
//! Here lives what is the same wherever the firmware runs: [`NicCore`], which polls it between the
//! wire and the host's queues, what it shows of itself ([`Shown`]) and how one asks for it
//! ([`Request`]), what of an interface stays with the kernel ([`shared_with_kernel`]), how a polling thread
//! rests ([`Pace`]) and where secrets come from ([`SystemRng`]).
//! `mayfly-server` embeds a core over rings; the program `mayfly-nic` (`main.rs`) runs one in a
//! process of its own and answers on a socket ([`control`]). Not here: what the firmware does, and
//! how devices are opened (`dpdk`). Start reading at `core.rs`.

#![forbid(unsafe_code)]

pub mod ask;
mod capture;
pub mod cli;
pub mod control;
mod core;
mod pace;
mod request;
mod rng;
mod share;
mod shown;
mod steering;
mod top;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub use crate::capture::CaptureLimits;
pub use crate::core::{HostPort, NicCore, READ_AHEAD, RETAINED_MAX, config, open_config};
pub use crate::request::{Answer, Request, Side, flow_id};
pub use crate::share::shared_with_kernel;
pub use crate::shown::Shown;
pub use crate::steering::Change;
pub use pace::Pace;
pub use rng::SystemRng;

/// Locks what no panic leaves half changed.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
