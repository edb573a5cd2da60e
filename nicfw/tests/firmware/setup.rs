//! Handshakes: options, cookies, deferred accept, backlog, bad input.

use crate::harness::*;
use netcore::{
    Duration,
    rng::{Rng, SeededRng},
};
use nicfw::{Config, Event, Offload, State};
use protocol::channel::{self, AcceptPolicy, Header, Hello, Kind, Listen};
use protocol::tcp::{Flags, Options, SeqNumber, Timestamps};

fn full_options() -> Options {
    Options {
        mss: Some(1460),
        window_scale: Some(9),
        sack_permitted: true,
        timestamps: Some(Timestamps { value: 7000, echo: 0 }),
        ..Options::default()
    }
}

#[test]
fn handshake_with_every_set_of_options() {
    for mss in [None, Some(500), Some(1400), Some(9000)] {
        for window_scale in [None, Some(0), Some(14)] {
            for sack_permitted in [false, true] {
                for with_timestamps in [false, true] {
                    let timestamps = with_timestamps.then_some(Timestamps { value: 7000, echo: 0 });
                    let offer =
                        Options { mss, window_scale, sack_permitted, timestamps, ..Options::default() };
                    handshake(offer);
                }
            }
        }
    }
}

fn handshake(offer: Options) {
    let mut world = World::new();
    let answer = world.syn(&Seg::new(SYN, u32::MAX, 0).options(offer));
    assert_eq!(answer.ack, 0);
    assert_eq!(answer.window, 64_000);
    assert_eq!(answer.client_mac, CLIENT_MAC);
    assert_eq!(answer.options.mss, Some(1460));
    let both = offer.timestamps.is_some();
    assert_eq!(answer.options.timestamps.map(|ts| ts.echo), offer.timestamps.map(|ts| ts.value));
    assert_eq!(answer.options.window_scale, offer.window_scale.filter(|_| both).map(|_| 7));
    assert_eq!(answer.options.sack_permitted, offer.sack_permitted && both);
    assert_eq!(world.nic.counters().held(), 0, "nothing is kept for a SYN");

    let ts = answer.options.timestamps.map(|ts| Timestamps { value: 7001, echo: ts.value });
    let options = Options { timestamps: ts, ..Options::default() };
    world.client(&Seg::new(ACK, 0, answer.seq + 1).options(options));
    world.silent();
    assert_eq!(world.flows_in(State::Waiting), 1);
    let request = Seg::new(PSH_ACK, 0, answer.seq + 1).options(options).data(b"PING\r\n");
    world.client(&request);
    let messages = world.host_messages();
    let [Msg::Established(header, body, Some(first))] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(header.handle, protocol::channel::NO_HANDLE);
    assert_eq!(*first, request);
    assert_eq!((body.local_addr, body.local_port), (SERVER, PORT));
    assert_eq!((body.remote_addr, body.remote_port), (CLIENT, 40_000));
    assert_eq!((body.snd_nxt, body.rcv_nxt), (SeqNumber(answer.seq + 1), SeqNumber(0)));
    assert_eq!(body.remote_mac, CLIENT_MAC);
    assert_eq!(usize::from(body.data_at), 40 + if both { 12 } else { 0 });
    assert_eq!(body.timestamps, both);
    assert_eq!(body.sack, answer.options.sack_permitted);
    assert_eq!(body.window_scaling, answer.options.window_scale.is_some());
    let snd_scale = if both { offer.window_scale.unwrap_or(0) } else { 0 };
    assert_eq!(body.snd_scale, snd_scale);
    assert_eq!(body.rcv_scale, if body.window_scaling { 7 } else { 0 });
    assert_eq!(body.snd_wnd, 1000 << snd_scale);
    let mss = match offer.mss {
        None => 536,
        Some(500) => 64,
        Some(9000) => 8960,
        Some(other) => other,
    };
    assert_eq!(body.mss, mss);
    if let Some(ts) = answer.options.timestamps {
        assert_eq!(body.ts_recent, 7001);
        assert!(body.ts_value.wrapping_sub(ts.value) < 64);
    }
    assert_eq!(world.count(Event::CookieAccepted), 1);
}

/// RFC 7323 §3.2
#[test]
fn timestamps_that_the_syn_did_not_offer_are_ignored() {
    for echo in [0, 1, u32::MAX] {
        let mut world = World::new();
        let answer = world.syn(&Seg::new(SYN, 100, 0));
        assert_eq!(answer.options.timestamps, None);
        world.client(&Seg::new(PSH_ACK, 101, answer.seq + 1).ts(7000, echo).data(b"GET"));
        let messages = world.host_messages();
        let [Msg::Established(_, body, Some(_))] = &messages[..] else { panic!("{messages:?}") };
        assert_eq!(
            (body.timestamps, body.sack, body.window_scaling, body.snd_wnd),
            (false, false, false, 1000)
        );
    }
}

