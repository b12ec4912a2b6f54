#pragma once
#include "gl_retry.h"

#include <sys/vfs.h>

/* The magic number of the descriptor's file system, or -errno. */
static inline long gl_file_system(int descriptor) {
  struct statfs status;
  int result = RETRY(fstatfs(descriptor, &status));
  /* Magic numbers have 32 bits; some systems sign-extend them. */
  return result < 0 ? result : (long)(status.f_type & 0xffffffffL);
}
