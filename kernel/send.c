// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "send.h"

#include "compat.h"
#include "device.h"
#include "timers.h"

#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <net/dst_metadata.h>
#include <net/icmp.h>
#include <net/inet_ecn.h>
#include <net/ip_tunnels.h>
#include <net/ipv6.h>

/* Runs that a sealer takes at once. */
#define KT_RUNS_AT_ONCE 8
/* Packets, about, that are sealed, and that are sent, before bottom halves may run again: as many as those take at once themselves. */
#define KT_PACKETS_AT_ONCE 256
/* How often whoever began to send what was staged looks for what came meanwhile, before a work goes on. */
#define KT_FLUSHES_AT_ONCE 4

/* Nothing more comes of this run; its place in the lane is freed in its turn. */
static void drop_run(struct kt_lane *lane, kt_peer peer, struct sk_buff *run, bool queued)
{
	kt_count_drop(lane->kt->engine, peer, KT_REASON_SEND_FAILED, kt_run_length(run));
	if (queued)
		kt_run_finish(run, KT_RUN_DEAD);
	else
		kt_free(run);
}

static void send_sealed(struct kt_lane *lane, struct sk_buff *run)
{
	struct kt_netdev *kt = lane->kt;
	struct kt_departure departure;
	struct sk_buff *skb, *next;
	u64 bytes = 0;
	bool data = false;

	if (KT_RUN(run)->state == KT_RUN_DEAD) {
		kt_free(run);
		return;
	}
	for (skb = run; skb; skb = skb->next) {
		bytes += skb->len;
		data |= skb->len > KT_OVERHEAD;
	}
	if (!kt_commit_sealed(kt->engine, kt_now_coarse(), &KT_RUN(run)->seal, bytes, data, &departure)) {
		kt_free(run);
		return;
	}
	for (skb = run; skb; skb = next) {
		u8 tos = KT_RUN(skb)->tos;
		bool sealed = KT_RUN(skb)->mtu != KT_NOT_SEALED;

		next = skb->next;
		skb_mark_not_on_list(skb);
		if (unlikely(!sealed)) {
			kt_count_drop(kt->engine, departure.peer, KT_REASON_SEND_FAILED, 1);
			kt_free(skb);
			continue;
		}
		kt_give(skb);
		if (unlikely(kt_socket_send(kt, departure.peer, skb, &departure.endpoint, tos, &lane->route)))
			kt_count_drop(kt->engine, departure.peer, KT_REASON_SEND_FAILED, 1);
	}
	kt_follow(kt, &departure.followup);
}

/*
 * Sends what is sealed at the front of the lane, for as long as there is more, but not without end: others may seal as fast as this
 * sends, and what is sent may even come back to this interface. True if there may be more, which the caller has to see to: nobody
 * else sends in this lane until then. Bottom halves are off.
 */
static bool send_some(struct kt_lane *lane)
{
	struct sk_buff *run;
	u32 sent = 0;
	int notes;

	do {
		/* Of whoever left a note before this, the run is seen that it has sealed. */
		notes = atomic_read_acquire(&lane->sending);
		while ((run = kt_queue_take(&lane->out, 1))) {
			sent += kt_run_length(run);
			send_sealed(lane, run);
			if (sent >= KT_PACKETS_AT_ONCE)
				return true;
		}
	} while (atomic_cmpxchg(&lane->sending, notes, 0) != notes);
	return false;
}

/*
 * Of those who call this at the same time one sends for all: the others have left a note in lane->sending, and the one looks again
 * until there is none. A caller has other things to do (a sealer has runs of other lanes), so a work goes on where there is much.
 */
static void send_lane(struct kt_lane *lane)
{
	if (!atomic_fetch_inc(&lane->sending) && send_some(lane))
		queue_work(kt_crypt_queue, &lane->send_work);
}

static void send_work(struct work_struct *work)
{
	struct kt_lane *lane = container_of(work, struct kt_lane, send_work);
	bool more;

	do {
		local_bh_disable();
		more = send_some(lane);
		local_bh_enable();
		cond_resched();
	} while (more);
}

void kt_seal_work(struct work_struct *work)
{
	struct kt_crew *crew = kt_crew_of(work);
	struct kt_netdev *kt = container_of(crew, struct kt_netdev, sealers);
	struct sk_buff *runs[KT_RUNS_AT_ONCE];
	u32 packets = 0;
	int i, count;

	while ((count = kt_crew_next_few(crew, runs, ARRAY_SIZE(runs)))) {
		local_bh_disable();
		for (i = 0; i < count; i++) {
			struct sk_buff *run = runs[i];
			struct kt_lane *lane = &kt->lanes[KT_RUN(run)->lane];
			u32 length = kt_run_length(run);
			bool sealed = kt_seal(kt->engine, &KT_RUN(run)->seal, run, length);

			kt_run_finish(run, sealed ? KT_RUN_DONE : KT_RUN_DEAD);
			send_lane(lane);
			packets += length;
			if (packets >= KT_PACKETS_AT_ONCE) {
				packets = 0;
				local_bh_enable();
				local_bh_disable();
			}
		}
		local_bh_enable();
		cond_resched();
	}
}

