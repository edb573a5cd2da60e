//! Words on a line: any line is split without panic, and words that were quoted come back.

use protocol::resp::inline;

use crate::input::Input;

/// The first byte chooses: a line, or words to be quoted.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        let line = input.rest();
        if let Ok(words) = inline::words::<Vec<Vec<u8>>>(line) {
            let total: usize = words.iter().map(Vec::len).sum();
            assert!(total <= line.len());
            round_trip(&words);
        }
        return;
    }
    let mut words = Vec::new();
    while !input.is_empty() && words.len() < 50 {
        words.push(input.bytes().to_vec());
    }
    round_trip(&words);
}

fn round_trip(words: &[Vec<u8>]) {
    for quote in [double_quoted, hexadecimal] {
        let quoted: Vec<Vec<u8>> = words.iter().map(|word| quote(word)).collect();
        assert_eq!(inline::words(&quoted.join(&b' ')), Ok(words.to_vec()));
    }
}

fn double_quoted(word: &[u8]) -> Vec<u8> {
    let mut out = vec![b'"'];
    for &byte in word {
        match byte {
            b'"' | b'\\' => out.extend([b'\\', byte]),
            b'\n' => out.extend(b"\\n"),
            b'\r' => out.extend(b"\\r"),
            b'\t' => out.extend(b"\\t"),
            0x08 => out.extend(b"\\b"),
            0x07 => out.extend(b"\\a"),
            byte => out.push(byte),
        }
    }
    out.push(b'"');
    out
}

fn hexadecimal(word: &[u8]) -> Vec<u8> {
    let digits: String = word.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    format!("\"{digits}\"").into_bytes()
}
