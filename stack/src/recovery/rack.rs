//! RACK (RFC 8985 §6): what was sent before something that has arrived, and long enough ago, is
//! lost. "Long enough" is a round trip and a reordering window, which grows when the peer says
//! that it got something twice.

use netcore::{Duration, Instant};
use protocol::tcp::SeqNumber;

use super::log::{Fate, Log, Run};

/// Recoveries without a DSACK after which the reordering window is small again.
const PERSIST: u8 = 16;
/// Multiples of a quarter of the least round trip that the window grows to; SRTT bounds it too.
const MULT_MAX: u8 = 64;
/// How long the least round-trip time counts (RFC 8985 §6.2 step 1: a windowed minimum).
const MIN_RTT_LIFE: Duration = Duration::from_secs(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rack {
    /// RACK.xmit_ts, RACK.end_seq: of the newest segment that was delivered.
    xmit_ts: Instant,
    end_seq: SeqNumber,
    /// RACK.rtt of it.
    rtt: Duration,
    /// RACK.fack: the highest number that was delivered.
    fack: SeqNumber,
    /// RACK.min_RTT; `None`: only retransmissions were delivered yet.
    min_rtt: Option<Duration>,
    min_rtt_at: Instant,
    reordering_seen: bool,
    /// RACK.dsack_round
    dsack_round: Option<SeqNumber>,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
}

/// What a search for losses found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes that now count as lost.
    pub(super) lost: u32,
    /// A retransmission is among them.
    pub(super) retransmission: bool,
    /// After this time more will, if nothing is heard of it.
    pub(super) wait: Option<Duration>,
}

impl Rack {
    /// `snd_una`: nothing beyond it was delivered.
    pub(super) fn new(snd_una: SeqNumber) -> Self {
        Self {
            xmit_ts: Instant::ZERO,
            end_seq: snd_una,
            rtt: Duration::ZERO,
            fack: snd_una,
            min_rtt: None,
            min_rtt_at: Instant::ZERO,
            reordering_seen: false,
            dsack_round: None,
            reo_wnd_mult: 1,
            reo_wnd_persist: 0,
        }
    }

    /// A new flight begins at `snd_una`: nothing beyond it was delivered.
    pub(super) fn begin(&mut self, snd_una: SeqNumber) {
        self.fack = snd_una;
    }

    /// Steps 1 to 3: `run` was delivered. `by_original`: the timestamp echo says that it was not
    /// the retransmission that arrived.
    pub(super) fn delivered(&mut self, run: &Run, now: Instant, by_original: bool) {
        let rtt = now.since(run.sent_at);
        if run.end.after(self.fack) {
            self.fack = run.end;
        } else if run.end.before(self.fack) && !run.retransmitted {
            self.reordering_seen = true;
        }
        if run.retransmitted {
            // RFC 8985 §6.2 step 2: too soon to be the answer to the retransmission.
            if by_original || self.min_rtt.is_some_and(|min_rtt| rtt < min_rtt) {
                return;
            }
        } else if self.min_rtt.is_none_or(|min_rtt| rtt <= min_rtt)
            || now.since(self.min_rtt_at) > MIN_RTT_LIFE
        {
            self.min_rtt = Some(rtt);
            self.min_rtt_at = now;
        }
        if sent_after((run.sent_at, run.end), (self.xmit_ts, self.end_seq)) {
            self.xmit_ts = run.sent_at;
            self.end_seq = run.end;
            self.rtt = rtt;
        }
    }

    /// Step 4, first part: the peer says that it got something twice.
    pub(super) fn duplicate_reported(&mut self, snd_una: SeqNumber, snd_nxt: SeqNumber) {
        if self.dsack_round.is_some_and(|round| snd_una.before(round)) {
            return;
        }
        self.dsack_round = Some(snd_nxt);
        self.reo_wnd_mult = (self.reo_wnd_mult + 1).min(MULT_MAX);
        self.reo_wnd_persist = PERSIST;
    }

    /// Step 4, second part: a recovery is over.
    pub(super) fn recovery_ended(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 1;
        }
    }

    /// Step 4, third part. `certain`: in recovery, or with as much delivered behind the gap as
    /// duplicate acknowledgments once had to say.
    fn reo_wnd(&self, srtt: Duration, certain: bool) -> Duration {
        if !self.reordering_seen && certain {
            return Duration::ZERO;
        }
        let quarter_us = self.min_rtt.unwrap_or(srtt).micros() / 4;
        Duration::from_micros(quarter_us.saturating_mul(u64::from(self.reo_wnd_mult)).min(srtt.micros()))
    }

    /// Step 5: marks what is lost.
    pub(super) fn detect(&self, log: &mut Log, now: Instant, srtt: Duration, certain: bool) -> Found {
        let patience = self.rtt + self.reo_wnd(srtt, certain);
        let mut wait: Option<Duration> = None;
        let (lost, retransmission) = log.mark_lost(|run| {
            if !sent_after((self.xmit_ts, self.end_seq), (run.sent_at, run.end)) {
                return false;
            }
            let remaining = (run.sent_at + patience).since(now);
            if remaining == Duration::ZERO {
                return true;
            }
            wait = wait.max(Some(remaining));
            false
        });
        Found { lost, retransmission, wait }
    }

    /// RFC 8985 §6.3: what counts as lost when the retransmission timer expires, beside the first
    /// segment.
    pub(super) fn detect_on_timeout(&self, log: &mut Log, now: Instant, srtt: Duration) {
        let patience = self.rtt + self.reo_wnd(srtt, true);
        log.mark_lost(|run| run.fate == Fate::Flying && run.sent_at + patience <= now);
    }
}

