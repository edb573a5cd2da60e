//! How connections end: passive, active and simultaneous close, losses, RST, TIME_WAIT.

use netcore::Duration;
use nicfw::{Changeable, Config, Event, State};
use protocol::channel::ClosedReason;
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

use crate::harness::*;

/// A connection whose request has been answered with "reply" (5 bytes); the host waits.
fn answered(world: &mut World, port: u16) -> Conn {
    let mut conn = world.connect(port);
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    let reply = world.one();
    assert_eq!((reply.flags, &reply.data[..], reply.ack), (PSH_ACK, &b"reply"[..], 106));
    assert_eq!(reply.client_mac, CLIENT_MAC);
    conn
}

#[test]
fn the_peer_closes_and_the_firmware_finishes() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    let fin = Seg::new(FIN_ACK, 106, conn.seq).port(1);
    world.client(&fin);
    let answer = world.one();
    assert_eq!((answer.flags, answer.seq, answer.ack), (FIN_ACK, conn.seq, 107));
    assert_eq!(answer.window, 500);
    assert_eq!(world.closed(), [(conn.flow, HANDLE, ClosedReason::PeerClosed)]);
    assert_eq!(world.flows_in(State::LastAck), 1);
    world.client(&Seg::new(ACK, 107, conn.seq + 1).port(1));
    world.silent();
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

#[test]
fn a_closing_peer_whose_network_moved_is_answered_where_it_repeats_from() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    let fin = Seg::new(FIN_ACK, 106, conn.seq).port(1);
    world.client(&fin);
    assert_eq!(world.one().client_mac, CLIENT_MAC);
    // Our FIN went to where the peer is no longer, and it repeats its own.
    let moved = protocol::ethernet::Mac([2, 0, 0, 0, 0, 9]);
    // Whoever does not know what we have sent cannot turn the connection away (RFC 5961 §5).
    let blind = Seg { client_mac: moved, ack: conn.seq.wrapping_add(1 << 20), ..fin.clone() };
    world.client(&blind);
    assert_eq!(world.one().client_mac, CLIENT_MAC);
    world.client(&Seg { client_mac: moved, ..fin });
    let answer = world.one();
    assert_eq!((answer.flags, answer.client_mac), (FIN_ACK, moved));
}

#[test]
fn passive_close_with_each_packet_lost() {
    // Our FIN is lost: the timer sends it again, and so does the peer's FIN.
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    let fin = Seg::new(FIN_ACK, 106, conn.seq).port(1);
    world.client(&fin);
    let first = world.one();
    world.client(&fin);
    assert_eq!(world.one(), first);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.one(), first);
    world.pass(Duration::from_secs(2));
    assert_eq!(world.one(), first, "the timeout doubles");
    world.pass(Duration::from_secs(3));
    assert_eq!(world.wire_segments(), []);
    // The last ACK is lost for ever: given up with RST.
    world.pass(Duration::from_secs(1000));
    let segments = world.wire_segments();
    assert_eq!(segments.len(), 7);
    assert_eq!((segments[6].flags, segments[6].seq), (RST_ACK, conn.seq + 1));
    assert_eq!(world.closed().len(), 1);
    assert_eq!(world.count(Event::TimedOut), 1);
    world.all_gone();
}

#[test]
fn a_fin_that_is_not_the_end_goes_to_the_host() {
    let with_data = |conn: &Conn| Seg::new(FIN_ACK, 106, conn.seq).port(1).data(b"more");
    let unacked = |conn: &Conn| Seg::new(FIN_ACK, 106, conn.seq - 5).port(1);
    let early = |conn: &Conn| Seg::new(FIN_ACK, 110, conn.seq).port(1);
    let segments: [&dyn Fn(&Conn) -> Seg; 3] = [&with_data, &unacked, &early];
    for make in segments {
        let mut world = World::new();
        let conn = answered(&mut world, 1);
        let segment = make(&conn);
        world.client(&segment);
        let messages = world.host_messages();
        let [Msg::Segment(header, received)] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!((header.flow, header.handle), (conn.flow, HANDLE));
        assert_eq!(*received, segment);
        assert_eq!(world.wire_segments(), []);
    }
    // Not idle: the host has more to say.
    let mut world = World::new();
    let mut conn = world.connect(1);
    world.host_segment(&mut conn, PSH_ACK, b"part", false);
    world.wire_segments();
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]));
    // The host ends it: the peer has finished already.
    conn.ack += 1;
    world.host_close(&conn, b"rest", 1000, true);
    let last = world.one();
    assert_eq!((last.flags, last.ack, &last.data[..]), (FIN_ACK, 107, &b"rest"[..]));
    assert_eq!(world.flows_in(State::LastAck), 1);
    world.client(&Seg::new(ACK, 107, conn.seq + 5).port(1));
    world.silent();
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

