//! The firmware, three client ports, a host per queue, and the steps of a program.

use netcore::rng::SeededRng;
use netcore::{Duration, Frame, Instant};
use nicfw::{Config, Firmware, INDIRECTION, Offload, Steer};
use protocol::channel::Kind;
use protocol::ethernet::{self, EtherType, Mac};
use protocol::tcp::{Flags, Options};
use sim::frame::{Pool, SimFrame};
use sim::packet::{fix_checksums, ip_frame, raw_frame};

use super::check;
use super::host::Host;
use crate::input::Input;
use crate::peer::{OUR_MAC, PEER_MAC, Peer, ROUTE};

const CLIENTS: u16 = 3;
/// Frames that are remembered, to be sent again.
const KEPT: usize = 16;
/// Marks a frame that the host sends as it is.
const RAW_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xee]);

pub(super) struct World {
    nic: Firmware<SimFrame>,
    pool: Pool,
    now: Instant,
    peers: Vec<Peer>,
    hosts: Vec<Host>,
    kept: Vec<Vec<u8>>,
    /// What leaves is not taken at the moment.
    stuck: bool,
    /// The host has said what no host says: the frames that follow may be anything.
    wild: bool,
}

fn config(input: &mut Input<'_>) -> Config {
    // The first byte says several things, so that the corpus keeps its meaning.
    let first = input.u8();
    let limited = first & 4 != 0;
    Config {
        offload: if first < 245 { Offload::Lifecycle } else { Offload::None },
        steer: Steer::NAMES[usize::from(first % 3)].1,
        network_syn_rate: if limited { 2 } else { 0 },
        network_syn_burst: 3,
        network_flows_max: if limited { 2 } else { 0 },
        networks_max: 4,
        untaken_max: if first & 8 != 0 { 1 } else { 0 },
        queues: input.pick(&[1, 2]),
        flows_max: input.pick(&[8, 2]),
        time_wait_max: input.pick(&[8, 1]),
        retained_max: input.pick(&[4, 1]),
        listeners_max: 2,
        queue_frames: input.pick(&[64, 8]),
        time_wait: Duration::from_secs(2),
        cookie_period: Duration::from_secs(input.pick(&[32, 4])),
        fin_wait_2: Duration::from_secs(3),
        retries: 3,
        waiting_idle: Duration::from_secs(5),
        waiting_probe_interval: Duration::from_secs(1),
        waiting_probes: 2,
        ..Config::new(OUR_MAC)
    }
}

impl World {
    /// Drawn from the input; the host listens and the first client has asked, unless the input
    /// says otherwise.
    pub(super) fn new(input: &mut Input<'_>) -> Self {
        let config = config(input);
        let queues = config.queues as u32;
        let one_life = input.flag();
        // A plain card sends what the host gives it, also messages that it does not understand.
        let wild = config.offload == Offload::None;
        let mut world = Self {
            nic: Firmware::new(config, &mut SeededRng::new(42)),
            pool: Pool::new(2048, usize::MAX),
            now: Instant::from_micros(input.pick(&[1_000_000, 4_294_966_000_000, 2_147_483_000_000])),
            peers: (0..CLIENTS).map(|at| Peer::new(40_000 + at, 6379, input)).collect(),
            hosts: (0..queues).map(|at| Host::new(500 + if one_life { 0 } else { at })).collect(),
            kept: Vec::new(),
            stuck: false,
            wild,
        };
        world.round();
        if !input.flag() {
            world.join(input);
            world.shake_hands(0);
            let request = world.peers[0].next_bytes(10);
            world.wire(&request);
        }
        world
    }

    fn join(&mut self, input: &mut Input<'_>) {
        for queue in 0..self.hosts.len() {
            self.tell(queue, &self.hosts[queue].hello(false));
            self.round();
            let listen = self.hosts[queue].listen(Kind::Listen, input);
            self.tell(queue, &listen);
            self.round();
        }
    }

    fn shake_hands(&mut self, at: usize) {
        let syn = self.peers[at].syn();
        self.peers[at].snd_nxt = self.peers[at].isn + 1;
        self.wire(&syn);
        self.round();
        let ack = self.peers[at].ack();
        self.wire(&ack);
        self.round();
    }

