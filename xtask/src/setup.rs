//! Installs what is missing: Debian and Ubuntu packages, nothing else.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// Something the project needs from the system.
struct Need {
    package: &'static str,
    purpose: &'static str,
    present: fn() -> bool,
}

const NEEDS: &[Need] = &[
    Need { package: "gcc", purpose: "compiles the C shim of dpdk-sys", present: || on_path("cc") },
    Need {
        package: "libc6-dev",
        purpose: "C headers",
        present: || Path::new("/usr/include/stdlib.h").exists(),
    },
    Need { package: "pkg-config", purpose: "finds DPDK", present: || on_path("pkg-config") },
    Need {
        package: "libdpdk-dev",
        purpose: "DPDK: drivers, libraries and headers",
        present: || succeeds("pkg-config", &["--exists", "libdpdk"]),
    },
    Need { package: "libclang-dev", purpose: "lets bindgen read DPDK's headers", present: libclang_present },
    Need { package: "clang", purpose: "compiles the XDP program", present: clang_present },
    Need {
        package: "libbpf-dev",
        purpose: "headers for the XDP program",
        present: || Path::new("/usr/include/bpf/bpf_helpers.h").exists(),
    },
    Need {
        package: "iproute2",
        purpose: "network namespaces (ip, tc)",
        present: || on_path("ip") && on_path("tc"),
    },
    Need {
        package: "procps",
        purpose: "sysctl",
        present: || on_path("sysctl") || Path::new("/usr/sbin/sysctl").exists(),
    },
    Need {
        package: "redis-tools",
        purpose: "redis-cli, redis-benchmark and the Redis to compare with",
        present: || {
            on_path("redis-cli")
                && on_path("redis-benchmark")
                && Path::new("/usr/bin/redis-check-rdb").exists()
        },
    },
    Need {
        package: "tcpdump",
        purpose: "reads captures in the whole-system tests",
        present: || on_path("tcpdump"),
    },
    Need {
        package: "python3-redis",
        purpose: "a client library for the whole-system tests",
        present: || succeeds("/usr/bin/python3", &["-c", "import redis"]),
    },
];

/// What only `cargo xtask fuzz` needs.
const FUZZ_NEEDS: &[Need] =
    &[Need { package: "g++", purpose: "compiles libFuzzer, which is C++", present: || on_path("c++") }];

/// Makes sure that everything is there; installs what is not, with apt.
///
/// # Errors
/// Not a Debian-like system, no way to become root, or apt failed.
pub(crate) fn ensure() -> Result<()> {
    ensure_all(NEEDS)
}

/// As [`ensure`], with what fuzzing needs beside it.
///
/// # Errors
/// As there.
pub(crate) fn ensure_for_fuzzing() -> Result<()> {
    ensure_all(NEEDS)?;
    ensure_all(FUZZ_NEEDS)
}

fn ensure_all(needs: &[Need]) -> Result<()> {
    let missing: Vec<&Need> = needs.iter().filter(|need| !(need.present)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    crate::step("Installing what is missing")?;
    for need in &missing {
        eprintln!("   {:<16} {}", need.package, need.purpose);
    }
    let packages: Vec<&str> = missing.iter().map(|need| need.package).collect();
    if !on_path("apt-get") {
        bail!(
            "this is not a Debian or Ubuntu system (no apt-get). Install the equivalents of these packages yourself: {}",
            packages.join(" ")
        );
    }
    apt(&["update", "-q"])?;
    let mut install = vec!["install", "-q", "-y", "--no-install-recommends"];
    install.extend(&packages);
    apt(&install)?;
    let still: Vec<&str> = needs.iter().filter(|need| !(need.present)()).map(|need| need.package).collect();
    if !still.is_empty() {
        bail!("apt installed {}, yet this does not work: {}", packages.join(" "), still.join(" "));
    }
    Ok(())
}

fn apt(args: &[&str]) -> Result<()> {
    let mut command = privileged(Path::new("apt-get"))?;
    command.env("DEBIAN_FRONTEND", "noninteractive").args(args).stdin(Stdio::null());
    let status = command.status()?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status}); its output above says why", args.join(" "));
    }
    Ok(())
}

/// `program`, through sudo unless we are root.
///
/// # Errors
/// There is no sudo.
pub(crate) fn privileged(program: &Path) -> Result<Command> {
    if e2e::lab::require_root().is_ok() {
        return Ok(Command::new(program));
    }
    if !on_path("sudo") {
        bail!("{} needs root, and there is no sudo: run this as root", program.display());
    }
    let mut command = Command::new("sudo");
    command.arg("--preserve-env=DEBIAN_FRONTEND,CARGO_TARGET_DIR").arg(program);
    Ok(command)
}

/// Goes on as root: when we are not, runs this program again through sudo with the same
/// arguments and `--built`, and ends with its status. Building is done by then, so that no file
/// in `target` belongs to root.
///
/// # Errors
/// There is no sudo, or it could not be started.
pub(crate) fn become_root() -> Result<()> {
    if e2e::lab::require_root().is_ok() {
        return Ok(());
    }
    if !on_path("sudo") {
        bail!("network namespaces need root, and there is no sudo: run this as root");
    }
    eprintln!("   network namespaces need root: going on with sudo");
    let status = Command::new("sudo")
        .arg("--preserve-env=PATH,HOME,CARGO_HOME,RUSTUP_HOME,CARGO_TARGET_DIR,CI")
        .arg(std::env::current_exe()?)
        .args(std::env::args_os().skip(1))
        .arg("--built")
        .status()?;
    std::process::exit(status.code().unwrap_or(1));
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .any(|folder| folder.join(program).is_file())
}

fn succeeds(program: &str, args: &[&str]) -> bool {
    Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// By any of the names that `dpdk/build.rs` tries.
fn clang_present() -> bool {
    std::env::var_os("CLANG").is_some()
        || on_path("clang")
        || (14..=22).any(|version| on_path(&format!("clang-{version}")))
}

fn libclang_present() -> bool {
    let in_folder = |folder: &Path| {
        std::fs::read_dir(folder).is_ok_and(|entries| {
            entries.flatten().any(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with("libclang.so") || (name.starts_with("libclang-") && name.contains(".so"))
            })
        })
    };
    let llvm = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let folders = llvm
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"))
        .map(|entry| entry.path().join("lib"));
    let headers = |folder: &Path| folder.join("clang").is_dir();
    folders.into_iter().any(|folder| in_folder(&folder) && headers(&folder))
}
