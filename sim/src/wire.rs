//! The wire: a switch whose ports lose, repeat, reorder, delay and damage what crosses it.
//!
//! Everything is drawn from one generator at the moment a frame is sent, so that a seed fixes
//! it. Frames cross as bytes and are put into a frame of the receiver's pool on arrival, as a
//! device does: a receiver without frames loses what arrives.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;
use std::rc::Rc;

use netcore::port::Capabilities;
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FrameQueue, Instant, Port};
use protocol::checksum::Sum;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::ip::Version;
use protocol::tcp::{self, Flags};
use protocol::{ip, ipv4};

use crate::clock::Clocks;
use crate::fault::{Direction, Faults};
use crate::frame::{Pool, SimFrame};
use crate::packet::{self, Route};
use crate::trace::Trace;

/// Largest IP packet on the wire.
pub const MTU: usize = 1500;

/// The wire, shared by its ports and the world.
#[derive(Clone)]
pub struct Wire(Rc<RefCell<State>>);

struct State {
    now: Instant,
    rng: SeededRng,
    faults: Faults,
    serial: u64,
    ends: Vec<End>,
    trace: Trace,
    clocks: Clocks,
    /// Frames that were sent and did not arrive as they were.
    harmed: u64,
    /// The last frames that were sent to `recorded_mac`, for those who listen.
    recorded: VecDeque<Vec<u8>>,
    recorded_mac: Option<[u8; 6]>,
}

/// The first end is the machine under test.
const SERVER_END: usize = 0;
/// Who complains about packets that are too long.
const ROUTER_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xfe]);
const ROUTER: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 254);
/// Frames that are remembered.
const RECORDED_MAX: usize = 2048;

struct End {
    name: &'static str,
    mac: [u8; 6],
    arrivals: BTreeMap<(Instant, u64), Vec<u8>>,
    /// Nothing sent to this end in order may arrive before this.
    in_order_after: Instant,
    /// When what this end sent has left, at the wire's rate.
    busy_until: Instant,
    /// Everything that it sends is lost for a while.
    in_burst: bool,
}

/// What becomes of one frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// It never arrives.
    pub lost: bool,
    /// It arrives damaged.
    pub corrupted: bool,
    /// It arrives with a wrong Ethernet header.
    pub misdirected: bool,
    /// It arrives behind later ones.
    pub reordered: bool,
    /// A router sends it back.
    pub too_long: bool,
    /// It and all behind it arrive so much later.
    pub held_up: Option<Duration>,
    /// It arrives once more, so much later.
    pub again_after: Option<Duration>,
}

impl Wire {
    /// A wire without ports. `rng`: draws what happens to the frames.
    pub fn new(rng: SeededRng, trace: Trace) -> Self {
        Self(Rc::new(RefCell::new(State {
            now: Instant::ZERO,
            rng,
            faults: Faults::none(),
            serial: 0,
            ends: Vec::new(),
            trace,
            clocks: Clocks::default(),
            harmed: 0,
            recorded: VecDeque::new(),
            recorded_mac: None,
        })))
    }

    /// Adds a port. `pool`: what arrives is put into frames of it.
    pub fn attach(&self, name: &'static str, mac: [u8; 6], pool: Pool) -> WirePort {
        let mut state = self.0.borrow_mut();
        state.ends.push(End {
            name,
            mac,
            arrivals: BTreeMap::new(),
            in_order_after: Instant::ZERO,
            busy_until: Instant::ZERO,
            in_burst: false,
        });
        WirePort { wire: self.clone(), end: state.ends.len() - 1, pool, mac }
    }

    /// Remembers the last frames that go to this address.
    pub fn record(&self, mac: [u8; 6]) {
        self.0.borrow_mut().recorded_mac = Some(mac);
    }

    /// One of the frames remembered, chosen by `draw`.
    pub fn recorded(&self, draw: u64) -> Option<Vec<u8>> {
        let state = self.0.borrow();
        let at = draw.checked_rem(state.recorded.len() as u64)?;
        state.recorded.get(at as usize).cloned()
    }

    /// Lets time come.
    pub fn set_now(&self, now: Instant) {
        self.0.borrow_mut().now = now;
    }

