// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "socket.h"

#include "compat.h"
#include "device.h"
#include "receive.h"

#include <linux/inetdevice.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/ip6_route.h>
#include <net/route.h>

/* What fits into a packet of IPv4, with its header and UDP's; longer ones would arrive with another length. */
#define KT_MAX_DATAGRAM (U16_MAX - sizeof(struct iphdr) - sizeof(struct udphdr))
/* How often another port is tried if the one that the first socket got is not free for the second. */
#define KT_PORT_TRIES 100

static void set_up(struct kt_netdev *kt, struct net *net, struct sock *sk)
{
	struct udp_tunnel_sock_cfg cfg = {
		.sk_user_data = kt,
		.encap_type = 1,
		.encap_rcv = kt_receive,
	};

	sk->sk_allocation = GFP_ATOMIC;
	/* What we send was accounted to whoever sent it through the tunnel. */
	sk->sk_sndbuf = INT_MAX;
	sk_set_memalloc(sk);
	kt_tunnel_set_up(net, sk, &cfg);
	kt_hold(sockets, 1);
}

static void release(struct sock *sk)
{
	if (!sk)
		return;
	sk_clear_memalloc(sk);
	kt_tunnel_release(sk);
	kt_hold(sockets, -1);
}

/* After what routes depend on has changed: pairs with epoch_of(). */
static void begin_epoch(struct kt_netdev *kt)
{
	(void)atomic_inc_return_release(&kt->sockets.epoch);
}

/* Before what routes depend on is read: a route that was found with something older is not remembered as one of this epoch. */
static int epoch_of(const struct kt_netdev *kt)
{
	return atomic_read_acquire(&kt->sockets.epoch);
}

/* Puts the new sockets in the old ones' places; nobody receives from or sends through those when it returns. */
static void replace(struct kt_netdev *kt, struct sock *v4, struct sock *v6)
{
	struct sock *old4 = rcu_replace_pointer(kt->sockets.v4, v4, lockdep_rtnl_is_held());
	struct sock *old6 = rcu_replace_pointer(kt->sockets.v6, v6, lockdep_rtnl_is_held());

	begin_epoch(kt);
	if (!old4 && !old6)
		return;
	synchronize_net();
	release(old4);
	release(old6);
}

int kt_sockets_open(struct kt_netdev *kt)
{
	struct udp_port_cfg cfg4 = {
		.family = AF_INET,
		.local_ip.s_addr = htonl(INADDR_ANY),
		.use_udp_checksums = true,
	};
	struct socket *v4, *v6 = NULL;
	struct net *net;
	int tries = 0;
	int err;

	ASSERT_RTNL();
	net = kt->sockets.net ? maybe_get_net(kt->sockets.net) : NULL;
	if (!net)
		return -ENONET;
again:
	cfg4.local_udp_port = htons(kt->sockets.port);
	err = udp_sock_create(net, &cfg4, &v4);
	if (err)
		goto out;
#if IS_ENABLED(CONFIG_IPV6)
	if (ipv6_mod_enabled()) {
		struct udp_port_cfg cfg6 = {
			.family = AF_INET6,
			.local_ip6 = IN6ADDR_ANY_INIT,
			.local_udp_port = inet_sk(v4->sk)->inet_sport,
			.use_udp6_tx_checksums = true,
			.use_udp6_rx_checksums = true,
			.ipv6_v6only = true,
		};

		err = udp_sock_create(net, &cfg6, &v6);
		if (err) {
			kt_tunnel_release(v4->sk);
			if (err == -EADDRINUSE && !kt->sockets.port && ++tries < KT_PORT_TRIES)
				goto again;
			goto out;
		}
	}
#endif
	kt->sockets.port = ntohs(inet_sk(v4->sk)->inet_sport);
	set_up(kt, net, v4->sk);
	if (v6)
		set_up(kt, net, v6->sk);
	replace(kt, v4->sk, v6 ? v6->sk : NULL);
out:
	put_net(net);
	return err;
}

void kt_sockets_close(struct kt_netdev *kt)
{
	int i;

	ASSERT_RTNL();
	replace(kt, NULL, NULL);
	/* Whoever sends finds no socket, and looks at no route. */
	for (i = 0; i < KT_LANES; i++)
		kt_route_forget(&kt->lanes[i].route);
}

