//! Closing: who is first, both at once, half-closed, with losses; TIME_WAIT and its reuse.

use netcore::Duration;
use protocol::tcp::{Options, Timestamps};

use super::harness::*;
use crate::{Config, EndReason, Next, State};

#[test]
fn the_peer_closes_first() {
    let mut h = Harness::open(config());
    h.inject(&seg(F | A, 1, 1, b""));
    h.expect(&["FA 1+0 2"]);
    assert_eq!(h.stack.gauges().in_state(State::LastAck), 1);
    h.inject(&seg(A, 2, 2, b""));
    // RFC 9293 §3.6 MUST-12: closed, not reset (see `resets_end_every_state`).
    assert_eq!(h.app.ended, [EndReason::Closed]);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);
    h.assert_empty();
}

#[test]
fn request_and_fin_in_one_segment_reply_and_fin_in_another() {
    let mut h = Harness::open(config());
    h.app.reply = b"+OK\r\n".to_vec();
    h.inject(&seg(F | A | P, 1, 1, b"QUIT\r\n"));
    h.expect(&["FPA 1+5 8"]);
    h.inject(&seg(A, 8, 7, b""));
    h.assert_empty();
}

#[test]
fn we_close_first() {
    let mut h = Harness::open(config());
    h.app.reply = b"bye".to_vec();
    h.inject(&seg(A, 1, 1, b"!close"));
    h.expect(&["FPA 1+3 7"]);
    assert_eq!(h.stack.gauges().in_state(State::FinWait1), 1);
    h.inject(&seg(A, 7, 5, b""));
    assert_eq!(h.stack.gauges().in_state(State::FinWait2), 1);
    h.inject(&seg(F | A, 7, 5, b""));
    h.expect(&["A 5+0 8"]);
    assert_eq!(h.app.ended, [EndReason::Closed]);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    // RFC 9293 §3.6.1 MUST-13: a minute. The FIN again is acknowledged again, and the wait starts
    // anew.
    h.pass(Duration::from_secs(40));
    h.inject(&seg(F | A, 7, 5, b""));
    h.expect(&["A 5+0 8"]);
    h.pass(Duration::from_secs(40));
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    h.pass(Duration::from_secs(21));
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);
    h.assert_empty();
}

#[test]
fn fin_and_ack_of_ours_in_one_segment() {
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"!close"));
    h.expect(&["FA 1+0 7"]);
    h.inject(&seg(F | A, 7, 2, b""));
    h.expect(&["A 2+0 8"]);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    h.assert_empty();
}

#[test]
fn both_close_at_once() {
    let mut h = Harness::open(config());
    h.write(b"", Next::Close);
    h.expect(&["FA 1+0 1"]);
    h.inject(&seg(F | A, 1, 1, b""));
    assert_eq!(h.stack.gauges().in_state(State::Closing), 1);
    h.expect(&["A 2+0 2"]);
    h.inject(&seg(A, 2, 2, b""));
    assert_eq!(h.app.ended, [EndReason::Closed]);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    h.expect(&[]);
    h.assert_empty();
}

#[test]
fn lost_fins_are_sent_again() {
    let mut h = Harness::open(config());
    h.app.reply = b"bye".to_vec();
    h.inject(&seg(A, 1, 1, b"!close"));
    h.take();
    h.pass(Duration::from_millis(203));
    h.expect(&["FPA 1+3 7"]);
    // Only the data arrived.
    h.inject(&seg(A, 7, 4, b""));
    h.take();
    h.pass(Duration::from_millis(1000));
    assert!(h.lines().iter().any(|line| line == "FA 4+0 7"));
    h.inject(&seg(A, 7, 5, b""));
    // RFC 9293 §3.6: a peer that never closes does not keep us for ever.
    h.pass(Duration::from_secs(61));
    assert_eq!(h.app.ended, [EndReason::Closed]);
    h.take();
    h.assert_empty();
}

