//! Packet scripts: what a peer sends and what must come back, in the spirit of packetdrill.
//!
//! A script is a text file, one behaviour each; `sim/scripts/README.md` describes the language.
//! [`parse`] reads it, [`run`] plays it against a [`Subject`], [`virtual_host`] is the subject
//! that runs our host stack, alone or behind the firmware, on virtual time. Another subject may
//! be a real host behind a device.

pub mod app;
pub mod icmp;
pub mod neighbour;
pub mod parse;
pub mod run;
pub mod segment;
pub mod settings;
pub mod subject;
pub mod virtual_host;
mod words;
mod written;

pub use parse::{Script, SubjectKind};
pub use run::run;
pub use subject::Subject;
