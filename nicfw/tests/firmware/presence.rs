//! A host in another process: it dies, hangs, is cut off, and comes again.

use netcore::Duration;
use nicfw::{Config, Event, Offload, State};
use protocol::channel::{Hello, Kind, MessageFlags};
use protocol::ethernet::{self, BROADCAST, EtherType};

use crate::harness::*;

const SILENCE: Duration = Duration::from_secs(2);

fn watching() -> World {
    World::with(Config { host_silence: Some(SILENCE), ..config() }, listen_body())
}

/// The only message is a HELLO that knows no life of the host.
fn asks_whoever_is_there(world: &mut World) {
    let messages = world.host_messages();
    let [Msg::Hello(header, _)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((header.flags, header.epoch), (MessageFlags::default(), 0));
}

#[test]
fn a_host_whose_port_has_lost_its_other_end_is_gone() {
    let mut world = World::new();
    let held = world.connect(1);
    let closing = world.connect(2);
    world.host_close(&closing, b"bye", 1000, false);
    world.wire_segments();
    world.nic.host_link(0, true);
    world.silent();
    world.nic.host_link(0, false);
    world.pass(Duration::ZERO);
    let reset = world.one();
    assert_eq!((reset.flags, reset.client_port, reset.seq), (RST_ACK, 1, held.seq));
    assert_eq!(world.flows_in(State::FinWait1), 1, "what was handed over goes on");
    assert_eq!(world.host_messages(), [], "HELLO waits until somebody is there");
    assert!(world.nic.next_deadline().is_none_or(|at| at > world.now), "and is no work until then");
    world.nic.host_link(0, false);
    assert_eq!(world.count(Event::HostGone), 1);
    world.nic.host_link(0, true);
    world.pass(Duration::ZERO);
    asks_whoever_is_there(&mut world);
    // Started again, with a life of its own.
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(3);
    world.all_but_established_gone();
}

/// RFC 9293 §3.10.7.1 (CLOSED).
#[test]
fn while_nobody_is_there_newcomers_are_refused() {
    let mut world = World::new();
    world.nic.host_link(0, false);
    world.client(&Seg::new(SYN, 100, 0).port(7));
    let refused = world.one();
    assert_eq!((refused.flags, refused.seq, refused.ack, refused.client_port), (RST_ACK, 0, 101, 7));
    world.client(&Seg::new(PSH_ACK, 100, 5555).data(b"x"));
    let refused = world.one();
    assert_eq!((refused.flags, refused.seq), (RST, 5555));
    assert_eq!(world.count(Event::HostAbsentRefused), 2);
    world.client(&Seg::new(RST, 100, 0));
    let mut damaged = Seg::new(SYN, 100, 0).frame();
    damaged[50] ^= 1;
    world.wire(&damaged);
    world.silent();
    assert_eq!(world.count(Event::BadChecksum), 1);
    // What is not TCP to us waits a moment and goes.
    let mut arp = vec![0; 60];
    ethernet::Header { dst: BROADCAST, src: CLIENT_MAC, ether_type: EtherType::Arp }.emit(&mut arp);
    world.wire(&arp);
    world.nic.host_link(0, false);
    assert_eq!(world.count(Event::HostAbsentDropped), 1);
    world.silent();
    world.all_gone();
}

#[test]
fn a_silent_host_is_given_up_and_may_come_back() {
    let mut world = watching();
    world.connect(1);
    for _ in 0..4 {
        world.pass(Duration::from_millis(1900));
        world.hello(0);
        world.host_messages();
    }
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (1, 0));
    world.pass(Duration::from_secs(3));
    assert_eq!(world.one().flags, RST_ACK);
    assert_eq!((world.nic.counters().flows(), world.count(Event::HostSilent)), (0, 1));
    asks_whoever_is_there(&mut world);
    world.client(&Seg::new(SYN, 100, 0).port(7));
    assert_eq!(world.one().flags, RST_ACK, "refused");
    // It was only stopped, and does not know yet: its messages and its old epoch count for nothing.
    world.hello(0);
    asks_whoever_is_there(&mut world);
    world.pass(Duration::from_millis(100));
    world.hello(0);
    asks_whoever_is_there(&mut world);
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(2);
    assert_eq!(world.count(Event::HostRestarted), 0);
}