int kt_sockets_set_port(struct kt_netdev *kt, u16 port)
{
	u16 before = kt->sockets.port;
	int err;

	ASSERT_RTNL();
	if (port == before && port)
		return 0;
	kt->sockets.port = port;
	kt_forget_sources(kt->engine);
	if (!netif_running(kt->dev))
		return 0;
	err = kt_sockets_open(kt);
	if (err)
		kt->sockets.port = before;
	return err;
}

void kt_sockets_set_mark(struct kt_netdev *kt, u32 mark)
{
	ASSERT_RTNL();
	WRITE_ONCE(kt->sockets.mark, mark);
	kt_forget_sources(kt->engine);
	begin_epoch(kt);
}

static bool same_endpoint(const struct kt_endpoint *a, const struct kt_endpoint *b)
{
	return !memcmp(a, b, sizeof(*a));
}

void kt_route_forget(struct kt_route *route)
{
	dst_release(route->dst);
	route->dst = NULL;
}

/* The remembered route, if it is one to this endpoint and still good. If not, there is room for one of this epoch. */
static struct dst_entry *recall(struct kt_route *route, int epoch, const struct kt_endpoint *to)
{
	if (!route)
		return NULL;
	if (route->dst && route->epoch == epoch && same_endpoint(&route->endpoint, to) &&
	    dst_check(route->dst, route->cookie))
		return route->dst;
	kt_route_forget(route);
	route->epoch = epoch;
	return NULL;
}

static void remember(struct kt_route *route, struct dst_entry *dst, u32 cookie, const struct kt_endpoint *to,
		     const void *source, size_t len)
{
	if (!route)
		return;
	route->dst = dst_clone(dst);
	route->cookie = cookie;
	route->endpoint = *to;
	memcpy(route->source, source, len);
}

/* Frees a packet that could not be sent. */
static int give_up(struct sk_buff *skb, int err)
{
	kfree_skb(skb);
	return err;
}

/*
 * The local address that the peer's packets come in on stays our source as long as it is ours and the way back leaves by the
 * interface they came in on. After that the route chooses, until packets come in again.
 */
static int send4(struct kt_netdev *kt, kt_peer peer, struct sk_buff *skb, const struct kt_endpoint *to, u8 tos,
		 struct kt_route *route)
{
	const int epoch = epoch_of(kt);
	struct sock *sk = rcu_dereference_bh(kt->sockets.v4);
	struct flowi4 fl = { .flowi4_proto = IPPROTO_UDP };
	struct dst_entry *dst;
	struct rtable *rt;

	if (unlikely(!sk))
		return give_up(skb, -ENONET);
	fl.flowi4_mark = READ_ONCE(kt->sockets.mark);
	skb->mark = fl.flowi4_mark;
	fl.fl4_sport = inet_sk(sk)->inet_sport;
	fl.fl4_dport = htons(to->port);
	memcpy(&fl.daddr, to->remote, sizeof(fl.daddr));

	dst = recall(route, epoch, to);
	if (dst) {
		memcpy(&fl.saddr, route->source, sizeof(fl.saddr));
		rt = (struct rtable *)dst;
		dst_hold(dst);
	} else {
		if (to->has_source)
			memcpy(&fl.saddr, to->source, sizeof(fl.saddr));
		if (fl.saddr && !inet_confirm_addr(sock_net(sk), NULL, 0, fl.saddr, RT_SCOPE_HOST)) {
			fl.saddr = 0;
			kt_forget_source(kt->engine, peer);
		}
		security_sk_classify_flow(sk, flowi4_to_flowi_common(&fl));
		rt = ip_route_output_flow(sock_net(sk), &fl, sk);
		if (fl.saddr && to->has_source &&
		    (IS_ERR(rt) ? PTR_ERR(rt) == -EINVAL : rt->dst.dev->ifindex != to->interface)) {
			if (!IS_ERR(rt))
				ip_rt_put(rt);
			fl.saddr = 0;
			kt_forget_source(kt->engine, peer);
			rt = ip_route_output_flow(sock_net(sk), &fl, sk);
		}
		if (IS_ERR(rt))
			return give_up(skb, PTR_ERR(rt));
		remember(route, &rt->dst, 0, to, &fl.saddr, sizeof(fl.saddr));
	}
	skb->ignore_df = 1;
	udp_tunnel_xmit_skb(rt, sk, skb, fl.saddr, fl.daddr, tos, ip4_dst_hoplimit(&rt->dst), 0, fl.fl4_sport, fl.fl4_dport,
			    false, false KT_NO_FLAGS);
	return 0;
}

