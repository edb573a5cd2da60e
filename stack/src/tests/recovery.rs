//! What packet scripts cannot say of loss recovery: timestamps of segments that came before.

use alloc::string::String;
use alloc::vec::Vec;

use netcore::Duration;
use protocol::ipv4;
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

use super::harness::{A, Harness, S, Seg, config, seg};
use crate::Next;

const E: Flags = Flags::ECE;
const C: Flags = Flags::CWR;
/// The peer's clock stands still.
const PEER_TS: u32 = 500;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Timestamps, segments of 1000 bytes, and SACK or not.
fn open(sack_permitted: bool) -> Harness {
    let timestamps = Some(Timestamps { value: PEER_TS, echo: 0 });
    Harness::open_with(
        config(),
        Options { mss: Some(1012), sack_permitted, timestamps, ..Options::default() },
    )
}

/// An acknowledgment that echoes the timestamp of `answered`, with one SACK block or none.
fn ack(ack: u32, answered: &Seg, block: Option<(u32, u32)>) -> Seg {
    let echo = answered.options.timestamps.unwrap().value;
    let timestamps = Some(Timestamps { value: PEER_TS, echo });
    let mut options = Options { timestamps, ..Options::default() };
    if let Some((left, right)) = block {
        options.sack_count = 1;
        options.sack[0] = (SeqNumber(left), SeqNumber(right));
    }
    seg(A, 1, ack, b"").options(options)
}

/// Where the segments begin that were sent.
fn starts(segs: &[Seg]) -> Vec<u32> {
    segs.iter().map(|seg| seg.seq).collect()
}

/// Ten segments go out, and the timer expires; returns the first and its repetition.
fn time_out(h: &mut Harness) -> (Seg, Seg) {
    h.write(&[b'z'; 10_000], Next::Continue);
    let sent = h.take();
    assert_eq!(sent.len(), 10);
    h.pass(ms(203));
    let again = h.take();
    assert_eq!(starts(&again), [1]);
    (sent[0].clone(), again[0].clone())
}

#[test]
fn a_spurious_timeout_is_taken_back() {
    // RFC 3522, RFC 4015: the acknowledgment answers the original, so nothing was lost.
    let mut h = open(false);
    let (original, _) = time_out(&mut h);
    h.inject(&ack(2001, &original, None));
    h.expect(&[]);
    assert_eq!(h.stack.counters().spurious_timeouts, 1);
    h.inject(&ack(10_001, &original, None));
    h.write(&[b'z'; 30_000], Next::Continue);
    assert_eq!(h.take().len(), 10, "the window is as it was");
}

#[test]
fn a_real_timeout_is_not_taken_back() {
    let mut h = open(false);
    let (_, repetition) = time_out(&mut h);
    h.inject(&ack(1001, &repetition, None));
    assert_eq!(starts(&h.take()), [1001, 2001], "slow start");
    assert_eq!(h.stack.counters().spurious_timeouts, 0);
    h.inject(&ack(10_001, &repetition, None));
    h.write(&[b'z'; 30_000], Next::Continue);
    assert!(h.take().len() < 6);
}

#[test]
fn a_recovery_that_reordering_caused_is_taken_back() {
    let mut h = open(true);
    h.pass(ms(1));
    h.write(&[b'z'; 10_000], Next::Continue);
    let sent = h.take();
    h.now += ms(1);
    h.inject(&ack(1, &sent[0], Some((1001, 5001))));
    assert_eq!(starts(&h.take()), [1]);
    assert_eq!(h.stack.counters().fast_retransmits, 1);
    h.inject(&ack(5001, &sent[0], None));
    assert_eq!(h.stack.counters().spurious_recoveries, 1);
    h.inject(&ack(10_001, &sent[0], None));
    h.write(&[b'z'; 30_000], Next::Continue);
    assert_eq!(h.take().len(), 10, "the window is as it was");
}

#[test]
fn after_reordering_was_seen_three_segments_are_no_loss_yet() {
    // RFC 8985 §6.2 step 4: from then on only time decides.
    let mut h = open(true);
    h.write(&[b'z'; 10_000], Next::Continue);
    let sent = h.take();
    h.now += ms(1);
    h.inject(&ack(1, &sent[0], Some((1001, 2001))));
    h.inject(&ack(2001, &sent[0], None));
    h.inject(&ack(2001, &sent[0], Some((3001, 9001))));
    h.expect(&[]);
    h.pass(ms(2));
    assert_eq!(starts(&h.take()), [2001]);
}

