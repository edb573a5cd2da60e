/* Shares an interface with the kernel: what is the server's own goes to its AF_XDP socket, everything
 * else goes on to the kernel as if nobody were here.
 *
 * The server's own are TCP segments to one of its addresses and ports, and the ICMP errors that quote
 * a segment of its own. Fragments go to the kernel: a piece alone does not say whose it is.
 *
 * The settings are constants of the object (.rodata), filled in before it is loaded; `device/share.rs`
 * knows their layout and finds them by their mark. When no socket is in the map (the server was
 * killed), everything goes to the kernel. */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define PORTS_MAX 8
#define ADDRESSES_MAX 64
/* Headers between IPv6's and TCP's that are looked through (RFC 8200 §4.1 knows no need for more). */
#define EXTENSIONS_MAX 6
/* More fragments, and the offset, of IPv4. */
#define FRAGMENT 0x3fff
#define FRAGMENT_OFFSET 0x1fff

/* An address in network order; IPv4 in its mapped form (RFC 4291 §2.5.5.2). */
struct address {
	__u32 words[4];
};

struct settings {
	__u8 mark[16];
	__u8 mac[ETH_ALEN];
	/* 0: none. */
	__u16 vlan;
	__u32 port_count;
	__u32 address_count;
	__be16 ports[PORTS_MAX];
	struct address addresses[ADDRESSES_MAX];
};

const volatile struct settings settings = { .mark = "mayfly settings" };

/* The name is the one that DPDK's driver looks for. */
struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 64);
	__type(key, __u32);
	__type(value, __u32);
} xsks_map SEC(".maps");

struct tag {
	__be16 control;
	__be16 type;
};

struct ports {
	__be16 src;
	__be16 dst;
};

struct icmp {
	__u8 type;
	__u8 code;
	__u16 checksum;
	__u32 rest;
};

struct extension {
	__u8 next;
	/* In units of eight bytes, the first not counted. */
	__u8 len;
};

static __always_inline struct address mapped(__be32 address)
{
	struct address all = { { 0, 0, bpf_htonl(0xffff), address } };

	return all;
}

static __always_inline struct address whole(const struct in6_addr *address)
{
	struct address all;

	__builtin_memcpy(&all, address, sizeof(all));
	return all;
}

static __always_inline int same(const struct address *a, const volatile struct address *b)
{
	return ((a->words[0] ^ b->words[0]) | (a->words[1] ^ b->words[1]) | (a->words[2] ^ b->words[2]) |
		(a->words[3] ^ b->words[3])) == 0;
}

static __always_inline int is_ours(const struct address *address, __be16 port)
{
	int known = 0;
	__u32 i;

	for (i = 0; i < PORTS_MAX; i++)
		known |= i < settings.port_count && settings.ports[i] == port;
	if (!known)
		return 0;
	for (i = 0; i < ADDRESSES_MAX; i++) {
		if (i >= settings.address_count)
			return 0;
		if (same(address, &settings.addresses[i]))
			return 1;
	}
	return 0;
}

/* What an ICMP error quotes: a segment of ours? `dst`: whom the error is for. */
static __always_inline int quotes_ours_v4(void *at, void *end, const struct address *dst)
{
	struct iphdr *ip = at;
	struct ports *ports;
	struct address src;

	if (at + sizeof(*ip) > end || ip->version != 4 || ip->ihl < 5 || ip->protocol != IPPROTO_TCP)
		return 0;
	if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return 0;
	src = mapped(ip->saddr);
	ports = at + ip->ihl * 4;
	if ((void *)(ports + 1) > end)
		return 0;
	return same(&src, dst) && is_ours(&src, ports->src);
}

static __always_inline int quotes_ours_v6(void *at, void *end, const struct address *dst)
{
	struct ipv6hdr *ip = at;
	struct ports *ports = at + sizeof(*ip);
	struct address src;

	if ((void *)(ports + 1) > end || ip->version != 6 || ip->nexthdr != IPPROTO_TCP)
		return 0;
	src = whole(&ip->saddr);
	return same(&src, dst) && is_ours(&src, ports->src);
}

