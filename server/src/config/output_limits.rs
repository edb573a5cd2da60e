//! `client-output-buffer-limit`: how many reply bytes may wait for a client of a class.

use core::fmt;

use super::directives::memory;

/// The classes, as Redis shows them.
const CLASSES: [&str; 3] = ["normal", "slave", "pubsub"];

/// Limits of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Bytes above which the client is closed at once; 0: no limit.
    pub hard_bytes: i64,
    /// Bytes that may be exceeded for a time; 0: no limit.
    pub soft_bytes: i64,
    /// That time, in seconds.
    pub soft_s: i64,
}

/// The limits of all classes. A client is of class `pubsub` while it listens to something, else of
/// class `normal`; there are no replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutputLimits([OutputLimit; 3]);

impl Default for OutputLimits {
    fn default() -> Self {
        let limit = |hard_mib: i64, soft_mib: i64, soft_s| OutputLimit {
            hard_bytes: hard_mib << 20,
            soft_bytes: soft_mib << 20,
            soft_s,
        };
        Self([OutputLimit::default(), limit(256, 64, 60), limit(32, 8, 60)])
    }
}

impl OutputLimits {
    /// That of clients that have subscribed to something, or of the others.
    pub fn of(&self, listens: bool) -> OutputLimit {
        self.0[if listens { 2 } else { 0 }]
    }
    /// Takes `class hard soft seconds`, any number of times.
    pub(super) fn set(&mut self, values: &[String]) -> Result<(), String> {
        if values.is_empty() || !values.len().is_multiple_of(4) {
            return Err("Wrong number of arguments in buffer limit configuration.".into());
        }
        let mut new = *self;
        for group in values.chunks(4) {
            let class = if group[0].eq_ignore_ascii_case("replica") { "slave" } else { &group[0] };
            let class = CLASSES.iter().position(|name| name.eq_ignore_ascii_case(class));
            let class = class.ok_or("Invalid client class specified in buffer limit configuration.")?;
            let wrong = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            new.0[class] = OutputLimit {
                hard_bytes: memory(&group[1]).map_err(|_| wrong)?,
                soft_bytes: memory(&group[2]).map_err(|_| wrong)?,
                soft_s: group[3].parse().ok().filter(|&seconds| seconds >= 0).ok_or(wrong)?,
            };
        }
        *self = new;
        Ok(())
    }
}

impl fmt::Display for OutputLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (class, limit)) in CLASSES.iter().zip(&self.0).enumerate() {
            let gap = if index == 0 { "" } else { " " };
            write!(f, "{gap}{class} {} {} {}", limit.hard_bytes, limit.soft_bytes, limit.soft_s)?;
        }
        Ok(())
    }
}
