//! SYN cookies: the handshake's state, kept by the peer instead of by us (RFC 4987 §3.6).
//!
//! The initial sequence number that answers a SYN holds everything needed when the ACK returns:
//!
//! ```text
//! | 28 bits: SipHash-2-4(secret of the period, four-tuple, upper half of the peer's ISN, before)
//! |          + lower half of the peer's ISN + MSS index * further bits of the hash, odd
//! | parity | MSS index |
//! ```
//!
//! The lower half is added and not hashed, so that a segment from the middle of the peer's first
//! flight can be told from a forged one at the price of one or two hashes: its cookie is one for
//! a number a little below its own. `before` stands for the last connection of the same
//! four-tuple that is still remembered, so that no cookie from before its end is good while it
//! is. `parity` is the lowest bit of the number of the period in which the cookie was made; the
//! MSS index is masked with further bits of the hash, and each index has another sum, so that the
//! numbers beside a cookie are none. A cookie is good in its own period and in
//! the one after it. A blind guess succeeds once in 2^28 attempts. Window scale and
//! SACK-permitted travel in the low bits of the timestamp that the peer echoes.

use protocol::tcp::SeqNumber;
use siphasher::sip::SipHasher24;

use crate::flow::{FourTuple, TupleBytes};
use crate::time::{Duration, Instant};

/// What a cookie can say of the peer's MSS, in bytes.
pub const MSS_VALUES: [u16; 8] = [64, 536, 1220, 1360, 1400, 1440, 1460, 8960];

/// Stands for no earlier connection.
pub const NO_CONNECTION_BEFORE: SeqNumber = SeqNumber(0);
/// Upper bits of the cookie.
const HASH_BITS: u32 = 0x0fff_ffff;

/// Makes and checks cookies.
#[derive(Clone, Debug)]
pub struct CookieJar {
    master: SipHasher24,
    period_us: u64,
    period: u64,
    /// The hashes of the current and the previous period, at the place of their parity.
    hashes: [SipHasher24; 2],
}

impl CookieJar {
    /// `secret`: 16 bytes that no peer ever sees; the secret of each period is derived from it.
    /// `period`: after how long the secret changes; zero counts as a microsecond.
    pub fn new(secret: &[u8; 16], period: Duration) -> Self {
        let master = SipHasher24::new_with_key(secret);
        let mut jar = Self { master, period_us: period.micros().max(1), period: 0, hashes: [master; 2] };
        jar.derive();
        jar
    }

    /// Changes the secret when its period has ended. Call it before the other functions whenever
    /// time has passed.
    #[inline]
    pub fn rotate(&mut self, now: Instant) {
        let period = now.micros() / self.period_us;
        if period != self.period {
            self.period = period;
            self.derive();
        }
    }

    /// The initial sequence number for the SYN-ACK to a SYN.
    ///
    /// `irs`: the sequence number of the SYN. `before`: a sequence number of ours that tells the
    /// last connection of this four-tuple if it is remembered (the initial one, say, or the last
    /// one), or [`NO_CONNECTION_BEFORE`]. `mss`: the
    /// peer's, in bytes; it is rounded down to one of [`MSS_VALUES`] (and up to the lowest).
    #[inline]
    pub fn make(&self, flow: &FourTuple, irs: SeqNumber, before: SeqNumber, mss: u16) -> SeqNumber {
        let index = MSS_VALUES.iter().rposition(|&value| value <= mss).unwrap_or(0) as u32;
        let parity = (self.period & 1) as u32;
        let hash = self.hash(parity, flow, irs.0 >> 16, before);
        let upper = sum(hash, index).wrapping_add(irs.0 & 0xffff);
        SeqNumber(upper << 4 | parity << 3 | (index ^ mask(hash)))
    }

    /// The peer's MSS in bytes when `iss` is a cookie of ours for this flow that is still good;
    /// `irs` and `before` as they were given to [`Self::make`].
    #[inline]
    pub fn check(&self, flow: &FourTuple, irs: SeqNumber, before: SeqNumber, iss: SeqNumber) -> Option<u16> {
        let hash = self.hash(iss.0 >> 3 & 1, flow, irs.0 >> 16, before);
        let index = (iss.0 & 7) ^ mask(hash);
        let good = sum(hash, index).wrapping_add(irs.0 & 0xffff) << 4 == iss.0 & !0xf;
        good.then(|| MSS_VALUES[index as usize])
    }

