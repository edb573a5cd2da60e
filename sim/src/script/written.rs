//! Segments and ICMP messages as lines write them.

use protocol::tcp::Flags;

use super::icmp::{IcmpError, IcmpKind};
use super::segment::{Number, OptionList, Segment, TcpOption};
use super::words::{Words, parse_number, ports};

/// `[@PORT[:PORT]] FLAGS SEQ:END(LEN) [ack N] [win N] [urg N] [offset N] [<OPTIONS>] ["TEXT"] [badsum] [may-fragment]`
pub(super) fn parse_segment(words: &mut Words<'_>) -> Result<Segment, String> {
    let (peer_port, port) = ports(words)?;
    let flags = parse_flags(words.next())?;
    let (seq, len) = parse_range(words.next())?;
    let mut segment = Segment {
        peer_port,
        port,
        flags,
        seq,
        len,
        ack: None,
        window: None,
        urgent: 0,
        options: None,
        literal: None,
        data_offset: None,
        bad_checksum: false,
        may_fragment: false,
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
                "offset" => segment.data_offset = Some(parse_number(words.next())? as u8),
                "badsum" => segment.bad_checksum = true,
                "may-fragment" => segment.may_fragment = true,
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
            ["bytes", hex] => {
                list.bytes = parse_hex(hex)?;
                continue;
            }
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

fn parse_hex(hex: &str) -> Result<Vec<u8>, String> {
    let byte = |at: usize| hex.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..hex.len()).step_by(2).map(byte).collect();
    bytes.ok_or_else(|| format!("{hex} are no bytes like 02040218"))
}

/// `KIND [MTU] of SEGMENT`: the error, and the segment of the subject that it quotes.
pub(super) fn parse_icmp(words: &mut Words<'_>) -> Result<IcmpError, String> {
    let word = words.next();
    let kind = match word {
        "too-big" => IcmpKind::TooBig(parse_number(words.next())?),
        "net-unreachable" => IcmpKind::NetUnreachable,
        "host-unreachable" => IcmpKind::HostUnreachable,
        "protocol-unreachable" => IcmpKind::ProtocolUnreachable,
        "port-unreachable" => IcmpKind::PortUnreachable,
        "source-route-failed" => IcmpKind::SourceRouteFailed,
        "prohibited" => IcmpKind::Prohibited,
        "time-exceeded" => IcmpKind::TimeExceeded,
        "parameter-problem" => IcmpKind::ParameterProblem,
        "source-quench" => IcmpKind::SourceQuench,
        _ => return Err(format!("\"{word}\" is no ICMP error that scripts know")),
    };
    match words.next() {
        "of" => Ok(IcmpError { kind, quoted: parse_segment(words)? }),
        other => Err(format!("\"{other}\" stands where 'of' and the quoted segment should")),
    }
}
