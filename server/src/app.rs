//! The engine as an application on a transport: one [`CoreApp`] per core.
//!
//! Requests are parsed where they were received. Only the start of a request whose rest has not
//! come is copied, into the session.

use core::sync::atomic::Ordering;
use std::sync::Arc;

use netcore::{FourTuple, Instant};
use protocol::resp::inline::WordSink;
use protocol::resp::request::ArgSink;
use protocol::resp::{ArgRange, Limits, ParseState, Parsed, ProtocolError, inline};
use stack::{App, ConnectionId, EndReason, Next, Output};

use crate::args::Args;
use crate::clients::{Identity, Kill};
use crate::core_state::CoreState;
use crate::dispatch::dispatch;
use crate::engine::Engine;
use crate::error::{self, Error};
use crate::output_limit::{self, SMALL_BYTES};
use crate::session::{Partial, Session};
use crate::waiting;

/// How often idle and heavy clients are looked for, in µs.
const CLIENTS_CHECK_US: u64 = 1_000_000;

/// The engine on one core.
pub struct CoreApp {
    engine: Arc<Engine>,
    core: CoreState,
    now: Instant,
    next_clients_check: Instant,
    /// Arguments of the request being parsed; kept for its memory.
    ranges: Ranges,
    /// Words of an inline request; kept for their memory.
    words: Words,
}

#[derive(Default)]
struct Ranges(Vec<ArgRange>);

impl ArgSink for Ranges {
    #[inline]
    fn push(&mut self, range: ArgRange) {
        self.0.push(range);
    }
}

#[derive(Default)]
struct Words {
    bytes: Vec<u8>,
    ranges: Vec<ArgRange>,
}

impl WordSink for Words {
    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }
    fn end_word(&mut self) {
        let start = self.ranges.last().map_or(0, |last| last.end);
        self.ranges.push(ArgRange { start, end: self.bytes.len() as u32 });
    }
}

