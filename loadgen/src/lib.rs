//! The load generator: many clients in one thread, each reply checked byte for byte.
//!
//! [`workload`] says what is asked and what must be answered; it knows no transport. Two engines
//! carry it: [`client`], a thin TCP of its own over any port (DPDK, in-process rings, a simulated
//! wire), and [`kernel`], ordinary non-blocking sockets, to drive any Redis. [`run`] takes an
//! engine through loading, warm-up, measuring and draining; [`report`] shows what came out.
//! Start reading at [`workload`].

#![forbid(unsafe_code)]

pub mod cli;
pub mod client;
pub mod kernel;
pub mod report;
pub mod results;
pub mod run;
mod values;
pub mod workload;

pub use client::{ClientConfig, Clients, Work};
pub use kernel::KernelClients;
pub use results::{ErrorKind, Results};
pub use run::{Engine, Outcome, Plan, run, run_dpdk};
pub use workload::{ClosesFirst, Distribution, WorkloadConfig};
