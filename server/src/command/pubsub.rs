//! Publishing and subscribing.
//!
//! Source: <https://redis.io/docs/latest/develop/interact/pubsub/>

use super::table::{Command, Flags, Keys};
use super::{Context, help_lines};
use crate::args::Args;
use crate::error::{CommandResult, Error};
use crate::pubsub::Kind;
use crate::reply::Reply;

const LISTEN: Flags = Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
const PUBLISH: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST);
const LOOK: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE);

macro_rules! rows {
    ($($name:literal $arity:literal $flags:ident $run:path, $since:literal, $cost:literal, $syntax:literal, $summary:literal;)*) => {
        &[$(Command::new($name, $arity, $flags, Keys::None, $run).doc($since, $cost, $syntax, $summary)),*]
    };
}

/// The group's rows, but for `PUBSUB`.
pub static LISTENING: &[Command] = rows! {
    "subscribe" -2 LISTEN subscribe, "2.0.0", "O(N) with N channels", "channel [channel ...]", "Listens to channels.";
    "unsubscribe" -1 LISTEN unsubscribe, "2.0.0", "O(N) with N channels", "[channel [channel ...]]", "Ends listening to channels.";
    "psubscribe" -2 LISTEN psubscribe, "2.0.0", "O(N) with N patterns", "pattern [pattern ...]",
        "Listens to channels whose names match patterns.";
    "punsubscribe" -1 LISTEN punsubscribe, "2.0.0", "O(N) with N patterns", "[pattern [pattern ...]]",
        "Ends listening to patterns.";
    "ssubscribe" -2 LISTEN ssubscribe, "7.0.0", "O(N) with N channels", "shardchannel [shardchannel ...]",
        "Listens to shard channels.";
    "sunsubscribe" -1 LISTEN sunsubscribe, "7.0.0", "O(N) with N channels", "[shardchannel [shardchannel ...]]",
        "Ends listening to shard channels.";
    "publish" 3 PUBLISH publish, "2.0.0", "O(N+M) with N listeners and M patterns", "channel message",
        "Sends a message to all who listen to a channel.";
    "spublish" 3 PUBLISH spublish, "7.0.0", "O(N) with N listeners", "shardchannel message",
        "Sends a message to all who listen to a shard channel.";
};

static SUBCOMMANDS: &[Command] = rows! {
    "pubsub|channels" -2 LOOK channels, "2.8.0", "O(N) with N channels", "[pattern]", "Channels with listeners.";
    "pubsub|numsub" -2 LOOK numsub, "2.8.0", "O(N) with N channels", "[channel [channel ...]]", "How many listen to channels.";
    "pubsub|numpat" 2 LOOK numpat, "2.8.0", "O(1)", "", "How many patterns there are.";
    "pubsub|shardchannels" -2 LOOK shardchannels, "7.0.0", "O(N) with N channels", "[pattern]",
        "Shard channels with listeners.";
    "pubsub|shardnumsub" -2 LOOK shardnumsub, "7.0.0", "O(N) with N channels", "[shardchannel [shardchannel ...]]",
        "How many listen to shard channels.";
    "pubsub|help" 2 LOOK help, "6.2.0", "O(1)", "", "Lists the subcommands.";
};

/// `PUBSUB`.
pub static LOOKING: &[Command] = &[Command::new("pubsub", -2, Flags::NONE, Keys::None, help)
    .doc("2.8.0", "Depends on subcommand", "", "Looks at channels and patterns.")
    .subcommands(SUBCOMMANDS)];

fn listen(
    cx: &mut Context<'_>,
    args: Args<'_>,
    kind: Kind,
    word: &str,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let engine = cx.engine;
    cx.session.keeps_info = true;
    let own = cx.session.subscriptions.get_or_insert_default();
    for name in args.from(1) {
        engine.pubsub.subscribe(own, &cx.session.info, kind, name);
        reply.push(3);
        reply.bulk(word.as_bytes());
        reply.bulk(name);
        reply.integer(own.count(kind) as i64);
    }
    Ok(())
}

fn stop(
    cx: &mut Context<'_>,
    args: Args<'_>,
    kind: Kind,
    word: &str,
    reply: &mut Reply<'_>,
) -> CommandResult {
    let engine = cx.engine;
    let mut own = cx.session.subscriptions.take().unwrap_or_default();
    let all: Vec<Box<[u8]>> = if args.len() == 1 {
        own.of(kind).iter().cloned().collect()
    } else {
        args.from(1).map(Box::from).collect()
    };
    for name in &all {
        engine.pubsub.unsubscribe(&mut own, &cx.session.info, kind, name);
        reply.push(3);
        reply.bulk(word.as_bytes());
        reply.bulk(name);
        reply.integer(own.count(kind) as i64);
    }
    if all.is_empty() {
        reply.push(3);
        reply.bulk(word.as_bytes());
        reply.null();
        reply.integer(own.count(kind) as i64);
    }
    cx.session.subscriptions = (!own.is_empty()).then_some(own);
    Ok(())
}