/// RFC 8985 §6.2: RACK_sent_after.
fn sent_after((at, end): (Instant, SeqNumber), (other_at, other_end): (Instant, SeqNumber)) -> bool {
    at > other_at || (at == other_at && end.after(other_end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }
    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }
    fn s(n: u32) -> SeqNumber {
        SeqNumber(n)
    }

    /// Three rounds of 100 bytes, sent at 0, 1 and 2 ms.
    fn three_rounds() -> (Rack, Log) {
        let mut log = Log::default();
        log.begin(s(0), s(100), at(0));
        log.sent(s(200), at(1));
        log.sent(s(300), at(2));
        (Rack::new(s(0)), log)
    }

    fn sack(rack: &mut Rack, log: &mut Log, block: (u32, u32), now: Instant) {
        log.sack((s(block.0), s(block.1)), |run| rack.delivered(run, now, false));
    }

    #[test]
    fn waits_a_quarter_of_a_round_trip_unless_it_is_certain() {
        let (mut rack, mut log) = three_rounds();
        sack(&mut rack, &mut log, (100, 200), at(21));
        assert_eq!((rack.rtt, rack.min_rtt), (ms(20), Some(ms(20))));
        // 0 + 20 + 5 - 21 = 4 ms from now.
        let found = rack.detect(&mut log, at(21), ms(20), false);
        assert_eq!(found, Found { lost: 0, retransmission: false, wait: Some(ms(4)) });
        let found = rack.detect(&mut log, at(25), ms(20), false);
        assert_eq!(found, Found { lost: 100, retransmission: false, wait: None });
        assert_eq!(log.first_lost(), Some((s(0), 100)));
        let (mut rack, mut log) = three_rounds();
        sack(&mut rack, &mut log, (200, 300), at(22));
        let found = rack.detect(&mut log, at(22), ms(20), true);
        assert_eq!(found, Found { lost: 200, retransmission: false, wait: None });
    }

    #[test]
    fn a_lost_retransmission_is_found_by_what_was_sent_after_it() {
        let (mut rack, mut log) = three_rounds();
        sack(&mut rack, &mut log, (100, 300), at(22));
        rack.detect(&mut log, at(22), ms(20), true);
        log.resent(s(0), s(100), at(22));
        log.sent(s(400), at(23));
        let found = rack.detect(&mut log, at(30), ms(20), true);
        assert_eq!(found.lost, 0, "nothing that was sent later has arrived");
        sack(&mut rack, &mut log, (300, 400), at(43));
        let found = rack.detect(&mut log, at(43), ms(20), true);
        assert_eq!(found, Found { lost: 100, retransmission: true, wait: None });
    }

    #[test]
    fn reordering_and_duplicates_widen_the_window_and_quiet_recoveries_narrow_it() {
        let (mut rack, mut log) = three_rounds();
        sack(&mut rack, &mut log, (100, 200), at(21));
        assert_eq!(rack.reo_wnd(ms(20), true), Duration::ZERO);
        log.acknowledged(s(100), |run| rack.delivered(run, at(22), false));
        assert!(rack.reordering_seen, "an original below the highest delivered number");
        assert_eq!(rack.reo_wnd(ms(20), true), ms(5));
        rack.duplicate_reported(s(100), s(300));
        rack.duplicate_reported(s(200), s(300));
        assert_eq!(rack.reo_wnd(ms(20), true), ms(10), "once a round trip");
        rack.duplicate_reported(s(300), s(400));
        assert_eq!(rack.reo_wnd(ms(20), true), ms(15));
        assert_eq!(rack.reo_wnd(ms(12), true), ms(12), "never more than SRTT");
        for _ in 0..PERSIST {
            assert_eq!(rack.reo_wnd(ms(20), true), ms(15));
            rack.recovery_ended();
        }
        assert_eq!(rack.reo_wnd(ms(20), true), ms(5));
    }

    #[test]
    fn an_answer_to_the_original_says_nothing_of_the_retransmission() {
        let (mut rack, mut log) = three_rounds();
        sack(&mut rack, &mut log, (200, 300), at(22));
        rack.detect(&mut log, at(22), ms(20), true);
        log.resent(s(0), s(200), at(25));
        let before = rack;
        log.acknowledged(s(100), |run| rack.delivered(run, at(26), false));
        assert_eq!(rack, before, "sooner than the least round trip");
        log.acknowledged(s(200), |run| rack.delivered(run, at(60), true));
        assert_eq!(rack, before, "the echo is older than the retransmission");
    }

    #[test]
    fn on_a_timeout_only_what_is_old_is_lost() {
        let (mut rack, mut log) = three_rounds();
        log.acknowledged(s(100), |run| rack.delivered(run, at(20), false));
        log.sent(s(400), at(215));
        rack.detect_on_timeout(&mut log, at(220), ms(20));
        assert_eq!((log.lost(), log.in_flight()), (200, 100));
    }
}
