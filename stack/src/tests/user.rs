//! What passes between the application and the stack: choices for one connection, reports, urgent
//! data, input that nobody reads.

use core::net::SocketAddrV4;

use netcore::Duration;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::{arp, ipv4};

use super::harness::*;
use crate::{Changeable, Config, CongestionControl, EndReason, KEEPALIVE_IDLE_DEFAULT, Next, Report};

const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn keepalive_is_switched_for_one_connection() {
    let mut h = Harness::open(config());
    let id = h.app.opened[0];
    // RFC 9293 §3.8.4 MUST-25: off unless asked for.
    h.pass(HOUR.times(30));
    h.expect(&[]);
    // RFC 9293 §3.8.4 MUST-24, MUST-28: on, after two hours since nobody says how long.
    assert!(h.stack.set_keepalive(id, true));
    h.pass(KEEPALIVE_IDLE_DEFAULT - Duration::from_secs(1));
    h.expect(&[]);
    h.pass(Duration::from_secs(2));
    // RFC 9293 §3.8.4 SHLD-12: without data.
    h.expect(&["A 0+0 1"]);
    h.inject(&seg(A, 1, 1, b""));
    assert!(h.stack.set_keepalive(id, false));
    h.pass(HOUR.times(30));
    h.expect(&[]);
    assert!(h.app.ended.is_empty());
    // RFC 9293 §3.8.4 MUST-27: the interval is configured; and off for one of many.
    let mut h = Harness::open(Config { keepalive: Some(Duration::from_secs(9)), ..config() });
    h.pass(Duration::from_secs(10));
    h.expect(&["A 0+0 1"]);
    h.inject(&seg(A, 1, 1, b""));
    let id = h.app.opened[0];
    assert!(h.stack.set_keepalive(id, false));
    h.pass(HOUR);
    h.expect(&[]);
}

#[test]
fn keepalive_waits_for_silence_and_forgives_lost_answers() {
    let keepalive = Some(Duration::from_secs(60));
    let mut h = Harness::open(Config { keepalive, keepalive_probes: 3, ..config() });
    // RFC 9293 §3.8.4 MUST-26: not while something is in flight, nor soon after something came.
    h.write(b"x", Next::Continue);
    h.take();
    h.pass(Duration::from_secs(90));
    assert!(h.take().iter().all(|sent| sent.payload == b"x"), "retransmissions and nothing else");
    h.inject(&seg(A, 1, 2, b""));
    h.pass(Duration::from_secs(59));
    h.expect(&[]);
    h.inject(&seg(A, 1, 2, b"y"));
    h.take();
    h.pass(Duration::from_secs(59));
    h.take();
    // RFC 9293 §3.8.4 MUST-29: two probes are lost, the third is answered.
    h.pass(Duration::from_secs(2 + 150));
    h.expect(&["A 1+0 2", "A 1+0 2", "A 1+0 2"]);
    h.inject(&seg(A, 2, 2, b""));
    h.pass(Duration::from_secs(59));
    h.expect(&[]);
    assert!(h.app.ended.is_empty());
}

#[test]
fn the_limit_of_retransmissions_is_set_for_one_connection() {
    // RFC 9293 §3.8.3 MUST-21: two instead of fifteen.
    let mut h = Harness::open(config());
    let id = h.app.opened[0];
    assert!(h.stack.set_retransmissions_max(id, 2));
    h.write(b"x", Next::Continue);
    h.pass(Duration::from_secs(10));
    h.expect(&["PA 1+1 1", "PA 1+1 1", "PA 1+1 1", "RA 2+0 1"]);
    assert_eq!(h.app.ended, [EndReason::TimedOut]);
    assert!(!h.stack.set_retransmissions_max(id, 2) && !h.stack.set_keepalive(id, true));
}

#[test]
fn usually_a_silent_peer_is_given_more_than_100_seconds() {
    // RFC 9293 §3.8.3 SHLD-11: also with the shortest timeout.
    let mut h = Harness::open(config());
    h.write(b"x", Next::Continue);
    h.pass(Duration::from_secs(101));
    assert!(h.app.ended.is_empty());
}

