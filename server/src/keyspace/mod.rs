//! The keyspace: databases, split by keyed hash into shards with a small lock each.
//!
//! A shard holds its part of *every* database, so that a key's lock is the same in all of them
//! and a transaction that selects databases locks by key alone. [`shard`] is the table, [`key`]
//! a key and its hash, [`object`] what a key holds. Collections are made of [`dict`] (members by
//! name) and [`order`] (members in an order).

pub mod dict;
pub mod hash;
pub mod key;
pub mod limits;
pub mod list;
pub mod object;
pub mod order;
pub mod set;
pub mod shard;
pub mod string;
pub mod zset;

pub use key::{KeyHash, KeyHasher};
pub use limits::LimitValues;
pub use object::{Container, Value};
pub use shard::{Db, Entry, NEVER, Shard};
