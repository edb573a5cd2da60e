//! Opening: passive, active, both at once; refusals; the backlog; options.

use core::net::SocketAddrV4;

use netcore::{Duration, Instant};
use protocol::tcp::{Options, Timestamps};

use super::harness::*;
use crate::{Config, ConnectError, EndReason, ListenError, State};

#[test]
fn passive_open_then_request_and_reply_in_one_segment() {
    let mut h = Harness::open(config());
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);
    h.app.reply = b"+PONG\r\n".to_vec();
    h.inject(&seg(A | P, 1, 1, b"PING\r\n"));
    assert_eq!(h.app.seen, b"PING\r\n");
    // RFC 9293 §3.8.6.3: the reply carries the acknowledgment, no other is sent.
    h.expect(&["PA 1+7 7"]);
    h.inject(&seg(A, 7, 8, b""));
    h.pass(Duration::from_secs(5));
    h.expect(&[]);
    assert_eq!(h.stack.counters().segments_predicted, 2);
}

#[test]
fn syn_ack_has_the_options_that_the_syn_had() {
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    let plain = h.take().remove(0);
    assert_eq!(plain.flags, S | A);
    assert_eq!(plain.ack, 1);
    assert_eq!(plain.options, Options { mss: Some(1460), ..Options::default() });
    let mut h = Harness::new(config());
    let timestamps = Some(Timestamps { value: 77, echo: 0 });
    let all = Options {
        mss: Some(1000),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps,
        ..Options::default()
    };
    h.inject(&seg(S, 0, 0, b"").options(all));
    let full = h.take().remove(0).options;
    assert_eq!((full.mss, full.window_scale, full.sack_permitted), (Some(1460), Some(5), true));
    assert_eq!(full.timestamps.unwrap().echo, 77);
}

#[test]
fn the_scaled_window_is_told_with_the_reply_and_not_by_itself() {
    let options = Options { window_scale: Some(7), ..Options::default() };
    // `open_with` sees to it that nothing follows the handshake.
    let mut h = Harness::open_with(config(), options);
    h.app.reply = b"+PONG\r\n".to_vec();
    h.inject(&seg(A | P, 1, 1, b"PING\r\n"));
    let reply = h.take();
    assert_eq!(reply.len(), 1);
    assert_eq!(u32::from(reply[0].window) << 5, 1 << 20);
}

#[test]
fn syn_ack_is_sent_again_and_given_up() {
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.pass(Duration::from_millis(1100));
    h.expect(&["SA 0+0 1"]);
    // The peer's SYN again makes us answer at once.
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["SA 0+0 1"]);
    h.pass(Duration::from_secs(400));
    let last = h.lines();
    assert_eq!(last.len(), 7, "six more SYN-ACKs and the reset: {last:?}");
    assert_eq!(last[6], "RA 1+0 1");
    assert_eq!(h.stack.counters().syn_received_reset, 1);
    h.assert_empty();
}

#[test]
fn the_backlog_is_bounded() {
    let mut h = Harness::new(Config { backlog_max: 2, ..config() });
    for port in 0..5 {
        h.peer_port = 50_000 + port;
        h.inject(&seg(S, 0, 0, b""));
        assert_eq!(h.take().len(), 1);
    }
    assert_eq!(h.stack.counters().cookies_sent, 3);
    assert_eq!(h.stack.gauges().half_open(), 2);
}

#[test]
fn a_full_table_refuses() {
    let mut h = Harness::new(Config { connections_max: 1, ..config() });
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    h.peer_port += 1;
    h.iss = 0;
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["RA 0+0 1"]);
    assert_eq!(h.stack.counters().connections_full, 1);
}

