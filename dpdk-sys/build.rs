//! Binds the system's DPDK: finds it with pkg-config, compiles `shim.c`, runs bindgen.

use std::path::PathBuf;
use std::{env, process};

/// What is linked. The drivers are not in this list: DPDK loads them by itself from its plug-in
/// directory.
const LIBRARIES: [&str; 5] = ["eal", "ethdev", "mbuf", "mempool", "kvargs"];

/// The functions that the crate `dpdk` calls.
const FUNCTIONS: &str = "mayfly_.*\
    |rte_eal_(init|hotplug_add|hotplug_remove|get_runtime_dir)\
    |rte_thread_(register|unregister)\
    |rte_pktmbuf_pool_create|rte_mempool_(free|avail_count|in_use_count)\
    |rte_eth_dev_(configure|start|stop|close|info_get|get_port_by_name|adjust_nb_rx_tx_desc)\
    |rte_eth_(rx|tx)_queue_setup|rte_eth_(macaddr_get|stats_get|link_get_nowait)\
    |rte_eth_dev_get_mtu|rte_strerror|rte_socket_id";
const TYPES: &str = "rte_mbuf|rte_mempool|rte_eth_(conf|dev_info|stats|link)|rte_ether_addr";
const VARIABLES: &str = "RTE_MBUF_F_RX_.*|RTE_PKTMBUF_HEADROOM|RTE_ETH_NAME_MAX_LEN\
    |RTE_VER_(YEAR|MONTH|MINOR)|LCORE_ID_ANY";

fn main() {
    for file in ["build.rs", "wrapper.h", "shim.h", "shim.c"] {
        println!("cargo::rerun-if-changed={file}");
    }
    let library = pkg_config::Config::new()
        .cargo_metadata(false)
        .env_metadata(true)
        // Later versions put fields of rte_mbuf into unions, which `dpdk` does not expect.
        .range_version("22.11".."24.0")
        .probe("libdpdk")
        .unwrap_or_else(|error| fail("DPDK was not found by pkg-config", &error.to_string()));
    let flags = flags();
    // bindgen panics deep inside when there is no libclang; asking first gives a better text.
    if let Err(error) = clang_sys::load() {
        fail("libclang, which reads DPDK's headers for the bindings, was not found", &error);
    }

    let mut shim = cc::Build::new();
    shim.file("shim.c").opt_level(2).warnings(false);
    for flag in &flags {
        shim.flag(flag);
    }
    if let Err(error) = shim.try_compile("mayfly_shim") {
        fail("shim.c could not be compiled against the installed DPDK", &error.to_string());
    }
    for directory in &library.link_paths {
        println!("cargo::rustc-link-search=native={}", directory.display());
    }
    for name in LIBRARIES {
        println!("cargo::rustc-link-lib=dylib=rte_{name}");
    }

    let bindings = bindgen::Builder::default()
        .header("wrapper.h")
        .clang_args(&flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .allowlist_function(FUNCTIONS)
        .allowlist_type(TYPES)
        .allowlist_var(VARIABLES)
        .opaque_type("rte_mempool|rte_ring|rte_device|rte_memzone|rte_mempool_.*")
        .derive_debug(false)
        .derive_default(false)
        .layout_tests(true)
        .generate_comments(false)
        .generate()
        .unwrap_or_else(|error| fail("DPDK's headers could not be read", &error.to_string()));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR")).join("bindings.rs");
    if let Err(error) = bindings.write_to_file(&out) {
        fail(&format!("{} could not be written", out.display()), &error.to_string());
    }
}

/// All of DPDK's compiler flags, for the shim and for bindgen: without its `-march` the headers do
/// not compile, and without `-include rte_config.h` they describe another library.
fn flags() -> Vec<String> {
    let output = process::Command::new(env::var_os("PKG_CONFIG").unwrap_or_else(|| "pkg-config".into()))
        .args(["--cflags", "libdpdk"])
        .output()
        .unwrap_or_else(|error| fail("pkg-config could not be started", &error.to_string()));
    if !output.status.success() {
        fail("pkg-config gave no compiler flags for DPDK", &String::from_utf8_lossy(&output.stderr));
    }
    String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

/// Ends the build with one error that says what to install.
fn fail(what: &str, detail: &str) -> ! {
    let detail = detail.trim().lines().map(|line| format!("    {line}\n")).collect::<String>();
    eprintln!(
        "\nerror: {what}.\n\
         \n  Mayfly needs DPDK 22.11 or 23.11 with its headers, and libclang. On Debian 12 or Ubuntu 24.04:\n\
         \n      sudo apt-get install libdpdk-dev libclang-dev pkg-config\n\
         \n  or let the project do it: cargo xtask setup\n\
         \n  What was reported:\n{detail}"
    );
    process::exit(1);
}
