//! What is known of the MTU of paths (RFC 1191 §6.3, RFC 8201 §5.2): a short list of destinations
//! behind a narrow link, so that new connections begin with segments that arrive.

use alloc::collections::VecDeque;

use netcore::{Duration, Instant};
use protocol::icmp_error::PathMtu;
use protocol::ip::Address;

/// RFC 1191 §6.3: ten minutes until a larger one may be tried.
const LIFETIME: Duration = Duration::from_secs(600);
/// Destinations that are remembered; the oldest gives way.
const DESTINATIONS_MAX: usize = 256;

#[derive(Debug)]
struct Known {
    to: Address,
    path: PathMtu,
    until: Instant,
    /// The identification of the last packet that routers may fragment.
    ident: u16,
}

#[derive(Debug, Default)]
pub(crate) struct PathMtus {
    /// Oldest first.
    known: VecDeque<Known>,
}

impl PathMtus {
    /// The MTU of the path to `addr`, if it is known to be a narrow one.
    #[inline]
    pub(crate) fn find(&self, addr: Address, now: Instant) -> Option<PathMtu> {
        if self.known.is_empty() {
            return None;
        }
        self.known.iter().find(|known| known.to == addr && known.until > now).map(|known| known.path)
    }

    /// Notes a path's MTU. `ident`: where identifications begin, for somebody new.
    pub(crate) fn lower(&mut self, addr: Address, path: PathMtu, ident: u16, now: Instant) {
        let before = self.known.iter().find(|known| known.to == addr).map(|known| known.ident);
        self.known.retain(|known| known.to != addr && known.until > now);
        if self.known.len() == DESTINATIONS_MAX {
            self.known.pop_front();
        }
        let ident = before.unwrap_or(ident);
        self.known.push_back(Known { to: addr, path, until: now + LIFETIME, ident });
    }

    /// The identification of a packet to `addr` that routers may fragment; `None`: they need not, as far
    /// as is known.
    ///
    /// RFC 6864 §4.3: not used again to the same destination before all others were.
    #[cold]
    pub(crate) fn next_ident(&mut self, addr: Address, now: Instant) -> Option<u16> {
        let live = |known: &&mut Known| known.to == addr && known.until > now && known.path.fragmented;
        let known = self.known.iter_mut().find(live)?;
        known.ident = known.ident.wrapping_add(1);
        Some(known.ident)
    }
}

#[cfg(test)]
mod tests {
    use protocol::ip::Version;

    use super::*;

    fn narrow(mtu: usize) -> PathMtu {
        PathMtu::of(mtu, Version::V4).expect("there are such links")
    }

    #[test]
    fn bounded_and_forgotten_in_time() {
        let mut paths = PathMtus::default();
        let addr = |n: usize| Address::from((n as u128 + 1).to_be_bytes());
        for n in 0..=DESTINATIONS_MAX {
            paths.lower(addr(n), narrow(1300 + n), 0, Instant::from_micros(n as u64));
        }
        assert_eq!(paths.find(addr(0), Instant::ZERO), None, "the oldest gave way");
        assert_eq!(paths.find(addr(1), Instant::ZERO), Some(narrow(1301)));
        paths.lower(addr(1), narrow(1290), 0, Instant::ZERO);
        assert_eq!(paths.find(addr(1), Instant::ZERO), Some(narrow(1290)));
        assert_eq!(paths.find(addr(1), Instant::ZERO + LIFETIME), None);
    }

    #[test]
    fn each_destination_counts_its_packets_that_may_be_fragmented() {
        let mut paths = PathMtus::default();
        let addr = |n: u32| Address::from(core::net::Ipv4Addr::from(n));
        let now = Instant::ZERO;
        paths.lower(addr(1), narrow(100), u16::MAX, now);
        paths.lower(addr(2), narrow(100), 7, now);
        paths.lower(addr(3), narrow(300), 7, now);
        assert_eq!(paths.next_ident(addr(1), now), Some(0));
        assert_eq!(paths.next_ident(addr(2), now), Some(8));
        // Told again, it goes on.
        paths.lower(addr(1), narrow(90), 500, now);
        assert_eq!(paths.next_ident(addr(1), now), Some(1));
        assert_eq!(paths.next_ident(addr(3), now), None, "they fit");
        assert_eq!(paths.next_ident(addr(4), now), None, "unknown");
        assert_eq!(paths.next_ident(addr(2), now + LIFETIME), None, "a larger one may be tried");
    }
}
