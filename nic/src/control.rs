//! The control socket of `mayfly-nic`: who may, asks the running firmware, a request a line.
//!
//! ```text
//! > FLOWS 1
//! < flow=0.5 local=198.18.0.2:6379 remote=198.18.0.1:41552 state=established …
//! < END
//! > FLOWS many
//! < ERR value is not an integer or out of range
//! ```
//!
//! A request is `STATUS` or one of [`Request`], in words as Redis takes them when they are typed. An
//! answer is lines, then `END`; or `ERR` and what is wrong. The socket is of whoever runs the program
//! and for nobody else (mode 0600), since a capture is a file made in that user's name. A thread of
//! its own serves it, one asker at a time; the firmware's thread never waits for it. Of several that
//! are started at one path the one that has its lock serves there.

use std::fmt::Display;
use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dpdk::PathLock;
use protocol::resp::inline;
use socket2::{Domain, SockAddr, Socket, Type};

use crate::request::{Answer, Request};
use crate::shown::Shown;

/// Where the socket is, unless one says otherwise.
pub const DEFAULT_PATH: &str = "/run/mayfly-nic.sock";

/// The longest request: a path with every byte escaped, and its words.
const LINE_MAX: u64 = 17 << 10;
/// Askers that wait to be served.
const BACKLOG: i32 = 16;
/// How long an asker may be silent, or not take its answer; others wait meanwhile.
const ASKER_PATIENCE: Duration = Duration::from_secs(1);
/// How long an answer may take.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// Time for what keeps a connection from being accepted (no file descriptor is left) to pass.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// The socket, served; removed on drop.
#[derive(Debug)]
pub struct Control {
    path: PathBuf,
    /// Device and number of its file: whether it is still ours.
    file: (u64, u64),
    /// The last to go.
    _lock: PathLock,
}

impl Control {
    /// Makes the socket and a thread that answers there from now on, for `shown`. What a dead process
    /// left at `path` is replaced. `facts`: lines of STATUS that never change, name and value.
    ///
    /// # Errors
    /// Something is there that is in use or no socket, or the system refuses.
    pub fn serve(path: &Path, facts: Vec<(String, String)>, shown: Arc<Shown>) -> Result<Self, String> {
        let (control, listener) = Self::take(path)?;
        std::thread::Builder::new()
            .name("mayfly-control".into())
            .spawn(move || answer_all(&listener, &facts, &shown))
            .map_err(|error| format!("control socket {}: {error}", path.display()))?;
        Ok(control)
    }

    /// Makes the socket, or says why it cannot be made.
    fn take(path: &Path) -> Result<(Self, UnixListener), String> {
        let said = |said: &str| format!("control socket {}: {said}", path.display());
        let problem = |error: io::Error| said(&error.to_string());
        let in_use = || said("it is in use by another mayfly-nic");
        let lock = PathLock::take(path).map_err(problem)?.ok_or_else(in_use)?;
        match fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(problem(error)),
            Ok(there) if !there.file_type().is_socket() => return Err(said("something else is there")),
            Ok(_) => match UnixStream::connect(path) {
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                    fs::remove_file(path).map_err(problem)?;
                }
                Err(error) => return Err(problem(error)),
                Ok(_) => return Err(in_use()),
            },
        }
        let listener = listen(path).map_err(problem)?;
        let made = fs::symlink_metadata(path).map_err(problem)?;
        let control = Self { path: path.to_path_buf(), file: (made.dev(), made.ino()), _lock: lock };
        Ok((control, listener))
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|there| (there.dev(), there.ino()) == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Nobody else can connect at any moment: before `listen` nobody can at all.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn answer_all(listener: &UnixListener, facts: &[(String, String)], shown: &Shown) {
    for stream in listener.incoming() {
        match stream {
            // One that goes away early, or is too slow, has itself to blame.
            Ok(stream) => drop(converse(&stream, facts, shown)),
            Err(_) => std::thread::sleep(ACCEPT_AGAIN),
        }
    }
}