/// Injects a segment that a router has marked.
fn inject_marked(h: &mut Harness, seg: &Seg) {
    let mut frame = h.encode(seg);
    let ip = ipv4::Header::parse(&frame[14..]).unwrap();
    ipv4::Header { tos: 0b11, ..ip }.emit(&mut frame[14..]);
    h.put_frame(&frame);
    h.poll();
}

#[test]
fn congestion_marks_are_echoed_until_the_peer_has_reduced() {
    // RFC 3168 §6.1.3
    let mut h = Harness::new(config());
    h.inject(&seg(S | E | C, 0, 0, b""));
    let answer = h.take();
    assert_eq!(answer[0].flags, S | A | E);
    h.iss = answer[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    inject_marked(&mut h, &seg(A, 1, 1, b"abc"));
    assert_eq!(h.take()[0].flags, A | E, "at once");
    h.inject(&seg(A, 4, 1, b"def"));
    h.pass(ms(50));
    assert_eq!(h.take()[0].flags, A | E, "until the peer answers");
    h.inject(&seg(A | C, 7, 1, b"ghi"));
    h.pass(ms(50));
    assert_eq!(h.take()[0].flags, A);
    assert_eq!((h.stack.counters().congestion_marks, h.app.seen.len()), (1, 9));
}

#[test]
fn only_new_data_can_be_marked() {
    // RFC 3168 §6.1.4, §6.1.5
    let mut h = Harness::new(config());
    h.inject(&seg(S | E | C, 0, 0, b"").options(Options { mss: Some(1000), ..Options::default() }));
    h.iss = h.take()[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    let field = |h: &mut Harness| -> Vec<u8> { h.take_frames().iter().map(|frame| frame[15] & 3).collect() };
    h.write(&[b'z'; 2000], Next::Continue);
    assert_eq!(field(&mut h), [0b10, 0b10]);
    h.pass(ms(203));
    assert_eq!(field(&mut h), [0], "sent again");
    h.inject(&seg(A, 1, 2001, b"x"));
    h.pass(ms(50));
    assert_eq!(field(&mut h), [0], "an acknowledgment");
    let mut without = Harness::open(config());
    without.write(b"hello", Next::Continue);
    assert_eq!(field(&mut without), [0], "nothing was agreed on");
}

#[test]
fn the_echo_after_a_filled_gap_is_of_what_filled_it() {
    // RFC 7323 §4.3 (2): the duplicate acknowledgment moves Last.ACK.sent. An older echo would
    // make the peer believe that its retransmission was needless.
    let mut h = open(false);
    let data = |seq: u32, value: u32, payload: &[u8]| {
        let timestamps = Some(Timestamps { value, echo: 0 });
        seg(A, seq, 1, payload).options(Options { timestamps, ..Options::default() })
    };
    h.inject(&data(1, PEER_TS + 1, b"abc"));
    h.inject(&data(7, PEER_TS + 2, b"ghi"));
    let answer = h.take();
    assert_eq!((answer[0].ack, answer[0].options.timestamps.unwrap().echo), (4, PEER_TS + 1));
    h.inject(&data(4, PEER_TS + 3, b"def"));
    let answer = h.take();
    assert_eq!((answer[0].ack, answer[0].options.timestamps.unwrap().echo), (10, PEER_TS + 3));
}

#[test]
fn the_log_is_not_made_for_one_round_in_flight() {
    let mut h = open(true);
    let has_log = |h: &mut Harness| {
        let id = h.app.opened[0];
        h.stack.connections.by_id(id).unwrap().recovery.is_some()
    };
    for n in 0..3 {
        h.write(&[b'z'; 5000], Next::Continue);
        let sent = h.take();
        assert_eq!(sent.len(), 5);
        h.now += ms(1);
        h.inject(&ack(3001 + n * 5000, &sent[0], None));
        h.inject(&ack(5001 + n * 5000, &sent[0], None));
        assert!(!has_log(&mut h));
    }
    h.write(b"one", Next::Continue);
    h.write(b"two", Next::Continue);
    assert!(!has_log(&mut h), "sent at the same time");
    h.now += ms(1);
    h.write(b"three", Next::Continue);
    assert!(has_log(&mut h));
    let lines: Vec<String> = h.lines();
    assert_eq!(lines.len(), 3);
}
