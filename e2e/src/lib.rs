//! What a whole-system test stands on: a laboratory of two network namespaces ([`lab`]),
//! programs started in it ([`process`]), a bad wire ([`wire`]), where the built programs are ([`programs`]), and what
//! becomes of a test that never ends ([`watch`]).
//!
//! `cargo xtask run` uses the same pieces, so that what a person sees is what is tested. The
//! tests themselves are in `tests/`.

pub mod lab;
mod offload;
pub mod process;
pub mod programs;
pub mod watch;
pub mod wire;

pub use lab::Lab;
pub use process::Process;
pub use wire::{Faults, Link, PacketSocket};
