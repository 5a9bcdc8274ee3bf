// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Changes an interface and its peers (WG_CMD_SET_DEVICE). A request is read and checked completely before anything changes: what is
 * refused has changed nothing. The in-tree driver gives the same errors, but has made by then what came before the error.
 */
#include "device.h"
#include "netlink.h"
#include "timers.h"

#include <crypto/curve25519.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/rtnetlink.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <uapi/linux/wireguard.h>

static const struct nla_policy peer_policy[WGPEER_A_MAX + 1] = {
	[WGPEER_A_PUBLIC_KEY]			= NLA_POLICY_EXACT_LEN(WG_KEY_LEN),
	[WGPEER_A_PRESHARED_KEY]		= NLA_POLICY_EXACT_LEN(WG_KEY_LEN),
	[WGPEER_A_FLAGS]			= { .type = NLA_U32 },
	[WGPEER_A_ENDPOINT]			= NLA_POLICY_MIN_LEN(sizeof(struct sockaddr)),
	[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL] = { .type = NLA_U16 },
	[WGPEER_A_LAST_HANDSHAKE_TIME]		= NLA_POLICY_EXACT_LEN(sizeof(struct __kernel_timespec)),
	[WGPEER_A_RX_BYTES]			= { .type = NLA_U64 },
	[WGPEER_A_TX_BYTES]			= { .type = NLA_U64 },
	[WGPEER_A_ALLOWEDIPS]			= { .type = NLA_NESTED },
	[WGPEER_A_PROTOCOL_VERSION]		= { .type = NLA_U32 },
};

/* Removing a single allowed IP is younger than the kernels this is built for, and their headers. */
#define ALLOWED_IP_FLAGS 4
#define ALLOWED_IP_REMOVE_ME BIT(0)

#define PEER_FLAGS (WGPEER_F_REMOVE_ME | WGPEER_F_REPLACE_ALLOWEDIPS | WGPEER_F_UPDATE_ONLY)

static const struct nla_policy allowed_ip_policy[ALLOWED_IP_FLAGS + 1] = {
	[WGALLOWEDIP_A_FAMILY]			= { .type = NLA_U16 },
	[WGALLOWEDIP_A_IPADDR]			= NLA_POLICY_MIN_LEN(sizeof(struct in_addr)),
	[WGALLOWEDIP_A_CIDR_MASK]		= { .type = NLA_U8 },
	[ALLOWED_IP_FLAGS]			= { .type = NLA_U32 },
};

/* A request, read: all its peers, and all their allowed IPs one behind the other. */
struct request {
	struct kt_change change;
	struct kt_peer_change *peers;
	struct kt_allowed_ip *allowed_ips;
	u32 peers_count;
	u32 allowed_ips_count;
	struct netlink_ext_ack *extack;
};

#define refuse(request, attr, err, words) ({			\
	NL_SET_ERR_MSG_ATTR((request)->extack, attr, words);	\
	-(err);							\
})

static int read_allowed_ip(struct request *request, const struct nlattr *attr, struct kt_allowed_ip *to)
{
	struct nlattr *attrs[ALLOWED_IP_FLAGS + 1];
	u32 flags = 0;
	u16 family;
	int err, len;

	err = nla_parse_nested(attrs, ALLOWED_IP_FLAGS, attr, allowed_ip_policy, request->extack);
	if (err)
		return err;
	if (attrs[ALLOWED_IP_FLAGS])
		flags = nla_get_u32(attrs[ALLOWED_IP_FLAGS]);
	if (flags & ~ALLOWED_IP_REMOVE_ME)
		return refuse(request, attrs[ALLOWED_IP_FLAGS], EOPNOTSUPP, "unknown flag of an allowed IP");
	if (!attrs[WGALLOWEDIP_A_FAMILY] || !attrs[WGALLOWEDIP_A_IPADDR] || !attrs[WGALLOWEDIP_A_CIDR_MASK])
		return refuse(request, attr, EINVAL, "an allowed IP needs family, address and prefix length");
	family = nla_get_u16(attrs[WGALLOWEDIP_A_FAMILY]);
	len = nla_len(attrs[WGALLOWEDIP_A_IPADDR]);
	to->prefix_len = nla_get_u8(attrs[WGALLOWEDIP_A_CIDR_MASK]);
	to->remove = !!(flags & ALLOWED_IP_REMOVE_ME);
	if (family == AF_INET && len == sizeof(struct in_addr) && to->prefix_len <= 32)
		to->family = 4;
	else if (family == AF_INET6 && len == sizeof(struct in6_addr) && to->prefix_len <= 128)
		to->family = 6;
	else
		return refuse(request, attr, EINVAL, "family, address and prefix length of an allowed IP do not fit together");
	memcpy(to->address, nla_data(attrs[WGALLOWEDIP_A_IPADDR]), len);
	return 0;
}

