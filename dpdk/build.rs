//! Compiles the XDP program that shares an interface with the kernel (`xdp/share.c`), which becomes
//! a part of the library.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::{env, io, process};

const SOURCE: &str = "xdp/share.c";

fn main() {
    println!("cargo::rerun-if-changed={SOURCE}");
    println!("cargo::rerun-if-env-changed=CLANG");
    let object = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("share.o");
    let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets CARGO_CFG_TARGET_ARCH");
    let mut last = None;
    for clang in candidates() {
        let mut command = Command::new(&clang);
        // The type information (-g) is where the loader finds the layout of the map.
        command.args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-c", SOURCE, "-o"]).arg(&object);
        // Where the kernel's asm/ headers are: clang does not look there for this target.
        command.arg(format!("-I/usr/include/{arch}-linux-gnu"));
        match command.output() {
            Ok(output) if output.status.success() => return,
            Ok(output) => fail(&format!(
                "{} could not compile {SOURCE}:\n{}",
                clang.to_string_lossy(),
                String::from_utf8_lossy(&output.stderr)
            )),
            Err(error) if error.kind() == io::ErrorKind::NotFound => last = Some(error),
            Err(error) => fail(&format!("{} could not be started: {error}", clang.to_string_lossy())),
        }
    }
    fail(&format!("no clang was found: {}", last.map_or_else(String::new, |error| error.to_string())));
}

/// What the compiler may be called, the best first.
fn candidates() -> Vec<OsString> {
    if let Some(chosen) = env::var_os("CLANG") {
        return vec![chosen];
    }
    let versioned = (14..=22).rev().map(|version| format!("clang-{version}").into());
    std::iter::once("clang".into()).chain(versioned).collect()
}

/// Ends the build with one error that says what to install.
fn fail(what: &str) -> ! {
    let what = what.trim().lines().map(|line| format!("    {line}\n")).collect::<String>();
    eprintln!(
        "\nerror: the XDP program could not be built.\n\
         \n  It needs clang with its BPF target, and libbpf's headers. On Debian 12 or Ubuntu 24.04:\n\
         \n      sudo apt-get install clang libbpf-dev\n\
         \n  or let the project do it: cargo xtask setup. Another compiler can be named by CLANG.\n\
         \n  What was reported:\n{what}"
    );
    process::exit(1);
}
