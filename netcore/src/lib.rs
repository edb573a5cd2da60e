//! What firmware, host stack and load generator share, and nothing that only one of them needs.
//!
//! Here live the seam to the outside ([`port`]), owned frames ([`frame`]), time ([`time`]),
//! randomness ([`rng`]), the in-process ring that joins two engines ([`ring`]) and the small
//! pure pieces of TCP that both halves use. Not here: anything that opens a device, reads a
//! clock or knows Redis. Start reading at [`port`].

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

pub mod cookie;
pub mod decode;
pub mod flow;
pub mod fragments;
pub mod frame;
pub mod isn;
pub mod port;
pub mod ring;
pub mod rng;
pub mod rto;
pub mod tap;
pub mod time;
pub mod toeplitz;
pub mod vlan;
pub mod wheel;

pub use flow::FourTuple;
pub use fragments::Fragments;
pub use frame::{Frame, HeapFrame, RxChecksum};
pub use port::{Capabilities, FramePool, FrameQueue, HeapPool, Port};
pub use time::{Duration, Instant};
pub use wheel::TimerWheel;
