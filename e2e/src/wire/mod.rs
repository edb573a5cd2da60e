//! A bad wire: frames between two interfaces, each way with a delay, a rate and a bounded queue,
//! some lost, doubled, late or corrupted.
//!
//! Kernels without `netem` are common in containers and small virtual machines, so the wire is a
//! thread with two packet sockets in a namespace of its own. What it does to frames is decided
//! by `link`, from the time at which the kernel took each in. How much later than they were due
//! frames left is measured ([`Report::lateness`]), so that nobody has to believe in it.

mod link;
mod socket;

use std::os::fd::RawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use link::Direction;
pub use link::{Counts, Link};
pub use socket::{PacketSocket, Received};

/// Frames taken from one socket before the other one has its turn.
const BURST: usize = 64;
/// Time before a frame is due that is waited for on the processor, since waking takes that long.
const SPIN: Duration = Duration::from_micros(20);
/// Longest sleep: how soon the wire ends when it is asked to.
const SLEEP_MAX: Duration = Duration::from_millis(20);

/// What the wire does to frames.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// From the first interface (in the laboratory: the server) to the second.
    pub to_client: Link,
    /// From the second interface to the first.
    pub to_server: Link,
    /// Where the dice begin.
    pub seed: u64,
}

impl Faults {
    /// The same both ways.
    pub fn both(link: Link, seed: u64) -> Self {
        Self { to_client: link, to_server: link, seed }
    }
}

/// What the wire has done so far.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Frames to the client, frames to the server.
    pub counts: [Counts; 2],
    /// How much later than it was due each frame left.
    pub lateness: Lateness,
}

/// Times between when frames were due and when they left, in whole microseconds.
#[derive(Clone, Debug, Default)]
pub struct Lateness {
    /// How many frames were so many microseconds late; the last entry: that or more.
    by_us: Vec<u64>,
    max: Duration,
}

/// Entries of [`Lateness`].
const LATENESS_US: usize = 20_000;

impl Lateness {
    fn record(&mut self, late: Duration) {
        self.by_us.resize(LATENESS_US, 0);
        self.by_us[(late.as_micros() as usize).min(LATENESS_US - 1)] += 1;
        self.max = self.max.max(late);
    }

    /// The lateness, in µs, that `share` (0 to 1) of the frames did not exceed.
    pub fn quantile_us(&self, share: f64) -> u64 {
        let total: u64 = self.by_us.iter().sum();
        let wanted = (total as f64 * share) as u64;
        let mut seen = 0;
        let at = self.by_us.iter().position(|count| {
            seen += count;
            seen >= wanted
        });
        at.unwrap_or(0) as u64
    }
}

impl std::fmt::Display for Lateness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [half, most, nearly_all] = [0.5, 0.99, 0.999].map(|share| self.quantile_us(share));
        write!(f, "p50 {half} µs, p99 {most} µs, p99.9 {nearly_all} µs, max {} µs", self.max.as_micros())
    }
}

/// The running wire; it ends when the value is dropped.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// What the wire's thread and its owner share.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    /// Which segment is lost on demand.
    losing: Mutex<Losing>,
    report: Mutex<Report>,
}

/// A loss that somebody asked for.
#[derive(Clone, Copy, Debug, Default)]
struct Losing {
    /// Segments from and to this port are counted, both ways together.
    port: u16,
    /// How many are left until the one that is lost; 0: none is.
    left: u64,
}

impl Losing {
    /// Whether this frame is the one.
    fn hits(&mut self, frame: &[u8]) -> bool {
        if self.left == 0 || !ports(frame).is_some_and(|ports| ports.contains(&self.port)) {
            return false;
        }
        self.left -= 1;
        self.left == 0
    }
}

/// The two ports of a TCP segment on IPv4.
fn ports(frame: &[u8]) -> Option<[u16; 2]> {
    let packet = frame.strip_prefix(frame.first_chunk::<12>()?)?.strip_prefix(&[8, 0])?;
    let header_len = usize::from(packet.first()? & 15) * 4;
    let tcp = *packet.get(9)? == 6;
    let ports = packet.get(header_len..)?.first_chunk::<4>()?;
    tcp.then(|| [u16::from_be_bytes([ports[0], ports[1]]), u16::from_be_bytes([ports[2], ports[3]])])
}