#[test]
fn retransmitted_data_with_fin_is_closed_passively() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.client(&Seg::new(FIN_ACK, 101, conn.seq).port(1).data(b"hello"));
    let answer = world.one();
    assert_eq!((answer.flags, answer.ack), (FIN_ACK, 107));
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn a_late_duplicate_does_not_open_the_connection_again() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    world.client(&Seg::new(ACK, 107, conn.seq + 1).port(1));
    world.wire_segments();
    world.closed();
    let iss = conn.seq - 5;
    for old in [
        Seg::new(PSH_ACK, 101, iss).port(1).data(b"hello"),
        Seg::new(ACK, 101, iss).port(1),
        Seg::new(FIN_ACK, 106, conn.seq).port(1),
    ] {
        world.client(&old);
        assert_eq!(world.one().flags, RST);
        assert_eq!(world.host_messages(), []);
        assert_eq!(world.nic.counters().flows(), 0);
    }
    assert_eq!(world.count(Event::CookieSpent), 3);
    // A new connection of the same four-tuple is welcome at once.
    let answer = world.syn(&Seg::new(SYN, 9000, 0).port(1));
    world.client(&Seg::new(PSH_ACK, 9001, answer.seq + 1).port(1).data(b"again"));
    assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
    assert_eq!(world.nic.counters().held(), 1);
}

/// A connection of port 1 that the peer has closed; returns its first segment.
fn came_and_went(world: &mut World, irs: u32) -> Seg {
    let iss = world.syn(&Seg::new(SYN, irs, 0).port(1)).seq;
    let first = Seg::new(PSH_ACK, irs + 1, iss + 1).port(1).data(b"hello");
    world.client(&first);
    let messages = world.host_messages();
    let [Msg::Established(header, ..)] = &messages[..] else { panic!("{messages:?}") };
    let mut conn = Conn { flow: header.flow, seq: iss + 1, ack: irs + 6, port: 1 };
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    world.client(&Seg::new(FIN_ACK, irs + 6, conn.seq).port(1));
    world.client(&Seg::new(ACK, irs + 7, conn.seq + 1).port(1));
    world.wire_segments();
    world.closed();
    first
}

#[test]
fn no_earlier_connection_comes_back_during_the_next_handshake() {
    let mut world = World::new();
    let olds = [came_and_went(&mut world, 1000), came_and_went(&mut world, 2000)];
    // Another one begins: a SYN proves nothing, and the old segments' cookies are still good.
    let iss = world.syn(&Seg::new(SYN, 3000, 0).port(1)).seq;
    for old in &olds {
        world.client(old);
        assert_eq!(world.one().flags, RST);
        assert_eq!((world.host_messages(), world.nic.counters().flows()), (vec![], 0), "after {old:?}");
    }
    assert_eq!(world.count(Event::CookieSpent), 2);
    let first = Seg::new(PSH_ACK, 3001, iss + 1).port(1).data(b"third");
    world.client(&first);
    assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
    // Only now the record is gone.
    assert_eq!(world.nic.counters().held(), 1);
    world.client(&olds[1]);
    assert_eq!(world.count(Event::CookieAccepted), 3);
}

#[test]
fn a_record_lives_at_least_as_long_as_the_handshake_that_it_guards() {
    let mut world = World::new();
    came_and_went(&mut world, 1000);
    // A cookie's life is 64 s, and so is the record's.
    world.pass(Duration::from_secs(63));
    let iss = world.syn(&Seg::new(SYN, 3000, 0).port(1)).seq;
    world.pass(Duration::from_secs(20));
    world.client(&Seg::new(PSH_ACK, 3001, iss + 1).port(1).data(b"late"));
    assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
}

#[test]
fn a_full_table_does_not_cost_the_record() {
    let mut world = World::with(Config { flows_max: 1, ..config() }, listen_body());
    let old = came_and_went(&mut world, 1000);
    let iss = world.syn(&Seg::new(SYN, 3000, 0).port(1)).seq;
    let other = world.connect(2);
    let first = Seg::new(PSH_ACK, 3001, iss + 1).port(1).data(b"first");
    world.client(&first);
    world.silent();
    assert_eq!(world.count(Event::FlowTableFull), 1);
    world.host_abort(&other);
    world.wire_segments();
    world.client(&old);
    assert_eq!((world.one().flags, world.nic.counters().flows()), (RST, 0));
    world.client(&first);
    assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
}

