//! Every way in which a connection ends, with each of its packets lost once, wherever the firmware runs.

#![allow(missing_docs)]

mod common;

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use common::external::Pair;
use common::{Setup, Site, exchange, read_to_end};
use e2e::lab::Lab;
use e2e::{Faults, Link};

const SETUPS: [Setup; 5] = [
    Setup { scheme: "packet", offload: "none", nic: "embedded" },
    Setup { scheme: "packet", offload: "none", nic: "external" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "embedded" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "inline" },
    Setup { scheme: "packet", offload: "lifecycle", nic: "external" },
];

/// Who says goodbye first, and how.
#[derive(Clone, Copy, Debug)]
enum Close {
    /// The client closes an idle connection.
    Client,
    /// The client sends a last request with its FIN right behind, and reads the reply.
    ClientWithRequest,
    /// The server closes after the reply to QUIT.
    Server,
    /// The server is told to by somebody else, and the client closes before it knows.
    Both,
}

/// Delay of the wire: long enough that what both sides do at once crosses on the way.
const DELAY: Duration = Duration::from_millis(5);

/// Ends a connection that has been used.
fn close(how: Close, mut stream: TcpStream, bystander: &mut TcpStream, id: &str) -> Result<()> {
    match how {
        Close::Client => Ok(()),
        Close::ClientWithRequest => {
            stream.write_all(b"PING\r\n")?;
            stream.shutdown(Shutdown::Write)?;
            let got = read_to_end(&mut stream)?;
            ensure!(got == b"+PONG\r\n", "{:?}", common::text(&got));
            Ok(())
        }
        Close::Server => {
            stream.write_all(b"QUIT\r\n")?;
            let got = read_to_end(&mut stream)?;
            ensure!(got == b"+OK\r\n", "{:?}", common::text(&got));
            Ok(())
        }
        Close::Both => {
            bystander.write_all(format!("CLIENT KILL ID {id}\r\n").as_bytes())?;
            // The server's FIN is on its way now; were it not, this would be another good close.
            std::thread::sleep(DELAY);
            drop(stream);
            exchange(bystander, b"", b":1\r\n")
        }
    }
}

/// State of a socket of the calling thread's namespace, as /proc/net/tcp has it.
fn kernel_state(local_port: u16) -> Result<Option<u8>> {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp")?;
    let port = format!(":{local_port:04X}");
    let mut rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let row = rows.find(|row| row.get(1).is_some_and(|local| local.ends_with(&port)));
    let state = row.and_then(|row| row.get(3).copied());
    state.map(|state| u8::from_str_radix(state, 16).context("a state that is no number")).transpose()
}

/// Waits until the client's kernel is done with a connection.
fn client_is_done(local_port: u16) -> Result<()> {
    const TIME_WAIT: u8 = 6;
    while kernel_state(local_port)?.is_some_and(|state| state != TIME_WAIT) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits until the server holds no connection but the one that asks.
fn server_is_done(site: &Site, bystander: &mut TcpStream) -> Result<()> {
    loop {
        let info = common::info(bystander)?;
        let field = |name: &str| common::field(&info, name);
        // INFO does not see into another process.
        let is_seen = site.setup.offload == "lifecycle" && site.setup.nic != "external";
        let firmware = if is_seen { field("firmware_flows_now")? } else { 1 };
        if field("stack_connections_now")? == 1 && firmware == 1 && field("connected_clients")? == 1 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn each_packet_of_a_close_is_lost_once() -> Result<()> {
    for setup in SETUPS {
        let link = Link { delay: DELAY, ..Link::default() };
        let lab = Lab::with_faults(Faults::both(link, 1))?;
        match setup.nic {
            "external" => lose_each_packet(&Pair::in_lab(lab, setup, &[], &[])?.site),
            _ => lose_each_packet(&Site::in_lab(lab, setup, &[])?),
        }
        .with_context(|| format!("{setup:?}"))?;
    }
    Ok(())
}

fn lose_each_packet(site: &Site) -> Result<()> {
    let wire = site.lab.wire().context("the laboratory has a wire")?;
    site.connected(|mut bystander| {
        exchange(&mut bystander, b"PING\r\n", b"+PONG\r\n")?;
        for how in [Close::Client, Close::ClientWithRequest, Close::Server, Close::Both] {
            let mut lost = 0;
            for nth in 1.. {
                let mut stream = common::connect()?;
                let id = common::reply_line(&mut stream, b"CLIENT ID\r\n")?;
                let port = stream.local_addr()?.port();
                wire.lose_nth(port, nth);
                close(how, stream, &mut bystander, id.trim_start_matches(':'))?;
                client_is_done(port).with_context(|| format!("{how:?}, packet {nth} lost"))?;
                server_is_done(site, &mut bystander)?;
                if !wire.has_lost() {
                    break;
                }
                lost = nth;
            }
            eprintln!("{:?} {how:?}: each of {lost} packets was lost once", site.setup);
            ensure!(lost >= 3, "{how:?}: a close has at least three packets, and {lost} were lost");
        }
        Ok(())
    })
}
