//! The server on kernel sockets: whole connections, good and bad.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};

use support::{Server, command};

#[test]
fn a_client_asks_and_is_answered() {
    let server = Server::start();
    let mut client = server.client();
    assert_eq!(client.ask("SET k v"), "+OK\r\n");
    assert_eq!(client.ask("GET k"), "$1\r\nv\r\n");
    client.send(b"PING\r\n  get   \"k\"  \r\n\r\nECHO 'a b'\n");
    assert_eq!(client.reply(), b"+PONG\r\n");
    assert_eq!(client.reply(), b"$1\r\nv\r\n");
    assert_eq!(client.reply(), b"$3\r\na b\r\n");
}

#[test]
fn a_pipeline_is_answered_in_order_however_it_is_cut() {
    let server = Server::start();
    let mut client = server.client();
    let mut requests = Vec::new();
    let mut replies = Vec::new();
    for number in 0..500 {
        let text = format!("value {number}\r\n");
        requests.extend(command(&[b"ECHO", text.as_bytes()]));
        replies.extend(format!("${}\r\n{text}\r\n", text.len()).into_bytes());
    }
    for size in [1, 7, 100, requests.len()] {
        for piece in requests.chunks(size) {
            client.send(piece);
        }
        let mut got = Vec::new();
        while got.len() < replies.len() {
            got.extend(client.reply());
        }
        assert!(got == replies, "in pieces of {size}");
    }
}

#[test]
fn a_large_value_goes_in_and_comes_out() {
    let server = Server::start();
    let mut client = server.client();
    let value: Vec<u8> = (0..64 << 20u32).map(|at| (at >> 3) as u8).collect();
    assert_eq!(client.call(&[b"SET", b"big", &value]), b"+OK\r\n");
    let mut wanted = format!("${}\r\n", value.len()).into_bytes();
    wanted.extend_from_slice(&value);
    wanted.extend_from_slice(b"\r\n");
    assert!(client.call(&[b"GET", b"big"]) == wanted);
    // Asked ten times before the first answer is read: the server holds back, and loses nothing.
    for _ in 0..10 {
        client.send(&command(&[b"GET", b"big"]));
    }
    for _ in 0..10 {
        assert!(client.reply() == wanted);
    }
}

#[test]
fn garbage_gets_redis_text_and_the_connection_is_closed() {
    let server = Server::start();
    for (garbage, answer) in [
        (&b"*x\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$600000000\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*2\r\n$3\r\nGET\r\n!3\r\n", "-ERR Protocol error: expected '$', got '!'\r\n"),
        (b"SET \"open\r\n", "-ERR Protocol error: unbalanced quotes in request\r\n"),
        (b"PING\r\nQUIT\r\nPING\r\n", "+PONG\r\n+OK\r\n"),
    ] {
        let mut client = server.client();
        client.send(garbage);
        assert_eq!(String::from_utf8_lossy(&client.rest()), answer);
    }
    let mut client = server.client();
    client.send(&[b'x'; 65 * 1024]);
    assert_eq!(client.rest(), b"-ERR Protocol error: too big inline request\r\n");
    assert_eq!(server.client().ask("PING"), "+PONG\r\n");
}

#[test]
fn a_truncated_request_followed_by_a_close_hurts_nobody() {
    let server = Server::start();
    let mut other = server.client();
    for cut in 1..30 {
        let mut stream = TcpStream::connect(server.address).unwrap();
        stream.write_all(&command(&[b"SET", b"key", b"a value"])[..cut]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 10]).unwrap(), 0);
    }
    assert_eq!(other.ask("EXISTS key"), ":0\r\n");
    assert_eq!(other.ask("CLIENT KILL SKIPME yes TYPE normal"), ":0\r\n");
}

#[test]
fn passwords_limits_and_kills() {
    let server = Server::with(|config| {
        config.requirepass = "secret".into();
        config.maxclients = 2;
    });
    let mut first = server.client();
    assert_eq!(first.ask("GET k"), "-NOAUTH Authentication required.\r\n");
    assert_eq!(first.ask("AUTH wrong"), "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    assert_eq!(
        first.ask("HELLO 3"),
        "-NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time\r\n"
    );
    assert_eq!(first.ask("AUTH secret"), "+OK\r\n");
    let mut second = server.client();
    assert_eq!(second.ask("AUTH default secret"), "+OK\r\n");
    let mut third = server.client();
    assert_eq!(third.rest(), b"-ERR max number of clients reached\r\n");
    assert_eq!(first.ask("CLIENT KILL SKIPME yes TYPE normal"), ":1\r\n");
    assert_eq!(second.rest(), b"");
    let mut stranger = server.client();
    stranger.send(b"*11\r\n");
    assert_eq!(stranger.rest(), b"-ERR Protocol error: unauthenticated multibulk length\r\n");
    let mut stranger = server.client();
    stranger.send(b"*1\r\n$20000\r\n");
    assert_eq!(stranger.rest(), b"-ERR Protocol error: unauthenticated bulk length\r\n");
}

#[test]
fn replies_can_be_switched_off() {
    let server = Server::start();
    let mut client = server.client();
    client.send(b"CLIENT REPLY OFF\r\nSET k 1\r\nINCR k\r\nCLIENT REPLY ON\r\nGET k\r\n");
    assert_eq!(client.reply(), b"+OK\r\n");
    assert_eq!(client.reply(), b"$1\r\n2\r\n");
    client.send(b"CLIENT REPLY SKIP\r\nINCR k\r\nGET k\r\n");
    assert_eq!(client.reply(), b"$1\r\n3\r\n");
}

#[test]
fn a_busy_port_is_named() {
    let server = Server::start();
    let config = server::Config {
        port: server.address.port(),
        bind: vec!["127.0.0.1".into()],
        ..server::Config::default()
    };
    let error = server::front::kernel::Kernel::bind(&config).err().expect("the port is taken").to_string();
    assert!(error.contains("the port is in use by another program"), "{error}");
}

#[test]
fn shutdown_ends_the_server() {
    let server = Server::start();
    let mut client = server.client();
    client.send(b"SHUTDOWN NOSAVE\r\n");
    assert_eq!(client.rest(), b"");
    server.wait();
}

#[test]
fn threads_that_count_together_lose_nothing() {
    let server = Server::start();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = server.client();
                for _ in 0..200 {
                    client.send(b"INCR n\r\nMULTI\r\nINCR a\r\nINCR b\r\nEXEC\r\nMGET a b\r\n");
                    for _ in 0..5 {
                        client.reply();
                    }
                    let both = String::from_utf8(client.reply()).unwrap();
                    let lines: Vec<&str> = both.split("\r\n").collect();
                    assert_eq!(lines[2], lines[4], "a transaction was seen in part");
                }
            });
        }
    });
    assert_eq!(server.client().ask("GET n"), "$3\r\n800\r\n");
    assert_eq!(server.client().ask("GET b"), "$3\r\n800\r\n");
}
