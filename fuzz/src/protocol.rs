//! The parsers of crate `protocol`: they never panic, and what they read they write back.

pub mod channel;
pub mod ip;
pub mod link;
pub mod resp;
pub mod tcp;
