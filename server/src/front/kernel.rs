//! The front on ordinary kernel sockets: for laptops, and as the baseline.
//!
//! One thread per core, each with its own poll and connections; all accept from the same
//! listening sockets. A connection stays on the thread that accepted it.

mod connection;
mod worker;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};

use crate::{Config, Engine};
use worker::Worker;

/// Why the front could not start, or ended.
#[derive(Debug)]
pub enum Error {
    /// An address cannot be listened on.
    Bind {
        /// The address and port.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A word after `bind` that is no address.
    NoAddress(String),
    /// The operating system refused something else.
    System(io::Error),
}

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind { address, error } if error.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "cannot listen on {address}: the port is in use by another program; choose another with --port, or \
                 stop that program (ss -ltnp 'sport = :{}' shows it)",
                address.port()
            ),
            Self::Bind { address, error } if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "cannot listen on {address}: ports below 1024 need root or CAP_NET_BIND_SERVICE; choose another with --port"
            ),
            Self::Bind { address, error } => write!(f, "cannot listen on {address}: {error}"),
            Self::NoAddress(word) => {
                write!(f, "bind: '{word}' is not an IP address (write 127.0.0.1, ::1, or * for all)")
            }
            Self::System(error) => write!(f, "kernel sockets: {error}"),
        }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

/// Listening sockets, before anybody serves on them.
pub struct Kernel {
    listeners: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Kernel {
    /// Listens on `config.bind` and `config.port`; port 0 takes one that is free, the same for
    /// all addresses.
    ///
    /// # Errors
    /// See [`Error`]. An address that begins with `-` is skipped when it does not exist.
    pub fn bind(config: &Config) -> Result<Self, Error> {
        let mut kernel = Self { listeners: Vec::new(), addresses: Vec::new() };
        let mut port = config.port;
        for word in &config.bind {
            let (optional, name) = word.strip_prefix('-').map_or((false, word.as_str()), |name| (true, name));
            let ip = match name {
                "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                "::*" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                other => other.parse().map_err(|_| Error::NoAddress(word.clone()))?,
            };
            let address = SocketAddr::new(ip, port);
            match listen(address, config.tcp_backlog) {
                Ok(listener) => {
                    let bound = listener.local_addr()?;
                    port = bound.port();
                    kernel.addresses.push(bound);
                    kernel.listeners.push(listener);
                }
                Err(error) if optional && !matches!(error.kind(), io::ErrorKind::AddrInUse) => {}
                Err(error) => return Err(Error::Bind { address, error }),
            }
        }
        Ok(kernel)
    }

    /// Where clients can connect.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Serves until `stop` is set or a client sends `SHUTDOWN`, with one thread for each of the
    /// engine's cores.
    ///
    /// # Errors
    /// A thread or its poll cannot be made; nothing has been served then.
    pub fn run(self, engine: &Arc<Engine>, stop: &AtomicBool) -> Result<(), Error> {
        let started = std::time::Instant::now();
        engine.set_clock(super::unix_us());
        engine.set_memory_source(super::memory::memory_use);
        let mut workers = Vec::new();
        for core in 0..engine.cores.len() {
            workers.push(Worker::new(engine.clone(), core, &self.listeners, started)?);
        }
        let broken = std::thread::scope(|scope| {
            let (first, others) = workers.split_first_mut().expect("an engine has a core");
            let handles: Vec<_> = others
                .iter_mut()
                .enumerate()
                .map(|(index, worker)| {
                    std::thread::Builder::new()
                        .name(format!("mayfly-{}", index + 1))
                        .spawn_scoped(scope, move || worker.serve(stop))
                })
                .collect();
            let mut results =
                vec![if handles.iter().all(Result::is_ok) { first.serve(stop) } else { Ok(()) }];
            if results[0].is_err() || handles.iter().any(Result::is_err) {
                stop.store(true, Ordering::Relaxed);
            }
            for handle in handles {
                results.push(handle.and_then(|handle| {
                    handle.join().unwrap_or_else(|_| Err(io::Error::other("a serving thread panicked")))
                }));
            }
            results
        });
        broken.into_iter().collect::<io::Result<()>>().map_err(Error::System)
    }
}

fn listen(address: SocketAddr, backlog: u32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
