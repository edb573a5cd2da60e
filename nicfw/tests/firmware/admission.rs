//! The door: limits, how those hear of it who are turned away, and what floods cost the host.

use crate::harness::*;
use netcore::Duration;
use nicfw::{Config, Event, State};
use protocol::channel::{AcceptPolicy, ClosedReason, Header, Kind, Listen, Refusal};
use protocol::tcp::Flags;

const FULL: &[u8] = b"-ERR max number of clients reached\r\n";

fn limited(connections_max: u32, refusal: Refusal) -> Listen {
    Listen { connections_max, refusal, ..listen_body() }
}

/// A client with its handshake done and no data sent; returns our next number.
fn shake_hands(world: &mut World, port: u16) -> u32 {
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(port));
    iss + 1
}

#[test]
fn the_limit_turns_syns_away() {
    let mut world = World::with(config(), limited(2, Refusal::Reset));
    let (first, second) = (world.connect(1), world.connect(2));
    world.client(&Seg::new(SYN, 100, 0).port(3));
    let reset = world.one();
    assert_eq!((reset.flags, reset.seq, reset.ack, reset.client_port), (RST_ACK, 0, 101, 3));
    assert_eq!(world.host_messages(), []);
    assert_eq!((world.count(Event::ConnectionsMax), world.count(Event::RefusedReset)), (1, 1));
    // Who leaves makes room, whichever way.
    world.host_abort(&first);
    world.wire_segments();
    let third = world.connect(3);
    world.host_close(&second, b"bye", 1000, false);
    world.wire_segments();
    world.connect(4);
    world.client(&Seg::new(RST, 106, 0).port(third.port));
    assert_eq!(world.closed(), [(third.flow, protocol::channel::NO_HANDLE, ClosedReason::Reset)]);
    world.connect(5);
    world.client(&Seg::new(SYN, 100, 0).port(6));
    assert_eq!(world.one().flags, RST_ACK);
}

#[test]
fn a_connection_counts_until_the_host_has_been_told_of_its_end() {
    let mut world = World::with(config(), limited(1, Refusal::Silence));
    let mut conn = world.connect(1);
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    world.wire_segments();
    // The pool has no frame for CLOSED.
    world.pool = netcore::HeapPool::new(2048, 0);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    assert_eq!(world.one().flags, FIN_ACK);
    world.client(&Seg::new(SYN, 100, 0).port(2));
    world.silent();
    world.pool = netcore::HeapPool::new(2048, usize::MAX);
    world.pass(Duration::ZERO);
    assert_eq!(world.closed().len(), 1);
    world.connect(2);
}

#[test]
fn all_addresses_and_queues_of_a_port_count_together() {
    let mut world = World::with(Config { queues: 2, ..config() }, limited(2, Refusal::Reset));
    world.listen_on(1, limited(2, Refusal::Reset));
    world.listen(Listen { addr: SERVER_V6, mss: 1440, ..limited(2, Refusal::Reset) });
    let request = |world: &mut World, segment: Seg| {
        let iss = world.syn(&segment).seq;
        world.client(&Seg { flags: PSH_ACK, seq: 101, ack: iss + 1, ..segment }.data(b"PING\r\n"));
        (0..2).map(|queue| world.queue_messages(queue).len()).sum::<usize>()
    };
    assert_eq!(request(&mut world, Seg::new(SYN, 100, 0).port(1)), 1);
    assert_eq!(request(&mut world, Seg::new(SYN, 100, 0).port(1).from(CLIENT_V6)), 1);
    for client in [CLIENT, CLIENT_V6] {
        for port in 2..20 {
            world.client(&Seg::new(SYN, 100, 0).port(port).from(client));
            assert_eq!(world.one().flags, RST_ACK);
        }
    }
}

