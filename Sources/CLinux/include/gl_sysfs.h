/*
 * The files of a sysfs directory, or of an emulated tree's: open, read, write.
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
int gl_open_directory(const char *path);

/*
 * Opens a regular file of `directory`, for reading and also for writing if asked. Never follows a link
 * and never blocks; anything but a regular file is -EINVAL.
 */
int gl_open(int directory, const char *name, int writable);

/* Whether the file is one of the kernel's sysfs, rather than of an emulated tree: 1 or 0. */
int gl_is_sysfs(int descriptor);

/* Whether two descriptors are open on one file: 1 or 0. */
int gl_is_same_file(int descriptor, int other);

/* 1 when `name` in `directory`, no link, is the file that `descriptor` is open on, else 0. Opens
   nothing. */
int gl_is_name_of(int directory, const char *name, int descriptor);

/* The file's length in bytes. For a resource file that of its BAR. */
int64_t gl_size(int descriptor);

/* Reads or writes exactly `length` bytes at `offset`; -ENODATA when the file has fewer. */
int gl_read(int descriptor, uint64_t offset, void *bytes, size_t length);
int gl_write(int descriptor, uint64_t offset, const void *bytes, size_t length);

/* Reads a text attribute of `directory`, at most `capacity` bytes. Returns the length. */
int gl_read_attribute(int directory, const char *name, char *text, size_t capacity);

/* Replaces the text of an existing attribute of `directory`, in one write, as sysfs wants it. */
int gl_write_attribute(int directory, const char *name, const char *text, size_t length);
