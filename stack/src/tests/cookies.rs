//! Opening without state: more half-open connections than are kept.

use netcore::Duration;
use protocol::tcp::{Options, Timestamps};

use super::harness::*;
use crate::{Config, State};

const NOBODY_FITS: usize = 0;

fn full() -> Config {
    Config { backlog_max: NOBODY_FITS, ..config() }
}

fn offer(value: u32) -> Options {
    let timestamps = Some(Timestamps { value, echo: 0 });
    Options { mss: Some(1300), window_scale: Some(7), sack_permitted: true, timestamps, ..Options::default() }
}

fn stamp(value: u32, echo: u32) -> Options {
    Options { timestamps: Some(Timestamps { value, echo }), ..Options::default() }
}

/// A SYN answered with a cookie.
fn half_way(config: Config) -> Harness {
    let mut h = Harness::new(config);
    syn(&mut h);
    h
}

fn syn(h: &mut Harness) {
    h.iss = 0;
    h.inject(&seg(S, 0, 0, b""));
    let answer = h.take();
    assert_eq!(answer.len(), 1);
    assert_eq!((answer[0].flags, answer[0].ack), (S | A, 1));
    h.iss = answer[0].seq;
}

#[test]
fn a_syn_leaves_nothing_behind_and_its_cookie_opens() {
    let mut h = half_way(full());
    assert_eq!((h.stack.gauges().connections(), h.stack.counters().cookies_sent), (0, 1));
    h.pass(Duration::from_secs(20));
    h.expect(&[]);
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&[]);
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);
    assert_eq!(h.stack.counters().cookies_accepted, 1);
    h.app.reply = b"+PONG\r\n".to_vec();
    h.inject(&seg(A | P, 1, 1, b"PING\r\n"));
    h.expect(&["PA 1+7 7"]);
}

#[test]
fn data_and_fin_may_come_with_the_cookie() {
    let mut h = half_way(full());
    h.app.reply = b"ok".to_vec();
    h.inject(&seg(A | P | F, 1, 1, b"hello"));
    assert_eq!(h.app.seen, b"hello");
    h.expect(&["FPA 1+2 7"]);
    h.inject(&seg(A, 7, 4, b""));
    h.assert_empty();
}

#[test]
fn what_a_syn_offers_travels_in_the_timestamp() {
    let mut h = Harness::new(full());
    h.inject(&seg(S, 0, 0, b"").options(offer(500)));
    let answer = h.take().remove(0);
    h.iss = answer.seq;
    let options = answer.options;
    assert_eq!((options.mss, options.window_scale, options.sack_permitted), (Some(1460), Some(5), true));
    let ours = options.timestamps.unwrap();
    assert_eq!(ours.echo, 500);
    h.inject(&seg(A, 1, 1, b"").window(1000).options(stamp(501, ours.value)));
    // The peer's scale: 1000 << 7 bytes may be sent. Its MSS, rounded down to one of the
    // cookie's, is 1220, from which the timestamps go off.
    h.write(&[7; 100_000], crate::Next::Continue);
    let sent = h.take();
    assert!(sent.iter().all(|seg| seg.payload.len() == 1208), "{sent:?}");
    let value = sent[0].options.timestamps.unwrap().value;
    assert!(value.wrapping_sub(ours.value) < 64, "the clock goes on: {value} after {}", ours.value);
    // SACK is in force: a gap is told.
    let behind = seg(A, 101, 1, b"later").options(stamp(502, value));
    h.inject(&behind);
    let told = h.take().into_iter().find(|seg| seg.options.sack_count > 0).unwrap();
    assert_eq!(told.options.timestamps.unwrap().echo, 501);
}

#[test]
fn without_timestamps_nothing_is_agreed_on_that_the_cookie_cannot_keep() {
    let mut h = Harness::new(full());
    h.inject(&seg(S, 0, 0, b"").options(Options { timestamps: None, ..offer(0) }));
    let options = h.take().remove(0).options;
    assert_eq!(options, Options { mss: Some(1460), ..Options::default() });
}

#[test]
fn the_first_segment_may_be_missing() {
    let mut h = half_way(full());
    // The second segment of the first flight overtakes the first, or is all that arrives.
    h.inject(&seg(A, 1461, 1, b"second"));
    h.expect(&[]);
    assert_eq!((h.stack.gauges().connections(), h.stack.counters().cookies_later), (0, 1));
    h.inject(&seg(A, 1, 1, &[b'x'; 1460]));
    h.inject(&seg(A, 1461, 1, b"second"));
    assert_eq!(h.app.seen.len(), 1466);
}