    /// Changes what happens to frames sent from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.borrow_mut().faults = faults;
    }

    /// When the next frame arrives.
    pub fn next_arrival(&self) -> Option<Instant> {
        let state = self.0.borrow();
        state.ends.iter().filter_map(|end| end.arrivals.first_key_value()).map(|((at, _), _)| *at).min()
    }

    /// Frames on their way.
    pub fn in_flight(&self) -> usize {
        self.0.borrow().ends.iter().map(|end| end.arrivals.len()).sum()
    }

    /// Frames that were lost, damaged, repeated or overtaken so far.
    pub fn harmed(&self) -> u64 {
        self.0.borrow().harmed
    }

    /// Why the server's timestamps cannot be right, if they are not.
    pub fn clock_failure(&self) -> Option<String> {
        self.0.borrow().clocks.failure().map(str::to_owned)
    }
}

impl State {
    fn send(&mut self, from: usize, bytes: &[u8]) {
        let Ok(header) = ethernet::Header::parse(bytes) else { return };
        if self.recorded_mac == Some(header.dst.0) {
            if self.recorded.len() == RECORDED_MAX {
                self.recorded.pop_front();
            }
            self.recorded.push_back(bytes.to_vec());
        }
        if from == SERVER_END {
            self.clocks.sent(bytes);
        }
        let fate = self.fate(from, header.ether_type, &bytes[ethernet::HEADER_LEN..]);
        self.harmed += u64::from(fate != Fate::default());
        self.trace.wire_frame(self.now, self.ends[from].name, bytes, fate);
        let Some(left_at) = self.leave(from, bytes.len()) else { return };
        if fate.lost {
            return;
        }
        if fate.too_long {
            return self.send_back(from, left_at, bytes);
        }
        let mut changed;
        let mut bytes = bytes;
        let mut dst = header.dst;
        if fate.misdirected {
            changed = bytes.to_vec();
            // The source of what calls for no answer stays: nobody would ever find out that our
            // answers go astray, since nothing is repeated.
            let spared = if calls_for_answer(bytes) { 0..0 } else { 48..96 };
            let mut bit = self.rng.below(8 * ethernet::HEADER_LEN as u64) as usize;
            while spared.contains(&bit) {
                bit = self.rng.below(8 * ethernet::HEADER_LEN as u64) as usize;
            }
            changed[bit / 8] ^= 1 << (bit % 8);
            bytes = &changed;
            let Ok(header) = ethernet::Header::parse(bytes) else { return };
            dst = header.dst;
        }
        for to in 0..self.ends.len() {
            if to != from && (dst.is_multicast() || dst.0 == self.ends[to].mac) {
                self.deliver(to, left_at, bytes, fate);
            }
        }
    }

    /// A router says that the packet is too long.
    fn send_back(&mut self, from: usize, left_at: Instant, bytes: &[u8]) {
        let Some(mtu) = self.faults.path_mtu else { return };
        let packet = &bytes[ethernet::HEADER_LEN..];
        let Ok(ip) = ipv4::Header::parse(packet) else { return };
        let route = Route {
            src_mac: ROUTER_MAC,
            dst_mac: Mac(self.ends[from].mac),
            src: ROUTER.into(),
            dst: ip.src.into(),
        };
        let message = packet::fragmentation_needed(packet, mtu, &route);
        self.trace.wire_frame(self.now, "router", &message, Fate::default());
        self.deliver(from, left_at, &message, Fate::default());
    }

    fn fate(&mut self, from: usize, ether_type: EtherType, packet: &[u8]) -> Fate {
        // What may be fragmented arrives as a whole: its receiver puts it together.
        let whole =
            ether_type == EtherType::Ipv4 && ipv4::Header::parse(packet).is_ok_and(|ip| ip.dont_fragment);
        let faults = &self.faults;
        let end = &mut self.ends[from];
        let turn = if end.in_burst { faults.burst_end } else { faults.burst };
        end.in_burst = faults.burst > 0 && end.in_burst ^ self.rng.chance(turn);
        let direction = if from == SERVER_END { Direction::FromServer } else { Direction::ToServer };
        let held_up = self.rng.chance(faults.holdup).then(|| self.rng.below(faults.holdup_max.micros() + 1));
        let mut fate = Fate {
            lost: self.rng.chance(faults.loss) || end.in_burst || faults.blocked == Some(direction),
            corrupted: self.rng.chance(faults.corrupt),
            misdirected: self.rng.chance(faults.corrupt_link),
            reordered: self.rng.chance(faults.reorder),
            too_long: from == SERVER_END && whole && faults.path_mtu.is_some_and(|mtu| packet.len() > mtu),
            held_up: held_up.map(Duration::from_micros),
            again_after: None,
        };
        if self.rng.chance(faults.duplicate) {
            fate.again_after = Some(Duration::from_micros(self.rng.below(faults.reorder_max.micros() + 1)));
        } else if self.rng.chance(faults.late_duplicate) {
            fate.again_after = Some(Duration::from_micros(self.rng.below(faults.late_max.micros() + 1)));
        }
        if fate.corrupted && !matches!(ether_type, EtherType::Ipv4 | EtherType::Ipv6) {
            // Only the Ethernet checksum covers it, and the device drops the frame.
            fate.lost = true;
            fate.corrupted = false;
        }
        if fate.lost {
            return Fate { lost: true, ..Fate::default() };
        }
        fate
    }

