//! Directives of Redis that tune what does not exist here, or what needs no tuning here.
//!
//! Any value of the right kind is taken and shown by `CONFIG GET`, and nothing follows from it.
//! The feature itself has a directive of its own in [`super::directives`], which refuses to
//! switch it on: `appendonly yes` is an error, `appendfsync always` is harmless.

use super::directives::{When, memory, one, single};

/// What values an inert directive takes.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    /// `yes` or `no`.
    Bool,
    /// A whole number in this range.
    Number(i64, i64),
    /// A size in bytes.
    Memory,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Some of these words.
    SomeOf(&'static [&'static str]),
    /// One text.
    Text,
    /// Any number of words.
    Words,
}
use Takes::{Bool, Memory, Number, OneOf, SomeOf, Text, Words};

/// A row: the name, an older name for the same, the default, what it takes, when.
pub(super) struct Inert {
    pub(super) name: &'static str,
    pub(super) alias: &'static str,
    pub(super) default: &'static str,
    pub(super) takes: Takes,
    pub(super) when: When,
}

const fn row(name: &'static str, default: &'static str, takes: Takes) -> Inert {
    Inert { name, alias: "", default, takes, when: When::Always }
}
const fn start(name: &'static str, default: &'static str, takes: Takes) -> Inert {
    Inert { name, alias: "", default, takes, when: When::Start }
}
const fn two(name: &'static str, alias: &'static str, default: &'static str, takes: Takes) -> Inert {
    Inert { name, alias, default, takes, when: When::Always }
}

const INT: Takes = Number(0, i32::MAX as i64);
const PORT: Takes = Number(0, 65535);
const LONG: Takes = Number(0, i64::MAX);
const SHUTDOWN: Takes = SomeOf(&["default", "save", "nosave", "now", "force"]);

