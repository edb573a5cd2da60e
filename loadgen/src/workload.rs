//! What is asked and what must be answered, whatever carries the bytes.
//!
//! A [`Session`] is one connection's place in the workload: a batch of requests is written, all
//! its replies are awaited and compared as they come in, then the next batch follows or the
//! connection ends. Loading is the same with SETs of every key in turn.

use std::fmt::Write as _;

use netcore::Instant;
use netcore::rng::SeededRng;

use crate::results::{ErrorKind, Results};
use crate::values::{KEY_BYTES, KEYS_MAX, Values, key_name};

/// Requests that a connection sends at once while it loads, for small values.
const LOAD_PIPELINE: usize = 16;
/// Bytes of values that a connection sends at once while it loads, unless one is larger.
const LOAD_BATCH_BYTES: usize = 16 * 1024;

const OK: &[u8] = b"+OK\r\n";
const GET: &[u8] = b"*2\r\n$3\r\nGET\r\n$16\r\n";
const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$16\r\n";
const QUIT: &[u8] = b"*1\r\n$4\r\nQUIT\r\n";

/// Which side closes a connection first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClosesFirst {
    /// The client, right after the last reply.
    #[default]
    Client,
    /// The server: a QUIT is pipelined behind the last request.
    Server,
}

/// How keys are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Distribution {
    /// All alike.
    #[default]
    Uniform,
    /// The n-th most popular key is asked for proportionally to `1/n^exponent`; 0 < exponent < 1.
    Zipf(f64),
}

/// What to ask.
#[derive(Clone, Debug)]
pub struct WorkloadConfig {
    /// Number of keys, 1..=10^12.
    pub keys: u64,
    /// Bytes of every value.
    pub value_bytes: usize,
    /// Share of GETs among the requests, 0..=100; the rest are SETs.
    pub get_percent: u32,
    /// How keys are drawn.
    pub distribution: Distribution,
    /// Requests that a connection sends at once before it waits for all their replies; at least 1.
    pub pipeline: usize,
    /// Requests of a connection before it ends; `None`: it stays.
    pub requests_per_connection: Option<u64>,
    /// Who closes first.
    pub closes: ClosesFirst,
    /// SET all keys first.
    pub load: bool,
    /// Sent with AUTH at the start of every connection.
    pub password: Option<String>,
    /// Values and draws follow from it. Who does not load must use the seed of who did.
    pub seed: u64,
}

impl Default for WorkloadConfig {
    fn default() -> Self {
        Self {
            keys: 10_000,
            value_bytes: 32,
            get_percent: 100,
            distribution: Distribution::Uniform,
            pipeline: 1,
            requests_per_connection: Some(1),
            closes: ClosesFirst::Client,
            load: true,
            password: None,
            seed: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    Auth,
    Load(u64),
    Get(u64),
    Set(u64),
    Quit,
}

/// One connection's place in the workload. Kept and used again for the next connection.
#[derive(Debug, Default)]
pub(crate) struct Session {
    batch: Vec<Request>,
    answered: usize,
    /// Bytes of the current reply that have been compared.
    reply_at: usize,
    requests_left: u64,
    started: Instant,
    quit: bool,
}

impl Session {
    /// True while replies are missing.
    pub(crate) fn waiting(&self) -> bool {
        self.answered < self.batch.len()
    }
    /// True when the server was asked to close.
    pub(crate) fn quit_sent(&self) -> bool {
        self.quit
    }
}

/// What received bytes have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Replies are still missing.
    More,
    /// Everything asked is answered.
    Done,
    /// The bytes are wrong; the connection is of no more use.
    Wrong(ErrorKind),
}

/// The state that all sessions of an engine share.
pub(crate) struct Workload {
    config: WorkloadConfig,
    values: Values,
    /// What stands between key and value of a SET.
    set_header: Vec<u8>,
    /// What stands before the value in the reply to a GET.
    get_header: Vec<u8>,
    auth: Vec<u8>,
    rng: SeededRng,
    zipf: Option<Zipf>,
    load_next: u64,
    load_done: u64,
    /// Requests that may still be issued.
    budget: u64,
    issued: u64,
    finished: u64,
    counting: bool,
    pub(crate) results: Results,
}

impl Workload {
    pub(crate) fn new(config: WorkloadConfig) -> Self {
        assert!((1..=KEYS_MAX).contains(&config.keys), "1..=10^12 keys, not {}", config.keys);
        assert!(config.pipeline >= 1, "a pipeline of at least one request");
        assert!(config.requests_per_connection != Some(0), "at least one request per connection");
        let value_len = config.value_bytes;
        let auth = config.password.as_ref().map_or_else(Vec::new, |password| {
            format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len()).into_bytes()
        });
        Self {
            values: Values::new(config.seed, value_len),
            set_header: format!("\r\n${value_len}\r\n").into_bytes(),
            get_header: format!("${value_len}\r\n").into_bytes(),
            auth,
            rng: SeededRng::new(config.seed ^ 0x6472_6177),
            zipf: match config.distribution {
                Distribution::Uniform => None,
                Distribution::Zipf(exponent) => Some(Zipf::new(config.keys, exponent)),
            },
            load_next: 0,
            load_done: 0,
            budget: u64::MAX,
            issued: 0,
            finished: 0,
            counting: true,
            results: Results::default(),
            config,
        }
    }