    /// When the last bit has left; `None`: the queue in front of the wire is full.
    fn leave(&mut self, from: usize, len: usize) -> Option<Instant> {
        let Some(rate) = self.faults.bytes_per_second else { return Some(self.now) };
        let end = &mut self.ends[from];
        let begin = end.busy_until.max(self.now);
        if begin.since(self.now) > self.faults.queue_max {
            return None;
        }
        end.busy_until = begin + Duration::from_micros((len as u64 * 1_000_000).div_ceil(rate));
        Some(end.busy_until)
    }

    fn deliver(&mut self, to: usize, left_at: Instant, bytes: &[u8], fate: Fate) {
        let jitter = Duration::from_micros(self.rng.below(self.faults.jitter.micros() + 1));
        let mut at = left_at + self.faults.delay + jitter + fate.held_up.unwrap_or(Duration::ZERO);
        let end = &mut self.ends[to];
        if fate.reordered {
            at += Duration::from_micros(self.rng.below(self.faults.reorder_max.micros() + 1));
        } else {
            at = at.max(end.in_order_after);
            end.in_order_after = at;
        }
        let mut copy = bytes.to_vec();
        if fate.corrupted {
            corrupt(&mut copy, &mut self.rng);
        }
        if let Some(later) = fate.again_after {
            self.serial += 1;
            end.arrivals.insert((at + later, self.serial), bytes.to_vec());
        }
        self.serial += 1;
        end.arrivals.insert((at, self.serial), copy);
    }
}

/// False for a TCP segment that is a mere acknowledgment.
fn calls_for_answer(frame: &[u8]) -> bool {
    let packet = &frame[ethernet::HEADER_LEN..];
    let Ok(ip) = ip::Header::parse(packet) else { return true };
    let segment = &packet[ip.header_len..ip.total_len];
    match tcp::Header::parse(segment) {
        Ok(tcp) if ip.protocol == ipv4::PROTOCOL_TCP => {
            segment.len() > tcp.header_len || tcp.flags.any(Flags::SYN | Flags::FIN)
        }
        Ok(_) | Err(_) => true,
    }
}

/// Turns over bits of one 16-bit word of the IP packet. The Internet checksum finds every such
/// error but 0x0000 <-> 0xffff, which is not made; of errors in two words it would miss some.
fn corrupt(frame: &mut [u8], rng: &mut SeededRng) {
    let words = (frame.len() - ethernet::HEADER_LEN) / 2;
    if words == 0 {
        return;
    }
    let mut at = ethernet::HEADER_LEN + 2 * rng.below(words as u64) as usize;
    if frame[12..14] == [0x86, 0xdd] && (16..22).contains(&at) {
        // Length, protocol and hop limit of IPv6 stand under no checksum of its own: a damaged one
        // may pass for a packet that is right.
        at += 6;
    }
    if at + 2 > frame.len() {
        // A piece too short to have anything else.
        return;
    }
    let mask = 1 + rng.below(0xfffe) as u16;
    frame[at] ^= (mask >> 8) as u8;
    frame[at + 1] ^= mask as u8;
}

/// One port of a [`Wire`].
pub struct WirePort {
    wire: Wire,
    end: usize,
    pool: Pool,
    mac: [u8; 6],
}

impl WirePort {
    /// Sends bytes that were not built in a frame.
    pub fn send_bytes(&mut self, bytes: &[u8]) {
        self.wire.0.borrow_mut().send(self.end, bytes);
    }

    /// Takes what has arrived as bytes, one frame.
    pub fn receive_bytes(&mut self) -> Option<Vec<u8>> {
        let mut state = self.wire.0.borrow_mut();
        let now = state.now;
        let first = state.ends[self.end].arrivals.first_entry()?;
        (first.key().0 <= now).then(|| first.remove())
    }
}

