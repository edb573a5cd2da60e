//! The firmware frame by frame: literal segments and messages in, exact ones out.

#![allow(unreachable_pub, reason = "the harness is shared by the modules of this one program")]

mod admission;
mod channel;
mod cookies;
mod fragments;
mod hand_over;
mod harness;
mod history;
mod icmp;
mod ipv6;
mod moves;
mod poll;
mod presence;
mod setup;
mod steer;
mod teardown;
mod timestamps;
