// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "receive.h"

#include "device.h"
#include "handshake.h"
#include "timers.h"

#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>
#include <net/ipv6.h>
#include <net/udp.h>

/* Packets that are opened before bottom halves may run again. */
#define KT_PACKETS_AT_ONCE 32
/* Packets that the engine judges in one call. Each takes 80 bytes of stack meanwhile. */
#define KT_COMMITTED_AT_ONCE 8

static u8 outer_ecn(const struct sk_buff *skb)
{
	u8 tos = ip_hdr(skb)->version == 4 ? ip_hdr(skb)->tos : ipv6_get_dsfield(ipv6_hdr(skb));

	return tos & INET_ECN_MASK;
}

static void drop(struct kt_netdev *kt, struct sk_buff *skb, u8 reason)
{
	kt_count_drop(kt->engine, KT_NO_PEER, reason, 1);
	kt_free(skb);
}

static void receive_data(struct kt_netdev *kt, struct sk_buff *skb, struct kt_incoming *incoming)
{
	struct kt_lane *lane;
	kt_peer peer;

	if (!kt_admit(kt->engine, kt_now_coarse(), incoming, 1, &KT_RUN(skb)->open, &peer)) {
		kt_free(skb);
		return;
	}
	lane = kt_lane_of(kt, peer);
	KT_RUN(skb)->lane = lane - kt->lanes;
	if (unlikely(!kt_queue_put(&lane->in, skb))) {
		kt_count_drop(kt->engine, peer, KT_REASON_DELIVERY_FAILED, 1);
		kt_free(skb);
	} else if (unlikely(!kt_crew_hand(&kt->openers, skb))) {
		kt_count_drop(kt->engine, peer, KT_REASON_DELIVERY_FAILED, 1);
		kt_run_finish(skb, KT_RUN_DEAD);
		napi_schedule(&lane->napi);
	}
}

int kt_receive(struct sock *sk, struct sk_buff *skb)
{
	struct kt_netdev *kt = rcu_dereference_sk_user_data(sk);
	struct kt_incoming incoming;
	const u8 *header;
	u8 buffer[KT_HEADER_LEN];

	if (unlikely(!kt || skb_shared(skb))) {
		if (kt)
			kt_count_drop(kt->engine, KT_NO_PEER, KT_REASON_DELIVERY_FAILED, 1);
		kfree_skb(skb);
		return 0;
	}
	skb_mark_not_on_list(skb);
	kt_take(skb);
	skb_orphan(skb);
	skb_dst_drop(skb);
	/* UDP has checked length and checksum, and left its header in front. */
	if (unlikely(!pskb_pull(skb, sizeof(struct udphdr)))) {
		drop(kt, skb, KT_REASON_MALFORMED);
		return 0;
	}
	header = skb_header_pointer(skb, 0, KT_HEADER_LEN, buffer);
	if (unlikely(!header))
		drop(kt, skb, KT_REASON_MALFORMED);
	else if (likely(kt_incoming_init(&incoming, header, skb->len, outer_ecn(skb))))
		receive_data(kt, skb, &incoming);
	else if (kt_is_handshake(header, skb->len))
		kt_queue_handshake(kt, skb);
	else
		drop(kt, skb, KT_REASON_MALFORMED);
	return 0;
}

static void open_packet(struct kt_netdev *kt, struct sk_buff *skb)
{
	struct kt_lane *lane = &kt->lanes[KT_RUN(skb)->lane];
	struct kt_incoming incoming;
	enum kt_run_state state = KT_RUN_DEAD;
	u8 buffer[KT_HEADER_LEN];
	const u8 *header;

	header = skb_header_pointer(skb, 0, KT_HEADER_LEN, buffer);
	if (header && kt_incoming_init(&incoming, header, skb->len, 0)) {
		void *packet = skb;

		KT_RUN(skb)->outcome = KT_RUN_WAITING;
		kt_open(kt->engine, &KT_RUN(skb)->open, &incoming, &packet, 1);
		state = KT_RUN(skb)->outcome;
	}
	if (unlikely(state == KT_RUN_WAITING)) {
		/* Its session has gone, so nobody tried. */
		kt_count_drop(kt->engine, KT_NO_PEER, KT_REASON_STALE_IN, 1);
		state = KT_RUN_DEAD;
	}
	kt_run_finish(skb, state);
	napi_schedule(&lane->napi);
}

/* Several at a time between two deliveries, so that GRO has something to join. */
void kt_open_work(struct work_struct *work)
{
	struct kt_crew *crew = kt_crew_of(work);
	struct kt_netdev *kt = container_of(crew, struct kt_netdev, openers);
	struct sk_buff *few[KT_PACKETS_AT_ONCE];
	int i, count;

	while ((count = kt_crew_next_few(crew, few, ARRAY_SIZE(few)))) {
		local_bh_disable();
		for (i = 0; i < count; i++)
			open_packet(kt, few[i]);
		local_bh_enable();
		cond_resched();
	}
}

