/* Inline functions, thread-local variables and macros of DPDK as ordinary functions.
 * Everything here is named mayfly_*, so that it cannot be mistaken for DPDK's own. */
#ifndef MAYFLY_SHIM_H
#define MAYFLY_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_mbuf;
struct rte_mempool;

/* A pool of `frames` mbufs, each with `room` bytes of headroom and data, or NULL with rte_errno.
 * As rte_pktmbuf_pool_create, but with `dense` the mbufs lie close together, across the borders of
 * pages; they then have no physical addresses that a card could use. */
struct rte_mempool *mayfly_pool_create(const char *name, unsigned int frames, unsigned int cache,
	uint16_t room, int socket, int dense);
/* An empty mbuf with its default headroom, or NULL when the pool is exhausted. */
struct rte_mbuf *mayfly_mbuf_alloc(struct rte_mempool *pool);
/* Gives an mbuf (with all of its segments) back to its pool. */
void mayfly_mbuf_free(struct rte_mbuf *mbuf);
/* Copies all segments into the first one; 0, or -1 when they do not fit (mbuf unchanged). */
int mayfly_mbuf_linearize(struct rte_mbuf *mbuf);
/* Copies `len` bytes from the start of a chain of segments; returns 0, or -1 when it is shorter. */
int mayfly_mbuf_read(const struct rte_mbuf *mbuf, uint32_t len, void *into);

/* Has the device that sends the mbuf compute the TCP checksum: Ethernet without a tag, IPv4 or IPv6,
 * and TCP follow each other. */
void mayfly_mbuf_leave_checksum(struct rte_mbuf *mbuf, int ipv6);

/* Receives and sends a burst on a queue of a started port. */
uint16_t mayfly_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t mayfly_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

/* The calling thread's lcore id (LCORE_ID_ANY when it has none) and DPDK error number. */
unsigned int mayfly_lcore_id(void);
int mayfly_errno(void);

/* Sends the log of DPDK (and that of libbpf and libxdp, if they are there) to a buffer in memory
 * that keeps the last lines; 0, or -1. */
int mayfly_log_capture(void);
/* Copies what was logged since `mark` (at most `len` bytes, the newest ones) into `into` and
 * returns how many; a mark is what mayfly_log_mark returned before. */
size_t mayfly_log_since(uint64_t mark, char *into, size_t len);
uint64_t mayfly_log_mark(void);

/* The number and name of the XDP program attached to an interface; 0 when there is none, or no
 * libbpf. */
uint32_t mayfly_xdp_program(int interface_index, char name[16]);
/* Takes it off; 0, or a negative error number. */
int mayfly_xdp_detach(int interface_index);
/* Whether the kernel runs it in generic mode, because the interface's driver cannot. */
int mayfly_xdp_is_generic(int interface_index);

/* What the C compiler thinks of the layouts that Rust reads directly; see tests/abi.rs.
 * Fills `into` with at most `len` numbers and returns how many there are. */
size_t mayfly_layout(size_t *into, size_t len);

#endif
