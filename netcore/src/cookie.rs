//! SYN cookies: the handshake's state, kept by the peer instead of by us (RFC 4987 §3.6).
//!
//! The initial sequence number that answers a SYN holds everything needed when the ACK returns:
//!
//! ```text
//! | 28 bits: SipHash-2-4(secret of the period, four-tuple, peer's ISN) | parity | MSS index |
//! ```
//!
//! `parity` is the lowest bit of the number of the period in which the cookie was made; the
//! MSS index is masked with further bits of the hash. A cookie is good in its own period and in
//! the one after it. A blind guess succeeds once in 2^28 attempts. Window scale and
//! SACK-permitted travel in the low bits of the timestamp that the peer echoes.

use protocol::tcp::SeqNumber;
use siphasher::sip::SipHasher24;

use crate::flow::FourTuple;
use crate::time::{Duration, Instant};

/// What a cookie can say of the peer's MSS, in bytes.
pub const MSS_VALUES: [u16; 8] = [64, 536, 1220, 1360, 1400, 1440, 1460, 8960];

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
    /// `irs`: the sequence number of the SYN. `mss`: the peer's, in bytes; it is rounded down to
    /// one of [`MSS_VALUES`] (and up to the lowest).
    #[inline]
    pub fn make(&self, flow: &FourTuple, irs: SeqNumber, mss: u16) -> SeqNumber {
        let index = MSS_VALUES.iter().rposition(|&value| value <= mss).unwrap_or(0) as u32;
        let parity = (self.period & 1) as u32;
        let hash = self.hash(parity, flow, irs);
        SeqNumber((hash as u32) << 4 | parity << 3 | (index ^ mask(hash)))
    }

    /// The peer's MSS in bytes when `iss` is a cookie of ours for this flow that is still good.
    #[inline]
    pub fn check(&self, flow: &FourTuple, irs: SeqNumber, iss: SeqNumber) -> Option<u16> {
        let parity = iss.0 >> 3 & 1;
        let hash = self.hash(parity, flow, irs);
        let good = (hash as u32) << 4 == iss.0 & !0xf;
        good.then(|| MSS_VALUES[((iss.0 & 7) ^ mask(hash)) as usize])
    }

    /// The longest that a cookie can be good.
    pub fn lifetime(&self) -> Duration {
        Duration::from_micros(self.period_us.saturating_mul(2))
    }

    #[inline]
    fn hash(&self, parity: u32, flow: &FourTuple, irs: SeqNumber) -> u64 {
        let mut input = [0; 16];
        input[..12].copy_from_slice(&flow.to_bytes());
        input[12..].copy_from_slice(&irs.0.to_be_bytes());
        self.hashes[parity as usize].hash(&input)
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

    use super::*;
    use crate::rng::{Rng, SeededRng};

    const FLOW: FourTuple = FourTuple {
        local_addr: Ipv4Addr::new(198, 18, 0, 2),
        remote_addr: Ipv4Addr::new(198, 18, 0, 1),
        local_port: 6379,
        remote_port: 40_000,
    };
    const IRS: SeqNumber = SeqNumber(0xffff_ffff);

    fn jar() -> CookieJar {
        CookieJar::new(b"0123456789abcdef", Duration::from_secs(32))
    }

    #[test]
    fn good_for_its_own_period_and_the_next() {
        let mut jar = jar();
        for start in [0, 31, 32, 1_000_000] {
            jar.rotate(Instant::ZERO + Duration::from_secs(start));
            let cookie = jar.make(&FLOW, IRS, 1460);
            let mut at = |seconds: u64| {
                jar.rotate(Instant::ZERO + Duration::from_secs(seconds));
                jar.check(&FLOW, IRS, cookie)
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
        let cookie = jar.make(&FLOW, IRS, 1460);
        let others = [
            FourTuple { local_addr: Ipv4Addr::new(198, 18, 0, 3), ..FLOW },
            FourTuple { remote_addr: Ipv4Addr::new(198, 18, 0, 3), ..FLOW },
            FourTuple { local_port: 6380, ..FLOW },
            FourTuple { remote_port: 40_001, ..FLOW },
        ];
        for other in others {
            assert_eq!(jar.check(&other, IRS, cookie), None);
        }
        assert_eq!(jar.check(&FLOW, IRS + 1, cookie), None);
        for bit in 3..32 {
            assert_eq!(jar.check(&FLOW, IRS, SeqNumber(cookie.0 ^ 1 << bit)), None, "bit {bit}");
        }
        let other_secret = CookieJar::new(b"0123456789abcdeg", Duration::from_secs(32));
        assert_eq!(other_secret.check(&FLOW, IRS, cookie), None);
    }

    #[test]
    fn mss_is_rounded_down() {
        let jar = jar();
        for (mss, kept) in [(0, 64), (535, 64), (536, 536), (1459, 1440), (1460, 1460), (65_535, 8960)] {
            assert_eq!(jar.check(&FLOW, IRS, jar.make(&FLOW, IRS, mss)), Some(kept));
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
