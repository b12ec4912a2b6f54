#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gl_lock.h"

#include "gl_file_system.h"
#include "gl_retry.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

int gl_lock_exclusive(int descriptor) { return RETRY(flock(descriptor, LOCK_EX | LOCK_NB)); }

int gl_unlock(int descriptor) { return RETRY(flock(descriptor, LOCK_UN)); }

static int byte_lock(int descriptor, uint64_t byte, short type) {
  struct flock lock = {
    .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
  int result = RETRY(fcntl(descriptor, F_OFD_SETLK, &lock));
  return result == -EACCES ? -EAGAIN : result;
}

int gl_lock_byte_exclusive(int descriptor, uint64_t byte) {
  return byte_lock(descriptor, byte, F_WRLCK);
}

int gl_lock_byte_shared(int descriptor, uint64_t byte) {
  return byte_lock(descriptor, byte, F_RDLCK);
}

int gl_unlock_byte(int descriptor, uint64_t byte) { return byte_lock(descriptor, byte, F_UNLCK); }

/* What kind of lock another open file description has on one of the bytes, F_UNLCK for none. */
static int foreign_lock(int descriptor, uint64_t byte, uint64_t count) {
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)count};
  int result = RETRY(fcntl(descriptor, F_OFD_GETLK, &lock));
  return result < 0 ? result : lock.l_type;
}

int gl_is_locked(int descriptor, uint64_t byte, uint64_t count) {
  int type = foreign_lock(descriptor, byte, count);
  return type < 0 ? type : type != F_UNLCK;
}

int gl_is_locked_shared(int descriptor, uint64_t byte) {
  int type = foreign_lock(descriptor, byte, 1);
  return type < 0 ? type : type == F_RDLCK;
}

int gl_is_open_elsewhere(int descriptor) {
  switch (gl_file_system(descriptor)) {
    case SYSFS_MAGIC:
    case TMPFS_MAGIC:
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC: break;
    default: return -EOPNOTSUPP;
  }
  /* Who opens it meanwhile raises a signal: one that is ignored, in the place of SIGIO, which kills. */
  int result = RETRY(fcntl(descriptor, F_SETSIG, SIGURG));
  if (result < 0) return result;
  result = RETRY(fcntl(descriptor, F_SETLEASE, F_WRLCK));
  if (result < 0) return result == -EAGAIN ? 1 : result;
  result = RETRY(fcntl(descriptor, F_SETLEASE, F_UNLCK));
  return result < 0 ? result : 0;
}

int gl_open_lock(const char *path, const char *name, int trusted) {
  if (mkdir(path, 0700) != 0 && errno != EEXIST) return -errno;
  int directory = RETRY(open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (directory < 0) return directory;
  struct stat status;
  int result = 0;
  if (fstat(directory, &status) != 0) result = -errno;
  else if (trusted && ((status.st_uid != 0 && status.st_uid != geteuid()) || (status.st_mode & 022) != 0))
    result = -EPERM;
  if (result == 0)
    result = RETRY(openat(directory, name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600));
  close(directory);
  if (result < 0) return result;
  if (fstat(result, &status) == 0 && S_ISREG(status.st_mode)) return result;
  close(result);
  return -EINVAL;
}
