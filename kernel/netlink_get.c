// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Lists what an interface is set to and what is known of its peers (WG_CMD_GET_DEVICE). */
#include "device.h"
#include "netlink.h"

#include <linux/in.h>
#include <linux/in6.h>
#include <linux/rtnetlink.h>
#include <net/sock.h>
#include <uapi/linux/wireguard.h>

static bool put_interface(struct sk_buff *skb, const struct kt_netdev *kt)
{
	u8 private_key[KT_KEY_LEN], public_key[KT_KEY_LEN];
	bool put;

	put = !nla_put_u16(skb, WGDEVICE_A_LISTEN_PORT, kt->sockets.port) &&
	      !nla_put_u32(skb, WGDEVICE_A_FWMARK, kt->sockets.mark) &&
	      !nla_put_u32(skb, WGDEVICE_A_IFINDEX, kt->dev->ifindex) &&
	      !nla_put_string(skb, WGDEVICE_A_IFNAME, kt->dev->name);
	if (put && kt_private_key(kt->engine, private_key) && kt_public_key(kt->engine, public_key))
		put = !nla_put(skb, WGDEVICE_A_PRIVATE_KEY, KT_KEY_LEN, private_key) &&
		      !nla_put(skb, WGDEVICE_A_PUBLIC_KEY, KT_KEY_LEN, public_key);
	memzero_explicit(private_key, sizeof(private_key));
	return put;
}

static bool put_allowed_ip(struct sk_buff *skb, const struct kt_allowed_ip *allowed_ip)
{
	const bool v4 = allowed_ip->family == 4;
	struct nlattr *nest = nla_nest_start(skb, 0);

	if (!nest)
		return false;
	if (nla_put_u16(skb, WGALLOWEDIP_A_FAMILY, v4 ? AF_INET : AF_INET6) ||
	    nla_put(skb, WGALLOWEDIP_A_IPADDR, v4 ? sizeof(struct in_addr) : sizeof(struct in6_addr), allowed_ip->address) ||
	    nla_put_u8(skb, WGALLOWEDIP_A_CIDR_MASK, allowed_ip->prefix_len)) {
		nla_nest_cancel(skb, nest);
		return false;
	}
	nla_nest_end(skb, nest);
	return true;
}

static bool put_endpoint(struct sk_buff *skb, const struct kt_endpoint *endpoint)
{
	if (endpoint->family == 4) {
		struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(endpoint->port) };

		memcpy(&address.sin_addr, endpoint->remote, sizeof(address.sin_addr));
		return !nla_put(skb, WGPEER_A_ENDPOINT, sizeof(address), &address);
	}
	if (endpoint->family == 6) {
		struct sockaddr_in6 address = {
			.sin6_family = AF_INET6,
			.sin6_port = htons(endpoint->port),
			.sin6_scope_id = endpoint->scope,
		};

		memcpy(&address.sin6_addr, endpoint->remote, sizeof(address.sin6_addr));
		return !nla_put(skb, WGPEER_A_ENDPOINT, sizeof(address), &address);
	}
	return true;
}

/*
 * When the last handshake was, by the wall clock. The offsets of the clocks do not change between two listings unless somebody
 * sets the clock; two readings of the clocks would not agree to the nanosecond.
 */
static struct __kernel_timespec wall_time(u64 at)
{
	struct timespec64 time = {};

	if (at != KT_NEVER) {
		ktime_t offset = ktime_sub(ktime_mono_to_any(0, TK_OFFS_REAL), ktime_mono_to_any(0, TK_OFFS_BOOT));

		time = ktime_to_timespec64(ktime_add_ns(offset, at));
	}
	return (struct __kernel_timespec){ .tv_sec = time.tv_sec, .tv_nsec = time.tv_nsec };
}