    /// A frame from the wire.
    fn wire(&mut self, bytes: &[u8]) {
        if let Some(frame) = self.pool.frame_with(bytes) {
            self.nic.wire_frame(frame, &mut self.pool, self.now);
        }
        if self.kept.len() < KEPT {
            self.kept.push(bytes.to_vec());
        }
    }

    /// A frame from the host.
    fn tell(&mut self, queue: usize, bytes: &[u8]) {
        if let Some(frame) = self.pool.frame_with(bytes) {
            self.nic.host_frame(queue, frame, &mut self.pool, self.now);
        }
    }

    /// What is done once per round, and a look at all that came of it.
    pub(super) fn round(&mut self) {
        self.nic.timer(&mut self.pool, self.now);
        if self.stuck {
            return;
        }
        while let Some(frame) = self.nic.wire_output().pop() {
            let bytes = frame.bytes();
            let raw = ethernet::Header::parse(bytes).is_ok_and(|header| header.src == RAW_MAC);
            if !raw && !self.wild {
                check::for_wire(bytes, &mut self.peers);
            }
        }
        for (queue, host) in self.hosts.iter_mut().enumerate() {
            while let Some(frame) = self.nic.host_output(queue).pop() {
                check::for_host(frame.bytes(), host);
            }
        }
        let counters = self.nic.counters();
        assert!(counters.flows() <= self.nic.config().flows_max as u64);
    }

    pub(super) fn step(&mut self, input: &mut Input<'_>) {
        let at = input.below(usize::from(CLIENTS));
        match input.below(26) {
            0..3 => self.shake_hands(at),
            3..6 => {
                let frame = self.peers[at].next_bytes(input.pick(&[1, 10, 1400]));
                self.wire(&frame);
            }
            6 => {
                let frame = self.peers[at].ack();
                self.wire(&frame);
            }
            7..10 => {
                let frame = self.peers[at].any_segment(input);
                self.wire(&frame);
            }
            10 => {
                let frame = self.peers[at].finish();
                self.wire(&frame);
            }
            11 => {
                let peer = &mut self.peers[at];
                let (seq, ack) = (peer.snd_nxt, peer.acknowledges());
                let options = peer.usual_options(Options::default());
                let frame = peer.segment(seq, ack, Flags::RST | Flags::ACK, 0, &options, 0);
                self.wire(&frame);
            }
            12 => {
                self.peers[at].new_life(input);
                let frame = self.peers[at].syn();
                self.wire(&frame);
            }
            13 | 14 => self.again(input),
            15 => self.strange(input),
            16..22 => self.host(input),
            22 | 23 => self.pass(input),
            24 => self.restart(input),
            _ => self.trouble(input),
        }
    }

    /// A frame that was on the wire before, changed or not.
    fn again(&mut self, input: &mut Input<'_>) {
        let at = input.below(KEPT);
        let Some(mut frame) = self.kept.get(at).cloned() else { return };
        if input.flag() {
            let place = 14 + input.below(frame.len() - 14);
            frame[place] = input.u8();
            fix_checksums(&mut frame);
        }
        self.wire(&frame);
        if input.flag() {
            self.kept.clear();
        }
    }

    fn strange(&mut self, input: &mut Input<'_>) {
        let frame = match input.below(3) {
            0 => raw_frame(&ROUTE, EtherType::from(input.u16()), input.bytes()),
            1 => ip_frame(&ROUTE, input.u8(), input.bytes()),
            // A forged message of the channel.
            _ => {
                let mut frame = self.hosts[0].hello(false);
                frame[6..12].copy_from_slice(&PEER_MAC.0);
                frame
            }
        };
        self.wire(&frame);
    }

