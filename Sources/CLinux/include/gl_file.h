/*
 * What a file is, beyond its path.
 *
 * Why C: Swift's Glibc module has neither statx with its birth time nor the file systems' magic numbers.
 */
#pragma once
#include <stdint.h>

/* A file, told apart from one that is made later under its name and gets its inode number. */
struct gl_file {
  uint64_t device;
  uint64_t inode;
  /* Nanoseconds since 1970; 0 where the file system keeps none. */
  int64_t born;
};

/*
 * The identity of the regular file that is open as `descriptor`. Returns 1; 0 for what is no such file, or
 * is one of sysfs, whose inodes are not the memory's; -errno.
 */
int gl_file_identity(int descriptor, struct gl_file *identity);

/* The numbers by which /proc/PID/maps names a file. */
struct gl_file_number {
  uint32_t major;
  uint32_t minor;
  uint64_t inode;
};

/*
 * The numbers of the file at `path`, links followed, as far as the kernel has them: no file
 * system's server is asked, so that a dead or hostile one cannot block the caller. Returns 0 or
 * -errno.
 */
int gl_file_number_at(const char *path, struct gl_file_number *number);

/* 1 when `path` is a file of sysfs, 0 when not; -errno. */
int gl_is_sysfs_at(const char *path);