impl CoreApp {
    /// `core`: which of the engine's cores this is, below `EngineStart::cores`.
    pub fn new(engine: Arc<Engine>, core: usize) -> Self {
        let state = engine.core_state(core);
        Self {
            engine,
            core: state,
            now: Instant::ZERO,
            next_clients_check: Instant::ZERO,
            ranges: Ranges::default(),
            words: Words::default(),
        }
    }
    /// The engine it drives.
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }
    /// Runs the requests in `input`. Returns how many bytes they took; the parser's state and
    /// the arguments found belong to what is left.
    #[inline]
    fn run_requests(
        &mut self,
        session: &mut Session,
        input: &[u8],
        parse: &mut ParseState,
        output: &mut Output,
    ) -> Result<usize, ProtocolError> {
        let mut used = 0;
        while used < input.len() && !session.closing && session.waiter.is_none() {
            // Between the requests of a pipeline too: its replies may be large.
            if output.waiting() > SMALL_BYTES
                && output_limit::weigh(&self.engine, &mut self.core, session, output)
            {
                break;
            }
            let limits = Limits {
                bulk_len_max: self.engine.live.bulk_len_max.load(Ordering::Relaxed),
                unauthenticated: !session.authenticated && self.engine.live.password.load(Ordering::Relaxed),
            };
            let rest = &input[used..];
            match parse.parse(rest, &limits, &mut self.ranges)? {
                Parsed::Request { len } => {
                    if !self.ranges.0.is_empty() {
                        let args = Args::new(&rest[..len], &self.ranges.0);
                        dispatch(&self.engine, &mut self.core, session, args, output);
                        self.ranges.0.clear();
                    }
                    used += len;
                }
                Parsed::Inline { len, line } => {
                    self.run_inline(session, &rest[..line], output)?;
                    used += len;
                }
                Parsed::Incomplete { .. } => break,
            }
        }
        Ok(used)
    }

    #[cold]
    fn run_inline(
        &mut self,
        session: &mut Session,
        line: &[u8],
        output: &mut Output,
    ) -> Result<(), ProtocolError> {
        self.words.bytes.clear();
        self.words.ranges.clear();
        inline::split(line, &mut self.words)?;
        if !self.words.ranges.is_empty() {
            let args = Args::new(&self.words.bytes, &self.words.ranges);
            dispatch(&self.engine, &mut self.core, session, args, output);
        }
        Ok(())
    }

    /// Goes on with a request whose start is in the session.
    #[cold]
    fn continue_request(
        &mut self,
        session: &mut Session,
        input: &[u8],
        output: &mut Output,
    ) -> Result<(), ProtocolError> {
        let Some(mut partial) = session.partial.take() else { return Ok(()) };
        partial.query.extend_from_slice(input);
        core::mem::swap(&mut self.ranges.0, &mut partial.ranges);
        let used = self.run_requests(session, &partial.query, &mut partial.parse, output);
        core::mem::swap(&mut self.ranges.0, &mut partial.ranges);
        let used = used?;
        if used < partial.query.len() && !session.closing {
            partial.query.drain(..used);
            session.partial = Some(partial);
        }
        Ok(())
    }

    /// Keeps the start of a request, with what was found in it.
    #[cold]
    fn keep_partial(&mut self, session: &mut Session, rest: &[u8], parse: ParseState) {
        let ranges = core::mem::take(&mut self.ranges.0);
        session.partial = Some(Box::new(Partial { query: rest.to_vec(), parse, ranges }));
    }

    /// What is to happen after requests were run. `before`: bytes of output before them.
    #[inline]
    fn next_after(
        &mut self,
        session: &mut Session,
        result: Result<(), ProtocolError>,
        output: &mut Output,
        before: usize,
    ) -> Next {
        let too_long = self.query_too_long(session);
        let next = match result {
            Err(error) => self.protocol_error(session, error, output),
            Ok(()) if too_long => Next::Abort,
            Ok(()) if session.closing => Next::Close,
            Ok(()) if session.waiter.is_some() => Next::Wait,
            Ok(()) => Next::Continue,
        };
        self.core.stats.output_bytes.add((output.len() - before) as u64);
        if self.is_too_heavy(session, output) { Next::Abort } else { next }
    }

    /// True when the client has to be closed for what it does not take.
    #[inline]
    fn is_too_heavy(&mut self, session: &mut Session, output: &Output) -> bool {
        // What was large and has become small is noticed when its core looks at it again.
        output.waiting() > SMALL_BYTES && output_limit::weigh(&self.engine, &mut self.core, session, output)
    }

    /// Shows how long an unfinished request is, with the commands that wait for `EXEC`; true when
    /// the client has to be closed for it.
    #[inline]
    fn query_too_long(&mut self, session: &mut Session) -> bool {
        let Some(partial) = &session.partial else {
            session.info.show_query(0, 0);
            return session.multi.is_some() && self.is_over_query_limit(session, 0);
        };
        let (len, capacity) = (partial.query.len(), partial.query.capacity());
        session.info.show_query(len, capacity);
        self.is_over_query_limit(session, len)
    }

    #[cold]
    fn is_over_query_limit(&mut self, session: &Session, len: usize) -> bool {
        let queued = session.multi.as_ref().map_or(0, |multi| multi.bytes);
        if len + queued <= self.engine.live.query_bytes_max.load(Ordering::Relaxed) {
            return false;
        }
        self.core.stats.query_limit_disconnections.add(1);
        let mut client = Vec::new();
        session.info.describe_own(self.core.now_ms, &mut client);
        tracing::warn!(
            "Closing client that reached max query buffer length: {}",
            String::from_utf8_lossy(&client)
        );
        true
    }

    /// When something is due that no event will tell of: a client has waited long enough.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadline_us = self.core.deadlines.next_us()?;
        Some(waiting::until(deadline_us, self.core.now_us, self.now))
    }

    /// Turns a newcomer away.
    #[cold]
    fn refuse(&mut self, Error(text): Error, output: &mut Output) -> bool {
        self.core.stats.rejected_connections.add(1);
        output.put(b"-");
        output.put(&text);
        output.put(b"\r\n");
        false
    }

    /// Undoes what a client has left undone, and lets go of its session.
    #[cold]
    fn dismiss(&mut self, place: &mut Option<Session>) {
        let Some(mut session) = place.take() else { return };
        crate::command::transaction::forget_watches(&self.engine, &mut session);
        waiting::forget(&self.engine, &mut self.core, &mut session);
        if let Some(mut subscriptions) = session.subscriptions.take() {
            self.engine.pubsub.leave(&mut subscriptions, &session.info);
        }
        let clients = &self.engine.cores[self.core.core].clients;
        clients.leave(&session.info);
        clients.forget(&session.info);
    }

    fn protocol_error(&mut self, session: &mut Session, error: ProtocolError, output: &mut Output) -> Next {
        self.core.stats.errors.add(1);
        self.ranges.0.clear();
        session.partial = None;
        output.put(format!("-ERR {error}\r\n").as_bytes());
        Next::Close
    }

    /// Wakes the clients that have been idle for longer than `timeout`.
    #[cold]
    fn find_idle(&mut self) {
        let timeout_s = self.engine.live.timeout_s.load(Ordering::Relaxed);
        if timeout_s == 0 {
            return;
        }
        let limit_ms = (timeout_s as i64).saturating_mul(1000);
        for client in self.engine.cores[self.core.core].clients.all() {
            if client.info.listens() || client.info.waiter.lock().is_some() {
                continue;
            }
            if self.core.now_ms - client.info.active_ms.load(Ordering::Relaxed) > limit_ms {
                self.engine.kill(&client);
            }
        }
    }
}

