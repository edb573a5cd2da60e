//! Pieces of packets: nobody sees them before they are whole.

use netcore::{Duration, Frame, HeapFrame};
use nicfw::{Config, Event, Offload};

use crate::harness::*;

/// A segment as two IPv4 fragments, cut `at` bytes behind the IP header.
fn pieces(segment: &Seg, at: usize) -> [Vec<u8>; 2] {
    let frame = segment.frame();
    let total = usize::from(u16::from_be_bytes([frame[16], frame[17]]));
    let payload = &frame[34..14 + total];
    [(0, &payload[..at], true), (at, &payload[at..], false)].map(|(offset, part, more)| {
        let mut piece = frame[..34].to_vec();
        piece[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
        piece[18..20].copy_from_slice(&[0x12, 0x34]);
        let field = (offset as u16 / 8) | if more { 0x2000 } else { 0 };
        piece[20..22].copy_from_slice(&field.to_be_bytes());
        piece[24..26].fill(0);
        let sum = protocol::checksum::Sum::new().add(&piece[14..34]).finish();
        piece[24..26].copy_from_slice(&sum.to_be_bytes());
        piece.extend_from_slice(part);
        piece
    })
}

impl World {
    /// A frame from the wire with room behind it, as those of devices have.
    fn wire_with_room(&mut self, bytes: &[u8]) {
        let mut frame = HeapFrame::with_capacity(2048);
        frame.append(bytes.len()).unwrap().copy_from_slice(bytes);
        self.nic.wire_frame(frame, &mut self.pool, self.now);
        self.nic.timer(&mut self.pool, self.now);
    }
}

#[test]
fn a_segment_in_pieces_is_a_segment() {
    let mut world = World::new();
    let iss = world.syn(&Seg::new(SYN, 100, 0)).seq;
    let request = Seg::new(PSH_ACK, 101, iss + 1).data(&[b'x'; 100]);
    let [first, second] = pieces(&request, 64);
    world.wire_with_room(&second);
    world.silent();
    world.wire_with_room(&first);
    let messages = world.host_messages();
    let [Msg::Established(_, _, Some(segment))] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(segment.data, request.data);
    assert_eq!((world.count(Event::Fragment), world.count(Event::Reassembled)), (2, 1));
}

#[test]
fn a_plain_card_puts_them_together_too_so_that_scaling_works() {
    let mut world = World::bare(Config { offload: Offload::None, queues: 2, ..config() });
    for port in 1..20 {
        let syn = Seg::new(SYN, 100, 0).port(port).data(&[b'x'; 100]);
        world.wire_with_room(&syn.frame());
        let whole: Vec<_> = (0..2).map(|queue| world.queue_messages(queue).len()).collect();
        for piece in pieces(&syn, 8) {
            world.wire_with_room(&piece);
        }
        let in_pieces: Vec<_> = (0..2).map(|queue| world.queue_messages(queue).len()).collect();
        assert_eq!(whole, in_pieces, "port {port}: the same queue, once");
    }
}

#[test]
fn what_stays_incomplete_is_forgotten() {
    let mut world = World::new();
    for n in 0..100 {
        let [first, second] = pieces(&Seg::new(SYN, 100, 0).port(n + 1).data(&[b'x'; 100]), 8);
        world.wire_with_room(if n % 2 == 0 { &first } else { &second });
    }
    world.silent();
    world.pass(Duration::from_secs(31));
    assert!(world.nic.next_deadline().is_none(), "no frame is held any more");
}