#[test]
fn the_limit_can_change_and_outlives_unlisten() {
    let mut world = World::with(config(), limited(1, Refusal::Reset));
    let first = world.connect(1);
    world.listen(limited(2, Refusal::Reset));
    let second = world.connect(2);
    world.listen(limited(1, Refusal::Reset));
    world.client(&Seg::new(SYN, 100, 0).port(3));
    assert_eq!(world.one().flags, RST_ACK);
    // Both are still there after the listener has gone and come again, and still count.
    let mut body = [0; Listen::LEN];
    listen_body().emit(&mut body);
    world.tell(0, Header::new(Kind::Unlisten, world.nic_epoch), &[&body]);
    world.pass(Duration::ZERO);
    world.listen(limited(2, Refusal::Reset));
    world.client(&Seg::new(SYN, 100, 0).port(3));
    assert_eq!(world.one().flags, RST_ACK);
    world.host_abort(&first);
    world.host_abort(&second);
    world.wire_segments();
    world.connect(3);
    // Gone for good: the place is free for another port.
    world.tell(0, Header::new(Kind::Unlisten, world.nic_epoch), &[&body]);
    world.all_but_established_gone();
}

#[test]
fn a_new_life_of_the_host_begins_with_no_connections() {
    let mut world = World::with(config(), limited(1, Refusal::Reset));
    world.connect(1);
    world.host_epoch += 1;
    world.join();
    world.listen(limited(1, Refusal::Reset));
    world.wire_segments();
    world.connect(2);
    world.client(&Seg::new(SYN, 100, 0).port(3));
    assert_eq!(world.one().flags, RST_ACK);
}

#[test]
fn whoever_finished_the_handshake_before_the_port_was_full() {
    for refusal in Refusal::ALL {
        let mut world = World::with(config(), limited(1, refusal));
        let ack = shake_hands(&mut world, 2);
        let first = world.connect(1);
        let request = Seg::new(PSH_ACK, 101, ack).port(2).data(b"hello");
        world.client(&request);
        assert_eq!(world.host_messages(), []);
        assert_eq!(world.count(Event::ConnectionsMax), 1);
        match refusal {
            Refusal::Reset => {
                assert_eq!(world.one().flags, RST_ACK);
                assert_eq!(world.flows_in(State::Waiting), 0);
            }
            Refusal::Silence => {
                world.silent();
                world.host_abort(&first);
                world.wire_segments();
                world.client(&request);
                assert_eq!(world.host_messages().len(), 1);
            }
            Refusal::Error => {
                let error = world.one();
                assert_eq!((error.flags, error.seq, error.ack), (Flags(0x19), ack, 106));
                assert_eq!(error.data, FULL);
                assert_eq!(world.nic.counters().held(), 3, "two flows and what is kept");
                world.client(&Seg::new(FIN_ACK, 106, ack + 1 + FULL.len() as u32).port(2));
                assert_eq!(world.one().flags, ACK);
            }
        }
    }
}

#[test]
fn the_error_goes_to_a_peer_that_waits_for_the_server_to_speak() {
    for (refusal, flags) in
        [(Refusal::Error, Flags(0x19)), (Refusal::Reset, RST_ACK), (Refusal::Silence, RST_ACK)]
    {
        let listen = Listen { policy: AcceptPolicy::Immediate, ..limited(1, refusal) };
        let mut world = World::with(config(), listen);
        let iss: Vec<u32> = (1..=2).map(|port| world.syn(&Seg::new(SYN, 100, 0).port(port)).seq).collect();
        world.client(&Seg::new(ACK, 101, iss[0] + 1).port(1));
        assert_eq!(world.host_messages().len(), 1);
        world.client(&Seg::new(ACK, 101, iss[1] + 1).port(2));
        assert_eq!(world.host_messages(), []);
        let answer = world.one();
        assert_eq!((answer.flags, answer.client_port, answer.ack), (flags, 2, 101));
    }
}

#[test]
fn no_frame_no_error_and_the_peer_asks_again() {
    let mut world = World::with(config(), limited(1, Refusal::Error));
    world.connect(1);
    let ack = shake_hands(&mut world, 2);
    let request = Seg::new(PSH_ACK, 101, ack).port(2).data(b"hello");
    world.pool = netcore::HeapPool::new(2048, 0);
    world.client(&request);
    world.silent();
    assert_eq!((world.count(Event::PoolEmpty), world.count(Event::ConnectionsMax)), (1, 0));
    world.pool = netcore::HeapPool::new(2048, usize::MAX);
    world.client(&request);
    assert_eq!(world.one().data, FULL);
}