static int send6(struct kt_netdev *kt, kt_peer peer, struct sk_buff *skb, const struct kt_endpoint *to, u8 tos,
		 struct kt_route *route)
{
#if IS_ENABLED(CONFIG_IPV6)
	const int epoch = epoch_of(kt);
	struct sock *sk = rcu_dereference_bh(kt->sockets.v6);
	struct flowi6 fl = { .flowi6_proto = IPPROTO_UDP };
	struct dst_entry *dst;

	if (unlikely(!sk))
		return give_up(skb, -ENONET);
	fl.flowi6_mark = READ_ONCE(kt->sockets.mark);
	skb->mark = fl.flowi6_mark;
	fl.flowi6_oif = to->scope;
	fl.fl6_sport = inet_sk(sk)->inet_sport;
	fl.fl6_dport = htons(to->port);
	memcpy(&fl.daddr, to->remote, sizeof(fl.daddr));

	dst = recall(route, epoch, to);
	if (dst) {
		memcpy(&fl.saddr, route->source, sizeof(fl.saddr));
		dst_hold(dst);
	} else {
		if (to->has_source)
			memcpy(&fl.saddr, to->source, sizeof(fl.saddr));
		if (!ipv6_addr_any(&fl.saddr) && !ipv6_chk_addr(sock_net(sk), &fl.saddr, NULL, 0)) {
			fl.saddr = in6addr_any;
			kt_forget_source(kt->engine, peer);
		}
		security_sk_classify_flow(sk, flowi6_to_flowi_common(&fl));
		dst = kt_ip6_dst_lookup_flow(sock_net(sk), sk, &fl, NULL);
		if (IS_ERR(dst))
			return give_up(skb, PTR_ERR(dst));
		remember(route, dst, rt6_get_cookie((struct rt6_info *)dst), to, &fl.saddr, sizeof(fl.saddr));
	}
	skb->ignore_df = 1;
	udp_tunnel6_xmit_skb(dst, sk, skb, skb->dev, &fl.saddr, &fl.daddr, tos, ip6_dst_hoplimit(dst), 0, fl.fl6_sport,
			     fl.fl6_dport, false KT_NO_FLAGS);
	return 0;
#else
	return give_up(skb, -EAFNOSUPPORT);
#endif
}

int kt_socket_send(struct kt_netdev *kt, kt_peer peer, struct sk_buff *skb, const struct kt_endpoint *to, u8 tos,
		   struct kt_route *route)
{
	int err;

	skb->dev = kt->dev;
	/* What the interface counts as sent begins here: the message, without the headers around it. */
	skb_reset_inner_network_header(skb);
	rcu_read_lock_bh();
	if (unlikely(skb->len > KT_MAX_DATAGRAM))
		err = give_up(skb, -EMSGSIZE);
	else if (to->family == 4)
		err = send4(kt, peer, skb, to, tos, route);
	else if (to->family == 6)
		err = send6(kt, peer, skb, to, tos, route);
	else
		err = give_up(skb, -EAFNOSUPPORT);
	rcu_read_unlock_bh();
	return err;
}

bool kt_endpoint_of(const struct sk_buff *skb, struct kt_endpoint *from)
{
	memset(from, 0, sizeof(*from));
	from->port = ntohs(udp_hdr(skb)->source);
	from->interface = skb->skb_iif;
	from->has_source = 1;
	if (ip_hdr(skb)->version == 4) {
		from->family = 4;
		memcpy(from->remote, &ip_hdr(skb)->saddr, sizeof(ip_hdr(skb)->saddr));
		memcpy(from->source, &ip_hdr(skb)->daddr, sizeof(ip_hdr(skb)->daddr));
		return true;
	}
	if (ip_hdr(skb)->version == 6) {
		from->family = 6;
		memcpy(from->remote, &ipv6_hdr(skb)->saddr, sizeof(ipv6_hdr(skb)->saddr));
		memcpy(from->source, &ipv6_hdr(skb)->daddr, sizeof(ipv6_hdr(skb)->daddr));
		from->scope = ipv6_iface_scope_id(&ipv6_hdr(skb)->saddr, skb->skb_iif);
		return true;
	}
	return false;
}
