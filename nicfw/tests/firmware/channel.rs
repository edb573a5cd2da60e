//! The channel: epochs, restarts, full queues, stale and broken messages, receive-side scaling.

use netcore::toeplitz::Toeplitz;
use netcore::{Duration, FourTuple, Frame, HeapFrame};
use nicfw::{Config, Event, Offload, State};
use protocol::channel::{
    AcceptPolicy, ClosedReason, FlowId, Header, Kind, Listen, ListenStatus, MessageFlags,
};

use crate::harness::*;

#[test]
fn the_firmware_greets_and_answers() {
    let mut world = World::bare(config());
    let messages = world.host_messages();
    let [Msg::Hello(header, hello)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((header.flags, header.epoch), (MessageFlags::default(), 0));
    assert_ne!(hello.epoch, 0);
    world.join();
    assert_eq!(world.nic_epoch, hello.epoch);
}

#[test]
fn a_stale_message_is_dropped_and_answered_with_hello() {
    let mut world = World::new();
    let conn = world.connect(1);
    world.nic_epoch ^= 1;
    world.host_abort(&conn);
    world.host_abort(&conn);
    assert_eq!(world.wire_segments(), []);
    assert_eq!(world.flows_in(State::Established), 1);
    let messages = world.host_messages();
    let [Msg::Hello(header, _)] = &messages[..] else { panic!("only one, rate-limited: {messages:?}") };
    assert!(!header.flags.has(MessageFlags::REPLY));
    assert_eq!(world.count(Event::ChannelStale), 2);
    world.pass(Duration::from_millis(100));
    world.host_abort(&conn);
    assert_eq!(world.host_messages().len(), 1);
}

#[test]
fn a_host_that_restarts_has_its_flows_reset() {
    let mut world = World::new();
    let held = world.connect(1);
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(2)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(2));
    let closing = world.connect(3);
    world.host_close(&closing, b"bye", 1000, false);
    world.wire_segments();
    world.host_epoch = 501;
    world.hello(0);
    let mut resets = world.wire_segments();
    resets.sort_by_key(|segment| segment.client_port);
    assert_eq!(resets.len(), 2, "{resets:?}");
    assert_eq!((resets[0].flags, resets[0].client_port, resets[0].seq), (RST_ACK, 1, held.seq));
    assert_eq!((resets[1].flags, resets[1].client_port, resets[1].seq), (RST_ACK, 2, iss + 1));
    assert_eq!(world.flows_in(State::FinWait1), 1, "what was handed over goes on");
    let messages = world.host_messages();
    assert!(matches!(&messages[..], [Msg::Hello(header, _)] if header.epoch == 501), "{messages:?}");
    assert_eq!(world.count(Event::HostRestarted), 1);
    // Listeners are forgotten; an old HELLO in a ring changes nothing.
    let frame = Seg::new(SYN, 100, 0).port(9).frame();
    world.wire(&frame);
    assert_eq!(world.host_messages(), [Msg::Raw(frame)]);
    world.host_epoch = 500;
    world.hello(0);
    world.silent();
    assert_eq!(world.count(Event::HostRestarted), 1);
    world.host_epoch = 501;
    world.listen(listen_body());
    world.connect(4);
    world.all_but_established_gone();
}

#[test]
fn many_flows_are_reset_a_few_per_round() {
    let config = Config { flows_max: 1000, queue_frames: 2000, ..config() };
    let mut world = World::with(config, Listen { backlog: 1000, ..listen_body() });
    for port in 1..=1000 {
        world.connect(port);
    }
    world.host_epoch = 501;
    world.hello(0);
    assert_eq!(world.wire_segments().len(), 256);
    // A segment of a flow that is not reset yet resets it.
    let last = Seg::new(ACK, 106, 0).port(1000);
    world.client(&last);
    assert_eq!(world.wire_segments().len(), 257);
    world.pass(Duration::ZERO);
    world.pass(Duration::ZERO);
    assert_eq!(world.nic.counters().flows(), 0);
    assert_eq!(world.count(Event::RestartReset), 1000);
    world.all_gone();
}

