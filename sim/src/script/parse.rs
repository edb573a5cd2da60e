//! From text to steps.

use super::icmp::IcmpError;
use super::segment::Segment;
use super::words::{Words, parse_number, parse_when, peer_port};
use super::written::{parse_icmp, parse_segment};
use netcore::Duration;
use protocol::ip::Version;

/// The peer's port where a line names none.
pub const DEFAULT_PEER_PORT: u16 = 40_000;

/// What a script may run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// The host stack behind a plain wire.
    Stack,
    /// Firmware and host stack, offload `lifecycle`.
    Firmware,
    /// Linux's own TCP, in real time: a check on the script.
    Linux,
}

impl SubjectKind {
    /// As scripts call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Firmware => "firmware",
            Self::Linux => "linux",
        }
    }
}

/// The application on top of the subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppKind {
    /// Sends back what it gets, closes when the peer has closed.
    #[default]
    Echo,
    /// Does what the script says.
    Manual,
    /// The Redis engine.
    Redis,
}

/// What the script has the application do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppCommand {
    /// Writes so many bytes of the pattern.
    Write(usize),
    /// Writes these bytes.
    WriteLiteral(Vec<u8>),
    /// Closes in order.
    Close,
    /// Resets.
    Abort,
    /// Reads nothing any more.
    Pause,
    /// Reads on.
    Resume,
    /// Opens a connection to the peer's port.
    Connect,
}

/// What the application must have seen so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AppSeen {
    /// So many bytes of the pattern and nothing else.
    Got(usize),
    /// Exactly these bytes.
    GotLiteral(Vec<u8>),
    /// The peer has closed its side.
    PeerClosed,
    /// The connection has ended, with this `EndReason`.
    Ended(String),
    /// The connection that it opened never stood, with this `EndReason`.
    Failed(String),
    /// So many connections in all.
    Connections(usize),
}

/// When a segment is expected, counted from the step before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When {
    /// Not earlier than this.
    pub least: Duration,
    /// Not later than this.
    pub most: Duration,
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `<`
    Inject(Duration, Segment),
    /// `< icmp`
    InjectError(Duration, IcmpError),
    /// `>`
    Expect(When, Segment),
    /// `silence`: nothing is sent for so long.
    Silence(Duration),
    /// `app …` as a command, for the connection of this peer port.
    App(u16, AppCommand),
    /// `app …` as a check.
    Seen(u16, AppSeen),
    /// `isn N`: the peer's initial number from here on.
    PeerInitial(u16, u32),
}

/// A step with its line number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Counted from 1.
    pub line: usize,
    /// What it does.
    pub action: Action,
}

/// A script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Script {
    /// The comment on top: the behaviour and its rule.
    pub rule: String,
    /// What it runs against.
    pub subjects: Vec<SubjectKind>,
    /// The only version of IP that it speaks of (`over`).
    pub over: Option<Version>,
    /// The application.
    pub app: AppKind,
    /// `set NAME VALUE` lines: what differs from the usual configuration.
    pub settings: Vec<(String, String)>,
    /// The lines.
    pub steps: Vec<Step>,
}

impl Script {
    /// Whether it can be played over this version of IP: one ICMP has errors that the other lacks.
    pub fn is_for(&self, version: Version) -> bool {
        self.over.is_none_or(|over| over == version)
            && self.steps.iter().all(|step| match &step.action {
                Action::InjectError(_, error) => error.kind.exists_in(version),
                _ => true,
            })
    }

