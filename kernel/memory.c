// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Memory and randomness for the engine. */

#include "held.h"
#include "kerntun.h"

#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/random.h>
#include <linux/slab.h>

DEFINE_PER_CPU(struct kt_held, kt_held);

/* Alignment beyond what any size has is had by sizes that are powers of two, and by whole pages. */
void *kt_host_alloc(size_t size, size_t align)
{
	size_t taken = size;
	void *memory;

	if (align > PAGE_SIZE)
		return NULL;
	if (align > ARCH_KMALLOC_MINALIGN && size < PAGE_SIZE)
		taken = roundup_pow_of_two(max(size, align));
	memory = kvmalloc(taken, GFP_KERNEL_ACCOUNT);
	if (memory) {
		kt_hold(allocations, 1);
		kt_hold(bytes, size);
	}
	return memory;
}

void kt_host_free(void *memory, size_t size)
{
	kt_hold(allocations, -1);
	kt_hold(bytes, -(long)size);
	kvfree(memory);
}

bool kt_host_random(u8 *out, size_t len)
{
	if (unlikely(!rng_is_initialized()))
		return false;
	get_random_bytes(out, len);
	return true;
}
