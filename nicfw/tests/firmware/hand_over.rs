//! Last data that one segment does not hold, or that is in flight: handed over in pieces.

use netcore::Duration;
use nicfw::{Config, Event, State};
use protocol::channel::{Close, ClosedReason, MessageFlags};
use protocol::tcp::SeqNumber;

use crate::harness::*;

const MSS: usize = 536;

/// A connection over which the host hands over `len` bytes from SND.UNA on, in pieces of the MSS.
struct HandOver {
    conn: Conn,
    close: Close,
    bytes: Vec<u8>,
}

impl HandOver {
    fn new(world: &mut World, port: u16, len: usize) -> Self {
        let conn = world.connect(port);
        let close = close_body(&conn, 60_000);
        let bytes = (0..len).map(|at| (at % 251) as u8).collect();
        Self { conn, close, bytes }
    }

    fn end(&self) -> u32 {
        self.conn.seq + self.bytes.len() as u32
    }

    fn pieces(&self) -> usize {
        self.bytes.len().div_ceil(MSS)
    }

    fn piece(&self, world: &mut World, at: usize) {
        self.piece_with(world, at, MessageFlags::default());
    }

    fn piece_with(&self, world: &mut World, at: usize, extra: MessageFlags) {
        let from = at * MSS;
        let to = (from + MSS).min(self.bytes.len());
        let seq = self.conn.seq + from as u32;
        let more = to < self.bytes.len();
        world.host_piece_with(&self.conn, &self.close, seq, &self.bytes[from..to], more, extra);
    }

    fn all(&self, world: &mut World) {
        for at in 0..self.pieces() {
            self.piece(world, at);
        }
    }

    fn ack(&self, world: &mut World, offset: usize) {
        self.ack_with(world, offset, 60_000);
    }

    fn ack_with(&self, world: &mut World, offset: usize, window: u16) {
        let ack = self.conn.seq + offset as u32;
        world.client(&Seg::new(ACK, 106, ack).port(self.conn.port).window(window));
    }

    /// What was sent are these parts of the stream, the FIN behind the last byte.
    fn sent(&self, world: &mut World, parts: &[(usize, usize)]) {
        let segments = world.wire_segments();
        let offsets: Vec<_> = segments
            .iter()
            .map(|segment| {
                let from = (segment.seq - self.conn.seq) as usize;
                let to = from + segment.data.len();
                assert_eq!(segment.data, self.bytes[from..to], "at {from}");
                assert_eq!((segment.ack, segment.window), (106, 500));
                assert!(!segment.flags.has(FIN_ACK) || to == self.bytes.len());
                (from, to + usize::from(segment.flags.has(FIN_ACK)))
            })
            .collect();
        assert_eq!(offsets, parts);
    }

    fn finish(&self, world: &mut World) {
        world.client(&Seg::new(FIN_ACK, 106, self.end() + 1).port(self.conn.port));
        assert_eq!(world.one().flags, ACK);
        assert_eq!(world.nic.counters().held(), 1, "TIME_WAIT");
    }
}

fn told(world: &mut World, hand_over: &HandOver, reason: ClosedReason) {
    assert_eq!(world.closed(), [(hand_over.conn.flow, HANDLE, reason)]);
}

#[test]
fn two_pieces_are_taken_over_sent_and_finished() {
    for mut world in [World::new(), World::new_v6()] {
        let hand_over = HandOver::new(&mut world, 1, MSS + 100);
        hand_over.piece(&mut world, 0);
        world.silent();
        assert_eq!(world.flows_in(State::Established), 1, "still the host's");
        hand_over.piece(&mut world, 1);
        hand_over.sent(&mut world, &[(0, MSS), (MSS, MSS + 101)]);
        told(&mut world, &hand_over, ClosedReason::HandedOver);
        assert_eq!((world.flows_in(State::FinWait1), world.nic.counters().held()), (1, 3));
        hand_over.ack(&mut world, MSS + 101);
        world.silent();
        assert_eq!((world.flows_in(State::FinWait2), world.nic.counters().held()), (1, 1));
        hand_over.finish(&mut world);
        assert_eq!((world.count(Event::HandOverTaken), world.count(Event::ActiveClose)), (1, 1));
        world.all_gone();
    }
}

