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
