//! TSval never goes back on a flow, whoever sends for it (RFC 7323 §5.3: the peer drops what is older).

use netcore::Duration;
use nicfw::{Event, State};
use protocol::channel::Close;
use protocol::tcp::{Options, SeqNumber, Timestamps};

use crate::harness::*;

/// The peer's clock.
const PEER: u32 = 7000;

/// A connection with timestamps, announced with "hello" to the host, and the TSval that the host was told.
fn announced(world: &mut World) -> (Conn, u32) {
    let timestamps = Some(Timestamps { value: PEER, echo: 0 });
    let answer =
        world.syn(&Seg::new(SYN, 100, 0).options(Options { timestamps, ..Options::default() }).port(1));
    let echo = value(&answer);
    let hello = Seg::new(PSH_ACK, 101, answer.seq + 1).port(1).data(b"hello").ts(PEER, echo);
    world.client(&hello);
    let messages = world.host_messages();
    let [Msg::Established(header, established, Some(_))] = &messages[..] else { panic!("{messages:?}") };
    assert!(!SeqNumber(established.ts_value).before(SeqNumber(echo)));
    (Conn { flow: header.flow, seq: answer.seq + 1, ack: 106, port: 1 }, established.ts_value)
}

/// The host has replied with 5 bytes and waits; TSval is so far from what it was told.
fn replied(world: &mut World, conn: &mut Conn, ts: u32) {
    let reply = Seg::new(PSH_ACK, conn.seq, conn.ack).port(1).data(b"reply").ts(ts, PEER);
    world.host_segment_idle(conn, &reply);
    conn.seq += 5;
    assert_eq!(value(&world.one()), ts);
}

fn value(segment: &Seg) -> u32 {
    segment.options.timestamps.expect("agreed on").value
}

/// What makes the firmware send for a flow of the host.
fn provoke(world: &mut World, conn: &Conn) -> u32 {
    world.client(&Seg::new(RST, conn.ack + 10, 0).port(1));
    let challenge = world.one();
    assert_eq!((challenge.flags, challenge.seq), (ACK, conn.seq));
    value(&challenge)
}

#[test]
fn a_challenge_is_not_newer_than_what_the_host_sends_next() {
    let mut world = World::new();
    let (mut conn, told) = announced(&mut world);
    // ESTABLISHED is still on its way: the host's clock will begin with what stands there.
    world.pass(Duration::from_millis(700));
    assert_eq!(provoke(&mut world, &conn), told);
    replied(&mut world, &mut conn, told + 1);
    world.pass(Duration::from_millis(700));
    assert_eq!(provoke(&mut world, &conn), told + 1);
    assert_eq!(world.count(Event::ChallengeSent), 2);
    // Its RST too is none from the future.
    world.host_abort(&conn);
    assert_eq!(value(&world.one()), told + 1);
}

#[test]
fn who_closes_passively_is_not_older_than_the_host() {
    for ahead in [0, 1, 2, 5000, u32::MAX - 3] {
        let mut world = World::new();
        let (mut conn, told) = announced(&mut world);
        world.pass(Duration::from_millis(1));
        let sent = told.wrapping_add(ahead);
        replied(&mut world, &mut conn, sent);
        world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1).ts(PEER, sent));
        let mut last = sent;
        for repetition in 0..5 {
            let now = value(&world.one());
            assert!(!SeqNumber(now).before(SeqNumber(last)), "{ahead}, {repetition}: {now} behind {last}");
            last = now;
            world.pass(Duration::from_secs(1 << repetition));
        }
        assert!(!SeqNumber(last).before(SeqNumber(told + 15_000)), "the clock goes on");
    }
}

#[test]
fn who_closes_actively_is_not_older_than_the_host_until_time_wait_ends() {
    for ahead in [0, 1, 2, 3, 1000, 5000, 1 << 29, 1 << 30, u32::MAX - 3] {
        let mut world = World::new();
        let (conn, told) = announced(&mut world);
        world.pass(Duration::from_millis(1));
        let sent = told.wrapping_add(ahead);
        let reply = Seg::new(FIN_ACK, conn.seq, conn.ack).port(1).data(b"reply").ts(sent, PEER);
        world.host_close_segment(&conn, &reply, 1000, false);
        let first = world.one();
        assert_eq!(value(&first), sent);
        world.pass(Duration::from_millis(250));
        let again = world.one();
        assert_eq!(again.data, first.data);
        assert!(!SeqNumber(value(&again)).before(SeqNumber(sent)), "{ahead}");
        let fin = Seg::new(FIN_ACK, 106, conn.seq + 6).port(1).ts(PEER, sent);
        world.client(&fin);
        let mut last = value(&world.one());
        assert!(!SeqNumber(last).before(SeqNumber(value(&again))), "{ahead}");
        assert_eq!(world.flows_in(State::FinWait2), 0);
        for _ in 0..3 {
            world.pass(Duration::from_millis(600));
            world.client(&fin);
            let now = value(&world.one());
            assert!(!SeqNumber(now).before(SeqNumber(last)), "{ahead}: {now} behind {last}");
            last = now;
        }
    }
}

#[test]
fn the_clock_of_a_host_that_was_silent_for_a_month_is_past() {
    let mut world = World::new();
    let (mut conn, told) = announced(&mut world);
    replied(&mut world, &mut conn, told);
    let month = Duration::from_secs(30 * 24 * 3600);
    world.pass(month);
    world.client(&Seg::new(FIN_ACK, 106, conn.seq).port(1).ts(PEER, told));
    assert_eq!(value(&world.one()), told.wrapping_add(month.millis() as u32));
}

/// RFC 6298 §3, RFC 7323 §4.1: the echo says which of two transmissions is acknowledged.
#[test]
fn a_repeated_segment_measures_by_the_timestamp_that_is_echoed() {
    // How far the host's clock is ahead: of one that is, an echo says nothing. Nor does an older one than the
    // repetition, whose sender had the data and was not heard.
    for (ahead, is_old, rto_ms) in [(0, false, 240), (5000, false, 1000), (0, true, 1000)] {
        let mut world = World::new();
        let (mut conn, told) = announced(&mut world);
        replied(&mut world, &mut conn, told + ahead);
        world.client(&Seg::new(ACK, 106, conn.seq).port(1).ts(PEER, told + ahead).window(60_000));
        let close = Close { rto_us: 1_000_000, cwnd: 536, ..close_body(&conn, 60_000) };
        let close = Close { ts_recent: PEER, ..close };
        world.host_piece(&conn, &close, conn.seq, &[1; 524], true);
        world.host_piece(&conn, &close, conn.seq + 524, &[2; 524], false);
        world.pass(Duration::from_millis(999));
        let first = world.one();
        world.pass(Duration::from_millis(1));
        let again = world.one();
        assert_eq!((again.seq, &again.data[..]), (conn.seq, &[1; 524][..]));
        world.pass(Duration::from_millis(80));
        let ack = Seg::new(ACK, 106, conn.seq + 524).port(1).window(60_000);
        world.client(&ack.ts(PEER, value(if is_old { &first } else { &again })));
        assert_eq!(world.one().data, [2; 524]);
        world.pass(Duration::from_millis(rto_ms - 1));
        assert_eq!(world.wire_segments(), [], "{ahead}");
        world.pass(Duration::from_millis(1));
        assert_eq!(world.one().data, [2; 524], "{ahead}");
    }
}