#[test]
fn a_lost_ack_does_not_matter() {
    let mut world = World::new();
    let answer = world.syn(&Seg::new(SYN, 100, 0).options(full_options()));
    let ts = answer.options.timestamps.unwrap().value;
    world.client(&Seg::new(PSH_ACK, 101, answer.seq + 1).ts(7002, ts).data(b"x"));
    assert!(matches!(&world.host_messages()[..], [Msg::Established(_, _, Some(_))]));
}

#[test]
fn a_lost_first_segment_does_not_cost_the_connection() {
    for options in [full_options(), Options::default()] {
        for again in [false, true] {
            let mut world = World::new();
            let first_irs = 0xffff_fc00;
            if again {
                // Beside the record of an earlier connection, too.
                let iss = world.syn(&Seg::new(SYN, 5, 0).options(options)).seq;
                world.client(&Seg::new(ACK, 6, iss + 1));
                world.client(&Seg::new(RST, 6, 0));
            }
            let answer = world.syn(&Seg::new(SYN, first_irs, 0).options(options));
            let stamped = |segment: Seg| match answer.options.timestamps {
                Some(ts) => segment.ts(7001, ts.value),
                None => segment,
            };
            let flight = |number: u32| first_irs.wrapping_add(1 + 1460 * number);
            // The ACK and the first data are lost; the rest of the flight, and the FIN, are not.
            for number in 1..=10 {
                let later = Seg::new(PSH_ACK, flight(number), answer.seq + 1);
                world.client(&stamped(later.data(&[7; 1460])));
            }
            world.client(&stamped(Seg::new(FIN_ACK, flight(11), answer.seq + 1)));
            world.silent();
            assert_eq!(world.count(Event::FirstDataMissing), 11);
            assert_eq!(world.nic.counters().flows(), 0, "not proof enough to keep anything");
            world.client(&stamped(Seg::new(PSH_ACK, flight(0), answer.seq + 1).data(&[7; 1460])));
            assert!(matches!(&world.host_messages()[..], [Msg::Established(_, _, Some(_))]));
            world.client(&stamped(Seg::new(PSH_ACK, flight(1), answer.seq + 1).data(&[7; 1460])));
            assert!(matches!(&world.host_messages()[..], [Msg::Segment(..)]));
        }
    }
    // A cookie is young: later, whoever speaks of it is told that there is nothing.
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.pass(Duration::from_secs(70));
    world.client(&Seg::new(PSH_ACK, 1561, iss + 1).data(b"late"));
    assert_eq!(world.one().flags, RST);
}

#[test]
fn cookies_expire() {
    for (wait, good) in [(0, true), (31, true), (70, false)] {
        let mut world = World::new();
        let answer = world.syn(&Seg::new(SYN, 100, 0));
        world.pass(Duration::from_secs(wait));
        world.client(&Seg::new(ACK, 101, answer.seq + 1));
        assert_eq!(world.flows_in(State::Waiting), u64::from(good), "after {wait} s");
        if !good {
            let reset = world.one();
            assert_eq!((reset.flags, reset.seq), (RST, answer.seq + 1));
        }
    }
}

#[test]
fn random_acks_open_nothing() {
    let mut world = World::new();
    let mut rng = SeededRng::new(9);
    for _ in 0..100_000 {
        let segment = Seg::new(ACK, rng.wire_u32(), rng.wire_u32()).port(rng.wire_u32() as u16);
        world.client(&segment);
        for reset in world.wire_segments() {
            assert_eq!((reset.flags, reset.seq), (RST, segment.ack));
        }
    }
    assert_eq!(world.nic.counters().held(), 0);
    // A few look as if they belonged to a first flight.
    let dropped = world.count(Event::FirstDataMissing);
    assert!(dropped < 100, "{dropped}");
    assert_eq!(world.count(Event::CookieRefused) + dropped, 100_000);
    assert_eq!(world.host_messages(), []);
}

