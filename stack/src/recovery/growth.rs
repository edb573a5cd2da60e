//! How the congestion window grows while nothing is lost: slow start with HyStart++ (RFC 9406),
//! then the algorithm's congestion avoidance, and neither while the window is not in use.

use netcore::Duration;

use super::congestion::Acked;
use super::hystart::{self, Pace};
use crate::config::Config;
use crate::env::Env;
use crate::tcb::{Connection, Flags};

/// Segments that one acknowledgment adds to the window in slow start (RFC 3465 §2.2: L = 2, for
/// delayed acknowledgments).
const SLOW_START_SEGMENTS: u32 = 2;

/// The congestion window is full.
#[cold]
pub(crate) fn limited<S>(connection: &mut Connection<S>, config: &Config) {
    let snd_nxt = connection.tcb.snd_nxt;
    connection.tcb.flags.set(Flags::CWND_LIMITED);
    connection.recovery(config).limited_seq = snd_nxt;
}

/// `bytes` were acknowledged outside of a recovery. `rtt`: measured with it.
#[inline]
pub(crate) fn grow<F, S>(env: &Env<F>, connection: &mut Connection<S>, bytes: u32, rtt: Option<Duration>) {
    if connection.tcb.flags.has(Flags::CWND_LIMITED) {
        grow_if_still_limited(env, connection, bytes, rtt);
    } else if let Some(recovery) = &mut connection.recovery {
        recovery.congestion.paused(env.now);
    }
}

#[cold]
fn grow_if_still_limited<F, S>(
    env: &Env<F>,
    connection: &mut Connection<S>,
    bytes: u32,
    rtt: Option<Duration>,
) {
    let Some(recovery) = &mut connection.recovery else { return };
    // RFC 7661 §4.1, RFC 9438 §5.8: a window that was not used says nothing of the path.
    if connection.tcb.snd_una.after(recovery.limited_seq) {
        connection.tcb.flags.clear(Flags::CWND_LIMITED);
        recovery.congestion.paused(env.now);
    } else {
        grow_by(env, connection, bytes, rtt);
    }
}

/// The window was in use when `bytes` were sent, which were delivered now.
#[cold]
pub(super) fn grow_by<F, S>(env: &Env<F>, connection: &mut Connection<S>, bytes: u32, rtt: Option<Duration>) {
    connection.recovery(&env.config);
    let tcb = &mut connection.tcb;
    let Some(recovery) = &mut connection.recovery else { return };
    if !tcb.window.in_slow_start() {
        let srtt = tcb.rtt.srtt().unwrap_or(Duration::ZERO);
        let acked = Acked { bytes, mss: tcb.mss, now: env.now, srtt };
        recovery.congestion.avoid(&mut tcb.window, &acked);
        return;
    }
    let Some(hystart) = recovery.hystart.as_mut().filter(|_| tcb.window.is_unbounded()) else {
        tcb.window.slow_start(bytes, tcb.mss, SLOW_START_SEGMENTS);
        return;
    };
    match hystart.acknowledged(tcb.snd_una, tcb.snd_nxt, rtt) {
        Pace::SlowStart => tcb.window.slow_start(bytes, tcb.mss, hystart::SEGMENTS_MAX),
        Pace::Conservative => {
            let bytes = bytes.min(hystart::SEGMENTS_MAX * u32::from(tcb.mss));
            tcb.window.slow_start(bytes / hystart::CSS_GROWTH_DIVISOR, tcb.mss, hystart::SEGMENTS_MAX);
        }
        // RFC 9406 §4.2: congestion avoidance begins here.
        Pace::Over => tcb.window.ssthresh = tcb.window.cwnd,
    }
}

/// Output begins again after an idle time longer than the timeout.
#[cold]
pub(crate) fn idle<S>(connection: &mut Connection<S>) {
    connection.tcb.window.idle(connection.tcb.mss);
    if let Some(recovery) = &mut connection.recovery {
        recovery.congestion.idle();
    }
}
