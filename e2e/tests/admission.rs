//! Whom the firmware lets in: `maxclients` with real clients of a kernel, and what those hear who are too many.

#![allow(missing_docs)]

mod common;

use std::io::ErrorKind;
use std::net::TcpStream;

use anyhow::{Result, ensure};
use common::{Setup, Site, exchange, field, info, read_to_end};
use e2e::lab::SERVER_ADDRESS;

const PING: &[u8] = b"PING\r\n";
const PONG: &[u8] = b"+PONG\r\n";
const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

/// Asks over a connection that is there until a field of INFO has grown to this.
fn wait_for(stream: &mut TcpStream, name: &str, least: u64) -> Result<()> {
    while field(&info(stream)?, name)? < least {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Ok(())
}

/// The host has been told of exactly so many connections since its start.
fn told_of(stream: &mut TcpStream, count: u64) -> Result<()> {
    wait_for(stream, "stack_channel_established", count)?;
    // What would be on its way in spite of all has come by then.
    std::thread::sleep(std::time::Duration::from_millis(50));
    let now = field(&info(stream)?, "stack_channel_established")?;
    ensure!(now == count, "the host was told of {now} connections instead of {count}");
    Ok(())
}

fn connect() -> Result<TcpStream> {
    let mut stream = common::connect()?;
    exchange(&mut stream, PING, PONG)?;
    Ok(stream)
}

#[test]
fn who_comes_on_top_never_reaches_the_host() -> Result<()> {
    for nic in ["embedded", "inline"] {
        for refuse in ["error", "reset", "silence"] {
            eprintln!("{nic}, {refuse}");
            let setup = Setup { scheme: "packet", offload: "lifecycle", nic };
            let site = Site::new(setup, &["--maxclients", "2", "--refuse", refuse])?;
            site.connected(|mut first| {
                exchange(&mut first, PING, PONG)?;
                let second = connect()?;
                // Counters are shown a moment later.
                wait_for(&mut first, "stack_channel_established", 2)?;
                let third = match refuse {
                    "error" => {
                        let mut third = common::connect()?;
                        exchange(&mut third, PING, FULL)?;
                        ensure!(read_to_end(&mut third)?.is_empty(), "it ends behind the error");
                        None
                    }
                    "reset" => {
                        let refused =
                            TcpStream::connect((SERVER_ADDRESS, 6379)).map_err(|error| error.kind());
                        ensure!(refused.is_err_and(|kind| kind == ErrorKind::ConnectionRefused));
                        None
                    }
                    // Its kernel repeats the SYN until there is room.
                    _ => Some(std::thread::scope(|scope| {
                        let third = scope.spawn(connect);
                        wait_for(&mut first, "firmware_refused_silently", 1)?;
                        told_of(&mut first, 2)?;
                        drop(second);
                        third.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
                    })?),
                };
                wait_for(&mut first, "firmware_connections_max", 1)?;
                told_of(&mut first, 2 + u64::from(third.is_some()))?;
                // The limit can be lifted, and who is there stays.
                exchange(&mut first, b"CONFIG SET maxclients 3\r\n", b"+OK\r\n")?;
                loop {
                    let answer = common::connect()
                        .ok()
                        .and_then(|mut stream| common::reply_line(&mut stream, PING).ok());
                    if answer.as_deref() == Some("+PONG") {
                        break;
                    }
                }
                exchange(&mut first, PING, PONG)
            })?;
        }
    }
    Ok(())
}
