//! The safe wrapper around DPDK: what the programs need of it, and nothing else.
//!
//! Here live the environment ([`eal`]), pools and owned frames ([`mempool`], [`mbuf`]), the devices
//! behind the one flag `--net` ([`device`]), ports for the seam of `netcore` ([`port`]), threads
//! ([`lcore`]), the processor's clock ([`clock`]) and the lock on a socket's path ([`PathLock`]). Not here: anything that knows a protocol.
//! This crate and `dpdk-sys` hold all `unsafe` code of the project. Start reading at [`device`].
//!
//! ```no_run
//! use dpdk::{Device, Eal, EalConfig, OpenConfig};
//! use netcore::{FrameQueue, Port};
//!
//! # fn main() -> Result<(), dpdk::Error> {
//! let device: Device = "packet:veth-a".parse()?;
//! let eal = Eal::init(&EalConfig::for_device(&device))?;
//! let mut port = device.open(eal, &OpenConfig::default())?;
//! let mut received = FrameQueue::with_capacity(64);
//! port.receive(&mut received, 32);
//! # Ok(())
//! # }
//! ```

pub mod clock;
pub mod device;
pub mod eal;
pub mod error;
mod interface;
pub mod lcore;
pub mod mbuf;
pub mod mempool;
mod packet_drops;
mod path_lock;
pub mod port;

pub use clock::{Clock, tsc, tsc_hz};
pub use device::{Device, OpenConfig, Share, frames_mb};
pub use eal::{Eal, EalConfig, Hugepages};
pub use error::Error;
pub use interface::{KernelAddress, kernel_addresses};
pub use lcore::{Lcore, allowed_cpus, come_first, pin_to_cpu, register_thread, sleep_precisely};
pub use mbuf::Mbuf;
pub use mempool::Mempool;
pub use path_lock::PathLock;
pub use port::{DevicePort, LinkWatch, Pools, PortStats};
