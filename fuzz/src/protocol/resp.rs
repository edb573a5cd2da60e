//! RESP: requests however they are cut, typed lines, replies, numbers.

pub mod first_key;
pub mod inline;
pub mod reply;
pub mod request;
