/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* What the module holds at a moment. All of it is zero when the module is unloaded, or there is a leak. */
#ifndef KERNTUN_HELD_H
#define KERNTUN_HELD_H

#include <linux/percpu.h>

/* One CPU's share; only the sums over all CPUs mean something. */
struct kt_held {
	long allocations;	/* the engine's, and locks */
	long bytes;		/* of them */
	long packets;		/* that were taken in and neither sent, delivered nor freed */
	long sockets;
	long interfaces;
};

DECLARE_PER_CPU(struct kt_held, kt_held);

#define kt_hold(what, count) this_cpu_add(kt_held.what, count)

#endif
