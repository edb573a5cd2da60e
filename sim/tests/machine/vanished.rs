//! Clients that vanish before their last acknowledgment.

use netcore::Duration;
use nicfw::{Event, State};
use protocol::tcp::Flags;

use crate::lab::{Client, Lab};

/// Frames that receiving and sending need here.
const NEEDED: usize = 256;
const RETAINED_MAX: usize = 64;

/// The server says goodbye to a client, which does not hear it any more.
fn vanish(lab: &mut Lab, port: u16) {
    let mut client = Client::new(port);
    lab.exchange(&mut client, Flags::SYN, b"");
    lab.exchange(&mut client, Flags::ACK, b"");
    assert_eq!(lab.ask(&mut client, "QUIT\r\n"), "+OK\r\n");
}

#[test]
fn those_who_vanish_take_no_frame_that_others_need() {
    let mut lab = Lab::with(NEEDED + RETAINED_MAX, |firmware| firmware.retained_max = RETAINED_MAX);
    let (mut good, _) = lab.connect(50_000, "PING\r\n", "+PONG\r\n");
    // 10,000 a second, from as many ports.
    for n in 0..900 {
        vanish(&mut lab, 10_000 + n);
        lab.now += Duration::from_micros(100);
        assert_eq!(lab.ask(&mut good, "PING\r\n"), "+PONG\r\n", "behind {n} who have vanished");
    }
    assert_eq!(lab.pool.refused(), 0, "no frame was missing");
    let counters = lab.machine.firmware().counters();
    assert_eq!(counters.count(Event::RetainLetGo), 900 - RETAINED_MAX as u64);
    // The first 64 that are still kept are repeated to; the others end when they would be.
    for _ in 0..40 {
        lab.now += Duration::from_millis(100);
        lab.settle();
    }
    let counters = lab.machine.firmware().counters();
    assert_eq!(counters.count(Event::RetainGivenUp), 900 - RETAINED_MAX as u64);
    assert_eq!(counters.flows_in(State::FinWait1), RETAINED_MAX as u64);
    assert_eq!(lab.ask(&mut good, "PING\r\n"), "+PONG\r\n");
}

#[test]
fn who_acknowledges_in_time_loses_nothing_when_the_limit_is_reached() {
    let mut lab = Lab::with(4096, |firmware| firmware.retained_max = RETAINED_MAX);
    let mut clients = Vec::new();
    for n in 0..3 * RETAINED_MAX as u16 {
        let mut client = Client::new(10_000 + n);
        lab.exchange(&mut client, Flags::SYN, b"");
        lab.exchange(&mut client, Flags::ACK, b"");
        assert_eq!(lab.ask(&mut client, "QUIT\r\n"), "+OK\r\n");
        clients.push(client);
    }
    // All of them were on their way: their acknowledgments come a little later.
    lab.now += Duration::from_millis(50);
    for client in &mut clients {
        let answers = lab.exchange(client, Flags(0x11), b"");
        assert!(answers.iter().all(|(header, _)| header.flags == Flags::ACK), "{answers:?}");
    }
    let counters = lab.machine.firmware().counters();
    assert_eq!(counters.count(Event::RetainLetGo), 2 * RETAINED_MAX as u64);
    assert_eq!((counters.count(Event::RetainGivenUp), counters.count(Event::ResetSent)), (0, 0));
    assert_eq!(counters.flows(), 0);
}
