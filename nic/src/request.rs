//! What can be asked of the firmware while it runs, in words: the same for `MAYFLY` of the server and
//! for the control socket of `mayfly-nic`.

use std::ffi::OsStr;
use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nicfw::INDIRECTION;
use protocol::channel::FlowId;
use protocol::resp::number::parse_i64;

use crate::capture::CaptureLimits;
use crate::steering::Change;

/// A side of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the network: what the device receives and sends.
    Wire,
    /// Towards the host: the messages of the channel, and raw frames; all queues together.
    Host,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wire, Self::Host];

    /// `wire` or `host`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Host => "host",
        }
    }
}

/// Something that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Flows that are there: `FLOWS [count]`.
    Flows {
        /// Most lines.
        count: usize,
    },
    /// What happened last, newest first: `EVENTS [flow] [COUNT count]`.
    Events {
        /// To one flow only.
        flow: Option<FlowId>,
        /// Most lines.
        count: usize,
    },
    /// Writes the frames of a side to a new file:
    /// `CAPTURE START WIRE|HOST file [COUNT frames] [BYTES bytes]`.
    StartCapture {
        /// Whose frames.
        side: Side,
        /// The file.
        file: PathBuf,
        /// How much of them.
        limits: CaptureLimits,
    },
    /// Ends that: `CAPTURE STOP WIRE|HOST`.
    StopCapture {
        /// Whose capture.
        side: Side,
    },
    /// Which entries of the table lead to which queue: `STEER`.
    Steering,
    /// Changes it: `STEER SET first[-last] queue`, `STEER DRAIN queue`, `STEER EVEN`.
    Steer(Change),
}

/// What comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A line for each of what was asked for.
    Lines(Vec<String>),
    /// It is done.
    Done,
    /// It is done, to so many frames.
    Count(u64),
}

impl Request {
    /// Lines that are shown when no number is given.
    pub const COUNT_DEFAULT: usize = 10;

    /// Reads the words of a request; those that are not names or numbers in any case.
    ///
    /// # Errors
    /// What is wrong, for whoever asks.
    pub fn parse(words: &[&[u8]]) -> Result<Self, String> {
        let is =
            |at: usize, word: &str| words.get(at).is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
        match words.len() {
            1 if is(0, "FLOWS") => Ok(Self::Flows { count: Self::COUNT_DEFAULT }),
            2 if is(0, "FLOWS") => Ok(Self::Flows { count: number(words[1])? }),
            _ if is(0, "EVENTS") => Self::parse_events(&words[1..]),
            3 if is(0, "CAPTURE") && is(1, "STOP") => Ok(Self::StopCapture { side: side(words[2])? }),
            4.. if is(0, "CAPTURE") && is(1, "START") => Self::parse_start(&words[2..]),
            1 if is(0, "STEER") => Ok(Self::Steering),
            2 if is(0, "STEER") && is(1, "EVEN") => Ok(Self::Steer(Change::Even)),
            3 if is(0, "STEER") && is(1, "DRAIN") => {
                Ok(Self::Steer(Change::Drain { queue: number(words[2])? }))
            }
            4 if is(0, "STEER") && is(1, "SET") => {
                let (first, last) = entries(words[2])?;
                Ok(Self::Steer(Change::Set { first, last, queue: number(words[3])? }))
            }
            _ => Err(syntax()),
        }
    }

    /// `[flow] [COUNT count]`
    fn parse_events(words: &[&[u8]]) -> Result<Self, String> {
        let (flow, rest) = match words {
            [word, rest @ ..] if !word.eq_ignore_ascii_case(b"COUNT") => (Some(flow_id(word)?), rest),
            rest => (None, rest),
        };
        match rest {
            [] => Ok(Self::events(flow, None)),
            [word, count] if word.eq_ignore_ascii_case(b"COUNT") => {
                Ok(Self::events(flow, Some(number(count)?)))
            }
            _ => Err(syntax()),
        }
    }