#[test]
fn nobody_there_is_answered_with_the_right_reset() {
    let mut h = Harness::new(config());
    h.our_port = 1;
    // RFC 9293 §3.10.7.1
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["RA 0+0 1"]);
    h.inject(&seg(A, 5, 77, b"abc"));
    h.expect(&["R 77+0 0"]);
    h.inject(&seg(S | F, 5, 0, b"abc"));
    h.expect(&["RA 0+0 10"]);
    h.inject(&seg(R, 5, 0, b""));
    h.inject(&seg(R | A, 5, 77, b""));
    h.expect(&[]);
    h.our_port = PORT;
    h.inject(&seg(A, 5, 77, b""));
    h.expect(&["R 77+0 0"]);
    h.inject(&seg(S | A, 5, 77, b""));
    h.expect(&["R 77+0 0"]);
    assert_eq!(h.stack.counters().closed_port, 7);
}

#[test]
fn a_wrong_ack_of_the_syn_ack_is_reset_and_the_handshake_goes_on() {
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.inject(&seg(A, 1, 2, b""));
    h.expect(&["R 2+0 0"]);
    h.inject(&seg(A, 1, 0, b""));
    h.expect(&["R 0+0 0"]);
    h.inject(&seg(A, 1, 1, b""));
    assert_eq!(h.app.opened.len(), 1);
}

#[test]
fn a_reset_ends_a_half_open_connection_silently() {
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.inject(&seg(R, 1, 0, b""));
    h.expect(&[]);
    h.assert_empty();
    assert!(h.app.ended.is_empty());
}

#[test]
fn refusal_sends_its_greeting_and_closes() {
    let mut h = Harness::new(config());
    h.app.refuse = true;
    h.app.greeting = b"-ERR max number of clients reached\r\n".to_vec();
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    h.expect(&["FPA 1+36 1"]);
    h.inject(&seg(F | A, 1, 38, b""));
    h.expect(&["A 38+0 2"]);
    h.assert_empty();
}

#[test]
fn data_with_the_last_ack_of_the_handshake() {
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.app.reply = b"ok".to_vec();
    h.inject(&seg(A | P, 1, 1, b"hello"));
    h.expect(&["PA 1+2 6"]);
}

/// Sends a SYN to a neighbour that answers ARP; returns its frame.
pub(super) fn active(h: &mut Harness) -> alloc::vec::Vec<u8> {
    let remote = SocketAddrV4::new(PEER, 7000);
    h.peer_port = 7000;
    h.our_port = 50_000;
    h.stack.connect_from(50_000, remote, h.now).unwrap();
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1, "the neighbour has to be asked for first");
    let asked = protocol::arp::Packet::parse(&frames[0][14..]).unwrap();
    assert_eq!(asked.target_addr, PEER);
    let mut reply = [0; 42];
    protocol::ethernet::Header {
        dst: OUR_MAC,
        src: PEER_MAC,
        ether_type: protocol::ethernet::EtherType::Arp,
    }
    .emit(&mut reply);
    protocol::arp::Packet {
        operation: protocol::arp::Operation::Reply,
        sender_mac: PEER_MAC,
        sender_addr: PEER,
        target_mac: OUR_MAC,
        target_addr: US,
    }
    .emit(&mut reply[14..]);
    h.put_frame(&reply);
    h.poll();
    let frames = h.take_frames();
    assert_eq!(frames.len(), 1);
    let syn = h.decode(&frames[0][14..], true);
    assert_eq!(syn.flags, S);
    h.iss = syn.seq;
    frames[0].clone()
}

#[test]
fn active_open() {
    let mut h = Harness::new(config());
    active(&mut h);
    h.inject(&seg(S | A, 0, 1, b"").options(Options { mss: Some(1460), ..Options::default() }));
    h.expect(&["A 1+0 1"]);
    assert_eq!(h.app.opened.len(), 1);
    assert_eq!(h.stack.counters().connections_opened, 1);
    let remote = SocketAddrV4::new(PEER, 7000);
    assert_eq!(h.stack.connect_from(50_000, remote, h.now), Err(ConnectError::InUse(50_000)));
    assert!(h.stack.connect(remote, h.now).is_ok());
    let group = SocketAddrV4::new("224.0.0.1".parse().unwrap(), 1);
    assert!(matches!(h.stack.connect(group, h.now), Err(ConnectError::BadAddress(_))));
    let far = SocketAddrV4::new("203.0.113.1".parse().unwrap(), 1);
    assert!(matches!(h.stack.connect(far, h.now), Err(ConnectError::NoRoute(_))));
    assert_eq!(h.stack.listen(PORT, crate::AcceptPolicy::Immediate), Err(ListenError::InUse(PORT)));
}

