//! The table of directives.

use std::sync::LazyLock;

use super::Config;
use super::inert::{INERT, Inert, yes_or_no};

/// When a directive can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// At any time.
    Always,
    /// In the file or on the command line.
    Start,
}

/// A row of the table.
pub struct Directive {
    /// The name, in lower case.
    pub name: &'static str,
    /// When it can be set.
    pub when: When,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// Read and written by these.
    Field(fn(&Config) -> String, fn(&mut Config, &[String]) -> Result<(), String>),
    /// Redis has it, we have not: only these values, which ask for nothing, are accepted; the
    /// first is the one that is shown. The text says what to do instead.
    Fixed(&'static [&'static str], &'static str),
    /// Taken and shown, without effect.
    Inert(&'static Inert),
    /// Always refused with this text, and not shown: lines that only a file can hold.
    Refused(&'static str),
}

const fn field(
    name: &'static str,
    when: When,
    get: fn(&Config) -> String,
    set: fn(&mut Config, &[String]) -> Result<(), String>,
) -> Directive {
    Directive { name, when, kind: Kind::Field(get, set) }
}

/// A row for a directive of [`crate::network`].
macro_rules! network {
    ($name:literal) => {
        network!($name, When::Start, single)
    };
    ($name:literal, $when:expr) => {
        network!($name, $when, single)
    };
    // `words`: what makes one text of the values, or refuses to.
    ($name:literal, $when:expr, $words:expr) => {
        field(
            $name,
            $when,
            |c| c.network.show($name),
            |c, v| c.network.set($name, AsRef::<str>::as_ref(&$words(v)?)),
        )
    };
}

const fn fixed(name: &'static str, values: &'static [&'static str]) -> Directive {
    fixed_or(name, values, "")
}

const fn fixed_or(name: &'static str, values: &'static [&'static str], instead: &'static str) -> Directive {
    Directive { name, when: When::Always, kind: Kind::Fixed(values, instead) }
}

/// As [`fixed_or`], for what Redis cannot change while it runs.
const fn fixed_at_start(
    name: &'static str,
    values: &'static [&'static str],
    instead: &'static str,
) -> Directive {
    Directive { name, when: When::Start, kind: Kind::Fixed(values, instead) }
}

const fn refused(name: &'static str, why: &'static str) -> Directive {
    Directive { name, when: When::Start, kind: Kind::Refused(why) }
}

/// A row for a limit of [`crate::keyspace::limits`].
macro_rules! limit {
    ($name:literal, $field:ident) => {
        field(
            $name,
            When::Always,
            |c| c.limits.$field.to_string(),
            |c, v| one(v, 0, i64::MAX).map(|n| c.limits.$field = n as usize),
        )
    };
}

/// All directives.
pub static DIRECTIVES: LazyLock<Vec<Directive>> = LazyLock::new(|| {
    let inert = |row: &'static Inert, name| Directive { name, when: row.when, kind: Kind::Inert(row) };
    let mut all: Vec<Directive> = INERT.iter().map(|row| inert(row, row.name)).collect();
    all.extend(INERT.iter().filter(|row| !row.alias.is_empty()).map(|row| inert(row, row.alias)));
    all.extend(WORKING.iter().map(|row| Directive { name: row.name, when: row.when, kind: row.kind }));
    all
});

/// Those that do something, or refuse to.
static WORKING: &[Directive] = &[
    field("port", When::Start, |c| c.port.to_string(), |c, v| one(v, 0, 65535).map(|n| c.port = n as u16)),
    field(
        "bind",
        When::Start,
        |c| c.bind.join(" "),
        |c, v| {
            c.bind = v.to_vec();
            Ok(())
        },
    ),
    field(
        "tcp-backlog",
        When::Start,
        |c| c.tcp_backlog.to_string(),
        |c, v| one(v, 1, i64::from(i32::MAX)).map(|n| c.tcp_backlog = n as u32),
    ),
    field(
        "databases",
        When::Start,
        |c| c.databases.to_string(),
        |c, v| one(v, 1, 4096).map(|n| c.databases = n as usize),
    ),
    field(
        "requirepass",
        When::Always,
        |c| c.requirepass.clone(),
        |c, v| single(v).map(|text| c.requirepass = text.into()),
    ),
    field(
        "maxclients",
        When::Always,
        |c| c.maxclients.to_string(),
        |c, v| one(v, 1, i64::from(u32::MAX)).map(|n| c.maxclients = n as usize),
    ),
    field(
        "timeout",
        When::Always,
        |c| c.timeout_s.to_string(),
        |c, v| one(v, 0, i64::from(i32::MAX)).map(|n| c.timeout_s = n as u64),
    ),
    field(
        "proto-max-bulk-len",
        When::Always,
        |c| c.proto_max_bulk_len.to_string(),
        |c, v| {
            let len = memory(single(v)?)?;
            if (1024 * 1024..=1 << 30).contains(&len) {
                c.proto_max_bulk_len = len;
                Ok(())
            } else {
                Err("argument must be between 1048576 and 1073741824 inclusive".into())
            }
        },
    ),
    field(
        "slowlog-log-slower-than",
        When::Always,
        |c| c.slowlog_log_slower_than_us.to_string(),
        |c, v| one(v, -1, i64::MAX).map(|n| c.slowlog_log_slower_than_us = n),
    ),
    field(
        "slowlog-max-len",
        When::Always,
        |c| c.slowlog_max_len.to_string(),
        |c, v| one(v, 0, i64::from(u32::MAX)).map(|n| c.slowlog_max_len = n as usize),
    ),
    field(
        "logfile",
        When::Start,
        |c| c.logfile.clone(),
        |c, v| single(v).map(|file| c.logfile = file.into()),
    ),
    field(
        "pidfile",
        When::Start,
        |c| c.pidfile.clone(),
        |c, v| single(v).map(|file| c.pidfile = file.into()),
    ),
    field(
        "capture-dir",
        When::Start,
        |c| c.capture_dir.clone(),
        |c, v| single(v).map(|folder| c.capture_dir = folder.into()),
    ),
    field(
        "loglevel",
        When::Start,
        |c| c.loglevel.clone(),
        |c, v| {
            let level = single(v)?.to_ascii_lowercase();
            if ["debug", "verbose", "notice", "warning"].contains(&level.as_str()) {
                c.loglevel = level;
                Ok(())
            } else {
                Err("argument(s) must be one of the following: debug, verbose, notice, warning".into())
            }
        },
    ),
    network!("net"),
    network!("address", When::Start, joined),
    network!("gateway", When::Start, joined),
    network!("vlan"),
    network!("cores"),
    network!("offload"),
    network!("nic"),
    network!("nic-timeout"),
    network!("steer"),
    network!("network-syn-rate"),
    network!("network-connections"),
    network!("refuse"),
    network!("time-wait"),
    network!("user-timeout", When::Always),
    network!("waiting-max", When::Always),
    network!("last-data-max"),
    network!("congestion", When::Always),
    network!("ecn"),
    network!("nagle", When::Always),
    network!("ttl", When::Always),
    field(
        "tcp-keepalive",
        When::Always,
        |c| c.tcp_keepalive_s.to_string(),
        |c, v| one(v, 0, i64::from(i32::MAX)).map(|n| c.tcp_keepalive_s = n as u32),
    ),
    field(
        "protected-mode",
        When::Always,
        |c| if c.protected_mode { "yes" } else { "no" }.into(),
        |c, v| yes_or_no(v).map(|yes| c.protected_mode = yes),
    ),
    // Refused by `Config::check`, so that `--daemonize no` can stand behind a file that says yes.
    field(
        "daemonize",
        When::Start,
        |c| if c.daemonize { "yes" } else { "no" }.into(),
        |c, v| yes_or_no(v).map(|yes| c.daemonize = yes),
    ),
    field(
        "client-output-buffer-limit",
        When::Always,
        |c| c.output_limits.to_string(),
        |c, v| c.output_limits.set(v),
    ),
    field(
        "client-query-buffer-limit",
        When::Always,
        |c| c.query_buffer_limit.to_string(),
        |c, v| {
            let bytes = memory(single(v)?)?;
            if bytes >= 1024 * 1024 {
                c.query_buffer_limit = bytes;
                Ok(())
            } else {
                Err("argument must be between 1048576 and 9223372036854775807 inclusive".into())
            }
        },
    ),
    // Persistence, replication, clustering, memory limits: not there yet.
    fixed_or("save", &[""], "the data lives in memory only, so remove the line or write: save \"\""),
    fixed_or("appendonly", &["no"], "the data lives in memory only"),
    fixed_or(
        "maxmemory",
        &["0"],
        "memory is not limited by this server: limit it outside (systemd MemoryMax=)",
    ),
    fixed_or("maxmemory-policy", &["noeviction"], "no keys are evicted"),
    fixed("maxmemory-clients", &["0"]),
    fixed_or("replicaof", &["", "no one"], "this server does not replicate"),
    fixed_or("slaveof", &["", "no one"], "this server does not replicate"),
    fixed_at_start("cluster-enabled", &["no"], "this server stands alone"),
    fixed("notify-keyspace-events", &[""]),
    fixed_at_start("unixsocket", &[""], "clients connect by TCP; remove the line"),
    fixed_or("bind-source-addr", &[""], "this server opens no connections of its own"),
    fixed_or("tls-port", &["0"], "put a TLS proxy in front"),
    fixed_at_start("aclfile", &[""], "there is one user, default; give it a password with requirepass"),
    fixed_at_start("supervised", &["no", "auto"], "with systemd, use Type=exec and supervised no"),
    fixed_at_start("syslog-enabled", &["no"], "the log goes to the standard error output"),
    fixed("activedefrag", &["no"]),
    fixed("latency-monitor-threshold", &["0"]),
    fixed("latency-tracking", &["no"]),
    fixed_at_start("enable-debug-command", &["local", "yes", "no"], ""),
    fixed_or("oom-score-adj", &["no"], "set it from outside (systemd OOMScoreAdjust=)"),
    fixed_at_start("server_cpulist", &[""], "use: cores 0,2-3"),
    fixed_at_start("bio_cpulist", &[""], "there are no such threads; remove the line"),
    fixed_at_start("aof_rewrite_cpulist", &[""], "there are no such processes; remove the line"),
    fixed_at_start("bgsave_cpulist", &[""], "there are no such processes; remove the line"),
    fixed("list-max-listpack-size", &["-2"]),
    fixed("list-max-ziplist-size", &["-2"]),
    limit!("hash-max-listpack-entries", hash_entries),
    limit!("hash-max-ziplist-entries", hash_entries),
    limit!("hash-max-listpack-value", hash_value_bytes),
    limit!("hash-max-ziplist-value", hash_value_bytes),
    limit!("set-max-intset-entries", intset_entries),
    limit!("set-max-listpack-entries", set_entries),
    limit!("set-max-listpack-value", set_value_bytes),
    limit!("zset-max-listpack-entries", zset_entries),
    limit!("zset-max-ziplist-entries", zset_entries),
    limit!("zset-max-listpack-value", zset_value_bytes),
    limit!("zset-max-ziplist-value", zset_value_bytes),
    refused("user", "there is one user, default; give it a password with requirepass"),
    refused("loadmodule", "modules cannot be loaded; remove the line"),
    refused(
        "rename-command",
        "commands keep their names here; protect the server with requirepass and a firewall",
    ),
];

/// The directive called `name`, in any case.
pub fn find(name: &str) -> Option<&'static Directive> {
    DIRECTIVES.iter().find(|directive| directive.name.eq_ignore_ascii_case(name))
}

/// The known name that looks most like `name`, if one does.
pub fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase();
    DIRECTIVES
        .iter()
        .map(|directive| (distance(&name, directive.name), directive.name))
        .min()
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .map(|(_, known)| known)
}

impl Directive {
    /// Its value in `config`.
    pub fn value(&self, config: &Config) -> String {
        match self.kind {
            Kind::Field(get, _) => get(config),
            Kind::Fixed(values, _) => values[0].into(),
            Kind::Inert(row) => config.inert.get(row.name).map_or(row.default, String::as_str).into(),
            Kind::Refused(_) => String::new(),
        }
    }
    /// Does `CONFIG GET` show it?
    pub fn is_shown(&self) -> bool {
        !matches!(self.kind, Kind::Refused(_))
    }
    /// Sets it in `config`.
    ///
    /// # Errors
    /// A text in Redis's style that says what is wrong with `values`.
    pub fn set(&self, config: &mut Config, values: &[String]) -> Result<(), String> {
        match self.kind {
            Kind::Field(_, set) => set(config, values),
            Kind::Inert(row) => {
                let value = row.takes.read(values)?;
                config.inert.insert(row.name, value);
                Ok(())
            }
            Kind::Refused(why) => Err(why.into()),
            Kind::Fixed(accepted, instead) => {
                let value = values.join(" ");
                if accepted.iter().any(|accepted| accepted.eq_ignore_ascii_case(&value)) {
                    return Ok(());
                }
                let shown: Vec<String> = accepted.iter().map(|accepted| format!("'{accepted}'")).collect();
                let instead = if instead.is_empty() { String::new() } else { format!(": {instead}") };
                Err(format!("this is not supported yet: only {} is accepted{instead}", shown.join(" or ")))
            }
        }
    }
}

pub(super) fn single(values: &[String]) -> Result<&str, String> {
    match values {
        [value] => Ok(value),
        _ => Err("wrong number of arguments".into()),
    }
}

fn joined(values: &[String]) -> Result<String, String> {
    Ok(values.join(" "))
}

pub(super) fn one(values: &[String], min: i64, max: i64) -> Result<i64, String> {
    let value = single(values)?;
    let number: i64 = value.parse().map_err(|_| "argument couldn't be parsed into an integer".to_string())?;
    if (min..=max).contains(&number) {
        Ok(number)
    } else {
        Err(format!("argument must be between {min} and {max} inclusive"))
    }
}

/// A size in bytes: `512mb`, `1k`, `100`.
pub(crate) fn memory(text: &str) -> Result<i64, String> {
    let text = text.to_ascii_lowercase();
    let digits = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "b" => 1,
        "k" => 1000,
        "kb" => 1 << 10,
        "m" => 1_000_000,
        "mb" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" => 1 << 30,
        _ => return Err("argument must be a memory value".into()),
    };
    let number: i64 = digits.parse().map_err(|_| "argument must be a memory value".to_string())?;
    number.checked_mul(unit).ok_or_else(|| "argument must be a memory value".into())
}

/// How many letters must be changed, added or dropped.
fn distance(a: &str, b: &str) -> usize {
    let b = b.as_bytes();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, &letter) in a.as_bytes().iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for j in 0..b.len() {
            let above = row[j + 1];
            row[j + 1] = (diagonal + usize::from(letter != b[j])).min(above + 1).min(row[j] + 1);
            diagonal = above;
        }
    }
    row[b.len()]
}