static int read_allowed_ips(struct request *request, const struct nlattr *nest, struct kt_peer_change *peer)
{
	const struct nlattr *attr;
	int left, err;

	peer->allowed_ips = request->allowed_ips + request->allowed_ips_count;
	nla_for_each_nested(attr, nest, left) {
		err = read_allowed_ip(request, attr, &request->allowed_ips[request->allowed_ips_count]);
		if (err)
			return err;
		request->allowed_ips_count++;
		peer->allowed_ips_count++;
	}
	return 0;
}

/* The in-tree driver leaves out what it does not take for an address. An error helps whoever made it. */
static int read_endpoint(struct request *request, const struct nlattr *attr, struct kt_peer_change *peer)
{
	struct kt_endpoint *endpoint = &peer->endpoint;
	const struct sockaddr *address = nla_data(attr);

	if (address->sa_family == AF_INET && nla_len(attr) == sizeof(struct sockaddr_in)) {
		const struct sockaddr_in *v4 = nla_data(attr);

		endpoint->family = 4;
		endpoint->port = ntohs(v4->sin_port);
		memcpy(endpoint->remote, &v4->sin_addr, sizeof(v4->sin_addr));
	} else if (address->sa_family == AF_INET6 && nla_len(attr) == sizeof(struct sockaddr_in6)) {
		const struct sockaddr_in6 *v6 = nla_data(attr);

		endpoint->family = 6;
		endpoint->port = ntohs(v6->sin6_port);
		endpoint->scope = v6->sin6_scope_id;
		memcpy(endpoint->remote, &v6->sin6_addr, sizeof(v6->sin6_addr));
	} else {
		return refuse(request, attr, EINVAL, "the endpoint is neither a sockaddr_in nor a sockaddr_in6");
	}
	peer->flags |= KT_PEER_HAS_ENDPOINT;
	return 0;
}

static int read_peer(struct request *request, const struct nlattr *attr, struct kt_peer_change *peer)
{
	struct nlattr *attrs[WGPEER_A_MAX + 1];
	u32 flags = 0;
	int err;

	err = nla_parse_nested(attrs, WGPEER_A_MAX, attr, peer_policy, request->extack);
	if (err)
		return err;
	if (!attrs[WGPEER_A_PUBLIC_KEY])
		return refuse(request, attr, EINVAL, "a peer needs a public key");
	memcpy(peer->public_key, nla_data(attrs[WGPEER_A_PUBLIC_KEY]), KT_KEY_LEN);
	if (attrs[WGPEER_A_FLAGS])
		flags = nla_get_u32(attrs[WGPEER_A_FLAGS]);
	if (flags & ~PEER_FLAGS)
		return refuse(request, attrs[WGPEER_A_FLAGS], EOPNOTSUPP, "unknown flag of a peer");
	if (attrs[WGPEER_A_PROTOCOL_VERSION] && nla_get_u32(attrs[WGPEER_A_PROTOCOL_VERSION]) != 1)
		return refuse(request, attrs[WGPEER_A_PROTOCOL_VERSION], EPFNOSUPPORT, "the protocol has version 1 only");
	if (flags & WGPEER_F_REMOVE_ME)
		peer->flags |= KT_PEER_REMOVE;
	if (flags & WGPEER_F_UPDATE_ONLY)
		peer->flags |= KT_PEER_UPDATE_ONLY;
	if (flags & WGPEER_F_REPLACE_ALLOWEDIPS)
		peer->flags |= KT_PEER_REPLACE_ALLOWED_IPS;
	if (attrs[WGPEER_A_PRESHARED_KEY]) {
		peer->flags |= KT_PEER_HAS_PRESHARED_KEY;
		memcpy(peer->preshared_key, nla_data(attrs[WGPEER_A_PRESHARED_KEY]), KT_KEY_LEN);
	}
	if (attrs[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]) {
		peer->flags |= KT_PEER_HAS_KEEPALIVE;
		peer->persistent_keepalive = nla_get_u16(attrs[WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL]);
	}
	if (attrs[WGPEER_A_ENDPOINT]) {
		err = read_endpoint(request, attrs[WGPEER_A_ENDPOINT], peer);
		if (err)
			return err;
	}
	return attrs[WGPEER_A_ALLOWEDIPS] ? read_allowed_ips(request, attrs[WGPEER_A_ALLOWEDIPS], peer) : 0;
}