#[test]
fn the_backlog_may_push_out_the_record_of_the_connection_that_opens() {
    let config = Config { time_wait_max: 1, ..config() };
    let mut world = World::with(config, protocol::channel::Listen { backlog: 1, ..listen_body() });
    came_and_went(&mut world, 1000);
    let iss = world.syn(&Seg::new(SYN, 3000, 0).port(1)).seq;
    let other = world.syn(&Seg::new(SYN, 100, 0).port(2)).seq;
    world.client(&Seg::new(ACK, 101, other + 1).port(2));
    world.client(&Seg::new(PSH_ACK, 3001, iss + 1).port(1).data(b"first"));
    assert_eq!(world.one().flags, RST_ACK, "port 2 had to leave");
    assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
    assert_eq!(world.nic.counters().held(), 2, "the new connection, and the record of port 2");
    world.all_but_established_gone();
}

#[test]
fn the_host_closes_and_the_firmware_finishes() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    let last = world.one();
    assert_eq!((last.flags, last.seq, &last.data[..]), (FIN_ACK, conn.seq, &b"bye"[..]));
    assert_eq!(world.flows_in(State::FinWait1), 1);
    assert_eq!(world.nic.counters().held(), 2, "the flow and its last data");
    world.client(&Seg::new(ACK, 106, conn.seq + 4).port(1));
    assert_eq!(world.flows_in(State::FinWait2), 1);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq + 4).port(1));
    let ack = world.one();
    assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, conn.seq + 4, 107));
    assert_eq!(world.nic.counters().flows(), 0);
    assert_eq!(world.nic.counters().held(), 1, "TIME_WAIT");
    assert_eq!(world.host_messages(), [], "the host has forgotten the flow");
    world.all_gone();
}

#[test]
fn active_close_with_each_packet_lost() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    let last = world.one();
    // The last data is lost: the host's timeout, doubled each time.
    for wait_ms in [250, 500, 1000] {
        world.pass(Duration::from_millis(wait_ms - 1));
        assert_eq!(world.wire_segments(), []);
        world.pass(Duration::from_millis(1));
        let again = world.one();
        assert_eq!((again.seq, again.ack, &again.data), (last.seq, last.ack, &last.data));
        assert!(again.flags.has(FIN_ACK));
    }
    // Part of it arrived.
    world.client(&Seg::new(ACK, 106, conn.seq + 1).port(1));
    let rest = world.one();
    assert_eq!((rest.seq, &rest.data[..]), (conn.seq + 1, &b"ye"[..]));
    // All data arrived, the FIN did not.
    world.client(&Seg::new(ACK, 106, conn.seq + 3).port(1));
    let fin = world.one();
    assert_eq!((fin.flags, fin.seq), (FIN_ACK, conn.seq + 3));
    // The ACK and the peer's FIN come in one; our ACK is lost, so the FIN comes again.
    let fin = Seg::new(FIN_ACK, 106, conn.seq + 4).port(1);
    for _ in 0..2 {
        world.client(&fin);
        let ack = world.one();
        assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, conn.seq + 4, 107));
        world.pass(Duration::from_secs(50));
    }
    assert!(world.nic.counters().held() == 1, "the repeated FIN started TIME_WAIT anew");
    world.all_gone();
}

#[test]
fn simultaneous_close() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"", 1000, false);
    assert_eq!(world.one().flags, FIN_ACK);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    let ack = world.one();
    assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, conn.seq + 1, 107));
    assert_eq!(world.flows_in(State::Closing), 1);
    // The ACK is lost, the peer repeats its FIN, our FIN is repeated by the timer.
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    assert_eq!(world.one().flags, ACK);
    world.pass(Duration::from_millis(250));
    let fin = world.one();
    assert_eq!((fin.flags, fin.seq, fin.ack), (FIN_ACK, conn.seq, 107));
    world.client(&Seg::new(ACK, 107, conn.seq + 1).port(1));
    assert_eq!(world.nic.counters().flows(), 0);
    assert_eq!(world.nic.counters().held(), 1);
    world.all_gone();
}