    /// Loading: keys answered and keys in all; both 0 without loading.
    pub(crate) fn load_progress(&self) -> (u64, u64) {
        if self.config.load { (self.load_done, self.config.keys) } else { (0, 0) }
    }

    /// True when there is nothing (more) to load.
    pub(crate) fn loaded(&self) -> bool {
        !self.config.load || self.load_done == self.config.keys
    }

    /// Allows `requests` more, instead of what was allowed before.
    pub(crate) fn allow(&mut self, requests: u64) {
        self.budget = requests;
    }

    /// True when all that was allowed has been issued, and has been answered or has failed.
    pub(crate) fn settled(&self) -> bool {
        self.budget == 0 && self.issued == self.finished
    }

    pub(crate) fn begin_measuring(&mut self) {
        self.results.begin_window();
        self.counting = true;
    }

    pub(crate) fn end_measuring(&mut self) {
        self.counting = false;
    }

    /// Begins a connection and writes its first batch to `out`; false when nothing is to be
    /// asked at present and the connection should not be opened.
    pub(crate) fn begin(&mut self, session: &mut Session, out: &mut Vec<u8>, now: Instant) -> bool {
        session.requests_left = self.config.requests_per_connection.unwrap_or(u64::MAX);
        session.quit = false;
        self.batch(session, out, now, true)
    }

    /// Writes the next batch to `out`; false when the connection is to end now.
    pub(crate) fn next(&mut self, session: &mut Session, out: &mut Vec<u8>, now: Instant) -> bool {
        if session.quit {
            return false;
        }
        if self.batch(session, out, now, false) {
            return true;
        }
        if self.config.closes == ClosesFirst::Client {
            return false;
        }
        self.push_quit(session, out);
        true
    }

    fn batch(&mut self, session: &mut Session, out: &mut Vec<u8>, now: Instant, first: bool) -> bool {
        session.batch.clear();
        session.answered = 0;
        session.reply_at = 0;
        session.started = now;
        let loading = !self.loaded();
        let count = if loading {
            let depth = (LOAD_BATCH_BYTES / self.config.value_bytes.max(1)).clamp(1, LOAD_PIPELINE);
            (depth as u64).min(self.config.keys - self.load_next)
        } else {
            (self.config.pipeline as u64).min(session.requests_left).min(self.budget)
        };
        if count == 0 {
            return false;
        }
        if first && !self.auth.is_empty() {
            session.batch.push(Request::Auth);
            out.extend_from_slice(&self.auth);
        }
        self.issued += count;
        for _ in 0..count {
            let request = if loading {
                self.load_next += 1;
                Request::Load(self.load_next - 1)
            } else {
                self.draw()
            };
            session.batch.push(request);
            self.write(request, out);
        }
        if !loading {
            self.budget -= count;
            session.requests_left -= count;
            if session.requests_left == 0 && self.config.closes == ClosesFirst::Server {
                self.push_quit(session, out);
            }
        }
        true
    }

