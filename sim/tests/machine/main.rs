//! Whole machines, driven segment by segment.

mod lab;
mod steering;
mod vanished;
