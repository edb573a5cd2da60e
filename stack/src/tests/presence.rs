//! A NIC in another process: it dies, hangs, and comes again; and what it says of itself.

use alloc::vec;
use alloc::vec::Vec;

use netcore::Duration;
use protocol::channel::{self, FlowId, Header, Hello, Kind, MessageFlags, NO_HANDLE};
use protocol::ethernet::Mac;

use super::channel::{FLOW, Nic};
use super::harness::*;
use crate::{ChannelState, Config, EndReason, Offload, State};

const SILENCE: Duration = Duration::from_secs(4);
const CARD: Mac = Mac([2, 0, 0, 0, 0, 0x99]);

fn watching() -> Config {
    Config { nic_silence: Some(SILENCE), ..config() }
}

/// The HELLOs among what was sent: their epochs.
fn hellos(nic: &mut Nic) -> Vec<u32> {
    let messages = nic.take();
    let hellos = messages.iter().filter(|message| message.header.kind == Kind::Hello);
    hellos.map(|message| Hello::parse(&message.body).unwrap().epoch).collect()
}

#[test]
fn a_nic_that_answers_stays() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.poll();
    let mut said = 0;
    for _ in 0..100 {
        nic.h.pass(Duration::from_millis(100));
        for epoch in hellos(&mut nic) {
            assert_eq!(epoch, nic.host_epoch);
            said += 1;
            nic.hello(MessageFlags::REPLY);
        }
    }
    assert!((19..=21).contains(&said), "{said} HELLOs in ten seconds");
    assert_eq!(nic.h.stack.gauges().in_state(State::Established), 1);
    assert_eq!(nic.h.stack.counters().channel_silences, 0);
}

#[test]
fn a_silent_nic_is_gone_and_nothing_of_it_comes_back() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.poll();
    nic.h.pass(Duration::from_millis(4050));
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
    assert!(hellos(&mut nic).iter().all(|&epoch| epoch == nic.host_epoch));
    nic.h.pass(Duration::from_millis(300));
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Waiting);
    assert_eq!((&nic.h.app.ended[..], nic.h.stack.is_ready()), (&[EndReason::Aborted][..], false));
    nic.h.pass(Duration::from_secs(1));
    let said = hellos(&mut nic);
    let epoch = said[said.len() - 1];
    assert!(said.len() >= 10 && epoch != nic.host_epoch, "{said:?}");
    // It was only stopped: what it says to the life before is for nobody.
    nic.established(FLOW, b"");
    nic.hello(MessageFlags::REPLY);
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Waiting);
    nic.take();
    nic.host_epoch = epoch;
    nic.hello(MessageFlags::REPLY);
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
    assert!(nic.take().iter().any(|message| message.header.kind == Kind::Listen), "told anew");
    assert_eq!(nic.h.stack.gauges().connections(), 0);
}

#[test]
fn time_away_is_not_the_nics_silence() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.pass(Duration::from_millis(600));
    // A long command: no round in all that time, with a HELLO unanswered.
    nic.h.now += Duration::from_secs(100);
    nic.h.poll();
    assert_eq!(nic.h.stack.gauges().in_state(State::Established), 1);
    nic.h.pass(Duration::from_secs(5));
    assert_eq!(nic.h.stack.gauges().connections(), 0);
}

#[test]
fn a_nic_whose_port_is_cut_off_is_gone_at_once() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.poll();
    let Harness { stack, app, .. } = &mut nic.h;
    stack.nic_is_gone(app);
    stack.nic_is_gone(app);
    assert_eq!((&app.ended[..], stack.counters().channel_silences), (&[EndReason::Aborted][..], 1));
    // The next one is a new life, and there is nothing more to forget.
    nic.h.poll();
    nic.host_epoch = hellos(&mut nic)[0];
    nic.epoch = 4712;
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
}

#[test]
fn a_host_that_was_given_up_begins_anew() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.poll();
    nic.take();
    let old = core::mem::take(&mut nic.host_epoch);
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.app.ended, [EndReason::Aborted]);
    let said = nic.take();
    assert_eq!(said[0].header.kind, Kind::Hello);
    assert!(said[0].header.flags.has(MessageFlags::REPLY));
    assert_ne!(Hello::parse(&said[0].body).unwrap().epoch, old);
}

