/*
 * The files of a device's sysfs directory: open, lock, read, write.
 *
 * Why C: EINTR is retried in one place and errno is read at once; Swift sees neither the statfs magic
 * of sysfs nor O_* combinations with openat's variadic mode. No policy here: what to open, and what
 * an error means, is decided in Swift.
 *
 * Everything returns 0 or a value, or -errno.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Opens a directory, following links: a device is known by a link under bus/pci/devices. */
int gs_open_directory(const char *path);

/*
 * Opens a regular file of `directory`, for reading and also for writing if asked. Never follows a link
 * and never blocks; anything but a regular file is -EINVAL.
 */
int gs_open(int directory, const char *name, int writable);

/*
 * flock without waiting, -EWOULDBLOCK when somebody else is in the way. A lock belongs to the open file
 * description: duplicates share it, and it lives as long as any of them or any mapping made of one.
 */
int gs_lock_exclusive(int descriptor);
int gs_unlock(int descriptor);

/*
 * Locks on one byte of a file that is open for reading and writing, which need not have that byte:
 * without waiting, -EAGAIN when somebody else is in the way. They live as long as flock's do and know
 * nothing of them. A description that has a lock changes it in place, or keeps it when it cannot.
 */
int gs_lock_byte_exclusive(int descriptor, uint64_t byte);
int gs_lock_byte_shared(int descriptor, uint64_t byte);
int gs_unlock_byte(int descriptor, uint64_t byte);

/* Whether another open file description has a lock on one of `count` bytes from `byte` on: 1 or 0. */
int gs_is_locked(int descriptor, uint64_t byte, uint64_t count);

/* Whether another open file description has a shared lock on the byte: 1 or 0. */
int gs_is_locked_shared(int descriptor, uint64_t byte);

/*
 * Whether the file has another open file description than this one: 1 or 0. A mapping keeps its
 * description, and unlike a lock nothing undoes that but closing and unmapping.
 *
 * Errors mean that the kernel cannot tell: -EACCES without CAP_LEASE on a file of another user, -EINVAL
 * where the kernel has no leases for it (sysfs since Linux 7.0), -EOPNOTSUPP on a file system that is not
 * known to see bare mappings (overlayfs does not).
 */
int gs_is_open_elsewhere(int descriptor);

/* Whether the file is one of the kernel's sysfs, rather than of an emulated tree: 1 or 0. */
int gs_is_sysfs(int descriptor);

/* Whether two descriptors are open on one file: 1 or 0. */
int gs_is_same_file(int descriptor, int other);

/* The file's length in bytes. For a resource file that of its BAR. */
int64_t gs_size(int descriptor);

/* Reads or writes exactly `length` bytes at `offset`; -ENODATA when the file has fewer. */
int gs_read(int descriptor, uint64_t offset, void *bytes, size_t length);
int gs_write(int descriptor, uint64_t offset, const void *bytes, size_t length);

/* Reads a text attribute of `directory`, at most `capacity` bytes. Returns the length. */
int gs_read_attribute(int directory, const char *name, char *text, size_t capacity);

/* Replaces the text of an existing attribute of `directory`, in one write, as sysfs wants it. */
int gs_write_attribute(int directory, const char *name, const char *text, size_t length);
