//! One connection of an odd client: its TCP, what it is about to say and in which pieces, and
//! what it must hear, byte by byte.

use std::collections::VecDeque;

use netcore::rng::SeededRng;
use netcore::{Duration, Instant};

use super::tcp::{End, Endpoint, ODD_BYTES};
use crate::counting::TURNED_AWAY;
use crate::wire::WirePort;

/// What has to come next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Exactly these bytes.
    Bytes(Vec<u8>),
    /// An integer reply of any value, which [`Speaker::number`] then is.
    Integer,
}

/// How a client ends its connection when everything has been said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It closes when all replies are there.
    Close,
    /// It closes its sending side behind its last request: all replies must still come.
    HalfClose,
    /// It says QUIT, and the server closes.
    Quit,
    /// It resets when all replies are there.
    Abort,
    /// It resets right behind its last request.
    AbortEarly,
}

/// How it writes and reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// Most bytes written at once; the next come a little later.
    pub(super) piece_max: usize,
    /// Pause between two pieces, at most.
    pub(super) pause_max: Duration,
    /// How long it does not read now and then, at most; zero: it always reads.
    pub(super) deaf_max: Duration,
}

impl Habits {
    pub(super) fn draw(rng: &mut SeededRng) -> Self {
        let pick = |rng: &mut SeededRng, of: &[u64]| of[rng.below(of.len() as u64) as usize];
        Self {
            piece_max: pick(rng, &[1, 5, 64, 1_000, 100_000, 1 << 30]) as usize,
            pause_max: Duration::from_micros(pick(rng, &[0, 0, 100, 10_000])),
            deaf_max: Duration::from_millis(if rng.chance(800_000) {
                0
            } else {
                pick(rng, &[5, 300, 5_000])
            }),
        }
    }
}

/// The connection.
pub(super) struct Speaker {
    pub(super) tcp: Endpoint,
    rng: SeededRng,
    habits: Habits,
    pub(super) ending: Ending,
    /// To be written.
    words: VecDeque<u8>,
    written: u64,
    write_at: Option<Instant>,
    read_at: Option<Instant>,
    expected: VecDeque<Expected>,
    /// Of the first of `expected`, what has come.
    heard: Vec<u8>,
    /// Of the bytes that were foretold.
    heard_bytes: u64,
    heard_hash: u64,
    /// The last integer that was expected as such.
    pub(super) number: Option<u64>,
    /// Nothing more will be said than `words`.
    last: bool,
    /// The server is to close.
    pub(super) awaits_close: bool,
    /// The server closed when it should not have.
    cut_short: Option<String>,
    /// It was told that there are too many clients.
    pub(super) turned_away: bool,
}

impl Speaker {
    pub(super) fn new(tcp: Endpoint, habits: Habits, ending: Ending, rng: SeededRng) -> Self {
        Self {
            tcp,
            rng,
            habits,
            ending,
            words: VecDeque::new(),
            written: 0,
            write_at: None,
            read_at: None,
            expected: VecDeque::new(),
            heard: Vec::new(),
            heard_bytes: 0,
            heard_hash: 0,
            number: None,
            last: false,
            awaits_close: false,
            cut_short: None,
            turned_away: false,
        }
    }

    /// Says this, and expects that for it.
    pub(super) fn say(&mut self, words: &[u8], expected: Vec<Expected>, now: Instant) {
        self.words.extend(words);
        self.expect(expected);
        self.write_at.get_or_insert(now);
    }

    /// Expects this for what somebody else says.
    pub(super) fn expect(&mut self, expected: Vec<Expected>) {
        self.expected.extend(expected);
    }

    /// Nothing more is to be said: it ends as it was drawn.
    pub(super) fn end(&mut self, now: Instant) {
        if self.last {
            return;
        }
        self.last = true;
        if self.tcp.end().is_some() {
            return;
        }
        if self.ending == Ending::Quit {
            self.say(b"*1\r\n$4\r\nQUIT\r\n", vec![Expected::Bytes(b"+OK\r\n".to_vec())], now);
            self.awaits_close = true;
        }
        self.write_at.get_or_insert(now);
    }

    /// True when all that was said is written and all that is expected has come.
    pub(super) fn is_satisfied(&self) -> bool {
        self.words.is_empty() && self.expected.is_empty()
    }