#[test]
fn what_the_peer_acknowledges_while_the_hand_over_is_on_its_way_counts() {
    for acked in [0, MSS, 2 * MSS] {
        let mut world = World::new();
        let mut hand_over = HandOver::new(&mut world, 1, 2 * MSS);
        let mut conn = hand_over.conn.clone();
        for part in hand_over.bytes.chunks(MSS) {
            world.host_segment(&mut conn, PSH_ACK, part, false);
        }
        world.wire_segments();
        // The host has written its pieces before it reads this.
        hand_over.ack(&mut world, acked);
        assert_eq!(world.host_messages().len(), 1);
        hand_over.close.cwnd = MSS as u32;
        hand_over.all(&mut world);
        told(&mut world, &hand_over, ClosedReason::HandedOver);
        hand_over.sent(&mut world, &[(2 * MSS, 2 * MSS + 1)]);
        // Who repeats repeats what is missing.
        world.pass(Duration::from_millis(400));
        let again = world.wire_segments();
        assert_eq!(again[0].seq - hand_over.conn.seq, acked as u32, "{again:?}");
    }
}

#[test]
fn what_is_in_flight_is_not_sent_again_at_the_hand_over() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 200);
    let first: Vec<u8> = hand_over.bytes[..150].to_vec();
    let mut conn = hand_over.conn.clone();
    world.host_segment(&mut conn, PSH_ACK, &first, false);
    assert_eq!(world.one().data, first);
    // One piece: 150 bytes in flight, 50 new ones.
    hand_over.close = Close { snd_una: SeqNumber(hand_over.conn.seq), ..hand_over.close };
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(150, 201)]);
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    // The host's segment arrives, ours does not.
    hand_over.ack(&mut world, 150);
    world.silent();
    world.pass(Duration::from_millis(250));
    hand_over.sent(&mut world, &[(150, 201)]);
    hand_over.ack(&mut world, 201);
    hand_over.finish(&mut world);
    // The same where nothing is left to send but the FIN, and the host's segment was lost.
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 150);
    let mut conn = hand_over.conn.clone();
    world.host_segment(&mut conn, PSH_ACK, &hand_over.bytes, false);
    world.one();
    hand_over.piece_with(&mut world, 0, MessageFlags::PEER_FINISHED);
    hand_over.sent(&mut world, &[(150, 151)]);
    assert_eq!(world.flows_in(State::LastAck), 1);
    world.closed();
    world.pass(Duration::from_millis(250));
    hand_over.sent(&mut world, &[(0, 151)]);
    hand_over.ack(&mut world, 151);
    world.silent();
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

#[test]
fn an_empty_hand_over_and_one_without_its_fin_are_refused() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 10);
    let (conn, close) = (&hand_over.conn, &hand_over.close);
    world.host_piece(conn, close, conn.seq, b"", false);
    told(&mut world, &hand_over, ClosedReason::Refused);
    // FIN and MORE.
    world.host_piece_with(conn, close, conn.seq, b"12345", false, MessageFlags::MORE);
    told(&mut world, &hand_over, ClosedReason::Refused);
    assert_eq!((world.count(Event::HandOverRefused), world.flows_in(State::Established)), (2, 1));
    assert_eq!(world.nic.counters().held(), 1);
}

#[test]
fn a_hand_over_that_leaves_out_what_was_never_sent_or_sent_more_is_refused() {
    for (skipped, sent) in [(1, 0), (0, 301)] {
        let mut world = World::new();
        let mut hand_over = HandOver::new(&mut world, 1, 300);
        world.host_segment(&mut hand_over.conn, PSH_ACK, &vec![1; sent], false);
        world.wire_segments();
        let start = hand_over.conn.seq - sent as u32 + skipped;
        let close = Close { snd_una: SeqNumber(start), ..hand_over.close };
        world.host_piece(&hand_over.conn, &close, start, &hand_over.bytes, false);
        told(&mut world, &hand_over, ClosedReason::Refused);
        assert_eq!(world.wire_segments(), []);
        assert_eq!((world.flows_in(State::Established), world.nic.counters().held()), (1, 1));
    }
}

