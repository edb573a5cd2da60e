//! The list of connected clients: what one client may see of, and do to, another.

use core::sync::atomic::{
    AtomicBool, AtomicI32, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
use std::sync::Arc;

use netcore::FourTuple;
use parking_lot::Mutex;
use protocol::ip::Address;
use stack::ConnectionId;

use crate::command::table::TABLE;
use crate::output_limit::SMALL_BYTES;
use crate::pubsub::Mailbox;
use crate::session::Session;
use crate::waiting::Waiter;

/// Who a client is: what never changes while it is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Counts all clients since the start, from 1.
    pub id: u64,
    /// Its name among its core's connections.
    pub connection: ConnectionId,
    /// Our end and its.
    pub ends: FourTuple,
    /// Unix time in ms when it connected.
    pub created_ms: i64,
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
/// have is outside of it. When its client has left, the next one of the same core takes it over,
/// so that short-lived connections neither allocate nor wait for anybody: their core writes and
/// others read, and see by the id whether they have read of one client only.
///
/// Three cache lines, the counts in the first: that one is written with each request, the second when a client comes.
#[repr(C)]
pub struct ClientInfo {
    /// 0: nobody. Written last when a client comes, and first when the next one does.
    id: AtomicU64,
    /// Slot and generation of [`Identity::connection`].
    connection: [AtomicU32; 2],
    created_ms: AtomicI64,
    /// Unix time in ms of its last request.
    pub active_ms: AtomicI64,
    /// Of `local` and of `remote`.
    ports: AtomicU32,
    /// The last command: its number in the table, and one more than its subcommand's.
    pub command: AtomicU32,
    /// Selected database.
    pub db: AtomicU32,
    /// The core it is connected to.
    core: u16,
    /// RESP version.
    pub resp: AtomicU8,
    /// `CLIENT NO-EVICT`.
    pub no_evict: AtomicBool,

    local: [AtomicU64; 2],
    remote: [AtomicU64; 2],
    /// Bytes of an unfinished request, and room behind them.
    query_bytes: [AtomicU32; 2],
    /// Reply bytes that wait for the client to take them, when they are many.
    pub output_bytes: AtomicUsize,
    /// Commands queued after `MULTI`, or -1.
    pub multi: AtomicI32,
    /// How many channels, patterns and shard channels it listens to.
    pub subscriptions: [AtomicU32; 3],

    /// Watched keys; 0 again before its client leaves.
    pub watched: AtomicU32,
    /// Where it is in [`CoreClients`].
    place: AtomicU32,
    /// A [`Kill`] in the lowest two bits, and above them the id of the client that it is meant for:
    /// who comes too late kills nobody.
    killed: AtomicU64,
    /// Messages from what it listens to.
    pub mailbox: Mutex<Option<Box<Mailbox>>>,
    /// What it waits for.
    pub waiter: Mutex<Option<Arc<Waiter>>>,
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
    /// Nobody yet.
    fn new(core: usize) -> Self {
        Self {
            id: AtomicU64::new(0),
            core: core as u16,
            place: AtomicU32::new(0),
            connection: Default::default(),
            local: Default::default(),
            remote: Default::default(),
            ports: AtomicU32::new(0),
            created_ms: AtomicI64::new(0),
            active_ms: AtomicI64::new(0),
            db: AtomicU32::new(0),
            resp: AtomicU8::new(2),
            multi: AtomicI32::new(-1),
            watched: AtomicU32::new(0),
            query_bytes: Default::default(),
            output_bytes: AtomicUsize::new(0),
            command: AtomicU32::new(NO_COMMAND),
            no_evict: AtomicBool::new(false),
            subscriptions: Default::default(),
            mailbox: Mutex::default(),
            waiter: Mutex::default(),
            killed: AtomicU64::new(0),
            names: Mutex::default(),
        }
    }

    /// A client has connected. Only its core may call this.
    #[inline]
    fn begin(&self, who: &Identity) {
        use Ordering::Relaxed;
        self.id.store(0, Relaxed);
        fence(Ordering::Release);
        self.connection[0].store(who.connection.slot, Relaxed);
        self.connection[1].store(who.connection.generation, Relaxed);
        let ends = &who.ends;
        for (cells, addr) in [(&self.local, ends.local_addr), (&self.remote, ends.remote_addr)] {
            let [high, low] = addr.words();
            cells[0].store(high, Relaxed);
            cells[1].store(low, Relaxed);
        }
        self.ports.store(u32::from(ends.local_port) << 16 | u32::from(ends.remote_port), Relaxed);
        self.created_ms.store(who.created_ms, Relaxed);
        self.active_ms.store(who.created_ms, Relaxed);
        self.db.store(0, Relaxed);
        self.resp.store(2, Relaxed);
        self.multi.store(-1, Relaxed);
        self.show_query(0, 0);
        self.output_bytes.store(0, Relaxed);
        self.command.store(NO_COMMAND, Relaxed);
        self.no_evict.store(false, Relaxed);
        self.subscriptions.iter().for_each(|count| count.store(0, Relaxed));
        self.id.store(who.id, Ordering::Release);
    }

    /// Who it is now; `None`: nobody, or another one while this was read.
    fn identity(&self) -> Option<Identity> {
        let id = self.id.load(Ordering::Acquire);
        let address = |cells: &[AtomicU64; 2]| {
            let [high, low] = cells.each_ref().map(|cell| u128::from(cell.load(Ordering::Relaxed)));
            Address::from((high << 64 | low).to_be_bytes())
        };
        let ports = self.ports.load(Ordering::Relaxed);
        let who = Identity {
            id,
            connection: self.connection(),
            ends: FourTuple {
                local_addr: address(&self.local),
                remote_addr: address(&self.remote),
                local_port: (ports >> 16) as u16,
                remote_port: ports as u16,
            },
            created_ms: self.created_ms.load(Ordering::Relaxed),
        };
        (id != 0 && self.is_still(id)).then_some(who)
    }

    /// Whether what was read before was of the client of this id.
    fn is_still(&self, id: u64) -> bool {
        fence(Ordering::Acquire);
        self.id.load(Ordering::Relaxed) == id
    }

    /// [`Identity::id`], for those that the client cannot leave meanwhile.
    pub fn id(&self) -> u64 {
        self.id.load(Ordering::Relaxed)
    }
    /// [`Identity::connection`], likewise.
    pub fn connection(&self) -> ConnectionId {
        let [slot, generation] = self.connection.each_ref().map(|half| half.load(Ordering::Relaxed));
        ConnectionId { slot, generation }
    }
    /// [`Client::describe`], likewise.
    pub fn describe_own(self: &Arc<Self>, now_ms: i64, into: &mut Vec<u8>) {
        if let Some(client) = Client::find(self) {
            client.describe(now_ms, into);
        }
    }
    /// Its end of [`Identity::ends`] as text, likewise.
    pub fn remote(&self) -> String {
        self.identity().map(|who| who.ends.remote().to_string()).unwrap_or_default()
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
    /// Has the client of this id closed when its core next looks; a harder way stays.
    pub fn kill(&self, id: u64, how: Kill) {
        // Ids grow: what is meant for a later client is never overwritten.
        self.killed.fetch_max(id << 2 | how as u64, Ordering::AcqRel);
    }
    /// Whether it is to be closed.
    pub fn killed(&self) -> Kill {
        let killed = self.killed.load(Ordering::Acquire);
        match killed & 0b11 {
            _ if killed >> 2 != self.id() => Kill::No,
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

/// A client as another one finds it.
#[derive(Clone)]
pub struct Client {
    /// Who it was when it was found.
    pub who: Identity,
    /// Its state; another client's once it has left.
    pub info: Arc<ClientInfo>,
}

impl Client {
    /// Who is there now, if anybody is.
    pub fn find(info: &Arc<ClientInfo>) -> Option<Self> {
        Some(Self { who: info.identity()?, info: Arc::clone(info) })
    }
    /// Whether it is still connected, and so whether all that was read of `info` was its.
    pub fn is_here(&self) -> bool {
        self.info.is_still(self.who.id)
    }
    /// Adds the line that `CLIENT LIST` shows, without its end; nothing, and false, when it has left.
    pub fn describe(&self, now_ms: i64, into: &mut Vec<u8>) -> bool {
        use std::io::Write;
        let before = into.len();
        let (who, info) = (&self.who, &*self.info);
        let names = info.names();
        let load = |value: &AtomicI64| value.load(Ordering::Relaxed);
        let multi = info.multi.load(Ordering::Relaxed);
        let [sub, psub, ssub] = info.subscriptions.each_ref().map(|count| count.load(Ordering::Relaxed));
        let [query, query_free] = info.query_bytes.each_ref().map(|bytes| bytes.load(Ordering::Relaxed));
        let mailbox = info.mailbox.lock().as_ref().map_or(0, |mailbox| mailbox.bytes());
        let output = info.output_bytes.load(Ordering::Relaxed) + mailbox;
        // As many blocks as Redis would have.
        let blocks = output.div_ceil(SMALL_BYTES);
        let _ = write!(
            into,
            "id={} addr={} laddr={} fd={} name=",
            who.id,
            who.ends.remote(),
            who.ends.local(),
            who.connection.slot
        );
        into.extend_from_slice(&names.name);
        let _ = write!(
            into,
            " age={} idle={} flags={} db={} sub={sub} psub={psub} ssub={ssub} multi={multi} qbuf={query} qbuf-free={query_free} \
             argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll={blocks} omem={output} tot-mem={} events=r cmd={} user=default \
             redir=-1 resp={}",
            (now_ms - who.created_ms) / 1000,
            (now_ms - load(&info.active_ms)) / 1000,
            match () {
                () if info.waiter.lock().is_some() => "b",
                () if sub + psub + ssub > 0 => "P",
                () if multi >= 0 => "x",
                () => "N",
            },
            info.db.load(Ordering::Relaxed),
            query as usize + query_free as usize + output + size_of::<ClientInfo>() + size_of::<Session>(),
            info.command_name(),
            info.resp.load(Ordering::Relaxed),
        );
        for (label, value) in [(" lib-name=", &names.library), (" lib-ver=", &names.library_version)] {
            if !value.is_empty() {
                into.extend_from_slice(label.as_bytes());
                into.extend_from_slice(value);
            }
        }
        if !self.is_here() {
            into.truncate(before);
            return false;
        }
        true
    }
}

/// Client ids that a core has taken from the engine's for the newcomers of one burst: some at once, since all
/// cores take from the same place.
///
/// Ids grow with time for everybody who can tell (CLIENT ID): nobody has an answer of this burst before it is over,
/// and with it the ids that are left are given back, or skipped when another core has taken further ones.
#[derive(Debug, Default)]
pub(crate) struct Ids {
    next: u64,
    end: u64,
}

impl Ids {
    const AT_ONCE: u64 = 16;

    /// `all`: the next id that no core has taken.
    #[inline]
    pub(crate) fn draw(&mut self, all: &AtomicU64) -> u64 {
        if self.next == self.end {
            self.next = all.fetch_add(Self::AT_ONCE, Ordering::Relaxed);
            self.end = self.next + Self::AT_ONCE;
        }
        self.next += 1;
        self.next - 1
    }

    /// A new burst begins.
    #[inline]
    pub(crate) fn give_back(&mut self, all: &AtomicU64) {
        if self.next != self.end {
            // Whether it succeeds or not: these are not drawn again by this core.
            let _ = all.compare_exchange(self.end, self.next, Ordering::Relaxed, Ordering::Relaxed);
            self.end = self.next;
        }
    }
}

/// One core's clients, and the connections that others want it to look at.
#[derive(Default)]
pub struct CoreClients {
    /// Those that are there, and those whose client has left and whose next one has not come.
    clients: Mutex<Vec<Arc<ClientInfo>>>,
    /// How many are connected. Written by the core alone.
    count: AtomicUsize,
    woken: Mutex<Vec<ConnectionId>>,
    any_woken: AtomicBool,
    /// Called after a connection was put into `woken`, to interrupt a sleep.
    waker: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl CoreClients {
    /// Place for one more client of this core.
    #[cold]
    pub fn more(&self, core: usize) -> Arc<ClientInfo> {
        let info = Arc::new(ClientInfo::new(core));
        let mut clients = self.clients.lock();
        info.place.store(clients.len() as u32, Ordering::Relaxed);
        clients.push(Arc::clone(&info));
        info
    }
    /// A client has connected. Only the owning core may call this.
    #[inline]
    pub fn enter(&self, info: &ClientInfo, who: &Identity) {
        self.count.store(self.count.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        info.begin(who);
    }
    /// A client has left. Only the owning core may call this.
    #[inline]
    pub fn leave(&self, info: &ClientInfo) {
        self.count.store(self.count.load(Ordering::Relaxed) - 1, Ordering::Relaxed);
        info.id.store(0, Ordering::Release);
    }
    /// No further client will use this place.
    #[cold]
    pub fn forget(&self, info: &ClientInfo) {
        let mut clients = self.clients.lock();
        let place = info.place.load(Ordering::Relaxed) as usize;
        clients.swap_remove(place);
        if let Some(moved) = clients.get(place) {
            moved.place.store(place as u32, Ordering::Relaxed);
        }
    }
    /// How many are connected now.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
    /// All clients now.
    pub fn all(&self) -> Vec<Client> {
        self.clients.lock().iter().filter_map(Client::find).collect()
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
    use core::net::SocketAddr;

    use super::*;

    #[test]
    fn ids_grow_from_burst_to_burst_on_whatever_core() {
        let all = AtomicU64::new(1);
        let [mut one, mut other] = [Ids::default(), Ids::default()];
        // With nobody else about, none is skipped.
        for id in 1..=40 {
            assert_eq!(one.draw(&all), id);
            one.give_back(&all);
        }
        let mut drawn: Vec<u64> = (0..20).map(|_| one.draw(&all)).collect();
        // Another core in between.
        drawn.extend((0..3).map(|_| other.draw(&all)));
        one.give_back(&all);
        drawn.extend((0..3).map(|_| one.draw(&all)));
        other.give_back(&all);
        one.give_back(&all);
        drawn.push(other.draw(&all));
        assert!(drawn.is_sorted_by(|before, after| before < after), "{drawn:?}");
    }

    #[test]
    fn sizes_are_pinned() {
        // With the two counts of its `Arc`, what the allocator gives for 192 bytes.
        assert_eq!(size_of::<ClientInfo>(), 176);
        let first_line = 64 - 2 * size_of::<usize>();
        assert_eq!(core::mem::offset_of!(ClientInfo, local), first_line);
        assert_eq!(core::mem::offset_of!(ClientInfo, watched), first_line + 64);
        assert_eq!(size_of::<Session>(), 72);
    }

    #[test]
    fn ends_are_shown_as_addresses_are() {
        let info = Arc::new(ClientInfo::new(0));
        for text in ["198.18.0.1:6379", "[2001:db8::1]:7", "0.0.0.0:0", "[::]:65535"] {
            let address = text.parse().unwrap();
            info.begin(&Identity { ends: FourTuple::between(address, address), ..who(1) });
            assert_eq!(info.remote(), text);
        }
    }

    fn who(id: u64) -> Identity {
        let end = SocketAddr::from(([198, 18, 0, 1], id as u16));
        let connection = ConnectionId { slot: 1, generation: id as u32 };
        Identity { id, connection, ends: FourTuple::between(end, end), created_ms: 5 }
    }

    #[test]
    fn who_takes_a_place_over_is_another_client() {
        let clients = CoreClients::default();
        let info = clients.more(0);
        assert!(clients.all().is_empty(), "nobody yet");
        clients.enter(&info, &who(7));
        let found = clients.all().remove(0);
        assert_eq!((found.who, found.is_here(), clients.count()), (who(7), true, 1));
        let mut line = Vec::new();
        assert!(found.describe(1005, &mut line) && line.starts_with(b"id=7 addr=198.18.0.1:7 "));

        clients.leave(&info);
        assert!(clients.all().is_empty() && !found.is_here());
        clients.enter(&info, &who(9));
        assert_eq!(clients.all()[0].who, who(9));
        line.clear();
        assert!(!found.describe(1005, &mut line) && line.is_empty(), "it is not 7 any more");
        // A kill that was meant for the one before.
        found.info.kill(found.who.id, Kill::Abort);
        assert_eq!(info.killed(), Kill::No);
        info.kill(9, Kill::Close);
        info.kill(7, Kill::Abort);
        assert_eq!(info.killed(), Kill::Close);
        info.kill(9, Kill::Abort);
        assert_eq!(info.killed(), Kill::Abort);
    }

    #[test]
    fn places_that_are_forgotten_leave_the_others_findable() {
        let clients = CoreClients::default();
        let infos: Vec<_> = (0..4).map(|_| clients.more(0)).collect();
        for (id, info) in (1..).zip(&infos) {
            clients.enter(info, &who(id));
        }
        for gone in [1, 3, 0] {
            clients.leave(&infos[gone]);
            clients.forget(&infos[gone]);
        }
        let ids: Vec<u64> = clients.all().iter().map(|client| client.who.id).collect();
        assert_eq!((ids, clients.count()), (vec![3], 1));
    }

    #[test]
    fn readers_never_see_a_mixture_of_two_clients() {
        const CLIENTS: u64 = 60_000;
        let clients = CoreClients::default();
        let info = clients.more(0);
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for id in 1..=CLIENTS {
                    clients.enter(&info, &who(id));
                    std::hint::spin_loop();
                    clients.leave(&info);
                }
                done.store(true, Ordering::Release);
            });
            let mut line = Vec::new();
            while !done.load(Ordering::Acquire) {
                for client in clients.all() {
                    assert_eq!(client.who, who(client.who.id));
                    line.clear();
                    let here = client.describe(1005, &mut line);
                    assert_eq!(here, line.starts_with(format!("id={} ", client.who.id).as_bytes()));
                }
            }
        });
        assert_eq!((clients.count(), clients.all().len()), (0, 0));
    }
}
