/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Datagrams on their way in: admitted as they arrive, opened by any CPU, delivered in order. */
#ifndef KERNTUN_RECEIVE_H
#define KERNTUN_RECEIVE_H

#include <linux/netdevice.h>
#include <linux/skbuff.h>
#include <linux/workqueue.h>

struct sock;

/* The socket's; takes the packet over. */
int kt_receive(struct sock *sk, struct sk_buff *skb);
/* Work of an opener. */
void kt_open_work(struct work_struct *work);
/* A lane's. */
int kt_poll(struct napi_struct *napi, int budget);

#endif
