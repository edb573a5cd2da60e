//! The list of connected clients: what one client may see of, and do to, another.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use stack::ConnectionId;

use crate::command::table::TABLE;
use crate::output_limit::SMALL_BYTES;
use crate::pubsub::Mailbox;
use crate::session::Session;
use crate::waiting::Waiter;

/// An address and a port in 18 bytes; IPv4 as IPv6 maps it (RFC 4291 §2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    address: [u8; 16],
    port: [u8; 2],
}

impl From<SocketAddr> for Endpoint {
    fn from(at: SocketAddr) -> Self {
        let address = match at.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        Self { address: address.octets(), port: at.port().to_be_bytes() }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ip = Ipv6Addr::from(self.address).to_canonical();
        SocketAddr::new(ip, u16::from_be_bytes(self.port)).fmt(f)
    }
}

/// Whether a client is to be closed as soon as its core looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kill {
    /// No.
    No = 0,
    /// Once its replies are sent.
    Close = 1,
    /// At once: it does not take them (`client-output-buffer-limit`).
    Abort = 2,
}

/// The part of a client that others may see. Numbers are written by the client's own core.
///
/// There is one for each connection: 192 bytes with the counts of its `Arc`, and what few clients
/// have is outside of it.
pub struct ClientInfo {
    /// Counts all clients since the start, from 1.
    pub id: u64,
    /// The core it is connected to.
    core: u32,
    /// Its name among that core's connections.
    pub connection: ConnectionId,
    /// Our end.
    pub local: Endpoint,
    /// Its end.
    pub remote: Endpoint,
    /// Unix time in ms when it connected.
    pub created_ms: i64,
    /// Unix time in ms of its last request.
    pub active_ms: AtomicI64,
    /// Selected database.
    pub db: AtomicU32,
    /// RESP version.
    pub resp: AtomicU32,
    /// Commands queued after `MULTI`, or -1.
    pub multi: AtomicI32,
    /// Watched keys.
    pub watched: AtomicU32,
    /// Bytes of an unfinished request, and room behind them.
    query_bytes: [AtomicU32; 2],
    /// Reply bytes that wait for the client to take them, when they are many.
    pub output_bytes: AtomicUsize,
    /// The last command: its number in the table, and one more than its subcommand's.
    pub command: AtomicU32,
    /// `CLIENT NO-EVICT`.
    pub no_evict: AtomicBool,
    /// How many channels, patterns and shard channels it listens to.
    pub subscriptions: [AtomicU32; 3],
    /// Messages from those.
    pub mailbox: Mutex<Option<Box<Mailbox>>>,
    /// What it waits for.
    pub waiter: Mutex<Option<Arc<Waiter>>>,
    /// A [`Kill`].
    killed: AtomicU8,
    /// Has left; its slot in [`CoreClients`] waits for the next one.
    gone: AtomicBool,
    /// `CLIENT SETNAME`, `CLIENT SETINFO`.
    names: Mutex<Option<Box<Names>>>,
}

/// What a client says of itself.
#[derive(Clone, Debug, Default)]
pub struct Names {
    /// `CLIENT SETNAME`.
    pub name: Vec<u8>,
    /// `CLIENT SETINFO LIB-NAME`.
    pub library: Vec<u8>,
    /// `CLIENT SETINFO LIB-VER`.
    pub library_version: Vec<u8>,
}

/// No command yet, in [`ClientInfo::command`].
pub const NO_COMMAND: u32 = u32::MAX;