#[test]
fn syns_that_get_no_answer() {
    let mut world = World::new();
    for flags in [0x03, 0x06, 0x07] {
        world.client(&Seg::new(protocol::tcp::Flags(flags), 100, 0));
    }
    for source in [[224, 0, 0, 1], [255, 255, 255, 255], [127, 0, 0, 1], [0, 0, 0, 1]] {
        world.client(&Seg::new(SYN, 100, 0).from(std::net::Ipv4Addr::from(source).into()));
    }
    world.client(&Seg::new(SYN, 100, 0).from(SERVER));
    world.client(&Seg { client_mac: protocol::ethernet::BROADCAST, ..Seg::new(SYN, 100, 0) });
    for flags in [0x00, 0x01, 0x08, 0x20, 0x29] {
        world.client(&Seg::new(protocol::tcp::Flags(flags), 100, 0));
    }
    world.silent();
    // SYN-ACK to a listener: RFC 9293 §3.10.7.2, second step.
    world.client(&Seg::new(SYN_ACK, 100, 55));
    let reset = world.one();
    assert_eq!((reset.flags, reset.seq), (RST, 55));
}

#[test]
fn data_in_a_syn_is_not_acknowledged() {
    let mut world = World::new();
    world.syn(&Seg::new(SYN, 100, 0).data(b"early"));
}

#[test]
fn immediate_accept_announces_at_once() {
    let mut world = World::with(config(), Listen { policy: AcceptPolicy::Immediate, ..listen_body() });
    let answer = world.syn(&Seg::new(SYN, 100, 0));
    world.client(&Seg::new(ACK, 101, answer.seq + 1));
    let messages = world.host_messages();
    assert!(matches!(&messages[..], [Msg::Established(_, _, None)]), "{messages:?}");
    assert_eq!(world.flows_in(State::Established), 1);
}

#[test]
fn waiting_flows_answer_what_needs_an_answer() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1));
    // The same ACK again, and a window update.
    world.client(&Seg::new(ACK, 101, iss + 1).window(9));
    world.silent();
    // Keep-alives: one before the window, with and without a byte.
    for data in [&b""[..], b"0"] {
        world.client(&Seg::new(ACK, 100, iss + 1).data(data));
        let ack = world.one();
        assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, iss + 1, 101));
    }
    // The empty one counts as a challenge.
    world.pass(Duration::from_secs(1));
    // An ACK for what was never sent, and a SYN: one challenge ACK per interval.
    world.client(&Seg::new(ACK, 101, iss + 2));
    assert_eq!(world.one().flags, ACK);
    world.client(&Seg::new(SYN, 100, 0));
    world.silent();
    assert_eq!(world.count(Event::ChallengeLimited), 1);
    world.pass(Duration::from_secs(1));
    world.client(&Seg::new(SYN, 100, 0));
    let ack = world.one();
    assert_eq!((ack.flags, ack.seq, ack.ack), (ACK, iss + 1, 101));
    // RST: outside, inside, exact.
    world.pass(Duration::from_secs(1));
    world.client(&Seg::new(RST, 100, 0));
    world.silent();
    world.client(&Seg::new(RST, 102, 0));
    assert_eq!(world.one().flags, ACK);
    assert_eq!(world.flows_in(State::Waiting), 1);
    world.client(&Seg::new(RST, 101, 0));
    world.silent();
    world.all_gone();
}

#[test]
fn a_silent_peer_stays_as_long_as_it_lives() {
    // With timestamps, as a client's pool of connections has them.
    let mut world = World::new();
    let answer = world.syn(&Seg::new(SYN, 100, 0).options(full_options()));
    let echo = answer.options.timestamps.unwrap().value;
    world.client(&Seg::new(ACK, 101, answer.seq + 1).ts(7001, echo));
    let mut alive = 7001;
    for _ in 0..20 {
        world.pass(Duration::from_millis(59_999));
        world.silent();
        // The probe of a keep-alive: one before our next number, no data. Twice, one gets lost.
        for wait in [Duration::from_millis(1), Duration::from_secs(15)] {
            world.pass(wait);
            let probe = world.one();
            assert_eq!((probe.flags, probe.seq, probe.ack), (ACK, answer.seq, 101));
            assert_eq!(probe.options.timestamps.map(|ts| ts.echo), Some(alive));
        }
        alive += 75_000;
        world.client(&Seg::new(ACK, 101, answer.seq + 1).ts(alive, echo));
        assert_eq!(world.flows_in(State::Waiting), 1);
    }
    world.pass(Duration::from_secs(59));
    world.client(&Seg::new(PSH_ACK, 101, answer.seq + 1).ts(alive + 1, echo).data(b"hello"));
    assert!(matches!(&world.host_messages()[..], [Msg::Established(_, _, Some(_))]));
    assert_eq!((world.count(Event::WaitingProbed), world.count(Event::WaitingTimedOut)), (40, 0));
    // The host has it: no more probes.
    world.pass(Duration::from_secs(1000));
    world.silent();
}