#[test]
fn the_peers_fin_and_the_hosts_close_cross() {
    // The FIN is on its way to the host when the host closes: the firmware acknowledges it with its
    // own, so that the peer need not repeat it. Without data, with data, and without a window.
    for (data, snd_wnd) in [(&b""[..], 1000), (b"reply", 1000), (b"reply", 3)] {
        for mut world in [World::new(), World::new_v6()] {
            let conn = world.connect(1);
            world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
            assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]));
            world.host_close(&conn, data, snd_wnd, false);
            let last = world.one();
            assert_eq!((last.ack, &last.data[..]), (107, &data[..data.len().min(snd_wnd as usize)]));
            assert_eq!((world.flows_in(State::LastAck), world.count(Event::FinCrossed)), (1, 1));
            // Repeated all the same, it is answered.
            world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
            assert_eq!(world.one().ack, 107);
            if snd_wnd == 3 {
                world.client(&Seg::new(ACK, 107, conn.seq + 3).port(1));
                assert_eq!(world.one().flags, Flags(0x19));
            }
            let end = conn.seq + data.len() as u32;
            world.client(&Seg::new(ACK, 107, end + 1).port(1));
            world.silent();
            assert_eq!(world.nic.counters().flows(), 0);
            world.all_gone();
        }
    }
    // Data that the host has not read is none of this: the host threw it away.
    let mut world = World::new();
    let conn = world.connect(1);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1).data(b"more"));
    world.host_messages();
    world.host_close(&conn, b"bye", 1000, false);
    assert_eq!((world.one().ack, world.count(Event::FinCrossed)), (106, 0));
    assert_eq!(world.flows_in(State::FinWait1), 1);
    // So is a FIN that came out of order.
    let other = world.connect(2);
    world.client(&Seg::new(FIN_ACK, 110, other.seq).port(2));
    world.host_messages();
    world.host_close(&other, b"bye", 1000, false);
    assert_eq!((world.one().ack, world.count(Event::FinCrossed)), (106, 0));
    world.all_gone();
}

#[test]
fn nobody_answers_the_close() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    world.pass(Duration::from_secs(1000));
    let segments = world.wire_segments();
    assert_eq!(segments.len(), 1 + 8 + 1);
    assert_eq!(segments[9].flags, RST_ACK);
    assert_eq!(segments[9].seq, conn.seq + 4);
    assert_eq!(world.host_messages(), []);
    world.all_gone();
    // The FIN is acknowledged but the peer never closes.
    let conn = world.connect(2);
    world.host_close(&conn, b"", 1000, false);
    world.client(&Seg::new(ACK, 106, conn.seq + 1).port(2));
    world.wire_segments();
    world.pass(Duration::from_secs(59));
    assert_eq!(world.flows_in(State::FinWait2), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.flows_in(State::FinWait2), 0);
    world.all_gone();
}

#[test]
fn a_small_window_is_respected() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"0123456789", 4, false);
    let part = world.one();
    assert_eq!((part.flags, part.seq, &part.data[..]), (PSH_ACK, conn.seq, &b"0123"[..]));
    // Closed: nothing but a probe of one byte, at doubled distances, for as long as the peer answers.
    world.client(&Seg::new(ACK, 106, conn.seq + 4).port(1).window(0));
    assert_eq!(world.wire_segments(), []);
    for probes in 0..20 {
        world.pass(Duration::from_millis((250 << probes).min(60_000)));
        let probe = world.one();
        assert_eq!((probe.flags, probe.seq, &probe.data[..]), (PSH_ACK, conn.seq + 4, &b"4"[..]));
        world.client(&Seg::new(ACK, 106, conn.seq + 4).port(1).window(0));
        assert_eq!(world.wire_segments(), []);
        assert_eq!(world.flows_in(State::FinWait1), 1);
    }
    // Opened: the rest at once. Exactly the data fits, the FIN does not yet.
    world.client(&Seg::new(ACK, 106, conn.seq + 4).port(1).window(6));
    let rest = world.one();
    assert_eq!((rest.flags, &rest.data[..]), (PSH_ACK, &b"456789"[..]));
    world.client(&Seg::new(ACK, 106, conn.seq + 10).port(1).window(1000));
    assert_eq!(world.one().flags, FIN_ACK);
    world.client(&Seg::new(ACK, 106, conn.seq + 11).port(1));
    assert_eq!(world.flows_in(State::FinWait2), 1);
    world.all_gone();
}

#[test]
fn data_after_the_close_resets() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"", 1000, false);
    world.client(&Seg::new(ACK, 106, conn.seq + 1).port(1));
    world.wire_segments();
    // What was received before is only acknowledged again.
    world.client(&Seg::new(PSH_ACK, 101, conn.seq + 1).port(1).data(b"hello"));
    assert_eq!(world.one().flags, ACK);
    world.client(&Seg::new(PSH_ACK, 106, conn.seq + 1).port(1).data(b"more"));
    let reset = world.one();
    assert_eq!((reset.flags, reset.seq), (RST, conn.seq + 1));
    assert_eq!(world.count(Event::DataAfterClose), 1);
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

/// Connections whose host hands over `kept` and whose peers hear the server no more.
fn vanish(world: &mut World, ports: core::ops::RangeInclusive<u16>) -> Vec<Conn> {
    let vanish = |port| {
        let conn = world.connect_quietly(port);
        world.host_close(&conn, b"kept", 1000, false);
        assert_eq!(world.wire_segments().pop().map(|sent| sent.data), Some(b"kept".to_vec()));
        conn
    };
    ports.map(vanish).collect()
}

