//! What the network says of our packets, and what follows from it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddrV4;

use protocol::tcp::Options;

use super::handshake::active;
use super::harness::*;
use super::ip::icmp;
use crate::{EndReason, NetworkError, Next, Report, State};

/// An error of this type and code about a frame of ours, as a router sends it.
fn error(kind: u8, code: u8, rest: [u8; 4], about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest);
    message.extend(&about[14..42]);
    icmp(&message, PEER)
}

/// Every error there is but "fragmentation needed".
fn all_errors() -> impl Iterator<Item = (u8, u8)> {
    let unreachable = (0..16).filter(|code| *code != 4).map(|code| (3, code));
    unreachable.chain([(11, 0), (11, 1), (12, 0), (12, 1), (12, 2)])
}

#[test]
fn errors_are_told_and_end_no_open_connection() {
    let mut h = Harness::open(config());
    h.write(b"x", Next::Continue);
    let sent = h.take_frames().remove(0);
    let mut told = Vec::new();
    for (kind, code) in all_errors() {
        h.put_frame(&error(kind, code, [0; 4], &sent));
        told.push(Report::Network(NetworkError { kind, code }));
    }
    h.poll();
    // RFC 9293 §3.9.2.2 MUST-54, SHLD-25: the application of this connection is told of each;
    // RFC 9293 §3.9.2.2 MUST-56: none of them ends it.
    assert_eq!(h.app.reports, told);
    assert_eq!(h.stack.gauges().in_state(State::Established), 1);
    h.expect(&[]);
    h.inject(&seg(A, 1, 2, b"y"));
    assert_eq!(h.app.seen, b"y");
    // RFC 5927 §4.1: about what is not in flight they are forged or late.
    h.put_frame(&error(3, 1, [0; 4], &sent));
    h.poll();
    assert_eq!(h.app.reports.len(), told.len());
    assert_eq!(h.stack.counters().icmp_ignored, 1);
}

#[test]
fn source_quench_is_thrown_away() {
    // RFC 9293 §3.9.2.2 MUST-55: no report, no smaller window.
    let mut h = Harness::open_with(config(), Options { mss: Some(1000), ..Options::default() });
    h.write(&[b'z'; 20_000], Next::Continue);
    let sent = h.take_frames();
    assert_eq!(sent.len(), 10);
    h.put_frame(&error(4, 0, [0; 4], &sent[0]));
    h.poll();
    assert_eq!((h.app.reports.len(), h.stack.counters().icmp_ignored), (0, 1));
    h.inject(&seg(A, 1, 10_001, b""));
    assert_eq!(h.take().len(), 10, "the rest");
}

#[test]
fn an_open_ends_at_once_where_nobody_is() {
    for (kind, code) in all_errors() {
        let mut h = Harness::new(config());
        let syn = active(&mut h);
        // RFC 5927 §4.1: not by a guess.
        let mut guess = syn.clone();
        guess[38] ^= 1;
        h.put_frame(&error(kind, code, [0; 4], &guess));
        h.poll();
        assert_eq!(h.stack.gauges().in_state(State::SynSent), 1);
        h.put_frame(&error(kind, code, [0; 4], &syn));
        h.poll();
        // RFC 9293 §3.9.2.2 SHLD-26: hard errors are protocol and port unreachable.
        let is_hard = kind == 3 && (code == 2 || code == 3);
        assert_eq!(h.stack.gauges().in_state(State::SynSent), u32::from(!is_hard), "{kind} {code}");
        let ended: Vec<_> = h.stack.failed_opens().map(|(_, reason)| reason).collect();
        assert_eq!(ended, if is_hard { vec![EndReason::Reset] } else { vec![] });
        h.expect(&[]);
        if is_hard {
            h.assert_empty();
            // The name is free.
            assert!(h.stack.connect_from(50_000, SocketAddrV4::new(PEER, 7000), h.now).is_ok());
        }
    }
}

#[test]
fn an_error_reaches_the_connection_that_it_is_about() {
    // RFC 9293 §3.9.2.2 MUST-54: of two connections, and of none.
    let mut h = Harness::open(config());
    h.write(b"first", Next::Continue);
    let first = h.take_frames().remove(0);
    h.peer_port += 1;
    h.iss = 0;
    h.inject(&seg(S, 0, 0, b""));
    h.iss = h.take()[0].seq;
    h.inject(&seg(A, 1, 1, b""));
    let mut other = first.clone();
    other[36..38].copy_from_slice(&h.peer_port.to_be_bytes());
    h.put_frame(&error(3, 1, [0; 4], &other));
    other[36..38].copy_from_slice(&1u16.to_be_bytes());
    h.put_frame(&error(3, 1, [0; 4], &other));
    other[36..38].copy_from_slice(&PEER_PORT.to_be_bytes());
    other[26..30].copy_from_slice(&PEER.octets());
    h.put_frame(&error(3, 1, [0; 4], &other));
    h.poll();
    assert_eq!((h.app.reports.len(), h.stack.counters().icmp_ignored), (0, 3));
    h.put_frame(&error(3, 1, [0; 4], &first));
    h.poll();
    assert_eq!(h.app.reports.len(), 1);
}
