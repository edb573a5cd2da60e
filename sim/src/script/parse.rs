//! From text to steps.

use netcore::Duration;
use protocol::tcp::Flags;

use super::segment::{Number, OptionList, Segment, TcpOption};

/// The peer's port where a line names none.
pub const DEFAULT_PEER_PORT: u16 = 40_000;

/// What a script may run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// The host stack behind a plain wire.
    Stack,
    /// Firmware and host stack, offload `lifecycle`.
    Firmware,
}

impl SubjectKind {
    /// As scripts call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stack => "stack",
            Self::Firmware => "firmware",
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
    /// The application.
    pub app: AppKind,
    /// `set NAME VALUE` lines: what differs from the usual configuration.
    pub settings: Vec<(String, String)>,
    /// The lines.
    pub steps: Vec<Step>,
}

impl Script {
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

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let mut words = Words { rest: line };
        let mut when = None;
        if let Some(time) = words.peek().strip_prefix('+') {
            when = Some(parse_when(time)?);
            words.next();
        }
        let after = when.map_or(Duration::ZERO, |when| when.least);
        let action = match words.next() {
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
                        other => {
                            return Err(format!("\"{other}\" is no subject; there are stack and firmware"));
                        }
                    });
                }
                return Ok(());
            }
            "set" => {
                let name = words.next().to_owned();
                self.settings.push((name, words.next().to_owned()));
                return words.end();
            }
            other => {
                return Err(format!("\"{other}\" begins no line; there are < > silence app isn on set"));
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
            "connect" => command(AppCommand::Connect),
            "got" => seen(match literal(words)? {
                Some(bytes) => AppSeen::GotLiteral(bytes),
                None => AppSeen::Got(parse_number(words.next())? as usize),
            }),
            "peer-closed" => seen(AppSeen::PeerClosed),
            "ended" => seen(AppSeen::Ended(words.next().to_owned())),
            "connections" => seen(AppSeen::Connections(parse_number(words.next())? as usize)),
            other => return Err(format!("\"{other}\" is nothing that an app does or sees")),
        };
        words.end()?;
        self.steps.push(Step { line: number, action });
        Ok(())
    }
}

/// What is left of a line.
struct Words<'a> {
    rest: &'a str,
}

impl<'a> Words<'a> {
    fn peek(&self) -> &'a str {
        let rest = self.rest.trim_start();
        &rest[..rest.find(char::is_whitespace).unwrap_or(rest.len())]
    }
    fn next(&mut self) -> &'a str {
        let word = self.peek();
        self.rest = &self.rest.trim_start()[word.len()..];
        word
    }
    fn end(&self) -> Result<(), String> {
        if self.rest.trim().is_empty() {
            Ok(())
        } else {
            Err(format!("\"{}\" is too much", self.rest.trim()))
        }
    }
    /// A text in quotes with \r \n \\ \" \xHH.
    fn literal(&mut self) -> Result<Vec<u8>, String> {
        let rest = self.rest.trim_start().strip_prefix('"').ok_or("a text in quotes is missing")?;
        let mut bytes = Vec::new();
        let mut chars = rest.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '"' => {
                    self.rest = &rest[at + 1..];
                    return Ok(bytes);
                }
                '\\' => match chars.next().map(|(_, escaped)| escaped) {
                    Some('r') => bytes.push(b'\r'),
                    Some('n') => bytes.push(b'\n'),
                    Some(same @ ('\\' | '"')) => bytes.push(same as u8),
                    Some('x') => {
                        let hex = rest.get(at + 2..at + 4).ok_or("two hexadecimal digits are missing")?;
                        bytes.push(u8::from_str_radix(hex, 16).map_err(|_| format!("\\x{hex} is no byte"))?);
                        chars.nth(1);
                    }
                    other => return Err(format!("\\{other:?} is no escape")),
                },
                other => bytes.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        Err("the text's closing quote is missing".to_owned())
    }
}

fn peer_port(words: &mut Words<'_>) -> Result<u16, String> {
    match words.peek().strip_prefix('@') {
        None => Ok(DEFAULT_PEER_PORT),
        Some(port) => {
            words.next();
            port.parse().map_err(|_| format!("@{port} is no port"))
        }
    }
}

fn parse_number(word: &str) -> Result<u32, String> {
    let wide: i64 = word.parse().map_err(|_| format!("\"{word}\" is no number"))?;
    // Negative numbers count back from the initial one.
    if (-(1 << 31)..1 << 32).contains(&wide) { Ok(wide as u32) } else { Err(format!("{word} is too large")) }
}

/// `0.5` or `0.2..0.4`, in seconds.
fn parse_when(text: &str) -> Result<When, String> {
    match text.split_once("..") {
        Some((least, most)) => Ok(When { least: parse_seconds(least)?, most: parse_seconds(most)? }),
        None => {
            let exact = parse_seconds(text)?;
            Ok(When { least: exact, most: exact })
        }
    }
}