    /// Without a count, all that is shown of one flow.
    pub(crate) fn events(flow: Option<FlowId>, count: Option<usize>) -> Self {
        let count = count.unwrap_or(if flow.is_some() { usize::MAX } else { Self::COUNT_DEFAULT });
        Self::Events { flow, count }
    }

    /// `WIRE|HOST file [COUNT frames] [BYTES bytes]`; at least two words.
    fn parse_start(words: &[&[u8]]) -> Result<Self, String> {
        let mut limits = CaptureLimits::default();
        for pair in words[2..].chunks(2) {
            match pair {
                [word, count] if word.eq_ignore_ascii_case(b"COUNT") => limits.frames = number(count)?,
                [word, bytes] if word.eq_ignore_ascii_case(b"BYTES") => limits.bytes = number(bytes)?,
                _ => return Err(syntax()),
            }
        }
        Ok(Self::StartCapture { side: side(words[0])?, file: OsStr::from_bytes(words[1]).into(), limits })
    }
}

fn syntax() -> String {
    "syntax error".into()
}

// What stands in a request, and in the same words on the command line of `mayfly-nic`.

/// Reads a number of something.
///
/// # Errors
/// It is something else, or more than a `T` holds.
pub(crate) fn number<T: TryFrom<u64>>(word: &[u8]) -> Result<T, String> {
    let wrong = || "value is not an integer or out of range".to_owned();
    let number = parse_i64(word).ok_or_else(wrong)?;
    let number = u64::try_from(number).map_err(|_| "count should be greater than or equal to 0")?;
    T::try_from(number).map_err(|_| wrong())
}

/// Reads a side's name.
///
/// # Errors
/// It is something else.
pub(crate) fn side(word: &[u8]) -> Result<Side, String> {
    let named = |side: &Side| word.eq_ignore_ascii_case(side.name().as_bytes());
    Side::ALL.into_iter().find(named).ok_or_else(|| "a side is wire or host".into())
}

/// Reads `first` or `first-last`, entries of the table from hash to queue.
///
/// # Errors
/// It is something else.
pub(crate) fn entries(word: &[u8]) -> Result<(usize, usize), String> {
    let parse = || {
        let text = std::str::from_utf8(word).ok()?;
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (first <= last && last < INDIRECTION).then_some((first, last))
    };
    parse().ok_or_else(|| format!("entries are FIRST or FIRST-LAST, from 0 to {}", INDIRECTION - 1))
}

/// Reads `SLOT.GENERATION`, as lists show it.
///
/// # Errors
/// It is something else.
pub fn flow_id(word: &[u8]) -> Result<FlowId, String> {
    let parse = || {
        let (slot, generation) = std::str::from_utf8(word).ok()?.split_once('.')?;
        Some(FlowId { slot: slot.parse().ok()?, generation: generation.parse().ok()? })
    };
    parse().ok_or_else(|| "a flow is SLOT.GENERATION, such as 5.2 (FLOWS shows them)".into())
}