/* Room for all peers and allowed IPs, counted by what looks like one: as many or more. */
static int make_room(struct request *request, const struct nlattr *peers)
{
	const struct nlattr *peer, *attr, *allowed_ip;
	int peers_left, left, allowed_ips_left;

	nla_for_each_nested(peer, peers, peers_left) {
		request->peers_count++;
		nla_for_each_nested(attr, peer, left) {
			if (nla_type(attr) != WGPEER_A_ALLOWEDIPS)
				continue;
			nla_for_each_nested(allowed_ip, attr, allowed_ips_left)
				request->allowed_ips_count++;
		}
	}
	request->peers = kvcalloc(request->peers_count, sizeof(*request->peers), GFP_KERNEL_ACCOUNT);
	request->allowed_ips = kvcalloc(request->allowed_ips_count, sizeof(*request->allowed_ips), GFP_KERNEL_ACCOUNT);
	if ((request->peers_count && !request->peers) || (request->allowed_ips_count && !request->allowed_ips))
		return -ENOMEM;
	request->allowed_ips_count = 0;
	return 0;
}

static int read_peers(struct request *request, const struct nlattr *peers)
{
	const struct nlattr *attr;
	int left, err;

	err = make_room(request, peers);
	if (err)
		return err;
	request->change.peers = request->peers;
	nla_for_each_nested(attr, peers, left) {
		err = read_peer(request, attr, &request->peers[request->change.peers_count]);
		if (err)
			return err;
		request->change.peers_count++;
	}
	return 0;
}

static void free_request(struct request *request)
{
	if (request->peers)
		memzero_explicit(request->peers, request->peers_count * sizeof(*request->peers));
	kvfree(request->peers);
	kvfree(request->allowed_ips);
	memzero_explicit(&request->change, sizeof(request->change));
}

static int read_request(struct request *request, struct nlattr **attrs)
{
	u32 flags = 0;

	if (attrs[WGDEVICE_A_FLAGS])
		flags = nla_get_u32(attrs[WGDEVICE_A_FLAGS]);
	if (flags & ~WGDEVICE_F_REPLACE_PEERS)
		return refuse(request, attrs[WGDEVICE_A_FLAGS], EOPNOTSUPP, "unknown flag of an interface");
	if (flags & WGDEVICE_F_REPLACE_PEERS)
		request->change.flags |= KT_DEVICE_REPLACE_PEERS;
	if (attrs[WGDEVICE_A_PRIVATE_KEY]) {
		request->change.flags |= KT_DEVICE_HAS_PRIVATE_KEY;
		memcpy(request->change.private_key, nla_data(attrs[WGDEVICE_A_PRIVATE_KEY]), KT_KEY_LEN);
		/* It is listed as it is used. All zeros mean that there is none. */
		if (memchr_inv(request->change.private_key, 0, KT_KEY_LEN))
			curve25519_clamp_secret(request->change.private_key);
	}
	return attrs[WGDEVICE_A_PEERS] ? read_peers(request, attrs[WGDEVICE_A_PEERS]) : 0;
}

/*
 * Port and mark act in the namespace where the sockets are, which may not be the one that the caller and the interface are in:
 * the right is needed there.
 */
