//! What the engine keeps for a client while it is connected.

use std::sync::Arc;

use protocol::resp::{ArgRange, ParseState};

use crate::args::OwnedArgs;
use crate::clients::ClientInfo;
use crate::command::Command;
use crate::keyspace::shard::Watch;
use crate::output_limit::Weight;
use crate::pubsub::Subscriptions;
use crate::waiting::Waiter;

/// Commands between `MULTI` and `EXEC`.
#[derive(Default)]
pub struct Multi {
    /// What was queued.
    pub queue: Vec<(&'static Command, usize, OwnedArgs)>,
    /// A command was refused: `EXEC` will refuse all.
    pub failed: bool,
    /// Bytes of the arguments in the queue.
    pub bytes: usize,
}

/// What happens to replies (`CLIENT REPLY`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyMode {
    /// Sent.
    On,
    /// Not sent.
    Off,
    /// The next command's is not sent.
    SkipNext,
    /// This command's is not sent.
    Skip,
}

/// A client's state: 72 bytes, and boxes for what few clients have.
pub struct Session {
    /// What other clients may see of it.
    pub info: Arc<ClientInfo>,
    /// Selected database.
    pub db: u32,
    /// Speaks RESP3.
    pub resp3: bool,
    /// Has given the password, or none was asked for when it connected.
    pub authenticated: bool,
    /// After `MULTI`.
    pub multi: Option<Box<Multi>>,
    /// After `WATCH`.
    pub watching: Option<Box<Watching>>,
    /// What happens to replies.
    pub reply_mode: ReplyMode,
    /// What it listens to, if anything.
    pub subscriptions: Option<Box<Subscriptions>>,
    /// The command that waits, after which no other is run before it has its reply.
    pub waiter: Option<Arc<Waiter>>,
    /// The waiting command's reply is not sent (`CLIENT REPLY`).
    pub(crate) waits_silently: bool,
    /// Close once the replies so far are sent.
    pub closing: bool,
    /// `CLIENT NO-TOUCH`.
    pub no_touch: bool,
    /// Much output waits for it.
    pub(crate) weight: Weight,
    /// A request whose rest has not come.
    pub(crate) partial: Option<Box<Partial>>,
}

/// Watched keys.
#[derive(Default)]
pub struct Watching {
    /// Tripped by changes to them.
    pub watch: Arc<Watch>,
    /// The keys with their databases.
    pub keys: Vec<(u32, Box<[u8]>)>,
}

/// The start of a request.
#[derive(Default)]
pub(crate) struct Partial {
    /// Its bytes.
    pub(crate) query: Vec<u8>,
    /// How far they have been parsed,
    pub(crate) parse: ParseState,
    /// and the arguments found in them.
    pub(crate) ranges: Vec<ArgRange>,
}

impl Session {
    /// A client that has just connected.
    pub fn new(info: Arc<ClientInfo>, authenticated: bool) -> Self {
        Self {
            info,
            db: 0,
            resp3: false,
            authenticated,
            multi: None,
            watching: None,
            reply_mode: ReplyMode::On,
            subscriptions: None,
            waiter: None,
            waits_silently: false,
            closing: false,
            no_touch: false,
            weight: Weight::default(),
            partial: None,
        }
    }
}
