//! Flow control by the peer's window: large, small, shrunk, closed.

use netcore::Duration;
use protocol::tcp::Options;

use super::harness::*;
use crate::{Config, Next, State};

fn mss(mss: u16) -> Options {
    Options { mss: Some(mss), ..Options::default() }
}

#[test]
fn windows_are_unsigned_and_larger_than_their_field() {
    // RFC 9293 §3.1 MUST-1, REC-1: 65535 units of 128 bytes are no negative number and need 23
    // bits; more than a 16-bit number of bytes is in flight.
    let options = Options { window_scale: Some(7), ..mss(1460) };
    let mut h = Harness::open_with(config(), options);
    h.write(&[b'z'; 1_000_000], Next::Continue);
    let (mut acked, mut most) = (1, 0);
    while most <= 100_000 {
        let sent = h.take();
        assert!(!sent.is_empty(), "{most} bytes at most were in flight");
        let next = sent.last().map_or(0, |last| last.seq + last.payload.len() as u32);
        most = most.max(next - acked);
        // Half of it is acknowledged, so that the rest is still in flight.
        for segment in sent {
            acked = segment.seq + segment.payload.len() as u32;
            h.inject(&seg(A, 1, acked, b"").window(0xffff));
        }
    }
}

#[test]
fn a_window_that_shrinks_is_lived_with() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.write(&[b'z'; 6000], Next::Continue);
    assert_eq!(h.take().len(), 6);
    // The first is acknowledged, and of 5000 bytes in flight only 1500 are still wanted.
    h.inject(&seg(A, 1, 1001, b"").window(1500));
    // RFC 9293 §3.8.6 MUST-34, SHLD-15: the usable window is -3500; nothing new goes out.
    h.write(&[b'n'; 500], Next::Continue);
    h.expect(&[]);
    // RFC 9293 §3.8.6 SHLD-16, MAY-7: the old data is sent again, one full segment at a time.
    h.pass(Duration::from_millis(250));
    h.expect(&["A 1001+1000 1"]);
    h.inject(&seg(A, 1, 2501, b"").window(0));
    // RFC 9293 §3.8.6 MUST-35: now it is closed, and probed, by old data.
    h.take();
    h.pass(Duration::from_secs(1));
    assert!(h.lines().iter().all(|line| line == "A 2501+1 1"));
    // RFC 9293 §3.8.6 SHLD-17: while the peer answers, what lies beyond its window ends nothing.
    for _ in 0..100 {
        h.pass(Duration::from_secs(60));
        h.take();
        h.inject(&seg(A, 1, 2501, b"").window(0));
    }
    assert!(h.app.ended.is_empty());
    h.inject(&seg(A, 1, 2501, b"").window(10_000));
    let mut got = 2501;
    while got < 6501 {
        for sent in h.take() {
            got = got.max(sent.seq + sent.payload.len() as u32);
        }
        h.inject(&seg(A, 1, got, b"").window(10_000));
        h.pass(Duration::from_secs(1));
    }
}

#[test]
fn a_closed_window_is_probed_for_as_long_as_the_peer_answers() {
    // RFC 9293 §3.8.6.1 MUST-36, MUST-37: for a day here.
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"").window(0));
    h.write(b"hello", Next::Continue);
    let mut probes = 0;
    for _ in 0..24 * 60 {
        h.pass(Duration::from_secs(60));
        probes += h.take().len();
        h.inject(&seg(A, 1, 1, b"").window(0));
    }
    assert!(probes > 24 * 30, "{probes}");
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);
    // But not when it answers nothing at all.
    h.pass(Duration::from_secs(3600));
    assert_eq!(h.app.ended, [crate::EndReason::TimedOut]);
}

#[test]
fn small_openings_of_a_window_do_not_make_small_segments() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.inject(&seg(A, 1, 1, b"").window(1000));
    h.write(&[b'z'; 4000], Next::Continue);
    h.expect(&["A 1+1000 1"]);
    // RFC 9293 §3.8.6.2.1 MUST-38: 100 bytes of room, where 60,000 were seen, are not used.
    h.inject(&seg(A, 1, 1001, b"").window(100));
    h.expect(&[]);
    // RFC 9293 §3.9.1.2 MUST-60: but nothing is held back for ever.
    h.pass(Duration::from_millis(250));
    h.expect(&["A 1001+100 1"]);
    // RFC 9293 §3.9.1.2 SHLD-28: with room for it, full segments. RFC 9293 §3.9.1.2 MUST-61: PSH is
    // set where nothing more is queued.
    h.inject(&seg(A, 1, 1101, b"").window(10_000));
    h.expect(&["A 1101+1000 1", "A 2101+1000 1", "PA 3101+900 1"]);
}

#[test]
fn writes_are_put_together_without_regard_to_their_ends() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.inject(&seg(A, 1, 1, b"").window(0));
    for _ in 0..10 {
        h.write(&[b'w'; 150], Next::Continue);
    }
    h.expect(&[]);
    // RFC 9293 §3.9.1.2 SHLD-27, MAY-16: ten writes, two segments.
    h.inject(&seg(A, 1, 1, b"").window(10_000));
    h.expect(&["A 1+1000 1", "PA 1001+500 1"]);
}

#[test]
fn nagles_algorithm_is_switched_for_one_connection() {
    // RFC 9293 §3.7.4 SHLD-7: what is small waits while something is in flight ...
    let mut h = Harness::open_with(Config { nagle: true, ..config() }, mss(1000));
    let id = h.app.opened[0];
    h.write(b"one", Next::Continue);
    h.expect(&["PA 1+3 1"]);
    h.write(b"two", Next::Continue);
    h.write(b"three", Next::Continue);
    h.expect(&[]);
    h.inject(&seg(A, 1, 4, b""));
    h.expect(&["PA 4+8 1"]);
    // ... but no full segment, and nothing in front of a FIN.
    h.write(&[b'z'; 1500], Next::Continue);
    h.expect(&["A 12+1000 1"]);
    // RFC 9293 §3.7.4 MUST-17: switched off, nothing waits.
    assert!(h.stack.set_nagle(id, false));
    h.poll();
    h.expect(&["PA 1012+500 1"]);
    h.write(b"x", Next::Continue);
    h.expect(&["PA 1512+1 1"]);
    assert!(h.stack.set_nagle(id, true));
    h.write(b"y", Next::Continue);
    h.expect(&[]);
    h.write(b"z", Next::Close);
    h.expect(&["FPA 1513+2 1"]);
}

#[test]
fn a_burst_is_acknowledged_once() {
    // RFC 9293 §3.10.7.4 MUST-58, MUST-59: eight segments in one round, one acknowledgment behind
    // all of them; two full ones do not wait for it (RFC 9293 §3.8.6.3 SHLD-19).
    let mut h = Harness::open_with(config(), mss(1000));
    for n in 0..8 {
        h.put(&seg(A, 1 + n * 1000, 1, &[b'x'; 1000]));
    }
    h.poll();
    h.expect(&["A 1+0 8001"]);
    // A reply carries it.
    h.app.reply = b"ok".to_vec();
    h.put(&seg(A, 8001, 1, &[b'x'; 1000]));
    h.put(&seg(A, 9001, 1, &[b'x'; 1000]));
    h.poll();
    h.expect(&["PA 1+2 10001"]);
}