    fn host(&mut self, input: &mut Input<'_>) {
        let queue = input.below(self.hosts.len());
        let host = &mut self.hosts[queue];
        let frame = match input.below(12) {
            0..5 => host.segment(input),
            5 | 6 => host.close(input),
            7 => host.abort(input),
            8 => Some(host.listen(input.pick(&[Kind::Listen, Kind::Unlisten]), input)),
            9 => {
                let mut frame = raw_frame(&ROUTE, EtherType::from(input.u16()), input.bytes());
                frame[6..12].copy_from_slice(&RAW_MAC.0);
                // A message is none whatever its addresses.
                (frame[12..14] != [0x88, 0xb5]).then_some(frame)
            }
            10 => {
                self.wild = true;
                Some(host.any(input))
            }
            _ => {
                self.wild = true;
                let frame = host.segment(input).or_else(|| host.close(input));
                frame.map(|mut frame| {
                    let place = 14 + input.below(frame.len() - 14);
                    frame[place] = input.u8();
                    frame
                })
            }
        };
        if let Some(frame) = frame {
            self.tell(queue, &frame);
        }
    }

    fn pass(&mut self, input: &mut Input<'_>) {
        let span = input.pick(&[100, 10_000, 500_000, 3_000_000, 20_000_000]);
        let end = self.now + Duration::from_micros(span);
        self.advance(end, 100);
        self.now = self.now.max(end);
        self.round();
        for peer in &mut self.peers {
            peer.ts_value = peer.ts_value.wrapping_add((span / 1000) as u32);
        }
    }

    /// Time passes, deadline by deadline; returns how many there were.
    fn advance(&mut self, end: Instant, rounds_max: usize) -> usize {
        for rounds in 0..rounds_max {
            self.round();
            let Some(next) = self.nic.next_deadline().filter(|&next| next <= end) else { return rounds };
            // What could be done at once but is not (no frames, no room) is tried again later.
            self.now = next.max(self.now + Duration::from_millis(1));
        }
        rounds_max
    }

    /// The host of a queue, or of all, starts anew.
    fn restart(&mut self, input: &mut Input<'_>) {
        let all = input.flag();
        let chosen = input.below(self.hosts.len());
        for queue in 0..self.hosts.len() {
            if all || queue == chosen {
                let host = &mut self.hosts[queue];
                host.epoch = host.epoch.wrapping_add(1 + u32::from(input.u8() % 4)).max(1);
                host.flows.clear();
                let hello = host.hello(input.flag());
                self.tell(queue, &hello);
                let listen = self.hosts[queue].listen(Kind::Listen, input);
                self.tell(queue, &listen);
            }
        }
    }

    fn trouble(&mut self, input: &mut Input<'_>) {
        match input.below(4) {
            0 => self.pool.set_limit(self.pool.out()),
            1 => self.stuck = true,
            2 => {
                let queues: Vec<u16> = input.bytes().iter().map(|&byte| u16::from(byte % 4)).collect();
                let table: Vec<u16> = queues.iter().copied().cycle().take(INDIRECTION).collect();
                let before = *self.nic.indirection();
                match self.nic.set_indirection(&table) {
                    Ok(()) => assert_eq!(self.nic.indirection()[..], table),
                    Err(_) => assert_eq!(*self.nic.indirection(), before),
                }
                self.pool.set_limit(usize::MAX);
                self.stuck = false;
            }
            _ => {
                self.pool.set_limit(usize::MAX);
                self.stuck = false;
            }
        }
    }

    /// Clients are silent from here on, every host starts anew: nothing may be left.
    pub(super) fn end(mut self) {
        self.stuck = false;
        self.pool.set_limit(usize::MAX);
        self.round();
        for queue in 0..self.hosts.len() {
            let host = &mut self.hosts[queue];
            host.epoch = 0x7000_0000;
            host.flows.clear();
            let hello = host.hello(false);
            self.tell(queue, &hello);
        }
        let end = self.now + Duration::from_secs(2000);
        let rounds = self.advance(end, 20_000);
        assert!(rounds < 20_000, "it never ends: {:?}", self.nic.next_deadline());
        let held: Vec<_> = self.nic.counters().iter().filter(|(.., value)| *value != 0).collect();
        assert_eq!(self.nic.counters().held(), 0, "{held:?}");
        self.round();
        drop(self.nic);
        assert_eq!(self.pool.out(), 0, "frames that never came back");
    }
}