#[test]
fn time_to_live_and_differentiated_services_are_the_applications() {
    let mut h = Harness::open(Config { ttl: 33, diffserv: 0b1010_1001, ..config() });
    let sent = |h: &mut Harness| {
        let frames = h.take_frames();
        let ip = ipv4::Header::parse(&frames[0][14..]).unwrap();
        (ip.ttl, ip.tos)
    };
    h.write(b"x", Next::Continue);
    // RFC 9293 §3.9.2 MUST-49: as configured. ECN's bits are not the application's.
    assert_eq!(sent(&mut h), (33, 0b1010_1000));
    // RFC 9293 §3.9.1.9 MUST-48, SHLD-21, SHLD-22: changed while the connection lives, and sent.
    let id = h.app.opened[0];
    assert!(h.stack.set_diffserv(id, 0b0100_1011));
    h.write(b"y", Next::Continue);
    assert_eq!(sent(&mut h), (33, 0b0100_1000));
    h.inject(&seg(A, 1, 3, b""));
    h.inject(&seg(A, 1, 3, b"z"));
    h.pass(Duration::from_millis(50));
    assert_eq!(sent(&mut h), (33, 0b0100_1000));
    h.stack.abort(&mut h.app, id);
    h.poll();
    assert_eq!(sent(&mut h).0, 33);
    assert!(!h.stack.set_diffserv(id, 0));
}

#[test]
fn what_can_change_changes_while_connections_live() {
    let mut h = Harness::open(config());
    let to = Changeable {
        keepalive: None,
        user_timeout: Some(Duration::from_secs(2)),
        congestion: CongestionControl::NewReno,
        nagle: true,
        ttl: 9,
    };
    h.stack.change(to);
    h.write(b"x", Next::Continue);
    // Nagle's algorithm is for those who come afterwards.
    h.write(b"y", Next::Continue);
    let frames = h.take_frames();
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|frame| ipv4::Header::parse(&frame[14..]).unwrap().ttl == 9));
    h.pass(Duration::from_millis(1900));
    assert!(h.app.ended.is_empty());
    h.pass(Duration::from_millis(200));
    assert_eq!(h.app.ended.len(), 1);
}

#[test]
fn a_peer_that_does_not_answer_is_reported_before_it_is_given_up() {
    let mut h = Harness::open(config());
    h.write(b"x", Next::Continue);
    // RFC 9293 §3.8.3 SHLD-9, SHLD-10: not for one or two lost segments.
    h.pass(Duration::from_millis(203 + 402));
    assert_eq!((h.take().len(), h.app.reports.len()), (3, 0));
    // RFC 9293 §3.9.1.8 MUST-47: the third retransmission is a soft error.
    h.pass(Duration::from_millis(802));
    assert_eq!(h.app.reports, [Report::NoAnswer]);
    assert!(h.app.ended.is_empty());
    h.pass(Duration::from_secs(20));
    assert_eq!(h.app.reports.len(), 1, "once is enough");
    h.inject(&seg(A, 1, 2, b""));
    h.take();
    // RFC 9293 §3.8.1 MUST-18: the timeout stays as long as it was until something is measured.
    h.write(b"y", Next::Continue);
    h.pass(Duration::from_secs(200));
    assert_eq!(h.app.reports, [Report::NoAnswer; 2]);
}

/// The neighbour says that it is at `mac`.
pub(super) fn tell_neighbour(h: &mut Harness, mac: Mac) {
    let mut reply = [0; 42];
    ethernet::Header { dst: OUR_MAC, src: mac, ether_type: EtherType::Arp }.emit(&mut reply);
    arp::Packet {
        operation: arp::Operation::Reply,
        sender_mac: mac,
        sender_addr: PEER,
        target_mac: OUR_MAC,
        target_addr: US,
    }
    .emit(&mut reply[14..]);
    h.put_frame(&reply);
    h.poll();
}