    /// Reads a script.
    ///
    /// # Errors
    /// The line and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut script = Self::default();
        let mut in_rule = true;
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if let Some(comment) = line.strip_prefix('#') {
                if in_rule {
                    script.rule.push_str(comment.trim());
                    script.rule.push('\n');
                }
                continue;
            }
            in_rule = false;
            if !line.is_empty() {
                script.line(number + 1, line).map_err(|error| format!("line {}: {error}", number + 1))?;
            }
        }
        if script.rule.is_empty() {
            return Err("the first lines must say which rule it tests (# RFC …)".to_owned());
        }
        if script.subjects.is_empty() {
            return Err("no line says what it runs against (on stack firmware)".to_owned());
        }
        Ok(script)
    }

    /// Index of the first step behind which nothing is sent or expected any more.
    pub fn ending(&self) -> usize {
        let quiet = |step: &Step| matches!(step.action, Action::Silence(_) | Action::Seen(..));
        self.steps.iter().rposition(|step| !quiet(step)).map_or(0, |last| last + 1)
    }

    /// How long it takes in real time at least, but for the quiet at its end.
    pub fn real_time(&self) -> Duration {
        let micros = self.steps[..self.ending()].iter().map(|step| match &step.action {
            Action::Inject(time, _) | Action::InjectError(time, _) | Action::Silence(time) => time.micros(),
            Action::Expect(when, _) => when.least.micros(),
            Action::App(..) | Action::Seen(..) | Action::PeerInitial(..) => 0,
        });
        Duration::from_micros(micros.sum())
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let mut words = Words { rest: line };
        let mut when = None;
        if let Some(time) = words.peek().strip_prefix('+') {
            when = Some(parse_when(time)?);
            words.next();
        }
        let after = when.map_or(Duration::ZERO, |when| when.least);
        let action = match words.next() {
            "<" if words.peek() == "icmp" => {
                words.next();
                Action::InjectError(after, parse_icmp(&mut words)?)
            }
            "<" => Action::Inject(after, parse_segment(&mut words)?),
            ">" => {
                let zero = When { least: Duration::ZERO, most: Duration::ZERO };
                Action::Expect(when.unwrap_or(zero), parse_segment(&mut words)?)
            }
            "silence" => Action::Silence(after),
            "app" => return self.app_line(number, &mut words),
            "isn" => {
                let port = peer_port(&mut words)?;
                Action::PeerInitial(port, parse_number(words.next())?)
            }
            "on" => {
                while !words.peek().is_empty() {
                    self.subjects.push(match words.next() {
                        "stack" => SubjectKind::Stack,
                        "firmware" => SubjectKind::Firmware,
                        "linux" => SubjectKind::Linux,
                        other => {
                            return Err(format!(
                                "\"{other}\" is no subject; there are stack, firmware and linux"
                            ));
                        }
                    });
                }
                return Ok(());
            }
            "over" => {
                self.over = Some(match words.next() {
                    "v4" => Version::V4,
                    "v6" => Version::V6,
                    other => return Err(format!("\"{other}\" is no version of IP; there are v4 and v6")),
                });
                return words.end();
            }
            "set" => {
                let name = words.next().to_owned();
                self.settings.push((name, words.next().to_owned()));
                return words.end();
            }
            other => {
                return Err(format!("\"{other}\" begins no line; there are < > silence app isn on over set"));
            }
        };
        words.end()?;
        self.steps.push(Step { line: number, action });
        Ok(())
    }

    fn app_line(&mut self, number: usize, words: &mut Words<'_>) -> Result<(), String> {
        let port = peer_port(words)?;
        let literal = |words: &mut Words<'_>| -> Result<Option<Vec<u8>>, String> {
            if words.peek().starts_with('"') { words.literal().map(Some) } else { Ok(None) }
        };
        let command = |command| Action::App(port, command);
        let seen = |seen| Action::Seen(port, seen);
        let action = match words.next() {
            kind @ ("echo" | "manual" | "redis") => {
                self.app = match kind {
                    "echo" => AppKind::Echo,
                    "manual" => AppKind::Manual,
                    _ => AppKind::Redis,
                };
                return words.end();
            }
            "write" => command(match literal(words)? {
                Some(bytes) => AppCommand::WriteLiteral(bytes),
                None => AppCommand::Write(parse_number(words.next())? as usize),
            }),
            "close" => command(AppCommand::Close),
            "abort" => command(AppCommand::Abort),
            "pause" => command(AppCommand::Pause),
            "resume" => command(AppCommand::Resume),
            "connect" => command(AppCommand::Connect),
            "got" => seen(match literal(words)? {
                Some(bytes) => AppSeen::GotLiteral(bytes),
                None => AppSeen::Got(parse_number(words.next())? as usize),
            }),
            "peer-closed" => seen(AppSeen::PeerClosed),
            "ended" => seen(AppSeen::Ended(words.next().to_owned())),
            "failed" => seen(AppSeen::Failed(words.next().to_owned())),
            "connections" => seen(AppSeen::Connections(parse_number(words.next())? as usize)),
            other => return Err(format!("\"{other}\" is nothing that an app does or sees")),
        };
        words.end()?;
        self.steps.push(Step { line: number, action });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use protocol::tcp::Flags;

    use super::*;
    use crate::script::icmp::IcmpKind;
    use crate::script::segment::{Number, TcpOption};

    const TOP: &str = "# RFC 9293 §3.5: something\non stack\n";

    fn one(line: &str) -> Action {
        let script = Script::parse(&format!("{TOP}{line}")).unwrap();
        script.steps[0].action.clone()
    }

    fn error(line: &str) -> String {
        Script::parse(&format!("{TOP}{line}")).unwrap_err()
    }

    #[test]
    fn a_whole_line() {
        let Action::Expect(when, segment) =
            one(r#"+0.2..0.4 > @7 FP. 5:8(3) ack 9 win 100 <mss 1460,TS val * ecr 4,...> "a\x62\n""#)
        else {
            panic!("not an expectation")
        };
        assert_eq!((when.least.millis(), when.most.millis()), (200, 400));
        assert_eq!((segment.peer_port, segment.seq, segment.len, segment.ack), (7, 5, 3, Some(9)));
        assert_eq!(segment.flags, Flags::FIN | Flags::PSH | Flags::ACK);
        assert_eq!(segment.window, Some(100));
        assert_eq!(segment.payload(), b"ab\n");
        let options = segment.options.unwrap();
        assert!(options.more);
        assert_eq!(options.options[1], TcpOption::Timestamps(Number::Any, Number::Is(4)));
    }

    #[test]
    fn what_no_stack_would_send() {
        let Action::Inject(_, segment) = one("< @7:81 S 0:0(0) offset 4 <mss 5,bytes fe04aabb>") else {
            panic!("not an injection")
        };
        assert_eq!((segment.peer_port, segment.port, segment.data_offset), (7, Some(81), Some(4)));
        assert_eq!(segment.options.unwrap().bytes, [0xfe, 4, 0xaa, 0xbb]);
        let Action::InjectError(_, error) = one("< icmp too-big 1300 of . 1:1461(1460) ack 1") else {
            panic!("not an error")
        };
        assert_eq!((error.kind, error.quoted.len), (IcmpKind::TooBig(1300), 1460));
    }

    #[test]
    fn the_pattern_follows_the_stream() {
        let Action::Inject(_, segment) = one("< . 24:27(3) ack 1") else { panic!("not an injection") };
        assert_eq!(segment.payload(), b"abc");
    }

    #[test]
    fn errors_name_line_and_word() {
        assert!(error("< S 0:1(0)").contains("line 3: 0:1(0): the end should be 0"));
        assert!(error("< X 0:0(0)").contains("\"X\" are no flags"));
        assert!(error("< . 0:0(0)").contains("go together"));
        assert!(error("< S 0:0(0) <foo>").contains("\"foo\" is no option"));
        assert!(error("< S 0:0(0) <bytes 123>").contains("no bytes"));
        assert!(error("< icmp rain of . 1:1(0) ack 1").contains("\"rain\" is no ICMP error"));
        assert!(error("< icmp time-exceeded . 1:1(0) ack 1").contains("'of'"));
        assert!(error("isn @7:8 5").contains("only a segment"));
        assert!(error("app dance").contains("dance"));
        assert!(error("hello").contains("begins no line"));
        assert!(Script::parse("on stack").unwrap_err().contains("which rule"));
        assert!(Script::parse("# rule").unwrap_err().contains("runs against"));
    }
}
