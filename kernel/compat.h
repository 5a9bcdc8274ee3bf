/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What differs between the kernels that the module is built for: 6.1, 6.12 and what came after. */
#ifndef KERNTUN_COMPAT_H
#define KERNTUN_COMPAT_H

#include <linux/netdevice.h>
#include <linux/version.h>
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#include <net/gso.h>
#endif
#include <net/genetlink.h>
#include <net/rtnetlink.h>
#include <net/udp_tunnel.h>
#if IS_ENABLED(CONFIG_IPV6)
#if __has_include(<net/ipv6_stubs.h>)
#include <net/ipv6_stubs.h>
#define kt_ip6_dst_lookup_flow ipv6_stub->ipv6_dst_lookup_flow
#else
/* Since IPv6 cannot be a module any more, it needs no stub. */
#include <net/ipv6.h>
#define kt_ip6_dst_lookup_flow ip6_dst_lookup_flow
#endif
#endif

/* Transmission without the lock of a queue was a feature, and became a flag of its own. */
static inline void kt_transmit_without_lock(struct net_device *dev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	dev->lltx = true;
#else
	dev->features |= NETIF_F_LLTX;
#endif
}

/* That each CPU has workers of its own went without saying. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 18, 0)
#define KT_ON_EACH_CPU WQ_PERCPU
#else
#define KT_ON_EACH_CPU 0
#endif

/* Counters for each CPU of what was sent and received: the kernel's own care where it offers that. */
static inline void kt_ask_for_counters(struct net_device *dev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	dev->pcpu_stat_type = NETDEV_PCPU_STAT_TSTATS;
#endif
}

static inline int kt_make_counters(struct net_device *dev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	dev->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	if (!dev->tstats)
		return -ENOMEM;
#endif
	return 0;
}

static inline void kt_free_counters(struct net_device *dev)
{
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 7, 0)
	free_percpu(dev->tstats);
#endif
}

/* The attributes of the request that a listing answers. */
static inline struct nlattr **kt_dump_attributes(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return genl_info_dump(cb)->attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

/*
 * What rtnetlink hands to a new interface. kt_created_in() is the network namespace in which the request was made, unless that
 * names another one (link-netns).
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 15, 0)
#define KT_NEWLINK_ARGS struct net_device *dev, struct rtnl_newlink_params *params, struct netlink_ext_ack *extack
#define kt_created_in() rtnl_newlink_link_net(params)
#else
#define KT_NEWLINK_ARGS struct net *net, struct net_device *dev, struct nlattr *tb[], struct nlattr *data[], \
			struct netlink_ext_ack *extack
#define kt_created_in() net
#endif

/* Tunnels were set up on a socket with a file, and are on the socket proper. Between 6.12 and 7.2 nobody has looked. */
static inline void kt_tunnel_set_up(struct net *net, struct sock *sk, struct udp_tunnel_sock_cfg *cfg)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	setup_udp_tunnel_sock(net, sk, cfg);
#else
	setup_udp_tunnel_sock(net, sk->sk_socket, cfg);
#endif
}

static inline void kt_tunnel_release(struct sock *sk)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(7, 2, 0)
	udp_tunnel_sock_release(sk);
#else
	udp_tunnel_sock_release(sk->sk_socket);
#endif
}

/* Flags for the control block of the datagram; a tunnel that is no tunnel of IP needs none. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 16, 0)
#define KT_NO_FLAGS , 0
#else
#define KT_NO_FLAGS
#endif

#endif
