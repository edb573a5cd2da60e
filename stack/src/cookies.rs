//! SYN cookies: how connections open when so many are half-open that a further one may not cost
//! memory (RFC 4987 §3.6).
//!
//! Below [`crate::Config::backlog_max`] half-open connections a SYN gets a slot of the table, as
//! always, and its SYN-ACK is sent again until it is answered. Above it the SYN-ACK's number is a
//! cookie and nothing is kept: a flood fills the backlog and shuts nobody out. The ACK that brings
//! the cookie back makes the half-open connection as its SYN would have made it, and is then
//! taken by the same steps. What a SYN offers beside its MSS travels in the timestamp; without
//! timestamps it is not agreed on.
//!
//! While cookies are good, three things differ. Half-open connections get a cookie as their
//! number too, so that it does not matter which of two SYN-ACKs a peer answers. Names in TIME_WAIT
//! stay there until the cookie came back. And connections that ended are remembered as *spent*
//! ([`crate::time_wait`]), so that a late duplicate of a first segment opens nothing.

use netcore::cookie::{CookieJar, NO_CONNECTION_BEFORE, SynOptions};
use netcore::rng::Rng;
use netcore::{Duration, FourTuple, Frame, Instant};
use protocol::ethernet::Mac;
use protocol::tcp::{DEFAULT_MSS, Flags, Header, Options, SeqNumber, Timestamps};

use crate::app::App;
use crate::env::{Bare, Env};
use crate::input::{self, Segment};
use crate::round::Stack;
use crate::state::State;
use crate::tcb::{self, Connection, Key, Opening, Path};
use crate::time_wait::{Entry, Kind};

/// After how long the cookies' secret changes: one is good for once to twice this.
const PERIOD: Duration = Duration::from_secs(32);

/// What an ACK of no connection is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cookie {
    /// The end of a handshake with a peer of this MSS.
    Good(u16),
    /// It belongs to a handshake, but what came before it is missing. Neither safe to open a
    /// connection on nor a reason to reset one: the peer sends the missing data again.
    Later,
    Bad,
}

#[derive(Debug)]
pub(crate) struct Cookies {
    jar: CookieJar,
    /// Until when a cookie that was sent may still come back.
    good_until: Instant,
}

impl Cookies {
    pub(crate) fn new(rng: &mut impl Rng) -> Self {
        Self { jar: CookieJar::new(&rng.secret(), PERIOD), good_until: Instant::ZERO }
    }

    /// The longest that a cookie can be good.
    pub(crate) fn lifetime(&self) -> Duration {
        self.jar.lifetime()
    }

    /// Whether a cookie may come back: without this, an ACK is not even looked at.
    #[inline]
    pub(crate) fn in_use(&self, now: Instant) -> bool {
        now < self.good_until
    }

    /// The initial sequence number for the answer to a SYN.
    pub(crate) fn iss(
        &mut self,
        now: Instant,
        tuple: &FourTuple,
        before: SeqNumber,
        syn: &Segment,
    ) -> SeqNumber {
        self.jar.rotate(now);
        self.jar.make(tuple, syn.header.seq, before, syn.options.mss.unwrap_or(DEFAULT_MSS))
    }

    fn worth(&mut self, now: Instant, tuple: &FourTuple, before: SeqNumber, header: &Header) -> Cookie {
        self.jar.rotate(now);
        let (iss, irs) = (header.ack - 1, header.seq - 1);
        match self.jar.check(tuple, irs, before, iss) {
            Some(mss) => Cookie::Good(mss),
            None if self.jar.check_later(tuple, irs, before, iss) => Cookie::Later,
            None => Cookie::Bad,
        }
    }
}

/// What a cookie is bound to beside its own handshake: the last connection of the same name, when
/// it is remembered.
pub(crate) fn before(entry: Option<&Entry>) -> SeqNumber {
    entry.map_or(NO_CONNECTION_BEFORE, |entry| entry.snd_nxt)
}

impl<F: Frame> Env<F> {
    /// Answers a SYN and forgets it.
    pub(crate) fn answer_with_cookie(&mut self, key: Key, syn: &Segment, mac: Mac, before: SeqNumber) {
        let tuple = key.tuple(&self.config);
        let seq = self.cookies.iss(self.now, &tuple, before, syn);
        self.cookies.good_until = self.now + self.cookies.lifetime();
        let mut options = Options { mss: Some(self.config.mss(key.version())), ..Options::default() };
        // Without timestamps there is no place for the other options to travel in: not agreed on.
        if let Some(theirs) = syn.options.timestamps {
            let kept =
                SynOptions { window_scale: syn.options.window_scale, sack: syn.options.sack_permitted };
            let clock = (self.now.millis() as u32).wrapping_add(self.isn.timestamp_offset(&tuple));
            options.timestamps = Some(Timestamps { value: kept.into_timestamp(clock), echo: theirs.value });
            options.sack_permitted = kept.sack;
            options.window_scale = kept.window_scale.map(|_| self.config.window_scale());
        }
        self.counters.cookies_sent += 1;
        self.send_bare(Bare {
            mac,
            key,
            seq,
            ack: syn.header.seq + 1,
            flags: Flags::SYN | Flags::ACK,
            // RFC 7323 §2.2: never scaled here.
            window: self.config.receive_window.min(0xffff) as u16,
            options,
        });
    }