#[test]
fn a_lost_piece_costs_nothing() {
    // Whichever it is: the host hears of it, or begins anew, and the flow is its own meanwhile.
    for lost in 0..3 {
        let mut world = World::new();
        let mut hand_over = HandOver::new(&mut world, 1, 3 * MSS);
        for at in (0..3).filter(|&at| at != lost) {
            hand_over.piece(&mut world, at);
        }
        assert_eq!(world.wire_segments(), []);
        if lost < 2 {
            let refusals = world.closed();
            assert!(refusals.iter().all(|&(_, _, reason)| reason == ClosedReason::Refused));
            assert!(!refusals.is_empty());
            assert_eq!(world.nic.counters().held(), 1, "the pieces are thrown away");
        } else {
            assert_eq!(world.nic.counters().held(), 3);
        }
        // The host goes on by itself.
        let bytes = hand_over.bytes.clone();
        world.host_segment(&mut hand_over.conn, ACK, &bytes[..MSS], false);
        assert_eq!(world.one().data, bytes[..MSS]);
        assert_eq!(world.nic.counters().held(), 1);
        assert_eq!(world.count(Event::HandOverIncomplete), u64::from(lost == 2));
        world.host_abort(&hand_over.conn);
        world.wire_segments();
        world.all_gone();
    }
}

#[test]
fn a_hand_over_that_begins_anew_replaces_the_first() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 3 * MSS);
    hand_over.piece(&mut world, 0);
    hand_over.piece(&mut world, 1);
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS), (2 * MSS, 3 * MSS + 1)]);
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    assert_eq!(world.count(Event::HandOverIncomplete), 1);
    hand_over.ack(&mut world, 3 * MSS + 1);
    hand_over.finish(&mut world);
}

#[test]
fn too_much_for_a_flow_is_refused() {
    let config = Config { last_data_max: 2 * MSS as u32, ..config() };
    let mut world = World::with(config, listen_body());
    let hand_over = HandOver::new(&mut world, 1, 2 * MSS + 1);
    hand_over.all(&mut world);
    assert_eq!(world.wire_segments(), []);
    told(&mut world, &hand_over, ClosedReason::Refused);
    assert_eq!(world.nic.counters().held(), 1);
    let other = HandOver::new(&mut world, 2, 2 * MSS);
    other.all(&mut world);
    told(&mut world, &other, ClosedReason::HandedOver);
}

#[test]
fn when_all_places_are_taken_the_host_keeps_the_flow() {
    // Eight places: two flows with three pieces each, and the third has no room.
    let mut world = World::new();
    let flows: Vec<_> = (1..=3).map(|port| HandOver::new(&mut world, port, 3 * MSS)).collect();
    for hand_over in &flows[..2] {
        hand_over.all(&mut world);
        assert_eq!(world.wire_segments().len(), 3);
        told(&mut world, hand_over, ClosedReason::HandedOver);
    }
    flows[2].all(&mut world);
    assert_eq!(world.wire_segments(), []);
    told(&mut world, &flows[2], ClosedReason::Refused);
    assert_eq!((world.count(Event::HandOverRefused), world.count(Event::HandOverTaken)), (1, 2));
    // One segment is always taken.
    let single = world.connect(9);
    world.host_close(&single, b"last", 1000, false);
    assert_eq!(world.one().data, b"last");
    assert_eq!(world.host_messages(), []);
    // As soon as there is room, the next one is taken.
    flows[0].ack(&mut world, 3 * MSS + 1);
    flows[2].all(&mut world);
    assert_eq!(world.wire_segments().len(), 3);
    told(&mut world, &flows[2], ClosedReason::HandedOver);
    world.all_gone();
}

#[test]
fn a_refusal_that_was_not_read_does_not_hide_the_end() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    world.pool.set_limit(0);
    hand_over.piece(&mut world, 1);
    world.client(&Seg::new(RST, 106, 0).port(1));
    world.pool.set_limit(usize::MAX);
    world.pass(Duration::ZERO);
    told(&mut world, &hand_over, ClosedReason::Reset);
    world.all_gone();
}

