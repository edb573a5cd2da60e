//! Data both ways: acknowledgments, losses, windows, order, stale and forged segments.

use alloc::vec;
use alloc::vec::Vec;

use netcore::{Duration, Instant};
use protocol::tcp::{Options, SeqNumber, Timestamps};

use super::harness::*;
use crate::{Config, EndReason, Next};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn mss(mss: u16) -> Options {
    Options { mss: Some(mss), ..Options::default() }
}

fn with_sack() -> Options {
    Options { sack_permitted: true, ..mss(1000) }
}

#[test]
fn acknowledgments_are_delayed_and_every_second_full_segment_is_not() {
    let mut h = Harness::open_with(config(), mss(1460));
    h.inject(&seg(A, 1, 1, b"part"));
    h.expect(&[]);
    h.pass(ms(39));
    h.expect(&[]);
    h.pass(ms(2));
    h.expect(&["A 1+0 5"]);
    h.put(&seg(A, 5, 1, &[b'x'; 1460]));
    h.poll();
    h.expect(&[]);
    h.inject(&seg(A, 1465, 1, &[b'x'; 1460]));
    h.expect(&["A 1+0 2925"]);
    // One burst, one acknowledgment.
    for n in 0..8 {
        h.put(&seg(A, 2925 + n * 1460, 1, &[b'x'; 1460]));
    }
    h.poll();
    h.expect(&["A 1+0 14605"]);
}

#[test]
fn a_packet_of_a_kernel_on_this_machine_may_be_huge() {
    let mut h = Harness::open_with(config(), mss(1460));
    h.inject(&seg(A | P, 1, 1, &[b'y'; 60_000]));
    assert_eq!(h.app.seen.len(), 60_000);
    h.expect(&["A 1+0 60001"]);
}

#[test]
fn retransmission_backs_off_and_gives_up() {
    let mut h = Harness::open(Config { retransmissions_max: 3, ..config() });
    h.write(b"lost", Next::Continue);
    h.expect(&["PA 1+4 1"]);
    h.pass(ms(202));
    h.expect(&["PA 1+4 1"]);
    h.pass(ms(390));
    h.expect(&[]);
    h.pass(ms(15));
    h.expect(&["PA 1+4 1"]);
    h.pass(ms(5000));
    h.expect(&["PA 1+4 1", "RA 5+0 1"]);
    assert_eq!(h.app.ended, [EndReason::TimedOut]);
    h.assert_empty();
}

#[test]
fn the_initial_window_is_ten_segments() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.write(&[b'z'; 100_000], Next::Continue);
    let sent = h.take();
    assert_eq!(sent.len(), 10);
    assert!(sent.iter().all(|s| s.payload.len() == 1000));
    // Slow start: each acknowledged segment lets two out.
    h.inject(&seg(A, 1, 2001, b""));
    assert_eq!(h.take().len(), 4);
}

#[test]
fn fast_retransmit_and_partial_acknowledgments_without_sack() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.write(&[b'z'; 30_000], Next::Continue);
    assert_eq!(h.take().len(), 10);
    // Segments 1 and 4 are lost. RFC 3042: the first two duplicates let new data out.
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["A 10001+1000 1"]);
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["A 11001+1000 1"]);
    h.inject(&seg(A, 1, 1, b""));
    assert_eq!(h.lines(), ["A 1+1000 1"]);
    assert_eq!(h.stack.counters().fast_retransmits, 1);
    // RFC 6582: a partial acknowledgment sends the next hole at once.
    h.inject(&seg(A, 1, 3001, b""));
    assert_eq!(h.lines()[0], "A 3001+1000 1");
    h.inject(&seg(A, 1, 12_001, b""));
    let after = h.take();
    assert!(!after.is_empty() && after.iter().all(|s| s.seq >= 12_001), "{after:?}");
    assert_eq!(h.stack.counters().retransmissions, 2);
}