/// What a device does that computes TCP checksums: it adds up what it finds, without a look at it.
fn compute_checksum(frame: &mut [u8], version: Version) {
    let segment = &mut frame[ethernet::HEADER_LEN + ip::header_len(version)..];
    let checksum = Sum::new().add(segment).finish();
    segment[16..18].copy_from_slice(&checksum.to_be_bytes());
}

impl Port for WirePort {
    type Frame = SimFrame;

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.mac, MTU)
    }

    fn receive(&mut self, into: &mut FrameQueue<SimFrame>, max: usize) -> usize {
        let mut count = 0;
        while count < max && !into.is_full() {
            let Some(bytes) = self.receive_bytes() else { break };
            let Some(frame) = self.pool.frame_with(&bytes) else { continue };
            if into.push(frame).is_err() {
                break;
            }
            count += 1;
        }
        count
    }

    fn send(&mut self, from: &mut FrameQueue<SimFrame>) -> usize {
        let mut count = 0;
        while let Some(mut frame) = from.pop() {
            if let Some(version) = frame.checksum_left() {
                compute_checksum(frame.bytes_mut(), version);
            }
            self.send_bytes(frame.bytes());
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::ethernet::Mac;

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];

    fn frame(dst: [u8; 6], n: u8) -> Vec<u8> {
        let mut bytes = vec![n; 60];
        ethernet::Header { dst: Mac(dst), src: Mac(A), ether_type: EtherType::Ipv4 }.emit(&mut bytes);
        bytes
    }

    fn wire(seed: u64) -> (Wire, WirePort, WirePort) {
        let wire = Wire::new(SeededRng::new(seed), Trace::default());
        let pool = Pool::new(2048, 100);
        let a = wire.attach("a", A, pool.clone());
        let b = wire.attach("b", B, pool);
        (wire, a, b)
    }

    fn far(wire: &Wire) {
        wire.set_now(Instant::from_micros(1 << 40));
    }

    #[test]
    fn a_good_wire_keeps_order_and_knows_addresses() {
        let (wire, mut a, mut b) = wire(1);
        for n in 0..9 {
            a.send_bytes(&frame(B, n));
        }
        a.send_bytes(&frame([2, 0, 0, 0, 0, 9], 9));
        assert!(b.receive_bytes().is_none(), "it takes time");
        wire.set_now(wire.next_arrival().unwrap());
        let order: Vec<u8> = std::iter::from_fn(|| b.receive_bytes()).map(|bytes| bytes[59]).collect();
        assert_eq!(order, [0, 1, 2, 3, 4, 5, 6, 7, 8]);
        assert!(a.receive_bytes().is_none());
        assert_eq!(wire.in_flight(), 0);
    }

    #[test]
    fn each_fault_happens() {
        let count = |faults: Faults| {
            let (wire, mut a, mut b) = wire(5);
            wire.set_faults(faults);
            for n in 0..200 {
                a.send_bytes(&frame(B, n));
            }
            far(&wire);
            let got: Vec<_> = std::iter::from_fn(|| b.receive_bytes()).collect();
            let ordered = got.is_sorted_by_key(|bytes| bytes[59]);
            let intact = got.iter().all(|bytes| *bytes == frame(B, bytes[59]));
            (got.len(), ordered, intact)
        };
        let rate = 300_000;
        let base = Faults { reorder_max: Duration::from_millis(9), ..Faults::none() };
        assert_eq!(count(base.clone()), (200, true, true));
        assert!(count(Faults { loss: rate, ..base.clone() }).0 < 200);
        assert!(count(Faults { duplicate: rate, ..base.clone() }).0 > 200);
        assert!(!count(Faults { reorder: rate, ..base.clone() }).1);
        assert!(!count(Faults { corrupt: rate, ..base.clone() }).2);
        assert_eq!(count(Faults::cut()).0, 0);
        assert_eq!(count(Faults { blocked: Some(Direction::FromServer), ..base.clone() }).0, 0);
        assert_eq!(count(Faults { blocked: Some(Direction::ToServer), ..base.clone() }).0, 200);
        let burst = Faults { burst: rate, burst_end: 1_000_000, ..base.clone() };
        assert!((100..200).contains(&count(burst).0), "every burst is one frame long");
        assert!(count(Faults { corrupt_link: rate, ..base.clone() }).0 < 200, "some go to nobody");
        let slow = Faults { bytes_per_second: Some(6_000), queue_max: Duration::from_millis(95), ..base };
        assert_eq!(count(slow).0, 10, "10 ms each: ten begin within 95 ms, the rest is lost");
    }
}
