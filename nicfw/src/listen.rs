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
    /// The host queues that listen, one bit each. None: no longer, and the place is free when
    /// nothing waits any more.
    pub(crate) queues: u128,
}

impl Listener {
    #[inline]
    pub(crate) fn is_open(&self) -> bool {
        self.queues != 0
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
        self.places[..self.used]
            .iter()
            .position(|place| {
                place.as_ref().is_some_and(|listener| {
                    listener.is_open() && listener.listen.port == port && listener.listen.addr == addr
                })
            })
            .map(|place| place as u16)
    }

    /// Adds a listener for a host queue, or changes the one that has the same address and port;
    /// false when there is no room.
    pub(crate) fn add(&mut self, listen: Listen, queue: usize) -> bool {
        if let Some(place) = self.find(listen.addr, listen.port)
            && let Some(listener) = self.get_mut(place)
        {
            listener.listen = listen;
            listener.queues |= 1 << queue;
            return true;
        }
        let Some(place) = self.places.iter().position(Option::is_none) else { return false };
        self.places[place] = Some(Listener { listen, waiting: FlowList::EMPTY, queues: 1 << queue });
        self.used = self.used.max(place + 1);
        true
    }

    /// A host queue no longer listens here.
    pub(crate) fn leave(&mut self, place: u16, queue: usize) {
        if let Some(listener) = self.get_mut(place) {
            listener.queues &= !(1 << queue);
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

    pub(crate) fn free(&mut self, place: u16) {
        if let Some(place) = self.places.get_mut(usize::from(place)) {
            *place = None;
        }
        while self.used > 0 && self.places[self.used - 1].is_none() {
            self.used -= 1;
        }
    }

    /// Places that may hold a listener.
    pub(crate) fn places(&self) -> core::ops::Range<u16> {
        0..self.used as u16
    }

    pub(crate) fn open_count(&self) -> usize {
        self.places[..self.used].iter().flatten().filter(|listener| listener.is_open()).count()
    }
}
