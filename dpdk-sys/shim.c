#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/if_link.h>

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ip.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <rte_mempool.h>

#include "shim.h"

struct rte_mempool *mayfly_pool_create(const char *name, unsigned int frames, unsigned int cache,
	uint16_t room, int socket, int dense)
{
	struct rte_pktmbuf_pool_private sizes = { .mbuf_data_room_size = room };
	unsigned int flags = dense ? RTE_MEMPOOL_F_NO_IOVA_CONTIG : 0;
	struct rte_mempool *pool = rte_mempool_create_empty(name, frames, sizeof(struct rte_mbuf) + room,
		cache, sizeof(sizes), socket, flags);
	if (pool == NULL)
		return NULL;
	int status = rte_mempool_set_ops_byname(pool, rte_mbuf_best_mempool_ops(), NULL);
	if (status == 0) {
		rte_pktmbuf_pool_init(pool, &sizes);
		status = rte_mempool_populate_default(pool);
	}
	if (status < 0) {
		rte_mempool_free(pool);
		rte_errno = -status;
		return NULL;
	}
	rte_mempool_obj_iter(pool, rte_pktmbuf_init, NULL);
	return pool;
}

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

void mayfly_mbuf_leave_checksum(struct rte_mbuf *mbuf, int ipv6)
{
	mbuf->l2_len = sizeof(struct rte_ether_hdr);
	mbuf->l3_len = ipv6 ? sizeof(struct rte_ipv6_hdr) : sizeof(struct rte_ipv4_hdr);
	mbuf->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM | (ipv6 ? RTE_MBUF_F_TX_IPV6 : RTE_MBUF_F_TX_IPV4);
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

/* libbpf and libxdp belong to the af_xdp driver, which DPDK loads by itself; so they are asked for
 * at run time and may be missing. */
static void *symbol(const char *library, const char *name)
{
	void *handle = dlopen(library, RTLD_LAZY);

	return handle == NULL ? NULL : dlsym(handle, name);
}

/* Their levels begin with 0 for warnings and errors; what follows is chatter. */
static int log_xdp(int level, const char *format, va_list arguments)
{
	char line[512];
	int len;

	if (level > 0)
		return 0;
	len = vsnprintf(line, sizeof(line), format, arguments);
	if (len > 0)
		log_write(NULL, line, (size_t)len < sizeof(line) ? (size_t)len : sizeof(line) - 1);
	return len;
}

int mayfly_log_capture(void)
{
	typedef int (*print_function)(int level, const char *format, va_list arguments);
	static const char *const libraries[][2] = {
		{ "libbpf.so.1", "libbpf_set_print" },
		{ "libxdp.so.1", "libxdp_set_print" },
	};
	cookie_io_functions_t functions = { .write = log_write };
	FILE *stream = fopencookie(NULL, "w", functions);
	size_t i;

	for (i = 0; i < 2; i++) {
		print_function (*set_print)(print_function);

		*(void **)&set_print = symbol(libraries[i][0], libraries[i][1]);
		if (set_print != NULL)
			set_print(log_xdp);
	}
	if (stream == NULL)
		return -1;
	setvbuf(stream, NULL, _IONBF, 0);
	return rte_openlog_stream(stream);
}

uint32_t mayfly_xdp_program(int interface_index, char name[16])
{
	int (*query)(int interface_index, int flags, uint32_t *program);
	int (*open_program)(uint32_t program);
	int (*get_info)(int fd, void *info, uint32_t *len);
	struct bpf_prog_info info = { 0 };
	uint32_t program = 0, len = sizeof(info);
	int fd;

	memset(name, 0, 16);
	*(void **)&query = symbol("libbpf.so.1", "bpf_xdp_query_id");
	*(void **)&open_program = symbol("libbpf.so.1", "bpf_prog_get_fd_by_id");
	*(void **)&get_info = symbol("libbpf.so.1", "bpf_obj_get_info_by_fd");
	if (query == NULL || open_program == NULL || get_info == NULL)
		return 0;
	if (query(interface_index, 0, &program) != 0 || program == 0)
		return 0;
	fd = open_program(program);
	if (fd < 0)
		return program;
	if (get_info(fd, &info, &len) == 0)
		memcpy(name, info.name, 15);
	close(fd);
	return program;
}

int mayfly_xdp_detach(int interface_index)
{
	int (*detach)(int interface_index, uint32_t flags, const void *options);

	*(void **)&detach = symbol("libbpf.so.1", "bpf_xdp_detach");
	return detach == NULL ? -ENOSYS : detach(interface_index, 0, NULL);
}

int mayfly_xdp_is_generic(int interface_index)
{
	/* struct bpf_xdp_query_opts of libbpf, as far as it is read here. */
	struct {
		size_t size;
		uint32_t program, driver_program, hardware_program, generic_program;
		uint8_t attach_mode;
	} options = { .size = sizeof(options) };
	int (*query)(int interface_index, int flags, void *options);

	*(void **)&query = symbol("libbpf.so.1", "bpf_xdp_query");
	return query != NULL && query(interface_index, 0, &options) == 0 &&
		options.attach_mode == XDP_ATTACHED_SKB;
}

/* An AF_XDP socket's program goes straight onto the interface, not under libxdp's dispatcher: a
 * program that a killed process left behind is then found and reused by the next one. Set before
 * main(), because the environment may not be changed once there are threads. */
__attribute__((constructor)) static void no_xdp_dispatcher(void)
{
	setenv("LIBXDP_SKIP_DISPATCHER", "1", 0);
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
		offsetof(struct rte_eth_conf, txmode) + offsetof(struct rte_eth_txmode, offloads),
		sizeof(struct rte_eth_dev_info),
		offsetof(struct rte_eth_dev_info, rx_offload_capa),
		offsetof(struct rte_eth_dev_info, tx_offload_capa),
		offsetof(struct rte_eth_dev_info, max_rx_queues),
		sizeof(struct rte_eth_stats),
		offsetof(struct rte_eth_stats, imissed),
		RTE_PKTMBUF_HEADROOM,
		LCORE_ID_ANY,
		RTE_ETH_NAME_MAX_LEN,
		RTE_ETH_RX_OFFLOAD_IPV4_CKSUM,
		RTE_ETH_RX_OFFLOAD_UDP_CKSUM,
		RTE_ETH_RX_OFFLOAD_TCP_CKSUM,
		RTE_ETH_TX_OFFLOAD_TCP_CKSUM,
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