#[test]
fn with_sack_only_the_holes_are_sent_again() {
    let mut h = Harness::open_with(config(), with_sack());
    h.write(&[b'z'; 10_000], Next::Continue);
    assert_eq!(h.take().len(), 10);
    let sack = |ranges: &[(u32, u32)]| {
        let mut options = Options { sack_count: ranges.len() as u8, ..Options::default() };
        for (slot, (l, r)) in options.sack.iter_mut().zip(ranges) {
            *slot = (SeqNumber(*l), SeqNumber(*r));
        }
        options
    };
    h.pass(ms(1));
    h.inject(&seg(A, 1, 1, b"").options(sack(&[(1001, 3001)])));
    h.expect(&[]);
    // More than two segments above the first hole: no need to wait (RFC 8985 §6.2 step 4), and
    // both holes were sent before what has arrived.
    h.inject(&seg(A, 1, 1, b"").options(sack(&[(4001, 6001), (1001, 3001)])));
    h.expect(&["A 1+1000 1", "A 3001+1000 1"]);
    h.inject(&seg(A, 1, 1, b"").options(sack(&[(4001, 9001), (1001, 3001)])));
    h.expect(&[]);
    // Nonsense does not hurt.
    h.inject(&seg(A, 1, 1, b"").options(sack(&[(50_000, 60_000), (9001, 8001), (0, 0)])));
    h.expect(&[]);
    h.inject(&seg(A, 1, 10_001, b""));
    h.expect(&[]);
    h.pass(ms(10_000));
    h.expect(&[]);
    assert_eq!(h.stack.counters().retransmissions, 2);
}

#[test]
fn after_a_timeout_everything_that_is_not_held_is_sent_again() {
    let mut h = Harness::open_with(config(), with_sack());
    h.write(&[b'z'; 5000], Next::Continue);
    h.take();
    h.pass(ms(3));
    h.expect(&["PA 4001+1000 1"]);
    h.pass(ms(203));
    h.expect(&["A 1+1000 1"]);
    let mut options = Options { sack_count: 1, ..Options::default() };
    options.sack[0] = (SeqNumber(2001), SeqNumber(3001));
    h.inject(&seg(A, 1, 1001, b"").options(options));
    h.expect(&["A 1001+1000 1", "A 3001+1000 1", "PA 4001+1000 1"]);
    h.inject(&seg(A, 1, 5001, b""));
    h.pass(ms(5000));
    h.expect(&[]);
}

#[test]
fn a_closed_window_is_probed_until_it_opens() {
    let mut h = Harness::open(Config { retransmissions_max: 3, ..config() });
    h.inject(&seg(A, 1, 1, b"").window(0));
    h.take();
    h.write(b"0123456789", Next::Continue);
    h.expect(&[]);
    // RFC 9293 §3.8.6.1: first after the RTO, then with growing distance, without giving up as
    // long as the peer answers.
    let mut last = h.now;
    let mut distances = Vec::new();
    for _ in 0..11 {
        let mut probes = h.take();
        while probes.is_empty() {
            h.now = h.stack.next_deadline().unwrap().max(h.now);
            h.poll();
            probes = h.take();
        }
        assert!(probes.len() == 1 && probes[0].payload == b"0" && probes[0].seq == 1, "{probes:?}");
        distances.push(h.now.since(last).millis());
        last = h.now;
        h.inject(&seg(A, 1, 1, b"").window(0));
    }
    assert_eq!(distances, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000]);
    h.inject(&seg(A, 1, 1, b"").window(1000));
    let data = h.take();
    let mut got = [0u8; 10];
    for s in &data {
        got[s.seq as usize - 1..][..s.payload.len()].copy_from_slice(&s.payload);
    }
    assert_eq!(&got, b"0123456789");
    h.inject(&seg(A, 1, 11, b""));
    h.pass(Duration::from_secs(100));
    h.expect(&[]);
    assert!(h.app.ended.is_empty());
}

#[test]
fn a_peer_that_answers_no_probe_is_given_up() {
    let mut h = Harness::open(Config { retransmissions_max: 3, ..config() });
    h.inject(&seg(A, 1, 1, b"").window(0));
    h.write(b"0123456789", Next::Continue);
    h.pass(Duration::from_secs(100));
    assert_eq!(h.app.ended, [EndReason::TimedOut]);
    h.take();
    h.assert_empty();
}

#[test]
fn a_window_may_shrink_under_what_is_in_flight() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.write(&[b'z'; 8000], Next::Continue);
    assert_eq!(h.take().len(), 8);
    h.inject(&seg(A, 1, 2001, b"").window(1000));
    h.expect(&[]);
    h.write(b"more", Next::Continue);
    h.expect(&[]);
    h.inject(&seg(A, 1, 8001, b"").window(1000));
    h.expect(&["PA 8001+4 1"]);
}

#[test]
fn no_silly_segments() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.inject(&seg(A, 1, 1, b"").window(10_000));
    h.write(&[b'z'; 10_500], Next::Continue);
    assert_eq!(h.take().len(), 10);
    // RFC 9293 §3.8.6.2.1: 100 bytes of window are not worth a segment while 500 wait.
    h.inject(&seg(A, 1, 9001, b"").window(1100));
    h.expect(&[]);
    h.inject(&seg(A, 1, 10_001, b"").window(500));
    h.expect(&["PA 10001+500 1"]);
}

