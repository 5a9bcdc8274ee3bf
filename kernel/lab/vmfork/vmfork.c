// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * For the laboratory: loading it tells the kernel that this virtual machine is a copy, by the function that the driver of the
 * generation counter calls. QEMU changes that counter only when it restores a guest, and it does not restore guests that have
 * mounted a folder of the host, as those of the laboratory have.
 */
#include <linux/module.h>
#include <linux/random.h>

/* Where add_vmfork_randomness is, as /proc/kallsyms has it: built into the kernel, and not exported. */
static ulong address;
module_param(address, ulong, 0);

static int __init vmfork_init(void)
{
	void (*tell)(const void *unique_vm_id, size_t len) = (void *)address;
	u8 id[16];

	if (!tell)
		return -EINVAL;
	get_random_bytes(id, sizeof(id));
	tell(id, sizeof(id));
	return 0;
}

static void __exit vmfork_exit(void)
{
}

module_init(vmfork_init);
module_exit(vmfork_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Tells the kernel that this virtual machine is a copy");
