/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * The generic netlink family "kerntun", version 1: what the family "wireguard" has no words for. It is there if and only if
 * interfaces of kind "wireguard" are kerntun's.
 *
 * KERNTUN_CMD_GET_DROPS (dump; needs CAP_NET_ADMIN over the interface's network namespace). The request names an interface by
 * KERNTUN_A_IFINDEX or KERNTUN_A_IFNAME. The answer is one message for the interface, with both of these and the sums over all
 * peers in KERNTUN_A_DROPS, and then one for each peer that dropped something, with KERNTUN_A_IFINDEX, KERNTUN_A_PUBLIC_KEY and
 * KERNTUN_A_DROPS. Reasons that did not occur are left out.
 *
 * Errors: EBADR both or neither of index and name; ENODEV no such interface; EOPNOTSUPP it is of another kind.
 */
#ifndef KERNTUN_UAPI_H
#define KERNTUN_UAPI_H

#define KERNTUN_GENL_NAME "kerntun"
#define KERNTUN_GENL_VERSION 1

enum kerntun_cmd {
	KERNTUN_CMD_UNSPEC,
	KERNTUN_CMD_GET_DROPS,
};

enum kerntun_attribute {
	KERNTUN_A_UNSPEC,
	KERNTUN_A_IFINDEX,	/* u32 */
	KERNTUN_A_IFNAME,	/* text */
	KERNTUN_A_PUBLIC_KEY,	/* 32 bytes */
	KERNTUN_A_DROPS,	/* nested: KERNTUN_DROPS_A_REASON, again and again */
	__KERNTUN_A_LAST
};
#define KERNTUN_A_MAX (__KERNTUN_A_LAST - 1)

enum kerntun_drops_attribute {
	KERNTUN_DROPS_A_UNSPEC,
	KERNTUN_DROPS_A_REASON,	/* nested: one each of the following */
};

enum kerntun_reason_attribute {
	KERNTUN_REASON_A_UNSPEC,
	KERNTUN_REASON_A_NAME,	/* text; the names are stable */
	KERNTUN_REASON_A_COUNT,	/* u64, packets */
	KERNTUN_REASON_A_PAD,
};

#endif
