// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "handshake.h"

#include "device.h"
#include "send.h"
#include "timers.h"

void kt_queue_handshake(struct kt_netdev *kt, struct sk_buff *skb)
{
	atomic_inc(&kt->handshakes_waiting);
	if (likely(kt_crew_hand(&kt->handshakers, skb)))
		return;
	atomic_dec(&kt->handshakes_waiting);
	kt_count_drop(kt->engine, KT_NO_PEER, KT_REASON_HANDSHAKE_QUEUE_FULL, 1);
	kt_free(skb);
}

static void send_message(struct kt_netdev *kt, kt_peer peer, const struct kt_outgoing *outgoing)
{
	struct sk_buff *skb = alloc_skb(KT_HEADROOM + KT_MAX_HANDSHAKE_LEN, GFP_KERNEL);
	int err = -ENOMEM;

	if (likely(skb)) {
		skb_reserve(skb, KT_HEADROOM);
		skb_put_data(skb, outgoing->message, outgoing->len);
		err = kt_socket_send(kt, peer, skb, &outgoing->endpoint, outgoing->tos, NULL);
	}
	if (unlikely(err))
		kt_count_drop(kt->engine, peer, KT_REASON_SEND_FAILED, 1);
}

/* False if it was dropped. */
static bool receive_message(struct kt_netdev *kt, struct sk_buff *skb, struct kt_session_block *block)
{
	u32 waiting = atomic_read(&kt->handshakes_waiting);
	u8 message[KT_MAX_HANDSHAKE_LEN];
	struct kt_outgoing outgoing;
	struct kt_endpoint from;
	kt_peer peer = KT_NO_PEER;
	u8 handled;

	if (skb->len > sizeof(message) || skb_copy_bits(skb, 0, message, skb->len) || !kt_endpoint_of(skb, &from))
		return false;
	handled = kt_receive_handshake(kt->engine, kt_now(), message, skb->len, &from, waiting, KT_MAX_HANDSHAKES, block,
				       &peer, &outgoing);
	if (handled == KT_HANDLED_REPLY || handled == KT_HANDLED_CONNECTED) {
		local_bh_disable();
		dev_sw_netstats_rx_add(kt->dev, skb->len);
		local_bh_enable();
	}
	if (handled == KT_HANDLED_REPLY)
		send_message(kt, KT_NO_PEER, &outgoing);
	/* The first packet under the new keys tells the other side that we have them. */
	if (handled == KT_HANDLED_CONNECTED && outgoing.followup.flush == KT_NO_PEER)
		kt_send_keepalive(kt, peer);
	kt_follow(kt, &outgoing.followup);
	return handled != KT_HANDLED_DROPPED;
}

void kt_handshake_work(struct work_struct *work)
{
	struct kt_crew *crew = kt_crew_of(work);
	struct kt_netdev *kt = container_of(crew, struct kt_netdev, handshakers);
	struct kt_session_block block;
	struct sk_buff *skb;

	kt_session_block_init(&block);
	while ((skb = kt_crew_next(crew))) {
		bool handled = receive_message(kt, skb, &block);

		atomic_dec(&kt->handshakes_waiting);
		if (handled)
			kt_consume(skb);
		else
			kt_free(skb);
		cond_resched();
	}
	kt_session_block_free(&block);
}

void kt_initiate_handshake(struct kt_netdev *kt, kt_peer peer)
{
	struct kt_outgoing outgoing;
	struct timespec64 wall;

	ktime_get_real_ts64(&wall);
	if (!kt_initiate(kt->engine, kt_now(), wall.tv_sec, wall.tv_nsec, peer, &outgoing))
		return;
	send_message(kt, peer, &outgoing);
	kt_follow(kt, &outgoing.followup);
}
