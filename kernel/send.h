/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Data on its way out: routed, numbered, sealed by any CPU, sent in order. */
#ifndef KERNTUN_SEND_H
#define KERNTUN_SEND_H

#include "kerntun.h"

#include <linux/netdevice.h>
#include <linux/workqueue.h>

struct kt_lane;
struct kt_netdev;

netdev_tx_t kt_transmit(struct sk_buff *skb, struct net_device *dev);
/* Work of a sealer. */
void kt_seal_work(struct work_struct *work);
/* The works with which a lane goes on where somebody else has done enough. */
void kt_lane_init_work(struct kt_lane *lane);
void kt_send_staged(struct kt_netdev *kt, kt_peer peer);
void kt_send_keepalive(struct kt_netdev *kt, kt_peer peer);

#endif
