//! The door: limits, how those hear of it who are turned away, and what floods cost the host.

use std::net::Ipv4Addr;

use crate::harness::*;
use netcore::Duration;
use netcore::rng::SeededRng;
use nicfw::{Config, Event, State};
use protocol::channel::{AcceptPolicy, ClosedReason, Header, Kind, Listen, Refusal};
use protocol::ip::Address;
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

/// Three queues' worth of SYNs keep nobody from being served who is there.
#[test]
fn established_before_new() {
    let mut world = World::with(Config { queue_frames: 16, ..config() }, listen_body());
    let mut conn = world.connect(1);
    for port in 100..148 {
        world.client(&Seg::new(SYN, 100, 0).port(port));
    }
    // Acknowledgments of nothing are answered, too, as long as there is room.
    for port in 200..220 {
        world.client(&Seg::new(ACK, 5, 5).port(port));
    }
    world.client(&Seg::new(PSH_ACK, 106, conn.seq).port(1).data(b"request"));
    assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]));
    conn.ack += 7;
    for _ in 0..4 {
        world.host_segment(&mut conn, PSH_ACK, b"reply", false);
    }
    let sent = world.wire_segments();
    assert_eq!(sent.iter().filter(|segment| segment.data == b"reply").count(), 4);
    assert_eq!(sent.iter().filter(|segment| segment.flags == SYN_ACK).count(), 12);
    assert_eq!(world.count(Event::NewcomerDropped), 48 - 12 + 20);
    assert_eq!(world.count(Event::WireQueueFull), 0);
}

/// None of it makes a message or a frame for the host.
#[test]
fn floods_cost_the_host_nothing() {
    let mut world = World::new();
    let conn = world.connect(1);
    let messages = world.count(Event::HostSent);
    let client = |n: u32| Address::v4(Ipv4Addr::from(0x0a00_0000 + n));
    for n in 0..10_000u32 {
        let port = (n % 60_000) as u16 + 1;
        let number = n.wrapping_mul(2_654_435_761);
        world.client(&Seg::new(SYN, number, 0).port(port).from(client(n)));
        world.client(&Seg::new(ACK, number, !number).port(port).from(client(n)));
        world.client(&Seg::new(RST, number, 0).port(port).from(client(n)));
        world.client(&Seg::new(FIN_ACK, number, !number).port(port).from(client(n)));
        world.client(&Seg::new(PSH_ACK, number, !number).port(port).from(client(n)).data(b"GET x\r\n"));
        world.wire_frames();
    }
    assert_eq!((world.count(Event::HostSent), world.nic.counters().flows()), (messages, 1));
    assert_eq!((world.count(Event::SynReceived), world.count(Event::CookieAccepted)), (10_001, 1));
    assert!(world.count(Event::CookieRefused) >= 29_000, "{}", world.count(Event::CookieRefused));
    // Who finishes the handshake and never says anything waits in the firmware, as long as it may.
    for n in 0..1_000u32 {
        let syn = Seg::new(SYN, n, 0).from(client(n));
        let iss = world.syn(&syn).seq;
        world.client(&Seg { flags: ACK, seq: n + 1, ack: iss + 1, ..syn });
        world.wire_frames();
    }
    assert_eq!((world.count(Event::HostSent), world.flows_in(State::Waiting)), (messages, 32));
    assert_eq!(world.count(Event::BacklogEvicted), 1_000 - 32);
    // Meanwhile nothing has happened to who was there.
    world.client(&Seg::new(PSH_ACK, conn.ack, conn.seq).port(1).data(b"again"));
    assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]));
}

#[test]
fn a_network_has_a_budget_of_syn_acks() {
    let config = Config { network_syn_rate: 100, network_syn_burst: 10, networks_max: 64, ..config() };
    let mut world = World::with(config, listen_body());
    let answered = |world: &mut World, client: Address| {
        for port in 1..=50 {
            world.client(&Seg::new(SYN, 100, 0).port(port).from(client));
        }
        world.wire_segments().len()
    };
    assert_eq!(answered(&mut world, CLIENT), 10);
    assert_eq!(world.count(Event::NetworkSynRate), 40);
    // A neighbour shares it, another network has its own.
    assert_eq!(answered(&mut world, Address::v4(Ipv4Addr::new(198, 18, 0, 77))), 0);
    assert_eq!(answered(&mut world, Address::v4(Ipv4Addr::new(198, 18, 1, 77))), 10);
    world.pass(Duration::from_millis(50));
    assert_eq!(answered(&mut world, CLIENT), 5);
}