static int may_change_sockets(const struct kt_netdev *kt, struct request *request)
{
	struct net *net = kt->sockets.net;

	if (!net)
		NL_SET_ERR_MSG(request->extack, "the network namespace in which the interface was created is gone");
	else if (!ns_capable(net->user_ns, CAP_NET_ADMIN))
		NL_SET_ERR_MSG(request->extack, "port and mark need CAP_NET_ADMIN where the interface was created");
	else
		return 0;
	return -EPERM;
}

static int configure(struct kt_netdev *kt, struct request *request)
{
	int err = 0;
	bool rearm;

	switch (kt_configure(kt->engine, kt_now(), &request->change, &rearm)) {
	case KT_CONFIGURED:
		if (rearm)
			kt_timers_arm(kt);
		break;
	case KT_OUT_OF_MEMORY:
		err = -ENOMEM;
		break;
	case KT_TOO_MANY_PEERS:
		/* The in-tree driver's error. */
		NL_SET_ERR_MSG(request->extack, "an interface has 2^20 peers at most");
		err = -ENOMEM;
		break;
	case KT_NOT_SEEDED:
		NL_SET_ERR_MSG(request->extack, "the kernel has no randomness yet");
		err = -EAGAIN;
		break;
	default:
		err = -EINVAL;
	}
	return err;
}

/* Everything has been checked. The port comes first because it can still fail, and be taken back. */
static int apply(struct kt_netdev *kt, struct request *request, struct nlattr **attrs)
{
	const u16 before = kt->sockets.port;
	int err;

	if (attrs[WGDEVICE_A_LISTEN_PORT]) {
		err = kt_sockets_set_port(kt, nla_get_u16(attrs[WGDEVICE_A_LISTEN_PORT]));
		if (err) {
			NL_SET_ERR_MSG_ATTR(request->extack, attrs[WGDEVICE_A_LISTEN_PORT],
					    "the UDP port cannot be bound where the interface was created");
			return err;
		}
	}
	err = configure(kt, request);
	if (err) {
		if (attrs[WGDEVICE_A_LISTEN_PORT] && kt_sockets_set_port(kt, before))
			netdev_warn(kt->dev, "port %u cannot be bound again; set it or bring the interface down and up\n", before);
		return err;
	}
	if (attrs[WGDEVICE_A_FWMARK])
		kt_sockets_set_mark(kt, nla_get_u32(attrs[WGDEVICE_A_FWMARK]));
	return 0;
}

/*
 * The message stays with the socket for a while, so its keys are wiped, whatever came of it: also in peers that were not reached, and in
 * attributes that another of the same type took the place of.
 */
static void wipe_keys(struct genl_info *info)
{
	struct nlattr *attr, *peer, *of_peer;
	int left, peers_left, of_peer_left;

	nlmsg_for_each_attr(attr, info->nlhdr, GENL_HDRLEN, left) {
		if (nla_type(attr) == WGDEVICE_A_PRIVATE_KEY)
			memzero_explicit(nla_data(attr), nla_len(attr));
		if (nla_type(attr) != WGDEVICE_A_PEERS)
			continue;
		nla_for_each_nested(peer, attr, peers_left) {
			nla_for_each_nested(of_peer, peer, of_peer_left) {
				if (nla_type(of_peer) == WGPEER_A_PRESHARED_KEY)
					memzero_explicit(nla_data(of_peer), nla_len(of_peer));
			}
		}
	}
}

int kt_set_device(struct sk_buff *skb, struct genl_info *info)
{
	struct request request = { .extack = info->extack };
	struct nlattr **attrs = info->attrs;
	struct kt_netdev *kt;
	int err;

	rtnl_lock();
	kt = kt_named_interface(genl_info_net(info), attrs, info->extack);
	err = PTR_ERR_OR_ZERO(kt);
	if (!err)
		err = read_request(&request, attrs);
	if (!err && (attrs[WGDEVICE_A_LISTEN_PORT] || attrs[WGDEVICE_A_FWMARK]))
		err = may_change_sockets(kt, &request);
	if (!err)
		err = apply(kt, &request, attrs);
	rtnl_unlock();
	free_request(&request);
	wipe_keys(info);
	return err;
}
