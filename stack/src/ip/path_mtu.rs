//! What is known of the MTU of paths (RFC 1191 §6.3, RFC 8201 §5.2): a short list of destinations
//! behind a narrow link, so that new connections begin with segments that arrive.

use alloc::collections::VecDeque;

use netcore::{Duration, Instant};
use protocol::ip::Address;

/// RFC 1191 §6.3: ten minutes until a larger one may be tried.
const LIFETIME: Duration = Duration::from_secs(600);
/// Destinations that are remembered; the oldest gives way.
const DESTINATIONS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct PathMtus {
    /// Destination, MTU in bytes, and until when; oldest first.
    known: VecDeque<(Address, usize, Instant)>,
}

impl PathMtus {
    /// The MTU of the path to `addr` in bytes, if it is known to be a narrow one.
    #[inline]
    pub(crate) fn find(&self, addr: Address, now: Instant) -> Option<usize> {
        if self.known.is_empty() {
            return None;
        }
        self.known.iter().find(|(to, _, until)| *to == addr && *until > now).map(|(_, mtu, _)| *mtu)
    }

    /// Notes a path's MTU.
    pub(crate) fn lower(&mut self, addr: Address, mtu: usize, now: Instant) {
        self.known.retain(|(to, _, until)| *to != addr && *until > now);
        if self.known.len() == DESTINATIONS_MAX {
            self.known.pop_front();
        }
        self.known.push_back((addr, mtu, now + LIFETIME));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded_and_forgotten_in_time() {
        let mut paths = PathMtus::default();
        let addr = |n: usize| Address::from((n as u128 + 1).to_be_bytes());
        for n in 0..=DESTINATIONS_MAX {
            paths.lower(addr(n), 1300 + n, Instant::from_micros(n as u64));
        }
        assert_eq!(paths.find(addr(0), Instant::ZERO), None, "the oldest gave way");
        assert_eq!(paths.find(addr(1), Instant::ZERO), Some(1301));
        paths.lower(addr(1), 1290, Instant::ZERO);
        assert_eq!(paths.find(addr(1), Instant::ZERO), Some(1290));
        assert_eq!(paths.find(addr(1), Instant::ZERO + LIFETIME), None);
    }
}
