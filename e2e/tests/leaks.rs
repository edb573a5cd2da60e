//! Whatever comes and goes, nothing stays behind.

#![allow(missing_docs)]

mod common;

use anyhow::{Result, ensure};
use common::{Setup, Site, USUAL, exchange};

/// Waits until the only connection left is the one that asks.
fn nothing_left(site: &Site, mbufs_before: u64) -> Result<()> {
    site.wait_for_info("connected_clients", |count| count == 1)?;
    site.wait_for_info("stack_connections_now", |count| count <= 1)?;
    if site.setup.offload == "lifecycle" {
        site.wait_for_info("firmware_flows_now", |count| count <= 1)?;
    }
    // One connection asking means a handful of frames on their way.
    site.wait_for_info("device_mbufs_in_use", |count| count <= mbufs_before + 64)?;
    Ok(())
}

#[test]
fn a_hundred_thousand_short_connections_leave_nothing() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &["--time-wait", "1"])?;
        let mbufs = site.info("device_mbufs_in_use")?;
        site.loadgen(&["--requests-per-connection", "1", "--requests", "100000", "--connections", "32"])?;
        nothing_left(&site, mbufs)?;
        site.loadgen(&[
            "--requests-per-connection",
            "1",
            "--requests",
            "20000",
            "--connections",
            "32",
            "--closes",
            "server",
        ])?;
        nothing_left(&site, mbufs)?;
        let time_wait =
            if setup.offload == "lifecycle" { "firmware_time_wait_now" } else { "stack_time_wait_now" };
        site.wait_for_info(time_wait, |count| count == 0)?;
    }
    Ok(())
}

#[test]
fn a_thousand_at_once_leave_nothing() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let mbufs = site.info("device_mbufs_in_use")?;
        site.lab.within(site.client_side(), || {
            let mut streams = (0..1000).map(|_| common::connect()).collect::<Result<Vec<_>>>()?;
            for stream in &mut streams {
                exchange(stream, b"*1\r\n$4\r\nPING\r\n", b"+PONG\r\n")?;
            }
            Ok(())
        })?;
        nothing_left(&site, mbufs)?;
    }
    Ok(())
}

#[test]
fn resets_and_silent_clients_leave_nothing() -> Result<()> {
    for setup in USUAL {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        let mbufs = site.info("device_mbufs_in_use")?;
        site.lab.within(site.client_side(), || {
            for round in 0..200 {
                let mut stream = common::connect()?;
                match round % 4 {
                    // Never says anything.
                    0 => {}
                    // Half a command.
                    1 => std::io::Write::write_all(&mut stream, b"*2\r\n$3\r\nGET\r\n$100\r\nabc")?,
                    // A whole one whose answer nobody waits for.
                    2 => std::io::Write::write_all(&mut stream, b"*1\r\n$4\r\nPING\r\n")?,
                    _ => exchange(&mut stream, b"PING\r\n", b"+PONG\r\n")?,
                }
                if round % 2 == 0 {
                    reset_on_close(&stream)?;
                }
            }
            Ok(())
        })?;
        nothing_left(&site, mbufs)?;
    }
    Ok(())
}

/// Makes the kernel send RST instead of FIN when the socket is closed.
fn reset_on_close(stream: &std::net::TcpStream) -> Result<()> {
    use std::os::fd::AsRawFd;
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    // SAFETY: the descriptor is open, and option value and length describe one `linger`.
    let status = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of::<libc::linger>() as libc::socklen_t,
        )
    };
    ensure!(status == 0, "{}", std::io::Error::last_os_error());
    Ok(())
}

#[test]
fn a_client_that_shuts_down_its_side_still_gets_its_replies() -> Result<()> {
    let more = Setup { scheme: "packet", offload: "lifecycle", nic: "inline" };
    for setup in [USUAL[0], USUAL[1], more] {
        eprintln!("{setup:?}");
        let site = Site::new(setup, &[])?;
        site.connected(|mut stream| {
            std::io::Write::write_all(&mut stream, &b"PING\r\n".repeat(1000))?;
            stream.shutdown(std::net::Shutdown::Write)?;
            let got = common::read_to_end(&mut stream)?;
            ensure!(got == b"+PONG\r\n".repeat(1000), "{} bytes of 7000", got.len());
            Ok(())
        })?;
    }
    Ok(())
}
