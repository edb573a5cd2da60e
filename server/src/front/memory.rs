//! How much memory the process has, from the operating system.

use crate::engine::MemoryUse;

/// What `/proc` says of this process now; `None` where there is no `/proc`.
pub fn memory_use() -> Option<MemoryUse> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let system = std::fs::read_to_string("/proc/meminfo").ok()?;
    Some(MemoryUse {
        used: field(&status, "RssAnon:")?,
        resident: field(&status, "VmRSS:")?,
        resident_peak: field(&status, "VmHWM:")?,
        system: field(&system, "MemTotal:")?,
    })
}

/// The line `name  <number> kB` in bytes.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_shows() {
        let before = memory_use().expect("a Linux system");
        assert!(before.used > 0 && before.used <= before.resident && before.resident <= before.system);
        let taken = vec![1u8; 64 << 20];
        let after = memory_use().expect("as before");
        assert!(after.used >= before.used + (48 << 20), "{before:?} {after:?}");
        drop(std::hint::black_box(taken));
    }
}
