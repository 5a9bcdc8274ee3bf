/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Workers, one for each CPU, that share one bounded ring of packets. */
#ifndef KERNTUN_CREW_H
#define KERNTUN_CREW_H

#include <linux/ptr_ring.h>
#include <linux/skbuff.h>
#include <linux/workqueue.h>

struct kt_crew;

struct kt_worker {
	struct work_struct work;
	struct kt_crew *crew;
};

struct kt_crew {
	struct ptr_ring ring;
	struct kt_worker __percpu *workers;
	struct workqueue_struct *queue;
	int last_cpu;	/* a hint, written without care */
};

int kt_crew_init(struct kt_crew *crew, struct workqueue_struct *queue, work_func_t work, unsigned int capacity);
/* Waits until no worker runs; nobody may hand over any more. What is left stays in the ring. */
void kt_crew_stop(struct kt_crew *crew);
void kt_crew_free(struct kt_crew *crew);
/* Hands a packet to some worker; false if the ring is full. */
bool kt_crew_hand(struct kt_crew *crew, struct sk_buff *skb);

static inline struct kt_crew *kt_crew_of(struct work_struct *work)
{
	return container_of(work, struct kt_worker, work)->crew;
}

static inline struct sk_buff *kt_crew_next(struct kt_crew *crew)
{
	return ptr_ring_consume_bh(&crew->ring);
}

/* Several at once; gives how many, none if the ring is empty. */
static inline int kt_crew_next_few(struct kt_crew *crew, struct sk_buff **few, int most)
{
	return ptr_ring_consume_batched_bh(&crew->ring, (void **)few, most);
}

#endif
