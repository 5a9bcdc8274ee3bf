// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "device.h"

#include "compat.h"
#include "handshake.h"
#include "receive.h"
#include "send.h"
#include "timers.h"

#include <linux/if_arp.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/ip_tunnels.h>
#include <net/net_namespace.h>
#include <net/rtnetlink.h>

LIST_HEAD(kt_netdevs);
struct workqueue_struct *kt_crypt_queue;
struct workqueue_struct *kt_handshake_queue;

/* What a datagram is longer than the inner packet in it, with the longer of the two headers of IP. */
#define KT_DATAGRAM_OVERHEAD (sizeof(struct ipv6hdr) + sizeof(struct udphdr) + KT_OVERHEAD)

/*
 * Peers are not neighbours on a link: one that sends to another by way of us must not be told to do it directly, and there is
 * nothing for addresses to be local to. The kernel asks for the first in both places.
 */
static void forget_link(struct net_device *dev)
{
	struct in_device *v4 = __in_dev_get_rtnl(dev);
	struct inet6_dev *v6 = __in6_dev_get(dev);

	if (v4) {
		IN_DEV_CONF_SET(v4, SEND_REDIRECTS, false);
		IPV4_DEVCONF_ALL(dev_net(dev), SEND_REDIRECTS) = false;
	}
	if (v6)
		v6->cnf.addr_gen_mode = IN6_ADDR_GEN_MODE_NONE;
}

static int kt_open_interface(struct net_device *dev)
{
	struct kt_netdev *kt = netdev_priv(dev);
	int err;

	forget_link(dev);
	err = kt_sockets_open(kt);
	if (err)
		return err;
	if (kt_device_up(kt->engine, kt_now()))
		kt_timers_arm(kt);
	return 0;
}

static int kt_stop_interface(struct net_device *dev)
{
	struct kt_netdev *kt = netdev_priv(dev);

	kt_device_down(kt->engine);
	kt_sockets_close(kt);
	return 0;
}

/* Totals of the engine's drops by direction, beside what the tunnel carried. */
static void kt_get_stats64(struct net_device *dev, struct rtnl_link_stats64 *stats)
{
	struct kt_netdev *kt = netdev_priv(dev);
	u8 reason;

	netdev_stats_to_stats64(stats, &dev->stats);
	dev_fetch_sw_netstats(stats, dev->tstats);
	for (reason = 0; reason < KT_REASONS; reason++) {
		if (kt_reason_is_outgoing(reason))
			stats->tx_dropped += kt_drops(kt->engine, reason);
		else
			stats->rx_dropped += kt_drops(kt->engine, reason);
	}
}

static void free_all(struct kt_netdev *kt)
{
	kvfree(kt->lanes);
	if (kt->engine)
		kt_device_free(kt->engine);
	kt_free_counters(kt->dev);
}

/* Everything that may fail; the kernel calls kt_uninit() and the destructor only if it did not. */
static int kt_init(struct net_device *dev)
{
	struct kt_netdev *kt = netdev_priv(dev);
	int i, err = -ENOMEM;

	if (kt_make_counters(dev))
		return err;
	kt->engine = kt_device_new();
	kt->lanes = kvcalloc(KT_LANES, sizeof(*kt->lanes), GFP_KERNEL_ACCOUNT);
	if (!kt->engine || !kt->lanes)
		goto err_free;
	err = kt_crew_init(&kt->sealers, kt_crypt_queue, kt_seal_work, KT_MAX_QUEUED);
	if (err)
		goto err_free;
	err = kt_crew_init(&kt->openers, kt_crypt_queue, kt_open_work, KT_MAX_QUEUED);
	if (err)
		goto err_sealers;
	err = kt_crew_init(&kt->handshakers, kt_handshake_queue, kt_handshake_work, KT_MAX_HANDSHAKES);
	if (err)
		goto err_openers;
	kt_timers_init(kt);
	for (i = 0; i < KT_LANES; i++) {
		struct kt_lane *lane = &kt->lanes[i];

		lane->kt = kt;
		lane->flush = KT_NO_PEER;
		kt_lane_init_work(lane);
		kt_queue_init(&lane->out);
		kt_queue_init(&lane->in);
		netif_napi_add(dev, &lane->napi, kt_poll);
		napi_enable(&lane->napi);
	}
	list_add(&kt->list, &kt_netdevs);
	kt_hold(interfaces, 1);
	return 0;

err_openers:
	kt_crew_free(&kt->openers);
err_sealers:
	kt_crew_free(&kt->sealers);
err_free:
	free_all(kt);
	return err;
}

static void purge_handshakes(struct kt_netdev *kt)
{
	struct sk_buff *skb;

	while ((skb = kt_crew_next(&kt->handshakers)))
		kt_free(skb);
}

/*
 * The interface is down, its sockets are closed, and nobody transmits any more. Each ends before whoever it could still give
 * something to do: deadlines and handshakes send, what is opened is delivered, what is delivered may send, what was staged is
 * sealed, and what is sealed is sent.
 */
