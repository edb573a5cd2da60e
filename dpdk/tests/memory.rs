//! Running out of DPDK's memory, in a process of its own: for a moment it takes all there is.

use dpdk::{Eal, EalConfig, Hugepages, Mempool};

#[test]
fn a_pool_that_does_not_fit_says_so_and_leaves_the_memory() {
    let config = EalConfig { memory_mb: 64, hugepages: Hugepages::Never, ..EalConfig::default() };
    let eal = Eal::init(&config).expect("DPDK starts without privileges");
    let error = Mempool::new(eal, 2_000_000, 2048).expect_err("4 GB of 64 MB").to_string();
    assert!(error.contains("2000000 frames of 2048 bytes") && error.contains("memory_mb"), "{error}");
    let pool = Mempool::new(eal, 8191, 2048).expect("20 MB of 64 MB");
    assert_eq!(pool.available(), 8191);
}
