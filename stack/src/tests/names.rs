//! Who may speak with whom: addresses, ports, listeners; and options wherever they stand.

use alloc::vec::Vec;
use core::net::{Ipv4Addr, SocketAddrV4};

use protocol::checksum::Sum;
use protocol::tcp::{Options, fill_checksum};

use super::handshake::active;
use super::harness::*;
use super::user::tell_neighbour;
use crate::{AcceptPolicy, Config, ConnectError, EndReason, ListenError, Network, Next, State};

/// A SYN between other addresses than usual.
fn syn(h: &Harness, src: Ipv4Addr, dst: Ipv4Addr) -> Vec<u8> {
    let mut bytes = h.encode(&seg(S, 0, 0, b""));
    bytes[26..30].copy_from_slice(&src.octets());
    bytes[30..34].copy_from_slice(&dst.octets());
    fill_ip_checksum(&mut bytes[14..34]);
    fill_checksum(src.into(), dst.into(), &mut bytes[34..]);
    bytes
}

fn fill_ip_checksum(header: &mut [u8]) {
    header[10..12].fill(0);
    let checksum = Sum::new().add(header).finish();
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
}

#[test]
fn syns_from_and_to_a_group_are_ignored() {
    let mut h = Harness::new(config());
    let addr = |text: &str| text.parse::<Ipv4Addr>().unwrap();
    // RFC 9293 §3.9.2.3 MUST-57: broadcast, multicast, and everybody else.
    for dst in ["255.255.255.255", "198.18.0.255", "224.0.0.1", "198.18.0.3"] {
        let bytes = syn(&h, PEER, addr(dst));
        h.put_frame(&bytes);
    }
    // RFC 9293 §3.9.2.3 MUST-63: nobody can be there, or we are.
    let sources =
        ["255.255.255.255", "198.18.0.255", "198.18.0.0", "224.0.0.1", "0.0.0.0", "127.0.0.1", "198.18.0.2"];
    for src in sources {
        let bytes = syn(&h, addr(src), US);
        h.put_frame(&bytes);
    }
    h.poll();
    assert!(h.take_frames().is_empty());
    assert_eq!((h.stack.counters().ip_other_destination, h.stack.counters().ip_bad_source), (4, 7));
    let bytes = syn(&h, PEER, US);
    h.put_frame(&bytes);
    h.poll();
    assert_eq!(h.take().len(), 1);
}

#[test]
fn opens_towards_a_group_are_errors() {
    // RFC 9293 §3.9.1.1 MUST-46: and what else is not one other host.
    let mut h = Harness::new(config());
    for dst in ["255.255.255.255", "198.18.0.255", "224.0.0.1", "0.0.0.0", "127.0.0.1", "198.18.0.2"] {
        let remote = SocketAddrV4::new(dst.parse().unwrap(), 7000);
        assert!(matches!(h.stack.connect(remote, h.now), Err(ConnectError::BadAddress(_))), "{dst}");
    }
}

#[test]
fn a_listener_is_in_nobodys_way() {
    let mut h = Harness::open(config());
    // RFC 9293 §3.9.1.1 MUST-41: a second one is an error, and what exists goes on.
    assert_eq!(h.stack.listen(PORT, AcceptPolicy::Deferred), Err(ListenError::InUse(PORT)));
    h.inject(&seg(A, 1, 1, b"still here"));
    assert_eq!(h.app.seen, b"still here");
    // RFC 9293 §3.9.1.1 MUST-42: on the port of an open that is under way.
    let mut h = Harness::new(config());
    active(&mut h);
    assert_eq!(h.stack.gauges().in_state(State::SynSent), 1);
    assert_eq!(h.stack.listen(50_000, AcceptPolicy::Deferred), Ok(()));
    h.peer_port = 60_000;
    let iss = core::mem::take(&mut h.iss);
    h.inject(&seg(S, 0, 0, b""));
    assert_eq!(h.take()[0].flags, S | A);
    assert_eq!(h.stack.gauges().half_open(), 1);
    (h.iss, h.peer_port) = (iss, 7000);
    h.inject(&seg(S | A, 0, 1, b""));
    h.expect(&["A 1+0 1"]);
}

#[test]
fn half_open_connections_remember_who_began() {
    // RFC 9293 §3.5 MUST-11: a RST sends a passive one back to LISTEN, of which nobody hears; an
    // active one was refused, and its owner hears of it.
    let mut h = Harness::new(config());
    h.inject(&seg(S, 0, 0, b""));
    h.take();
    assert_eq!(h.stack.gauges().half_open(), 1);
    h.inject(&seg(R, 1, 0, b""));
    h.assert_empty();
    assert_eq!(h.stack.failed_opens().count(), 0);
    assert_eq!(h.stack.gauges().in_state(State::Listen), 1);

    let mut h = Harness::new(config());
    active(&mut h);
    h.inject(&seg(S, 0, 0, b""));
    h.expect(&["SA 0+0 1"]);
    assert_eq!(h.stack.gauges().half_open(), 1);
    h.inject(&seg(R, 1, 0, b""));
    h.assert_empty();
    let failed: Vec<_> = h.stack.failed_opens().map(|(_, reason)| reason).collect();
    assert_eq!(failed, [EndReason::Reset]);
    assert!(h.app.ended.is_empty() && h.app.opened.is_empty());
}

