//! Pools, frames and ports on virtual devices that need no privilege. One environment for all
//! tests, since DPDK starts once per process.

use std::collections::HashSet;

use dpdk::{Clock, Device, Eal, EalConfig, Error, Hugepages, Mbuf, Mempool, OpenConfig};
use netcore::{Frame, FramePool, FrameQueue, Port, RxChecksum};

fn config() -> EalConfig {
    EalConfig { memory_mb: 192, hugepages: Hugepages::Never, ..EalConfig::default() }
}

fn eal() -> &'static Eal {
    Eal::init(&config()).expect("DPDK starts without privileges")
}

fn small() -> OpenConfig {
    OpenConfig { frames: 1023, rx_descriptors: 256, tx_descriptors: 256, ..OpenConfig::default() }
}

fn frame_with(pool: &Mempool, bytes: &[u8]) -> Mbuf {
    let mut frame = pool.take().expect("a free frame");
    frame.append(bytes.len()).expect("room").copy_from_slice(bytes);
    frame
}

#[test]
fn starting_again_gives_the_same_environment_or_a_clear_error() {
    let first = eal();
    assert!(std::ptr::eq(first, eal()));
    let other = Eal::init(&EalConfig { memory_mb: 17, ..config() });
    assert_eq!(other.expect_err("another configuration"), Error::EalRunning);
    assert!(first.version().starts_with("DPDK 2"), "{}", first.version());
}

#[test]
fn starting_leaves_the_thread_its_processors() {
    let before = dpdk::allowed_cpus();
    eal();
    assert_eq!(dpdk::allowed_cpus(), before);
    let pinned = std::thread::spawn(move || {
        dpdk::pin_to_cpu(before[0]).expect("allowed");
        dpdk::allowed_cpus() == before[..1]
    });
    assert!(pinned.join().expect("no panic"));
    let error = dpdk::pin_to_cpu(4096).expect_err("no such processor").to_string();
    assert!(error.contains("4096"), "{error}");
}

#[test]
fn a_frame_grows_and_shrinks_at_both_ends() {
    let mut pool = Mempool::new(eal(), 63, 2048).expect("a pool");
    let mut frame = pool.allocate().expect("a frame");
    assert_eq!((frame.bytes().len(), frame.headroom(), frame.tailroom()), (0, 128, 2048));
    frame.append(5).expect("room").copy_from_slice(b"world");
    frame.prepend(6).expect("room").copy_from_slice(b"hello ");
    assert_eq!(frame.bytes(), b"hello world");
    assert_eq!((frame.headroom(), frame.tailroom()), (122, 2043));
    frame.advance(6);
    assert_eq!(frame.bytes(), b"world");
    frame.truncate(3);
    assert_eq!(frame.bytes(), b"wor");
    frame.truncate(9);
    assert_eq!(frame.bytes(), b"wor", "truncate does not grow");
    assert!(frame.prepend(129).is_none());
    assert!(frame.append(2049).is_none());
    assert_eq!(frame.bytes(), b"wor", "what does not fit changes nothing");
    frame.bytes_mut()[0] = b'f';
    assert_eq!(frame.bytes(), b"for");
    frame.set_rx_checksum(RxChecksum::Good);
    assert_eq!(frame.rx_checksum(), RxChecksum::Good);
    frame.set_rx_checksum(RxChecksum::Bad);
    assert_eq!(frame.rx_checksum(), RxChecksum::Bad);
    frame.advance(99);
    assert_eq!(frame.bytes(), b"", "advance stops at the end");
    frame.reset();
    assert_eq!((frame.headroom(), frame.tailroom()), (128, 2048));
    assert_eq!(frame.rx_checksum(), RxChecksum::Unknown);
    let whole = frame.append(2048).expect("all of the room");
    assert_eq!(whole.len(), 2048);
}

#[test]
fn a_pool_counts_runs_dry_and_recovers() {
    let pool = Mempool::new(eal(), 63, 256).expect("a pool");
    assert_eq!((pool.in_use(), pool.available(), pool.frames()), (0, 63, 63));
    let all: Vec<Mbuf> = std::iter::from_fn(|| pool.take()).collect();
    assert_eq!((all.len(), pool.in_use(), pool.available()), (63, 63, 0));
    let addresses: HashSet<_> = all.iter().map(|frame| frame.bytes().as_ptr()).collect();
    assert_eq!(addresses.len(), 63, "no frame is given out twice");
    drop(all);
    assert_eq!((pool.in_use(), pool.available()), (0, 63));
    assert!(pool.take().is_some());
}

/// net_af_xdp hands the kernel just `frames` times a frame's size of a pool's memory.
#[test]
fn the_frames_of_a_pool_lie_close_together() {
    const FRAMES: usize = 512;
    let pool = Mempool::new(eal(), FRAMES as u32, 2048).unwrap();
    let mut addresses: Vec<usize> = Vec::new();
    let mut held = Vec::new();
    while let Some(mut frame) = pool.take() {
        addresses.push(frame.append(1).unwrap().as_ptr() as usize);
        held.push(frame);
    }
    addresses.sort_unstable();
    let spread = addresses[addresses.len() - 1] - addresses[0];
    // mbuf (128), headroom (128), data and less than 128 for the pool's own header.
    assert!(spread <= FRAMES * (128 + 128 + 2048 + 128), "{FRAMES} frames over {spread} bytes");
}

