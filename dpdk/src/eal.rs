//! DPDK's environment: memory and drivers, started once per process.

use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use dpdk_sys as sys;

use crate::clock;
use crate::device::Device;
use crate::error::Error;
use crate::lcore;

/// Whether DPDK's memory lies in hugepages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hugepages {
    /// When the system has enough free ones for `memory_mb`, ordinary pages otherwise.
    #[default]
    Auto,
    /// Ordinary pages.
    Never,
}

/// How to start DPDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EalConfig {
    /// Memory for pools and devices, in MiB; taken from the system page by page as it is used.
    pub memory_mb: usize,
    /// Whether to use hugepages.
    pub hugepages: Hugepages,
    /// PCI devices that DPDK may take (`0000:00:05.0`); every other one is left alone.
    pub pci: Vec<String>,
    /// Show DPDK's own log on standard error instead of quoting it in errors only.
    pub verbose: bool,
}

impl Default for EalConfig {
    fn default() -> Self {
        Self { memory_mb: 256, hugepages: Hugepages::Auto, pci: Vec::new(), verbose: false }
    }
}

impl EalConfig {
    /// The default, with what this device needs.
    pub fn for_device(device: &Device) -> Self {
        Self::for_devices(&[device])
    }

    /// The default, with what all of these devices need.
    pub fn for_devices(devices: &[&Device]) -> Self {
        let address = |device: &&Device| match device {
            Device::Pci(address) => Some(address.clone()),
            _ => None,
        };
        Self { pci: devices.iter().filter_map(address).collect(), ..Self::default() }
    }
}

/// DPDK's environment; it lasts until the process ends.
///
/// Who holds a reference may make pools and open devices, from any thread.
#[derive(Debug)]
pub struct Eal {
    config: EalConfig,
    hugepages: bool,
}

static EAL: OnceLock<Result<Eal, Error>> = OnceLock::new();

/// Where DPDK put its files, to be removed at exit.
static RUNTIME_DIRECTORY: Mutex<Option<PathBuf>> = Mutex::new(None);

impl Eal {
    /// Starts DPDK (150 to 200 ms); a later call with the same configuration gives the same one.
    ///
    /// Neither configuration files nor hugepages are shared, so that any number of processes run
    /// side by side. The calling thread keeps the processors that it may run on.
    ///
    /// # Errors
    /// [`Error::Eal`] with DPDK's reason; [`Error::EalRunning`] when it was started differently.
    pub fn init(config: &EalConfig) -> Result<&'static Self, Error> {
        let eal = EAL.get_or_init(|| start(config)).as_ref().map_err(Clone::clone)?;
        if eal.config == *config { Ok(eal) } else { Err(Error::EalRunning) }
    }

    /// True when DPDK's memory lies in hugepages.
    pub fn uses_hugepages(&self) -> bool {
        self.hugepages
    }

    /// True when DPDK may take PCI devices.
    pub(crate) fn drives_cards(&self) -> bool {
        !self.config.pci.is_empty()
    }

    /// DPDK's name and version.
    pub fn version(&self) -> String {
        format!("DPDK {}.{:02}.{}", sys::RTE_VER_YEAR, sys::RTE_VER_MONTH, sys::RTE_VER_MINOR)
    }
}

fn start(config: &EalConfig) -> Result<Eal, Error> {
    clock::begin_calibration();
    let hugepages = config.hugepages == Hugepages::Auto && free_hugepage_mb() >= config.memory_mb;
    let mut arguments: Vec<CString> = Vec::new();
    for argument in arguments_for(config, hugepages) {
        arguments.push(
            CString::new(argument.clone())
                .map_err(|_| Error::Eal(format!("NUL in argument {argument:?}")))?,
        );
    }
    if !config.verbose {
        // SAFETY: takes no arguments; before the environment starts nobody logs concurrently.
        unsafe { sys::mayfly_log_capture() };
    }
    let mark = log_mark();
    let affinity = lcore::affinity();
    let mut pointers: Vec<*mut c_char> = arguments.into_iter().map(CString::into_raw).collect();
    // SAFETY: the pointers are valid, writable, NUL-terminated strings that are leaked on purpose,
    // because DPDK may keep them; `start` runs once, inside the OnceLock.
    let result = unsafe { sys::rte_eal_init(pointers.len() as c_int, pointers.as_mut_ptr()) };
    // DPDK binds the thread that starts it; the caller's processors are the caller's choice.
    let _ = lcore::set_affinity(&affinity);
    if result < 0 {
        // SAFETY: reads a thread-local variable.
        let reason = reason(unsafe { sys::mayfly_errno() });
        let said = said_since(mark);
        let memory = if hugepages { "hugepages" } else { "ordinary pages (no hugepages)" };
        let detail = if said.is_empty() { String::new() } else { format!("; DPDK said: {said}") };
        return Err(Error::Eal(format!("{reason} (asked for {} MiB in {memory}){detail}", config.memory_mb)));
    }
    forget_runtime_directory();
    Ok(Eal { config: config.clone(), hugepages })
}

