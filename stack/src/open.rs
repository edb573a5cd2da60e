//! How connections begin and end at the table's edge: active opens, SYNs for listeners, segments
//! for nobody (RFC 9293 §3.10.1, §3.10.7.1, §3.10.7.2) and TIME_WAIT (§3.10.7.4).

use core::net::SocketAddr;

use netcore::{Frame, Instant};
use protocol::ethernet::Mac;
use protocol::ip::Address;
use protocol::tcp::{self, Options, SeqNumber, Timestamps};

use crate::app::{App, ConnectionId, EndReason};
use crate::config::Config;
use crate::cookies;
use crate::env::{Bare, Control};
use crate::input::{self, Segment};
use crate::ip::neighbour;
use crate::listen::Announced;
use crate::round::{ConnectError, Stack, mark_new};
use crate::state::State;
use crate::tcb::{Flags, Key, Opening, Path};
use crate::time_wait::Kind;

/// First and last local port of active opens (RFC 6056 §3.2: the dynamic range).
const LOCAL_PORTS: core::ops::RangeInclusive<u16> = 49_152..=65_535;

/// How far a connection that follows another in TIME_WAIT begins above it: more than the largest
/// window without scaling, so that nothing old looks new.
const ISS_STEP: u32 = 1 << 16;

impl<F: Frame, A: App> Stack<F, A> {
    /// Opens a connection from a local port of the stack's choice; [`App::connected`] is called
    /// when it stands, and [`Stack::failed_opens`] tells when it never does.
    ///
    /// # Errors
    /// [`ConnectError`], each with the value that was in the way.
    pub fn connect(
        &mut self,
        remote: impl Into<SocketAddr>,
        now: Instant,
    ) -> Result<ConnectionId, ConnectError> {
        let remote = remote.into();
        let addr = Address::from(remote.ip());
        let Some(local) = self.env.config.source_for(addr) else { return Err(ConnectError::NoRoute(addr)) };
        let key = Key::new(local, 0, addr, remote.port());
        // RFC 6056 §3.3.3: begin where a keyed hash of the peer says, and go on from there.
        let count = u32::from(*LOCAL_PORTS.end() - *LOCAL_PORTS.start()) + 1;
        let offset = self.env.isn.port_offset(&key.tuple(&self.env.config));
        for _ in 0..count {
            let next = offset.wrapping_add(self.env.next_port);
            self.env.next_port = self.env.next_port.wrapping_add(1);
            let local_port = LOCAL_PORTS.start() + (next % count) as u16;
            match self.connect_from(local_port, remote, now) {
                Err(ConnectError::InUse(_)) => {}
                other => return other,
            }
        }
        Err(ConnectError::NoPort(remote))
    }

    /// Opens a connection from `local_port` of the address that suits `remote` best.
    ///
    /// # Errors
    /// [`ConnectError`], each with the value that was in the way.
    pub fn connect_from(
        &mut self,
        local_port: u16,
        remote: impl Into<SocketAddr>,
        now: Instant,
    ) -> Result<ConnectionId, ConnectError> {
        let remote = remote.into();
        // RFC 9293 §3.9.1.1 MUST-44: IP chooses the address before the first SYN.
        self.open(self.env.config.source_for(Address::from(remote.ip())), local_port, remote, now)
    }

    /// Opens a connection from this address and port of ours.
    ///
    /// # Errors
    /// [`ConnectError`], each with the value that was in the way.
    pub fn connect_between(
        &mut self,
        local: impl Into<SocketAddr>,
        remote: impl Into<SocketAddr>,
        now: Instant,
    ) -> Result<ConnectionId, ConnectError> {
        let (local, remote) = (local.into(), remote.into());
        let addr = Address::from(local.ip());
        // RFC 9293 §3.9.1.1 MUST-43: or the application names it.
        let number = self.env.config.local(addr).filter(|_| local.is_ipv4() == remote.is_ipv4());
        let Some(number) = number else { return Err(ConnectError::BadAddress(addr)) };
        self.open(Some(number), local.port(), remote, now)
    }

