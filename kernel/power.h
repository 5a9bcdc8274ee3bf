/* SPDX-License-Identifier: GPL-2.0 OR MIT */
/* Keys do not survive sleep, nor a virtual machine that was copied: both sides of the copy would use them. */
#ifndef KERNTUN_POWER_H
#define KERNTUN_POWER_H

int kt_power_register(void);
void kt_power_unregister(void);

#endif