#[test]
fn the_congestion_window_opens_as_acknowledgments_come() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 8 * MSS);
    hand_over.close.cwnd = 2 * MSS as u32;
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS)]);
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    // Slow start: two for each acknowledged one.
    hand_over.ack(&mut world, MSS);
    hand_over.sent(&mut world, &[(2 * MSS, 3 * MSS), (3 * MSS, 4 * MSS)]);
    hand_over.ack(&mut world, 2 * MSS);
    hand_over.sent(&mut world, &[(4 * MSS, 5 * MSS), (5 * MSS, 6 * MSS)]);
    // An acknowledgment of what was not sent yet moves nothing.
    hand_over.ack(&mut world, 7 * MSS);
    assert_eq!(world.one().flags, ACK);
    hand_over.ack(&mut world, 6 * MSS);
    hand_over.sent(&mut world, &[(6 * MSS, 7 * MSS), (7 * MSS, 8 * MSS + 1)]);
    hand_over.ack(&mut world, 8 * MSS + 1);
    hand_over.finish(&mut world);
    world.all_gone();
}

#[test]
fn three_duplicates_repair_a_loss_and_halve_the_window() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 8 * MSS);
    hand_over.close.cwnd = 6 * MSS as u32;
    hand_over.all(&mut world);
    assert_eq!(world.wire_segments().len(), 6);
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    // The first two are lost. RFC 3042: the first duplicates let new segments out.
    hand_over.ack(&mut world, 0);
    hand_over.sent(&mut world, &[(6 * MSS, 7 * MSS)]);
    hand_over.ack(&mut world, 0);
    hand_over.sent(&mut world, &[(7 * MSS, 8 * MSS + 1)]);
    hand_over.ack(&mut world, 0);
    hand_over.sent(&mut world, &[(0, MSS)]);
    assert_eq!(world.count(Event::FastRetransmitted), 1);
    hand_over.ack(&mut world, 0);
    assert_eq!(world.wire_segments(), []);
    // RFC 6582: a partial acknowledgment brings the next hole.
    hand_over.ack(&mut world, MSS);
    hand_over.sent(&mut world, &[(MSS, 2 * MSS)]);
    hand_over.ack(&mut world, 8 * MSS + 1);
    world.silent();
    assert_eq!(world.count(Event::FastRetransmitted), 1);
    hand_over.finish(&mut world);
    world.all_gone();
}

#[test]
fn a_timeout_goes_back_and_starts_slowly_anew() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 4 * MSS);
    hand_over.all(&mut world);
    assert_eq!(world.wire_segments().len(), 4);
    world.closed();
    for wait in [250, 500, 1000] {
        world.pass(Duration::from_millis(wait - 1));
        assert_eq!(world.wire_segments(), []);
        world.pass(Duration::from_millis(1));
        hand_over.sent(&mut world, &[(0, MSS)]);
    }
    hand_over.ack(&mut world, MSS);
    hand_over.sent(&mut world, &[(MSS, 2 * MSS), (2 * MSS, 3 * MSS)]);
    // The peer had the others.
    hand_over.ack(&mut world, 4 * MSS + 1);
    world.silent();
    assert_eq!(world.flows_in(State::FinWait2), 1);
    hand_over.finish(&mut world);
    // Nobody answers at all: given up.
    let hand_over = HandOver::new(&mut world, 2, 4 * MSS);
    hand_over.all(&mut world);
    world.pass(Duration::from_secs(1000));
    assert_eq!(world.wire_segments().last().unwrap().flags, RST_ACK);
    assert_eq!(world.count(Event::TimedOut), 1);
    world.closed();
    world.all_gone();
}

/// Nothing is sent for so long, and the segment from `from` to `to` is repeated a millisecond later.
fn repeated_after(world: &mut World, hand_over: &HandOver, ms: u64, (from, to): (usize, usize)) {
    world.pass(Duration::from_millis(ms - 1));
    assert_eq!(world.wire_segments(), []);
    world.pass(Duration::from_millis(1));
    hand_over.sent(world, &[(from, to)]);
}