    fn open(
        &mut self,
        local: Option<u16>,
        local_port: u16,
        remote: SocketAddr,
        now: Instant,
    ) -> Result<ConnectionId, ConnectError> {
        let addr = Address::from(remote.ip());
        let env = &mut self.env;
        // RFC 9293 §3.9.1.1 MUST-46: no open towards a group.
        if !env.config.is_unicast_source(addr) || remote.port() == 0 || local_port == 0 {
            return Err(ConnectError::BadAddress(addr));
        }
        let (Some(local), Some(hop)) = (local, env.config.next_hop(addr)) else {
            return Err(ConnectError::NoRoute(addr));
        };
        let key = Key::new(local, local_port, addr, remote.port());
        let waits = env.time_wait.find(key).is_some();
        if self.connections.find(key).is_some() || waits || self.listeners.listens(local_port) {
            return Err(ConnectError::InUse(local_port));
        }
        env.now = env.now.max(now);
        let tuple = key.tuple(&env.config);
        let iss = env.isn.isn(&tuple, env.now);
        let path = env.neighbours.find(hop, env.now).map_or(Path::Unresolved, Path::Wire);
        let opening = Opening {
            key,
            path,
            state: State::SynSent,
            snd_una: iss,
            snd_nxt: iss + 1,
            ts_offset: env.isn.timestamp_offset(&tuple),
            mss: env.config.mss(key.version()),
        };
        let Some((slot, _)) = self.connections.open(&opening, env) else {
            return Err(ConnectError::TooMany(env.config.connections_max));
        };
        self.connections.publish(slot);
        let connection = self.connections.slot(slot);
        connection.tcb.flags.set(Flags::SYN_DUE | Flags::ACTIVE);
        if path == Path::Unresolved {
            env.controls.push_back(Control::Solicit(hop));
            connection.tcb.unanswered = 1;
            connection.tcb.idle_deadline = env.now + neighbour::SOLICIT_INTERVAL;
        }
        mark_new(env, slot, connection);
        Ok(connection.id(slot))
    }

