// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * For the laboratory: loading it tells the kernel that this virtual machine is a copy, by the function that the driver of the
 * generation counter calls. QEMU changes that counter only when it restores a guest, and it does not restore guests that have
 * mounted a folder of the host, as those of the laboratory have.
 */
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/random.h>

static int __init vmfork_init(void)
{
	/* It is built into the kernel, and not exported. */
	struct kprobe probe = { .symbol_name = "add_vmfork_randomness" };
	void (*tell)(const void *unique_vm_id, size_t len);
	u8 id[16];
	int err = register_kprobe(&probe);

	if (err)
		return err;
	tell = (void *)probe.addr;
	unregister_kprobe(&probe);
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
