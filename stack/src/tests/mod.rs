//! Tests of the whole stack, through its port: [`harness`] injects literal segments and expects
//! literal answers, [`lossy`] joins two stacks by a bad link, [`link`] by
//! a slow one, [`channel`] plays the NIC.

mod channel;
mod closing;
mod cookies;
mod data;
mod handshake;
mod harness;
mod icmp;
mod ip;
mod ipv6;
mod link;
mod lossy;
mod memory;
mod names;
mod presence;
mod recovery;
mod user;
mod windows;
