//! A connection's life over IPv6, and that the versions are kept apart.

use netcore::Duration;
use nicfw::{Event, State};
use protocol::channel::{ClosedReason, Listen};
use protocol::ip::Address;
use protocol::tcp::Options;

use crate::harness::*;

#[test]
fn the_peer_closes_and_the_firmware_finishes() {
    let mut world = World::new_v6();
    world.client(&Seg::new(SYN, 100, 0).options(Options { mss: Some(1440), ..Options::default() }));
    assert_eq!(world.one().options.mss, Some(1440));
    let mut conn = world.connect(1);
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    assert_eq!((world.one().data, world.count(Event::SegmentToWire)), (b"reply".to_vec(), 1));
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    let answer = world.one();
    assert_eq!((answer.flags, answer.client, answer.seq, answer.ack), (FIN_ACK, CLIENT_V6, conn.seq, 107));
    assert_eq!(world.closed(), [(conn.flow, HANDLE, ClosedReason::PeerClosed)]);
    world.client(&Seg::new(ACK, 107, conn.seq + 1).port(1));
    world.silent();
    world.all_gone();
}

#[test]
fn the_host_closes_and_time_wait_follows() {
    for checksum_needed in [false, true] {
        let mut world = World::new_v6();
        let conn = world.connect(1);
        if !checksum_needed {
            world.host_close(&conn, b"last", 1000, false);
        } else {
            world.host_close_unchecked(&conn, b"last", 1000);
        }
        let last = world.one();
        assert_eq!((last.flags, &last.data[..]), (FIN_ACK, &b"last"[..]));
        world.pass(Duration::from_millis(250));
        assert_eq!(world.one().data, b"last", "sent again");
        world.client(&Seg::new(FIN_ACK, 106, conn.seq + 5).port(1));
        assert_eq!(world.one().ack, 107);
        assert_eq!((world.nic.counters().flows(), world.nic.counters().held()), (0, 1));
        world.all_gone();
    }
}

#[test]
fn versions_are_two_worlds() {
    let mut world = World::new_v6();
    // Nobody listens on the IPv4 address.
    world.client(&Seg::new(SYN, 100, 0).from("198.18.0.9".parse::<std::net::Ipv4Addr>().unwrap().into()));
    let messages = world.host_messages();
    assert!(matches!(&messages[..], [Msg::Raw(_)]), "{messages:?}");
    world.listen(Listen { addr: SERVER, ..listen_body() });
    world.connect(1);
    world.v6 = false;
    world.connect(1);
    assert_eq!(world.flows_in(State::Established), 2);
}

#[test]
fn impossible_sources_get_neither_cookie_nor_reset() {
    let mut world = World::new_v6();
    for source in ["ff02::1", "::", "::1", "2001:2::2"] {
        let source: Address = source.parse::<std::net::Ipv6Addr>().unwrap().into();
        world.client(&Seg::new(SYN, 100, 0).from(source));
        assert_eq!(world.wire_segments(), [], "{source}");
        world.client(&Seg::new(ACK, 101, 77).from(source));
        assert_eq!(world.wire_segments(), [], "{source}");
    }
    assert_eq!((world.count(Event::SynUnusable), world.count(Event::CookieRefused)), (4, 4));
}