/* What the engine has to know of a packet that was opened; false if that cannot be told any more. */
static bool incoming_of(struct sk_buff *skb, struct kt_incoming *incoming, struct kt_endpoint *from)
{
	u8 buffer[KT_HEADER_LEN + KT_HEAD_LEN];
	const u32 start_len = min_t(u32, skb->len, sizeof(buffer));
	const u8 *start = skb_header_pointer(skb, 0, start_len, buffer);

	if (unlikely(!start || !kt_endpoint_of(skb, from) ||
		     !kt_incoming_init(incoming, start, skb->len, outer_ecn(skb))))
		return false;
	if (likely(KT_RUN(skb)->state == KT_RUN_DONE))
		kt_incoming_authentic(incoming, start + KT_HEADER_LEN, min_t(u32, skb->len - KT_OVERHEAD, KT_HEAD_LEN));
	return true;
}

static void keep_verdict(struct sk_buff *skb, const struct kt_incoming *incoming)
{
	struct kt_verdict verdict;

	kt_verdict(incoming, &verdict);
	KT_RUN(skb)->kind = verdict.kind;
	KT_RUN(skb)->len = verdict.len;
	if (verdict.rewritten &&
	    skb_store_bits(skb, KT_HEADER_LEN, verdict.head, min_t(u32, verdict.len, KT_HEAD_LEN)))
		KT_RUN(skb)->len = 0;
}

/*
 * Commits packets from the front of a list, as far as they are of one session and came from one place, and leaves in each
 * what becomes of it. Gives the first of those that are left. What it has on the stack is gone before packets are delivered.
 */
static noinline struct sk_buff *commit(struct kt_netdev *kt, struct sk_buff *list, struct kt_followup *followup)
{
	struct kt_incoming incoming[KT_COMMITTED_AT_ONCE];
	struct kt_endpoint from, other;
	struct kt_open_job job;
	struct sk_buff *skb, *rest;
	u32 count = 0, at = 0;

	followup->rearm = 0;
	followup->flush = KT_NO_PEER;
	for (rest = list; rest && count < ARRAY_SIZE(incoming); rest = KT_RUN(rest)->next) {
		KT_RUN(rest)->kind = KT_DROP;
		if (unlikely(KT_RUN(rest)->state == KT_RUN_DEAD ||
			     !incoming_of(rest, &incoming[count], count ? &other : &from)))
			continue;
		if (!count)
			job = KT_RUN(rest)->open;
		else if (memcmp(&KT_RUN(rest)->open, &job, sizeof(job)) || memcmp(&other, &from, sizeof(from)))
			break;
		KT_RUN(rest)->kind = KT_DELIVER;
		count++;
	}
	if (unlikely(!count))
		return rest;
	kt_commit_opened(kt->engine, kt_now_coarse(), &job, incoming, count, &from, followup);
	for (skb = list; skb != rest; skb = KT_RUN(skb)->next) {
		if (likely(KT_RUN(skb)->kind == KT_DELIVER))
			keep_verdict(skb, &incoming[at++]);
	}
	return rest;
}

/* Makes an authentic datagram the inner packet; false if the kernel would not. */
static bool unwrap(struct kt_netdev *kt, struct sk_buff *skb, u32 len)
{
	if (!len || !pskb_pull(skb, KT_HEADER_LEN) || pskb_trim(skb, len) ||
	    !pskb_may_pull(skb, min_t(u32, len, KT_HEAD_LEN)))
		return false;
	skb_scrub_packet(skb, true);
	skb_init_secmark(skb);
	skb_clear_hash(skb);
	/* Whatever a local sender said of segments was said of the datagram. */
	skb_gso_reset(skb);
	skb->dev = kt->dev;
	skb->encapsulation = 0;
	skb->priority = 0;
	skb_set_queue_mapping(skb, 0);
	skb_reset_mac_header(skb);
	skb_reset_network_header(skb);
	skb_reset_transport_header(skb);
	skb_reset_mac_len(skb);
	/* What is authentic needs no other proof that it arrived as it was sent. */
	skb->ip_summed = CHECKSUM_UNNECESSARY;
	skb->csum_level = ~0;
	skb->protocol = ip_tunnel_parse_protocol(skb);
	return true;
}

static void deliver(struct kt_lane *lane, struct sk_buff *skb)
{
	struct kt_netdev *kt = lane->kt;
	const u8 kind = KT_RUN(skb)->kind;

	if (kind == KT_DROP)
		goto free;
	/* The interface counts messages, as in the other direction. */
	dev_sw_netstats_rx_add(kt->dev, skb->len);
	if (kind == KT_KEEPALIVE) {
		kt_consume(skb);
		return;
	}
	if (unlikely(!unwrap(kt, skb, KT_RUN(skb)->len))) {
		kt_count_drop(kt->engine, KT_NO_PEER, KT_REASON_DELIVERY_FAILED, 1);
		goto free;
	}
	kt_give(skb);
	napi_gro_receive(&lane->napi, skb);
	return;
free:
	kt_free(skb);
}

int kt_poll(struct napi_struct *napi, int budget)
{
	struct kt_lane *lane = container_of(napi, struct kt_lane, napi);
	struct kt_followup followup;
	struct sk_buff *list, *rest, *skb;
	int done = 0;

	while (done < budget &&
	       (list = kt_queue_take(&lane->in, min_t(u32, budget - done, KT_COMMITTED_AT_ONCE)))) {
		while (list) {
			rest = commit(lane->kt, list, &followup);
			kt_follow(lane->kt, &followup);
			for (; list != rest; list = skb) {
				skb = KT_RUN(list)->next;
				deliver(lane, list);
				done++;
			}
		}
	}
	if (done < budget)
		napi_complete_done(napi, done);
	return done;
}
