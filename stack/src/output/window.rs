//! Flow control: how much may be sent, and how much the peer is told it may send (RFC 9293
//! §3.8.6).

use crate::config::Config;
use crate::env::Env;
use crate::recovery;
use crate::tcb::{Connection, Flags, Tcb};

/// What the windows say of new data.
pub(super) enum Allowed {
    /// So many bytes, now.
    Send(usize),
    /// The network has to deliver first.
    CongestionLimited,
    /// The peer has to make room first.
    WindowLimited,
    /// More should come together first.
    Small,
}

/// `unsent`: more than none. `probe`: send something even if the window is closed.
#[inline]
pub(super) fn allows<S>(connection: &Connection<S>, unsent: usize, probe: bool) -> Allowed {
    let tcb = &connection.tcb;
    let mss = usize::from(tcb.mss);
    // RFC 9293 §3.8.6 MUST-34, SHLD-15: a window that shrank below what is in flight leaves nothing.
    let usable = tcb.snd_wnd.saturating_sub(tcb.flight()) as usize;
    // RFC 9293 §3.9.1.2 SHLD-27, SHLD-28: full segments, wherever writes began and ended.
    let wanted = unsent.min(mss);
    if probe {
        // RFC 9293 §3.8.6.1 MUST-36, §3.8.6 MUST-35: at least one octet, closed or shrunk to nothing.
        return Allowed::Send(wanted.min(usable.max(1)));
    }
    // RFC 9293 §3.8.6.2.1 MUST-38: no small segments only because the window is small.
    if usable < wanted && usable < (connection.snd_wnd_max / 2) as usize {
        return Allowed::WindowLimited;
    }
    let len = wanted.min(usable);
    if len == 0 {
        return Allowed::WindowLimited;
    }
    // RFC 9293 §3.7.4 SHLD-7: Nagle's algorithm where it is wanted; a FIN ends the wait.
    if connection.settings.nagle && len < mss && tcb.flight() > 0 && !tcb.flags.has(Flags::CLOSING) {
        return Allowed::Small;
    }
    if recovery::pipe(connection) as usize + len > tcb.window.cwnd as usize {
        return Allowed::CongestionLimited;
    }
    Allowed::Send(len)
}

/// Moves the right edge of the receive window and returns the field that announces it.
#[inline]
pub(super) fn announce<F, S>(env: &Env<F>, connection: &mut Connection<S>) -> u16 {
    let config = &env.config;
    let free = free(env, connection);
    let tcb = &mut connection.tcb;
    let right = tcb.rcv_nxt + free;
    // RFC 9293 §3.8.6 SHLD-14: the edge never moves back. RFC 9293 §3.8.6.2.2 MUST-39: nor forward
    // by a step that is not worth telling.
    if right.after(tcb.rcv_right) && right.distance_from(tcb.rcv_right) >= worthwhile(config, tcb) {
        tcb.rcv_right = right;
    }
    field(tcb, free)
}

/// The window as its field says it. The field counts in units of 2^scale, and cutting a part of a
/// unit off would take back what was announced: it is rounded up as long as there is room.
///
/// RFC 7323 §2.4: window retraction.
#[inline]
fn field(tcb: &mut Tcb, free: u32) -> u16 {
    let unit = (1 << tcb.rcv_scale) - 1;
    let rounded = (tcb.rcv_wnd() + unit) & !unit;
    if rounded <= free {
        tcb.rcv_right = tcb.rcv_nxt + rounded;
    }
    (tcb.rcv_wnd() >> tcb.rcv_scale).min(0xffff) as u16
}

/// Whether the peer should be told that the window has opened: only when it knows of so little
/// that it may have to stop soon. Otherwise the next ordinary segment tells, also what the
/// handshake's unscaled field could not.
#[inline]
pub(super) fn should_update<F, S>(env: &Env<F>, connection: &Connection<S>) -> bool {
    let config = &env.config;
    let tcb = &connection.tcb;
    let right = tcb.rcv_nxt + free(env, connection);
    let known = tcb.rcv_wnd();
    right.after(tcb.rcv_right)
        && known < window_max(config, 0) / 2
        && right.distance_from(tcb.rcv_right) >= worthwhile(config, tcb)
        && tcb.state.may_receive()
}

/// Bytes that may come: as many as fit, and fewer when all connections together hold much; but
/// two segments always, since those that come in order need no memory.
#[inline]
fn free<F, S>(env: &Env<F>, connection: &Connection<S>) -> u32 {
    // RFC 9293 §3.8.6.1 MAY-8: an application that waits for ever closes the window for ever.
    let held = connection.full.as_ref().map_or(0, |full| full.held.len() as u32);
    let room = env.held.room().max(2 * usize::from(env.config.mss(connection.tcb.key.version())));
    let most = window_max(&env.config, connection.tcb.rcv_scale).saturating_sub(held);
    most.min(u32::try_from(room).unwrap_or(u32::MAX))
}

/// The receive window, as far as its field can say it.
#[inline]
fn window_max(config: &Config, rcv_scale: u8) -> u32 {
    config.receive_window.min(0xffff << rcv_scale)
}

/// RFC 9293 §3.8.6.2.2: min(Fr * RCV.BUFF, Eff.snd.MSS), where Fr is a half.
#[inline]
fn worthwhile(config: &Config, tcb: &Tcb) -> u32 {
    u32::from(tcb.mss).min(config.receive_window / 2).max(1)
}
