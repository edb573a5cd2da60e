use super::*;

fn set(config: &mut Config, name: &str, value: &str) -> Result<(), String> {
    config.set_option(name, &[value.to_string()]).map_err(|error| error.to_string())
}

#[test]
fn unknown_and_unsupported_settings_are_explained() {
    let mut config = Config::default();
    let error = set(&mut config, "prot", "1").unwrap_err();
    assert_eq!(error, "command line, --prot: unknown directive 'prot'; did you mean 'port'?");
    assert!(set(&mut config, "appendonly", "yes").unwrap_err().contains("not supported yet: only 'no'"));
    assert!(set(&mut config, "port", "70000").unwrap_err().contains("between 0 and 65535"));
    assert!(set(&mut config, "zzzzzzzz", "1").unwrap_err().ends_with("unknown directive 'zzzzzzzz'"));
    assert_eq!(set(&mut config, "appendonly", "no"), Ok(()));
    assert_eq!(set(&mut config, "proto-max-bulk-len", "64mb"), Ok(()));
    assert_eq!(config.proto_max_bulk_len, 64 << 20);
}

#[test]
fn files_are_read_with_quotes_and_includes() {
    let folder = std::env::temp_dir().join(format!("mayfly-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("more.conf"), "maxclients 7\n").unwrap();
    let path = folder.join("redis.conf");
    std::fs::write(&path, "# words\nport 7000\nrequirepass \"a \\x41\"\nsave \"\"\ninclude more.conf\n")
        .unwrap();
    let mut config = Config::default();
    config.load_file(&path).unwrap();
    assert_eq!((config.port, config.requirepass.as_str(), config.maxclients), (7000, "a A", 7));
    std::fs::write(&path, "port 1\n\nsavee 1\n").unwrap();
    let error = config.load_file(&path).unwrap_err();
    assert_eq!(error.place, format!("{}:3", path.display()));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn the_settings_file_of_debian_is_understood() {
    // The uncommented lines of Debian 12's redis.conf.
    let text = "bind 127.0.0.1 -::1\nprotected-mode yes\nport 6379\ntcp-backlog 511\ntimeout 0\ntcp-keepalive 300\n\
        daemonize yes\npidfile /run/redis/redis-server.pid\nloglevel notice\nlogfile /var/log/redis/redis-server.log\n\
        databases 16\nalways-show-logo no\nset-proc-title yes\n\
        proc-title-template \"{title} {listen-addr} {server-mode}\"\nstop-writes-on-bgsave-error yes\n\
        rdbcompression yes\nrdbchecksum yes\ndbfilename dump.rdb\nrdb-del-sync-files no\ndir /var/lib/redis\n\
        replica-serve-stale-data yes\nreplica-read-only yes\nrepl-diskless-sync yes\nrepl-diskless-sync-delay 5\n\
        repl-diskless-sync-max-replicas 0\nrepl-diskless-load disabled\nrepl-disable-tcp-nodelay no\n\
        replica-priority 100\nacllog-max-len 128\nlazyfree-lazy-eviction no\nlazyfree-lazy-expire no\n\
        lazyfree-lazy-server-del no\nreplica-lazy-flush no\nlazyfree-lazy-user-del no\n\
        lazyfree-lazy-user-flush no\noom-score-adj no\noom-score-adj-values 0 200 800\ndisable-thp yes\n\
        appendonly no\nappendfilename \"appendonly.aof\"\nappenddirname \"appendonlydir\"\nappendfsync everysec\n\
        no-appendfsync-on-rewrite no\nauto-aof-rewrite-percentage 100\nauto-aof-rewrite-min-size 64mb\n\
        aof-load-truncated yes\naof-use-rdb-preamble yes\naof-timestamp-enabled no\n\
        slowlog-log-slower-than 10000\nslowlog-max-len 128\nlatency-monitor-threshold 0\n\
        notify-keyspace-events \"\"\nhash-max-listpack-entries 512\nhash-max-listpack-value 64\n\
        list-max-listpack-size -2\nlist-compress-depth 0\nset-max-intset-entries 512\n\
        zset-max-listpack-entries 128\nzset-max-listpack-value 64\nhll-sparse-max-bytes 3000\n\
        stream-node-max-bytes 4096\nstream-node-max-entries 100\nactiverehashing yes\n\
        client-output-buffer-limit normal 0 0 0\nclient-output-buffer-limit replica 256mb 64mb 60\n\
        client-output-buffer-limit pubsub 32mb 8mb 60\nhz 10\ndynamic-hz yes\n\
        aof-rewrite-incremental-fsync yes\nrdb-save-incremental-fsync yes\njemalloc-bg-thread yes\n";
    let path = std::env::temp_dir().join(format!("mayfly-debian-{}.conf", std::process::id()));
    std::fs::write(&path, text).unwrap();
    let file = path.clone().into_os_string();
    let refused = Config::from_command_line([file.clone()].into_iter()).unwrap_err();
    assert!(refused.problem.contains("--daemonize no"), "{refused}");
    let words = [file, "--daemonize".into(), "no".into()];
    let Ok(Command::Serve(config)) = Config::from_command_line(words.into_iter()) else {
        panic!("accepted once it does not ask for the background")
    };
    assert_eq!(
        (config.bind.join(" ").as_str(), config.protected_mode, config.tcp_keepalive_s),
        ("127.0.0.1 -::1", true, 300)
    );
    let shown = |name: &str| find(name).expect("known").value(&config);
    assert_eq!(shown("auto-aof-rewrite-min-size"), "67108864");
    assert_eq!(shown("dir"), "/var/lib/redis");
    assert_eq!(shown("slave-read-only"), "yes");
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn what_cannot_be_is_refused_with_a_way_out() {
    let mut config = Config::default();
    for (name, value, part) in [
        ("save", "3600", "save \"\""),
        ("unixsocket", "/run/redis.sock", "by TCP"),
        ("loadmodule", "x.so", "modules cannot be loaded"),
        ("rename-command", "FLUSHALL", "keep their names"),
        ("supervised", "systemd", "Type=exec"),
        ("hz", "many", "couldn't be parsed"),
        ("activerehashing", "maybe", "'yes' or 'no'"),
        ("server_cpulist", "0-3", "cores"),
    ] {
        let error = set(&mut config, name, value).unwrap_err();
        assert!(error.contains(part), "{error}");
    }
    let mut names: Vec<&str> = DIRECTIVES.iter().map(|directive| directive.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "a directive stands twice");
}
