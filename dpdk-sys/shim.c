#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mempool.h>

#include "shim.h"

struct rte_mbuf *mayfly_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void mayfly_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

int mayfly_mbuf_linearize(struct rte_mbuf *mbuf)
{
	return rte_pktmbuf_linearize(mbuf);
}

int mayfly_mbuf_read(const struct rte_mbuf *mbuf, uint32_t len, void *into)
{
	const void *bytes = rte_pktmbuf_read(mbuf, 0, len, into);

	if (bytes == NULL)
		return -1;
	if (bytes != into)
		memcpy(into, bytes, len);
	return 0;
}

int mayfly_mbuf_chain(struct rte_mbuf *head, struct rte_mbuf *next)
{
	return rte_pktmbuf_chain(head, next);
}

uint16_t mayfly_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, mbufs, count);
}

uint16_t mayfly_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}

unsigned int mayfly_lcore_id(void)
{
	return rte_lcore_id();
}

int mayfly_errno(void)
{
	return rte_errno;
}

/* The log: a ring of the newest bytes. `written` counts every byte ever logged. */
#define LOG_BYTES 8192
static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static char log_ring[LOG_BYTES];
static uint64_t log_written;

static ssize_t log_write(void *cookie, const char *bytes, size_t len)
{
	size_t i;

	(void)cookie;
	pthread_mutex_lock(&log_lock);
	for (i = 0; i < len; i++)
		log_ring[log_written++ % LOG_BYTES] = bytes[i];
	pthread_mutex_unlock(&log_lock);
	return (ssize_t)len;
}

int mayfly_log_capture(void)
{
	cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", functions);

	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IONBF, 0);
	return rte_openlog_stream(stream);
}

uint64_t mayfly_log_mark(void)
{
	uint64_t mark;

	pthread_mutex_lock(&log_lock);
	mark = log_written;
	pthread_mutex_unlock(&log_lock);
	return mark;
}

size_t mayfly_log_since(uint64_t mark, char *into, size_t len)
{
	uint64_t at;
	size_t copied = 0;

	if (len > LOG_BYTES)
		len = LOG_BYTES;
	pthread_mutex_lock(&log_lock);
	at = log_written > len ? log_written - len : 0;
	if (at < mark)
		at = mark;
	while (at < log_written)
		into[copied++] = log_ring[at++ % LOG_BYTES];
	pthread_mutex_unlock(&log_lock);
	return copied;
}

size_t mayfly_layout(size_t *into, size_t len)
{
	/* The order is that of tests/abi.rs. */
	const size_t layout[] = {
		sizeof(struct rte_mbuf),
		_Alignof(struct rte_mbuf),
		offsetof(struct rte_mbuf, buf_addr),
		offsetof(struct rte_mbuf, data_off),
		offsetof(struct rte_mbuf, refcnt),
		offsetof(struct rte_mbuf, nb_segs),
		offsetof(struct rte_mbuf, ol_flags),
		offsetof(struct rte_mbuf, pkt_len),
		offsetof(struct rte_mbuf, data_len),
		offsetof(struct rte_mbuf, buf_len),
		offsetof(struct rte_mbuf, pool),
		offsetof(struct rte_mbuf, next),
		sizeof(struct rte_eth_conf),
		offsetof(struct rte_eth_conf, rxmode) + offsetof(struct rte_eth_rxmode, offloads),
		sizeof(struct rte_eth_dev_info),
		offsetof(struct rte_eth_dev_info, rx_offload_capa),
		offsetof(struct rte_eth_dev_info, max_rx_queues),
		sizeof(struct rte_eth_stats),
		offsetof(struct rte_eth_stats, imissed),
		RTE_PKTMBUF_HEADROOM,
		LCORE_ID_ANY,
		RTE_ETH_NAME_MAX_LEN,
		RTE_ETH_RX_OFFLOAD_IPV4_CKSUM,
		RTE_ETH_RX_OFFLOAD_UDP_CKSUM,
		RTE_ETH_RX_OFFLOAD_TCP_CKSUM,
		RTE_MBUF_F_RX_IP_CKSUM_MASK,
		RTE_MBUF_F_RX_IP_CKSUM_BAD,
		RTE_MBUF_F_RX_IP_CKSUM_GOOD,
		RTE_MBUF_F_RX_L4_CKSUM_MASK,
		RTE_MBUF_F_RX_L4_CKSUM_BAD,
		RTE_MBUF_F_RX_L4_CKSUM_GOOD,
	};
	const size_t count = sizeof(layout) / sizeof(layout[0]);
	size_t i;

	for (i = 0; i < count && i < len; i++)
		into[i] = layout[i];
	return count;
}
