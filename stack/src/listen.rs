//! Listening ports.

use alloc::vec::Vec;

use netcore::Instant;
use protocol::channel::AcceptPolicy;

/// Why a port cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListenError {
    /// Port 0 means nothing here.
    PortZero,
    /// Somebody listens there already.
    InUse(u16),
}

impl core::fmt::Display for ListenError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::PortZero => f.write_str("cannot listen on port 0: name a port between 1 and 65535"),
            Self::InUse(port) => write!(f, "port {port} is already listened on by this stack"),
        }
    }
}

impl core::error::Error for ListenError {}

/// What the firmware knows of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Announced {
    /// It has to be told (again) at this time.
    Due(Instant),
    Accepted,
    /// It has no room.
    Refused,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    /// Which of our addresses.
    pub(crate) local: u16,
    pub(crate) port: u16,
    pub(crate) policy: AcceptPolicy,
    pub(crate) announced: Announced,
}

/// The listeners of a stack: a handful, so a list.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    list: Vec<Listener>,
}

impl Listeners {
    /// Listens on `port` of the addresses `0..addresses`.
    pub(crate) fn add(
        &mut self,
        addresses: usize,
        port: u16,
        policy: AcceptPolicy,
    ) -> Result<(), ListenError> {
        if port == 0 {
            return Err(ListenError::PortZero);
        }
        // RFC 9293 §3.9.1.1 MUST-41, MUST-42: another listener is in the way, connections are not,
        // whatever their state.
        if self.listens(port) {
            return Err(ListenError::InUse(port));
        }
        let announced = Announced::Due(Instant::ZERO);
        let listeners = (0..addresses as u16).map(|local| Listener { local, port, policy, announced });
        self.list.extend(listeners);
        Ok(())
    }

    pub(crate) fn remove(&mut self, port: u16) -> bool {
        let before = self.list.len();
        self.list.retain(|listener| listener.port != port);
        self.list.len() != before
    }

    /// True when somebody listens on `port`, which is then so on all addresses.
    pub(crate) fn listens(&self, port: u16) -> bool {
        self.list.iter().any(|listener| listener.port == port)
    }

    pub(crate) fn find(&self, local: u16, port: u16) -> Option<&Listener> {
        self.list.iter().find(|listener| (listener.local, listener.port) == (local, port))
    }

    pub(crate) fn find_mut(&mut self, local: u16, port: u16) -> Option<&mut Listener> {
        self.list.iter_mut().find(|listener| (listener.local, listener.port) == (local, port))
    }

    /// The ports, each once.
    pub(crate) fn ports(&self) -> Vec<u16> {
        self.list.iter().filter(|listener| listener.local == 0).map(|listener| listener.port).collect()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Listener> {
        self.list.iter_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Listener> {
        self.list.iter()
    }

    /// Ports that are listened on.
    pub(crate) fn len(&self) -> usize {
        self.list.iter().filter(|listener| listener.local == 0).count()
    }
}