fn arguments_for(config: &EalConfig, hugepages: bool) -> Vec<String> {
    let cpus = lcore::allowed_cpus().iter().map(usize::to_string).collect::<Vec<_>>().join(",");
    let mut arguments = vec![
        "mayfly".to_owned(),
        "--no-telemetry".into(),
        format!("--file-prefix=mayfly-{}", std::process::id()),
        // One lcore that may run on all processors: the poll threads are ours.
        format!("--lcores=0@({cpus})"),
        format!("--log-level={}", if config.verbose { "info" } else { "error" }),
    ];
    if hugepages {
        // One file per page size, so that a virtio peer can map it.
        arguments.extend(["--in-memory", "--single-file-segments"].map(String::from));
    } else {
        arguments.extend(["--no-huge", "--no-shconf", "-m"].map(String::from));
        arguments.push(config.memory_mb.to_string());
    }
    if config.pci.is_empty() {
        arguments.extend(["--no-pci", "--iova-mode=va"].map(String::from));
    }
    for address in &config.pci {
        arguments.extend(["-a".to_owned(), address.clone()]);
    }
    arguments
}

/// Free hugepages of all sizes, in MiB.
fn free_hugepage_mb() -> usize {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let free_kib = |entry: fs::DirEntry| -> Option<usize> {
        let name = entry.file_name();
        let page_kib: usize = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let free: usize =
            fs::read_to_string(entry.path().join("free_hugepages")).ok()?.trim().parse().ok()?;
        Some(page_kib * free)
    };
    sizes.flatten().filter_map(free_kib).sum::<usize>() / 1024
}

/// Removes what DPDK left in its runtime directory, now as far as it is unused and at exit.
fn forget_runtime_directory() {
    // SAFETY: the environment runs; the result is a NUL-terminated string that lives as long.
    let directory = unsafe { CStr::from_ptr(sys::rte_eal_get_runtime_dir()) };
    let directory = Path::new(OsStr::from_bytes(directory.to_bytes()));
    // Empty in most configurations: then nothing of it is left even if this process is killed.
    if fs::remove_dir(directory).is_err() {
        *RUNTIME_DIRECTORY.lock().unwrap_or_else(PoisonError::into_inner) = Some(directory.to_path_buf());
        // SAFETY: the function handed over takes and returns nothing and does not unwind.
        unsafe { libc::atexit(remove_runtime_directory) };
    }
}

extern "C" fn remove_runtime_directory() {
    if let Ok(directory) = RUNTIME_DIRECTORY.lock()
        && let Some(directory) = directory.as_ref()
    {
        let _ = fs::remove_dir_all(directory);
    }
}

/// DPDK's text for one of its error numbers, of either sign.
pub(crate) fn reason(errno: c_int) -> String {
    // SAFETY: returns a NUL-terminated string, for any number, valid until this thread's next call.
    unsafe { CStr::from_ptr(sys::rte_strerror(errno.abs())) }.to_string_lossy().into_owned()
}

/// The log's present end.
pub(crate) fn log_mark() -> u64 {
    // SAFETY: takes no arguments and locks by itself.
    unsafe { sys::mayfly_log_mark() }
}

/// The errors that DPDK has logged since `mark`, on one line; empty when there are none (or the
/// log goes to standard error).
pub(crate) fn said_since(mark: u64) -> String {
    /// Said on every start, and of no interest to anyone.
    const NOISE: [&str; 5] = [
        "mp action callback",
        "start req to secondary",
        "skipping unrecognized data section",
        "without dispatcher",
        "No bpffs found",
    ];
    let mut buffer = [0u8; 2048];
    // SAFETY: the function writes at most `buffer.len()` bytes.
    let len = unsafe { sys::mayfly_log_since(mark, buffer.as_mut_ptr().cast(), buffer.len()) };
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !NOISE.iter().any(|noise| line.contains(noise)))
        .collect::<Vec<_>>()
        .join("; ")
}