/// Seconds with up to six decimals; a trailing `s` may stand behind them.
pub fn parse_seconds(text: &str) -> Result<Duration, String> {
    let number = text.strip_suffix('s').unwrap_or(text);
    let seconds: f64 = number.parse().map_err(|_| format!("\"{text}\" is no time in seconds"))?;
    if !(0.0..1e9).contains(&seconds) {
        return Err(format!("{text} s is out of range"));
    }
    Ok(Duration::from_micros((seconds * 1e6).round() as u64))
}

/// `[@PORT] FLAGS SEQ:END(LEN) [ack N] [win N] [urg N] [<OPTIONS>] ["TEXT"] [badsum]`
fn parse_segment(words: &mut Words<'_>) -> Result<Segment, String> {
    let peer_port = peer_port(words)?;
    let flags = parse_flags(words.next())?;
    let (seq, len) = parse_range(words.next())?;
    let mut segment = Segment {
        peer_port,
        flags,
        seq,
        len,
        ack: None,
        window: None,
        urgent: 0,
        options: None,
        literal: None,
        bad_checksum: false,
    };
    loop {
        let word = words.peek();
        if word.starts_with('<') {
            let rest = words.rest.trim_start();
            let end = rest.find('>').ok_or("the options' closing > is missing")?;
            segment.options = Some(parse_options(&rest[1..end])?);
            words.rest = &rest[end + 1..];
        } else if word.starts_with('"') {
            let literal = words.literal()?;
            if literal.len() != segment.len {
                return Err(format!("the text has {} bytes, not {}", literal.len(), segment.len));
            }
            segment.literal = Some(literal);
        } else {
            match words.next() {
                "" => break,
                "ack" => segment.ack = Some(parse_number(words.next())?),
                "win" => {
                    let window = parse_number(words.next())?;
                    segment.window =
                        Some(u16::try_from(window).map_err(|_| format!("win {window} > 65535"))?);
                }
                "urg" => segment.urgent = parse_number(words.next())? as u16,
                "badsum" => segment.bad_checksum = true,
                other => return Err(format!("\"{other}\" is nothing that a segment has")),
            }
        }
    }
    if segment.flags.has(Flags::ACK) != segment.ack.is_some() {
        return Err("the flag . and a number behind ack go together".to_owned());
    }
    Ok(segment)
}

fn parse_flags(word: &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    for letter in word.chars() {
        flags = flags
            | match letter {
                'S' => Flags::SYN,
                'F' => Flags::FIN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                'U' => Flags::URG,
                'E' => Flags::ECE,
                'W' => Flags::CWR,
                '.' => Flags::ACK,
                '-' => Flags::default(),
                _ => return Err(format!("\"{word}\" are no flags; there are S F R P U E W . and -")),
            };
    }
    Ok(flags)
}

/// `0:10(10)`
fn parse_range(word: &str) -> Result<(u32, usize), String> {
    let wrong = || format!("\"{word}\" is no range of numbers like 1:11(10)");
    let (seq, rest) = word.split_once(':').ok_or_else(wrong)?;
    let (end, len) = rest.strip_suffix(')').and_then(|rest| rest.split_once('(')).ok_or_else(wrong)?;
    let (seq, end, len) = (parse_number(seq)?, parse_number(end)?, parse_number(len)?);
    if seq.wrapping_add(len) != end {
        return Err(format!("{word}: the end should be {}", seq.wrapping_add(len)));
    }
    Ok((seq, len as usize))
}

fn parse_options(text: &str) -> Result<OptionList, String> {
    let mut list = OptionList::default();
    let number = |word: &str| -> Result<Number, String> {
        if word == "*" { Ok(Number::Any) } else { parse_number(word).map(Number::Is) }
    };
    for option in text.split(',').map(str::trim).filter(|option| !option.is_empty()) {
        let words: Vec<&str> = option.split_whitespace().collect();
        list.options.push(match words[..] {
            ["..."] => {
                list.more = true;
                continue;
            }
            ["mss", mss] => TcpOption::Mss(mss.parse().map_err(|_| format!("mss {mss} is no MSS"))?),
            ["wscale", shift] => TcpOption::WindowScale(number(shift)?),
            ["sackOK"] => TcpOption::SackPermitted,
            ["TS", "val", value, "ecr", echo] => TcpOption::Timestamps(number(value)?, number(echo)?),
            ["sack", block] => {
                let (left, right) = block.split_once(':').ok_or("a SACK block is LEFT:RIGHT")?;
                TcpOption::Sack(parse_number(left)?, parse_number(right)?)
            }
            _ => return Err(format!("\"{option}\" is no option")),
        });
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(error("app dance").contains("dance"));
        assert!(error("hello").contains("begins no line"));
        assert!(Script::parse("on stack").unwrap_err().contains("which rule"));
        assert!(Script::parse("# rule").unwrap_err().contains("runs against"));
    }
}