#[test]
fn last_ack_is_sent_again_and_given_up() {
    let mut h = Harness::open(Config { retransmissions_max: 2, ..config() });
    h.inject(&seg(F | A, 1, 1, b""));
    h.take();
    h.inject(&seg(F | A, 1, 1, b""));
    h.expect(&["A 2+0 2"]);
    h.pass(Duration::from_secs(60));
    h.expect(&["FA 1+0 2", "FA 1+0 2", "RA 2+0 2"]);
    assert_eq!(h.app.ended, [EndReason::TimedOut]);
    h.assert_empty();
}

#[test]
fn half_closed_by_the_peer_we_go_on_sending() {
    let mut h = Harness::open(config());
    h.app.keep_half_open = true;
    h.inject(&seg(F | A, 1, 1, b""));
    h.expect(&["A 1+0 2"]);
    assert_eq!(h.stack.gauges().in_state(State::CloseWait), 1);
    h.write(b"still here", Next::Continue);
    h.expect(&["PA 1+10 2"]);
    h.inject(&seg(A, 2, 11, b""));
    h.write(b"bye", Next::Close);
    h.expect(&["FPA 11+3 2"]);
    h.inject(&seg(A, 2, 15, b""));
    h.assert_empty();
}

#[test]
fn data_after_our_close_is_reset() {
    for acked in [false, true] {
        let mut h = Harness::open(config());
        h.inject(&seg(A, 1, 1, b"!close"));
        h.expect(&["FA 1+0 7"]);
        if acked {
            h.inject(&seg(A, 7, 2, b""));
            assert_eq!(h.stack.gauges().in_state(State::FinWait2), 1);
        }
        // RFC 9293 §3.6.1 MAY-1: the close is for both directions. What came before, once more, is
        // no new data.
        h.inject(&seg(A, 1, 1 + u32::from(acked), b"!close"));
        h.take();
        h.inject(&seg(A, 7, 1 + u32::from(acked), b"late"));
        h.expect(&[if acked { "R 2+0 0" } else { "R 1+0 0" }]);
        assert_eq!(h.app.seen, b"!close");
        assert_eq!(h.app.ended, [EndReason::Aborted]);
        h.assert_empty();
    }
}

#[test]
fn abort_resets() {
    let mut h = Harness::open(config());
    h.app.reply = b"never sent".to_vec();
    h.inject(&seg(A, 1, 1, b"!abort"));
    h.expect(&["RA 1+0 7"]);
    assert_eq!(h.app.ended, [EndReason::Aborted]);
    h.assert_empty();
    let mut h = Harness::open(config());
    let id = h.app.opened[0];
    assert!(h.stack.abort(&mut h.app, id) && !h.stack.abort(&mut h.app, id));
    h.poll();
    h.expect(&["RA 1+0 1"]);
    assert!(!h.stack.close(id));
    h.assert_empty();
}

#[test]
fn resets_end_every_state() {
    // RFC 9293 §3.6 MUST-12: after the peer's FIN, after ours, after both.
    let mut close_wait = Harness::open(config());
    close_wait.app.keep_half_open = true;
    close_wait.inject(&seg(F | A, 1, 1, b""));
    close_wait.inject(&seg(R, 2, 0, b""));
    let mut fin_wait = Harness::open(config());
    fin_wait.write(b"", Next::Close);
    fin_wait.inject(&seg(R, 1, 0, b""));
    let mut fin_wait_2 = Harness::open(config());
    fin_wait_2.write(b"", Next::Close);
    fin_wait_2.inject(&seg(A, 1, 2, b""));
    fin_wait_2.inject(&seg(R, 1, 0, b""));
    let mut last_ack = Harness::open(config());
    last_ack.inject(&seg(F | A, 1, 1, b""));
    last_ack.inject(&seg(R, 2, 0, b""));
    for h in [&mut close_wait, &mut fin_wait, &mut fin_wait_2, &mut last_ack] {
        assert_eq!(h.app.ended, [EndReason::Reset]);
        h.assert_empty();
    }
}