#[test]
fn active_open_refused_and_unanswered() {
    let mut h = Harness::new(config());
    active(&mut h);
    // RFC 9293 §3.10.7.3: a RST without the right ACK is nothing.
    h.inject(&seg(R, 0, 0, b""));
    h.inject(&seg(R | A, 0, 0, b""));
    assert_eq!(h.stack.gauges().in_state(State::SynSent), 1);
    h.inject(&seg(S | A, 0, 9, b""));
    h.expect(&["R 9+0 0"]);
    h.inject(&seg(R | A, 0, 1, b""));
    h.assert_empty();
    let failed: alloc::vec::Vec<_> = h.stack.failed_opens().collect();
    assert_eq!(failed[0].1, EndReason::Reset);

    let mut h = Harness::new(config());
    active(&mut h);
    // RFC 9293 §3.8.3 MUST-22, MUST-23: a SYN is sent again for three minutes, then it is over.
    h.pass(Duration::from_secs(180));
    assert_eq!(h.lines(), ["S 0+0 0"; 7]);
    assert_eq!(h.stack.gauges().in_state(State::SynSent), 1);
    h.pass(Duration::from_secs(4));
    assert_eq!(h.stack.failed_opens().next().unwrap().1, EndReason::TimedOut);
    h.assert_empty();

    // Nobody answers ARP.
    let mut h = Harness::new(config());
    h.stack.connect(SocketAddrV4::new(PEER, 7), h.now).unwrap();
    h.pass(Duration::from_secs(20));
    assert_eq!(h.take_frames().len(), 3);
    assert_eq!(h.stack.failed_opens().next().unwrap().1, EndReason::TimedOut);
    h.assert_empty();
}

#[test]
fn simultaneous_open() {
    // RFC 9293 §3.5, figure 7.
    let mut h = Harness::new(config());
    active(&mut h);
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["SA 0+0 1"]);
    assert_eq!(h.stack.gauges().half_open(), 1);
    h.inject(&seg(S | A, 0, 1, b""));
    assert_eq!(h.app.opened.len(), 1);
    h.expect(&["A 1+0 1"]);
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);
}

#[test]
fn simultaneous_open_before_arp_answers_is_not_left_behind() {
    let mut h = Harness::new(config());
    (h.peer_port, h.our_port) = (7000, 50_000);
    h.stack.connect_from(50_000, SocketAddrV4::new(PEER, 7000), h.now).unwrap();
    h.poll();
    assert_eq!(h.take_frames().len(), 1, "the neighbour is asked for");
    // Our SYN has not been sent: nobody can have seen it.
    h.inject(&seg(S | A, 0, 1, b""));
    assert_eq!(h.take()[0].flags, R);
    h.inject(&seg(S, 0, 0, b""));
    let answer = h.take();
    assert_eq!((answer.len(), answer[0].flags), (1, S | A));
    // And when nobody goes on, it ends.
    h.pass(Duration::from_secs(300));
    assert!(h.take().iter().all(|segment| segment.flags.has(S) || segment.flags.has(R)));
    h.assert_empty();
}

#[test]
fn time_zero_is_fine() {
    let mut h = Harness::new(config());
    h.now = Instant::ZERO;
    h.inject(&seg(S, 0, 0, b""));
    assert_eq!(h.take().len(), 1);
}

#[test]
fn a_syn_that_comes_again_says_where_the_peer_is() {
    use protocol::ethernet::{Header, Mac};
    const MOVED: Mac = Mac([2, 0, 0, 0, 0, 9]);
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.take();
    let mut again = h.encode(&seg(S, 0, 0, b""));
    again[6..12].copy_from_slice(&MOVED.0);
    h.put_frame(&again);
    h.poll();
    let sent = h.take_frames();
    assert_eq!(sent.len(), 1);
    assert_eq!(Header::parse(&sent[0]).unwrap().dst, MOVED);
}