/* The run has its numbers: from here on order counts. */
static void queue_run(struct kt_netdev *kt, kt_peer peer, struct sk_buff *run)
{
	struct kt_lane *lane = kt_lane_of(kt, peer);

	KT_RUN(run)->lane = lane - kt->lanes;
	if (unlikely(!kt_queue_put(&lane->out, run))) {
		drop_run(lane, peer, run, false);
		return;
	}
	if (unlikely(!kt_crew_hand(&kt->sealers, run))) {
		drop_run(lane, peer, run, true);
		local_bh_disable();
		send_lane(lane);
		local_bh_enable();
	}
}

static void stage(struct kt_netdev *kt, kt_peer peer, struct sk_buff *run)
{
	struct kt_staged *staged = &KT_RUN(run)->staged;
	struct kt_followup followup;
	struct sk_buff *skb;
	u32 datagrams = 0, bytes = 0;

	for (skb = run; skb; skb = skb->next) {
		/* It may wait for long, and must not keep its sender waiting. */
		skb_orphan(skb);
		datagrams++;
		bytes += skb->truesize;
	}
	staged->datagrams = datagrams;
	staged->bytes = bytes;
	kt_stage(kt->engine, kt_now_coarse(), peer, staged, &followup);
	kt_follow(kt, &followup);
}

void kt_host_free_staged(struct kt_staged *staged)
{
	kt_free(kt_staged_packet(staged));
}

/* False if the work of the peer's lane has another peer's packets to send. */
static bool goes_on_later(struct kt_netdev *kt, kt_peer peer)
{
	struct kt_lane *lane = kt_lane_of(kt, peer);
	u64 other = cmpxchg(&lane->flush, KT_NO_PEER, peer);

	if (other != KT_NO_PEER && other != peer)
		return false;
	queue_work(kt_crypt_queue, &lane->flush_work);
	return true;
}

static void flush_work_of_lane(struct work_struct *work)
{
	struct kt_lane *lane = container_of(work, struct kt_lane, flush_work);
	kt_peer peer = xchg(&lane->flush, KT_NO_PEER);

	if (peer != KT_NO_PEER)
		kt_send_staged(lane->kt, peer);
}

void kt_lane_init_work(struct kt_lane *lane)
{
	INIT_WORK(&lane->send_work, send_work);
	INIT_WORK(&lane->flush_work, flush_work_of_lane);
}

void kt_send_staged(struct kt_netdev *kt, kt_peer peer)
{
	struct kt_followup followup;
	int flushes = 0;

	/* While they are on their way others may have been staged behind them, as fast as they go. */
	do {
		u64 now = kt_now_coarse();
		struct kt_staged *staged;
		struct kt_seal_job job;

		staged = kt_reserve_staged(kt->engine, now, peer, &job, &followup);
		if (staged) {
			while (staged) {
				struct sk_buff *run = kt_staged_packet(staged);
				struct kt_staged *next = staged->next;
				u32 datagrams = staged->datagrams;

				kt_job_take(&job, datagrams, &KT_RUN(run)->seal);
				queue_run(kt, peer, run);
				staged = next;
			}
			kt_flushed(kt->engine, now, peer, &followup);
		}
		if (followup.rearm)
			kt_timers_arm(kt);
		peer = followup.flush;
	} while (peer != KT_NO_PEER && (++flushes < KT_FLUSHES_AT_ONCE || !goes_on_later(kt, peer)));
}

void kt_send_keepalive(struct kt_netdev *kt, kt_peer peer)
{
	struct kt_followup followup;
	struct kt_seal_job job;
	struct sk_buff *skb;
	bool reserved;

	reserved = kt_reserve_keepalive(kt->engine, kt_now_coarse(), peer, &job, &followup);
	if (reserved) {
		unsigned int headroom = kt->dev->needed_headroom;

		skb = alloc_skb(headroom + kt->dev->needed_tailroom, GFP_ATOMIC);
		if (skb) {
			skb_reserve(skb, headroom);
			kt_take(skb);
			KT_RUN(skb)->seal = job;
			KT_RUN(skb)->tos = 0;
			KT_RUN(skb)->mtu = KT_MTU_MAX;
			queue_run(kt, peer, skb);
		} else {
			kt_count_drop(kt->engine, peer, KT_REASON_SEND_FAILED, 1);
		}
	}
	kt_follow(kt, &followup);
}

