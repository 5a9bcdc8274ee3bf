// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Lists what was dropped and why (KERNTUN_CMD_GET_DROPS; uapi.h describes it). */
#include "device.h"
#include "netlink.h"
#include "uapi.h"

#include <linux/rtnetlink.h>
#include <net/sock.h>

static bool put_reason(struct sk_buff *skb, u8 reason, u64 count)
{
	struct nlattr *nest;

	if (!count)
		return true;
	nest = nla_nest_start(skb, KERNTUN_DROPS_A_REASON);
	if (!nest || nla_put_string(skb, KERNTUN_REASON_A_NAME, kt_reason_name(reason)) ||
	    nla_put_u64_64bit(skb, KERNTUN_REASON_A_COUNT, count, KERNTUN_REASON_A_PAD))
		return false;
	nla_nest_end(skb, nest);
	return true;
}

/* Those of the interface if peer is NULL. Cancelling what did not fit is the caller's. */
static bool put_drops(struct sk_buff *skb, const struct kt_netdev *kt, const struct kt_peer_info *peer)
{
	struct nlattr *nest = nla_nest_start(skb, KERNTUN_A_DROPS);
	u8 reason;

	if (!nest)
		return false;
	for (reason = 0; reason < KT_REASONS; reason++) {
		if (!put_reason(skb, reason, peer ? peer->drops[reason] : kt_drops(kt->engine, reason)))
			return false;
	}
	nla_nest_end(skb, nest);
	return true;
}

/* One message: the interface's if peer is NULL. False if there is no room for it. */
static bool put_message(struct sk_buff *skb, struct netlink_callback *cb, const struct kt_netdev *kt,
			const struct kt_peer_info *peer)
{
	void *header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &kt_kerntun_family, NLM_F_MULTI,
				   KERNTUN_CMD_GET_DROPS);

	if (!header)
		return false;
	genl_dump_check_consistent(cb, header);
	if (nla_put_u32(skb, KERNTUN_A_IFINDEX, kt->dev->ifindex) ||
	    (peer ? nla_put(skb, KERNTUN_A_PUBLIC_KEY, KT_KEY_LEN, peer->public_key) :
		    nla_put_string(skb, KERNTUN_A_IFNAME, kt->dev->name)) ||
	    !put_drops(skb, kt, peer)) {
		genlmsg_cancel(skb, header);
		return false;
	}
	genlmsg_end(skb, header);
	return true;
}

/* Puts as many peers as fit. */
static void put_peers(struct sk_buff *skb, struct netlink_callback *cb, const struct kt_netdev *kt,
		      struct kt_listing *listing)
{
	struct kt_peer_info info;

	for (;;) {
		kt_peer peer = kt_next_peer(kt->engine, listing->peer);

		/* Of many peers there may be nothing to say. */
		cond_resched();
		if (peer == KT_NO_PEER) {
			listing->ended = true;
			break;
		}
		if (kt_peer_info(kt->engine, peer, &info) && memchr_inv(info.drops, 0, sizeof(info.drops)) &&
		    !put_message(skb, cb, kt, &info))
			break;
		listing->peer = peer;
	}
	memzero_explicit(&info, sizeof(info));
}

int kt_get_drops(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct kt_listing *listing = (struct kt_listing *)cb->ctx;
	struct kt_netdev *kt;
	int err = -EMSGSIZE;

	if (listing->ended)
		return 0;
	rtnl_lock();
	kt = kt_listed_interface(cb);
	if (IS_ERR(kt)) {
		err = PTR_ERR(kt);
		goto out;
	}
	cb->seq = kt_generation(kt->engine) + 1;
	if (!listing->begun) {
		if (!put_message(skb, cb, kt, NULL))
			goto out;
		listing->begun = true;
	}
	put_peers(skb, cb, kt, listing);
	err = skb->len;
out:
	rtnl_unlock();
	return err;
}
