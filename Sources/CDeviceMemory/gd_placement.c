#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include "gd_placement.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Device memory of an open descriptor. */
struct source {
  int descriptor;
  off_t offset;
  size_t length;
  int protection;
};

static void *map(const struct source *source, void *place, int flags) {
  return mmap(place, source->length, source->protection, MAP_SHARED | flags,
              source->descriptor, source->offset);
}

/* How far above `address` the next one is that equals `congruent` modulo `alignment`. */
static size_t distance(const void *address, size_t alignment, uint64_t congruent) {
  return ((uintptr_t)congruent - (uintptr_t)address) & (alignment - 1);
}

/* Maps over a reservation that is large enough to have the right place in it. */
static int map_over_reservation(const struct source *source, size_t alignment, uint64_t congruent,
                                void **mapped) {
  size_t reserved;
  if (__builtin_add_overflow(source->length, alignment, &reserved)) return -ENOMEM;
  char *start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (start == MAP_FAILED) return -errno;
  size_t head = distance(start, alignment, congruent);
  char *place = start + head;
  int error = map(source, place, MAP_FIXED) == MAP_FAILED ? -errno : 0;
  if (head) munmap(start, head);
  munmap(place + source->length, reserved - head - source->length);
  /* After an error the place itself is left alone: kernels before 6.12 have emptied it by then, and
     another thread may live there. At worst that leaks addresses, no memory; see gd_map. */
  *mapped = place;
  return error;
}

/*
 * A place near which there was room lately: where memory was unmapped, or below the last that was
 * mapped. Only a hint, of whatever thread: the kernel takes another place when it is not free.
 */
static _Atomic(uintptr_t) vacant;

/*
 * Maps first where there was room lately, else where the kernel likes. If that is the right place,
 * as it is for leases after the first, fine. If the driver refuses, there is nothing to undo. So a
 * failure over the reservation, which cannot be undone cleanly, takes a device that vanishes between
 * the two calls.
 *
 * MAP_FIXED_NOREPLACE into a released reservation would fail cleanly too, but does not terminate when
 * threads map at the same time: the hole just released is where the kernel maps next.
 */
int gd_map(int descriptor, uint64_t offset, size_t length, int is_writable, size_t alignment,
           uint64_t congruent, void **mapped) {
  struct source source = {.descriptor = descriptor,
                          .offset = (off_t)offset,
                          .length = length,
                          .protection = is_writable ? PROT_READ | PROT_WRITE : PROT_READ};
  uintptr_t near = atomic_load_explicit(&vacant, memory_order_relaxed);
  void *hint = near ? (char *)near + distance((void *)near, alignment, congruent) : NULL;
  void *anywhere = map(&source, hint, 0);
  if (anywhere == MAP_FAILED) return -errno;
  *mapped = anywhere;
  if (distance(anywhere, alignment, congruent)) {
    munmap(anywhere, length);
    int error = map_over_reservation(&source, alignment, congruent, mapped);
    if (error) return error;
  }
  if (madvise(*mapped, length, MADV_DONTFORK) || madvise(*mapped, length, MADV_DONTDUMP)) {
    int error = -errno;
    munmap(*mapped, length);
    return error;
  }
  uintptr_t below;
  if (!__builtin_sub_overflow((uintptr_t)*mapped, length, &below) &&
      !__builtin_sub_overflow(below, alignment, &below))
    atomic_store_explicit(&vacant, below, memory_order_relaxed);
  return 0;
}

int gd_unmap(void *mapped, size_t length) {
  if (munmap(mapped, length)) return -errno;
  atomic_store_explicit(&vacant, (uintptr_t)mapped, memory_order_relaxed);
  return 0;
}

/* A file of `length` bytes of ones. */
static int make_ones(size_t length) {
  int file = memfd_create("genpool-ones", MFD_CLOEXEC);
  if (file < 0) return -errno;
  void *ones = MAP_FAILED;
  if (ftruncate(file, (off_t)length) == 0)
    ones = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (ones == MAP_FAILED) {
    int error = -errno;
    close(file);
    return error;
  }
  memset(ones, 0xff, length);
  munmap(ones, length);
  return file;
}

/*
 * One small file, mapped privately again and again, so that it costs memory only where it is written
 * to; at most some 1024 times, for a process may have 65,530 mappings (vm.max_map_count). Each part
 * changes from the device to ones at once, with nothing in between for a thread to fault on.
 */
int gd_overmap(void *mapped, size_t length) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t part = length / 1024 / page * page + page;
  if (part < 1 << 20) part = 1 << 20;
  if (part > length) part = length;
  int ones = make_ones(part);
  if (ones < 0) return ones;
  int error = 0;
  for (size_t done = 0; done < length && !error; done += part) {
    size_t count = length - done < part ? length - done : part;
    if (mmap((char *)mapped + done, count, PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, ones, 0) == MAP_FAILED)
      error = -errno;
  }
  close(ones);
  if (!error && madvise(mapped, length, MADV_DONTFORK)) error = -errno;
  return error;
}
