//! `CONFIG`: settings while the server runs.

use crate::args::Args;
use crate::command::table::{Command, Flags, Keys};
use crate::command::{Context, help_lines};
use crate::config::{DIRECTIVES, Directive, When, find};
use crate::error::{CommandResult, Error};
use crate::glob;
use crate::network::Network;
use crate::reply::Reply;

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

/// The subcommands.
pub(super) static SUBCOMMANDS: &[Command] = &[
    Command::new("config|get", -3, ADMIN, Keys::None, get).doc(
        "2.0.0",
        "O(N) with N settings",
        "parameter [parameter ...]",
        "The settings that match patterns.",
    ),
    Command::new("config|set", -4, ADMIN, Keys::None, set).doc(
        "2.0.0",
        "O(N) with N settings",
        "parameter value [parameter value ...]",
        "Changes settings.",
    ),
    Command::new("config|resetstat", 2, ADMIN, Keys::None, resetstat).doc(
        "2.0.0",
        "O(1)",
        "",
        "Sets the counters back to zero.",
    ),
    Command::new("config|rewrite", 2, ADMIN, Keys::None, rewrite).doc(
        "2.8.0",
        "O(1)",
        "",
        "Writes the settings to the configuration file (not supported yet).",
    ),
    Command::new("config|help", 2, Flags::LOADING.and(Flags::STALE), Keys::None, help).doc(
        "5.0.0",
        "O(1)",
        "",
        "Lists the subcommands.",
    ),
];

/// `CONFIG GET parameter [parameter …]`. Map: names and values.
fn get(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let wanted = |directive: &&Directive| {
        directive.is_shown()
            && args.from(2).any(|pattern| glob::matches(pattern, directive.name.as_bytes(), true))
    };
    let config = cx.engine.config.read();
    let found: Vec<&Directive> = DIRECTIVES.iter().filter(wanted).collect();
    reply.map(found.len());
    for directive in found {
        reply.bulk(directive.name.as_bytes());
        reply.bulk(directive.value(&config).as_bytes());
    }
    Ok(())
}

fn failed(name: &[u8], reason: &str) -> Error {
    Error::text(
        [b"ERR CONFIG SET failed (possibly related to argument '", name, b"') - ", reason.as_bytes()]
            .concat(),
    )
}

/// A directive of [`crate::network`], which Redis does not have.
fn is_networks(name: &str) -> bool {
    Network::DIRECTIVES.contains(&name)
}

/// `CONFIG SET parameter value [parameter value …]`. `OK`; all are set or none.
fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if !args.len().is_multiple_of(2) {
        return Err(crate::error::SYNTAX);
    }
    let mut seen: Vec<&'static str> = Vec::new();
    let (mut immutable, mut network) = (None, None);
    let mut new = cx.engine.config.read().clone();
    for at in (2..args.len()).step_by(2) {
        let name = args.at(at);
        let Some(directive) = core::str::from_utf8(name).ok().and_then(find) else {
            return Err(Error::text(
                [b"ERR Unknown option or number of arguments for CONFIG SET - '", name, b"'"].concat(),
            ));
        };
        if seen.contains(&directive.name) {
            return Err(failed(name, "duplicate parameter"));
        }
        seen.push(directive.name);
        if directive.when == When::Start {
            immutable = Some((name, directive.name));
            continue;
        }
        if is_networks(directive.name) {
            network = Some(name);
        }
        let value = String::from_utf8_lossy(args.at(at + 1)).into_owned();
        let values = match directive.name {
            "client-output-buffer-limit" | "oom-score-adj-values" => {
                value.split_ascii_whitespace().map(str::to_string).collect()
            }
            _ => vec![value],
        };
        directive.set(&mut new, &values).map_err(|reason| failed(name, &reason))?;
    }
    if let Some((name, known)) = immutable {
        // Redis' words, for what Redis knows.
        let reason = if is_networks(known) {
            "it takes effect at the start: set it in the file or on the command line"
        } else {
            "can't set immutable config"
        };
        return Err(failed(name, reason));
    }
    if let Some(name) = network {
        new.network.check().map_err(|reason| failed(name, &reason))?;
    }
    *cx.engine.config.write() = new;
    cx.engine.apply_config();
    reply.ok();
    Ok(())
}

/// `CONFIG RESETSTAT`. `OK`.
fn resetstat(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    cx.engine.cores.iter().for_each(|core| core.stats.reset());
    cx.engine.expired_keys.store(0, core::sync::atomic::Ordering::Relaxed);
    reply.ok();
    Ok(())
}

fn rewrite(_: &mut Context<'_>, _: Args<'_>, _: &mut Reply<'_>) -> CommandResult {
    Err(Error::new("ERR The server is running without a config file"))
}

/// `CONFIG HELP`. Array of lines.
pub(super) fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "CONFIG",
        &[
            ("GET <pattern>", "Return parameters matching the glob-like <pattern> and their values."),
            ("SET <directive> <value>", "Set the configuration <directive> to <value>."),
            ("RESETSTAT", "Reset statistics reported by the INFO command."),
            ("REWRITE", "Rewrite the configuration file."),
        ],
    );
    Ok(())
}