    fn push_quit(&self, session: &mut Session, out: &mut Vec<u8>) {
        session.quit = true;
        session.batch.push(Request::Quit);
        out.extend_from_slice(QUIT);
    }

    #[inline]
    fn draw(&mut self) -> Request {
        let key = match &self.zipf {
            None => (u128::from(self.rng.next_u64()) * u128::from(self.config.keys)) >> 64,
            Some(zipf) => u128::from(zipf.draw(&mut self.rng)),
        } as u64;
        let get = match self.config.get_percent {
            0 => false,
            100.. => true,
            percent => self.rng.below(100) < u64::from(percent),
        };
        if get { Request::Get(key) } else { Request::Set(key) }
    }

    #[inline]
    fn write(&self, request: Request, out: &mut Vec<u8>) {
        match request {
            Request::Get(key) => {
                let mut bytes = [0; GET.len() + KEY_BYTES + 2];
                bytes[..GET.len()].copy_from_slice(GET);
                bytes[GET.len()..GET.len() + KEY_BYTES].copy_from_slice(&key_name(key));
                bytes[GET.len() + KEY_BYTES..].copy_from_slice(b"\r\n");
                out.extend_from_slice(&bytes);
            }
            Request::Set(key) | Request::Load(key) => {
                out.extend_from_slice(SET);
                out.extend_from_slice(&key_name(key));
                out.extend_from_slice(&self.set_header);
                for part in self.values.of(key).parts() {
                    out.extend_from_slice(part);
                }
                out.extend_from_slice(b"\r\n");
            }
            Request::Auth => out.extend_from_slice(&self.auth),
            Request::Quit => out.extend_from_slice(QUIT),
        }
    }

    /// Compares received bytes with what must come.
    #[inline]
    pub(crate) fn received(&mut self, session: &mut Session, mut bytes: &[u8], now: Instant) -> Progress {
        while !bytes.is_empty() {
            let Some(&request) = session.batch.get(session.answered) else {
                return self.wrong(None, 0, bytes);
            };
            match self.compare(request, session.reply_at, bytes) {
                Compared::Whole { used } => {
                    bytes = &bytes[used..];
                    session.answered += 1;
                    session.reply_at = 0;
                    self.answered(request, session.started, now);
                }
                Compared::Part => {
                    session.reply_at += bytes.len();
                    bytes = &[];
                }
                Compared::Different => return self.wrong(Some(request), session.reply_at, bytes),
            }
        }
        if session.waiting() { Progress::More } else { Progress::Done }
    }

    #[inline]
    fn answered(&mut self, request: Request, started: Instant, now: Instant) {
        match request {
            Request::Auth | Request::Quit => return,
            Request::Load(_) => {
                self.load_done += 1;
                self.finished += 1;
                return;
            }
            Request::Get(_) if self.counting => self.results.gets += 1,
            Request::Set(_) if self.counting => self.results.sets += 1,
            Request::Get(_) | Request::Set(_) => {}
        }
        self.finished += 1;
        if self.counting {
            self.results.transactions += 1;
            self.results.record(now.since(started));
        }
    }

    #[inline]
    fn compare(&self, request: Request, at: usize, bytes: &[u8]) -> Compared {
        let Request::Get(key) = request else { return compare_parts(&[OK], at, bytes) };
        let value = self.values.of(key);
        let [name, text] = value.parts();
        compare_parts(&[&self.get_header, name, text, b"\r\n"], at, bytes)
    }