    /// Takes the list of active opens that came to nothing: their names and why.
    pub fn failed_opens(&mut self) -> impl Iterator<Item = (ConnectionId, EndReason)> + '_ {
        self.env.failed_opens.drain(..)
    }

    /// A segment that no connection is there for.
    pub(crate) fn without_connection(
        &mut self,
        app: &mut A,
        key: Key,
        segment: &Segment,
        payload: &[u8],
        mac: Mac,
    ) {
        let listens = self.listeners.listens(key.local_port());
        if listens
            && self.env.cookies.in_use(self.env.now)
            && self.ends_cookie_handshake(app, key, segment, payload, mac)
        {
            return;
        }
        let len = payload.len() as u32;
        if self.env.time_wait.find(key).is_some() && self.in_time_wait(key, segment, len, mac) {
            return;
        }
        let flags = segment.header.flags;
        if !listens || flags.any(tcp::Flags::RST | tcp::Flags::ACK) {
            self.refuse(key, segment, len, mac);
        } else if flags.has(tcp::Flags::SYN) && !flags.has(tcp::Flags::FIN) {
            self.syn_arrived(key, segment, mac);
        } else {
            // RFC 9293 §3.10.7.2 (fourth): without RST, ACK and SYN it is dropped. Who opens and
            // closes in one segment is no client.
            self.env.counters.listen_unusable += 1;
        }
    }

    /// RFC 9293 §3.10.7.2: a SYN for a listener. A connection of the same name that is still
    /// remembered may be followed by a new one.
    fn syn_arrived(&mut self, key: Key, segment: &Segment, mac: Mac) {
        let env = &mut self.env;
        if env.channel.has_listeners()
            && self
                .listeners
                .find(key.local(), key.local_port())
                .is_some_and(|listener| listener.announced != Announced::Refused)
        {
            // The firmware will reset what it knows nothing of, once it has the listener. The peer's
            // next SYN finds it there.
            env.counters.listen_not_announced += 1;
            return;
        }
        let remembered = env.time_wait.find(key).copied();
        let before = cookies::before(remembered.as_ref());
        if env.gauges.half_open() as usize >= env.config.half_open_max() {
            return env.answer_with_cookie(key, segment, mac, before);
        }
        if let Some(entry) = remembered {
            if env.cookies.in_use(env.now) {
                env.time_wait.spend(key, env.now);
            } else {
                env.time_wait.remove(key);
            }
            env.counters.time_wait_reused += u64::from(entry.kind == Kind::TimeWait);
        }
        let tuple = key.tuple(&env.config);
        let iss = if env.cookies.in_use(env.now) {
            env.cookies.iss(env.now, &tuple, before, segment)
        } else {
            match (env.isn.isn(&tuple, env.now), remembered) {
                // RFC 9293 §3.6.1 MAY-2: above all numbers of the connection before, which may have
                // run ahead of the clock.
                (iss, Some(entry)) if iss.before_eq(entry.snd_nxt) => entry.snd_nxt + ISS_STEP,
                (iss, _) => iss,
            }
        };
        let opening = Opening {
            key,
            path: Path::Wire(mac),
            state: State::SynReceived,
            snd_una: iss,
            snd_nxt: iss + 1,
            ts_offset: env.isn.timestamp_offset(&tuple),
            mss: env.config.mss(key.version()),
        };
        let Some((slot, _)) = self.connections.open(&opening, env) else {
            env.counters.connections_full += 1;
            return self.refuse(key, segment, 0, mac);
        };
        self.connections.publish(slot);
        let connection = self.connections.slot(slot);
        input::take_syn(env, connection, segment);
        connection.set_snd_wnd(u32::from(segment.header.window));
        connection.tcb.flags.set(Flags::SYN_DUE);
        env.mark(slot, connection);
    }

    /// RFC 9293 §3.10.7.1: whatever comes for no connection is answered with a RST that fits,
    /// except a RST.
    pub(crate) fn refuse(&mut self, key: Key, segment: &Segment, len: u32, mac: Mac) {
        let env = &mut self.env;
        env.counters.closed_port += 1;
        let header = &segment.header;
        if header.flags.has(tcp::Flags::RST) {
            return;
        }
        let (seq, ack, flags) = if header.flags.has(tcp::Flags::ACK) {
            (header.ack, SeqNumber(0), tcp::Flags::RST)
        } else {
            let syn_fin =
                u32::from(header.flags.has(tcp::Flags::SYN)) + u32::from(header.flags.has(tcp::Flags::FIN));
            (SeqNumber(0), header.seq + len + syn_fin, tcp::Flags::RST | tcp::Flags::ACK)
        };
        env.counters.resets_sent += 1;
        env.send_bare(Bare { mac, key, seq, ack, flags, window: 0, options: Options::default() });
    }

    /// Our part is done: the name goes to the TIME_WAIT table, the connection is over.
    pub(crate) fn enter_time_wait(&mut self, app: &mut A, slot: u32) {
        let connection = self.connections.slot(slot);
        let tcb = connection.tcb;
        if let Path::Wire(mac) = tcb.path {
            let env = &mut self.env;
            let timestamps = tcb.flags.has(Flags::TIMESTAMPS).then_some((tcb.ts_recent, tcb.ts_offset));
            let numbers = (tcb.snd_nxt, tcb.rcv_nxt);
            let evicted =
                env.time_wait.insert(env.now, Kind::TimeWait, tcb.key, numbers, tcb.rcv_scale, timestamps);
            env.counters.time_wait_entered += 1;
            env.counters.time_wait_evicted += u64::from(evicted);
            if tcb.flags.has(Flags::ACK_NOW) {
                env.send_bare(Bare {
                    mac,
                    key: tcb.key,
                    seq: tcb.snd_nxt,
                    ack: tcb.rcv_nxt,
                    flags: tcp::Flags::ACK,
                    window: whole_window(&env.config, tcb.rcv_scale),
                    options: Options {
                        timestamps: timestamps
                            .map(|_| Timestamps { value: tcb.ts_value(env.now), echo: tcb.ts_recent }),
                        ..Options::default()
                    },
                });
            }
        }
        self.end_without_telling(app, slot, EndReason::Closed);
    }

    /// RFC 9293 §3.10.7.4 in TIME_WAIT; false when the segment should be looked at as if the name
    /// were free.
    fn in_time_wait(&mut self, key: Key, segment: &Segment, len: u32, mac: Mac) -> bool {
        let env = &mut self.env;
        let Some(entry) = env.time_wait.find(key).copied() else { return false };
        let header = &segment.header;
        if header.flags.has(tcp::Flags::RST) {
            // RFC 1337 §3: a RST does not end TIME_WAIT.
            return true;
        }
        if header.flags.has(tcp::Flags::SYN) && !header.flags.has(tcp::Flags::ACK) {
            let listens = self.listeners.listens(key.local_port());
            if listens && entry.may_be_reused_by(header, &segment.options) {
                return false;
            }
        }
        if entry.kind == Kind::Spent {
            // This one waits for nothing.
            return false;
        }
        let bare = len == 0 && !header.flags.any(tcp::Flags::SYN | tcp::Flags::FIN);
        if header.flags.has(tcp::Flags::FIN) && header.seq + len + 1 == entry.rcv_nxt {
            // RFC 9293 §3.10.7.4: the peer's FIN again starts the wait anew.
            env.time_wait.restart(key, env.now);
        } else if bare && header.seq == entry.rcv_nxt {
            // The last ACK of a simultaneous close, and the like.
            return true;
        } else if !env.may_challenge() {
            return true;
        }
        let timestamps = entry.timestamps().then(|| Timestamps {
            value: (env.now.millis() as u32).wrapping_add(entry.ts_offset),
            echo: entry.ts_recent,
        });
        env.send_bare(Bare {
            mac,
            key,
            seq: entry.snd_nxt,
            ack: entry.rcv_nxt,
            flags: tcp::Flags::ACK,
            // RFC 9293 §3.8.6 SHLD-14: not smaller than what was said before.
            window: whole_window(&env.config, entry.rcv_scale()),
            options: Options { timestamps, ..Options::default() },
        });
        true
    }
}

/// The field that announces the whole receive window.
fn whole_window(config: &Config, rcv_scale: u8) -> u16 {
    (config.receive_window >> rcv_scale).min(0xffff) as u16
}