/// An ESTABLISHED, or a CLOSED, never came: the firmware holds a flow that nobody knows here, or the
/// other way round.
#[test]
fn after_news_of_the_nic_was_lost_everything_begins_anew() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.stack.gauges().in_state(State::Established), 1, "nothing is missing");
    nic.take();
    nic.news += 1;
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(
        (&nic.h.app.ended[..], nic.h.stack.counters().channel_news_lost),
        (&[EndReason::Aborted][..], 1)
    );
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Waiting);
    let old = nic.host_epoch;
    nic.host_epoch = hellos(&mut nic)[0];
    assert_ne!(nic.host_epoch, old, "the firmware learns that its flows are nobody's");
    nic.hello(MessageFlags::REPLY);
    nic.h.poll();
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
    nic.established(FlowId { generation: 10, ..FLOW }, b"");
    nic.hello(MessageFlags::default());
    nic.h.poll();
    assert_eq!(nic.h.stack.gauges().in_state(State::Established), 1);
}

#[test]
fn the_host_says_how_much_news_there_was() {
    let mut nic = Nic::with(watching());
    nic.established(FLOW, b"");
    nic.h.poll();
    let news = |nic: &mut Nic| {
        nic.h.pass(Duration::from_secs(1));
        nic.hello(MessageFlags::REPLY);
        nic.h.poll();
        let messages = nic.take();
        let hello = messages.iter().find(|message| message.header.kind == Kind::Hello).unwrap();
        Hello::parse(&hello.body).unwrap().news
    };
    assert_eq!(news(&mut nic), 0);
    let Harness { stack, app, .. } = &mut nic.h;
    stack.abort_all(app);
    nic.h.poll();
    assert_eq!(news(&mut nic), 1, "ABORT");
}

fn say(nic: &mut Nic, hello: &Hello) {
    let mut body = vec![0; Hello::LEN];
    hello.emit(&mut body);
    nic.send(Kind::Hello, MessageFlags::default(), FlowId::default(), NO_HANDLE, &body);
    nic.h.poll();
}

#[test]
fn the_card_says_who_we_are() {
    let mut nic = Nic::new(Config { rx_partial_checksum: false, ..watching() });
    nic.h.poll();
    let wrong = Hello { mac: CARD, ..Hello::new(4711, 1) };
    say(&mut nic, &wrong);
    assert_eq!(nic.h.stack.channel_state(), ChannelState::WrongLevel { lifecycle: false });
    let features = Hello::LIFECYCLE | Hello::PARTIAL_CHECKSUM;
    let right = Hello { features, mtu: 1400, ..wrong };
    say(&mut nic, &right);
    assert_eq!(nic.h.stack.channel_state(), ChannelState::Up);
    let config = nic.h.stack.config();
    assert_eq!((config.mac, config.mtu, config.rx_partial_checksum), (CARD, 1400, true));
    // One that knows no MTU, or one beyond ours, leaves ours.
    for (mtu, expected) in [(0, 1500), (9000, 1500), (575, 1500), (576, 576)] {
        say(&mut nic, &Hello { mtu, ..right });
        assert_eq!(nic.h.stack.config().mtu, expected);
    }
}

#[test]
fn without_offload_the_card_is_greeted_too() {
    let mut h = Harness::new(Config { offload: Offload::None, ..watching() });
    assert!(!h.stack.is_ready());
    h.poll();
    let frame = h.take_frames().remove(0);
    let (header, body) = Header::parse(&frame[14..]).unwrap();
    assert_eq!(header.kind, Kind::Hello);
    let ours = Hello::parse(body).unwrap();
    let mut bytes = vec![0; 14 + channel::HEADER_LEN + Hello::LEN];
    channel::emit_ethernet(CARD, CARD, &mut bytes);
    let header = Header { flags: MessageFlags::REPLY, ..Header::new(Kind::Hello, ours.epoch) };
    header.emit(Hello::LEN, &mut bytes[14..]);
    Hello { mac: CARD, ..Hello::new(4711, 1) }.emit(&mut bytes[14 + channel::HEADER_LEN..]);
    h.put_frame(&bytes);
    h.poll();
    assert!(h.stack.is_ready(), "no listener has to be told");
    assert_eq!(h.stack.config().mac, CARD);
    assert_eq!(h.take_frames(), Vec::<Vec<u8>>::new());
}