#[test]
fn a_wrong_or_old_cookie_is_reset() {
    let mut h = half_way(full());
    // RFC 9293 §3.10.7.1
    for beside in [0, 2, 3, 4, 5, 6, 7, 8] {
        h.inject(&seg(A, 1, beside, b""));
        h.expect(&[&alloc::format!("R {beside}+0 0")]);
    }
    h.inject(&seg(S | A, 1, 1, b""));
    h.expect(&["R 1+0 0"]);
    h.inject(&seg(R, 1, 1, b""));
    h.expect(&[]);
    // RFC 9293 §3.10.7.2 (fourth)
    h.inject(&seg(P, 1, 1, b"no ACK"));
    h.expect(&[]);
    h.peer_port += 1;
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["R 1+0 0"]);
    h.peer_port -= 1;
    assert_eq!(h.stack.counters().cookies_refused, 9);
    h.now += Duration::from_secs(40);
    h.peer_port += 2;
    syn(&mut h);
    h.peer_port -= 2;
    let first = h.iss;
    h.now += Duration::from_secs(30);
    h.iss = first;
    h.inject(&seg(A, 1, 1, b""));
    assert_eq!((h.lines().len(), h.stack.gauges().connections()), (1, 0));
    assert_eq!(h.stack.counters().cookies_refused, 10);
}

#[test]
fn nobody_looks_for_cookies_when_none_were_sent() {
    let mut h = Harness::new(config());
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["R 1+0 0"]);
    assert_eq!(h.stack.counters().cookies_refused, 0);
}

#[test]
fn either_syn_ack_opens_whether_it_was_kept_or_not() {
    // One place: taken by another peer, then free when our peer's SYN comes again.
    let mut h = Harness::new(Config { backlog_max: 1, ..config() });
    h.peer_port = 50_000;
    syn(&mut h);
    let (other_iss, other) = (h.iss, h.peer_port);
    h.peer_port = PEER_PORT;
    syn(&mut h);
    let cookie = h.iss;
    assert_eq!((h.stack.gauges().half_open(), h.stack.counters().cookies_sent), (1, 1));
    (h.iss, h.peer_port) = (other_iss, other);
    h.inject(&seg(A, 1, 1, b""));
    h.peer_port = PEER_PORT;
    syn(&mut h);
    assert_eq!((h.stack.gauges().half_open(), h.stack.counters().cookies_sent), (1, 1));
    // The first SYN-ACK was only late; this is its answer.
    h.iss = cookie;
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&[]);
    assert_eq!(h.stack.gauges().in_state(State::Established), 2);
}

#[test]
fn a_spent_cookie_opens_nothing() {
    let mut h = half_way(full());
    h.app.reply = b"1".to_vec();
    let first = seg(A | P, 1, 1, b"INCR");
    h.inject(&first);
    h.inject(&seg(A | F, 5, 2, b""));
    h.inject(&seg(A, 6, 3, b""));
    h.assert_empty();
    h.take();
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);
    // A late duplicate of the first segment.
    h.inject(&first);
    h.expect(&["R 1+0 0"]);
    assert_eq!((h.app.seen.as_slice(), h.app.opened.len()), (b"INCR".as_slice(), 1));
    // A new connection of the same name opens as any.
    h.irs = 77;
    syn(&mut h);
    h.inject(&seg(A, 1, 1, b""));
    assert_eq!(h.app.opened.len(), 2);
    h.inject(&seg(R, 1, 0, b""));
    h.pass(Duration::from_secs(200));
    assert!(h.stack.next_deadline().is_none(), "what was remembered is forgotten");
}

#[test]
fn time_wait_is_left_only_when_the_cookie_comes_back() {
    let mut h = half_way(full());
    h.inject(&seg(A | P, 1, 1, b"!close"));
    h.inject(&seg(A | F, 7, 2, b""));
    h.take();
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    let (iss, irs) = (h.iss, h.irs);
    // A duplicate of the first segment is answered as any old one, with the numbers in force.
    h.inject(&seg(A | P, 1, 1, b"!close"));
    h.expect(&["A 2+0 8"]);
    // A newer SYN gets a cookie; the name still waits, and its FIN is answered.
    h.irs = 100_000;
    syn(&mut h);
    let cookie = h.iss;
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 1);
    (h.iss, h.irs) = (iss, irs);
    h.inject(&seg(A | F, 7, 2, b""));
    h.expect(&["A 2+0 8"]);
    (h.iss, h.irs) = (cookie, 100_000);
    h.inject(&seg(A | P, 1, 1, b"hello"));
    assert_eq!(h.app.opened.len(), 2);
    assert_eq!(h.stack.gauges().in_state(State::TimeWait), 0);
    assert_eq!(h.stack.counters().time_wait_reused, 1);
}

