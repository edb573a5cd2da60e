//! What each source network may take of us: SYN-ACKs per second, and flows at once.
//!
//! A network is a /24 of IPv4 or a /64 of IPv6: what one site has, and the least that an attacker
//! with spoofed addresses cannot fill with others of the same. Places are fixed in number; a
//! network has four that it may be in, found by a keyed hash. When all four are taken by others,
//! the one that gives way is the one that owes least; a network that holds flows is never
//! forgotten. So one look-up costs one or two cache lines, whoever comes.
//!
//! The SYNs of a network are counted by one time, as GCRA has it (ITU-T I.371 §A.1): when all that it
//! has taken will be paid for at the agreed rate. A burst is how far that may lie ahead.

use alloc::boxed::Box;
use alloc::vec;

use netcore::Instant;
use protocol::ip::Address;

use crate::index::fold;

/// Places that a network may be in.
const WAYS: usize = 4;

/// A source network: version 4 or 6, and its prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    prefix: u64,
    version: u32,
}

impl Network {
    const NONE: Self = Self { prefix: 0, version: 0 };

    #[inline]
    fn of(addr: Address) -> Self {
        match addr.to_v4() {
            Some(addr) => Self { prefix: u64::from(addr.to_bits() >> 8), version: 4 },
            None => {
                let octets = addr.octets();
                let prefix = octets[..8].iter().fold(0, |prefix, &byte| prefix << 8 | u64::from(byte));
                Self { prefix, version: 6 }
            }
        }
    }
}

/// What a network has taken.
#[derive(Clone, Copy, Debug)]
struct Account {
    network: Network,
    flows: u32,
    /// When its SYNs will be paid for, in nanoseconds.
    paid_ns: u64,
}

const _: () = assert!(size_of::<Account>() == 32);

/// The answer to a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Within,
    /// Its network has spent its budget.
    Over,
    /// All places are taken by networks that hold flows: let through uncounted.
    Uncounted,
}

/// The accounts of all networks.
#[derive(Debug)]
pub(crate) struct Budgets {
    accounts: Box<[[Account; WAYS]]>,
    key: [u64; 2],
    /// Nanoseconds that one SYN costs; 0: no limit.
    syn_ns: u64,
    /// How far ahead a network may be, in nanoseconds.
    burst_ns: u64,
    /// Flows at once; 0: no limit.
    flows_max: u32,
}

impl Budgets {
    /// Takes memory for `networks_max` networks, 32 bytes each, unless neither limit is set.
    ///
    /// `syn_rate`: SYN-ACKs per second and network, 0: no limit; `syn_burst`: as many at once.
    pub(crate) fn new(
        networks_max: usize,
        (syn_rate, syn_burst): (u32, u32),
        flows_max: u32,
        secret: impl FnOnce() -> [u8; 16],
    ) -> Self {
        let on = syn_rate > 0 || flows_max > 0;
        let sets = Self::sets(networks_max, syn_rate, flows_max);
        // A secret is drawn only where it is needed.
        let key = if on { u128::from_le_bytes(secret()) } else { 0 };
        let syn_ns = 1_000_000_000u64.checked_div(u64::from(syn_rate)).map_or(0, |ns| ns.max(1));
        let none = Account { network: Network::NONE, flows: 0, paid_ns: 0 };
        Self {
            accounts: vec![[none; WAYS]; sets].into_boxed_slice(),
            key: [key as u64, (key >> 64) as u64],
            syn_ns,
            burst_ns: syn_ns * u64::from(syn_burst.max(1)),
            flows_max,
        }
    }

    const fn sets(networks_max: usize, syn_rate: u32, flows_max: u32) -> usize {
        let on = syn_rate > 0 || flows_max > 0;
        if on { (networks_max / WAYS).next_power_of_two() } else { 0 }
    }

    /// Bytes of memory that [`Self::new`] takes.
    pub(crate) const fn memory(networks_max: usize, syn_rate: u32, flows_max: u32) -> usize {
        Self::sets(networks_max, syn_rate, flows_max) * size_of::<[Account; WAYS]>()
    }