    #[cold]
    fn wrong(&mut self, request: Option<Request>, at: usize, bytes: &[u8]) -> Progress {
        let kind = if request.is_some() && at == 0 && bytes.first() == Some(&b'-') {
            ErrorKind::ErrorReply
        } else {
            ErrorKind::WrongReply
        };
        let mut text = match request {
            None => "unasked".to_owned(),
            Some(Request::Auth) => "AUTH".to_owned(),
            Some(Request::Quit) => "QUIT".to_owned(),
            Some(Request::Get(key)) => format!("GET {}", key_name(key).escape_ascii()),
            Some(Request::Set(key) | Request::Load(key)) => format!("SET {}", key_name(key).escape_ascii()),
        };
        let shown = &bytes[..bytes.len().min(80)];
        let _ = write!(text, ": at byte {at} of the reply came \"{}\"", shown.escape_ascii());
        if let Some(Request::Get(key)) = request {
            let whole = [&self.get_header[..], &self.values.of(key).parts().concat(), b"\r\n"].concat();
            let wanted = &whole[at.min(whole.len())..];
            let _ = write!(text, ", expected \"{}\"", wanted[..wanted.len().min(80)].escape_ascii());
            if at == 0 && bytes.starts_with(b"$-1") {
                text.push_str(" (the key is not there: was it loaded, and not evicted?)");
            }
        }
        self.results.first_error.get_or_insert(text);
        Progress::Wrong(kind)
    }

    /// The connection ended as it should.
    pub(crate) fn ended(&mut self) {
        if self.counting {
            self.results.connections += 1;
        }
    }

    /// The connection ended otherwise: everything that was not answered has failed, and at least
    /// one thing.
    #[cold]
    pub(crate) fn failed(&mut self, session: &mut Session, kind: ErrorKind, detail: &str) {
        let lost = session.batch[session.answered.min(session.batch.len())..]
            .iter()
            .filter(|request| !matches!(request, Request::Auth | Request::Quit))
            .count() as u64;
        session.answered = session.batch.len();
        self.finished += lost;
        self.results.errors.add(kind, lost.max(1));
        if self.results.first_error.is_none() {
            self.results.first_error = Some(format!("{}: {detail}", kind.name()));
        }
    }
}

enum Compared {
    Whole { used: usize },
    Part,
    Different,
}

/// Compares `bytes` with the concatenation of `parts` from byte `at` on.
#[inline]
fn compare_parts(parts: &[&[u8]], mut at: usize, bytes: &[u8]) -> Compared {
    let mut used = 0;
    for part in parts {
        if at >= part.len() {
            at -= part.len();
            continue;
        }
        let wanted = &part[at..];
        let len = wanted.len().min(bytes.len() - used);
        if wanted[..len] != bytes[used..used + len] {
            return Compared::Different;
        }
        used += len;
        if len < wanted.len() {
            return Compared::Part;
        }
        at = 0;
    }
    Compared::Whole { used }
}

/// Draws from a Zipf distribution in constant time (Gray et al., "Quickly generating
/// billion-record synthetic databases", SIGMOD '94).
struct Zipf {
    keys: f64,
    exponent: f64,
    zeta: f64,
    eta: f64,
}

impl Zipf {
    fn new(keys: u64, exponent: f64) -> Self {
        assert!(exponent > 0.0 && exponent < 1.0, "a Zipf exponent between 0 and 1, not {exponent}");
        let zeta: f64 = (1..=keys).map(|n| (n as f64).powf(-exponent)).sum();
        let zeta_2 = 1.0 + 0.5f64.powf(exponent);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - exponent)) / (1.0 - zeta_2 / zeta);
        Self { keys: keys as f64, exponent, zeta, eta }
    }

    fn draw(&self, rng: &mut SeededRng) -> u64 {
        let u = (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let scaled = u * self.zeta;
        if scaled < 1.0 {
            return 0;
        }
        if self.keys < 2.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5f64.powf(self.exponent) {
            return 1;
        }
        let rank = self.keys * (self.eta * u - self.eta + 1.0).powf(1.0 / (1.0 - self.exponent));
        (rank as u64).min(self.keys as u64 - 1)
    }
}

#[cfg(test)]
mod tests;
