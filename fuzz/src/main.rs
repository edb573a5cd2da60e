//! The coverage-guided program: libFuzzer around one of [`fuzz::TARGETS`], which the environment
//! variable `MAYFLY_FUZZ_TARGET` names. `cargo xtask fuzz` builds and runs it.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fn target() -> fn(&[u8]) {
    let name = std::env::var("MAYFLY_FUZZ_TARGET").unwrap_or_default();
    match fuzz::find(&name) {
        Some(target) => target.run,
        None => panic!("MAYFLY_FUZZ_TARGET is '{name}', which is no target; run `cargo xtask fuzz --list`"),
    }
}

fuzz_target!(|input: &[u8]| TARGET.get_or_init(target)(input));
