//! The layouts and constants that Rust reads directly, compared with what the C compiler made of
//! the same headers (bindgen's own assertions compare with libclang only).

use std::mem::{align_of, offset_of, size_of};

use dpdk_sys::*;

#[test]
fn rust_and_c_agree_on_layouts_and_constants() {
    // In the order of mayfly_layout() in shim.c.
    let rust = [
        ("size of rte_mbuf", size_of::<rte_mbuf>()),
        ("alignment of rte_mbuf", align_of::<rte_mbuf>()),
        ("rte_mbuf.buf_addr", offset_of!(rte_mbuf, buf_addr)),
        ("rte_mbuf.data_off", offset_of!(rte_mbuf, data_off)),
        ("rte_mbuf.refcnt", offset_of!(rte_mbuf, refcnt)),
        ("rte_mbuf.nb_segs", offset_of!(rte_mbuf, nb_segs)),
        ("rte_mbuf.ol_flags", offset_of!(rte_mbuf, ol_flags)),
        ("rte_mbuf.pkt_len", offset_of!(rte_mbuf, pkt_len)),
        ("rte_mbuf.data_len", offset_of!(rte_mbuf, data_len)),
        ("rte_mbuf.buf_len", offset_of!(rte_mbuf, buf_len)),
        ("rte_mbuf.pool", offset_of!(rte_mbuf, pool)),
        ("rte_mbuf.next", offset_of!(rte_mbuf, next)),
        ("size of rte_eth_conf", size_of::<rte_eth_conf>()),
        ("rte_eth_conf.rxmode.offloads", offset_of!(rte_eth_conf, rxmode.offloads)),
        ("rte_eth_conf.txmode.offloads", offset_of!(rte_eth_conf, txmode.offloads)),
        ("size of rte_eth_dev_info", size_of::<rte_eth_dev_info>()),
        ("rte_eth_dev_info.rx_offload_capa", offset_of!(rte_eth_dev_info, rx_offload_capa)),
        ("rte_eth_dev_info.tx_offload_capa", offset_of!(rte_eth_dev_info, tx_offload_capa)),
        ("rte_eth_dev_info.max_rx_queues", offset_of!(rte_eth_dev_info, max_rx_queues)),
        ("size of rte_eth_stats", size_of::<rte_eth_stats>()),
        ("rte_eth_stats.imissed", offset_of!(rte_eth_stats, imissed)),
        ("RTE_PKTMBUF_HEADROOM", RTE_PKTMBUF_HEADROOM as usize),
        ("LCORE_ID_ANY", LCORE_ID_ANY as usize),
        ("RTE_ETH_NAME_MAX_LEN", RTE_ETH_NAME_MAX_LEN as usize),
        ("RTE_ETH_RX_OFFLOAD_IPV4_CKSUM", RTE_ETH_RX_OFFLOAD_IPV4_CKSUM as usize),
        ("RTE_ETH_RX_OFFLOAD_UDP_CKSUM", RTE_ETH_RX_OFFLOAD_UDP_CKSUM as usize),
        ("RTE_ETH_RX_OFFLOAD_TCP_CKSUM", RTE_ETH_RX_OFFLOAD_TCP_CKSUM as usize),
        ("RTE_ETH_TX_OFFLOAD_TCP_CKSUM", RTE_ETH_TX_OFFLOAD_TCP_CKSUM as usize),
        ("RTE_MBUF_F_RX_IP_CKSUM_MASK", RTE_MBUF_F_RX_IP_CKSUM_MASK as usize),
        ("RTE_MBUF_F_RX_IP_CKSUM_BAD", RTE_MBUF_F_RX_IP_CKSUM_BAD as usize),
        ("RTE_MBUF_F_RX_IP_CKSUM_GOOD", RTE_MBUF_F_RX_IP_CKSUM_GOOD as usize),
        ("RTE_MBUF_F_RX_L4_CKSUM_MASK", RTE_MBUF_F_RX_L4_CKSUM_MASK as usize),
        ("RTE_MBUF_F_RX_L4_CKSUM_BAD", RTE_MBUF_F_RX_L4_CKSUM_BAD as usize),
        ("RTE_MBUF_F_RX_L4_CKSUM_GOOD", RTE_MBUF_F_RX_L4_CKSUM_GOOD as usize),
    ];
    let mut c = [0usize; 64];
    // SAFETY: the function writes at most `c.len()` numbers into `c`.
    let count = unsafe { mayfly_layout(c.as_mut_ptr(), c.len()) };
    assert_eq!(count, rust.len(), "shim.c and this test list different things");
    for ((what, rust), c) in rust.into_iter().zip(c) {
        assert_eq!(rust, c, "{what}: Rust has {rust}, C has {c}");
    }
}
