//! Neighbours: a bounded cache of hardware addresses. Only active opens ask; replies to
//! connections from outside go where their packets came from.
//!
//! Only answers to questions of our own are believed, and what is known is not changed before it
//! is old: nobody can write into this cache by telling what was not asked (RFC 826 and RFC 4861
//! §7.2.5 would let them), or push others out of it by asking.

use alloc::collections::VecDeque;

use hashbrown::HashMap;
use netcore::{Duration, Frame, FramePool, Instant};
use protocol::ethernet::Mac;
use protocol::ip::{Address, Version};

use crate::env::Env;

/// How long an answer is good (RFC 1122 §2.3.2.1 wants a limit, of the order of a minute).
const ENTRY_LIFE: Duration = Duration::from_secs(60);
/// Between two questions (RFC 1122 §2.3.2.1: at most one per second and neighbour; RFC 4861 §10).
pub(crate) const SOLICIT_INTERVAL: Duration = Duration::from_secs(1);
/// Unanswered questions before a connection gives up (RFC 4861 §10).
pub(crate) const SOLICITS_MAX: u8 = 3;
/// How long a question waits for its answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// Questions that wait for an answer at once.
const ASKED_MAX: usize = 256;

#[derive(Debug)]
pub(crate) struct Neighbours {
    max: usize,
    known: HashMap<Address, (Mac, Instant), core::hash::BuildHasherDefault<AddressHasher>>,
    oldest_first: VecDeque<Address>,
    /// Whom we asked for, and until when an answer is taken.
    asked: VecDeque<(Address, Instant)>,
}

/// Addresses are few and bounded, and only neighbours whom we asked get in: mixing suffices.
#[derive(Debug, Default)]
pub(crate) struct AddressHasher(u64);

impl core::hash::Hasher for AddressHasher {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
    }
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.wrapping_mul(0x100_0000_01b3) ^ u64::from(byte);
        }
    }
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Learned {
    /// A neighbour is known now.
    New {
        /// An older one had to go for it.
        evicted: bool,
    },
    /// Nobody asked, or it was known already.
    Ignored,
}

impl Neighbours {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            known: HashMap::default(),
            oldest_first: VecDeque::new(),
            asked: VecDeque::new(),
        }
    }

    pub(crate) fn find(&self, addr: Address, now: Instant) -> Option<Mac> {
        self.known.get(&addr).filter(|(_, until)| *until > now).map(|(mac, _)| *mac)
    }

    /// Forgets an address that does not seem to answer any more (RFC 1122 §3.3.1.4).
    pub(crate) fn forget(&mut self, addr: Address) {
        if self.known.remove(&addr).is_some() {
            self.oldest_first.retain(|known| *known != addr);
        }
    }

    /// Notes a question.
    fn asking(&mut self, addr: Address, now: Instant) {
        self.asked.retain(|&(asked, until)| until > now && asked != addr);
        if self.asked.len() == ASKED_MAX {
            self.asked.pop_front();
        }
        self.asked.push_back((addr, now + ANSWER_WITHIN));
    }

    /// Somebody says that `addr` has this hardware address.
    pub(crate) fn answered(&mut self, addr: Address, mac: Mac, now: Instant) -> Learned {
        let question = self.asked.iter().position(|&(asked, until)| asked == addr && until > now);
        let Some(question) = question.filter(|_| !mac.is_multicast()) else { return Learned::Ignored };
        self.asked.remove(question);
        let until = now + ENTRY_LIFE;
        if self.known.insert(addr, (mac, until)).is_some() {
            return Learned::New { evicted: false };
        }
        self.oldest_first.push_back(addr);
        let evicted = self.oldest_first.len() > self.max;
        if evicted && let Some(oldest) = self.oldest_first.pop_front() {
            self.known.remove(&oldest);
        }
        Learned::New { evicted }
    }
}

/// Takes what somebody says of a neighbour; returns true when connections may go on with it.
pub(crate) fn answered<F>(env: &mut Env<F>, addr: Address, mac: Mac) -> bool {
    match env.neighbours.answered(addr, mac, env.now) {
        Learned::New { evicted } => {
            env.counters.neighbours_evicted += u64::from(evicted);
            true
        }
        Learned::Ignored => {
            env.counters.neighbours_ignored += 1;
            false
        }
    }
}

/// Asks for `addr`; false when there is no frame or no room now.
pub(crate) fn solicit<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    addr: Address,
) -> bool {
    let sent = match addr.version() {
        Version::V4 => super::arp::request(env, pool, addr),
        Version::V6 => super::ndp::solicit(env, pool, addr),
    };
    if sent.is_some() {
        env.neighbours.asking(addr, env.now);
        env.counters.neighbours_asked += 1;
    }
    sent.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn addr(n: u8) -> Address {
        Ipv4Addr::new(198, 18, 0, n).into()
    }

    fn tell(neighbours: &mut Neighbours, n: u8, mac: u8, now: Instant) -> Learned {
        neighbours.asking(addr(n), now);
        neighbours.answered(addr(n), Mac([mac; 6]), now)
    }

    #[test]
    fn the_cache_is_bounded_and_forgets() {
        let mut neighbours = Neighbours::new(2);
        let now = Instant::ZERO;
        assert_eq!(tell(&mut neighbours, 1, 2, now), Learned::New { evicted: false });
        assert_eq!(tell(&mut neighbours, 2, 2, now), Learned::New { evicted: false });
        assert_eq!(tell(&mut neighbours, 1, 4, now), Learned::New { evicted: false });
        assert_eq!(neighbours.find(addr(1), now), Some(Mac([4; 6])));
        assert_eq!(tell(&mut neighbours, 3, 6, now), Learned::New { evicted: true });
        assert_eq!(neighbours.find(addr(1), now), None);
        assert_eq!(neighbours.known.len(), 2);
        assert_eq!(neighbours.find(addr(3), now + ENTRY_LIFE), None);
    }

    #[test]
    fn only_answers_are_believed() {
        let mut neighbours = Neighbours::new(8);
        let now = Instant::ZERO;
        assert_eq!(neighbours.answered(addr(1), Mac([2; 6]), now), Learned::Ignored, "nobody asked");
        tell(&mut neighbours, 1, 2, now);
        assert_eq!(neighbours.answered(addr(1), Mac([4; 6]), now), Learned::Ignored, "answered already");
        assert_eq!(neighbours.find(addr(1), now), Some(Mac([2; 6])));
        neighbours.asking(addr(2), now);
        assert_eq!(neighbours.answered(addr(2), Mac([1; 6]), now), Learned::Ignored, "a group");
        assert_eq!(neighbours.answered(addr(2), Mac([2; 6]), now + ANSWER_WITHIN), Learned::Ignored, "late");
        for n in 0..2 * ASKED_MAX {
            neighbours.asking(Address::from([n as u8; 16]), now);
        }
        assert!(neighbours.asked.len() <= ASKED_MAX);
    }
}