fn converse(mut stream: &UnixStream, facts: &[(String, String)], shown: &Shown) -> io::Result<()> {
    stream.set_read_timeout(Some(ASKER_PATIENCE))?;
    stream.set_write_timeout(Some(ASKER_PATIENCE))?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = Vec::new();
        reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)?;
        let Some(line) = line.strip_suffix(b"\n") else {
            return match line.len() as u64 {
                LINE_MAX => stream.write_all(b"ERR the request is too long\n"),
                _ => Ok(()),
            };
        };
        let text = match answer(line, facts, shown) {
            Ok(lines) => {
                lines.iter().map(String::as_str).chain(["END"]).fold(String::new(), |mut text, line| {
                    text.extend([line, "\n"]);
                    text
                })
            }
            Err(problem) => format!("ERR {problem}\n"),
        };
        stream.write_all(text.as_bytes())?;
    }
}

fn answer(line: &[u8], facts: &[(String, String)], shown: &Shown) -> Result<Vec<String>, String> {
    let words: Vec<Vec<u8>> = inline::words(line).map_err(|error| error.to_string())?;
    let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
    if let [word] = words[..]
        && word.eq_ignore_ascii_case(b"STATUS")
    {
        let field = |(name, value): &(String, String)| format!("{name}:{value}");
        return Ok(facts.iter().chain(&shown.status()).map(field).collect());
    }
    match shown.answer(&Request::parse(&words)?)? {
        Answer::Lines(lines) => Ok(lines),
        Answer::Done => Ok(Vec::new()),
        Answer::Count(count) => Ok(vec![count.to_string()]),
    }
}

