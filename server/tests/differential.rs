//! The same commands to a real Redis and to Mayfly: the replies must be the same bytes.
//!
//! The commands stand in `differential/*.cmds`, one to a line, quoted as in redis-cli; each file
//! starts on empty servers and runs once with RESP2 and once with RESP3. Before a command may
//! stand: `2>`, `3>`, `4>` it is sent by another client; `~` the order of the reply's lines does
//! not count; `!` only the kind of reply (its first byte) counts; `&` it waits: its reply comes
//! later. `<` alone reads and compares one more reply. A `#` begins a comment line.
//!
//! Without `redis-server` on the PATH the test has nothing to compare with and says so.

mod support;

use std::io::{Read, Write};
use std::path::PathBuf;

use protocol::resp::inline;
use support::redis::Redis;
use support::{Client, Server};

/// Clients that a file can use.
const CLIENTS: usize = 4;

fn split(line: &str) -> Vec<Vec<u8>> {
    inline::words(line.as_bytes()).expect("balanced quotes")
}

/// Sends a command that waits, and returns when the server says that it does. The last of
/// `clients` looks on.
fn waits<S: Read + Write>(clients: &mut [Client<S>], client: usize, args: &[&[u8]]) {
    let before = blocked(&mut clients[CLIENTS]);
    let sent = support::command(args);
    clients[client].send(&sent);
    while blocked(&mut clients[CLIENTS]) == before {}
}

fn blocked<S: Read + Write>(observer: &mut Client<S>) -> u32 {
    let info = observer.call(&[b"INFO", b"clients"]);
    let text = String::from_utf8_lossy(&info);
    let (_, rest) = text.split_once("blocked_clients:").expect("a field of INFO");
    rest.split("\r\n").next().and_then(|count| count.parse().ok()).expect("a number")
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
            let mut theirs: Vec<_> = (0..=CLIENTS).map(|_| redis.client()).collect();
            let mut ours: Vec<_> = (0..=CLIENTS).map(|_| server.client()).collect();
            for client in 0..CLIENTS {
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
                let (client, line) = match line.split_once('>') {
                    Some((number @ ("2" | "3" | "4"), line)) => {
                        (number.parse::<usize>().expect("a digit") - 1, line.trim())
                    }
                    _ => (0, line),
                };
                if let Some(line) = line.strip_prefix('&') {
                    let words = split(line);
                    let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                    waits(&mut theirs, client, &args);
                    waits(&mut ours, client, &args);
                    continue;
                }
                let (any_order, line) = line.strip_prefix('~').map_or((false, line), |line| (true, line));
                let (kind_only, line) = line.strip_prefix('!').map_or((false, line), |line| (true, line));
                let words = split(line);
                let args: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
                let (wanted, got) = if line == "<" {
                    (theirs[client].reply(), ours[client].reply())
                } else {
                    (theirs[client].call(&args), ours[client].call(&args))
                };
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
