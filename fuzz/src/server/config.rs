//! `redis.conf` and the command line: never a panic, and what `--print-config` prints can be
//! loaded and means the same.

use std::ffi::OsString;
use std::io;
use std::path::Path;

use server::Config;
use server::config::{Command, DIRECTIVES, nearest};

use crate::input::Input;

/// The first byte chooses: the lines of a file, or the words of a command line.
pub fn run(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    if input.flag() {
        let text = String::from_utf8_lossy(input.rest()).into_owned();
        if let Ok(config) = load(&text) {
            shown_and_taken(&config);
        }
        return;
    }
    let words = String::from_utf8_lossy(input.rest()).into_owned();
    let words: Vec<&str> = words.split('\n').collect();
    nearest(words[0].get(..30).unwrap_or(words[0]));
    // Anything else in front is a file to be opened.
    if words[0].starts_with("--") {
        command_line(&words);
    }
}

/// Loads a file of this text. It may include itself; no other file exists.
fn load(text: &str) -> Result<Config, String> {
    let mut config = Config::default();
    let mut left = 40;
    let mut read = |path: &Path| {
        left -= 1;
        match path.ends_with("redis.conf") && left > 0 {
            true => Ok(text.to_owned()),
            false => Err(io::Error::from(io::ErrorKind::NotFound)),
        }
    };
    config.load_with(Path::new("redis.conf"), &mut read).map_err(|error| error.to_string())?;
    Ok(config)
}

/// The value of every directive that is shown.
fn values(config: &Config) -> Vec<(&'static str, String)> {
    let shown = DIRECTIVES.iter().filter(|directive| directive.is_shown());
    shown.map(|directive| (directive.name, directive.value(config))).collect()
}

/// Each value that is shown is taken again and stays the same, as after `CONFIG GET` and `SET`.
fn shown_and_taken(config: &Config) {
    let defaults = Config::default();
    for directive in DIRECTIVES.iter().filter(|directive| directive.is_shown()) {
        let value = directive.value(config);
        if value == directive.value(&defaults) {
            continue;
        }
        let mut again = Config::default();
        let whole = directive.set(&mut again, std::slice::from_ref(&value)).is_ok();
        if whole && directive.value(&again) == value {
            continue;
        }
        let words: Vec<String> = value.split(' ').map(str::to_owned).collect();
        assert_eq!(directive.set(&mut again, &words), Ok(()), "{} {value}", directive.name);
        assert_eq!(directive.value(&again), value, "{}", directive.name);
    }
}

fn command_line(words: &[&str]) {
    let arguments = |more: &'static str| words.iter().copied().chain([more]).map(OsString::from);
    let Ok(Command::Print(printed)) = Config::from_command_line(arguments("--print-config")) else { return };
    let Ok(Command::Serve(config)) = Config::from_command_line(arguments("--port=1")) else { return };
    let text: String =
        printed.lines().filter(|line| !line.starts_with("port ")).collect::<Vec<_>>().join("\n");
    let again = load(&format!("{text}\nport 1\n")).expect("what --print-config prints is a configuration");
    assert_eq!(values(&again), values(&config));
}