#[test]
fn options_are_taken_in_any_segment() {
    let mut h = Harness::open_with(config(), Options { mss: Some(1000), ..Options::default() });
    // RFC 9293 §3.1 MUST-5: in data and with a RST; MSS and window scale mean nothing there.
    let late = Options { mss: Some(100), window_scale: Some(3), sack_permitted: true, ..Options::default() };
    h.app.reply = alloc::vec![b'r'; 1500];
    h.inject(&seg(A, 1, 1, b"hello").options(late));
    assert_eq!(h.app.seen, b"hello");
    h.expect(&["A 1+1000 6", "PA 1001+500 6"]);
    h.inject(&seg(R, 6, 0, b"").options(late));
    assert_eq!(h.app.ended, [EndReason::Reset]);
}

#[test]
fn a_reset_may_carry_data() {
    // RFC 9293 §3.5.3 SHLD-2: it is nobody's input.
    let mut h = Harness::open(config());
    h.inject(&seg(R, 1, 0, b"No such process"));
    assert_eq!((h.app.ended.as_slice(), h.app.seen.as_slice()), (&[EndReason::Reset][..], &b""[..]));
    h.expect(&[]);
}

#[test]
fn segments_fit_the_peer_and_the_link() {
    // RFC 9293 §3.7.1 MUST-16: the smaller of both, timestamps taken off. RFC 9293 §3.7.1 MUST-67,
    // SHLD-5, MAY-3: what we announce is our own MTU without headers, whatever it is.
    let timestamps = Some(protocol::tcp::Timestamps { value: 1, echo: 0 });
    for (mtu, theirs, stamps, size) in [
        (1500, Some(1460), None, 1460),
        (1500, Some(9000), None, 1460),
        (9000, Some(1460), None, 1460),
        (576, Some(1460), None, 536),
        (1500, Some(1460), timestamps, 1448),
        (1500, None, None, 536),
    ] {
        let mut h = Harness::new(Config { mtu, ..config() });
        let options = Options { mss: theirs, timestamps: stamps, ..Options::default() };
        h.inject(&seg(S, 0, 0, b"").options(options));
        let answer = h.take().remove(0);
        assert_eq!(answer.options.mss, Some(mtu as u16 - 40));
        h.iss = answer.seq;
        let stamps = Options { timestamps: stamps, ..Options::default() };
        h.inject(&seg(A, 1, 1, b"").options(stamps));
        h.write(&[b'z'; 3000], Next::Continue);
        let sent = h.take();
        assert_eq!(sent[0].payload.len(), size, "{mtu} {theirs:?}");
        // RFC 9293 §3.2 MUST-65: the option is for SYNs.
        assert!(sent.iter().all(|segment| segment.options.mss.is_none()));
    }
}

#[test]
fn ip_options_are_ignored() {
    // RFC 9293 §3.9.2 MUST-50: an option that nobody knows, and three no-operations.
    let mut h = Harness::new(config());
    let plain = h.encode(&seg(S, 0, 0, b""));
    let mut bytes = plain[..34].to_vec();
    bytes[14] = 0x47;
    bytes[16..18].copy_from_slice(&(plain.len() as u16 - 14 + 8).to_be_bytes());
    bytes.extend([0x9e, 5, 1, 2, 3, 1, 1, 1]);
    bytes.extend(&plain[34..]);
    fill_ip_checksum(&mut bytes[14..42]);
    h.put_frame(&bytes);
    h.poll();
    let answer = h.take();
    assert_eq!((answer.len(), answer[0].flags), (1, S | A));
}

#[test]
fn an_open_may_name_its_own_address() {
    let second = Ipv4Addr::new(198, 18, 0, 7);
    let mut two = config();
    two.networks.push(Network { address: second.into(), prefix_len: 24 });
    let mut h = Harness::new(two);
    let remote = SocketAddrV4::new(PEER, 7000);
    // RFC 9293 §3.9.1.1 MUST-43, MUST-44: named, or chosen; and of the same version, and ours.
    h.stack.connect_between(SocketAddrV4::new(second, 50_000), remote, h.now).unwrap();
    h.stack.connect_from(50_001, remote, h.now).unwrap();
    let strange = SocketAddrV4::new(Ipv4Addr::new(198, 18, 0, 8), 50_000);
    let refused = h.stack.connect_between(strange, remote, h.now);
    assert!(matches!(refused, Err(ConnectError::BadAddress(_))));
    h.poll();
    tell_neighbour(&mut h, PEER_MAC);
    let mut syns = h.take_frames();
    syns.retain(|frame| frame[12..14] == [8, 0]);
    let sources: Vec<_> = syns.iter().map(|frame| frame[26..30].to_vec()).collect();
    assert_eq!(sources, [second.octets(), US.octets()]);
}

#[test]
fn the_local_address_is_chosen_once() {
    // RFC 9293 §3.9.1.1 MUST-45: `decode` compares it for every segment, from SYN to RST.
    let mut h = Harness::new(config());
    active(&mut h);
    h.inject(&seg(S | A, 0, 1, b""));
    h.write(b"x", Next::Continue);
    h.inject(&seg(A, 1, 2, b"y"));
    h.write(b"", Next::Abort);
    h.expect(&["A 1+0 1", "PA 1+1 1", "RA 2+0 2"]);
}
