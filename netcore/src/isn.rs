//! Initial sequence numbers (RFC 6528), timestamp offsets (RFC 7323 §5.4) and the choice of local
//! ports (RFC 6056 §3.3.3): what a peer sees of us and must not be able to guess.

use protocol::tcp::SeqNumber;
use siphasher::sip::SipHasher13;

use crate::flow::FourTuple;
use crate::rng::Rng;
use crate::time::Instant;

/// Makes initial sequence numbers and their like from one secret.
#[derive(Clone, Debug)]
pub struct IsnGenerator {
    keyed: SipHasher13,
}

impl IsnGenerator {
    /// Draws the secret.
    ///
    /// RFC 9293 §3.4.1 MUST-9: a keyed hash, whose key nobody else ever has.
    pub fn new(rng: &mut impl Rng) -> Self {
        Self { keyed: SipHasher13::new_with_key(&rng.secret()) }
    }

    /// The first sequence number of a connection that begins at `now`.
    ///
    /// RFC 9293 §3.4.1 MUST-8, SHLD-1: ISN = M + F(tuple, secret), where M counts 4 µs steps
    /// (RFC 6528 §3).
    pub fn isn(&self, tuple: &FourTuple, now: Instant) -> SeqNumber {
        let clock = (now.micros() / 4) as u32;
        SeqNumber(clock.wrapping_add(self.hash(tuple) as u32))
    }

    /// What to add to the millisecond clock for the TSval of a connection.
    pub fn timestamp_offset(&self, tuple: &FourTuple) -> u32 {
        (self.hash(tuple) >> 32) as u32
    }

    /// Where the search for a local port begins; the local port of `tuple` does not count.
    pub fn port_offset(&self, tuple: &FourTuple) -> u32 {
        (self.hash(&FourTuple { local_port: 0, ..*tuple }) >> 16) as u32
    }

    fn hash(&self, tuple: &FourTuple) -> u64 {
        self.keyed.hash(tuple.to_bytes().as_slice())
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use super::*;
    use crate::rng::SeededRng;

    #[test]
    fn moves_with_the_clock_and_differs_by_tuple_and_secret() {
        let isn = IsnGenerator::new(&mut SeededRng::new(1));
        let tuple = FourTuple {
            local_addr: Ipv4Addr::new(198, 18, 0, 1).into(),
            remote_addr: Ipv4Addr::new(198, 18, 0, 2).into(),
            local_port: 6379,
            remote_port: 40_000,
        };
        let other = FourTuple { remote_port: 40_001, ..tuple };
        let at = Instant::from_micros;
        // RFC 9293 §3.4.1 MUST-8, MUST-9, SHLD-1: a clock of 4 µs, other tuples and other secrets
        // elsewhere.
        assert_eq!(isn.isn(&tuple, at(4_000)).distance_from(isn.isn(&tuple, at(0))), 1000);
        assert_ne!(isn.isn(&tuple, at(0)), isn.isn(&other, at(0)));
        let elsewhere = IsnGenerator::new(&mut SeededRng::new(2));
        assert_ne!(isn.isn(&tuple, at(0)), elsewhere.isn(&tuple, at(0)));
        assert_eq!(isn.port_offset(&tuple), isn.port_offset(&FourTuple { local_port: 1, ..tuple }));
        assert_ne!(isn.timestamp_offset(&tuple), isn.timestamp_offset(&other));
    }
}
