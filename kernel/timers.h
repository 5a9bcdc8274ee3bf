/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* The engine's deadlines, waited for; and what its calls leave to be done. */
#ifndef KERNTUN_TIMERS_H
#define KERNTUN_TIMERS_H

#include "kerntun.h"
#include "send.h"

struct kt_netdev;

void kt_timers_init(struct kt_netdev *kt);
/* The earliest deadline moved: waits for it. */
void kt_timers_arm(struct kt_netdev *kt);
/* No deadline is waited for any more. May sleep. */
void kt_timers_end(struct kt_netdev *kt);

static inline void kt_follow(struct kt_netdev *kt, const struct kt_followup *followup)
{
	if (unlikely(followup->rearm))
		kt_timers_arm(kt);
	if (unlikely(followup->flush != KT_NO_PEER))
		kt_send_staged(kt, followup->flush);
}

#endif