#[test]
fn gaps_are_filled_and_told() {
    let mut h = Harness::open_with(config(), with_sack());
    // RFC 9293 §3.10.7.4 SHLD-31, MAY-13: kept, and acknowledged.
    h.inject(&seg(A, 5, 1, b"5678"));
    let told = h.take();
    assert_eq!(told[0].line(), "A 1+0 1");
    assert_eq!(told[0].options.sack_blocks(), [(SeqNumber(5), SeqNumber(9))]);
    h.inject(&seg(A, 13, 1, b"def"));
    let told = h.take();
    assert_eq!(told[0].options.sack_blocks(), [(SeqNumber(13), SeqNumber(16)), (SeqNumber(5), SeqNumber(9))]);
    h.inject(&seg(F | A, 16, 1, b""));
    assert_eq!(h.app.peer_closed, 0, "a FIN behind a gap waits");
    h.take();
    // Overlaps on both sides.
    h.inject(&seg(A, 1, 1, b"123456"));
    let told = h.take();
    assert_eq!((told.len(), told[0].ack), (1, 9));
    // RFC 2883 §4: what came twice, then what waits behind the next gap.
    assert_eq!(told[0].options.sack_blocks(), [(SeqNumber(5), SeqNumber(7)), (SeqNumber(13), SeqNumber(16))]);
    h.inject(&seg(A, 7, 1, b"789abc"));
    assert_eq!(h.app.seen, b"123456789abcdef");
    assert_eq!(h.app.peer_closed, 1);
    h.expect(&["A 1+0 17", "FA 1+0 17"]);
    h.inject(&seg(A, 17, 2, b""));
    h.assert_empty();
}

#[test]
fn what_came_already_is_acknowledged_and_not_delivered_again() {
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"hello"));
    h.pass(ms(50));
    h.take();
    h.inject(&seg(A, 1, 1, b"hello"));
    h.expect(&["A 1+0 6"]);
    h.inject(&seg(A, 3, 1, b"llo, world"));
    h.expect(&["A 1+0 13"]);
    assert_eq!(h.app.seen, b"hello, world");
}

#[test]
fn nothing_beyond_the_window_is_taken() {
    let mut h = Harness::open(Config { receive_window: 100, ..config() });
    h.inject(&seg(A, 101, 1, b"x"));
    h.expect(&["A 1+0 1"]);
    h.inject(&seg(A, 1, 1, &[b'x'; 150]));
    assert_eq!(h.app.seen.len(), 100);
    h.expect(&["A 1+0 101"]);
    assert_eq!(h.stack.counters().unacceptable, 1);
}

#[test]
fn numbers_wrap() {
    // Choose the clock so that our numbers wrap too.
    let mut probe = Harness::new(config());
    probe.inject(&seg(S, 0, 0, b""));
    let at_first = probe.take()[0].seq;
    let mut h = Harness::new(config());
    let ahead = (u32::MAX - 3).wrapping_sub(at_first);
    h.now = Instant::from_micros(h.now.micros() + u64::from(ahead) * 4);
    h.irs = u32::MAX - 5;
    h.inject(&seg(S, 0, 0, b"").options(mss(1000)));
    h.iss = h.take()[0].seq;
    assert_eq!(h.iss, u32::MAX - 3);
    h.inject(&seg(A, 1, 1, b""));
    h.inject(&seg(A, 8, 1, b"behind"));
    h.expect(&["A 1+0 1"]);
    h.app.reply = vec![b'r'; 3000];
    h.inject(&seg(A, 1, 1, b"request"));
    assert_eq!(h.app.seen, b"requestbehind");
    h.expect(&["A 1+1000 14", "A 1001+1000 14", "PA 2001+1000 14"]);
    h.pass(ms(203));
    h.expect(&["A 1+1000 14"]);
    h.inject(&seg(A, 14, 3001, b""));
    h.pass(ms(5000));
    h.expect(&[]);
}

fn stamped(value: u32) -> Options {
    Options { timestamps: Some(Timestamps { value, echo: 0 }), ..Options::default() }
}