#[test]
fn two_queues_take_part_when_they_have_said_hello() {
    let mut world = World::bare(Config { queues: 2, ..config() });
    let tuple =
        |port| FourTuple { local_addr: SERVER, remote_addr: CLIENT, local_port: PORT, remote_port: port };
    let toeplitz = Toeplitz::default();
    world.queue_messages(0);
    world.queue_messages(1);
    world.hello(0);
    let Some(Msg::Hello(_, hello)) = world.queue_messages(0).pop() else { panic!() };
    world.nic_epoch = hello.epoch;
    for port in 1..=16 {
        world.client(&Seg::new(SYN, 100, 0).port(port));
    }
    assert_eq!((world.queue_messages(0).len(), world.queue_messages(1).len()), (16, 0));
    world.hello(1);
    world.queue_messages(1);
    for port in 1..=16 {
        world.client(&Seg::new(SYN, 100, 0).port(port));
        let queue = toeplitz.hash(&tuple(port)) as usize % 2;
        assert_eq!(world.queue_messages(queue).len(), 1, "port {port}");
        assert_eq!(world.queue_messages(1 - queue), []);
    }
    // Connections too, from the first message to the last.
    world.listen(listen_body());
    for port in 1..=16 {
        let queue = toeplitz.hash(&tuple(port)) as usize % 2;
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(port).data(b"x"));
        world.client(&Seg::new(RST, 102, 0).port(port));
        let messages = world.queue_messages(queue);
        assert!(matches!(&messages[..], [Msg::Established(..), Msg::Closed(_)]), "{messages:?}");
        assert_eq!(world.queue_messages(1 - queue), []);
    }
    world.all_gone();
}

#[test]
fn one_stack_per_queue_lives_and_dies_alone() {
    let mut world = World::bare(Config { queues: 2, ..config() });
    for queue in 0..2 {
        world.host_epoch = 500 + queue as u32;
        world.hello(queue);
        let Some(Msg::Hello(header, hello)) = world.queue_messages(queue).pop() else { panic!() };
        assert_eq!(header.epoch, world.host_epoch);
        world.nic_epoch = hello.epoch;
    }
    assert_eq!(world.count(Event::HostRestarted), 0);
    // Only queue 0 listens: it gets every connection, wherever scaling would put it.
    world.listen_on(0, listen_body());
    let connect = |world: &mut World, ports: std::ops::Range<u16>| {
        for port in ports {
            let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
            world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(port).data(b"x"));
        }
        [0, 1].map(|queue| world.queue_messages(queue).len())
    };
    assert_eq!(connect(&mut world, 1..9), [8, 0]);
    world.listen_on(1, listen_body());
    let [first, second] = connect(&mut world, 9..17);
    assert!(first > 0 && second > 0 && first + second == 8);
    // A message about the flow of another stack is refused.
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(20)).seq;
    world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(20).data(b"x"));
    let queue = usize::from(world.nic.host_output(0).is_empty());
    let Some(Msg::Established(header, ..)) = world.queue_messages(queue).pop() else { panic!() };
    world.tell(1 - queue, Header { kind: Kind::Abort, ..header_for(&world, header) }, &[&[0; 8]]);
    assert_eq!(world.wire_segments(), []);
    // Queue 1 starts anew: its flows go, those of queue 0 and the listener stay.
    world.host_epoch = 502;
    world.hello(1);
    assert_eq!(world.wire_segments().len(), second + queue);
    assert_eq!(world.flows_in(State::Established) as usize, 8 + first + 1 - queue);
    world.queue_messages(1);
    assert_eq!(connect(&mut world, 30..40), [10, 0]);
}

