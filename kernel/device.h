/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* One interface of kind "wireguard". */
#ifndef KERNTUN_DEVICE_H
#define KERNTUN_DEVICE_H

#include "crew.h"
#include "kerntun.h"
#include "queue.h"
#include "socket.h"

#include <linux/ktime.h>
#include <linux/netdevice.h>
#include <linux/timekeeping.h>
#include <linux/workqueue.h>

#define KT_KIND "wireguard"

/*
 * Peers are spread over lanes by their place. What belongs to one peer stays in one lane, so order in lanes is order for
 * each peer; and there is nothing here that would have to be made and freed with a peer.
 */
#define KT_LANES 32

struct kt_lane {
	struct kt_netdev *kt;
	struct kt_queue out;
	struct kt_queue in;
	atomic_t sending;	/* calls to send; whoever makes it one sends for all, or hands that on to the work */
	struct work_struct send_work;
	struct kt_route route;	/* of whoever sends */
	u64 flush;		/* a peer whose staged packets the work goes on with, or KT_NO_PEER */
	struct work_struct flush_work;
	struct napi_struct napi;
};

/*
 * Changed under rtnl, and by ndo_init and the destructor while nobody else can see it. Packets read it without a lock: what
 * they read is constant while the interface is registered, or protected where it says so.
 */
struct kt_netdev {
	struct net_device *dev;
	struct kt_device *engine;
	struct kt_lane *lanes;
	struct kt_sockets sockets;
	struct kt_crew sealers;
	struct kt_crew openers;
	struct kt_crew handshakers;
	atomic_t handshakes_waiting;
	spinlock_t deadline_lock;	/* above the engine's locks */
	struct delayed_work deadline;
	bool ending;			/* no deadline is waited for any more */
	struct list_head list;		/* of all interfaces; under rtnl */
};

extern struct list_head kt_netdevs;	/* under rtnl */
extern struct workqueue_struct *kt_crypt_queue;
extern struct workqueue_struct *kt_handshake_queue;

int kt_device_register(void);
void kt_device_unregister(void);
/* Whether the device is one of ours. */
bool kt_is_netdev(const struct net_device *dev);

static inline struct kt_lane *kt_lane_of(struct kt_netdev *kt, kt_peer peer)
{
	return &kt->lanes[(u32)peer % KT_LANES];
}

/* For packets, to a few milliseconds. */
static inline u64 kt_now_coarse(void)
{
	return ktime_get_coarse_boottime_ns();
}

static inline u64 kt_now(void)
{
	return ktime_get_boottime_ns();
}

#endif
