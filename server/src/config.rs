//! The directives of `redis.conf`.

/// The settings in force.
#[derive(Clone, Debug)]
pub struct Config {
    /// `databases`
    pub databases: usize,
    /// `requirepass`
    pub requirepass: String,
    /// `maxclients`
    pub maxclients: usize,
    /// `timeout`, seconds
    pub timeout_s: u64,
    /// `proto-max-bulk-len`, bytes
    pub proto_max_bulk_len: i64,
    /// `slowlog-log-slower-than`, µs
    pub slowlog_log_slower_than_us: i64,
    /// `slowlog-max-len`
    pub slowlog_max_len: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            databases: 16,
            requirepass: String::new(),
            maxclients: 10000,
            timeout_s: 0,
            proto_max_bulk_len: 512 * 1024 * 1024,
            slowlog_log_slower_than_us: 10_000,
            slowlog_max_len: 128,
        }
    }
}
