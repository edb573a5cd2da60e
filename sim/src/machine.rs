//! The machine under test: firmware, rings of the channel, a host stack and application per core.

use netcore::ring::{self, RingPort};
use netcore::rng::SeededRng;
use netcore::{Duration, Frame, FramePool, Instant, Port};
use nicfw::Firmware;
use stack::{AcceptPolicy, App, Gauges, Stack};

use crate::frame::Pool;
use crate::scenario::LinkState;
use crate::trace::{Tap, Trace};

/// What a [`Machine`] is made from.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// The firmware; its `queues` say how many cores the host has.
    pub firmware: nicfw::Config,
    /// The stack of every core.
    pub stack: stack::Config,
    /// Frames that each ring of the channel holds per direction.
    pub ring_frames: usize,
    /// Port that the server listens on.
    pub port: u16,
    /// When the firmware tells the host of a connection.
    pub accept: AcceptPolicy,
}

/// A machine with applications `A` behind a wire `W`, with frames from `P`.
pub struct Machine<W, A: App, P: FramePool = Pool> {
    config: MachineConfig,
    rng: SeededRng,
    pool: P,
    wire: W,
    firmware: Firmware<P::Frame>,
    nic_rings: Vec<Tap<RingPort<P::Frame>>>,
    link: LinkState,
    /// When the link was cut last.
    cut_at: Option<Instant>,
    cores: Vec<Core<P::Frame, A>>,
    now: Instant,
    /// The firmware does nothing until then.
    nic_stalled_until: Instant,
    trace: Trace,
}

/// After this time nothing is left of a cut of the link: what TCP lost on it was repeated, or its connection
/// has ended.
const REPAIR: Duration = Duration::from_secs(200);

struct Core<F: Frame, A: App> {
    stack: Stack<F, A>,
    app: A,
    ring: Tap<RingPort<F>>,
    /// It does nothing until then.
    stalled_until: Instant,
}

impl<P: FramePool, W: Port<Frame = P::Frame>, A: App> Machine<W, A, P> {
    /// `apps`: one per core. `pool`: for firmware and host.
    ///
    /// # Panics
    /// The stack refuses to listen on the configured port.
    pub fn new(
        config: MachineConfig,
        apps: Vec<A>,
        wire: W,
        pool: P,
        mut rng: SeededRng,
        trace: Trace,
    ) -> Self {
        assert_eq!(apps.len(), config.firmware.queues, "one application per core");
        let capabilities = wire.capabilities();
        let mut nic_rings = Vec::new();
        let mut cores = Vec::new();
        for app in apps {
            let (nic, host) = ring::pair(config.ring_frames, capabilities);
            nic_rings.push(Tap::new(nic, "nic", trace.clone()));
            let stack = start_stack(&config, &mut rng);
            cores.push(Core {
                stack,
                app,
                ring: Tap::new(host, "host", trace.clone()),
                stalled_until: Instant::ZERO,
            });
        }
        let firmware = Firmware::new(config.firmware.clone(), &mut rng);
        Self {
            config,
            rng,
            pool,
            wire,
            firmware,
            nic_rings,
            link: LinkState::default(),
            cut_at: None,
            cores,
            now: Instant::ZERO,
            nic_stalled_until: Instant::ZERO,
            trace,
        }
    }

    /// One round of everybody; true when somebody moved something.
    pub fn round(&mut self, now: Instant) -> bool {
        self.now = now;
        let mut any = false;
        if now >= self.nic_stalled_until {
            for queue in 0..self.nic_rings.len() {
                self.firmware.host_link(queue, !self.link.is_known);
            }
            any |= self.firmware.poll(&mut self.wire, &mut self.nic_rings, &mut self.pool, now).any();
        }
        for core in self.cores.iter_mut().filter(|core| now >= core.stalled_until) {
            any |= core.stack.poll(&mut core.ring, &mut self.pool, &mut core.app, now).any();
        }
        any
    }

    /// When [`Self::round`] has something to do even if no frame arrives. The applications'
    /// own deadlines are not among them.
    pub fn next_deadline(&self) -> Option<Instant> {
        let cores = self.cores.iter().filter_map(|core| {
            // Who wakes up has to look at what has come meanwhile.
            let stalled = Some(core.stalled_until).filter(|until| *until > self.now);
            stalled.or_else(|| core.stack.next_deadline())
        });
        let stalled = Some(self.nic_stalled_until).filter(|until| *until > self.now);
        cores.chain(stalled.or_else(|| self.firmware.next_deadline())).min()
    }