#[test]
fn a_peer_that_is_gone_does_not_wait_for_ever() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1));
    world.pass(Duration::from_secs(60 + 4 * 15 - 1));
    let probes = world.wire_segments();
    assert_eq!(probes.len(), 4);
    assert!(probes.iter().all(|probe| (probe.flags, probe.seq) == (ACK, iss)));
    world.pass(Duration::from_secs(1));
    let reset = world.one();
    assert_eq!((reset.flags, reset.seq, reset.ack), (RST_ACK, iss + 1, 101));
    assert_eq!(world.count(Event::WaitingTimedOut), 1);
    assert_eq!(world.host_messages(), []);
    world.all_gone();
}

#[test]
fn data_out_of_order_goes_to_the_host() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1));
    world.client(&Seg::new(PSH_ACK, 111, iss + 1).data(b"second"));
    let messages = world.host_messages();
    let [Msg::Established(_, body, Some(first))] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!((body.rcv_nxt, body.data_at), (SeqNumber(101), 0));
    assert_eq!((first.seq, &first.data[..]), (111, &b"second"[..]));
}

#[test]
fn the_host_is_told_where_the_data_is_only_if_nothing_else_is_to_be_read() {
    let first = |change: fn(&mut Seg)| {
        let mut world = World::new();
        let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
        world.client(&Seg::new(ACK, 101, iss + 1));
        let mut seg = Seg::new(PSH_ACK, 101, iss + 1).data(b"GET");
        change(&mut seg);
        world.client(&seg);
        let messages = world.host_messages();
        let [Msg::Established(_, body, Some(_))] = &messages[..] else { panic!("{messages:?}") };
        (body.data_at, body.snd_wnd)
    };
    assert_eq!(first(|_| {}), (40, 1000));
    assert_eq!(first(|seg| seg.flags = ACK), (40, 1000));
    assert_eq!(first(|seg| seg.window = 77), (40, 77), "the newest window is the message's");
    assert_eq!(first(|seg| seg.flags = seg.flags | Flags::FIN).0, 0);
    assert_eq!(first(|seg| seg.flags = seg.flags | Flags::URG).0, 0);
    assert_eq!(first(|seg| seg.seq = 100).0, 0, "the first byte is old");
    assert_eq!(first(|seg| seg.ack -= 1), (0, 1000), "an old acknowledgment, whose window does not count");
}

#[test]
fn closed_without_data_the_host_never_hears() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    // The ACK itself is lost: FIN alone proves the cookie.
    world.client(&Seg::new(FIN_ACK, 101, iss + 1));
    let fin = world.one();
    assert_eq!((fin.flags, fin.seq, fin.ack), (FIN_ACK, iss + 1, 102));
    assert_eq!(world.flows_in(State::LastAck), 1);
    world.client(&Seg::new(ACK, 102, iss + 2));
    world.silent();
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

#[test]
fn a_full_backlog_pushes_out_the_oldest() {
    let mut world = World::with(config(), Listen { backlog: 2, ..listen_body() });
    let mut acks = Vec::new();
    for port in 1..=3 {
        let iss = world.syn(&Seg::new(SYN, 100, 0).port(port)).seq;
        acks.push(iss + 1);
        world.client(&Seg::new(ACK, 101, iss + 1).port(port));
    }
    let reset = world.one();
    assert_eq!((reset.flags, reset.client_port, reset.seq, reset.ack), (RST_ACK, 1, acks[0], 101));
    assert_eq!(world.flows_in(State::Waiting), 2);
    assert_eq!(world.count(Event::BacklogEvicted), 1);
    // Its cookie is spent: data on the way does not bring it back.
    world.client(&Seg::new(PSH_ACK, 101, acks[0]).port(1).data(b"late"));
    assert_eq!(world.one().flags, RST);
    assert_eq!(world.host_messages(), []);
}

#[test]
fn a_full_flow_table_makes_the_peer_try_again() {
    let mut world = World::with(Config { flows_max: 1, ..config() }, listen_body());
    let first = world.connect(1);
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(2)).seq;
    let request = Seg::new(PSH_ACK, 101, iss + 1).port(2).data(b"hello");
    world.client(&request);
    world.silent();
    assert_eq!(world.count(Event::FlowTableFull), 1);
    world.host_abort(&first);
    assert_eq!(world.one().flags, RST_ACK);
    world.client(&request);
    assert_eq!(world.host_messages().len(), 1);
}