    /// Whether SYNs have a budget.
    #[inline]
    pub(crate) fn limits_syns(&self) -> bool {
        self.syn_ns > 0
    }

    /// Whether flows are counted.
    #[inline]
    pub(crate) fn limits_flows(&self) -> bool {
        self.flows_max > 0
    }

    /// Takes one SYN from the budget of its network.
    pub(crate) fn take_syn(&mut self, addr: Address, now: Instant) -> Verdict {
        let (syn_ns, burst_ns, now_ns) = (self.syn_ns, self.burst_ns, now.micros().saturating_mul(1000));
        let Some(account) = self.account(addr, now_ns) else { return Verdict::Uncounted };
        let paid_ns = account.paid_ns.max(now_ns) + syn_ns;
        if paid_ns - now_ns > burst_ns {
            return Verdict::Over;
        }
        account.paid_ns = paid_ns;
        Verdict::Within
    }

    /// Counts a flow more. `Within`: [`Self::let_go`] has to follow.
    pub(crate) fn take_flow(&mut self, addr: Address, now: Instant) -> Verdict {
        let flows_max = self.flows_max;
        let Some(account) = self.account(addr, now.micros().saturating_mul(1000)) else {
            return Verdict::Uncounted;
        };
        if account.flows >= flows_max {
            return Verdict::Over;
        }
        account.flows += 1;
        Verdict::Within
    }

    /// Counts a flow less.
    pub(crate) fn let_go(&mut self, addr: Address) {
        let network = Network::of(addr);
        let set = self.set(network);
        let account = self.accounts[set].iter_mut().find(|account| account.network == network);
        debug_assert!(account.as_ref().is_some_and(|account| account.flows > 0), "{addr} holds no flow");
        if let Some(account) = account {
            account.flows = account.flows.saturating_sub(1);
        }
    }

    fn set(&self, network: Network) -> usize {
        let hash = fold(network.prefix ^ self.key[0], u64::from(network.version) ^ self.key[1] | 1);
        (hash ^ hash >> 32) as usize & (self.accounts.len() - 1)
    }

    /// The account of a network, opened if there is room.
    fn account(&mut self, addr: Address, now_ns: u64) -> Option<&mut Account> {
        let network = Network::of(addr);
        let set = self.set(network);
        let accounts = &mut self.accounts[set];
        if let Some(at) = accounts.iter().position(|account| account.network == network) {
            return Some(&mut accounts[at]);
        }
        let account =
            accounts.iter_mut().filter(|account| account.flows == 0).min_by_key(|account| account.paid_ns)?;
        *account = Account { network, flows: 0, paid_ns: now_ns };
        Some(account)
    }
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use alloc::collections::BTreeMap;
    use alloc::vec::Vec;

    use netcore::rng::{Rng, SeededRng};

    use super::*;

    fn v4(a: u8, b: u8, c: u8, d: u8) -> Address {
        Ipv4Addr::new(a, b, c, d).into()
    }

    fn v6(network: u16, host: u16) -> Address {
        Ipv6Addr::new(0x2001, 2, 0, network, 0, 0, 0, host).into()
    }

    fn budgets(networks_max: usize, syns: (u32, u32), flows_max: u32) -> Budgets {
        Budgets::new(networks_max, syns, flows_max, || SeededRng::new(1).secret())
    }

    fn at(us: u64) -> Instant {
        Instant::from_micros(us)
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut budgets = budgets(64, (1000, 5), 0);
        let mut begin = 1_000_000;
        for addr in [v4(198, 18, 0, 1), v6(1, 1)] {
            let taken = |budgets: &mut Budgets, us: u64| {
                (0..20).filter(|_| budgets.take_syn(addr, at(us)) == Verdict::Within).count()
            };
            assert_eq!(taken(&mut budgets, begin), 5);
            assert_eq!(taken(&mut budgets, begin), 0);
            assert_eq!(taken(&mut budgets, begin + 999), 0);
            assert_eq!(taken(&mut budgets, begin + 1000), 1);
            assert_eq!(taken(&mut budgets, begin + 3500), 2);
            assert_eq!(taken(&mut budgets, begin + 4000), 1);
            assert_eq!(taken(&mut budgets, begin + 10_000_000), 5, "no more than a burst is saved up");
            begin += 20_000_000;
        }
    }

