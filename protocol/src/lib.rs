//! Every byte layout and nothing else.
#![no_std]
#![forbid(unsafe_code)]
