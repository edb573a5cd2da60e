//! Clients that wait: what no comparison with a Redis shows.

#![allow(missing_docs)]

mod support;

use std::net::TcpStream;

use support::{Client, Server, command};

/// Returns once `count` clients wait.
fn until_blocked(observer: &mut Client<TcpStream>, count: usize) {
    while !observer.ask("INFO clients").contains(&format!("blocked_clients:{count}\r\n")) {}
}

#[test]
fn a_client_that_leaves_while_it_waits_takes_nothing_with_it() {
    let server = Server::start();
    let mut observer = server.client();
    let mut leaving = server.client();
    leaving.send(&command(&[b"BLPOP", b"k", b"0"]));
    until_blocked(&mut observer, 1);
    drop(leaving);
    until_blocked(&mut observer, 0);
    assert_eq!(observer.ask("RPUSH k 1"), ":1\r\n");
    assert_eq!(observer.ask("LLEN k"), ":1\r\n");
}

#[test]
fn requests_behind_one_that_waits_are_answered_after_it() {
    let server = Server::start();
    let (mut observer, mut waiting) = (server.client(), server.client());
    waiting.send(
        &[command(&[b"BLPOP", b"k", b"0"]), command(&[b"ECHO", b"behind"]), b"*1\r\n$4\r\nPI".to_vec()]
            .concat(),
    );
    until_blocked(&mut observer, 1);
    waiting.send(b"NG\r\n");
    observer.ask("RPUSH k v");
    assert_eq!(waiting.reply(), b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
    assert_eq!(waiting.reply(), b"$6\r\nbehind\r\n");
    assert_eq!(waiting.reply(), b"+PONG\r\n");
}

#[test]
fn waiting_clients_are_freed_by_others_and_by_time() {
    let server = Server::start();
    let (mut observer, mut waiting) = (server.client(), server.client());
    let id = waiting.ask("CLIENT ID").trim_start_matches(':').trim().to_string();
    for (how, reply) in [
        ("", "*-1\r\n"),
        (" TIMEOUT", "*-1\r\n"),
        (" ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
    ] {
        waiting.send(&command(&[b"BLPOP", b"k", b"0"]));
        until_blocked(&mut observer, 1);
        assert!(observer.ask(&format!("CLIENT LIST ID {id}")).contains(" flags=b "));
        assert_eq!(observer.ask(&format!("CLIENT UNBLOCK {id}{how}")), ":1\r\n");
        assert_eq!(waiting.reply(), reply.as_bytes());
        assert_eq!(observer.ask(&format!("CLIENT UNBLOCK {id}")), ":0\r\n");
    }
    assert_eq!(waiting.ask("BLPOP k 0.02"), "*-1\r\n");
    waiting.send(&command(&[b"BLPOP", b"k", b"0"]));
    until_blocked(&mut observer, 1);
    assert_eq!(observer.ask(&format!("CLIENT KILL ID {id}")), ":1\r\n");
    assert!(waiting.rest().is_empty());
    until_blocked(&mut observer, 0);
}

#[test]
fn elements_go_through_queues_once_and_in_order() {
    const CLIENTS: usize = 4;
    const EACH: usize = 500;
    let server = Server::start();
    let takers: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = server.client();
            std::thread::spawn(move || (0..EACH).map(|_| client.ask("BLPOP q 0")).collect::<Vec<String>>())
        })
        .collect();
    let mut pusher = server.client();
    for number in 0..CLIENTS * EACH {
        pusher.ask(&format!("RPUSH q {number:05}"));
    }
    let mut taken = Vec::new();
    for taker in takers {
        let own = taker.join().expect("no panic");
        assert!(own.is_sorted(), "later elements come later");
        taken.extend(own);
    }
    taken.sort();
    taken.dedup();
    assert_eq!(taken.len(), CLIENTS * EACH);
    assert_eq!(pusher.ask("EXISTS q"), ":0\r\n");
}
