// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Locks for the engine: the kernel's own, so that lockdep, lock statistics and the scheduler know them. A lock lies in
 * front of what it guards, and the engine names it by that. Each rank of the engine is a class of its own, because each
 * is initialised by a line of its own.
 */

#include "held.h"
#include "kerntun.h"

#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

struct kt_lock {
	union {
		struct mutex mutex;	/* KT_RANK_CONFIGURATION */
		rwlock_t rwlock;	/* KT_RANK_TABLES */
		spinlock_t spinlock;	/* the others */
	};
	u8 guarded[] __aligned(16);
};

static inline struct kt_lock *kt_lock_of(void *guarded)
{
	return container_of(guarded, struct kt_lock, guarded);
}

void *kt_host_lock_new(u8 rank, size_t len)
{
	size_t size = struct_size_t(struct kt_lock, guarded, len);
	struct kt_lock *lock = kt_host_alloc(size, __alignof__(struct kt_lock));

	if (!lock)
		return NULL;
	switch (rank) {
	case KT_RANK_CONFIGURATION:
		mutex_init(&lock->mutex);
		break;
	case KT_RANK_TABLES:
		rwlock_init(&lock->rwlock);
		break;
	case KT_RANK_PEER:
		spin_lock_init(&lock->spinlock);
		break;
	default:
		spin_lock_init(&lock->spinlock);
		break;
	}
	return lock->guarded;
}

void kt_host_lock_free(void *guarded, u8 rank, size_t len)
{
	struct kt_lock *lock = kt_lock_of(guarded);

	if (rank == KT_RANK_CONFIGURATION)
		mutex_destroy(&lock->mutex);
	kt_host_free(lock, struct_size_t(struct kt_lock, guarded, len));
}

void kt_host_mutex_lock(void *guarded)
{
	mutex_lock(&kt_lock_of(guarded)->mutex);
}

void kt_host_mutex_unlock(void *guarded)
{
	mutex_unlock(&kt_lock_of(guarded)->mutex);
}

void kt_host_spin_lock(void *guarded)
{
	spin_lock_bh(&kt_lock_of(guarded)->spinlock);
}

void kt_host_spin_unlock(void *guarded)
{
	spin_unlock_bh(&kt_lock_of(guarded)->spinlock);
}

void kt_host_read_lock(void *guarded)
{
	read_lock_bh(&kt_lock_of(guarded)->rwlock);
}

void kt_host_read_unlock(void *guarded)
{
	read_unlock_bh(&kt_lock_of(guarded)->rwlock);
}

void kt_host_write_lock(void *guarded)
{
	write_lock_bh(&kt_lock_of(guarded)->rwlock);
}

void kt_host_write_unlock(void *guarded)
{
	write_unlock_bh(&kt_lock_of(guarded)->rwlock);
}
