//! What the engine keeps for a client while it is connected.

use std::sync::Arc;

use protocol::resp::{ArgRange, ParseState};

use crate::args::OwnedArgs;
use crate::clients::{ClientInfo, Names};
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
    /// Others may keep hold of `info`, or it has names: no other client gets it.
    pub(crate) keeps_info: bool,
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
            keeps_info: false,
            weight: Weight::default(),
            partial: None,
        }
    }

    /// Whether the next client of the core may have this memory: nothing is in it that was made
    /// for this one. Else it is dropped.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        let Self { multi, watching, subscriptions, waiter, partial, weight, .. } = self;
        !self.keeps_info
            && multi.is_none()
            && watching.is_none()
            && subscriptions.is_none()
            && waiter.is_none()
            && partial.is_none()
            && *weight == Weight::default()
    }

    /// A plain session becomes that of the next client.
    #[inline]
    pub(crate) fn renew(&mut self, authenticated: bool) {
        debug_assert!(self.is_plain());
        self.db = 0;
        self.resp3 = false;
        self.authenticated = authenticated;
        self.reply_mode = ReplyMode::On;
        self.waits_silently = false;
        self.closing = false;
        self.no_touch = false;
    }

    /// Changes what the client says of itself.
    pub(crate) fn rename(&mut self, change: impl FnOnce(&mut Names)) {
        self.keeps_info = true;
        self.info.rename(change);
    }
}