/// RFC 6298 §2, §3
#[test]
fn the_timeout_follows_what_was_measured() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 8 * MSS);
    // The host had measured nothing.
    (hand_over.close.rto_us, hand_over.close.cwnd) = (1_000_000, 2 * MSS as u32);
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS)]);
    world.pass(Duration::from_millis(100));
    hand_over.ack(&mut world, MSS);
    hand_over.sent(&mut world, &[(2 * MSS, 3 * MSS), (3 * MSS, 4 * MSS)]);
    // 100 ms + 4 * 50 ms. What is in flight beside a repeated segment measures nothing.
    repeated_after(&mut world, &hand_over, 300, (MSS, 2 * MSS));
    repeated_after(&mut world, &hand_over, 600, (MSS, 2 * MSS));
    world.pass(Duration::from_millis(10));
    hand_over.ack(&mut world, 4 * MSS);
    hand_over.sent(&mut world, &[(4 * MSS, 5 * MSS), (5 * MSS, 6 * MSS)]);
    repeated_after(&mut world, &hand_over, 300, (4 * MSS, 5 * MSS));
    // The next one again: RTTVAR is 3/4 * 50 + 1/4 * 0 ms.
    hand_over.ack(&mut world, 6 * MSS);
    hand_over.sent(&mut world, &[(6 * MSS, 7 * MSS), (7 * MSS, 8 * MSS + 1)]);
    world.pass(Duration::from_millis(100));
    hand_over.ack(&mut world, 7 * MSS);
    repeated_after(&mut world, &hand_over, 250, (7 * MSS, 8 * MSS + 1));
    hand_over.ack(&mut world, 8 * MSS + 1);
    hand_over.finish(&mut world);
    world.all_gone();
}

/// RFC 6298 §2.4: not below what the host takes too.
#[test]
fn the_timeout_has_a_least_value() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    hand_over.close.rto_us = 1_000_000;
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS + 1)]);
    hand_over.ack(&mut world, MSS);
    repeated_after(&mut world, &hand_over, 200, (MSS, 2 * MSS + 1));
    // The FIN alone keeps to what was measured.
    hand_over.ack(&mut world, 2 * MSS);
    world.pass(Duration::from_millis(200));
    assert_eq!(world.one().flags, FIN_ACK);
    hand_over.ack(&mut world, 2 * MSS + 1);
    hand_over.finish(&mut world);
    world.all_gone();
}

#[test]
fn each_packet_of_the_close_lost_once() {
    // Frames to the client are numbered; each is lost once, and the client gets all its bytes.
    for lost in 0..8 {
        let mut world = World::new();
        let hand_over = HandOver::new(&mut world, 1, 5 * MSS + 77);
        hand_over.all(&mut world);
        world.closed();
        let mut received = Vec::new();
        let mut number = 0;
        let mut finished = false;
        for _ in 0..200 {
            for segment in world.wire_segments() {
                number += 1;
                if number - 1 == lost {
                    continue;
                }
                let at = (segment.seq - hand_over.conn.seq) as usize;
                if at <= received.len() && at + segment.data.len() > received.len() {
                    received.extend_from_slice(&segment.data[received.len() - at..]);
                }
                let end = at + segment.data.len();
                finished |= segment.flags.has(FIN_ACK) && end == received.len();
                hand_over.ack(&mut world, received.len() + usize::from(finished));
            }
            world.pass(Duration::from_millis(50));
        }
        assert!(finished && received == hand_over.bytes, "frame {lost} lost");
        assert_eq!(world.flows_in(State::FinWait2), 1);
        hand_over.finish(&mut world);
        world.all_gone();
    }
}

#[test]
fn a_closed_window_is_probed_and_opens() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 3 * MSS);
    hand_over.close.snd_wnd = 0;
    hand_over.all(&mut world);
    assert_eq!(world.wire_segments(), []);
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    for probes in 0..20 {
        world.pass(Duration::from_millis((250 << probes).min(60_000)));
        hand_over.sent(&mut world, &[(0, 1)]);
        hand_over.ack_with(&mut world, 0, 0);
        assert_eq!(world.wire_segments(), []);
    }
    // Half a segment: no silly small ones behind it.
    hand_over.ack_with(&mut world, 0, 300);
    hand_over.sent(&mut world, &[(0, 300)]);
    hand_over.ack_with(&mut world, 300, 2000);
    hand_over.sent(&mut world, &[(300, MSS), (MSS, 2 * MSS), (2 * MSS, 3 * MSS + 1)]);
    hand_over.ack(&mut world, 3 * MSS);
    assert_eq!(world.flows_in(State::FinWait1), 1);
    hand_over.ack(&mut world, 3 * MSS + 1);
    hand_over.finish(&mut world);
    world.all_gone();
}

