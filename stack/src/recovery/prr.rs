//! Proportional rate reduction (RFC 9937): in fast recovery the window shrinks to its threshold
//! over a round trip, by sending a share of what is delivered.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Prr {
    /// prr_delivered: bytes delivered since recovery began.
    delivered: u32,
    /// prr_out: bytes sent since then.
    out: u32,
    /// RecoverFS: bytes in flight when it began.
    recover_fs: u32,
}

/// What an acknowledgment in recovery told.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// DeliveredData
    pub(super) delivered: u32,
    /// Bytes in flight after it.
    pub(super) in_flight: u32,
    /// SafeACK: SND.UNA moved and no further loss was found.
    pub(super) safe: bool,
}

impl Prr {
    /// `recover_fs`: in flight before the acknowledgment with which recovery begins.
    pub(super) fn begin(recover_fs: u32) -> Self {
        Self { delivered: 0, out: 0, recover_fs: recover_fs.max(1) }
    }

    pub(super) fn sent(&mut self, bytes: u32) {
        self.out = self.out.saturating_add(bytes);
    }

    /// The congestion window after an acknowledgment.
    ///
    /// Source: RFC 9937 §6.2.
    pub(super) fn window(&mut self, progress: &Progress, ssthresh: u32, mss: u16) -> u32 {
        let Progress { delivered, in_flight, safe } = *progress;
        let mss = u32::from(mss);
        self.delivered = self.delivered.saturating_add(delivered);
        let sndcnt = if in_flight > ssthresh {
            let share = u64::from(self.delivered) * u64::from(ssthresh);
            (share.div_ceil(u64::from(self.recover_fs)) as u32).saturating_sub(self.out)
        } else {
            let conservative = self.delivered.saturating_sub(self.out).max(delivered);
            (conservative + if safe { mss } else { 0 }).min(ssthresh - in_flight)
        };
        // The first retransmission goes out whatever the share.
        let sndcnt = if self.out == 0 { sndcnt.max(mss) } else { sndcnt };
        in_flight + sndcnt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1000;

    #[test]
    fn sends_the_share_that_the_threshold_is_of_the_flight() {
        // 20 segments in flight, one lost; the threshold is 14: 7 sent for 10 delivered.
        let mut prr = Prr::begin(20_000);
        let mut sent = 0;
        let mut pipe: u32 = 19_000;
        for _ in 0..19 {
            pipe -= 1000;
            let progress = Progress { delivered: 1000, in_flight: pipe, safe: false };
            let cwnd = prr.window(&progress, 14_000, MSS);
            while pipe + 1000 <= cwnd {
                pipe += 1000;
                prr.sent(1000);
                sent += 1;
            }
        }
        assert!((13..=14).contains(&sent), "{sent}");
        assert!((13_000..=14_000).contains(&pipe), "{pipe}");
    }

    #[test]
    fn after_heavy_losses_it_sends_what_is_delivered_and_grows_only_when_that_is_safe() {
        let mut prr = Prr::begin(20_000);
        let lost = Progress { delivered: 1000, in_flight: 4000, safe: false };
        assert_eq!(prr.window(&lost, 10_000, MSS), 5000);
        prr.sent(1000);
        let safe = Progress { delivered: 1000, in_flight: 4000, safe: true };
        assert_eq!(prr.window(&safe, 10_000, MSS), 6000, "a segment more");
        prr.sent(2000);
        let close = Progress { delivered: 5000, in_flight: 9000, safe: true };
        assert_eq!(prr.window(&close, 10_000, MSS), 10_000, "never above the threshold");
    }

    #[test]
    fn the_first_retransmission_is_never_held_back() {
        let mut prr = Prr::begin(20_000);
        let progress = Progress { delivered: 100, in_flight: 19_000, safe: false };
        assert_eq!(prr.window(&progress, 10_000, MSS), 20_000);
        let mut prr = Prr::begin(2000);
        let progress = Progress { delivered: 0, in_flight: 2000, safe: false };
        assert_eq!(prr.window(&progress, 2000, MSS), 3000);
    }
}
