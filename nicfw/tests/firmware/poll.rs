//! Whole rounds over ports.

use netcore::ring::{RingPort, pair};
use netcore::rng::SeededRng;
use netcore::{Capabilities, Frame, FrameQueue, HeapFrame, HeapPool, Instant, Port};
use nicfw::{Config, Firmware, Offload, Work};
use protocol::ethernet::EtherType;

use crate::harness::*;

fn give(port: &mut RingPort<HeapFrame>, frames: &[Vec<u8>]) {
    let mut queue = FrameQueue::with_capacity(frames.len());
    for frame in frames {
        queue.push(HeapFrame::from_bytes(frame)).unwrap();
    }
    assert_eq!(port.send(&mut queue), frames.len());
}

fn take(port: &mut RingPort<HeapFrame>) -> Vec<Vec<u8>> {
    let mut queue = FrameQueue::with_capacity(1000);
    port.receive(&mut queue, 1000);
    queue.iter().map(|frame| frame.bytes().to_vec()).collect()
}

#[test]
fn a_round_moves_bursts_and_says_what_it_did() {
    let capabilities = Capabilities::new(NIC_MAC.0, 1500);
    let (mut wire, mut peer) = pair::<HeapFrame>(64, capabilities);
    let (host, mut stack) = pair::<HeapFrame>(64, capabilities);
    let mut hosts = [host];
    let mut nic = Firmware::new(config(), &mut SeededRng::new(1));
    let mut pool = HeapPool::new(2048, usize::MAX);
    let now = Instant::from_micros(5);

    // The greeting.
    let work = nic.poll(&mut wire, &mut hosts, &mut pool, now);
    assert_eq!(work, Work { host_sent: 1, ..Work::default() });
    assert!(
        matches!(&take(&mut stack)[..], [frame] if frame[12..14] == u16::from(EtherType::Channel).to_be_bytes())
    );
    assert!(!nic.poll(&mut wire, &mut hosts, &mut pool, now).any());

    // Forty frames from each side: a burst of 32 first, the rest in the next round.
    let frames = vec![Seg::new(SYN, 100, 0).frame(); 40];
    give(&mut peer, &frames);
    give(&mut stack, &frames);
    let work = nic.poll(&mut wire, &mut hosts, &mut pool, now);
    assert_eq!((work.wire_received, work.host_received, work.wire_sent, work.host_sent), (32, 32, 32, 32));
    let work = nic.poll(&mut wire, &mut hosts, &mut pool, now);
    assert_eq!((work.wire_received, work.host_received, work.wire_sent, work.host_sent), (8, 8, 8, 8));
    assert_eq!(take(&mut stack), frames);
    assert_eq!(take(&mut peer), frames);
    assert_eq!(nic.next_deadline(), None);

    // A wire that takes nothing holds the host back; nothing is dropped.
    give(&mut stack, &frames);
    let mut work = Work::default();
    for _ in 0..10 {
        work = nic.poll(&mut wire, &mut hosts, &mut pool, now);
        give(&mut stack, &frames[..1]);
    }
    assert!(work.any());
    assert_eq!(nic.counters().count(nicfw::Event::WireQueueFull), 0);
}

#[test]
fn a_flood_is_read_ahead_and_handled_in_its_order() {
    let capabilities = Capabilities::new(NIC_MAC.0, 1500);
    let (mut wire, mut peer) = pair::<HeapFrame>(128, capabilities);
    let (host, mut stack) = pair::<HeapFrame>(512, capabilities);
    let mut hosts = [host];
    let config = Config { read_ahead: 100, offload: Offload::None, ..config() };
    let mut nic = Firmware::new(config, &mut SeededRng::new(1));
    let mut pool = HeapPool::new(2048, usize::MAX);
    let now = Instant::from_micros(5);
    let frames: Vec<_> = (0..250).map(|seq| Seg::new(SYN, seq, 0).frame()).collect();
    let (first, rest) = frames.split_at(128);
    give(&mut peer, first);
    let mut poll = |wire: &mut _, hosts: &mut [_]| nic.poll(wire, hosts, &mut pool, now).wire_received;
    assert_eq!(poll(&mut wire, &mut hosts), 32);
    // The ring is empty: there is room for what comes now.
    let (second, third) = rest.split_at(100);
    give(&mut peer, second);
    assert_eq!(poll(&mut wire, &mut hosts), 32);
    give(&mut peer, third);
    let handled: Vec<usize> = (0..7).map(|_| poll(&mut wire, &mut hosts)).collect();
    assert_eq!(handled, [32, 32, 32, 32, 32, 26, 0]);
    assert_eq!(take(&mut stack), frames);
    assert_eq!(nic.next_deadline(), None);
}

#[test]
fn levels_have_names() {
    for level in [Offload::None, Offload::Lifecycle] {
        assert_eq!(level.to_string().parse(), Ok(level));
    }
    let error = "all".parse::<Offload>().unwrap_err();
    assert!(error.to_string().contains("lifecycle"));
}