static __always_inline int is_for_us_v4(void *at, void *end)
{
	struct iphdr *ip = at;
	struct address dst;
	__u8 protocol;

	if (at + sizeof(*ip) > end || ip->version != 4 || ip->ihl < 5)
		return 0;
	if (ip->frag_off & bpf_htons(FRAGMENT))
		return 0;
	dst = mapped(ip->daddr);
	protocol = ip->protocol;
	at += ip->ihl * 4;
	if (protocol == IPPROTO_TCP) {
		struct ports *ports = at;

		return (void *)(ports + 1) <= end && is_ours(&dst, ports->dst);
	}
	if (protocol == IPPROTO_ICMP) {
		struct icmp *icmp = at;

		if ((void *)(icmp + 1) > end)
			return 0;
		/* RFC 792: unreachable, source quench, time exceeded, parameter problem. */
		if (icmp->type != 3 && icmp->type != 4 && icmp->type != 11 && icmp->type != 12)
			return 0;
		return quotes_ours_v4(icmp + 1, end, &dst);
	}
	return 0;
}

static __always_inline int is_for_us_v6(void *at, void *end)
{
	struct ipv6hdr *ip = at;
	struct address dst;
	__u8 next;
	int i;

	if (at + sizeof(*ip) > end || ip->version != 6)
		return 0;
	dst = whole(&ip->daddr);
	next = ip->nexthdr;
	at += sizeof(*ip);
#pragma unroll
	for (i = 0; i < EXTENSIONS_MAX; i++) {
		struct extension *extension = at;

		if (next != IPPROTO_HOPOPTS && next != IPPROTO_ROUTING && next != IPPROTO_DSTOPTS)
			break;
		if ((void *)(extension + 1) > end)
			return 0;
		next = extension->next;
		at += (extension->len + 1) * 8;
	}
	if (next == IPPROTO_TCP) {
		struct ports *ports = at;

		return (void *)(ports + 1) <= end && is_ours(&dst, ports->dst);
	}
	if (next == IPPROTO_ICMPV6) {
		struct icmp *icmp = at;

		/* RFC 4443 §3: unreachable, too big, time exceeded, parameter problem. */
		if ((void *)(icmp + 1) > end || icmp->type < 1 || icmp->type > 4)
			return 0;
		return quotes_ours_v6(icmp + 1, end, &dst);
	}
	return 0;
}

/* The name tells the next server that a killed one left this behind. */
SEC("xdp")
int mayfly_share(struct xdp_md *ctx)
{
	void *at = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *link = at;
	__u16 vlan = 0;
	__be16 type;
	int i, ours;

	if (at + sizeof(*link) > end)
		return XDP_PASS;
	for (i = 0; i < ETH_ALEN; i++) {
		if (link->h_dest[i] != settings.mac[i])
			return XDP_PASS;
	}
	type = link->h_proto;
	at += sizeof(*link);
	if (type == bpf_htons(ETH_P_8021Q)) {
		struct tag *tag = at;

		if ((void *)(tag + 1) > end)
			return XDP_PASS;
		vlan = bpf_ntohs(tag->control) & 0xfff;
		type = tag->type;
		at += sizeof(*tag);
	}
	if (vlan != settings.vlan)
		return XDP_PASS;
	if (type == bpf_htons(ETH_P_IP))
		ours = is_for_us_v4(at, end);
	else if (type == bpf_htons(ETH_P_IPV6))
		ours = is_for_us_v6(at, end);
	else
		return XDP_PASS;
	return ours ? bpf_redirect_map(&xsks_map, ctx->rx_queue_index, XDP_PASS) : XDP_PASS;
}

/* No helper that asks for another licence is used. */
char LICENSE[] SEC("license") = "Apache-2.0 OR MIT";