#[test]
fn a_network_has_so_many_flows() {
    for refusal in Refusal::ALL {
        let config =
            Config { network_flows_max: 2, networks_max: 64, time_wait: Duration::from_secs(1), ..config() };
        let mut world = World::with(config, Listen { refusal, ..listen_body() });
        let (first, _second) = (world.connect(1), world.connect(2));
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(3)).seq;
        let request = Seg::new(PSH_ACK, 101, iss + 1).port(3).data(b"hello");
        world.client(&request);
        assert_eq!((world.count(Event::NetworkFlowsMax), world.nic.counters().flows()), (1, 2));
        let resets = usize::from(refusal != Refusal::Silence);
        assert_eq!(world.wire_segments().iter().filter(|segment| segment.flags == RST).count(), resets);
        assert_eq!(world.host_messages(), []);
        // Flows that are being closed count until they are over; what is only remembered does not.
        world.host_close(&first, b"bye", 1000, false);
        world.wire_segments();
        world.client(&request);
        assert_eq!(world.count(Event::NetworkFlowsMax), 2);
        world.wire_segments();
        world.client(&Seg::new(FIN_ACK, 106, first.seq + 4).port(1));
        assert_eq!(world.one().flags, ACK);
        world.client(&request);
        assert_eq!(world.host_messages().len(), 1);
        // A full table of flows gives the place back.
        world.host_abort(&first);
    }
    let config = Config { network_flows_max: 2, flows_max: 1, ..config() };
    let mut world = World::with(config, listen_body());
    let first = world.connect(1);
    for port in 2..6 {
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        world.client(&Seg::new(ACK, 101, iss + 1).port(port));
    }
    assert_eq!((world.count(Event::FlowTableFull), world.count(Event::NetworkFlowsMax)), (4, 0));
    world.host_abort(&first);
    world.wire_segments();
    world.connect(7);
}

#[test]
fn a_host_that_does_not_answer_is_told_of_no_more() {
    const BEHIND: &[u8] = b"-LOADING The server is behind, try again later\r\n";
    for refusal in Refusal::ALL {
        let config = Config { untaken_max: 3, ..config() };
        let mut world = World::with(config, Listen { refusal, ..listen_body() });
        let mut conns: Vec<Conn> = (1..=3).map(|port| world.connect(port)).collect();
        let ack = shake_hands(&mut world, 4);
        let request = Seg::new(PSH_ACK, 101, ack).port(4).data(b"hello");
        world.client(&request);
        assert_eq!((world.count(Event::HostBehind), world.host_messages()), (1, vec![]));
        match refusal {
            Refusal::Silence => world.silent(),
            Refusal::Reset => assert_eq!(world.one().flags, RST_ACK),
            Refusal::Error => assert_eq!(world.one().data, BEHIND),
        }
        // An answer of any kind makes room, and so does the end of a connection, from either side.
        world.host_segment(&mut conns[0], ACK, b"", false);
        world.host_segment(&mut conns[0], PSH_ACK, b"reply", false);
        world.host_abort(&conns[1]);
        world.client(&Seg::new(RST, 106, 0).port(3));
        world.wire_segments();
        world.closed();
        for port in 5..=7 {
            world.connect(port);
        }
        let ack = shake_hands(&mut world, 8);
        world.client(&Seg::new(PSH_ACK, 101, ack).port(8).data(b"hello"));
        assert_eq!((world.count(Event::HostBehind), world.host_messages()), (2, vec![]));
        // A new life of the host owes nothing.
        world.wire_segments();
        world.host_epoch += 1;
        world.join();
        world.listen(Listen { refusal, ..listen_body() });
        world.wire_segments();
        world.connect(9);
    }
}

/// In the name of a client that is there, by somebody who does not know its numbers.
#[test]
fn guessed_numbers_in_a_clients_name_cost_the_host_nothing() {
    let mut world = World::new();
    let mut conn = world.connect(1);
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    world.wire_segments();
    let mut rng = SeededRng::new(3);
    let mut reached = 0;
    for n in 0..10_000 {
        let flags = [ACK, PSH_ACK, FIN_ACK][n % 3];
        let (seq, ack) = (rng.next_u64() as u32, rng.next_u64() as u32);
        world.client(&Seg::new(flags, seq, ack).port(1).data(&b"DEL x\r\n"[..n % 3]));
        reached += world.host_messages().len();
    }
    assert!(reached < 150, "{reached} of 10000, where 78 are to be expected");
    assert!(world.wire_segments().len() <= 1, "challenge ACKs are limited");
    assert_eq!(world.count(Event::Unacceptable) as usize + reached, 10_000);
    // What is near is the host's to judge: a keep-alive, old data, and what lies ahead of a gap.
    for seq in [conn.ack - 1, conn.ack.wrapping_sub(1_000_000), conn.ack + 60_000, conn.ack] {
        world.client(&Seg::new(ACK, seq, conn.seq).port(1));
        assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]), "{seq}");
    }
}
