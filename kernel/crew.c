// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "crew.h"

#include <linux/cpumask.h>
#include <linux/percpu.h>

int kt_crew_init(struct kt_crew *crew, struct workqueue_struct *queue, work_func_t work, unsigned int capacity)
{
	int cpu, err;

	err = ptr_ring_init(&crew->ring, capacity, GFP_KERNEL_ACCOUNT);
	if (err)
		return err;
	crew->workers = alloc_percpu_gfp(struct kt_worker, GFP_KERNEL_ACCOUNT);
	if (!crew->workers) {
		ptr_ring_cleanup(&crew->ring, NULL);
		return -ENOMEM;
	}
	for_each_possible_cpu(cpu) {
		struct kt_worker *worker = per_cpu_ptr(crew->workers, cpu);

		worker->crew = crew;
		INIT_WORK(&worker->work, work);
	}
	crew->queue = queue;
	crew->last_cpu = -1;
	return 0;
}

void kt_crew_stop(struct kt_crew *crew)
{
	int cpu;

	for_each_possible_cpu(cpu)
		cancel_work_sync(&per_cpu_ptr(crew->workers, cpu)->work);
}

void kt_crew_free(struct kt_crew *crew)
{
	ptr_ring_cleanup(&crew->ring, NULL);
	free_percpu(crew->workers);
}

bool kt_crew_hand(struct kt_crew *crew, struct sk_buff *skb)
{
	int cpu;

	if (ptr_ring_produce_bh(&crew->ring, skb))
		return false;
	/* One after the other, so that all of them work when there is much to do. */
	cpu = cpumask_next(READ_ONCE(crew->last_cpu), cpu_online_mask);
	if (cpu >= nr_cpu_ids)
		cpu = cpumask_first(cpu_online_mask);
	WRITE_ONCE(crew->last_cpu, cpu);
	queue_work_on(cpu, crew->queue, &per_cpu_ptr(crew->workers, cpu)->work);
	return true;
}
