/*
 * Turns the SIGBUS of an access in gd_access.h into -EFAULT.
 *
 * Why C: the handler leaves the faulting instruction by siglongjmp, which may cross C frames but no
 * Swift ones.
 *
 * SIGBUS is how memory that was mapped rightly stops answering: a file shorter than its mapping,
 * VFIO with the memory-space bit off, a sysfs mapping that a driver revoked, a poisoned page.
 * SIGSEGV is not caught: it means that nothing is mapped there or not like this, which no device
 * can cause. That is a bug of ours, and it must die where it happens.
 */
#pragma once
#include <stdbool.h>

/*
 * Installs the handler, for the whole process and for good. Faults that are not ours go to the
 * handler that was there before. Returns 0 (also when it was installed already) or -errno.
 */
int gd_fault_guard_enable(void);

/* Whether it is installed. */
bool gd_fault_guard_is_enabled(void);