    /// True when `iss` is a good cookie for a peer whose initial number is less than 64 KiB below
    /// `irs`: the segment belongs to a handshake's first flight, though it is not the first of
    /// it. One random segment in 2^12 passes too, so that nothing may be opened on this ground.
    pub fn check_later(&self, flow: &FourTuple, irs: SeqNumber, before: SeqNumber, iss: SeqNumber) -> bool {
        let upper = irs.0 >> 16;
        [upper, upper.wrapping_sub(1) & 0xffff].into_iter().any(|upper| {
            let hash = self.hash(iss.0 >> 3 & 1, flow, upper, before);
            let lower = (iss.0 >> 4).wrapping_sub(sum(hash, (iss.0 & 7) ^ mask(hash))) & HASH_BITS;
            let distance = irs.distance_from(SeqNumber(upper << 16 | lower & 0xffff));
            lower <= 0xffff && (1..=0xffff).contains(&distance)
        })
    }

    /// The longest that a cookie can be good.
    pub fn lifetime(&self) -> Duration {
        Duration::from_micros(self.period_us.saturating_mul(2))
    }

    #[inline]
    fn hash(&self, parity: u32, flow: &FourTuple, irs_upper: u32, before: SeqNumber) -> u64 {
        let mut input = [0; 6 + TupleBytes::LEN_MAX];
        let tuple = flow.to_bytes();
        input[..2].copy_from_slice(&(irs_upper as u16).to_be_bytes());
        input[2..6].copy_from_slice(&before.0.to_be_bytes());
        input[6..].copy_from_slice(tuple.padded());
        self.hashes[parity as usize].hash(&input[..6 + tuple.as_slice().len()])
    }

    fn derive(&mut self) {
        for period in [self.period.wrapping_sub(1), self.period] {
            let mut key = [0; 16];
            let mut input = [0; 9];
            input[..8].copy_from_slice(&period.to_le_bytes());
            key[..8].copy_from_slice(&self.master.hash(&input).to_le_bytes());
            input[8] = 1;
            key[8..].copy_from_slice(&self.master.hash(&input).to_le_bytes());
            self.hashes[(period & 1) as usize] = SipHasher24::new_with_key(&key);
        }
    }
}

#[inline]
fn mask(hash: u64) -> u32 {
    (hash >> 61) as u32
}

/// What the hash and an MSS index below 8 give; another index gives another sum, also modulo
/// 2^28, because the factor is odd.
#[inline]
fn sum(hash: u64, index: u32) -> u32 {
    (hash as u32).wrapping_add(((hash >> 32) as u32 | 1).wrapping_mul(index))
}

/// Bits of a timestamp that [`SynOptions`] take.
const OPTION_BITS: u32 = 5;
const SACK_BIT: u32 = 1 << 4;
const NO_SCALE: u32 = 0xf;

/// What a SYN offered and an initial sequence number has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SynOptions {
    /// The peer's window scale shift: 0..=14.
    pub window_scale: Option<u8>,
    /// The peer permits SACK.
    pub sack: bool,
}

impl SynOptions {
    /// The largest timestamp that is not after `timestamp` and carries these options.
    #[inline]
    pub fn into_timestamp(self, timestamp: u32) -> u32 {
        let scale = self.window_scale.map_or(NO_SCALE, |shift| u32::from(shift.min(14)));
        let bits = scale | if self.sack { SACK_BIT } else { 0 };
        let with = timestamp >> OPTION_BITS << OPTION_BITS | bits;
        if with > timestamp { with.wrapping_sub(1 << OPTION_BITS) } else { with }
    }

    /// The options in a timestamp that the peer has echoed.
    #[inline]
    pub fn from_timestamp(echo: u32) -> Self {
        let scale = echo & 0xf;
        Self { window_scale: (scale != NO_SCALE).then_some(scale as u8), sack: echo & SACK_BIT != 0 }
    }
}

#[cfg(test)]
mod tests {
    use core::net::Ipv4Addr;

    use protocol::ip::Address;

    use super::*;
    use crate::rng::{Rng, SeededRng};

    const FLOW: FourTuple = FourTuple {
        local_addr: Address::v4(Ipv4Addr::new(198, 18, 0, 2)),
        remote_addr: Address::v4(Ipv4Addr::new(198, 18, 0, 1)),
        local_port: 6379,
        remote_port: 40_000,
    };
    const IRS: SeqNumber = SeqNumber(0xffff_ffff);
    const NONE: SeqNumber = NO_CONNECTION_BEFORE;

    fn jar() -> CookieJar {
        CookieJar::new(b"0123456789abcdef", Duration::from_secs(32))
    }

    #[test]
    fn good_for_its_own_period_and_the_next() {
        let mut jar = jar();
        for start in [0, 31, 32, 1_000_000] {
            jar.rotate(Instant::ZERO + Duration::from_secs(start));
            let cookie = jar.make(&FLOW, IRS, NONE, 1460);
            let mut at = |seconds: u64| {
                jar.rotate(Instant::ZERO + Duration::from_secs(seconds));
                jar.check(&FLOW, IRS, NONE, cookie)
            };
            assert_eq!(at(start), Some(1460));
            assert_eq!(at(start + 32), Some(1460));
            for later in [64, 96, 128, 3200] {
                assert_eq!(at(start + later), None, "{later} seconds after {start}");
            }
        }
    }

