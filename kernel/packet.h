/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the module writes into a packet while it has it. */
#ifndef KERNTUN_PACKET_H
#define KERNTUN_PACKET_H

#include "held.h"
#include "kerntun.h"

#include <linux/ipv6.h>
#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/udp.h>

enum kt_run_state {
	KT_RUN_WAITING,	/* for its crypto */
	KT_RUN_DONE,	/* sealed, or authentic */
	KT_RUN_FAILED,	/* on the way in: not authentic; the engine counts it */
	KT_RUN_DEAD,	/* counted already: to be freed in its turn */
};

/*
 * A run is a list of packets, linked by next, that have consecutive numbers; on the way in it is one packet. Its first
 * packet carries what belongs to the run. A run that waits for a session has no numbers yet.
 */
struct kt_run {
	union {
		struct kt_staged staged;
		struct {
			struct sk_buff *next;	/* run in the queue */
			struct kt_seal_job seal;
		};
		struct {
			struct sk_buff *next_in;	/* as next */
			struct kt_open_job open;
			u32 len;	/* once committed: of the inner packet */
			u8 kind;	/* enum kt_verdict_kind */
		};
	};
	u16 state;	/* enum kt_run_state; written by whoever computes, read by whoever waits */
	u8 lane;
	u8 tos;		/* of the datagram around it; each packet has its own, and its own mtu */
	union {
		u32 mtu;	/* on the way out: of the route inside the tunnel */
		u32 outcome;	/* on the way in: enum kt_run_state, of whoever computes alone */
	};
};

#define KT_RUN(skb) ((struct kt_run *)(skb)->cb)

#define KT_NOT_SEALED U32_MAX	/* as an mtu, which is never as much: sealing this packet failed */
#define KT_MTU_MAX 65575	/* longer than any packet, so to padding it is the same as any greater one */

/* Room in front of an inner packet for what goes around it, and behind it for padding and tag. */
#define KT_HEADROOM (LL_MAX_HEADER + sizeof(struct ipv6hdr) + sizeof(struct udphdr) + KT_HEADER_LEN)
#define KT_TAILROOM (15 + 16)

static_assert(sizeof(struct kt_run) <= sizeof_field(struct sk_buff, cb));

static inline struct sk_buff *kt_staged_packet(struct kt_staged *staged)
{
	BUILD_BUG_ON(offsetof(struct kt_run, staged) != 0);
	return container_of((void *)staged, struct sk_buff, cb);
}

/* The module owns the packets from here on ... */
static inline void kt_take(struct sk_buff *skb)
{
	for (; skb; skb = skb->next)
		kt_hold(packets, 1);
}

/* ... and gives one to somebody else ... */
static inline void kt_give(struct sk_buff *skb)
{
	kt_hold(packets, -1);
}

/* ... or frees one that has done what it came for ... */
static inline void kt_consume(struct sk_buff *skb)
{
	kt_give(skb);
	consume_skb(skb);
}

/* ... or drops them, which those see who look for packets that the kernel drops. */
static inline void kt_free(struct sk_buff *skb)
{
	struct sk_buff *next;

	for (; skb; skb = next) {
		next = skb->next;
		skb_mark_not_on_list(skb);
		kt_give(skb);
		kfree_skb(skb);
	}
}

#endif
