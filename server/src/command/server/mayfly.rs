//! `MAYFLY`: looking into the firmware. Redis has no such command.

use std::sync::Arc;

use protocol::channel::FlowId;

use crate::args::Args;
use crate::command::table::{Command, Flags, Keys};
use crate::command::{Context, help_lines};
use crate::error::{self, CommandResult, Error};
use crate::nic::{CaptureLimits, NicView, Side};
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
    Command::new("mayfly|flows", -2, ADMIN, Keys::None, flows).doc(
        "7.0.0",
        "O(N) with N flows",
        "[count]",
        "Flows of the firmware, as of a moment ago.",
    ),
    Command::new("mayfly|events", -2, ADMIN, Keys::None, events).doc(
        "7.0.0",
        "O(N) with N events kept",
        "[flow] [COUNT count]",
        "What happened last to one flow or to all.",
    ),
    Command::new("mayfly|capture", -4, ADMIN, Keys::None, capture).doc(
        "7.0.0",
        "O(1)",
        "<START <WIRE|HOST> file [COUNT frames] [BYTES bytes] | STOP <WIRE|HOST>>",
        "Writes the frames of a side of the firmware to a pcap file.",
    ),
    Command::new("mayfly|help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, help).doc(
        "7.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// Lines that are shown when no number is given.
const COUNT_DEFAULT: usize = 10;

fn view(cx: &Context<'_>) -> Result<Arc<dyn NicView>, Error> {
    cx.engine.nic_view().ok_or(Error::new(
        "ERR there is no firmware in this process: with --net kernel the operating system has the connections",
    ))
}

fn lines(reply: &mut Reply<'_>, lines: &[String]) {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    reply.verbatim(b"txt", text.as_bytes());
}

fn count(args: Args<'_>, index: usize) -> Result<usize, Error> {
    let count = args.integer(index)?;
    usize::try_from(count).map_err(|_| Error::new("ERR count should be greater than or equal to 0"))
}

/// `MAYFLY STATUS`. Verbatim text.
fn status(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let mut text = String::new();
    if let Some(provider) = cx.engine.info_provider() {
        provider(&mut text);
    }
    reply.verbatim(b"txt", text.as_bytes());
    Ok(())
}

/// `MAYFLY FLOWS [count]`. Verbatim text, a line for each flow.
fn flows(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let count = match args.len() {
        2 => COUNT_DEFAULT,
        3 => count(args, 2)?,
        _ => return Err(error::SYNTAX),
    };
    lines(reply, &view(cx)?.flows(count));
    Ok(())
}

/// `MAYFLY EVENTS [flow] [COUNT count]`. Verbatim text, a line for each event, the newest first.
fn events(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let (mut at, mut flow, mut wanted) = (2, None, COUNT_DEFAULT);
    if args.len() > at && !args.is(at, "COUNT") {
        let problem = "ERR a flow is SLOT.GENERATION, such as 5.2 (MAYFLY FLOWS shows them)";
        flow = Some(flow_id(args.at(at)).ok_or(Error::new(problem))?);
        wanted = usize::MAX;
        at += 1;
    }
    if args.is(at, "COUNT") && args.len() == at + 2 {
        wanted = count(args, at + 1)?;
        at += 2;
    }
    if at != args.len() {
        return Err(error::SYNTAX);
    }
    lines(reply, &view(cx)?.events(flow, wanted));
    Ok(())
}

/// `SLOT.GENERATION`
fn flow_id(text: &[u8]) -> Option<FlowId> {
    let (slot, generation) = core::str::from_utf8(text).ok()?.split_once('.')?;
    Some(FlowId { slot: slot.parse().ok()?, generation: generation.parse().ok()? })
}

/// `MAYFLY CAPTURE START WIRE|HOST file [COUNT frames] [BYTES bytes]`: `OK`.
/// `MAYFLY CAPTURE STOP WIRE|HOST`. Integer: frames in the file.
fn capture(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let side = Side::ALL.into_iter().find(|side| args.is(3, side.name())).ok_or(error::SYNTAX)?;
    let told = |problem: String| Error::text(format!("ERR {problem}").into_bytes());
    if args.is(2, "STOP") && args.len() == 4 {
        let frames = view(cx)?.stop_capture(side).map_err(told)?;
        reply.integer(frames as i64);
        return Ok(());
    }
    if !args.is(2, "START") || args.len() < 5 {
        return Err(error::SYNTAX);
    }
    let mut limits = CaptureLimits::default();
    let mut at = 5;
    while at < args.len() {
        let limit = match () {
            () if at + 1 == args.len() => return Err(error::SYNTAX),
            () if args.is(at, "COUNT") => &mut limits.frames,
            () if args.is(at, "BYTES") => &mut limits.bytes,
            () => return Err(error::SYNTAX),
        };
        *limit = count(args, at + 1)? as u64;
        at += 2;
    }
    let name = String::from_utf8_lossy(args.at(4));
    view(cx)?.start_capture(side, &name, limits).map_err(told)?;
    reply.ok();
    Ok(())
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
        ],
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_are_named_by_slot_and_generation() {
        assert_eq!(flow_id(b"5.2"), Some(FlowId { slot: 5, generation: 2 }));
        for wrong in [&b""[..], b"5", b"5.", b".2", b"5.2.1", b"-5.2", b"4294967296.1", b"\xff.1"] {
            assert_eq!(flow_id(wrong), None, "{wrong:?}");
        }
    }
}
