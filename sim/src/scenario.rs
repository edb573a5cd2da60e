//! What one seed plays: every choice that is not made by the wire or by a client on the way.

use loadgen::{ClosesFirst, WorkloadConfig};
use netcore::Duration;
use netcore::rng::SeededRng;
use nicfw::Steer;
use stack::AcceptPolicy;

use crate::fault::Plan;

/// Something that happens to the machine at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The stack of a core dies and comes up again.
    RestartHost(usize),
    /// The firmware dies and comes up again.
    RestartFirmware,
    /// A core does nothing for a while.
    StallHost(usize, Duration),
    /// The firmware does nothing for a while.
    StallFirmware(Duration),
    /// Time jumps for everybody.
    Jump(Duration),
    /// `maxclients` is set.
    MaxClients(usize),
    /// The server shuts down in order.
    Shutdown,
    /// From now on at most so many frames may be out of the machine's pool.
    PoolLimit(usize),
    /// The table from hash to core is drawn anew, from this seed.
    Indirection(u64),
    /// What the link between firmware and host loses from now on.
    Link(LinkState),
}

/// How the link between firmware and host is: it loses what is sent in a direction that is cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkState {
    /// Nothing gets from the firmware to the host.
    pub cut_to_host: bool,
    /// Nothing gets from the host to the firmware.
    pub cut_to_firmware: bool,
    /// The ports say so, as a vhost-user socket does that was closed.
    pub is_known: bool,
}

/// Parameters of a world.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What all of it was drawn from.
    pub seed: u64,
    /// The firmware does setup and teardown.
    pub lifecycle: bool,
    /// When the firmware tells the host of a connection.
    pub accept: AcceptPolicy,
    /// Cores of the host.
    pub cores: usize,
    /// Frames that a ring of the channel holds.
    pub ring_frames: usize,
    /// The wire's faults over time.
    pub faults: Plan,
    /// What happens to the machine, in order of time.
    pub events: Vec<(Duration, Event)>,
    /// What the checked clients ask.
    pub workload: WorkloadConfig,
    /// How many of them there are at a time.
    pub clients: usize,
    /// Requests of the checked clients in all.
    pub requests: u64,
    /// Their options: timestamps, SACK permitted, window scale, separate ACK.
    pub options: [bool; 4],
    /// Local ports that the checked clients use.
    pub client_ports: u16,
    /// MTU of the checked clients in bytes.
    pub client_mtu: usize,
    /// Counting clients at a time.
    pub counting: usize,
    /// Connections of the counting clients in all.
    pub counting_total: u64,
    /// Odd clients that ask alone.
    pub odd_solos: usize,
    /// Groups of odd clients that do something together.
    pub odd_plays: usize,
    /// Local ports of the odd clients.
    pub odd_ports: u16,
    /// Counting clients speak IPv6, odd clients do.
    pub v6: [bool; 2],
    /// Play it at the other level of offload too, and compare.
    pub twice: bool,
    /// Hostile actions per second of virtual time; 0: nobody is hostile.
    pub hostile_per_second: u64,
    /// How long the hostile client goes on.
    pub hostile_for: Duration,
    /// The server's receive window in bytes.
    pub receive_window: u32,
    /// Half-open connections that the server keeps.
    pub backlog_max: usize,
    /// TIME_WAIT of server and firmware.
    pub time_wait: Duration,
    /// Frames of last data that the firmware keeps.
    pub retained_max: usize,
    /// What chooses a connection's core.
    pub steer: Steer,
    /// The firmware is in another process than the host, and each gives up the other after so much
    /// silence: the firmware the host, the host the firmware.
    pub external: Option<[Duration; 2]>,
    /// The server's device computes TCP checksums.
    pub tx_checksum: bool,
}