#[test]
fn whoever_has_taken_nothing_for_the_longest_gives_way() {
    let mut world = World::with(Config { retained_max: 4, ..config() }, listen_body());
    let retained = |world: &World| world.nic.counters().iter().find(|(name, ..)| *name == "retained_now");
    let conns = vanish(&mut world, 1..=6);
    assert_eq!(retained(&world).unwrap().2, 4);
    // Their frames are let go, not they: the first has it all and says so in time.
    assert_eq!((world.flows_in(State::FinWait1), world.count(Event::RetainLetGo)), (6, 2));
    world.client(&Seg::new(ACK, 106, conns[0].seq + 5).port(1));
    assert_eq!(world.flows_in(State::FinWait2), 1);
    // The third has a part of it now, so that the fourth has waited for the longest.
    world.client(&Seg::new(ACK, 106, conns[2].seq + 1).port(3));
    assert_eq!(world.one().data, b"ept");
    vanish(&mut world, 7..=7);
    assert_eq!(world.count(Event::RetainLetGo), 3);
    // Repeated is what is kept; who lost it and whose frame is gone is reset.
    world.pass(Duration::from_millis(250));
    let sent = world.wire_segments();
    let of = |flags: Flags| sent.iter().filter(move |seg| seg.flags.has(flags)).map(|seg| seg.client_port);
    assert_eq!(of(Flags::RST).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(of(Flags::FIN).collect::<Vec<_>>(), [5, 6, 3, 7]);
    assert_eq!((world.count(Event::RetainGivenUp), world.flows_in(State::FinWait1)), (2, 4));
    world.all_gone();
}

#[test]
fn who_asks_again_for_what_was_let_go_is_reset() {
    for ask in ["a part", "an open window"] {
        let mut world = World::with(Config { retained_max: 1, ..config() }, listen_body());
        let conn = world.connect(1);
        world.host_close(&conn, b"kept", if ask == "a part" { 1000 } else { 0 }, false);
        vanish(&mut world, 2..=2);
        let acked = if ask == "a part" { 2 } else { 0 };
        world.client(&Seg::new(ACK, 106, conn.seq + acked).port(1));
        let reset = world.one();
        assert!(reset.flags.has(RST) && reset.client_port == 1, "{ask}: {reset:?}");
        assert_eq!((world.count(Event::RetainGivenUp), world.nic.counters().flows()), (1, 1));
        world.all_gone();
    }
}

#[test]
fn closed_windows_cannot_hold_more_frames_than_is_allowed() {
    let mut world = World::with(Config { retained_max: 1, ..config() }, listen_body());
    let conns: Vec<_> = (1..=3).map(|port| world.connect(port)).collect();
    for conn in &conns {
        world.host_close(conn, b"kept", 0, false);
    }
    assert_eq!(world.count(Event::RetainLetGo), 2);
    // They live, and answer every probe with a closed window.
    for _ in 0..600 {
        world.pass(Duration::from_millis(250));
        for probe in world.wire_segments() {
            let port = probe.client_port;
            if !probe.flags.any(RST) {
                world.client(&Seg::new(ACK, 106, conns[usize::from(port) - 1].seq).port(port).window(0));
            }
        }
    }
    // There is no room for more than one: the others could not be probed with anything.
    assert_eq!((world.flows_in(State::FinWait1), world.count(Event::RetainGivenUp)), (1, 2));
    world.all_gone();
}

#[test]
fn a_hand_over_pushes_out_only_who_was_repeated_in_vain() {
    let mut world = World::with(Config { retained_max: 2, ..config() }, listen_body());
    let hand_over = |world: &mut World, port| {
        let conn = world.connect_quietly(port);
        let close = close_body(&conn, 1000);
        world.host_piece(&conn, &close, conn.seq, b"one", true);
        world.host_piece(&conn, &close, conn.seq + 3, b"two", false);
        world.closed().iter().map(|(.., reason)| *reason).collect::<Vec<_>>()
    };
    vanish(&mut world, 1..=2);
    assert_eq!(hand_over(&mut world, 3)[0], ClosedReason::Refused);
    assert_eq!((world.count(Event::RetainLetGo), world.count(Event::HandOverTaken)), (0, 0));
    world.pass(Duration::from_millis(250));
    world.wire_frames();
    assert_eq!(hand_over(&mut world, 4), [ClosedReason::HandedOver]);
    assert_eq!((world.count(Event::RetainLetGo), world.count(Event::HandOverTaken)), (2, 1));
    // What the host has forgotten pushes out whoever is next: here all pieces of one.
    vanish(&mut world, 5..=5);
    assert_eq!((world.count(Event::RetainGivenUp), world.count(Event::RetainLetGo)), (1, 2));
    // An incomplete hand-over is the host's still.
    let conn = world.connect_quietly(6);
    world.host_piece(&conn, &close_body(&conn, 1000), conn.seq, b"one", true);
    vanish(&mut world, 7..=7);
    assert_eq!((world.count(Event::RetainLetGo), world.count(Event::HandOverRefused)), (3, 2));
    vanish(&mut world, 8..=8);
    assert_eq!((world.count(Event::RetainLetGo), world.count(Event::HandOverRefused)), (3, 3));
    world.pass(Duration::from_secs(1000));
}

#[test]
fn an_empty_pool_delays_but_does_not_lose() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.pool.set_limit(0);
    world.host_close(&conn, b"bye", 1000, false);
    assert_eq!(world.wire_segments(), []);
    world.pool.set_limit(usize::MAX);
    world.pass(Duration::from_millis(250));
    let last = world.one();
    assert_eq!(&last.data[..], b"bye");
    assert!(last.flags.has(FIN_ACK));
    // CLOSED waits for a frame too.
    let other = answered(&mut world, 2);
    world.pool.set_limit(0);
    world.client(&Seg::new(FIN_ACK, 106, other.seq).port(2));
    assert_eq!(world.host_messages(), []);
    assert_eq!(world.one().flags, FIN_ACK, "the answer reuses the frame");
    world.client(&Seg::new(ACK, 107, other.seq + 1).port(2));
    assert_eq!(world.flows_in(State::Ended), 1);
    world.pool.set_limit(usize::MAX);
    world.pass(Duration::ZERO);
    assert_eq!(world.closed(), [(other.flow, HANDLE, ClosedReason::PeerClosed)]);
    world.all_gone();
}

