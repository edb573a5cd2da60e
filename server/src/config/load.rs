//! Reading settings from files and the command line.

use std::fmt;
use std::io;
use std::path::Path;

use protocol::resp::inline;

use super::{Config, find, nearest};

/// How deep files may include one another.
const INCLUDE_DEPTH_MAX: usize = 16;

/// A setting that cannot be taken.
#[derive(Debug, PartialEq, Eq)]
pub struct LoadError {
    /// `file:line`, or `command line`.
    pub place: String,
    /// What is wrong there, and what to do.
    pub problem: String,
}

impl std::error::Error for LoadError {}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl Config {
    /// Takes the settings of a `redis.conf` file and of those that it includes. A relative
    /// `include` starts at the including file's folder.
    ///
    /// # Errors
    /// The file cannot be read, or a line in it cannot be taken.
    pub fn load_file(&mut self, path: &Path) -> Result<(), LoadError> {
        self.load_with(path, &mut |path| std::fs::read_to_string(path))
    }

    /// As [`Self::load_file`], with files that `read` knows.
    ///
    /// # Errors
    /// `read` fails, or a line cannot be taken.
    pub fn load_with(
        &mut self,
        path: &Path,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
    ) -> Result<(), LoadError> {
        self.load(path, read, 0)
    }

    fn load(
        &mut self,
        path: &Path,
        read: &mut dyn FnMut(&Path) -> io::Result<String>,
        depth: usize,
    ) -> Result<(), LoadError> {
        let text = read(path).map_err(|error| LoadError {
            place: path.display().to_string(),
            problem: format!("the configuration file cannot be read: {error}"),
        })?;
        for (number, line) in text.lines().enumerate() {
            let fail =
                |problem: String| LoadError { place: format!("{}:{}", path.display(), number + 1), problem };
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let words: Vec<Vec<u8>> =
                inline::words(line.as_bytes()).map_err(|_| fail(format!("unbalanced quotes in: {line}")))?;
            let words: Vec<String> =
                words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect();
            let Some((name, values)) = words.split_first() else { continue };
            if name.eq_ignore_ascii_case("include") {
                if depth == INCLUDE_DEPTH_MAX {
                    return Err(fail("files include one another too deeply".into()));
                }
                for value in values {
                    let folder = path.parent().unwrap_or(Path::new("."));
                    self.load(&folder.join(value), read, depth + 1)?;
                }
            } else {
                self.set_directive(name, values).map_err(fail)?;
            }
        }
        Ok(())
    }

    /// Takes `--name value …` from the command line; `name` without the dashes.
    ///
    /// # Errors
    /// The name is unknown or the value cannot be taken.
    pub fn set_option(&mut self, name: &str, values: &[String]) -> Result<(), LoadError> {
        self.set_directive(name, values)
            .map_err(|problem| LoadError { place: format!("command line, --{name}"), problem })
    }

    fn set_directive(&mut self, name: &str, values: &[String]) -> Result<(), String> {
        let Some(directive) = find(name) else {
            let hint = nearest(name).map_or(String::new(), |known| format!("; did you mean '{known}'?"));
            return Err(format!("unknown directive '{name}'{hint}"));
        };
        directive.set(self, values).map_err(|problem| format!("'{name} {}': {problem}", values.join(" ")))
    }
}