#[test]
fn bad_frames_are_counted_and_others_passed() {
    let mut world = World::new();
    let mut bad = Seg::new(SYN, 100, 0).frame();
    bad[14 + 20 + 16] ^= 1;
    world.wire(&bad);
    world.silent();
    assert_eq!(world.count(Event::BadChecksum), 1);
    let mut bad = Seg::new(SYN, 100, 0).frame();
    bad[14 + 20 + 12] = 0x40;
    world.wire(&bad);
    world.wire(&bad[..30]);
    world.silent();
    assert_eq!(world.count(Event::Malformed), 2);
    // Another port, another hardware address, ARP: the host's business.
    let mut other_port = Seg::new(SYN, 100, 0).frame();
    other_port[14 + 20 + 3] ^= 1;
    let mut other_mac = Seg::new(SYN, 100, 0).frame();
    other_mac[5] ^= 1;
    let mut arp = vec![0; 60];
    arp[12..14].copy_from_slice(&[8, 6]);
    for frame in [other_port, other_mac, arp] {
        world.wire(&frame);
        assert_eq!(world.host_messages(), [Msg::Raw(frame)]);
    }
    assert_eq!(world.wire_segments(), []);
}

#[test]
fn nobody_on_the_wire_speaks_the_channel() {
    let mut body = [0; Hello::LEN];
    Hello::new(666, 1).emit(&mut body);
    let mut forged = vec![0; 14 + channel::HEADER_LEN];
    channel::emit_ethernet(NIC_MAC, CLIENT_MAC, &mut forged);
    Header::new(Kind::Hello, 0).emit(body.len(), &mut forged[14..]);
    forged.extend(body);
    for offload in [Offload::None, Offload::Lifecycle] {
        let mut world = World::bare(Config { offload, ..config() });
        world.host_messages();
        for frame in [&forged[..], &forged[..14]] {
            world.wire(frame);
            world.silent();
        }
        assert_eq!(world.count(Event::ChannelFromWire), 2, "at {offload}");
    }
}

#[test]
fn partial_checksums_only_where_the_port_has_them() {
    for rx_partial_checksum in [false, true] {
        let mut world = World::with(Config { rx_partial_checksum, ..config() }, listen_body());
        let mut frame = Seg::new(SYN, 100, 0).frame();
        let sum = protocol::checksum::pseudo_header(CLIENT, SERVER, 6, 20).fold();
        frame[50..52].copy_from_slice(&sum.to_be_bytes());
        world.wire(&frame);
        assert_eq!(world.wire_segments().len(), usize::from(rx_partial_checksum));
    }
}

#[test]
fn before_listen_everything_is_the_hosts() {
    let mut world = World::bare(config());
    world.host_messages();
    let frame = Seg::new(SYN, 100, 0).frame();
    world.wire(&frame);
    assert_eq!(world.host_messages(), [Msg::Raw(frame.clone())]);
    world.join();
    world.listen(listen_body());
    world.wire(&frame);
    assert_eq!(world.one().flags, SYN_ACK);
    let mut body = [0; Listen::LEN];
    listen_body().emit(&mut body);
    let header = protocol::channel::Header::new(Kind::Unlisten, world.nic_epoch);
    world.tell(0, header, &[&body]);
    world.wire(&frame);
    assert_eq!(world.host_messages(), [Msg::Raw(frame)]);
}

#[test]
fn unlisten_resets_what_waits() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1));
    let mut body = [0; Listen::LEN];
    listen_body().emit(&mut body);
    let header = protocol::channel::Header::new(Kind::Unlisten, world.nic_epoch);
    world.tell(0, header, &[&body]);
    assert_eq!(world.one().flags, RST_ACK);
    world.all_gone();
}

#[test]
fn a_limit_for_the_first_data_holds_also_for_peers_that_live() {
    let config = Config { waiting_max: Some(Duration::from_secs(100)), ..config() };
    let mut world = World::with(config, listen_body());
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(1)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(1));
    for _ in 0..99 {
        world.pass(Duration::from_secs(1));
        // Keep-alives and answers to probes.
        world.client(&Seg::new(ACK, 100, iss + 1).port(1));
        world.client(&Seg::new(ACK, 101, iss + 1).port(1));
    }
    world.wire_segments();
    assert_eq!(world.flows_in(State::Waiting), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.one().flags, RST_ACK);
    assert_eq!((world.flows_in(State::Waiting), world.count(Event::WaitingExpired)), (0, 1));
    world.silent();
    world.all_gone();
}