impl Scenario {
    /// Draws the scenario of a seed.
    pub fn draw(seed: u64) -> Self {
        let mut rng = SeededRng::new(seed ^ 0x7363_656e);
        let rng = &mut rng;
        let pick = |rng: &mut SeededRng, of: &[u64]| of[rng.below(of.len() as u64) as usize];
        let value_bytes = pick(rng, &[0, 1, 3, 64, 64, 1000, 1460, 5000, 20_000, 100_000, 300_000]) as usize;
        let clients = 1 + rng.below(24) as usize;
        let persistent = rng.chance(200_000);
        let pipeline = if rng.chance(700_000) { 1 } else { 1 + rng.below(12) as usize };
        // A few hundred kilobytes to a few megabytes in all, so that a seed takes milliseconds.
        let requests = (1_500_000 / (value_bytes as u64 + 4_000)).clamp(4, 300);
        let workload = WorkloadConfig {
            keys: 1 + rng.below((600_000 / (value_bytes as u64 + 1_000)).clamp(1, 60)),
            value_bytes,
            get_percent: pick(rng, &[0, 50, 50, 90, 100]) as u32,
            pipeline,
            requests_per_connection: if persistent { None } else { Some(pick(rng, &[1, 1, 1, 2, 7])) },
            closes: if rng.chance(400_000) { ClosesFirst::Server } else { ClosesFirst::Client },
            load: true,
            seed,
            ..WorkloadConfig::default()
        };
        let faults = if rng.chance(150_000) { Plan::default() } else { Plan::draw(rng) };
        let mut scenario = Self {
            seed,
            lifecycle: rng.chance(600_000),
            accept: if rng.chance(700_000) { AcceptPolicy::Deferred } else { AcceptPolicy::Immediate },
            cores: 1 + rng.below(2) as usize,
            ring_frames: pick(rng, &[2, 4, 16, 64, 1024, 1024]) as usize,
            faults,
            events: Vec::new(),
            workload,
            clients,
            requests,
            options: [rng.chance(700_000), rng.chance(700_000), rng.chance(700_000), rng.chance(500_000)],
            client_ports: if rng.chance(300_000) { clients as u16 + 1 } else { 5_000 },
            client_mtu: pick(rng, &[576, 1200, 1500, 1500, 1500]) as usize,
            counting: rng.below(9) as usize,
            counting_total: 10 + rng.below(60),
            odd_solos: rng.below(6) as usize,
            odd_plays: rng.below(3) as usize,
            odd_ports: pick(rng, &[12, 14, 200]) as u16,
            v6: [rng.chance(400_000), rng.chance(400_000)],
            twice: rng.chance(60_000),
            hostile_per_second: pick(rng, &[0, 0, 10, 100, 400]),
            hostile_for: Duration::from_millis(500 + rng.below(8_000)),
            receive_window: pick(rng, &[4_000, 30_000, 65_535, 200_000, 1 << 20]) as u32,
            // Always room for the honest: they must not need luck while nobody is hostile.
            backlog_max: clients + 8 + 12 + pick(rng, &[0, 60, 4096]) as usize,
            time_wait: Duration::from_millis(pick(rng, &[1_000, 10_000, 60_000])),
            retained_max: pick(rng, &[2, 16, 4096, 4096]) as usize,
            steer: Steer::Rss,
            external: None,
            tx_checksum: false,
        };
        scenario.draw_events(rng);
        scenario.draw_steering(&mut SeededRng::new(seed ^ 0x7374_6565));
        scenario.draw_link(&mut SeededRng::new(seed ^ 0x6c69_6e6b));
        scenario.tx_checksum = SeededRng::new(seed ^ 0x6373_756d).chance(300_000);
        scenario
    }

    fn draw_events(&mut self, rng: &mut SeededRng) {
        let at = |rng: &mut SeededRng| Duration::from_millis(20 + rng.below(6_000));
        if rng.chance(120_000) {
            let core = rng.below(self.cores as u64) as usize;
            self.events.push((at(rng), Event::RestartHost(core)));
        }
        if rng.chance(120_000) {
            self.events.push((at(rng), Event::RestartFirmware));
        }
        if rng.chance(150_000) {
            let begin = at(rng);
            self.events.push((begin, Event::PoolLimit(rng.below(100) as usize)));
            let end = begin + Duration::from_millis(1 + rng.below(3_000));
            self.events.push((end, Event::PoolLimit(POOL_FRAMES)));
        }
        for _ in 0..rng.below(3) {
            let length = Duration::from_micros(1 << rng.below(24));
            let core = rng.below(self.cores as u64) as usize;
            let stall = [Event::StallHost(core, length), Event::StallFirmware(length)][rng.below(2) as usize];
            self.events.push((at(rng), stall));
        }
        if rng.chance(60_000) {
            self.events.push((at(rng), Event::Jump(Duration::from_millis(1 + rng.below(100_000)))));
        }
        if rng.chance(40_000) {
            let begin = at(rng);
            self.events.push((begin, Event::MaxClients(rng.below(12) as usize)));
            let end = begin + Duration::from_millis(1 + rng.below(3_000));
            self.events.push((end, Event::MaxClients(10_000)));
        }
        if rng.chance(40_000) {
            // Both at once.
            let at = at(rng);
            let core = rng.below(self.cores as u64) as usize;
            self.events.extend([(at, Event::RestartHost(core)), (at, Event::RestartFirmware)]);
        }
        if rng.chance(40_000) {
            self.events.push((at(rng), Event::Shutdown));
        }
        self.events.sort_by_key(|(at, _)| *at);
    }

