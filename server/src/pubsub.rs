//! Who listens to what: channels, patterns, and shard channels.
//!
//! `PUBLISH` encodes a message once for each protocol version, puts it into the mailboxes of the
//! listeners and wakes their cores, which send it. A client's messages keep their order.

use core::sync::atomic::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use protocol::resp::{Sink, Writer};

use crate::clients::{ClientInfo, Kill};
use crate::engine::Engine;
use crate::glob;
use crate::output_limit::SMALL_BYTES;

/// What can be listened to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `SUBSCRIBE`
    Channel,
    /// `PSUBSCRIBE`
    Pattern,
    /// `SSUBSCRIBE`
    Shard,
}

/// By client number.
type Listeners = HashMap<u64, Arc<ClientInfo>>;
type Names = HashMap<Box<[u8]>, Listeners>;

/// All subscriptions.
#[derive(Default)]
pub struct PubSub(RwLock<[Names; 3]>);

/// One client's subscriptions.
#[derive(Debug, Default)]
pub struct Subscriptions([HashSet<Box<[u8]>>; 3]);

impl Subscriptions {
    /// Names of one kind.
    pub fn of(&self, kind: Kind) -> &HashSet<Box<[u8]>> {
        &self.0[kind as usize]
    }
    /// The count in replies: channels and patterns together, shard channels by themselves.
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Channel | Kind::Pattern => self.of(Kind::Channel).len() + self.of(Kind::Pattern).len(),
            Kind::Shard => self.of(Kind::Shard).len(),
        }
    }
    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(HashSet::is_empty)
    }
    fn show(&self, client: &ClientInfo) {
        for (shown, names) in client.subscriptions.iter().zip(&self.0) {
            shown.store(names.len() as u32, Ordering::Relaxed);
        }
    }
}

/// Messages that wait for their client's core.
#[derive(Debug, Default)]
pub struct Mailbox {
    messages: VecDeque<Bytes>,
    bytes: usize,
}

impl Mailbox {
    /// Bytes of all messages.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
    /// The messages, in order.
    pub fn messages(&self) -> impl Iterator<Item = &Bytes> {
        self.messages.iter()
    }
}

struct Text(Vec<u8>);

impl Sink for Text {
    fn put(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
}

/// A message in both protocol versions, made when first asked for.
struct Message<'a> {
    words: &'a [&'a [u8]],
    encoded: [Option<Bytes>; 2],
}

impl<'a> Message<'a> {
    fn new(words: &'a [&'a [u8]]) -> Self {
        Self { words, encoded: [None, None] }
    }
    fn bytes(&mut self, resp3: bool) -> &Bytes {
        self.encoded[usize::from(resp3)].get_or_insert_with(|| {
            let mut writer = Writer { sink: Text(Vec::new()), resp3 };
            writer.push(self.words.len());
            self.words.iter().for_each(|word| writer.bulk(word));
            writer.sink.0.into()
        })
    }
}

impl PubSub {
    /// `client` listens to `name`. False: it did already.
    pub fn subscribe(
        &self,
        own: &mut Subscriptions,
        client: &Arc<ClientInfo>,
        kind: Kind,
        name: &[u8],
    ) -> bool {
        let new = own.0[kind as usize].insert(name.into());
        if new {
            let mut names = self.0.write();
            names[kind as usize].entry(name.into()).or_default().insert(client.id(), Arc::clone(client));
            own.show(client);
        }
        new
    }
    /// And no longer does.
    pub fn unsubscribe(&self, own: &mut Subscriptions, client: &ClientInfo, kind: Kind, name: &[u8]) {
        if own.0[kind as usize].remove(name) {
            let mut names = self.0.write();
            let names = &mut names[kind as usize];
            if let Some(listeners) = names.get_mut(name) {
                listeners.remove(&client.id());
                if listeners.is_empty() {
                    names.remove(name);
                }
            }
            own.show(client);
        }
    }
    /// Ends all subscriptions of a client.
    pub fn leave(&self, own: &mut Subscriptions, client: &ClientInfo) {
        for kind in [Kind::Channel, Kind::Pattern, Kind::Shard] {
            let names: Vec<Box<[u8]>> = own.of(kind).iter().cloned().collect();
            names.iter().for_each(|name| self.unsubscribe(own, client, kind, name));
        }
    }
    /// How many names of a kind are listened to.
    pub fn len(&self, kind: Kind) -> usize {
        self.0.read()[kind as usize].len()
    }
    /// Names of a kind that match `pattern`.
    pub fn names(&self, kind: Kind, pattern: Option<&[u8]>) -> Vec<Box<[u8]>> {
        let names = self.0.read();
        let wanted = |name: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, name, false));
        names[kind as usize].keys().filter(|name| wanted(name)).cloned().collect()
    }
    /// How many clients listen to `name`.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        self.0.read()[kind as usize].get(name).map_or(0, Listeners::len)
    }
    /// Sends `payload` to those who listen to `channel`; how many. What `own_client` gets is
    /// shown to `to_own`, since it comes before the reply.
    pub fn publish(
        &self,
        engine: &Engine,
        own_client: u64,
        kind: Kind,
        channel: &[u8],
        payload: &[u8],
        mut to_own: impl FnMut(&Bytes),
    ) -> usize {
        let names = self.0.read();
        let mut count = 0;
        let mut send = |listeners: &Listeners, message: &mut Message<'_>| {
            count += listeners.len();
            for client in listeners.values() {
                let bytes = message.bytes(client.resp.load(Ordering::Relaxed) == 3);
                if client.id() == own_client {
                    to_own(bytes);
                } else {
                    deliver(engine, client, bytes.clone());
                }
            }
        };
        let word: &[u8] = if kind == Kind::Shard { b"smessage" } else { b"message" };
        if let Some(listeners) = names[kind as usize].get(channel) {
            send(listeners, &mut Message::new(&[word, channel, payload]));
        }
        if kind == Kind::Channel {
            for (pattern, listeners) in &names[Kind::Pattern as usize] {
                if glob::matches(pattern, channel, false) {
                    send(listeners, &mut Message::new(&[b"pmessage", pattern, channel, payload]));
                }
            }
        }
        count
    }
}

/// Puts a message into a mailbox. A client whose core does not keep up is closed at the hard
/// limit of `client-output-buffer-limit pubsub`.
fn deliver(engine: &Engine, client: &ClientInfo, message: Bytes) {
    let mut mailbox = client.mailbox.lock();
    let first = mailbox.is_none();
    let waiting = mailbox.get_or_insert_default();
    let bytes = waiting.bytes + message.len();
    if bytes > SMALL_BYTES && engine.live.output_limit(true).is_hard(bytes) {
        client.kill(client.id(), Kill::Abort);
    } else {
        waiting.bytes = bytes;
        waiting.messages.push_back(message);
    }
    drop(mailbox);
    if first {
        engine.wake(client);
    }
}