/// Asks the program at `path`: `STATUS` or a [`Request`]. The lines of the answer.
///
/// # Errors
/// It does not answer, and what to do; or it says what is wrong.
pub fn ask(path: &Path, request: &impl Display) -> Result<Vec<String>, String> {
    let problem = |error: io::Error| {
        let said = match error.kind() {
            ErrorKind::NotFound => {
                "no mayfly-nic answers there: start one, or say with --control PATH where the one that runs has its \
                 control socket"
            }
            ErrorKind::ConnectionRefused => {
                "its mayfly-nic is dead: start it again (it takes the place of the old socket)"
            }
            ErrorKind::PermissionDenied => "only the user who runs mayfly-nic may ask it, and root",
            ErrorKind::WouldBlock => "its mayfly-nic does not answer: is it stopped?",
            ErrorKind::UnexpectedEof => "its mayfly-nic has ended",
            _ => return format!("control socket {}: {error}", path.display()),
        };
        format!("control socket {}: {said}", path.display())
    };
    let mut stream = UnixStream::connect(path).map_err(problem)?;
    stream.set_read_timeout(Some(ANSWER_PATIENCE)).map_err(problem)?;
    match writeln!(stream, "{request}") {
        // It has not read all of it, and may have said why.
        Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
        sent => sent.map_err(problem)?,
    }
    let mut lines = Vec::new();
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(problem)?;
        if line == "END" {
            return Ok(lines);
        }
        if let Some(said) = line.strip_prefix("ERR ") {
            return Err(said.to_owned());
        }
        lines.push(line);
    }
    Err(problem(ErrorKind::UnexpectedEof.into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;
    use crate::request::Side;

    /// The path of a socket in a folder of its own, gone at the end.
    struct Place(PathBuf);

    impl Place {
        fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("mayfly-control-{name}-{}", std::process::id()));
            fs::create_dir_all(&folder).unwrap();
            Self(folder.join("c.sock"))
        }
        fn file(&self, name: &str) -> PathBuf {
            self.0.with_file_name(name)
        }
        fn serve(&self) -> Result<Control, String> {
            Control::serve(&self.0, vec![("wire".into(), "packet:a:b".into())], Arc::default())
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(self.0.parent().unwrap());
        }
    }

    #[test]
    fn what_is_asked_is_answered() {
        let place = Place::new("answers");
        let _control = place.serve().unwrap();
        assert_eq!(fs::metadata(&place.0).unwrap().permissions().mode() & 0o777, 0o600);
        let status = ask(&place.0, &"status").unwrap();
        for line in ["wire:packet:a:b", "nic_busy_cycles:0", "capture_wire:off", "firmware_events_written:0"]
        {
            assert!(status.iter().any(|shown| shown == line), "no {line} in {status:?}");
        }
        assert_eq!(ask(&place.0, &Request::Flows { count: 3 }), Ok(vec![]));
        assert_eq!(ask(&place.0, &Request::Events { flow: None, count: 3 }), Ok(vec![]));
        // Whatever a path is made of.
        let file = place.file("a \"b\\c'\nd\u{e9}.pcap");
        let limits = crate::CaptureLimits::default();
        let start = Request::StartCapture { side: Side::Wire, file: file.clone(), limits };
        assert_eq!(ask(&place.0, &start), Ok(vec![]));
        assert!(file.exists());
        assert!(ask(&place.0, &start).is_err_and(|said| said.contains("is running")));
        assert!(ask(&place.0, &"STATUS").unwrap().contains(&"capture_wire:running, 0 frames".into()));
        assert_eq!(ask(&place.0, &Request::StopCapture { side: Side::Wire }), Ok(vec!["0".into()]));
        for (request, problem) in [
            ("FLOWS many", "not an integer"),
            ("SHOW", "syntax"),
            ("", "syntax"),
            ("EVENTS \"", "unbalanced quotes"),
            (&"x".repeat(20_000), "too long"),
        ] {
            let said = ask(&place.0, &request).unwrap_err();
            assert!(said.contains(problem), "{request}: {said}");
        }
    }

    #[test]
    fn a_connection_is_for_any_number_of_requests() {
        let place = Place::new("many");
        let _control = place.serve().unwrap();
        let mut stream = UnixStream::connect(&place.0).unwrap();
        stream.write_all(b"FLOWS\r\nFLOWS x\nEVENTS\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "END\nERR value is not an integer or out of range\nEND\n");
    }

    #[test]
    fn only_what_a_dead_process_left_is_replaced() {
        let place = Place::new("stale");
        assert!(ask(&place.0, &"STATUS").is_err_and(|said| said.contains("start one")));
        drop(listen(&place.0).unwrap());
        assert!(ask(&place.0, &"STATUS").is_err_and(|said| said.contains("dead")));
        let control = place.serve().unwrap();
        assert!(place.serve().is_err_and(|said| said.contains("in use by another mayfly-nic")));
        assert!(ask(&place.0, &"STATUS").is_ok());
        drop(control);
        assert_eq!(fs::read_dir(place.0.parent().unwrap()).unwrap().count(), 0, "something is left");
        fs::write(&place.0, "mine").unwrap();
        assert!(place.serve().is_err_and(|said| said.contains("something else")));
        assert_eq!(fs::read(&place.0).unwrap(), b"mine");
        fs::remove_file(&place.0).unwrap();
        // Somebody answers who knows of no lock.
        let other = listen(&place.0).unwrap();
        assert!(place.serve().is_err_and(|said| said.contains("in use")));
        drop(other);
        // Taken away, and made anew by another: not ours to remove.
        let control = place.serve().unwrap();
        fs::rename(&place.0, place.file("kept.sock")).unwrap();
        let _other = listen(&place.0).unwrap();
        drop(control);
        assert!(place.0.exists());
    }

    #[test]
    fn of_all_that_want_a_dead_ones_place_one_gets_it() {
        const THREADS: usize = 4;
        let place = Place::new("race");
        for _ in 0..200 {
            drop(listen(&place.0).unwrap());
            let begin = Barrier::new(THREADS);
            let taken: Vec<_> = std::thread::scope(|scope| {
                let take = || {
                    begin.wait();
                    Control::take(&place.0)
                };
                let threads = [(); THREADS].map(|()| scope.spawn(take));
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let (won, lost): (Vec<_>, Vec<_>) = taken.into_iter().partition(Result::is_ok);
            assert_eq!(won.len(), 1, "{won:?}");
            for lost in lost {
                assert!(lost.is_err_and(|said| said.contains("in use")));
            }
            assert!(UnixStream::connect(&place.0).is_ok(), "who has won serves");
        }
    }
}