pub(super) static INERT: &[Inert] = &[
    // The event loop and the process.
    row("hz", "10", Number(1, 500)),
    row("dynamic-hz", "yes", Bool),
    row("activerehashing", "yes", Bool),
    row("active-expire-effort", "1", Number(1, 10)),
    two("busy-reply-threshold", "lua-time-limit", "5000", INT),
    row("shutdown-timeout", "10", INT),
    row("shutdown-on-sigint", "default", SHUTDOWN),
    row("shutdown-on-sigterm", "default", SHUTDOWN),
    start("io-threads", "1", Number(1, 128)),
    start("io-threads-do-reads", "no", Bool),
    row("max-new-connections-per-cycle", "10", Number(1, 1000)),
    start("syslog-ident", "redis", Text),
    start("syslog-facility", "local0", Text),
    start("always-show-logo", "no", Bool),
    start("set-proc-title", "yes", Bool),
    row("proc-title-template", "{title} {listen-addr} {server-mode}", Text),
    row("crash-log-enabled", "yes", Bool),
    row("crash-memcheck-enabled", "yes", Bool),
    row("jemalloc-bg-thread", "yes", Bool),
    start("disable-thp", "yes", Bool),
    row("oom-score-adj-values", "0 200 800", Words),
    row("ignore-warnings", "", Text),
    row("locale-collate", "", Text),
    row("socket-mark-id", "0", LONG),
    start("unixsocketperm", "0", LONG),
    start("enable-protected-configs", "no", OneOf(&["no", "yes", "local"])),
    start("enable-module-command", "no", OneOf(&["no", "yes", "local"])),
    row("acllog-max-len", "128", LONG),
    row("acl-pubsub-default", "resetchannels", OneOf(&["resetchannels", "allchannels"])),
    row("tracking-table-max-keys", "1000000", LONG),
    row("latency-tracking-info-percentiles", "50 99 99.9", Words),
    // Freeing and encoding of values.
    row("lazyfree-lazy-eviction", "no", Bool),
    row("lazyfree-lazy-expire", "no", Bool),
    row("lazyfree-lazy-server-del", "no", Bool),
    row("lazyfree-lazy-user-del", "no", Bool),
    row("lazyfree-lazy-user-flush", "no", Bool),
    two("replica-lazy-flush", "slave-lazy-flush", "no", Bool),
    row("maxmemory-samples", "5", Number(1, 64)),
    row("maxmemory-eviction-tenacity", "10", Number(0, 100)),
    row("lfu-log-factor", "10", INT),
    row("lfu-decay-time", "1", INT),
    row("active-defrag-cycle-min", "1", Number(1, 99)),
    row("active-defrag-cycle-max", "25", Number(1, 99)),
    row("active-defrag-threshold-lower", "10", Number(0, 1000)),
    row("active-defrag-threshold-upper", "100", Number(0, 1000)),
    row("active-defrag-ignore-bytes", "104857600", Memory),
    row("active-defrag-max-scan-fields", "1000", Number(1, i64::MAX)),
    row("list-compress-depth", "0", INT),
    row("hll-sparse-max-bytes", "3000", Memory),
    row("stream-node-max-bytes", "4096", Memory),
    row("stream-node-max-entries", "100", LONG),
    // Persistence.
    row("dir", ".", Text),
    row("dbfilename", "dump.rdb", Text),
    row("rdbcompression", "yes", Bool),
    start("rdbchecksum", "yes", Bool),
    row("rdb-del-sync-files", "no", Bool),
    row("rdb-save-incremental-fsync", "yes", Bool),
    row("sanitize-dump-payload", "no", OneOf(&["no", "yes", "clients"])),
    row("stop-writes-on-bgsave-error", "yes", Bool),
    row("appendfsync", "everysec", OneOf(&["everysec", "always", "no"])),
    start("appendfilename", "appendonly.aof", Text),
    start("appenddirname", "appendonlydir", Text),
    row("no-appendfsync-on-rewrite", "no", Bool),
    row("auto-aof-rewrite-percentage", "100", INT),
    row("auto-aof-rewrite-min-size", "67108864", Memory),
    row("aof-load-truncated", "yes", Bool),
    row("aof-use-rdb-preamble", "yes", Bool),
    row("aof-timestamp-enabled", "no", Bool),
    row("aof-rewrite-incremental-fsync", "yes", Bool),
    row("aof-disable-auto-gc", "no", Bool),
    // Replication.
    row("masterauth", "", Text),
    row("masteruser", "", Text),
    two("replica-serve-stale-data", "slave-serve-stale-data", "yes", Bool),
    two("replica-read-only", "slave-read-only", "yes", Bool),
    two("replica-priority", "slave-priority", "100", INT),
    two("replica-announce-ip", "slave-announce-ip", "", Text),
    two("replica-announce-port", "slave-announce-port", "0", PORT),
    two("replica-ignore-maxmemory", "slave-ignore-maxmemory", "yes", Bool),
    row("replica-announced", "yes", Bool),
    row("replica-ignore-disk-write-errors", "no", Bool),
    row("propagation-error-behavior", "ignore", OneOf(&["ignore", "panic", "panic-on-replicas"])),
    row("repl-diskless-sync", "yes", Bool),
    row("repl-diskless-sync-delay", "5", INT),
    row("repl-diskless-sync-max-replicas", "0", INT),
    row("repl-diskless-load", "disabled", OneOf(&["disabled", "on-empty-db", "swapdb"])),
    row("repl-disable-tcp-nodelay", "no", Bool),
    two("repl-ping-replica-period", "repl-ping-slave-period", "10", Number(1, i32::MAX as i64)),
    row("repl-timeout", "60", Number(1, i32::MAX as i64)),
    row("repl-backlog-size", "1048576", Memory),
    row("repl-backlog-ttl", "3600", LONG),
    two("min-replicas-to-write", "min-slaves-to-write", "0", Number(0, 0)),
    two("min-replicas-max-lag", "min-slaves-max-lag", "10", INT),
    // Clustering.
    start("cluster-config-file", "nodes.conf", Text),
    start("cluster-port", "0", PORT),
    row("cluster-node-timeout", "15000", LONG),
    row("cluster-announce-ip", "", Text),
    row("cluster-announce-hostname", "", Text),
    row("cluster-announce-human-nodename", "", Text),
    row("cluster-announce-port", "0", PORT),
    row("cluster-announce-bus-port", "0", PORT),
    row("cluster-announce-tls-port", "0", PORT),
    two("cluster-replica-validity-factor", "cluster-slave-validity-factor", "10", INT),
    two("cluster-replica-no-failover", "cluster-slave-no-failover", "no", Bool),
    row("cluster-migration-barrier", "1", INT),
    row("cluster-allow-replica-migration", "yes", Bool),
    row("cluster-require-full-coverage", "yes", Bool),
    row("cluster-allow-reads-when-down", "no", Bool),
    row("cluster-allow-pubsubshard-when-down", "yes", Bool),
    row("cluster-link-sendbuf-limit", "0", Memory),
    row("cluster-preferred-endpoint-type", "ip", OneOf(&["ip", "hostname", "unknown-endpoint"])),
    // TLS.
    row("tls-cluster", "no", Bool),
    row("tls-replication", "no", Bool),
    row("tls-auth-clients", "yes", OneOf(&["no", "yes", "optional"])),
    row("tls-prefer-server-ciphers", "no", Bool),
    row("tls-session-caching", "yes", Bool),
    row("tls-session-cache-size", "20480", INT),
    row("tls-session-cache-timeout", "300", INT),
    row("tls-cert-file", "", Text),
    row("tls-key-file", "", Text),
    row("tls-key-file-pass", "", Text),
    row("tls-client-cert-file", "", Text),
    row("tls-client-key-file", "", Text),
    row("tls-client-key-file-pass", "", Text),
    row("tls-dh-params-file", "", Text),
    row("tls-ca-cert-file", "", Text),
    row("tls-ca-cert-dir", "", Text),
    row("tls-protocols", "", Text),
    row("tls-ciphers", "", Text),
    row("tls-ciphersuites", "", Text),
];

impl Takes {
    /// The value that `values` mean, as `CONFIG GET` shows it.
    pub(super) fn read(self, values: &[String]) -> Result<String, String> {
        let known = |words: &[&'static str], given: &str| {
            words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(given))
                .map(|word| (*word).to_string())
                .ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", ")))
        };
        match self {
            Bool => yes_or_no(values).map(|yes| if yes { "yes" } else { "no" }.into()),
            Number(min, max) => one(values, min, max).map(|number| number.to_string()),
            Memory => memory(single(values)?).map(|bytes| bytes.to_string()),
            OneOf(words) => known(words, single(values)?),
            SomeOf(words) => {
                let given = values.iter().flat_map(|value| value.split_ascii_whitespace());
                let chosen: Result<Vec<String>, String> = given.map(|word| known(words, word)).collect();
                chosen.map(|chosen| chosen.join(" "))
            }
            Text => single(values).map(str::to_string),
            Words => Ok(values.join(" ")),
        }
    }
}

/// `yes` or `no`.
pub(super) fn yes_or_no(values: &[String]) -> Result<bool, String> {
    match single(values)? {
        value if value.eq_ignore_ascii_case("yes") => Ok(true),
        value if value.eq_ignore_ascii_case("no") => Ok(false),
        _ => Err("argument must be 'yes' or 'no'".into()),
    }
}
