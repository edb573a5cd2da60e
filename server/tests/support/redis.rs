//! A Redis of the test's own, to compare with.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Client;

static STARTED: AtomicUsize = AtomicUsize::new(0);

/// A running `redis-server` on a socket file; ended when dropped.
pub struct Redis {
    process: Child,
    folder: PathBuf,
}

impl Redis {
    /// `None` when there is none on the PATH.
    pub fn start() -> Option<Self> {
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder =
            std::env::temp_dir().join(format!("mayfly-differential-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the socket");
        let process = Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--enable-debug-command", "yes", "--unixsocket"])
            .arg(folder.join("redis.sock"))
            .arg("--dir")
            .arg(&folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        Some(Self { process, folder })
    }
    /// Connects as soon as the server listens.
    pub fn client(&mut self) -> Client<UnixStream> {
        loop {
            if let Ok(stream) = UnixStream::connect(self.folder.join("redis.sock")) {
                return Client::new(stream);
            }
            assert!(self.process.try_wait().expect("its state").is_none(), "redis-server has ended");
            std::thread::yield_now();
        }
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
