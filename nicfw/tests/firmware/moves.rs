//! Where a peer is: answers go to the hardware address that its segments come from, and nobody who does not
//! see the connection can say that it has moved (RFC 5961 §5).

use netcore::Duration;
use protocol::ethernet::Mac;
use protocol::tcp::{Options, Timestamps};

use crate::harness::*;

const ELSEWHERE: Mac = Mac([2, 0, 0, 0, 0, 9]);

/// Where the host's next segment goes.
fn answered_at(world: &mut World, conn: &mut Conn) -> Mac {
    world.host_messages();
    world.wire_frames();
    world.host_segment(conn, PSH_ACK, b"reply", true);
    world.one().client_mac
}

#[test]
fn a_peer_of_the_host_that_moved_is_answered_where_it_sends_from() {
    let mut world = World::new();
    let mut conn = world.connect(1);
    assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC);
    // What is new, what is repeated, a keep-alive, and what begins behind something lost.
    let (data, ack) = (b"hello", conn.seq);
    let segments = [
        Seg::new(PSH_ACK, 106, ack).data(data),
        Seg::new(PSH_ACK, 101, ack).data(data),
        Seg::new(ACK, 105, ack),
        Seg::new(PSH_ACK, 600, ack).data(data),
    ];
    for segment in segments {
        world.client(&Seg { client_mac: ELSEWHERE, ..segment.clone().port(1) });
        assert_eq!(answered_at(&mut world, &mut conn), ELSEWHERE, "{segment:?}");
        world.client(&segment.port(1));
        assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC);
    }
}

#[test]
fn who_guesses_turns_no_connection_of_the_host_away() {
    let mut world = World::new();
    let mut conn = world.connect(1);
    assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC);
    let (near, far) = (1, 1 << 20);
    let guesses = [
        // Within the 16 MiB that the host is asked about, but beyond every window.
        (106 + far, 0),
        (106u32.wrapping_sub(far), 0),
        // In the window, with what was never sent, or long ago.
        (106, near),
        (106, far),
        (106, 0u32.wrapping_sub(far)),
    ];
    for (seq, ahead) in guesses {
        for data in [&b""[..], b"guess"] {
            let guess = Seg::new(ACK, seq, conn.seq.wrapping_add(ahead)).port(1).data(data);
            world.client(&Seg { client_mac: ELSEWHERE, ..guess });
            assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC, "{seq} {ahead}");
        }
    }
}

#[test]
fn without_the_agreed_timestamps_nobody_moves() {
    let mut world = World::new();
    let timestamps = Some(Timestamps { value: 7000, echo: 0 });
    let syn = Seg::new(SYN, 100, 0).options(Options { timestamps, ..Options::default() }).port(1);
    let answer = world.syn(&syn);
    let echo = answer.options.timestamps.expect("agreed on").value;
    let hello = Seg::new(PSH_ACK, 101, answer.seq + 1).port(1).data(b"hello").ts(7000, echo);
    world.client(&hello);
    let messages = world.host_messages();
    let [Msg::Established(header, ..)] = &messages[..] else { panic!("{messages:?}") };
    let mut conn = Conn { flow: header.flow, seq: answer.seq + 1, ack: 106, port: 1 };
    assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC);
    let next = Seg { client_mac: ELSEWHERE, ..Seg::new(ACK, 106, conn.seq).port(1) };
    world.client(&next);
    assert_eq!(answered_at(&mut world, &mut conn), CLIENT_MAC);
    world.client(&next.ts(7001, echo));
    assert_eq!(answered_at(&mut world, &mut conn), ELSEWHERE);
}

#[test]
fn who_guesses_turns_no_connection_away_that_the_host_has_not_heard_of() {
    let mut world = World::new();
    let timestamps = Some(Timestamps { value: 7000, echo: 0 });
    let options = Options { window_scale: Some(7), timestamps, ..Options::default() };
    let answer = world.syn(&Seg::new(SYN, 100, 0).options(options).port(1));
    let echo = answer.options.timestamps.expect("agreed on").value;
    let next = answer.seq + 1;
    let segment = |seq, ack| Seg::new(ACK, seq, ack).port(1).ts(7000, echo);
    world.client(&segment(101, next));
    // In the window, and acknowledging what only a peer with a far larger one could have got.
    world.client(&Seg { client_mac: ELSEWHERE, ..segment(500, next.wrapping_sub(1 << 20)) });
    assert_eq!(world.wire_segments(), []);
    // A keep-alive is answered.
    world.client(&segment(100, next));
    assert_eq!(world.one().client_mac, CLIENT_MAC);
    world.pass(Duration::from_secs(1));
    world.client(&Seg { client_mac: ELSEWHERE, ..segment(101, next) });
    world.client(&segment(100, next));
    assert_eq!(world.one().client_mac, ELSEWHERE);
}
