//! Fuzz targets: plain functions that take bytes and panic when something does not hold.
//!
//! The parsers of `protocol` and `server` are fed with bytes as they are ([`protocol`],
//! [`server`]); the engines with programs that an [`input`] is read as: what a peer, the other
//! side of the channel, an application and the clock do, one step after another. Two things call
//! them: the tests of this crate, with the corpus and a fixed number of seeded changes to it
//! ([`mutate`]), on every test run; and `cargo xtask fuzz`, guided by coverage, for as long as one
//! likes. docs/fuzzing.md says how. Start reading at [`TARGETS`].

#![forbid(unsafe_code)]

pub mod client;
pub mod firmware;
pub mod input;
pub mod mutate;
mod peer;
pub mod protocol;
pub mod reader;
pub mod server;
pub mod stack;

/// A target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is also its folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What is fed with what.
    pub about: &'static str,
    /// Panics when something does not hold.
    pub run: fn(&[u8]),
    /// Longest input that is worth its time, in bytes.
    pub len_max: usize,
    /// Seeded inputs in every test run: as many as take about a second at most.
    pub replays: usize,
}

const fn target(
    name: &'static str,
    about: &'static str,
    run: fn(&[u8]),
    len_max: usize,
    replays: usize,
) -> Target {
    Target { name, about, run, len_max, replays }
}

/// All targets.
pub const TARGETS: &[Target] = &[
    target("link", "Ethernet and ARP headers", protocol::link::run, 64, 5000),
    target("ip", "IPv4, IPv6, ICMP, ICMPv6, the checksum", protocol::ip::run, 256, 5000),
    target("tcp", "TCP header, options, checksum, sequence numbers", protocol::tcp::run, 256, 5000),
    target("channel", "every message of the host-NIC channel", protocol::channel::run, 1200, 5000),
    target("resp_request", "requests, cut anywhere", protocol::resp::request::run, 2048, 5000),
    target("resp_inline", "typed request lines", protocol::resp::inline::run, 512, 5000),
    target("first_key", "the key of a first request", protocol::resp::first_key::run, 256, 5000),
    target("resp_reply", "replies, written and read", protocol::resp::reply::run, 512, 5000),
    target("numbers", "numbers of clients and of INCRBYFLOAT", server::numbers::run, 300, 1000),
    target("glob", "glob patterns", server::glob::run, 64, 5000),
    target("config", "redis.conf and the command line", server::config::run, 400, 300),
    target("commands", "commands of three clients", server::commands::run, 2048, 200),
    target("stack", "the host stack: peer, network, application, clock", stack::run, 1200, 300),
    target("stack_channel", "the host stack's end of the channel", stack::channel::run, 1200, 300),
    target("firmware", "the firmware: clients, hosts, mutated messages, clock", firmware::run, 1200, 300),
    target("client", "the load generator's clients behind a bad network", client::run, 1000, 100),
];

/// The target of this name.
pub fn find(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
