//! Poll threads: a place in DPDK's caches, and a processor of their own.

use std::io;
use std::marker::PhantomData;

use dpdk_sys as sys;

use crate::eal::{Eal, reason};
use crate::error::Error;

/// Keeps the calling thread known to DPDK; made by [`register_thread`], undone on drop.
#[derive(Debug)]
pub struct Lcore {
    unregister: bool,
    /// A registration belongs to its thread.
    not_send: PhantomData<*mut ()>,
}

/// Gives the calling thread a number of its own in DPDK, and with it a cache in every mempool:
/// allocating and freeing frames is then several times cheaper.
///
/// # Errors
/// [`Error::Thread`] when DPDK's 128 numbers are used up.
pub fn register_thread(_: &Eal) -> Result<Lcore, Error> {
    // SAFETY: reads a thread-local variable.
    if unsafe { sys::mayfly_lcore_id() } != sys::LCORE_ID_ANY {
        return Ok(Lcore { unregister: false, not_send: PhantomData });
    }
    // SAFETY: the environment runs, since there is an `Eal`.
    if unsafe { sys::rte_thread_register() } != 0 {
        // SAFETY: reads a thread-local variable.
        return Err(Error::Thread(reason(unsafe { sys::mayfly_errno() })));
    }
    Ok(Lcore { unregister: true, not_send: PhantomData })
}

impl Lcore {
    /// The thread's number in DPDK.
    pub fn id(&self) -> u32 {
        // SAFETY: reads a thread-local variable.
        unsafe { sys::mayfly_lcore_id() }
    }
}

impl Drop for Lcore {
    fn drop(&mut self) {
        if self.unregister {
            // SAFETY: this thread was registered by `register_thread` (the guard cannot move to
            // another one) and is unregistered once.
            unsafe { sys::rte_thread_unregister() };
        }
    }
}

/// Binds the calling thread to one processor.
///
/// # Errors
/// [`Error::Pin`] when there is no such processor, or this process may not use it.
pub fn pin_to_cpu(cpu: usize) -> Result<(), Error> {
    let mut set = empty_set();
    if cpu >= libc::CPU_SETSIZE as usize {
        return Err(Error::Pin(cpu, format!("there are at most {}", libc::CPU_SETSIZE)));
    }
    // SAFETY: `cpu` is within the set, checked above.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    set_affinity(&set).map_err(|error| {
        let allowed = allowed_cpus().iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        Error::Pin(cpu, format!("{error}; this process may use {allowed}"))
    })
}

/// Lets the calling thread sleep for as long as it asks and hardly longer: the kernel's default
/// slack is 50 µs.
pub fn sleep_precisely() {
    // SAFETY: PR_SET_TIMERSLACK takes one integer (ns) and concerns the calling thread only.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_000usize) };
}

/// Where processors are scarce, has the calling thread go before others (nice -10), so that no device's ring runs
/// over while it waits for its turn. Without the permission (CAP_SYS_NICE) it stays as it is.
pub fn come_first() {
    // SAFETY: takes three integers; 0 is the calling thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, -10) };
}

/// The processors that the calling thread may run on, in ascending order.
pub fn allowed_cpus() -> Vec<usize> {
    let set = affinity();
    // SAFETY: every index asked for is within the set.
    (0..libc::CPU_SETSIZE as usize).filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) }).collect()
}

fn empty_set() -> libc::cpu_set_t {
    // SAFETY: a CPU set is a bit array; all zero bits are the empty set.
    unsafe { std::mem::zeroed() }
}

/// The calling thread's processors.
pub(crate) fn affinity() -> libc::cpu_set_t {
    let mut set = empty_set();
    // SAFETY: the set is writable and of the size given; 0 is the calling thread.
    unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    set
}

/// Sets the calling thread's processors.
pub(crate) fn set_affinity(set: &libc::cpu_set_t) -> io::Result<()> {
    // SAFETY: the set is readable and of the size given; 0 is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), set) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
