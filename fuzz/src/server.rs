//! The server's parsers, and its commands as clients call them.

pub mod commands;
pub mod config;
pub mod glob;
pub mod numbers;