impl Shared {
    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn losing(&self) -> MutexGuard<'_, Losing> {
        self.losing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wire {
    /// Joins two interfaces of the calling thread's namespace.
    ///
    /// # Errors
    /// A packet socket could not be made (it needs `CAP_NET_RAW`).
    pub fn join(a: &str, b: &str, faults: Faults) -> Result<Self> {
        let socket =
            |name: &str| PacketSocket::open(name).with_context(|| format!("packet socket on {name}"));
        let sockets = [socket(a)?, socket(b)?];
        let directions = [
            Direction::new(faults.to_client, faults.seed),
            Direction::new(faults.to_server, faults.seed ^ 0x5555_5555),
        ];
        let shared = Arc::new(Shared::default());
        let mut carrier = Carrier { sockets, directions, shared: Arc::clone(&shared) };
        let thread = std::thread::Builder::new().name("wire".into()).spawn(move || carrier.run())?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Loses the `nth` TCP segment (from 1) from or to `port`, counted from now on and both ways
    /// together.
    pub fn lose_nth(&self, port: u16, nth: u64) {
        *self.shared.losing() = Losing { port, left: nth };
    }

    /// Whether the segment of [`Self::lose_nth`] has come by, and is lost.
    pub fn has_lost(&self) -> bool {
        self.shared.losing().left == 0
    }

    /// What it has done so far.
    pub fn report(&self) -> Report {
        self.shared.report().clone()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The wire's thread. Frames of `sockets[i]` go through `directions[i]` to the other socket.
struct Carrier {
    sockets: [PacketSocket; 2],
    directions: [Direction; 2],
    shared: Arc<Shared>,
}

impl Carrier {
    fn run(&mut self) {
        be_precise();
        while !self.shared.stop.load(Ordering::Relaxed) {
            let left = self.deliver();
            let came = self.take();
            if left || came {
                continue;
            }
            let next = self.directions.iter().filter_map(Direction::next_due).min();
            let wait = next.map_or(SLEEP_MAX, |due| due.saturating_duration_since(Instant::now()));
            match wait.checked_sub(SPIN) {
                Some(wait) if !wait.is_zero() => self.wait(wait.min(SLEEP_MAX)),
                _ => std::hint::spin_loop(),
            }
        }
    }

    /// Sends what is due; true when there was anything.
    fn deliver(&mut self) -> bool {
        let mut any = false;
        for (at, direction) in self.directions.iter_mut().enumerate() {
            let socket = &self.sockets[1 - at];
            let now = Instant::now();
            while let Some((frame, due)) = direction.leave(now) {
                any = true;
                let missed = socket.send(&frame).is_err();
                let mut report = self.shared.report();
                direction.counts.missed += u64::from(missed);
                report.counts[at] = direction.counts;
                report.lateness.record(due.elapsed());
            }
        }
        any
    }

    /// Takes what has arrived; true when there was anything.
    fn take(&mut self) -> bool {
        let mut any = false;
        for (at, direction) in self.directions.iter_mut().enumerate() {
            let socket = &mut self.sockets[at];
            let before = direction.counts.entered;
            for _ in 0..BURST {
                let Some(Received { frame, age }) = socket.receive() else { break };
                let came = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
                let lose = self.shared.losing().hits(&frame);
                direction.enter(frame, came, lose);
            }
            if direction.counts.entered > before {
                any = true;
                direction.counts.missed += socket.missed();
                self.shared.report().counts[at] = direction.counts;
            }
        }
        any
    }

    /// Waits for a frame, at most for `wait`.
    fn wait(&self, wait: Duration) {
        let polled = |fd: RawFd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polled = [polled(self.sockets[0].fd()), polled(self.sockets[1].fd())];
        let wait = libc::timespec { tv_sec: 0, tv_nsec: i64::from(wait.subsec_nanos()) };
        // SAFETY: the array is valid and of the length given; no signal mask is given.
        unsafe { libc::ppoll(polled.as_mut_ptr(), 2, &raw const wait, std::ptr::null()) };
    }
}

/// The thread that stands for a wire must not wait for a processor, nor sleep for longer than it
/// says. Without the permission to it the wire still works; its report tells how well.
fn be_precise() {
    // SAFETY: plain data by value or by a pointer that is valid for the call.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, 1);
        let priority = libc::sched_param { sched_priority: 1 };
        libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const priority);
    }
}
