//! The driver of the channel to the NIC's firmware (docs/channel.md): who is on the other side,
//! which listeners it knows, which flow belongs to which connection.
//!
//! HELLO is repeated until it is answered, LISTEN until it is acknowledged. A NIC with a new
//! epoch has forgotten everything: all flows end here too, and the listeners are announced anew.
//! A NIC outside this process is asked all the time whether it is there (`presence`).

mod events;
mod presence;
pub(crate) mod send;

use alloc::vec::Vec;

use netcore::rng::Rng;
use netcore::{Duration, Instant};
use protocol::channel::{FlowId, Kind};
use protocol::ethernet::{BROADCAST, Mac};

use crate::config::{Config, Offload};

/// Between two HELLOs or LISTENs without an answer.
pub(crate) const REPEAT: Duration = Duration::from_millis(100);
/// Flow slots that are believed; a NIC that names a higher one is broken.
const FLOW_SLOTS_MAX: usize = 1 << 24;
const NO_CONNECTION: u32 = u32::MAX;

/// How the channel stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelState {
    /// Level `none`, and the NIC in this process: there is no channel.
    Unused,
    /// HELLO was sent, nobody has answered yet.
    Waiting,
    /// The firmware is there.
    Up,
    /// The firmware speaks only these versions, and not ours.
    WrongVersion {
        /// Lowest version that it speaks.
        version_min: u8,
        /// Highest.
        version_max: u8,
    },
    /// The firmware is there and works at another level of offload: `lifecycle` if that is true,
    /// else `none`.
    WrongLevel {
        /// Whether it does the lifecycle of connections.
        lifecycle: bool,
    },
}

/// Whether a flow's slot is a number that a NIC may have.
#[inline]
fn is_believed(flow: FlowId) -> bool {
    (flow.slot as usize) < FLOW_SLOTS_MAX
}

#[derive(Debug)]
pub(crate) struct Driver {
    state: ChannelState,
    epoch: u32,
    nic_epoch: u32,
    nic_mac: Mac,
    /// When HELLO is said again.
    hello_due: Instant,
    /// Last data in bytes that the firmware takes over for a flow, beyond one segment.
    last_data_max: u32,
    /// News said, as HELLO counts it.
    news_said: u32,
    /// News heard, by the firmware's count; `None` before its first HELLO in this life of ours.
    news_heard: Option<u32>,
    lifecycle: bool,
    watch: Option<presence::Watch>,
    /// Connection slot by flow slot, for frames that do not carry our handle yet.
    connections: Vec<u32>,
}

impl Driver {
    pub(crate) fn new(config: &Config, rng: &mut impl Rng) -> Self {
        let lifecycle = config.offload == Offload::Lifecycle;
        let watch = config.nic_silence.map(|silence| presence::Watch::new(silence, config));
        let state = match lifecycle || watch.is_some() {
            true => ChannelState::Waiting,
            false => ChannelState::Unused,
        };
        let mut epoch = 0;
        while epoch == 0 {
            epoch = rng.wire_u32();
        }
        Self {
            state,
            epoch,
            nic_epoch: 0,
            nic_mac: BROADCAST,
            hello_due: Instant::ZERO,
            last_data_max: 0,
            news_said: 0,
            news_heard: None,
            lifecycle,
            watch,
            connections: Vec::new(),
        }
    }

    pub(crate) fn state(&self) -> ChannelState {
        self.state
    }

    pub(crate) fn is_used(&self) -> bool {
        self.state != ChannelState::Unused
    }

    /// True when the firmware has to know the listeners.
    pub(crate) fn has_listeners(&self) -> bool {
        self.lifecycle
    }

    pub(crate) fn is_up(&self) -> bool {
        self.state == ChannelState::Up
    }

    /// The epoch that our messages carry; 0 before the first HELLO.
    pub(crate) fn nic_epoch(&self) -> u32 {
        self.nic_epoch
    }

    /// Last data in bytes that the firmware takes over for a flow, beyond one segment.
    pub(crate) fn last_data_max(&self) -> u32 {
        self.last_data_max
    }

    /// A message of this kind is on its way.
    #[inline]
    pub(crate) fn says(&mut self, kind: Kind) {
        self.news_said = self.news_said.wrapping_add(u32::from(kind.is_news()));
    }

    /// A message of this kind has come, for whichever life.
    #[inline]
    fn hears(&mut self, kind: Kind) {
        if let Some(heard) = &mut self.news_heard {
            *heard = heard.wrapping_add(u32::from(kind.is_news()));
        }
    }

    /// Where messages go; broadcast before the first HELLO.
    pub(crate) fn nic_mac(&self) -> Mac {
        self.nic_mac
    }

    /// Notes whose flow `flow` is, which is believed.
    #[inline]
    fn bind(&mut self, flow: FlowId, slot: u32) {
        debug_assert!(is_believed(flow));
        let index = flow.slot as usize;
        if index >= self.connections.len() {
            self.make_room(index);
        }
        self.connections[index] = slot;
    }

    #[cold]
    fn make_room(&mut self, index: usize) {
        self.connections.resize((index + 1).next_power_of_two(), NO_CONNECTION);
    }

    #[inline]
    pub(crate) fn unbind(&mut self, flow: FlowId, slot: u32) {
        if let Some(entry) = self.connections.get_mut(flow.slot as usize)
            && *entry == slot
        {
            *entry = NO_CONNECTION;
        }
    }

    #[inline]
    fn connection_of(&self, flow: FlowId) -> Option<u32> {
        self.connections.get(flow.slot as usize).copied().filter(|&slot| slot != NO_CONNECTION)
    }
}