#[test]
fn a_way_that_leads_nowhere_is_looked_for_anew() {
    // RFC 9293 §3.8.3 MUST-20: at R1 IP is told; here it asks for the neighbour once more.
    let other = Mac([2, 0, 0, 0, 0, 77]);
    let mut h = Harness::new(config());
    h.peer_port = 7000;
    h.our_port = 50_000;
    h.stack.connect_from(50_000, SocketAddrV4::new(PEER, 7000), h.now).unwrap();
    h.poll();
    tell_neighbour(&mut h, PEER_MAC);
    let frames = h.take_frames();
    assert_eq!(frames.len(), 2, "the question and the SYN");
    assert_eq!(frames[1][..6], PEER_MAC.0);
    h.pass(Duration::from_millis(1000 + 2000 + 10));
    let frames = h.take_frames();
    assert!(frames.iter().all(|frame| frame[..6] == PEER_MAC.0), "two SYNs");
    h.pass(Duration::from_millis(4000));
    let frames = h.take_frames();
    let asked: alloc::vec::Vec<_> = frames.iter().filter(|frame| frame[12..14] == [8, 6]).collect();
    assert_eq!((frames.len(), asked.len()), (2, 1), "the third SYN again, and the question");
    tell_neighbour(&mut h, other);
    h.pass(Duration::from_millis(8000));
    let frames = h.take_frames();
    assert_eq!((frames.len(), &frames[0][..6]), (1, &other.0[..]));
    assert_eq!(h.stack.counters().retransmissions_doubted, 1);
}

#[test]
fn urgent_data_is_reported_and_ordinary() {
    let mut h = Harness::open(config());
    let id = h.app.opened[0];
    // RFC 9293 §3.8.5 MUST-30, MUST-62: the pointer names the byte behind the urgent ones, so
    // three of these are urgent; all are part of the stream.
    h.inject(&seg(A, 1, 1, b"urgent").urgent(3));
    assert_eq!(h.app.reports, [Report::Urgent { ahead: 3 }]);
    assert_eq!((h.app.seen.as_slice(), h.stack.urgent_ahead(id)), (&b"urgent"[..], 0));
    // RFC 9293 §3.8.5 MUST-31, MUST-32: announced long before it comes, then moved on; told each
    // time, but not for a pointer that stands still or goes back.
    h.inject(&seg(A, 7, 1, b"a").urgent(60_000));
    h.inject(&seg(A, 8, 1, b"b").urgent(59_999));
    h.inject(&seg(A, 9, 1, b"c").urgent(10));
    h.inject(&seg(A, 10, 1, b"d").urgent(60_000));
    let told =
        [Report::Urgent { ahead: 3 }, Report::Urgent { ahead: 60_000 }, Report::Urgent { ahead: 60_000 }];
    assert_eq!(h.app.reports, told);
    // RFC 9293 §3.8.5 MUST-33: how much is still to come can be asked.
    assert_eq!(h.stack.urgent_ahead(id), 59_999);
    for n in 0..50u32 {
        h.inject(&seg(A, 11 + n * 1200, 1, &[b'u'; 1200]));
        h.take();
    }
    assert_eq!(h.stack.urgent_ahead(id), 0);
    assert_eq!(h.app.seen.len(), 10 + 60_000);
    // An old segment says nothing.
    h.inject(&seg(A, 1, 1, b"urgent").urgent(3));
    assert_eq!(h.app.reports.len(), 3);
    assert_eq!((h.stack.counters().urgent_received, h.stack.counters().urgent_reported), (5, 3));
}

#[test]
fn urgent_pointers_and_resets_pass_a_closed_window() {
    let mut h = Harness::open(Config { receive_window: 1000, ..config() });
    let id = h.app.opened[0];
    h.inject(&seg(A, 1, 1, b"!wait"));
    h.inject(&seg(A, 6, 1, &[b'x'; 995]));
    h.pass(Duration::from_millis(50));
    assert_eq!(h.take().pop().unwrap().window, 0);
    // RFC 9293 §3.4 MUST-66: the byte has no room, its pointer counts; and so does a RST.
    h.inject(&seg(A, 1001, 1, b"u").urgent(1));
    assert_eq!(h.app.reports, [Report::Urgent { ahead: 996 }]);
    assert_eq!((h.app.seen.as_slice(), h.stack.urgent_ahead(id)), (&b"!wait"[..], 996));
    h.take();
    h.inject(&seg(R, 1001, 0, b""));
    assert_eq!(h.app.ended, [EndReason::Reset]);
    h.assert_empty();
}

