//! `INFO`.