/// RFC 5961 §5: what comes with an acknowledgment that the peer cannot have sent is somebody's guess. Taken
/// for the peer's clock, it would have PAWS refuse all that is the peer's own.
#[test]
fn who_guesses_does_not_set_the_clock_of_the_peer() {
    let mut h = Harness::open_with(config(), Options { mss: Some(1000), ..stamped(500) });
    for ack in [1 + (1 << 20), 1u32.wrapping_sub(1 << 20)] {
        for data in [&b""[..], b"guess"] {
            h.inject(&seg(A, 1, ack, data).options(stamped(1_000_000)));
        }
    }
    h.take();
    h.inject(&seg(A, 1, 1, b"new").options(stamped(510)));
    assert_eq!((h.app.seen.as_slice(), h.stack.counters().paws_rejected), (&b"new"[..], 0));
}

#[test]
fn paws_refuses_old_timestamps() {
    let mut h = Harness::open_with(config(), Options { mss: Some(1000), ..stamped(500) });
    h.inject(&seg(A, 1, 1, b"new").options(stamped(510)));
    assert_eq!(h.app.seen, b"new");
    h.pass(ms(50));
    assert_eq!(h.take()[0].options.timestamps.unwrap().echo, 510);
    h.inject(&seg(A, 4, 1, b"old").options(stamped(509)));
    h.expect(&["A 1+0 4"]);
    h.inject(&seg(A, 4, 1, b"none"));
    h.expect(&[]);
    assert_eq!(h.app.seen, b"new");
    assert_eq!((h.stack.counters().paws_rejected, h.stack.counters().timestamp_missing), (1, 1));
    // RFC 7323 §5.5: after 24 days the rule is no longer safe to apply.
    h.pass(Duration::from_secs(25 * 24 * 3600));
    h.take();
    h.inject(&seg(A, 4, 1, b"late").options(stamped(3)));
    assert_eq!(h.app.seen, b"newlate");
}

#[test]
fn forged_segments_are_challenged() {
    let mut h = Harness::open(config());
    // RFC 5961 §4: a SYN in the window.
    h.inject(&seg(S, 10, 0, b""));
    h.expect(&["A 1+0 1"]);
    // RFC 5961 §3: a RST in the window, but not at its start.
    h.now += ms(500);
    h.inject(&seg(R, 10, 0, b""));
    h.expect(&["A 1+0 1"]);
    // A RST outside of it.
    h.inject(&seg(R, 0, 0, b""));
    h.expect(&[]);
    // RFC 9293 §3.10.7.4 MAY-12, RFC 5961 §5: an acknowledgment of what was never sent, or long ago.
    h.now += ms(500);
    h.inject(&seg(A, 1, 2, b"forged"));
    h.expect(&["A 1+0 1"]);
    h.now += ms(500);
    h.inject(&seg(A, 1, 0u32.wrapping_sub(100_000), b"forged"));
    h.expect(&["A 1+0 1"]);
    assert!(h.app.seen.is_empty() && h.app.ended.is_empty());
    assert_eq!(h.stack.counters().challenge_acks, 4);
    h.inject(&seg(R, 1, 0, b""));
    assert_eq!(h.app.ended, [EndReason::Reset]);
    h.expect(&[]);
    h.assert_empty();
}

#[test]
fn challenges_are_limited() {
    let mut h = Harness::open(Config { challenge_acks_per_second: 1, ..config() });
    for _ in 0..10 {
        h.inject(&seg(S, 10, 0, b""));
        h.now += ms(100);
    }
    // The second that half a second has made possible is one too many for all connections.
    assert_eq!(h.take().len(), 1);
    assert_eq!((h.stack.counters().answers_limited, h.stack.counters().challenge_acks_limited), (8, 1));
}

#[test]
fn a_waiting_application_closes_the_window_and_gets_everything_later() {
    // RFC 9293 §3.8.6.1 MAY-8: for as long as it waits.
    let mut h = Harness::open(Config { receive_window: 4000, ..config() });
    h.inject(&seg(A, 1, 1, b"!wait"));
    for n in 0..4 {
        h.inject(&seg(A, 6 + n * 1000, 1, &[b'w'; 1000]));
    }
    h.pass(ms(100));
    let last = h.take().pop().unwrap();
    assert_eq!((last.ack, last.window), (4001, 0));
    assert_eq!(h.app.seen, b"!wait");
    // A probe is answered, and its data refused.
    h.inject(&seg(A, 4001, 1, b"w"));
    assert_eq!(h.take().pop().unwrap().window, 0);
    h.write(b"done", Next::Continue);
    assert_eq!(h.app.seen.len(), 4000);
    let update = h.take().remove(0);
    assert_eq!((update.payload.as_slice(), update.window), (&b"done"[..], 4000));
}

