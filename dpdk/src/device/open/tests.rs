use super::*;

#[test]
fn derived_addresses_are_stable_local_unicast_and_differ() {
    let a = derived_mac("tap0");
    assert_eq!(a, derived_mac("tap0"));
    assert_ne!(a, derived_mac("tap1"));
    assert_eq!(a[0] & 0b11, 0b10, "locally administered and not a group");
}

#[test]
fn packet_rings_are_laid_out_as_driver_and_kernel_both_expect() {
    // SAFETY: asks for a constant of the system.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    let ring = PacketRing::within(u64::MAX).expect("no limit");
    assert_eq!(ring.frames, PacketRing::FRAMES);
    assert_eq!(ring.block_bytes % page, 0);
    assert_eq!(ring.block_bytes % PacketRing::FRAME_BYTES, 0);
    // The driver insists that a ring frame less 32 bytes fits an mbuf.
    const { assert!(PacketRing::FRAME_BYTES - 32 <= Mempool::MAX_DATA_BYTES as u64) };
    // Linux limits the payload of a TCP packet to 65,535 less 320 bytes of headers.
    const { assert!(PacketRing::FRAME_BYTES - 66 >= 65_215 + 14 + 20 + 60) };
}

#[test]
fn packet_rings_shrink_to_the_locked_memory_limit() {
    let one = PacketRing::smallest();
    let small = PacketRing::within(one.bytes() * 2 + 1).expect("two blocks fit");
    assert_eq!(small.frames, one.frames * 2);
    assert_eq!(PacketRing::within(one.bytes() - 1), Err(one.bytes() - 1));
}
