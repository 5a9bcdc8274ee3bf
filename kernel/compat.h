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

/* Transmission without the lock of a queue was a feature, and became a flag of its own. */
static inline void kt_transmit_without_lock(struct net_device *dev)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
	dev->lltx = true;
#else
	dev->features |= NETIF_F_LLTX;
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

#endif