    fn draw_steering(&mut self, rng: &mut SeededRng) {
        let ways = Steer::NAMES.map(|(_, steer)| steer);
        self.steer = ways[rng.below(ways.len() as u64) as usize];
        // At level none connections do not survive it: the other core does not know them.
        if self.lifecycle && self.cores > 1 && !self.twice {
            for _ in 0..rng.below(6) {
                let at = Duration::from_millis(20 + rng.below(6_000));
                self.events.push((at, Event::Indirection(rng.next_u64())));
            }
            self.events.sort_by_key(|(at, _)| *at);
        }
    }

    fn draw_link(&mut self, rng: &mut SeededRng) {
        if !rng.chance(250_000) {
            return;
        }
        // Longer than a pool may be empty: then nobody can say HELLO.
        let silence = |rng: &mut SeededRng| Duration::from_secs([4, 10, 30][rng.below(3) as usize]);
        self.external = Some([silence(rng), silence(rng)]);
        for _ in 0..rng.below(4) {
            let begin = Duration::from_millis(20 + rng.below(6_000));
            // A millisecond to half a minute.
            let length = Duration::from_micros((1_000 << rng.below(15)) + rng.below(1_000_000));
            let (cut_to_host, cut_to_firmware) =
                [(true, true), (true, false), (false, true)][rng.below(3) as usize];
            let is_known = cut_to_host && cut_to_firmware && rng.chance(500_000);
            let cut = LinkState { cut_to_host, cut_to_firmware, is_known };
            self.events.push((begin, Event::Link(cut)));
            self.events.push((begin + length, Event::Link(LinkState::default())));
        }
        self.events.sort_by_key(|(at, _)| *at);
    }

    /// True when something happens on purpose that connections cannot survive.
    pub fn breaks_connections(&self) -> bool {
        self.events.iter().any(|(_, event)| match event {
            Event::RestartHost(_) | Event::RestartFirmware | Event::Shutdown => true,
            // News of connections may be lost.
            Event::Link(link) => link.cut_to_host || link.cut_to_firmware,
            Event::StallHost(_, length) | Event::StallFirmware(length) => self.is_given_up(*length),
            // A SYN cookie is good for 32 s at least: in a longer jump a handshake may be lost.
            Event::Jump(length) => *length > Duration::from_secs(25),
            Event::PoolLimit(_) | Event::MaxClients(_) | Event::Indirection(_) => false,
        })
    }

    /// True when whoever is away for so long may be given up. What is asked just before has this time for its
    /// answer.
    fn is_given_up(&self, length: Duration) -> bool {
        self.external.is_some_and(|[host, nic]| length.micros() >= host.min(nic).micros() / 2)
    }

    /// True when clients may be told that there are too many, or that the server is away.
    pub fn limits_clients(&self) -> bool {
        self.events.iter().any(|(_, event)| match event {
            Event::MaxClients(_) | Event::Link(_) => true,
            Event::StallHost(_, length) => self.is_given_up(*length),
            Event::RestartHost(_)
            | Event::RestartFirmware
            | Event::StallFirmware(_)
            | Event::Jump(_)
            | Event::Shutdown
            | Event::PoolLimit(_)
            | Event::Indirection(_) => false,
        })
    }

    /// True when what clients hear does not depend on luck.
    pub fn is_certain(&self) -> bool {
        !self.breaks_connections() && !self.crowds_out() && !self.limits_clients()
    }

    /// True when honest connections may be refused or dropped for lack of room.
    pub fn crowds_out(&self) -> bool {
        self.backlog_max < 1000 && self.hostile_per_second > 0
    }
}

/// Frames of the machine when nobody takes them away.
pub const POOL_FRAMES: usize = 8192;