fn header_for(world: &World, header: Header) -> Header {
    Header { epoch: world.nic_epoch, flags: MessageFlags::default(), ..header }
}

#[test]
fn a_plain_card_passes_everything_on() {
    let config = Config { offload: Offload::None, queues: 2, ..config() };
    let mut world = World::bare(config);
    assert_eq!(world.nic.next_deadline(), None);
    let toeplitz = Toeplitz::default();
    for port in 1..=16 {
        let mut frame = Seg::new(SYN, 100, 0).port(port).frame();
        frame[50] ^= port as u8 & 1;
        world.wire(&frame);
        let tuple =
            FourTuple { local_addr: SERVER, remote_addr: CLIENT, local_port: PORT, remote_port: port };
        let queue = toeplitz.hash(&tuple) as usize % 2;
        assert_eq!(world.queue_messages(queue), [Msg::Raw(frame)]);
        assert_eq!(world.queue_messages(1 - queue), []);
    }
    let short = vec![1, 2, 3];
    world.nic.wire_frame(HeapFrame::from_bytes(&short), &mut world.pool, world.now);
    assert_eq!(world.nic.host_output(0).pop().unwrap().bytes(), short);
    let out = Seg::new(SYN, 1, 2).frame();
    world.nic.host_frame(1, HeapFrame::from_bytes(&out), &mut world.pool, world.now);
    assert_eq!(world.wire_frames(), [out]);
}

#[test]
fn a_full_host_queue_loses_data_but_no_news() {
    let mut world = World::with(Config { queue_frames: 16, ..config() }, listen_body());
    let conn = world.connect(1);
    let mut reset_me = world.connect(2);
    world.host_segment(&mut reset_me, ACK, b"", true);
    world.wire_segments();
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(3)).seq;
    // Data stops before the queue is full.
    for _ in 0..20 {
        world.client(&Seg::new(PSH_ACK, 106, conn.seq).port(1).data(b"more"));
    }
    assert_eq!(world.nic.host_output(0).len(), 14);
    assert_eq!(world.count(Event::HostQueueFull), 6);
    // News fills it up.
    for port in [4, 5] {
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(port).data(b"hello"));
    }
    assert!(world.nic.host_output(0).is_full());
    // More news waits: the request is dropped, the peer sends it again; the end is kept.
    let request = Seg::new(PSH_ACK, 101, iss + 1).port(3).data(b"hello");
    world.client(&request);
    assert_eq!(world.flows_in(State::Waiting), 1);
    world.client(&Seg::new(RST, 106, 0).port(2));
    assert_eq!(world.flows_in(State::Ended), 1);
    assert_eq!(world.host_messages().len(), 16);
    world.client(&request);
    let messages = world.host_messages();
    assert!(messages.iter().any(|message| matches!(message, Msg::Established(..))), "{messages:?}");
    assert!(messages.iter().any(|message| matches!(message, Msg::Closed(_))), "{messages:?}");
}

#[test]
fn immediate_news_waits_for_room() {
    let listen = Listen { policy: AcceptPolicy::Immediate, ..listen_body() };
    let mut world = World::with(Config { queue_frames: 8, ..config() }, listen);
    for port in 1..=10 {
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        world.client(&Seg::new(ACK, 101, iss + 1).port(port));
    }
    assert_eq!((world.flows_in(State::Established), world.flows_in(State::Announcing)), (8, 2));
    assert_eq!(world.host_messages().len(), 8);
    world.pass(Duration::ZERO);
    assert_eq!(world.host_messages().len(), 2);
    assert_eq!(world.flows_in(State::Established), 10);
}