/// Sends the messages that have come for a client.
#[cold]
fn take_messages(session: &mut Session, output: &mut Output) {
    let mailbox = session.info.mailbox.lock().take();
    let messages = mailbox.iter().flat_map(|mailbox| mailbox.messages());
    messages.for_each(|message| output.put_shared(message));
}

impl App for CoreApp {
    type Session = Session;

    #[inline]
    fn begin(&mut self, now: Instant) {
        self.now = now;
        self.core.set_now(now);
        self.core.client_ids.give_back(&self.engine.next_client_id);
    }

    #[inline]
    fn connected(
        &mut self,
        id: ConnectionId,
        ends: &FourTuple,
        session: &mut Option<Session>,
        output: &mut Output,
    ) -> bool {
        if self.engine.connected() >= self.engine.live.maxclients.load(Ordering::Relaxed) {
            return self.refuse(error::MAX_CLIENTS, output);
        }
        if self.engine.live.protected_mode.load(Ordering::Relaxed)
            && !self.engine.live.password.load(Ordering::Relaxed)
            && !ends.remote_addr.to_ip_addr().is_loopback()
        {
            return self.refuse(error::PROTECTED_MODE, output);
        }
        self.core.stats.connections.add(1);
        let clients = &self.engine.cores[self.core.core].clients;
        let authenticated = !self.engine.live.password.load(Ordering::Relaxed);
        let session = match session {
            Some(session) => {
                session.renew(authenticated);
                session
            }
            None => session.insert(Session::new(clients.more(self.core.core), authenticated)),
        };
        let who = Identity {
            id: self.core.client_ids.draw(&self.engine.next_client_id),
            connection: id,
            ends: *ends,
            created_ms: self.core.now_ms,
        };
        clients.enter(&session.info, &who);
        true
    }

    fn received(&mut self, session: &mut Session, input: &[u8], output: &mut Output) -> Next {
        let before = output.len();
        self.core.stats.input_bytes.add(input.len() as u64);
        session.info.active_ms.store(self.core.now_ms, Ordering::Relaxed);
        if session.subscriptions.is_some() {
            take_messages(session, output);
        }
        let result = if session.partial.is_none() {
            let mut parse = ParseState::default();
            self.run_requests(session, input, &mut parse, output).map(|used| {
                if used < input.len() && !session.closing {
                    self.keep_partial(session, &input[used..], parse);
                }
            })
        } else {
            self.continue_request(session, input, output)
        };
        self.next_after(session, result, output, before)
    }

    fn resumed(&mut self, session: &mut Session, output: &mut Output) -> Next {
        match session.info.killed() {
            Kill::No => {}
            Kill::Close => return Next::Close,
            Kill::Abort => {
                output_limit::close(&self.core, session);
                return Next::Abort;
            }
        }
        let before = output.len();
        take_messages(session, output);
        if core::mem::take(&mut session.weight.listed)
            && output_limit::weigh(&self.engine, &mut self.core, session, output)
        {
            return Next::Abort;
        }
        let waited = session.waiter.is_some();
        let result = match waited && waiting::finish(&self.engine, &mut self.core, session, output) {
            // Requests that came behind the one that waited.
            true => self.continue_request(session, &[], output),
            false => Ok(()),
        };
        self.next_after(session, result, output, before)
    }

    fn peer_closed(&mut self, _session: &mut Session, _output: &mut Output) -> Next {
        Next::Close
    }

    #[inline]
    fn closed(&mut self, place: &mut Option<Session>, _reason: EndReason) {
        let clients = &self.engine.cores[self.core.core].clients;
        if let Some(session) = place
            && session.is_plain()
        {
            return clients.leave(&session.info);
        }
        self.dismiss(place);
    }

    #[inline]
    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        if self.now >= self.next_clients_check {
            self.next_clients_check = self.now + netcore::Duration::from_micros(CLIENTS_CHECK_US);
            self.find_idle();
            self.core.heavy.take(into);
        }
        if self.core.deadlines.next_us().is_some_and(|deadline_us| deadline_us <= self.core.now_us) {
            waiting::time_out(&self.engine, &mut self.core);
        }
        self.engine.cores[self.core.core].clients.take_woken(into);
    }
}