static bool put_what_is_known(struct sk_buff *skb, const struct kt_peer_info *info)
{
	const struct __kernel_timespec last_handshake = wall_time(info->last_handshake);

	return !nla_put(skb, WGPEER_A_PRESHARED_KEY, KT_KEY_LEN, info->preshared_key) &&
	       !nla_put(skb, WGPEER_A_LAST_HANDSHAKE_TIME, sizeof(last_handshake), &last_handshake) &&
	       !nla_put_u16(skb, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, info->persistent_keepalive) &&
	       !nla_put_u64_64bit(skb, WGPEER_A_TX_BYTES, info->tx_bytes, WGPEER_A_UNSPEC) &&
	       !nla_put_u64_64bit(skb, WGPEER_A_RX_BYTES, info->rx_bytes, WGPEER_A_UNSPEC) &&
	       !nla_put_u32(skb, WGPEER_A_PROTOCOL_VERSION, 1) && put_endpoint(skb, &info->endpoint);
}

/*
 * Puts a peer, or the next part of one: only the first part has more than its key and allowed IPs. 0 if the peer is
 * complete, -EMSGSIZE if the message is full; the listing knows how far it came.
 */
static int put_peer(struct sk_buff *skb, const struct kt_netdev *kt, kt_peer peer, const struct kt_peer_info *info,
		    struct kt_listing *listing)
{
	struct kt_allowed_ip allowed_ip;
	struct nlattr *nest, *allowed_ips;
	int err = 0;
	u32 cursor;

	nest = nla_nest_start(skb, 0);
	if (!nest)
		return -EMSGSIZE;
	if (nla_put(skb, WGPEER_A_PUBLIC_KEY, KT_KEY_LEN, info->public_key))
		goto full;
	if (!listing->inside && !put_what_is_known(skb, info))
		goto full;
	allowed_ips = nla_nest_start(skb, WGPEER_A_ALLOWEDIPS);
	if (!allowed_ips)
		goto full;
	if (!listing->inside)
		listing->cursor = KT_FIRST;
	listing->peer = peer;
	listing->inside = false;
	for (cursor = listing->cursor; kt_next_allowed_ip(kt->engine, peer, &cursor, &allowed_ip);) {
		if (!put_allowed_ip(skb, &allowed_ip)) {
			listing->inside = true;
			err = -EMSGSIZE;
			break;
		}
		listing->cursor = cursor;
	}
	nla_nest_end(skb, allowed_ips);
	nla_nest_end(skb, nest);
	return err;
full:
	nla_nest_cancel(skb, nest);
	return -EMSGSIZE;
}

/* Puts as many peers as fit. */
static void put_peers(struct sk_buff *skb, const struct kt_netdev *kt, struct kt_listing *listing)
{
	struct nlattr *nest = nla_nest_start(skb, WGDEVICE_A_PEERS);
	struct kt_peer_info info;
	kt_peer peer;
	int err = 0;

	if (!nest)
		return;
	while (!err) {
		peer = listing->inside ? listing->peer : kt_next_peer(kt->engine, listing->peer);
		if (peer == KT_NO_PEER) {
			listing->ended = true;
			break;
		}
		if (kt_peer_info(kt->engine, peer, &info)) {
			err = put_peer(skb, kt, peer, &info, listing);
		} else {
			/* It went in between; that changed the generation, so the reader knows. */
			listing->peer = peer;
			listing->inside = false;
		}
	}
	memzero_explicit(&info, sizeof(info));
	if (nla_data(nest) == (void *)skb_tail_pointer(skb))
		nla_nest_cancel(skb, nest);
	else
		nla_nest_end(skb, nest);
}

int kt_get_device(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct kt_listing *listing = (struct kt_listing *)cb->ctx;
	struct kt_netdev *kt;
	int err = -EMSGSIZE;
	void *header;

	if (listing->ended)
		return 0;
	rtnl_lock();
	kt = kt_listed_interface(cb);
	if (IS_ERR(kt)) {
		err = PTR_ERR(kt);
		goto out;
	}
	/* If it changes between two parts, netlink marks the listing as interrupted. */
	cb->seq = kt_generation(kt->engine) + 1;
	header = genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &kt_wireguard_family, NLM_F_MULTI,
			     WG_CMD_GET_DEVICE);
	if (!header)
		goto out;
	genl_dump_check_consistent(cb, header);
	if (!listing->begun && !put_interface(skb, kt)) {
		genlmsg_cancel(skb, header);
		goto out;
	}
	listing->begun = true;
	put_peers(skb, kt, listing);
	genlmsg_end(skb, header);
	err = skb->len;
out:
	rtnl_unlock();
	return err;
}
