//! Messages between clients: what no comparison with a Redis shows.

#![allow(missing_docs)]

mod support;

use support::Server;

#[test]
fn messages_keep_their_order_across_threads() {
    const MESSAGES: usize = 2000;
    let server = Server::start();
    let mut listeners: Vec<_> = (0..4).map(|_| server.client()).collect();
    for listener in &mut listeners {
        listener.ask("SUBSCRIBE ch");
    }
    let readers: Vec<_> = listeners
        .into_iter()
        .map(|mut listener| {
            std::thread::spawn(move || {
                for number in 0..MESSAGES {
                    let text = format!("{number:04}");
                    let wanted = format!("*3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$4\r\n{text}\r\n");
                    assert_eq!(String::from_utf8_lossy(&listener.reply()), wanted);
                }
            })
        })
        .collect();
    let mut publisher = server.client();
    for number in 0..MESSAGES {
        assert_eq!(publisher.ask(&format!("PUBLISH ch {number:04}")), ":4\r\n");
    }
    readers.into_iter().for_each(|reader| reader.join().expect("no panic"));
}

#[test]
fn a_listener_that_leaves_is_forgotten() {
    let server = Server::start();
    let (mut listener, mut other) = (server.client(), server.client());
    listener.ask("SUBSCRIBE ch");
    listener.ask("PSUBSCRIBE c*");
    listener.ask("SSUBSCRIBE s");
    assert!(other.ask("CLIENT LIST TYPE pubsub").contains(" flags=P db=0 sub=1 psub=1 ssub=1 "));
    drop(listener);
    while other.ask("CLIENT LIST TYPE pubsub").contains("flags=P") {}
    while other.ask("PUBSUB NUMPAT") != ":0\r\n" {}
    while other.ask("PUBSUB SHARDCHANNELS") != "*0\r\n" {}
    assert_eq!(other.ask("PUBLISH ch x"), ":0\r\n");
}

#[test]
fn in_resp3_a_listener_hears_itself_before_the_reply() {
    let server = Server::start();
    let mut client = server.client();
    client.ask("HELLO 3");
    client.ask("SUBSCRIBE ch");
    assert_eq!(client.ask("PUBLISH ch x"), ">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\nx\r\n");
    assert_eq!(client.reply(), b":1\r\n");
    // A command that waits does not hold messages back.
    let mut other = server.client();
    client.send(&support::command(&[b"BLPOP", b"k", b"0"]));
    while !other.ask("INFO clients").contains("blocked_clients:1\r\n") {}
    other.ask("PUBLISH ch y");
    assert_eq!(client.reply(), b">3\r\n$7\r\nmessage\r\n$2\r\nch\r\n$1\r\ny\r\n");
    other.ask("RPUSH k v");
    assert_eq!(client.reply(), b"*2\r\n$1\r\nk\r\n$1\r\nv\r\n");
}

#[test]
fn a_listener_that_takes_nothing_is_closed_at_its_limit() {
    let server = Server::start();
    let (mut listener, mut publisher) = (server.client(), server.client());
    publisher.call(&[b"CONFIG", b"SET", b"client-output-buffer-limit", b"pubsub 9mb 0 0"]);
    listener.ask("SUBSCRIBE ch");
    let payload = vec![b'x'; 1 << 20];
    while publisher.call(&[b"PUBLISH", b"ch", &payload]) != b":0\r\n" {}
    assert!(listener.rest().len() < 64 << 20);
}
