/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Handshake messages: a bounded queue and workers of their own, so that data never waits for them. */
#ifndef KERNTUN_HANDSHAKE_H
#define KERNTUN_HANDSHAKE_H

#include "kerntun.h"

#include <linux/skbuff.h>
#include <linux/workqueue.h>

struct kt_netdev;

/* Messages that may wait. */
#define KT_MAX_HANDSHAKES 4096

/* Takes a received message over. */
void kt_queue_handshake(struct kt_netdev *kt, struct sk_buff *skb);
/* Work of a handshaker. */
void kt_handshake_work(struct work_struct *work);
/* Starts a handshake, if one is due. May sleep. */
void kt_initiate_handshake(struct kt_netdev *kt, kt_peer peer);

#endif
