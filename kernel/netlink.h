/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * What configuration tools speak with: the generic netlink family "wireguard", version 1, as <linux/wireguard.h> describes it, and the family
 * "kerntun" (uapi.h) for what that has no words for.
 */
#ifndef KERNTUN_NETLINK_H
#define KERNTUN_NETLINK_H

#include <net/genetlink.h>

struct kt_netdev;

int kt_netlink_register(void);
void kt_netlink_unregister(void);

/* How far the listing of an interface is; lies in netlink_callback.ctx. */
struct kt_listing {
	u64 peer;	/* the one that was listed last, or of which a part was */
	int ifindex;
	u32 cursor;	/* the peer's allowed IP that was listed last */
	bool begun;
	bool inside;	/* more allowed IPs of the peer are to come */
	bool ended;
};

/*
 * The interface that attributes name by index or by name (the numbers of both are the same in both families), under rtnl.
 * -EBADR for both or neither, -ENODEV, -EOPNOTSUPP if it is of another kind.
 */
struct kt_netdev *kt_named_interface(struct net *net, struct nlattr **attrs, struct netlink_ext_ack *extack);
int kt_listing_start(struct netlink_callback *cb);
/* The interface of a listing, under rtnl, or an error: it may be gone since. */
struct kt_netdev *kt_listed_interface(const struct netlink_callback *cb);

/* WG_CMD_GET_DEVICE, WG_CMD_SET_DEVICE, KERNTUN_CMD_GET_DROPS. */
int kt_get_device(struct sk_buff *skb, struct netlink_callback *cb);
int kt_set_device(struct sk_buff *skb, struct genl_info *info);
int kt_get_drops(struct sk_buff *skb, struct netlink_callback *cb);

extern struct genl_family kt_wireguard_family;
extern struct genl_family kt_kerntun_family;

#endif