#[test]
fn messages_that_make_no_sense_change_nothing() {
    let mut world = World::new();
    let conn = world.connect(1);
    let header = conn.header(Kind::Segment, world.nic_epoch);
    // Too short for what they claim to carry, or of the wrong direction or kind.
    for kind in [Kind::Segment, Kind::Abort, Kind::Established, Kind::Closed, Kind::Listen, Kind::Unlisten] {
        world.tell(0, Header { kind, ..header }, &[&[1, 2, 3]]);
    }
    world.silent();
    assert_eq!(world.count(Event::ChannelMalformed), 6);
    // A segment that belongs to another four-tuple than the flow.
    let mut other = Conn { port: 2, ..conn.clone() };
    world.host_segment(&mut other, PSH_ACK, b"stolen", true);
    world.silent();
    assert_eq!(world.count(Event::ChannelMalformed), 7);
    // Another version.
    let mut frame = vec![0; 60];
    frame[12..15].copy_from_slice(&[0x88, 0xb5, 9]);
    world.nic.host_frame(0, HeapFrame::from_bytes(&frame), &mut world.pool, world.now);
    assert_eq!(world.count(Event::ChannelVersion), 1);
    // A flow that never was, and one of an earlier use of the slot.
    for flow in [FlowId { slot: 7, generation: 1 }, FlowId { generation: 99, ..conn.flow }] {
        let mut unknown = Conn { flow, ..conn.clone() };
        world.host_segment(&mut unknown, PSH_ACK, b"x", true);
        assert_eq!(world.closed(), [(flow, HANDLE, ClosedReason::Unknown)]);
    }
    // A CLOSE without FIN: the host has forgotten the flow, so it is reset.
    let close = conn.header(Kind::Close, world.nic_epoch);
    world.tell(0, close, &[&[0; 4]]);
    assert_eq!(world.one().flags, RST_ACK);
    world.all_gone();
}

#[test]
fn what_the_host_says_of_an_ended_flow_is_ignored() {
    let mut world = World::new();
    let mut conn = world.connect(1);
    world.host_segment(&mut conn, PSH_ACK, b"reply", true);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1));
    world.wire_segments();
    // Crossing CLOSED on the way.
    world.host_segment(&mut conn, ACK, b"", true);
    world.host_close(&conn, b"", 1000, false);
    world.host_abort(&conn);
    assert_eq!(world.wire_segments(), []);
    assert_eq!(world.count(Event::ChannelUnknownFlow), 3);
    assert_eq!(world.closed().len(), 1);
}

#[test]
fn listeners_run_out_and_change() {
    let mut world = World::with(Config { listeners_max: 1, ..config() }, listen_body());
    world.listen(Listen { mss: 1400, ..listen_body() });
    assert_eq!(world.syn(&Seg::new(SYN, 100, 0)).options.mss, Some(1400));
    let mut body = [0; Listen::LEN];
    Listen { port: 6380, ..listen_body() }.emit(&mut body);
    world.tell(0, Header::new(Kind::Listen, world.nic_epoch), &[&body]);
    let messages = world.host_messages();
    let [Msg::Listen(_, listen)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(listen.status, ListenStatus::TableFull);
}

#[test]
fn a_needed_checksum_is_filled_in() {
    let mut world = World::new();
    let mut conn = world.connect(1);
    world.checksum_needed = true;
    world.host_segment(&mut conn, PSH_ACK, b"reply", false);
    assert_eq!(world.one().data, b"reply");
    world.host_close(&conn, b"bye", 1000, false);
    assert_eq!(world.one().data, b"bye");
}

#[test]
fn the_wire_queue_is_bounded() {
    let mut world = World::with(Config { queue_frames: 8, ..config() }, listen_body());
    for port in 1..=10 {
        world.client(&Seg::new(SYN, 100, 0).port(port));
    }
    // A quarter is kept for flows.
    assert_eq!((world.wire_segments().len(), world.count(Event::NewcomerDropped)), (6, 4));
    let mut conn = world.connect(20);
    for _ in 0..10 {
        world.host_segment(&mut conn, PSH_ACK, b"reply", false);
    }
    assert_eq!(world.wire_segments().len(), 8);
    assert_eq!(world.count(Event::WireQueueFull), 2);
}
