#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gs_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define RETRY(call)                                 \
  ({                                                \
    __typeof__(call) result_;                       \
    do result_ = (call);                            \
    while (result_ < 0 && errno == EINTR);          \
    result_ < 0 ? -(__typeof__(call))errno : result_; \
  })

int gs_open_directory(const char *path) {
  return RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int open_regular(int directory, const char *name, int flags) {
  /* O_NONBLOCK: an emulated tree may have a FIFO in the place of a file. */
  flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int file = RETRY(openat(directory, name, flags));
  /* Somebody is in gs_is_open_elsewhere, for microseconds. */
  for (int attempt = 0; file == -EWOULDBLOCK && attempt < 100; attempt++) {
    usleep(1000);
    file = RETRY(openat(directory, name, flags));
  }
  if (file < 0) return file;
  struct stat status;
  int failure = 0;
  if (fstat(file, &status) != 0) failure = -errno;
  else if (!S_ISREG(status.st_mode)) failure = -EINVAL;
  if (failure == 0) return file;
  close(file);
  return failure;
}

int gs_open(int directory, const char *name, int writable) {
  return open_regular(directory, name, writable ? O_RDWR : O_RDONLY);
}

int gs_lock_exclusive(int descriptor) { return RETRY(flock(descriptor, LOCK_EX | LOCK_NB)); }

static int byte_lock(int descriptor, uint64_t byte, short type) {
  struct flock lock = {
    .l_type = type, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = 1};
  int result = RETRY(fcntl(descriptor, F_OFD_SETLK, &lock));
  return result == -EACCES ? -EAGAIN : result;
}

int gs_lock_byte_exclusive(int descriptor, uint64_t byte) {
  return byte_lock(descriptor, byte, F_WRLCK);
}

int gs_lock_byte_shared(int descriptor, uint64_t byte) {
  return byte_lock(descriptor, byte, F_RDLCK);
}

int gs_unlock_byte(int descriptor, uint64_t byte) { return byte_lock(descriptor, byte, F_UNLCK); }

/* What kind of lock another open file description has on one of the bytes, F_UNLCK for none. */
static int foreign_lock(int descriptor, uint64_t byte, uint64_t count) {
  struct flock lock = {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)byte, .l_len = (off_t)count};
  int result = RETRY(fcntl(descriptor, F_OFD_GETLK, &lock));
  return result < 0 ? result : lock.l_type;
}

int gs_is_locked(int descriptor, uint64_t byte, uint64_t count) {
  int type = foreign_lock(descriptor, byte, count);
  return type < 0 ? type : type != F_UNLCK;
}

int gs_is_locked_shared(int descriptor, uint64_t byte) {
  int type = foreign_lock(descriptor, byte, 1);
  return type < 0 ? type : type == F_RDLCK;
}

int gs_unlock(int descriptor) { return RETRY(flock(descriptor, LOCK_UN)); }

/* The magic number of the descriptor's file system, or -errno. */
static long file_system(int descriptor) {
  struct statfs status;
  int result = RETRY(fstatfs(descriptor, &status));
  /* Magic numbers have 32 bits; some systems sign-extend them. */
  return result < 0 ? result : (long)(status.f_type & 0xffffffffL);
}

int gs_is_open_elsewhere(int descriptor) {
  switch (file_system(descriptor)) {
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

int gs_is_sysfs(int descriptor) {
  long magic = file_system(descriptor);
  return magic < 0 ? (int)magic : magic == SYSFS_MAGIC;
}

int gs_is_same_file(int descriptor, int other) {
  struct stat first, second;
  if (fstat(descriptor, &first) != 0 || fstat(other, &second) != 0) return -errno;
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

int64_t gs_size(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) != 0 ? -errno : (int64_t)status.st_size;
}

int gs_read(int descriptor, uint64_t offset, void *bytes, size_t length) {
  ssize_t count = RETRY(pread(descriptor, bytes, length, (off_t)offset));
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}

int gs_write(int descriptor, uint64_t offset, const void *bytes, size_t length) {
  ssize_t count = RETRY(pwrite(descriptor, bytes, length, (off_t)offset));
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}

int gs_read_attribute(int directory, const char *name, char *text, size_t capacity) {
  int file = open_regular(directory, name, O_RDONLY);
  if (file < 0) return file;
  ssize_t count = RETRY(read(file, text, capacity));
  close(file);
  return (int)count;
}

int gs_write_attribute(int directory, const char *name, const char *text, size_t length) {
  /* sysfs does not mind O_TRUNC; an emulated file must not keep the tail of a longer text. */
  int file = open_regular(directory, name, O_WRONLY | O_TRUNC);
  if (file < 0) return file;
  ssize_t count = RETRY(write(file, text, length));
  close(file);
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}