    /// True when nothing more will be said.
    pub(super) fn is_last(&self) -> bool {
        self.last
    }

    /// A number made from all bytes heard.
    pub(super) fn heard_hash(&self) -> u64 {
        self.heard_hash
    }

    /// How many bytes were heard.
    pub(super) fn heard_bytes(&self) -> u64 {
        self.heard_bytes
    }

    /// Where it is, for people.
    pub(super) fn describe(&self) -> String {
        format!(
            "port {}: {:?}, {} bytes to say, {} things to hear, ends by {:?}",
            self.tcp.port,
            self.tcp.belief(),
            self.words.len(),
            self.expected.len(),
            self.ending
        )
    }

    pub(super) fn next_at(&self) -> Option<Instant> {
        self.tcp.next_at().into_iter().chain(self.write_at).chain(self.read_at).min()
    }

    /// Writes, reads, ends; true when something moved.
    ///
    /// # Errors
    /// It heard what it must not hear.
    pub(super) fn poll(&mut self, wire: &mut WirePort, now: Instant) -> Result<bool, String> {
        if self.tcp.end().is_some() {
            (self.write_at, self.read_at) = (None, None);
            // The last bytes may have come with the end; who has left does not hear them.
            let bytes = self.tcp.read(now);
            let listens = self.tcp.end() != Some(End::Aborted);
            return if listens { self.hear(&bytes).map(|()| !bytes.is_empty()) } else { Ok(false) };
        }
        let mut any = false;
        if self.write_at.is_some_and(|at| at <= now) {
            self.write_at = None;
            any = true;
            self.write(wire, now);
        }
        if self.read_at.is_none_or(|at| at <= now) {
            any |= self.read_at.take().is_some();
            let bytes = self.tcp.read(now);
            if !bytes.is_empty() {
                any = true;
                self.hear(&bytes)?;
                if self.habits.deaf_max > Duration::ZERO && self.rng.chance(300_000) {
                    let wait = self.rng.below(self.habits.deaf_max.micros());
                    self.read_at = Some(now + Duration::from_micros(1 + wait));
                }
            }
            self.maybe_finish(wire, now);
        }
        Ok(any | self.tcp.poll(wire, now))
    }

    fn write(&mut self, wire: &mut WirePort, now: Instant) {
        let piece_max = if self.written < ODD_BYTES { self.habits.piece_max } else { 1 << 30 };
        let len = self.words.len().min(1 + self.rng.below(piece_max as u64) as usize);
        self.written += len as u64;
        let piece: Vec<u8> = self.words.drain(..len).collect();
        if !self.tcp.has_finished() {
            self.tcp.write(&piece);
        }
        if !self.words.is_empty() {
            let pause = Duration::from_micros(self.rng.below(self.habits.pause_max.micros() + 1));
            self.write_at = Some(now + pause);
        } else if self.last {
            match self.ending {
                Ending::HalfClose => self.tcp.finish(),
                Ending::AbortEarly => {
                    self.tcp.poll(wire, now);
                    self.tcp.abort(wire, now);
                }
                Ending::Close | Ending::Quit | Ending::Abort => {}
            }
        }
    }

