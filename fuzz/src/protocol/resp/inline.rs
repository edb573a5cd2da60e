//! Words on a line: any line is split without panic, and words that were quoted come back.

use protocol::resp::inline::{WordSink, split};

use crate::input::Input;

#[derive(Default)]
struct Words {
    done: Vec<Vec<u8>>,
    current: Vec<u8>,
}

impl WordSink for Words {
    fn byte(&mut self, byte: u8) {
        self.current.push(byte);
    }
    fn end_word(&mut self) {
        self.done.push(std::mem::take(&mut self.current));
    }
}

/// The first byte chooses: a line, or words to be quoted.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        let line = input.rest();
        let mut words = Words::default();
        if split(line, &mut words).is_ok() {
            assert!(words.current.is_empty(), "a word without an end");
            let total: usize = words.done.iter().map(Vec::len).sum();
            assert!(total <= line.len());
            round_trip(&words.done);
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
        let mut again = Words::default();
        assert_eq!(split(&quoted.join(&b' '), &mut again), Ok(()));
        assert_eq!(again.done, words);
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
