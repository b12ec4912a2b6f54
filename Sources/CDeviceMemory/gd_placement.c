#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gd_placement.h"

#include <errno.h>
#include <limits.h>
#include <sys/mman.h>

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000 /* Linux 4.17; older kernels take the address as a hint */
#endif

/* How often other threads may snatch the place before we give up. */
enum { attempts = 64 };

/* The lowest address at or above `start` that equals `congruent` modulo `alignment`. */
static uintptr_t place_at_or_above(uintptr_t start, size_t alignment, uint64_t congruent) {
  return start + (((uintptr_t)congruent - start) & (alignment - 1));
}

/*
 * Finds a free run of addresses that holds `length` bytes at the right place, and lets go of it.
 * Returns 0 or -errno.
 */
static int find_place(size_t length, size_t alignment, uint64_t congruent, void **place) {
  size_t reserved;
  if (__builtin_add_overflow(length, alignment, &reserved)) return -ENOMEM;
  void *start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return -errno;
  munmap(start, reserved);
  *place = (void *)place_at_or_above((uintptr_t)start, alignment, congruent);
  return 0;
}

/*
 * MAP_FIXED over a held reservation looks simpler, but when the driver refuses (EINVAL, EPERM,
 * ENODEV: the common failures) kernels before 6.12 have already punched a hole into the
 * reservation. Undoing it would unmap what another thread may have put there since; not undoing it
 * would leak addresses. So the reservation is let go first, and MAP_FIXED_NOREPLACE takes the place
 * or fails without harm.
 */
int gd_map(int descriptor, uint64_t offset, size_t length, size_t alignment, uint64_t congruent,
           void **mapped) {
  if (offset > INT64_MAX) return -EOVERFLOW;
  for (int attempt = 0; attempt < attempts; attempt++) {
    void *place;
    int error = find_place(length, alignment, congruent, &place);
    if (error) return error;
    void *got = mmap(place, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED_NOREPLACE,
                     descriptor, (off_t)offset);
    if (got == MAP_FAILED) {
      if (errno == EEXIST) continue;
      return -errno;
    }
    if (got != place) {
      munmap(got, length);
      continue;
    }
    if (madvise(got, length, MADV_DONTFORK) || madvise(got, length, MADV_DONTDUMP)) {
      error = -errno;
      munmap(got, length);
      return error;
    }
    *mapped = got;
    return 0;
  }
  return -EEXIST;
}

int gd_unmap(void *mapped, size_t length) { return munmap(mapped, length) ? -errno : 0; }
