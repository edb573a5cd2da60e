//! The list of connected clients: what one client may see of, and do to, another.

use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicUsize, Ordering};
use std::sync::Arc;

use parking_lot::Mutex;
use stack::ConnectionId;

use crate::command::table::TABLE;
use crate::pubsub::Mailbox;
use crate::waiting::Waiter;

/// The part of a client that others may see. Numbers are written by the client's own core.
pub struct ClientInfo {
    /// Counts all clients since the start, from 1.
    pub id: u64,
    /// The core it is connected to.
    pub core: usize,
    /// Its name among that core's connections.
    pub connection: ConnectionId,
    /// Our end.
    pub local: SocketAddr,
    /// Its end.
    pub remote: SocketAddr,
    /// Unix time in ms when it connected.
    pub created_ms: i64,
    /// Unix time in ms of its last request.
    pub active_ms: AtomicI64,
    /// Selected database.
    pub db: AtomicU32,
    /// RESP version.
    pub resp: AtomicU32,
    /// Commands queued after `MULTI`, or -1.
    pub multi: AtomicI64,
    /// Watched keys.
    pub watched: AtomicU32,
    /// Bytes of an unfinished request.
    pub query_bytes: AtomicUsize,
    /// The last command: its number in the table, and one more than its subcommand's.
    pub command: AtomicU32,
    /// `CLIENT NO-EVICT`.
    pub no_evict: AtomicBool,
    /// How many channels, patterns and shard channels it listens to.
    pub subscriptions: [AtomicU32; 3],
    /// Messages from those.
    pub mailbox: Mutex<Mailbox>,
    /// What it waits for.
    pub waiter: Mutex<Option<Arc<Waiter>>>,
    /// To be closed as soon as its core looks.
    pub killed: AtomicBool,
    /// Has left; its slot in [`CoreClients`] waits for the next one.
    gone: AtomicBool,
    /// `CLIENT SETNAME`, `CLIENT SETINFO`.
    pub names: Mutex<Names>,
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
            core,
            connection,
            local,
            remote,
            created_ms: now_ms,
            active_ms: AtomicI64::new(now_ms),
            db: AtomicU32::new(0),
            resp: AtomicU32::new(2),
            multi: AtomicI64::new(-1),
            watched: AtomicU32::new(0),
            query_bytes: AtomicUsize::new(0),
            command: AtomicU32::new(NO_COMMAND),
            no_evict: AtomicBool::new(false),
            subscriptions: Default::default(),
            mailbox: Mutex::default(),
            waiter: Mutex::default(),
            killed: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            names: Mutex::default(),
        }
    }
    /// The line that `CLIENT LIST` shows, without its end.
    pub fn describe(&self, now_ms: i64, into: &mut Vec<u8>) {
        use std::io::Write;
        let names = self.names.lock().clone();
        let load = |value: &AtomicI64| value.load(Ordering::Relaxed);
        let multi = load(&self.multi);
        let [sub, psub, ssub] = self.subscriptions.each_ref().map(|count| count.load(Ordering::Relaxed));
        let query = self.query_bytes.load(Ordering::Relaxed);
        let _ = write!(
            into,
            "id={} addr={} laddr={} fd={} name=",
            self.id, self.remote, self.local, self.connection.slot
        );
        into.extend_from_slice(&names.name);
        let _ = write!(
            into,
            " age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} qbuf={query} qbuf-free=0 \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem={} events=r cmd={} user=default \
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
            query + size_of::<Self>(),
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
