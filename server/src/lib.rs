//! The Redis engine and what carries it.
//!
//! The engine does no I/O: bytes of a client and the time go in, reply bytes come out. Start
//! reading at [`app`] (how bytes become commands), then [`command`] (the table and how to add a
//! command), [`keyspace`] (where values live). [`front`] holds what opens sockets and reads the
//! clock; [`config`] the directives of `redis.conf`.

#![forbid(unsafe_code)]

pub mod app;
pub mod args;
pub mod clients;
pub mod command;
pub mod config;
pub mod core_state;
pub mod dispatch;
pub mod engine;
pub mod error;
pub mod front;
pub mod glob;
pub mod info;
pub mod keyspace;
pub mod longdouble;
pub mod network;
mod output_limit;
pub mod pubsub;
pub mod reply;
pub mod session;
pub mod slowlog;
pub mod stats;
pub mod waiting;

pub use app::CoreApp;
pub use config::Config;
pub use engine::{Engine, EngineStart};