    /// Compares what came with what had to come.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let Some(first) = self.expected.front() else {
                if self.heard_bytes == 0 && self.refusal(bytes).is_some() {
                    return self.surprised(bytes);
                }
                return Err(format!("\"{}\" came and nothing was expected", shown(bytes)));
            };
            let done = match first {
                Expected::Bytes(wanted) => {
                    let rest = &wanted[self.heard.len()..];
                    let len = rest.len().min(bytes.len());
                    if bytes[..len] != rest[..len] {
                        return self.surprised(bytes);
                    }
                    self.heard.extend_from_slice(&bytes[..len]);
                    self.heard_bytes += len as u64;
                    for &byte in &bytes[..len] {
                        self.heard_hash = (self.heard_hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
                    }
                    bytes = &bytes[len..];
                    self.heard.len() == wanted.len()
                }
                Expected::Integer => {
                    let end = bytes.iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |at| at + 1);
                    self.heard.extend_from_slice(&bytes[..end]);
                    bytes = &bytes[end..];
                    let line = self.heard.strip_suffix(b"\r\n");
                    if let Some(line) = line {
                        let digits = line.strip_prefix(b":").and_then(|line| std::str::from_utf8(line).ok());
                        let number = digits.and_then(|digits| digits.parse().ok());
                        let Some(number) = number else {
                            return Err(format!("\"{}\" came instead of a number", shown(line)));
                        };
                        self.number = Some(number);
                    }
                    line.is_some()
                }
            };
            if done {
                self.heard.clear();
                self.expected.pop_front();
            }
        }
        Ok(())
    }

    /// The refusal that begins with what came, in place of a reply.
    fn refusal(&self, bytes: &[u8]) -> Option<&'static [u8]> {
        let begins = |text: &&[u8]| text.starts_with(&bytes[..bytes.len().min(text.len())]);
        TURNED_AWAY.into_iter().find(begins).filter(|_| self.heard.is_empty())
    }

    fn surprised(&mut self, bytes: &[u8]) -> Result<(), String> {
        // A newcomer may be turned away, whatever it asks.
        if let Some(refusal) = self.refusal(bytes) {
            self.turned_away = true;
            self.forget();
            self.expect(vec![Expected::Bytes(refusal.to_vec())]);
            self.awaits_close = true;
            return self.hear(bytes);
        }
        let Some(Expected::Bytes(wanted)) = self.expected.front() else { return Ok(()) };
        let wanted = &wanted[self.heard.len()..];
        let same = bytes.iter().zip(wanted).take_while(|(a, b)| a == b).count();
        Err(format!(
            "behind {} bytes of a reply \"{}\" came instead of \"{}\"",
            self.heard.len() + same,
            shown(&bytes[same..]),
            shown(&wanted[same..])
        ))
    }

    /// Nothing more will be said, and nothing is expected any more.
    fn forget(&mut self) {
        self.words.clear();
        self.expected.clear();
        self.heard.clear();
        self.last = true;
    }

    /// It cannot go on as foretold, because of this.
    pub(super) fn cut_short(&mut self, why: String) {
        self.cut_short.get_or_insert(why);
    }

    /// Leaves at once.
    pub(super) fn give_up(&mut self, wire: &mut WirePort, now: Instant) {
        if self.tcp.end().is_none() {
            self.forget();
            self.tcp.abort(wire, now);
        }
    }

    /// Closes when its time has come, and looks at how the server closed.
    fn maybe_finish(&mut self, wire: &mut WirePort, now: Instant) {
        if self.tcp.peer_finished() {
            let owed = self.expected.len();
            if owed > 0 && !self.turned_away {
                self.cut_short = Some(format!("the server closed and owed {owed} replies"));
            } else if !self.awaits_close && !self.tcp.has_finished() {
                self.cut_short = Some("the server closed without being asked".to_owned());
            }
            self.tcp.finish();
        } else if self.last && self.is_satisfied() && !self.awaits_close {
            match self.ending {
                Ending::Close | Ending::HalfClose | Ending::Quit => self.tcp.finish(),
                Ending::Abort | Ending::AbortEarly => self.tcp.abort(wire, now),
            }
        }
    }

    /// What is wrong with how it ended, if anything is.
    pub(super) fn verdict(&self) -> Result<(), String> {
        if let Some(cut_short) = &self.cut_short {
            return Err(cut_short.clone());
        }
        match self.tcp.end() {
            // Whoever is to be closed may not get to say all.
            Some(End::Closed | End::Reset) if self.awaits_close && self.expected.is_empty() => Ok(()),
            Some(End::Closed) if self.is_satisfied() || self.turned_away => Ok(()),
            Some(End::Closed) => Err("closed in order, but not everything had come".to_owned()),
            Some(End::Aborted) => Ok(()),
            // Whoever has everything and has closed does not mind.
            Some(End::Reset) if self.is_satisfied() && self.last => Ok(()),
            Some(End::Reset) => Err("reset by the server".to_owned()),
            Some(End::Refused) => Err("refused by the server".to_owned()),
            None => Ok(()),
        }
    }
}

/// The beginning of it, to be read.
fn shown(bytes: &[u8]) -> String {
    let dots = if bytes.len() > 60 { "..." } else { "" };
    format!("{}{dots}", bytes[..bytes.len().min(60)].escape_ascii())
}