#[test]
fn a_waiting_application_hears_at_once_that_its_client_left() {
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"!wait"));
    h.inject(&seg(F | A, 6, 1, b""));
    assert_eq!(h.app.peer_closed, 1);
    h.expect(&["FA 1+0 7"]);
    h.inject(&seg(A, 7, 2, b""));
    h.assert_empty();
}

#[test]
fn no_frames_means_later() {
    let mut h = Harness::open_with(config(), mss(1000));
    h.pool.set_limit(2);
    h.write(&[b'z'; 5000], Next::Continue);
    assert_eq!(h.take().len(), 2);
    assert_eq!(h.stack.next_deadline(), Some(h.now));
    h.pool.set_limit(100);
    h.poll();
    assert_eq!(h.take().len(), 3);
    assert!(h.stack.counters().pool_empty > 0);
}

#[test]
fn keepalive_finds_the_dead_and_leaves_the_living() {
    let keepalive = Some(Duration::from_secs(60));
    let mut h = Harness::open(Config { keepalive, keepalive_probes: 2, ..config() });
    h.pass(Duration::from_secs(61));
    // RFC 9293 §3.8.4 MAY-5: a probe.
    h.expect(&["A 0+0 1"]);
    h.inject(&seg(A, 1, 1, b""));
    h.pass(Duration::from_secs(59));
    h.expect(&[]);
    h.pass(Duration::from_secs(300));
    h.expect(&["A 0+0 1", "A 0+0 1", "RA 1+0 1"]);
    assert_eq!(h.app.ended, [EndReason::TimedOut]);
}

#[test]
fn two_that_disagree_do_not_answer_each_other_for_ever() {
    let mut h = Harness::open(config());
    let before = h.now;
    let strange = seg(A, 100_000, 1, b"");
    for _ in 0..1000 {
        h.inject(&strange);
        h.inject(&seg(A, 1, 77_777, b""));
        h.now += Duration::from_millis(1);
    }
    assert_eq!(h.lines(), ["A 1+0 1", "A 1+0 1"], "two in {:?}", h.now.since(before));
    assert_eq!(h.stack.counters().answers_limited, 1998);
    // What has data, or a FIN, is answered each time: its sender waits for it.
    h.inject(&seg(A, 100_000, 1, b"data"));
    h.inject(&seg(A, 100_000, 1, b"data"));
    h.expect(&["A 1+0 1", "A 1+0 1"]);
}

#[test]
fn the_application_is_told_how_much_its_peer_has_not_taken() {
    let mut h = Harness::open(config());
    h.app.reply = alloc::vec![b'r'; 50_000];
    h.inject(&seg(A | P, 1, 1, b"GET").window(2000));
    assert_eq!(h.app.waiting, 0);
    h.inject(&seg(A | P, 4, 1, b"GET").window(2000));
    assert_eq!(h.app.waiting, 50_000, "sent or not");
    h.inject(&seg(A | P, 7, 1001, b"GET").window(2000));
    assert_eq!(h.app.waiting, 49_000);
}

#[test]
fn a_peer_whose_network_moved_is_answered_where_it_repeats_from() {
    use protocol::ethernet::{Header, Mac};
    const MOVED: Mac = Mac([2, 0, 0, 0, 0, 9]);
    let mut h = Harness::open(config());
    h.inject(&seg(A | P, 1, 1, b"PING"));
    h.take();
    // It repeats what we have, since our acknowledgment went to where it is no longer.
    let again = |h: &mut Harness, seq: u32, ack: u32, expected: Mac| {
        let mut frame = h.encode(&seg(A | P, seq, ack, b"PING"));
        frame[6..12].copy_from_slice(&MOVED.0);
        h.put_frame(&frame);
        h.poll();
        // Challenges are limited.
        h.pass(ms(1000));
        let sent = h.take_frames();
        assert_eq!(sent.len(), 1);
        assert_eq!(Header::parse(&sent[0]).unwrap().dst, expected, "sequence {seq}, acknowledgment {ack}");
    };
    // Whoever does not know what we have sent, or what it has sent, cannot turn it away (RFC 5961 §5), neither
    // with old numbers nor with new ones.
    for seq in [1, 5, 100] {
        again(&mut h, seq, 1 + (1 << 20), PEER_MAC);
        again(&mut h, seq, 1u32.wrapping_sub(1 << 20), PEER_MAC);
    }
    again(&mut h, 5 + (1 << 20), 1, PEER_MAC);
    again(&mut h, 5u32.wrapping_sub(1 << 20), 1, PEER_MAC);
    again(&mut h, 1, 1, MOVED);
}