#[test]
fn resets_from_the_peer() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.client(&Seg::new(RST, 105, 0).port(1));
    world.client(&Seg::new(RST, 106 + 500, 0).port(1));
    world.silent();
    assert_eq!(world.count(Event::ResetIgnored), 2);
    world.client(&Seg::new(RST, 107, 0).port(1));
    let challenge = world.one();
    assert_eq!((challenge.flags, challenge.seq, challenge.ack), (ACK, conn.seq, 106));
    assert_eq!(world.flows_in(State::Established), 1);
    world.client(&Seg::new(RST, 106, 0).port(1));
    assert_eq!(world.closed(), [(conn.flow, HANDLE, ClosedReason::Reset)]);
    assert_eq!(world.wire_segments(), []);
    world.all_gone();
}

#[test]
fn a_reset_right_behind_data_that_the_host_has_not_acknowledged() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.client(&Seg::new(PSH_ACK, 106, conn.seq).port(1).data(b"more"));
    world.client(&Seg::new(RST, 110, 0).port(1));
    let messages = world.host_messages();
    assert!(matches!(&messages[..], [Msg::Segment(..), Msg::Closed(_)]), "{messages:?}");
}

#[test]
fn a_syn_on_a_connection_is_challenged() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.client(&Seg::new(SYN, 5000, 0).port(1));
    let challenge = world.one();
    assert_eq!((challenge.flags, challenge.seq, challenge.ack), (ACK, conn.seq, 106));
    world.client(&Seg::new(SYN, 5000, 0).port(1));
    world.silent();
    assert_eq!(world.count(Event::ChallengeLimited), 1);
}

#[test]
fn the_host_aborts() {
    let mut world = World::new();
    let conn = answered(&mut world, 1);
    world.host_abort(&conn);
    let reset = world.one();
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST_ACK, conn.seq, 106));
    assert_eq!(world.host_messages(), []);
    world.all_gone();
}

/// A connection that the host closed first, in TIME_WAIT. Returns our SND.NXT.
fn in_time_wait(world: &mut World, ts: Option<u32>) -> u32 {
    let timestamps = ts.map(|value| Timestamps { value, echo: 0 });
    let offer = Options { timestamps, ..Options::default() };
    let answer = world.syn(&Seg::new(SYN, 100, 0).options(offer).port(1));
    let (iss, echo) = (answer.seq, answer.options.timestamps.map_or(0, |ts| ts.value));
    let with = |segment: Seg| match ts {
        Some(value) => segment.ts(value, echo),
        None => segment,
    };
    world.client(&with(Seg::new(PSH_ACK, 101, iss + 1).port(1).data(b"hello")));
    let messages = world.host_messages();
    let [Msg::Established(header, ..)] = &messages[..] else { panic!("{messages:?}") };
    let conn = Conn { flow: header.flow, seq: iss + 1, ack: 106, port: 1 };
    world.host_close(&conn, b"", 1000, false);
    world.client(&with(Seg::new(FIN_ACK, 106, iss + 2).port(1)));
    world.wire_segments();
    assert_eq!(world.nic.counters().flows(), 0);
    iss + 2
}

