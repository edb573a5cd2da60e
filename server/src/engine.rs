//! The engine: what all cores and clients share. It opens nothing and reads no clock.

use core::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;

use netcore::Instant;
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::clients::{Client, ClientInfo, CoreClients, Kill};
use crate::command::table::TABLE;
use crate::config::Config;
use crate::core_state::CoreState;
use crate::keyspace::key::KeyHash;
use crate::keyspace::{KeyHasher, Shard};
use crate::output_limit::LiveOutputLimit;
use crate::pubsub::PubSub;
use crate::slowlog::SlowLog;
use crate::stats::CoreStats;

/// Parts of the keyspace, each with a lock: many more than cores, so that two cores seldom meet.
pub const SHARDS: usize = 256;

/// What the engine is given at its start.
pub struct EngineStart {
    /// Unix time in µs at the drivers' `Instant::ZERO`; also the server's start.
    pub unix_us_at_zero: i64,
    /// 16 secret random bytes that key the hash tables.
    pub secret: [u8; 16],
    /// 64 random bits for choices that clients may see (`RANDOMKEY`, run id).
    pub seed: u64,
    /// How many cores will drive it, at least 1.
    pub cores: usize,
    /// A clock in µs, only to measure how long a slow command took (slow log). `None`: the slow
    /// log stays empty.
    pub stopwatch: Option<fn() -> u64>,
}

/// Most keys that one call of [`Engine::expire_some`] removes.
const EXPIRE_MAX: usize = 256;

#[repr(align(128))]
struct Slot(Mutex<Shard>);

/// One core's part that others see.
#[derive(Default)]
pub struct CoreShared {
    /// Counters.
    pub stats: Arc<CoreStats>,
    /// Clients.
    pub clients: CoreClients,
}

/// Settings that are asked for often, as plain numbers beside the [`Config`] they come from.
#[derive(Default)]
pub struct Live {
    /// A password is set.
    pub password: AtomicBool,
    /// `maxclients`
    pub maxclients: AtomicUsize,
    /// `timeout` in seconds, 0: never.
    pub timeout_s: AtomicU64,
    /// `proto-max-bulk-len` in bytes.
    pub bulk_len_max: AtomicI64,
    /// `slowlog-log-slower-than` in µs, negative: never.
    pub slower_than_us: AtomicI64,
    /// `tcp-keepalive` in seconds, 0: never.
    pub tcp_keepalive_s: AtomicU64,
    /// `client-output-buffer-limit` of those who listen to nothing, and of those who do.
    pub output_limits: [LiveOutputLimit; 2],
    /// `client-query-buffer-limit` in bytes.
    pub query_bytes_max: AtomicUsize,
    /// `protected-mode`
    pub protected_mode: AtomicBool,
    /// `DEBUG SET-ACTIVE-EXPIRE`
    pub active_expire: AtomicBool,
}

impl Live {
    /// `client-output-buffer-limit` of a client's class.
    #[inline]
    pub fn output_limit(&self, listens: bool) -> &LiveOutputLimit {
        &self.output_limits[usize::from(listens)]
    }
}

/// Adds a section of its own to `INFO`.
pub type InfoProvider = Arc<dyn Fn(&mut String) + Send + Sync>;

/// How much memory the process has, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct MemoryUse {
    /// Its own, without files and what it shares.
    pub used: u64,
    /// All that lies in the machine's memory.
    pub resident: u64,
    /// The most that ever did.
    pub resident_peak: u64,
    /// What the machine has.
    pub system: u64,
}

/// The firmware as commands see it.
#[derive(Clone, Default)]
pub enum FirmwareView {
    /// There is none: the operating system has the connections.
    #[default]
    Nowhere,
    /// In this process.
    Here(Arc<nic::Shown>),
    /// In another process, or on a card, and that is asked for it.
    Elsewhere,
}

/// Asks the operating system.
pub type MemorySource = fn() -> Option<MemoryUse>;

