//! The same commands to a real Redis and to Mayfly: the replies must be the same bytes.
//!
//! The commands stand in `differential/*.cmds`, one to a line, quoted as in redis-cli; each file
//! starts on empty servers and runs once with RESP2 and once with RESP3. Before a command may
//! stand: `~` the order of the reply's lines does not count; `2>` it is sent by a second client;
//! `!` only the kind of reply (its first byte) counts. A `#` begins a comment line.
//!
//! Without `redis-server` on the PATH the test has nothing to compare with and says so.

mod support;

use std::path::PathBuf;

use protocol::resp::inline::{self, WordSink};
use support::Server;
use support::redis::Redis;

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

fn shown(reply: &[u8]) -> String {
    reply.escape_ascii().to_string().replace("\\r\\n", " ")
}

fn sorted(reply: &[u8]) -> Vec<&[u8]> {
    let mut lines: Vec<&[u8]> = reply.split(|&byte| byte == b'\n').collect();
    lines.sort_unstable();
    lines
}

#[test]
fn replies_are_those_of_redis() {
    let Some(mut redis) = Redis::start() else {
        println!("redis-server is not on the PATH: nothing to compare with");
        return;
    };
    let server = Server::start();
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/differential");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("the cases").map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    let (mut compared, mut different) = (0, Vec::new());
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "cmds")) {
        let text = std::fs::read_to_string(file).expect("readable");
        for version in ["2", "3"] {
            let mut theirs = [redis.client(), redis.client()];
            let mut ours = [server.client(), server.client()];
            for client in 0..2 {
                theirs[client].call(&[b"HELLO", version.as_bytes()]);
                ours[client].call(&[b"HELLO", version.as_bytes()]);
            }
            theirs[0].call(&[b"FLUSHALL"]);
            ours[0].call(&[b"FLUSHALL"]);
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let (client, line) = line.strip_prefix("2>").map_or((0, line), |line| (1, line.trim()));
                let (any_order, line) = line.strip_prefix('~').map_or((false, line), |line| (true, line));
                let (kind_only, line) = line.strip_prefix('!').map_or((false, line), |line| (true, line));
                let mut words = Words::default();
                inline::split(line.as_bytes(), &mut words).expect("balanced quotes");
                let args: Vec<&[u8]> = words.done.iter().map(Vec::as_slice).collect();
                let wanted = theirs[client].call(&args);
                let got = ours[client].call(&args);
                compared += 1;
                let same = wanted == got
                    || any_order && sorted(&wanted) == sorted(&got)
                    || kind_only && wanted.first() == got.first();
                if !same {
                    different.push(format!(
                        "{}:{} RESP{version}  {line}\n    redis:  {}\n    mayfly: {}",
                        file.file_name().unwrap_or_default().to_string_lossy(),
                        number + 1,
                        shown(&wanted),
                        shown(&got)
                    ));
                }
            }
        }
    }
    println!("{compared} replies compared");
    assert!(
        different.is_empty(),
        "{} of {compared} replies differ:\n{}",
        different.len(),
        different.join("\n")
    );
}
