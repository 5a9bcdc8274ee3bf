// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Life of the module. */

#include "device.h"
#include "held.h"
#include "kerntun.h"
#include "netlink.h"
#include "power.h"

#include <linux/module.h>
#include <linux/random.h>
#include <net/rtnetlink.h>

/* All sums have to be zero when everything is gone; says so if they are not. */
static void say_what_leaked(void)
{
	struct kt_held all = {};
	int cpu;

	for_each_possible_cpu(cpu) {
		const struct kt_held *one = per_cpu_ptr(&kt_held, cpu);

		all.allocations += one->allocations;
		all.bytes += one->bytes;
		all.packets += one->packets;
		all.sockets += one->sockets;
		all.interfaces += one->interfaces;
	}
	if (!all.allocations && !all.bytes && !all.packets && !all.sockets && !all.interfaces)
		pr_info("unloaded\n");
	else
		pr_err("LEAK at unload: %ld allocations of %ld bytes, %ld packets, %ld sockets, %ld interfaces\n", all.allocations,
		       all.bytes, all.packets, all.sockets, all.interfaces);
}

static int __init kt_module_init(void)
{
	static const u32 numbers[] __initconst = KT_ABI_NUMBERS;
	int err;

	if (!kt_abi_matches(numbers, ARRAY_SIZE(numbers))) {
		pr_err("the engine's object was built for another kerntun.h: build both again\n");
		return -EINVAL;
	}
	/* Configuration wants randomness. After boot it is there; before that this makes it, once for all. */
	err = wait_for_random_bytes();
	if (err)
		return err;
	err = kt_device_register();
	if (err == -EEXIST)
		pr_err("another module serves interfaces of kind " KT_KIND " already: unload it first (rmmod wireguard)\n");
	if (err)
		return err;
	err = kt_power_register();
	if (err)
		goto err_device;
	err = kt_netlink_register();
	if (err)
		goto err_power;
	pr_info("WireGuard by kerntun\n");
	return 0;

err_power:
	kt_power_unregister();
err_device:
	kt_device_unregister();
	return err;
}

static void __exit kt_module_exit(void)
{
	kt_netlink_unregister();
	kt_power_unregister();
	kt_device_unregister();
	say_what_leaked();
}

module_init(kt_module_init);
module_exit(kt_module_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("WireGuard: an engine in Rust, in the place of the kernel's own");
MODULE_AUTHOR("The kerntun authors");
MODULE_ALIAS_RTNL_LINK(KT_KIND);
