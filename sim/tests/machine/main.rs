//! Whole machines, driven segment by segment.

#![allow(unreachable_pub)]

mod lab;
mod steering;
mod vanished;
