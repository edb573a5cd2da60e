//! A lock on a path, so that of all processes that want to serve a socket there exactly one does, in whatever
//! network namespaces they are, and however long it takes to remove what a dead one left.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The file `PATH.lock`, locked until this is dropped or the process dies. A killed process leaves the file, which
/// says nothing by being there.
#[derive(Debug)]
pub struct PathLock {
    file: File,
    path: PathBuf,
}

impl PathLock {
    /// Locks `path`, where nothing needs to be; `None`: it is locked already, by whomever.
    ///
    /// # Errors
    /// The file beside it cannot be made.
    pub fn take(path: &Path) -> io::Result<Option<Self>> {
        let mut name = path.as_os_str().to_owned();
        name.push(".lock");
        let path = PathBuf::from(name);
        loop {
            let mut options = File::options();
            let file =
                options.write(true).create(true).mode(0o600).custom_flags(libc::O_NOFOLLOW).open(&path)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Ok(None),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            let lock = Self { file, path: path.clone() };
            if lock.is_at_its_path() {
                return Ok(Some(lock));
            }
            // Whoever had it removed the file between our opening and locking it.
        }
    }

    fn is_at_its_path(&self) -> bool {
        let (Ok(ours), Ok(there)) = (self.file.metadata(), fs::symlink_metadata(&self.path)) else {
            return false;
        };
        (ours.dev(), ours.ino()) == (there.dev(), there.ino())
    }
}

impl Drop for PathLock {
    fn drop(&mut self) {
        if self.is_at_its_path() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("mayfly-lock-{name}-{}", std::process::id()))
    }

    #[test]
    fn one_holds_it_and_leaves_nothing() {
        let path = path("one");
        let file = path.with_extension("lock");
        let first = PathLock::take(&path).unwrap().expect("free");
        assert!(file.exists());
        assert!(PathLock::take(&path).unwrap().is_none());
        drop(first);
        assert!(!file.exists());
        // As a killed process leaves it.
        fs::write(&file, "").unwrap();
        drop(PathLock::take(&path).unwrap().expect("nobody holds it"));
        assert!(!file.exists());
        assert!(PathLock::take(Path::new("/nosuch/folder/a")).is_err());
    }

    #[test]
    fn never_two_at_once() {
        const ROUNDS: usize = 2000;
        const THREADS: usize = 4;
        let path = path("two");
        let (holders, taken, begin) = (AtomicU32::new(0), AtomicU32::new(0), Barrier::new(THREADS));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    begin.wait();
                    for _ in 0..ROUNDS {
                        let Some(lock) = PathLock::take(&path).unwrap() else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        taken.fetch_add(1, Ordering::Relaxed);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert!(taken.into_inner() > 0);
    }
}