impl ClientInfo {
    /// A client that has just connected.
    pub fn new(
        id: u64,
        core: usize,
        connection: ConnectionId,
        local: SocketAddr,
        remote: SocketAddr,
        now_ms: i64,
    ) -> Self {
        Self {
            id,
            core: core as u32,
            connection,
            local: local.into(),
            remote: remote.into(),
            created_ms: now_ms,
            active_ms: AtomicI64::new(now_ms),
            db: AtomicU32::new(0),
            resp: AtomicU32::new(2),
            multi: AtomicI32::new(-1),
            watched: AtomicU32::new(0),
            query_bytes: Default::default(),
            output_bytes: AtomicUsize::new(0),
            command: AtomicU32::new(NO_COMMAND),
            no_evict: AtomicBool::new(false),
            subscriptions: Default::default(),
            mailbox: Mutex::default(),
            waiter: Mutex::default(),
            killed: AtomicU8::new(Kill::No as u8),
            gone: AtomicBool::new(false),
            names: Mutex::default(),
        }
    }
    /// The core it is connected to.
    pub fn core(&self) -> usize {
        self.core as usize
    }
    /// What it says of itself.
    pub fn names(&self) -> Names {
        self.names.lock().as_deref().cloned().unwrap_or_default()
    }
    /// Changes that.
    pub fn rename(&self, change: impl FnOnce(&mut Names)) {
        change(self.names.lock().get_or_insert_default());
    }
    /// Has it closed when its core next looks; a harder way stays.
    pub fn kill(&self, how: Kill) {
        self.killed.fetch_max(how as u8, Ordering::AcqRel);
    }
    /// Whether it is to be closed.
    pub fn killed(&self) -> Kill {
        match self.killed.load(Ordering::Acquire) {
            0 => Kill::No,
            1 => Kill::Close,
            _ => Kill::Abort,
        }
    }
    /// Shows an unfinished request of `len` bytes with room for more.
    pub(crate) fn show_query(&self, len: usize, capacity: usize) {
        let [bytes, room] = &self.query_bytes;
        bytes.store(len as u32, Ordering::Relaxed);
        room.store((capacity - len) as u32, Ordering::Relaxed);
    }
    /// The line that `CLIENT LIST` shows, without its end.
    pub fn describe(&self, now_ms: i64, into: &mut Vec<u8>) {
        use std::io::Write;
        let names = self.names();
        let load = |value: &AtomicI64| value.load(Ordering::Relaxed);
        let multi = self.multi.load(Ordering::Relaxed);
        let [sub, psub, ssub] = self.subscriptions.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [query, query_free] = self.query_bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        let mailbox = self.mailbox.lock().as_ref().map_or(0, |mailbox| mailbox.bytes());
        let output = self.output_bytes.load(Ordering::Relaxed) + mailbox;
        // As many blocks as Redis would have.
        let blocks = output.div_ceil(SMALL_BYTES);
        let _ = write!(
            into,
            "id={} addr={} laddr={} fd={} name=",
            self.id, self.remote, self.local, self.connection.slot
        );
        into.extend_from_slice(&names.name);
        let _ = write!(
            into,
            " age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} qbuf={query} qbuf-free={query_free} \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll={blocks} omem={output} tot-mem={} events=r cmd={} user=default \
             redir=-1 resp={}",
            (now_ms - self.created_ms) / 1000,
            (now_ms - load(&self.active_ms)) / 1000,
            match () {
                () if self.waiter.lock().is_some() => "b",
                () if sub + psub + ssub > 0 => "P",
                () if multi >= 0 => "x",
                () => "N",
            },
            self.db.load(Ordering::Relaxed),
            query as usize + query_free as usize + output + size_of::<Self>() + size_of::<Session>(),
            self.command_name(),
            self.resp.load(Ordering::Relaxed),
        );
        for (label, value) in [(" lib-name=", &names.library), (" lib-ver=", &names.library_version)] {
            if !value.is_empty() {
                into.extend_from_slice(label.as_bytes());
                into.extend_from_slice(value);
            }
        }
    }
    /// Does it listen to something?
    pub fn listens(&self) -> bool {
        self.subscriptions.iter().any(|count| count.load(Ordering::Relaxed) > 0)
    }
    fn command_name(&self) -> &'static str {
        let command = self.command.load(Ordering::Relaxed);
        if command == NO_COMMAND {
            return "NULL";
        }
        let row = TABLE.rows()[(command >> 8) as usize].command;
        match (command & 0xff) as usize {
            0 => row.name,
            sub => row.subcommands[sub - 1].name,
        }
    }
}

/// One core's clients, and the connections that others want it to look at.
#[derive(Default)]
pub struct CoreClients {
    /// Each at its connection's slot. Who has left stays until the slot's next client takes the
    /// memory over, so that short-lived connections neither allocate nor hash.
    clients: Mutex<Vec<Option<Arc<ClientInfo>>>>,
    /// How many are connected. Written by the core alone.
    count: AtomicUsize,
    woken: Mutex<Vec<ConnectionId>>,
    any_woken: AtomicBool,
    /// Called after a connection was put into `woken`, to interrupt a sleep.
    waker: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl CoreClients {
    /// A client has connected. Only the owning core may call this.
    pub fn add(&self, client: ClientInfo) -> Arc<ClientInfo> {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        let mut clients = self.clients.lock();
        let slot = client.connection.slot as usize;
        if slot >= clients.len() {
            clients.resize_with(slot + 1, || None);
        }
        let info = match clients[slot].take() {
            None => Arc::new(client),
            Some(mut info) => match Arc::get_mut(&mut info) {
                Some(memory) => {
                    *memory = client;
                    info
                }
                None => Arc::new(client),
            },
        };
        clients[slot] = Some(Arc::clone(&info));
        info
    }
    /// A client is gone. Only the owning core may call this.
    pub fn remove(&self, client: &ClientInfo) {
        self.count.store(self.count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        client.gone.store(true, Ordering::Release);
    }
    /// How many are connected now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
    /// All clients now.
    pub fn all(&self) -> Vec<Arc<ClientInfo>> {
        let here = |client: &&Arc<ClientInfo>| !client.gone.load(Ordering::Acquire);
        self.clients.lock().iter().flatten().filter(here).cloned().collect()
    }
    /// Asks the core to look at a connection of its.
    pub fn wake(&self, connection: ConnectionId) {
        self.woken.lock().push(connection);
        self.any_woken.store(true, Ordering::Release);
        if let Some(waker) = &*self.waker.lock() {
            waker();
        }
    }
    /// What interrupts the core's sleep.
    pub fn set_waker(&self, waker: Box<dyn Fn() + Send>) {
        *self.waker.lock() = Some(waker);
    }
    /// Moves the connections to look at to `into`.
    #[inline]
    pub fn take_woken(&self, into: &mut Vec<ConnectionId>) {
        if self.any_woken.load(Ordering::Relaxed) {
            self.any_woken.store(false, Ordering::Release);
            into.append(&mut self.woken.lock());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_pinned() {
        // With the two counts of its `Arc`, what the allocator gives for 192 bytes.
        assert_eq!(size_of::<ClientInfo>(), 176);
        assert_eq!(size_of::<Session>(), 72);
    }

    #[test]
    fn endpoints_are_shown_as_addresses_are() {
        for text in ["198.18.0.1:6379", "[2001:db8::1]:7", "0.0.0.0:0", "[::]:65535"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Endpoint::from(address).to_string(), text);
        }
        assert_eq!(size_of::<Endpoint>(), 18);
    }
}
