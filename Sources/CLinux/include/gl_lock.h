/*
 * Locks on files, and whether another process still has a file open.
 *
 * Why C: fcntl is variadic, and Swift sees neither the locks of open file descriptions (F_OFD_…) nor
 * file leases. EINTR is retried in one place and errno is read at once.
 *
 * Everything returns 0 or a value, or -errno.
 */
#pragma once
#include <stdint.h>

/*
 * Opens the file `name` of `directory` for locks: both are made, 0700 and 0600, when they are
 * missing. Never follows a link. -EPERM when `trusted` and another user than root and this one owns
 * the directory, or can write to it: then it could keep the locks from being locks.
 */
int gl_open_lock(const char *directory, const char *name, int trusted);

/*
 * flock without waiting, -EWOULDBLOCK when another description has it. A lock belongs to the open file
 * description: duplicates share it, and it lives as long as any of them or any mapping made of one.
 */
int gl_lock_exclusive(int descriptor);
int gl_unlock(int descriptor);

/*
 * Locks on one byte of a file that is open for reading and writing, which need not have that byte:
 * without waiting, -EAGAIN when another description is in the way. They live as long as flock's do and know
 * nothing of them. A description that has a lock changes it in place, or keeps it when it cannot.
 */
int gl_lock_byte_exclusive(int descriptor, uint64_t byte);
int gl_lock_byte_shared(int descriptor, uint64_t byte);
int gl_unlock_byte(int descriptor, uint64_t byte);

/* Whether another open file description has a lock on one of `count` bytes from `byte` on: 1 or 0. */
int gl_is_locked(int descriptor, uint64_t byte, uint64_t count);

/* Whether another open file description has a shared lock on the byte: 1 or 0. */
int gl_is_locked_shared(int descriptor, uint64_t byte);

/*
 * Whether the file has another open file description than this one: 1 or 0. A mapping keeps its
 * description, and unlike a lock nothing undoes that but closing and unmapping.
 *
 * Errors mean that the kernel cannot tell: -EACCES without CAP_LEASE on a file of another user, -EINVAL
 * where the kernel has no leases for it (sysfs since Linux 7.0), -EOPNOTSUPP on a file system that is not
 * known to see bare mappings (overlayfs does not).
 */
int gl_is_open_elsewhere(int descriptor);
