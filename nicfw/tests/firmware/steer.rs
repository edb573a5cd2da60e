//! Which queue a connection goes to: by hash, by key, and while the table changes.

use crate::harness::*;
use nicfw::{Config, Event, INDIRECTION, IndirectionError, Offload, State, Steer};
use protocol::channel::{AcceptPolicy, Listen};
use protocol::resp::first_key::key_slot;

const QUEUES: usize = 4;

fn world(steer: Steer) -> World {
    let config = Config { queues: QUEUES, steer, ..config() };
    let mut world = World::with(config, listen_body());
    (1..QUEUES).for_each(|queue| world.listen_on(queue, listen_body()));
    world
}

/// A client with its handshake done; returns our next number.
fn shake_hands(world: &mut World, port: u16) -> u32 {
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(port));
    iss + 1
}

/// The queue that got the one message there is.
fn queue_of_news(world: &mut World) -> (usize, Conn) {
    let mut found = Vec::new();
    for queue in 0..QUEUES {
        for message in world.queue_messages(queue) {
            let Msg::Established(header, body, Some(first)) = message else { panic!("{message:?}") };
            let ack = first.seq + first.data.len() as u32;
            let conn = Conn { flow: header.flow, seq: body.snd_nxt.0, ack, port: first.client_port };
            found.push((queue, conn));
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

fn request(world: &mut World, port: u16, data: &[u8]) -> (usize, Conn) {
    let ack = shake_hands(world, port);
    world.client(&Seg::new(PSH_ACK, 101, ack).port(port).data(data));
    queue_of_news(world)
}

/// The queue that a key leads to while the table is even.
fn queue_of_key(key: &[u8]) -> usize {
    usize::from(key_slot(key)) % INDIRECTION % QUEUES
}

#[test]
fn the_first_key_chooses_the_queue() {
    let mut world = world(Steer::Key);
    let mut port = 1;
    let mut seen = [0; QUEUES];
    for key in ["foo", "bar", "a", "b", "user:1", "{user:1}:name"] {
        let wanted = queue_of_key(key.as_bytes());
        for request_form in [
            format!("GET {key}\r\n"),
            format!("*2\r\n$4\r\nINCR\r\n${}\r\n{key}\r\n", key.len()),
            format!("*3\r\n$3\r\nset\r\n${}\r\n{key}\r\n$9999\r\nand more to come", key.len()),
        ] {
            assert_eq!(request(&mut world, port, request_form.as_bytes()).0, wanted, "{request_form:?}");
            seen[wanted] += 1;
            port += 1;
        }
    }
    assert_eq!(world.count(Event::SteeredByKey), u64::from(port) - 1);
    assert!(seen.iter().filter(|&&count| count > 0).count() > 1, "{seen:?}");
}

#[test]
fn without_a_key_the_tuple_chooses() {
    let (mut by_key, mut by_tuple) = (world(Steer::Key), world(Steer::Rss));
    let requests: [&[u8]; 5] =
        [b"PING\r\n", b"*1\r\n$4\r\nPING\r\n", b"GET fo", b"*2\r\n$3\r\nGET\r\n$3\r\nfo", b"\0\xff"];
    for (port, data) in (1..).zip(requests) {
        let queues = (request(&mut by_key, port, data).0, request(&mut by_tuple, port, data).0);
        assert_eq!(queues.0, queues.1, "{}", data.escape_ascii());
    }
    assert_eq!((by_key.count(Event::SteeredByTuple), by_key.count(Event::SteeredByKey)), (5, 0));
    assert_eq!((by_tuple.count(Event::SteeredByTuple), by_tuple.count(Event::SteeredByKey)), (0, 0));
    // Not the start of what the client says.
    let ack = shake_hands(&mut by_key, 50);
    by_key.client(&Seg::new(PSH_ACK, 111, ack).port(50).data(b"GET foo\r\n"));
    queue_of_news(&mut by_key);
    assert_eq!(by_key.count(Event::SteeredByKey), 0);
}

#[test]
fn a_flow_lives_on_the_queue_of_its_key() {
    let mut world = world(Steer::Key);
    let queue = queue_of_key(b"foo");
    // A client whose addresses and ports lead elsewhere.
    let mut by_tuple = self::world(Steer::Rss);
    let port = (1..60).find(|&port| request(&mut by_tuple, port, b"PING\r\n").0 != queue).unwrap();
    let (chosen, conn) = request(&mut world, port, b"GET foo\r\n");
    assert_eq!(chosen, queue);
    world.client(&Seg::new(PSH_ACK, conn.ack, conn.seq).port(port).data(b"GET foo\r\n"));
    assert!(matches!(&world.queue_messages(queue)[..], [Msg::Segment(..)]));
    assert!((0..QUEUES).all(|queue| world.queue_messages(queue).is_empty()));
}

#[test]
fn whoever_does_not_listen_gets_no_keys() {
    let mut world = World::with(Config { queues: QUEUES, steer: Steer::Key, ..config() }, listen_body());
    // Every queue has the epoch of the one that listens: one stack over all of them.
    assert_eq!(request(&mut world, 1, b"GET foo\r\n").0, queue_of_key(b"foo"));
    // A stack for each queue, and one that does not listen.
    let stranger = queue_of_key(b"foo");
    let mut world = World::bare(Config { queues: QUEUES, steer: Steer::Key, ..config() });
    for queue in 0..QUEUES {
        world.host_epoch += 1;
        world.hello(queue);
        let answer = world.queue_messages(queue).pop();
        let Some(Msg::Hello(_, hello)) = answer else { panic!("{answer:?}") };
        world.nic_epoch = hello.epoch;
    }
    (0..QUEUES).filter(|&queue| queue != stranger).for_each(|queue| world.listen_on(queue, listen_body()));
    assert_ne!(request(&mut world, 1, b"GET foo\r\n").0, stranger);
}

#[test]
fn a_request_that_was_dropped_is_steered_again() {
    let mut world = world(Steer::Key);
    let ack = shake_hands(&mut world, 1);
    let wanted = queue_of_key(b"foo");
    // Fill that queue.
    let filler = vec![0u8; 60];
    let before = world.nic.host_output(wanted).room();
    for _ in 0..before {
        world.nic.host_output(wanted).push(netcore::HeapFrame::from_bytes(&filler)).unwrap();
    }
    let get = Seg::new(PSH_ACK, 101, ack).port(1).data(b"GET foo\r\n");
    world.client(&get);
    assert_eq!((world.count(Event::EstablishedDelayed), world.flows_in(State::Waiting)), (1, 1));
    while world.nic.host_output(wanted).pop().is_some() {}
    world.client(&get);
    assert_eq!(queue_of_news(&mut world).0, wanted);
}

#[test]
fn keys_choose_nothing_where_the_server_speaks_first() {
    let listen = Listen { policy: AcceptPolicy::Immediate, ..listen_body() };
    let mut world = World::with(Config { queues: QUEUES, steer: Steer::Key, ..config() }, listen);
    let ack = shake_hands(&mut world, 1);
    world.client(&Seg::new(PSH_ACK, 101, ack).port(1).data(b"GET foo\r\n"));
    assert_eq!((world.count(Event::EstablishedSent), world.count(Event::SteeredByKey)), (1, 0));
}

#[test]
fn the_table_changes_and_flows_stay() {
    for steer in [Steer::Rss, Steer::SymmetricRss, Steer::Key] {
        let mut world = world(steer);
        let old: Vec<_> = (1..=20).map(|port| request(&mut world, port, b"GET foo\r\n")).collect();
        let waiting = shake_hands(&mut world, 30);
        let held = |world: &World| [0, 1, 2, 3].map(|queue| world.nic.flows_held_by(queue));
        let of_old = [0, 1, 2, 3].map(|queue| old.iter().filter(|(its, _)| *its == queue).count() as u32);
        assert_eq!(held(&world), of_old, "who waits is nobody's yet");
        world.nic.set_indirection(&[3; INDIRECTION]).unwrap();
        assert_eq!(world.nic.indirection(), &[3; INDIRECTION]);
        // Nothing of what is under way gets lost, in either direction.
        for (queue, conn) in old {
            world.client(&Seg::new(PSH_ACK, conn.ack, conn.seq).port(conn.port).data(b"again"));
            assert!(matches!(&world.queue_messages(queue)[..], [Msg::Segment(..)]), "{steer:?}");
            let reply = Seg::new(PSH_ACK, conn.seq, conn.ack + 5).port(conn.port).data(b"reply");
            world.host_segment_on(queue, &conn, &reply);
            assert_eq!(world.one().data, b"reply");
        }
        for port in 40..60 {
            assert_eq!(request(&mut world, port, b"GET foo\r\n").0, 3, "{steer:?}");
        }
        let [first, second, third, last] = of_old;
        assert_eq!(held(&world), [first, second, third, last + 20]);
        // Who waited was not the host's yet; its queue is one of the old or of the new table.
        world.client(&Seg::new(PSH_ACK, 101, waiting).port(30).data(b"GET foo\r\n"));
        queue_of_news(&mut world);
        // Another HELLO of a queue that takes part is no reason to forget the table.
        world.hello(0);
        world.queue_messages(0);
        assert_eq!(world.nic.indirection(), &[3; INDIRECTION]);
    }
}

#[test]
fn a_bad_table_changes_nothing() {
    let mut world = World::bare(Config { queues: 2, ..config() });
    assert_eq!(world.nic.set_indirection(&[0; INDIRECTION]), Err(IndirectionError::Queue(0)));
    world.hello(0);
    let even = *world.nic.indirection();
    assert_eq!(world.nic.set_indirection(&[0; 5]), Err(IndirectionError::Length(5)));
    for queue in [1, 2, 128, u16::MAX] {
        assert_eq!(world.nic.set_indirection(&[queue; INDIRECTION]), Err(IndirectionError::Queue(queue)));
    }
    assert_eq!(*world.nic.indirection(), even);
    // Who joins gets a share.
    world.nic.set_indirection(&[0; INDIRECTION]).unwrap();
    world.hello(1);
    assert!(world.nic.indirection().contains(&1));
}

#[test]
fn a_plain_nic_follows_the_table_at_once() {
    let mut world = World::bare(Config { queues: 2, offload: Offload::None, ..config() });
    let frame = Seg::new(ACK, 1, 1).frame();
    for queue in [1, 0] {
        world.nic.set_indirection(&[queue; INDIRECTION]).unwrap();
        world.wire(&frame);
        assert_eq!(world.queue_messages(usize::from(queue)), [Msg::Raw(frame.clone())]);
    }
    assert_eq!(world.count(Event::IndirectionChanged), 2);
}