/* Tells the sender, at a rate that the kernel limits, that the packet cannot get there. */
static void tell_unreachable(struct sk_buff *skb)
{
	if (skb->protocol == htons(ETH_P_IP))
		icmp_ndo_send(skb, ICMP_DEST_UNREACH, ICMP_HOST_UNREACH, 0);
	else if (skb->protocol == htons(ETH_P_IPV6))
		icmpv6_ndo_send(skb, ICMPV6_DEST_UNREACH, ICMPV6_ADDR_UNREACH, 0);
}

/* What a program that sends is told, as by the kernel's own driver. */
static int error_for(u8 reason)
{
	switch (reason) {
	case KT_REASON_NO_ROUTE:
		return -ENOKEY;
	case KT_REASON_NO_ENDPOINT:
		return -EDESTADDRREQ;
	case KT_REASON_NOT_IP:
		return -EPROTONOSUPPORT;
	default:
		return -ENETDOWN;
	}
}

static int refuse(struct sk_buff *skb, u8 reason)
{
	if (reason == KT_REASON_NO_ROUTE || reason == KT_REASON_NO_ENDPOINT)
		tell_unreachable(skb);
	kfree_skb(skb);
	return error_for(reason);
}

/* Makes of a super-packet the packets that go through the tunnel, with complete checksums. NULL if that cannot be. */
static struct sk_buff *segments_of(struct sk_buff *skb)
{
	struct sk_buff *segments;

	if (!skb_is_gso(skb)) {
		skb_mark_not_on_list(skb);
		return skb;
	}
	segments = skb_gso_segment(skb, 0);
	if (IS_ERR_OR_NULL(segments))
		return NULL;
	consume_skb(skb);
	return segments;
}

netdev_tx_t kt_transmit(struct sk_buff *skb, struct net_device *dev)
{
	struct kt_netdev *kt = netdev_priv(dev);
	struct sk_buff *run, *segment;
	struct kt_seal_job job;
	const u8 *head;
	u8 buffer[KT_HEAD_LEN];
	u8 reason = KT_REASON_NOT_IP;
	kt_peer peer;
	u32 head_len, mtu;
	u8 reserved;

	head_len = min_t(u32, skb->len, KT_HEAD_LEN);
	head = skb_header_pointer(skb, 0, head_len, buffer);
	/*
	 * What the packet says it is has to be what its sender said. A packet socket may say nothing, and keep the header out of the
	 * linear part, where it is not looked for: two that are unknown are not the same.
	 */
	if (unlikely(!head || !skb->protocol || skb->protocol != ip_tunnel_parse_protocol(skb))) {
		kt_count_drop(kt->engine, KT_NO_PEER, reason, 1);
		return refuse(skb, reason);
	}
	peer = kt_route(kt->engine, head, head_len, skb->len, &reason);
	if (unlikely(peer == KT_NO_PEER))
		return refuse(skb, reason);

	mtu = skb_valid_dst(skb) ? dst_mtu(skb_dst(skb)) : READ_ONCE(dev->mtu);
	/* Its flow, while it can be read: fair queues and cards with several queues see it on the datagrams around. Segments copy it. */
	skb_get_hash(skb);
	run = segments_of(skb);
	if (unlikely(!run)) {
		kt_count_drop(kt->engine, peer, KT_REASON_SEND_FAILED, 1);
		kfree_skb(skb);
		return NETDEV_TX_OK;
	}
	for (segment = run; segment; segment = segment->next) {
		/* The sender's byte, before the packet becomes unreadable. */
		u8 tos = segment->protocol == htons(ETH_P_IP) ? ip_hdr(segment)->tos : ipv6_get_dsfield(ipv6_hdr(segment));

		KT_RUN(segment)->tos = kt_encapsulated_tos(tos);
		KT_RUN(segment)->mtu = min_t(u32, mtu, KT_MTU_MAX);
	}
	reserved = kt_reserve(kt->engine, kt_now_coarse(), peer, kt_run_length(run), &job, &reason);
	if (unlikely(reserved != KT_RESERVED && reserved != KT_STAGE)) {
		if (run->next) {
			kfree_skb_list(run->next);
			skb_mark_not_on_list(run);
		}
		return refuse(run, reason);
	}
	for (segment = run; segment; segment = segment->next)
		skb_dst_drop(segment);
	kt_take(run);
	if (likely(reserved == KT_RESERVED)) {
		KT_RUN(run)->seal = job;
		queue_run(kt, peer, run);
	} else {
		stage(kt, peer, run);
	}
	return NETDEV_TX_OK;
}
