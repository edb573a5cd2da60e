//! A program that runs beside the test and ends with it.

use std::io::{BufRead, BufReader, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};

/// A started program; its output is collected, and it is killed when the value is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: Arc<(Mutex<Log>, Condvar)>,
    readers: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Log {
    text: String,
    open_streams: usize,
}

impl Process {
    /// Starts `command` with its output collected line by line.
    ///
    /// # Errors
    /// The program could not be started.
    pub fn start(mut command: Command) -> Result<Self> {
        let name = format!("{command:?}").replace('"', "");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start `{name}`"))?;
        let log = Arc::new((Mutex::new(Log { open_streams: 2, ..Log::default() }), Condvar::new()));
        let stdout = child.stdout.take().context("no stdout")?;
        let stderr = child.stderr.take().context("no stderr")?;
        let readers = vec![collect(stdout, &log), collect(stderr, &log)];
        Ok(Self { child, name, log, readers })
    }

    /// Waits until the program has printed `text`.
    ///
    /// # Errors
    /// The program ended (or closed its output) without; the message holds what it printed.
    pub fn wait_for(&self, text: &str) -> Result<()> {
        let (log, changed) = &*self.log;
        let mut log = log.lock().expect("no reader panics");
        while !log.text.contains(text) {
            if log.open_streams == 0 {
                bail!("`{}` ended without printing {text:?}; it printed:\n{}", self.name, log.text);
            }
            log = changed.wait(log).expect("no reader panics");
        }
        Ok(())
    }

    /// What the program has printed so far.
    pub fn output(&self) -> String {
        self.log.0.lock().expect("no reader panics").text.clone()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// True while the program runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks the program to end (SIGTERM) and waits for it.
    ///
    /// # Errors
    /// It could not be signalled or waited for.
    pub fn terminate(mut self) -> Result<(ExitStatus, String)> {
        self.signal(libc::SIGTERM);
        let status = self.child.wait().with_context(|| format!("cannot wait for `{}`", self.name))?;
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
        Ok((status, self.output()))
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// It could not be waited for.
    pub fn wait(mut self) -> Result<(ExitStatus, String)> {
        let status = self.child.wait().with_context(|| format!("cannot wait for `{}`", self.name))?;
        for reader in self.readers.drain(..) {
            reader.join().ok();
        }
        Ok((status, self.output()))
    }

    /// Shuts down the connected socket of the program that has this path: both ends see it closed, and
    /// neither program ends.
    ///
    /// # Errors
    /// It has no such socket, or may not be reached into.
    pub fn cut_socket(&self, path: &Path) -> Result<()> {
        /// `SS_CONNECTED` of linux/net.h.
        const CONNECTED: &str = "03";
        let id = self.id();
        let table = std::fs::read_to_string(format!("/proc/{id}/net/unix"))?;
        let path = path.display().to_string();
        let inode = table.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            (words.get(5) == Some(&CONNECTED) && words.get(7) == Some(&path.as_str())).then_some(words[6])
        });
        let name = format!("socket:[{}]", inode.with_context(|| format!("nobody is connected to {path}"))?);
        for entry in std::fs::read_dir(format!("/proc/{id}/fd"))? {
            let entry = entry?;
            if std::fs::read_link(entry.path()).is_ok_and(|link| link.as_os_str() == name.as_str()) {
                let fd = entry.file_name().to_string_lossy().parse().context("a descriptor's number")?;
                return Ok(UnixStream::from(borrow_descriptor(id, fd)?).shutdown(Shutdown::Both)?);
            }
        }
        bail!("`{}` does not have {name}", self.name)
    }

    /// Stops it (SIGSTOP), and returns when all of its threads stand still.
    ///
    /// # Errors
    /// It has ended.
    pub fn stop(&self) -> Result<()> {
        self.signal(libc::SIGSTOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        loop {
            let mut all_stopped = true;
            for task in std::fs::read_dir(&tasks).with_context(|| format!("`{}` has ended", self.name))? {
                // proc(5): the state stands behind the name, which is in parentheses. A thread may end meanwhile.
                let stat = std::fs::read_to_string(task?.path().join("stat")).unwrap_or_default();
                all_stopped &= stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'));
            }
            if all_stopped {
                return Ok(());
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, signal: libc::c_int) {
        // SAFETY: the child has not been waited for, so its id still names it.
        unsafe { libc::kill(self.child.id() as libc::pid_t, signal) };
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.is_running() {
            // First politely, so that a device is detached; a program that hangs is killed.
            self.signal(libc::SIGTERM);
            for _ in 0..300 {
                if !self.is_running() {
                    return;
                }
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// A descriptor of our own for what another process has open as `fd`.
fn borrow_descriptor(process: u32, fd: libc::c_int) -> Result<OwnedFd> {
    let own = |result: libc::c_long| {
        if result < 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made it for this process, and nobody else knows it.
        Ok(unsafe { OwnedFd::from_raw_fd(result as libc::c_int) })
    };
    // SAFETY: takes numbers and returns one.
    let process = own(unsafe { libc::syscall(libc::SYS_pidfd_open, process, 0) })?;
    // SAFETY: the same; `process` is open for the length of the call.
    Ok(own(unsafe { libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0) })?)
}

fn collect(stream: impl Read + Send + 'static, log: &Arc<(Mutex<Log>, Condvar)>) -> JoinHandle<()> {
    let log = Arc::clone(log);
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let end = !matches!(lines.read_until(b'\n', &mut line), Ok(1..));
            let (lock, changed) = &*log;
            let mut log = lock.lock().expect("no reader panics");
            log.text.push_str(&String::from_utf8_lossy(&line));
            log.open_streams -= usize::from(end);
            changed.notify_all();
            if end {
                return;
            }
        }
    })
}