#[test]
fn time_wait_answers_and_ignores() {
    let mut world = World::new();
    let snd_nxt = in_time_wait(&mut world, None);
    // RST does not cut it short (RFC 1337).
    world.client(&Seg::new(RST, 107, 0).port(1));
    // An acceptable ACK needs no answer.
    world.client(&Seg::new(ACK, 107, snd_nxt).port(1));
    world.silent();
    // Old data and an old SYN get the ACK again, and so does the ACK that opened it.
    for old in [
        Seg::new(PSH_ACK, 101, snd_nxt - 1).port(1).data(b"hello"),
        Seg::new(SYN, 100, 0).port(1),
        Seg::new(ACK, 101, snd_nxt - 1).port(1),
    ] {
        world.client(&old);
        let ack = world.one();
        assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, snd_nxt, 107), "after {old:?}");
        world.pass(Duration::from_millis(500));
    }
    assert_eq!(world.host_messages(), []);
    world.all_gone();
}

#[test]
fn time_wait_is_left_early_for_a_newer_connection() {
    // By sequence number, or by timestamp even with a lower number (RFC 6191).
    let newer_ts = Options { timestamps: Some(Timestamps { value: 501, echo: 0 }), ..Options::default() };
    let older_ts = Options { timestamps: Some(Timestamps { value: 499, echo: 0 }), ..Options::default() };
    for (ts, syn, accepted) in [
        (None, Seg::new(SYN, 108, 0), true),
        (None, Seg::new(SYN, 107, 0), false),
        (Some(500), Seg::new(SYN, 50, 0).options(newer_ts), true),
        (Some(500), Seg::new(SYN, 108, 0).options(older_ts), false),
    ] {
        let mut world = World::new();
        in_time_wait(&mut world, ts);
        let syn = syn.port(1);
        world.client(&syn);
        let answer = world.one();
        assert_eq!(answer.flags, if accepted { SYN_ACK } else { ACK }, "{syn:?}");
        if accepted {
            let mut ack = Seg::new(PSH_ACK, syn.seq + 1, answer.seq + 1).port(1).data(b"again");
            if let Some(ts) = answer.options.timestamps {
                ack = ack.ts(502, ts.value);
            }
            world.client(&ack);
            assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]));
            assert_eq!(world.nic.counters().held(), 1, "TIME_WAIT has given way");
        }
    }
}

/// RFC 9293 §3.6.1 MAY-2 (1)
#[test]
fn who_follows_in_time_wait_gets_a_number_above_the_last_connections() {
    for step in 0..40 {
        let mut world = World::new();
        let snd_nxt = SeqNumber(in_time_wait(&mut world, None));
        let syn = Seg::new(SYN, 108 + (step << 20), 0).port(1);
        world.client(&syn);
        let answer = world.one();
        assert!(SeqNumber(answer.seq).after(snd_nxt), "{step}: {} after {snd_nxt:?}", answer.seq);
        // Asked again, it is the same, and it opens the connection.
        world.client(&syn);
        assert_eq!(world.one().seq, answer.seq);
        world.client(&Seg::new(PSH_ACK, syn.seq + 1, answer.seq + 1).port(1).data(b"again"));
        assert!(matches!(&world.host_messages()[..], [Msg::Established(..)]), "{step}");
        // A number beside it opens nothing.
        let mut world = World::new();
        in_time_wait(&mut world, None);
        world.client(&syn);
        let wrong = world.one().seq + 1 + (1 << 4);
        world.client(&Seg::new(PSH_ACK, syn.seq + 1, wrong + 1).port(1).data(b"again"));
        assert_eq!(world.host_messages(), []);
    }
}

#[test]
fn ended_connections_are_bounded() {
    let mut world = World::with(Config { time_wait_max: 3, ..config() }, listen_body());
    for port in 1..=5 {
        let conn = answered(&mut world, port);
        world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(port));
        world.client(&Seg::new(ACK, 107, conn.seq + 1).port(port));
        world.wire_segments();
        world.closed();
    }
    assert_eq!(world.nic.counters().held(), 3);
    assert_eq!(world.count(Event::TimeWaitEvicted), 2);
    world.all_gone();
    let mut world = World::with(Config { time_wait_max: 0, ..config() }, listen_body());
    in_time_wait(&mut world, None);
    assert_eq!(world.nic.counters().held(), 0);
}