    #[test]
    fn bound_to_all_that_it_was_made_from() {
        let jar = jar();
        let cookie = jar.make(&FLOW, IRS, NONE, 1460);
        let others = [
            FourTuple { local_addr: Ipv4Addr::new(198, 18, 0, 3).into(), ..FLOW },
            FourTuple { remote_addr: Ipv4Addr::new(198, 18, 0, 3).into(), ..FLOW },
            FourTuple { local_port: 6380, ..FLOW },
            FourTuple { remote_port: 40_001, ..FLOW },
        ];
        for other in others {
            assert_eq!(jar.check(&other, IRS, NONE, cookie), None);
        }
        assert_eq!(jar.check(&FLOW, IRS + 1, NONE, cookie), None);
        for distance in (1..=16).chain((1..=16).map(u32::wrapping_neg)) {
            assert_eq!(jar.check(&FLOW, IRS, NONE, cookie + distance), None, "{distance} beside it");
        }
        for bit in 0..32 {
            assert_eq!(jar.check(&FLOW, IRS, NONE, SeqNumber(cookie.0 ^ 1 << bit)), None, "bit {bit}");
        }
        let other_secret = CookieJar::new(b"0123456789abcdeg", Duration::from_secs(32));
        assert_eq!(other_secret.check(&FLOW, IRS, NONE, cookie), None);
    }

    #[test]
    fn bound_to_the_connection_before() {
        let jar = jar();
        let before = SeqNumber(0x1234_5678);
        let (old, new) = (jar.make(&FLOW, IRS, NONE, 1460), jar.make(&FLOW, IRS, before, 1460));
        assert_eq!(jar.check(&FLOW, IRS, before, new), Some(1460));
        assert_eq!(jar.check(&FLOW, IRS, before, old), None);
        assert_eq!(jar.check(&FLOW, IRS, NONE, new), None);
    }

    #[test]
    fn the_rest_of_a_first_flight_is_known_but_opens_nothing() {
        let jar = jar();
        for irs in [0, 1, 0xffff, 0x1_0000, 0x7fff_8000, u32::MAX] {
            let irs = SeqNumber(irs);
            let cookie = jar.make(&FLOW, irs, NONE, 1460);
            for distance in [1, 536, 1460, 14_600, 0xfffe, 0xffff] {
                assert!(jar.check_later(&FLOW, irs + distance, NONE, cookie), "{distance} behind {irs:?}");
                assert_eq!(jar.check(&FLOW, irs + distance, NONE, cookie), None);
                assert!(!jar.check_later(&FLOW, irs + distance, SeqNumber(5), cookie));
            }
            for wrong in [irs, irs - 1, irs + 0x1_0000, irs + 0x8000_0000] {
                assert!(!jar.check_later(&FLOW, wrong, NONE, cookie), "{wrong:?} for {irs:?}");
            }
        }
    }

    #[test]
    fn few_random_numbers_look_like_a_first_flight() {
        let jar = jar();
        let mut rng = SeededRng::new(5);
        let passed = (0..1 << 18)
            .filter(|_| {
                let (irs, iss) = (SeqNumber(rng.wire_u32()), SeqNumber(rng.wire_u32()));
                jar.check_later(&FLOW, irs, NONE, iss)
            })
            .count();
        assert!((32..128).contains(&passed), "{passed} of 2^18, expected 64");
    }

    #[test]
    fn mss_is_rounded_down() {
        let jar = jar();
        for (mss, kept) in [(0, 64), (535, 64), (536, 536), (1459, 1440), (1460, 1460), (65_535, 8960)] {
            assert_eq!(jar.check(&FLOW, IRS, NONE, jar.make(&FLOW, IRS, NONE, mss)), Some(kept));
        }
    }

    #[test]
    fn options_survive_the_timestamp() {
        let mut rng = SeededRng::new(1);
        for timestamp in [0, 1, 30, 31, 32, u32::MAX].into_iter().chain((0..100).map(|_| rng.wire_u32())) {
            for sack in [false, true] {
                for window_scale in [None, Some(0), Some(7), Some(14)] {
                    let options = SynOptions { window_scale, sack };
                    let with = options.into_timestamp(timestamp);
                    assert_eq!(SynOptions::from_timestamp(with), options);
                    assert!(timestamp.wrapping_sub(with) < 64, "{timestamp} became {with}");
                }
            }
        }
    }
}
