/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The UDP sockets of an interface, in the network namespace in which it was created. */
#ifndef KERNTUN_SOCKET_H
#define KERNTUN_SOCKET_H

#include "kerntun.h"

#include <linux/atomic.h>
#include <linux/rcupdate.h>
#include <linux/skbuff.h>

struct kt_netdev;
struct net;
struct sock;

/* Changed under rtnl. */
struct kt_sockets {
	struct sock __rcu *v4;
	struct sock __rcu *v6;
	struct net *net;	/* not held: it is NULL from the namespace's exit on */
	u16 port;		/* to be bound when the interface comes up, or bound; zero for any */
	u32 mark;
	atomic_t epoch;		/* changes when no remembered route is good any more */
};

/*
 * A remembered route. Whoever uses it sees to it that nobody else does. None is remembered while the sockets are closed: a
 * route of IPv6 must not outlive its namespace.
 */
struct kt_route {
	struct dst_entry *dst;
	struct kt_endpoint endpoint;
	u32 cookie;
	int epoch;
	u8 source[16];	/* that the route chose, or the endpoint's */
};

/* Binds both sockets to kt->sockets.port, which becomes the one that was bound. Under rtnl. */
int kt_sockets_open(struct kt_netdev *kt);
void kt_sockets_close(struct kt_netdev *kt);
/* Under rtnl. On failure everything is as it was. */
int kt_sockets_set_port(struct kt_netdev *kt, u16 port);
void kt_sockets_set_mark(struct kt_netdev *kt, u32 mark);

/*
 * Sends a datagram, which is gone in any case. route may be NULL. Zero or an error; the caller counts.
 */
int kt_socket_send(struct kt_netdev *kt, kt_peer peer, struct sk_buff *skb, const struct kt_endpoint *to, u8 tos,
		   struct kt_route *route);
void kt_route_forget(struct kt_route *route);
/* Where a received datagram came from, and where it arrived. False if it has no such headers. */
bool kt_endpoint_of(const struct sk_buff *skb, struct kt_endpoint *from);

#endif