#[test]
fn a_short_time_wait_still_guards_the_cookie() {
    let time_wait = Duration::from_secs(1);
    let mut world = World::with(Config { time_wait, ..config() }, listen_body());
    let snd_nxt = in_time_wait(&mut world, None);
    world.pass(Duration::from_secs(2));
    world.client(&Seg::new(PSH_ACK, 101, snd_nxt - 1).port(1).data(b"hello"));
    assert_eq!(world.one().flags, RST);
    assert_eq!(world.host_messages(), []);
    world.all_gone();
}

#[test]
fn segments_outside_the_window_are_acknowledged_not_believed() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    world.wire_segments();
    // ACK of what was never sent; FIN far ahead; SYN inside.
    world.client(&Seg::new(ACK, 106, conn.seq + 100).port(1));
    assert_eq!(world.one().flags, ACK);
    world.client(&Seg::new(FIN_ACK, 5000, conn.seq + 4).port(1));
    assert_eq!(world.one().flags, ACK);
    // The first answer was a challenge already; they are limited.
    world.client(&Seg::new(SYN_ACK, 106, conn.seq + 4).port(1));
    world.silent();
    assert_eq!(world.count(Event::ChallengeLimited), 1);
    assert_eq!(world.flows_in(State::FinWait1), 1);
    // An exact RST ends it; the host is not told of what it has forgotten.
    world.client(&Seg::new(RST, 106, 0).port(1));
    world.silent();
    world.all_gone();
}

#[test]
fn time_wait_answers_only_now_and_then() {
    let mut world = World::new();
    let snd_nxt = in_time_wait(&mut world, None);
    // A million questions a second bring two answers a second.
    let old = Seg::new(PSH_ACK, 101, snd_nxt - 1).port(1).data(b"hello");
    for _ in 0..1000 {
        world.client(&old);
        world.pass(Duration::from_millis(1));
    }
    assert_eq!(world.wire_segments().len(), 2);
    assert_eq!((world.count(Event::TimeWaitAnswered), world.count(Event::TimeWaitLimited)), (2, 998));
    // A peer whose last ACK was lost repeats its FIN with its own timeout, and has its answer.
    for wait in [500, 1000, 2000] {
        world.pass(Duration::from_millis(wait));
        world.client(&Seg::new(FIN_ACK, 106, snd_nxt).port(1));
        assert_eq!(world.one().flags, ACK);
    }
    assert_eq!(world.nic.counters().held(), 1);
    world.all_gone();
}

#[test]
fn a_closing_connection_without_progress_ends_with_the_user_timeout() {
    let config = Config { user_timeout: Some(Duration::from_secs(5)), ..config() };
    // Silence; a window that stays closed although the peer answers; and the passive close.
    for way in 0..3 {
        let mut world = World::with(config.clone(), listen_body());
        let conn = if way == 2 { answered(&mut world, 1) } else { world.connect(1) };
        match way {
            0 => world.host_close(&conn, b"bye", 1000, false),
            1 => world.host_close(&conn, b"bye", 0, false),
            _ => world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1)),
        }
        for at in 0..49 {
            world.pass(Duration::from_millis(100));
            if way == 1 {
                world.client(&Seg::new(ACK, 106, conn.seq).port(1).window(0));
            }
            assert_eq!(world.nic.counters().flows(), 1, "way {way} after {at}");
        }
        world.wire_segments();
        world.pass(Duration::from_millis(400));
        assert_eq!(world.wire_segments().last().unwrap().flags, RST_ACK);
        assert_eq!((world.count(Event::UserTimedOut), world.nic.counters().flows()), (1, 0));
        world.host_messages();
        world.all_gone();
    }
    // Progress counts: an acknowledged byte starts the time anew.
    let mut world = World::with(config, listen_body());
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    for taken in 0..3 {
        world.pass(Duration::from_secs(4));
        world.client(&Seg::new(ACK, 106, conn.seq + taken + 1).port(1));
        assert_eq!(world.count(Event::UserTimedOut), 0);
    }
    world.client(&Seg::new(ACK, 106, conn.seq + 4).port(1));
    assert_eq!(world.flows_in(State::FinWait2), 1);
    world.all_gone();
}

#[test]
fn the_user_timeout_changes_while_a_connection_closes() {
    let mut world = World::with(config(), listen_body());
    let conn = world.connect(1);
    world.host_close(&conn, b"bye", 1000, false);
    world.nic.change(Changeable { user_timeout: Some(Duration::from_secs(5)), waiting_max: None, ttl: 9 });
    world.pass(Duration::from_millis(4900));
    assert_eq!((world.count(Event::UserTimedOut), world.nic.counters().flows()), (0, 1));
    world.pass(Duration::from_millis(200));
    assert_eq!((world.count(Event::UserTimedOut), world.nic.counters().flows()), (1, 0));
}
