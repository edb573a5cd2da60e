//! RESP, the Redis serialization protocol, versions 2 and 3.
//!
//! [`request`] finds requests in received bytes without copying them, [`inline`] splits the
//! typed form of a request, [`first_key`] tells what a connection is about, [`reply`] writes replies
//! into any byte sink, [`number`] holds the number formats that Redis shows to clients. Nothing
//! here allocates.
//!
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>

pub mod first_key;
pub mod inline;
pub mod number;
pub mod reply;
pub mod request;

pub use reply::{Sink, Writer};
pub use request::{ArgRange, Limits, ParseState, Parsed, ProtocolError};
