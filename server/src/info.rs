//! `INFO`: the server's state and counters, by section.
//!
//! Source: <https://redis.io/docs/latest/commands/info/>

use core::fmt::Write;
use core::sync::atomic::Ordering;

use crate::args::Args;
use crate::command::Context;
use crate::command::connection::REDIS_VERSION;
use crate::command::table::TABLE;
use crate::error::CommandResult;
use crate::pubsub::Kind;
use crate::reply::Reply;
use crate::stats::{CommandStats, CoreStats, Counter};

type Section = fn(&mut Context<'_>, &mut String);

/// Name, whether `INFO` alone shows it, and what writes it.
const SECTIONS: [(&str, bool, Section); 9] = [
    ("server", true, server),
    ("clients", true, clients),
    ("memory", true, memory),
    ("persistence", true, persistence),
    ("stats", true, stats),
    ("replication", true, replication),
    ("commandstats", false, commandstats),
    ("cluster", true, cluster),
    ("keyspace", true, keyspace),
];

/// `INFO [section …]`. Verbatim text.
pub(crate) fn info(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let asked = |name: &str| args.from(1).any(|arg| arg.eq_ignore_ascii_case(name.as_bytes()));
    let everything = asked("all") || asked("everything");
    let default = args.len() == 1 || asked("default");
    let mut text = String::new();
    for (name, by_default, write) in SECTIONS {
        if everything || default && by_default || asked(name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            write(cx, &mut text);
        }
    }
    if (everything || default || asked("mayfly"))
        && let Some(provider) = cx.engine.info_provider()
    {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        provider(&mut text);
    }
    reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

macro_rules! lines {
    ($out:expr, $($name:literal: $value:expr),* $(,)?) => {
        $( let _ = write!($out, concat!($name, ":{}\r\n"), $value); )*
    };
}

fn server(cx: &mut Context<'_>, out: &mut String) {
    let up_s = (cx.core.now_us - cx.engine.start.unix_us_at_zero) / 1_000_000;
    out.push_str("# Server\r\n");
    lines!(out,
        "redis_version": REDIS_VERSION,
        "redis_git_sha1": "00000000",
        "redis_git_dirty": 0,
        "redis_mode": "standalone",
        "mayfly_version": env!("CARGO_PKG_VERSION"),
        "os": std::env::consts::OS,
        "arch_bits": usize::BITS,
        "process_id": std::process::id(),
        "run_id": cx.engine.run_id,
        "tcp_port": cx.engine.config.read().port,
        "server_time_usec": cx.core.now_us,
        "uptime_in_seconds": up_s,
        "uptime_in_days": up_s / 86_400,
        "io_threads_active": 0,
    );
}

fn clients(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Clients\r\n");
    lines!(out,
        "connected_clients": cx.engine.connected(),
        "cluster_connections": 0,
        "maxclients": cx.engine.live.maxclients.load(Ordering::Relaxed),
        "blocked_clients": cx.engine.blocked.load(Ordering::Relaxed),
        "tracking_clients": 0,
        "clients_in_timeout_table": 0,
    );
}

/// `512B`, `1.50K`, `2.00M`, as Redis writes sizes.
fn human(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    match units.into_iter().find(|(shift, _)| bytes >> shift > 0) {
        Some((shift, unit)) => format!("{:.2}{unit}", bytes as f64 / (1u64 << shift) as f64),
        None => format!("{bytes}B"),
    }
}

/// The operating system counts, not the allocator: `used_memory` is the process's own resident
/// memory, with what the allocator keeps in reserve.
fn memory(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Memory\r\n");
    if let Some(memory) = cx.engine.memory_use() {
        lines!(out,
            "used_memory": memory.used,
            "used_memory_human": human(memory.used),
            "used_memory_rss": memory.resident,
            "used_memory_rss_human": human(memory.resident),
            "used_memory_peak": memory.resident_peak,
            "used_memory_peak_human": human(memory.resident_peak),
            "total_system_memory": memory.system,
            "total_system_memory_human": human(memory.system),
            "mem_fragmentation_ratio": format!("{:.2}", memory.resident as f64 / memory.used.max(1) as f64),
        );
    }
    lines!(out,
        "maxmemory": 0,
        "maxmemory_human": "0B",
        "maxmemory_policy": "noeviction",
        "mem_allocator": "mimalloc",
    );
}

/// Nothing is written to disk.
fn persistence(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Persistence\r\n");
    lines!(out,
        "loading": 0,
        "async_loading": 0,
        "rdb_changes_since_last_save": total(cx, |stats| &stats.changes),
        "rdb_bgsave_in_progress": 0,
        "rdb_last_save_time": cx.engine.start.unix_us_at_zero / 1_000_000,
        "aof_enabled": 0,
        "aof_rewrite_in_progress": 0,
    );
}

fn total(cx: &Context<'_>, of: fn(&CoreStats) -> &Counter) -> u64 {
    cx.engine.cores.iter().map(|core| of(&core.stats).value()).sum()
}

fn stats(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Stats\r\n");
    let expired = total(cx, |stats| &stats.expired_keys) + cx.engine.expired_keys.load(Ordering::Relaxed);
    lines!(out,
        "total_connections_received": total(cx, |stats| &stats.connections),
        "total_commands_processed": total(cx, |stats| &stats.commands),
        "total_net_input_bytes": total(cx, |stats| &stats.input_bytes),
        "total_net_output_bytes": total(cx, |stats| &stats.output_bytes),
        "rejected_connections": total(cx, |stats| &stats.rejected_connections),
        "expired_keys": expired,
        "evicted_keys": 0,
        "keyspace_hits": total(cx, |stats| &stats.hits),
        "keyspace_misses": total(cx, |stats| &stats.misses),
        "pubsub_channels": cx.engine.pubsub.len(Kind::Channel),
        "pubsub_patterns": cx.engine.pubsub.len(Kind::Pattern),
        "pubsubshard_channels": cx.engine.pubsub.len(Kind::Shard),
        "total_error_replies": total(cx, |stats| &stats.errors),
        "client_query_buffer_limit_disconnections": total(cx, |stats| &stats.query_limit_disconnections),
        "client_output_buffer_limit_disconnections": total(cx, |stats| &stats.output_limit_disconnections),
    );
}

fn replication(_: &mut Context<'_>, out: &mut String) {
    out.push_str("# Replication\r\n");
    lines!(out, "role": "master", "connected_slaves": 0, "master_repl_offset": 0);
}

fn commandstats(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Commandstats\r\n");
    for row in TABLE.rows() {
        let sum = |of: fn(&CommandStats) -> &Counter| -> u64 {
            cx.engine.cores.iter().map(|core| of(&core.stats.by_command[row.id]).value()).sum()
        };
        let (calls, rejected, failed) = (sum(|s| &s.calls), sum(|s| &s.rejected), sum(|s| &s.failed));
        if calls + rejected + failed > 0 {
            let name = row.command.name;
            let _ = write!(
                out,
                "cmdstat_{name}:calls={calls},rejected_calls={rejected},failed_calls={failed}\r\n"
            );
        }
    }
}

fn cluster(_: &mut Context<'_>, out: &mut String) {
    out.push_str("# Cluster\r\n");
    lines!(out, "cluster_enabled": 0);
}

fn keyspace(cx: &mut Context<'_>, out: &mut String) {
    out.push_str("# Keyspace\r\n");
    let mut counts = vec![(0usize, 0usize); cx.engine.databases()];
    cx.each_shard(|_, shard| {
        for (count, db) in counts.iter_mut().zip(shard.dbs.iter()) {
            count.0 += db.len();
            count.1 += db.expires();
        }
        true
    });
    for (db, (keys, expires)) in counts.into_iter().enumerate().filter(|(_, (keys, _))| *keys > 0) {
        let _ = write!(out, "db{db}:keys={keys},expires={expires},avg_ttl=0\r\n");
    }
}