/// `SUBSCRIBE channel [channel ...]`. For each a push: `subscribe`, the channel, how many now.
fn subscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    listen(cx, args, Kind::Channel, "subscribe", reply)
}

/// `UNSUBSCRIBE [channel ...]`. For each a push; without a channel all are left.
fn unsubscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    stop(cx, args, Kind::Channel, "unsubscribe", reply)
}

/// `PSUBSCRIBE pattern [pattern ...]`. As `SUBSCRIBE`.
fn psubscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    listen(cx, args, Kind::Pattern, "psubscribe", reply)
}

/// `PUNSUBSCRIBE [pattern ...]`. As `UNSUBSCRIBE`.
fn punsubscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    stop(cx, args, Kind::Pattern, "punsubscribe", reply)
}

/// `SSUBSCRIBE shardchannel [shardchannel ...]`. As `SUBSCRIBE`.
fn ssubscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    listen(cx, args, Kind::Shard, "ssubscribe", reply)
}

/// `SUNSUBSCRIBE [shardchannel ...]`. As `UNSUBSCRIBE`.
fn sunsubscribe(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    stop(cx, args, Kind::Shard, "sunsubscribe", reply)
}

fn send(cx: &mut Context<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> CommandResult {
    let own = cx.session.info.id();
    let count =
        cx.engine.pubsub.publish(cx.engine, own, kind, args.at(1), args.at(2), |message| reply.raw(message));
    reply.integer(count as i64);
    Ok(())
}

/// `PUBLISH channel message`, O(N+M). Integer: how many got it.
fn publish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    send(cx, args, Kind::Channel, reply)
}

/// `SPUBLISH shardchannel message`, O(N). Integer: how many got it.
fn spublish(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    send(cx, args, Kind::Shard, reply)
}

fn show_names(cx: &mut Context<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        let mut text = b"ERR unknown subcommand or wrong number of arguments for '".to_vec();
        text.extend_from_slice(args.at(1));
        text.extend_from_slice(b"'. Try PUBSUB HELP.");
        return Err(Error::text(text));
    }
    let names = cx.engine.pubsub.names(kind, args.get(2));
    reply.array(names.len());
    names.iter().for_each(|name| reply.bulk(name));
    Ok(())
}

fn show_counts(cx: &mut Context<'_>, args: Args<'_>, kind: Kind, reply: &mut Reply<'_>) -> CommandResult {
    reply.array(2 * (args.len() - 2));
    for name in args.from(2) {
        reply.bulk(name);
        reply.integer(cx.engine.pubsub.listeners(kind, name) as i64);
    }
    Ok(())
}

/// `PUBSUB CHANNELS [pattern]`. Array of names.
fn channels(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show_names(cx, args, Kind::Channel, reply)
}

/// `PUBSUB NUMSUB [channel ...]`. Array of names and counts.
fn numsub(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show_counts(cx, args, Kind::Channel, reply)
}

/// `PUBSUB NUMPAT`. Integer: different patterns.
fn numpat(cx: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.integer(cx.engine.pubsub.len(Kind::Pattern) as i64);
    Ok(())
}

/// `PUBSUB SHARDCHANNELS [pattern]`. Array of names.
fn shardchannels(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show_names(cx, args, Kind::Shard, reply)
}

/// `PUBSUB SHARDNUMSUB [shardchannel ...]`. Array of names and counts.
fn shardnumsub(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    show_counts(cx, args, Kind::Shard, reply)
}

fn help(_: &mut Context<'_>, _: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    help_lines(
        reply,
        "PUBSUB",
        &[
            (
                "CHANNELS [<pattern>]",
                "Return the currently active channels matching a <pattern> (default: '*').",
            ),
            ("NUMPAT", "Return number of subscriptions to patterns."),
            (
                "NUMSUB [<channel> ...]",
                "Return the number of subscribers for the specified channels, excluding pattern subscriptions(default: no channels).",
            ),
            (
                "SHARDCHANNELS [<pattern>]",
                "Return the currently active shard level channels matching a <pattern> (default: '*').",
            ),
            (
                "SHARDNUMSUB [<shardchannel> ...]",
                "Return the number of subscribers for the specified shard level channel(s)",
            ),
        ],
    );
    Ok(())
}

/// What a client that listens may not do in RESP2.
#[cold]
pub(crate) fn not_while_listening(command: &Command) -> Error {
    Error::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        command.name
    ))
}
