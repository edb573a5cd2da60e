//! What is written down of flows, and that it outlives them.

use netcore::Duration;
use nicfw::{Config, Event, State};

use crate::harness::*;

/// The steps of a flow, oldest first: reason, where it stood, where it stands.
fn steps(world: &World, conn: &Conn) -> Vec<String> {
    let mut records: Vec<_> = world.nic.history().of(conn.flow).collect();
    records.reverse();
    assert!(records.iter().all(|record| record.tuple.remote_port == conn.port));
    assert!(records.is_sorted_by_key(|record| record.at));
    let line = |record: &&nicfw::Record| {
        let event = record.event.map_or("-", Event::name);
        format!("{event}: {} > {}", record.before.name(), record.after.name())
    };
    records.iter().map(line).collect()
}

const OPENED: [&str; 2] = ["cookie_accepted: unknown > waiting", "established_sent: waiting > established"];

fn expect(world: &World, conn: &Conn, rest: &[&str]) {
    assert_eq!(steps(world, conn), [&OPENED[..], rest].concat());
}

#[test]
fn each_way_to_end_is_told() {
    let mut world = World::new();
    let mut passive = world.connect(1);
    world.host_segment(&mut passive, PSH_ACK, b"reply", true);
    world.client(&Seg::new(FIN_ACK, 106, passive.seq).port(1));
    world.client(&Seg::new(ACK, 107, passive.seq + 1).port(1));

    let active = world.connect_quietly(2);
    world.host_close(&active, b"bye", 1000, false);
    world.client(&Seg::new(ACK, 106, active.seq + 4).port(2));
    world.client(&Seg::new(FIN_ACK, 106, active.seq + 4).port(2));

    let reset = world.connect_quietly(3);
    world.client(&Seg::new(RST, 106, 0).port(3));

    let aborted = world.connect_quietly(4);
    world.host_abort(&aborted);

    let late = world.connect_quietly(5);
    world.host_close(&late, b"", 1000, false);
    world.client(&Seg::new(PSH_ACK, 106, late.seq).port(5).data(b"more"));

    let gone = world.connect_quietly(6);
    world.host_close(&gone, b"", 1000, false);
    assert_eq!(world.flows_in(State::FinWait1), 1);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.nic.counters().flows(), 0);

    expect(&world, &passive, &["passive_close: established > last_ack", "-: last_ack > spent"]);
    let closed = "active_close: established > fin_wait_1";
    expect(&world, &active, &[closed, "-: fin_wait_1 > fin_wait_2", "-: fin_wait_2 > time_wait"]);
    expect(&world, &reset, &["reset_received: established > spent"]);
    expect(&world, &aborted, &["aborted: established > established", "reset_sent: established > spent"]);
    expect(&world, &late, &[closed, "data_after_close: fin_wait_1 > spent"]);
    let repeats = ["retransmitted: fin_wait_1 > fin_wait_1"; 8];
    let end = ["timed_out: fin_wait_1 > fin_wait_1", "reset_sent: fin_wait_1 > spent"];
    expect(&world, &gone, &[&[closed][..], &repeats, &end].concat());
}

/// What an attacker's segment brings about stands beside the steps of the connection.
#[test]
fn a_challenge_moves_nothing() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0).port(1)).seq;
    world.client(&Seg::new(ACK, 101, iss + 1).port(1));
    world.client(&Seg::new(SYN, 500, 0).port(1));
    assert_eq!(world.count(Event::ChallengeSent), 1);
    world.client(&Seg::new(PSH_ACK, 101, iss + 1).port(1).data(b"hello"));
    let told: Vec<_> = world.nic.history().newest().map(|record| (record.event, record.after)).collect();
    let at = |state| nicfw::Stage::Flow(state);
    assert_eq!(
        told,
        [
            (Some(Event::EstablishedSent), at(State::Established)),
            (Some(Event::ChallengeSent), at(State::Waiting)),
            (Some(Event::CookieAccepted), at(State::Waiting)),
        ]
    );
}

#[test]
fn only_so_many_are_kept_or_none() {
    for (history_max, kept) in [(0, 0), (5, 8), (8, 8)] {
        let mut world = World::with(Config { history_max, ..config() }, listen_body());
        for port in 1..10 {
            let conn = world.connect_quietly(port);
            world.host_abort(&conn);
        }
        assert_eq!(world.nic.history().newest().count(), kept);
        assert_eq!(world.nic.history().written(), if kept > 0 { 9 * 4 } else { 0 });
    }
}
