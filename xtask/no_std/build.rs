//! Links without the C start-up files: `_start` is ours.
fn main() {
    println!("cargo::rustc-link-arg-bins=-nostartfiles");
}
