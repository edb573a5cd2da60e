//! Explicit congestion notification (RFC 9293 §3.8.2 SHLD-8; RFC 3168): routers mark packets where they would have
//! dropped them, the receiver echoes the mark, the sender shrinks its window.
//!
//! ```text
//!  sender              router               receiver
//!    |------ ECT --------> x ------ CE ------->|
//!    |<----------- ACK with ECE --------------- |   until
//!    |-------------- data with CWR ------------>|
//! ```

use protocol::tcp::Flags;

use crate::config::{Config, EcnPolicy};
use crate::env::Env;
use crate::input::Segment;
use crate::recovery;
use crate::tcb::{self, Connection};

/// The IP header's code point for "ECN-capable transport", ECT(0).
pub(crate) const ECT_0: u8 = 0b10;
/// The mark: "congestion experienced".
const CE: u8 = 0b11;

/// Whether the ECN field of an IP header has the mark.
#[inline]
pub(crate) fn is_marked(tos: u8) -> bool {
    tos & 0b11 == CE
}

/// What is agreed on, and what is to be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ecn(u8);

impl Ecn {
    /// Both sides speak it.
    const AGREED: u8 = 1;
    /// Acknowledgments carry ECE.
    const ECHO: u8 = 1 << 1;
    /// The next new data carries CWR.
    const REDUCED: u8 = 1 << 2;

    #[inline]
    pub(crate) fn is_agreed(self) -> bool {
        self.0 & Self::AGREED != 0
    }

    /// RFC 3168 §6.1.1: agreed on by the peer's SYN or SYN-ACK. `first`: our SYN was sent once;
    /// when it is repeated it does not offer ECN (§6.1.1.1).
    pub(crate) fn agree(&mut self, config: &Config, flags: Flags, first: bool) {
        let asked = flags.has(Flags::ECE | Flags::CWR) && !flags.has(Flags::ACK);
        let granted = flags.has(Flags::ECE | Flags::ACK) && !flags.has(Flags::CWR) && first;
        if config.ecn != EcnPolicy::Off && (asked || granted) {
            self.0 |= Self::AGREED;
        }
    }

    /// The bits of our SYN or SYN-ACK.
    pub(crate) fn handshake_flags(self, config: &Config, answers: bool, first: bool) -> Flags {
        match answers {
            true if self.is_agreed() => Flags::ECE,
            false if config.ecn == EcnPolicy::Offer && first => Flags::ECE | Flags::CWR,
            true | false => Flags::default(),
        }
    }

    /// The bits of a segment. `new_data`: it carries data that was never sent before.
    #[cold]
    pub(crate) fn segment_flags(&mut self, new_data: bool) -> Flags {
        let mut flags = Flags::default();
        if self.0 & Self::ECHO != 0 {
            flags = flags | Flags::ECE;
        }
        // RFC 3168 §6.1.2: on the first new data after the reduction.
        if new_data && self.0 & Self::REDUCED != 0 {
            self.0 &= !Self::REDUCED;
            flags = flags | Flags::CWR;
        }
        flags
    }
}

/// Takes the marks of a segment that lies in the window. `carries_data`: as it arrived.
#[cold]
pub(crate) fn arrived<F, S>(
    env: &mut Env<F>,
    connection: &mut Connection<S>,
    segment: &Segment,
    carries_data: bool,
) {
    let tcb = &mut connection.tcb;
    // RFC 3168 §6.1.3: CWR ends the echo; a mark on the same segment begins it again.
    if segment.header.flags.has(Flags::CWR) && carries_data {
        tcb.ecn.0 &= !Ecn::ECHO;
    }
    if segment.marked && carries_data {
        env.counters.congestion_marks += 1;
        tcb.ecn.0 |= Ecn::ECHO;
        tcb.flags.set(tcb::Flags::ACK_NOW);
    }
}

/// Takes the echo that a valid acknowledgment carries, before SND.UNA moves.
#[cold]
pub(crate) fn echoed<F, S>(env: &mut Env<F>, connection: &mut Connection<S>, segment: &Segment) {
    let tcb = &connection.tcb;
    if segment.header.flags.has(Flags::ECE) && !segment.header.flags.has(Flags::SYN) && tcb.flight() > 0 {
        let fresh = recovery::congestion_echoed(connection, &env.config);
        env.counters.congestion_echoes += u64::from(fresh);
        if fresh {
            connection.tcb.ecn.0 |= Ecn::REDUCED;
        }
    }
}