static void kt_uninit(struct net_device *dev)
{
	struct kt_netdev *kt = netdev_priv(dev);
	int i;

	list_del(&kt->list);
	kt_timers_end(kt);
	kt_crew_stop(&kt->handshakers);
	purge_handshakes(kt);
	kt_crew_stop(&kt->openers);
	for (i = 0; i < KT_LANES; i++) {
		napi_disable(&kt->lanes[i].napi);
		__netif_napi_del(&kt->lanes[i].napi);
	}
	/* Once for all lanes: netif_napi_del() waits for each. */
	synchronize_net();
	for (i = 0; i < KT_LANES; i++)
		cancel_work_sync(&kt->lanes[i].flush_work);
	kt_crew_stop(&kt->sealers);
	for (i = 0; i < KT_LANES; i++) {
		cancel_work_sync(&kt->lanes[i].send_work);
		kt_queue_purge(&kt->lanes[i].out);
		kt_queue_purge(&kt->lanes[i].in);
	}
	kt_crew_free(&kt->handshakers);
	kt_crew_free(&kt->openers);
	kt_crew_free(&kt->sealers);
	kt_hold(interfaces, -1);
}

/* Nobody lists the interface any more either. */
static void kt_destruct(struct net_device *dev)
{
	free_all(netdev_priv(dev));
}

static const struct net_device_ops kt_ops = {
	.ndo_init = kt_init,
	.ndo_uninit = kt_uninit,
	.ndo_open = kt_open_interface,
	.ndo_stop = kt_stop_interface,
	.ndo_start_xmit = kt_transmit,
	.ndo_get_stats64 = kt_get_stats64,
};

bool kt_is_netdev(const struct net_device *dev)
{
	return dev->netdev_ops == &kt_ops;
}

/* What udev calls DEVTYPE, by which managers of networks know the kind. */
static const struct device_type kt_type = { .name = KT_KIND };

static void kt_setup(struct net_device *dev)
{
	const netdev_features_t features = NETIF_F_HW_CSUM | NETIF_F_RXCSUM | NETIF_F_SG | NETIF_F_GSO |
					   NETIF_F_GSO_SOFTWARE | NETIF_F_HIGHDMA;

	dev->netdev_ops = &kt_ops;
	dev->header_ops = &ip_tunnel_header_ops;
	dev->type = ARPHRD_NONE;
	dev->flags = IFF_POINTOPOINT | IFF_NOARP;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->hard_header_len = 0;
	dev->addr_len = 0;
	dev->needed_headroom = KT_HEADROOM;
	dev->needed_tailroom = KT_TAILROOM;
	kt_transmit_without_lock(dev);
	kt_ask_for_counters(dev);
	dev->features |= features;
	dev->hw_features |= features;
	dev->hw_enc_features |= features;
	dev->mtu = ETH_DATA_LEN - KT_DATAGRAM_OVERHEAD;
	dev->max_mtu = round_down(INT_MAX, 16) - KT_DATAGRAM_OVERHEAD;
	dev->needs_free_netdev = true;
	dev->priv_destructor = kt_destruct;
	SET_NETDEV_DEVTYPE(dev, &kt_type);
	/* The packet's route tells its MTU, and whom to tell that the packet cannot get there. */
	netif_keep_dst(dev);
}

static int kt_newlink(KT_NEWLINK_ARGS)
{
	struct kt_netdev *kt = netdev_priv(dev);

	kt->dev = dev;
	kt->sockets.net = kt_created_in();
	return register_netdevice(dev);
}

static struct rtnl_link_ops kt_link_ops = {
	.kind = KT_KIND,
	.priv_size = sizeof(struct kt_netdev),
	.setup = kt_setup,
	.newlink = kt_newlink,
};

/* The namespace goes in which an interface was created: it can neither send nor receive any more, wherever it is. */
static void kt_net_pre_exit(struct net *net)
{
	struct kt_netdev *kt;

	rtnl_lock();
	list_for_each_entry(kt, &kt_netdevs, list) {
		if (kt->sockets.net != net)
			continue;
		kt->sockets.net = NULL;
		netif_carrier_off(kt->dev);
		kt_sockets_close(kt);
		kt_forget_sources(kt->engine);
	}
	rtnl_unlock();
}

static struct pernet_operations kt_net_ops = { .pre_exit = kt_net_pre_exit };

int kt_device_register(void)
{
	int err = -ENOMEM;

	kt_crypt_queue = alloc_workqueue("kerntun-crypt", KT_ON_EACH_CPU | WQ_CPU_INTENSIVE | WQ_MEM_RECLAIM, 0);
	if (!kt_crypt_queue)
		return err;
	kt_handshake_queue = alloc_workqueue("kerntun-handshake", KT_ON_EACH_CPU | WQ_CPU_INTENSIVE | WQ_FREEZABLE, 0);
	if (!kt_handshake_queue)
		goto err_crypt;
	err = register_pernet_device(&kt_net_ops);
	if (err)
		goto err_handshake;
	err = rtnl_link_register(&kt_link_ops);
	if (!err)
		return 0;
	unregister_pernet_device(&kt_net_ops);
err_handshake:
	destroy_workqueue(kt_handshake_queue);
err_crypt:
	destroy_workqueue(kt_crypt_queue);
	return err;
}

void kt_device_unregister(void)
{
	rtnl_link_unregister(&kt_link_ops);
	unregister_pernet_device(&kt_net_ops);
	/* Packets and routes that were given away may still be on their way back. */
	rcu_barrier();
	destroy_workqueue(kt_handshake_queue);
	destroy_workqueue(kt_crypt_queue);
}