#[test]
fn time_away_is_not_the_hosts_silence() {
    let mut world = watching();
    world.connect(1);
    // The whole process was stopped: no round in all that time.
    world.now += Duration::from_secs(100);
    world.nic.timer(&mut world.pool, world.now);
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (1, 0));
    world.pass(Duration::from_secs(3));
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostSilent)), (0, 1));
}

/// Several queues of one stack are silent together, those of others alone.
#[test]
fn silence_is_of_a_life_not_of_a_queue() {
    let mut world = World::bare(Config { queues: 3, host_silence: Some(SILENCE), ..config() });
    world.hello(0);
    world.hello(1);
    world.host_epoch = 600;
    world.hello(2);
    for _ in 0..4 {
        world.pass(Duration::from_secs(1));
        world.host_epoch = 500;
        world.hello(1);
    }
    assert_eq!(world.count(Event::HostSilent), 1, "that of queue 2");
    world.pass(Duration::from_secs(4));
    assert_eq!(world.count(Event::HostSilent), 2, "queues 0 and 1 are one life");
}

/// A CLOSE, or an ABORT, never came: the host has forgotten a flow that is still held here for it.
#[test]
fn a_host_whose_news_were_lost_begins_anew() {
    let mut world = watching();
    let held = world.connect(1);
    let closing = world.connect(2);
    world.host_close(&closing, b"bye", 1000, false);
    world.wire_segments();
    world.host_messages();
    // Nothing is missing.
    world.hello(0);
    world.host_messages();
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostNewsLost)), (1, 0));
    world.news += 1;
    world.hello(0);
    world.pass(Duration::ZERO);
    let reset = world.one();
    assert_eq!((reset.flags, reset.client_port, reset.seq), (RST_ACK, 1, held.seq));
    assert_eq!(world.flows_in(State::FinWait1), 1, "what was handed over goes on");
    asks_whoever_is_there(&mut world);
    world.host_epoch = 501;
    world.join();
    world.listen(listen_body());
    world.connect(3);
    world.hello(0);
    assert_eq!((world.flows_in(State::Established), world.count(Event::HostNewsLost)), (1, 1));
}

#[test]
fn the_firmware_says_how_much_news_there_was() {
    let mut world = World::new();
    let closing = world.connect(1);
    let news = |world: &mut World| {
        world.hello(0);
        let messages = world.host_messages();
        let hello = messages.iter().find_map(|message| match message {
            Msg::Hello(_, hello) => Some(hello.news),
            _ => None,
        });
        hello.unwrap()
    };
    assert_eq!(news(&mut world), 1, "ESTABLISHED");
    world.client(&Seg::new(RST, 106, 0).port(1));
    drop(closing);
    assert_eq!(news(&mut world), 2, "CLOSED");
}

#[test]
fn a_plain_card_says_hello_and_nothing_else() {
    let config = Config { offload: Offload::None, queues: 2, rx_partial_checksum: true, ..config() };
    let mut world = World::bare(config);
    let frames = |world: &mut World, queue| {
        for port in 1..=16 {
            world.client(&Seg::new(SYN, 100, 0).port(port));
        }
        world.queue_messages(queue).len()
    };
    assert_eq!(world.host_messages(), [], "it does not greet");
    let before = frames(&mut world, 0);
    assert!((1..16).contains(&before), "all queues take part while nobody has said anything: {before}");
    world.queue_messages(1);
    world.hello(0);
    let messages = world.host_messages();
    let [Msg::Hello(header, hello)] = &messages[..] else { panic!("{messages:?}") };
    assert!(header.flags.has(MessageFlags::REPLY));
    assert_eq!((hello.features, hello.mac, hello.mtu), (Hello::PARTIAL_CHECKSUM, NIC_MAC, 1500));
    assert_eq!(frames(&mut world, 0), 16, "from HELLO on a queue takes part, the other does not");
    let mut body = [0; protocol::channel::Listen::LEN];
    listen_body().emit(&mut body);
    world.tell(0, protocol::channel::Header::new(Kind::Listen, hello.epoch), &[&body]);
    world.silent();
    assert_eq!(world.count(Event::ChannelMalformed), 1);
    // A new life has nothing to be swept up after.
    world.host_epoch = 501;
    world.hello(0);
    world.host_messages();
    assert_eq!((world.count(Event::HostRestarted), world.nic.next_deadline()), (1, None));
}