    /// Remembers the name of a connection that ended, while the cookie that may have opened it is
    /// still good.
    #[cold]
    pub(crate) fn remember_spent<S>(&mut self, connection: &Connection<S>) {
        let tcb = &connection.tcb;
        let opened_by_peer = tcb.state.is_synchronized() && !tcb.flags.has(tcb::Flags::ACTIVE);
        let on_wire = matches!(tcb.path, Path::Wire(_));
        let waits = self.time_wait.find(tcb.key).is_some_and(|entry| entry.kind == Kind::TimeWait);
        if opened_by_peer && on_wire && !waits {
            let numbers = (tcb.snd_nxt, tcb.rcv_nxt);
            let evicted = self.time_wait.insert(self.now, Kind::Spent, tcb.key, numbers, tcb.rcv_scale, None);
            self.counters.time_wait_evicted += u64::from(evicted);
        }
    }
}

impl<F: Frame, A: App> Stack<F, A> {
    /// A segment of no connection, for a listener: true when it was one of a handshake whose SYN
    /// was answered with a cookie, and was dealt with.
    #[cold]
    pub(crate) fn ends_cookie_handshake(
        &mut self,
        app: &mut A,
        key: Key,
        segment: &Segment,
        payload: &[u8],
        mac: Mac,
    ) -> bool {
        let env = &mut self.env;
        let header = &segment.header;
        if header.flags.any(Flags::SYN | Flags::RST) || !header.flags.has(Flags::ACK) {
            return false;
        }
        let before = match env.time_wait.find(key) {
            // Of the connection that waits, not of a new one.
            Some(entry) if entry.kind == Kind::TimeWait && header.ack == entry.snd_nxt => return false,
            entry => before(entry.as_deref()),
        };
        let tuple = key.tuple(&env.config);
        let mut worth = env.cookies.worth(env.now, &tuple, before, header);
        let (mut segment, mut payload) = (*segment, payload);
        if worth == Cookie::Bad
            && payload.len() <= 1
            && !header.flags.any(Flags::FIN | Flags::URG)
            && let ack = (Header { seq: header.seq + 1, ..*header })
            && let Cookie::Good(mss) = env.cookies.worth(env.now, &tuple, before, &ack)
        {
            // RFC 9293 §3.8.4: a keep-alive, one number below. The peer whose ACK was lost believes that
            // the connection stands, and nothing else comes when both sides wait for the other.
            worth = Cookie::Good(mss);
            (segment.header, payload) = (ack, &[]);
        }
        match worth {
            Cookie::Good(mss) => {
                env.counters.cookies_accepted += 1;
                self.open_by_cookie(app, key, &segment, payload, (mac, mss));
                true
            }
            Cookie::Later => {
                env.counters.cookies_later += 1;
                true
            }
            Cookie::Bad => {
                env.counters.cookies_refused += 1;
                false
            }
        }
    }

    /// Makes the half-open connection that the SYN would have made, and lets the segment arrive.
    fn open_by_cookie(
        &mut self,
        app: &mut A,
        key: Key,
        segment: &Segment,
        payload: &[u8],
        (mac, mss): (Mac, u16),
    ) {
        let env = &mut self.env;
        if env.time_wait.find(key).is_some_and(|entry| entry.kind == Kind::TimeWait) {
            env.counters.time_wait_reused += 1;
        }
        env.time_wait.spend(key, env.now);
        let iss = segment.header.ack - 1;
        let opening = Opening {
            key,
            path: Path::Wire(mac),
            state: State::SynReceived,
            snd_una: iss,
            snd_nxt: iss + 1,
            ts_offset: env.isn.timestamp_offset(&key.tuple(&env.config)),
            mss: env.config.mss(key.version()),
        };
        let Some((slot, _)) = self.connections.open(&opening, env) else {
            env.counters.connections_full += 1;
            return self.refuse(key, segment, payload.len() as u32, mac);
        };
        self.connections.publish(slot);
        let connection = self.connections.slot(slot);
        input::take_syn(env, connection, &syn_of(segment, mss));
        let after = input::arrives(env, slot, connection, app, segment, payload);
        self.follow(app, slot, after);
    }
}

/// The SYN that the first segment after a cookie belongs to, as far as the cookie tells it.
fn syn_of(segment: &Segment, mss: u16) -> Segment {
    let timestamps = segment.options.timestamps;
    let kept = timestamps.map(|timestamps| SynOptions::from_timestamp(timestamps.echo)).unwrap_or_default();
    let header = Header { seq: segment.header.seq - 1, flags: Flags::SYN, ..segment.header };
    let options = Options {
        mss: Some(mss),
        window_scale: kept.window_scale,
        sack_permitted: kept.sack,
        timestamps,
        ..Options::default()
    };
    Segment { header, options, ..*segment }
}
