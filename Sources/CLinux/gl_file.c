#define _GNU_SOURCE
#include "gl_file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

int gl_file_identity(int descriptor, struct gl_file *identity) {
  struct statfs system;
  while (fstatfs(descriptor, &system) != 0)
    if (errno != EINTR) return -errno;
  if (system.f_type == SYSFS_MAGIC) return 0;
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH, STATX_TYPE | STATX_INO | STATX_BTIME, &status) != 0)
    return -errno;
  if (!S_ISREG(status.stx_mode)) return 0;
  identity->device = makedev(status.stx_dev_major, status.stx_dev_minor);
  identity->inode = status.stx_ino;
  identity->born = status.stx_mask & STATX_BTIME
    ? status.stx_btime.tv_sec * 1000000000LL + status.stx_btime.tv_nsec
    : 0;
  return 1;
}

int gl_file_number_at(const char *path, struct gl_file_number *number) {
  struct statx status;
  if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &status) != 0)
    return -errno;
  number->major = status.stx_dev_major;
  number->minor = status.stx_dev_minor;
  number->inode = status.stx_ino;
  return 0;
}

int gl_is_sysfs_at(const char *path) {
  struct statfs system;
  while (statfs(path, &system) != 0)
    if (errno != EINTR) return -errno;
  return system.f_type == SYSFS_MAGIC;
}
