//! Addresses and ports that the host listens on.

use alloc::boxed::Box;
use alloc::vec;

use protocol::channel::Listen;
use protocol::ip::Address;

use crate::flow_table::FlowList;

/// One listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    pub(crate) listen: Listen,
    pub(crate) waiting: FlowList,
    /// Flows that the host holds or is about to be told of.
    pub(crate) held: u32,
    /// The host queues that listen, one bit each. None: no longer, and the place is free when
    /// nothing waits any more and nothing is held.
    pub(crate) queues: u128,
    /// A host has listened here, and nobody does now: known for the time in which no host is there.
    remembered: bool,
}

impl Listener {
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.queues != 0
    }

    #[inline]
    fn is_over(&self) -> bool {
        self.queues == 0 && !self.remembered && self.is_unused()
    }

    fn is_unused(&self) -> bool {
        self.waiting.len == 0 && self.held == 0
    }
}

/// The listeners. A handful: looked through in order.
#[derive(Debug)]
pub(crate) struct Listeners {
    places: Box<[Option<Listener>]>,
    used: usize,
}

impl Listeners {
    pub(crate) fn new(listeners_max: usize) -> Self {
        Self { places: vec![None; listeners_max].into_boxed_slice(), used: 0 }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(listeners_max: usize) -> usize {
        listeners_max * size_of::<Option<Listener>>()
    }

    /// The open listener for this destination.
    #[inline]
    pub(crate) fn find(&self, addr: Address, port: u16) -> Option<u16> {
        self.position(addr, port, Listener::is_open)
    }

    #[inline]
    fn position(&self, addr: Address, port: u16, is_it: impl Fn(&Listener) -> bool) -> Option<u16> {
        self.places[..self.used]
            .iter()
            .position(|place| {
                place.as_ref().is_some_and(|listener| {
                    listener.listen.port == port && listener.listen.addr == addr && is_it(listener)
                })
            })
            .map(|place| place as u16)
    }

    /// Adds a listener for a host queue, or changes the one that has the same address and port
    /// (also one that is no longer open but whose flows are still there: they count); false when
    /// there is no room.
    pub(crate) fn add(&mut self, listen: Listen, queue: usize) -> bool {
        if let Some(place) = self.position(listen.addr, listen.port, |_| true)
            && let Some(listener) = self.get_mut(place)
        {
            listener.listen = listen;
            listener.queues |= 1 << queue;
            listener.remembered = false;
            return true;
        }
        let is_only_remembered = |place: &Option<Listener>| {
            place.as_ref().is_some_and(|listener| listener.remembered && listener.is_unused())
        };
        let free = self.places.iter().position(Option::is_none);
        let Some(place) = free.or_else(|| self.places.iter().position(is_only_remembered)) else {
            return false;
        };
        self.places[place] = Some(Listener {
            listen,
            waiting: FlowList::EMPTY,
            held: 0,
            queues: 1 << queue,
            remembered: false,
        });
        self.used = self.used.max(place + 1);
        true
    }

    /// A host queue no longer listens here.
    pub(crate) fn leave(&mut self, place: u16, queue: usize) {
        if let Some(listener) = self.get_mut(place).filter(|listener| listener.queues & 1 << queue != 0) {
            listener.queues &= !(1 << queue);
            listener.remembered = listener.queues == 0;
        }
    }

    /// Where a host has listened and nobody does now.
    pub(crate) fn find_remembered(&self, addr: Address, port: u16) -> Option<u16> {
        self.position(addr, port, |listener| listener.remembered)
    }

    /// True when a host has listened on this address, on some port, and nobody does now.
    pub(crate) fn remembers(&self, addr: Address) -> bool {
        let mut listeners = self.places[..self.used].iter().flatten();
        listeners.any(|listener| listener.remembered && listener.listen.addr == addr)
    }

    /// A host is there again, and says by itself where it listens.
    pub(crate) fn forget_remembered(&mut self) {
        for place in self.places() {
            if let Some(listener) = self.get_mut(place) {
                listener.remembered = false;
                self.free_if_over(place);
            }
        }
    }

    #[inline]
    pub(crate) fn get(&self, place: u16) -> Option<&Listener> {
        self.places.get(usize::from(place))?.as_ref()
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: u16) -> Option<&mut Listener> {
        self.places.get_mut(usize::from(place))?.as_mut()
    }

    /// Flows of all listeners on this port that the host holds or is about to be told of.
    #[inline]
    pub(crate) fn held(&self, port: u16) -> u32 {
        let listeners = self.places[..self.used].iter().flatten();
        listeners.filter(|listener| listener.listen.port == port).map(|listener| listener.held).sum()
    }

    /// A flow of the listener is the host's from now on.
    #[inline]
    pub(crate) fn take(&mut self, place: u16) {
        if let Some(listener) = self.get_mut(place) {
            listener.held += 1;
        }
    }

    /// The host is through with a flow of the listener.
    #[inline]
    pub(crate) fn let_go(&mut self, place: u16) {
        let Some(listener) = self.get_mut(place) else { return };
        debug_assert!(listener.held > 0, "more flows let go than taken");
        listener.held = listener.held.saturating_sub(1);
        self.free_if_over(place);
    }

    /// Frees the place of a listener that is no longer, once nothing refers to it.
    #[inline]
    pub(crate) fn free_if_over(&mut self, place: u16) {
        if !self.get(place).is_some_and(Listener::is_over) {
            return;
        }
        self.places[usize::from(place)] = None;
        while self.used > 0 && self.places[self.used - 1].is_none() {
            self.used -= 1;
        }
    }

    /// Places that may hold a listener.
    pub(crate) fn places(&self) -> core::ops::Range<u16> {
        0..self.used as u16
    }

    /// Addresses and ports that a host listens on.
    pub(crate) fn open(&self) -> impl Iterator<Item = (Address, u16)> + '_ {
        let open = self.places[..self.used].iter().flatten().filter(|listener| listener.is_open());
        open.map(|listener| (listener.listen.addr, listener.listen.port))
    }

    pub(crate) fn open_count(&self) -> usize {
        self.open().count()
    }
}