/// The engine.
pub struct Engine {
    shards: Box<[Slot]>,
    hasher: KeyHasher,
    databases: usize,
    /// The settings in force.
    pub config: RwLock<Config>,
    /// The ones that are asked for often.
    pub live: Live,
    /// One per core.
    pub cores: Vec<CoreShared>,
    /// The slow log.
    pub slowlog: Mutex<SlowLog>,
    /// What the engine was started with.
    pub start: EngineStart,
    /// Shown by `INFO`, chosen at random: 40 hexadecimal digits.
    pub run_id: String,
    unix_us_at_zero: AtomicI64,
    /// Who listens to what.
    pub pubsub: PubSub,
    /// Clients that wait in a command.
    pub blocked: AtomicUsize,
    next_ticket: AtomicU64,
    /// Keys removed by [`Engine::expire_some`]; the cores count those that clients met.
    pub expired_keys: AtomicU64,
    /// Where the next expiry pass begins.
    expire_at_shard: AtomicUsize,
    pub(crate) next_client_id: AtomicU64,
    shutdown: AtomicBool,
    info_provider: RwLock<Option<InfoProvider>>,
    memory_source: RwLock<Option<MemorySource>>,
    firmware: RwLock<FirmwareView>,
}

impl Engine {
    /// An empty keyspace.
    pub fn new(config: Config, start: EngineStart) -> Self {
        let mut rng = netcore::rng::SeededRng::new(start.seed ^ 0x72756e5f6964);
        let run_id: String =
            (0..40).map(|_| char::from(b"0123456789abcdef"[rng.below(16) as usize])).collect();
        let commands = TABLE.rows().len();
        let engine = Self {
            shards: (0..SHARDS).map(|_| Slot(Mutex::new(Shard::new(config.databases)))).collect(),
            hasher: KeyHasher::new(start.secret),
            databases: config.databases,
            live: Live { active_expire: AtomicBool::new(true), ..Live::default() },
            cores: (0..start.cores.max(1))
                .map(|_| CoreShared {
                    stats: Arc::new(CoreStats::new(commands)),
                    clients: CoreClients::default(),
                })
                .collect(),
            slowlog: Mutex::default(),
            unix_us_at_zero: AtomicI64::new(start.unix_us_at_zero),
            start,
            run_id,
            pubsub: PubSub::default(),
            blocked: AtomicUsize::new(0),
            next_ticket: AtomicU64::new(1),
            expired_keys: AtomicU64::new(0),
            expire_at_shard: AtomicUsize::new(0),
            next_client_id: AtomicU64::new(1),
            shutdown: AtomicBool::new(false),
            info_provider: RwLock::new(None),
            memory_source: RwLock::new(None),
            firmware: RwLock::default(),
            config: RwLock::new(config),
        };
        engine.apply_config();
        engine
    }
    /// Copies the settings that are asked for often. After every change of [`Engine::config`].
    pub fn apply_config(&self) {
        let config = self.config.read();
        self.live.password.store(!config.requirepass.is_empty(), Ordering::Relaxed);
        self.live.maxclients.store(config.maxclients, Ordering::Relaxed);
        self.live.timeout_s.store(config.timeout_s, Ordering::Relaxed);
        self.live.tcp_keepalive_s.store(config.tcp_keepalive_s.into(), Ordering::Relaxed);
        for listens in [false, true] {
            self.live.output_limit(listens).set(config.output_limits.of(listens));
        }
        let query_bytes_max = usize::try_from(config.query_buffer_limit).unwrap_or(usize::MAX);
        self.live.query_bytes_max.store(query_bytes_max, Ordering::Relaxed);
        self.hasher.limits.set(&config.limits);
        self.live.protected_mode.store(config.protected_mode, Ordering::Relaxed);
        self.live.bulk_len_max.store(config.proto_max_bulk_len, Ordering::Relaxed);
        self.live.slower_than_us.store(config.slowlog_log_slower_than_us, Ordering::Relaxed);
        self.slowlog.lock().set_len_max(config.slowlog_max_len);
        if let FirmwareView::Here(nic) = self.firmware() {
            nic.change(config.network.of_firmware());
        }
    }
    /// The state that core `core` will own.
    pub fn core_state(&self, core: usize) -> CoreState {
        let seed = self.start.seed.wrapping_add((core as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        CoreState::new(core, self.unix_us_at_zero(), seed, self.cores[core].stats.clone())
    }
    /// Unix time in µs at the drivers' `Instant::ZERO`.
    pub fn unix_us_at_zero(&self) -> i64 {
        self.unix_us_at_zero.load(Ordering::Relaxed)
    }
    /// A driver whose clock starts later than the engine says so before it makes its
    /// [`crate::CoreApp`]s: `unix_us` is the Unix time in µs at its `Instant::ZERO`.
    pub fn set_clock(&self, unix_us: i64) {
        self.unix_us_at_zero.store(unix_us, Ordering::Relaxed);
    }
    /// How many shards there are.
    pub fn shard_count(&self) -> usize {
        self.shards.len()
    }
    /// How many databases there are.
    pub fn databases(&self) -> usize {
        self.databases
    }
    /// The hash of a key.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> KeyHash {
        self.hasher.hash(key)
    }
    /// What hashes the members of collections.
    pub fn hasher(&self) -> &KeyHasher {
        &self.hasher
    }
    /// The shard of a key.
    #[inline]
    pub fn shard_of(&self, hash: KeyHash) -> usize {
        hash.shard as usize & (SHARDS - 1)
    }
    /// Locks shard `index`.
    #[inline]
    pub fn lock(&self, index: usize) -> MutexGuard<'_, Shard> {
        self.shards[index].0.lock()
    }
    /// Clients connected now. Each core counts its own, so that connecting costs no atomic
    /// addition; cores that accept at the same moment may pass `maxclients` by one each.
    #[inline]
    pub fn connected(&self) -> usize {
        self.cores.iter().map(|core| core.clients.count()).sum()
    }
    /// All connected clients, oldest first.
    pub fn clients(&self) -> Vec<Client> {
        let mut clients: Vec<_> = self.cores.iter().flat_map(|core| core.clients.all()).collect();
        clients.sort_by_key(|client| client.who.id);
        clients
    }
    /// A number above all that were given before, for the order of waiters.
    pub fn new_ticket(&self) -> u64 {
        self.next_ticket.fetch_add(1, Ordering::Relaxed)
    }
    /// Has its core look at the client.
    pub fn wake(&self, client: &ClientInfo) {
        self.cores[client.core()].clients.wake(client.connection());
    }
    /// Has the client closed by its core.
    pub fn kill(&self, client: &Client) {
        client.info.kill(client.who.id, Kill::Close);
        self.cores[client.info.core()].clients.wake(client.who.connection);
    }
    /// Removes some of the keys whose time is over by `now` (the drivers' clock). The fronts
    /// call this at least every 100 ms and whenever they have nothing else to do. True: there
    /// may be more; call again soon.
    pub fn expire_some(&self, now: Instant) -> bool {
        if !self.live.active_expire.load(Ordering::Relaxed) {
            return false;
        }
        let now_ms = (self.unix_us_at_zero() + now.micros() as i64) / 1000;
        let first = self.expire_at_shard.load(Ordering::Relaxed);
        let mut removed = 0;
        for step in 0..SHARDS {
            let index = (first + step) % SHARDS;
            let Some(mut shard) = self.shards[index].0.try_lock() else { continue };
            removed += shard.expire(now_ms, EXPIRE_MAX - removed);
            if removed >= EXPIRE_MAX {
                self.expire_at_shard.store(index, Ordering::Relaxed);
                break;
            }
        }
        self.expired_keys.fetch_add(removed as u64, Ordering::Relaxed);
        removed >= EXPIRE_MAX
    }
    /// Somebody has sent `SHUTDOWN`: the fronts stop.
    pub fn shutdown_requested(&self) -> bool {
        self.shutdown.load(Ordering::Acquire)
    }
    /// Asks the fronts to stop.
    pub fn request_shutdown(&self) {
        self.shutdown.store(true, Ordering::Release);
    }
    /// Adds a section to `INFO`: `provider` appends `# Name\r\nfield:value\r\n…`.
    pub fn set_info_provider(&self, provider: InfoProvider) {
        *self.info_provider.write() = Some(provider);
    }
    /// Where `INFO memory` gets its numbers from.
    pub fn set_memory_source(&self, source: MemorySource) {
        *self.memory_source.write() = Some(source);
    }
    /// How much memory the process has, if a front can tell.
    pub fn memory_use(&self) -> Option<MemoryUse> {
        let source = *self.memory_source.read();
        source.and_then(|source| source())
    }
    /// A front with a firmware shows it, or says where it is.
    pub fn set_firmware(&self, view: FirmwareView) {
        *self.firmware.write() = view;
    }
    /// Where the firmware is, for who wants to look into it.
    pub fn firmware(&self) -> FirmwareView {
        self.firmware.read().clone()
    }
    /// What was given to [`Engine::set_info_provider`].
    pub fn info_provider(&self) -> Option<InfoProvider> {
        self.info_provider.read().clone()
    }
}
