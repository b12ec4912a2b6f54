#define _GNU_SOURCE
#include "cm_memory.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

int cm_create(const char *name, uint64_t size) {
  int descriptor = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return -errno;
  if (ftruncate(descriptor, (off_t)size) != 0) {
    int error = errno;
    close(descriptor);
    return -error;
  }
  return descriptor;
}
