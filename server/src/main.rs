//! `mayfly-server`: a Redis-protocol server on its own TCP stack.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dpdk::Device;
use server::Engine;
use server::config::{Command, Config};
use server::front::{self, kernel::Kernel};
use tracing::Level;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mayfly-server: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<(), Box<dyn std::error::Error>> {
    let config = match Config::from_command_line(std::env::args_os().skip(1))? {
        Command::Serve(config) => *config,
        Command::Print(text) => {
            // Whoever reads may have seen enough.
            let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
            return Ok(());
        }
    };
    let level = match config.loglevel.as_str() {
        "debug" => Level::TRACE,
        "verbose" => Level::DEBUG,
        "warning" => Level::WARN,
        _ => Level::INFO,
    };
    let log = tracing_subscriber::fmt().with_target(false).with_max_level(level);
    if config.logfile.is_empty() {
        log.with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
    } else {
        let open = std::fs::OpenOptions::new().create(true).append(true).open(&config.logfile);
        let file = open.map_err(|error| format!("logfile {}: {error}", config.logfile))?;
        log.with_writer(file).with_ansi(false).init();
    }
    let _pid_file = PidFile::write(&config.pidfile)?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&stop);
    ctrlc::set_handler(move || asked.store(true, Ordering::SeqCst))?;

    let network = config.network.clone();
    let engine_start = front::engine_start(network.cores.len().max(1))?;
    if network.device == Device::Kernel {
        let sockets = Kernel::bind(&config)?;
        let engine = Arc::new(Engine::new(config, engine_start));
        for address in sockets.addresses() {
            tracing::info!("Listening on {address}, on kernel sockets");
        }
        tracing::info!("Ready to accept connections");
        sockets.run(&engine, &stop)?;
    } else {
        let port = config.port;
        let engine = Arc::new(Engine::new(config, engine_start));
        front::dpdk::run(&engine, &network, port, &stop, || {
            let (offload, nic) = (network.offload, network.nic);
            tracing::info!("Port {port} on {}, --offload {offload}, --nic {nic}", network.device);
            tracing::info!("Ready to accept connections");
        })?;
    }
    tracing::info!("Bye");
    Ok(())
}

/// The file that holds our process id while we run.
struct PidFile(String);

impl PidFile {
    /// Writes it, unless the path is empty.
    fn write(path: &str) -> Result<Self, String> {
        if !path.is_empty() {
            std::fs::write(path, format!("{}\n", std::process::id()))
                .map_err(|error| format!("pidfile {path}: {error}"))?;
        }
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            let _ = std::fs::remove_file(&self.0);
        }
    }
}