#[test]
fn closing_without_reading_everything_ends_with_a_reset() {
    // RFC 9293 §3.6.1 SHLD-3: what was written arrives; then the peer learns that not all it sent
    // was read.
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"!wait"));
    h.inject(&seg(A, 6, 1, b"unread"));
    h.write(b"killed", Next::Close);
    h.expect(&["PA 1+6 12"]);
    h.inject(&seg(A, 12, 7, b""));
    h.expect(&["RA 7+0 12"]);
    assert_eq!(h.app.ended, [EndReason::Aborted]);
    assert_eq!(h.stack.counters().connections_unread, 1);
    h.assert_empty();
    // With nothing in flight, at once.
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"!wait"));
    h.inject(&seg(A, 6, 1, b"unread"));
    h.write(b"", Next::Close);
    h.expect(&["RA 1+0 12"]);
    h.assert_empty();
    // New data behind the close, while the reply is still on its way out.
    let mut h = Harness::open(config());
    h.inject(&seg(A, 1, 1, b"").window(600));
    h.write(&[b'z'; 1000], Next::Close);
    h.expect(&["A 1+536 1"]);
    h.inject(&seg(A, 1, 1, b"more").window(600));
    h.inject(&seg(A, 5, 537, b"").window(600));
    h.pass(Duration::from_millis(50));
    h.expect(&["PA 537+464 5"]);
    h.inject(&seg(A, 5, 1001, b"").window(600));
    h.expect(&["RA 1001+0 5"]);
    assert!(h.app.seen.is_empty());
    h.assert_empty();
}

#[test]
fn an_acknowledgment_never_waits_for_half_a_second() {
    // RFC 9293 §3.8.6.3 MUST-40: whatever is configured.
    let mut h = Harness::open(Config { delayed_ack: Duration::from_secs(10), ..config() });
    h.inject(&seg(A, 1, 1, b"x"));
    // RFC 9293 §3.8.6.3 SHLD-18: it waits.
    h.expect(&[]);
    h.pass(Duration::from_millis(499));
    h.expect(&["A 1+0 2"]);
}

#[test]
fn small_segments_do_not_move_the_window_by_small_steps() {
    // RFC 9293 §3.8.6.2.2 MUST-39: the right edge stands until half of the buffer is free again.
    let mut h = Harness::open(Config { receive_window: 1000, ..config() });
    let mut edges = alloc::vec::Vec::new();
    for n in 0..20u32 {
        h.app.reply = b"r".to_vec();
        h.inject(&seg(A, 1 + n * 50, 1 + n, &[b'x'; 50]));
        let sent = h.take().remove(0);
        edges.push(sent.ack + u32::from(sent.window));
    }
    let mut expected = alloc::vec![1001; 9];
    expected.extend([1501; 10]);
    expected.push(2001);
    assert_eq!(edges, expected);
}

#[test]
fn a_scaled_window_is_never_taken_back() {
    // RFC 9293 §3.8.6 SHLD-14, RFC 7323 §2.4: the edge that the peer computes from a field in
    // units of 32 bytes does not go back either.
    let options = protocol::tcp::Options { window_scale: Some(7), ..Default::default() };
    let mut h = Harness::open_with(config(), options);
    let mut edge = 0;
    for n in 0..400u32 {
        h.app.reply = b"r".to_vec();
        h.inject(&seg(A, 1 + n * 7, 1 + n, b"1234567"));
        let sent = h.take().remove(0);
        let next = sent.ack + (u32::from(sent.window) << 5);
        assert!(next >= edge, "{next} after {edge}");
        edge = next;
    }
}