#[test]
fn a_spent_cookie_opens_nothing_behind_a_handshake_that_came_to_nothing() {
    for we_close_first in [false, true] {
        // Another has the only place: the SYN is answered with a cookie.
        let mut h = Harness::new(Config { backlog_max: 1, ..config() });
        h.peer_port += 1;
        syn(&mut h);
        let other = h.iss;
        h.peer_port = PEER_PORT;
        syn(&mut h);
        let first = seg(A | P, 1, 1, if we_close_first { b"!close" } else { b"!reply" });
        h.inject(&first);
        h.inject(&seg(A | F, 7, if we_close_first { 2 } else { 1 }, b""));
        h.inject(&seg(A, 8, 2, b""));
        h.take();
        assert_eq!(h.stack.gauges().in_state(State::TimeWait), u32::from(we_close_first));
        let cookie = h.iss;
        // There is room again; the SYN comes once more, and whoever had sent it resets the answer.
        (h.iss, h.peer_port) = (other, PEER_PORT + 1);
        h.inject(&seg(R, 1, 0, b""));
        h.peer_port = PEER_PORT;
        h.pass(config().time_wait + Duration::from_secs(1));
        syn(&mut h);
        h.inject(&seg(R, 1, 0, b""));
        h.assert_empty();
        // So do its first data.
        h.iss = cookie;
        h.inject(&first);
        h.expect(&["R 1+0 0"]);
        assert_eq!((h.app.seen.len(), h.app.opened.len()), (6, 1));
        h.pass(Duration::from_secs(200));
        assert!(h.stack.next_deadline().is_none(), "what was remembered is forgotten");
    }
}

#[test]
fn a_full_table_refuses_a_good_cookie() {
    let mut h = Harness::new(Config { connections_max: 1, ..full() });
    syn(&mut h);
    let first = h.iss;
    h.peer_port += 1;
    syn(&mut h);
    h.inject(&seg(A, 1, 1, b""));
    (h.iss, h.peer_port) = (first, PEER_PORT);
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["R 1+0 0"]);
    assert_eq!(h.stack.counters().connections_full, 1);
}

#[test]
fn a_flood_shuts_nobody_out_and_leaves_nothing() {
    let mut h = Harness::new(Config { connections_max: 20, backlog_max: 4096, ..config() });
    for port in 0..20_000 {
        h.peer_port = 10_000 + port;
        h.put(&seg(S, 0, 0, b""));
        if port % 64 == 63 {
            h.poll();
            h.take_frames();
        }
    }
    h.poll();
    h.take_frames();
    assert_eq!(h.stack.gauges().half_open(), 10, "half of the table is for those who finish");
    h.peer_port = 9_000;
    syn(&mut h);
    h.app.reply = b"+PONG\r\n".to_vec();
    h.inject(&seg(A | P, 1, 1, b"PING\r\n"));
    h.expect(&["PA 1+7 7"]);
    h.inject(&seg(R, 7, 0, b""));
    // SYN-ACKs that are kept are given up in time.
    h.now += Duration::from_secs(1);
    h.peer_port = 9_000;
    while let Some(next) = h.stack.next_deadline() {
        h.now = h.now.max(next);
        h.poll();
        h.take_frames();
    }
    h.assert_empty();
    assert_eq!(h.stack.counters().bare_dropped, 0);
}

#[test]
fn answers_to_nobody_wait_in_bounded_memory() {
    let mut h = Harness::new(config());
    h.our_port = 1;
    for port in 0..20_000 {
        h.peer_port = 10_000 + port;
        h.put(&seg(S, 0, 0, b""));
        if port % 64 == 63 {
            // Nobody takes what the stack sends.
            h.poll();
        }
    }
    h.poll();
    let counters = h.stack.counters();
    // 1024 frames lie in the wire, 1024 wait for it.
    assert_eq!(counters.resets_sent - counters.bare_dropped, 4096 + 2 * 1024);
    while !h.take_frames().is_empty() {
        h.poll();
    }
    (h.our_port, h.peer_port) = (PORT, PEER_PORT);
    syn(&mut h);
}
