//! CUBIC (RFC 9293 §3.8.2 MAY-18; RFC 9438): the window follows a cubic function of the time since the last loss, flat
//! around the window at which it happened, and never grows slower than Reno's would.
//!
//! Bytes and milliseconds in integers: the window grows by whole segments per second, so a
//! millisecond is fine enough, and what does not make a byte is carried on.

use netcore::{Duration, Instant};

use super::congestion::{Acked, CWND_MAX, Window, at_least_two_segments};

/// beta_cubic = 0.7 (RFC 9438 §4.6).
const BETA: (u64, u64) = (7, 10);
/// alpha_cubic = 3 * (1 - beta) / (1 + beta) = 9/17 (RFC 9438 §4.3).
const ALPHA: (u64, u64) = (9, 17);
/// Further from its middle the cubic function is beyond every window.
const SPAN_MS_MAX: u64 = 1 << 22;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cubic {
    /// W_max in bytes; 0: there was no loss since the start or the last timeout.
    w_max: u32,
    /// The window before the last reduction.
    cwnd_prior: u32,
    /// The congestion avoidance stage, once it has begun.
    stage: Option<Stage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    /// t = 0. Moved on by pauses.
    epoch_start: Instant,
    /// Since when the window is not in use.
    paused: Option<Instant>,
    /// K in ms: when the function is back at its middle.
    k_ms: u64,
    /// The function's middle in bytes.
    w_max: u32,
    /// What Reno would have, in bytes.
    w_est: u32,
    /// Growth of the window and of `w_est` that did not make a byte yet.
    rest: u64,
    est_rest: u64,
}

impl Stage {
    /// RFC 9438 §4.2: K is the cubic root of (W_max - cwnd_epoch) / C with C = 0.4 segments/s³.
    /// A window beyond W_max (also: no W_max, §4.8, §4.10) is its own middle, with K = 0.
    fn begin(window: &Window, w_max: u32, mss: u16, now: Instant) -> Self {
        let below = u64::from(w_max.saturating_sub(window.cwnd));
        Self {
            epoch_start: now,
            paused: None,
            k_ms: cubic_root(below * 2_500_000_000 / u64::from(mss)),
            w_max: w_max.max(window.cwnd),
            w_est: window.cwnd,
            rest: 0,
            est_rest: 0,
        }
    }

    /// W_cubic(t) in bytes (RFC 9438 §4.2 eqn. 1).
    fn w_cubic(&self, t: Duration, mss: u16) -> u32 {
        let t_ms = t.millis();
        let span = u128::from(t_ms.abs_diff(self.k_ms).min(SPAN_MS_MAX));
        // C * span³, in bytes: 0.4 * MSS * (span / 1000)³.
        let offset = span * span * span * u128::from(mss) / 2_500_000_000;
        let offset = offset.min(u128::from(CWND_MAX)) as u32;
        if t_ms < self.k_ms { self.w_max.saturating_sub(offset) } else { self.w_max.saturating_add(offset) }
    }
}

impl Cubic {
    pub(super) fn avoid(&mut self, window: &mut Window, acked: &Acked) {
        let Acked { bytes, mss, now, srtt } = *acked;
        let w_max = self.w_max;
        let stage = self.stage.get_or_insert_with(|| Stage::begin(window, w_max, mss, now));
        if let Some(since) = stage.paused.take() {
            // RFC 9438 §5.8: time in which the window was not used is no time.
            stage.epoch_start += now.since(since);
        }
        let t = now.since(stage.epoch_start);
        let cwnd = u64::from(window.cwnd.max(1));
        // RFC 9438 §4.3: alpha is 1 once Reno would be back where it was.
        let alpha = if stage.w_est >= self.cwnd_prior { (1, 1) } else { ALPHA };
        let growth = stage.est_rest + u64::from(bytes) * u64::from(mss) * alpha.0 / alpha.1;
        stage.w_est = (stage.w_est + (growth / cwnd) as u32).min(CWND_MAX);
        stage.est_rest = growth % cwnd;
        if stage.w_cubic(t, mss) < stage.w_est {
            // RFC 9438 §4.3: the Reno-friendly region.
            window.cwnd = window.cwnd.max(stage.w_est);
            return;
        }
        // RFC 9438 §4.4, §4.5: towards where the function is a round trip later, at most 1.5
        // times the window.
        let target = u64::from(stage.w_cubic(t + srtt, mss)).clamp(cwnd, cwnd + cwnd / 2);
        let growth = stage.rest + (target - cwnd) * u64::from(bytes);
        window.cwnd += (growth / cwnd) as u32;
        stage.rest = growth % cwnd;
    }

    pub(super) fn paused(&mut self, now: Instant) {
        if let Some(stage) = &mut self.stage {
            stage.paused.get_or_insert(now);
        }
    }

    pub(super) fn reduce(&mut self, window: &mut Window, flight: u32, mss: u16) {
        let cwnd = window.cwnd;
        // RFC 9438 §4.7: below the last W_max somebody else wants a share: leave room for it.
        self.w_max = if cwnd < self.w_max { (u64::from(cwnd) * 17 / 20) as u32 } else { cwnd };
        self.cwnd_prior = cwnd;
        self.stage = None;
        // RFC 9438 §4.6
        window.ssthresh = at_least_two_segments((u64::from(flight) * BETA.0 / BETA.1) as u32, mss);
    }

    /// RFC 9438 §4.8: the stage after a timeout begins without W_max.
    pub(super) fn timed_out(&mut self) {
        self.w_max = 0;
        self.stage = None;
    }

    /// RFC 9438 §4.2: an idle time is not part of a stage; the next begins with the next growth.
    pub(super) fn idle(&mut self) {
        self.stage = None;
    }
}