#[test]
fn frames_may_be_freed_on_another_registered_thread() {
    let pool = Mempool::new(eal(), 511, 256).expect("a pool");
    let frames: Vec<Mbuf> = (0..100).filter_map(|_| pool.take()).collect();
    let id = std::thread::spawn(move || {
        let lcore = dpdk::register_thread(eal()).expect("a free number");
        let again = dpdk::register_thread(eal()).expect("registering twice is harmless");
        assert_eq!(again.id(), lcore.id());
        drop(again);
        drop(frames);
        let taken: Vec<Mbuf> = (0..50).filter_map(|_| pool.take()).collect();
        assert_eq!(taken.len(), 50);
        lcore.id()
    })
    .join()
    .expect("no panic");
    assert_ne!(id, u32::MAX);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_frame_longer_than_an_mbuf_can_be_is_refused() {
    let error = Mempool::new(eal(), 63, u16::MAX).expect_err("128 too many").to_string();
    assert!(error.contains("at most 65407 bytes"), "{error}");
}

#[test]
fn a_ring_device_carries_frames_unharmed_and_in_order() {
    // A ring device receives what it sends.
    let device: Device = "dpdk:net_ring_order".parse().expect("a device");
    let mut port = device.open(eal(), &small()).expect("a ring opens");
    let pool = port.pool();
    let free = pool.available();
    let mut out = FrameQueue::with_capacity(100);
    for number in 0..100u8 {
        out.push(frame_with(&pool, &[number; 60])).expect("room");
    }
    assert_eq!(port.send(&mut out), 100);
    assert!(out.is_empty());
    let mut received = FrameQueue::with_capacity(80);
    assert_eq!(port.receive(&mut received, 50), 50, "no more than asked for");
    assert_eq!(port.receive(&mut received, 500), 30, "no more than there is room for");
    for number in 0..80u8 {
        assert_eq!(received.pop().expect("a frame").bytes(), [number; 60]);
    }
    assert_eq!(port.receive(&mut received, 500), 20);
    assert_eq!(port.receive(&mut received, 500), 0);
    drop(received);
    assert_eq!(pool.available(), free, "every frame came back");
    let stats = port.stats();
    assert_eq!((stats.rx_frames, stats.tx_frames), (100, 100));
    assert_eq!((stats.rx_bytes, stats.tx_bytes), (6000, 6000));
    assert_eq!((stats.tx_refused, stats.rx_unusable), (0, 0));
}

#[test]
fn a_full_device_leaves_the_rest_in_the_queue_in_order() {
    let device: Device = "dpdk:net_ring_full".parse().expect("a device");
    let config = OpenConfig { frames: 4095, ..small() };
    let mut port = device.open(eal(), &config).expect("a ring opens");
    let pool = port.pool();
    let mut out = FrameQueue::with_capacity(2000);
    for number in 0..2000u32 {
        out.push(frame_with(&pool, &number.to_be_bytes())).expect("room");
    }
    let sent = port.send(&mut out);
    assert!((1..2000).contains(&sent), "the ring holds fewer than 2000, sent {sent}");
    assert_eq!(out.len(), 2000 - sent);
    assert_eq!(out.front().expect("a frame").bytes(), (sent as u32).to_be_bytes());
    assert!(port.stats().tx_refused > 0);
    let mut received = FrameQueue::with_capacity(2000);
    assert_eq!(port.receive(&mut received, 2000), sent);
    assert_eq!(port.send(&mut out), 2000 - sent);
    assert_eq!(port.receive(&mut received, 2000), 2000 - sent);
    for number in 0..2000u32 {
        assert_eq!(received.pop().expect("a frame").bytes(), number.to_be_bytes());
    }
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_device_can_be_closed_and_opened_again() {
    let device: Device = "dpdk:net_null_again,size=64".parse().expect("a device");
    for _ in 0..3 {
        let mut port = device.open(eal(), &small()).expect("a null device opens");
        let mut received = FrameQueue::with_capacity(8);
        assert_eq!(port.receive(&mut received, 8), 8);
        assert_eq!(received.front().expect("a frame").bytes().len(), 64);
    }
}

#[test]
fn queues_become_ports_of_their_own() {
    let device: Device = "dpdk:net_null_queues,size=64".parse().expect("a device");
    let config = OpenConfig { queues: 2, ..small() };
    let ports = device.open_queues(eal(), &config).expect("a null device has many queues");
    assert_eq!(ports.len(), 2);
    let threads = ports.into_iter().map(|mut port| {
        std::thread::spawn(move || {
            let mut received = FrameQueue::with_capacity(32);
            port.receive(&mut received, 32)
        })
    });
    for thread in threads {
        assert_eq!(thread.join().expect("no panic"), 32);
    }
}

#[test]
fn what_cannot_be_opened_says_why() {
    let fails = |text: &str| {
        let device: Device = text.parse().expect(text);
        device.open(eal(), &small()).expect_err(text).to_string()
    };
    assert!(fails("kernel").contains("opens no DPDK device"));
    assert!(fails("packet:mayfly-none").contains("no network interface 'mayfly-none'"));
    assert!(fails("xdp:mayfly-none").contains("no network interface 'mayfly-none'"));
    let unknown = fails("dpdk:net_nonsense0");
    assert!(unknown.contains("cannot open dpdk:net_nonsense0"), "{unknown}");
    let twice: Device = "dpdk:net_null_twice".parse().expect("a device");
    let first = twice.open(eal(), &small()).expect("opens once");
    let second = twice.open(eal(), &small()).expect_err("not twice").to_string();
    assert!(second.contains("net_null_twice"), "{second}");
    drop(first);
}

#[test]
fn the_clock_of_a_started_environment_is_calibrated() {
    eal();
    let clock = Clock::start();
    let first = clock.now();
    assert!(clock.now() >= first);
    assert!(dpdk::tsc_hz() > 1_000_000);
}