impl fmt::Display for Request {
    /// On one line, as Redis takes requests that are typed in; [`Request::parse`] reads its words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flows { count } => write!(f, "FLOWS {count}"),
            Self::Events { flow, count } => {
                f.write_str("EVENTS")?;
                if let Some(FlowId { slot, generation }) = flow {
                    write!(f, " {slot}.{generation}")?;
                }
                // All of them is what is shown of one flow anyway.
                if *count == usize::MAX { Ok(()) } else { write!(f, " COUNT {count}") }
            }
            Self::StartCapture { side, file, limits } => {
                write!(f, "CAPTURE START {} \"", side.name())?;
                for &byte in file.as_os_str().as_bytes() {
                    match byte {
                        b'"' | b'\\' => write!(f, "\\{}", char::from(byte))?,
                        b' '..=b'~' => f.write_char(char::from(byte))?,
                        _ => write!(f, "\\x{byte:02x}")?,
                    }
                }
                write!(f, "\" COUNT {} BYTES {}", limits.frames, limits.bytes)
            }
            Self::StopCapture { side } => write!(f, "CAPTURE STOP {}", side.name()),
            Self::Steering => f.write_str("STEER"),
            Self::Steer(Change::Set { first, last, queue }) => write!(f, "STEER SET {first}-{last} {queue}"),
            Self::Steer(Change::Drain { queue }) => write!(f, "STEER DRAIN {queue}"),
            Self::Steer(Change::Even) => f.write_str("STEER EVEN"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Request, String> {
        Request::parse(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn requests_are_words() {
        let id = FlowId { slot: 5, generation: 2 };
        let limits = CaptureLimits::default();
        let start = |limits| Request::StartCapture { side: Side::Host, file: "f".into(), limits };
        for (line, request) in [
            ("FLOWS", Request::Flows { count: 10 }),
            ("flows 3", Request::Flows { count: 3 }),
            ("EVENTS", Request::Events { flow: None, count: 10 }),
            ("EVENTS 5.2", Request::Events { flow: Some(id), count: usize::MAX }),
            ("events count 7", Request::Events { flow: None, count: 7 }),
            ("EVENTS 5.2 COUNT 7", Request::Events { flow: Some(id), count: 7 }),
            ("CAPTURE START HOST f", start(limits)),
            ("capture start host f bytes 99", start(CaptureLimits { bytes: 99, ..limits })),
            ("CAPTURE START HOST f COUNT 3 BYTES 99", start(CaptureLimits { frames: 3, bytes: 99 })),
            ("CAPTURE STOP WIRE", Request::StopCapture { side: Side::Wire }),
            ("steer", Request::Steering),
            ("STEER EVEN", Request::Steer(Change::Even)),
            ("steer drain 1", Request::Steer(Change::Drain { queue: 1 })),
            ("STEER SET 5 0", Request::Steer(Change::Set { first: 5, last: 5, queue: 0 })),
            ("STEER SET 0-127 3", Request::Steer(Change::Set { first: 0, last: 127, queue: 3 })),
        ] {
            assert_eq!(parse(line), Ok(request), "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, problem) in [
            ("", "syntax"),
            ("STATE", "syntax"),
            ("FLOWS 1 2", "syntax"),
            ("FLOWS x", "not an integer"),
            ("FLOWS -1", "count should be"),
            ("EVENTS 5", "SLOT.GENERATION"),
            ("EVENTS 5.2 7", "syntax"),
            ("EVENTS COUNT", "syntax"),
            ("EVENTS COUNT 1 2", "syntax"),
            ("CAPTURE", "syntax"),
            ("CAPTURE START WIRE", "syntax"),
            ("CAPTURE START SIDE f", "wire or host"),
            ("CAPTURE START WIRE f COUNT", "syntax"),
            ("CAPTURE START WIRE f FRAMES 1", "syntax"),
            ("CAPTURE START WIRE f COUNT x", "not an integer"),
            ("STEER DRAIN", "syntax"),
            ("STEER DRAIN x", "not an integer"),
            ("STEER DRAIN 65536", "out of range"),
            ("STEER SET 0-128 0", "0 to 127"),
            ("STEER SET 5-4 0", "0 to 127"),
            ("STEER SET 0-1", "syntax"),
            ("CAPTURE STOP", "syntax"),
            ("CAPTURE STOP WIRE now", "syntax"),
        ] {
            let said = parse(line).unwrap_err();
            assert!(said.contains(problem), "{line}: {said}");
        }
    }

    #[test]
    fn flows_are_named_by_slot_and_generation() {
        assert_eq!(flow_id(b"5.2"), Ok(FlowId { slot: 5, generation: 2 }));
        for wrong in [&b""[..], b"5", b"5.", b".2", b"5.2.1", b"-5.2", b"4294967296.1", b"\xff.1"] {
            assert!(flow_id(wrong).is_err(), "{wrong:?}");
        }
    }
}