fn in_time_wait(options: Options) -> Harness {
    let mut h = Harness::open_with(config(), options);
    let stamp = Options { timestamps: options.timestamps, ..Options::default() };
    h.inject(&seg(A, 1, 1, b"!close").options(stamp));
    h.inject(&seg(F | A, 7, 2, b"").options(stamp));
    h.take();
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    h
}

#[test]
fn time_wait_is_left_early_for_a_newer_syn_only() {
    // RFC 9293 §3.6.1 MAY-2, SHLD-4: RFC 6191 §2, by sequence number.
    let mut h = in_time_wait(Options::default());
    h.inject(&seg(S, 5, 0, b""));
    h.expect(&["A 2+0 8"]);
    h.inject(&seg(S, 9, 0, b""));
    let answer = h.take();
    assert_eq!((answer[0].flags, answer[0].ack), (S | A, 10));
    // RFC 9293 §3.6.1 MAY-2: above the last number that was used, though the clock stood still.
    assert!((3..1 << 20).contains(&answer[0].seq), "{}", answer[0].seq);
    assert_eq!(h.stack.counters().time_wait_reused, 1);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);

    // By timestamp, whatever the sequence number.
    let stamp = |value| Options { timestamps: Some(Timestamps { value, echo: 0 }), ..Options::default() };
    let mut h = in_time_wait(stamp(100));
    h.inject(&seg(S, 9, 0, b"").options(stamp(99)));
    h.expect(&["A 2+0 8"]);
    h.inject(&seg(S, 3, 0, b"").options(stamp(101)));
    assert_eq!(h.take()[0].flags, S | A);
}

#[test]
fn time_wait_ignores_resets_and_old_data() {
    let mut h = in_time_wait(Options::default());
    // RFC 1337
    h.inject(&seg(R, 8, 0, b""));
    h.expect(&[]);
    h.inject(&seg(A, 3, 2, b"old"));
    h.expect(&["A 2+0 8"]);
    h.inject(&seg(A, 8, 2, b""));
    h.expect(&[]);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
}

#[test]
fn ten_thousand_short_connections_leave_nothing() {
    let mut h = Harness::new(Config { time_wait_max: 100, backlog_max: 10, ..config() });
    for n in 0..10_000u32 {
        h.peer_port = 1024 + (n % 60_000) as u16;
        h.iss = 0;
        h.inject(&seg(S, 0, 0, b""));
        h.iss = h.take()[0].seq;
        h.inject(&seg(A, 1, 1, b""));
        if n % 2 == 0 {
            h.inject(&seg(A, 1, 1, b"!close"));
            h.inject(&seg(F | A, 7, 2, b""));
        } else {
            h.app.reply = b"+OK\r\n".to_vec();
            h.inject(&seg(A, 1, 1, b"PING\r\n"));
            h.inject(&seg(F | A, 7, 6, b""));
            h.inject(&seg(A, 8, 7, b""));
        }
        h.take();
        h.assert_empty();
    }
    assert_eq!(h.app.ended.len(), 10_000);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 100);
    assert_eq!(h.stack.connections.slots(), 1);
    h.pass(Duration::from_secs(61));
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);
    assert_eq!(h.stack.next_deadline(), None);
}

#[test]
fn shutdown_closes_everything_in_order() {
    let mut h = Harness::open(config());
    h.write(b"last words", Next::Continue);
    h.take();
    h.stack.shutdown();
    h.poll();
    h.expect(&["FA 11+0 1"]);
    h.inject(&seg(F | A, 1, 12, b""));
    h.expect(&["A 12+0 2"]);
    h.assert_empty();
    h.peer_port += 1;
    h.iss = 0;
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["RA 0+0 1"]);
}
