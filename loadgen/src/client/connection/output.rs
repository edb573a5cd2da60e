//! What a connection sends, and when the windows let it.

use netcore::{Duration, Frame, FramePool, Instant};
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

use super::{Connection, Context, Settings, State, WINDOW, WINDOW_SCALE};
use crate::client::wire::Outgoing;

impl Connection {
    /// Sends what the windows allow, and an acknowledgment if one is due. False when the port's
    /// queue is full: call again.
    #[inline]
    pub(in crate::client) fn output<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        cx: &mut Context<'_, F, L>,
    ) -> bool {
        if matches!(self.state, State::Closed | State::SynSent) {
            return true;
        }
        let end = self.data_end();
        while self.snd_nxt.before(end) || (self.fin_wanted && self.snd_nxt == end) {
            let in_flight = self.snd_nxt.distance_from(self.snd_una);
            let unsent = end.distance_from(self.snd_nxt);
            let open = self.snd_wnd.min(self.cwnd).saturating_sub(in_flight);
            let len = unsent.min(self.mss).min(open);
            // RFC 9293 §3.8.6.2.1: no small segment in the middle while others are under way.
            if unsent > 0 && (len == 0 || (len < self.mss.min(unsent) && in_flight > 0)) {
                break;
            }
            if cx.wire.tx.is_full() {
                return false;
            }
            self.send_next(len, len == unsent, cx);
        }
        if self.rto_at == Instant::FAR_FUTURE && (self.snd_una != self.snd_max || self.snd_nxt.before(end)) {
            self.rto_at = cx.now + Duration::from_micros(self.rto.micros());
        }
        if self.need_ack {
            if cx.wire.tx.is_full() {
                return false;
            }
            self.send_ack(cx);
        }
        true
    }

    /// Sends the next `len` bytes, and the FIN if they are the `last` and it is wanted.
    #[inline]
    fn send_next<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        len: u32,
        last: bool,
        cx: &mut Context<'_, F, L>,
    ) {
        let fin = last && self.fin_wanted;
        if self.snd_nxt.before(self.snd_max) {
            let counter = if len > 0 {
                &mut cx.wire.counters.retransmitted_data
            } else {
                &mut cx.wire.counters.retransmitted_fin
            };
            *counter += 1;
        } else if self.timed.is_none() && self.recover.is_none() {
            self.timed = Some((self.snd_nxt + (len + u32::from(fin)), cx.now));
        }
        self.send_at(self.snd_nxt, len, fin, last, cx);
        self.snd_nxt += len + u32::from(fin);
        self.snd_max = self.snd_max.later(self.snd_nxt);
    }

    /// Sends the first unacknowledged segment again.
    #[cold]
    pub(super) fn resend_first<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) {
        let end = self.data_end();
        let left = if self.snd_una.before(end) { end.distance_from(self.snd_una) } else { 0 };
        let len = left.min(self.mss).min(self.snd_max.distance_from(self.snd_una));
        let fin = self.fin_wanted && self.snd_max.after(end) && len == left;
        self.timed = None;
        cx.wire.counters.retransmitted_data += u64::from(len > 0);
        cx.wire.counters.retransmitted_fin += u64::from(len == 0);
        self.send_at(self.snd_una, len, fin, len == left, cx);
    }

    #[inline]
    fn send_at<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seq: SeqNumber,
        len: u32,
        fin: bool,
        push: bool,
        cx: &mut Context<'_, F, L>,
    ) {
        let mut flags = Flags::ACK;
        if fin {
            flags = flags | Flags::FIN;
        }
        if push && len > 0 {
            flags = flags | Flags::PSH;
        }
        let from = seq.distance_from(self.out_start) as usize;
        let payload = &self.out[from.min(self.out.len())..][..len as usize];
        cx.wire.send(&self.outgoing(seq, flags, payload, cx.settings, cx.now), cx.pool);
        self.need_ack = false;
        self.last_ack_sent = self.rcv_nxt;
    }

    #[inline]
    fn outgoing<'a>(
        &self,
        seq: SeqNumber,
        flags: Flags,
        payload: &'a [u8],
        settings: &Settings,
        now: Instant,
    ) -> Outgoing<'a> {
        let shift = if self.scaled { WINDOW_SCALE } else { 0 };
        Outgoing {
            local: self.local,
            seq,
            ack: self.rcv_nxt,
            flags,
            window: (WINDOW >> shift) as u16,
            timestamps: self
                .timestamps
                .then(|| Timestamps { value: settings.timestamp(now), echo: self.ts_recent }),
            payload,
        }
    }

    #[inline]
    pub(super) fn send_ack<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) {
        let out = self.outgoing(self.snd_max, Flags::ACK, &[], cx.settings, cx.now);
        cx.wire.send(&out, cx.pool);
        self.need_ack = false;
        self.last_ack_sent = self.rcv_nxt;
    }

    /// Resets the connection, for the peer's sake.
    #[cold]
    pub(in crate::client) fn abort<F: Frame, L: FramePool<Frame = F>>(&mut self, cx: &mut Context<'_, F, L>) {
        if self.state != State::SynSent {
            let out = self.outgoing(self.snd_max, Flags::RST | Flags::ACK, &[], cx.settings, cx.now);
            cx.wire.send(&out, cx.pool);
        }
    }

    #[cold]
    pub(super) fn send_rst<F: Frame, L: FramePool<Frame = F>>(
        &mut self,
        seq: SeqNumber,
        cx: &mut Context<'_, F, L>,
    ) {
        let out = Outgoing {
            local: self.local,
            seq,
            ack: SeqNumber(0),
            flags: Flags::RST,
            window: 0,
            timestamps: None,
            payload: &[],
        };
        cx.wire.send(&out, cx.pool);
    }

    pub(super) fn send_syn<F: Frame, L: FramePool<Frame = F>>(&self, cx: &mut Context<'_, F, L>) {
        let settings = cx.settings;
        let value = settings.timestamp(cx.now);
        let options = Options {
            mss: Some((settings.mtu - settings.headers_len) as u16),
            window_scale: settings.window_scale.then_some(WINDOW_SCALE),
            sack_permitted: settings.sack_permitted,
            timestamps: settings.timestamps.then_some(Timestamps { value, echo: 0 }),
            ..Options::default()
        };
        cx.wire.send_syn(self.local, self.snd_una, WINDOW as u16, &options, cx.pool);
    }
}
