/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/*
 * Order in spite of parallel crypto: runs are put in as they get their numbers or arrive, computed by any CPU, and taken
 * out in the same order as soon as the one in front is done.
 */
#ifndef KERNTUN_QUEUE_H
#define KERNTUN_QUEUE_H

#include "packet.h"

#include <linux/spinlock.h>

struct kt_queue {
	spinlock_t lock;
	struct sk_buff *first;
	struct sk_buff *last;
	u32 packets;
};

/* Packets that may be on their way in one queue; runs that come when there are as many are dropped. */
#define KT_MAX_QUEUED 1024

static inline void kt_queue_init(struct kt_queue *queue)
{
	spin_lock_init(&queue->lock);
}

static inline u32 kt_run_length(const struct sk_buff *run)
{
	u32 packets = 0;

	for (; run; run = run->next)
		packets++;
	return packets;
}

/* False if the queue is full. */
static inline bool kt_queue_put(struct kt_queue *queue, struct sk_buff *run)
{
	u32 packets = kt_run_length(run);
	bool fits;

	KT_RUN(run)->next = NULL;
	KT_RUN(run)->state = KT_RUN_WAITING;
	spin_lock_bh(&queue->lock);
	fits = queue->packets < KT_MAX_QUEUED;
	if (fits) {
		if (queue->first)
			KT_RUN(queue->last)->next = run;
		else
			queue->first = run;
		queue->last = run;
		queue->packets += packets;
	}
	spin_unlock_bh(&queue->lock);
	return fits;
}

/* The runs in front that do not wait any more, linked by their next; count at most. */
static inline struct sk_buff *kt_queue_take(struct kt_queue *queue, u32 count)
{
	struct sk_buff *taken, *run, *last = NULL;

	spin_lock_bh(&queue->lock);
	taken = queue->first;
	/* Pairs with kt_run_finish(): what was computed is seen. */
	for (run = taken; run && count && smp_load_acquire(&KT_RUN(run)->state) != KT_RUN_WAITING;
	     run = KT_RUN(run)->next) {
		queue->packets -= kt_run_length(run);
		last = run;
		count--;
	}
	if (last)
		KT_RUN(last)->next = NULL;
	else
		taken = NULL;
	queue->first = run;
	spin_unlock_bh(&queue->lock);
	return taken;
}

/* Whoever calls this must not touch the run any more: the next moment it may be gone. */
static inline void kt_run_finish(struct sk_buff *run, enum kt_run_state state)
{
	smp_store_release(&KT_RUN(run)->state, (u16)state);
}

/* Frees what is left, once nobody computes any more. */
static inline void kt_queue_purge(struct kt_queue *queue)
{
	struct sk_buff *run, *next;

	for (run = queue->first; run; run = next) {
		next = KT_RUN(run)->next;
		kt_free(run);
	}
	queue->first = NULL;
	queue->packets = 0;
}

#endif
