//! Whether a NIC outside this process is there, and what it says of itself.
//!
//! It is asked by HELLO, twice a second or oftener, and counts as gone when an answer takes longer
//! than [`crate::Config::nic_silence`]. Then, as when it comes up new, its flows end here, and so
//! that nothing of them comes back when it was only away, our epoch is a new one.

use netcore::{Duration, Frame, Instant};
use protocol::channel::Hello;
use protocol::ethernet::Mac;
use protocol::ipv6;

use super::ChannelState;
use crate::app::App;
use crate::config::Config;
use crate::round::Stack;

/// Longest time between two HELLOs.
const HEARTBEAT_MAX: Duration = Duration::from_millis(500);
/// HELLOs in a time of silence.
const HELLOS: u64 = 4;
/// No link has a smaller MTU (RFC 791 §3.2: what every host takes); a NIC that says so is not believed.
const MTU_MIN: usize = 576;

/// How a NIC is watched.
#[derive(Debug)]
pub(crate) struct Watch {
    silence: Duration,
    pub(crate) heartbeat: Duration,
    /// Since when an answer is missing.
    asked_at: Option<Instant>,
    looked_at: Instant,
    /// What was configured: the NIC may only make it smaller.
    mtu: usize,
}

impl Watch {
    pub(crate) fn new(silence: Duration, config: &Config) -> Self {
        let share = Duration::from_micros(silence.micros() / HELLOS);
        Self {
            silence,
            heartbeat: share.min(HEARTBEAT_MAX),
            asked_at: None,
            looked_at: Instant::ZERO,
            mtu: config.mtu,
        }
    }

    /// HELLO is being said.
    pub(crate) fn asks(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    /// Once per round: `heard` when a frame came. True when the NIC is gone.
    fn is_silent(&mut self, heard: bool, now: Instant) -> bool {
        let away = now.since(core::mem::replace(&mut self.looked_at, now));
        if heard {
            self.asked_at = None;
        } else if away > self.heartbeat {
            // It is us who were away (a long command, a stopped process, a paused machine): the
            // answer gets its time from now on.
            self.asked_at = self.asked_at.map(|_| now);
        }
        self.asked_at.is_some_and(|since| now.since(since) >= self.silence)
    }

    /// When the NIC will be gone if it does not answer.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.asked_at.map(|since| since + self.silence)
    }
}

impl<F: Frame, A: App> Stack<F, A> {
    /// Once per round, after its frames.
    #[inline]
    pub(crate) fn watch_nic(&mut self, app: &mut A, heard: bool) {
        let now = self.env.now;
        let Some(watch) = &mut self.env.channel.watch else { return };
        if watch.is_silent(heard, now) {
            self.nic_is_gone(app);
        }
    }

    /// Says that the NIC outside this process is gone, as far as the port knows. Its flows end, and
    /// HELLO is said until somebody answers.
    pub fn nic_is_gone(&mut self, app: &mut A) {
        if self.env.channel.is_up() {
            self.env.counters.channel_silences += 1;
            self.give_up_nic(app);
        }
    }

    /// Its flows end, and HELLO is said at once, of a new life.
    pub(crate) fn give_up_nic(&mut self, app: &mut A) {
        self.env.channel.state = ChannelState::Waiting;
        self.env.channel.hello_due = self.env.now;
        self.begin_anew(app);
    }

    /// Nothing is left of our flows on the other side, or nothing may be: they end here too, and a
    /// new life begins.
    pub(crate) fn begin_anew(&mut self, app: &mut A) {
        self.forget_flows(app);
        let channel = &mut self.env.channel;
        channel.epoch = channel.epoch.wrapping_add(1).max(1);
        channel.news_heard = None;
    }

    /// Takes over what a NIC outside this process says of itself. False: we do not fit together.
    pub(crate) fn know_nic(&mut self, hello: &Hello) -> bool {
        let env = &mut self.env;
        let Some(watch) = &env.channel.watch else { return true };
        let lifecycle = hello.has(Hello::LIFECYCLE);
        if lifecycle != env.channel.lifecycle {
            env.channel.state = ChannelState::WrongLevel { lifecycle };
            return false;
        }
        let config = &mut env.config;
        config.rx_partial_checksum = hello.has(Hello::PARTIAL_CHECKSUM);
        let mtu = usize::from(hello.mtu);
        config.mtu = if mtu < MTU_MIN { watch.mtu } else { mtu.min(watch.mtu) };
        if hello.mac != Mac::default() && hello.mac != config.mac {
            let (old, new) = (ipv6::link_local(config.mac), ipv6::link_local(hello.mac));
            for network in config.networks.iter_mut().filter(|network| network.address == old) {
                network.address = new;
            }
            config.mac = hello.mac;
        }
        true
    }
}