/// The largest number whose cube is not above `n`.
fn cubic_root(n: u64) -> u64 {
    let mut root = 0u64;
    // 2^21 cubed is 2^63.
    for bit in (0..=21).rev() {
        let next = root | 1 << bit;
        if next.checked_pow(3).is_some_and(|cube| cube <= n) {
            root = next;
        }
    }
    root
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u16 = 1000;

    /// A round trip of `rtt_ms` in which every segment of the window is acknowledged.
    fn round(cubic: &mut Cubic, window: &mut Window, now: &mut Instant, rtt_ms: u64) {
        let segments = window.cwnd / u32::from(MSS);
        for n in 0..u64::from(segments) {
            let at = *now + Duration::from_micros(n * rtt_ms * 1000 / u64::from(segments));
            let srtt = Duration::from_millis(rtt_ms);
            cubic.avoid(window, &Acked { bytes: u32::from(MSS), mss: MSS, now: at, srtt });
        }
        *now += Duration::from_millis(rtt_ms);
    }

    #[test]
    fn cubic_roots() {
        for n in [0, 1, 7, 8, 26, 27, 999_999_999, 1_000_000_000, u64::MAX] {
            let root = cubic_root(n);
            assert!(root.pow(3) <= n && (root + 1).checked_pow(3).is_none_or(|cube| cube > n), "{n}");
        }
    }

    #[test]
    fn the_function_has_the_values_of_the_formula() {
        // From 100 segments down to 70: K = cbrt(30 / 0.4) = 4.217 s.
        let stage =
            Stage::begin(&Window { cwnd: 70_000, ssthresh: 70_000 }, 100_000, MSS, Instant::from_micros(5));
        assert_eq!(stage.k_ms, 4217);
        let at = |ms| stage.w_cubic(Duration::from_millis(ms), MSS);
        assert!((69_990..=70_010).contains(&at(0)), "{}", at(0));
        // 100 - 0.4 * 2.217³ = 95.641
        assert!((95_630..=95_650).contains(&at(2000)), "{}", at(2000));
        assert_eq!(at(4217), 100_000);
        // 100 + 0.4 * 5.783³ = 177.36
        assert!((177_340..=177_380).contains(&at(10_000)), "{}", at(10_000));
        assert_eq!(at(u64::MAX / 2000), 100_000 + CWND_MAX);
    }

    #[test]
    fn concave_then_convex_on_a_long_path() {
        let mut cubic = Cubic::default();
        let mut window = Window { cwnd: 1_000_000, ssthresh: CWND_MAX };
        cubic.reduce(&mut window, 1_000_000, MSS);
        assert_eq!(window.ssthresh, 700_000);
        window.cwnd = window.ssthresh;
        // K = cbrt(300 / 0.4) = 9.086 s.
        let mut now = Instant::from_micros(1);
        let mut at_k = 0;
        let mut step = u32::MAX;
        while now < Instant::from_micros(20_000_000) {
            let before = window.cwnd;
            round(&mut cubic, &mut window, &mut now, 200);
            if now.millis() <= 8000 {
                assert!(window.cwnd - before <= step, "concave: each step is smaller");
                step = window.cwnd - before;
            }
            if now.millis() <= 9100 {
                at_k = window.cwnd;
            }
        }
        assert!((990_000..=1_010_000).contains(&at_k), "{at_k}");
        // 1000 + 0.4 * (20 - 9.086)³ = 1520 segments, and up to a round trip of lag.
        assert!((1_450_000..=1_530_000).contains(&window.cwnd), "{}", window.cwnd);
    }

    #[test]
    fn reno_friendly_on_a_short_path() {
        let mut cubic = Cubic::default();
        let mut window = Window { cwnd: 20_000, ssthresh: CWND_MAX };
        cubic.reduce(&mut window, 20_000, MSS);
        window.cwnd = window.ssthresh;
        let mut now = Instant::from_micros(1);
        // alpha = 9/17 of a segment each round trip up to the old window, then one.
        for _ in 0..11 {
            round(&mut cubic, &mut window, &mut now, 10);
        }
        assert!((19_300..=20_000).contains(&window.cwnd), "{}", window.cwnd);
        for _ in 0..6 {
            round(&mut cubic, &mut window, &mut now, 10);
        }
        assert!((24_000..=25_600).contains(&window.cwnd), "{}", window.cwnd);
    }

    #[test]
    fn fast_convergence_timeouts_and_pauses() {
        let mut cubic = Cubic::default();
        let mut window = Window { cwnd: 100_000, ssthresh: CWND_MAX };
        cubic.reduce(&mut window, 100_000, MSS);
        assert_eq!(cubic.w_max, 100_000);
        window.cwnd = 80_000;
        cubic.reduce(&mut window, 80_000, MSS);
        assert_eq!(cubic.w_max, 68_000, "80 * (1 + 0.7) / 2");
        window.cwnd = 56_000;
        let mut now = Instant::from_micros(1);
        round(&mut cubic, &mut window, &mut now, 10);
        let start = cubic.stage.unwrap().epoch_start;
        cubic.paused(now);
        now += Duration::from_secs(100);
        cubic.paused(now);
        let before = window.cwnd;
        round(&mut cubic, &mut window, &mut now, 10);
        assert_eq!(cubic.stage.unwrap().epoch_start, start + Duration::from_secs(100));
        assert!(window.cwnd < before + 2000, "no leap after a pause");
        cubic.timed_out();
        window.cwnd = 30_000;
        round(&mut cubic, &mut window, &mut now, 10);
        assert_eq!((cubic.stage.unwrap().k_ms, cubic.stage.unwrap().w_max), (0, 30_000));
    }
}
