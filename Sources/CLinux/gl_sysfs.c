#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gl_sysfs.h"

#include "gl_file_system.h"
#include "gl_retry.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <unistd.h>

int gl_open_directory(const char *path) {
  return RETRY(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int open_regular(int directory, const char *name, int flags) {
  /* O_NONBLOCK: an emulated tree may have a FIFO in the place of a file. */
  flags |= O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  int file = RETRY(openat(directory, name, flags));
  /* Somebody is in gl_is_open_elsewhere, for microseconds. */
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

int gl_open(int directory, const char *name, int writable) {
  return open_regular(directory, name, writable ? O_RDWR : O_RDONLY);
}

int gl_is_sysfs(int descriptor) {
  long magic = gl_file_system(descriptor);
  return magic < 0 ? (int)magic : magic == SYSFS_MAGIC;
}

int gl_is_same_file(int descriptor, int other) {
  struct stat first, second;
  if (fstat(descriptor, &first) != 0 || fstat(other, &second) != 0) return -errno;
  return first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

int gl_is_name_of(int directory, const char *name, int descriptor) {
  struct stat named, open;
  if (fstatat(directory, name, &named, AT_SYMLINK_NOFOLLOW) != 0) return -errno;
  if (fstat(descriptor, &open) != 0) return -errno;
  return named.st_dev == open.st_dev && named.st_ino == open.st_ino;
}

int64_t gl_size(int descriptor) {
  struct stat status;
  return fstat(descriptor, &status) != 0 ? -errno : (int64_t)status.st_size;
}

int gl_read(int descriptor, uint64_t offset, void *bytes, size_t length) {
  ssize_t count = RETRY(pread(descriptor, bytes, length, (off_t)offset));
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}

int gl_write(int descriptor, uint64_t offset, const void *bytes, size_t length) {
  ssize_t count = RETRY(pwrite(descriptor, bytes, length, (off_t)offset));
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}

int gl_read_attribute(int directory, const char *name, char *text, size_t capacity) {
  int file = open_regular(directory, name, O_RDONLY);
  if (file < 0) return file;
  ssize_t count = RETRY(read(file, text, capacity));
  close(file);
  return (int)count;
}

int gl_write_attribute(int directory, const char *name, const char *text, size_t length) {
  /* sysfs does not mind O_TRUNC; an emulated file must not keep the tail of a longer text. */
  int file = open_regular(directory, name, O_WRONLY | O_TRUNC);
  if (file < 0) return file;
  ssize_t count = RETRY(write(file, text, length));
  close(file);
  if (count < 0) return (int)count;
  return (size_t)count == length ? 0 : -ENODATA;
}