    /// True when nothing is under way between firmware and host: after rounds that moved nothing,
    /// with nobody stalled, nobody waiting for room or frames, and nothing lost on the link that TCP may still
    /// have to repeat.
    pub fn is_calm(&self) -> bool {
        let cut_lately = self.cut_at.is_some_and(|at| self.now.since(at) < REPAIR);
        if self.link != LinkState::default() || cut_lately {
            return false;
        }
        let due = |deadline: Option<Instant>| deadline.is_some_and(|at| at <= self.now);
        let core =
            |core: &Core<P::Frame, A>| core.stalled_until > self.now || due(core.stack.next_deadline());
        self.nic_stalled_until <= self.now
            && !due(self.firmware.next_deadline())
            && !self.cores.iter().any(core)
    }

    /// Whether the link was ever cut: what it lost then, the firmware may not have seen to this day, when the
    /// peer is one that never asks for it.
    pub fn was_cut(&self) -> bool {
        self.cut_at.is_some()
    }

    /// The link between firmware and host is like this from now on.
    pub fn set_link(&mut self, link: LinkState) {
        self.trace.note(&format!("the link: {link:?}"));
        if self.link != LinkState::default() {
            self.cut_at = Some(self.now);
        }
        self.link = link;
        for ring in &mut self.nic_rings {
            ring.cut(link.cut_to_host);
        }
        for core in &mut self.cores {
            core.ring.cut(link.cut_to_firmware);
            if link.is_known {
                core.stack.nic_is_gone(&mut core.app);
            }
        }
    }

    /// Core `core` does nothing until `until`, as if its thread were not scheduled.
    pub fn stall_host(&mut self, core: usize, until: Instant) {
        self.trace.note(&format!("host core {core} stalls"));
        self.cores[core].stalled_until = until;
    }

    /// The firmware does nothing until `until`.
    pub fn stall_firmware(&mut self, until: Instant) {
        self.trace.note("firmware stalls");
        self.nic_stalled_until = until;
    }

    /// The stack of core `core` dies with all its connections and comes up again.
    pub fn restart_host(&mut self, core: usize, app: A) {
        self.trace.note(&format!("host core {core} restarts"));
        let old = &mut self.cores[core];
        // Its application forgets its clients; nobody is told.
        old.stack.abort_all(&mut old.app);
        self.cores[core].stack = start_stack(&self.config, &mut self.rng);
        self.cores[core].app = app;
    }

    /// The firmware dies with all its flows and comes up again.
    pub fn restart_firmware(&mut self) {
        self.trace.note("firmware restarts");
        self.firmware = Firmware::new(self.config.firmware.clone(), &mut self.rng);
    }

    /// The firmware.
    pub fn firmware(&self) -> &Firmware<P::Frame> {
        &self.firmware
    }

    /// The firmware, for what its owner may change while it runs.
    pub fn firmware_mut(&mut self) -> &mut Firmware<P::Frame> {
        &mut self.firmware
    }

    /// The stack of a core.
    pub fn stack(&mut self, core: usize) -> &mut Stack<P::Frame, A> {
        &mut self.cores[core].stack
    }

    /// The applications of the cores that do something.
    pub fn awake_apps(&self) -> impl Iterator<Item = &A> {
        self.cores.iter().filter(|core| core.stalled_until <= self.now).map(|core| &core.app)
    }

    /// How many connections the stack of a core has in each state.
    pub fn gauges(&self, core: usize) -> Gauges {
        self.cores[core].stack.gauges()
    }

    /// The application of a core.
    pub fn app(&mut self, core: usize) -> &mut A {
        &mut self.cores[core].app
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// The wire.
    pub fn wire(&mut self) -> &mut W {
        &mut self.wire
    }
}

/// A stack that listens.
///
/// # Panics
/// The stack refuses to listen on the configured port.
pub fn start_stack<F: Frame, A: App>(config: &MachineConfig, rng: &mut SeededRng) -> Stack<F, A> {
    let mut stack = Stack::new(config.stack.clone(), rng);
    stack.listen(config.port, config.accept).expect("a fresh stack has room for a listener");
    stack
}
