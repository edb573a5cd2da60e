//! `MAYFLY`: looking into the firmware. Redis has no such command.

use std::path::{Path, PathBuf};

use nic::{Answer, Request};

use crate::args::Args;
use crate::command::table::{Command, Flags, Keys};
use crate::command::{Context, help_lines};
use crate::engine::FirmwareView;
use crate::error::{CommandResult, Error};
use crate::reply::Reply;

const ADMIN: Flags =
    Flags::ADMIN.and(Flags::DANGEROUS).and(Flags::LOADING).and(Flags::STALE).and(Flags::NOSCRIPT);

/// The rows.
pub(super) static MAYFLY: &[Command] = &[
    Command::new("mayfly|status", 2, ADMIN, Keys::None, status).doc(
        "7.0.0",
        "O(1)",
        "",
        "Every counter of stack, firmware and device, as in INFO mayfly.",
    ),
    Command::new("mayfly|flows", -2, ADMIN, Keys::None, ask).doc(
        "7.0.0",
        "O(N) with N flows",
        "[count]",
        "Flows of the firmware, as of a moment ago.",
    ),
    Command::new("mayfly|events", -2, ADMIN, Keys::None, ask).doc(
        "7.0.0",
        "O(N) with N events kept",
        "[flow] [COUNT count]",
        "What happened last to one flow or to all.",
    ),
    Command::new("mayfly|capture", -4, ADMIN, Keys::None, ask).doc(
        "7.0.0",
        "O(1)",
        "<START <WIRE|HOST> file [COUNT frames] [BYTES bytes] | STOP <WIRE|HOST>>",
        "Writes the frames of a side of the firmware to a pcap file.",
    ),
    Command::new("mayfly|steer", -2, ADMIN, Keys::None, ask).doc(
        "7.0.0",
        "O(1)",
        "[SET first[-last] core | DRAIN core | EVEN]",
        "Shows or changes which core new connections go to.",
    ),
    Command::new("mayfly|help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, help).doc(
        "7.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `MAYFLY STATUS`. Verbatim text.
fn status(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut text = String::new();
    if let Some(provider) = cx.engine.info_provider() {
        provider(&mut text);
    }
    reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// `MAYFLY FLOWS [count]` and `MAYFLY EVENTS [flow] [COUNT count]`: verbatim text, a line for each.
/// `MAYFLY CAPTURE START WIRE|HOST file [COUNT frames] [BYTES bytes]`: `OK`.
/// `MAYFLY CAPTURE STOP WIRE|HOST`. Integer: frames in the file.
/// `MAYFLY STEER`: verbatim text, a line for each core. `MAYFLY STEER SET first[-last] core`, `DRAIN core`,
/// `EVEN`: `OK`; in force within milliseconds.
fn ask(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let told = |problem: String| Error::text(format!("ERR {problem}").into_bytes());
    let words: Vec<&[u8]> = args.from(1).collect();
    let mut request = Request::parse(&words).map_err(told)?;
    let shown = match cx.engine.firmware() {
        FirmwareView::Here(shown) => shown,
        FirmwareView::Nowhere => {
            return Err(Error::new(
                "ERR there is no firmware in this process: with --net kernel the operating system has the connections",
            ));
        }
        FirmwareView::Elsewhere => {
            let name = String::from_utf8_lossy(words[0]).to_lowercase();
            return Err(told(format!(
                "the firmware is not in this process but in mayfly-nic: ask there, with 'mayfly-nic {name} ...'"
            )));
        }
    };
    if let Request::StartCapture { file, .. } = &mut request {
        *file = capture_file(&cx.engine.config.read().capture_dir, file).map_err(told)?;
    }
    match shown.answer(&request).map_err(told)? {
        Answer::Lines(lines) => {
            let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            reply.verbatim(b"txt", text.as_bytes());
        }
        Answer::Done => reply.ok(),
        Answer::Count(count) => reply.integer(count as i64),
    }
    Ok(())
}

/// Where a capture of this name goes: clients may come from anywhere, so it lies in the one `folder`
/// for captures; empty: there is none.
fn capture_file(folder: &str, name: &Path) -> Result<PathBuf, String> {
    if folder.is_empty() {
        return Err("captures are off: start the server with --capture-dir FOLDER".into());
    }
    let bytes = name.as_os_str().as_encoded_bytes();
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if bytes.is_empty() || bytes.len() > 200 || bytes.starts_with(b".") || !bytes.iter().all(letter) {
        return Err(format!(
            "'{}' is not the name of a capture: letters, digits, '.', '_' and '-', no '.' first",
            bytes.escape_ascii()
        ));
    }
    Ok(Path::new(folder).join(name))
}

pub(super) fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "MAYFLY",
        &[
            ("STATUS", "Return every counter of stack, firmware and device."),
            ("FLOWS [<count>]", "Return flows of the firmware (default: 10, at most 256)."),
            ("EVENTS [<flow>] [COUNT <count>]", "Return what happened last, newest first (default: 10)."),
            (
                "CAPTURE START <WIRE|HOST> <file> [COUNT <frames>] [BYTES <bytes>]",
                "Write the frames of a side of the firmware to a pcap file.",
            ),
            ("CAPTURE STOP <WIRE|HOST>", "End that, and return how many frames it holds."),
            ("STEER", "Return which entries of the table from hash to core lead to which core."),
            ("STEER SET <first>[-<last>] <core>", "Have entries (0 to 127) lead to a core."),
            ("STEER DRAIN <core>", "Let no new connection come to a core; those that are there stay."),
            ("STEER EVEN", "Give all cores the same again."),
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_lie_in_their_folder() {
        let file = |folder, name: &str| capture_file(folder, Path::new(name));
        assert!(file("", "a.pcap").is_err_and(|error| error.contains("--capture-dir")));
        for name in ["", ".", "..", "../x", "a/b", "/etc/x", ".hidden", "a\nb", "ä", &"x".repeat(201)] {
            assert!(file("/captures", name).is_err_and(|error| error.contains("not the name")), "{name}");
        }
        assert_eq!(file("/captures", "a-1_B.pcap"), Ok("/captures/a-1_B.pcap".into()));
    }
}
