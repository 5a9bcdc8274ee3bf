// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "netlink.h"

#include "compat.h"
#include "device.h"
#include "uapi.h"

#include <linux/module.h>
#include <linux/rtnetlink.h>
#include <net/netlink.h>
#include <net/sock.h>
#include <uapi/linux/wireguard.h>

static_assert((int)WGDEVICE_A_IFINDEX == (int)KERNTUN_A_IFINDEX && (int)WGDEVICE_A_IFNAME == (int)KERNTUN_A_IFNAME);
static_assert(sizeof(struct kt_listing) <= sizeof_field(struct netlink_callback, ctx));

struct kt_netdev *kt_named_interface(struct net *net, struct nlattr **attrs, struct netlink_ext_ack *extack)
{
	struct net_device *dev;

	ASSERT_RTNL();
	if (!attrs[WGDEVICE_A_IFINDEX] == !attrs[WGDEVICE_A_IFNAME]) {
		NL_SET_ERR_MSG(extack, "name the interface by its index or by its name");
		return ERR_PTR(-EBADR);
	}
	if (attrs[WGDEVICE_A_IFINDEX])
		dev = __dev_get_by_index(net, nla_get_u32(attrs[WGDEVICE_A_IFINDEX]));
	else
		dev = __dev_get_by_name(net, nla_data(attrs[WGDEVICE_A_IFNAME]));
	if (!dev) {
		NL_SET_ERR_MSG(extack, "there is no such interface in this network namespace");
		return ERR_PTR(-ENODEV);
	}
	if (!kt_is_netdev(dev)) {
		NL_SET_ERR_MSG(extack, "the interface is not of the kind \"wireguard\"");
		return ERR_PTR(-EOPNOTSUPP);
	}
	return netdev_priv(dev);
}

/*
 * A listing remembers its interface by number and holds no reference: who starts one and never reads it to its end would
 * otherwise keep the interface from being removed.
 */
int kt_listing_start(struct netlink_callback *cb)
{
	struct kt_listing *listing = (struct kt_listing *)cb->ctx;
	struct kt_netdev *kt;

	rtnl_lock();
	kt = kt_named_interface(sock_net(cb->skb->sk), kt_dump_attributes(cb), cb->extack);
	if (!IS_ERR(kt)) {
		*listing = (struct kt_listing){ .peer = KT_NO_PEER, .cursor = KT_FIRST };
		listing->ifindex = kt->dev->ifindex;
	}
	rtnl_unlock();
	return PTR_ERR_OR_ZERO(kt);
}

struct kt_netdev *kt_listed_interface(const struct netlink_callback *cb)
{
	const struct kt_listing *listing = (const struct kt_listing *)cb->ctx;
	struct net_device *dev;

	ASSERT_RTNL();
	dev = __dev_get_by_index(sock_net(cb->skb->sk), listing->ifindex);
	if (!dev || !kt_is_netdev(dev))
		return ERR_PTR(-ENODEV);
	return netdev_priv(dev);
}

static const struct nla_policy wireguard_policy[WGDEVICE_A_MAX + 1] = {
	[WGDEVICE_A_IFINDEX]		= { .type = NLA_U32 },
	[WGDEVICE_A_IFNAME]		= { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
	[WGDEVICE_A_PRIVATE_KEY]	= NLA_POLICY_EXACT_LEN(WG_KEY_LEN),
	[WGDEVICE_A_PUBLIC_KEY]		= NLA_POLICY_EXACT_LEN(WG_KEY_LEN),
	[WGDEVICE_A_FLAGS]		= { .type = NLA_U32 },
	[WGDEVICE_A_LISTEN_PORT]	= { .type = NLA_U16 },
	[WGDEVICE_A_FWMARK]		= { .type = NLA_U32 },
	[WGDEVICE_A_PEERS]		= { .type = NLA_NESTED },
};

static const struct genl_ops wireguard_ops[] = {
	{
		.cmd = WG_CMD_GET_DEVICE,
		.start = kt_listing_start,
		.dumpit = kt_get_device,
		.flags = GENL_UNS_ADMIN_PERM,
	},
	{
		.cmd = WG_CMD_SET_DEVICE,
		.doit = kt_set_device,
		.flags = GENL_UNS_ADMIN_PERM,
	},
};

struct genl_family kt_wireguard_family __ro_after_init = {
	.name = WG_GENL_NAME,
	.version = WG_GENL_VERSION,
	.maxattr = WGDEVICE_A_MAX,
	.policy = wireguard_policy,
	.ops = wireguard_ops,
	.n_ops = ARRAY_SIZE(wireguard_ops),
	.resv_start_op = WG_CMD_SET_DEVICE + 1,
	.netnsok = true,
	.module = THIS_MODULE,
};

static const struct nla_policy kerntun_policy[KERNTUN_A_IFNAME + 1] = {
	[KERNTUN_A_IFINDEX]	= { .type = NLA_U32 },
	[KERNTUN_A_IFNAME]	= { .type = NLA_NUL_STRING, .len = IFNAMSIZ - 1 },
};

static const struct genl_ops kerntun_ops[] = {
	{
		.cmd = KERNTUN_CMD_GET_DROPS,
		.start = kt_listing_start,
		.dumpit = kt_get_drops,
		.flags = GENL_UNS_ADMIN_PERM,
	},
};

struct genl_family kt_kerntun_family __ro_after_init = {
	.name = KERNTUN_GENL_NAME,
	.version = KERNTUN_GENL_VERSION,
	.maxattr = KERNTUN_A_IFNAME,
	.policy = kerntun_policy,
	.ops = kerntun_ops,
	.n_ops = ARRAY_SIZE(kerntun_ops),
	.netnsok = true,
	.module = THIS_MODULE,
};

int __init kt_netlink_register(void)
{
	int err = genl_register_family(&kt_wireguard_family);

	if (err)
		return err;
	err = genl_register_family(&kt_kerntun_family);
	if (err)
		genl_unregister_family(&kt_wireguard_family);
	return err;
}

void kt_netlink_unregister(void)
{
	genl_unregister_family(&kt_kerntun_family);
	genl_unregister_family(&kt_wireguard_family);
}

MODULE_ALIAS_GENL_FAMILY(WG_GENL_NAME);
