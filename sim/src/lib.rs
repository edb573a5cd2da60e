//! Deterministic simulation: clients, wire, firmware, host stack and Redis engine in one thread,
//! from one seed, on virtual time.
//!
//! A [`scenario::Scenario`] is drawn from a seed; a [`world::World`] plays it and says what went
//! wrong. Nothing reads a clock or a random source of its own, so a seed replays exactly. The
//! engines are the real ones; what is simulated is the [`wire`] between them and, partly, those
//! who use it: [`hostile`] sends what no honest client would. [`script`] plays short written
//! exchanges of packets against the same [`machine`]. Start reading at [`world`].

#![forbid(unsafe_code)]

pub mod belief;
mod clock;
pub mod counting;
pub mod fault;
pub mod frame;
pub mod hostile;
pub mod machine;
pub mod odd;
pub mod packet;
pub mod pcap;
pub mod scenario;
pub mod script;
pub mod series;
pub mod trace;
pub mod wire;
pub mod world;
