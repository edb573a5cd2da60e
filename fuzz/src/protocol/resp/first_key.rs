//! The key of a first request: never a panic, and more bytes never change what was found.

use protocol::resp::first_key::{SLOTS, first_key_slot, key_slot};

use crate::input::Input;

/// The first byte chooses: bytes as they are, or a request made of them.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.below(3) {
        0 => cut_anywhere(input.rest()),
        1 => {
            let key = input.bytes();
            let value = input.rest();
            let head = format!("*3\r\n$3\r\nSeT\r\n${}\r\n", key.len());
            let request = [head.as_bytes(), key, b"\r\n$", value].concat();
            assert_eq!(first_key_slot(&request), Some(key_slot(key)));
            cut_anywhere(&request);
        }
        _ => {
            // Hexadecimal: no byte is a blank or a quote.
            let key = input.bytes();
            let digits: String = key.iter().map(|byte| format!("\\x{byte:02x}")).collect();
            let request = [format!("get \"{digits}\" ").as_bytes(), b"\n", input.rest()].concat();
            assert_eq!(first_key_slot(&request), Some(key_slot(key)));
            cut_anywhere(&request);
        }
    }
}

fn cut_anywhere(bytes: &[u8]) {
    let whole = first_key_slot(bytes);
    assert!(whole.is_none_or(|slot| slot < SLOTS));
    let mut found = None;
    for len in 0..=bytes.len() {
        let slot = first_key_slot(&bytes[..len]);
        assert!(found.is_none() || slot == found, "{len} bytes: {slot:?} after {found:?}");
        found = slot;
    }
    assert_eq!(found, whole);
}
