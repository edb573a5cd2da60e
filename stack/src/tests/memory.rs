//! The memory of received bytes that wait, over all connections; and of connections that do
//! nothing.

use netcore::Duration;

use super::harness::*;
use crate::held::PIECE_OVERHEAD;
use crate::{Config, Next};

const MAX: usize = 20_000;

/// `count` connections from the ports behind [`PEER_PORT`]; what their initial numbers are.
fn opened(config: Config, count: u16) -> (Harness, alloc::vec::Vec<u32>) {
    let mut h = Harness::new(config);
    let mut numbers = alloc::vec::Vec::new();
    for n in 0..count {
        h.peer_port = PEER_PORT + n;
        h.iss = 0;
        h.inject(&seg(S, 0, 0, b""));
        h.iss = h.take()[0].seq;
        numbers.push(h.iss);
        h.inject(&seg(A, 1, 1, b""));
    }
    (h, numbers)
}

fn turn_to(h: &mut Harness, numbers: &[u32], n: u16) {
    h.peer_port = PEER_PORT + n;
    h.iss = numbers[usize::from(n)];
}

fn bounded() -> Config {
    Config { receive_memory_max: MAX, ..config() }
}

#[test]
fn gaps_on_many_connections_take_bounded_memory_and_honest_ones_go_on() {
    let (mut h, numbers) = opened(bounded(), 31);
    for n in 0..30 {
        turn_to(&mut h, &numbers, n);
        h.inject(&seg(A, 101, 1, &[b'x'; 1400]));
        assert!(h.stack.received_waiting() <= MAX);
        assert_eq!(h.take_frames().len(), 1, "the peer learns of the gap");
    }
    let counters = h.stack.counters();
    assert_eq!((counters.out_of_order, counters.out_of_order_no_memory), (13, 17));
    // In order goes on, though with a small window.
    turn_to(&mut h, &numbers, 30);
    let mut seq = 1;
    for _ in 0..60 {
        h.app.reply = b"k".to_vec();
        h.inject(&seg(A | P, seq, 1, &[b'y'; 1400]));
        seq += 1400;
        let answer = h.take();
        assert_eq!((answer.len(), answer[0].ack), (1, seq));
        assert!(answer[0].window >= 2 * 1460 - 1400);
    }
    assert_eq!(h.app.seen.len(), 60 * 1400);
    let window = |h: &mut Harness, seq| {
        h.app.reply = b"k".to_vec();
        h.inject(&seg(A | P, seq, 1, b"?"));
        h.take()[0].window
    };
    assert!(window(&mut h, seq) <= 2 * 1460, "nothing is promised that could not be kept");
    // The gaps are filled: everything is given back, and windows open again.
    for n in 0..13 {
        turn_to(&mut h, &numbers, n);
        h.inject(&seg(A, 1, 1, &[b'z'; 100]));
    }
    assert_eq!(h.stack.received_waiting(), 0);
    h.take_frames();
    turn_to(&mut h, &numbers, 30);
    assert_eq!(usize::from(window(&mut h, seq + 1)), MAX);
}

#[test]
fn small_pieces_count_for_what_keeping_them_costs() {
    let (mut h, _) = opened(bounded(), 1);
    for n in 0..512 {
        h.inject(&seg(A, 3 + 2 * n, 1, b"x"));
    }
    let kept = h.stack.counters().out_of_order as usize;
    assert!((MAX / (PIECE_OVERHEAD + 8) - 1..=MAX / PIECE_OVERHEAD).contains(&kept), "{kept}");
    assert!(h.stack.received_waiting() <= MAX);
    h.inject(&seg(R, 1, 0, b""));
    assert_eq!(h.stack.received_waiting(), 0, "an end gives everything back");
}

#[test]
fn what_a_waiting_application_does_not_want_is_bounded_and_comes_again() {
    let (mut h, numbers) = opened(bounded(), 2);
    h.inject(&seg(A | P, 1, 1, b"!wait"));
    let mut seq = 6;
    while h.stack.counters().held_no_memory == 0 {
        h.inject(&seg(A, seq, 1, &[b'x'; 1000]));
        seq += 1000;
        assert!(seq < 100_000 && h.stack.received_waiting() <= 2 * MAX);
    }
    h.pass(Duration::from_secs(1));
    let acked = h.take().last().unwrap().ack;
    assert_eq!(acked, seq - 1000, "the last one was not taken");
    // Others still can be in order.
    turn_to(&mut h, &numbers, 0);
    h.inject(&seg(A | P, 1, 1, b"hello"));
    assert!(h.app.seen.ends_with(b"hello"));
    // Wanted again: what was kept is read, what was dropped is sent again.
    let waiting = h.app.opened[1];
    h.app.resumed = Some((b"go".to_vec(), Next::Continue));
    h.app.wake.push(waiting);
    h.poll();
    turn_to(&mut h, &numbers, 1);
    h.inject(&seg(A, seq - 1000, 3, &[b'x'; 1000]));
    assert_eq!(h.app.seen.len(), 5 + 5 + (seq as usize - 6));
    assert_eq!(h.stack.received_waiting(), 0);
}

#[test]
fn a_close_gives_back_what_waited() {
    let (mut h, _) = opened(bounded(), 1);
    h.inject(&seg(A | P, 1, 1, b"!wait"));
    h.inject(&seg(A, 6, 1, &[b'x'; 1000]));
    assert!(h.stack.received_waiting() >= 1000);
    let id = h.app.opened[0];
    assert!(h.stack.close(id));
    h.poll();
    assert_eq!(h.stack.received_waiting(), 0);
}

#[test]
fn idle_connections_have_no_memory_beside_their_slots() {
    let (mut h, numbers) = opened(config(), 1100);
    for n in 0..1100 {
        turn_to(&mut h, &numbers, n);
        h.app.reply = alloc::vec![b'r'; 300];
        h.inject(&seg(A | P, 1, 1, b"GET"));
        h.inject(&seg(A, 4, 301, b""));
    }
    let memory = h.stack.memory();
    assert_eq!(memory.waiting, 0);
    assert!(memory.spare < 8192, "one reply after the other needs one run: {memory:?}");
    let slots = 2 * 1022 * size_of::<crate::tcb::Connection<u32>>();
    assert!((slots..slots + 16_384).contains(&memory.slots), "{memory:?}");
    assert!(memory.table <= 1100 * 24 && memory.timers <= 16 * 2048, "{memory:?}");
}

#[test]
fn free_slots_keep_little_of_what_they_had() {
    const COUNT: u16 = 10_000;
    const REPLY: usize = 3000;
    let (mut h, numbers) = opened(config(), COUNT);
    for n in 0..COUNT {
        turn_to(&mut h, &numbers, n);
        h.app.reply = alloc::vec![b'r'; REPLY];
        h.inject(&seg(A | P, 1, 1, b"GET"));
    }
    assert!(h.stack.memory().waiting >= REPLY * usize::from(COUNT), "{:?}", h.stack.memory());
    for n in 0..COUNT {
        turn_to(&mut h, &numbers, n);
        h.inject(&seg(R, 4, 0, b""));
    }
    let memory = h.stack.memory();
    assert_eq!((h.stack.gauges().connections(), memory.waiting), (0, 0));
    // 4096 slots keep theirs, and as many are kept to be lent.
    assert!(memory.spare < 8600 * REPLY, "{memory:?}");
}