#[test]
fn the_fin_waits_for_its_place_in_the_window() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    hand_over.close.snd_wnd = 2 * MSS as u32;
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS)]);
    world.closed();
    hand_over.ack_with(&mut world, 2 * MSS, 0);
    assert_eq!(world.wire_segments(), []);
    world.pass(Duration::from_millis(250));
    hand_over.sent(&mut world, &[(2 * MSS, 2 * MSS + 1)]);
    hand_over.ack_with(&mut world, 2 * MSS + 1, 0);
    hand_over.finish(&mut world);
}

#[test]
fn data_after_the_close_does_not_cost_the_peer_its_replies() {
    let mut world = World::new();
    let mut hand_over = HandOver::new(&mut world, 1, 4 * MSS);
    hand_over.close.cwnd = 2 * MSS as u32;
    hand_over.all(&mut world);
    assert_eq!(world.wire_segments().len(), 2);
    world.closed();
    // It is not taken, but what it acknowledges counts.
    let more = |offset: usize| {
        Seg::new(PSH_ACK, 106, hand_over.conn.seq + offset as u32).port(1).window(60_000).data(b"more")
    };
    world.client(&more(MSS));
    let sent = world.wire_segments();
    assert_eq!(sent.iter().map(|segment| segment.data.len()).collect::<Vec<_>>(), [MSS, MSS, 0]);
    assert!(sent.iter().all(|segment| segment.ack == 106));
    assert_eq!(world.count(Event::DataHeldOff), 1);
    hand_over.ack(&mut world, 4 * MSS + 1);
    assert_eq!(world.flows_in(State::FinWait2), 1);
    // Only now, when the peer has all, it hears that nobody reads.
    world.client(&more(4 * MSS + 1));
    assert_eq!(world.one().flags, RST);
    world.all_gone();
}

#[test]
fn the_peers_fin_crosses_the_hand_over() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    hand_over.piece(&mut world, 0);
    world.client(&Seg::new(FIN_ACK, 106, hand_over.conn.seq).port(1));
    world.host_messages();
    hand_over.piece(&mut world, 1);
    let sent = world.wire_segments();
    assert!(sent.len() == 2 && sent.iter().all(|segment| segment.ack == 107));
    assert_eq!((world.flows_in(State::LastAck), world.count(Event::FinCrossed)), (1, 1));
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    world.client(&Seg::new(ACK, 107, hand_over.end() + 1).port(1));
    assert_eq!(world.nic.counters().flows(), 0);
    world.all_gone();
}

#[test]
fn nothing_is_lost_when_frames_run_out() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 3 * MSS);
    world.pool.set_limit(0);
    hand_over.all(&mut world);
    world.silent();
    world.pool.set_limit(usize::MAX);
    world.pass(Duration::from_millis(250));
    told(&mut world, &hand_over, ClosedReason::HandedOver);
    hand_over.sent(&mut world, &[(0, MSS)]);
    hand_over.ack(&mut world, MSS);
    hand_over.sent(&mut world, &[(MSS, 2 * MSS), (2 * MSS, 3 * MSS + 1)]);
    hand_over.ack(&mut world, 3 * MSS + 1);
    hand_over.finish(&mut world);
}

#[test]
fn a_host_that_is_gone_before_its_last_piece_leaves_nothing() {
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    hand_over.piece(&mut world, 0);
    world.host_epoch += 1;
    world.hello(0);
    world.pass(Duration::ZERO);
    assert_eq!(world.one().flags, RST_ACK);
    world.host_messages();
    world.all_gone();
    // One that is gone after it: the connection ends as it should.
    let mut world = World::new();
    let hand_over = HandOver::new(&mut world, 1, 2 * MSS);
    hand_over.all(&mut world);
    hand_over.sent(&mut world, &[(0, MSS), (MSS, 2 * MSS + 1)]);
    world.host_epoch += 1;
    world.hello(0);
    world.pass(Duration::from_millis(250));
    hand_over.sent(&mut world, &[(0, MSS)]);
    hand_over.ack(&mut world, 2 * MSS + 1);
    hand_over.finish(&mut world);
}
