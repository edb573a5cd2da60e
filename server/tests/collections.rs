//! Lists, hashes, sets and sorted sets: what no comparison with a Redis shows.
//!
//! Walks over large collections that change meanwhile; and what Redis 7.2 answers, where an older
//! one on the PATH would answer otherwise.

mod support;

use std::collections::HashSet;
use std::net::TcpStream;

use support::{Client, Server};

/// The bulk strings in a reply.
fn strings(reply: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(reply).into_owned();
    let mut lines = text.split("\r\n");
    let mut found = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('$') {
            found.extend(lines.next().map(str::to_string));
        }
    }
    found
}

/// Walks to the end with `scan`, calling `between` after every step.
fn walk(
    client: &mut Client<TcpStream>,
    scan: &str,
    mut between: impl FnMut(&mut Client<TcpStream>),
) -> HashSet<String> {
    let (mut cursor, mut seen) = ("0".to_string(), HashSet::new());
    loop {
        let mut parts =
            strings(&client.call(&[scan.as_bytes(), b"k", cursor.as_bytes(), b"COUNT", b"7"])).into_iter();
        cursor = parts.next().expect("a cursor");
        seen.extend(parts);
        if cursor == "0" {
            return seen;
        }
        between(client);
    }
}

#[test]
fn walks_show_every_lasting_member_of_large_collections() {
    let server = Server::start();
    let mut client = server.client();
    for (add, remove, scan) in [
        ("HSET k M v", "HDEL k M", "HSCAN"),
        ("SADD k M", "SREM k M", "SSCAN"),
        ("ZADD k 1 M", "ZREM k M", "ZSCAN"),
    ] {
        client.ask("DEL k");
        for number in 0..1500 {
            client.ask(&add.replace('M', &format!("m{number}")));
        }
        let (mut new, mut old) = (10_000, 1);
        let seen = walk(&mut client, scan, |client| {
            for _ in 0..5 {
                client.ask(&add.replace('M', &format!("m{new}")));
                client.ask(&remove.replace('M', &format!("m{old}")));
                (new, old) = (new + 1, old + 2);
            }
        });
        // The odd ones were removed on the way.
        for number in (0..1500).step_by(2) {
            assert!(seen.contains(&format!("m{number}")), "{scan} never showed m{number}");
        }
    }
}

#[test]
fn encodings_are_those_of_redis_7_2() {
    let server = Server::start();
    let mut client = server.client();
    let long = "x".repeat(65);
    for (command, encoding) in [
        ("RPUSH l a b c", "listpack"),
        ("SADD s 1 2 3", "intset"),
        ("SADD s a", "listpack"),
        (&format!("SADD s {long}"), "hashtable"),
        (&format!("SREM s {long}"), "hashtable"),
        (&format!("HSET h f {long}"), "hashtable"),
        ("ZADD z 1 a", "listpack"),
        (&format!("ZADD z 1 {long}"), "skiplist"),
    ] {
        client.ask(command);
        let key = command.split(' ').nth(1).expect("a key");
        let reply = client.ask(&format!("OBJECT ENCODING {key}"));
        assert_eq!(reply, format!("${}\r\n{encoding}\r\n", encoding.len()), "{command}");
    }
    for number in 0..513 {
        client.ask(&format!("SADD ints {number}"));
        client.ask(&format!("RPUSH l element-that-is-a-bit-longer-{number}"));
        client.ask(&format!("ZADD zs {number} {number}"));
        client.ask(&format!("SADD names n{number}"));
        if number == 127 {
            assert_eq!(client.ask("OBJECT ENCODING names"), "$8\r\nlistpack\r\n");
            assert_eq!(client.ask("OBJECT ENCODING zs"), "$8\r\nlistpack\r\n");
        }
        if number == 128 {
            assert_eq!(client.ask("OBJECT ENCODING names"), "$9\r\nhashtable\r\n");
            assert_eq!(client.ask("OBJECT ENCODING zs"), "$8\r\nskiplist\r\n");
        }
        if number == 511 {
            assert_eq!(client.ask("OBJECT ENCODING ints"), "$6\r\nintset\r\n");
        }
    }
    assert_eq!(client.ask("OBJECT ENCODING ints"), "$9\r\nhashtable\r\n");
    assert_eq!(client.ask("OBJECT ENCODING l"), "$9\r\nquicklist\r\n");
}

#[test]
fn ranks_come_with_scores() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("ZADD z 1.5 a 2 b");
    for (command, reply) in [
        ("ZRANK z b WITHSCORE", "*2\r\n:1\r\n$1\r\n2\r\n"),
        ("ZREVRANK z a WITHSCORE", "*2\r\n:1\r\n$3\r\n1.5\r\n"),
        ("ZRANK z c WITHSCORE", "*-1\r\n"),
        ("ZRANK none c WITHSCORE", "*-1\r\n"),
        ("ZRANK z a WITHSCORES", "-ERR syntax error\r\n"),
        ("ZRANK z a WITHSCORE x", "-ERR wrong number of arguments for 'zrank' command\r\n"),
    ] {
        assert_eq!(client.ask(command), reply, "{command}");
    }
    client.ask("HELLO 3");
    assert_eq!(client.ask("ZRANK z a WITHSCORE"), "*2\r\n:0\r\n,1.5\r\n");
    assert_eq!(client.ask("ZRANK z c WITHSCORE"), "_\r\n");
}

#[test]
fn absurd_counts_are_refused() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("SADD s a");
    assert_eq!(client.ask("SRANDMEMBER s -9000000000000000000"), "-ERR value is out of range\r\n");
    assert_eq!(client.ask("SRANDMEMBER s 9000000000000000000"), "*1\r\n$1\r\na\r\n");
    assert_eq!(client.ask("SPOP s 9000000000000000000"), "*1\r\n$1\r\na\r\n");
}
