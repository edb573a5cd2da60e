//! Where the programs under test are.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Folder of the workspace.
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace").to_path_buf()
}

/// Folder that cargo builds into.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}

/// A program of ours, built with optimisation.
///
/// # Errors
/// It has not been built.
pub fn ours(name: &str) -> Result<PathBuf> {
    let path = target().join("release").join(name);
    if path.exists() {
        return Ok(path);
    }
    bail!(
        "{} does not exist: run `cargo xtask test`, or `cargo build --release --workspace --bins` first",
        path.display()
    )
}

/// Folder with a `redis-server` made from Debian's redis-tools (see [`redis_server`]).
pub fn tools() -> PathBuf {
    target().join("tools")
}

/// The real Redis server. Debian's package of that name would start a service at once, so its
/// sibling redis-tools is enough: one binary serves all the names, by its argv[0].
///
/// # Errors
/// Neither `redis-server` nor `redis-check-rdb` is installed.
pub fn redis_server() -> Result<PathBuf> {
    for candidate in ["/usr/bin/redis-server", "/usr/local/bin/redis-server"] {
        if Path::new(candidate).exists() {
            return Ok(candidate.into());
        }
    }
    let binary = Path::new("/usr/bin/redis-check-rdb");
    if !binary.exists() {
        bail!("redis-server is not installed: run `cargo xtask setup` (it installs redis-tools)");
    }
    let link = tools().join("redis-server");
    if !link.exists() {
        std::fs::create_dir_all(tools())?;
        std::os::unix::fs::symlink(binary, &link)?;
    }
    Ok(link)
}
