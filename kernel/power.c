// SPDX-License-Identifier: GPL-2.0 OR MIT
#include "power.h"

#include "device.h"

#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <linux/suspend.h>

static void forget_all_sessions(void)
{
	struct kt_netdev *kt;

	rtnl_lock();
	list_for_each_entry(kt, &kt_netdevs, list)
		kt_forget_sessions(kt->engine);
	rtnl_unlock();
}

/*
 * Machines that sleep of their own accord many times an hour (phones) would lose their tunnels each time; for them sleep is
 * a part of being awake.
 */
static int power_changed(struct notifier_block *block, unsigned long action, void *data)
{
	if (IS_ENABLED(CONFIG_PM_AUTOSLEEP) || IS_ENABLED(CONFIG_PM_USERSPACE_AUTOSLEEP))
		return 0;
	if (action == PM_HIBERNATION_PREPARE || action == PM_SUSPEND_PREPARE)
		forget_all_sessions();
	return 0;
}

static struct notifier_block power_block = { .notifier_call = power_changed };

static int machine_forked(struct notifier_block *block, unsigned long action, void *data)
{
	forget_all_sessions();
	return 0;
}

static struct notifier_block fork_block = { .notifier_call = machine_forked };

int kt_power_register(void)
{
	int err = register_pm_notifier(&power_block);

	if (err)
		return err;
	err = register_random_vmfork_notifier(&fork_block);
	if (err)
		unregister_pm_notifier(&power_block);
	return err;
}

void kt_power_unregister(void)
{
	unregister_random_vmfork_notifier(&fork_block);
	unregister_pm_notifier(&power_block);
}
