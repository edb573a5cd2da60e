//! A bad wire: frames between two interfaces, some lost, some overtaken by later ones.
//!
//! Kernels without `netem` are common in containers and small virtual machines, so the wire is a
//! thread with two packet sockets in a namespace of its own.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

/// Frames that go by before one that was held back follows.
const HELD_FOR: usize = 3;

/// What the wire does to the frames of both directions.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// Lost frames in a million.
    pub lost_per_million: u32,
    /// Frames in a million that are overtaken by the next three.
    pub late_per_million: u32,
    /// Where the dice begin.
    pub seed: u64,
}

/// The running wire; it ends when the value is dropped.
#[derive(Debug)]
pub struct Wire {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One of its directions.
struct Direction {
    from: OwnedFd,
    to: OwnedFd,
    held: Option<(Vec<u8>, usize)>,
}

impl Wire {
    /// Joins two interfaces of the calling thread's namespace.
    ///
    /// # Errors
    /// A packet socket could not be made (it needs `CAP_NET_RAW`).
    pub fn join(a: &str, b: &str, faults: Faults) -> Result<Self> {
        let socket = |name: &str| packet_socket(name).with_context(|| format!("packet socket on {name}"));
        let (a, b) = (socket(a)?, socket(b)?);
        let mut directions = [
            Direction { from: a.try_clone()?, to: b.try_clone()?, held: None },
            Direction { from: b, to: a, held: None },
        ];
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut dice = Dice(faults.seed);
            while !asked.load(Ordering::Relaxed) {
                wait_readable(&directions);
                for direction in &mut directions {
                    direction.carry(&faults, &mut dice);
                }
            }
        });
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Direction {
    /// Carries what has arrived. A frame that is held back leaves with the last of those that
    /// overtake it, or when nothing else comes.
    fn carry(&mut self, faults: &Faults, dice: &mut Dice) {
        let mut frame = [0u8; 2048];
        loop {
            let Some(len) = receive(&self.from, &mut frame) else {
                if let Some((held, _)) = self.held.take() {
                    send(&self.to, &held);
                }
                return;
            };
            if dice.hits(faults.lost_per_million) {
                continue;
            }
            if self.held.is_none() && dice.hits(faults.late_per_million) {
                self.held = Some((frame[..len].to_vec(), HELD_FOR));
                continue;
            }
            send(&self.to, &frame[..len]);
            if let Some((held, left)) = &mut self.held {
                *left -= 1;
                if *left == 0 {
                    send(&self.to, held);
                    self.held = None;
                }
            }
        }
    }
}

/// A small generator (Knuth's MMIX constants); only its high bits are used.
struct Dice(u64);

impl Dice {
    fn hits(&mut self, per_million: u32) -> bool {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % 1_000_000 < u64::from(per_million)
    }
}

fn packet_socket(interface: &str) -> io::Result<OwnedFd> {
    let protocol = (libc::ETH_P_ALL as u16).to_be();
    // SAFETY: no pointers; a valid descriptor is owned at once.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_NONBLOCK, i32::from(protocol));
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        OwnedFd::from_raw_fd(fd)
    };
    let name = CString::new(interface)?;
    // SAFETY: the structures are plain data, zero is valid for them, and the sizes are theirs.
    unsafe {
        let mut address: libc::sockaddr_ll = std::mem::zeroed();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = protocol;
        address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
        let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        if libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut promiscuous: libc::packet_mreq = std::mem::zeroed();
        promiscuous.mr_ifindex = address.sll_ifindex;
        promiscuous.mr_type = libc::PACKET_MR_PROMISC as u16;
        let size = size_of::<libc::packet_mreq>() as libc::socklen_t;
        let option = (&raw const promiscuous).cast();
        let fd = socket.as_raw_fd();
        if libc::setsockopt(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, option, size) != 0 {
            return Err(io::Error::last_os_error());
        }
        // Without this, the socket would also hear what the wire itself sends.
        let on: libc::c_int = 1;
        let size = size_of::<libc::c_int>() as libc::socklen_t;
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        libc::setsockopt(fd, libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, (&raw const on).cast(), size);
    }
    Ok(socket)
}

fn wait_readable(directions: &[Direction]) {
    let mut polled: Vec<libc::pollfd> = directions
        .iter()
        .map(|direction| libc::pollfd { fd: direction.from.as_raw_fd(), events: libc::POLLIN, revents: 0 })
        .collect();
    // SAFETY: the array is valid and of the length given.
    unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, 20) };
}

fn receive(socket: &OwnedFd, into: &mut [u8]) -> Option<usize> {
    // SAFETY: the buffer is writable and of the length given.
    let len = unsafe { libc::recv(socket.as_raw_fd(), into.as_mut_ptr().cast(), into.len(), 0) };
    usize::try_from(len).ok()
}

fn send(socket: &OwnedFd, frame: &[u8]) {
    // SAFETY: the buffer is readable and of the length given. A frame that the kernel does not
    // take is lost, as frames are.
    unsafe { libc::send(socket.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
}
