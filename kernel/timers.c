// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "timers.h"

#include "device.h"
#include "handshake.h"

/* Peers that are looked after before others get the worker. */
#define KT_DUE_AT_ONCE 64

static void deadline_work(struct work_struct *work)
{
	struct kt_netdev *kt = container_of(to_delayed_work(work), struct kt_netdev, deadline);
	struct kt_due due;
	int looked_after = 0;

	while (looked_after++ < KT_DUE_AT_ONCE && kt_expire(kt->engine, kt_now(), &due)) {
		if (due.keepalive)
			kt_send_keepalive(kt, due.peer);
		if (due.initiate)
			kt_initiate_handshake(kt, due.peer);
		cond_resched();
	}
	kt_timers_arm(kt);
}

void kt_timers_init(struct kt_netdev *kt)
{
	spin_lock_init(&kt->deadline_lock);
	INIT_DELAYED_WORK(&kt->deadline, deadline_work);
}

/* Asking and arming are one step, or a later deadline could take the place of an earlier one. */
void kt_timers_arm(struct kt_netdev *kt)
{
	u64 at, now;

	spin_lock_bh(&kt->deadline_lock);
	at = kt_next_deadline(kt->engine);
	now = kt_now();
	if (at != KT_NEVER && !kt->ending)
		mod_delayed_work(kt_handshake_queue, &kt->deadline, at > now ? nsecs_to_jiffies(at - now) + 1 : 0);
	spin_unlock_bh(&kt->deadline_lock);
}

void kt_timers_end(struct kt_netdev *kt)
{
	spin_lock_bh(&kt->deadline_lock);
	kt->ending = true;
	spin_unlock_bh(&kt->deadline_lock);
	cancel_delayed_work_sync(&kt->deadline);
}