    #[test]
    fn a_rate_of_millions_is_met() {
        let mut budgets = budgets(4, (2_000_000, 64), 0);
        let addr = v4(198, 18, 0, 1);
        let syns = (0..1_000_000u64)
            .filter(|us| (0..3).filter(|_| budgets.take_syn(addr, at(*us)) == Verdict::Within).count() == 2);
        assert!(syns.count() > 999_900);
    }

    #[test]
    fn a_network_is_a_24_or_a_64() {
        let mut budgets = budgets(64, (0, 0), 1);
        for (first, same, other) in [
            (v4(198, 18, 0, 1), v4(198, 18, 0, 254), v4(198, 18, 1, 1)),
            (v6(1, 1), v6(1, 9), v6(2, 1)),
            // The same 24 bits in front of an IPv6 address are another network.
            (v4(0, 0, 7, 1), v4(0, 0, 7, 2), Ipv6Addr::new(0, 0, 0, 7, 0, 0, 0, 1).into()),
        ] {
            assert_eq!(budgets.take_flow(first, at(0)), Verdict::Within);
            assert_eq!(budgets.take_flow(same, at(0)), Verdict::Over);
            assert_eq!(budgets.take_flow(other, at(0)), Verdict::Within);
            budgets.let_go(first);
            assert_eq!(budgets.take_flow(same, at(0)), Verdict::Within);
        }
    }

    #[test]
    fn whoever_holds_flows_is_never_forgotten() {
        let mut budgets = budgets(16, (0, 0), 3);
        let mut rng = SeededRng::new(5);
        let mut model: BTreeMap<u8, u32> = BTreeMap::new();
        let (mut over, mut uncounted) = (0, 0);
        for step in 0..20_000 {
            let n = rng.below(60) as u8;
            let addr = v4(198, 18, n, rng.below(256) as u8);
            let held = model.entry(n).or_default();
            if rng.below(2) == 0 && *held > 0 {
                budgets.let_go(addr);
                *held -= 1;
                continue;
            }
            match budgets.take_flow(addr, at(step)) {
                Verdict::Within => *held += 1,
                Verdict::Over => over += 1,
                Verdict::Uncounted => {
                    uncounted += 1;
                    assert_eq!(*held, 0, "who is counted stays counted");
                }
            }
            assert!(*held <= 3);
        }
        assert!(over > 0 && uncounted > 0);
        let left: Vec<(u8, u32)> = model.into_iter().filter(|(_, held)| *held > 0).collect();
        for (n, held) in left {
            (0..held).for_each(|_| budgets.let_go(v4(198, 18, n, 1)));
        }
        assert!(budgets.accounts.iter().flatten().all(|account| account.flows == 0));
    }

    #[test]
    fn who_owes_least_gives_way() {
        let mut budgets = budgets(4, (10, 10), 0);
        for n in 0..4 {
            for _ in 0..=n {
                assert_eq!(budgets.take_syn(v4(198, 18, n, 1), at(0)), Verdict::Within);
            }
        }
        assert_eq!(budgets.take_syn(v4(198, 18, 9, 1), at(0)), Verdict::Within);
        let owing = |n: u8| {
            budgets.accounts[0].iter().any(|account| account.network == Network::of(v4(198, 18, n, 1)))
        };
        assert!(!owing(0) && owing(1) && owing(2) && owing(3) && owing(9));
    }

    #[test]
    fn without_a_limit_nothing_is_taken() {
        let budgets = Budgets::new(1 << 20, (0, 100), 0, || panic!("no secret is needed"));
        assert!(budgets.accounts.is_empty() && !budgets.limits_syns() && !budgets.limits_flows());
    }
}
