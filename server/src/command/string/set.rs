//! Commands that replace a string: `SET` and its relatives.

use crate::args::Args;
use crate::command::Context;
use crate::error::{self, CommandResult, Error};
use crate::keyspace::string::Str;
use crate::keyspace::{NEVER, Value};
use crate::reply::Reply;

/// What an option says of the deadline.
enum Deadline {
    /// Unix ms, or [`NEVER`].
    At(i64),
    /// The one it has.
    Keep,
}

/// Options that `SET` and `GETEX` share.
struct Options {
    deadline: Deadline,
    only_new: bool,
    only_existing: bool,
    get: bool,
    any_deadline: bool,
}

/// Which command's options are read.
#[derive(Clone, Copy, PartialEq)]
enum For {
    Set,
    GetEx,
}

/// `SET key value [NX|XX] [GET] [EX s|PX ms|EXAT s|PXAT ms|KEEPTTL]`, O(1). `OK`; null when NX
/// or XX forbids; with GET the old value or null.
#[inline]
pub(super) fn set(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    if args.len() > 3 {
        return set_with_options(cx, args, reply);
    }
    cx.insert(args.at(1), Value::String(Str::new(args.at(2))));
    reply.ok();
    Ok(())
}

fn set_with_options(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = options(cx, args, 3, For::Set)?;
    let key = args.at(1);
    let old = if options.get {
        let old = cx.read_as::<Str>(key)?;
        reply.string_or_null(old);
        old.is_some()
    } else {
        cx.peek(key).is_some()
    };
    if options.only_new && old || options.only_existing && !old {
        if !options.get {
            reply.null();
        }
        return Ok(());
    }
    let expire_at = match options.deadline {
        Deadline::At(at) => at,
        Deadline::Keep => cx.peek(key).map_or(NEVER, |entry| entry.expire_at),
    };
    if expire_at <= cx.now_ms() {
        cx.remove(key);
    } else {
        cx.insert_in(cx.session.db, key, Value::String(Str::new(args.at(2))), expire_at);
    }
    if !options.get {
        reply.ok();
    }
    Ok(())
}

/// Reads the options from argument `first` on.
fn options(cx: &Context<'_>, args: Args<'_>, first: usize, of: For) -> Result<Options, Error> {
    let mut options = Options {
        deadline: Deadline::At(NEVER),
        only_new: false,
        only_existing: false,
        get: false,
        any_deadline: false,
    };
    let mut expire: Option<(usize, bool, bool)> = None;
    let mut at = first;
    while at < args.len() {
        let has_next = at + 1 < args.len();
        let free = !options.any_deadline;
        if of == For::Set && args.is(at, "NX") && !options.only_existing {
            options.only_new = true;
        } else if of == For::Set && args.is(at, "XX") && !options.only_new {
            options.only_existing = true;
        } else if of == For::Set && args.is(at, "GET") {
            options.get = true;
        } else if of == For::Set && args.is(at, "KEEPTTL") && expire.is_none() {
            (options.deadline, options.any_deadline) = (Deadline::Keep, true);
        } else if of == For::GetEx && args.is(at, "PERSIST") && expire.is_none() {
            (options.deadline, options.any_deadline) = (Deadline::At(NEVER), true);
        } else if args.is(at, "EX") && free && has_next {
            expire = Some((at + 1, true, true));
        } else if args.is(at, "PX") && free && has_next {
            expire = Some((at + 1, false, true));
        } else if args.is(at, "EXAT") && free && has_next {
            expire = Some((at + 1, true, false));
        } else if args.is(at, "PXAT") && free && has_next {
            expire = Some((at + 1, false, false));
        } else {
            return Err(error::SYNTAX);
        }
        if let Some((value, ..)) = expire
            && value == at + 1
        {
            options.any_deadline = true;
            at += 1;
        }
        at += 1;
    }
    if let Some((value, seconds, relative)) = expire {
        let name = if of == For::Set { "set" } else { "getex" };
        options.deadline = Deadline::At(deadline(cx, args.integer(value)?, seconds, relative, name)?);
    }
    Ok(options)
}

/// The Unix time in ms that an option means.
fn deadline(cx: &Context<'_>, value: i64, seconds: bool, relative: bool, name: &str) -> Result<i64, Error> {
    let invalid = || Error::invalid_expire(name);
    if value <= 0 {
        return Err(invalid());
    }
    let ms = if seconds { value.checked_mul(1000).ok_or_else(invalid)? } else { value };
    if relative { ms.checked_add(cx.now_ms()).ok_or_else(invalid) } else { Ok(ms) }
}

/// `GETSET key value`, O(1). Bulk: the old value, or null.
pub(super) fn getset(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    reply.string_or_null(cx.read_as::<Str>(args.at(1))?);
    cx.insert(args.at(1), Value::String(Str::new(args.at(2))));
    Ok(())
}

/// `GETDEL key`, O(1). Bulk: the value, or null.
pub(super) fn getdel(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let value = cx.read_as::<Str>(args.at(1))?;
    reply.string_or_null(value);
    if value.is_some() {
        cx.remove(args.at(1));
    }
    Ok(())
}

/// `GETEX key [EX s|PX ms|EXAT s|PXAT ms|PERSIST]`, O(1). Bulk: the value, or null.
pub(super) fn getex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let options = options(cx, args, 2, For::GetEx)?;
    let key = args.at(1);
    let Some(value) = cx.read_as::<Str>(key)? else {
        reply.null();
        return Ok(());
    };
    reply.string(value);
    let Deadline::At(at) = options.deadline else { return Ok(()) };
    if !options.any_deadline {
        return Ok(());
    }
    if at <= cx.now_ms() {
        cx.remove(key);
    } else if cx.peek(key).is_some_and(|entry| entry.expire_at != at) {
        cx.set_expire(key, at);
        cx.modified(key);
    }
    Ok(())
}

/// `SETNX key value`, O(1). Integer: 1 if it was set, 0 if the key existed.
pub(super) fn setnx(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    let missing = cx.peek(args.at(1)).is_none();
    if missing {
        cx.insert(args.at(1), Value::String(Str::new(args.at(2))));
    }
    reply.integer(i64::from(missing));
    Ok(())
}

/// `SETEX key seconds value`, O(1). `OK`.
pub(super) fn setex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_for(cx, args, reply, true, "setex")
}

/// `PSETEX key milliseconds value`, O(1). `OK`.
pub(super) fn psetex(cx: &mut Context<'_>, args: Args<'_>, reply: &mut Reply<'_>) -> CommandResult {
    set_for(cx, args, reply, false, "psetex")
}

fn set_for(
    cx: &mut Context<'_>,
    args: Args<'_>,
    reply: &mut Reply<'_>,
    seconds: bool,
    name: &str,
) -> CommandResult {
    let at = deadline(cx, args.integer(2)?, seconds, true, name)?;
    cx.insert_in(cx.session.db, args.at(1), Value::String(Str::new(args.at(3))), at);
    reply.ok();
    Ok(())
}
